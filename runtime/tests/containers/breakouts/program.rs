//! CVE-2019-5736: a container that has the runtime execute itself, in the container, opens
//! /proc/PID/exe and writes to it once that process has ended.

use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::{Bench, bench};

use super::without_user_namespace;

/// A copy of the runtime that nothing else executes, so that it could be written to.
fn own_copy(bench: &Bench) -> Command {
    let usual = bench.command(&[]);
    let path = bench.path("runtime");
    if !path.exists() {
        // By another process: one that a test beside this makes meanwhile would inherit a
        // descriptor of ours, and a file that somebody may write cannot be executed.
        let mut install = Command::new("install");
        install.args(["-m", "755"]).arg(usual.get_program());
        quiet(install.arg(&path));
    }
    let mut command = Command::new(path);
    command.args(usual.get_args()).stdin(Stdio::null());
    command.current_dir(usual.get_current_dir().unwrap());
    command
}

fn quiet(command: &mut Command) {
    let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
    assert!(status.unwrap().success(), "{command:?}");
}

/// The pid in the container of a process whose command line has this in it.
fn pid_inside(container: u64, word: &str) -> Option<u32> {
    let root = format!("/proc/{container}/root/proc");
    std::fs::read_dir(root).ok()?.flatten().find_map(|entry| {
        let line = std::fs::read(entry.path().join("cmdline")).ok()?;
        let found = String::from_utf8_lossy(&line).contains(word);
        found.then(|| entry.file_name().to_str()?.parse().ok())?
    })
}

#[test]
fn the_program_that_executed_in_a_container_is_not_writable_there() {
    let Some(mut bench) = bench("overwrite") else {
        return;
    };
    without_user_namespace(&mut bench);
    // Only the mount's flag is in the way, not a filter.
    bench.config["linux"]["seccomp"] = serde_json::Value::Null;
    let script = bench.rootfs().join("bin/evil");
    std::fs::write(&script, "#!/proc/self/exe run\n").unwrap();
    std::fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).unwrap();
    // The runtime, executed as that script's interpreter, waits for somebody to write this.
    let fifo = bench.rootfs().join("config.json");
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    let id = bench.id("overwrite");
    bench.args(&["sleep", "1000"]);
    for verb in ["create", "start"] {
        let mut command = own_copy(&bench);
        quiet(command.args([verb, &id]));
    }
    let before = std::fs::read(bench.path("runtime")).unwrap();
    let container = bench.pid(&id);
    let mut command = own_copy(&bench);
    command.args(["exec", &id, "/bin/evil"]);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut entering = command.spawn().unwrap();
    let began = Instant::now();
    let pid = loop {
        if let Some(pid) = pid_inside(container, "/bin/evil") {
            break pid;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "it is not there");
        std::thread::sleep(Duration::from_millis(5));
    };
    // The attack outlives whatever runs from the file: what is being executed is not writable.
    let attack = format!(
        "exec 3< /proc/{pid}/exe && echo opened; kill -9 {pid}; sleep 1; \
         echo overwritten >> /proc/self/fd/3; echo done"
    );
    let answer = bench.rootfs().join("said");
    std::fs::write(&answer, "").unwrap();
    std::fs::set_permissions(&answer, PermissionsExt::from_mode(0o666)).unwrap();
    let attack = format!("exec > /said 2>&1; {attack}");
    let mut command = own_copy(&bench);
    command.args(["exec", "--detach", &id, "sh", "-c", &attack]);
    quiet(&mut command);
    let said = loop {
        let said = std::fs::read_to_string(&answer).unwrap();
        if said.ends_with("done\n") {
            break said;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "{said}");
        std::thread::sleep(Duration::from_millis(20));
    };
    entering.wait().unwrap();
    assert!(said.contains("opened"), "the attack did not begin: {said}");
    assert!(said.contains("Read-only file system"), "{said}");
    let after = std::fs::read(bench.path("runtime")).unwrap();
    assert!(before == after, "the runtime was overwritten");
    bench.quiet(&["delete", "--force", &id]);
    bench.assert_nothing_left();
}
