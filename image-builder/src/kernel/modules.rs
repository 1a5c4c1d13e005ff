//! Picks modules with all that they depend on, in the order to load them.
//!
//! Debian's kernel packages come without `modules.dep` (depmod makes it when
//! one is installed), so the dependencies are read from the modules.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use thiserror::Error;

use super::modinfo::{ModInfo, normal};

/// Dependencies that no module names: those that the kernel asks for at run
/// time by a name of its own.
const IMPLICIT: &[(&str, &[&str])] = &[
    ("vfat", &["nls_cp437", "nls_ascii"]),
    ("ext4", &["crc32c_generic"]),
    ("libcrc32c", &["crc32c_generic"]),
    ("dm_verity", &["sha256_generic"]),
];

/// A module to load.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Module {
    /// Name with `_`.
    pub name: String,
    /// The `.ko` file.
    pub file: PathBuf,
}

impl Module {
    /// What the file is called in an image.
    pub fn file_name(&self) -> String {
        format!("{}.ko", self.name)
    }

    /// The file's content.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn read(&self) -> anyhow::Result<Vec<u8>> {
        fs::read(&self.file).with_context(|| format!("reading {}", self.file.display()))
    }
}

/// Why modules could not be picked.
#[derive(Debug, Error)]
pub enum ModuleError {
    /// No module and nothing built in has the name.
    #[error("this kernel has no module {0:?}, neither as a file nor built in")]
    Unknown(String),
    /// A module needs one that is not there.
    #[error("module {module} depends on {missing}, which this kernel does not have")]
    Broken {
        /// The module.
        module: String,
        /// What it depends on.
        missing: String,
    },
    /// Modules depend on each other in a ring.
    #[error("modules depend on each other: {0}")]
    Cycle(String),
    /// A compressed module.
    #[error("{0}: compressed modules are not supported; use a kernel with plain .ko files")]
    Compressed(PathBuf),
    /// A file that is no module.
    #[error("{0}: not a kernel module")]
    NotAModule(PathBuf),
    /// The file system.
    #[error("reading kernel modules: {0}")]
    Io(#[from] std::io::Error),
}

/// The modules of one kernel.
#[derive(Debug, Default)]
pub struct Modules {
    files: BTreeMap<String, PathBuf>,
    builtin: BTreeSet<String>,
}

impl Modules {
    /// Reads the directory `lib/modules/VERSION` of a kernel package.
    ///
    /// # Errors
    /// A directory that cannot be read.
    pub fn open(dir: &Path) -> Result<Modules, ModuleError> {
        let mut modules = Modules::default();
        let text = fs::read_to_string(dir.join("modules.builtin"))?;
        modules.builtin = text
            .lines()
            .filter_map(|line| module_name(Path::new(line)))
            .collect();
        let mut left = vec![dir.to_path_buf()];
        while let Some(dir) = left.pop() {
            for entry in fs::read_dir(dir)? {
                let path = entry?.path();
                if path.is_dir() {
                    left.push(path);
                } else if let Some(name) = module_name(&path) {
                    modules.files.insert(name, path);
                }
            }
        }
        Ok(modules)
    }

    /// Whether there is a module of the name, as a file or built in.
    pub fn knows(&self, name: &str) -> bool {
        let name = normal(name);
        self.files.contains_key(&name) || self.builtin.contains(&name)
    }

    /// Names of modules as files, for suggestions.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(String::as_str)
    }

    /// `names` and what they depend on, each once and after all it depends on;
    /// without what is built in and what is in `loaded`.
    ///
    /// # Errors
    /// A name that is not there, and modules that cannot be read.
    pub fn resolve<'a>(
        &self,
        names: impl IntoIterator<Item = &'a str>,
        loaded: &[Module],
    ) -> Result<Vec<Module>, ModuleError> {
        let mut order = Order {
            modules: self,
            done: BTreeSet::new(),
            out: Vec::new(),
            path: Vec::new(),
        };
        order
            .done
            .extend(loaded.iter().map(|module| module.name.clone()));
        for name in names {
            if !self.knows(name) {
                return Err(ModuleError::Unknown(name.to_owned()));
            }
            order.visit(&normal(name))?;
        }
        Ok(order.out)
    }
}

/// A walk over dependencies, depth first.
struct Order<'a> {
    modules: &'a Modules,
    done: BTreeSet<String>,
    out: Vec<Module>,
    path: Vec<String>,
}

impl Order<'_> {
    fn visit(&mut self, name: &str) -> Result<(), ModuleError> {
        if self.done.contains(name) || self.modules.builtin.contains(name) {
            return Ok(());
        }
        if let Some(at) = self.path.iter().position(|seen| seen == name) {
            let ring = [&self.path[at..], &[name.to_owned()]].concat();
            return Err(ModuleError::Cycle(ring.join(" -> ")));
        }
        let file = self
            .modules
            .files
            .get(name)
            .cloned()
            .ok_or_else(|| ModuleError::Broken {
                module: self.path.last().cloned().unwrap_or_default(),
                missing: name.to_owned(),
            })?;
        if file.extension().is_none_or(|extension| extension != "ko") {
            return Err(ModuleError::Compressed(file));
        }
        let info =
            ModInfo::of_module(&fs::read(&file)?).ok_or(ModuleError::NotAModule(file.clone()))?;
        self.path.push(name.to_owned());
        let implicit = IMPLICIT
            .iter()
            .find(|(of, _)| *of == name)
            .map_or(&[][..], |(_, names)| names);
        let soft = info
            .before
            .iter()
            .map(String::as_str)
            .chain(implicit.iter().copied());
        // A soft dependency may be an alias ("crypto-crc32c") or not there.
        for wanted in soft.filter(|wanted| self.modules.files.contains_key(*wanted)) {
            self.visit(wanted)?;
        }
        for wanted in &info.depends {
            self.visit(wanted)?;
        }
        self.path.pop();
        self.done.insert(name.to_owned());
        self.out.push(Module {
            name: name.to_owned(),
            file,
        });
        Ok(())
    }
}

/// `dm_verity` of `…/dm-verity.ko` or `….ko.xz`.
fn module_name(path: &Path) -> Option<String> {
    let (name, rest) = path.file_name()?.to_str()?.split_once(".ko")?;
    matches!(rest, "" | ".xz" | ".zst" | ".gz").then(|| normal(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_from_files_of_all_kinds() {
        let cases = [
            ("kernel/md/dm-verity.ko", Some("dm_verity")),
            ("a/xfs.ko.xz", Some("xfs")),
            ("modules.order", None),
            ("x.kobject", None),
        ];
        for (path, name) in cases {
            assert_eq!(module_name(Path::new(path)).as_deref(), name, "{path}");
        }
    }

    #[test]
    fn unknown_and_compressed_modules_are_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(
            dir.path().join("modules.builtin"),
            "kernel/fs/ext4/ext4.ko\n",
        )
        .unwrap();
        fs::write(dir.path().join("a.ko.xz"), "").unwrap();
        fs::write(dir.path().join("b.ko"), "text").unwrap();
        let modules = Modules::open(dir.path()).unwrap();
        assert!(modules.resolve(["ext4"], &[]).unwrap().is_empty());
        assert!(
            matches!(modules.resolve(["nope"], &[]), Err(ModuleError::Unknown(name)) if name == "nope")
        );
        assert!(matches!(
            modules.resolve(["a"], &[]),
            Err(ModuleError::Compressed(_))
        ));
        assert!(matches!(
            modules.resolve(["b"], &[]),
            Err(ModuleError::NotAModule(_))
        ));
    }
}
