//! Options of `create`, `run` and `exec`.

use std::process::Command;

use serde_json::json;

use crate::support::{Bench, bench, refused, skipped, started, text};

/// CVE-2026-30892: who is asked for in a way that is not understood is not root.
#[test]
fn no_odd_user_is_root() {
    let Some(mut bench) = bench("user") else {
        return;
    };
    let id = bench.id("user");
    started(&mut bench, &id);
    for user in [
        "",
        " ",
        ":",
        "root",
        "nobody",
        "-1",
        "+5",
        "0x10",
        "1000:",
        ":1000",
        "1:2:3",
        "1000 ",
        "1,2",
        "4294967295",
        "4294967296",
        "99999999999999999999",
        "1000:users",
        "70000",
        "5:70000",
    ] {
        let (status, said) = text(&bench.call(&["exec", &format!("--user={user}"), &id, "id"]));
        assert!(status == 1 && !said.contains("uid="), "{user:?}: {said}");
    }
    bench.quiet(&["delete", "--force", &id]);
    bench.assert_nothing_left();
}

#[test]
fn groups_and_capabilities_of_a_process() {
    let Some(mut bench) = bench("caps") else {
        return;
    };
    let id = bench.id("caps");
    started(&mut bench, &id);
    let exec = |args: &[&str]| text(&bench.call(&[&["exec"], args].concat()));
    let status_file = "/proc/self/status";
    let (status, said) = exec(&[
        "-u",
        "7:8",
        "-g",
        "9",
        "-g",
        "10",
        "--cap",
        "CAP_NET_RAW",
        "-c",
        "chown",
        &id,
        "sh",
        "-c",
        "id; grep CapBnd /proc/self/status",
    ]);
    assert!(
        status == 0 && said.contains("uid=7 gid=8 groups=9,10"),
        "{said}"
    );
    assert!(said.contains("CapBnd:\t0000000000002421"), "{said}");
    let (_, said) = exec(&[
        "--cap",
        "NET_RAW",
        &id,
        "grep",
        "-E",
        "CapPrm|CapInh",
        status_file,
    ]);
    assert!(said.contains("CapPrm:\t0000000000002421"), "{said}");
    assert!(said.contains("CapInh:\t0000000000000000"), "{said}");
    refused(
        &bench,
        &["exec", "--cap", "CAP_NOPE", &id, "id"],
        "no such capability",
    );
    let process = bench.path("bundle/process");
    std::fs::write(
        &process,
        r#"{"user":{"uid":0,"gid":0},"args":["id"],"cwd":"/"}"#,
    )
    .unwrap();
    refused(
        &bench,
        &["exec", "-p", "process", "--cap", "CHOWN", &id],
        "beside --process",
    );
    let (status, said) = exec(&["-p", "process", &id]);
    assert!(status == 0 && said.contains("uid=0"), "{said}");
    bench.quiet(&["delete", "--force", &id]);
    bench.assert_nothing_left();
}

#[test]
fn no_new_privileges_on_demand() {
    let Some(mut bench) = bench("nonew") else {
        return;
    };
    let id = bench.id("nonew");
    bench.config["process"]["noNewPrivileges"] = json!(false);
    started(&mut bench, &id);
    for (option, expected) in [
        (&[][..], "NoNewPrivs:\t0"),
        (&["--no-new-privs"][..], "NoNewPrivs:\t1"),
    ] {
        let grep = [&id, "grep", "NoNewPrivs", "/proc/self/status"];
        let (_, said) = text(&bench.call(&[&["exec"], option, &grep].concat()));
        assert!(said.contains(expected), "{option:?}: {said}");
    }
    bench.quiet(&["delete", "--force", &id]);
    bench.assert_nothing_left();
}

