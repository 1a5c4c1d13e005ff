//! Resource limits of processes: `nofile = "1024:4096"`.

use std::fmt;
use std::str::FromStr;

use crate::expected::{self, Expected};

/// What is limited: getrlimit(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RlimitKind(&'static str);

/// In the words of compose and limits.conf.
const KINDS: [&str; 16] = [
    "as",
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

impl RlimitKind {
    /// `nofile`.
    pub fn name(self) -> &'static str {
        self.0
    }

    /// `RLIMIT_NOFILE`, as OCI documents write it.
    pub fn oci_name(self) -> String {
        format!("RLIMIT_{}", self.0.to_ascii_uppercase())
    }
}

impl FromStr for RlimitKind {
    type Err = Expected;

    fn from_str(text: &str) -> Result<Self, Expected> {
        match KINDS.iter().find(|kind| **kind == text) {
            Some(kind) => Ok(RlimitKind(kind)),
            None => Err(expected::one_of(text, &KINDS)),
        }
    }
}

/// A soft and a hard limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rlimit {
    /// What is limited.
    pub kind: RlimitKind,
    /// The limit in force, in the kind's own unit; [`Rlimit::UNLIMITED`] for none.
    pub soft: u64,
    /// How far the process itself may raise it, never less than `soft`.
    pub hard: u64,
}

impl Rlimit {
    /// No limit (`RLIM_INFINITY`).
    pub const UNLIMITED: u64 = u64::MAX;

    /// Reads `LIMIT` or `SOFT:HARD`, each a number or `unlimited`.
    ///
    /// # Errors
    /// Anything else, and a soft limit above the hard one.
    pub fn parse(kind: RlimitKind, text: &str) -> Result<Self, Expected> {
        let (soft, hard) = text.split_once(':').unwrap_or((text, text));
        let (soft, hard) = (limit(soft)?, limit(hard)?);
        if soft > hard {
            return Err(Expected::new("the soft limit is above the hard limit")
                .help("write \"SOFT:HARD\", the lower first"));
        }
        Ok(Self { kind, soft, hard })
    }

    /// The form that [`Rlimit::parse`] reads.
    pub fn value(&self) -> String {
        let one = |limit| match limit {
            Self::UNLIMITED => "unlimited".to_owned(),
            number => number.to_string(),
        };
        if self.soft == self.hard {
            one(self.soft)
        } else {
            format!("{}:{}", one(self.soft), one(self.hard))
        }
    }
}

fn limit(text: &str) -> Result<u64, Expected> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    match text.parse() {
        Ok(number) if digits => Ok(number),
        Ok(_) | Err(_) if text == "unlimited" => Ok(Rlimit::UNLIMITED),
        Ok(_) | Err(_) => Err(Expected::new(
            "expected a number or \"unlimited\", or two of them as SOFT:HARD",
        )
        .help("for example \"1024:4096\"")),
    }
}

impl fmt::Display for RlimitKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table() {
        let nofile: RlimitKind = "nofile".parse().unwrap();
        assert_eq!(nofile.oci_name(), "RLIMIT_NOFILE");
        for text in ["1024", "1024:4096", "unlimited", "0:unlimited"] {
            assert_eq!(Rlimit::parse(nofile, text).unwrap().value(), text);
        }
        for bad in [
            "",
            "-1",
            "4096:1024",
            "unlimited:1",
            "1:2:3",
            "+1",
            "99999999999999999999",
        ] {
            assert!(Rlimit::parse(nofile, bad).is_err(), "{bad}");
        }
        let refusal = "nofiles".parse::<RlimitKind>().unwrap_err();
        assert_eq!(refusal.help.as_deref(), Some("did you mean \"nofile\"?"));
    }
}
