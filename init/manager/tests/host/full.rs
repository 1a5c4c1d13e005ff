//! File systems without room.

use orlop_control::client::ClientError;
use orlop_control::types::{HealthState, LogStream, UnitFile, UnitState};

use super::support::{TestHost, alone, possible};
use super::unit;

#[test]
fn a_full_disk_never_makes_a_container_wait_and_all_that_is_dropped_is_told() {
    if !possible() {
        return;
    }
    let _alone = alone();
    let host = TestHost::start();
    host.mount_small("var/log/orlop", "256k");
    let written = 4_000_000;
    let script = format!(
        "busybox yes 0123456789abcdef | busybox head -c {written}; echo done >/done; \
         exec busybox sleep 1000000"
    );
    let more = "[health]\nexec = [\"/bin/sh\", \"-c\", \"test -e /done\"]\ninterval = \"200ms\"";
    host.apply(&[("chatty", &unit(&script, more))]);
    host.wait_unit("chatty", "wrote it all", |unit| {
        unit.health == Some(HealthState::Healthy)
    });
    host.until("reported", || {
        let status = host.runtime.block_on(host.client.status()).unwrap();
        let mut warnings = status.warnings.iter();
        warnings.any(|warning| warning.contains("output were dropped"))
    });
    // Its end puts on record what was not told yet.
    host.runtime.block_on(host.client.stop("chatty")).unwrap();
    host.wait_unit("chatty", "stopped", |unit| unit.state == UnitState::Stopped);
    let (mut kept, mut dropped, mut marks) = (0, 0, 0);
    for line in host.logs("chatty") {
        let told = line.line.strip_prefix("[orlop: ");
        match told.and_then(|told| told.split_once(" bytes dropped here")) {
            Some((count, _)) => {
                dropped += count.parse::<u64>().unwrap();
                marks += 1;
            }
            None if line.stream == LogStream::Stdout => kept += line.line.len() as u64 + 1,
            None => {}
        }
    }
    assert!(kept > 0 && dropped > 0, "{kept} and {dropped}");
    // A line that a drop cuts in two has one line feed, and so has the last one none.
    let accounted = kept + dropped;
    assert!(
        accounted.abs_diff(written) <= marks + 1,
        "{kept} kept and {dropped} dropped of {written}"
    );
}

#[test]
fn unit_files_without_room_change_nothing_and_say_what_to_do() {
    if !possible() {
        return;
    }
    let _alone = alone();
    let host = TestHost::start();
    host.until("a manager", || {
        host.runtime.block_on(host.client.status()).is_ok()
    });
    host.mount_small("etc/orlop", "64k");
    let text = unit("exec busybox sleep 1000000", "");
    host.apply(&[("stay", &text)]);
    let before = host.wait_unit("stay", "runs", |unit| unit.state == UnitState::Running);
    let file = |name: &str, content: String| UnitFile {
        name: name.to_owned(),
        content,
    };
    let large = text.replace("1000000", "2000000") + &"#".repeat(100_000);
    let files = vec![file("other", text.clone()), file("stay", large)];
    let refused = host.runtime.block_on(host.client.apply(files, false));
    let Err(ClientError::Api(error)) = refused else {
        panic!("taken: {refused:?}");
    };
    assert_eq!(
        (error.status, error.code.as_str()),
        (507, "noSpace"),
        "{error}"
    );
    assert!(error.message.contains("nothing changed"), "{error}");
    assert!(error.help.unwrap().contains("orlop rm"));
    assert!(host.unit("other").is_none());
    assert_eq!(host.unit("stay").unwrap().pid, before.pid);
    // What was written of them is gone: there is room for what fits.
    host.apply(&[("other", &text)]);
    host.wait_unit("other", "runs", |unit| unit.state == UnitState::Running);
}

#[test]
fn a_unit_that_lacks_room_says_what_to_do_and_starts_once_there_is_some() {
    if !possible() {
        return;
    }
    let _alone = alone();
    let host = TestHost::start();
    host.until("a manager", || {
        host.runtime.block_on(host.client.status()).is_ok()
    });
    // One block: room for the ids on record, and for nothing else.
    host.mount_small("var/lib/orlop", "4k");
    host.apply(&[("late", &unit("exec busybox sleep 1000000", ""))]);
    host.wait_unit("late", "says why", |unit| {
        let reason = unit.reason.as_deref().unwrap_or_default();
        reason.contains("no room on the state partition") && reason.contains("orlop rm")
    });
    host.unmount("var/lib/orlop");
    host.wait_unit("late", "runs", |unit| unit.state == UnitState::Running);
}
