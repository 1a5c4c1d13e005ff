//! Programs that PID 1 runs itself: a helper while booting, the manager later.

use crate::files;
use orlop_handover::{FD_VARIABLE, ManagerEnd};
use orlop_sys::signals;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::FdFlags;
use rustix::pipe::PipeFlags;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const MANAGER: &str = "/usr/lib/orlop/bin/orlop-manager";
const PATH: &str = "/usr/lib/orlop/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// How much of a helper's output is kept: the end of it.
const TAIL_BYTES: usize = 600;

/// How long PID 1 waits for a helper.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// How often it is said that the helper still runs.
    pub(crate) word_every: Duration,
    /// How long the helper may go without a moment on a processor: one that
    /// waits for a disk which never answers has none.
    pub(crate) stall: Duration,
    /// How long it may take in all.
    pub(crate) most: Duration,
}

/// How often a helper is looked at.
const LOOK: Duration = Duration::from_millis(500);

/// Runs a helper to its end: its exit status (`None` when a signal ended it)
/// and the end of its output. Only while booting: it waits, and calls
/// `still_running` with how long it has been waiting.
///
/// # Errors
/// A helper that cannot be started, or (`TimedOut`) that is past `patience`: it
/// is killed and not waited for, as the kernel may not let go of it.
pub(crate) fn run(
    program: &str,
    arguments: &[&OsStr],
    patience: Patience,
    mut still_running: impl FnMut(Duration),
) -> io::Result<(Option<i32>, String)> {
    let (reader, writer) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
    rustix::io::ioctl_fionbio(&writer, false)?;
    let mut child = Command::new(program)
        .args(arguments)
        .env_clear()
        .env("PATH", PATH)
        .stdin(Stdio::null())
        // A copy: with one held here the stream never ends, and so is no reason to wake.
        .stdout(writer.try_clone()?)
        .stderr(Stdio::null())
        .spawn()?;
    let mut output = Tail::default();
    let (begun, mut moved, mut said) = (Instant::now(), Instant::now(), Instant::now());
    let mut used = None;
    loop {
        output.read(&reader);
        if let Some(status) = child.try_wait()? {
            output.read(&reader);
            return Ok((status.code(), output.into_text()));
        }
        let now_used = processor_time(child.id());
        if now_used != used || now_used.is_none() {
            (used, moved) = (now_used, Instant::now());
        }
        if moved.elapsed() >= patience.stall || begun.elapsed() >= patience.most {
            child.kill()?;
            let idle_s = moved.elapsed().as_secs();
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                format!(
                    "given up after {} s, for the last {idle_s} s without progress: the disk may \
                     be failing",
                    begun.elapsed().as_secs()
                ),
            ));
        }
        if said.elapsed() >= patience.word_every {
            said = Instant::now();
            still_running(begun.elapsed());
        }
        wait_for_news(child.id(), &reader);
    }
}

/// Waits until the process has ended or written, or for the next look at it.
fn wait_for_news(pid: u32, output: &OwnedFd) {
    let timeout = Timespec {
        tv_sec: 0,
        tv_nsec: LOOK.subsec_nanos().into(),
    };
    let process = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let process = process.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
    let waited = process.map(|process| {
        let mut fds = [&process, output].map(|fd| PollFd::new(fd, PollFlags::IN));
        rustix::event::poll(&mut fds, Some(&timeout))
    });
    // Without a descriptor to wait on, PID 1 must not turn in a busy loop.
    if !matches!(waited, Some(Ok(_))) {
        std::thread::sleep(LOOK);
    }
}

/// For how long the process has been on a processor, as the kernel writes it
/// (proc(5), schedstat); `None` when it does not say.
fn processor_time(pid: u32) -> Option<String> {
    let text = files::read(format!("/proc/{pid}/schedstat")).ok()?;
    Some(text.split(' ').next()?.to_owned())
}

/// The last bytes of a stream.
#[derive(Debug, Default)]
struct Tail(Vec<u8>);

impl Tail {
    /// Reads what there is now, waiting for nothing.
    fn read(&mut self, stream: &OwnedFd) {
        let mut buffer = [0; 4096];
        while let Ok(got @ 1..) = rustix::io::read(stream, &mut buffer) {
            self.0.extend_from_slice(&buffer[..got]);
            let excess = self.0.len().saturating_sub(TAIL_BYTES);
            self.0.drain(..excess);
        }
    }

    fn into_text(self) -> String {
        String::from_utf8_lossy(&self.0).into_owned()
    }
}

/// Starts the manager with its end of the link and `output` as both its
/// output streams; gives its pid.
pub(crate) fn start_manager(link: ManagerEnd, output: &OwnedFd) -> io::Result<i32> {
    let socket = OwnedFd::from(link);
    rustix::io::fcntl_setfd(&socket, FdFlags::empty())?;
    let mut manager = Command::new(MANAGER);
    // PID 1 has its signals blocked and reads them; the manager ends at SIGTERM.
    signals::unblock_in(&mut manager);
    let child = manager
        .env_clear()
        .env("PATH", PATH)
        .env(FD_VARIABLE, socket.as_raw_fd().to_string())
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output.try_clone()?)
        .process_group(0)
        .spawn()?;
    i32::try_from(child.id()).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Patience = Patience {
        word_every: Duration::from_secs(600),
        stall: Duration::from_secs(600),
        most: Duration::from_secs(600),
    };

    fn script(text: &str, patience: Patience) -> io::Result<(Option<i32>, String)> {
        run("/bin/sh", &["-c".as_ref(), text.as_ref()], patience, |_| {})
    }

    #[test]
    fn a_helper_gives_its_status_and_the_end_of_what_it_said() {
        let (status, output) = script("seq 1 100000; echo last; exit 4", PATIENCE).unwrap();
        assert_eq!(status, Some(4));
        assert!(output.len() <= TAIL_BYTES && output.ends_with("last\n"));
        assert_eq!(script("kill -9 $$", PATIENCE).unwrap().0, None);
        // Its output's end is not its own.
        let quiet = script("exec >&-; sleep 0.2; exit 3", PATIENCE).unwrap();
        assert_eq!(quiet, (Some(3), String::new()));
        assert!(run("/nonexistent", &[], PATIENCE, |_| {}).is_err());
    }

    #[test]
    fn a_helper_that_makes_no_progress_is_given_up() {
        let stall = Patience {
            stall: Duration::from_secs(1),
            most: Duration::MAX,
            ..PATIENCE
        };
        let error = script("exec sleep 1000000", stall).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut, "{error}");
    }

    #[test]
    fn a_helper_that_works_is_waited_for_with_a_word_until_it_is_too_much() {
        let busy = Patience {
            word_every: Duration::ZERO,
            stall: Duration::MAX,
            most: Duration::from_secs(2),
        };
        let mut words = 0;
        let endless = ["-c".as_ref(), "while :; do :; done".as_ref()];
        let error = run("/bin/sh", &endless, busy, |_| words += 1).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut, "{error}");
        assert!(words > 0);
    }
}
