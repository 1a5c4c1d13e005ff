//! A test on a small file system of its own.

use std::path::Path;
use std::process::Command;

/// Set for the copy of a test's program that has the small file system.
const SMALL: &str = "ORLOP_TEST_SMALL_FILE_SYSTEM";

/// Runs `check` on a new tmpfs with `options`, for the test called `test`: in a
/// mount namespace and a process of its own, this program with that test alone.
/// Does nothing where namespaces cannot be had, unless all tests must run.
pub fn on_tmpfs(test: &str, options: &str, check: impl FnOnce(&Path)) {
    if let Some(dir) = std::env::var_os(SMALL) {
        return check(Path::new(&dir));
    }
    let dir = tempfile::tempdir().unwrap();
    let script = "mount -t tmpfs -o \"$2\" none \"$0\" && exec \"$1\" --exact \"$3\"";
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", script])
        .arg(dir.path())
        .arg(std::env::current_exe().unwrap())
        .args([options, test])
        .env(SMALL, dir.path())
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    if errors.contains("unshare:") || errors.contains("mount:") {
        assert!(
            std::env::var_os("ORLOP_TESTS_COMPLETE").is_none(),
            "{errors}"
        );
        return eprintln!("no namespaces here, so nothing is checked: {errors}");
    }
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text}{errors}"
    );
}
