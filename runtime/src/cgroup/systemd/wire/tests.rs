//! Against bytes that the D-Bus specification's rules give, and against anything at all.

use proptest::prelude::*;

use super::*;

fn properties(value: Value) -> Vec<u8> {
    let all = [("N".to_owned(), value)];
    Arguments::default().properties(&all).bytes.0
}

/// Length, alignment to 8, and then the name: the beginning of any array of one property.
fn with_name(rest: &[u8]) -> Vec<u8> {
    let length = u8::try_from(6 + rest.len()).unwrap();
    [&[length, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, b'N', 0], rest].concat()
}

#[test]
fn values() {
    let cases: [(Value, &[u8]); 10] = [
        (Value::Bool(true), b"\x01b\0\0\0\0\x01\0\0\0"),
        (Value::I32(-2), b"\x01i\0\0\0\0\xfe\xff\xff\xff"),
        (Value::U32(2), b"\x01u\0\0\0\0\x02\0\0\0"),
        (
            Value::I64(-2),
            b"\x01x\0\0\0\0\0\0\0\0\xfe\xff\xff\xff\xff\xff\xff\xff",
        ),
        (Value::U64(2), b"\x01t\0\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0"),
        (Value::Text("ab".into()), b"\x01s\0\0\0\0\x02\0\0\0ab\0"),
        (
            Value::Texts(vec!["a".into(), "b".into()]),
            b"\x02as\0\0\0\x0e\0\0\0\x01\0\0\0a\0\0\0\x01\0\0\0b\0",
        ),
        (Value::Numbers(vec![5]), b"\x02au\0\0\0\x04\0\0\0\x05\0\0\0"),
        (Value::Bytes(vec![7, 8]), b"\x02ay\0\0\0\x02\0\0\0\x07\x08"),
        (
            Value::Device("/d".into(), 3),
            b"\x05a(st)\0\0\0\0\x10\0\0\0\0\0\0\0\x02\0\0\0/d\0\0\x03\0\0\0\0\0\0\0",
        ),
    ];
    for (value, expected) in cases {
        let expected = with_name(expected);
        assert_eq!(properties(value.clone()), expected, "{value:?}");
    }
}

#[test]
fn arguments() {
    let all = Arguments::default()
        .text("u")
        .yes()
        .properties(&[])
        .no_units();
    assert_eq!(all.signature, "sba(sv)a(sa(sv))");
    let expected = b"\x01\0\0\0u\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    assert_eq!(all.bytes.0, expected);
    let numbers = Arguments::default().text("").numbers(&[5, 6]);
    assert_eq!(numbers.signature, "sau");
    let expected = b"\0\0\0\0\0\0\0\0\x08\0\0\0\x05\0\0\0\x06\0\0\0";
    assert_eq!(numbers.bytes.0, expected);
}

/// The other byte order.
#[test]
fn from_a_machine_of_the_other_kind() {
    let fields = b"\x05\x01u\0\0\0\0\x07\x08\x01g\0\x01o\0\0";
    let head = b"B\x02\0\x01\0\0\0\x07\0\0\0\x01\0\0\0\x0f";
    let bytes = [&head[..], fields, b"\0\0\0\x02/j\0"].concat();
    assert_eq!(lengths(head).unwrap(), (16, 7));
    let (head, body) = bytes.split_at(FIXED + 16);
    match Head::of(head).unwrap().incoming(body.to_vec()) {
        Incoming::Answer(7, body) => assert_eq!(body.object().unwrap(), "/j"),
        other => panic!("{other:?}"),
    }
}

/// A field of whatever type that the specification may know one day.
#[test]
fn unknown_fields_are_passed_over() {
    let values: [&[u8]; 9] = [
        b"\x01y\0\x07",
        b"\x01q\0\x07\0",
        b"\x01b\0\x01\0\0\0",
        b"\x01x\0\0\0\0\0\x01\0\0\0\0\0\0\0",
        b"\x01o\0\x01\0\0\0/\0",
        b"\x01g\0\x02ss\0",
        b"\x01v\0\x01y\0\x07",
        b"\x02at\0\0\0\0\x08\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0",
        // The code and this are 11 bytes; then the byte, what aligns the length of the array,
        // that, and what aligns its first element.
        b"\x08(ya{sy})\0\0\0\0\0\0\x07\0\0\0\x07\0\0\0\x01\0\0\0k\0\x05",
    ];
    for value in values {
        let mut bytes = vec![b'l', SIGNAL, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 200];
        bytes.extend_from_slice(value);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes.extend_from_slice(b"\x07\x01s\0\x02\0\0\0:1\0");
        bytes[12] = u8::try_from(bytes.len() - FIXED).unwrap();
        let head = Head::of(&bytes).unwrap_or_else(|error| panic!("{value:?}: {error:#}"));
        assert_eq!(head.sender, ":1", "{value:?}");
    }
    for signature in ["(", ")", "a", "z", "(}", "a(", "{y"] {
        let mut reader = Reader {
            bytes: &[0; 64],
            at: 0,
            is_big: false,
        };
        let passed = reader.pass(signature.as_bytes(), DEEPEST);
        assert!(passed.is_err() || signature == "(}", "{signature}");
    }
    let deep = [b"(".repeat(100), b")".repeat(100)].concat();
    let mut reader = Reader {
        bytes: &[0; 64],
        at: 0,
        is_big: false,
    };
    assert!(reader.pass(&deep, DEEPEST).is_err());
}

proptest! {
    #[test]
    fn anything_is_an_error_at_worst(
        mut bytes in prop::collection::vec(any::<u8>(), 0..120),
        like in any::<bool>(),
    ) {
        if like && bytes.len() >= FIXED {
            let length = u8::try_from(bytes.len() - FIXED).unwrap();
            let kind = bytes[1] % 5;
            bytes[..4].copy_from_slice(&[b'l', kind, 0, 1]);
            bytes[12..FIXED].copy_from_slice(&[length, 0, 0, 0]);
        }
        if let Some(fixed) = bytes.first_chunk() {
            let _ = lengths(fixed);
        }
        let came = Head::of(&bytes).map(|head| head.incoming(bytes.clone()));
        if let Ok(Incoming::Answer(_, body) | Incoming::Signal(_, _, body)) = came {
            let _ = (body.object(), body.text(), body.variant(), body.removed_job());
        }
    }
}
