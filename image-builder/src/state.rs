//! The state partition: an empty ext4, made by `mke2fs` on a plain file.
//!
//! What cannot be changed while it is mounted is decided here: block size,
//! journal, inode ratio, the quota, project and verity features, and
//! descriptors for 16 TiB. Growing it is PID 1's work at first boot.

use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::identity::Identity;
use crate::tool::tool;

/// Every feature by name: the machine's `/etc/mke2fs.conf` must not matter.
/// Without `64bit`: block groups' descriptors are then half the size, and
/// enough of them for 16 TiB can be reserved.
const FEATURES: &str = "none,has_journal,ext_attr,resize_inode,dir_index,filetype,extent,flex_bg,\
     sparse_super,large_file,huge_file,dir_nlink,extra_isize,metadata_csum,quota,project,verity";

/// Makes the file system in `file`, which is `size` bytes of zeros afterwards
/// but for it.
///
/// # Errors
/// No `mke2fs`, or its own complaint.
pub(crate) fn format(file: &Path, size: u64, identity: &Identity<'_>, time: u64) -> Result<()> {
    std::fs::File::create(file)
        .and_then(|created| created.set_len(size))
        .with_context(|| format!("making {}", file.display()))?;
    // The last block of 16 TiB in blocks of 4 KiB.
    let extended = format!(
        "quotatype=prjquota,resize={},assume_storage_prezeroed=1,hash_seed={},root_owner=0:0",
        u32::MAX,
        identity.uuid("state hash seed"),
    );
    let output = tool("mke2fs")
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
        .env("E2FSPROGS_FAKE_TIME", time.to_string())
        .env("MKE2FS_CONFIG", "/dev/null")
        .output()
        .context("running mke2fs (Debian package e2fsprogs)")?;
    if !output.status.success() {
        bail!("mke2fs: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use orlop_unit::Disk;

    #[test]
    fn e2fsck_finds_it_clean_and_two_are_equal() {
        let dir = tempfile::tempdir().unwrap();
        let identity = Identity {
            name: "demo",
            version: "1",
        };
        let make = |name: &str| {
            let path = dir.path().join(name);
            format(&path, Disk::STATE_MIN.get(), &identity, 1_735_689_600).unwrap();
            path
        };
        let one = make("one");
        std::thread::sleep(std::time::Duration::from_millis(1100));
        let two = make("two");
        assert!(std::fs::read(&one).unwrap() == std::fs::read(two).unwrap());
        let mut check = tool("e2fsck");
        let output = check.args(["-f", "-n"]).arg(&one).output().unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stdout)
        );
        let dump = tool("dumpe2fs").arg("-h").arg(&one).output();
        let text = String::from_utf8_lossy(&dump.unwrap().stdout).into_owned();
        for wanted in [
            "quota",
            "project",
            "verity",
            "Reserved GDT blocks:      1023",
        ] {
            assert!(text.contains(wanted), "{wanted}: {text}");
        }
    }
}
