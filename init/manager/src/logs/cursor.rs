//! Places in a log.

use std::fmt;
use std::str::FromStr;

/// A place in one stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct Place {
    pub(super) segment: u64,
    pub(super) offset: u64,
}

/// A place in both streams: all before it has been seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Cursor {
    pub(super) stdout: Place,
    pub(super) stderr: Place,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Cursor { stdout, stderr } = self;
        write!(
            f,
            "{:x}.{:x}-{:x}.{:x}",
            stdout.segment, stdout.offset, stderr.segment, stderr.offset
        )
    }
}

impl FromStr for Cursor {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let place = |text: &str| {
            let (segment, offset) = text.split_once('.').ok_or(())?;
            Ok(Place {
                segment: u64::from_str_radix(segment, 16).map_err(|_| ())?,
                offset: u64::from_str_radix(offset, 16).map_err(|_| ())?,
            })
        };
        let (stdout, stderr) = text.split_once('-').ok_or(())?;
        Ok(Cursor {
            stdout: place(stdout)?,
            stderr: place(stderr)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_cursor_survives_its_text(a: u64, b: u64, c: u64, d: u64) {
            let cursor = Cursor {
                stdout: Place { segment: a, offset: b },
                stderr: Place { segment: c, offset: d },
            };
            prop_assert_eq!(cursor.to_string().parse(), Ok(cursor));
        }

        #[test]
        fn any_text_is_survived(text in ".{0,40}") {
            let _ = text.parse::<Cursor>();
        }
    }
}
