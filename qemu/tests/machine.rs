//! QEMU itself, started and ended; its guests' processors stand still.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use orlop_qemu::machine::{Config, Machine};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

/// Names the folder of the guest that this program, started by a test, is to start.
const FOLDER: &str = "ORLOP_TEST_GUEST";

const PATIENCE: Duration = Duration::from_secs(120);

/// Whether QEMU is here; `cargo vm test` sees to it.
fn possible() -> bool {
    let here = ["/usr/bin/qemu-system-x86_64", "/usr/share/OVMF"];
    let here = here.iter().all(|path| Path::new(path).exists());
    if !here {
        let why = "this test needs the packages qemu-system-x86 and ovmf";
        assert!(std::env::var_os("ORLOP_TESTS_COMPLETE").is_none(), "{why}");
        eprintln!("skipped: {why}");
    }
    here
}

/// A guest that does nothing.
fn still(folder: &Path) -> Config {
    let disk = folder.join("disk.img");
    std::fs::write(&disk, [0; 4096]).unwrap();
    let mut config = Config::new(disk, folder);
    config.memory_mib = 128;
    config.isolated = true;
    config.extra = vec!["-S".into()];
    config
}

/// A guest that went off by itself is told from one whose QEMU was killed.
#[test]
fn an_end_is_a_good_one_only_if_qemu_says_so() {
    if !possible() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut machine = Machine::start(still(folder.path())).unwrap();
    let mut qemu = machine.qmp().unwrap();
    qemu.execute("quit", serde_json::json!({})).unwrap();
    machine.wait_for_end(PATIENCE).unwrap();

    let mut machine = Machine::start(still(folder.path())).unwrap();
    machine.cut_power().unwrap();
    let error = machine.wait_for_end(PATIENCE).unwrap_err().to_string();
    assert!(error.contains("SIGKILL"), "{error}");
}

/// Whoever starts guests may be killed, with no time to clean up.
#[test]
fn a_guest_ends_with_who_started_it() {
    if let Some(folder) = std::env::var_os(FOLDER) {
        let machine = Machine::start(still(Path::new(&folder))).unwrap();
        eprintln!("guest {}", machine.pid());
        loop {
            std::thread::park();
        }
    }
    if !possible() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut starter = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_guest_ends_with_who_started_it", "--nocapture"])
        .env(FOLDER, folder.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(starter.stderr.take().unwrap()).lines();
    let pid = said
        .find_map(|line| Some(line.unwrap().strip_prefix("guest ")?.parse().unwrap()))
        .expect("the starter started no guest");
    let guest = pidfd_open(Pid::from_raw(pid).unwrap(), PidfdFlags::empty()).unwrap();
    starter.kill().unwrap();
    starter.wait().unwrap();
    let mut end = [PollFd::new(&guest, PollFlags::IN)];
    let limit = Timespec::try_from(PATIENCE).unwrap();
    let ended = poll(&mut end, Some(&limit)).unwrap();
    if ended == 0 {
        rustix::process::pidfd_send_signal(&guest, rustix::process::Signal::KILL).unwrap();
        panic!("the guest runs on");
    }
}
