//! Stands in the manager's place in a test image, and hurts the host.
//!
//! The file in the image is this program with the real manager appended and the
//! manager's length in the last eight bytes, so that the product needs no hook
//! for any of this. It starts a tormentor, then becomes the real manager in the
//! same process, so that PID 1 sees the manager that it started. The kernel's
//! command line says what the tormentor does: `chaos=kill:COUNT`,
//! `chaos=kill-manager`, `chaos=hang-manager`, `chaos=freeze-init`,
//! `chaos=panic`; nothing without it. With `chaos=quit`, `chaos=stall` and
//! `chaos=crash` there never is a manager: this ends at once, stands still, or has
//! the kernel panic.

mod kill;

use std::fs::{File, Permissions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use rustix::mount::{MountFlags, mount};
use rustix::process::{Pid, Signal, kill_process};

fn main() -> ExitCode {
    let outcome = match std::env::args().nth(1).as_deref() {
        Some("--torment") => torment(),
        _ => become_manager(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("failed: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Starts the tormentor and execs the appended manager.
fn become_manager() -> Result<()> {
    let began = now_ms()?;
    let order = order();
    match order.as_deref() {
        Some("quit") => {
            say("quits");
            return Ok(());
        }
        Some("stall") => loop {
            std::thread::park();
        },
        Some("crash") => return crash(),
        _ => {}
    }
    let manager = unpacked()?;
    if let Some(order) = order {
        Command::new("/proc/self/exe")
            .arg("--torment")
            .arg(std::process::id().to_string())
            .arg(order)
            .arg(began.to_string())
            .env_remove("ORLOP_INIT_FD")
            .spawn()
            .context("the tormentor")?;
    }
    let error = Command::new(manager)
        .arg0("orlop-manager")
        .args(std::env::args().skip(1))
        .exec();
    Err(error).context("becoming the manager")
}

/// Has the kernel panic once it can leave its last words with the firmware, if it
/// ever can.
fn crash() -> Result<()> {
    for _ in 0..600 {
        if Path::new("/sys/module/efi_pstore").exists() {
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(std::fs::write("/proc/sysrq-trigger", "c")?)
}

/// The appended manager as a file of its own, made once in a boot: that takes
/// as long as the rest of a manager's start.
fn unpacked() -> Result<PathBuf> {
    let place = Path::new("/run/chaos");
    let (file, beside) = (place.join("orlop-manager"), place.join("new"));
    if file.exists() {
        return Ok(file);
    }
    if !place.exists() {
        std::fs::create_dir(place)?;
        // Programs cannot be run from /run itself.
        mount("chaos", place, "tmpfs", MountFlags::empty(), None).context("mount")?;
    }
    let mut own = File::open("/proc/self/exe").context("own file")?;
    let mut length = [0; 8];
    own.seek(SeekFrom::End(-8))?;
    own.read_exact(&mut length)?;
    let length = u64::from_le_bytes(length);
    own.seek(SeekFrom::End(-8 - i64::try_from(length)?))?;
    let mut manager = File::create(&beside)?;
    std::io::copy(&mut own.take(length), &mut manager)?;
    manager.set_permissions(Permissions::from_mode(0o755))?;
    drop(manager);
    std::fs::rename(beside, &file)?;
    Ok(file)
}

fn now_ms() -> Result<u128> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())
}

/// The order on the kernel's command line.
fn order() -> Option<String> {
    let line = std::fs::read_to_string("/proc/cmdline").ok()?;
    line.split_whitespace()
        .find_map(|word| word.strip_prefix("chaos="))
        .map(str::to_owned)
}

/// Carries out `order` on the manager, whose process is the second argument.
fn torment() -> Result<()> {
    let mut arguments = std::env::args().skip(2);
    let manager = arguments.next().context("no process id")?.parse()?;
    let manager = Pid::from_raw(manager).context("process id 0")?;
    let order = arguments.next().context("no order")?;
    let began = arguments.next().context("no time")?;
    match order.split_once(':').unwrap_or((&order, "")) {
        ("kill", count) => kill::run(manager, &began, count.parse()?),
        ("kill-manager", _) => once("kill-manager", || Ok(kill_process(manager, Signal::KILL)?)),
        ("hang-manager", _) => once("hang-manager", || Ok(kill_process(manager, Signal::STOP)?)),
        ("freeze-init", _) => once("freeze-init", freeze_init),
        ("panic", _) => once("panic", || Ok(std::fs::write("/proc/sysrq-trigger", "c")?)),
        _ => anyhow::bail!("no such order: {order}"),
    }
}

/// The unit file that the test applies when it is ready for harm.
const WHEN: &str = "/etc/orlop/units/now.toml";

/// Does `harm` once in a boot, when the test says so.
fn once(name: &str, harm: impl FnOnce() -> Result<()>) -> Result<()> {
    let mark = format!("/run/chaos-{name}");
    if std::fs::exists(&mark)? {
        return Ok(());
    }
    std::fs::write(mark, "")?;
    while !std::fs::exists(WHEN)? {
        std::thread::sleep(Duration::from_millis(100));
    }
    say(name);
    harm()
}

/// Stops PID 1 where it stands: a frozen cgroup holds even it.
fn freeze_init() -> Result<()> {
    let group = "/sys/fs/cgroup/chaos";
    std::fs::create_dir_all(group)?;
    std::fs::write(format!("{group}/cgroup.procs"), "1")?;
    std::fs::write(format!("{group}/cgroup.freeze"), "1")?;
    Ok(())
}

/// A line for the console.
fn say(words: &str) {
    if let Ok(mut console) = File::options().write(true).open("/dev/kmsg") {
        // One write: each is a record of its own.
        let _ = console.write_all(format!("<3>chaos: {words}\n").as_bytes());
    }
}
