//! What a kernel said when it panicked, where the firmware keeps it: the kernel's pstore, by EFI
//! variables (`Documentation/ABI/testing/pstore`).
//!
//! A record is a part of the last panic's log; the first part is the log's end. What was read, and is
//! kept elsewhere by then, is removed: the firmware has little room for it, and some misbehave without
//! any.

use std::fs;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};

/// There is no such directory when no firmware of this kind started the machine.
const FIRMWARE: &str = "/sys/firmware/efi";
/// There is one when the kernel knows the firmware's records.
const MODULE: &str = "/sys/module/efi_pstore";
/// How long PID 1 may take to load that, in looks and the pause between.
const LOOKS: (u32, Duration) = (120, Duration::from_millis(500));
/// The most records that are read.
const RECORDS_MAX: usize = 256;
/// Bytes of a record.
const RECORD_MAX: usize = 64 << 10;
/// The lines that are kept: as many as these, of them so many before the reason. A trace of calls
/// and registers, which the log ends with, says less than what came before.
const LINES: (usize, usize) = (40, 24);
/// The characters of each.
const CHARS_MAX: usize = 400;
/// What the line with the reason contains.
const REASON: &str = "Kernel panic - not syncing: ";

/// The last words of a kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Panic {
    /// Why it panicked, in its words.
    pub(super) reason: String,
    /// The last lines of its log.
    pub(super) lines: Vec<String>,
}

/// Waits until the firmware's records can be read, and reads the last panic from there.
pub(super) async fn read() -> Option<Panic> {
    if !Path::new(FIRMWARE).exists() {
        return None;
    }
    let mut looks = LOOKS.0;
    while !Path::new(MODULE).exists() {
        looks = looks.checked_sub(1)?;
        tokio::time::sleep(LOOKS.1).await;
    }
    let read = tokio::task::spawn_blocking(|| mounted(read_in))
        .await
        .ok()?;
    read.unwrap_or_else(|error| {
        tracing::warn!("what the firmware kept of a panic cannot be read: {error}");
        None
    })
}

/// Removes the firmware's records, as what they say is kept.
pub(super) async fn clear() {
    let cleared = tokio::task::spawn_blocking(|| mounted(clear_in)).await;
    if let Ok(Err(error)) = cleared {
        tracing::warn!("what the firmware kept of a panic cannot be removed: {error}");
    }
}

fn mounted<T>(work: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
    use rustix::mount::{fsconfig_create, fsmount, fsopen};
    let records = fsopen(c"pstore", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_create(&records)?;
    let harmless = MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let mount = fsmount(&records, FsMountFlags::FSMOUNT_CLOEXEC, harmless)?;
    work(&PathBuf::from(format!(
        "/proc/self/fd/{}",
        mount.as_raw_fd()
    )))
}

/// A record: when it was made, which part it is, and what it says.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Part {
    at_s: u64,
    number: u64,
    text: String,
}

fn read_in(directory: &Path) -> io::Result<Option<Panic>> {
    let mut parts = Vec::new();
    for entry in fs::read_dir(directory)?.take(RECORDS_MAX) {
        let path = entry?.path();
        // One that cannot be read takes nothing from the others.
        let Ok(bytes) = crate::durable::read_bounded(&path, RECORD_MAX) else {
            continue;
        };
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        parts.extend(part(&name, &String::from_utf8_lossy(&bytes)));
    }
    Ok(last(parts))
}

fn clear_in(directory: &Path) -> io::Result<()> {
    let records = fs::read_dir(directory)?.take(RECORDS_MAX);
    records
        .into_iter()
        .try_for_each(|entry| fs::remove_file(entry?.path()))
}

/// A record of a panic; its name ends with an id that has the time, the part and a count
/// (`generic_id` in the kernel's efi-pstore.c).
fn part(name: &str, text: &str) -> Option<Part> {
    let (kind, id) = name.rsplit_once('-')?;
    let id: u64 = id.parse().ok()?;
    let (first, text) = text.split_once('\n')?;
    let is_panic = kind.starts_with("dmesg-") && first.starts_with("Panic#");
    is_panic.then(|| Part {
        at_s: id / 100_000,
        number: id / 1000 % 100,
        text: text.to_owned(),
    })
}

/// The last panic of which there are parts.
fn last(mut parts: Vec<Part>) -> Option<Panic> {
    parts.sort();
    let first = parts.iter().rposition(|part| part.number == 1)?;
    let log: String = parts[first..]
        .iter()
        .rev()
        .map(|part| part.text.as_str())
        .collect();
    // Each begins with its level and time: <0>[    1.234567].
    let line = |line: &str| {
        let line = line.split_once("] ").map_or(line, |(_, words)| words);
        line.trim_end().chars().take(CHARS_MAX).collect::<String>()
    };
    let all: Vec<String> = log.lines().map(line).filter(|l| !l.is_empty()).collect();
    let at = all.iter().rposition(|line| line.contains(REASON));
    let reason = at.and_then(|at| all[at].split_once(REASON));
    let reason = reason
        .map_or("it did not say why", |(_, reason)| reason)
        .to_owned();
    let first = match at {
        Some(at) => at.saturating_sub(LINES.1),
        None => all.len().saturating_sub(LINES.0),
    };
    let lines = all.into_iter().skip(first).take(LINES.0).collect();
    Some(Panic { reason, lines })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_panic_is_put_together_and_its_records_go() {
        let dir = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
        put(
            "dmesg-efi_pstore-170000000001001",
            "Panic#1 Part1\n<0>[    1.0] an older one\n",
        );
        put(
            "dmesg-efi_pstore-170000010001001",
            "Panic#1 Part1\n<0>[    2.5] Kernel panic - not syncing: No working init found.\n\
             <4>[    2.6] Call Trace:\n",
        );
        // Made a second later, of what was said before.
        put(
            "dmesg-efi_pstore-170000010102001",
            "Panic#1 Part2\n<6>[    2.4] Run /init\n",
        );
        put(
            "dmesg-efi_pstore-170000020001001",
            "Oops#1 Part1\n<0>[    9.0] lived on\n",
        );
        put("console-ramoops-0", "something else");
        let panic = read_in(dir.path()).unwrap().unwrap();
        assert_eq!(panic.reason, "No working init found.");
        assert_eq!(
            panic.lines,
            [
                "Run /init",
                "Kernel panic - not syncing: No working init found.",
                "Call Trace:"
            ]
        );
        clear_in(dir.path()).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        assert_eq!(read_in(dir.path()).unwrap(), None);
    }

    #[test]
    fn nonsense_is_no_panic() {
        for (name, text) in [
            ("", ""),
            ("dmesg-efi_pstore-x", "Panic#1 Part1\na\n"),
            ("dmesg-efi_pstore-1", "Panic#1 Part1"),
            ("dmesg", "Panic#1 Part1\na\n"),
        ] {
            assert_eq!(part(name, text), None, "{name}");
        }
        // Only its middle is left.
        let middle = part("dmesg-efi_pstore-170000010102001", "Panic#1 Part2\nx\n");
        assert_eq!(last(middle.into_iter().collect()), None);
    }
}
