//! The state partition: an ext4, made by `mke2fs` on a plain file; empty but
//! for what is [`Given`].
//!
//! What cannot be changed while it is mounted is decided here: block size,
//! journal, inode ratio, the quota, project and verity features, and
//! descriptors for 16 TiB. Growing it is PID 1's work at first boot.

mod given;

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::identity::Identity;
use crate::tool::tool;

pub(crate) use given::Given;

/// Every feature by name: the machine's `/etc/mke2fs.conf` must not matter.
/// Without `64bit`: block groups' descriptors are then half the size, and
/// enough of them for 16 TiB can be reserved.
const FEATURES: &str = "none,has_journal,ext_attr,resize_inode,dir_index,filetype,extent,flex_bg,\
     sparse_super,large_file,huge_file,dir_nlink,extra_isize,metadata_csum,quota,project,verity";

/// Makes the file system in `file`, which is `size` bytes of zeros afterwards
/// but for it. With files that are `given` the directory of `file` holds them
/// for a moment.
///
/// # Errors
/// No `mke2fs`, `debugfs` or `e2fsck`, or their own complaints.
pub(crate) fn format(
    file: &Path,
    size: u64,
    identity: &Identity<'_>,
    time: u64,
    given: &[Given],
) -> Result<()> {
    std::fs::File::create(file)
        .and_then(|created| created.set_len(size))
        .with_context(|| format!("making {}", file.display()))?;
    // The last block of 16 TiB in blocks of 4 KiB.
    let extended = format!(
        "quotatype=prjquota,resize={},assume_storage_prezeroed=1,hash_seed={},root_owner=0:0",
        u32::MAX,
        identity.uuid("state hash seed"),
    );
    let mut mke2fs = command("mke2fs", time);
    let staged = match given {
        [] => None,
        files => Some(given::stage(files, file.parent().unwrap_or(file))?),
    };
    if let Some(tree) = &staged {
        mke2fs.arg("-d").arg(tree.path());
    }
    let output = mke2fs
        .args([
            "-q", "-F", "-t", "ext4", "-b", "4096", "-I", "256", "-i", "16384", "-G", "16",
        ])
        .args([
            "-J",
            "size=64",
            "-m",
            "1",
            "-e",
            "remount-ro",
            "-O",
            FEATURES,
            "-E",
            &extended,
        ])
        .args([
            "-U",
            &identity.uuid("state file system").to_string(),
            "-L",
            "orlop-state",
        ])
        .arg(file)
        .output()
        .context("running mke2fs (Debian package e2fsprogs)")?;
    if !output.status.success() {
        bail!("mke2fs: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    match staged {
        Some(_) => given::settle(given, file, time),
        None => Ok(()),
    }
}

/// One of e2fsprogs' programs, for which it is `time`.
fn command(name: &str, time: u64) -> Command {
    let mut command = tool(name);
    command
        .env("E2FSPROGS_FAKE_TIME", time.to_string())
        .env("E2FSCK_TIME", time.to_string())
        .env("MKE2FS_CONFIG", "/dev/null")
        .env("LC_ALL", "C");
    command
}

#[cfg(test)]
mod tests {
    use super::*;
    use orlop_unit::Disk;

    /// An image at a time of its own, and its path.
    fn make(dir: &Path, name: &str, given: &[Given]) -> std::path::PathBuf {
        let identity = Identity {
            name: "demo",
            version: "1",
        };
        let place = dir.join(name);
        std::fs::create_dir(&place).unwrap();
        let image = place.join("state");
        let size = Disk::STATE_MIN.get();
        format(&image, size, &identity, 1_735_689_600, given).unwrap();
        image
    }

    /// What one of e2fsprogs' programs prints; it must succeed.
    fn said_by(program: &str, arguments: &[&str], image: &Path) -> String {
        let output = tool(program).args(arguments).arg(image).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{program}: {text}");
        text
    }

    fn are_equal(one: &Path, two: &Path) -> bool {
        std::fs::read(one).unwrap() == std::fs::read(two).unwrap()
    }

    #[test]
    fn e2fsck_finds_it_clean_and_two_are_equal() {
        let dir = tempfile::tempdir().unwrap();
        let one = make(dir.path(), "one", &[]);
        std::thread::sleep(std::time::Duration::from_millis(1100));
        let two = make(dir.path(), "two", &[]);
        assert!(are_equal(&one, &two));
        said_by("e2fsck", &["-f", "-n"], &one);
        let text = said_by("dumpe2fs", &["-h"], &one);
        for wanted in [
            "quota",
            "project",
            "verity",
            "Reserved GDT blocks:      1023",
        ] {
            assert!(text.contains(wanted), "{wanted}: {text}");
        }
    }

    #[test]
    fn what_is_given_is_roots_alone_and_two_are_equal() {
        let dir = tempfile::tempdir().unwrap();
        let file = |path: &str, text: &str| Given {
            path: path.into(),
            bytes: text.into(),
        };
        let given = [
            file("var/lib/orlop/api/host.crt", "certificate"),
            file("var/lib/orlop/api/host.key", "key"),
        ];
        let one = make(dir.path(), "one", &given);
        std::thread::sleep(std::time::Duration::from_millis(1100));
        let two = make(dir.path(), "two", &given);
        assert!(are_equal(&one, &two));
        said_by("e2fsck", &["-f", "-n"], &one);
        let key = "/var/lib/orlop/api/host.key";
        let cat = said_by("debugfs", &["-R", &format!("cat {key}")], &one);
        assert_eq!(cat, "key");
        for (path, mode) in [(key, "0600"), ("/var/lib/orlop", "0755")] {
            let stat = said_by("debugfs", &["-R", &format!("stat {path}")], &one);
            assert!(stat.contains(&format!("Mode:  {mode}")), "{stat}");
            assert!(stat.contains("User:     0   Group:     0"), "{stat}");
        }
        // Nothing of the key is left beside it.
        let left = std::fs::read_dir(one.parent().unwrap()).unwrap();
        assert_eq!(left.count(), 1);
    }
}
