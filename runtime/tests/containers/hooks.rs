//! Hooks at the points of a container's life, and what becomes of a container whose hook fails.

use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Bench, bench, text};

const CREATE: [&str; 3] = ["prestart", "createRuntime", "createContainer"];
const ALL: [&str; 6] = [
    "prestart",
    "createRuntime",
    "createContainer",
    "startContainer",
    "poststart",
    "poststop",
];

fn shell(script: &str) -> Value {
    json!({
        "path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin:/usr/bin"],
    })
}

/// A hook of every kind that adds its name, its host's name and its input to a file: the
/// bench's, or where that cannot be reached the container's.
fn hook_everything(bench: &mut Bench) {
    let log = bench.path("log");
    let outside = format!(
        "(echo NAME; cat /proc/sys/kernel/hostname -; echo) >> {}",
        log.display()
    );
    let inside = "(echo NAME; cat /proc/sys/kernel/hostname -; echo) >> tmp/log";
    let mut hooks = json!({});
    for kind in ALL {
        let script = match kind {
            "createContainer" | "startContainer" => inside,
            _ => &outside,
        };
        hooks[kind] = json!([shell(&script.replace("NAME", kind))]);
    }
    bench.config["hooks"] = hooks;
}

/// What was added: kind, host's name and state.
fn log(bench: &Bench, inside: bool) -> Vec<(String, String, Value)> {
    let path = match inside {
        true => bench.rootfs().join("tmp/log"),
        false => bench.path("log"),
    };
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<_> = text.lines().collect();
    let entries = lines.chunks(3).map(|entry| {
        let state = serde_json::from_str(entry[2]).unwrap();
        (entry[0].to_owned(), entry[1].to_owned(), state)
    });
    entries.collect()
}

fn kinds(entries: &[(String, String, Value)]) -> Vec<(&str, &str)> {
    entries
        .iter()
        .map(|(kind, _, state)| (kind.as_str(), state["status"].as_str().unwrap()))
        .collect()
}

#[test]
fn each_kind_has_its_time_and_place() {
    let Some(mut bench) = bench("hooks") else {
        return;
    };
    let id = bench.id("hooks");
    hook_everything(&mut bench);
    bench.config["annotations"] = json!({"a": "b"});
    bench.config["process"]["cwd"] = json!("/");
    bench.args(&["sleep", "1000"]);
    bench.quiet(&["create", &id]);
    let pid = bench.pid(&id);
    let outside = log(&bench, false);
    assert_eq!(
        kinds(&outside),
        [("prestart", "created"), ("createRuntime", "created")]
    );
    let inside = log(&bench, true);
    assert_eq!(kinds(&inside), [("createContainer", "created")]);

    // What was created stays as it was when its configuration changes.
    bench.config.as_object_mut().unwrap().remove("hooks");
    bench.quiet(&["start", &id]);
    assert_eq!(kinds(&log(&bench, false))[2..], [("poststart", "running")]);
    assert_eq!(
        kinds(&log(&bench, true))[1..],
        [("startContainer", "created")]
    );
    bench.quiet(&["kill", &id, "KILL"]);
    bench.wait_for(&id, "stopped");
    bench.quiet(&["delete", &id]);
    let outside = log(&bench, false);
    assert_eq!(kinds(&outside)[3..], [("poststop", "stopped")]);

    let here = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    for (kind, host, state) in &outside {
        assert_eq!(host, here.trim_end(), "{kind}");
        let seen = state["pid"].as_u64();
        assert_eq!(seen, (kind != "poststop").then_some(pid), "{kind}");
    }
    for (kind, host, state) in &log(&bench, true) {
        assert_eq!(
            (host.as_str(), state["pid"].as_u64()),
            ("box", Some(1)),
            "{kind}"
        );
    }
    for (kind, _, state) in outside.iter().chain(&log(&bench, true)) {
        assert_eq!(state["id"], json!(id), "{kind}");
        assert_eq!(state["ociVersion"], json!("1.2.0"), "{kind}");
        assert_eq!(state["bundle"], json!(bench.path("bundle")), "{kind}");
        assert_eq!(state["annotations"], json!({"a": "b"}), "{kind}");
    }
    bench.assert_nothing_left();
}

#[test]
fn a_run_has_them_all() {
    let Some(mut bench) = bench("runhooks") else {
        return;
    };
    hook_everything(&mut bench);
    let (status, said) = bench.sh("exit 6");
    assert_eq!(status, 6, "{said}");
    let seen = |inside| -> Vec<String> {
        log(&bench, inside)
            .into_iter()
            .map(|entry| entry.0)
            .collect()
    };
    assert_eq!(
        seen(false),
        ["prestart", "createRuntime", "poststart", "poststop"]
    );
    assert_eq!(seen(true), ["createContainer", "startContainer"]);
    bench.assert_nothing_left();
}

