//! The commands around a container's life.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{bench, refused, skipped, started, text};

#[test]
fn ps_shows_the_containers_processes() {
    let Some(mut bench) = bench("ps") else {
        return;
    };
    let id = bench.id("ps");
    if bench.cgroup(&id).is_none() {
        return skipped("this machine has no cgroup v2");
    }
    started(&mut bench, &id);
    bench.quiet(&["exec", "--detach", "--pid-file", "pid", &id, "sleep", "996"]);
    let pid: u64 = std::fs::read_to_string(bench.path("bundle/pid"))
        .unwrap()
        .parse()
        .unwrap();
    let mut pids = [bench.pid(&id), pid];
    pids.sort_unstable();
    let json: Value =
        serde_json::from_slice(&bench.call(&["ps", "-f", "json", &id]).stdout).unwrap();
    assert_eq!(json, json!(pids));
    let (status, table) = text(&bench.call(&["ps", &id]));
    assert_eq!(status, 0);
    assert!(table.lines().next().unwrap().contains("PID"), "{table}");
    assert_eq!(table.lines().count(), 3, "{table}");
    assert!(
        table.contains("sleep 996") && table.contains(&pid.to_string()),
        "{table}"
    );
    let host = Command::new("ps").arg("-e").output().is_ok();
    let (status, table) = text(&bench.call(&["ps", &id, "-o", "pid,args", "-e"]));
    if host {
        assert_eq!((status, table.lines().count()), (0, 3), "{table}");
        refused(&bench, &["ps", &id, "-o", "args"], "no column PID");
    } else {
        assert!(status == 1 && table.contains("host's ps"), "{table}");
    }
    bench.quiet(&["kill", &id, "KILL"]);
    bench.wait_for(&id, "stopped");
    refused(&bench, &["ps", &id], "container not running");
    bench.quiet(&["delete", &id]);
    bench.assert_nothing_left();
}

