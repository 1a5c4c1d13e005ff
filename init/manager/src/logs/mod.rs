//! What containers write, kept on the state partition.
//!
//! Each stream of a unit is a row of raw segment files with an index beside
//! each: when which bytes came. Bytes go from the container's FIFO into the
//! segment by splice(2) and never through a buffer of the manager, so that a
//! SIGKILL can neither lose nor double one: they are in the pipe or in the
//! file. What the index lacks after a kill is made up from the file's length.
//! Nothing here knows what a unit is beyond its log directory.

mod assemble;
mod collect;
mod cursor;
mod index;
mod read;
mod segment;
mod write;

use std::path::PathBuf;

pub use collect::{Collector, collect};
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use orlop_control::types::{ApiError, LogLine, LogQuery};
use tokio::sync::watch;
pub use write::{Limits, StreamWriter, Taken};

/// Where a unit's log is, and how to hear that it has grown.
#[derive(Debug, Clone)]
pub struct LogSource {
    /// The unit's log directory.
    pub dir: PathBuf,
    /// Changes whenever bytes were added; the end of it ends a follower.
    pub grown: watch::Receiver<u64>,
}

/// How many lines wait for a slow reader.
const LINES_AHEAD: usize = 64;

/// The lines that `query` asks for, as a stream.
pub fn stream(
    source: LogSource,
    query: LogQuery,
) -> Result<BoxStream<'static, Result<LogLine, ApiError>>, ApiError> {
    let reader = read::Reader::open(&source.dir, &query)?;
    let (sender, receiver) = tokio::sync::mpsc::channel(LINES_AHEAD);
    tokio::spawn(read::pump(reader, source.grown, query.follow, sender));
    Ok(
        futures_util::stream::unfold(receiver, |mut receiver| async {
            receiver.recv().await.map(|line| (line, receiver))
        })
        .boxed(),
    )
}
