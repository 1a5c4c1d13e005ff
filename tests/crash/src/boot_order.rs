//! Which file in `EFI/Linux` systemd-boot 252 starts, of any names that may be there.
//!
//! `orlop_slot::boot_order` has the same rules for names that are ours. Here are those for all
//! names, as power can leave an 8.3 name (`ORLOP_~1.EFI`) in a torn rename: files that count
//! (`config_entry_add_unified`), their counters (`config_entry_parse_tries`), their order
//! (`config_entry_compare`), and how two names compare (`strverscmp_improved`, after RPM's rules).

use std::cmp::Ordering;

use orlop_slot::Tries;

/// systemd-boot's largest counter.
const TRIES_MAX: u64 = i32::MAX as u64;

/// Whether it looks into a file of this name.
pub(crate) fn counts(name: &str) -> bool {
    let end = name.len().checked_sub(4).and_then(|at| name.get(at..));
    let is_efi = end.is_some_and(|end| end.eq_ignore_ascii_case(".efi"));
    is_efi && !name.starts_with('.') && !name.starts_with("auto-")
}

/// The counter in a name: behind the last `+`, and nothing but `.efi` behind it.
pub(crate) fn tries(name: &str) -> Option<Tries> {
    let (_, counter) = name.rsplit_once('+')?;
    let (left, rest) = number(counter)?;
    let (done, rest) = match rest.strip_prefix('-') {
        Some(done) => number(done)?,
        None => (0, rest),
    };
    rest.eq_ignore_ascii_case(".efi")
        .then_some(Tries { left, done })
}

fn number(text: &str) -> Option<(u32, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit());
    let (digits, rest) = text.split_at(end.unwrap_or(text.len()));
    let value = digits.parse::<u64>().ok()?;
    let value = u32::try_from(value.min(TRIES_MAX + 1)).ok()?;
    (u64::from(value) <= TRIES_MAX).then_some((value, rest))
}

/// Sorts names that count, the one that is started by itself first.
pub(crate) fn compare(a: &str, b: &str) -> Ordering {
    let (a_tries, b_tries) = (tries(a), tries(b));
    let bad = |tries: Option<Tries>| tries.is_some_and(|tries| tries.left == 0);
    let (a, b) = (a.to_lowercase(), b.to_lowercase());
    let by_tries = || match (a_tries, b_tries) {
        (Some(a), Some(b)) => b.left.cmp(&a.left).then(a.done.cmp(&b.done)),
        _ => Ordering::Equal,
    };
    bad(a_tries)
        .cmp(&bad(b_tries))
        .then_with(|| versions(b.as_bytes(), a.as_bytes()))
        .then_with(by_tries)
}

/// Two names as versions, the older one less.
fn versions(mut a: &[u8], mut b: &[u8]) -> Ordering {
    loop {
        a = skip(a, |byte| !is_version(byte));
        b = skip(b, |byte| !is_version(byte));
        if a.first() == Some(&b'~') || b.first() == Some(&b'~') {
            match separated(&mut a, &mut b, b'~') {
                Ordering::Equal => {}
                unequal => return unequal,
            }
        }
        if a.is_empty() || b.is_empty() {
            return b.is_empty().cmp(&a.is_empty());
        }
        for separator in [b'-', b'^', b'.'] {
            if a.first() == Some(&separator) || b.first() == Some(&separator) {
                match separated(&mut a, &mut b, separator) {
                    Ordering::Equal => {}
                    unequal => return unequal,
                }
            }
        }
        match segments(&mut a, &mut b) {
            Ordering::Equal => {}
            unequal => return unequal,
        }
    }
}

/// At a separator that at least one of them has: whoever has it is older.
fn separated(a: &mut &[u8], b: &mut &[u8], separator: u8) -> Ordering {
    let (a_has, b_has) = (a.first() == Some(&separator), b.first() == Some(&separator));
    if a_has && b_has {
        (*a, *b) = (&a[1..], &b[1..]);
    }
    b_has.cmp(&a_has)
}

/// The leading numbers, if there is one, else the leading letters.
fn segments(a: &mut &[u8], b: &mut &[u8]) -> Ordering {
    let starts_number = |text: &[u8]| text.first().is_some_and(u8::is_ascii_digit);
    if !starts_number(a) && !starts_number(b) {
        let (own, other) = (
            take(a, u8::is_ascii_alphabetic),
            take(b, u8::is_ascii_alphabetic),
        );
        return own.cmp(other);
    }
    let (own, other) = (take(a, u8::is_ascii_digit), take(b, u8::is_ascii_digit));
    let zeros = |byte: u8| byte == b'0';
    let any = (!own.is_empty()).cmp(&!other.is_empty());
    let (own, other) = (skip(own, zeros), skip(other, zeros));
    any.then(own.len().cmp(&other.len())).then(own.cmp(other))
}

fn is_version(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'~' | b'-' | b'^' | b'.')
}

fn skip(text: &[u8], which: impl Fn(u8) -> bool) -> &[u8] {
    let end = text.iter().position(|byte| !which(*byte));
    text.get(end.unwrap_or(text.len())..).unwrap_or_default()
}

fn take<'t>(text: &mut &'t [u8], which: impl Fn(&u8) -> bool) -> &'t [u8] {
    let end = text.iter().position(|byte| !which(byte));
    let (taken, rest) = text.split_at(end.unwrap_or(text.len()));
    *text = rest;
    taken
}

#[cfg(test)]
mod tests;
