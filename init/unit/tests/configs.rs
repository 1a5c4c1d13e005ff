//! Every file in `configs/` parses, and the sets of units that it shows go together.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test's helpers are tests"
)]

use std::path::{Path, PathBuf};

use orlop_unit::{Host, Parsed, Unit, UnitSet, diagnostic};

fn configs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs")
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = entries
        .filter(|path| path.extension().is_some_and(|e| e == "toml"))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "{}", folder.display());
    files
}

fn unit(path: &Path) -> Parsed<Unit> {
    let text = std::fs::read_to_string(path).unwrap();
    match Unit::parse(&path.display().to_string(), &text) {
        Ok(unit) => unit,
        Err(found) => panic!("\n{}", diagnostic::render_all(&found, Some(&text), false)),
    }
}

fn host(name: &str) -> Parsed<Host> {
    let path = configs().join(name);
    let text = std::fs::read_to_string(&path).unwrap();
    match Host::parse(&path.display().to_string(), &text) {
        Ok(host) => host,
        Err(found) => panic!("\n{}", diagnostic::render_all(&found, Some(&text), false)),
    }
}

#[test]
fn units_parse_and_survive_being_written() {
    for folder in ["units", "examples"] {
        let units: Vec<_> = files(&configs().join(folder))
            .iter()
            .map(|path| unit(path))
            .collect();
        for unit in &units {
            let again = Unit::parse(unit.value.name.as_str(), &unit.value.to_toml()).unwrap();
            assert_eq!(again.value, unit.value);
        }
        let set = UnitSet::check(&units);
        assert_eq!(set.diagnostics(), []);
        assert_eq!(set.order().len(), units.len());
    }
}

#[test]
fn hosts_parse_and_name_units_that_exist() {
    for path in files(&configs()) {
        let host = host(path.file_name().unwrap().to_str().unwrap());
        for file in &host.value.image.units {
            unit(&configs().join(file));
        }
        let runtime = Host::parse("host.toml", &host.value.runtime_toml())
            .unwrap()
            .value;
        assert_eq!(runtime.network, host.value.network);
        assert_eq!(runtime.api, host.value.api);
    }
}

#[test]
fn the_demo_is_what_the_readme_says() {
    let web = unit(&configs().join("units/web.toml")).value;
    assert_eq!(web.container.image.as_str(), "localhost/demo:1");
    assert_eq!(web.container.ports[0].to_string(), "80:8000");
    assert!(web.health.is_some_and(|health| health.gate));
    let demo = host("demo.toml").value;
    assert_eq!(demo.image.units, ["units/web.toml"]);
    assert_eq!(demo.kernel.package, "linux-image-cloud-amd64");
    assert_eq!(host("metal.toml").value.kernel.package, "linux-image-amd64");
}
