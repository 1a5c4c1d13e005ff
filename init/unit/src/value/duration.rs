//! Spans of time: `500ms`, `5s`, `1m30s`, `2h`. The value itself is the standard library's.

use std::fmt::Write;
use std::time::Duration;

use crate::expected::{self, Expected};

/// The longest span that a file can name: a year. Longer ones are mistakes, and sums of times with
/// this bound never overflow.
pub const MAX: Duration = Duration::from_secs(366 * 24 * 3600);

const UNITS_MS: [(&str, u64); 5] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// Reads a span of time: whole numbers, each with `ms`, `s`, `m`, `h` or `d`, largest first.
///
/// # Errors
/// Anything else, a number without its unit included, and more than [`MAX`].
pub fn parse(text: &str) -> Result<Duration, Expected> {
    let bare = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if bare && text.len() < 12 {
        return Err(
            Expected::new("expected a time with its unit: ms, s, m or h")
                .help(format!("write \"{text}s\" for seconds")),
        );
    }
    let mut rest = text;
    let mut total_ms: u64 = 0;
    let mut units = UNITS_MS.iter();
    while !rest.is_empty() || total_ms == 0 && text.is_empty() {
        let (number, after) = split_at_end(rest, |b| b.is_ascii_digit());
        let (unit, after) = split_at_end(after, |b| b.is_ascii_alphabetic());
        let number: u64 = number.parse().map_err(|_| expected::duration())?;
        let Some((_, unit_ms)) = units.by_ref().find(|(name, _)| *name == unit) else {
            return Err(expected::duration());
        };
        total_ms = number
            .checked_mul(*unit_ms)
            .and_then(|ms| total_ms.checked_add(ms))
            .filter(|ms| u128::from(*ms) <= MAX.as_millis())
            .ok_or_else(|| Expected::new("the time is longer than a year"))?;
        rest = after;
    }
    Ok(Duration::from_millis(total_ms))
}

fn split_at_end(text: &str, belongs: impl Fn(&u8) -> bool) -> (&str, &str) {
    text.split_at(text.bytes().take_while(|b| belongs(b)).count())
}

/// Writes a span of whole milliseconds in the form that [`parse`] reads.
pub fn format(duration: Duration) -> String {
    let mut rest_ms = duration.as_millis();
    let mut out = String::new();
    for (name, unit_ms) in UNITS_MS {
        let count = rest_ms / u128::from(unit_ms);
        if count > 0 {
            // Writing to a string cannot fail.
            let _ = write!(out, "{count}{name}");
            rest_ms %= u128::from(unit_ms);
        }
    }
    if out.is_empty() { "0s".to_owned() } else { out }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn table() {
        let good = [
            ("0s", 0),
            ("500ms", 500),
            ("5s", 5_000),
            ("1m30s", 90_000),
            ("2h", 7_200_000),
            ("1d", 86_400_000),
            ("1h0m1s", 3_601_000),
        ];
        for (text, ms) in good {
            assert_eq!(parse(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        let bad = [
            ("", "with its unit"),
            ("5", "with its unit"),
            ("s", "with its unit"),
            ("5 s", "with its unit"),
            ("5x", "with its unit"),
            ("1s1m", "with its unit"),
            ("1.5s", "with its unit"),
            ("-5s", "with its unit"),
            ("9999d", "longer than a year"),
            ("18446744073709551615h", "longer than a year"),
        ];
        for (text, message) in bad {
            let refusal = parse(text).unwrap_err();
            assert!(refusal.message.contains(message), "{text}: {refusal}");
        }
        assert_eq!(
            parse("5").unwrap_err().help.as_deref(),
            Some("write \"5s\" for seconds")
        );
    }

    proptest! {
        #[test]
        fn printed_form_parses_back(ms in 0..=MAX.as_millis() as u64) {
            let duration = Duration::from_millis(ms);
            prop_assert_eq!(parse(&format(duration)), Ok(duration));
        }

        #[test]
        fn never_panics(text in ".{0,24}") {
            let _ = parse(&text);
        }
    }
}
