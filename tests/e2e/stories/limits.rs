//! What a container may use of the machine: limits as its unit declares them,
//! met by containers that want more, and devices that it does not name.

use anyhow::{Context as _, Result, ensure};
use orlop_control::types::UnitState;
use orlop_qemu::guest::Guest;

use crate::fixture::{self, PATIENCE};

/// Says nothing of resources.
const MODEST: &str = "[container]\nimage = \"localhost/busybox:1\"\n";

/// Has every limit there is, and may read the guest's disk.
const LIMITED: &str = "[container]\nimage = \"localhost/busybox:1\"\n\
    devices = [\"/dev/vda:/dev/disk:r\"]\ncap-add = [\"MKNOD\"]\n\
    [resources]\nmemory = \"64M\"\ncpus = 0.5\npids = 30\n\
    io = [{ device = \"/dev/vda\", read-bps = \"20M\", write-iops = 500 }]\n";

/// Forks without end, until the kernel has refused it one; then it only waits,
/// as nothing can be run in it any more.
const BOMB: &str = "[container]\nimage = \"localhost/busybox:1\"\n\
    command = [\"busybox\", \"sh\", \"-c\", '''\n\
    bomb() { bomb | bomb & }\n\
    bomb 2>/dev/null\n\
    until read -r word count </sys/fs/cgroup/pids.events && [ \"$count\" -gt 0 ]; do :; done\n\
    read -r most </sys/fs/cgroup/pids.max\n\
    echo \"no more than $most\"\n\
    exec busybox sleep 1000000\n''']\n\
    [resources]\npids = 25\ncpus = 0.5\n[stop]\nsignal = \"SIGKILL\"\n";

/// Fills twice the memory that it may have.
const HOG: &str = "[container]\nimage = \"localhost/busybox:1\"\n\
    command = [\"busybox\", \"dd\", \"if=/dev/zero\", \"of=/dev/null\", \"bs=64M\", \"count=1\"]\n\
    [resources]\nmemory = \"32M\"\n[restart]\npolicy = \"never\"\n";

/// Limits are the kernel's, a fork bomb and a hog meet theirs, others and the
/// host go on, and a device is used as its unit says or not at all.
pub(crate) fn limits() -> Result<()> {
    let image = fixture::host_image("plain", "", &[])?;
    let mut guest = fixture::boot(fixture::disk_of(&image, "limits")?)?;
    fixture::apply(&guest, &[("modest", MODEST), ("limited", LIMITED)])?;
    let modest = fixture::wait_state(&guest, "modest", UnitState::Running)?;
    let limited = fixture::wait_state(&guest, "limited", UnitState::Running)?;
    cgroups(&guest)?;
    devices(&guest)?;

    fixture::apply(&guest, &[("bomb", BOMB), ("hog", HOG)])?;
    out_of_memory(&guest)?;
    fixture::wait_output(&guest, &["logs", "bomb"], "no more than 25")?;
    for before in [modest, limited] {
        let now = guest.operator().unit(&before.name)?;
        ensure!(now.pid == before.pid, "{before:?} became {now:?}");
    }
    guest.operator().run(&["stop", "bomb"])?;
    fixture::wait_state(&guest, "bomb", UnitState::Stopped)?;
    guest.power_off(PATIENCE)
}

/// What the kernel was told, as the containers see it.
fn cgroups(guest: &Guest) -> Result<()> {
    for (unit, file, wanted) in [
        ("limited", "memory.max", "67108864\n"),
        ("limited", "cpu.max", "50000 100000\n"),
        ("limited", "pids.max", "30\n"),
        ("modest", "memory.max", "max\n"),
        ("modest", "cpu.max", "max 100000\n"),
        ("modest", "pids.max", "1024\n"),
        ("modest", "io.max", ""),
    ] {
        let found = cat(guest, unit, file)?;
        ensure!(found == wanted, "{unit}: {file} is {found:?}");
    }
    let io = cat(guest, "limited", "io.max")?;
    let (_, rates) = io.split_once(' ').context("no limit of io")?;
    ensure!(
        rates == "rbps=20971520 wbps=max riops=max wiops=500\n",
        "limited: io.max is {io:?}"
    );
    Ok(())
}

fn cat(guest: &Guest, unit: &str, file: &str) -> Result<String> {
    let path = format!("/sys/fs/cgroup/{file}");
    guest
        .operator()
        .run(&["exec", unit, "busybox", "cat", &path])
}

/// A device that the unit names for reading is read and not written; another
/// cannot be made, whatever the container's capabilities; and there is none
/// where no unit names one.
fn devices(guest: &Guest) -> Result<()> {
    let inside = |unit: &str, script: &str| {
        let words = ["exec", unit, "busybox", "sh", "-c", script];
        guest.operator().try_run(&words)
    };
    let read = inside(
        "limited",
        "busybox dd if=/dev/disk of=/dev/null bs=512 count=1",
    )?;
    ensure!(read.status.success(), "not read: {read:?}");
    // All may write it by its mode: what refuses is the container's own rules.
    let mode = inside("limited", "busybox stat -c %a /dev/disk")?;
    ensure!(mode.stdout == b"666\n", "{mode:?}");
    for (unit, script) in [
        ("limited", ": >>/dev/disk"),
        ("limited", "busybox mknod /dev/memory c 1 1"),
        ("modest", "busybox mknod /disk b 254 0"),
    ] {
        let refused = inside(unit, script)?;
        let said = String::from_utf8_lossy(&refused.stderr);
        ensure!(
            !refused.status.success() && said.contains("Operation not permitted"),
            "{unit}: {script}: {refused:?}"
        );
    }
    let listed = inside("modest", "busybox find /dev -type b -o -type c")?;
    let listed = String::from_utf8(listed.stdout)?;
    let mut nodes: Vec<&str> = listed
        .lines()
        .filter(|path| !path.starts_with("/dev/pts/"))
        .collect();
    nodes.sort_unstable();
    let usual = ["full", "null", "random", "tty", "urandom", "zero"];
    ensure!(
        nodes == usual.map(|name| format!("/dev/{name}")),
        "devices of a unit that names none: {nodes:?}"
    );
    Ok(())
}

/// Who is killed for want of memory is said to have been.
fn out_of_memory(guest: &Guest) -> Result<()> {
    let hog = fixture::wait_state(guest, "hog", UnitState::Failed)?;
    let exit = hog.last_exit.context("a failed unit has its exit")?;
    ensure!(exit.signal == Some(9) && exit.out_of_memory, "{exit:?}");
    // Ends with 1, as the unit has failed.
    let status = guest.operator().try_run(&["status", "hog"])?;
    let text = String::from_utf8_lossy(&status.stdout).into_owned();
    let reason = text.lines().find(|line| line.starts_with("Reason"));
    ensure!(
        reason.is_some_and(|reason| reason.contains("out of memory")),
        "no reason: {text}"
    );
    Ok(())
}
