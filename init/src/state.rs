//! The state partition: grown, checked, mounted; or memory in its place.

use crate::clock;
use crate::console::Console;
use crate::disk::partitions::{self, Partition};
use crate::disk::{ext4, gpt};
use crate::process::{self, Patience};
use anyhow::{Context, Result, bail};
use orlop_handover::StateHealth;
use orlop_sys::blkpg;
use rustix::mount::{MountFlags, UnmountFlags};
use std::ffi::CString;
use std::fs::{self, File};
use std::path::Path;
use std::time::Duration;

const STATE: &str = "/state";
const E2FSCK: &str = "/usr/lib/orlop/bin/e2fsck";
/// A large disk may rightly take hours to check, but never minutes without a
/// moment's work: the kernel itself gives a request up after a few.
const PATIENCE: Patience = Patience {
    word_every: Duration::from_secs(10),
    stall: Duration::from_secs(300),
    most: Duration::from_secs(12 * 3600),
};
/// What lasts, and where it is seen.
const BINDS: &[(&str, &str)] = &[("/state/etc/orlop", "/etc/orlop"), ("/state/var", "/var")];
const DIRECTORIES: &[&str] = &[
    "/state/etc/orlop",
    "/state/var/lib/orlop",
    "/state/var/log/orlop",
];

/// What a new state partition is made with by hand: what its image had, which
/// cannot be had later, and `mkfs.ext4` does not give by itself. (Descriptors
/// for the last block of 16 TiB, in blocks of 4 KiB, are reserved.)
const RESET: &str = "mkfs.ext4 -O quota,project,verity,^64bit -E \
     quotatype=prjquota,resize=4294967295 /dev/disk/by-partlabel/state";

/// How it went.
pub(crate) struct Outcome {
    pub(crate) health: StateHealth,
    pub(crate) detail: String,
}

/// Mounts the state partition of `disk`; when that cannot be, memory. Calls
/// `going_on` whenever something that may take long has come further.
///
/// # Errors
/// When not even memory can be mounted.
pub(crate) fn bring_up(console: &Console, disk: &str, going_on: &dyn Fn()) -> Result<Outcome> {
    let outcome = match from_disk(console, disk, going_on) {
        Ok(outcome) => outcome,
        Err(error) => {
            let detail = format!(
                "the state partition cannot be used: {error:#}. The host runs from memory with the \
                 units of its image, and keeps nothing. Attach the disk to another machine: e2fsck -f \
                 /dev/disk/by-partlabel/state may rescue what is on it, and {RESET} resets the host, \
                 which keeps nothing of it then."
            );
            console.say(&detail);
            let options = c"mode=0755,size=50%";
            rustix::mount::mount("tmpfs", STATE, "tmpfs", MountFlags::NODEV, options)
                .context("mounting memory on /state")?;
            directories()?;
            Outcome {
                health: StateHealth::Tmpfs,
                detail,
            }
        }
    };
    for (from, to) in BINDS {
        rustix::mount::mount_bind(*from, *to)
            .with_context(|| format!("binding {from} on {to}: expected the mount point there"))?;
    }
    Ok(outcome)
}

fn from_disk(console: &Console, disk: &str, going_on: &dyn Fn()) -> Result<Outcome> {
    let all = partitions::list(Path::new("/sys/class/block")).context("/sys/class/block")?;
    let found = all
        .into_iter()
        .find(|p| p.disk == disk && p.name == "state");
    let partition = found.with_context(|| format!("{disk} has no partition named \"state\""))?;
    if let Err(error) = grow_partition(console, &partition) {
        console.say(&format!(
            "growing the state partition: {error:#}: it stays as it is"
        ));
    }
    let device = partition.path();
    let repaired = checked(console, &device, going_on)?;
    let outcome = match mount(&device) {
        Ok(()) => repaired,
        // The superblock looked well and still it does not mount.
        Err(first) => {
            console.say(&format!("{first:#}"));
            let repaired = repair(console, &device, &format!("{first:#}"), going_on)?;
            mount(&device)?;
            Some(repaired)
        }
    };
    if let Err(error) = directories() {
        let _ = rustix::mount::unmount(STATE, UnmountFlags::DETACH);
        return Err(error);
    }
    if let Err(error) = grow_file_system(console, &device) {
        console.say(&format!(
            "growing the state file system: {error:#}: it stays as it is"
        ));
    }
    Ok(match outcome {
        None => Outcome {
            health: StateHealth::Ok,
            detail: String::new(),
        },
        Some(detail) => Outcome {
            health: StateHealth::Repaired,
            detail,
        },
    })
}

/// Lets the partition reach the end of its disk: table first, then the kernel.
fn grow_partition(console: &Console, partition: &Partition) -> Result<()> {
    let path = partition.disk_path();
    let file = File::options().read(true).write(true).open(&path);
    let file = file.with_context(|| path.display().to_string())?;
    let bytes = blkpg::size_bytes(&file).with_context(|| path.display().to_string())?;
    let sector = u64::from(blkpg::sector_bytes(&file)?);
    let plan = gpt::grow(
        &gpt::Disk {
            file: &file,
            bytes,
            sector,
        },
        &partition.name,
    )?;
    if plan.extent.number != partition.number {
        bail!(
            "the table has it as number {}, the kernel as {}",
            plan.extent.number,
            partition.number
        );
    }
    let known = blkpg::size_bytes(File::open(partition.path())?)?;
    if plan.extent.length > known {
        let number = i32::try_from(partition.number).context("partition number")?;
        blkpg::resize_partition(&file, number, plan.extent.start, plan.extent.length)
            .context("telling the kernel its new size")?;
        console.say(&format!(
            "state partition grown to {} MiB",
            plan.extent.length >> 20
        ));
    }
    Ok(())
}

