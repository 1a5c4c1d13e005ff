//! System calls that a seccomp agent answers for.

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use serde_json::{Value, json};

use crate::support::{Bench, bench, text};

/// What an agent was told, and whether a call came to be answered.
type Told = (Value, bool);

/// Takes one connection, as agents do, and waits for a call. It then leaves, so that the call
/// ends with ENOSYS.
fn agent(bench: &Bench) -> JoinHandle<Option<Told>> {
    let path = bench.path("agent");
    let _ = std::fs::remove_file(&path);
    let socket = UnixListener::bind(path).unwrap();
    socket.set_nonblocking(true).unwrap();
    std::thread::spawn(move || {
        let until = Instant::now() + Duration::from_secs(20);
        loop {
            match socket.accept() {
                Ok((connection, _)) => return Some(serve(&connection)),
                Err(_) if Instant::now() > until => return None,
                Err(_) => std::thread::sleep(Duration::from_millis(5)),
            }
        }
    })
}

fn serve(connection: &UnixStream) -> Told {
    connection.set_nonblocking(false).unwrap();
    let mut fds: Vec<OwnedFd> = Vec::new();
    let mut text = Vec::new();
    loop {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut buffer = [0_u8; 64];
        let mut slices = [IoSliceMut::new(&mut buffer)];
        let flags = RecvFlags::CMSG_CLOEXEC;
        let length = recvmsg(connection, &mut slices, &mut ancillary, flags)
            .unwrap()
            .bytes;
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(sent) = message {
                fds.extend(sent);
            }
        }
        // One message a connection, and then its end.
        if length == 0 {
            break;
        }
        text.extend(&buffer[..length]);
    }
    assert_eq!(fds.len(), 1);
    let link = std::fs::read_link(format!("/proc/self/fd/{}", fds[0].as_raw_fd())).unwrap();
    assert_eq!(link.to_str(), Some("anon_inode:seccomp notify"));
    let mut ready = [PollFd::new(&fds[0], PollFlags::IN)];
    let timeout = Timespec {
        tv_sec: 20,
        tv_nsec: 0,
    };
    let came = poll(&mut ready, Some(&timeout)) == Ok(1) && ready[0].revents() == PollFlags::IN;
    (serde_json::from_slice(&text).unwrap(), came)
}

fn notifying(bench: &mut Bench) {
    bench.config["linux"]["seccomp"] = json!({
        "defaultAction": "SCMP_ACT_ALLOW", "listenerPath": bench.path("agent"),
        "listenerMetadata": "for you", "flags": ["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"],
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_NOTIFY"}],
    });
}

#[test]
fn an_agent_gets_the_listener_and_the_state() {
    let Some(mut bench) = bench("notifyrun") else {
        return;
    };
    notifying(&mut bench);
    let asks = "echo $$; mkdir /tmp/made";
    for no_new_privileges in [true, false] {
        bench.config["process"]["noNewPrivileges"] = json!(no_new_privileges);
        if !no_new_privileges {
            // Such a filter needs the privilege, but the process does not keep it.
            bench.config["process"]["user"] = json!({"uid": 9, "gid": 9});
        }
        let agent = agent(&bench);
        let (status, said) = bench.sh(asks);
        assert!(
            status == 1 && said.contains("Function not implemented"),
            "{said}"
        );
        let (told, came) = agent.join().unwrap().unwrap();
        assert!(came, "no call came");
        assert_eq!(told["fds"], json!(["seccompFd"]));
        assert_eq!(told["metadata"], json!("for you"));
        assert_eq!(told["state"]["status"], json!("creating"));
        assert_eq!(told["state"]["id"], json!(bench.id("run")));
        assert!(told["pid"].as_i64().unwrap() > 1 && told["pid"] == told["state"]["pid"]);
    }
    bench.assert_nothing_left();
}

#[test]
fn an_exec_has_an_agent_too() {
    let Some(mut bench) = bench("notifyexec") else {
        return;
    };
    notifying(&mut bench);
    let id = bench.id("exec");
    bench.args(&["sh", "-c", "mkdir /tmp/first; exec sleep 1000"]);
    let first = agent(&bench);
    bench.quiet(&["create", &id]);
    bench.quiet(&["start", &id]);
    assert!(first.join().unwrap().unwrap().1);
    let second = agent(&bench);
    let (status, said) = text(&bench.call(&["exec", &id, "mkdir", "/tmp/second"]));
    assert!(
        status == 1 && said.contains("Function not implemented"),
        "{said}"
    );
    let (told, came) = second.join().unwrap().unwrap();
    assert!(
        came && told["state"]["status"] == json!("running"),
        "{told}"
    );
    assert_eq!(told["state"]["pid"], json!(bench.pid(&id)));
    assert_ne!(told["pid"], told["state"]["pid"]);
    bench.quiet(&["delete", "--force", &id]);
    bench.assert_nothing_left();
}

#[test]
fn without_an_agent_there_is_no_container() {
    let Some(mut bench) = bench("noagent") else {
        return;
    };
    notifying(&mut bench);
    let id = bench.id("none");
    let (status, said) = text(&bench.call(&["create", &id]));
    assert!(
        status == 1 && said.contains("seccomp listenerPath"),
        "{said}"
    );
    assert_eq!(said.trim_end().lines().count(), 1, "{said}");
    bench.assert_nothing_left();
}
