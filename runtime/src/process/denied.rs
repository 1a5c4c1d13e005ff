//! Why a program that exists may not be executed: which directory, mode or mount it is.
//!
//! execve says EACCES for all of them. So each is asked for in turn, as the process's user, in
//! its root: what the kernel answers there counts, capabilities and access lists included.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, Mode, OFlags, Stat, StatVfsMountFlags};
use rustix::io::Errno;

/// How many links and interpreters are followed: the kernel gives up earlier.
const DEPTH_MAX: usize = 8;
/// How much of a script's first line the kernel reads.
const LINE_MAX: usize = 256;

/// In words, after "permission denied: ".
pub(super) fn why(path: &Path) -> String {
    let found = find(path, DEPTH_MAX);
    found.unwrap_or_else(|| {
        "its file, the directories on the way and the mount allow it; a security module or the \
         file's dynamic loader may not"
            .to_owned()
    })
}

/// Why a directory cannot be entered, as far as its mode or one above it says.
pub(super) fn why_not_entered(directory: &Path) -> Option<String> {
    find(&directory.join("anything"), DEPTH_MAX)
}

fn find(path: &Path, depth: usize) -> Option<String> {
    let depth = depth.checked_sub(1)?;
    let mut above: Vec<&Path> = path.ancestors().skip(1).collect();
    above.reverse();
    for directory in above {
        let directory = match directory.as_os_str().is_empty() {
            true => Path::new("."),
            false => directory,
        };
        if is_denied(directory) {
            return Some(match rustix::fs::stat(directory) {
                Ok(stat) => format!(
                    "the directory {} cannot be searched by {} ({})",
                    directory.display(),
                    whoever(),
                    owner(&stat)
                ),
                Err(_) => format!("{} cannot be searched", directory.display()),
            });
        }
    }
    if let Ok(target) = rustix::fs::readlink(path, Vec::new()) {
        let target = Path::new(std::ffi::OsStr::from_bytes(target.to_bytes()));
        let beside = path.parent().unwrap_or(Path::new("")).join(target);
        let found = find(&beside, depth)?;
        return Some(format!("it is a link to {}; {found}", target.display()));
    }
    if rustix::fs::statvfs(path).is_ok_and(|fs| fs.f_flag.contains(StatVfsMountFlags::NOEXEC)) {
        return Some("the file system that it is on is mounted noexec".to_owned());
    }
    if is_denied(path) {
        let stat = rustix::fs::stat(path).ok()?;
        return Some(match stat.st_mode & 0o111 {
            0 => format!("it has no execute bit ({})", owner(&stat)),
            _ => format!("{} may not execute it ({})", whoever(), owner(&stat)),
        });
    }
    let interpreter = interpreter(path)?;
    let found = find(&interpreter, depth)?;
    Some(format!(
        "its interpreter {}: {found}",
        interpreter.display()
    ))
}

/// Whether the process's user may not execute a file, or search a directory.
fn is_denied(path: &Path) -> bool {
    rustix::fs::accessat(CWD, path, Access::EXEC_OK, AtFlags::EACCESS) == Err(Errno::ACCESS)
}

fn whoever() -> String {
    let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
    format!("user {}:{}", uid.as_raw(), gid.as_raw())
}

fn owner(stat: &Stat) -> String {
    let (mode, uid, gid) = (stat.st_mode & 0o7777, stat.st_uid, stat.st_gid);
    format!("mode {mode:04o}, owner {uid}:{gid}")
}

/// What a script's first line names.
fn interpreter(path: &Path) -> Option<PathBuf> {
    // Not one that makes us wait: by now it may be anything.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = rustix::fs::open(path, flags, Mode::empty()).ok()?;
    let mut start = [0_u8; LINE_MAX];
    let length = rustix::io::read(&file, &mut start).ok()?;
    named_by(start.get(..length)?)
}

fn named_by(start: &[u8]) -> Option<PathBuf> {
    let line = start
        .strip_prefix(b"#!")?
        .split(|byte| *byte == b'\n')
        .next()?;
    let mut words = line.split(|byte| matches!(byte, b' ' | b'\t'));
    let word = words.find(|word| !word.is_empty())?;
    Some(PathBuf::from(std::ffi::OsStr::from_bytes(word)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn first_lines() {
        for (start, expected) in [
            (&b"#!/bin/sh\necho"[..], Some("/bin/sh")),
            (b"#! \t/bin/env sh", Some("/bin/env")),
            (b"#!", None),
            (b"#!\n/bin/sh", None),
            (b"\x7fELF", None),
            (b"", None),
        ] {
            let found = named_by(start);
            assert_eq!(found.as_deref(), expected.map(Path::new), "{start:?}");
        }
    }

    #[test]
    fn what_even_root_may_not() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let file = |name: &str, text: &str, mode: u32| {
            std::fs::write(at(name), text).unwrap();
            std::fs::set_permissions(at(name), PermissionsExt::from_mode(mode)).unwrap();
        };
        file("plain", "", 0o640);
        let script = format!("#!{}\n", at("plain").display());
        file("script", &script, 0o755);
        symlink("plain", at("link")).unwrap();
        symlink("loop", at("loop")).unwrap();
        for (name, expected) in [
            ("plain", "it has no execute bit (mode 0640, owner "),
            ("script", "plain: it has no execute bit (mode 0640"),
            ("link", "it is a link to plain; it has no execute bit"),
            ("loop", "a security module"),
        ] {
            let said = why(&at(name));
            assert!(said.contains(expected), "{name}: {said}");
        }
    }
}
