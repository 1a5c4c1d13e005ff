//! Cgroups that an ordinary user was given, and limits in them.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use super::home::{As, Home, USER, home, home_of};
use crate::support::{skipped, text, uncontrolled};

/// A cgroup that was given to a user; taken away when dropped.
struct Delegated {
    at: PathBuf,
    /// The service that it belongs to, where systemd gave it.
    service: Option<Child>,
}

impl Delegated {
    fn new(at: PathBuf) -> Delegated {
        let own = at.join("own");
        std::fs::create_dir_all(&own).unwrap();
        let delegated = Delegated { at, service: None };
        let (top, user) = (&delegated.at, Some(rustix::fs::Uid::from_raw(USER)));
        for path in [
            top.clone(),
            top.join("cgroup.procs"),
            top.join("cgroup.subtree_control"),
            own.clone(),
            own.join("cgroup.procs"),
        ] {
            rustix::fs::chown(path, user, None).unwrap();
        }
        delegated
    }

    /// Given by the systemd of the home's user to a service of his that only holds it.
    fn by_systemd(home: &Home) -> Delegated {
        // Nothing that systemd-run would replace: it knows ${NAME} and $$.
        let script = "IFS=: read -r _ _ own < /proc/self/cgroup; cd /sys/fs/cgroup$own && \
            mkdir own && echo 0 > own/cgroup.procs && pwd && exec cat";
        let mut run = Command::new("systemd-run");
        run.args(["--user", "--quiet", "--pipe", "--wait", "--collect"]);
        run.args(["--property=Delegate=yes", "sh", "-c", script]);
        run.env("XDG_RUNTIME_DIR", format!("/run/user/{}", home.user));
        run.uid(home.user).gid(home.user);
        run.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut service = run.spawn().unwrap();
        let mut said = String::new();
        let mut out = BufReader::new(service.stdout.take().unwrap());
        out.read_line(&mut said).unwrap();
        let at = PathBuf::from(said.trim_end());
        assert!(at.join("own").is_dir(), "{said:?}");
        Delegated {
            at,
            service: Some(service),
        }
    }

    /// The user's command, started in it.
    fn call(&self, home: &Home, args: &[&str]) -> (Option<i32>, String) {
        let mut command = Command::new("sh");
        let own = self.at.join("own/cgroup.procs");
        let script = "echo $$ > \"$0\" && exec setpriv --clear-groups \"$@\"";
        command.args(["-c", script]).arg(own);
        let user = home.user;
        command.args([format!("--reuid={user}"), format!("--regid={user}")]);
        command.arg(home.program()).args(args);
        command.env("XDG_RUNTIME_DIR", home.bench.path("run"));
        command.current_dir(home.bench.path("bundle"));
        let log = home.bench.path("said");
        let file = std::fs::File::create(&log).unwrap();
        let status = command
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .status();
        (
            status.unwrap().code(),
            std::fs::read_to_string(log).unwrap(),
        )
    }
}

impl Drop for Delegated {
    fn drop(&mut self) {
        if let Some(service) = &mut self.service {
            // It ends with its input, and systemd takes the cgroup away.
            drop(service.stdin.take());
            let _ = service.wait();
            return;
        }
        for dir in [self.at.join("own"), self.at.clone()] {
            let _ = std::fs::remove_dir(dir);
        }
    }
}

#[test]
fn a_cgroup_is_had_where_one_was_given() {
    let Some(home) = home("delegated", As::User) else {
        return;
    };
    let mut config = home.spec(&["sleep", "1000"]);
    let id = home.bench.id("in");
    let Some(at) = home.bench.cgroup(&home.bench.id("given")) else {
        return skipped("this machine has no cgroup v2");
    };
    // Nothing was given: no cgroup, and no limit.
    home.quiet(&["run", "--detach", &id]);
    assert_eq!(home.state(&id)["cgroup"], Value::Null);
    home.quiet(&["exec", &id, "true"]);
    home.quiet(&["delete", "--force", &id]);
    config["linux"]["resources"] = json!({ "pids": { "limit": 7 } });
    let mut short = config.clone();
    short["process"]["args"] = json!(["true"]);
    let (status, said) = home.run(&short);
    let told = said.contains("resources.pids.limit") && said.contains("none was given to us");
    assert!(status == 1 && told, "{said}");

    home.write(&config);
    let given = Delegated::new(at);
    let inside = |args: &[&str]| given.call(&home, args);
    // From here it cannot be reached: nothing above both is his.
    let outside = |args: &[&str]| text(&home.call(args));
    let controllers = std::fs::read_to_string(given.at.join("cgroup.controllers")).unwrap();
    let limits = controllers.contains("pids");
    let (status, said) = inside(&["run", "--detach", &id]);
    if limits {
        assert_eq!(status, Some(0), "{said}");
        let limit = std::fs::read_to_string(given.at.join(&id).join("pids.max")).unwrap();
        assert_eq!(limit, "7\n");
    } else {
        assert!(
            status == Some(1) && said.contains("\"pids\" is not available"),
            "{said}"
        );
        assert!(!given.at.join(&id).exists(), "it is left");
        config["linux"].as_object_mut().unwrap().remove("resources");
        home.write(&config);
        let (status, said) = inside(&["run", "--detach", &id]);
        assert_eq!(status, Some(0), "{said}");
    }
    let cgroup = given.at.join(&id);
    let procs = || std::fs::read_to_string(cgroup.join("cgroup.procs")).unwrap();
    assert_eq!(procs().trim(), home.state(&id)["pid"].to_string());
    assert_eq!(
        inside(&["exec", "--detach", &id, "sleep", "993"]).0,
        Some(0)
    );
    assert_eq!(procs().lines().count(), 2);
    let (status, said) = outside(&["exec", &id, "true"]);
    assert!(status == 1 && said.contains("is not ours"), "{said}");
    home.quiet(&["pause", &id]);
    assert_eq!(home.state(&id)["status"], "paused");
    home.quiet(&["resume", &id]);
    home.quiet(&["delete", "--force", &id]);
    assert!(!cgroup.exists());
    drop(given);
    home.assert_nothing_left();
}

