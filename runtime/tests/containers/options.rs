//! Options of `exec`.

use serde_json::json;

use crate::support::{bench, refused, started, text};

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
