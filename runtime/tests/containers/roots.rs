//! What a container's root is made of: mounts, their targets, and what is hidden.

use std::os::unix::fs::symlink;

use serde_json::{Value, json};

use crate::support::{bench, skipped};

#[test]
fn masked_and_read_only_paths() {
    let Some(mut bench) = bench("masked") else {
        return;
    };
    let (_, said) = bench.sh(
        "ls /proc/acpi /sys/firmware | wc -l; cat /proc/kcore | wc -c; stat -c %t:%T /proc/timer_list; \
         echo x 2>&1 > /proc/sys/kernel/hostname; ls /dev; \
         echo ok > /dev/null && echo null works",
    );
    for expected in [
        "1:3",
        "Read-only file system",
        "null works",
        "urandom",
        "tty",
    ] {
        assert!(said.contains(expected), "{expected}: {said}");
    }

    bench.config["root"]["readonly"] = json!(true);
    let (_, said) = bench.sh("echo x > /tmp/x");
    assert!(said.contains("Read-only file system"), "{said}");
}

#[test]
fn mount_targets_stay_inside() {
    let Some(mut bench) = bench("targets") else {
        return;
    };
    let outside = bench.path("outside");
    std::fs::create_dir(&outside).unwrap();
    let up = "../".repeat(20);
    let escape = format!("{up}{}", outside.display());
    std::os::unix::fs::symlink(escape, bench.rootfs().join("escape")).unwrap();
    let base = bench.config["mounts"].clone();
    let mount = |destination: &str| {
        let mut mounts = base.as_array().unwrap().clone();
        mounts.push(json!({ "destination": destination, "type": "tmpfs", "source": "tmpfs" }));
        json!(mounts)
    };
    // What the link means inside is made there, by the container's own root, if at all.
    bench.config["mounts"] = mount("/escape/dir");
    let _ = bench.run();
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0);
    for destination in ["/proc/sys", "/proc/1/attr", "/../x"] {
        bench.config["mounts"] = mount(destination);
        let (status, said) = bench.run();
        assert_eq!(status, 1, "{destination}: {said}");
    }
    bench.config["mounts"] = base.clone();
    for name in ["proc", "sys", "dev"] {
        let dir = bench.rootfs().join(name);
        std::fs::remove_dir(&dir).unwrap();
        std::os::unix::fs::symlink("/tmp", &dir).unwrap();
        let (status, said) = bench.run();
        assert!(
            status == 1 && said.contains("must be real directories"),
            "{name}: {said}"
        );
        std::fs::remove_file(&dir).unwrap();
        std::fs::create_dir(&dir).unwrap();
    }
    bench.assert_nothing_left();
}

#[test]
fn bind_mounts() {
    let Some(mut bench) = bench("bind") else {
        return;
    };
    let source = bench.path("volume");
    std::fs::create_dir(&source).unwrap();
    std::fs::write(source.join("file"), "content\n").unwrap();
    let mounts = bench.config["mounts"].as_array_mut().unwrap();
    mounts.push(json!({ "destination": "/data", "source": source, "options": ["rbind", "idmap"] }));
    mounts.push(json!({ "destination": "/ro/file", "source": source.join("file"), "options": ["bind", "ro"] }));
    let (status, said) = bench.sh(
        "stat -c %u:%g /data/file; echo new > /data/made; cat /ro/file; echo x > /ro/file; true",
    );
    if said.contains("no id-mapped mounts") {
        return skipped(&said);
    }
    assert_eq!(status, 0, "{said}");
    assert!(said.contains("0:0\n") && said.contains("content"), "{said}");
    assert!(said.contains("Read-only file system"), "{said}");
    use std::os::unix::fs::MetadataExt;
    assert_eq!(
        std::fs::metadata(source.join("made")).unwrap().uid(),
        0,
        "id-mapped back"
    );
}

