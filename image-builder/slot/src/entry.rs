//! File names of unified kernel images in `EFI/Linux`, and which of them systemd-boot starts.
//!
//! ```text
//! orlop_<serial>_<version>[+<left>[-<done>]].efi
//! ```
//!
//! The counter is the Boot Loader Specification's ("Boot counting"): before it starts an entry that
//! has one, systemd-boot takes 1 from the tries left and adds 1 to the tries done, by renaming the
//! file. An entry without a counter is good. One with no tries left is bad and comes last.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

/// How often an entry may still be tried, and how often it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tries {
    /// Tries left; none means that the entry is bad.
    pub left: u32,
    /// Tries made.
    pub done: u32,
}

/// A unified kernel image by its file name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BootEntry {
    /// Grows with each install, from 1.
    pub serial: u32,
    /// The host image's version: letters, digits, `.`, `~`, `^`, `-`.
    pub version: String,
    /// The counter; `None` when the entry is known to be good.
    pub tries: Option<Tries>,
}

impl BootEntry {
    /// Whether systemd-boot starts it only when there is nothing else.
    pub fn is_bad(&self) -> bool {
        self.tries.is_some_and(|tries| tries.left == 0)
    }
}

/// Sorts entries as systemd-boot 252 does, the one that it starts by itself first.
///
/// Its rules (`boot_entry_compare`): entries with no tries left go last; then by sort key, machine
/// id and version from `.osrel`, which are alike in all of Orlop's; then by file name, the highest
/// first, numbers in it compared as numbers. So the serial decides. Two entries of one serial exist
/// only after a rename that power interrupted; then the rest of the name decides, the higher number
/// first: the version, the tries left, the tries done.
pub fn boot_order(entries: &mut [BootEntry]) {
    entries.sort_by(compare);
}

fn compare(a: &BootEntry, b: &BootEntry) -> Ordering {
    let tries = |entry: &BootEntry| entry.tries.map(|tries| tries.left);
    // A name that says nothing of tries done comes before one that does.
    let done = |entry: &BootEntry| match entry.tries.map_or(0, |tries| tries.done) {
        0 => u32::MAX,
        done => done,
    };
    a.is_bad()
        .cmp(&b.is_bad())
        .then_with(|| b.serial.cmp(&a.serial))
        .then_with(|| b.version.cmp(&a.version))
        .then_with(|| tries(b).cmp(&tries(a)))
        .then_with(|| done(b).cmp(&done(a)))
}

/// Why a file name is none of ours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BootEntryError {
    /// Another program's entry, or another kind of file.
    #[error("{0:?} is not named orlop_<serial>_<version>.efi")]
    Foreign(String),
    /// Ours, with a number that is not one.
    #[error("{name:?}: {what} is not a number from {low} to 4294967295")]
    Number {
        /// The file's name.
        name: String,
        /// Which number.
        what: &'static str,
        /// The least that it can be.
        low: u32,
    },
    /// Ours, with a version that no host image can have.
    #[error("{0:?}: the version must be 1 to 64 letters, digits, `.`, `~`, `^` and `-`")]
    Version(String),
}

/// FAT knows no case, and systemd-boot compares the names in lower case, so a name that another
/// system wrote in upper case is read too; the version keeps the case that it has.
impl FromStr for BootEntry {
    type Err = BootEntryError;

    fn from_str(name: &str) -> Result<Self, BootEntryError> {
        let foreign = || BootEntryError::Foreign(name.to_owned());
        let middle = strip_ascii_ignoring_case(name, "orlop_", ".efi").ok_or_else(foreign)?;
        let (serial, rest) = middle.split_once('_').ok_or_else(foreign)?;
        let (version, counter) = match rest.split_once('+') {
            Some((version, counter)) => (version, Some(counter)),
            None => (rest, None),
        };
        if !is_version(version) {
            return Err(BootEntryError::Version(name.to_owned()));
        }
        let serial = number(name, serial, "the serial", 1)?;
        let tries = counter.map(|counter| tries(name, counter)).transpose()?;
        Ok(Self {
            serial,
            version: version.to_owned(),
            tries,
        })
    }
}

fn strip_ascii_ignoring_case<'n>(name: &'n str, prefix: &str, suffix: &str) -> Option<&'n str> {
    let end = name.len().checked_sub(suffix.len())?;
    let (begins, ends) = (name.get(..prefix.len())?, name.get(end..)?);
    let ours = begins.eq_ignore_ascii_case(prefix) && ends.eq_ignore_ascii_case(suffix);
    if ours {
        name.get(prefix.len()..end)
    } else {
        None
    }
}

fn is_version(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'~' | b'^' | b'-');
    (1..=64).contains(&text.len()) && text.bytes().all(inner)
}

fn tries(name: &str, counter: &str) -> Result<Tries, BootEntryError> {
    let (left, done) = match counter.split_once('-') {
        Some((left, done)) => (left, Some(done)),
        None => (counter, None),
    };
    let left = number(name, left, "tries left", 0)?;
    let done = done.map_or(Ok(0), |done| number(name, done, "tries done", 0))?;
    Ok(Tries { left, done })
}

fn number(name: &str, text: &str, what: &'static str, low: u32) -> Result<u32, BootEntryError> {
    let refusal = || BootEntryError::Number {
        name: name.to_owned(),
        what,
        low,
    };
    if !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(refusal());
    }
    text.parse()
        .ok()
        .filter(|number| *number >= low)
        .ok_or_else(refusal)
}

