//! Keeps containers from writing to this program's own file (CVE-2019-5736).
//!
//! A container's process runs this file until execve, and may be made to run it again
//! (through /proc/self/exe), so /proc/PID/exe offers it to be opened for writing. That fails
//! by itself when the file is on a read-only mount (on an Orlop host it is on the verified
//! root), and when the container has a user namespace in which the file's owner is not
//! mapped. Only otherwise do we execute ourselves again, from a detached read-only clone of
//! our own mount, which nothing can make writable: it is in no mount namespace.
//!
//! To start twice is a good part of what a container's start takes, so it is done first of all
//! where it most likely will have to be done: before the command line and the configuration
//! are read. Whether it has to be is decided when they are.

use std::ffi::CString;
use std::os::unix::ffi::OsStringExt;

use anyhow::{Context, Result, bail};
use orlop_sys::exec::Program;
use orlop_sys::idmap::IdRange;
use orlop_sys::mount::{Attributes, clone_tree, set_attributes};
use rustix::fs::{CWD, StatVfsMountFlags};
use rustix::mount::MountAttrFlags;

const OWN: &str = "/proc/self/exe";

/// Executes the program again already now, if these are the arguments of a command that makes
/// a process in a container, and if that is possible. Where it is not, [`protect`] will say so.
pub(crate) fn protect_early() {
    let enters = |arg| ["create", "exec", "run"].iter().any(|name| arg == *name);
    if std::env::args_os().skip(1).any(enters) && is_writable().unwrap_or(false) {
        let _ = execute_again();
    }
}

/// Returns once this program's file is out of reach of a container with these uid mappings
/// (none: no user namespace of its own). May start the program again from the top.
pub(crate) fn protect(uid_map: &[IdRange]) -> Result<()> {
    if !is_writable()? {
        return Ok(());
    }
    let owner = rustix::fs::stat(OWN).context(OWN)?.st_uid;
    let reaches = |range: &IdRange| {
        owner
            .checked_sub(range.outside)
            .is_some_and(|o| o < range.count)
    };
    if !uid_map.is_empty() && !uid_map.iter().any(reaches) {
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
