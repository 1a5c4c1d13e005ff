//! Who may what, and which containers are refused to whom.

use super::*;

fn facts(first: bool, root: bool, admin: bool, mounts: bool) -> Standing {
    Standing::of(Facts {
        first,
        root,
        admin,
        mounts,
    })
}

#[test]
fn who_we_are() {
    // Even without its capabilities: then the kernel says what is missing.
    assert_eq!(facts(true, true, false, true), Standing::Root);
    assert_eq!(facts(true, false, true, true), Standing::Root);
    assert_eq!(facts(true, false, false, true), Standing::User);
    assert_eq!(facts(false, true, true, true), Standing::NamespaceRoot);
    assert_eq!(facts(false, false, true, true), Standing::NamespaceRoot);
    // A user namespace alone (`unshare -Ur`), or what a container gets of one.
    assert_eq!(facts(false, true, true, false), Standing::User);
    assert_eq!(facts(false, true, false, true), Standing::User);
}

/// Root has everything; nobody else makes devices.
#[test]
fn only_root_is_spared_nothing() {
    for (who, nodes, clones) in [
        (Standing::Root, true, true),
        (Standing::NamespaceRoot, false, true),
        (Standing::User, false, false),
    ] {
        assert_eq!(who.makes_nodes(), nodes);
        assert_eq!(who.limits_devices(), nodes);
        assert_eq!(who.owns_cgroups(), nodes);
        assert_eq!(who.clones_mounts(), clones);
        assert_eq!(who.reaches_hidden(), clones);
    }
}

#[test]
fn who_maps_ids() {
    let range = |outside, count| IdRange {
        inside: 0,
        outside,
        count,
    };
    for (ranges, power, expected) in [
        (vec![range(1000, 1)], false, MapBy::Own),
        (vec![range(1000, 1)], true, MapBy::Power),
        (vec![range(1001, 1)], false, MapBy::Helper),
        (vec![range(1000, 2)], false, MapBy::Helper),
        (
            vec![range(1000, 1), range(100_000, 1)],
            false,
            MapBy::Helper,
        ),
        (vec![], false, MapBy::Helper),
    ] {
        assert_eq!(MapBy::of(&ranges, 1000, power), expected, "{ranges:?}");
    }
}

#[test]
fn where_state_is() {
    let chosen = |root, user: Option<&str>| {
        choose_state_directory(root, user.map(OsStr::new))
            .map_or_else(|error| error.to_string(), |path| path.display().to_string())
    };
    assert_eq!(chosen(true, None), "/run/orlop-runtime");
    assert_eq!(
        chosen(true, Some("/run/user/0")),
        "/run/user/0/orlop-runtime"
    );
    assert_eq!(
        chosen(false, Some("/run/user/7")),
        "/run/user/7/orlop-runtime"
    );
    for missing in [None, Some(""), Some("relative")] {
        assert!(
            chosen(false, missing).contains("XDG_RUNTIME_DIR"),
            "{missing:?}"
        );
    }
}

#[test]
fn programs_are_found_where_path_says() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("newuidmap");
    std::fs::write(&file, "").unwrap();
    let path = || Some(std::env::join_paths(["/nowhere".as_ref(), dir.path()]).unwrap());
    assert_eq!(
        find_program("newuidmap", path()),
        None,
        "it cannot be executed"
    );
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&file, mode).unwrap();
    assert_eq!(find_program("newuidmap", path()), Some(file));
}
