//! Which of two versions is the newer: the UAPI Group's Version Format Specification (UAPI.10),
//! version 1.0, <https://uapi-group.org/specifications/specs/version_format_specification/>.

use std::cmp::Ordering;

/// Compares two versions.
///
/// Two that are written differently may be equal (`1.0` and `1.00`). systemd 252 does the same but for
/// letters beside a zero: to it `1.a` is older than `1.0`, where the specification counts no number
/// as 0, and then the letters as more.
pub fn compare(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a.as_bytes(), b.as_bytes());
    loop {
        // The numbers are those of the specification's steps.
        (a, b) = (skip_others(a), skip_others(b)); // 1
        match both_start_with(a, b, b'~') {
            Ok(true) => (a, b) = (&a[1..], &b[1..]), // 2
            Ok(false) => {}
            Err(decided) => return decided,
        }
        match (a.is_empty(), b.is_empty()) {
            (true, true) => return Ordering::Equal, // 3
            (true, false) => return Ordering::Less,
            (false, true) => return Ordering::Greater,
            (false, false) => {}
        }
        for separator in [b'-', b'^', b'.'] {
            match both_start_with(a, b, separator) {
                Ok(true) => (a, b) = (&a[1..], &b[1..]), // 4, 5, 6
                Ok(false) => {}
                Err(decided) => return decided,
            }
        }
        let starts = |text: &[u8]| text.first().is_some_and(u8::is_ascii_digit);
        let (order, a_len, b_len) = if starts(a) || starts(b) {
            let (x, y) = (prefix(a, u8::is_ascii_digit), prefix(b, u8::is_ascii_digit));
            (compare_numbers(x, y), x.len(), y.len()) // 7
        } else {
            let letter = u8::is_ascii_alphabetic;
            let (x, y) = (prefix(a, letter), prefix(b, letter));
            (x.cmp(y), x.len(), y.len()) // 8
        };
        if order.is_ne() {
            return order;
        }
        (a, b) = (&a[a_len..], &b[b_len..]);
    }
}

fn skip_others(text: &[u8]) -> &[u8] {
    let listed = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'~' | b'^');
    let start = text.iter().position(listed).unwrap_or(text.len());
    &text[start..]
}

/// Whether both start with `mark`; where only one does, it is the lower.
fn both_start_with(a: &[u8], b: &[u8], mark: u8) -> Result<bool, Ordering> {
    match (a.first() == Some(&mark), b.first() == Some(&mark)) {
        (true, true) => Ok(true),
        (false, false) => Ok(false),
        (true, false) => Err(Ordering::Less),
        (false, true) => Err(Ordering::Greater),
    }
}

fn prefix(text: &[u8], inner: fn(&u8) -> bool) -> &[u8] {
    let end = text.iter().position(|byte| !inner(byte));
    &text[..end.unwrap_or(text.len())]
}

/// Numbers of any length; none at all is 0.
fn compare_numbers(a: &[u8], b: &[u8]) -> Ordering {
    let zeros = |digits: &[u8]| digits.iter().take_while(|digit| **digit == b'0').count();
    let (a, b) = (&a[zeros(a)..], &b[zeros(b)..]);
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The examples of the specification, in its order.
    const EXAMPLES: &[(&str, Ordering, &str)] = &[
        ("11", Ordering::Equal, "11"),
        ("systemd-123", Ordering::Equal, "systemd-123"),
        ("bar-123", Ordering::Less, "foo-123"),
        ("123a", Ordering::Greater, "123"),
        ("123.a", Ordering::Greater, "123"),
        ("123.a", Ordering::Less, "123.b"),
        ("123a", Ordering::Greater, "123.a"),
        ("11α", Ordering::Equal, "11β"),
        ("B", Ordering::Less, "a"),
        ("", Ordering::Less, "0"),
        ("0.", Ordering::Greater, "0"),
        ("0.0", Ordering::Greater, "0"),
        ("0", Ordering::Greater, "~"),
        ("", Ordering::Greater, "~"),
        ("1_", Ordering::Equal, "1"),
        ("_1", Ordering::Equal, "1"),
        ("1_", Ordering::Less, "1.2"),
        ("1_2_3", Ordering::Greater, "1.3.3"),
        ("1+", Ordering::Equal, "1"),
        ("+1", Ordering::Equal, "1"),
        ("1+", Ordering::Less, "1.2"),
        ("1+2+3", Ordering::Greater, "1.3.3"),
    ];

    /// Its last example: each is lower than all that follow.
    const CHAIN: &[&str] = &[
        "122.1",
        "123~rc1-1",
        "123",
        "123-a",
        "123-a.1",
        "123-1",
        "123-1.1",
        "123^post1",
        "123.a-1",
        "123.1-1",
        "123a-1",
        "124-1",
    ];

    #[test]
    fn the_specifications_examples() {
        for (a, order, b) in EXAMPLES {
            assert_eq!(compare(a, b), *order, "{a} {b}");
            assert_eq!(compare(b, a), order.reverse(), "{b} {a}");
        }
        for (i, a) in CHAIN.iter().enumerate() {
            for (j, b) in CHAIN.iter().enumerate() {
                assert_eq!(compare(a, b), i.cmp(&j), "{a} {b}");
            }
        }
    }

    #[test]
    fn versions_as_hosts_have_them() {
        let chain = [
            "1.9.0",
            "1.10.0~rc1",
            "1.10.0",
            "1.10.0-2",
            "1.10.0^1",
            "1.10.1",
            "2",
        ];
        for pair in chain.windows(2) {
            assert_eq!(compare(pair[0], pair[1]), Ordering::Less, "{pair:?}");
        }
        assert_eq!(compare("1.0", "1.00"), Ordering::Equal);
        assert_eq!(compare("1.a", "1.0"), Ordering::Greater);
        let huge = "9".repeat(60);
        assert_eq!(compare(&huge, &format!("{huge}0")), Ordering::Less);
    }

    proptest! {
        #[test]
        fn it_is_an_order(
            a in "[a-c0-2.~^-]{0,6}", b in "[a-c0-2.~^-]{0,6}", c in "[a-c0-2.~^-]{0,6}",
        ) {
            prop_assert_eq!(compare(&a, &a), Ordering::Equal);
            prop_assert_eq!(compare(&a, &b), compare(&b, &a).reverse());
            if compare(&a, &b).is_le() && compare(&b, &c).is_le() {
                prop_assert!(compare(&a, &c).is_le());
            }
        }

        #[test]
        fn never_panics(a in "\\PC{0,20}", b in "\\PC{0,20}") {
            let _ = compare(&a, &b);
        }
    }
}
