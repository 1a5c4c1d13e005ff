//! landlock(7): a thread gives up rights, for itself and all that it becomes, for good.
//!
//! Rights are bits of the kernel's `LANDLOCK_ACCESS_FS_*`, `LANDLOCK_ACCESS_NET_*` and
//! `LANDLOCK_SCOPE_*`. Those that the running kernel does not know are EINVAL everywhere here.

#![allow(unsafe_code)]

use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::ptr;

use rustix::io::Result;

use crate::syscall::check;

/// `LANDLOCK_CREATE_RULESET_VERSION` of linux/landlock.h.
const VERSION: u32 = 1;
/// `LANDLOCK_RULE_PATH_BENEATH`.
const PATH_BENEATH: u32 = 1;
/// `LANDLOCK_RULE_NET_PORT`.
const NET_PORT: u32 = 2;

/// `struct landlock_ruleset_attr`: what is denied wherever no rule allows it. An older kernel
/// has fewer fields, and takes further ones as long as they are 0.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Handled {
    /// Of files (ABI 1).
    pub files: u64,
    /// Of ports (ABI 4).
    pub ports: u64,
    /// What does not reach whoever is outside (ABI 6); no rule allows it again.
    pub scopes: u64,
}

/// `struct landlock_path_beneath_attr`.
#[repr(C, packed)]
struct PathBeneath {
    allowed: u64,
    parent: i32,
}

/// `struct landlock_net_port_attr`.
#[repr(C)]
struct NetPort {
    allowed: u64,
    port: u64,
}

/// The version of the kernel's Landlock, 1 or more.
///
/// # Errors
/// ENOSYS where the kernel was built without it, EOPNOTSUPP where it was not enabled at boot.
pub fn abi() -> Result<u32> {
    let none: *const Handled = ptr::null();
    // SAFETY: with this flag and no size nothing is read, and a number is returned.
    let ret = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, none, 0_usize, VERSION) };
    check(ret).map(|abi| abi as u32)
}

/// What is denied, and where it is allowed. Nothing is in force before `restrict_self`.
#[derive(Debug)]
pub struct Ruleset(OwnedFd);

impl Ruleset {
    /// A ruleset without a rule.
    ///
    /// # Errors
    /// ENOMSG when nothing is handled; else as [`abi`].
    pub fn new(handled: Handled) -> Result<Ruleset> {
        // SAFETY: the kernel only reads `handled`, which lives across the call and has the size
        // that is given.
        let ret = unsafe {
            libc::syscall(
                libc::SYS_landlock_create_ruleset,
                &raw const handled,
                size_of::<Handled>(),
                0_u32,
            )
        };
        let fd = check(ret)?;
        // SAFETY: the kernel has just made this descriptor for us, and nobody else owns it. It is
        // close-on-exec.
        Ok(Ruleset(unsafe { OwnedFd::from_raw_fd(fd as i32) }))
    }

    /// Allows rights at a file, or at a directory and all beneath it. Of a file that is no
    /// directory, only the rights of files.
    ///
    /// # Errors
    /// EINVAL for rights that are not handled, or of another kind of file; ENOMSG for none;
    /// EBADFD for a file of the kernel's own that is mounted nowhere, as pipes, sockets and memfds
    /// are. Nothing has to be allowed there: Landlock denies nothing of such files.
    pub fn allow_beneath(&self, at: impl AsFd, allowed: u64) -> Result<()> {
        let parent = at.as_fd();
        let rule = PathBeneath {
            allowed,
            parent: parent.as_raw_fd(),
        };
        self.add(PATH_BENEATH, &rule)
    }

    /// Allows rights at a port.
    ///
    /// # Errors
    /// EINVAL for rights that are not handled; ENOMSG for none; EAFNOSUPPORT without TCP.
    pub fn allow_port(&self, port: u16, allowed: u64) -> Result<()> {
        let rule = NetPort {
            allowed,
            port: port.into(),
        };
        self.add(NET_PORT, &rule)
    }

