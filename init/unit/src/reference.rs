//! Holds `configs/reference/` to the parsers: every key is there, every default
//! is the true one, and every example parses.

use crate::document::Catalogue;
use crate::{Host, Unit, diagnostic};

const UNIT: &str = include_str!("../../../configs/reference/unit.toml");
const HOST: &str = include_str!("../../../configs/reference/host.toml");

/// Keys whose examples stand for another key's line, and what else they need:
/// the key, the lines that go, the lines that come.
const ALTERNATIVES: [(&str, &[&str], &[&str]); 4] = [
    ("http", &["tcp"], &[]),
    ("exec", &["tcp"], &[]),
    ("address", &["dhcp"], &[]),
    ("gateway", &["dhcp"], &["address"]),
];

fn unit(text: &str) -> Unit {
    match Unit::parse("reference.toml", text) {
        Ok(unit) => unit.value,
        Err(found) => panic!("\n{}", diagnostic::render_all(&found, Some(text), false)),
    }
}

fn host(text: &str) -> Host {
    match Host::parse("host.toml", text) {
        Ok(host) => host.value,
        Err(found) => panic!("\n{}", diagnostic::render_all(&found, Some(text), false)),
    }
}

/// The key of a line `key = value`, commented out or not.
fn key(line: &str) -> Option<&str> {
    let (key, _) = line.trim_start_matches('#').split_once(" = ")?;
    let plain = |letter: char| letter.is_ascii_lowercase() || letter == '-';
    key.chars().all(plain).then_some(key)
}

fn examples(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .filter(|line| line.starts_with('#'))
        .filter_map(key)
}

/// The file with the example of `wanted` in force.
fn with_example(text: &str, wanted: &str) -> String {
    let alternative = ALTERNATIVES.iter().find(|(key, _, _)| *key == wanted);
    let (go, come) = alternative.map_or((&[][..], &[][..]), |(_, go, come)| (*go, *come));
    let mut file = String::new();
    for line in text.lines() {
        match key(line) {
            Some(key) if go.contains(&key) => continue,
            Some(key) if key == wanted || come.contains(&key) => {
                file.push_str(line.trim_start_matches('#'));
            }
            Some(_) | None => file.push_str(line),
        }
        file.push('\n');
    }
    file
}

/// What stands below a table's header, or below its parent's where it is only
/// shown inline.
fn section<'t>(text: &'t str, path: &str) -> &'t str {
    let header = format!("\n[{path}]\n");
    match (text.split_once(&header), path.rsplit_once('.')) {
        (Some((_, rest)), _) => rest.split("\n[").next().unwrap_or(rest),
        (None, Some((parent, _))) => section(text, parent),
        (None, None) => text.split("\n[").next().unwrap_or(text),
    }
}

fn assert_complete(text: &str, catalogue: &Catalogue) {
    for (path, keys) in catalogue.sections {
        let below = section(text, path);
        for key in *keys {
            let table = [path, *key].join(".");
            let header = format!("\n[{}]\n", table.trim_start_matches('.'));
            let shown = below
                .split(['\n', '#', '{', ' ', ','])
                .zip(below.split(['\n', '#', '{', ' ', ',']).skip(1))
                .any(|(word, next)| word == *key && next == "=");
            assert!(
                text.contains(&header) || shown,
                "[{path}] {key} is not in the reference"
            );
        }
    }
}

#[test]
fn the_unit_reference_states_the_defaults() {
    let least = "[container]\nimage = \"localhost/demo:1\"\n[health]\ntcp = 8000\n";
    assert_eq!(unit(UNIT), unit(least));
}

#[test]
fn the_host_reference_states_the_defaults() {
    let least = "name = \"edge\"\nversion = \"1.0.0\"\n";
    assert_eq!(host(HOST), host(least));
}

#[test]
fn every_key_is_in_the_references() {
    assert_complete(UNIT, &crate::unit::CATALOGUE);
    assert_complete(HOST, &crate::host::CATALOGUE);
}

#[test]
fn every_example_in_the_references_parses_and_has_effect() {
    for key in examples(UNIT) {
        assert_ne!(unit(&with_example(UNIT, key)), unit(UNIT), "{key}");
    }
    for key in examples(HOST) {
        assert_ne!(host(&with_example(HOST, key)), host(HOST), "{key}");
    }
    assert!(examples(UNIT).count() > 10 && examples(HOST).count() > 5);
}
