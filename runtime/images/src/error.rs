//! What can go wrong with an image, in terms a caller can act on.
//!
//! Only the cases that a caller tells apart have a variant of their own; every
//! message names the object, what was expected of it, and the mend.

use std::io;
use std::path::PathBuf;

/// The result of everything in this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Why an image could not be read, kept or found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused.
    #[error("{what}: {source}")]
    Io {
        /// What was being done, and to which file.
        what: String,
        /// What the system said. The message above tells it; the raw name
        /// keeps it from being told again as the error's own source.
        r#source: io::Error,
    },

    /// Bytes are not those that their digest or size promised.
    #[error("{what} is damaged: {expected} was promised and {found} found; copy or build it again")]
    Damaged {
        /// The blob or layer.
        what: String,
        /// The promised digest or size.
        expected: String,
        /// What came instead.
        found: String,
    },

    /// A document or archive breaks its format's rules, or uses a part of the
    /// format that is not read here.
    #[error("{what}: {why}")]
    Invalid {
        /// The document, layer or archive member.
        what: String,
        /// What is wrong with it, and what would be right.
        why: String,
    },

    /// Something is larger than this host is willing to handle.
    #[error("{what}: {found} is over the limit of {limit}")]
    TooLarge {
        /// The object.
        what: String,
        /// How large it is, with its unit.
        found: String,
        /// How large it may be, with its unit.
        limit: String,
    },

    /// The image is for machines of another kind.
    #[error(
        "{what} is for {found}, and {wanted} is needed; \
         build or copy it for {wanted} (for example `skopeo copy --override-arch …`)"
    )]
    Architecture {
        /// The image.
        what: String,
        /// `os/architecture` of the image, or of all that were on offer.
        found: String,
        /// `os/architecture` that would run.
        wanted: String,
    },

    /// No image goes by that name.
    #[error("no image {wanted:?} in {place}; {}", known_names(.known))]
    NoSuchImage {
        /// The reference or id that was asked for.
        wanted: String,
        /// The store or archive.
        place: String,
        /// What is there instead.
        known: Vec<String>,
    },

    /// The file system that holds the store or the spool is full. Nothing of
    /// the attempt is left behind.
    #[error(
        "{} has {free} bytes free and {needed} are needed; make room first",
        .path.display()
    )]
    NoSpace {
        /// A directory on that file system.
        path: PathBuf,
        /// Bytes that the operation needs in all.
        needed: u64,
        /// Bytes that are free.
        free: u64,
    },
}

impl Error {
    /// An I/O error with what was being done.
    pub(crate) fn io(what: impl Into<String>, error: impl Into<io::Error>) -> Self {
        Self::Io {
            what: what.into(),
            source: error.into(),
        }
    }

    /// A broken rule of a format.
    pub(crate) fn invalid(what: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Invalid {
            what: what.into(),
            why: why.into(),
        }
    }

    /// Whether the cause is a full file system.
    pub fn is_no_space(&self) -> bool {
        match self {
            Self::NoSpace { .. } => true,
            Self::Io { source, .. } => matches!(
                source.kind(),
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
            ),
            _ => false,
        }
    }
}

/// The closing clause of "no such image".
fn known_names(known: &[String]) -> String {
    if known.is_empty() {
        return "it holds no image at all".to_owned();
    }
    format!("it holds {}", known.join(", "))
}
