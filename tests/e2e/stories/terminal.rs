//! `orlop exec -it` as a person at a terminal has it.

use std::process::Command;

use anyhow::{Result, ensure};
use orlop_control::types::UnitState;
use orlop_qemu::guest::Guest;
use rustix::process::Signal;

use crate::fixture;
use crate::terminal::Terminal;

const SLEEPER: &str = "[container]\nimage = \"localhost/busybox:1\"\n";

/// What a command sees of its terminal: says its size whenever that changes.
/// The word that it begins with is not in what is typed.
const WATCH: &str = "busybox sh -c 'trap \"busybox stty size\" WINCH; echo watch$((40 + 2)); \
    while :; do busybox sleep 1; done'\r";

/// Prompt, size, resizing, Ctrl-C, exit status; and the terminal as it was
/// before, however the session ends.
pub(crate) fn exec_terminal() -> Result<()> {
    let image = fixture::host_image("plain", "", &[])?;
    let mut guest = fixture::boot(fixture::disk_of(&image, "terminal")?)?;
    fixture::apply(&guest, &[("sleeper", SLEEPER)])?;
    fixture::wait_state(&guest, "sleeper", UnitState::Running)?;

    let mut terminal = shell(&guest)?;
    ensure!(
        terminal.is_raw()?,
        "keys do not reach the container as typed"
    );
    terminal.type_in("busybox stty size\r")?;
    terminal.expect("33 101\r\n")?;
    terminal.type_in(WATCH)?;
    terminal.expect("watch42\r\n")?;
    terminal.resize(41, 132)?;
    terminal.expect("41 132\r\n")?;
    terminal.type_in("\x03")?;
    terminal.expect("# ")?;
    terminal.type_in("echo still $((40 + 3))\r")?;
    terminal.expect("still 43\r\n")?;
    terminal.type_in("exit 7\r")?;
    let code = terminal.end()?;
    ensure!(
        code == Some(7),
        "the shell ended with 7, orlop with {code:?}"
    );

    // A client that is told to end: the command hears of it, too.
    let mut terminal = shell(&guest)?;
    terminal.type_in("busybox sleep 424242\r")?;
    processes(&guest, |all| all.contains("sleep 424242"))?;
    terminal.signal(Signal::TERM)?;
    let code = terminal.end()?;
    ensure!(code == Some(128 + 15), "{code:?}");
    processes(&guest, |all| !all.contains("sleep 424242"))?;

    // A connection that breaks.
    let mut terminal = shell(&guest)?;
    guest.machine().cut_power()?;
    terminal.expect("the connection to")?;
    terminal.expect("help: ")?;
    let code = terminal.end()?;
    ensure!(code == Some(125), "{code:?}");
    Ok(())
}

/// A shell in the container, at its prompt.
fn shell(guest: &Guest) -> Result<Terminal> {
    let mut command: Command = guest.operator().command();
    command.args(["exec", "-it", "sleeper", "busybox", "sh"]);
    let mut terminal = Terminal::run(&command, 33, 101)?;
    terminal.expect("# ")?;
    Ok(terminal)
}

/// Waits until the container's processes are as `wanted` says.
fn processes(guest: &Guest, wanted: impl Fn(&str) -> bool) -> Result<()> {
    fixture::wait("processes in the container", || {
        let all = guest
            .operator()
            .run(&["exec", "sleeper", "busybox", "ps", "-o", "args"])?;
        Ok(wanted(&all))
    })
}
