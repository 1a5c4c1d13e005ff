//! Signals by name, as Linux numbers them on x86-64 and arm64.

use std::fmt;
use std::str::FromStr;

use crate::expected::{Expected, shown};

/// A signal that can be sent to a container, 1 to 64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Signal(u8);

/// signal(7), "Standard signals"; index 0 is signal 1.
const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
    "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG",
    "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];

/// The first real-time signal that programs see: glibc and musl keep 32 to 33 (musl also 34) for
/// themselves. `SIGRTMIN+3` in an image's configuration means 37, as docker counts.
const RTMIN: u8 = 34;
const RTMAX: u8 = 64;

impl Signal {
    /// SIGHUP.
    pub const HUP: Signal = Signal(1);
    /// SIGINT.
    pub const INT: Signal = Signal(2);
    /// SIGQUIT.
    pub const QUIT: Signal = Signal(3);
    /// SIGKILL.
    pub const KILL: Signal = Signal(9);
    /// SIGTERM.
    pub const TERM: Signal = Signal(15);

    /// The signal's number, 1 to 64.
    pub fn number(self) -> i32 {
        i32::from(self.0)
    }

    /// The signal with this number; `None` outside 1 to 64.
    pub fn from_number(number: i32) -> Option<Self> {
        u8::try_from(number)
            .ok()
            .filter(|n| (1..=RTMAX).contains(n))
            .map(Signal)
    }
}

impl FromStr for Signal {
    type Err = Expected;

    /// `SIGTERM`, `term`, `15`, `SIGRTMIN+3`, `SIGRTMAX-1`.
    fn from_str(text: &str) -> Result<Self, Expected> {
        let upper = text.to_ascii_uppercase();
        let bare = upper.strip_prefix("SIG").unwrap_or(&upper);
        let standard = || {
            NAMES
                .iter()
                .position(|name| *name == bare)
                .map(|at| at as i32 + 1)
        };
        let number = match text.parse::<u8>() {
            Ok(number) => Some(i32::from(number)),
            Err(_) => standard().or_else(|| real_time(bare)),
        };
        number
            .and_then(Signal::from_number)
            .ok_or_else(|| refusal(text, bare))
    }
}

fn real_time(bare: &str) -> Option<i32> {
    let (from, sign, offset) = if let Some(offset) = bare.strip_prefix("RTMIN") {
        (i32::from(RTMIN), 1, offset.strip_prefix('+'))
    } else {
        let offset = bare.strip_prefix("RTMAX")?;
        (i32::from(RTMAX), -1, offset.strip_prefix('-'))
    };
    let offset = match offset {
        Some(digits) => i32::from(digits.parse::<u8>().ok()?),
        None if bare.len() == "RTMIN".len() => 0,
        None => return None,
    };
    let number = from + sign * offset;
    (i32::from(RTMIN)..=i32::from(RTMAX))
        .contains(&number)
        .then_some(number)
}

fn refusal(text: &str, bare: &str) -> Expected {
    let refusal = Expected::new(format!("{} is not a signal", shown(text)));
    match crate::suggest::nearest(bare, NAMES) {
        Some(near) => refusal.help(format!("did you mean \"SIG{near}\"?")),
        None => refusal.help("for example \"SIGTERM\", \"SIGQUIT\" or \"SIGRTMIN+3\""),
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match NAMES.get(usize::from(self.0) - 1) {
            Some(name) => write!(f, "SIG{name}"),
            None if self.0 < RTMIN => write!(f, "{}", self.0),
            None => write!(f, "SIGRTMIN+{}", self.0 - RTMIN),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table() {
        let good = [
            ("SIGTERM", 15),
            ("term", 15),
            ("15", 15),
            ("SIGQUIT", 3),
            ("KILL", 9),
            ("SIGSYS", 31),
            ("SIGRTMIN", 34),
            ("SIGRTMIN+3", 37),
            ("RTMAX", 64),
            ("SIGRTMAX-2", 62),
        ];
        for (text, number) in good {
            assert_eq!(
                text.parse::<Signal>().map(Signal::number),
                Ok(number),
                "{text}"
            );
        }
        for bad in [
            "",
            "SIG",
            "0",
            "65",
            "-1",
            "SIGRTMIN+40",
            "SIGRTMINX",
            "SIGFOO",
            "9.0",
        ] {
            assert!(bad.parse::<Signal>().is_err(), "{bad}");
        }
        let refusal = "SIGTREM".parse::<Signal>().unwrap_err();
        assert_eq!(refusal.help.as_deref(), Some("did you mean \"SIGTERM\"?"));
    }

    #[test]
    fn every_printed_form_parses_back() {
        for number in 1..=64 {
            let signal = Signal::from_number(number).unwrap();
            assert_eq!(signal.to_string().parse::<Signal>(), Ok(signal), "{number}");
        }
        assert_eq!(Signal::from_number(0), None);
        assert_eq!(Signal::from_number(65), None);
    }
}