#[test]
fn kill_all_reaches_every_cgroup() {
    let Some(mut bench) = bench("killall") else {
        return;
    };
    let id = bench.id("killall");
    let Some(cgroup) = bench.cgroup(&id) else {
        return skipped("this machine has no cgroup v2");
    };
    started(&mut bench, &id);
    std::fs::create_dir(cgroup.join("sub")).unwrap();
    for (path, expected) in [
        ("../..", "--cgroup"),
        ("nope", "--cgroup"),
        ("/sys/fs/cgroup", "--cgroup"),
    ] {
        refused(&bench, &["exec", "--cgroup", path, &id, "true"], expected);
    }
    let (_, said) =
        text(&bench.call(&["exec", "--cgroup", "/sub", &id, "cat", "/proc/self/cgroup"]));
    assert!(said.contains("0::/sub\n"), "{said}");
    let (_, said) = text(&bench.call(&["exec", "--cgroup", "/", &id, "cat", "/proc/self/cgroup"]));
    assert!(said.contains("0::/\n"), "{said}");
    bench.quiet(&["exec", "--cgroup", "sub", "-d", &id, "sleep", "995"]);
    let inside = || std::fs::read_to_string(cgroup.join("sub/cgroup.procs")).unwrap();
    assert!(!inside().is_empty());
    bench.quiet(&["kill", "--all", &id, "TERM"]);
    let began = Instant::now();
    while !inside().is_empty() {
        assert!(
            began.elapsed() < Duration::from_secs(10),
            "it got no signal"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
    bench.quiet(&["delete", &id, "--force"]);
    bench.assert_nothing_left();
}

/// Whether it ends well, by itself.
fn ends(child: &mut Child) -> bool {
    for _ in 0..1000 {
        if let Some(status) = child.try_wait().unwrap() {
            return status.success();
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    false
}

#[test]
fn events_tell_what_is_used() {
    let Some(mut bench) = bench("events") else {
        return;
    };
    let id = bench.id("events");
    if bench.cgroup(&id).is_none() {
        return skipped("this machine has no cgroup v2");
    }
    started(&mut bench, &id);
    let stats: Value =
        serde_json::from_slice(&bench.call(&["events", "--stats", &id]).stdout).unwrap();
    assert_eq!(
        (&stats["type"], &stats["id"]),
        (&json!("stats"), &json!(id))
    );
    assert!(
        stats["data"]["cpu"]["usage"]["total"].as_u64().unwrap() > 0,
        "{stats}"
    );
    refused(&bench, &["events", "--interval", "0s", &id], "no time");
    let events = |interval: &str| {
        let mut command = bench.command(&["events", "--interval", interval, &id]);
        command.stdout(Stdio::piped()).spawn().unwrap()
    };
    // Nobody reads: it leaves, long before there would be something to write.
    let mut unread = events("1h");
    drop(unread.stdout.take());
    assert!(ends(&mut unread));
    let mut read = events("300ms");
    let mut lines = BufReader::new(read.stdout.take().unwrap()).lines();
    for _ in 0..3 {
        let event: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        assert_eq!(event["type"], "stats");
    }
    let mut last = events("1h");
    // poll or ppoll: it has seen that the container runs.
    let call = || std::fs::read_to_string(format!("/proc/{}/syscall", last.id())).unwrap();
    let began = Instant::now();
    while !(call().starts_with("7 ") || call().starts_with("271 ")) {
        assert!(began.elapsed() < Duration::from_secs(60), "{}", call());
        std::thread::sleep(Duration::from_millis(10));
    }
    bench.quiet(&["kill", &id, "KILL"]);
    assert!(ends(&mut read) && ends(&mut last));
    refused(&bench, &["events", "--stats", &id], "container not running");
    bench.quiet(&["delete", &id]);
    bench.assert_nothing_left();
}

#[test]
fn a_written_spec_runs() {
    let Some(mut bench) = bench("spec") else {
        return;
    };
    let dir = bench.path("new");
    std::fs::create_dir(&dir).unwrap();
    let spec = |extra: &[&str]| {
        let args = [&["spec", "--bundle", dir.to_str().unwrap()], extra].concat();
        text(&bench.call(&args))
    };
    assert_eq!(spec(&[]), (0, String::new()));
    let (status, said) = spec(&["--rootless"]);
    assert!(status == 1 && said.contains("exists already"), "{said}");
    let read = || -> Value {
        serde_json::from_slice(&std::fs::read(dir.join("config.json")).unwrap()).unwrap()
    };
    let standard = read();
    std::fs::remove_file(dir.join("config.json")).unwrap();
    assert_eq!(spec(&["--rootless"]).0, 0);
    assert!(read()["linux"]["uidMappings"].is_array());
    bench.config = standard;
    bench.config["process"]["terminal"] = json!(false);
    let root = bench.rootfs();
    for sub in ["dev/shm", "dev/mqueue"] {
        std::fs::create_dir_all(root.join(sub)).unwrap();
    }
    let (status, said) = bench.sh("hostname; id -u; mount > /dev/null");
    assert_eq!((status, said.as_str()), (0, "container\n0\n"));
    bench.assert_nothing_left();
}

#[test]
fn what_clients_ask_first() {
    let Some(bench) = bench("first") else {
        return;
    };
    let (status, said) = text(&bench.call(&["--version"]));
    for short in ["-v", "-V"] {
        assert_eq!(text(&bench.call(&[short])), (0, said.clone()));
    }
    let lines: Vec<&str> = said.lines().collect();
    let starts = ["orlop-runtime version ", "commit: ", "spec: 1."];
    assert_eq!((status, lines.len()), (0, 3), "{said}");
    for (line, start) in lines.iter().zip(starts) {
        assert!(line.starts_with(start), "{said}");
    }
    let features: Value = serde_json::from_slice(&bench.call(&["features"]).stdout).unwrap();
    assert_eq!(features["linux"]["cgroup"]["v2"], true);
    for command in ["checkpoint", "restore"] {
        refused(
            &bench,
            &[command, "--image-path", "x", "id"],
            "not supported",
        );
    }
    let none = bench.id("none");
    for args in [
        vec!["state", &none],
        vec!["kill", &none, "9"],
        vec!["delete", &none],
        vec!["pause", &none],
        vec!["update", "--memory", "1g", &none],
    ] {
        refused(&bench, &args, "does not exist");
    }
    bench.quiet(&["delete", &none, "--force"]);
    assert_eq!(bench.call(&["kill", "--nonsense"]).status.code(), Some(1));
    let log = bench.path("log");
    let place = format!("file:{}", log.display());
    let log_args = ["--log", &place, "--log-format=json", "state", &none];
    refused(&bench, &log_args, "does not exist");
    let line: Value = serde_json::from_slice(&std::fs::read(&log).unwrap()).unwrap();
    assert_eq!(line["level"], "error");
    assert!(line["msg"].as_str().unwrap().contains("does not exist"));
    let time = line["time"].as_str().unwrap();
    assert!(time.len() == 20 && time.ends_with('Z'), "{time}");
    let journal = ["--log", "journald:box", "list"];
    refused(&bench, &journal, "files only");
    assert!(!bench.path("bundle/journald:box").exists());
}
