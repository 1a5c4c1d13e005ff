//! Cgroups for who is not the machine's root: only below one that was given to him.
//!
//! The kernel lets a process be born in a cgroup if one may write to that cgroup and to the
//! nearest that it has in common with one's own. systemd gives every user such a tree, and so
//! may whoever started us.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rustix::fs::{Access, AtFlags, CWD, accessat};

const OWN: &str = "/proc/self/cgroup";
const PROCS: &str = "cgroup.procs";

/// Where the container's cgroup may be made; `None` where no cgroup is ours.
pub(super) fn place(mount: &Path, asked: Option<&Path>, id: &str) -> Result<Option<PathBuf>> {
    let text = std::fs::read_to_string(OWN).context(OWN)?;
    let Some(own) = own(&text) else {
        return Ok(None);
    };
    for below in candidates(own, asked, id) {
        let path = super::path_below(mount, Some(&below), id)?;
        if is_ours(mount, &path, &mount.join(own)) {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

/// Our own, relative to what is mounted. One outside of that leads over "..".
fn own(text: &str) -> Option<&Path> {
    let own = text.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let own = Path::new(own);
    let inside = |part| matches!(part, std::path::Component::Normal(_));
    own.components().all(inside).then_some(own)
}

/// What is asked for, if that says where from the top. Else beside us: there no process is in
/// the way of passing controllers on, as we are in our own cgroup; and else below us.
fn candidates(own: &Path, asked: Option<&Path>, id: &str) -> Vec<PathBuf> {
    let asked = asked.filter(|path| *path != Path::new(""));
    match asked {
        Some(path) if path.is_absolute() => vec![path.to_owned()],
        name => {
            let name = name.unwrap_or(Path::new(id));
            let beside = own.parent().map(|parent| parent.join(name));
            beside.into_iter().chain([own.join(name)]).collect()
        }
    }
}

/// Whether a process of ours can be born in that cgroup: not if the nearest that it has in common
/// with our own is somebody else's.
pub(crate) fn may_enter(path: &Path) -> Result<bool> {
    let text = std::fs::read_to_string(OWN).context(OWN)?;
    let (Some(mount), Some(own)) = (super::mount_point(), own(&text)) else {
        return Ok(false);
    };
    Ok(is_writable(&common(path, &mount.join(own)).join(PROCS)))
}

fn is_writable(path: &Path) -> bool {
    accessat(CWD, path, Access::WRITE_OK, AtFlags::EACCESS).is_ok()
}

/// The nearest that is above both; the root if nothing else.
fn common<'p>(path: &'p Path, own: &Path) -> &'p Path {
    let mut above = path.ancestors();
    above.find(|dir| own.starts_with(dir)).unwrap_or(path)
}

fn is_ours(mount: &Path, path: &Path, own: &Path) -> bool {
    let may = |path: &Path, access| accessat(CWD, path, access, AtFlags::EACCESS).is_ok();
    let existing = path.ancestors().skip(1).find(|dir| dir.exists());
    let makes = existing
        .filter(|dir| dir.starts_with(mount))
        .is_some_and(|dir| may(dir, Access::WRITE_OK | Access::EXEC_OK));
    makes && is_writable(&common(path, own).join(PROCS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_it_is_tried() {
        let tried = |own: &str, asked: Option<&str>| -> Vec<String> {
            candidates(Path::new(own), asked.map(Path::new), "id")
                .iter()
                .map(|path| path.display().to_string())
                .collect()
        };
        assert_eq!(tried("a/b", None), ["a/id", "a/b/id"]);
        assert_eq!(tried("a/b", Some("")), ["a/id", "a/b/id"]);
        assert_eq!(tried("a/b", Some("x/y")), ["a/x/y", "a/b/x/y"]);
        assert_eq!(tried("a/b", Some("/x")), ["/x"]);
        assert_eq!(tried("", None), ["id"]);
    }

    #[test]
    fn ones_own() {
        for (text, expected) in [
            ("9:pids:/p\n0::/a/b\n", Some("a/b")),
            ("0::/\n", Some("")),
            ("0::/../other\n", None),
            ("9:pids:/p\n", None),
        ] {
            assert_eq!(own(text), expected.map(Path::new), "{text:?}");
        }
    }
}
