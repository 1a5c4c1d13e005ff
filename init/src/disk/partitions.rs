//! The partitions that the kernel has found, by name, from sysfs.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The most block devices that are looked at.
const MAX_DEVICES: usize = 4096;

/// One named partition.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Partition {
    /// The whole disk's kernel name, `vda`.
    pub(crate) disk: String,
    /// Its name in the partition table, `root-a`.
    pub(crate) name: String,
    /// Its number in the partition table.
    pub(crate) number: u32,
    /// Its kernel name, `vda2`.
    pub(crate) device: String,
    /// `MAJOR:MINOR`.
    pub(crate) numbers: String,
}

impl Partition {
    pub(crate) fn path(&self) -> PathBuf {
        Path::new("/dev").join(&self.device)
    }

    pub(crate) fn disk_path(&self) -> PathBuf {
        Path::new("/dev").join(&self.disk)
    }
}

/// Every named partition below `class` (`/sys/class/block`), sorted.
pub(crate) fn list(class: &Path) -> io::Result<Vec<Partition>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(class)?.take(MAX_DEVICES) {
        let path = entry?.path();
        // A device may go away at any moment; what cannot be read is not there.
        let Ok(uevent) = fs::read_to_string(path.join("uevent")) else {
            continue;
        };
        let Ok(real) = fs::canonicalize(&path) else {
            continue;
        };
        let disk = real
            .parent()
            .and_then(Path::file_name)
            .and_then(|n| n.to_str());
        if let Some(partition) = disk.and_then(|disk| parse(disk, &uevent)) {
            found.push(partition);
        }
    }
    found.sort();
    Ok(found)
}

fn parse(disk: &str, uevent: &str) -> Option<Partition> {
    let value = |key: &str| {
        uevent
            .lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
    };
    if value("DEVTYPE") != Some("partition") {
        return None;
    }
    Some(Partition {
        disk: disk.to_owned(),
        name: value("PARTNAME")?.to_owned(),
        number: value("PARTN")?.parse().ok()?,
        device: value("DEVNAME")
            .filter(|d| !d.contains("..") && !d.starts_with('/'))?
            .to_owned(),
        numbers: format!("{}:{}", value("MAJOR")?, value("MINOR")?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const UEVENT: &str = "MAJOR=254\nMINOR=2\nDEVNAME=vda2\nDEVTYPE=partition\nDISKSEQ=9\nPARTN=2\nPARTNAME=root-a\n";

    #[test]
    fn sysfs_is_read_by_name_and_disk() {
        let dir = tempfile::tempdir().unwrap();
        let device = dir.path().join("devices/vda/vda2");
        fs::create_dir_all(&device).unwrap();
        fs::write(device.join("uevent"), UEVENT).unwrap();
        let class = dir.path().join("class");
        fs::create_dir(&class).unwrap();
        std::os::unix::fs::symlink(&device, class.join("vda2")).unwrap();
        std::os::unix::fs::symlink("/nonexistent", class.join("gone")).unwrap();
        let found = list(&class).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].disk, "vda");
        assert_eq!((found[0].number, found[0].numbers.as_str()), (2, "254:2"));
        assert_eq!(found[0].path(), Path::new("/dev/vda2"));
    }

    #[test]
    fn disks_and_nameless_partitions_are_left_out() {
        let table = [
            UEVENT.replace("DEVTYPE=partition", "DEVTYPE=disk"),
            UEVENT.replace("PARTNAME=root-a\n", ""),
            UEVENT.replace("PARTN=2", "PARTN=two"),
            UEVENT.replace("DEVNAME=vda2", "DEVNAME=../../etc/passwd"),
            String::new(),
        ];
        for uevent in table {
            assert_eq!(parse("vda", &uevent), None, "{uevent}");
        }
    }
}
