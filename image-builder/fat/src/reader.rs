//! What is in a file.

use std::io::{self, Read, Seek, SeekFrom};

use crate::directory::Entry;
use crate::error::FatError;
use crate::source::ReadAt;
use crate::volume::Volume;

/// The content of a file, piece by piece, from any place on.
#[derive(Debug)]
pub struct FileReader<'v, S> {
    volume: &'v Volume<S>,
    clusters: Vec<u32>,
    size: u64,
    at: u64,
}

impl<S: ReadAt> Volume<S> {
    /// Opens a file, if its clusters are all there.
    ///
    /// # Errors
    /// [`FatError::Kind`] for a directory; [`FatError::Chain`] when its clusters lead astray;
    /// [`FatError::Short`] when there are too few; the source's.
    pub fn reader(&self, entry: &Entry) -> Result<FileReader<'_, S>, FatError> {
        let name = || entry.name.clone();
        if entry.is_directory {
            return Err(FatError::Kind {
                name: name(),
                expected: "file",
            });
        }
        let clusters = self.clusters(entry)?;
        let size = u64::from(entry.size);
        let expected = size.div_ceil(u64::from(self.geometry().cluster_bytes));
        if (clusters.len() as u64) < expected {
            return Err(FatError::Short {
                name: name(),
                clusters: clusters.len(),
                expected,
                size: entry.size,
            });
        }
        Ok(FileReader {
            volume: self,
            clusters,
            size,
            at: 0,
        })
    }

    /// The whole content of a file; for large ones there is [`Volume::reader`].
    ///
    /// # Errors
    /// As [`Volume::reader`].
    pub fn read(&self, entry: &Entry) -> Result<Vec<u8>, FatError> {
        let mut bytes = Vec::new();
        self.reader(entry)?.read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

impl<S: ReadAt> FileReader<'_, S> {
    /// Where the byte at `self.at` is on the volume, and how many lie there in one run; `most` are
    /// wanted.
    fn run(&self, most: u64) -> Option<(u64, u64)> {
        let geometry = self.volume.geometry();
        let cluster_bytes = u64::from(geometry.cluster_bytes);
        let (index, within) = (self.at / cluster_bytes, self.at % cluster_bytes);
        let mut clusters = self.clusters.get(usize::try_from(index).ok()?..)?.iter();
        let mut last = *clusters.next()?;
        let offset = geometry.offset(last) + within;
        let mut length = cluster_bytes - within;
        for next in clusters {
            if length >= most || *next != last + 1 {
                break;
            }
            last = *next;
            length += cluster_bytes;
        }
        Some((offset, length.min(most)))
    }
}

impl<S: ReadAt> Read for FileReader<'_, S> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let most = (buf.len() as u64).min(self.size.saturating_sub(self.at));
        if most == 0 {
            return Ok(0);
        }
        let Some((offset, length)) = self.run(most) else {
            return Ok(0);
        };
        let count = length as usize;
        self.volume.source().read_at(&mut buf[..count], offset)?;
        self.at += length;
        Ok(count)
    }
}

impl<S: ReadAt> Seek for FileReader<'_, S> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let target = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.size.checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = target.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}
