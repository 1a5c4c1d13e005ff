//! A volume that can be read.

use crate::SECTOR;
use crate::directory::Entry;
use crate::error::FatError;
use crate::geometry::Geometry;
use crate::source::ReadAt;
use crate::table::{Link, Table};

/// How much room there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// Bytes of a cluster.
    pub cluster_bytes: u32,
    /// Clusters in all.
    pub clusters: u32,
    /// Those that the allocation table has as free. FSINFO is not asked: power may have gone before
    /// it was written.
    pub free: u32,
}

/// A FAT16 or FAT32 volume. It keeps nothing but the boot sector's values: each call reads the
/// source anew.
#[derive(Clone, Debug)]
pub struct Volume<S> {
    source: S,
    geometry: Geometry,
}

impl<S: ReadAt> Volume<S> {
    /// Reads the boot sector.
    ///
    /// # Errors
    /// [`FatError::Boot`] for what is no FAT16 or FAT32 volume; the source's.
    pub fn open(source: S) -> Result<Volume<S>, FatError> {
        let mut boot = [0; SECTOR];
        source.read_at(&mut boot, 0)?;
        let geometry = Geometry::parse(&boot)?;
        Ok(Volume { source, geometry })
    }

    /// How much room there is, counted.
    ///
    /// # Errors
    /// The source's.
    pub fn space(&self) -> Result<Space, FatError> {
        let mut table = self.table();
        let mut free = 0;
        for cluster in 2..self.geometry.end() {
            if table.link(cluster)? == Link::Free {
                free += 1;
            }
        }
        Ok(Space {
            cluster_bytes: self.geometry.cluster_bytes,
            clusters: self.geometry.clusters,
            free,
        })
    }

    /// The clusters of a file or a directory, in their order. There may be more than its size needs.
    ///
    /// # Errors
    /// [`FatError::Chain`] when they lead astray; the source's.
    pub fn clusters(&self, entry: &Entry) -> Result<Vec<u32>, FatError> {
        self.follow(entry.first_cluster)?.whole(&entry.name)
    }

    pub(crate) fn source(&self) -> &S {
        &self.source
    }

    pub(crate) fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    pub(crate) fn table(&self) -> Table<'_, S> {
        Table::new(&self.source, self.geometry)
    }
}
