//! A bundle with a busybox root file system, and the command to run it with.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// First host id of the containers' user namespace.
pub const BASE: u32 = 200_000;

/// A state directory and a bundle of its own, removed (with its containers) when dropped.
pub struct Bench {
    dir: tempfile::TempDir,
    pub config: Value,
    prefix: String,
    /// The state directory, below the bench's own.
    pub state: &'static str,
}

/// Says why a test cannot be; `cargo vm test` forbids that.
pub fn skipped(why: &str) {
    assert!(std::env::var_os("ORLOP_TESTS_COMPLETE").is_none(), "{why}");
    eprintln!("skipped: {why}");
}

/// Waits, long enough for any machine.
pub fn until(what: &str, mut done: impl FnMut() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < Duration::from_secs(60), "not: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Says that this machine has nothing of what a test is about. The Debian guest of the end-to-end
/// tests has it all, and its story demands that.
pub fn uncontrolled(why: &str) {
    assert!(
        std::env::var_os("ORLOP_TESTS_CONTROLLERS").is_none(),
        "{why}"
    );
    eprintln!("nothing to test: {why}");
}

/// How often something is done: `usual`, or less where ORLOP_TESTS_ROUNDS says so, as on an
/// emulated machine.
pub fn rounds(usual: u32) -> u32 {
    std::env::var("ORLOP_TESTS_ROUNDS")
        .map_or(usual, |most| most.parse::<u32>().unwrap().min(usual))
}

/// `None`, with a line that says so, where containers cannot be made.
pub fn bench(name: &str) -> Option<Bench> {
    let busybox = ["/bin/busybox", "/usr/bin/busybox"]
        .into_iter()
        .find(|path| Path::new(path).exists())
        .filter(|_| rustix::process::geteuid().is_root());
    let Some(busybox) = busybox else {
        skipped("containers with mapped ids need root, and a static busybox");
        return None;
    };
    let dir = tempfile::Builder::new()
        .prefix("orlop-runtime")
        .tempdir()
        .unwrap();
    let root = dir.path().join("bundle/rootfs");
    for sub in ["bin", "proc", "sys", "dev", "etc", "tmp"] {
        std::fs::create_dir_all(root.join(sub)).unwrap();
    }
    std::fs::copy(busybox, root.join("bin/busybox")).unwrap();
    for applet in [
        "sh", "true", "sleep", "cat", "id", "ls", "mount", "unshare", "grep", "stat", "wc",
        "hostname", "tty", "mkdir", "chroot",
    ] {
        std::os::unix::fs::symlink("busybox", root.join("bin").join(applet)).unwrap();
    }
    let status = Command::new("chown")
        .args(["-hR", &format!("{BASE}:{BASE}")])
        .arg(&root)
        .status();
    assert!(status.unwrap().success());
    // The temporary directory itself stays closed to everybody but root, as a manager's is.
    let prefix = format!("orlop-test-{}-{name}", std::process::id());
    Some(Bench {
        dir,
        config: config(),
        prefix,
        state: "state",
    })
}

fn config() -> Value {
    let ids = json!([{ "containerID": 0, "hostID": BASE, "size": 65536 }]);
    let caps = json!(["CAP_CHOWN", "CAP_KILL", "CAP_NET_BIND_SERVICE"]);
    json!({
        "ociVersion": "1.2.0",
        "root": { "path": "rootfs" },
        "hostname": "box",
        "process": {
            "user": { "uid": 0, "gid": 0 }, "cwd": "/", "args": ["true"], "noNewPrivileges": true,
            "env": ["PATH=/bin"],
            "capabilities": { "bounding": caps, "effective": caps, "permitted": caps }
        },
        "mounts": [
            { "destination": "/proc", "type": "proc", "options": ["nosuid", "noexec", "nodev"] },
            { "destination": "/dev", "type": "tmpfs", "options": ["nosuid", "mode=755", "size=64k"] },
            { "destination": "/dev/pts", "type": "devpts", "options":
                ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"] },
            { "destination": "/sys", "type": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"] }
        ],
        "linux": {
            "uidMappings": ids, "gidMappings": ids,
            "namespaces": [
                { "type": "user" }, { "type": "pid" }, { "type": "mount" }, { "type": "network" },
                { "type": "uts" }, { "type": "ipc" }, { "type": "cgroup" }
            ],
            "maskedPaths": ["/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/timer_list", "/sys/firmware"],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
            "seccomp": serde_json::from_str::<Value>(orlop_runtime::DEFAULT_SECCOMP).unwrap()
        }
    })
}

impl Bench {
    pub fn rootfs(&self) -> PathBuf {
        self.dir.path().join("bundle/rootfs")
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Ids are cgroup names too, so they must not meet those of another test.
    pub fn id(&self, id: &str) -> String {
        format!("{}-{id}", self.prefix)
    }

    pub fn args(&mut self, args: &[&str]) -> &mut Bench {
        self.config["process"]["args"] = json!(args);
        self
    }

    /// The command with its state directory and the bundle as it is configured now.
    pub fn command(&self, args: &[&str]) -> Command {
        let bundle = self.path("bundle");
        std::fs::write(bundle.join("config.json"), self.config.to_string()).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_orlop-runtime"));
        command
            .arg("--root")
            .arg(self.path(self.state))
            .args(args)
            .current_dir(bundle);
        command.stdin(Stdio::null());
        command
    }

    pub fn call(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// Runs to the end; status and both outputs.
    pub fn run(&self) -> (i32, String) {
        text(&self.call(&["run", &self.id("run")]))
    }

    pub fn sh(&mut self, script: &str) -> (i32, String) {
        self.args(&["sh", "-c", script]).run()
    }

    /// A command that must succeed; for those whose process keeps stdout open.
    pub fn quiet(&self, args: &[&str]) {
        let log = std::fs::File::create(self.path("stderr")).unwrap();
        let status = self
            .command(args)
            .stdout(Stdio::null())
            .stderr(log)
            .status()
            .unwrap();
        let said = std::fs::read_to_string(self.path("stderr")).unwrap();
        assert!(status.success(), "{args:?}: {said}");
    }

    pub fn status(&self, id: &str) -> String {
        let output = self.call(&["state", id]);
        let state: Value = serde_json::from_slice(&output.stdout).unwrap();
        state["status"].as_str().unwrap().to_owned()
    }

    pub fn pid(&self, id: &str) -> u64 {
        let state: Value = serde_json::from_slice(&self.call(&["state", id]).stdout).unwrap();
        state["pid"].as_u64().unwrap()
    }

    /// The container's cgroup; `None` on a machine without version 2.
    pub fn cgroup(&self, id: &str) -> Option<PathBuf> {
        ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"]
            .into_iter()
            .map(Path::new)
            .find(|at| at.join("cgroup.controllers").exists())
            .map(|at| at.join(id))
    }

    pub fn wait_for(&self, id: &str, status: &str) {
        for _ in 0..1000 {
            if self.status(id) == status {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        panic!("{id} is {} for 10 s, not {status}", self.status(id));
    }

    /// Nothing of this bench's is left: state, cgroups, processes, mounts.
    pub fn assert_nothing_left(&self) {
        let left: Vec<_> = std::fs::read_dir(self.path(self.state))
            .map(|entries| entries.map(|e| e.unwrap().file_name()).collect())
            .unwrap_or_default();
        assert!(left.is_empty(), "state: {left:?}");
        for mount in ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"] {
            for entry in std::fs::read_dir(mount).into_iter().flatten() {
                let name = entry.unwrap().file_name().into_string().unwrap();
                assert!(!name.starts_with(&self.prefix), "cgroup {name}");
            }
        }
        let here = self.dir.path().to_str().unwrap();
        assert!(
            !std::fs::read_to_string("/proc/self/mountinfo")
                .unwrap()
                .contains(here)
        );
        assert!(
            self.processes().is_empty(),
            "processes {:?}",
            self.processes()
        );
    }

    /// Processes that are in this bench's root or still run our command for it.
    pub fn processes(&self) -> Vec<String> {
        let here = self.dir.path().to_str().unwrap().to_owned();
        let all = std::fs::read_dir("/proc")
            .unwrap()
            .filter_map(|e| e.ok()?.file_name().into_string().ok());
        all.filter(|pid| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).into_owned();
            line.contains(&here)
        })
        .collect()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        for entry in std::fs::read_dir(self.path(self.state))
            .into_iter()
            .flatten()
            .flatten()
        {
            let id = entry.file_name().into_string().unwrap();
            let _ = self.call(&["delete", "--force", &id]);
        }
    }
}

pub fn text(output: &Output) -> (i32, String) {
    let both = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    (
        output.status.code().unwrap_or(-1),
        String::from_utf8_lossy(&both).into_owned(),
    )
}

/// A container that sleeps.
pub fn started(bench: &mut Bench, id: &str) {
    bench.args(&["sleep", "1000"]);
    bench.quiet(&["create", id]);
    bench.quiet(&["start", id]);
}

/// The call fails with one status, and says why.
pub fn refused(bench: &Bench, args: &[&str], expected: &str) {
    let (status, said) = text(&bench.call(args));
    assert!(status == 1 && said.contains(expected), "{args:?}: {said}");
}

/// The command in a shell that did something before.
pub fn after(first: &str, command: &Command) -> Command {
    let mut shell = Command::new("sh");
    let script = format!("{first}; exec \"$0\" \"$@\"");
    shell.arg("-c").arg(script).arg(command.get_program());
    shell.args(command.get_args()).stdin(Stdio::null());
    shell.current_dir(command.get_current_dir().unwrap());
    shell
}
