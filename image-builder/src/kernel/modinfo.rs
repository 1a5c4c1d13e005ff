//! Reads the `.modinfo` section of a kernel module.

use object::{Object, ObjectSection};

/// What a module says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ModInfo {
    /// Modules whose symbols it uses.
    pub depends: Vec<String>,
    /// Modules (or aliases of some) that it wants loaded before.
    pub before: Vec<String>,
}

impl ModInfo {
    /// Reads an ELF module; `None` if it is none.
    pub fn of_module(bytes: &[u8]) -> Option<ModInfo> {
        let file = object::File::parse(bytes).ok()?;
        let section = file.section_by_name(".modinfo")?;
        Some(ModInfo::parse(section.data().ok()?))
    }

    /// Reads `key=value` strings that end with NUL.
    pub fn parse(section: &[u8]) -> ModInfo {
        let mut info = ModInfo::default();
        for line in section.split(|byte| *byte == 0) {
            let line = String::from_utf8_lossy(line);
            match line.split_once('=') {
                Some(("depends", list)) => {
                    info.depends
                        .extend(list.split(',').filter(|n| !n.is_empty()).map(normal));
                }
                Some(("softdep", text)) => info.before.extend(softdep(text)),
                Some(_) | None => {}
            }
        }
        info
    }
}

/// The `pre:` names of a soft dependency; `post:` ones are not for us.
fn softdep(text: &str) -> Vec<String> {
    let mut before = true;
    let mut names = Vec::new();
    for word in text.split_whitespace() {
        match word {
            "pre:" => before = true,
            "post:" => before = false,
            name if before => names.push(normal(name)),
            _ => {}
        }
    }
    names
}

/// Module names are compared with `-` as `_`.
pub fn normal(name: &str) -> String {
    name.replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependencies_of_both_kinds_are_read() {
        let cases: [(&[u8], &[&str], &[&str]); 4] = [
            (
                b"license=GPL\0depends=dm-mod,dm-bufio\0name=dm_verity\0",
                &["dm_mod", "dm_bufio"],
                &[],
            ),
            (b"depends=\0softdep=pre: crc32c\0", &[], &["crc32c"]),
            (
                b"softdep=post: vfio_spapr\0\0softdep=pre: a b post: c",
                &[],
                &["a", "b"],
            ),
            (b"\xff\xfe=\0depends", &[], &[]),
        ];
        for (section, depends, before) in cases {
            let info = ModInfo::parse(section);
            assert_eq!(
                (info.depends, info.before),
                (
                    depends.iter().map(|s| s.to_string()).collect(),
                    before.iter().map(|s| s.to_string()).collect()
                )
            );
        }
    }
}
