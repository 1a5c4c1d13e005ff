//! Who follows a unit's log, past the end of the manager that sends it.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use orlop_control::client::LogLines;
use orlop_control::types::{LogQuery, LogStream};

use super::support::{TestHost, alone, possible};
use super::unit;

/// Counts on both of its streams for as long as it lives.
const COUNTER: &str = "while true; do n=$((n+1)); echo $n; echo $n >&2; busybox sleep 0.05; done";

/// A client that follows, and the numbers that it was sent of each stream.
struct Follower<'a> {
    host: &'a TestHost,
    lines: LogLines,
    seen: BTreeMap<&'static str, Vec<u64>>,
}

impl Follower<'_> {
    fn open(host: &TestHost, tail: Option<u64>) -> Follower<'_> {
        let query = LogQuery {
            follow: true,
            tail,
            ..LogQuery::default()
        };
        let lines = host.runtime.block_on(host.client.logs("counter", query));
        Follower {
            host,
            lines: lines.unwrap(),
            seen: BTreeMap::from([("stdout", Vec::new()), ("stderr", Vec::new())]),
        }
    }

    /// Takes lines until it has seen `number` on both streams.
    fn read_to(&mut self, number: u64) {
        while self.seen.values().any(|seen| seen.last() < Some(&number)) {
            let limit = Duration::from_secs(60);
            let next = async { tokio::time::timeout(limit, self.lines.next()).await };
            let next = self.host.runtime.block_on(next).unwrap();
            let line = next.unwrap().unwrap();
            let stream = match line.stream {
                LogStream::Stdout => "stdout",
                LogStream::Stderr => "stderr",
            };
            let number = line.line.parse().unwrap();
            self.seen.get_mut(stream).unwrap().push(number);
        }
    }

    /// From its first line on it has seen each exactly once, in their order.
    fn check(&self) {
        for (stream, seen) in &self.seen {
            let expected: Vec<u64> = (seen[0]..).take(seen.len()).collect();
            assert_eq!(seen, &expected, "{stream}");
        }
    }
}

/// The last number that the log holds.
fn last_number(host: &TestHost) -> u64 {
    let lines = host.logs("counter");
    lines.last().map_or(0, |line| line.line.parse().unwrap())
}

#[test]
fn who_follows_a_log_sees_each_line_once_past_the_managers_end() {
    if !possible() {
        return;
    }
    let _alone = alone();
    let host = TestHost::start();
    host.apply(&[("counter", &unit(COUNTER, ""))]);
    host.wait_unit("counter", "runs", |unit| unit.pid.is_some());
    host.until("old lines", || last_number(&host) >= 10);

    let before = last_number(&host);
    let (mut all, mut tail) = (Follower::open(&host, None), Follower::open(&host, Some(4)));
    for round in 1..=3 {
        for follower in [&mut all, &mut tail] {
            follower.read_to(before + 20 * round);
        }
        let starts = host.starts.load(Ordering::SeqCst);
        host.kill_manager();
        host.until("the next manager", || {
            host.starts.load(Ordering::SeqCst) > starts
        });
    }
    // And lines that come while the last manager is there.
    host.until("an answer", || host.unit("counter").is_some());
    let new = last_number(&host) + 20;
    for follower in [&mut all, &mut tail] {
        follower.read_to(new);
        follower.check();
    }
    assert!(all.seen.values().all(|seen| seen[0] == 1), "the old lines");
    assert!(
        tail.seen.values().all(|seen| seen[0] + 4 > before),
        "more than the tail of {before}: {:?}",
        tail.seen
    );
}
