//! A table of what merges into what, and of what is refused.

use super::{Row, merged, over, tar};
use crate::tree::Tree;

/// What a case shows, its layers, the merged tree.
type Case = (
    &'static str,
    &'static [&'static [Row<'static>]],
    &'static str,
);

const CASES: &[Case] = &[
    (
        "a whiteout hides",
        &[&[('0', "a", "1"), ('0', "b", "2")], &[('0', ".wh.a", "")]],
        "b:2",
    ),
    (
        "a whiteout hides lower layers only, wherever it stands",
        &[
            &[('5', "d/", ""), ('0', "d/a", "1")],
            &[('0', "d", "2"), ('0', ".wh.d", "")],
        ],
        "d:2",
    ),
    (
        "an opaque mark at the end of its layer keeps the layer's files",
        &[
            &[('0', "d/old", "1"), ('0', "d/s/old", "1")],
            &[
                ('0', "d/new", "2"),
                ('0', "d/s/new", "2"),
                ('0', "d/.wh..wh..opq", ""),
            ],
        ],
        "d/ d/new:2 d/s/ d/s/new:2",
    ),
    (
        "and at its start",
        &[
            &[('0', "d/old", "1")],
            &[('0', "d/.wh..wh..opq", ""), ('0', "d/new", "2")],
        ],
        "d/ d/new:2",
    ),
    (
        "the root may be opaque",
        &[&[('0', "a", "1")], &[('0', ".wh..wh..opq", "")]],
        "",
    ),
    (
        "a whiteout of nothing",
        &[&[('0', "x/.wh.a", ""), ('0', "b", "")]],
        "b:",
    ),
    (
        "a directory again keeps its entries",
        &[&[('0', "d/a", "1")], &[('5', "d", "")]],
        "d/ d/a:1",
    ),
    (
        "a file replaces a directory",
        &[&[('0', "d/a", "1")], &[('0', "d", "2")]],
        "d:2",
    ),
    (
        "a directory replaces a file",
        &[&[('0', "d", "1")], &[('5', "d", "")]],
        "d/",
    ),
    (
        "a link is replaced, not written through",
        &[&[('0', "a", "1"), ('2', "l", "a")], &[('0', "l", "2")]],
        "a:1 l:2",
    ),
    (
        "a directory replaces a link to one",
        &[
            &[('0', "d/a", "1"), ('2', "l", "d")],
            &[('5', "l/", ""), ('0', "l/b", "2")],
        ],
        "d/ d/a:1 l/ l/b:2",
    ),
    (
        "a linked parent leads where it leads in the container",
        &[
            &[('5', "usr/lib", ""), ('2', "lib", "usr/lib")],
            &[('0', "lib/x", "1")],
        ],
        "lib>usr/lib usr/ usr/lib/ usr/lib/x:1",
    ),
    (
        "absolute and escaping links stay inside",
        &[&[
            ('2', "abs", "/etc"),
            ('2', "d/up", "../../../../etc"),
            ('0', "abs/a", "1"),
            ('0', "d/up/b", "2"),
        ]],
        "abs>/etc d/ d/up>../../../../etc etc/ etc/a:1 etc/b:2",
    ),
    (
        "a whiteout goes through a link that stays",
        &[
            &[('0', "usr/x", "1"), ('2', "l", "usr")],
            &[('0', "l/.wh.x", "")],
        ],
        "l>usr usr/",
    ),
    (
        "and not through one that its layer replaces",
        &[
            &[('0', "usr/x", "1"), ('2', "l", "usr")],
            &[
                ('0', "l/.wh.x", ""),
                ('5', "l/", ""),
                ('0', "l/.wh..wh..opq", ""),
            ],
        ],
        "l/ usr/ usr/x:1",
    ),
    (
        "hard links are one file",
        &[&[('0', "a", "1"), ('1', "b", "a"), ('1', "d/c", "/a")]],
        "a:1 b=a d/ d/c=a",
    ),
    (
        "also across layers, and outlive the first name",
        &[
            &[('0', "a", "1")],
            &[('1', "b", "./a")],
            &[('0', ".wh.a", ""), ('1', "c", "b")],
        ],
        "b:1 c=b",
    ),
    (
        "a name taken by another file leaves the others alone",
        &[&[('0', "a", "1"), ('1', "b", "a")], &[('0', "a", "2")]],
        "a:2 b:1",
    ),
    (
        "a hard link may be to a link",
        &[&[('2', "a", "nowhere"), ('1', "b", "a")]],
        "a>nowhere b=a",
    ),
    (
        "a hard link to itself",
        &[&[('0', "a", "1"), ('1', "a", "a")]],
        "a:1",
    ),
    (
        "odd spellings",
        &[&[('0', "/a", "1"), ('0', ".//b/./c", "2"), ('5', "./", "")]],
        "a:1 b/ b/c:2",
    ),
    ("a slash makes a directory", &[&[('0', "d/", "")]], "d/"),
    (
        "devices and pipes",
        &[&[('3', "n", ""), ('4', "b", ""), ('6', "p", "")]],
        "b* n* p|",
    ),
    (
        "what AUFS left behind",
        &[&[
            ('5', ".wh..wh.plnk/", ""),
            ('0', ".wh..wh.plnk/1.2", ""),
            ('0', ".wh..wh.aufs", ""),
        ]],
        "",
    ),
];

#[test]
fn what_merges_and_how() {
    for (name, layers, expected) in CASES {
        assert_eq!(merged(layers).unwrap(), *expected, "{name}");
    }
}

#[test]
fn what_is_refused_names_the_member() {
    let cases: &[(&[Row<'_>], &str)] = &[
        (&[('0', "../a", "")], "`..`"),
        (&[('0', "d/../../a", "")], "`..`"),
        (&[('0', "d/.wh...", "")], "names nothing"),
        (&[('0', "d/.wh..", "")], "names nothing"),
        (&[('0', "d/.wh.", "")], "names nothing"),
        (&[('0', ".wh.d/x", "")], "can hold nothing"),
        (
            &[('0', "a", "1"), ('0', "a/b", "2")],
            "\"a\" is not a directory",
        ),
        (&[('1', "a", "b")], "not there"),
        (&[('5', "d", ""), ('1', "a", "d")], "is a directory"),
        (&[('1', "a", "../b")], "`..`"),
        (&[('2', "a", "")], "link to nothing"),
        (
            &[('2', "a", "b"), ('2', "b", "a"), ('0', "a/x", "")],
            "40 symbolic links",
        ),
        (&[('0', "", "x")], "root must be a directory"),
        (&[('S', "a", "")], "type 'S'"),
        (&[('M', "a", "")], "type 'M'"),
    ];
    for (layer, expected) in cases {
        let error = merged(&[layer]).unwrap_err().to_string();
        assert!(error.contains(expected), "{layer:?}: {error}");
    }
}

#[test]
fn an_overlay_whiteout_device_never_gets_in() {
    let mut tar = tar(&[('3', "hidden", "")]);
    let mut header = tar::Header::from_byte_slice(&tar[..512]).clone();
    header.set_device_major(0).unwrap();
    header.set_device_minor(0).unwrap();
    header.set_cksum();
    tar[..512].copy_from_slice(header.as_bytes());
    let error = over(&mut Tree::new(), &tar).unwrap_err().to_string();
    assert!(
        error.contains("hidden") && error.contains("whiteout"),
        "{error}"
    );
}

#[test]
fn a_chain_of_links_cannot_make_a_path_too_deep() {
    // Each round doubles the depth through a link to what the last one made.
    let deep = "d/".repeat(45);
    let mut tree = Tree::new();
    let mut result = Ok(Vec::new());
    for round in 0..8 {
        let link = format!("l{round}");
        let (from, target) = match round {
            0 => (deep.clone(), deep.clone()),
            _ => (
                format!("l{}/{deep}", round - 1),
                format!("l{}/{deep}", round - 1),
            ),
        };
        result = over(&mut tree, &tar(&[('5', &from, ""), ('2', &link, &target)]));
        if result.is_err() {
            break;
        }
    }
    let error = result.unwrap_err().to_string();
    assert!(error.contains("deeper than 256"), "{error}");
}

#[test]
fn attributes_owners_and_times_come_through_pax() {
    let mut tar = tar::Builder::new(Vec::new());
    let capability: &[u8] = b"\x01\0\0\x02\0\x0a\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    let records: [(&str, &[u8]); 8] = [
        ("SCHILY.xattr.security.capability", capability),
        ("SCHILY.xattr.trusted.overlay.opaque", b"y"),
        ("SCHILY.xattr.security.selinux", b"label"),
        ("SCHILY.xattr.user.note", b"a\nb"),
        ("uid", b"4000000000"),
        ("gid", b"2097152"),
        ("mtime", b"-1.5"),
        ("path", b"bin/ping"),
    ];
    tar.append_pax_extensions(records).unwrap();
    let mut header = tar::Header::new_ustar();
    header.set_path("short").unwrap();
    header.set_mode(0o6755);
    header.set_size(0);
    header.set_cksum();
    tar.append(&header, &b""[..]).unwrap();
    let mut tree = Tree::new();
    let notes = over(&mut tree, &tar.into_inner().unwrap()).unwrap();
    assert_eq!(notes.len(), 2, "{notes:?}");
    let meta = &tree.node(tree.lookup(b"bin/ping").unwrap()).meta;
    assert_eq!(
        (meta.mode, meta.uid, meta.gid),
        (0o6755, 4_000_000_000, 2_097_152)
    );
    assert_eq!((meta.mtime.secs, meta.mtime.nanos), (-2, 500_000_000));
    assert_eq!(meta.xattrs[&b"security.capability"[..]], capability);
    assert_eq!(meta.xattrs[&b"user.note"[..]], b"a\nb");
    assert_eq!(meta.xattrs.len(), 2);
}
