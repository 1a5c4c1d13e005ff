//! Units through their lives, driven by the `orlop` command.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use orlop_control::types::UnitState;
use orlop_qemu::guest::Guest;

use crate::fixture::{self, PATIENCE};

/// A unit that prints a line and sleeps.
const SLEEPER: &str = "[container]\nimage = \"localhost/busybox:1\"\n\
    command = [\"busybox\", \"sh\", \"-c\", \"echo hello from $0; exec busybox sleep 100000\", \"sleeper\"]\n";

/// A unit that ends with code 7.
const SEVEN: &str = "[container]\nimage = \"localhost/busybox:1\"\n\
    command = [\"busybox\", \"sh\", \"-c\", \"exit 7\"]\n[restart]\npolicy = \"never\"\n";

/// Has no capabilities, and limits of its own.
const BARE: &str = "[container]\nimage = \"localhost/busybox:1\"\n\
    cap-drop = [\"ALL\"]\nulimits = { nofile = \"1024:4096\", core = 0 }\n";

/// Tries what Landlock alone answers with "permission denied": a capability that it would need,
/// it has not in the host's own user namespace.
const MAKER: &str = "[container]\nimage = \"localhost/busybox:1\"\n\
    command = [\"busybox\", \"sh\", \"-c\", \"busybox mknod /made c 1 3 2>&1; exec busybox sleep 100000\"]\n";

fn plain_guest(story: &str) -> Result<Guest> {
    let image = fixture::host_image("plain", "", &[])?;
    fixture::boot(fixture::disk_of(&image, story)?)
}

/// apply, ps, logs, stop, start, restart, a changed file, rm.
pub(crate) fn unit_life() -> Result<()> {
    let mut guest = plain_guest("unit-life")?;
    fixture::apply(&guest, &[("sleeper", SLEEPER)])?;
    let started = fixture::wait_state(&guest, "sleeper", UnitState::Running)?;
    let log = fixture::wait_output(&guest, &["logs", "sleeper"], "hello from sleeper")?;
    ensure!(log.contains("hello from sleeper"), "{log}");
    ensure!(
        guest.operator().run(&["ps"])?.contains("sleeper"),
        "ps must list it"
    );

    guest.operator().run(&["stop", "sleeper"])?;
    fixture::wait_state(&guest, "sleeper", UnitState::Stopped)?;
    let reason = guest
        .operator()
        .unit("sleeper")?
        .reason
        .context("a stopped unit has a reason")?;
    ensure!(!reason.is_empty(), "an empty reason");
    guest.operator().run(&["start", "sleeper"])?;
    let again = fixture::wait_state(&guest, "sleeper", UnitState::Running)?;
    ensure!(
        again.pid != started.pid,
        "the same process after stop and start"
    );
    ensure!(
        again.address == started.address,
        "the address must stay: {again:?}"
    );
    guest.operator().run(&["restart", "sleeper"])?;
    guest.wait_units("a restarted sleeper", PATIENCE, |units| {
        units
            .iter()
            .any(|unit| unit.state == UnitState::Running && unit.pid != again.pid)
    })?;

    let changed = SLEEPER.replace("hello from", "changed greeting from");
    fixture::apply(&guest, &[("sleeper", &changed)])?;
    fixture::wait_output(
        &guest,
        &["logs", "sleeper"],
        "changed greeting from sleeper",
    )?;

    fixture::apply(&guest, &[("seven", SEVEN)])?;
    let failed = fixture::wait_state(&guest, "seven", UnitState::Failed)?;
    let exit = failed.last_exit.context("a failed unit has its exit")?;
    ensure!(exit.code == Some(7), "{exit:?}");

    guest.operator().run(&["rm", "sleeper"])?;
    guest.wait_units("no sleeper", PATIENCE, |units| {
        units.iter().all(|unit| unit.name != "sleeper")
    })?;
    let gone = guest.operator().try_run(&["status", "sleeper"])?;
    ensure!(!gone.status.success(), "a removed unit must be unknown");
    guest.power_off(PATIENCE)
}

/// exec: output, exit status, the container's own user namespace and defaults.
pub(crate) fn exec() -> Result<()> {
    let mut guest = plain_guest("exec")?;
    fixture::apply(&guest, &[("sleeper", SLEEPER)])?;
    fixture::wait_state(&guest, "sleeper", UnitState::Running)?;
    let inside = |script: &str| {
        guest
            .operator()
            .try_run(&["exec", "sleeper", "busybox", "sh", "-c", script])
    };
    let answer = inside("echo out; echo err >&2; exit 3")?;
    ensure!(answer.status.code() == Some(3), "{answer:?}");
    ensure!(
        answer.stdout == b"out\n" && answer.stderr == b"err\n",
        "{answer:?}"
    );

    let status =
        String::from_utf8(inside("busybox cat /proc/self/status /proc/self/uid_map")?.stdout)?;
    ensure!(status.contains("NoNewPrivs:\t1"), "{status}");
    ensure!(status.contains("Seccomp:\t2"), "{status}");
    ensure!(status.contains("CapInh:\t0000000000000000"), "{status}");
    let map = status
        .lines()
        .last()
        .unwrap_or_default()
        .split_whitespace()
        .nth(1);
    ensure!(
        map.is_some_and(|outside| outside != "0"),
        "root inside is root outside: {status}"
    );
    let denied = inside("busybox mount -t tmpfs none /tmp")?;
    ensure!(
        !denied.status.success(),
        "a container may not mount: {denied:?}"
    );
    defaults(&guest)?;
    let missing = guest
        .operator()
        .try_run(&["exec", "sleeper", "/no/such/command"])?;
    ensure!(missing.status.code() == Some(127), "{missing:?}");
    let still = guest.operator().unit("sleeper")?;
    ensure!(
        still.state == UnitState::Running,
        "a failed exec ended the container: {still:?}"
    );
    guest.power_off(PATIENCE)
}