/// As an image's WORKDIR may name one; a root that stays read-only is no hindrance.
#[test]
fn a_missing_working_directory_is_made() {
    let Some(mut bench) = bench("cwd") else {
        return;
    };
    bench.config["root"]["readonly"] = json!(true);
    bench.config["process"]["cwd"] = json!("/srv/app");
    let (status, said) = bench.sh("pwd; stat -c %a:%u . /srv");
    assert_eq!((status, &*said), (0, "/srv/app\n755:0\n755:0\n"));
    bench.assert_nothing_left();
}

/// Else the container would have files of its image's making where it expects the kernel's.
#[test]
fn no_link_leads_a_mount_to_proc() {
    let Some(mut bench) = bench("proc") else {
        return;
    };
    let volume = bench.path("volume");
    std::fs::create_dir(&volume).unwrap();
    std::fs::write(volume.join("file"), "").unwrap();
    for (link, target) in [
        ("data", "/proc"),
        ("file", "/proc/version"),
        ("dir", "proc/sys"),
    ] {
        symlink(target, bench.rootfs().join(link)).unwrap();
    }
    let base = bench.config["mounts"].as_array().unwrap().clone();
    for (destination, source) in [
        ("/data", volume.clone()),
        ("/dir", volume.clone()),
        ("/file", volume.join("file")),
        ("/data/version", volume.join("file")),
    ] {
        let mut mounts = base.clone();
        mounts.push(json!({"destination": destination, "source": source, "options": ["bind"]}));
        bench.config["mounts"] = json!(mounts);
        let (status, said) = bench.run();
        let refused = status == 1 && said.contains("leads to /proc");
        assert!(refused, "{destination}: {status} {said}");
    }
    // A file that stands in for one of the kernel's is mounted by name.
    let mut mounts = base.clone();
    let source = volume.join("file");
    mounts.push(json!({"destination": "/proc/uptime", "source": source, "options": ["bind"]}));
    bench.config["mounts"] = json!(mounts);
    assert_eq!(bench.sh("wc -c < /proc/uptime"), (0, "0\n".into()));
    bench.assert_nothing_left();
}

/// As images of systems with systemd-resolved have it.
#[test]
fn a_file_is_mounted_behind_a_link_that_leads_nowhere() {
    let Some(mut bench) = bench("link") else {
        return;
    };
    let source = bench.path("resolv.conf");
    std::fs::write(&source, "nameserver 192.0.2.1\n").unwrap();
    let link = bench.rootfs().join("etc/resolv.conf");
    symlink("../run/systemd/resolve/stub-resolv.conf", link).unwrap();
    let mounts = bench.config["mounts"].as_array_mut().unwrap();
    mounts.push(json!({
        "destination": "/etc/resolv.conf", "source": source, "options": ["bind", "ro"]
    }));
    let (status, said) = bench.sh("cat /etc/resolv.conf");
    assert_eq!((status, &*said), (0, "nameserver 192.0.2.1\n"));
    bench.assert_nothing_left();
}

#[test]
fn what_a_mount_says_is_taken_or_refused() {
    let Some(mut bench) = bench("words") else {
        return;
    };
    let source = bench.path("volume");
    std::fs::create_dir(&source).unwrap();
    let good = bench.config.clone();
    let mount = |value: Value| {
        let mut config = good.clone();
        config["mounts"].as_array_mut().unwrap().push(value);
        config
    };
    bench.config =
        mount(json!({"destination": "/data", "source": source, "options": ["bind", "noexce"]}));
    let (status, said) = bench.run();
    assert!(status == 1 && said.contains("noexce"), "{status} {said}");
    bench.config = mount(json!({"destination": "/x", "type": "tmpfs", "source": "scratch"}));
    let (status, said) = bench.sh("grep ' /x ' /proc/mounts");
    assert!(
        status == 0 && said.starts_with("scratch /x tmpfs"),
        "{said}"
    );
    bench.assert_nothing_left();
}