#[test]
fn options_of_create_and_run() {
    let Some(mut bench) = bench("options") else {
        return;
    };
    let id = bench.id("options");
    bench.args(&["sleep", "1000"]);
    std::fs::write(bench.path("other.json"), bench.config.to_string()).unwrap();
    bench.config = json!({ "not": "a config" });
    refused(
        &bench,
        &["create", "--config", "../nope.json", &id],
        "nope.json",
    );
    bench.quiet(&["create", &id, "--config", "../other.json"]);
    bench.quiet(&["start", &id]);
    assert_eq!(text(&bench.call(&["exec", &id, "sh", "-c", "exit 8"])).0, 8);
    assert_eq!(text(&bench.call(&["list", "-q"])), (0, format!("{id}\n")));
    bench.quiet(&["delete", "--force", &id]);
    bench.config =
        serde_json::from_slice(&std::fs::read(bench.path("other.json")).unwrap()).unwrap();

    bench.args(&["true"]);
    refused(&bench, &["run", "--no-pivot", &id], "--no-pivot");
    bench.quiet(&["run", "--keep", &id]);
    assert_eq!(bench.status(&id), "stopped");
    bench.quiet(&["delete", &id]);
    bench.quiet(&["--rootless=auto", "--cgroup-manager=cgroupfs", "run", &id]);
    let systemd = std::path::Path::new("/run/systemd/system").is_dir();
    let (status, said) = text(&bench.call(&["--systemd-cgroup", "run", &id]));
    assert_eq!(status, 0, "{said}");
    let (path, expected) = if systemd {
        ("/a/b", "SLICE:PREFIX:NAME")
    } else {
        ("a.slice:b:c", "is for systemd")
    };
    bench.config["linux"]["cgroupsPath"] = json!(path);
    refused(&bench, &["--systemd-cgroup", "run", &id], expected);
    bench.assert_nothing_left();
}

#[test]
fn the_keyring_may_stay_the_callers() {
    let Some(mut bench) = bench("keyring") else {
        return;
    };
    if !std::path::Path::new("/proc/keys").exists() {
        return skipped("this kernel has no keys");
    }
    let id = bench.id("keyring");
    bench.config["linux"]["maskedPaths"] = json!([]);
    // A user that was never before: users see the keyrings of all their processes, and for a
    // while those that are gone.
    let base = 1_000_000 + std::process::id() % 30_000 * 65_536;
    let ids = json!([{ "containerID": 0, "hostID": base, "size": 65536 }]);
    bench.config["linux"]["uidMappings"] = ids.clone();
    bench.config["linux"]["gidMappings"] = ids;
    let owner = format!("{base}:{base}");
    let mut chown = Command::new("chown");
    chown.args(["-hR", &owner]).arg(bench.rootfs());
    assert!(chown.status().unwrap().success());
    for (option, own) in [(&["--no-new-keyring"][..], false), (&[][..], true)] {
        bench.args(&["sleep", "1000"]);
        bench.quiet(&[&["create"], option, &[&id]].concat());
        bench.quiet(&["start", &id]);
        let (status, said) = text(&bench.call(&["exec", &id, "cat", "/proc/keys"]));
        assert!(
            status == 0 && said.contains("_ses") == own,
            "{option:?}: {said}"
        );
        bench.quiet(&["delete", "--force", &id]);
        bench.args(&["cat", "/proc/keys"]);
        let (status, said) = text(&bench.call(&[&["run"], option, &[&id]].concat()));
        assert!(
            status == 0 && said.contains("_ses") == own,
            "{option:?}: {said}"
        );
    }
    bench.assert_nothing_left();
}

#[test]
fn without_a_cgroup_of_its_own() {
    let Some(mut bench) = bench("nocgroup") else {
        return;
    };
    let id = bench.id("nocgroup");
    bench.args(&["sleep", "1000"]);
    let disabled = "--cgroup-manager=disabled";
    bench.quiet(&[disabled, "create", &id]);
    let of = |pid: &str| {
        let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
        text.lines()
            .find(|line| line.starts_with("0::"))
            .map(str::to_owned)
    };
    assert_eq!(of(&bench.pid(&id).to_string()), of("self"));
    bench.quiet(&["start", &id]);
    bench.quiet(&["exec", &id, "true"]);
    for args in [
        vec!["pause", &id],
        vec!["ps", &id],
        vec!["update", "--pids-limit", "5", &id],
    ] {
        refused(&bench, &args, "no cgroup of its own");
    }
    bench.quiet(&["delete", "--force", &id]);
    bench.config["linux"]["resources"] = json!({ "pids": { "limit": 5 } });
    bench.args(&["true"]);
    refused(&bench, &[disabled, "run", &id], "pids.limit");
    bench.assert_nothing_left();
}

