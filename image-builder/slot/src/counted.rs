//! Whether the boot loader counted a start: only then is the next one of the same entry one of few.

use crate::entry::{BootEntry, Tries};

/// Why the boot loader would start the same entry again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endless {
    /// Its name has no counter.
    NoCounter,
    /// It had no tries left and was started in spite of that: there is no other.
    NoTries,
    /// The boot loader could not count this start.
    NotCounted,
}

/// The tries that are left of the entry that the boot loader `started`, which it gave the name
/// `counted` when it counted that.
pub(crate) fn left(started: Option<&BootEntry>, counted: Option<&str>) -> Result<u32, Endless> {
    let started = started.and_then(|entry| entry.tries.map(|tries| (entry, tries)));
    let (entry, tries) = started.ok_or(Endless::NoCounter)?;
    if tries.left == 0 {
        return Err(Endless::NoTries);
    }
    let now: Option<BootEntry> = counted.and_then(|name| name.parse().ok());
    match now {
        Some(BootEntry {
            serial,
            tries: Some(Tries { left, .. }),
            ..
        }) if serial == entry.serial && left < tries.left => Ok(left),
        Some(_) | None => Err(Endless::NotCounted),
    }
}
