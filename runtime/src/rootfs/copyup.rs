//! `tmpcopyup`: a tmpfs that begins with what it covers.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use anyhow::{Context, Result, ensure};
use rustix::ffi::CStr;
use rustix::fs::{
    AtFlags, Dir, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid, chmodat, chownat,
    fchmod, fchown, futimens, mkdirat, mknodat, openat, readlinkat, statat, symlinkat,
};

/// How deep a tree may be; each level has two descriptors open.
const LEVELS: usize = 200;

/// Copies what is below `from` to the empty directory `to`, with owners, modes and times. Both
/// may be opened for their paths only. No link is followed.
pub(super) fn copy(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<()> {
    directory(from, to, LEVELS)
}

fn directory(from: BorrowedFd<'_>, to: BorrowedFd<'_>, levels: usize) -> Result<()> {
    ensure!(levels > 0, "deeper than {LEVELS} directories");
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let listed = openat(from, c".", flags, Mode::empty())?;
    let mut entries = Dir::new(listed)?;
    while let Some(entry) = entries.read() {
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        one(from, to, name, levels).with_context(|| name.to_string_lossy().into_owned())?;
    }
    Ok(())
}

fn one(from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &CStr, levels: usize) -> Result<()> {
    let stat = statat(from, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
    let nofollow = OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => {
            mkdirat(to, name, Mode::RWXU)?;
            let path = nofollow | OFlags::DIRECTORY | OFlags::PATH;
            let below = openat(from, name, path, Mode::empty())?;
            let flags = nofollow | OFlags::DIRECTORY | OFlags::RDONLY;
            let copy = openat(to, name, flags, Mode::empty())?;
            directory(below.as_fd(), copy.as_fd(), levels - 1)?;
            finish(&copy, &stat, mode)
        }
        FileType::RegularFile => {
            let source = openat(from, name, nofollow | OFlags::RDONLY, Mode::empty())?;
            let flags = nofollow | OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
            let copy = openat(to, name, flags, Mode::RUSR | Mode::WUSR)?;
            let mut copy = std::fs::File::from(copy);
            std::io::copy(&mut std::fs::File::from(source), &mut copy)?;
            finish(&OwnedFd::from(copy), &stat, mode)
        }
        FileType::Symlink => {
            symlinkat(readlinkat(from, name, Vec::new())?, to, name)?;
            own(to, name, &stat)
        }
        kind @ (FileType::Fifo
        | FileType::Socket
        | FileType::CharacterDevice
        | FileType::BlockDevice
        | FileType::Unknown) => {
            mknodat(to, name, kind, Mode::RUSR | Mode::WUSR, stat.st_rdev)?;
            own(to, name, &stat)?;
            Ok(chmodat(to, name, mode, AtFlags::empty())?)
        }
    }
}

fn own(to: BorrowedFd<'_>, name: &CStr, stat: &Stat) -> Result<()> {
    let (uid, gid) = ids(stat);
    Ok(chownat(
        to,
        name,
        Some(uid),
        Some(gid),
        AtFlags::SYMLINK_NOFOLLOW,
    )?)
}

/// The owner first: giving a file away takes set-uid bits from it.
fn finish(copy: &OwnedFd, stat: &Stat, mode: Mode) -> Result<()> {
    let (uid, gid) = ids(stat);
    fchown(copy, Some(uid), Some(gid))?;
    fchmod(copy, mode)?;
    let time = |seconds, nanoseconds| Timespec {
        tv_sec: seconds,
        tv_nsec: nanoseconds as _,
    };
    let times = Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
    };
    Ok(futimens(copy, &times)?)
}

fn ids(stat: &Stat) -> (Uid, Gid) {
    (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    #[test]
    fn a_tree_with_all_that_is_in_it() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let path = |name: &str| from.path().join(name);
        std::fs::create_dir_all(path("a/b")).unwrap();
        std::fs::write(path("a/file"), "content").unwrap();
        let mode = |name: &str, bits| {
            std::fs::set_permissions(path(name), PermissionsExt::from_mode(bits)).unwrap();
        };
        mode("a/file", 0o4751);
        mode("a/b", 0o1703);
        symlink("/etc/passwd", path("link")).unwrap();
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        let open = |dir: &tempfile::TempDir| rustix::fs::open(dir.path(), flags, Mode::empty());
        let (source, target) = (open(&from).unwrap(), open(&to).unwrap());
        mknodat(&source, "fifo", FileType::Fifo, Mode::RUSR, 0).unwrap();
        let old = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(77);
        std::fs::File::open(path("a/file"))
            .unwrap()
            .set_modified(old)
            .unwrap();

        copy(source.as_fd(), target.as_fd()).unwrap();
        for name in ["a", "a/b", "a/file", "link", "fifo"] {
            let seen = |dir: &tempfile::TempDir| {
                let meta = std::fs::symlink_metadata(dir.path().join(name)).unwrap();
                (meta.mode(), meta.uid(), meta.gid(), meta.len())
            };
            let directory = path(name).is_dir();
            let (before, after) = (seen(&from), seen(&to));
            assert_eq!(
                (before.0, before.1, before.2),
                (after.0, after.1, after.2),
                "{name}"
            );
            assert!(directory || before.3 == after.3, "{name}");
        }
        let copied = to.path().join("a/file");
        assert_eq!(std::fs::read(&copied).unwrap(), b"content");
        assert_eq!(std::fs::metadata(&copied).unwrap().mtime(), 77);
        let link = std::fs::read_link(to.path().join("link")).unwrap();
        assert_eq!(link.to_str(), Some("/etc/passwd"));
    }

    #[test]
    fn no_tree_is_too_deep_to_say_so() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let deep = vec!["d"; LEVELS + 1].join("/");
        std::fs::create_dir_all(from.path().join(deep)).unwrap();
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        let open = |dir: &tempfile::TempDir| rustix::fs::open(dir.path(), flags, Mode::empty());
        let (from, to) = (open(&from).unwrap(), open(&to).unwrap());
        let error = format!("{:#}", copy(from.as_fd(), to.as_fd()).unwrap_err());
        assert!(error.contains("deeper than 200"), "{error}");
    }
}
