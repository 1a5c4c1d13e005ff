//! What is recorded of a container, one directory each: `<root>/<id>/`.
//!
//! `state.json` is written before `create` returns; without it the container is still being
//! created (or a `create` was killed). Where `create` runs hooks, which may take long, it is
//! written before them, too, as of a container that is being created. `config.json` is a copy of
//! what `create` read: a bundle that changes later, or goes, changes no container. `start.sock`
//! is where the created process listens. `cgroup` is a link to the cgroup from before that is
//! made, so that it is found whenever `create` is killed. Everything else is asked of the kernel
//! each time, so no record can grow stale: the process by pid and start time, "created" by
//! whether somebody listens.
//!
//! Whoever changes a container holds flock on its directory, but for the time that `poststart`
//! hooks take.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io::ErrorKind;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use oci_spec::runtime::Hooks;
use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with,
};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::{Deserialize, Serialize};

use crate::cgroup;
use crate::config::kept_hooks;
use crate::handshake::Channel;

/// The copy of what `create` read. Written before `state.json`.
const CONFIG: &str = "config.json";

/// How long a command waits for another one that works on the same container.
const UNLOCKED_WITHIN: Duration = Duration::from_secs(10);

/// The states of the OCI runtime spec.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Status {
    Creating,
    Created,
    Running,
    /// Beyond the spec, as other runtimes have it: its cgroup is frozen.
    Paused,
    Stopped,
}

/// `state.json`: the spec's fields and ours.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Record {
    pub(crate) oci_version: String,
    pub(crate) id: String,
    pub(crate) status: Status,
    #[serde(default)]
    pub(crate) pid: i32,
    pub(crate) bundle: PathBuf,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) annotations: Option<HashMap<String, String>>,
    /// The root file system on the host.
    #[serde(default)]
    pub(crate) rootfs: Option<PathBuf>,
    /// When it was made, in seconds since 1970.
    #[serde(default)]
    pub(crate) created: Option<i64>,
    /// Which cgroup it is: later there may be another's at its path.
    #[serde(default)]
    pub(crate) cgroup_identity: Option<u64>,
    /// Field 22 of /proc/PID/stat: with the pid it names one process for all time.
    pub(crate) start_time: u64,
    /// Absolute, below the cgroup v2 mount; `None` where there is no such hierarchy, none of it
    /// is ours, or none was asked for.
    pub(crate) cgroup: Option<PathBuf>,
    /// Where systemd made that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) scope: Option<cgroup::Scope>,
    /// There are hooks for `start` or `delete` to run.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) later_hooks: bool,
    /// No process of the container gets a session keyring of its own.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) no_new_keyring: bool,
}

/// A container's directory; locked, but by `open_unlocked`.
#[derive(Debug)]
pub(crate) struct Dir {
    path: PathBuf,
    fd: OwnedFd,
    id: String,
}

/// Ids are file names, and short enough for a socket's path through /proc/self/fd.
pub(crate) fn check_id(id: &str) -> Result<()> {
    let ok = |byte: u8| byte.is_ascii_alphanumeric() || b"_+-.:@".contains(&byte);
    ensure!(
        !id.is_empty() && id.len() <= 255 && id.bytes().all(ok) && id != "." && id != "..",
        "container id {id:?}: 1 to 255 letters, digits or _+-.:@ are allowed"
    );
    Ok(())
}

