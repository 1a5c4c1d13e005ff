//! The first stage: from the initramfs to the root.

use crate::boot::Phases;
use crate::console::Console;
use crate::disk::partitions::{self, Partition};
use crate::disk::verity::{self, RootHash, Superblock};
use crate::guard::Guard;
use crate::{clock, command_line, files, modules, mounts};
use anyhow::{Context, Result, bail};
use orlop_handover::Slot;
use orlop_sys::dm;
use rustix::mount::MountFlags;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::thread::{self, sleep};
use std::time::Duration;

const SYSROOT: &str = "/sysroot";
const MODULES: &str = "/modules";
/// How long the root's disk may take to appear.
const DISK_WAIT_MS: u64 = 30_000;
/// How often it is looked for: what is waited for is a scan of milliseconds.
const DISK_POLL: Duration = Duration::from_millis(5);

/// The root's two partitions.
struct Found {
    slot: Slot,
    data: Partition,
    hashes: Partition,
    superblock: Superblock,
}

/// The root that was switched to.
pub(crate) struct Root {
    /// The slot that it is in.
    pub(crate) slot: Slot,
    /// The disk that it is on, by its kernel name.
    pub(crate) disk: String,
    /// Its hash, 64 digits.
    pub(crate) hash: String,
    /// `CLOCK_BOOTTIME` when PID 1 began.
    pub(crate) pid1_start_ms: u64,
    /// The phases so far.
    pub(crate) phases: Phases,
}

/// Opens the root and switches to it.
pub(crate) fn run(guard: &mut Guard) -> Result<Root> {
    let pid1_start_ms = clock::since_boot_ms();
    let mut phases = Phases::begin(pid1_start_ms);
    mounts::mount_all(mounts::EARLY)?;
    let console = &Console::open();
    let command_line = files::read("/proc/cmdline").context("/proc/cmdline")?;
    guard.configure(&command_line);
    guard.phase("initramfs");
    let root = root_hash(&command_line)?;
    let found = modules_and_disk(console, &root, &mut phases)?;
    open(&found, &root)?;
    console.say(&format!(
        "root: slot {}, {}",
        found.slot.letter(),
        found.data.device
    ));
    phases.done("root");
    switch_root()?;
    phases.done("switch to the root");
    Ok(Root {
        slot: found.slot,
        disk: found.data.disk,
        hash: root.to_string(),
        pid1_start_ms,
        phases,
    })
}

/// Loads the modules for the disk, finds it, and meanwhile loads those for what
/// is on it: checking and linking a module takes the kernel milliseconds.
fn modules_and_disk(console: &Console, root: &RootHash, phases: &mut Phases) -> Result<Found> {
    let load = |list| modules::load_list(console, Path::new(MODULES), list);
    thread::scope(|scope| {
        let beside = thread::Builder::new().spawn_scoped(scope, || load(modules::FOR_ROOT));
        load(modules::FOR_DISK);
        phases.done("initramfs modules");
        let found = find(root);
        phases.done("disk");
        match beside {
            // One that panicked has ended PID 1 with it.
            Ok(beside) => drop(beside.join()),
            Err(_) => load(modules::FOR_ROOT),
        }
        phases.done("root's modules");
        found
    })
}

/// The root hash that the kernel's command line names.
fn root_hash(command_line: &str) -> Result<RootHash> {
    let Some(text) = command_line::value(command_line, "orlop.root") else {
        bail!("kernel command line: no orlop.root=: expected the root hash, 64 hex digits");
    };
    RootHash::parse(text)
        .with_context(|| format!("kernel command line: orlop.root={text}: expected 64 hex digits"))
}

/// Waits for the disk with the slot that hashes to `root`.
fn find(root: &RootHash) -> Result<Found> {
    let deadline_ms = clock::now_ms() + DISK_WAIT_MS;
    let mut judged = None;
    let mut reasons = Vec::new();
    loop {
        let partitions = partitions::list(Path::new("/sys/class/block"))
            .context("/sys/class/block: expected the kernel's block devices")?;
        if judged.as_ref() != Some(&partitions) {
            match choose(&partitions, |p| verity::open(&File::open(p.path())?, root)) {
                Ok(found) => return Ok(found),
                Err(why) => reasons = why,
            }
            judged = Some(partitions);
        }
        if clock::now_ms() >= deadline_ms {
            let why = if reasons.is_empty() {
                "no disk with partitions root-a, verity-a, root-b, verity-b appeared".to_owned()
            } else {
                reasons.join(", ")
            };
            bail!(
                "no slot holds the root {root}, waited {} s: {why}",
                DISK_WAIT_MS / 1000
            );
        }
        sleep(DISK_POLL);
    }
}