/// Some user whom a systemd manager of his own was given cgroups for.
fn managed() -> Option<u32> {
    let slices = std::fs::read_dir("/sys/fs/cgroup/user.slice").ok()?;
    slices.flatten().find_map(|slice| {
        let name = slice.file_name().into_string().ok()?;
        let user = name.strip_prefix("user-")?.strip_suffix(".slice")?;
        let manager = slice.path().join(format!("user@{user}.service"));
        let user = user.parse().ok().filter(|user| *user != 0)?;
        let owner = rustix::fs::stat(&manager).ok()?.st_uid;
        let reached = Path::new("/run/user").join(format!("{user}/systemd/private"));
        (owner == user && reached.exists()).then_some(user)
    })
}

/// systemd gives users memory and pids, and by default no cpuset.
#[test]
fn limits_hold_where_systemd_gave_a_cgroup() {
    let Some(user) = managed() else {
        return uncontrolled("no ordinary user has a systemd manager here");
    };
    let Some(home) = home_of(user, "managed", As::User) else {
        return;
    };
    let given = Delegated::by_systemd(&home);
    let inside = |args: &[&str]| given.call(&home, args);
    let limited = |args: &[&str], resources: Value| {
        let mut config = home.spec(args);
        config["linux"]["resources"] = resources;
        let mounts = config["mounts"].as_array_mut().unwrap();
        mounts.push(json!({ "destination": "/sys/fs/cgroup", "type": "cgroup" }));
        home.write(&config);
    };
    let id = home.bench.id("limited");
    let run = ["run", &id];

    let both = json!({ "memory": { "limit": 25_165_824 }, "pids": { "limit": 3 } });
    let show = "cd /sys/fs/cgroup; cat memory.max pids.max; for i in 1 2 3 4; do sleep 1 & done";
    limited(&["sh", "-c", show], both.clone());
    let (status, said) = inside(&run);
    assert!(said.starts_with("25165824\n3\n"), "{said}");
    assert!(status == Some(2) && said.contains("can't fork"), "{said}");
    limited(&["sh", "-c", "exec cat /dev/zero | grep -c nothing"], both);
    let (status, said) = inside(&run);
    assert_eq!(status, Some(137), "grep keeps the whole line: {said}");

    limited(&["sleep", "1000"], json!({ "pids": { "limit": 30 } }));
    let (status, said) = inside(&["run", "--detach", &id]);
    assert_eq!(status, Some(0), "{said}");
    let held = |file: &str| std::fs::read_to_string(given.at.join(&id).join(file)).unwrap();
    let update = ["update", "--pids-limit", "20", "--memory", "32m", &id];
    assert_eq!(inside(&update), (Some(0), String::new()));
    assert_eq!(
        (&*held("pids.max"), &*held("memory.max")),
        ("20\n", "33554432\n")
    );
    home.quiet(&["delete", "--force", &id]);
    assert!(!given.at.join(&id).exists());

    // What he was not given is told, and from whom it is to be had.
    let has = std::fs::read_to_string(given.at.join("cgroup.controllers")).unwrap();
    if !has.contains("cpuset") {
        limited(&["true"], json!({ "cpu": { "cpus": "0" } }));
        let (status, said) = inside(&run);
        let told = said.contains("cpu.cpus") && said.contains("Delegate=cpuset");
        assert!(status == Some(1) && told, "{said}");
        assert!(!given.at.join(&id).exists());
    }
    drop(given);
    home.assert_nothing_left();
}
