//! The caller's terminal: a container may have it as stdin, and must not type into it, nor be
//! where its signals go. (That the default filter answers TIOCSTI with an error is tested with
//! the filter.)

use std::process::{Command, Stdio};

use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use crate::support::{Bench, bench, text};

/// The command as the leader of a session whose terminal, and stdin, is a new one; what the
/// process says of its session.
fn on_a_terminal(bench: &Bench, args: &[&str]) -> String {
    let command = bench.command(args);
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap();
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let slave = rustix::fs::open(&name, flags, Mode::empty()).unwrap();
    let mut session = Command::new("setsid");
    session
        .args(["--ctty", "--wait"])
        .arg(command.get_program());
    session.args(command.get_args()).stdin(Stdio::from(slave));
    session.current_dir(command.get_current_dir().unwrap());
    let (status, said) = text(&session.output().unwrap());
    assert_eq!(status, 0, "{said}");
    said
}

/// Its pid, process group, session and controlling terminal. The kernel takes input from
/// TIOCSTI for a process's own terminal only.
fn check(said: &str) {
    let (_, rest) = said.rsplit_once(')').unwrap();
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let pid = said.split_whitespace().next().unwrap();
    let [group, session, terminal] = [fields[2], fields[3], fields[4]];
    assert_eq!((group, session, terminal), (pid, pid, "0"), "{said}");
}

#[test]
fn a_session_of_its_own() {
    let Some(mut bench) = bench("session") else {
        return;
    };
    let id = bench.id("session");
    let show = ["cat", "/proc/self/stat"];
    bench.args(&show);
    check(&on_a_terminal(&bench, &["run", &id]));
    bench.args(&["sleep", "1000"]);
    bench.quiet(&["create", &id]);
    bench.quiet(&["start", &id]);
    check(&on_a_terminal(
        &bench,
        &[&["exec", &id][..], &show].concat(),
    ));
    bench.quiet(&["delete", "--force", &id]);
    bench.assert_nothing_left();
}
