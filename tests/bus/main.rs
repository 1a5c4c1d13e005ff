//! A program in a container that speaks with the host's manager, by libdbus:
//! the D-Bus library that most programs have, and not the manager's own.
//!
//! `bus-client UNIT` prints what it may do, the unit's properties, and what
//! came of its wish to stop the unit; then every signal, for ever.

use std::io::Error;
use std::time::Duration;

use anyhow::{Context as _, Result};
use dbus::Message;
use dbus::arg::{PropMap, RefArg as _, Variant};
use dbus::channel::Channel;

/// Where a container has the socket that its unit asks for with `bus`.
const SOCKET: &str = "unix:path=/run/orlop/bus.sock";
const NAME: &str = "org.orlop.Manager1";
const MANAGER: &str = "/org/orlop/Manager1";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";

/// Generous: the host may be busy, and nothing here measures time.
const PATIENCE: Duration = Duration::from_secs(120);

fn main() -> Result<()> {
    let unit = std::env::args().nth(1).context("usage: bus-client UNIT")?;
    let channel = Channel::open_private(SOCKET).map_err(failure)?;

    let role = call(&channel, MANAGER, PROPERTIES, "Get", |message| {
        message.append2(NAME, "Role")
    })?;
    let role: Variant<String> = role.read1()?;
    println!("role: {}", role.0);

    let path = call(&channel, MANAGER, NAME, "GetUnit", |message| {
        message.append1(&unit)
    })?;
    let path: dbus::Path<'_> = path.read1()?;
    let all = call(&channel, &path, PROPERTIES, "GetAll", |message| {
        message.append1("org.orlop.Unit1")
    })?;
    let all: PropMap = all.read1()?;
    for name in ["Name", "State", "Image"] {
        let value = all.get(name).and_then(|value| value.0.as_str());
        println!("{name}: {}", value.context("no such property")?);
    }

    match call(&channel, MANAGER, NAME, "StopUnit", |message| {
        message.append1(&unit)
    }) {
        Ok(_) => println!("stopped it"),
        Err(error) => println!("may not stop it: {error}"),
    }
    loop {
        channel
            .read_write(None)
            .map_err(|()| Error::other("the host closed the connection"))?;
        while let Some(message) = channel.pop_message() {
            tell(&message);
        }
    }
}

/// Calls a method of the manager's.
fn call(
    channel: &Channel,
    path: &str,
    interface: &str,
    method: &str,
    arguments: impl FnOnce(Message) -> Message,
) -> Result<Message> {
    let message = Message::call_with_args(NAME, path.to_owned(), interface, method, ());
    let answer = channel.send_with_reply_and_block(arguments(message), PATIENCE);
    answer.map_err(failure)
}

fn failure(error: dbus::Error) -> anyhow::Error {
    let name = error.name().unwrap_or_default();
    anyhow::anyhow!("{name}: {}", error.message().unwrap_or_default())
}

/// Prints a signal: its name and the words in it.
fn tell(message: &Message) {
    let Some(member) = message.member() else {
        return;
    };
    let mut words = vec![member.to_string()];
    for argument in message.iter_init() {
        words.extend(argument.as_str().map(str::to_owned));
    }
    println!("signal: {}", words.join(" "));
}
