//! Reading logs back: merging, cursors, and what is left after a crash.

use std::io::Write;

use proptest::prelude::*;

use super::*;
use crate::logs::segment;
use crate::logs::write::{Limits, StreamWriter, Taken};

/// A log directory and pipes in the FIFOs' place.
struct Log {
    dir: tempfile::TempDir,
    limits: Limits,
}

impl Log {
    fn new(total: u64) -> Log {
        Log {
            dir: tempfile::tempdir().unwrap(),
            limits: Limits { total },
        }
    }

    /// Moves `bytes` into a stream at a time.
    fn put(&self, stream: LogStream, bytes: &[u8], now_us: i64) {
        let mut writer = StreamWriter::open(self.dir.path(), stream, self.limits, now_us).unwrap();
        self.put_with(&mut writer, bytes, now_us);
    }

    fn put_with(&self, writer: &mut StreamWriter, bytes: &[u8], now_us: i64) {
        for part in bytes.chunks(4096) {
            let (read, write) = std::io::pipe().unwrap();
            (&write).write_all(part).unwrap();
            while writer.take(&read, now_us).unwrap() != Taken::Nothing {}
        }
    }

    fn begin(&self, stream: LogStream, now_us: i64) {
        StreamWriter::open(self.dir.path(), stream, self.limits, now_us)
            .unwrap()
            .begin(now_us);
    }

    fn read(&self, query: &LogQuery) -> Vec<LogLine> {
        let mut reader = Reader::open(self.dir.path(), query).unwrap();
        std::iter::from_fn(|| reader.next(query.follow).unwrap()).collect()
    }

    fn lines(&self) -> Vec<String> {
        let all = self.read(&LogQuery::default());
        all.into_iter().map(|line| line.line).collect()
    }
}

#[test]
fn streams_are_merged_by_time() {
    let log = Log::new(1 << 20);
    log.put(LogStream::Stdout, b"one\nfour\n", 1);
    log.put(LogStream::Stderr, b"two\n", 2);
    log.put(LogStream::Stdout, b"three\n", 3);
    assert_eq!(log.lines(), ["one", "four", "two", "three"]);
    let times: Vec<i64> = log
        .read(&LogQuery::default())
        .iter()
        .map(|line| line.time.as_microsecond())
        .collect();
    assert_eq!(times, [1, 1, 2, 3]);
}

#[test]
fn lines_are_put_together_over_chunks_and_cut_between_containers() {
    let log = Log::new(1 << 20);
    log.put(LogStream::Stdout, b"hal", 1);
    log.put(LogStream::Stdout, b"f\nunfinished", 2);
    log.begin(LogStream::Stdout, 3);
    log.put(LogStream::Stdout, b"next\ntail", 4);
    assert_eq!(log.lines(), ["half", "unfinished", "next", "tail"]);
    let follow = LogQuery {
        follow: true,
        ..LogQuery::default()
    };
    assert_eq!(log.read(&follow).len(), 3, "a follower waits for the rest");
}

#[test]
fn bytes_that_the_index_does_not_know_are_there() {
    let log = Log::new(1 << 20);
    log.put(LogStream::Stdout, b"known\n", 1);
    let path = log.dir.path().join("stdout.0000000001.log");
    let mut file = std::fs::OpenOptions::new().append(true).open(path).unwrap();
    file.write_all(b"killed before the index\n").unwrap();
    log.put(LogStream::Stdout, b"after\n", 9);
    assert_eq!(log.lines(), ["known", "killed before the index", "after"]);
    // Also without any index.
    std::fs::remove_file(log.dir.path().join("stdout.0000000001.idx")).unwrap();
    assert_eq!(log.lines().len(), 3);
}

#[test]
fn an_index_ahead_of_its_segment_is_cut_back() {
    let log = Log::new(1 << 20);
    log.put(LogStream::Stdout, b"one\n", 1);
    log.put(LogStream::Stdout, b"two\n", 2);
    let path = log.dir.path().join("stdout.0000000001.log");
    let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    file.set_len(4).unwrap();
    log.put(LogStream::Stdout, b"new\n", 7);
    let lines = log.read(&LogQuery::default());
    assert_eq!(lines[1].line, "new");
    assert_eq!(lines[1].time.as_microsecond(), 7);
}

#[test]
fn a_log_stays_within_its_bound_and_keeps_the_newest() {
    let log = Log::new(128 * 1024);
    let mut writer = StreamWriter::open(log.dir.path(), LogStream::Stdout, log.limits, 1).unwrap();
    for number in 0..20_000 {
        let line = format!("line {number:06} {}\n", "x".repeat(40));
        log.put_with(&mut writer, line.as_bytes(), number);
    }
    let size: u64 = std::fs::read_dir(log.dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().metadata().unwrap().len())
        .sum();
    assert!(size <= 150 * 1024, "{size}");
    let lines = log.lines();
    assert!(lines.last().unwrap().starts_with("line 019999"));
    assert!(lines.len() > 500);
}

