//! What the words of a mount do.

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::support::{BASE, Bench, bench, skipped, text};

fn mount(bench: &mut Bench, value: Value) {
    bench.config["mounts"].as_array_mut().unwrap().push(value);
}

fn volume(bench: &Bench) -> std::path::PathBuf {
    let path = bench.path("volume");
    std::fs::create_dir_all(path.join("below")).unwrap();
    path
}

/// Runs the container in a mount namespace of its own, after `before` and with `"$@"` being the
/// command that runs it. Mounts there are shared, and with nobody outside, even where systemd
/// shares the machine's own.
fn run_among(bench: &Bench, before: &str) -> (i32, String) {
    let run = bench.command(&["run", &bench.id("run")]);
    let mut shell = Command::new("unshare");
    let script = format!("mount --make-rshared /; {before}");
    shell.args(["-m", "--propagation", "private", "sh", "-e", "-c"]);
    shell.args([&script, "sh"]);
    shell.arg(run.get_program()).args(run.get_args());
    shell
        .current_dir(run.get_current_dir().unwrap())
        .stdin(Stdio::null());
    text(&shell.output().unwrap())
}

#[test]
fn a_tmpfs_with_what_it_covers() {
    let Some(mut bench) = bench("copyup") else {
        return;
    };
    let dir = bench.rootfs().join("data");
    std::fs::create_dir_all(dir.join("sub")).unwrap();
    std::fs::write(dir.join("sub/file"), "content\n").unwrap();
    let file = dir.join("sub/file");
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o646)).unwrap();
    std::fs::set_permissions(&dir, PermissionsExt::from_mode(0o751)).unwrap();
    for (path, id) in [("", 3), ("sub", 3), ("sub/file", 7)] {
        let id = Some(BASE + id);
        std::os::unix::fs::chown(dir.join(path), id, id).unwrap();
    }
    bench.config["process"]["user"] = json!({"uid": 3, "gid": 3});
    mount(
        &mut bench,
        json!({"destination": "/data", "type": "tmpfs", "options": ["tmpcopyup", "nodev"]}),
    );
    let (status, said) = bench.sh(
        "stat -c %a:%u /data /data/sub/file; cat /data/sub/file; echo new > /data/sub/file; \
         grep -c '/data tmpfs' /proc/mounts",
    );
    assert_eq!((status, &*said), (0, "751:3\n646:7\ncontent\n1\n"));
    assert_eq!(std::fs::read(&file).unwrap(), b"content\n");

    bench.config["process"]["user"] = json!({"uid": 0, "gid": 0});
    // Without the word it is empty, and as open as what it covers, or as it is told to be.
    let last = bench.config["mounts"].as_array().unwrap().len() - 1;
    for (options, expected) in [
        (json!(["nodev"]), "751:0\n"),
        (json!(["mode=1777"]), "1777:0\n"),
    ] {
        bench.config["mounts"][last]["options"] = options;
        let (status, said) = bench.sh("stat -c %a:%u /data; ls /data");
        assert_eq!((status, &*said), (0, expected));
    }
    bench.config["mounts"][last] =
        json!({"destination": "/data", "type": "mqueue", "options": ["tmpcopyup"]});
    let (status, said) = bench.run();
    assert!(
        status == 1 && said.contains("tmpcopyup is for a new tmpfs"),
        "{said}"
    );
    bench.assert_nothing_left();
}

#[test]
fn a_later_entry_changes_an_earlier_one() {
    let Some(mut bench) = bench("remount") else {
        return;
    };
    let source = volume(&bench);
    let dirs = json!({"destination": "/data", "source": source, "options": ["bind"]});
    let scratch = json!({"destination": "/scratch", "type": "tmpfs", "options": ["size=64k"]});
    for value in [
        dirs,
        scratch,
        json!({"destination": "/data", "options": ["remount", "bind", "ro", "noexec"]}),
        json!({"destination": "/scratch", "options": ["remount", "size=128k"]}),
    ] {
        mount(&mut bench, value);
    }
    let (status, said) = bench.sh("echo x > /data/x; grep -E ' /(data|scratch) ' /proc/mounts");
    assert!(
        status == 0 && said.contains("Read-only file system"),
        "{said}"
    );
    assert!(
        said.contains("noexec") && said.contains("size=128k"),
        "{said}"
    );
    mount(
        &mut bench,
        json!({"destination": "/none", "options": ["remount", "ro"]}),
    );
    let (status, said) = bench.run();
    assert!(status == 1 && said.contains("mount on /none"), "{said}");
    bench.assert_nothing_left();
}

