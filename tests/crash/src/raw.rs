//! A state written out as a disk that can be booted.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use crate::trace::SECTOR;
use crate::view::View;

/// The most that is written at once, in sectors.
const RUN_MAX: u64 = 2048;

impl View<'_> {
    /// Writes the disk in this state to `path`, sparse where the base is, and shared with it where
    /// the file system can.
    ///
    /// # Errors
    /// `cp` cannot be run or fails; the system's.
    pub fn write_to(&self, path: &Path) -> io::Result<()> {
        let base = self.disk().path();
        let copied = Command::new("cp")
            .args([
                "--sparse=always",
                "--reflink=auto",
                "--no-preserve=mode",
                "--",
            ])
            .args([base, path])
            .output()?;
        if !copied.status.success() {
            let said = String::from_utf8_lossy(&copied.stderr);
            return Err(io::Error::other(said.trim().to_owned()));
        }
        let file = OpenOptions::new().write(true).open(path)?;
        let mut sector = 0;
        while let Some(first) = self.next_changed(sector) {
            let last = first + RUN_MAX;
            sector = (first..last)
                .find(|sector| self.source(*sector) == 0)
                .unwrap_or(last);
            self.copy(&file, first, sector)?;
        }
        Ok(())
    }

    fn copy(&self, file: &File, first: u64, end: u64) -> io::Result<()> {
        let mut bytes = vec![0; ((end - first) * SECTOR) as usize];
        self.read(&mut bytes, first * SECTOR)?;
        file.write_all_at(&bytes, first * SECTOR)
    }
}
