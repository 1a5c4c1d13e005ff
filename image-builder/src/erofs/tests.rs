//! Volumes against erofs-utils: `fsck.erofs` and `dump.erofs` read what the
//! writer wrote.

use std::collections::BTreeMap;
use std::fs;
use std::io::Cursor;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use proptest::prelude::*;

use super::{BLOCK, ErofsError, Volume, plan};
use orlop_images::tree::{Content, Device, Kind, Meta, Node, Time, Tree};

const TIME: i64 = 1_700_000_000;

fn volume() -> Volume {
    Volume {
        uuid: [7; 16],
        label: "test".into(),
        time: TIME as u64,
    }
}

fn meta(mode: u32) -> Meta {
    let mtime = Time {
        secs: TIME,
        nanos: 0,
    };
    Meta {
        mtime,
        ..Meta::with_mode(mode)
    }
}

fn add(tree: &mut Tree, path: &str, meta: Meta, kind: Kind) {
    tree.put(path.as_bytes(), Node { meta, kind }).unwrap();
}

fn image(tree: &Tree) -> Vec<u8> {
    let volume = volume();
    let plan = plan(tree, &volume).unwrap();
    let mut out = Cursor::new(vec![0u8; plan.size() as usize]);
    plan.write(&mut out).unwrap();
    assert_eq!(out.get_ref().len() as u64, plan.size());
    out.into_inner()
}

fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    assert!(output.status.success(), "{program} {arguments:?}: {text}");
    text
}

fn file(bytes: impl Into<Vec<u8>>) -> Kind {
    Kind::File(Content::from_bytes(bytes.into()))
}

fn extract(image: &[u8], dir: &Path) {
    let path = dir.join("image.erofs");
    fs::write(&path, image).unwrap();
    let target = dir.join("out");
    run(
        "fsck.erofs",
        &[
            &format!("--extract={}", target.display()),
            path.to_str().unwrap(),
        ],
    );
}

#[test]
fn contents_survive_at_every_size() {
    let sizes = [
        0usize, 1, 31, 4000, 4031, 4032, 4064, 4065, 4095, 4096, 4097, 8191, 8192, 300_000,
    ];
    let mut tree = Tree::new();
    let bytes = |size: usize| {
        (0..size)
            .map(|n| (n * 31 + size) as u8)
            .collect::<Vec<u8>>()
    };
    for size in sizes {
        add(
            &mut tree,
            &format!("d/{size}"),
            meta(0o644),
            file(bytes(size)),
        );
    }
    add(
        &mut tree,
        "d/link",
        meta(0o777),
        Kind::Symlink(b"../target".to_vec()),
    );
    let dir = tempfile::tempdir().unwrap();
    extract(&image(&tree), dir.path());
    for size in sizes {
        let got = fs::read(dir.path().join(format!("out/d/{size}"))).unwrap();
        assert!(got == bytes(size), "{size} bytes");
    }
    assert_eq!(
        fs::read_link(dir.path().join("out/d/link")).unwrap(),
        Path::new("../target")
    );
}

#[test]
fn large_directories_list_in_full() {
    let mut tree = Tree::new();
    for n in 0..3000 {
        add(&mut tree, &format!("many/-name {n}"), meta(0o600), file([]));
    }
    let dir = tempfile::tempdir().unwrap();
    extract(&image(&tree), dir.path());
    assert_eq!(
        fs::read_dir(dir.path().join("out/many")).unwrap().count(),
        3000
    );
}

#[test]
fn owners_modes_and_devices_are_the_trees() {
    let mut tree = Tree::new();
    let attributes = |mode, uid, gid, secs| Meta {
        uid,
        gid,
        mtime: Time { secs, nanos: 0 },
        ..meta(mode)
    };
    add(
        &mut tree,
        "setuid",
        attributes(0o4755, 0, 42, TIME),
        file("x"),
    );
    add(
        &mut tree,
        "far",
        attributes(0o640, 4_000_000_000, 70_000, 1),
        file("y"),
    );
    add(
        &mut tree,
        "null",
        attributes(0o666, 0, 0, TIME),
        Kind::Char(Device {
            major: 1,
            minor: 300,
        }),
    );
    add(
        &mut tree,
        "disk",
        attributes(0o660, 0, 6, TIME),
        Kind::Block(Device { major: 8, minor: 1 }),
    );
    add(&mut tree, "fifo", attributes(0o600, 1, 1, TIME), Kind::Fifo);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("image.erofs");
    let bytes = image(&tree);
    fs::write(&path, &bytes).unwrap();
    let path = path.to_str().unwrap();
    run("fsck.erofs", &[path]);
    let cases = [
        ("/setuid", "Uid: 0   Gid: 42  Access: 0755", "2023-11-14"),
        (
            "/far",
            "Uid: 4000000000   Gid: 70000  Access: 0640",
            "1970-01-01",
        ),
        ("/fifo", "Uid: 1   Gid: 1  Access: 0600", "2023-11-14"),
        ("/null", "Uid: 0   Gid: 0  Access: 0666", "2023-11-14"),
    ];
    // dump.erofs does not show the upper three bits.
    let setuid = 0o104_755u16.to_le_bytes();
    assert!(bytes.chunks(2).any(|pair| pair == setuid));
    for (name, owner, day) in cases {
        let text = run("dump.erofs", &["--path", name, path]);
        assert!(text.contains(owner), "{name}: {text}");
        assert!(text.contains(day), "{name}: {text}");
    }
}

