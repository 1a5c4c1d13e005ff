//! Numbers in PAX records.

use crate::tree::Time;

/// An unsigned decimal number; nothing else may be in the bytes.
pub(super) fn decimal(bytes: &[u8]) -> Option<u64> {
    if bytes.is_empty() || !bytes.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(bytes).ok()?.parse().ok()
}

/// Seconds with an optional sign and fraction (`-1.5`), as POSIX writes times
/// in PAX records; digits past the ninth are dropped.
pub(super) fn time(bytes: &[u8]) -> Option<Time> {
    let (negative, bytes) = match bytes.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, bytes),
    };
    let mut parts = bytes.splitn(2, |byte| *byte == b'.');
    let secs = i64::try_from(decimal(parts.next()?)?).ok()?;
    let mut nanos = 0;
    if let Some(fraction) = parts.next() {
        if !fraction.iter().all(u8::is_ascii_digit) {
            return None;
        }
        for place in 0..9 {
            nanos = nanos * 10 + u32::from(fraction.get(place).map_or(0, |digit| digit - b'0'));
        }
    }
    Some(match (negative, nanos) {
        (false, _) => Time { secs, nanos },
        (true, 0) => Time {
            secs: -secs,
            nanos: 0,
        },
        (true, _) => Time {
            secs: -secs - 1,
            nanos: 1_000_000_000 - nanos,
        },
    })
}

/// The same the other way, in the shortest form.
pub(super) fn show(time: Time) -> String {
    if time.nanos == 0 {
        return time.secs.to_string();
    }
    let (sign, secs, nanos) = if time.secs < 0 {
        ("-", -(time.secs + 1), 1_000_000_000 - time.nanos)
    } else {
        ("", time.secs, time.nanos)
    };
    let fraction = format!("{nanos:09}");
    format!("{sign}{secs}.{}", fraction.trim_end_matches('0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_as_posix_writes_them() {
        for (text, secs, nanos) in [
            ("0", 0, 0),
            ("1700000000.123456789", 1_700_000_000, 123_456_789),
            ("1.5", 1, 500_000_000),
            ("1.", 1, 0),
            ("-1", -1, 0),
            ("-1.25", -2, 750_000_000),
            ("-0.5", -1, 500_000_000),
            ("2.0000000019", 2, 1),
        ] {
            assert_eq!(time(text.as_bytes()), Some(Time { secs, nanos }), "{text}");
        }
        for bad in [
            "",
            "-",
            "x",
            "1.x",
            "1,5",
            "99999999999999999999",
            "--1",
            "+1",
            " 1",
        ] {
            assert_eq!(time(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn what_is_shown_reads_back() {
        for (secs, nanos) in [
            (0, 0),
            (-1, 0),
            (-2, 750_000_000),
            (-1, 1),
            (5, 10),
            (i64::MAX, 0),
        ] {
            let it = Time { secs, nanos };
            assert_eq!(time(show(it).as_bytes()), Some(it));
        }
    }
}
