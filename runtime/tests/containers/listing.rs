//! What `state` and `list` tell of containers.

use serde_json::{Value, json};

use crate::support::{bench, refused, started};

/// The spec's fields and runc's, and none of our own.
#[test]
fn the_fields_that_clients_know() {
    let Some(mut bench) = bench("fields") else {
        return;
    };
    let id = bench.id("fields");
    bench.config["annotations"] = json!({"a": "b"});
    started(&mut bench, &id);
    let state: Value = serde_json::from_slice(&bench.call(&["state", &id]).stdout).unwrap();
    let created = state["created"].as_str().unwrap();
    assert!(created.len() == 20 && created.ends_with('Z'), "{created}");
    let expected = json!({
        "ociVersion": "1.2.0", "id": id, "pid": bench.pid(&id), "status": "running",
        "bundle": bench.path("bundle"), "rootfs": bench.rootfs(), "annotations": {"a": "b"},
        "created": created, "owner": "root"
    });
    assert_eq!(state, expected);
    let list: Value = serde_json::from_slice(&bench.call(&["list", "-f", "json"]).stdout).unwrap();
    assert_eq!(list, json!([expected]));
    let table = String::from_utf8(bench.call(&["list"]).stdout).unwrap();
    let words: Vec<Vec<&str>> = table
        .lines()
        .map(|l| l.split_whitespace().collect())
        .collect();
    let heading = ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"];
    let (pid, bundle) = (bench.pid(&id).to_string(), bench.path("bundle"));
    let row = [
        &id,
        &pid,
        "running",
        bundle.to_str().unwrap(),
        created,
        "root",
    ];
    assert_eq!(words, [heading, row]);
    bench.quiet(&["delete", "--force", &id]);
    bench.assert_nothing_left();
}

#[test]
fn one_that_cannot_be_told_of_hides_no_other() {
    let Some(mut bench) = bench("broken") else {
        return;
    };
    let (good, bad) = (bench.id("good"), bench.id("bad"));
    started(&mut bench, &good);
    started(&mut bench, &bad);
    let state = bench.path("state").join(&bad);
    let socket = state.join("start.sock");
    std::fs::remove_file(&socket).unwrap();
    std::os::unix::fs::symlink("start.sock", &socket).unwrap();
    refused(&bench, &["state", &bad], "symbolic links");
    let record = std::fs::read(state.join("state.json")).unwrap();
    let listed = |why: &str| {
        let output = bench.call(&["list", "--quiet"]);
        assert_eq!(output.status.code(), Some(0));
        assert_eq!(
            String::from_utf8(output.stdout).unwrap(),
            format!("{good}\n")
        );
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains(&bad) && said.contains(why), "{said}");
    };
    listed("symbolic links");
    std::fs::write(state.join("state.json"), "{").unwrap();
    listed("state.json");
    std::fs::write(state.join("state.json"), record).unwrap();
    std::fs::remove_file(socket).unwrap();
    for id in [&good, &bad] {
        bench.quiet(&["delete", "--force", id]);
    }
    bench.assert_nothing_left();
}
