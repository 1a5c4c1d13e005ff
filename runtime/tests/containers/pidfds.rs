//! `--pidfd-socket`: who listens there holds the process itself, not its number.

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixListener;

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use rustix::process::{Signal, pidfd_send_signal};

use crate::support::{bench, refused, until};

/// What the one who connects sends: a word, and a descriptor.
fn received(listener: &UnixListener) -> (String, OwnedFd) {
    let (socket, _) = listener.accept().unwrap();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut text = [0_u8; 64];
    let mut slices = [IoSliceMut::new(&mut text)];
    let flags = RecvFlags::CMSG_CLOEXEC;
    let message = recvmsg(&socket, &mut slices, &mut ancillary, flags).unwrap();
    let mut fds = ancillary.drain().filter_map(|one| match one {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    let word = String::from_utf8(text[..message.bytes].to_vec()).unwrap();
    (word, fds.next().unwrap())
}

/// Whose pidfd it is.
fn pid(pidfd: &OwnedFd) -> String {
    let path = format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd());
    let info = std::fs::read_to_string(path).unwrap();
    let pid = info.lines().find_map(|line| line.strip_prefix("Pid:"));
    pid.unwrap().trim().to_owned()
}

#[test]
fn who_listens_gets_a_pidfd() {
    let Some(mut bench) = bench("pidfd") else {
        return;
    };
    let id = bench.id("pidfd");
    let at = bench.path("sock");
    let socket = at.to_str().unwrap();
    bench.args(&["sleep", "1000"]);
    let create = ["create", "--pidfd-socket", socket, &id];
    refused(&bench, &create, "--pidfd-socket");
    bench.assert_nothing_left();
    let listener = UnixListener::bind(&at).unwrap();
    bench.quiet(&create);
    let (word, first) = received(&listener);
    assert_eq!(
        (&*word, pid(&first)),
        ("standard", bench.pid(&id).to_string())
    );
    bench.quiet(&["start", &id]);

    let exec = ["exec", "--detach", "--pid-file", "pid", "--pidfd-socket"];
    let exec = |socket| [&exec[..], &[socket, &id, "sleep", "998"]].concat();
    refused(&bench, &exec("/no/such"), "--pidfd-socket /no/such");
    assert!(!bench.path("bundle/pid").exists());
    bench.quiet(&exec(socket));
    let (word, further) = received(&listener);
    let told = std::fs::read_to_string(bench.path("bundle/pid")).unwrap();
    assert_eq!((&*word, pid(&further)), ("setns", told.clone()));
    pidfd_send_signal(&further, Signal::KILL).unwrap();
    let line = || std::fs::read(format!("/proc/{told}/cmdline")).unwrap_or_default();
    until("the exec has ended", || line().is_empty());
    pidfd_send_signal(&first, Signal::KILL).unwrap();
    bench.wait_for(&id, "stopped");
    bench.quiet(&["delete", &id]);

    bench.quiet(&["run", "--detach", "--pidfd-socket", socket, &id]);
    let (word, first) = received(&listener);
    assert_eq!(
        (&*word, pid(&first)),
        ("standard", bench.pid(&id).to_string())
    );
    bench.quiet(&["delete", "--force", &id]);
    bench.assert_nothing_left();
}
