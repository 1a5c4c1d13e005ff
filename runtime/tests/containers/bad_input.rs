//! What the command is given and cannot use: one clear line each, an exit status of 1, the
//! same line in the log, and nothing left.

use std::process::Command;

use serde_json::{Value, json};

use crate::support::{Bench, bench, text};

/// The command fails with one line that has `expected` in it.
fn refuses(bench: &Bench, args: &[&str], expected: &str) {
    let mut command = bench.command(&[]);
    fails(bench, &mut command, args, expected);
}

fn fails(bench: &Bench, command: &mut Command, args: &[&str], expected: &str) {
    let log = bench.path("log");
    let _ = std::fs::remove_file(&log);
    command
        .arg("--log")
        .arg(&log)
        .args(["--log-format", "json"]);
    let output = command.args(args).output().unwrap();
    let (status, said) = text(&output);
    assert!(
        said.contains(expected),
        "{args:?}, {expected}: {status} {said}"
    );
    assert_eq!((status, said.lines().count()), (1, 1), "{args:?}: {said}");
    let line = said.strip_prefix("orlop-runtime: ").unwrap().trim_end();
    let logged = std::fs::read_to_string(&log).unwrap();
    let logged: Value = serde_json::from_str(&logged).unwrap();
    assert_eq!(
        (&logged["msg"], &logged["level"]),
        (&json!(line), &json!("error"))
    );
}

/// What is put where, and what is said of it.
type Bad = (&'static str, Value, &'static str);

#[rustfmt::skip]
fn bad_processes_and_mounts() -> Vec<Bad> {
    let limit = json!([{"type": "RLIMIT_X", "soft": 1, "hard": 1}]);
    vec![
        ("/ociVersion", json!("2.0.0"), "ociVersion"),
        ("/ociVersion", json!(""), "\"ociVersion\" is missing"),
        ("/ociVersion", json!(1), "config.json"),
        ("/root", Value::Null, "\"root\" is missing"),
        ("/root/path", json!("no/such"), "no/such"),
        ("/root/path", json!(""), "root.path is empty"),
        ("/process", Value::Null, "\"process\" is missing"),
        ("/process/args", json!([]), "no program"),
        ("/process/args", json!(["a\u{0}b"]), "NUL"),
        ("/process/args", json!("true"), "config.json"),
        ("/process/cwd", json!(""), "cwd"),
        ("/process/cwd", json!("here"), "cwd"),
        ("/process/env", json!(["A=\u{0}"]), "NUL"),
        ("/process/user/uid", json!(-1), "config.json"),
        ("/process/user/uid", json!(70000), "become user 70000: not mapped"),
        ("/process/rlimits", limit, "RLIMIT_X"),
        ("/mounts/0", json!({"type": "proc"}), "destination"),
        ("/mounts/0/destination", json!("/../proc"), "mounts[0]"),
        ("/mounts/0/type", json!(""), "type"),
    ]
}

/// `kinds` are the good ones.
#[rustfmt::skip]
fn bad_isolation(kinds: &[Value]) -> Vec<Bad> {
    let with = |more: Value| json!([kinds, &[more]].concat());
    let without = |kind: &str| {
        let kept = kinds.iter().filter(|known| known["type"] != kind);
        json!(kept.collect::<Vec<_>>())
    };
    let wrong = json!({"type": "network", "path": "/proc/self/ns/ipc"});
    vec![
        ("/linux", Value::Null, "\"linux\" is missing"),
        ("/linux/namespaces", without("user"), "need a user namespace"),
        ("/linux/namespaces", without("mount"), "mount namespace"),
        ("/linux/namespaces", without("uts"), "uts namespace"),
        ("/linux/namespaces", with(json!({"type": "pid"})), "given twice"),
        ("/linux/namespaces", with(json!({"type": "moon"})), "moon"),
        ("/linux/namespaces/3", wrong, "none of this kind"),
        ("/linux/uidMappings", json!([]), "uidMappings"),
        ("/linux/seccomp/defaultAction", json!("SCMP_ACT_SING"), "SCMP_ACT_SING"),
    ]
}