/// Checks the file system if it asks for that; the sentence on what was done.
fn checked(console: &Console, device: &Path, going_on: &dyn Fn()) -> Result<Option<String>> {
    let file = File::open(device).with_context(|| device.display().to_string())?;
    let superblock = ext4::read(&file, clock::wall_ms() / 1000);
    let reason = match superblock.with_context(|| device.display().to_string())? {
        None => "its superblock is not an ext4 one",
        Some(superblock) => match superblock.asks_for_check {
            None => return Ok(None),
            Some(reason) => reason,
        },
    };
    repair(console, device, reason, going_on).map(Some)
}

/// What e2fsck(8) says by its exit status.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Clean,
    Corrected,
    /// It wants a person's consent, or another pass.
    Again,
    Beyond,
}

fn verdict(status: Option<i32>) -> Verdict {
    match status {
        Some(0) => Verdict::Clean,
        Some(1) => Verdict::Corrected,
        // 2 asks for a reboot because the device was mounted; here it never
        // is, so a second pass does. 4 is what the careful mode leaves.
        Some(code) if code & !7 == 0 => Verdict::Again,
        Some(_) | None => Verdict::Beyond,
    }
}

/// Repairs without asking: first only what is safe, then everything.
fn repair(console: &Console, device: &Path, reason: &str, going_on: &dyn Fn()) -> Result<String> {
    console.say(&format!("checking the state partition: {reason}"));
    let mut last = String::new();
    for mode in ["-p", "-y"] {
        let arguments = ["-f".as_ref(), mode.as_ref(), device.as_os_str()];
        let still = |time: Duration| {
            going_on();
            console.say(&format!(
                "still checking the state partition, {} s so far: a large one takes long",
                time.as_secs()
            ));
        };
        let (status, output) = process::run(E2FSCK, &arguments, PATIENCE, still).context(E2FSCK)?;
        last = output;
        match verdict(status) {
            Verdict::Clean => return Ok(format!("checked ({reason}), nothing to repair")),
            Verdict::Corrected => {
                console.say("the state partition is repaired");
                return Ok(format!("repaired ({reason})"));
            }
            Verdict::Again | Verdict::Beyond => {}
        }
    }
    let first = last
        .lines()
        .find(|line| !line.trim().is_empty())
        .unwrap_or("it says nothing");
    bail!("e2fsck cannot repair it ({reason}): {}", first.trim())
}

/// Whose are the blocks that ext4 reserves: nobody's, as no process runs with
/// this id, nor a container's. So they are left to who has CAP_SYS_RESOURCE on
/// the host: the manager, for unit files and records. Were they root's as
/// usual, a container could fill them through its writable root, which overlayfs
/// writes as root but without that capability.
const RESERVED_FOR: u32 = 65_534;

fn mount(device: &Path) -> Result<()> {
    let superblock = ext4::read(&File::open(device)?, 0)?;
    let quota = superblock.is_some_and(|s| s.project_quota);
    let quota = if quota { ",prjquota" } else { "" };
    let options = format!("errors=remount-ro,resuid={RESERVED_FOR}{quota}");
    let options = CString::new(options).context("mount options")?;
    let flags = MountFlags::NODEV | MountFlags::NOATIME;
    rustix::mount::mount(device, STATE, "ext4", flags, options.as_c_str())
        .with_context(|| format!("mounting {} as ext4 ({options:?})", device.display()))
}

fn directories() -> Result<()> {
    for path in DIRECTORIES {
        fs::create_dir_all(path).context(*path)?;
    }
    Ok(())
}

/// Lets the mounted file system fill its partition.
fn grow_file_system(console: &Console, device: &Path) -> Result<()> {
    let file = File::open(device)?;
    let bytes = blkpg::size_bytes(&file)?;
    let Some(superblock) = ext4::read(&file, 0)? else {
        bail!("its superblock is gone")
    };
    let blocks = bytes / superblock.block_bytes;
    if blocks <= superblock.blocks {
        return Ok(());
    }
    let root = File::open(STATE).context(STATE)?;
    orlop_sys::ext4::grow(&root, blocks).with_context(|| format!("to {blocks} blocks"))?;
    console.say(&format!("state file system grown to {} MiB", bytes >> 20));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_status_of_e2fsck_has_its_meaning() {
        use Verdict::{Again, Beyond, Clean, Corrected};
        let table = [
            (Some(0), Clean),
            (Some(1), Corrected),
            (Some(2), Again),
            (Some(3), Again),
            (Some(4), Again),
            (Some(5), Again),
            (Some(8), Beyond),
            (Some(12), Beyond),
            (Some(32), Beyond),
            (Some(-1), Beyond),
            (None, Beyond),
        ];
        for (status, want) in table {
            assert_eq!(verdict(status), want, "{status:?}");
        }
    }
}
