//! Keeps containers from writing to this program's own file (CVE-2019-5736).
//!
//! A container's process runs this file until execve, and may be made to run it again
//! (through /proc/self/exe), so /proc/PID/exe offers it to be opened for writing. That fails
//! by itself when the file is on a read-only mount (on an Orlop host it is on the verified
//! root), and when the container has a new user namespace in which the file's owner is not
//! mapped, and nobody but the owner may write. Only otherwise do we execute ourselves again,
//! from a detached read-only clone of our own mount, which nothing can make writable: it is in
//! no mount namespace. Who may not clone it, as any user who is not root, executes a copy of the
//! file in memory, sealed against every change.
//!
//! To start twice is a good part of what a container's start takes, so it is done first of all
//! where it most likely will have to be done: before the command line and the configuration
//! are read. Whether it has to be is decided when they are.

use std::ffi::CString;
use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;

use anyhow::{Context, Result, bail};
use oci_spec::runtime::{Linux, LinuxNamespaceType};
use orlop_sys::exec::Program;
use orlop_sys::idmap::IdRange;
use orlop_sys::mount::{Attributes, clone_tree, set_attributes};
use rustix::fs::{
    CWD, MemfdFlags, SealFlags, StatVfsMountFlags, fcntl_add_seals, fcntl_get_seals, memfd_create,
};
use rustix::io::Errno;
use rustix::mount::MountAttrFlags;

use crate::namespaces::{has_new, ranges};
use crate::standing::Standing;

const OWN: &str = "/proc/self/exe";

/// Nothing of it changes, and neither does this.
const SEALS: SealFlags = SealFlags::WRITE
    .union(SealFlags::GROW)
    .union(SealFlags::SHRINK)
    .union(SealFlags::SEAL);

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
pub(crate) fn protect(linux: &Linux, standing: Standing) -> Result<()> {
    if !is_writable()? {
        return Ok(());
    }
    let stat = rustix::fs::stat(OWN).context(OWN)?;
    if !may_write(&new_uid_map(linux), stat.st_uid, stat.st_mode) {
        return Ok(());
    }
    if standing.clones_mounts() {
        return execute_again();
    }
    execute(&sealed_copy()?)
}

/// Whether our own mount is.
fn is_writable() -> Result<bool> {
    let mount = rustix::fs::statvfs(OWN).context(OWN)?;
    Ok(!mount.f_flag.contains(StatVfsMountFlags::RDONLY) && !is_sealed()?)
}

/// Whether our file is a copy that `sealed_copy` made.
fn is_sealed() -> Result<bool> {
    // Only what lies on no path can be one; files that do are not opened for nothing.
    if rustix::fs::stat(OWN).context(OWN)?.st_nlink != 0 {
        return Ok(false);
    }
    let file = File::open(OWN).context(OWN)?;
    // No file but one in memory has seals at all.
    Ok(fcntl_get_seals(&file).is_ok_and(|seals| seals.contains(SEALS)))
}

/// Who cannot clone a mount makes a copy in memory that nobody can change any more.
fn sealed_copy() -> Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let made = memfd_create(c"orlop-runtime", flags | MemfdFlags::EXEC);
    // Linux before 6.3 does not know the flag, and lets all of them be executed.
    let made = match made {
        Err(Errno::INVAL) => memfd_create(c"orlop-runtime", flags),
        other => other,
    };
    let mut copy = File::from(made.context("a copy of this program in memory")?);
    let mut own = File::open(OWN).context(OWN)?;
    std::io::copy(&mut own, &mut copy).context("copy this program into memory")?;
    fcntl_add_seals(&copy, SEALS).context("seal the copy of this program")?;
    // What is open for writing is not executed.
    let path = format!("/proc/self/fd/{}", copy.as_raw_fd());
    Ok(File::open(path)
        .context("open the copy of this program")?
        .into())
}

/// Returns only if that failed.
fn execute_again() -> Result<()> {
    let clone = clone_tree(CWD, std::fs::read_link(OWN)?, false).context("clone own mount")?;
    let attributes = Attributes {
        set: u64::from(MountAttrFlags::MOUNT_ATTR_RDONLY.bits()),
        ..Attributes::default()
    };
    set_attributes(&clone, c"", false, attributes).context("make own mount read-only")?;
    execute(&clone)
}

/// Returns only if that failed.
fn execute(file: &OwnedFd) -> Result<()> {
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
        "execute this program again from where nobody can write to it: {}",
        Program::new(args, env).exec_fd(file)
    )
}

/// The mappings of the container's new user namespace. One that it joins has others, whatever
/// the configuration says of them.
fn new_uid_map(linux: &Linux) -> Vec<IdRange> {
    if has_new(linux, LinuxNamespaceType::User) {
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