#[test]
fn of_configurations() {
    let Some(mut bench) = bench("configs") else {
        return;
    };
    let id = bench.id("configs");
    let good = bench.config.clone();
    let kinds = good["linux"]["namespaces"].as_array().unwrap();
    let bad = bad_processes_and_mounts().into_iter();
    for (pointer, value, expected) in bad.chain(bad_isolation(kinds)) {
        bench.config = good.clone();
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        match bench.config.pointer_mut(parent).unwrap() {
            Value::Array(list) => list[key.parse::<usize>().unwrap()] = value,
            object => object[key] = value,
        }
        refuses(&bench, &["create", &id], expected);
        bench.assert_nothing_left();
    }
    // Nobody writes to it, and nobody waits for that.
    let fifo = bench.path("fifo");
    assert!(
        Command::new("mkfifo")
            .arg(&fifo)
            .status()
            .unwrap()
            .success()
    );
    bench.config = good.clone();
    bench.config["linux"]["namespaces"][3] = json!({"type": "network", "path": fifo});
    refuses(&bench, &["create", &id], "none of this kind");
    bench.config = good;
    bench.config["from the future"] = json!({"deep": [1]});
    bench.config["process"]["also"] = json!(true);
    bench.config["linux"]["and"] = json!("this");
    assert_eq!(bench.run(), (0, String::new()));
}

#[test]
fn of_files_and_directories() {
    let Some(bench) = bench("files") else {
        return;
    };
    let id = bench.id("files");
    let bundle = bench.path("other");
    let other = bundle.to_str().unwrap();
    let create = ["create", "--bundle", other, &id];
    refuses(&bench, &create, "other: no such directory\n");
    std::fs::create_dir(&bundle).unwrap();
    refuses(&bench, &create, "config.json: no such file; a bundle has");
    let config = bundle.join("config.json");
    let deep = "[".repeat(100_000);
    let large = format!("{{\"ociVersion\": \"{}\"}}", "1".repeat(5 << 20));
    for (content, expected) in [
        ("", "config.json: is not JSON"),
        ("not JSON", "is not JSON: expected ident at line 1"),
        (
            "{\n\"ociVersion\":",
            "is not JSON: EOF while parsing a value at line 2",
        ),
        ("[]", "config.json"),
        ("null", "config.json"),
        ("{}", "\"ociVersion\" is missing"),
        ("\u{0}", "config.json"),
        (&deep, "config.json"),
        (&large, "larger than"),
    ] {
        std::fs::write(&config, content).unwrap();
        refuses(&bench, &create, expected);
    }
    std::fs::write(&config, b"{\"ociVersion\": \"\xff\"}").unwrap();
    refuses(&bench, &create, "config.json");
    std::fs::remove_file(&config).unwrap();
    std::fs::create_dir(&config).unwrap();
    refuses(&bench, &create, "config.json");
    bench.assert_nothing_left();
    // A state directory that is none.
    std::fs::write(bench.path("file"), "").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_orlop-runtime"));
    command.current_dir(bench.path("bundle"));
    command.arg("--root").arg(bench.path("file"));
    let none = "file: is not a directory";
    fails(&bench, &mut command, &["create", &id], none);
}

#[test]
fn of_ids_and_moments() {
    let Some(mut bench) = bench("ids") else {
        return;
    };
    let id = bench.id("ids");
    bench.args(&["sleep", "1000"]);
    for bad in [
        "a/b",
        "../x",
        "..",
        ".",
        "",
        "a b",
        "\u{e4}",
        &"x".repeat(300),
    ] {
        refuses(&bench, &["create", bad], "container id");
        refuses(&bench, &["delete", "--force", bad], "container id");
    }
    let unknown = "does not exist";
    for verb in ["start", "state", "kill", "delete"] {
        refuses(&bench, &[verb, &id], unknown);
    }
    refuses(&bench, &["exec", &id, "true"], unknown);
    bench.quiet(&["create", &id]);
    refuses(&bench, &["create", &id], "exists already");
    bench.quiet(&["start", &id]);
    refuses(&bench, &["start", &id], "running already");
    refuses(&bench, &["delete", &id], "is running");
    refuses(&bench, &["kill", &id, "SIGNOTHING"], "SIGNOTHING");
    refuses(&bench, &["kill", &id, "0"], "no signal");
    bench.quiet(&["kill", &id, "KILL"]);
    bench.wait_for(&id, "stopped");
    refuses(&bench, &["kill", &id], "not running");
    refuses(&bench, &["start", &id], "stopped");
    refuses(&bench, &["exec", &id, "true"], "not running");
    bench.quiet(&["delete", &id]);
    bench.assert_nothing_left();
    // What stands in a state directory and is no record of ours.
    let state = bench.path("state").join(&id);
    std::fs::create_dir(&state).unwrap();
    for content in ["", "{", "{\"ociVersion\": 1}", "[]"] {
        std::fs::write(state.join("state.json"), content).unwrap();
        for verb in ["start", "state", "kill", "delete"] {
            refuses(&bench, &[verb, &id], "state.json");
        }
    }
    bench.quiet(&["delete", "--force", &id]);
    bench.assert_nothing_left();
}
