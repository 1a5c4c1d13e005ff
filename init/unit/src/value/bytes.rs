//! Sizes in bytes, with suffixes in powers of 1024.

use std::fmt;
use std::str::FromStr;

use crate::expected::{self, Expected};

/// A number of bytes.
///
/// Written as a number with `K`, `M`, `G` or `T`, each 1024 of the one before (as docker, compose
/// and systemd read them); `Ki` and `KiB` mean the same as `K`. `KB` is refused, because half of
/// the world reads it as 1000.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bytes(pub u64);

const SUFFIXES: [(char, u32); 4] = [('T', 40), ('G', 30), ('M', 20), ('K', 10)];

impl Bytes {
    /// `n` KiB.
    pub const fn kib(n: u64) -> Self {
        Self(n << 10)
    }

    /// `n` MiB.
    pub const fn mib(n: u64) -> Self {
        Self(n << 20)
    }

    /// The number of bytes.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl FromStr for Bytes {
    type Err = Expected;

    fn from_str(text: &str) -> Result<Self, Expected> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, suffix) = text.split_at(digits);
        if number.is_empty() {
            return Err(expected::bytes());
        }
        let shift = match suffix {
            "" | "B" => 0,
            _ => shift_of(number, suffix)?,
        };
        let too_large = || Expected::new("the size is too large: at most 16383T fit");
        let number: u64 = number.parse().map_err(|_| too_large())?;
        number
            .checked_mul(1 << shift)
            .map(Bytes)
            .ok_or_else(too_large)
    }
}

fn shift_of(number: &str, suffix: &str) -> Result<u32, Expected> {
    let mut letters = suffix.chars();
    let first = letters.next().map(|c| c.to_ascii_uppercase());
    let Some(&(letter, shift)) = SUFFIXES.iter().find(|(l, _)| Some(*l) == first) else {
        return Err(expected::bytes());
    };
    match letters.as_str() {
        "" | "i" | "iB" => Ok(shift),
        "B" | "b" => Err(
            Expected::new(format!("{suffix} could mean powers of 1000 or of 1024"))
                .help(format!("write \"{number}{letter}\" for powers of 1024")),
        ),
        _ => Err(expected::bytes()),
    }
}

/// The largest suffix that divides the number, so that the printed form is exact.
impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (letter, shift) in SUFFIXES {
            if self.0 != 0 && self.0.trailing_zeros() >= shift {
                return write!(f, "{}{letter}", self.0 >> shift);
            }
        }
        write!(f, "{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn table() {
        let good = [
            ("0", 0),
            ("4096", 4096),
            ("7B", 7),
            ("1K", 1024),
            ("1k", 1024),
            ("256M", 256 << 20),
            ("256Mi", 256 << 20),
            ("256MiB", 256 << 20),
            ("2G", 2 << 30),
            ("1T", 1 << 40),
        ];
        for (text, bytes) in good {
            assert_eq!(text.parse::<Bytes>(), Ok(Bytes(bytes)), "{text}");
        }
        let bad = [
            ("256Q", "expected a number with K, M, G or T"),
            ("", "expected a number with"),
            ("M", "expected a number with"),
            ("-1M", "expected a number with"),
            ("1.5G", "expected a number with"),
            ("256 M", "expected a number with"),
            ("256MB", "MB could mean"),
            ("99999999999999999999", "too large"),
            ("16777216T", "too large"),
        ];
        for (text, message) in bad {
            let refusal = text.parse::<Bytes>().unwrap_err();
            assert!(refusal.message.contains(message), "{text}: {refusal}");
        }
    }

    proptest! {
        #[test]
        fn printed_form_parses_back(n in any::<u64>(), shift in 0u32..50) {
            let bytes = Bytes(n >> shift << shift.min(40));
            prop_assert_eq!(bytes.to_string().parse::<Bytes>(), Ok(bytes));
        }

        #[test]
        fn never_panics(text in ".{0,24}") {
            let _ = text.parse::<Bytes>();
        }
    }
}
