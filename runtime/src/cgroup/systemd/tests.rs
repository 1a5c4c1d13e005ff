//! What is worked out for systemd, without one.

use super::*;

/// Further processes go where the container's own is, which may have cgroups in its scope.
#[test]
fn where_further_processes_go() {
    let scope = Path::new("/c/a.slice/x.scope");
    for (place, expected) in [
        ("/c/a.slice/x.scope", Some("")),
        ("/c/a.slice/x.scope/init.scope", Some("/init.scope")),
        ("/c/a.slice/x.scope/a/b", Some("/a/b")),
        ("/c/a.slice/x.scopes", None),
        ("/c/a.slice", None),
    ] {
        let got = subcgroup(scope, Path::new(place)).ok();
        assert_eq!(got.as_deref(), expected, "{place}");
    }
}