#[test]
fn words_for_everything_below() {
    let Some(mut bench) = bench("recursive") else {
        return;
    };
    let source = volume(&bench);
    let before = format!("mount -t tmpfs none {}/below; \"$@\"", source.display());
    let script = "for at in /data /data/below; do echo x > $at/x; done; \
                  grep -c -E '/data(/below)? .*[ ,]noatime' /proc/mounts; true";
    bench.args(&["sh", "-c", script]);
    for (words, refused, noatime) in [
        (json!(["rbind", "ro"]), 1, "0\n"),
        (json!(["rbind", "rro", "rnoatime"]), 2, "2\n"),
        (json!(["rbind", "rro", "rw", "noatime"]), 1, "1\n"),
    ] {
        let good = bench.config.clone();
        let value = json!({"destination": "/data", "source": source, "options": words});
        mount(&mut bench, value);
        let (status, said) = run_among(&bench, &before);
        // Those that are not read-only belong to others.
        let seen = said.matches("Read-only file system").count();
        assert_eq!((status, seen), (0, refused), "{words}: {said}");
        assert!(said.starts_with(noatime), "{words}: {said}");
        bench.config = good;
    }
    bench.assert_nothing_left();
}

#[test]
fn id_mappings_of_one_mount_and_of_all() {
    let Some(mut bench) = bench("idmaps") else {
        return;
    };
    let source = volume(&bench);
    let before = format!(
        "mount --bind {0} {0}; mount --bind {0}/below {0}/below; \"$@\"",
        source.display()
    );
    bench.args(&["stat", "-c", "%u", "/data", "/data/below"]);
    let other = json!([{"containerID": 0, "hostID": BASE + 5, "size": 10}]);
    for (words, own, expected) in [
        (json!(["rbind", "ridmap"]), false, "0\n0\n"),
        (json!(["rbind", "idmap"]), false, "0\n65534\n"),
        (json!(["rbind", "ridmap"]), true, "5\n5\n"),
        (json!(["rbind", "idmap"]), true, "5\n65534\n"),
    ] {
        let good = bench.config.clone();
        let mut value = json!({"destination": "/data", "source": source, "options": words});
        if own {
            value["uidMappings"] = other.clone();
            value["gidMappings"] = other.clone();
        }
        mount(&mut bench, value);
        let (status, said) = run_among(&bench, &before);
        if said.contains("no id-mapped mounts") {
            return skipped(&said);
        }
        assert_eq!((status, &*said), (0, expected), "{words} {own}");
        bench.config = good;
    }
    bench.assert_nothing_left();
}

/// What is mounted on the host later shows in a slave, and what a shared one gets shows there.
#[test]
fn mounts_that_come_later() {
    let Some(mut bench) = bench("later") else {
        return;
    };
    let source = volume(&bench);
    // The hook runs on the host's side while the root exists, the process of the container later.
    let hook = format!(
        "mount -t tmpfs late {0}/below; > {0}/done",
        source.display()
    );
    bench.config["hooks"] = json!({"poststart": [
        {"path": "/bin/sh", "args": ["sh", "-c", hook], "env": ["PATH=/bin:/usr/bin:/sbin"]}]});
    let before = format!(
        "mount -t tmpfs none {0}; mkdir {0}/below; \"$@\"",
        source.display()
    );
    let script = "while ! test -e /data/done; do sleep 0.02; done; \
                  grep -c '/data/below' /proc/mounts; true";
    bench.args(&["sh", "-c", script]);
    for (words, expected) in [
        (json!(["rbind"]), "0\n"),
        (json!(["rbind", "rprivate"]), "0\n"),
        (json!(["rbind", "rslave"]), "1\n"),
        (json!(["rbind", "slave"]), "1\n"),
        (json!(["rbind", "rshared"]), "1\n"),
    ] {
        let good = bench.config.clone();
        let value = json!({"destination": "/data", "source": source, "options": words});
        mount(&mut bench, value);
        let (status, said) = run_among(&bench, &before);
        assert_eq!((status, &*said), (0, expected), "{words}");
        bench.config = good;
    }
    bench.assert_nothing_left();
}

/// Whatever its configuration says, as the host would not trust it with a mount of its own.
#[test]
fn a_user_namespace_shares_nothing_with_the_host() {
    let Some(mut bench) = bench("shared") else {
        return;
    };
    let source = volume(&bench);
    let before = format!("mount -t tmpfs none {}; \"$@\"", source.display());
    let value = json!({"destination": "/data", "source": source, "options": ["rbind", "rshared"]});
    mount(&mut bench, value);
    bench.args(&["grep", " /data ", "/proc/self/mountinfo"]);
    let (status, said) = run_among(&bench, &before);
    let slave = said.contains("shared:") && said.contains("master:");
    assert!(status == 0 && slave, "{said}");
    let linux = bench.config["linux"].as_object_mut().unwrap();
    linux.remove("uidMappings");
    linux.remove("gidMappings");
    let kinds = linux["namespaces"].as_array_mut().unwrap();
    kinds.retain(|kind| kind["type"] != "user");
    let (status, said) = run_among(&bench, &before);
    let peer = said.contains("shared:") && !said.contains("master:");
    assert!(status == 0 && peer, "{said}");
    bench.assert_nothing_left();
}

