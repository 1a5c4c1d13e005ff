//! Units that cannot be put on record.

use orlop_control::client::ClientError;
use orlop_control::types::{UnitState, UnitStatus};

use super::support::{TestHost, alone, possible};
use super::unit;

const RECORDS: &str = "run/orlop/manager/units";
const FOREVER: &str = "echo ran; exec busybox sleep 1000000";
/// Not even an empty file fits.
const NOTHING: &str = "4k,nr_inodes=1";

fn warned(host: &TestHost) -> bool {
    let status = host.runtime.block_on(host.client.status()).unwrap();
    let mut warnings = status.warnings.iter();
    warnings.any(|warning| warning.contains("cannot be put on record"))
}

fn wait_unrecorded(host: &TestHost, name: &str) {
    let unit = host.wait_unit(name, "is not begun", |unit| {
        let reason = unit.reason.as_deref().unwrap_or_default();
        unit.state == UnitState::Backoff && reason.contains("cannot be put on record")
    });
    assert_eq!((unit.pid, unit.container_id), (None, None));
    assert_eq!(host.logs(name).len(), 0, "it ran");
}

fn wait_running(host: &TestHost, name: &str) -> UnitStatus {
    host.wait_unit(name, "runs", |unit| unit.state == UnitState::Running)
}

fn is_refused(answer: Result<UnitStatus, ClientError>) -> bool {
    matches!(answer, Err(ClientError::Api(error)) if error.code == "notOnRecord")
}

#[test]
fn a_unit_that_cannot_be_put_on_record_is_not_begun() {
    if !possible() {
        return;
    }
    let _alone = alone();
    let host = TestHost::start();
    host.until("a manager", || {
        host.runtime.block_on(host.client.status()).is_ok()
    });
    host.mount_small(RECORDS, NOTHING);
    host.apply(&[("web", &unit(FOREVER, ""))]);
    wait_unrecorded(&host, "web");
    assert!(warned(&host));
    let made = host.dir.join("var/lib/orlop/containers/web");
    assert!(!made.exists(), "something was made for it");
    host.unmount(RECORDS);
    wait_running(&host, "web");
    assert!(made.exists());
    assert!(!warned(&host));
}

#[test]
fn a_container_whose_process_cannot_be_put_on_record_is_not_let_go() {
    if !possible() {
        return;
    }
    let _alone = alone();
    let host = TestHost::start();
    let text = unit(FOREVER, "");
    host.apply(&[("web", &text)]);
    wait_running(&host, "web");
    let record = host.dir.join(RECORDS).join("web.json");
    let length = std::fs::metadata(&record).unwrap().len();
    // Two blocks: a record of one can be replaced. With its process and image
    // a record is about a hundred bytes longer than before, and with the time
    // of its start another thirty: it grows over the first block's end when
    // its process is there.
    let padding = usize::try_from(4096 + 80 - length).unwrap();
    host.runtime.block_on(host.client.remove("web")).unwrap();
    host.until("removed", || host.unit("web").is_none());
    host.mount_small(RECORDS, "8k");
    host.apply(&[("web", &(text + &"#".repeat(padding)))]);
    wait_unrecorded(&host, "web");
    host.unmount(RECORDS);
    wait_running(&host, "web");
    assert!(!warned(&host));
}

#[test]
fn what_cannot_be_put_on_record_is_not_acknowledged_but_follows() {
    if !possible() {
        return;
    }
    let _alone = alone();
    let host = TestHost::start();
    host.apply(&[("web", &unit(FOREVER, ""))]);
    let before = wait_running(&host, "web");
    let (ask, client) = (&host.runtime, &host.client);
    host.mount_small(RECORDS, NOTHING);
    assert!(is_refused(ask.block_on(client.restart("web"))));
    assert!(warned(&host));
    host.unmount(RECORDS);
    let after = host.wait_unit("web", "runs again", |unit| {
        unit.state == UnitState::Running && unit.pid != before.pid
    });
    host.mount_small(RECORDS, NOTHING);
    assert!(is_refused(ask.block_on(client.stop("web"))));
    host.wait_unit("web", "stopped", |unit| unit.state == UnitState::Stopped);
    assert!(is_refused(ask.block_on(client.start("web"))));
    assert!(is_refused(ask.block_on(client.stop("web"))));
    host.unmount(RECORDS);
    host.until("it is on record", || !warned(&host));
    host.kill_manager();
    let stopped = host.wait_unit("web", "stays stopped", |unit| {
        unit.state == UnitState::Stopped && unit.pid.is_none()
    });
    assert!(after.pid.is_some() && stopped.pid.is_none());
}

#[test]
fn a_record_of_user_ids_that_cannot_be_read_keeps_only_new_containers_waiting() {
    if !possible() {
        return;
    }
    let _alone = alone();
    let host = TestHost::start();
    let text = unit(FOREVER, "");
    host.apply(&[("web", &text)]);
    let before = wait_running(&host, "web");
    let ids = host.dir.join("var/lib/orlop/ids.json");
    let good = std::fs::read(&ids).unwrap();
    std::fs::write(&ids, "{").unwrap();
    let starts = || host.starts.load(std::sync::atomic::Ordering::SeqCst);
    let first = starts();
    host.kill_manager();
    host.until("another manager", || starts() > first);
    host.apply(&[("web", &text), ("new", &text)]);
    host.wait_unit("new", "is not made", |unit| {
        let reason = unit.reason.as_deref().unwrap_or_default();
        unit.state == UnitState::Backoff && reason.contains("ids.json")
    });
    assert_eq!(wait_running(&host, "web").pid, before.pid);
    let status = host.runtime.block_on(host.client.status()).unwrap();
    let warned = |warning: &String| warning.contains("ids.json");
    assert!(status.warnings.iter().any(warned), "{:?}", status.warnings);
    std::fs::write(&ids, good).unwrap();
    wait_running(&host, "new");
}
