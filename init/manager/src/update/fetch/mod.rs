//! Bundles from a web server: one file, or what `orlop-image publish` filled.
//!
//! The server is not trusted. What it sends is bounded, each chunk is checked before it is taken,
//! and a server that stalls, lies or goes away is asked again, until nothing has come for too long.

mod backoff;
mod http;
mod source;
mod workers;

use std::time::{Duration, Instant};

use orlop_bundle::chunk::SIZES;
use orlop_bundle::{BundleError, ChunkError};
use thiserror::Error;

use super::unflushed::UNFLUSHED_MAX;
pub(super) use http::{Http, Patience};
pub(super) use source::{Offer, Source, public};
pub(super) use workers::fetch;

/// How many requests are under way at once. Of each at most [`workers::RUN_MAX`] bytes are asked
/// for, so that an interruption has little to be fetched again.
const WORKERS: usize = 6;
/// The most bytes of one request: of a chunk that cannot be compressed zstd makes that much more.
const REQUEST_MAX: u64 = workers::RUN_MAX + workers::RUN_MAX / 256;
// What is fetched twice at most, once power has gone.
const _: () = assert!(SIZES.max as u64 <= workers::RUN_MAX);
const _: () = assert!(UNFLUSHED_MAX + WORKERS as u64 * REQUEST_MAX <= 1 << 20);

/// What stands in the way at the moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Trouble {
    /// In a sentence.
    pub(super) problem: String,
    /// When the server is asked again.
    pub(super) next: Instant,
    /// When it is given up, if nothing comes until then.
    pub(super) gives_up: Instant,
}

/// Why something could not be fetched.
#[derive(Debug, Error)]
pub(super) enum FetchError {
    /// No URL that can be asked.
    #[error(
        "{url}: {problem}; expected http:// or https:// and a host, as https://updates.example/edge"
    )]
    Url {
        /// What was given.
        url: String,
        /// What is wrong.
        problem: String,
    },
    /// No answer, or one that broke off.
    #[error("{url}: {reason}")]
    Unreachable {
        /// What was asked for.
        url: String,
        /// Why.
        reason: String,
    },
    /// Another answer than the file.
    #[error("{url}: the server answered {status}, expected 200; is it all published?")]
    Status {
        /// What was asked for.
        url: String,
        /// The status.
        status: u16,
    },
    /// Another part than was asked for.
    #[error("{url}: the server did not answer with the part from byte {first} on, expected that")]
    Range {
        /// What was asked for.
        url: String,
        /// Where that starts.
        first: u64,
    },
    /// What came is no head of a bundle.
    #[error("{url}: {error}")]
    Head {
        /// What was asked for.
        url: String,
        /// What is wrong with it.
        error: BundleError,
    },
    /// What came is not the chunk.
    #[error("{url}: chunk {number}: {error}")]
    Chunk {
        /// What was asked for.
        url: String,
        /// The chunk's number.
        number: u32,
        /// What is wrong with it.
        error: ChunkError,
    },
    /// Nothing has come for too long.
    #[error(
        "nothing came for {}, last: {last}; the same command goes on where this ended", spoken(.quiet)
    )]
    GaveUp {
        /// How long.
        quiet: Duration,
        /// What went wrong last.
        last: Box<FetchError>,
    },
}

fn spoken(time: &Duration) -> String {
    match time.as_secs() {
        seconds @ 0..7200 => format!("{seconds} s"),
        seconds => format!("{} h", seconds / 3600),
    }
}

impl FetchError {
    /// Whether asking again is of no use: the server is there, and does not have it, or not for us.
    fn is_final(&self) -> bool {
        match self {
            // Of the client's errors, the ones that are of the moment (RFC 9110, 15.5; 8470; 6585).
            FetchError::Status { status, .. } => {
                (400..500).contains(status) && ![408, 425, 429].contains(status)
            }
            FetchError::Url { .. } | FetchError::Head { .. } | FetchError::GaveUp { .. } => true,
            FetchError::Unreachable { .. }
            | FetchError::Range { .. }
            | FetchError::Chunk { .. } => false,
        }
    }
}
