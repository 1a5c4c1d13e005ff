//! The repository's rules, checked: import directions, the unsafe fence, file
//! sizes, module docs, and that every example config parses. (Functions are
//! measured by clippy.)

#![allow(
    clippy::expect_used,
    reason = "a rule that cannot be read is a failure"
)]

mod configs;
mod imports;
mod sources;

use std::path::{Path, PathBuf};

/// The repository's root.
fn repository() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent()
        .expect("tests/ is in the repository")
        .to_path_buf()
}

/// Every file below `folder` whose name ends in `ending`, in order; neither
/// build products nor hidden folders.
fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a readable folder") {
            let path = entry.expect("an entry").path();
            let name = path
                .file_name()
                .expect("a name")
                .to_string_lossy()
                .into_owned();
            if name.starts_with('.') || name == "target" {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else if name.ends_with(ending) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// Fails with all of `complaints`, if there are any.
fn none(complaints: &[String]) {
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}
