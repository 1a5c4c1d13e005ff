//! Keeps containers from writing to this program's own file (CVE-2019-5736).
//!
//! A container's process runs this file until execve, and may be made to run it again
//! (through /proc/self/exe), so /proc/PID/exe offers it to be opened for writing. That fails
//! by itself when the file is on a read-only mount (on an Orlop host it is on the verified
//! root), and when the container has a new user namespace in which the file's owner is not
//! mapped, and nobody but the owner may write. Only otherwise do we execute ourselves again,
//! from a detached read-only clone of our own mount, which nothing can make writable: it is in
//! no mount namespace.
//!
//! To start twice is a good part of what a container's start takes, so it is done first of all
//! where it most likely will have to be done: before the command line and the configuration
//! are read. Whether it has to be is decided when they are.

use std::ffi::CString;
use std::os::unix::ffi::OsStringExt;

use anyhow::{Context, Result, bail};
use oci_spec::runtime::{Linux, LinuxNamespaceType};
use orlop_sys::exec::Program;
use orlop_sys::idmap::IdRange;
use orlop_sys::mount::{Attributes, clone_tree, set_attributes};
use rustix::fs::{CWD, StatVfsMountFlags};
use rustix::mount::MountAttrFlags;

use crate::namespaces::ranges;

const OWN: &str = "/proc/self/exe";

/// Executes the program again already now, if these are the arguments of a command that makes
/// a process in a container, and if that is possible. Where it is not, [`protect`] will say so.
pub(crate) fn protect_early() {
    let enters = |arg| ["create", "exec", "run"].iter().any(|name| arg == *name);
    if std::env::args_os().skip(1).any(enters) && is_writable().unwrap_or(false) {
        let _ = execute_again();
    }
}

/// Returns once this program's file is out of reach of a container like this one. May start
/// the program again from the top.
pub(crate) fn protect(linux: &Linux) -> Result<()> {
    if !is_writable()? {
        return Ok(());
    }
    let stat = rustix::fs::stat(OWN).context(OWN)?;
    if !may_write(&new_uid_map(linux), stat.st_uid, stat.st_mode) {
        return Ok(());
    }
    execute_again()
}

/// Whether our own mount is.
fn is_writable() -> Result<bool> {
    let mount = rustix::fs::statvfs(OWN).context(OWN)?;
    Ok(!mount.f_flag.contains(StatVfsMountFlags::RDONLY))
}

/// Returns only if that failed.
fn execute_again() -> Result<()> {
    let clone = clone_tree(CWD, std::fs::read_link(OWN)?, false).context("clone own mount")?;
    let attributes = Attributes {
        set: u64::from(MountAttrFlags::MOUNT_ATTR_RDONLY.bits()),
        ..Attributes::default()
    };
    set_attributes(&clone, c"", false, attributes).context("make own mount read-only")?;
    let strings = |list: Vec<Vec<u8>>| -> Result<Vec<CString>> {
        list.into_iter()
            .map(|bytes| Ok(CString::new(bytes)?))
            .collect()
    };
    let args = strings(std::env::args_os().map(OsStringExt::into_vec).collect())?;
    let env = std::env::vars_os()
        .map(|(name, value)| [name.into_vec(), b"=".to_vec(), value.into_vec()].concat());
    let env = strings(env.collect())?;
    bail!(
        "execute this program again from a read-only mount: {}",
        Program::new(args, env).exec_fd(&clone)
    )
}

/// The mappings of the container's new user namespace. One that it joins has others, whatever
/// the configuration says of them.
fn new_uid_map(linux: &Linux) -> Vec<IdRange> {
    let new = linux.namespaces().iter().flatten().any(|namespace| {
        namespace.typ() == LinuxNamespaceType::User
            && namespace
                .path()
                .as_ref()
                .is_none_or(|path| path.as_os_str().is_empty())
    });
    if new {
        ranges(linux.uid_mappings().as_ref())
    } else {
        Vec::new()
    }
}

/// Whether somebody with these mappings (none: unknown ones) may open a file for writing. The
/// owner may, and whoever has privilege over the owner; others only if its mode lets them,
/// which shows too when an access list does.
fn may_write(uid_map: &[IdRange], owner: u32, mode: u32) -> bool {
    let reaches = |range: &IdRange| {
        owner
            .checked_sub(range.outside)
            .is_some_and(|offset| offset < range.count)
    };
    uid_map.is_empty() || uid_map.iter().any(reaches) || mode & 0o022 != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_write() {
        let mapped = [IdRange {
            inside: 0,
            outside: 100_000,
            count: 10,
        }];
        for (map, owner, mode, expected) in [
            (&mapped[..], 0, 0o755, false),
            (&mapped[..], 100_009, 0o755, true),
            (&mapped[..], 100_010, 0o755, false),
            (&mapped[..], 0, 0o775, true),
            (&mapped[..], 0, 0o757, true),
            (&[], 0, 0o755, true),
        ] {
            assert_eq!(may_write(map, owner, mode), expected, "{owner} {mode:o}");
        }
    }

    #[test]
    fn mappings_of_a_joined_namespace_are_not_believed() {
        let linux = |user: &str| -> Linux {
            let ids = r#"[{"containerID":0,"hostID":9,"size":1}]"#;
            let text = format!(r#"{{"namespaces":[{user}],"uidMappings":{ids}}}"#);
            serde_json::from_str(&text).unwrap()
        };
        assert_eq!(new_uid_map(&linux(r#"{"type":"user"}"#)).len(), 1);
        let joined = r#"{"type":"user","path":"/proc/1/ns/user"}"#;
        assert!(new_uid_map(&linux(joined)).is_empty());
        assert!(new_uid_map(&linux("")).is_empty());
    }
}
