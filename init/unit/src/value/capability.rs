//! Capabilities by name: capabilities(7) of Linux 6.1.

use std::fmt;
use std::str::FromStr;

use crate::expected::{Expected, shown};

/// A capability of Linux.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Capability(u8);

/// Names without `CAP_`, at the index of the capability's number.
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

impl Capability {
    /// The capability's number, as the kernel counts.
    pub fn number(self) -> u8 {
        self.0
    }

    /// The name without `CAP_`.
    pub fn name(self) -> &'static str {
        NAMES.get(usize::from(self.0)).copied().unwrap_or("?")
    }

    /// All of them, by number.
    pub fn all() -> impl Iterator<Item = Capability> {
        (0..NAMES.len() as u8).map(Capability)
    }
}

impl FromStr for Capability {
    type Err = Expected;

    /// `NET_ADMIN`, `CAP_NET_ADMIN`, in any case.
    fn from_str(text: &str) -> Result<Self, Expected> {
        let upper = text.to_ascii_uppercase();
        let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
        if let Some(number) = NAMES.iter().position(|name| *name == bare) {
            return Ok(Capability(number as u8));
        }
        let refusal = Expected::new(format!("{} is not a capability", shown(text)));
        Err(match crate::suggest::nearest(bare, NAMES) {
            Some(near) => refusal.help(format!("did you mean \"{near}\"?")),
            None => refusal.help("for example \"NET_ADMIN\"; capabilities(7) lists them"),
        })
    }
}

/// The name as OCI documents write it, with `CAP_`.
impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CAP_{}", self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table() {
        for text in ["NET_ADMIN", "CAP_NET_ADMIN", "net_admin"] {
            assert_eq!(
                text.parse::<Capability>().map(Capability::number),
                Ok(12),
                "{text}"
            );
        }
        // linux/capability.h: the last one in 6.1.
        assert_eq!(
            "CHECKPOINT_RESTORE"
                .parse::<Capability>()
                .map(Capability::number),
            Ok(40)
        );
        assert_eq!(
            "SYS_ADMIN".parse::<Capability>().map(Capability::number),
            Ok(21)
        );
        let refusal = "NET_ADMN".parse::<Capability>().unwrap_err();
        assert_eq!(refusal.help.as_deref(), Some("did you mean \"NET_ADMIN\"?"));
        assert!("".parse::<Capability>().is_err());
    }

    #[test]
    fn every_printed_form_parses_back() {
        for capability in Capability::all() {
            assert_eq!(capability.to_string().parse(), Ok(capability));
        }
    }
}
