//! What every source file keeps to.

use std::path::Path;

use crate::{files, none, repository};

/// No file is longer than this; most are about a quarter of it.
const MOST_LINES: usize = 500;

/// The only crates with unsafe code: system calls, and the firmware's calls, which
/// are of another world and have no use for the former.
const UNSAFE_CRATES: [&str; 2] = ["runtime/sys/", "image-builder/loader/"];

fn may_be_unsafe(place: &str) -> bool {
    UNSAFE_CRATES.iter().any(|folder| place.starts_with(folder))
}

fn sources() -> Vec<(String, String)> {
    let root = repository();
    let read = |path: &Path| {
        let place = path
            .strip_prefix(&root)
            .expect("below")
            .to_string_lossy()
            .into_owned();
        (place, std::fs::read_to_string(path).expect("a source file"))
    };
    files(&root, ".rs").iter().map(|path| read(path)).collect()
}

#[test]
fn no_file_is_too_long() {
    let too_long = |(place, text): &(String, String)| {
        let lines = text.lines().count();
        (lines > MOST_LINES).then(|| format!("{place}: {lines} lines, at most {MOST_LINES}"))
    };
    none(&sources().iter().filter_map(too_long).collect::<Vec<_>>());
}

#[test]
fn every_file_says_what_it_is_for() {
    let silent = |(place, text): &(String, String)| {
        (!text.starts_with("//!")).then(|| format!("{place}: does not open with a //! comment"))
    };
    none(&sources().iter().filter_map(silent).collect::<Vec<_>>());
}

#[test]
fn unsafe_stays_behind_its_fence() {
    let word = concat!("unsafe", " ");
    let permission = concat!("allow(", "unsafe_code)");
    let mut complaints = Vec::new();
    for (place, text) in sources() {
        if may_be_unsafe(&place) {
            continue;
        }
        for (number, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            if code.contains(&format!("{word}{{"))
                || code.contains(&format!("{word}fn"))
                || code.contains(permission)
            {
                complaints.push(format!(
                    "{place}:{}: unsafe outside {UNSAFE_CRATES:?}",
                    number + 1
                ));
            }
        }
    }
    none(&complaints);
}

#[test]
fn every_crate_takes_the_workspace_lints() {
    let mut complaints = Vec::new();
    for path in files(&repository(), "Cargo.toml") {
        let place = path
            .strip_prefix(repository())
            .expect("below")
            .to_string_lossy()
            .into_owned();
        let manifest: toml::Table = std::fs::read_to_string(&path)
            .expect("readable")
            .parse()
            .expect("a manifest");
        if !manifest.contains_key("package") {
            continue;
        }
        let lints = &manifest["lints"];
        let inherits = lints.get("workspace").and_then(toml::Value::as_bool) == Some(true);
        let own = lints
            .get("rust")
            .and_then(|rust| rust.get("unsafe_op_in_unsafe_fn"))
            .is_some();
        if !(inherits || own && may_be_unsafe(&place)) {
            complaints.push(format!("{place}: needs `[lints] workspace = true`"));
        }
    }
    none(&complaints);
}

#[test]
fn no_shell_script_is_long() {
    let mut scripts = files(&repository(), "");
    scripts.extend(files(&repository().join(".ci"), ""));
    scripts.retain(|path| {
        let text = std::fs::read(path).expect("a readable file");
        let first = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
        first.starts_with(b"#!") && first.ends_with(b"sh")
    });
    assert!(!scripts.is_empty(), "not even CI's own was found");
    let long = |path: &std::path::PathBuf| {
        let text = std::fs::read_to_string(path).expect("readable");
        let lines = text.lines().count();
        (lines > 50).then(|| format!("{}: {lines} lines, at most 50", path.display()))
    };
    none(&scripts.iter().filter_map(long).collect::<Vec<_>>());
}

#[test]
fn only_the_named_folders_stand_at_the_top() {
    let allowed = [
        "init",
        "runtime",
        "image-builder",
        "configs",
        "qemu",
        "tests",
        "target",
    ];
    let stranger = |entry: std::io::Result<std::fs::DirEntry>| {
        let entry = entry.expect("an entry");
        let name = entry.file_name().to_string_lossy().into_owned();
        let known = name.starts_with('.') || allowed.contains(&name.as_str());
        (entry.path().is_dir() && !known).then(|| format!("{name}/: no such folder is foreseen"))
    };
    let top = std::fs::read_dir(repository()).expect("the repository");
    none(&top.filter_map(stranger).collect::<Vec<_>>());
}
