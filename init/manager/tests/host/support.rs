//! A host in a directory: a stand-in for PID 1, the real manager and the real
//! runtime, in a mount and a network namespace of their own.

use std::collections::HashMap;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use orlop_control::client::{Client, Endpoint};
use orlop_control::types::{LogLine, LogQuery, UnitFile, UnitStatus};
use orlop_handover::{FromInit, InitEnd, ToInit};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, waitid};

use super::made::{make_store, make_wrapper};

/// The image that is in each host's store.
pub(crate) const IMAGE: &str = "localhost/busybox:1";

/// Only root can make containers; elsewhere these tests have nothing to test, which
/// `cargo vm test` forbids.
pub(crate) fn possible() -> bool {
    let root = rustix::process::getuid().is_root();
    let busybox = Path::new("/usr/bin/busybox").exists() || Path::new("/bin/busybox").exists();
    if !root || !busybox {
        let why = "this test needs root and a static busybox";
        assert!(std::env::var_os("ORLOP_TESTS_COMPLETE").is_none(), "{why}");
        eprintln!("skipped: {why}");
    }
    root && busybox
}

/// A running host; dropping it takes everything down.
pub(crate) struct TestHost {
    pub(crate) dir: PathBuf,
    holder: Child,
    init: Option<std::thread::JoinHandle<()>>,
    manager: Arc<AtomicI32>,
    end: Arc<AtomicBool>,
    pub(crate) client: Client,
    pub(crate) runtime: tokio::runtime::Runtime,
    /// How often a manager was started.
    pub(crate) starts: Arc<AtomicI32>,
    /// What the stand-in for PID 1 is to tell the manager.
    pub(crate) tell: Arc<Mutex<Vec<FromInit>>>,
    /// What it heard of a shutdown.
    pub(crate) heard: Arc<Mutex<Vec<ToInit>>>,
}

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Waits until `holder` has left this process's namespaces: whoever entered its
/// before would mount in the machine's own.
fn wait_for_namespaces(holder: u32) {
    let namespace = |of: &str, kind: &str| std::fs::read_link(format!("/proc/{of}/ns/{kind}")).ok();
    let began = Instant::now();
    for kind in ["mnt", "net"] {
        while namespace(&holder.to_string(), kind) == namespace("self", kind) {
            assert!(
                began.elapsed() < Duration::from_secs(60),
                "unshare does not leave the {kind} namespace"
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    // Its mounts are private only once it runs what it was told to.
    let runs = || std::fs::read_to_string(format!("/proc/{holder}/comm"));
    while runs().is_ok_and(|name| name.trim() != "sleep") {
        assert!(
            began.elapsed() < Duration::from_secs(60),
            "unshare does not run its command"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// This process reaps for one host at a time.
pub(crate) fn alone() -> std::sync::MutexGuard<'static, ()> {
    ONE_AT_A_TIME
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl TestHost {
    pub(crate) fn start() -> TestHost {
        TestHost::start_with(|_| {})
    }

    /// A host whose files `prepare` has put into its directory, as a boot finds them.
    pub(crate) fn start_with(prepare: impl FnOnce(&Path)) -> TestHost {
        rustix::process::set_child_subreaper(Pid::from_raw(1)).unwrap();
        let dir = tempfile::Builder::new()
            .prefix("orlop-host-")
            .tempdir()
            .unwrap()
            .keep();
        make_store(&dir.join("usr/lib/orlop/images"), IMAGE);
        std::fs::create_dir_all(dir.join("etc/orlop/units")).unwrap();
        prepare(&dir);
        let wrapper = make_wrapper(&dir);
        let holder = Command::new("unshare")
            .args(["-m", "-n", "--propagation", "private", "sleep", "1000000"])
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        wait_for_namespaces(holder.id());
        let (manager, end) = (
            Arc::new(AtomicI32::new(0)),
            Arc::new(AtomicBool::new(false)),
        );
        let starts = Arc::new(AtomicI32::new(0));
        let (tell, heard) = (Arc::default(), Arc::default());
        let init = Init {
            command: vec![
                "-t".to_owned(),
                holder.id().to_string(),
                "-m".to_owned(),
                "-n".to_owned(),
                "--".to_owned(),
                env!("CARGO_BIN_EXE_orlop-manager").to_owned(),
                "--no-network".to_owned(),
                "--root".to_owned(),
                dir.to_str().unwrap().to_owned(),
                "--runtime".to_owned(),
                wrapper.to_str().unwrap().to_owned(),
            ],
            holder: i32::try_from(holder.id()).unwrap(),
            kept: HashMap::new(),
            exits: Vec::new(),
            manager: Arc::clone(&manager),
            end: Arc::clone(&end),
            starts: Arc::clone(&starts),
            tell: Arc::clone(&tell),
            heard: Arc::clone(&heard),
        };
        let init = std::thread::spawn(move || init.run());
        let client = Client::new(Endpoint::Unix(dir.join("run/orlop/api.sock")));
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        TestHost {
            dir,
            holder,
            init: Some(init),
            manager,
            end,
            client,
            runtime,
            starts,
            tell,
            heard,
        }
    }

    /// Puts a file system of so little size on a directory of the host.
    pub(crate) fn mount_small(&self, place: &str, size: &str) {
        let place = self.dir.join(place);
        std::fs::create_dir_all(&place).unwrap();
        let status = Command::new("nsenter")
            .args(["-t", &self.holder.id().to_string(), "-m", "--", "mount"])
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "small"])
            .arg(place)
            .status();
        // The stand-in for PID 1 may have reaped it.
        drop(status);
    }

    pub(crate) fn unmount(&self, place: &str) {
        let status = Command::new("nsenter")
            .args(["-t", &self.holder.id().to_string(), "-m", "--", "umount"])
            .arg(self.dir.join(place))
            .status();
        // The stand-in for PID 1 may have reaped it.
        drop(status);
    }

    /// SIGKILL, as a crash would be.
    pub(crate) fn kill_manager(&self) {
        if let Some(pid) = Pid::from_raw(self.manager.swap(0, Ordering::SeqCst)) {
            let _ = rustix::process::kill_process(pid, Signal::KILL);
        }
    }

    /// Applies unit files; tried again while no manager answers.
    pub(crate) fn apply(&self, files: &[(&str, &str)]) {
        let files: Vec<UnitFile> = files
            .iter()
            .map(|(name, content)| UnitFile {
                name: (*name).to_owned(),
                content: (*content).to_owned(),
            })
            .collect();
        self.until("apply", || {
            match self
                .runtime
                .block_on(self.client.apply(files.clone(), false))
            {
                Ok(_) => true,
                Err(error) if error.is_transport() => false,
                Err(error) => panic!("apply: {error}"),
            }
        });
    }

    pub(crate) fn unit(&self, name: &str) -> Option<UnitStatus> {
        self.runtime.block_on(self.client.unit(name)).ok()
    }

    pub(crate) fn wait_unit(
        &self,
        name: &str,
        what: &str,
        good: impl Fn(&UnitStatus) -> bool,
    ) -> UnitStatus {
        let mut found = None;
        self.until(&format!("{name}: {what}"), || {
            found = self.unit(name);
            found.as_ref().is_some_and(&good)
        });
        found.unwrap()
    }

    /// Waits; panics with `what` and the last state after three minutes.
    pub(crate) fn until(&self, what: &str, mut done: impl FnMut() -> bool) {
        let began = Instant::now();
        while !done() {
            if began.elapsed() > Duration::from_secs(180) {
                let units = self.runtime.block_on(self.client.units());
                panic!("still not: {what}\n{units:#?}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub(crate) fn logs(&self, name: &str) -> Vec<LogLine> {
        self.runtime.block_on(async {
            let mut lines = self.client.logs(name, LogQuery::default()).await.unwrap();
            let mut all = Vec::new();
            while let Some(line) = lines.next().await.unwrap() {
                all.push(line);
            }
            all
        })
    }

    /// The exit codes on record.
    pub(crate) fn exit_codes(&self, unit: &str) -> Vec<i64> {
        let path = self.dir.join(format!("var/lib/orlop/exits/{unit}.ndjson"));
        let text = std::fs::read_to_string(path).unwrap_or_default();
        text.lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
            .map(|exit| exit["code"].as_i64().unwrap_or(-1))
            .collect()
    }
}

impl Drop for TestHost {
    fn drop(&mut self) {
        self.end.store(true, Ordering::SeqCst);
        self.kill_manager();
        if let Some(init) = self.init.take() {
            let _ = init.join();
        }
        let _ = self.holder.kill();
        let _ = self.holder.wait();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// PID 1's part of the handover.
struct Init {
    command: Vec<String>,
    holder: i32,
    kept: HashMap<String, (Vec<String>, Vec<OwnedFd>)>,
    exits: Vec<FromInit>,
    manager: Arc<AtomicI32>,
    end: Arc<AtomicBool>,
    starts: Arc<AtomicI32>,
    tell: Arc<Mutex<Vec<FromInit>>>,
    heard: Arc<Mutex<Vec<ToInit>>>,
}

impl Init {
    fn run(mut self) {
        let mut link = None;
        let mut pid = 0;
        while !self.end.load(Ordering::SeqCst) {
            if pid == 0 {
                let (ours, started) = self.start_manager();
                (link, pid) = (Some(ours), started);
                self.manager.store(pid, Ordering::SeqCst);
                self.starts.fetch_add(1, Ordering::SeqCst);
            }
            if let Some(link) = &link {
                self.serve(link);
            }
            if self.reap(pid, link.as_ref()) {
                pid = 0;
                self.manager.store(0, Ordering::SeqCst);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        if let Some(pid) = Pid::from_raw(pid) {
            let _ = rustix::process::kill_process(pid, Signal::KILL);
        }
        self.kill_all();
    }

    // Reaped with all other children, in `reap`.
    #[allow(clippy::zombie_processes)]
    fn start_manager(&self) -> (InitEnd, i32) {
        let (ours, theirs) = InitEnd::pair().unwrap();
        let theirs = OwnedFd::from(theirs);
        rustix::io::fcntl_setfd(&theirs, rustix::io::FdFlags::empty()).unwrap();
        let child = Command::new("nsenter")
            .args(&self.command)
            .env("ORLOP_INIT_FD", theirs.as_raw_fd().to_string())
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let send = |message: &FromInit, fds: &[OwnedFd]| {
            let fds: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
            ours.send(message, &fds).unwrap();
        };
        let kept = self.kept.len();
        send(&FromInit::Welcome { kept }, &[]);
        for (key, (names, fds)) in &self.kept {
            let (key, names) = (key.clone(), names.clone());
            send(&FromInit::Kept { key, names }, fds);
        }
        for exit in &self.exits {
            send(exit, &[]);
        }
        send(&FromInit::Ready, &[]);
        (ours, pid)
    }

    fn serve(&mut self, link: &InitEnd) {
        for message in self.tell.lock().unwrap().drain(..) {
            link.send(&message, &[]).unwrap();
        }
        while let Ok(Some((message, fds))) = link.recv() {
            match message {
                ToInit::Ack { pid, start_time } => self.exits.retain(|exit| {
                    !matches!(exit, FromInit::Exit { pid: p, start_time: s, .. }
                        if (*p, *s) == (pid, start_time))
                }),
                ToInit::Keep { key, names } => {
                    self.kept.insert(key.clone(), (names, fds));
                    let _ = link.send(&FromInit::KeptOk { key }, &[]);
                }
                ToInit::Forget { key } => {
                    self.kept.remove(&key);
                }
                ToInit::Stopping {
                    needs_ms: _,
                    containers: _,
                }
                | ToInit::Shutdown { mode: _ }
                | ToInit::ContainersStopped => self.heard.lock().unwrap().push(message),
                ToInit::Pong { seq: _ } | ToInit::Running => {}
            }
        }
    }

    /// True when the manager is gone.
    fn reap(&mut self, manager: i32, link: Option<&InitEnd>) -> bool {
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        let mut gone = false;
        while let Ok(Some(_)) = waitid(WaitId::All, look) {
            // Which one it is, /proc tells: a zombie child of ours.
            let Some(pid) = zombie(self.holder) else {
                break;
            };
            let start = start_time(pid);
            let target = WaitId::Pid(Pid::from_raw(pid).unwrap());
            let Ok(Some(status)) = waitid(target, WaitIdOptions::EXITED | WaitIdOptions::NOHANG)
            else {
                break;
            };
            if pid == manager {
                gone = true;
                continue;
            }
            let exit = FromInit::Exit {
                pid,
                start_time: start,
                code: status.exit_status(),
                signal: status.terminating_signal(),
                at_ms: 1,
            };
            if let Some(link) = link {
                let _ = link.send(&exit, &[]);
            }
            self.exits.push(exit);
        }
        gone
    }

    /// Whatever the host left running, containers above all.
    fn kill_all(&self) {
        let ours = rustix::process::getpid().as_raw_nonzero().get();
        for _ in 0..200 {
            let left = children(ours, self.holder);
            if left.is_empty() {
                return;
            }
            for pid in left {
                let pid = Pid::from_raw(pid).unwrap();
                let _ = rustix::process::kill_process(pid, Signal::KILL);
                let _ = waitid(
                    WaitId::Pid(pid),
                    WaitIdOptions::EXITED | WaitIdOptions::NOHANG,
                );
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

fn stat(pid: i32) -> Option<Vec<String>> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    Some(rest.split_whitespace().map(str::to_owned).collect())
}

fn start_time(pid: i32) -> u64 {
    stat(pid).map_or(0, |fields| fields[19].parse().unwrap())
}

fn children(of: i32, but: i32) -> Vec<i32> {
    let path = format!("/proc/{of}/task");
    let tasks = std::fs::read_dir(path).into_iter().flatten().flatten();
    tasks
        .filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok())
        .flat_map(|text| {
            let pids = text.split_whitespace().filter_map(|pid| pid.parse().ok());
            pids.collect::<Vec<i32>>()
        })
        .filter(|pid| *pid != but)
        .collect()
}

fn zombie(holder: i32) -> Option<i32> {
    let ours = rustix::process::getpid().as_raw_nonzero().get();
    children(ours, holder)
        .into_iter()
        .find(|pid| stat(*pid).is_some_and(|fields| fields[0] == "Z"))
}
