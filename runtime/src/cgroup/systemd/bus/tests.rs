//! Somebody at the other end of the socket, who is no systemd.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::thread::JoinHandle;

use super::*;

const CALL: Call = Call {
    destination: "a.b",
    path: "/a/b",
    interface: "a.b.C",
    member: "D",
};

const WELCOME: &[u8] = b"DATA\r\nOK 0123\r\n";

/// Runs the other end, which is closed when that is done.
fn with<T: Send + 'static>(
    theirs: impl FnOnce(&mut UnixStream) -> T + Send + 'static,
) -> (UnixStream, JoinHandle<T>) {
    let (ours, mut other) = UnixStream::pair().unwrap();
    (ours, std::thread::spawn(move || theirs(&mut other)))
}

fn expect(other: &mut UnixStream, bytes: &[u8]) {
    let mut read = vec![0; bytes.len()];
    other.read_exact(&mut read).unwrap();
    assert_eq!(read, bytes);
}

/// One header field: its code, the signature of its value, and that.
fn field(bytes: &mut Vec<u8>, code: u8, kind: u8, value: &[u8]) {
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    bytes.extend_from_slice(&[code, 1, kind, 0]);
    bytes.extend_from_slice(value);
}

fn text(value: &str) -> Vec<u8> {
    let length = u32::try_from(value.len()).unwrap().to_le_bytes();
    [&length[..], value.as_bytes(), &[0]].concat()
}

const SYSTEMD: &str = ":1.1";

/// One of systemd's.
fn message(kind: u8, fields: &[(u8, u8, Vec<u8>)], body: &[u8]) -> Vec<u8> {
    let sender = (7, b's', text(SYSTEMD));
    plain(kind, &[&[sender], fields].concat(), body)
}

/// A message as the D-Bus specification lays it out, written by hand.
fn plain(kind: u8, fields: &[(u8, u8, Vec<u8>)], body: &[u8]) -> Vec<u8> {
    let mut all = vec![b'l', kind, 0, 1];
    all.extend_from_slice(&u32::try_from(body.len()).unwrap().to_le_bytes());
    all.extend_from_slice(&[9, 0, 0, 0, 0, 0, 0, 0]);
    for (code, signature, value) in fields {
        field(&mut all, *code, *signature, value);
    }
    let length = u32::try_from(all.len() - FIXED).unwrap();
    all[12..FIXED].copy_from_slice(&length.to_le_bytes());
    all.resize(all.len().next_multiple_of(8), 0);
    [all, body.to_vec()].concat()
}

fn answer(to: u32, body: &[u8]) -> Vec<u8> {
    let path = (8, b'g', b"\x01o\0".to_vec());
    message(2, &[(5, b'u', to.to_le_bytes().to_vec()), path], body)
}

fn removed(job: &str, result: &str) -> Vec<u8> {
    removed_by(SYSTEMD, manager("").interface, job, result)
}

fn removed_by(sender: &str, interface: &str, job: &str, result: &str) -> Vec<u8> {
    let mut body = vec![7, 0, 0, 0];
    for part in [job, "x.scope", result] {
        body.resize(body.len().next_multiple_of(4), 0);
        body.extend(text(part));
    }
    let fields = [
        (7, b's', text(sender)),
        (2, b's', text(interface)),
        (3, b's', text("JobRemoved")),
        (8, b'g', b"\x04uoss\0".to_vec()),
    ];
    plain(4, &fields, &body)
}

fn over(socket: UnixStream) -> Result<Bus> {
    let mut bus = Bus::over(socket, Duration::from_secs(20))?;
    SYSTEMD.clone_into(&mut bus.systemd);
    Ok(bus)
}

#[test]
fn a_call_is_as_the_specification_has_it() {
    let (socket, other) = with(|other| {
        expect(other, b"\0AUTH EXTERNAL\r\nDATA\r\n");
        other.write_all(WELCOME).unwrap();
        expect(other, b"BEGIN\r\n");
        let mut body = text("one");
        body.extend(text("two"));
        let mut fields = Vec::new();
        for (code, kind, value) in [
            (1, b'o', "/a/b"),
            (2, b's', "a.b.C"),
            (3, b's', "D"),
            (6, b's', "a.b"),
        ] {
            fields.push((code, kind, text(value)));
        }
        fields.push((8, b'g', b"\x02ss\0".to_vec()));
        let mut call = plain(1, &fields, &body);
        call[8] = 1;
        expect(other, &call);
        other.write_all(&answer(1, &text("/job/5"))).unwrap();
    });
    let mut bus = over(socket).unwrap();
    let two = Arguments::default().text("one").text("two");
    let body = bus.call(CALL, &two).unwrap();
    assert_eq!(body.object().unwrap(), "/job/5");
    other.join().unwrap();
}

