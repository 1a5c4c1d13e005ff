//! A Debian guest for what needs more than this machine has: every cgroup v2 controller, and
//! Debian's own programs without this machine being changed for them.
//!
//! Its root is a disk image that mmdebstrap makes of packages alone, without running their
//! scripts; it is kept under the cache, since nothing of the project goes into it but the list
//! of packages. What a story brings is on a second disk: its files, and the steps that the
//! guest is to go through. `init.sh` sets the root up and gives way to systemd, whose one
//! service runs the steps, one after another. Debian's cloud kernel has NVMe disks and ext4
//! built in, so nothing else is needed to boot. What the steps printed comes out of a second
//! serial port, apart from what the kernel and systemd say.

mod root;
mod steps;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use orlop_qemu::build;
use orlop_qemu::machine::{Config, Firmware, Machine};

use crate::fixture::{self, PATIENCE};
use root::root;
use steps::{Step, check, key, parse};

/// The first program: mounts the story's disk and has the rest done there.
const FIRST: &str = "root=/dev/nvme0n1 rootfstype=ext4 rw console=ttyS0 quiet panic=-1 \
    init=/bin/busybox -- sh -c \"busybox mkdir -p /dev /story; busybox mount -t devtmpfs dev /dev; \
    busybox mount -t ext4 /dev/nvme1n1 /story; exec busybox sh /story/init.sh\"";

const INIT: (&str, &str) = ("init.sh", include_str!("debian_guest/init.sh"));
const SERVICE: (&str, &str) = ("story.service", include_str!("debian_guest/story.service"));
const TARGET: (&str, &str) = ("story.target", include_str!("debian_guest/story.target"));

/// The bytes of a story's disk, most of which are a hole.
const DISK_BYTES: u64 = 1 << 30;

/// How many steps of the common kind a guest goes through in the time that one may take, at least.
const STEPS_A_LIMIT: usize = 4;

/// Boots a guest of its own for `story`, which goes through the `steps` (files of them by their
/// names) with `files` (source and name) beside them; `words.sh` of those comes before each step.
pub(crate) fn go_through(
    story: &str,
    files: &[(&Path, &str)],
    steps: &[(&str, &str)],
) -> Result<()> {
    go_through_within(PATIENCE, story, files, steps)
}

/// [`go_through`], with steps of which each may take up to `limit`.
pub(crate) fn go_through_within(
    limit: Duration,
    story: &str,
    files: &[(&Path, &str)],
    steps: &[(&str, &str)],
) -> Result<()> {
    let mut all = Vec::new();
    for (file, text) in steps {
        all.extend(parse(file, text).with_context(|| format!("{file}.steps"))?);
    }
    let root = root()?;
    let place = fixture::folder("stories")?.join(story);
    if place.exists() {
        std::fs::remove_dir_all(&place)?;
    }
    std::fs::create_dir_all(&place)?;
    let own = disk(&place, files, &all, limit)?;
    let results = place.join("results");
    let mut config = Config::new(root.image, &place);
    config.firmware = Firmware::Kernel {
        file: root.kernel,
        words: FIRST.to_owned(),
    };
    config.memory_mib = 1536;
    config.isolated = true;
    config.snapshot = true;
    config.stop_on_reset = true;
    config.extra = vec![
        "-drive".into(),
        format!("if=none,id=own,format=raw,file={}", own.display()),
        "-device".into(),
        "nvme,drive=own,serial=own".into(),
        "-serial".into(),
        format!("file:{}", results.display()),
    ];
    let mut machine = Machine::start(config)?;
    let times = u32::try_from(all.len().div_ceil(STEPS_A_LIMIT))?;
    let ended = machine.wait_for_end(PATIENCE + limit * times);
    let said = std::fs::read(&results).with_context(|| results.display().to_string())?;
    let said = String::from_utf8_lossy(&said);
    // First: it says more than that the guest did not end.
    check(&all, &said)
        .with_context(|| format!("the console's end:\n{}", machine.console().tail(10)))?;
    ended
}

/// The story's disk: an ext4 file system with its files and steps.
fn disk(place: &Path, files: &[(&Path, &str)], steps: &[Step], limit: Duration) -> Result<PathBuf> {
    let folder = place.join("files");
    std::fs::create_dir_all(folder.join("steps"))?;
    for (source, name) in files {
        std::fs::copy(source, folder.join(name))
            .with_context(|| format!("cannot copy {}", source.display()))?;
    }
    let limit = limit.as_secs();
    let runner = format!("limit={limit}\n{}", include_str!("debian_guest/steps.sh"));
    for (name, text) in [("steps.sh", &*runner), INIT, SERVICE, TARGET] {
        std::fs::write(folder.join(name), text)?;
    }
    for (index, step) in steps.iter().enumerate() {
        std::fs::write(folder.join("steps").join(key(index, step)), &step.script)?;
    }
    let disk = place.join("story.ext4");
    std::fs::File::create(&disk)?.set_len(DISK_BYTES)?;
    build::run(
        Command::new("/sbin/mke2fs")
            .args(["-q", "-t", "ext4", "-E", "root_owner=0:0", "-d"])
            .arg(&folder)
            .arg(&disk),
    )?;
    Ok(disk)
}
