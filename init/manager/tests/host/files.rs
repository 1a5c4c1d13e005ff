//! Unit files and images that come and go under the manager's hands.

use orlop_control::types::{UnitFile, UnitState};

use super::made::make_store;
use super::support::{IMAGE, TestHost, alone, possible};
use super::unit;

#[test]
fn a_unit_whose_file_is_gone_is_stopped_and_keeps_what_it_wrote() {
    if !possible() {
        return;
    }
    let _alone = alone();
    let host = TestHost::start();
    let script = "n=$(busybox cat /life 2>/dev/null || echo 0); n=$((n+1)); echo $n >/life; \
        echo life $n; exec busybox sleep 1000000";
    let text = unit(script, "");
    host.apply(&[("keeper", &text)]);
    let life = |number: &str| {
        let line = format!("life {number}");
        host.until(&line, || {
            host.logs("keeper").iter().any(|logged| logged.line == line)
        });
    };
    life("1");
    let file = host.dir.join("etc/orlop/units/keeper.toml");
    let upper = host.dir.join("var/lib/orlop/containers/keeper");
    let abandoned = || {
        let unit = host.wait_unit("keeper", "stopped", |unit| {
            unit.state == UnitState::Stopped && unit.container_id.is_none()
        });
        let reason = unit.reason.unwrap();
        assert!(reason.contains("its file is gone"), "{reason}");
        assert!(upper.exists());
        let started = host.runtime.block_on(host.client.start("keeper"));
        let error = started.unwrap_err().to_string();
        assert!(error.contains("is gone"), "{error}");
    };
    std::fs::remove_file(&file).unwrap();
    abandoned();
    // Neither another manager nor a boot, which leaves no records, forgets it.
    let records = host.dir.join("run/orlop/manager/units");
    for boot in [false, true] {
        let starts = host.starts.load(std::sync::atomic::Ordering::SeqCst);
        if boot {
            std::fs::remove_file(records.join("keeper.json")).unwrap();
        }
        host.kill_manager();
        host.until("another manager", || {
            host.starts.load(std::sync::atomic::Ordering::SeqCst) > starts
        });
        abandoned();
    }
    std::fs::write(&file, &text).unwrap();
    life("2");
    std::fs::remove_file(&file).unwrap();
    abandoned();
    host.runtime.block_on(host.client.remove("keeper")).unwrap();
    host.until("gone", || host.unit("keeper").is_none());
    assert!(!upper.exists() && !host.dir.join("var/log/orlop/keeper").exists());
}

#[test]
fn images_without_a_name_go_once_no_container_runs_from_them() {
    if !possible() {
        return;
    }
    let _alone = alone();
    let host = TestHost::start();
    let store = host.dir.join("var/lib/orlop/images");
    let image = store.join(make_store(&store, "localhost/loaded:1"));
    let file = unit("busybox sleep 1000", "").replace(IMAGE, "localhost/loaded:1");
    host.apply(&[("stay", &file)]);
    host.wait_unit("stay", "running", |unit| unit.state == UnitState::Running);
    // As after a load of another image by the same name.
    std::fs::write(store.join("index.json"), r#"{"images": []}"#).unwrap();
    let orphan = store.join("0".repeat(64));
    std::fs::create_dir_all(orphan.join("rootfs")).unwrap();
    host.kill_manager();
    host.until("the orphan is deleted", || !orphan.exists());
    assert!(image.exists(), "a container runs from it");
    host.runtime.block_on(host.client.remove("stay")).unwrap();
    host.until("removed", || host.unit("stay").is_none());
    host.kill_manager();
    host.until("the image is deleted", || !image.exists());
}

#[test]
fn what_is_accepted_but_not_in_force_is_said_and_follows() {
    if !possible() {
        return;
    }
    let _alone = alone();
    let host = TestHost::start();
    host.until("a manager", || {
        host.runtime.block_on(host.client.status()).is_ok()
    });
    // Nothing can be renamed into another file system.
    host.mount_small("etc/orlop/units", "64k");
    let files = ["db", "web"].map(|name| UnitFile {
        name: name.to_owned(),
        content: unit("exec busybox sleep 1000000", ""),
    });
    let report = host
        .runtime
        .block_on(host.client.apply(files.to_vec(), false))
        .unwrap();
    let warning = report.warnings[0].to_string();
    assert!(warning.contains("not all in force yet"), "{warning}");
    let warned = || {
        let status = host.runtime.block_on(host.client.status()).unwrap();
        let mut warnings = status.warnings.iter();
        warnings.any(|warning| warning.contains("not all unit files"))
    };
    assert!(warned());
    host.unmount("etc/orlop/units");
    for name in ["db", "web"] {
        host.wait_unit(name, "runs", |unit| unit.state == UnitState::Running);
    }
    assert!(!warned());
}

/// A version that comes up again after another was given up does not understand what that one, or an
/// operator for it, put into `/etc/orlop`: it goes by what was there when it last ran.
#[test]
fn what_a_newer_version_left_is_rejected_and_what_was_before_runs() {
    if !possible() {
        return;
    }
    let _alone = alone();
    let root = "ab".repeat(32);
    let text = unit("exec busybox sleep 1000000", "");
    let newer = format!("{text}\n[container.newer]\nkey = 1\n");
    let host = TestHost::start_with(|dir| {
        let put = |path: &str, text: &str| {
            let path = dir.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        let report = format!(
            "{{\"version\":\"1.0.0\",\"slot\":\"a\",\"serial\":1,\"rootHash\":\"{root}\",\
             \"state\":\"ok\",\"stateDetail\":\"\",\"watchdog\":\"none\",\"bootId\":\"x\",\
             \"pid1StartMs\":0,\"managerExecMs\":0,\"phases\":[]}}"
        );
        put("run/orlop/boot.json", &report);
        put(
            "usr/lib/orlop/host.toml",
            "name = \"demo\"\nversion = \"1.0.0\"\n",
        );
        put("etc/orlop/host.toml", "[newer]\nkey = 1\n");
        put("etc/orlop/units/web.toml", &newer);
        put("etc/orlop/units/other.toml", &newer);
        let before = "var/lib/orlop/update/before";
        put(&format!("{before}/root"), &root);
        put(&format!("{before}/units/web.toml"), &text);
        put(
            &format!("{before}/host.toml"),
            "[network]\nhostname = \"rack1\"\n",
        );
    });
    let web = host.wait_unit("web", "running", |unit| unit.state == UnitState::Running);
    assert!(!web.diagnostics.is_empty(), "{web:?}");
    let other = host.wait_unit("other", "rejected", |unit| !unit.diagnostics.is_empty());
    assert_eq!(other.container_id, None);
    let status = host.runtime.block_on(host.client.status()).unwrap();
    assert_eq!(status.name, "rack1");
    let told = status.warnings.join("\n");
    assert!(
        told.contains("what it was before the last update is used"),
        "{told}"
    );
    // The newer file stays, and mended it is what counts.
    let file = host.dir.join("etc/orlop/units/web.toml");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), newer);
    std::fs::write(&file, format!("# mended\n{text}")).unwrap();
    host.wait_unit("web", "mended", |unit| {
        unit.diagnostics.is_empty() && unit.state == UnitState::Running
    });
}
