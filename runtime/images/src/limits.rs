//! How large an image may be (I10). Real images stay far below every number
//! here; a hostile one must not be able to take the host's memory or disk.

/// Bounds for reading one image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of `index.json`, of an index, of a manifest.
    pub document_bytes: u64,
    /// Bytes of an image configuration.
    pub config_bytes: u64,
    /// Layers of an image.
    pub layers: usize,
    /// Archive members in all layers together, whiteouts included; also inodes
    /// of the tree they make, with the directories that no member names; also
    /// blobs in an OCI archive.
    pub entries: usize,
    /// Uncompressed bytes of all layers together; also of a compressed OCI
    /// archive.
    pub unpacked_bytes: u64,
    /// Bytes of the PAX and GNU extension headers of one member. Extended
    /// attributes travel in these, and the kernel takes at most 64 KiB for one.
    pub extension_bytes: u64,
    /// Bytes of all names, link targets and extended attributes in all layers,
    /// which are held in memory.
    pub metadata_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            document_bytes: 4 << 20,
            config_bytes: 4 << 20,
            layers: 512,
            entries: 1_000_000,
            unpacked_bytes: 64 << 30,
            extension_bytes: 1 << 20,
            metadata_bytes: 128 << 20,
        }
    }
}
