//! A manager that is killed while it works.

use std::collections::BTreeMap;
use std::time::Duration;

use orlop_control::types::UnitState;

use super::support::{TestHost, alone, possible};
use super::unit;

/// Each life of the container writes where the one before left off, more than
/// a megabyte a second, and ends with a code that tells its life's number.
const WRITER: &str = "n=$(busybox cat /life 2>/dev/null || echo 0); n=$((n+1)); echo $n >/life; \
    busybox awk -v life=$n 'BEGIN { pad = sprintf(\"%060d\", 0); \
    for (i = 1; i <= 8000; i++) print life, i, pad }'; \
    exit $((n % 200 + 1))";

#[test]
fn a_manager_killed_again_and_again_loses_no_line_and_no_exit() {
    if !possible() {
        return;
    }
    let _alone = alone();
    let host = TestHost::start();
    let more =
        "[restart]\nbackoff-min = \"10ms\"\nbackoff-max = \"20ms\"\n[logs]\nmax-size = \"512M\"";
    host.apply(&[("writer", &unit(WRITER, more))]);
    let mut seed = 12345_u64;
    for round in 0..30 {
        // A manager of its own for each kill, at any moment of its life.
        let starts = host.starts.load(std::sync::atomic::Ordering::SeqCst);
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        std::thread::sleep(Duration::from_millis(10 + (seed >> 33) % 400));
        host.kill_manager();
        host.until(&format!("manager after kill {round}"), || {
            host.starts.load(std::sync::atomic::Ordering::SeqCst) > starts
        });
    }
    host.until("stopped", || {
        host.runtime.block_on(host.client.stop("writer")).is_ok()
    });
    host.wait_unit("writer", "stopped", |unit| unit.state == UnitState::Stopped);
    let codes = host.exit_codes("writer");
    let mut lives: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    for line in host.logs("writer") {
        let mut words = line.line.split(' ').map(|word| word.parse::<u64>());
        let (Some(Ok(life)), Some(Ok(number))) = (words.next(), words.next()) else {
            panic!("torn: {:?}", line.line);
        };
        lives.entry(life).or_default().push(number);
    }
    let last = *lives.keys().last().unwrap();
    assert!(last > 5, "only {last} lives");
    for (life, numbers) in &lives {
        let expected: Vec<u64> = (1..=numbers.len() as u64).collect();
        assert_eq!(numbers, &expected, "life {life}");
        assert!(*life == last || numbers.len() == 8000, "life {life} is cut");
    }
    assert_eq!(lives.len() as u64, last, "a life without lines");
    // The last life may have been stopped by the signal.
    let whole: Vec<i64> = (1..=last as i64).map(|life| life % 200 + 1).collect();
    let known = codes.len().min(whole.len() - 1);
    assert_eq!(codes[..known], whole[..known], "codes {codes:?}");
    assert_eq!(codes.len() as u64, last, "one exit a life");
}

#[test]
fn an_exit_that_cannot_be_recorded_outlives_its_manager() {
    if !possible() {
        return;
    }
    let _alone = alone();
    let host = TestHost::start();
    // A file where the directory of the records should be.
    let exits = host.dir.join("var/lib/orlop/exits");
    std::fs::create_dir_all(exits.parent().unwrap()).unwrap();
    std::fs::write(&exits, "").unwrap();
    host.apply(&[("once", &unit("exit 7", "[restart]\npolicy = \"never\""))]);
    let gone = |unit: &orlop_control::types::UnitStatus| {
        unit.state == UnitState::Failed && unit.container_id.is_none()
    };
    host.wait_unit("once", "gone", gone);
    // The next manager knows nothing of it but what is on record.
    let starts = host.starts.load(std::sync::atomic::Ordering::SeqCst);
    host.kill_manager();
    host.until("the next manager", || {
        host.starts.load(std::sync::atomic::Ordering::SeqCst) > starts
    });
    let status = host.wait_unit("once", "still failed", gone);
    assert_eq!(status.last_exit.unwrap().code, Some(7));
    let warns = || {
        let status = host.runtime.block_on(host.client.status());
        status.is_ok_and(|status| {
            let mut warnings = status.warnings.iter();
            warnings.any(|warning| warning.contains("of once"))
        })
    };
    host.until("the warning", warns);
    std::fs::remove_file(&exits).unwrap();
    host.until("the record", || host.exit_codes("once") == [7]);
    host.until("no warning", || !warns());
}

#[test]
fn a_unit_waits_until_a_container_that_no_record_knows_is_gone() {
    if !possible() {
        return;
    }
    let _alone = alone();
    let host = TestHost::start();
    host.apply(&[("web", &unit("exec busybox sleep 1000000", ""))]);
    let running = |unit: &orlop_control::types::UnitStatus| unit.state == UnitState::Running;
    let before = host.wait_unit("web", "runs", running);
    let id = before.container_id.unwrap();
    // As if a call for it were under way: nobody may take it away yet.
    let lock = host.dir.join(format!("run/orlop/containers/{id}/lock"));
    let lock = std::fs::File::options().write(true).open(lock).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let record = host.dir.join("run/orlop/manager/units/web.json");
    std::fs::write(record, "another version's").unwrap();
    host.kill_manager();
    host.wait_unit("web", "waits", |unit| {
        let reason = unit.reason.as_ref();
        unit.state == UnitState::Waiting && reason.is_some_and(|reason| reason.contains(&id))
    });
    drop(lock);
    let after = host.wait_unit("web", "runs again", running);
    assert_ne!(after.container_id.as_ref(), Some(&id));
    let old = format!("/proc/{}", before.pid.unwrap());
    host.until("the old one's end", || !std::path::Path::new(&old).exists());
    assert_eq!(host.exit_codes("web"), [0_i64; 0]);
}