impl Dir {
    /// Takes the id for a new container.
    pub(crate) fn create(root: &Path, id: &str) -> Result<Dir> {
        check_id(id)?;
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true).mode(0o700);
        builder.create(root).map_err(|error| match error.kind() {
            ErrorKind::AlreadyExists => {
                anyhow!("state directory {}: is not a directory", root.display())
            }
            _ => anyhow::Error::from(error).context(format!("state directory {}", root.display())),
        })?;
        let path = root.join(id);
        match rustix::fs::mkdir(&path, Mode::from_raw_mode(0o700)) {
            Ok(()) => {}
            Err(Errno::EXIST) => bail!("container {id} exists already"),
            Err(errno) => {
                let what = format!("state directory {}", path.display());
                return Err(anyhow::Error::from(errno).context(what));
            }
        }
        let made = Dir::open_unlocked(root, id).inspect_err(|_| {
            // That error is the one to tell.
            let _ = rustix::fs::rmdir(&path);
        })?;
        made.lock()
    }

    /// Opens and locks; waits a while if another command works on the container.
    pub(crate) fn open(root: &Path, id: &str) -> Result<Dir> {
        Dir::open_unlocked(root, id)?.lock()
    }

    /// Locks at once, or not at all.
    pub(crate) fn try_lock(&self) -> Result<bool> {
        let operation = FlockOperation::NonBlockingLockExclusive;
        match rustix::io::retry_on_intr(|| rustix::fs::flock(&self.fd, operation)) {
            Ok(()) => Ok(true),
            Err(Errno::AGAIN) => Ok(false),
            Err(errno) => {
                Err(anyhow::Error::from(errno).context(format!("lock {}", self.path.display())))
            }
        }
    }

    /// Lets others work on the container until it is locked again.
    pub(crate) fn unlock(&self) -> Result<()> {
        rustix::fs::flock(&self.fd, FlockOperation::Unlock)
            .with_context(|| format!("unlock {}", self.path.display()))
    }

    fn lock(self) -> Result<Dir> {
        self.relock()?;
        Ok(self)
    }

    /// Whoever has the lock may be running a hook for as long as that likes, so it is waited for
    /// no longer than [`UNLOCKED_WITHIN`].
    pub(crate) fn relock(&self) -> Result<()> {
        let (began, mut pause) = (Instant::now(), Duration::from_millis(1));
        while !self.try_lock()? {
            ensure!(
                began.elapsed() < UNLOCKED_WITHIN,
                "another command works on container {} and has not ended within {} s; if that is \
                 because of a hook, delete --force ends both",
                self.id,
                UNLOCKED_WITHIN.as_secs()
            );
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(50));
        }
        // It may have been deleted, and made anew, before we had the lock.
        let same = rustix::fs::stat(&self.path).is_ok_and(|now| {
            rustix::fs::fstat(&self.fd).is_ok_and(|ours| ours.st_ino == now.st_ino)
        });
        ensure!(same, "container {} does not exist", self.id);
        Ok(())
    }

    /// Notes where the container's cgroup is going to be.
    pub(crate) fn note_cgroup(&self, path: &Path) -> Result<()> {
        rustix::fs::symlinkat(path, &self.fd, "cgroup")
            .with_context(|| format!("write {}", self.path.join("cgroup").display()))
    }

    /// The cgroup that was noted, whether it was made or not.
    pub(crate) fn noted_cgroup(&self) -> Result<Option<PathBuf>> {
        match rustix::fs::readlinkat(&self.fd, "cgroup", Vec::new()) {
            Ok(path) => Ok(Some(OsString::from_vec(path.into_bytes()).into())),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => {
                Err(anyhow::Error::from(errno)
                    .context(self.path.join("cgroup").display().to_string()))
            }
        }
    }

    /// For reading only: never waits.
    pub(crate) fn open_unlocked(root: &Path, id: &str) -> Result<Dir> {
        check_id(id)?;
        let path = root.join(id);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        match rustix::fs::open(&path, flags, Mode::empty()) {
            Ok(fd) => Ok(Dir {
                path,
                fd,
                id: id.to_owned(),
            }),
            Err(Errno::NOENT) => bail!("container {id} does not exist"),
            Err(errno) => Err(anyhow::Error::from(errno).context(path.display().to_string())),
        }
    }

    pub(crate) fn record(&self) -> Result<Option<Record>> {
        let path = self.path.join("state.json");
        match std::fs::read(&path) {
            Ok(text) => {
                let record = serde_json::from_slice(&text);
                Ok(Some(record.with_context(|| path.display().to_string())?))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(anyhow::Error::from(error).context(path.display().to_string())),
        }
    }

    /// The record of a container whose creation was completed.
    pub(crate) fn created_record(&self) -> Result<Record> {
        let record = self.any_record()?;
        if record.status == Status::Creating {
            let id = &self.id;
            process(&record)?.with_context(|| self.unfinished())?;
            bail!("container {id} is still being created; wait, or delete it with --force");
        }
        Ok(record)
    }

    /// The record of a container that is perhaps still being created.
    pub(crate) fn any_record(&self) -> Result<Record> {
        self.record()?.with_context(|| self.unfinished())
    }

    fn unfinished(&self) -> String {
        format!(
            "container {} was never completely created; delete it with --force",
            self.id
        )
    }

    pub(crate) fn write(&self, record: &Record) -> Result<()> {
        self.replace("state.json", &serde_json::to_vec(record)?)
    }

    /// Keeps what `create` read, for later commands.
    pub(crate) fn keep_config(&self, text: &[u8]) -> Result<()> {
        self.replace(CONFIG, text)
    }

    /// Where that is.
    pub(crate) fn kept_config(&self) -> PathBuf {
        self.path.join(CONFIG)
    }

    /// The hooks that later commands run. Without any, the copy is not even read.
    pub(crate) fn hooks(&self, record: &Record) -> Result<Hooks> {
        if record.later_hooks {
            kept_hooks(&self.kept_config())
        } else {
            Ok(Hooks::default())
        }
    }

    fn replace(&self, name: &str, text: &[u8]) -> Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(0o600);
        let written = rustix::fs::openat(&self.fd, "state.new", flags, mode).and_then(|file| {
            let written = rustix::io::write(&file, text)?;
            if written != text.len() {
                return Err(Errno::NOSPC);
            }
            rustix::fs::renameat(&self.fd, "state.new", &self.fd, name)
        });
        written.with_context(|| format!("write {}", self.path.join(name).display()))
    }

    /// The socket that the created process listens on.
    pub(crate) fn listen(&self) -> Result<OwnedFd> {
        let socket = self.socket(SocketFlags::empty())?;
        let address = self.address()?;
        bind(&socket, &address)
            .and_then(|()| listen(&socket, 8))
            .with_context(|| format!("listen on {}", self.path.join("start.sock").display()))?;
        Ok(socket)
    }

    /// The created process, or `None` when nobody listens (any more).
    pub(crate) fn connect(&self) -> Result<Option<Channel>> {
        let socket = self.socket(SocketFlags::empty())?;
        match connect(&socket, &self.address()?) {
            Ok(()) => Ok(Some(Channel::from_socket(socket))),
            Err(Errno::CONNREFUSED | Errno::NOENT) => Ok(None),
            Err(errno) => Err(anyhow::Error::from(errno).context("connect to the container")),
        }
    }

    /// Whether the created process listens. One that is frozen accepts nothing, so nobody may
    /// wait for it here: a full queue is an answer too.
    fn is_listening(&self) -> Result<bool> {
        let socket = self.socket(SocketFlags::NONBLOCK)?;
        match connect(&socket, &self.address()?) {
            Ok(()) | Err(Errno::AGAIN) => Ok(true),
            Err(Errno::CONNREFUSED | Errno::NOENT) => Ok(false),
            Err(errno) => Err(anyhow::Error::from(errno).context("connect to the container")),
        }
    }

    fn socket(&self, flags: SocketFlags) -> Result<OwnedFd> {
        let kind = SocketType::SEQPACKET;
        Ok(socket_with(
            AddressFamily::UNIX,
            kind,
            flags | SocketFlags::CLOEXEC,
            None,
        )?)
    }

    /// Through the descriptor, because a socket's path has room for 107 bytes only.
    fn address(&self) -> rustix::io::Result<SocketAddrUnix> {
        SocketAddrUnix::new(format!("/proc/self/fd/{}/start.sock", self.fd.as_raw_fd()))
    }

    /// What the container is doing now.
    pub(crate) fn status(&self, record: &Record) -> Result<Status> {
        if process(record)?.is_none() {
            return Ok(Status::Stopped);
        }
        if record.status == Status::Creating {
            return Ok(Status::Creating);
        }
        if record.cgroup.as_deref().is_some_and(cgroup::is_frozen) {
            return Ok(Status::Paused);
        }
        Ok(if self.is_listening()? {
            Status::Created
        } else {
            Status::Running
        })
    }

    /// Who made the container.
    pub(crate) fn owner(&self) -> Result<u32> {
        let stat = rustix::fs::fstat(&self.fd).with_context(|| self.path.display().to_string())?;
        Ok(stat.st_uid)
    }

    /// Frees the id.
    pub(crate) fn remove(self) -> Result<()> {
        for name in ["state.json", CONFIG, "state.new", "start.sock", "cgroup"] {
            match rustix::fs::unlinkat(&self.fd, name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(errno) => {
                    return Err(anyhow::Error::from(errno).context(format!("remove {name}")));
                }
            }
        }
        rustix::fs::rmdir(&self.path).with_context(|| format!("remove {}", self.path.display()))
    }
}