#[test]
fn tail_stream_and_since_choose() {
    let log = Log::new(1 << 20);
    for time in 1..=9 {
        let stream = [LogStream::Stdout, LogStream::Stderr][time as usize % 2];
        log.put(stream, format!("{time}\n").as_bytes(), time);
    }
    let pick = |query: LogQuery| -> Vec<String> {
        log.read(&query).into_iter().map(|line| line.line).collect()
    };
    let query = LogQuery::default;
    assert_eq!(
        pick(LogQuery {
            tail: Some(3),
            ..query()
        }),
        ["7", "8", "9"]
    );
    assert_eq!(
        pick(LogQuery {
            tail: Some(0),
            ..query()
        }),
        Vec::<String>::new()
    );
    assert_eq!(
        pick(LogQuery {
            tail: Some(99),
            ..query()
        })
        .len(),
        9
    );
    let stream = Some(LogStream::Stdout);
    assert_eq!(pick(LogQuery { stream, ..query() }), ["2", "4", "6", "8"]);
    let since = Timestamp::from_microsecond(8).ok();
    assert_eq!(pick(LogQuery { since, ..query() }), ["8", "9"]);
}

/// Makes every segment of stdout but the newest one that cannot be read.
fn break_older_segments(log: &Log) {
    let numbers = segment::list(log.dir.path(), LogStream::Stdout).unwrap();
    let (_, older) = numbers.split_last().unwrap();
    assert!(!older.is_empty());
    for number in older {
        let data = segment::data_path(log.dir.path(), LogStream::Stdout, *number);
        std::fs::remove_file(&data).unwrap();
        std::fs::create_dir(&data).unwrap();
    }
}

#[test]
fn what_lies_before_the_lines_that_are_asked_for_is_not_read() {
    let log = Log::new(64 * 1024);
    let mut writer = StreamWriter::open(log.dir.path(), LogStream::Stdout, log.limits, 1).unwrap();
    for time in 1..=300 {
        let line = format!("{time} {}\n", "x".repeat(60));
        log.put_with(&mut writer, line.as_bytes(), time);
    }
    break_older_segments(&log);
    let numbers = |query: LogQuery| -> Vec<i64> {
        let lines = log.read(&query);
        lines.iter().map(|l| l.time.as_microsecond()).collect()
    };
    let tail = Some(3);
    let since = Timestamp::from_microsecond(299).ok();
    let query = LogQuery::default;
    assert_eq!(numbers(LogQuery { tail, ..query() }), [298, 299, 300]);
    assert_eq!(numbers(LogQuery { since, ..query() }), [299, 300]);
    let since = Timestamp::from_microsecond(9999).ok();
    assert!(numbers(LogQuery { since, ..query() }).is_empty());
}

fn writes() -> impl Strategy<Value = Vec<(bool, String, bool)>> {
    proptest::collection::vec((any::<bool>(), "[a-z\n]{0,9000}", any::<bool>()), 1..20)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20))]
    #[test]
    fn the_last_lines_and_the_newer_ones_are_those_of_the_whole(
        writes in writes(),
        tail in 0..400_u64,
        since in 0..20_i64,
    ) {
        let log = Log::new(64 * 1024);
        for (time, (err, text, begin)) in writes.iter().enumerate() {
            let stream = if *err { LogStream::Stderr } else { LogStream::Stdout };
            log.put(stream, text.as_bytes(), time as i64);
            if *begin {
                log.begin(stream, time as i64);
            }
        }
        let all = log.read(&LogQuery::default());
        let query = LogQuery { tail: Some(tail), ..LogQuery::default() };
        let from = all.len().saturating_sub(tail as usize);
        let words = |lines: &[LogLine]| -> Vec<String> {
            lines.iter().map(|line| format!("{} {}", line.time, line.line)).collect()
        };
        prop_assert_eq!(words(&log.read(&query)), words(&all[from..]));
        let since = Timestamp::from_microsecond(since).ok();
        let newer: Vec<LogLine> = all.into_iter().filter(|line| Some(line.time) >= since).collect();
        let query = LogQuery { since, ..LogQuery::default() };
        prop_assert_eq!(words(&log.read(&query)), words(&newer));
    }

    #[test]
    fn a_cursor_resumes_exactly(
        writes in proptest::collection::vec((any::<bool>(), "[a-z\n]{0,40}"), 1..20),
        total in prop::sample::select(vec![64 * 1024_u64, 1 << 20]),
    ) {
        let log = Log::new(total);
        for (time, (err, text)) in writes.iter().enumerate() {
            let stream = if *err { LogStream::Stderr } else { LogStream::Stdout };
            log.put(stream, text.as_bytes(), time as i64);
        }
        let all = log.read(&LogQuery::default());
        for (at, line) in all.iter().enumerate() {
            let query = LogQuery { cursor: Some(line.cursor.clone()), ..LogQuery::default() };
            prop_assert_eq!(&log.read(&query)[..], &all[at + 1..]);
        }
    }
}
