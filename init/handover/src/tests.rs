//! Tests of the wire: what goes in comes out, and nothing else does harm.

use super::*;
use crate::{MAX_KEY_BYTES, ShutdownMode};
use proptest::prelude::*;
use std::io::{Read, Seek, Write};

fn key() -> impl Strategy<Value = String> {
    "[a-z0-9./-]{1,64}"
}

fn from_init() -> impl Strategy<Value = FromInit> {
    prop_oneof![
        any::<usize>().prop_map(|kept| FromInit::Welcome { kept }),
        key().prop_map(|key| FromInit::Kept { key, names: vec![] }),
        Just(FromInit::Ready),
        (
            any::<i32>(),
            any::<u64>(),
            any::<Option<i32>>(),
            any::<Option<i32>>(),
            any::<u64>()
        )
            .prop_map(|(pid, start_time, code, signal, at_ms)| FromInit::Exit {
                pid,
                start_time,
                code,
                signal,
                at_ms
            }),
        any::<u64>().prop_map(|seq| FromInit::Ping { seq }),
        key().prop_map(|key| FromInit::KeptOk { key }),
        (key(), ".*").prop_map(|(key, reason)| FromInit::KeepRefused { key, reason }),
        any::<u64>().prop_map(|deadline_ms| FromInit::StopContainers { deadline_ms }),
    ]
}

fn to_init() -> impl Strategy<Value = ToInit> {
    prop_oneof![
        (any::<i32>(), any::<u64>()).prop_map(|(pid, start_time)| ToInit::Ack { pid, start_time }),
        key().prop_map(|key| ToInit::Keep { key, names: vec![] }),
        key().prop_map(|key| ToInit::Forget { key }),
        any::<u64>().prop_map(|seq| ToInit::Pong { seq }),
        (any::<u64>(), any::<usize>()).prop_map(|(needs_ms, containers)| ToInit::Stopping {
            needs_ms,
            containers
        }),
        Just(ToInit::ContainersStopped),
        Just(ToInit::Shutdown {
            mode: ShutdownMode::Reboot
        }),
        Just(ToInit::Shutdown {
            mode: ShutdownMode::PowerOff
        }),
        Just(ToInit::Running),
    ]
}

