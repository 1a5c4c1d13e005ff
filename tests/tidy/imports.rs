//! Which crate may import which, as the design draws it.

use crate::{none, repository};

/// A crate and the project's crates that it may depend on. Who is not named
/// here may not exist.
const ALLOWED: &[(&str, &[&str])] = &[
    ("runtime/sys", &[]),
    ("init/unit", &[]),
    ("image-builder/slot", &[]),
    ("image-builder/bundle", &["orlop-unit"]),
    ("image-builder/fat", &[]),
    ("image-builder/loader", &[]),
    ("image-builder/verity", &[]),
    ("init/handover", &["orlop-sys"]),
    ("runtime/images", &["orlop-sys"]),
    ("runtime", &["orlop-sys"]),
    ("init/control", &["orlop-bundle", "orlop-unit"]),
    ("init", &["orlop-handover", "orlop-slot", "orlop-sys"]),
    (
        "init/manager",
        &[
            "orlop-bundle",
            "orlop-control",
            "orlop-fat",
            "orlop-handover",
            "orlop-images",
            "orlop-slot",
            "orlop-sys",
            "orlop-unit",
            "orlop-verity",
            "orlop-web",
        ],
    ),
    (
        "image-builder",
        &[
            "orlop-bundle",
            "orlop-fat",
            "orlop-images",
            "orlop-slot",
            "orlop-unit",
            "orlop-verity",
        ],
    ),
    ("qemu", &["orlop-control"]),
    (
        "tests",
        &[
            "orlop-control",
            "orlop-crash",
            "orlop-qemu",
            "orlop-slot",
            "orlop-unit",
            "orlop-web",
        ],
    ),
    ("tests/web", &[]),
    ("tests/crash", &["orlop-fat", "orlop-slot", "orlop-verity"]),
];

/// A library from outside and the only crates that may use it.
const FENCED: &[(&str, &[&str])] = &[
    ("tokio", &["init/manager", "init/control", "qemu"]),
    ("axum", &["init/manager"]),
    ("zbus", &["init/manager"]),
    ("libc", &["runtime/sys"]),
    ("r-efi", &["image-builder/loader"]),
];

/// The packages that a crate depends on, for its build and its tests, too, on
/// whatever target, and by their own names.
fn dependencies(folder: &str) -> Vec<String> {
    let path = repository().join(folder).join("Cargo.toml");
    let text = std::fs::read_to_string(&path).expect("a manifest");
    let manifest: toml::Table = text.parse().expect("a manifest that parses");
    named_in(&manifest)
}

fn named_in(manifest: &toml::Table) -> Vec<String> {
    let sections = ["dependencies", "dev-dependencies", "build-dependencies"];
    let tables = sections.iter().filter_map(|name| manifest.get(*name));
    let entries = tables.filter_map(toml::Value::as_table).flatten();
    let mut names: Vec<String> = entries
        .map(|(key, how)| {
            let package = how.get("package").and_then(toml::Value::as_str);
            package.unwrap_or(key).to_owned()
        })
        .collect();
    let targets = manifest.get("target").and_then(toml::Value::as_table);
    for (_, target) in targets.into_iter().flatten() {
        names.extend(target.as_table().map(named_in).unwrap_or_default());
    }
    names
}

#[test]
fn every_way_to_depend_is_seen() {
    let text = "[dependencies]\na.workspace = true\nx = { package = \"b\" }\n\
                [build-dependencies]\nc = \"1\"\n[dev-dependencies]\nd = \"1\"\n\
                [target.'cfg(unix)'.dependencies]\ne = \"1\"\n";
    let mut names = named_in(&text.parse().expect("a manifest"));
    names.sort();
    assert_eq!(names, ["a", "b", "c", "d", "e"]);
}

#[test]
fn imports_go_one_way() {
    let mut complaints = Vec::new();
    for (folder, allowed) in ALLOWED {
        for name in dependencies(folder) {
            if name.starts_with("orlop-") && !allowed.contains(&name.as_str()) {
                complaints.push(format!("{folder}/Cargo.toml: may not depend on {name}"));
            }
        }
    }
    none(&complaints);
}

#[test]
fn every_crate_is_in_the_drawing() {
    let text = std::fs::read_to_string(repository().join("Cargo.toml")).expect("a manifest");
    let manifest: toml::Table = text.parse().expect("a manifest that parses");
    let mut members: Vec<&str> = manifest["workspace"]["members"]
        .as_array()
        .expect("members")
        .iter()
        .map(|member| member.as_str().expect("a folder"))
        .collect();
    let mut drawn: Vec<&str> = ALLOWED.iter().map(|(folder, _)| *folder).collect();
    members.sort_unstable();
    drawn.sort_unstable();
    assert_eq!(members, drawn);
}

#[test]
fn fenced_libraries_stay_in_their_crates() {
    let mut complaints = Vec::new();
    for (folder, _) in ALLOWED {
        let used = dependencies(folder);
        for (library, fence) in FENCED {
            if used.iter().any(|name| name == library) && !fence.contains(folder) {
                complaints.push(format!(
                    "{folder}/Cargo.toml: {library} belongs in {fence:?} only"
                ));
            }
        }
    }
    none(&complaints);
}

#[test]
fn axum_and_zbus_stay_in_one_module_of_the_manager() {
    let manager = repository().join("init/manager/src");
    let mut complaints = Vec::new();
    for path in crate::files(&manager, ".rs") {
        let place = path
            .strip_prefix(&manager)
            .expect("below")
            .to_string_lossy()
            .into_owned();
        let text = std::fs::read_to_string(&path).expect("a source file");
        for (library, module) in [("axum::", "api/"), ("zbus::", "bus/")] {
            if text.contains(library) && !place.starts_with(module) {
                complaints.push(format!(
                    "init/manager/src/{place}: {library} outside {module}"
                ));
            }
        }
    }
    none(&complaints);
}