#[test]
fn links_share_an_inode_and_equal_contents_their_blocks() {
    let mut tree = Tree::new();
    let big: Vec<u8> = (0..BLOCK as usize * 40).map(|n| (n / 7) as u8).collect();
    add(&mut tree, "a", meta(0o755), file(big.clone()));
    tree.link(b"b", b"a").unwrap();
    let alone = plan(&tree, &volume()).unwrap().size();
    add(&mut tree, "copy", meta(0o700), file(big));
    let plan = plan(&tree, &volume()).unwrap();
    assert_eq!(plan.size(), alone, "a copy costs only its inode");
    assert_eq!(plan.inodes(), 3);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("image.erofs");
    fs::write(&path, image(&tree)).unwrap();
    let text = run("dump.erofs", &["--path", "/a", path.to_str().unwrap()]);
    assert!(text.contains("Links: 2"), "{text}");
}

#[test]
fn extended_attributes_are_encoded_by_namespace() {
    let xattrs = |pairs: &[(&str, &[u8])]| -> BTreeMap<Vec<u8>, Vec<u8>> {
        pairs
            .iter()
            .map(|(name, value)| (name.as_bytes().to_vec(), value.to_vec()))
            .collect()
    };
    let capability: &[u8] = &[1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let mut tree = Tree::new();
    let all = xattrs(&[
        ("security.capability", capability),
        ("user.note", b"hello"),
        ("trusted.overlay.opaque", b"y"),
        ("user.long", &[b'x'; 9000]),
    ]);
    let attributes = Meta {
        xattrs: all,
        ..meta(0o755)
    };
    add(&mut tree, "ping", attributes, file(vec![9; 5000]));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("image.erofs");
    let bytes = image(&tree);
    fs::write(&path, &bytes).unwrap();
    run("fsck.erofs", &["--extract", path.to_str().unwrap()]);
    let entry = [&[10, 6, 20, 0], b"capability".as_slice(), capability].concat();
    assert!(bytes.windows(entry.len()).any(|window| window == entry));

    for (name, value) in [
        ("system.other", b"x".as_slice()),
        ("user.", b"x"),
        ("user.a", &[0; 70_000]),
    ] {
        let mut tree = Tree::new();
        let attributes = Meta {
            xattrs: xattrs(&[(name, value)]),
            ..meta(0o644)
        };
        add(&mut tree, "f", attributes, file(""));
        let error = plan(&tree, &volume()).unwrap_err();
        let named = matches!(&error, ErofsError::XattrNamespace(n) | ErofsError::XattrTooLong(n) if n == name);
        assert!(named, "{name}: {error}");
    }
}

#[test]
fn a_content_that_became_shorter_is_an_error() {
    let content = Content::from_file(Arc::new(tempfile::tempfile().unwrap()), 0, 5000);
    let mut tree = Tree::new();
    add(&mut tree, "f", meta(0o644), Kind::File(content));
    assert!(matches!(plan(&tree, &volume()), Err(ErofsError::Read(_))));
}

#[test]
fn what_no_name_leads_to_is_left_out() {
    let mut tree = Tree::new();
    add(&mut tree, "gone", meta(0o644), file(vec![1; 9000]));
    tree.remove(b"gone");
    assert_eq!(plan(&tree, &volume()).unwrap().size(), BLOCK);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    /// Any tree of files comes out of `fsck.erofs --extract` as it went in,
    /// and twice the same.
    #[test]
    fn random_trees_come_back(
        files in prop::collection::btree_map("[a-z.+-]{1,3}/[ -.0-~]{3,60}", (0usize..20_000, any::<u8>(), 0u32..0o1000), 1..60)
    ) {
        let mut tree = Tree::new();
        for (name, (size, fill, mode)) in &files {
            prop_assume!(!name.starts_with("./") && !name.starts_with("../"));
            add(&mut tree, name, meta(*mode), file(vec![*fill; *size]));
        }
        let bytes = image(&tree);
        prop_assert!(bytes == image(&tree));
        let dir = tempfile::tempdir().unwrap();
        extract(&bytes, dir.path());
        for (name, (size, fill, _)) in &files {
            use std::os::unix::fs::PermissionsExt;
            let path = dir.path().join("out").join(name);
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            prop_assert!(fs::read(path).unwrap() == vec![*fill; *size], "{}", name);
        }
    }
}
