//! A query's lines: both streams merged by time.

use std::collections::VecDeque;
use std::path::Path;

use jiff::Timestamp;
use orlop_control::types::{ApiError, LogLine, LogQuery, LogStream};
use tokio::sync::{Semaphore, mpsc, watch};

use super::assemble::{Line, StreamReader};
use super::cursor::{Cursor, Place};
use super::seek;

/// The largest `tail` that is given.
const TAIL_MAX: u64 = 100_000;
/// How many lines are read at once, and wait for a slow reader.
pub(super) const LINES_AT_ONCE: usize = 64;
/// How many logs are read at the same time. The others wait for their turn,
/// which lasts as long as its lines take to be read, not to be sent.
static TURNS: Semaphore = Semaphore::const_new(4);

/// Reads what a query asks for.
#[derive(Debug)]
pub(super) struct Reader {
    stdout: Option<StreamReader>,
    stderr: Option<StreamReader>,
    cursor: Cursor,
    since_us: Option<i64>,
}

fn failed(error: &std::io::Error) -> ApiError {
    ApiError::internal(format!("the log cannot be read: {error}"))
}

impl Reader {
    /// A reader at the place that `query` says.
    pub(super) fn open(dir: &Path, query: &LogQuery) -> Result<Reader, ApiError> {
        let cursor = match &query.cursor {
            Some(text) => text.parse().map_err(|()| {
                ApiError::invalid(format!("{text:?} is not a log cursor"))
                    .with_help("use the `cursor` of a line as it was sent")
            })?,
            None => Cursor::default(),
        };
        let at = |cursor: Cursor| {
            let stream = |stream: LogStream, place: Place| {
                let wanted = query.stream.is_none_or(|wanted| wanted == stream);
                wanted.then(|| StreamReader::new(dir, stream, place))
            };
            Reader {
                stdout: stream(LogStream::Stdout, cursor.stdout),
                stderr: stream(LogStream::Stderr, cursor.stderr),
                cursor,
                since_us: query.since.map(Timestamp::as_microsecond),
            }
        };
        let cursor = skip(dir, cursor, query).map_err(|error| failed(&error))?;
        match query.tail {
            Some(tail) => {
                let place = at(cursor)
                    .before_last(tail.min(TAIL_MAX))
                    .map_err(|error| failed(&error))?;
                Ok(at(place))
            }
            None => Ok(at(cursor)),
        }
    }

    /// The place from which `count` lines are left.
    fn before_last(mut self, count: u64) -> std::io::Result<Cursor> {
        let keep = usize::try_from(count).unwrap_or(usize::MAX);
        let mut places = VecDeque::from([self.cursor]);
        while self.next(false)?.is_some() {
            places.push_back(self.cursor);
            if places.len() > keep.saturating_add(1) {
                places.pop_front();
            }
        }
        Ok(places.front().copied().unwrap_or(self.cursor))
    }

    /// The next line. At the log's end an unfinished line is given only when
    /// nobody will wait for the rest of it.
    fn next(&mut self, follow: bool) -> std::io::Result<Option<LogLine>> {
        loop {
            let Some((stream, line)) = self.next_raw(follow)? else {
                return Ok(None);
            };
            match stream {
                LogStream::Stdout => self.cursor.stdout = line.after,
                LogStream::Stderr => self.cursor.stderr = line.after,
            }
            if self.since_us.is_some_and(|since| line.time_us < since) {
                continue;
            }
            return Ok(Some(LogLine {
                cursor: self.cursor.to_string(),
                time: Timestamp::from_microsecond(line.time_us).unwrap_or_default(),
                stream,
                line: String::from_utf8_lossy(&line.bytes).into_owned(),
                partial: line.partial,
            }));
        }
    }

    /// The next lines, as many as are read at once; fewer are the last ones for
    /// now, and an error is the last of all.
    fn some(&mut self, follow: bool) -> Vec<Result<LogLine, ApiError>> {
        let mut some = Vec::new();
        while some.len() < LINES_AT_ONCE {
            match self.next(follow) {
                Ok(Some(line)) => some.push(Ok(line)),
                Ok(None) => break,
                Err(error) => {
                    some.push(Err(failed(&error)));
                    break;
                }
            }
        }
        some
    }

