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
mod seek;
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

/// The lines that `query` asks for, as a stream.
pub async fn stream(
    source: LogSource,
    query: LogQuery,
) -> Result<BoxStream<'static, Result<LogLine, ApiError>>, ApiError> {
    let LogSource { dir, grown } = source;
    let follow = query.follow;
    let reader = read::apart(move || read::Reader::open(&dir, &query)).await??;
    let (sender, receiver) = tokio::sync::mpsc::channel(read::LINES_AT_ONCE);
    tokio::spawn(read::pump(reader, grown, follow, sender));
    Ok(
        futures_util::stream::unfold(receiver, |mut receiver| async {
            receiver.recv().await.map(|line| (line, receiver))
        })
        .boxed(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    /// A log that takes as long to open as somebody likes: a FIFO.
    #[tokio::test]
    async fn a_slow_log_holds_nothing_else_up() {
        let dir = tempfile::tempdir().unwrap();
        let slow = segment::data_path(dir.path(), orlop_control::types::LogStream::Stdout, 1);
        let mode = rustix::fs::Mode::RWXU;
        rustix::fs::mknodat(rustix::fs::CWD, &slow, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        let turns = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&turns);
        let opener = std::thread::spawn(move || {
            // Long, only so that a failure ends.
            for _ in 0..1000 {
                if seen.load(Ordering::Acquire) {
                    break;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
            let others_went_on = seen.load(Ordering::Acquire);
            let mut open = std::fs::OpenOptions::new();
            let open = open.read(true).write(true).open(slow).unwrap();
            (others_went_on, open)
        });
        let source = LogSource {
            dir: dir.path().to_owned(),
            grown: watch::Sender::new(0).subscribe(),
        };
        let query = LogQuery {
            tail: Some(1),
            ..LogQuery::default()
        };
        let reading = tokio::spawn(stream(source, query));
        tokio::task::yield_now().await;
        turns.store(true, Ordering::Release);
        let (others_went_on, open) = opener.join().unwrap();
        assert!(others_went_on, "nothing went on meanwhile");
        // What can be read of a FIFO is not the question.
        let _ = reading.await.unwrap();
        drop(open);
    }
}