#[test]
fn a_failed_hook_of_create_leaves_nothing() {
    let Some(mut bench) = bench("failhook") else {
        return;
    };
    for (index, kind) in CREATE.into_iter().enumerate() {
        let _ = std::fs::remove_file(bench.path("log"));
        let _ = std::fs::remove_file(bench.rootfs().join("tmp/log"));
        hook_everything(&mut bench);
        let hooks = bench.config["hooks"][kind].as_array_mut().unwrap();
        hooks.push(shell("echo because >&2; exit 4"));
        hooks.push(shell("echo never >> tmp/log"));
        let (status, said) = text(&bench.call(&["create", &bench.id("failed")]));
        assert_eq!(status, 1, "{said}");
        let expected = format!("hooks.{kind}[1] /bin/sh: exited with status 4: because");
        assert!(said.contains(&expected), "{said}");
        assert_eq!(said.trim_end().lines().count(), 1, "{said}");
        let ran: Vec<_> = log(&bench, false)
            .into_iter()
            .map(|entry| entry.0)
            .collect();
        let outside: &[&str] = match index {
            0 => &["prestart", "poststop"],
            _ => &["prestart", "createRuntime", "poststop"],
        };
        assert_eq!(ran, outside, "{kind}");
        assert_eq!(log(&bench, true).len(), usize::from(index == 2), "{kind}");
        bench.assert_nothing_left();
    }
}

#[test]
fn a_hook_past_its_timeout_is_killed() {
    let Some(mut bench) = bench("slowhook") else {
        return;
    };
    let id = bench.id("slow");
    let pids = bench.path("pids");
    for kind in CREATE {
        let mut hook = match kind {
            "createContainer" => shell("sleep 1000"),
            _ => shell(&format!(
                "sleep 1000 & echo $$ $! > {}; wait",
                pids.display()
            )),
        };
        hook["timeout"] = json!(1);
        bench.config["hooks"] = json!({ kind: [hook] });
        let began = Instant::now();
        let (status, said) = text(&bench.call(&["create", &id]));
        assert!(began.elapsed() < Duration::from_secs(20));
        let expected = format!(
            "hooks.{kind}[0] /bin/sh: did not end within its timeout of 1 s and was killed"
        );
        assert!(status == 1 && said.contains(&expected), "{kind}: {said}");
        bench.assert_nothing_left();
    }
    for pid in std::fs::read_to_string(&pids).unwrap().split_whitespace() {
        let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        assert_eq!(line, "", "process {pid} of the hook");
    }
}

#[test]
fn failed_hooks_of_start_stop_the_container() {
    let Some(mut bench) = bench("starthook") else {
        return;
    };
    let id = bench.id("start");
    let good = bench.config.clone();
    for kind in ["startContainer", "poststart"] {
        bench.config = good.clone();
        bench.config["hooks"] = json!({ kind: [shell("echo reason; exit 5")] });
        bench.args(&["sh", "-c", "> /tmp/ran; sleep 1000"]);
        bench.quiet(&["create", &id]);
        let (status, said) = text(&bench.call(&["start", &id]));
        let expected = format!("hooks.{kind}[0] /bin/sh: exited with status 5: reason");
        assert!(status == 1 && said.contains(&expected), "{said}");
        if kind == "startContainer" {
            assert!(!bench.rootfs().join("tmp/ran").exists());
        }
        bench.wait_for(&id, "stopped");
        bench.quiet(&["delete", &id]);
        bench.assert_nothing_left();
    }
}

#[test]
fn a_failed_poststop_hook_is_a_warning() {
    let Some(mut bench) = bench("poststop") else {
        return;
    };
    let id = bench.id("stop");
    hook_everything(&mut bench);
    let good = bench.config["hooks"]["poststop"][0].clone();
    bench.config["hooks"]["poststop"] = json!([shell("echo oh; exit 2"), good]);
    bench.quiet(&["create", &id]);
    let (status, said) = text(&bench.call(&["delete", "--force", &id]));
    let warning = "warning: hooks.poststop[0] /bin/sh: exited with status 2: oh";
    assert!(status == 0 && said.contains(warning), "{said}");
    assert_eq!(log(&bench, false).last().unwrap().0, "poststop");
    bench.assert_nothing_left();
}