/// The first slot whose tree `check` accepts, or why each one was not.
fn choose(
    partitions: &[Partition],
    check: impl Fn(&Partition) -> Result<Superblock, verity::Error>,
) -> Result<Found, Vec<String>> {
    let mut reasons = Vec::new();
    for data in partitions {
        let slot = match data.name.as_str() {
            "root-a" => Slot::A,
            "root-b" => Slot::B,
            _ => continue,
        };
        let name = format!("verity-{}", slot.letter());
        let Some(hashes) = partitions
            .iter()
            .find(|p| p.disk == data.disk && p.name == name)
        else {
            reasons.push(format!("{} has no {name}", data.disk));
            continue;
        };
        match check(hashes) {
            Ok(superblock) => {
                return Ok(Found {
                    slot,
                    data: data.clone(),
                    hashes: hashes.clone(),
                    superblock,
                });
            }
            Err(error) => reasons.push(format!("{} ({name}) {error}", hashes.device)),
        }
    }
    Err(reasons)
}

/// Maps the root through dm-verity and mounts it.
fn open(found: &Found, root: &RootHash) -> Result<()> {
    let parameters = found
        .superblock
        .parameters(&found.data.numbers, &found.hashes.numbers, root);
    let target = dm::Target {
        kind: "verity",
        sectors: found.superblock.sectors(),
        parameters: &parameters,
    };
    let device = dm::Control::open()
        .and_then(|control| control.create("root", target))
        .with_context(|| format!("dm-verity on {}: {parameters}", found.data.device))?;
    let node = format!("/dev/dm-{}", device.minor);
    // For whoever looks; nothing here depends on it.
    let _ = std::os::unix::fs::symlink(format!("../dm-{}", device.minor), "/dev/mapper/root");
    fs::create_dir_all(SYSROOT).context(SYSROOT)?;
    let flags = MountFlags::RDONLY | MountFlags::NODEV;
    rustix::mount::mount(node.as_str(), SYSROOT, "erofs", flags, None).with_context(|| {
        format!(
            "mounting {node} as erofs: expected the root of slot {}",
            found.slot.letter()
        )
    })
}

/// Frees the initramfs and makes the mounted root the root.
fn switch_root() -> Result<()> {
    for at in mounts::MOVED {
        rustix::mount::mount_move(*at, format!("{SYSROOT}{at}").as_str())
            .with_context(|| format!("moving {at} to the root: expected the mount point there"))?;
    }
    empty(Path::new("/"));
    std::env::set_current_dir(SYSROOT).context(SYSROOT)?;
    rustix::mount::mount_move(".", "/").context("moving the root into place")?;
    rustix::process::chroot(".").context("changing to the root")?;
    std::env::set_current_dir("/").context("/")?;
    Ok(())
}

/// Removes what the initramfs holds, to give the memory back; never another
/// file system. What stays only costs memory.
fn empty(root: &Path) {
    let Ok(device) = fs::symlink_metadata(root).map(|m| m.dev()) else {
        return;
    };
    for entry in fs::read_dir(root).into_iter().flatten().flatten() {
        let path = entry.path();
        match fs::symlink_metadata(&path) {
            Ok(meta) if meta.dev() != device => {}
            Ok(meta) if meta.is_dir() => {
                let _ = fs::remove_dir_all(&path);
            }
            Ok(_) => {
                let _ = fs::remove_file(&path);
            }
            Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partition(disk: &str, name: &str) -> Partition {
        Partition {
            disk: disk.into(),
            name: name.into(),
            number: 1,
            device: format!("{disk}-{name}"),
            numbers: "1:1".into(),
        }
    }

    #[test]
    fn the_slot_whose_tree_fits_is_chosen_on_its_own_disk() {
        let all: Vec<_> = ["vda", "vdb"]
            .iter()
            .flat_map(|d| {
                ["root-a", "root-b", "state", "verity-a", "verity-b"].map(|n| partition(d, n))
            })
            .collect();
        for fits in ["vda-verity-a", "vda-verity-b", "vdb-verity-b"] {
            let found = choose(&all, |p| {
                let superblock = Superblock {
                    data_blocks: 2,
                    salt: vec![],
                };
                if p.device == fits {
                    Ok(superblock)
                } else {
                    Err(verity::Error::Empty)
                }
            });
            let Ok(found) = found else {
                panic!("{fits} was not found")
            };
            assert_eq!(found.hashes.device, fits);
            assert_eq!(found.data.device, fits.replace("verity", "root"));
        }
        let Err(reasons) = choose(&all[..4], |_| Err(verity::Error::Empty)) else {
            panic!()
        };
        assert_eq!(
            reasons,
            ["vda-verity-a (verity-a) is empty", "vda has no verity-b"]
        );
    }

    #[test]
    fn the_command_line_names_the_root() {
        let hash = "ab".repeat(32);
        assert_eq!(
            root_hash(&format!("quiet orlop.root={hash}\n"))
                .unwrap()
                .to_string(),
            hash
        );
        for bad in ["quiet", "orlop.root=", "orlop.root=12"] {
            assert!(
                root_hash(bad)
                    .unwrap_err()
                    .to_string()
                    .contains("64 hex digits")
            );
        }
    }
}
