//! How a container's processes are run: scheduling, CPUs, personality.

use serde_json::{Value, json};

use crate::support::{bench, started, text};

/// Nice value and policy, fields 19 and 41 of /proc/PID/stat.
const SCHEDULE: &str = "cat /proc/$$/stat";

fn schedule(said: &str) -> (i32, i32) {
    let fields: Vec<_> = said.split_whitespace().collect();
    (fields[18].parse().unwrap(), fields[40].parse().unwrap())
}

#[test]
fn schedulers_and_io_priorities() {
    let Some(mut bench) = bench("schedule") else {
        return;
    };
    let id = bench.id("schedule");
    let batch = json!({"policy": "SCHED_BATCH", "nice": 7, "flags": ["SCHED_FLAG_RESET_ON_FORK"]});
    bench.config["process"]["scheduler"] = batch;
    bench.config["process"]["ioPriority"] = json!({"class": "IOPRIO_CLASS_IDLE", "priority": 4});
    bench.args(&["sleep", "1000"]);
    bench.quiet(&["create", &id]);
    let pid = bench.pid(&id);
    bench.quiet(&["start", &id]);
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    assert_eq!(schedule(&stat), (7, 3));
    let class = std::process::Command::new("ionice")
        .args(["-p", &pid.to_string()])
        .output()
        .unwrap();
    assert!(
        String::from_utf8_lossy(&class.stdout).contains("idle"),
        "{class:?}"
    );

    // An exec has its own process's, when it brings one.
    let process = json!({
        "user": {"uid": 0, "gid": 0}, "cwd": "/", "args": ["sh", "-c", SCHEDULE],
        "env": ["PATH=/bin"], "scheduler": {"policy": "SCHED_OTHER", "nice": 3}
    });
    std::fs::write(bench.path("bundle/process.json"), process.to_string()).unwrap();
    let (status, said) = text(&bench.call(&["exec", "--process", "process.json", &id]));
    assert_eq!(status, 0, "{said}");
    assert_eq!(schedule(&said), (3, 0));
    bench.quiet(&["delete", "--force", &id]);
    let real_time = json!({"policy": "SCHED_FIFO", "priority": 100});
    bench.config["process"]["scheduler"] = real_time;
    let (status, said) = text(&bench.call(&["create", &id]));
    assert!(
        status == 1 && said.contains("process.scheduler: the kernel takes no"),
        "{said}"
    );
    bench.assert_nothing_left();
}

#[test]
fn an_exec_runs_where_it_is_told() {
    let Some(mut bench) = bench("affinity") else {
        return;
    };
    let id = bench.id("affinity");
    bench.args(&["sleep", "1000"]);
    bench.quiet(&["create", &id]);
    bench.quiet(&["start", &id]);
    let allowed = |affinity: Value| {
        let process = json!({
            "user": {"uid": 0, "gid": 0}, "cwd": "/", "env": ["PATH=/bin"],
            "args": ["grep", "Cpus_allowed_list", "/proc/self/status"],
            "execCPUAffinity": affinity
        });
        std::fs::write(bench.path("bundle/process.json"), process.to_string()).unwrap();
        text(&bench.call(&["exec", "--process", "process.json", &id]))
    };
    let expected = |list: &str| (0, format!("Cpus_allowed_list:\t{list}\n"));
    // Where there is a last word, it is the cpuset's, which the kernel gives whoever enters it.
    let cpuset = bench
        .cgroup(&id)
        .and_then(|cgroup| std::fs::read_to_string(cgroup.join("cpuset.cpus.effective")).ok());
    let stays = cpuset.as_deref().map_or("0", str::trim_end);
    assert_eq!(allowed(json!({"initial": "0"})), expected(stays));
    let cpus = std::thread::available_parallelism().unwrap().get();
    if cpus > 1 {
        assert_eq!(
            allowed(json!({"initial": "0", "final": "1"})),
            expected("1")
        );
    }
    let (status, said) = allowed(json!({"final": "1000"}));
    assert!(
        status == 1 && said.contains("execCPUAffinity: final"),
        "{said}"
    );
    assert_eq!(bench.status(&id), "running");
    bench.quiet(&["delete", "--force", &id]);
    bench.assert_nothing_left();
}

