//! Which units the unit directories declare, and what is wrong with the rest.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Error, ErrorKind, Result};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use orlop_unit::{Context, Diagnostic, MAX_FILE_BYTES, Parsed, Unit, UnitName, UnitSet};

use crate::durable::read_bounded;

/// The most files that are taken from one directory.
const FILES_MAX: usize = 1024;

/// A unit as a good file declares it.
#[derive(Debug, Clone)]
pub struct Definition {
    /// The unit with its places in the file.
    pub parsed: Arc<Parsed<Unit>>,
    /// The file's text.
    pub text: Arc<str>,
    /// The file.
    pub source: PathBuf,
}

impl Definition {
    /// The unit.
    pub fn unit(&self) -> &Unit {
        &self.parsed.value
    }

    /// Reads a unit from its text.
    pub fn parse(source: &Path, bytes: &[u8]) -> std::result::Result<Definition, Vec<Diagnostic>> {
        let parsed = Unit::parse_bytes(&source.to_string_lossy(), bytes)?;
        Ok(Definition {
            parsed: Arc::new(parsed),
            text: String::from_utf8_lossy(bytes).into(),
            source: source.to_owned(),
        })
    }
}

/// What one file came to.
#[derive(Debug, Clone)]
pub enum Declared {
    /// A unit.
    Good(Definition),
    /// Not one.
    Bad(PathBuf, Vec<Diagnostic>),
}

/// What the directories declare, by unit name.
pub type Declarations = BTreeMap<String, Declared>;

/// What was found in the directories.
#[derive(Debug, Clone, Default)]
pub struct Found {
    /// What the files declare.
    pub units: Declarations,
    /// The names of the files that a directory has too many of: they are not
    /// read, but there.
    pub unread: BTreeSet<String>,
    /// What an operator should know.
    pub warnings: Vec<String>,
}

impl Found {
    /// Whether a unit has a file, read or not.
    pub fn has(&self, name: &str) -> bool {
        self.units.contains_key(name) || self.unread.contains(name)
    }
}

/// Reads all directories, the later winning by name. A link to /dev/null
/// takes an earlier file away. An error says nothing about which files there
/// are: a directory is either read whole or not at all.
pub fn read(dirs: &[PathBuf]) -> Result<Found> {
    let mut found = Found::default();
    for dir in dirs {
        let files = files(dir)
            .map_err(|error| Error::new(error.kind(), format!("{}: {error}", dir.display())))?;
        let count = files.len();
        for (number, path) in files.into_iter().enumerate() {
            let Some(name) = path
                .file_stem()
                .map(|stem| stem.to_string_lossy().into_owned())
            else {
                continue;
            };
            found.unread.remove(&name);
            if number >= FILES_MAX {
                // Nor may an earlier directory's file stand in for it.
                found.units.remove(&name);
                found.unread.insert(name);
            } else if std::fs::read_link(&path).is_ok_and(|to| to == Path::new("/dev/null")) {
                found.units.remove(&name);
            } else {
                found.units.insert(name, declared(&path));
            }
        }
        if count > FILES_MAX {
            found.warnings.push(format!(
                "{} has {count} unit files; only the first {FILES_MAX} are followed",
                dir.display()
            ));
        }
    }
    Ok(found)
}

/// A directory's unit files; none if it is not there.
fn files(dir: &Path) -> Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?.collect::<Result<Vec<_>>>()?,
    };
    let mut files: Vec<PathBuf> = entries
        .into_iter()
        .map(|entry| entry.path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "toml")
        })
        .filter(|path| {
            // Editors' own files.
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            !name.starts_with(['.', '#'])
        })
        .collect();
    files.sort();
    Ok(files)
}

/// What one file declares.
pub fn declared(path: &Path) -> Declared {
    let bad = |diagnostics| Declared::Bad(path.to_owned(), diagnostics);
    match read_bounded(path, MAX_FILE_BYTES) {
        Ok(bytes) => match Definition::parse(path, &bytes) {
            Ok(definition) => Declared::Good(definition),
            Err(diagnostics) => bad(diagnostics),
        },
        Err(error) => {
            let what = match error.kind() {
                ErrorKind::NotFound => "a link that leads nowhere".to_owned(),
                _ => format!("cannot be read: {error}"),
            };
            let name = path.file_stem().unwrap_or_default().to_string_lossy();
            let help = format!(
                "`orlop rm {name}` removes it, `orlop apply {name}.toml` puts a file in its place"
            );
            let file = path.to_string_lossy();
            bad(vec![Diagnostic::whole_file(file, what, Some(&help))])
        }
    }
}

