//! A query's lines: both streams merged by time.

use std::collections::VecDeque;
use std::path::Path;

use jiff::Timestamp;
use orlop_control::types::{ApiError, LogLine, LogQuery, LogStream};
use tokio::sync::{mpsc, watch};

use super::assemble::{Line, StreamReader};
use super::cursor::{Cursor, Place};

/// The largest `tail` that is given.
const TAIL_MAX: u64 = 100_000;

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
        let reader = at(cursor);
        match query.tail {
            Some(tail) => {
                let place = reader
                    .before_last(tail.min(TAIL_MAX))
                    .map_err(|error| failed(&error))?;
                Ok(at(place))
            }
            None => Ok(reader),
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
            let next = reader
                .next(follow)
                .map_err(|error| failed(&error))
                .transpose();
            let Some(line) = next else { break };
            let ends = line.is_err();
            if lines.send(line).await.is_err() || ends {
                return;
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
