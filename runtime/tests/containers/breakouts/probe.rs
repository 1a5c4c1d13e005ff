//! This test program inside of a container, as an attacker who is no shell script.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::Bench;

/// Where it is in the container.
const AT: &str = "/probe";
/// Names an abstract socket, in the environment.
pub const SOCKET: &str = "ORLOP_SOCKET";
/// Names what to do, in the environment.
const WHAT: &str = "ORLOP_PROBE";

/// Makes the container's program the probe `what`.
pub fn install(bench: &mut Bench, what: &str) {
    let program = std::env::current_exe().unwrap();
    let mounts = bench.config["mounts"].as_array_mut().unwrap();
    mounts.push(json!({"destination": AT, "source": program, "options": ["bind", "ro"]}));
    let test = ["--exact", "breakouts::probe::inside", "--ignored"];
    let quietly = ["--nocapture", "--test-threads=1"];
    let args = [&[AT][..], &test, &quietly].concat();
    bench.config["process"]["args"] = json!(args);
    bench.config["process"]["env"] = json!(["PATH=/bin", format!("{WHAT}={what}")]);
}

#[test]
#[ignore = "runs inside of the containers of other tests"]
fn inside() {
    match std::env::var(WHAT).as_deref() {
        Ok("watch") => watch(),
        Ok("roam") => super::birth::roam(),
        Ok("connect") => connect(),
        Ok(other) => panic!("no such probe: {other}"),
        Err(_) => {}
    }
}

/// Looks at each new process from its very beginning, until there is a file /stop, and notes
/// in /seen whom it could look into: what /proc/PID/exe of another tells, ptrace could do.
fn watch() {
    let began = Instant::now();
    std::fs::write("/watching", "").unwrap();
    while began.elapsed() < Duration::from_secs(900) && !Path::new("/stop").exists() {
        let next = last_pid() + 1;
        let link = format!("/proc/{next}/exe");
        for _ in 0..500 {
            let Ok(program) = std::fs::read_link(&link) else {
                continue;
            };
            if !program.starts_with("/bin") {
                std::fs::write("/seen", program.to_str().unwrap()).unwrap();
            }
            break;
        }
    }
}

/// Connects to the abstract socket of the name in the environment, and says what came of it.
fn connect() {
    let name = std::env::var(SOCKET).unwrap();
    let address = SocketAddr::from_abstract_name(name).unwrap();
    println!(
        "connect: {:?}",
        UnixStream::connect_addr(&address).map(drop)
    );
}

/// The last pid that was given to a process here.
pub fn last_pid() -> u32 {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap();
    text.split_whitespace().last().unwrap().parse().unwrap()
}
