//! Log bytes survive SIGKILL, each exactly once: a process that moves them is
//! killed over and over while a writer never pauses.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use orlop_control::types::LogStream;
use orlop_manager::logs::{Limits, StreamWriter, Taken};

const KILLS: u64 = 150;
const DIR: &str = "ORLOP_TEST_SPLICE_DIR";
const LIMITS: Limits = Limits { total: 8 << 30 };

/// Not a test of its own: what the test below starts and kills.
#[test]
fn helper() {
    let Some(dir) = std::env::var_os(DIR) else {
        return;
    };
    let fifo = std::io::stdin();
    let mut now = 0;
    let mut writer = StreamWriter::open(Path::new(&dir), LogStream::Stdout, LIMITS, now).unwrap();
    loop {
        now += 1;
        if writer.take(fifo.as_fd(), now).unwrap() == Taken::Nothing {
            let mut poll = [rustix::event::PollFd::new(
                &fifo,
                rustix::event::PollFlags::IN,
            )];
            rustix::event::poll(&mut poll, None).unwrap();
        }
    }
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|e| e == "log"));
    paths.sort();
    paths
}

#[test]
fn no_byte_is_lost_or_doubled_by_kills() {
    let dir = tempfile::tempdir().unwrap();
    let (read, mut write) = std::io::pipe().unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let writer = std::thread::spawn(move || {
        let mut number = 0_u64;
        while !stopped.load(Ordering::Relaxed) {
            writeln!(write, "{number:010} {:040}", number % 97).unwrap();
            number += 1;
        }
        number
    });
    let start = || {
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "helper", "--nocapture"])
            .env(DIR, dir.path())
            .stdin(read.try_clone().unwrap())
            .stdout(Stdio::null())
            .spawn()
            .unwrap()
    };
    let mut seed = 7_u64;
    for _ in 0..KILLS {
        let mut helper = start();
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        std::thread::sleep(Duration::from_micros(3_000 + (seed >> 33) % 12_000));
        helper.kill().unwrap();
        helper.wait().unwrap();
    }
    stop.store(true, Ordering::Relaxed);
    let mut helper = start();
    let written = writer.join().unwrap();
    let expected = written * 52;
    let size = || -> u64 {
        let segments = segments(dir.path());
        segments
            .iter()
            .map(|path| path.metadata().unwrap().len())
            .sum()
    };
    for _ in 0..6_000 {
        if size() >= expected {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    helper.kill().unwrap();
    helper.wait().unwrap();
    assert_eq!(size(), expected, "bytes of {written} lines");
    let mut number = 0_u64;
    let mut rest = Vec::new();
    for segment in segments(dir.path()) {
        std::fs::File::open(segment)
            .unwrap()
            .read_to_end(&mut rest)
            .unwrap();
        let whole = rest.len() / 52 * 52;
        for line in rest[..whole].chunks(52) {
            let line = std::str::from_utf8(line).unwrap();
            assert_eq!(line, format!("{number:010} {:040}\n", number % 97));
            number += 1;
        }
        rest.drain(..whole);
    }
    assert_eq!((number, rest.len()), (written, 0));
}