/// A pidfd of the container's first process, or `None` when it has ended (a zombie has).
pub(crate) fn process(record: &Record) -> Result<Option<OwnedFd>> {
    let Some(pid) = Pid::from_raw(record.pid) else {
        return Ok(None);
    };
    let pidfd = match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(pidfd) => pidfd,
        Err(Errno::SRCH | Errno::INVAL) => return Ok(None),
        Err(errno) => return Err(anyhow::Error::from(errno).context("pidfd_open")),
    };
    // Read after the pidfd was opened, so that both are of one process.
    Ok(match start_time(record.pid) {
        Some((time, alive)) if alive && time == record.start_time => Some(pidfd),
        _ => None,
    })
}

/// Start time in clock ticks since boot, and whether the process is more than a zombie.
pub(crate) fn start_time(pid: i32) -> Option<(u64, bool)> {
    parse_stat(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The command name may contain anything, parentheses and spaces too.
fn parse_stat(stat: &str) -> Option<(u64, bool)> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    let alive = !matches!(fields.next()?, "Z" | "X");
    Some((fields.nth(18)?.parse().ok()?, alive))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_lines() {
        let tail = "1 1 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 777 1000 5";
        for (line, expected) in [
            (format!("12 (sh) S 1 {tail}"), Some((777, true))),
            (format!("12 (a) b) (c) Z 1 {tail}"), Some((777, false))),
            ("12 (sh".to_owned(), None),
            ("12 (sh) S 1".to_owned(), None),
        ] {
            assert_eq!(parse_stat(&line), expected, "{line}");
        }
        let own = std::process::id() as i32;
        assert!(start_time(own).unwrap().1);
    }

    #[test]
    fn ids() {
        for id in ["a", "web-1", "A_b.c:d@e+f"] {
            assert!(check_id(id).is_ok(), "{id}");
        }
        for id in ["", ".", "..", "a/b", "a b", "é", &"x".repeat(256)] {
            assert!(check_id(id).is_err(), "{id}");
        }
    }

    #[test]
    fn an_id_is_taken_once_and_freed() {
        let root = tempfile::tempdir().unwrap();
        let dir = Dir::create(root.path(), "one").unwrap();
        let again = Dir::create(root.path(), "one").unwrap_err().to_string();
        assert!(again.contains("exists already"), "{again}");
        assert!(dir.record().unwrap().is_none());
        assert!(dir.connect().unwrap().is_none());
        let listener = dir.listen().unwrap();
        assert!(dir.connect().unwrap().is_some());
        drop(listener);
        assert!(dir.connect().unwrap().is_none());
        dir.remove().unwrap();
        let gone = Dir::open(root.path(), "one").unwrap_err().to_string();
        assert!(gone.contains("does not exist"), "{gone}");
    }
}