    fn next_raw(&mut self, follow: bool) -> std::io::Result<Option<(LogStream, Line)>> {
        let time = |reader: &mut Option<StreamReader>| -> std::io::Result<Option<i64>> {
            match reader {
                Some(reader) => Ok(reader.peek()?.map(|line| line.time_us)),
                None => Ok(None),
            }
        };
        let first = match (time(&mut self.stdout)?, time(&mut self.stderr)?) {
            (Some(out), Some(err)) if out <= err => Some(LogStream::Stdout),
            (Some(_), Some(_)) | (None, Some(_)) => Some(LogStream::Stderr),
            (Some(_), None) => Some(LogStream::Stdout),
            (None, None) => None,
        };
        let line = match first {
            Some(LogStream::Stdout) => self.stdout.as_mut().and_then(StreamReader::pop),
            Some(LogStream::Stderr) => self.stderr.as_mut().and_then(StreamReader::pop),
            None => None,
        };
        if let (Some(stream), Some(line)) = (first, line) {
            return Ok(Some((stream, line)));
        }
        if follow {
            return Ok(None);
        }
        let unfinished = |stream, reader: &mut Option<StreamReader>| {
            let line = reader.as_mut().and_then(StreamReader::take_unfinished)?;
            Some((stream, line))
        };
        Ok(unfinished(LogStream::Stdout, &mut self.stdout)
            .or_else(|| unfinished(LogStream::Stderr, &mut self.stderr)))
    }
}

/// The cursor beyond what lies before all that `query` asks for: a log is not
/// read from its beginning for its end.
fn skip(dir: &Path, cursor: Cursor, query: &LogQuery) -> std::io::Result<Cursor> {
    let from = |stream: LogStream, mut place: Place| {
        if let Some(tail) = query.tail {
            place = place.max(seek::last_lines(dir, stream, tail.min(TAIL_MAX))?);
        }
        if let Some(since) = query.since {
            place = place.max(seek::since(dir, stream, since.as_microsecond())?);
        }
        std::io::Result::Ok(place)
    };
    Ok(Cursor {
        stdout: from(LogStream::Stdout, cursor.stdout)?,
        stderr: from(LogStream::Stderr, cursor.stderr)?,
    })
}

/// Reads a log in a thread of its own when its turn comes: a log is as large
/// as its unit says, and the manager does all else in one thread.
pub(super) async fn apart<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ApiError> {
    let gone = |error: &dyn std::fmt::Display| {
        ApiError::internal(format!("the log cannot be read: {error}"))
    };
    let turn = TURNS.acquire().await.map_err(|error| gone(&error))?;
    let done = tokio::task::spawn_blocking(move || {
        // It lasts until the work is done, also when nobody waits for it.
        let _turn = turn;
        work()
    });
    done.await.map_err(|error| gone(&error))
}

/// Sends the lines until the log's end, or with `follow` until the reader or
/// the unit goes away.
pub(super) async fn pump(
    mut reader: Reader,
    mut grown: watch::Receiver<u64>,
    follow: bool,
    lines: mpsc::Sender<Result<LogLine, ApiError>>,
) {
    loop {
        // Marked before reading: bytes that come meanwhile are not missed.
        grown.mark_unchanged();
        loop {
            let some = apart(move || {
                let some = reader.some(follow);
                (reader, some)
            });
            let some = match some.await {
                Ok((back, some)) => {
                    reader = back;
                    some
                }
                Err(error) => {
                    let _ = lines.send(Err(error)).await;
                    return;
                }
            };
            let (at_end, failed) = (some.len() < LINES_AT_ONCE, some.last());
            let failed = failed.is_some_and(Result::is_err);
            for line in some {
                if lines.send(line).await.is_err() {
                    return;
                }
            }
            if failed {
                return;
            }
            if at_end {
                break;
            }
        }
        if !follow {
            return;
        }
        tokio::select! {
            changed = grown.changed() => if changed.is_err() { return },
            () = lines.closed() => return,
        }
    }
}

#[cfg(test)]
mod tests;