/// Such is no error, by the spec, but a warning, and the process goes without.
#[test]
fn capabilities_that_cannot_be_granted_are_left_out() {
    let Some(mut bench) = bench("lostcaps") else {
        return;
    };
    let id = bench.id("lostcaps");
    let names = json!(["CAP_KILL", "CAP_OF_TOMORROW"]);
    for set in ["bounding", "permitted", "effective"] {
        bench.config["process"]["capabilities"][set] = names.clone();
    }
    bench.config["process"]["capabilities"]["effective"] = json!(["CAP_KILL", "CAP_CHOWN"]);
    let (status, said) = bench.sh("grep Cap /proc/self/status");
    assert_eq!(status, 0, "{said}");
    for expected in [
        "warning: process.capabilities: CAP_OF_TOMORROW is left out: there is no such",
        "warning: process.capabilities: CAP_CHOWN is left out: it cannot be granted",
        "CapPrm:\t0000000000000020\n",
        "CapEff:\t0000000000000020\n",
        "CapBnd:\t0000000000000020\n",
    ] {
        assert!(said.contains(expected), "{expected}: {said}");
    }
    // In the log, if there is one; and of a process for `exec` as well.
    started(&mut bench, &id);
    let log = bench.path("log");
    let mut process = bench.config["process"].clone();
    process["args"] = json!(["true"]);
    let file = bench.path("process.json");
    std::fs::write(&file, process.to_string()).unwrap();
    let (log, file) = (log.to_str().unwrap(), file.to_str().unwrap());
    let exec = [
        "--log",
        log,
        "--log-format=json",
        "exec",
        "--process",
        file,
        &id,
    ];
    assert_eq!(text(&bench.call(&exec)), (0, String::new()));
    let lines = std::fs::read_to_string(log).unwrap();
    let levels: Vec<_> = lines
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["level"].clone())
        .collect();
    assert_eq!(levels, ["warning", "warning"], "{lines}");
    // What the container goes without was told of as it was made.
    let command = ["exec", &id, "true"];
    assert_eq!(text(&bench.call(&command)), (0, String::new()));
    bench.quiet(&["delete", "--force", &id]);
    bench.assert_nothing_left();
}

/// Those that we have not ourselves, where the container is in our user namespace.
#[test]
fn no_more_capabilities_than_our_own() {
    let Some(mut bench) = bench("fewcaps") else {
        return;
    };
    let linux = bench.config["linux"].as_object_mut().unwrap();
    linux.remove("uidMappings");
    linux.remove("gidMappings");
    let namespaces = linux["namespaces"].as_array_mut().unwrap();
    namespaces.retain(|one| one["type"] != "user");
    for set in [
        "bounding",
        "permitted",
        "effective",
        "inheritable",
        "ambient",
    ] {
        bench.config["process"]["capabilities"][set] = json!(["CAP_KILL", "CAP_SYS_TIME"]);
    }
    let with_fewer = |bench: &Bench, args: &[&str]| {
        let command = bench.command(args);
        let mut fewer = Command::new("setpriv");
        fewer.args(["--bounding-set=-sys_time", "--inh-caps=-sys_time"]);
        fewer.arg(command.get_program()).args(command.get_args());
        fewer.current_dir(command.get_current_dir().unwrap());
        text(&fewer.output().unwrap())
    };
    bench.args(&["grep", "Cap", "/proc/self/status"]);
    let (status, said) = with_fewer(&bench, &["run", &bench.id("run")]);
    assert_eq!(status, 0, "{said}");
    assert!(said.contains("CAP_SYS_TIME is left out"), "{said}");
    assert_eq!(said.matches("0000000000000020").count(), 5, "{said}");
    // Once is enough, but for what an exec asks for itself.
    let id = bench.id("fewcaps");
    started(&mut bench, &id);
    let said = with_fewer(&bench, &["exec", &id, "true"]);
    assert_eq!(said, (0, String::new()));
    let (status, said) = with_fewer(&bench, &["exec", "--cap", "sys_time", &id, "true"]);
    assert_eq!(status, 0, "{said}");
    assert!(said.contains("CAP_SYS_TIME is left out"), "{said}");
    bench.quiet(&["delete", "--force", &id]);
    bench.assert_nothing_left();
}
