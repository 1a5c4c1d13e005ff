//! `orlop check`: what a host would say to unit files, without one.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use orlop_unit::{Diagnostic, MAX_FILE_BYTES, Parsed, Unit, UnitSet};

use super::failure::Failure;
use super::output::{Format, print, show};
use crate::types;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Unit files, or directories of them
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

/// Unit files that were read, and what is wrong with them.
pub(super) struct Checked {
    /// Those that are right in themselves, with their text.
    pub(super) units: Vec<(Parsed<Unit>, String)>,
    pub(super) diagnostics: Vec<Diagnostic>,
    /// The text of each file, as far as it is text.
    texts: BTreeMap<String, String>,
    count: usize,
}

pub(super) fn run(args: &Args, format: Format) -> Result<ExitCode, Failure> {
    let mut checked = read(&args.files)?;
    let missing = checked.check_together();
    let found: Vec<types::Diagnostic> = checked.diagnostics.iter().map(wire).collect();
    match format {
        Format::Json => show(format, &found, |_| String::new())?,
        Format::Table => {
            for name in missing {
                eprintln!("note: unit \"{name}\" is required and not among the files");
            }
        }
    }
    if found.is_empty() {
        if format == Format::Table {
            print(&format!("{} checked, all well\n", files(checked.count)))?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    if format == Format::Table {
        return Err(checked.failure("check"));
    }
    Ok(ExitCode::from(1))
}

/// Reads files, and all `*.toml` in directories.
pub(super) fn read(paths: &[PathBuf]) -> Result<Checked, Failure> {
    let mut checked = Checked {
        units: Vec::new(),
        diagnostics: Vec::new(),
        texts: BTreeMap::new(),
        count: 0,
    };
    for path in expand(paths)? {
        checked.count += 1;
        let shown = path.display().to_string();
        let bytes = match bounded(&path) {
            Ok(bytes) => bytes,
            Err(error) => {
                let message = format!("cannot be read: {error}");
                checked
                    .diagnostics
                    .push(Diagnostic::whole_file(shown, message, None));
                continue;
            }
        };
        let text = String::from_utf8(bytes.clone()).ok();
        match (Unit::parse_bytes(&shown, &bytes), &text) {
            (Ok(unit), Some(text)) => checked.units.push((unit, text.clone())),
            // What parses is text.
            (Ok(_), None) => {}
            (Err(found), _) => checked.diagnostics.extend(found),
        }
        if let Some(text) = text {
            checked.texts.insert(shown, text);
        }
    }
    Ok(checked)
}

impl Checked {
    /// Checks the units against each other. Units that are required and not
    /// there may be on the host: they are given back and taken for right.
    fn check_together(&mut self) -> BTreeSet<String> {
        let mut units: Vec<Parsed<Unit>> =
            self.units.iter().map(|(unit, _)| unit.clone()).collect();
        let names: BTreeSet<String> = units
            .iter()
            .map(|unit| unit.value.name.to_string())
            .collect();
        let required = units.iter().flat_map(|unit| &unit.value.requires);
        let missing: BTreeSet<String> = required
            .map(ToString::to_string)
            .filter(|name| !names.contains(name))
            .collect();
        for name in &missing {
            let stand_in = Unit::parse(&format!("{name}.toml"), "[container]\nimage = \"any\"\n");
            units.extend(stand_in.ok());
        }
        self.diagnostics
            .extend(UnitSet::check(&units).diagnostics());
        missing
    }

    /// The failure that the diagnostics amount to.
    pub(super) fn failure(&self, what: &str) -> Failure {
        let colours = io::stderr().is_terminal();
        let details = self
            .diagnostics
            .iter()
            .map(|found| found.render(self.texts.get(&found.file).map(String::as_str), colours))
            .collect();
        let count = self.diagnostics.len();
        let errors = if count == 1 {
            "1 error".to_owned()
        } else {
            format!("{count} errors")
        };
        Failure::new(format!("{what}: {errors} in {}", files(self.count))).details(details)
    }
}

fn files(count: usize) -> String {
    if count == 1 {
        "1 file".to_owned()
    } else {
        format!("{count} files")
    }
}

fn expand(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    let mut files = Vec::new();
    for path in paths {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let failed = |error: io::Error| Failure::new(format!("{}: {error}", path.display()));
        let mut found = Vec::new();
        for entry in fs::read_dir(path).map_err(failed)? {
            let file = entry.map_err(failed)?.path();
            if file.extension().is_some_and(|ending| ending == "toml") {
                found.push(file);
            }
        }
        if found.is_empty() {
            return Err(Failure::new(format!("{}: no *.toml in it", path.display())));
        }
        found.sort();
        files.append(&mut found);
    }
    Ok(files)
}

/// At most one byte more than a unit file may have: the parser then says that
/// it is too large.
fn bounded(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?
        .take(MAX_FILE_BYTES as u64 + 1)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn wire(found: &Diagnostic) -> types::Diagnostic {
    types::Diagnostic {
        file: found.file.clone(),
        line: found.line,
        column: found.column,
        message: found.message.clone(),
        help: found.help.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(files: &[(&str, &[u8])]) -> (Checked, BTreeSet<String>) {
        let dir = tempfile::tempdir().unwrap();
        for (name, content) in files {
            fs::write(dir.path().join(name), content).unwrap();
        }
        let mut checked = read(&[dir.path().to_owned()]).unwrap();
        let missing = checked.check_together();
        (checked, missing)
    }

    #[test]
    fn good_files_are_well_even_when_the_host_has_the_rest() {
        let (checked, missing) = checked(&[
            (
                "web.toml",
                b"[unit]\nrequires = [\"db\"]\n[container]\nimage = \"localhost/a:1\"\n",
            ),
            ("notes.txt", b"not a unit"),
        ]);
        assert_eq!(checked.diagnostics, []);
        assert_eq!(checked.count, 1);
        assert!(missing.contains("db"));
    }

    #[test]
    fn bad_files_say_where() {
        let (checked, _) = checked(&[
            (
                "a.toml",
                b"[container]\nimage = \"localhost/a:1\"\nprots = []\n",
            ),
            ("b.toml", b"\xff\xfe"),
            ("c.toml", b""),
        ]);
        let of = |name: &str| {
            checked
                .diagnostics
                .iter()
                .find(|found| found.file.ends_with(name))
                .unwrap()
        };
        assert_eq!(of("a.toml").line, 3);
        assert!(
            of("a.toml").help.as_ref().unwrap().contains("ports"),
            "{:?}",
            of("a.toml")
        );
        of("b.toml");
        of("c.toml");
    }

    #[test]
    fn cycles_are_named() {
        let requiring = |name: &str| {
            format!("[unit]\nrequires = [\"{name}\"]\n[container]\nimage = \"localhost/a:1\"\n")
        };
        let (checked, _) = checked(&[
            ("a.toml", requiring("b").as_bytes()),
            ("b.toml", requiring("a").as_bytes()),
        ]);
        let named = |finding: &Diagnostic| finding.message.contains("a -> b -> a");
        assert!(
            checked.diagnostics.iter().any(named),
            "{:?}",
            checked.diagnostics
        );
    }

    #[test]
    fn what_cannot_be_read_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let missing = dir.path().join("missing.toml");
        assert_eq!(read(&[missing]).unwrap().diagnostics.len(), 1);
        assert!(
            read(&[dir.path().to_owned()]).is_err(),
            "an empty directory"
        );
    }
}
