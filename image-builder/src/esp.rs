//! The EFI system partition: a FAT32 volume with the files that it boots from.
//!
//! It must not know what the files are. Times are fixed: FAT has no other
//! source of difference between two builds.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use hadris_fat::format::{FatFormatOptions, FatTypeSelection, FatVolumeFormatter};
use hadris_fat::time::{FatDateTime, StaticTimeProvider};
use hadris_fat::{FatVolume, FatVolumeWriteExt};
use thiserror::Error;

use crate::gpt::Extent;

/// 2025-01-01 00:00:00, for every entry: FAT keeps local time, so a time that
/// means something cannot be given anyway.
static CLOCK: StaticTimeProvider = StaticTimeProvider(FatDateTime {
    date: (45 << 9) | (1 << 5) | 1,
    time: 0,
    time_tenth: 0,
});

/// Smallest volume that is FAT32 by the count of its clusters, with room to spare.
pub const SIZE_MIN: u64 = 64 << 20;

/// Why the volume could not be made.
#[derive(Debug, Error)]
pub enum EspError {
    /// The FAT crate's refusal.
    #[error("EFI system partition: {0}")]
    Fat(String),
    /// Reading or writing the disk image.
    #[error("EFI system partition: {0}")]
    Io(#[from] io::Error),
}

/// A range of a file, as a file of its own.
#[derive(Debug, Clone)]
pub struct Window {
    file: Arc<File>,
    extent: Extent,
    at: u64,
}

impl Window {
    /// The bytes of `extent` in `file`.
    pub fn new(file: Arc<File>, extent: Extent) -> Window {
        Window {
            file,
            extent,
            at: 0,
        }
    }

    fn room(&self, wanted: usize) -> usize {
        wanted.min(usize::try_from(self.extent.len.saturating_sub(self.at)).unwrap_or(usize::MAX))
    }
}

impl Read for Window {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let room = self.room(buffer.len());
        let got = self
            .file
            .read_at(&mut buffer[..room], self.extent.start + self.at)?;
        self.at += got as u64;
        Ok(got)
    }
}