    /// `R` is what rules of this kind are.
    fn add<R>(&self, kind: u32, rule: &R) -> Result<()> {
        // SAFETY: the kernel only reads the rule, which lives across the call, and whose type
        // both callers choose to be the one that `kind` has.
        let ret = unsafe {
            libc::syscall(
                libc::SYS_landlock_add_rule,
                self.0.as_raw_fd(),
                kind,
                ptr::from_ref(rule),
                0_u32,
            )
        };
        check(ret).map(drop)
    }

    /// Puts it in force for this thread, beside what is already.
    ///
    /// # Errors
    /// EPERM with neither CAP_SYS_ADMIN nor no-new-privileges; E2BIG when 16 are in force.
    pub fn restrict_self(self) -> Result<()> {
        // SAFETY: takes a descriptor and flags, and touches no memory.
        let ret =
            unsafe { libc::syscall(libc::SYS_landlock_restrict_self, self.0.as_raw_fd(), 0_u32) };
        check(ret).map(drop)
    }
}

// As the kernel's headers have them.
const _: () = assert!(size_of::<Handled>() == 24);
const _: () = assert!(size_of::<PathBeneath>() == 12);
const _: () = assert!(size_of::<NetPort>() == 16);

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::io::Errno;

    /// `LANDLOCK_ACCESS_FS_READ_FILE`, of the first version.
    const READ_FILE: u64 = 1 << 2;

    /// Or a line that says why not, which the whole run of the tests forbids.
    fn is_there() -> bool {
        let there = abi().is_ok();
        if !there {
            let why = "this kernel has no Landlock";
            assert!(std::env::var_os("ORLOP_TESTS_COMPLETE").is_none(), "{why}");
            eprintln!("skipped: {why}");
        }
        there
    }

    #[test]
    fn what_is_read_where() {
        if !is_there() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let (open, shut) = (dir.path().join("open"), dir.path().join("shut"));
        for path in [&open, &shut] {
            std::fs::write(path, "x").unwrap();
        }
        let handled = Handled {
            files: READ_FILE,
            ..Handled::default()
        };
        // In force for the thread that asks, and no other.
        let thread = std::thread::spawn(move || {
            let ruleset = Ruleset::new(handled).unwrap();
            let file = std::fs::File::open(&open).unwrap();
            ruleset.allow_beneath(&file, READ_FILE).unwrap();
            assert_eq!(ruleset.allow_beneath(&file, 1 << 1), Err(Errno::INVAL));
            rustix::thread::set_no_new_privs(true).unwrap();
            ruleset.restrict_self().unwrap();
            let denied = std::fs::read(&shut).unwrap_err();
            assert_eq!(denied.kind(), std::io::ErrorKind::PermissionDenied);
            std::fs::read(&open).unwrap()
        });
        assert_eq!(thread.join().unwrap(), b"x");
    }

    /// What is opened again by /proc/self/fd.
    #[test]
    fn nothing_of_a_pipe_or_a_memfd_is_denied() {
        if !is_there() {
            return;
        }
        let (pipe, _other) = rustix::pipe::pipe().unwrap();
        let (socket, _peer) = std::os::unix::net::UnixStream::pair().unwrap();
        let memory = rustix::fs::memfd_create("x", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        let handled = Handled {
            files: READ_FILE,
            ..Handled::default()
        };
        let thread = std::thread::spawn(move || {
            let ruleset = Ruleset::new(handled).unwrap();
            for fd in [pipe.as_fd(), socket.as_fd(), memory.as_fd()] {
                assert_eq!(ruleset.allow_beneath(fd, READ_FILE), Err(Errno::BADFD));
            }
            rustix::thread::set_no_new_privs(true).unwrap();
            ruleset.restrict_self().unwrap();
            for fd in [pipe.as_raw_fd(), memory.as_raw_fd()] {
                std::fs::File::open(format!("/proc/self/fd/{fd}")).unwrap();
            }
            std::fs::read("/proc/self/stat").unwrap_err()
        });
        let denied = thread.join().unwrap();
        assert_eq!(denied.kind(), std::io::ErrorKind::PermissionDenied);
    }

    #[test]
    fn nothing_is_no_ruleset() {
        if is_there() {
            assert_eq!(Ruleset::new(Handled::default()).unwrap_err(), Errno::NOMSG);
        }
    }
}