#[test]
fn the_root_s_own_propagation() {
    let Some(mut bench) = bench("rootprop") else {
        return;
    };
    let line = "grep ' / / \\| /[^ ]* / ' /proc/self/mountinfo";
    for (word, has, has_not) in [
        ("", "", "shared:"),
        ("private", "", "shared:"),
        ("shared", "shared:", "master:"),
        ("slave", "", "shared:"),
        ("unbindable", "unbindable", "shared:"),
    ] {
        bench.config["linux"]["rootfsPropagation"] = json!(word);
        let (status, said) = bench.sh(line);
        assert_eq!(status, 0, "{said}");
        let right = said.contains(has) && !said.contains(has_not) && said.lines().count() == 1;
        assert!(right, "{word}: {said}");
    }
    bench.config["linux"]["rootfsPropagation"] = json!("both");
    let (status, said) = bench.run();
    assert!(
        status == 1 && said.contains("rootfsPropagation is \"both\""),
        "{said}"
    );
    bench.assert_nothing_left();
}

#[test]
fn kinds_and_attributes() {
    let Some(mut bench) = bench("kinds") else {
        return;
    };
    let source = volume(&bench);
    std::fs::write(source.join("file"), "content").unwrap();
    symlink("file", source.join("link")).unwrap();
    let kinds = [
        json!({"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue",
            "options": ["nosuid", "noexec", "nodev"]}),
        json!({"destination": "/data", "source": source, "options": ["bind", "nosymfollow"]}),
        json!({"destination": "/tight", "type": "tmpfs",
            "options": ["sync", "dirsync", "lazytime", "silent", "noiversion", "strictatime"]}),
    ];
    for value in kinds {
        mount(&mut bench, value);
    }
    let (_, said) = bench.sh(
        "stat -c %F /dev/mqueue; > /dev/mqueue/q; ls /dev/mqueue; cat /data/link; \
         grep ' /tight ' /proc/mounts",
    );
    assert!(said.starts_with("directory\nq\n"), "{said}");
    assert!(said.contains("Too many levels of symbolic links"), "{said}");
    for word in ["sync", "dirsync"] {
        assert!(said.contains(word), "{word}: {said}");
    }
    let Some(cgroup) = bench.cgroup("") else {
        return skipped("this machine has no cgroup v2");
    };
    assert!(cgroup.metadata().unwrap().is_dir());
    mount(
        &mut bench,
        json!({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
            "options": ["nosuid", "noexec", "nodev", "relatime", "ro"]}),
    );
    let (status, said) = bench.sh(
        "cat /sys/fs/cgroup/cgroup.procs; mkdir /sys/fs/cgroup/x; grep -c cgroup2 /proc/mounts",
    );
    assert!(status == 0 && said.starts_with("1\n"), "{said}");
    assert!(said.contains("Read-only file system"), "{said}");
    assert_eq!(source.metadata().unwrap().uid(), 0);
    bench.assert_nothing_left();
}

/// Readers of the list take a later one to be the upper one.
#[test]
fn mounts_are_listed_in_their_order() {
    let Some(mut bench) = bench("order") else {
        return;
    };
    let volume = volume(&bench);
    let file = bench.path("file");
    std::fs::write(&file, "").unwrap();
    let more = json!([
        { "destination": "/data", "source": volume, "options": ["rbind"] },
        { "destination": "/tmp", "type": "tmpfs" },
        { "destination": "/tmp/file", "source": file, "options": ["bind"] }
    ]);
    let mounts = bench.config["mounts"].as_array_mut().unwrap();
    mounts.extend(more.as_array().unwrap().iter().cloned());
    let (status, said) = bench.sh("cat /proc/self/mountinfo");
    assert_eq!(status, 0, "{said}");
    let mounted = bench.config["mounts"].as_array().unwrap().iter();
    let mounted: Vec<_> = mounted
        .map(|mount| mount["destination"].as_str().unwrap())
        .collect();
    let mut listed: Vec<_> = said
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .filter(|at| mounted.contains(at))
        .collect();
    // What is masked or made read-only is more mounts, after all these.
    listed.truncate(mounted.len());
    assert_eq!(listed, mounted, "{said}");
}

#[test]
fn a_bind_mount_has_no_options_of_a_file_system() {
    let Some(mut bench) = bench("bindwords") else {
        return;
    };
    let volume = volume(&bench);
    let options = json!(["bind", "ro", "size=1k", "mode=700"]);
    mount(
        &mut bench,
        json!({"destination": "/data", "source": volume, "options": options}),
    );
    let (status, said) = bench.sh("ls /data; mkdir /data/x 2>/dev/null || echo read-only");
    assert_eq!(status, 0, "{said}");
    for expected in [
        "warning: mount on /data: the option \"size\" is left out",
        "warning: mount on /data: the option \"mode\" is left out",
        "below\nread-only\n",
    ] {
        assert!(said.contains(expected), "{expected}: {said}");
    }
    let last = bench.config["mounts"]
        .as_array_mut()
        .unwrap()
        .last_mut()
        .unwrap();
    last["options"] = json!(["bind", "nosiud"]);
    let (status, said) = bench.run();
    assert!(
        status == 1 && said.contains("does not take the option \"nosiud\""),
        "{said}"
    );
    bench.assert_nothing_left();
}