/// Marks the units bad that only the set as a whole shows to be: unknown
/// requirements, cycles, ports that are taken. For a bad file `kept` may give
/// the definition that goes on being used.
pub fn check(
    declarations: &mut Declarations,
    kept: &BTreeMap<String, Definition>,
    running: BTreeSet<UnitName>,
    host_ports: Vec<u16>,
) {
    let units: Vec<Parsed<Unit>> = declarations
        .iter()
        .filter_map(|(name, declared)| match declared {
            Declared::Good(definition) => Some(definition),
            Declared::Bad(_, _) => kept.get(name),
        })
        .map(|definition| (*definition.parsed).clone())
        .collect();
    let context = Context {
        running,
        host_ports,
    };
    let set = UnitSet::check_in(&units, &context);
    for (name, problems) in set.problems() {
        if let Some(declared) = declarations.get_mut(name.as_str())
            && let Declared::Good(definition) = declared
        {
            *declared = Declared::Bad(definition.source.clone(), problems.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "[container]\nimage = \"localhost/demo:1\"\n";

    fn dirs() -> (tempfile::TempDir, Vec<PathBuf>) {
        let root = tempfile::tempdir().unwrap();
        let dirs = ["usr", "etc", "run"].map(|name| root.path().join(name));
        for dir in &dirs {
            std::fs::create_dir(dir).unwrap();
        }
        (root, dirs.to_vec())
    }

    fn good(declarations: &Declarations) -> Vec<&str> {
        let good = declarations.iter();
        good.filter(|(_, declared)| matches!(declared, Declared::Good(_)))
            .map(|(name, _)| name.as_str())
            .collect()
    }

    #[test]
    fn the_later_directory_wins_and_null_masks() {
        let (_root, dirs) = dirs();
        std::fs::write(dirs[0].join("a.toml"), GOOD).unwrap();
        std::fs::write(dirs[0].join("b.toml"), GOOD).unwrap();
        std::fs::write(dirs[2].join("a.toml"), GOOD).unwrap();
        std::os::unix::fs::symlink("/dev/null", dirs[1].join("b.toml")).unwrap();
        let found = read(&dirs).unwrap().units;
        assert_eq!(good(&found), ["a"]);
        assert!(matches!(&found["a"], Declared::Good(d) if d.source.starts_with(&dirs[2])));
        assert!(!found.contains_key("b"));
    }

    #[test]
    fn bad_files_are_named_and_leave_the_others_alone() {
        let (_root, dirs) = dirs();
        std::fs::write(dirs[1].join("good.toml"), GOOD).unwrap();
        std::fs::write(dirs[1].join("empty.toml"), "").unwrap();
        std::fs::write(dirs[1].join("bytes.toml"), [0xff, 0xfe]).unwrap();
        std::fs::write(dirs[1].join("huge.toml"), vec![b'#'; 10 << 20]).unwrap();
        std::fs::create_dir(dirs[1].join("dir.toml")).unwrap();
        std::os::unix::fs::symlink("nowhere", dirs[1].join("dangling.toml")).unwrap();
        std::fs::write(dirs[1].join(".#good.toml"), "x").unwrap();
        let found = read(&dirs).unwrap().units;
        assert_eq!(good(&found), ["good"]);
        assert_eq!(found.len(), 6);
        for (name, declared) in &found {
            if let Declared::Bad(_, diagnostics) = declared {
                assert!(diagnostics[0].file.contains(name), "{diagnostics:?}");
            }
        }
    }

    #[test]
    fn a_directory_that_cannot_be_read_is_not_an_empty_one() {
        let (_root, dirs) = dirs();
        std::fs::write(dirs[0].join("a.toml"), GOOD).unwrap();
        std::fs::remove_dir(&dirs[2]).unwrap();
        assert!(read(&dirs).unwrap().has("a"), "one that is missing is");
        // Root may read all directories; this is none.
        std::fs::write(&dirs[2], "").unwrap();
        let error = read(&dirs).unwrap_err().to_string();
        assert!(error.contains(&*dirs[2].to_string_lossy()), "{error}");
    }

    #[test]
    fn a_file_too_many_is_still_there() {
        let (_root, dirs) = dirs();
        for number in 0..FILES_MAX {
            std::fs::write(dirs[1].join(format!("a{number}.toml")), "").unwrap();
        }
        let found = read(&dirs).unwrap();
        assert_eq!((found.units.len(), found.warnings.len()), (FILES_MAX, 0));
        std::fs::write(dirs[0].join("z.toml"), GOOD).unwrap();
        std::fs::write(dirs[1].join("z.toml"), GOOD).unwrap();
        let found = read(&dirs).unwrap();
        assert_eq!((found.units.len(), found.warnings.len()), (FILES_MAX, 1));
        assert!(found.has("z") && !found.units.contains_key("z"));
        // A later directory still has the last word.
        std::fs::write(dirs[2].join("z.toml"), GOOD).unwrap();
        assert_eq!(good(&read(&dirs).unwrap().units), ["z"]);
    }

    #[test]
    fn a_set_with_a_cycle_is_bad_in_the_cycle_only() {
        let (_root, dirs) = dirs();
        let unit = |requires: &str| format!("[unit]\nrequires = [{requires}]\n{GOOD}");
        std::fs::write(dirs[1].join("a.toml"), unit("\"b\"")).unwrap();
        std::fs::write(dirs[1].join("b.toml"), unit("\"a\"")).unwrap();
        std::fs::write(dirs[1].join("c.toml"), GOOD).unwrap();
        let mut found = read(&dirs).unwrap().units;
        check(&mut found, &BTreeMap::new(), BTreeSet::new(), Vec::new());
        assert_eq!(good(&found), ["c"]);
    }
}