/// The file's name. No tries done are left out, as in a name that nobody has started yet.
impl fmt::Display for BootEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "orlop_{}_{}", self.serial, self.version)?;
        match self.tries {
            None => {}
            Some(Tries { left, done: 0 }) => write!(f, "+{left}")?,
            Some(Tries { left, done }) => write!(f, "+{left}-{done}")?,
        }
        f.write_str(".efi")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entry(name: &str) -> BootEntry {
        name.parse().unwrap()
    }

    #[test]
    fn names() {
        let made = |serial, version: &str, tries| BootEntry {
            serial,
            version: version.to_owned(),
            tries,
        };
        let some = |left, done| Some(Tries { left, done });
        let cases = [
            ("orlop_1_1.0.0.efi", made(1, "1.0.0", None)),
            (
                "orlop_12_1.0.0-rc1+3.efi",
                made(12, "1.0.0-rc1", some(3, 0)),
            ),
            (
                "orlop_12_2024.1~beta+2-1.efi",
                made(12, "2024.1~beta", some(2, 1)),
            ),
            ("orlop_7_1.0.0+0-3.efi", made(7, "1.0.0", some(0, 3))),
            ("orlop_7_1.0.0+0.efi", made(7, "1.0.0", some(0, 0))),
        ];
        for (name, value) in cases {
            assert_eq!(name.parse(), Ok(value.clone()));
            assert_eq!(value.to_string(), name);
        }
        assert_eq!(entry("ORLOP_1_1.0.EFI"), entry("orlop_1_1.0.efi"));
    }

    #[test]
    fn other_names() {
        let bad = [
            ("", "is not named"),
            (".efi", "is not named"),
            ("orlop_.efi", "is not named"),
            ("orlop_1.efi", "is not named"),
            ("debian_1_1.0.efi", "is not named"),
            ("orlop_1_1.0.conf", "is not named"),
            ("orlop_1_1.0", "is not named"),
            ("ørlop_1_1.0.efi", "is not named"),
            ("orlop_1_.efi", "the version must be"),
            ("orlop_1_+3.efi", "the version must be"),
            ("orlop_1_a_b.efi", "the version must be"),
            ("orlop_0_1.0.efi", "the serial is not a number"),
            ("orlop_x_1.0.efi", "the serial is not a number"),
            ("orlop_-1_1.0.efi", "the serial is not a number"),
            ("orlop_4294967296_1.0.efi", "the serial is not a number"),
            ("orlop_1_1.0+.efi", "tries left is not a number"),
            ("orlop_1_1.0++3.efi", "tries left is not a number"),
            ("orlop_1_1.0+3-.efi", "tries done is not a number"),
            ("orlop_1_1.0+3-1-1.efi", "tries done is not a number"),
        ];
        for (name, message) in bad {
            let refusal = name.parse::<BootEntry>().unwrap_err().to_string();
            assert!(refusal.contains(message), "{name}: {refusal}");
        }
    }

    #[test]
    fn order() {
        let cases: [&[&str]; 5] = [
            // The newest install, whatever its version, and 10 after 9.
            &["orlop_10_1.0.efi", "orlop_9_2.0.efi"],
            // On trial, it is started before the good one.
            &["orlop_2_1.1+3.efi", "orlop_1_1.0.efi"],
            &["orlop_2_1.1+1-2.efi", "orlop_1_1.0.efi"],
            // Out of tries, after it.
            &["orlop_1_1.0.efi", "orlop_2_1.1+0-3.efi"],
            // Rolled back by hand; two bad ones are still in an order.
            &[
                "orlop_1_1.0.efi",
                "orlop_3_1.2+0-1.efi",
                "orlop_2_1.1+0.efi",
            ],
        ];
        for names in cases {
            let mut entries: Vec<BootEntry> = names.iter().rev().map(|name| entry(name)).collect();
            boot_order(&mut entries);
            let sorted: Vec<String> = entries.iter().map(BootEntry::to_string).collect();
            assert_eq!(sorted, names);
        }
    }

    proptest! {
        #[test]
        fn printed_form_parses_back(
            serial in 1u32.., version in "[a-zA-Z0-9.~^-]{1,64}", tries in any::<Option<(u32, u32)>>(),
        ) {
            let tries = tries.map(|(left, done)| Tries { left, done });
            let entry = BootEntry { serial, version, tries };
            prop_assert_eq!(entry.to_string().parse(), Ok(entry));
        }

        #[test]
        fn never_panics(name in "(orlop_)?\\PC{0,20}(\\.efi)?") {
            let _ = name.parse::<BootEntry>();
        }

        #[test]
        fn the_first_is_bad_only_when_all_are(
            list in prop::collection::vec((1u32..5, any::<Option<(u8, u8)>>()), 1..6),
        ) {
            let tries = |(left, done): (u8, u8)| Tries { left: left.into(), done: done.into() };
            let mut entries: Vec<BootEntry> = list
                .into_iter()
                .map(|(serial, t)| BootEntry { serial, version: "1".into(), tries: t.map(tries) })
                .collect();
            boot_order(&mut entries);
            prop_assert_eq!(entries[0].is_bad(), entries.iter().all(BootEntry::is_bad));
        }
    }
}
