//! CVE-2016-9962 once more, for a container that was given CAP_SYS_PTRACE and has no user
//! namespace: nothing hides from it, so a process that enters has to have nothing to hide. From
//! the moment when it is seen there, its root, its directory, its mounts and its descriptors are
//! the container's, or lead nowhere.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::{bench, skipped, started, text, until};

use super::entering::all_but_ptrace;
use super::{capabilities, probe, without_user_namespace};

/// How many looks into a process that has not executed its program yet are enough.
const GLIMPSES: usize = 30;

/// What leads from the process with this directory in /proc to another root than that of `own`.
fn ways_out(process: &str, own: &str) -> Vec<String> {
    let identity = |at: String| {
        let found = rustix::fs::stat(at.as_str()).ok()?;
        Some((found.st_dev, found.st_ino))
    };
    let link = |at: String| std::fs::read_link(at).ok();
    let mut ways = Vec::new();
    for name in ["root", "cwd"] {
        let root = identity(format!("{own}/root/."));
        // One that has ended since has none.
        if identity(format!("{process}/{name}/.")).is_some_and(|found| Some(found) != root) {
            ways.push(name.to_owned());
        }
    }
    let mounts = link(format!("{process}/ns/mnt"));
    if mounts.is_some_and(|mounts| Some(mounts) != link(format!("{own}/ns/mnt"))) {
        ways.push("ns/mnt".to_owned());
    }
    let files = std::fs::read_dir(format!("{process}/fd"));
    for file in files.into_iter().flatten().flatten() {
        let Ok(leads) = std::fs::read_link(file.path()) else {
            continue;
        };
        let leads = leads.display().to_string();
        let harmless = ["socket:", "pipe:", "/dev/null"];
        if !harmless.iter().any(|start| leads.starts_with(start)) {
            ways.push(format!("{} -> {leads}", file.path().display()));
        }
    }
    ways
}

/// Runs inside. Looks at each new process as long as it is the runtime's, until there is a file
/// /stop; notes the ways out in /seen, and in /glimpses how often it looked.
pub fn roam() {
    let began = Instant::now();
    let (mut seen, mut glimpses) = (String::new(), 0);
    std::fs::write("/watching", "").unwrap();
    while began.elapsed() < Duration::from_secs(900) && !Path::new("/stop").exists() {
        let process = format!("/proc/{}", probe::last_pid() + 1);
        for _ in 0..500 {
            let Ok(program) = std::fs::read_link(format!("{process}/exe")) else {
                continue;
            };
            if program.starts_with("/bin") {
                break;
            }
            for way in ways_out(&process, "/proc/self") {
                seen.push_str(&way);
                seen.push('\n');
                std::fs::write("/seen", &seen[..seen.len().min(10_000)]).unwrap();
            }
            glimpses += 1;
            std::fs::write("/glimpses", glimpses.to_string()).unwrap();
        }
    }
}

#[test]
fn who_may_look_sees_nothing_of_the_host() {
    let Some(mut bench) = bench("roam") else {
        return;
    };
    let id = bench.id("roam");
    without_user_namespace(&mut bench);
    bench.config["linux"]["seccomp"] = json!(null);
    capabilities(
        &mut bench,
        &[&all_but_ptrace()[..], &["CAP_SYS_PTRACE"]].concat(),
    );
    probe::install(&mut bench, "roam");
    bench.quiet(&["create", &id]);
    bench.quiet(&["start", &id]);
    until("somebody watches", || {
        bench.rootfs().join("watching").exists()
    });
    let glimpses = || {
        let noted = std::fs::read_to_string(bench.rootfs().join("glimpses"));
        noted.map_or(0, |text| text.parse().unwrap_or(0))
    };
    for number in 0.. {
        if number >= 100 && glimpses() >= GLIMPSES {
            break;
        }
        assert!(number < 5000, "seen only {} times", glimpses());
        let said = text(&bench.call(&["exec", &id, "true"]));
        assert_eq!(said, (0, String::new()));
    }
    let seen = std::fs::read_to_string(bench.rootfs().join("seen"));
    assert!(seen.is_err(), "ways out:\n{}", seen.unwrap());
    std::fs::write(bench.rootfs().join("stop"), "").unwrap();
    bench.wait_for(&id, "stopped");
    bench.quiet(&["delete", &id]);
    bench.assert_nothing_left();
}

/// The same at the very first instruction, at which a frozen cgroup stops it.
#[test]
fn what_is_born_frozen_shows_nothing_of_the_host() {
    let Some(mut bench) = bench("born") else {
        return;
    };
    let id = bench.id("born");
    let Some(cgroup) = bench.cgroup(&id) else {
        skipped("this machine has no cgroup v2");
        return;
    };
    without_user_namespace(&mut bench);
    started(&mut bench, &id);
    let first = bench.pid(&id).to_string();
    bench.quiet(&["pause", &id]);
    let mut waiting = bench
        .command(&["exec", "--ignore-paused", &id, "true"])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut born = String::new();
    until("it is born", || {
        let all = std::fs::read_to_string(cgroup.join("cgroup.procs")).unwrap();
        let found = all.lines().find(|pid| *pid != first);
        born = found.map_or_else(String::new, |pid| format!("/proc/{pid}"));
        found.is_some()
    });
    let target = format!("/proc/{first}");
    let sees = |of: &str| std::fs::read_link(format!("{of}/ns/pid")).unwrap();
    if sees(&born) == sees(&target) {
        assert_eq!(ways_out(&born, &target), Vec::<String>::new());
    }
    bench.quiet(&["resume", &id]);
    assert_eq!(waiting.wait().unwrap().code(), Some(0));
    bench.quiet(&["delete", "--force", &id]);
    bench.assert_nothing_left();
}