#[test]
fn a_job_may_end_before_its_answer_is_there() {
    let (socket, other) = with(|other| {
        other.write_all(WELCOME).unwrap();
        other.write_all(&removed("/job/4", "failed")).unwrap();
        other.write_all(&removed("/job/5", "done")).unwrap();
        other.write_all(&answer(1, &text("/job/5"))).unwrap();
        other.write_all(&removed("/job/6", "canceled")).unwrap();
        other.read_to_end(&mut Vec::new()).unwrap();
    });
    let mut bus = over(socket).unwrap();
    let job = bus
        .call(CALL, &Arguments::default())
        .unwrap()
        .object()
        .unwrap();
    assert_eq!(bus.end_of(&job).unwrap(), "done");
    assert_eq!(bus.end_of("/job/6").unwrap(), "canceled");
    drop(bus);
    other.join().unwrap();
}

#[test]
fn a_refusal_is_told() {
    let (socket, other) = with(|other| {
        other.write_all(WELCOME).unwrap();
        let name = (4, b's', text("a.Denied"));
        let serial = |to: u8| (5, b'u', vec![to, 0, 0, 0]);
        let fields = [name.clone(), serial(1), (8, b'g', b"\x01s\0".to_vec())];
        other.write_all(&message(3, &fields, &text("no"))).unwrap();
        other
            .write_all(&message(3, &[name, serial(2)], &[]))
            .unwrap();
        other.read_to_end(&mut Vec::new()).unwrap();
    });
    let mut bus = over(socket).unwrap();
    for said in ["no (a.Denied)", "a.Denied"] {
        let error = bus.call(CALL, &Arguments::default()).unwrap_err();
        assert_eq!(error.to_string(), said);
        let refused = error.downcast_ref::<Refused>().unwrap();
        assert_eq!(refused.name, "a.Denied");
    }
    drop(bus);
    other.join().unwrap();
}

#[test]
fn strangers_are_not_listened_to() {
    for (said, expected) in [
        (&b"REJECTED EXTERNAL\r\n"[..], "does not let this user in"),
        (b"DATA\r\nHELLO\r\n", "does not let this user in"),
        (b"DATA\r\n", "ended the greeting"),
        (&[b'x'; 600], "ended the greeting"),
        (b"OK\r\nnonsense that is long enough", "no D-Bus message"),
        (
            b"OK\r\nl\x02\0\x01\xff\xff\xff\x7f\0\0\0\0\0\0\0\0",
            "no D-Bus message",
        ),
        (b"OK\r\nl\x02\0\x01", "closed the connection"),
    ] {
        let (socket, other) = with(move |other| {
            other.write_all(said).unwrap();
            let _ = other.shutdown(std::net::Shutdown::Write);
            let _ = other.read_to_end(&mut Vec::new());
        });
        let called = over(socket).and_then(|mut bus| bus.call(CALL, &Arguments::default()));
        let error = format!("{:#}", called.unwrap_err());
        assert!(error.contains(expected), "{said:?}: {error}");
        other.join().unwrap();
    }
}

/// Who systemd is, the bus says.
#[test]
fn systemd_is_asked_for() {
    let (socket, other) = with(|other| {
        other.write_all(WELCOME).unwrap();
        let from_bus = |to: u8, body: &[u8]| {
            let sender = (7, b's', text("org.freedesktop.DBus"));
            let serial = (5, b'u', vec![to, 0, 0, 0]);
            plain(2, &[sender, serial, (8, b'g', b"\x01s\0".to_vec())], body)
        };
        // Before that is known, its word is nobody's.
        other.write_all(&answer(1, &text("/"))).unwrap();
        for (to, said) in [(1, ":1.9"), (2, ""), (3, SYSTEMD)] {
            other.write_all(&from_bus(to, &text(said))).unwrap();
        }
        other.read_to_end(&mut Vec::new()).unwrap();
    });
    let bus = Bus::over(socket, Duration::from_secs(20)).and_then(Bus::named);
    assert_eq!(bus.map(|bus| bus.systemd).unwrap(), SYSTEMD);
    other.join().unwrap();
}

