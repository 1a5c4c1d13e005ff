//! Bundles from a web server: one file, or what `orlop-image publish` filled.
//!
//! The server is not trusted. What it sends is bounded, each chunk is checked before it is taken,
//! and a server that stalls, lies or goes away is asked again, until nothing has come for too long.

mod http;
mod source;
mod workers;

use orlop_bundle::{BundleError, ChunkError};
use thiserror::Error;

pub(super) use http::{Http, Patience};
pub(super) use source::{Offer, Source, public};
pub(super) use workers::fetch;

/// How many requests are under way at once. Of each at most [`workers::RUN_MAX`] bytes are asked
/// for, so that an interruption has little to be fetched again.
const WORKERS: usize = 6;

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
        "nothing came for {seconds} s, last: {last}; the same command goes on where this ended"
    )]
    GaveUp {
        /// How long.
        seconds: u64,
        /// What went wrong last.
        last: Box<FetchError>,
    },
}