/// Where its directories can be searched, the root is found with its mounts where config.json
/// has it; and the container's process is what the configuration makes it, hooks or not.
#[test]
fn hooks_inside_see_the_root_and_change_nothing_else() {
    let Some(mut bench) = bench("seehook") else {
        return;
    };
    let linux = bench.config["linux"].as_object_mut().unwrap();
    linux.remove("uidMappings");
    linux.remove("gidMappings");
    let kinds = linux["namespaces"].as_array_mut().unwrap();
    kinds.retain(|kind| kind["type"] != "user");
    let rootfs = bench.rootfs();
    let script = format!(
        "test -e {}/proc/self/stat && test -e proc/self/stat",
        rootfs.display()
    );
    bench.config["hooks"] = json!({
        "createContainer": [shell(&script)],
        // As the process's user, in its directory, with nothing open but its streams.
        "startContainer": [shell("id -u; pwd; ls /proc/self/fd; exit 1")],
    });
    bench.config["process"]["user"] = json!({"uid": 77, "gid": 7});
    bench.config["process"]["cwd"] = json!("/tmp");
    let (status, said) = bench.run();
    assert_eq!(status, 1, "{said}");
    assert!(
        said.contains("hooks.startContainer[0]") && said.contains("77 /tmp 0 1 2 3"),
        "{said}"
    );
    bench.config["hooks"]
        .as_object_mut()
        .unwrap()
        .remove("startContainer");
    let (status, said) = bench.sh("ls /proc/self/fd; cat /proc/mounts | wc -l; id -u; ls /");
    assert_eq!(status, 0, "{said}");
    let with = said;
    bench.config.as_object_mut().unwrap().remove("hooks");
    assert_eq!(bench.run(), (0, with));
    bench.assert_nothing_left();
}

/// Also where the container's process is made in namespaces of another container.
#[test]
fn hooks_outside_stay_outside_of_joined_namespaces() {
    let Some(mut bench) = bench("joinhook") else {
        return;
    };
    let first = bench.id("first");
    bench.args(&["sleep", "1000"]);
    bench.quiet(&["create", &first]);
    bench.quiet(&["start", &first]);
    let pid = bench.pid(&first);
    let good = bench.config.clone();
    let namespaces = bench.config["linux"]["namespaces"].as_array_mut().unwrap();
    namespaces[0]["path"] = json!(format!("/proc/{pid}/ns/user"));
    namespaces[1]["path"] = json!(format!("/proc/{pid}/ns/pid"));
    // Those of a namespace that is joined need not be repeated.
    let linux = bench.config["linux"].as_object_mut().unwrap();
    linux.remove("uidMappings");
    linux.remove("gidMappings");
    let log = bench.path("log");
    let note = format!(
        "readlink /proc/self/ns/user /proc/self/ns/pid >> {}",
        log.display()
    );
    bench.config["hooks"] = json!({
        "prestart": [shell(&note)], "createRuntime": [shell(&note)],
        "poststart": [shell(&note)], "poststop": [shell(&note)],
    });
    let kinds = ["user", "pid"];
    let links = |pid: &str| {
        kinds.map(|kind| {
            let link = std::fs::read_link(format!("/proc/{pid}/ns/{kind}")).unwrap();
            link.to_str().unwrap().to_owned()
        })
    };
    let expected = links("self").join("\n") + "\n";
    let (status, said) = bench.sh("echo $$; exit 3");
    assert_eq!(status, 3, "{said}");
    assert!(said.trim_end() != "1", "{said}");
    assert_eq!(std::fs::read_to_string(&log).unwrap(), expected.repeat(4));

    let second = bench.id("second");
    bench.args(&["sleep", "1000"]);
    bench.quiet(&["create", &second]);
    assert_eq!(
        links(&bench.pid(&second).to_string()),
        links(&pid.to_string())
    );
    bench.quiet(&["delete", "--force", &second]);
    // One namespace that cannot be joined is told, and leaves nothing.
    bench.config["linux"]["namespaces"][1]["path"] = json!("/proc/self/ns/uts");
    let (status, said) = text(&bench.call(&["create", &second]));
    assert!(
        status == 1 && said.contains("join the pid namespace"),
        "{said}"
    );
    bench.config = good;
    bench.quiet(&["delete", "--force", &first]);
    bench.assert_nothing_left();
}

/// Hooks outside enter the container's mount namespace, find the root where the configuration has
/// it, with all its mounts, and add some, as those for graphics cards do.
#[test]
fn hooks_outside_may_mount_what_the_container_then_has() {
    for kind in ["prestart", "createRuntime"] {
        let Some(mut bench) = bench("mounting") else {
            return;
        };
        let rootfs = bench.rootfs();
        std::fs::create_dir_all(rootfs.join("mnt")).unwrap();
        // The container's root has to reach it.
        let open = std::fs::Permissions::from_mode(0o711);
        std::fs::set_permissions(bench.path("."), open).unwrap();
        let root = rootfs.display();
        let script = format!(
            "read -r state; pid=${{state##*pid\\\":}}; exec nsenter -t ${{pid%%[!0-9]*}} -m sh -c \
             'test -e {root}/proc/version && mount -t tmpfs -o size=64k hooked {root}/mnt'"
        );
        bench.config["hooks"] = json!({kind: [shell(&script)]});
        let (status, said) = bench.sh("grep ' /mnt ' /proc/mounts");
        assert_eq!(status, 0, "{kind}: {said}");
        assert!(said.starts_with("hooked /mnt tmpfs"), "{kind}: {said}");
        bench.assert_nothing_left();
    }
}