/// All that any user may send to anybody.
#[test]
fn a_stranger_changes_nothing() {
    let (socket, other) = with(|other| {
        other.write_all(WELCOME).unwrap();
        let stranger = || (7, b's', text(":1.66"));
        let manager = manager("").interface;
        let serial = (5, b'u', vec![1, 0, 0, 0]);
        let signal = [
            stranger(),
            (2, b's', text(manager)),
            (3, b's', text("JobRemoved")),
            (8, b'g', b"\x01y\0".to_vec()),
        ];
        let mut long = plain(4, &signal, &[0; LONGEST + 1]);
        long.extend(plain(
            4,
            &[(200, b'z', text(&"x".repeat(LONGEST))), stranger()],
            &[1],
        ));
        for (what, bytes) in [
            ("job", removed_by(":1.66", manager, "/job/5", "failed")),
            ("no sender", removed_by("", manager, "/job/5", "failed")),
            ("type", plain(4, &signal, &[7])),
            ("field", plain(4, &[(200, b'y', vec![1]), stranger()], &[])),
            ("long", long),
            ("answer", plain(2, &[stranger(), serial.clone()], &[])),
            ("error", plain(3, &[stranger(), serial], &[])),
        ] {
            other.write_all(&bytes).unwrap_or_else(|_| panic!("{what}"));
        }
        for job in 10..1000 {
            let job = format!("/job/{job}");
            other.write_all(&removed(&job, "done")).unwrap();
        }
        let of_other = removed_by(SYSTEMD, "a.b", "/job/5", "failed");
        other.write_all(&of_other).unwrap();
        other.write_all(&removed("/job/5", "done")).unwrap();
        other.write_all(&answer(1, &text("/job/5"))).unwrap();
        other.read_to_end(&mut Vec::new()).unwrap();
    });
    let mut bus = over(socket).unwrap();
    let body = bus.call(CALL, &Arguments::default()).unwrap();
    assert_eq!(bus.ended.len(), REMEMBERED);
    let job = body.object().unwrap();
    assert_eq!((&*job, &*bus.end_of(&job).unwrap()), ("/job/5", "done"));
    drop(bus);
    other.join().unwrap();
}

/// What is done between the promise of a cgroup and its making takes none of systemd's time.
#[test]
fn a_promise_that_took_long_is_kept() {
    use crate::cgroup::systemd::{Promise, Scope};
    use crate::cgroup::{Cgroup, Made};
    let (socket, other) = with(|other| {
        other.write_all(WELCOME).unwrap();
        let name = (4, b's', text("a.Denied"));
        let refusal = [name, (5, b'u', vec![1, 0, 0, 0])];
        other.write_all(&message(3, &refusal, &[])).unwrap();
        other.read_to_end(&mut Vec::new()).unwrap();
    });
    let mut bus = over(socket).unwrap();
    bus.deadline = Instant::now();
    let scope = serde_json::json!({ "unit": "x.scope", "user": false });
    let scope: Scope = serde_json::from_value(scope).unwrap();
    let mut cgroup = Cgroup {
        made: Made {
            path: "/no/such".into(),
            from: "/no/such".into(),
            keep: true,
            scope: None,
        },
        fd: None,
        devices: None,
        promise: Some(Promise {
            scope,
            bus,
            writes: Vec::new(),
            properties: Vec::new(),
        }),
    };
    let error = format!("{:#}", cgroup.take_in(1).unwrap_err());
    assert!(error.contains("a.Denied"), "{error}");
    drop(cgroup);
    other.join().unwrap();
}

/// Neither one who says nothing nor one who never stops is waited for for ever.
#[test]
fn silence_ends() {
    let within = Duration::from_millis(200);
    let (socket, other) = UnixStream::pair().unwrap();
    let error = format!("{:#}", Bus::over(socket, within).unwrap_err());
    assert!(error.contains("no answer within 0 s"), "{error}");
    drop(other);
    let (socket, other) = with(|other| {
        other.write_all(WELCOME).unwrap();
        while other.write_all(&removed("/job/1", "done")).is_ok() {}
    });
    let mut bus = Bus::over(socket, within).unwrap();
    SYSTEMD.clone_into(&mut bus.systemd);
    let error = format!("{:#}", bus.call(CALL, &Arguments::default()).unwrap_err());
    assert!(error.contains("D: no answer within 0 s"), "{error}");
    drop(bus);
    other.join().unwrap();
    // With a queue that is full and never gets shorter, too.
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bus");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    rustix::net::listen(&listener, 0).unwrap();
    let address = Address::Path(path);
    let _first = reach(&address, within).unwrap();
    assert!(reach(&address, within).is_err());
}