proptest! {
    #[test]
    fn what_is_sent_is_received(down in from_init(), up in to_init()) {
        let (init, manager) = InitEnd::pair().unwrap();
        init.send(&down, &[]).unwrap();
        manager.send(&up, &[]).unwrap();
        prop_assert_eq!(manager.recv().unwrap().unwrap().0, down);
        prop_assert_eq!(init.recv().unwrap().unwrap().0, up);
    }

    #[test]
    fn garbage_is_an_error_about_itself_only(packet in prop::collection::vec(any::<u8>(), 1..2048)) {
        let (init, manager) = InitEnd::pair().unwrap();
        let raw = OwnedFd::from(manager);
        rustix::net::send(&raw, &packet, SendFlags::empty()).unwrap();
        ManagerEnd::new(raw.try_clone().unwrap()).send(&ToInit::Running, &[]).unwrap();
        match init.recv() {
            Ok(_) => {}
            Err(e) => prop_assert!(e.is_about_one_message(), "{}", e),
        }
        prop_assert_eq!(init.recv().unwrap().unwrap().0, ToInit::Running);
    }

    #[test]
    fn a_mangled_message_never_panics(message in to_init(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut text = serde_json::to_vec(&message).unwrap();
        let at = at.index(text.len());
        text[at] = byte;
        let _ = decode::<ToInit>(&text, 0);
        let _ = decode::<FromInit>(&text, 0);
    }
}

#[test]
fn the_words_on_the_wire_are_these() {
    // Both ends may be of different builds while an update is on trial, so the
    // spelling is pinned.
    let table: &[(FromInit, &str)] = &[
        (
            FromInit::Welcome { kept: 2 },
            r#"{"type":"welcome","kept":2}"#,
        ),
        (FromInit::Ready, r#"{"type":"ready"}"#),
        (
            FromInit::Exit {
                pid: 7,
                start_time: 9,
                code: Some(3),
                signal: None,
                at_ms: 5,
            },
            r#"{"type":"exit","pid":7,"startTime":9,"code":3,"signal":null,"atMs":5}"#,
        ),
        (
            FromInit::StopContainers { deadline_ms: 1 },
            r#"{"type":"stopContainers","deadlineMs":1}"#,
        ),
    ];
    for (message, text) in table {
        assert_eq!(serde_json::to_string(message).unwrap(), *text);
    }
    let down = ToInit::Shutdown {
        mode: ShutdownMode::PowerOff,
    };
    assert_eq!(
        serde_json::to_string(&down).unwrap(),
        r#"{"type":"shutdown","mode":"powerOff"}"#
    );
}

#[test]
fn descriptors_arrive_as_the_same_open_files() {
    let (init, manager) = InitEnd::pair().unwrap();
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(b"kept").unwrap();
    let keep = ToInit::Keep {
        key: "web".into(),
        names: vec!["out".into(), "err".into()],
    };
    manager.send(&keep, &[file.as_fd(), file.as_fd()]).unwrap();
    let (message, fds) = init.recv().unwrap().unwrap();
    assert_eq!(message, keep);
    assert_eq!(fds.len(), 2);
    let mut twin = std::fs::File::from(fds.into_iter().next().unwrap());
    twin.rewind().unwrap();
    let mut text = String::new();
    twin.read_to_string(&mut text).unwrap();
    assert_eq!(text, "kept");
}

#[test]
fn bounds_hold_when_sending() {
    let (_init, manager) = InitEnd::pair().unwrap();
    let file = tempfile::tempfile().unwrap();
    let five = [file.as_fd(); 5];
    let names: Vec<String> = (0..5).map(|n| format!("n{n}")).collect();
    let cases: &[(ToInit, &[BorrowedFd<'_>])] = &[
        (ToInit::Running, &five[..1]),
        (
            ToInit::Keep {
                key: "k".into(),
                names: names[..2].to_vec(),
            },
            &five[..1],
        ),
        (
            ToInit::Keep {
                key: "k".into(),
                names,
            },
            &five,
        ),
        (
            ToInit::Keep {
                key: String::new(),
                names: vec![],
            },
            &[],
        ),
        (
            ToInit::Forget {
                key: "k".repeat(MAX_KEY_BYTES + 1),
            },
            &[],
        ),
        (
            ToInit::Keep {
                key: "k".into(),
                names: vec!["n".repeat(65)],
            },
            &five[..1],
        ),
    ];
    for (message, fds) in cases {
        let error = manager.send(message, fds).unwrap_err();
        assert!(error.is_about_one_message(), "{message:?}: {error}");
    }
}

#[test]
fn bounds_hold_when_receiving() {
    let (init, manager) = InitEnd::pair().unwrap();
    let raw = OwnedFd::from(manager);
    let long = vec![b' '; MAX_MESSAGE_BYTES + 500];
    rustix::net::send(&raw, &long, SendFlags::empty()).unwrap();
    assert!(matches!(init.recv(), Err(LinkError::TooLong(_))));

    // More descriptors than the bound: refused, and none of them leaks.
    let file = tempfile::tempfile().unwrap();
    let six = [file.as_fd(); 6];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(6))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    assert!(control.push(SendAncillaryMessage::ScmRights(&six)));
    let text = [IoSlice::new(br#"{"type":"running"}"#)];
    rustix::net::sendmsg(&raw, &text, &mut control, SendFlags::empty()).unwrap();
    assert!(matches!(init.recv(), Err(LinkError::TooManyFds)));

    // A descriptor beside a message that has none.
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    assert!(control.push(SendAncillaryMessage::ScmRights(&six[..1])));
    rustix::net::sendmsg(&raw, &text, &mut control, SendFlags::empty()).unwrap();
    assert!(matches!(
        init.recv(),
        Err(LinkError::Bad(Bad::Fds {
            expected: 0,
            got: 1
        }))
    ));
}

#[test]
fn the_end_of_the_other_side_is_told() {
    let (init, manager) = InitEnd::pair().unwrap();
    assert!(matches!(init.recv(), Err(LinkError::WouldBlock)));
    drop(manager);
    assert!(init.recv().unwrap().is_none());
    assert!(matches!(
        init.send(&FromInit::Ready, &[]),
        Err(LinkError::Closed)
    ));
}

#[test]
fn a_full_socket_would_block_and_loses_nothing() {
    let (init, manager) = InitEnd::pair().unwrap();
    let mut sent = 0;
    while init.send(&FromInit::Ping { seq: sent }, &[]).is_ok() {
        sent += 1;
        assert!(sent < 1_000_000, "the socket never filled");
    }
    for seq in 0..sent {
        assert_eq!(manager.recv().unwrap().unwrap().0, FromInit::Ping { seq });
    }
}