#[test]
fn a_personality_of_32_bits() {
    let Some(mut bench) = bench("personality") else {
        return;
    };
    bench.config["linux"]["personality"] = json!({"domain": "LINUX32"});
    let machine = "/bin/busybox uname -m";
    let (status, said) = bench.sh(machine);
    assert!(status == 0 && said != "x86_64\n", "{said}");
    let id = bench.id("personality");
    bench.args(&["sleep", "1000"]);
    bench.quiet(&["create", &id]);
    bench.quiet(&["start", &id]);
    let (_, inside) = text(&bench.call(&["exec", &id, "sh", "-c", machine]));
    assert_eq!(inside, said);
    bench.quiet(&["delete", "--force", &id]);
    bench.config["linux"]["personality"] = json!({"domain": "LINUX"});
    assert_eq!(bench.sh(machine), (0, "x86_64\n".into()));
    bench.config["linux"]["personality"]["flags"] = json!(["ADDR_NO_RANDOMIZE"]);
    let (status, said) = bench.run();
    assert!(status == 1 && said.contains("personality.flags"), "{said}");
    bench.assert_nothing_left();
}

#[test]
fn names_and_scores() {
    let Some(mut bench) = bench("names") else {
        return;
    };
    bench.config["domainname"] = json!("example");
    bench.config["process"]["oomScoreAdj"] = json!(321);
    let (status, said) =
        bench.sh("cat /proc/sys/kernel/domainname /proc/self/oom_score_adj; hostname");
    assert_eq!((status, &*said), (0, "example\n321\nbox\n"));
    bench.assert_nothing_left();
}

/// Low limits are the program's: what sets it up opens and writes more.
#[test]
fn limits_hold_from_the_program_on() {
    let Some(mut bench) = bench("lowlimits") else {
        return;
    };
    let etc = bench.rootfs().join("etc");
    std::fs::create_dir_all(&etc).unwrap();
    std::fs::write(etc.join("file"), "copied up\n").unwrap();
    let limit = |name: &str, value: u64| json!({"type": name, "soft": value, "hard": value});
    bench.config["process"]["rlimits"] =
        json!([limit("RLIMIT_NOFILE", 10), limit("RLIMIT_FSIZE", 0)]);
    let mounts = bench.config["mounts"].as_array_mut().unwrap();
    mounts.push(json!({"destination": "/etc", "type": "tmpfs", "options": ["tmpcopyup"]}));
    for number in 0..20 {
        let destination = format!("/volumes/{number}");
        let options = json!(["bind", "ro"]);
        mounts.push(json!({"destination": destination, "source": "/tmp", "options": options}));
    }
    let show = "ulimit -n; ulimit -Hn; ulimit -f; cat /etc/file";
    let expected = (0, "10\n10\n0\ncopied up\n".to_owned());
    assert_eq!(bench.sh(show), expected);
    bench.config["process"]["rlimits"] = json!([]);
    let id = bench.id("lowlimits");
    started(&mut bench, &id);
    let process = json!({
        "user": {"uid": 5, "gid": 5}, "cwd": "/", "args": ["sh", "-c", show],
        "env": ["PATH=/bin"], "rlimits": [limit("RLIMIT_NOFILE", 10), limit("RLIMIT_FSIZE", 0)],
    });
    std::fs::write(bench.path("bundle/process.json"), process.to_string()).unwrap();
    let said = text(&bench.call(&["exec", "--process", "process.json", &id]));
    assert_eq!(said, expected);
    bench.quiet(&["delete", "--force", &id]);
    bench.assert_nothing_left();
}
