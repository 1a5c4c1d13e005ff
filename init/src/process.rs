//! Programs that PID 1 runs itself: a helper while booting, the manager later.

use orlop_handover::{FD_VARIABLE, ManagerEnd};
use rustix::io::FdFlags;
use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

const MANAGER: &str = "/usr/lib/orlop/bin/orlop-manager";
const PATH: &str = "/usr/lib/orlop/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// How much of a helper's output is kept: the end of it.
const TAIL_BYTES: usize = 600;

/// Runs a helper to its end: its exit status (`None` when a signal ended it)
/// and the end of its output. Only while booting: it waits.
pub(crate) fn run(program: &str, arguments: &[&OsStr]) -> io::Result<(Option<i32>, String)> {
    let mut child = Command::new(program)
        .args(arguments)
        .env_clear()
        .env("PATH", PATH)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let output = child.stdout.take().map(tail).unwrap_or_default();
    Ok((child.wait()?.code(), output))
}

/// The last bytes of a stream, read to its end.
fn tail(mut stream: impl Read) -> String {
    let mut kept = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(got @ 1..) = stream.read(&mut buffer) {
        kept.extend_from_slice(&buffer[..got]);
        let excess = kept.len().saturating_sub(TAIL_BYTES);
        kept.drain(..excess);
    }
    String::from_utf8_lossy(&kept).into_owned()
}

/// Starts the manager with its end of the link and `output` as both its
/// output streams; gives its pid.
pub(crate) fn start_manager(link: ManagerEnd, output: &OwnedFd) -> io::Result<i32> {
    let socket = OwnedFd::from(link);
    rustix::io::fcntl_setfd(&socket, FdFlags::empty())?;
    let child = Command::new(MANAGER)
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

    #[test]
    fn a_helper_gives_its_status_and_the_end_of_what_it_said() {
        let script = |text: &'static str| run("/bin/sh", &["-c".as_ref(), text.as_ref()]).unwrap();
        let (status, output) = script("seq 1 100000; echo last; exit 4");
        assert_eq!(status, Some(4));
        assert!(output.len() <= TAIL_BYTES && output.ends_with("last\n"));
        assert_eq!(script("kill -9 $$").0, None);
        assert!(run("/nonexistent", &[]).is_err());
    }
}