/// What a unit may do that asks for nothing, and one that asks for less: as the
/// kernel tells it of the container's first process and of one beside it.
fn defaults(guest: &Guest) -> Result<()> {
    fixture::apply(guest, &[("bare", BARE)])?;
    fixture::wait_state(guest, "bare", UnitState::Running)?;
    let inside = |unit: &str, script: &str| -> Result<String> {
        let words = ["exec", unit, "busybox", "sh", "-c", script];
        let answer = guest.operator().try_run(&words)?;
        Ok(String::from_utf8([answer.stdout, answer.stderr].concat())?)
    };
    // CHOWN, DAC_OVERRIDE, FOWNER, FSETID, KILL, SETGID, SETUID, SETPCAP,
    // NET_BIND_SERVICE, SYS_CHROOT and SETFCAP.
    for (unit, wanted) in [("sleeper", 0x8004_05fb_u64), ("bare", 0)] {
        let script = "busybox cat /proc/1/status /proc/self/status";
        let status = inside(unit, script)?;
        for set in ["CapPrm", "CapEff", "CapBnd"] {
            let line = format!("{set}:\t{wanted:016x}");
            let found = status.lines().filter(|found| **found == line).count();
            ensure!(found == 2, "{unit}: {line:?} {found} times in {status}");
        }
    }
    let limits = inside("bare", "ulimit -n; ulimit -Hn; busybox cat /proc/1/limits")?;
    let limits = limits.split_whitespace().collect::<Vec<_>>().join(" ");
    for wanted in [
        "1024 4096 Limit",
        "core file size 0 0 ",
        "open files 1024 4096 ",
    ] {
        ensure!(limits.contains(wanted), "no {wanted:?} in {limits}");
    }
    for (script, wanted) in [
        ("busybox wc -c </proc/kcore", "0\n"),
        ("busybox stat -c %t:%T /proc/kcore", "1:3\n"),
        ("busybox ls -A /sys/firmware", ""),
    ] {
        let found = inside("sleeper", script)?;
        ensure!(found == wanted, "{script}: {found:?}");
    }
    restricted(guest)?;
    // Not for want of a capability, which would be another error.
    let refused = inside("sleeper", "echo 1 >/proc/sys/net/ipv4/ip_forward")?;
    ensure!(refused.contains("Read-only file system"), "{refused:?}");
    Ok(())
}

/// A container's own processes are under Landlock, but for who may mount; those beside it not.
fn restricted(guest: &Guest) -> Result<()> {
    let mounts = MAKER.replace("command", "cap-add = [\"SYS_ADMIN\"]\ncommand");
    fixture::apply(guest, &[("maker", MAKER), ("mounter", &mounts)])?;
    let (denied, other) = ("Permission denied", "Operation not permitted");
    for (unit, said) in [("maker", denied), ("mounter", other)] {
        let wanted = format!("mknod: /made: {said}");
        fixture::wait_output(guest, &["logs", unit], &wanted)?;
    }
    let words = ["exec", "maker", "busybox", "mknod", "/made", "c", "1", "3"];
    let beside = guest.operator().try_run(&words)?;
    let said = String::from_utf8(beside.stderr)?;
    ensure!(said.contains(other), "{said}");
    Ok(())
}

/// What was acknowledged is there after the plug is pulled.
pub(crate) fn power_cut() -> Result<()> {
    let image = fixture::host_image("plain", "", &[])?;
    let config = fixture::disk_of(&image, "power-cut")?;
    let mut guest = fixture::boot(config.clone())?;
    let first = guest.operator().status()?;
    let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    ensure!(
        first.machine_id.len() == 32 && first.machine_id.bytes().all(hex),
        "no machine id: {:?}",
        first.machine_id
    );
    fixture::apply(&guest, &[("sleeper", SLEEPER), ("seven", SEVEN)])?;
    guest.machine().cut_power()?;
    std::thread::sleep(Duration::from_millis(100));

    let mut guest = fixture::boot(config)?;
    fixture::wait_state(&guest, "sleeper", UnitState::Running)?;
    fixture::wait_state(&guest, "seven", UnitState::Failed)?;
    let second = guest.operator().status()?;
    ensure!(
        first.machine_id == second.machine_id,
        "another machine id after a power cut"
    );
    ensure!(
        first.fingerprint == second.fingerprint,
        "another host key after a power cut"
    );
    guest.power_off(PATIENCE)
}
