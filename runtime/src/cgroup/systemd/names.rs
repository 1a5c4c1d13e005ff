//! Where systemd puts a container, and under what name. Pure.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail, ensure};

/// The unit of a container and the slice that it goes into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Names {
    pub(super) slice: String,
    pub(super) unit: String,
}

/// The longest name that systemd takes.
const LONGEST: usize = 255;

impl Names {
    /// Of `linux.cgroupsPath`, which is `SLICE:PREFIX:NAME` here. `user`: whether a user's own
    /// systemd is asked, which has another slice for what names none.
    pub(super) fn of(asked: Option<&Path>, id: &str, user: bool) -> Result<Names> {
        let asked = asked.unwrap_or(Path::new("")).to_string_lossy();
        let usual = if user { "user.slice" } else { "system.slice" };
        let (slice, prefix, name) = match asked.split(':').collect::<Vec<_>>()[..] {
            [""] => (usual, "orlop", id),
            ["", prefix, name] => (usual, prefix, name),
            [slice, prefix, name] => (slice, prefix, name),
            _ => bail!(
                "linux.cgroupsPath {asked:?}: systemd's cgroups are named SLICE:PREFIX:NAME, as \
                 in system.slice:orlop:web"
            ),
        };
        ensure!(
            !name.is_empty() && !name.ends_with(".slice"),
            "linux.cgroupsPath {asked:?}: NAME must be that of a container, not of a slice"
        );
        let unit = format!("{prefix}-{name}.scope");
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b":_.-\\@".contains(&byte);
        ensure!(
            unit.len() <= LONGEST && unit.bytes().all(plain),
            "{unit:?} cannot be the name of a systemd unit: at most {LONGEST} letters, digits or \
             :_.-\\@; choose another container id or linux.cgroupsPath"
        );
        Ok(Names {
            slice: slice.to_owned(),
            unit,
        })
    }

    /// The cgroup below that of systemd itself.
    pub(super) fn path(&self) -> Result<PathBuf> {
        Ok(expand(&self.slice)?.join(&self.unit))
    }
}

/// `a-b.slice` is in `a.slice`, and `-.slice` is the root of all.
fn expand(slice: &str) -> Result<PathBuf> {
    let wrong = || {
        anyhow::anyhow!(
            "linux.cgroupsPath: {slice:?} is not the name of a slice, as in machine.slice or \
             a-b.slice"
        )
    };
    let name = slice.strip_suffix(".slice").ok_or_else(wrong)?;
    if name == "-" {
        return Ok(PathBuf::new());
    }
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b":_.\\@".contains(&byte);
    let mut path = PathBuf::new();
    let mut end = 0;
    for part in name.split('-') {
        ensure!(!part.is_empty() && part.bytes().all(plain), wrong());
        end += part.len();
        path.push(format!("{}.slice", &name[..end]));
        end += 1;
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let of = |asked: &str, user| {
            let names = Names::of(Some(Path::new(asked)), "id", user)?;
            anyhow::Ok(names.path()?.display().to_string())
        };
        for (asked, user, expected) in [
            ("", false, "system.slice/orlop-id.scope"),
            ("", true, "user.slice/orlop-id.scope"),
            (":libpod:x", true, "user.slice/libpod-x.scope"),
            (
                "machine.slice:libpod:x",
                false,
                "machine.slice/libpod-x.scope",
            ),
            (
                "a-b-c.slice:p:x",
                false,
                "a.slice/a-b.slice/a-b-c.slice/p-x.scope",
            ),
            ("-.slice::x", false, "-x.scope"),
        ] {
            assert_eq!(of(asked, user).unwrap(), expected, "{asked}");
        }
        for (asked, expected) in [
            ("/a/b", "SLICE:PREFIX:NAME"),
            ("a.slice:b", "SLICE:PREFIX:NAME"),
            ("a:b:c:d", "SLICE:PREFIX:NAME"),
            ("a:b:c", "not the name of a slice"),
            (".slice:b:c", "not the name of a slice"),
            ("a--b.slice:b:c", "not the name of a slice"),
            ("-a.slice:b:c", "not the name of a slice"),
            ("../a.slice:b:c", "not the name of a slice"),
            ("a.slice:b:", "not of a slice"),
            ("a.slice:b:c.slice", "not of a slice"),
            ("a.slice:b:c/d", "cannot be the name"),
            ("a.slice:b:c+d", "cannot be the name"),
        ] {
            let error = of(asked, false).unwrap_err().to_string();
            assert!(error.contains(expected), "{asked}: {error}");
        }
        let none = Names::of(None, "id", false).unwrap();
        assert_eq!(none.unit, "orlop-id.scope");
        assert!(Names::of(None, &"x".repeat(250), false).is_err());
    }
}
