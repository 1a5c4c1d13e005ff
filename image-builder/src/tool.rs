//! Debian's tools, as commands.

use std::process::Command;

/// The command `name`, looked for also in the directories of administration,
/// which a user's `PATH` may lack.
pub(crate) fn tool(name: &str) -> Command {
    let mut command = Command::new(name);
    let own = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{own}:/usr/sbin:/sbin"));
    command
}