impl Write for Window {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let room = self.room(buffer.len());
        let got = self
            .file
            .write_at(&buffer[..room], self.extent.start + self.at)?;
        self.at += got as u64;
        Ok(got)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for Window {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let target = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.extent.len.checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = target.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}

/// Formats the range and writes `files` (paths with `/`) into it. The range
/// must read as zeros before.
///
/// # Errors
/// Files too large for the volume; the FAT crate's and the system's errors.
pub fn write(window: &Window, volume_id: u32, files: &[(String, &[u8])]) -> Result<(), EspError> {
    let failed = |error: &dyn std::fmt::Display| EspError::Fat(error.to_string());
    let options = FatFormatOptions::new(window.extent.len)
        .fat_type(FatTypeSelection::Fat32)
        .volume_label("ORLOP-ESP")
        .volume_id(volume_id);
    let options = FatFormatOptions {
        hidden_sectors: (window.extent.start / 512) as u32,
        ..options
    };
    drop(FatVolumeFormatter::format(window.clone(), options).map_err(|e| failed(&e))?);
    let volume = FatVolume::builder(window.clone())
        .time_provider(&CLOCK)
        .open()
        .map_err(|e| failed(&e))?;
    for (path, bytes) in files {
        let mut directory = volume.root_dir();
        let mut names: Vec<&str> = path.split('/').collect();
        let Some(name) = names.pop() else { continue };
        for parent in names {
            directory = match directory.find(parent).map_err(|e| failed(&e))? {
                Some(entry) => directory.open_entry(&entry).map_err(|e| failed(&e))?,
                None => volume
                    .create_dir(&directory, parent)
                    .map_err(|e| failed(&e))?,
            };
        }
        let entry = volume
            .create_file(&directory, name)
            .map_err(|e| failed(&e))?;
        let mut writer = volume.write_file(&entry).map_err(|e| failed(&e))?;
        let mut left = *bytes;
        while !left.is_empty() {
            let count = writer.write(left).map_err(|e| failed(&e))?;
            left = &left[count..];
        }
        writer.finish().map_err(|e| failed(&e))?;
    }
    volume.sync().map_err(|e| failed(&e))?;
    drop(volume);
    clear_label_time(window)
}

/// The formatter stamps the label's entry with the wall clock.
fn clear_label_time(window: &Window) -> Result<(), EspError> {
    let mut boot = [0; 512];
    window.file.read_exact_at(&mut boot, window.extent.start)?;
    let half = |at: usize| u64::from(u16::from_le_bytes([boot[at], boot[at + 1]]));
    let fat_sectors = half(36) | half(38) << 16;
    let root_cluster = half(44) | half(46) << 16;
    let data = half(14) + u64::from(boot[16]) * fat_sectors;
    let sector = data + root_cluster.saturating_sub(2) * u64::from(boot[13]);
    let entry = window.extent.start + sector * half(11);
    let mut bytes = [0; 32];
    window.file.read_exact_at(&mut bytes, entry)?;
    // 0x08: a volume label. Creation, access and write times follow at 13 to 25.
    if bytes[11] & 0x08 != 0 {
        bytes[13..20].fill(0);
        bytes[22..26].fill(0);
        window.file.write_all_at(&bytes, entry)?;
    }
    Ok(())
}

/// All files of the volume: paths with `/` and sizes in bytes, in the order of
/// the directories.
///
/// # Errors
/// A range that is no FAT volume.
pub fn list(window: &Window) -> Result<Vec<(String, u64)>, EspError> {
    let failed = |error: &dyn std::fmt::Display| EspError::Fat(error.to_string());
    let volume = FatVolume::open(window.clone()).map_err(|e| failed(&e))?;
    let mut found = Vec::new();
    let mut left = vec![String::new()];
    while let Some(path) = left.pop() {
        let directory = if path.is_empty() {
            volume.root_dir()
        } else {
            volume.open_dir_path(&path).map_err(|e| failed(&e))?
        };
        let mut entries = directory.entries();
        while let Some(entry) = entries.next_entry() {
            let entry = entry.map_err(|e| failed(&e))?;
            let Some(file) = entry.as_entry() else {
                continue;
            };
            let name = file.name().into_owned();
            if name == "." || name == ".." || name.is_empty() {
                continue;
            }
            let full = if path.is_empty() {
                name
            } else {
                format!("{path}/{name}")
            };
            if file.is_directory() {
                left.push(full);
            } else if file.is_file() {
                found.push((full, file.len()));
            }
        }
    }
    found.sort();
    Ok(found)
}

/// The bytes of one file.
///
/// # Errors
/// A range that is no FAT volume, or has no such file.
pub fn read(window: &Window, path: &str) -> Result<Vec<u8>, EspError> {
    let failed = |error: &dyn std::fmt::Display| EspError::Fat(error.to_string());
    let volume = FatVolume::open(window.clone()).map_err(|e| failed(&e))?;
    let mut reader = volume.open_file_path(path).map_err(|e| failed(&e))?;
    let mut out = Vec::new();
    let mut buffer = vec![0; 128 << 10];
    loop {
        let count = reader.read(&mut buffer).map_err(|e| failed(&e))?;
        if count == 0 {
            return Ok(out);
        }
        out.extend_from_slice(&buffer[..count]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tool::tool;
    use std::process::Command;

    fn volume(bytes: &[u8]) -> (tempfile::TempDir, std::path::PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("esp");
        let file = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path)
            .unwrap();
        file.set_len(SIZE_MIN).unwrap();
        let window = Window::new(
            Arc::new(file),
            Extent {
                start: 0,
                len: SIZE_MIN,
            },
        );
        let files = [
            ("EFI/BOOT/BOOTX64.EFI".to_owned(), bytes),
            ("EFI/Linux/orlop_1_1.0.0.efi".to_owned(), bytes),
            ("loader/loader.conf".to_owned(), b"timeout 0\n".as_slice()),
        ];
        write(&window, 0x1234_5678, &files).unwrap();
        assert_eq!(read(&window, "EFI/Linux/orlop_1_1.0.0.efi").unwrap(), bytes);
        let listed: Vec<String> = list(&window)
            .unwrap()
            .into_iter()
            .map(|(path, _)| path)
            .collect();
        assert_eq!(listed, files.map(|(path, _)| path));
        (dir, path)
    }

    #[test]
    fn fsck_finds_nothing_and_mtools_reads_it() {
        let bytes: Vec<u8> = (0..3_000_001u32).map(|n| (n * 7 / 3) as u8).collect();
        let (_dir, path) = volume(&bytes);
        let output = tool("fsck.vfat").arg("-n").arg(&path).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{text}");
        let image = path.display().to_string();
        let copy = Command::new("mtype")
            .args(["-i", &image, "::/EFI/Linux/orlop_1_1.0.0.efi"])
            .output()
            .unwrap();
        assert!(copy.stdout == bytes);
    }

    #[test]
    fn two_volumes_at_different_times_are_equal() {
        let (_a, one) = volume(b"x");
        // FAT counts in steps of two seconds.
        std::thread::sleep(std::time::Duration::from_millis(2100));
        let (_b, two) = volume(b"x");
        assert!(std::fs::read(one).unwrap() == std::fs::read(two).unwrap());
    }
}
