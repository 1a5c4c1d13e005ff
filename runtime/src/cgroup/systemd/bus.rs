//! A connection to systemd: calls that wait for their answers, and the end of a job. Nothing
//! here waits for longer than [`WITHIN`].
//!
//! A bus lets anybody send anything to anybody, whatever was asked to be matched. So what counts
//! is only what systemd says, by the name that the bus itself gave it, and the bus. Of all else
//! no more than the header is looked at.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with};

use super::address::Address;
use super::manager;
use super::wire::{self, Arguments, Body, Call, FIXED, Head, Incoming, LONGEST};

/// How long systemd may take for all that it is asked in one go.
const WITHIN: Duration = Duration::from_secs(30);

/// A line of the greeting is no longer.
const LONGEST_LINE: u64 = 512;

/// Ended jobs that are remembered while an answer is waited for. The one that the answer names
/// cannot have ended long before.
const REMEMBERED: usize = 64;

/// A call that was refused, for whoever knows what to make of it.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) name: String,
    said: String,
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.said.is_empty() {
            f.write_str(&self.name)
        } else {
            write!(f, "{} ({})", self.said, self.name)
        }
    }
}

impl std::error::Error for Refused {}

/// Of the bus itself.
const BUS: Call = Call {
    destination: "org.freedesktop.DBus",
    path: "/org/freedesktop/DBus",
    interface: "org.freedesktop.DBus",
    member: "",
};

const JOBS: &str = "type='signal',sender='org.freedesktop.systemd1',\
    interface='org.freedesktop.systemd1.Manager',member='JobRemoved'";

/// See the module.
#[derive(Debug)]
pub(super) struct Bus {
    stream: BufReader<UnixStream>,
    deadline: Instant,
    within: Duration,
    last: u32,
    /// The name that the bus gave to systemd; empty until that is known.
    systemd: String,
    /// Jobs that ended while an answer was waited for: path and result.
    ended: VecDeque<(String, String)>,
}

impl Bus {
    pub(super) fn open(address: &Address) -> Result<Bus> {
        let what = || format!("reach systemd on {address}");
        let socket = reach(address, WITHIN).with_context(what)?;
        Bus::over(socket, WITHIN)
            .and_then(Bus::named)
            .with_context(what)
    }

    fn over(socket: UnixStream, within: Duration) -> Result<Bus> {
        let mut bus = Bus {
            stream: BufReader::new(socket),
            deadline: Instant::now() + within,
            within,
            last: 0,
            systemd: String::new(),
            ended: VecDeque::new(),
        };
        bus.greet()?;
        Ok(bus)
    }

    /// From here on, systemd has its time again: what went by meanwhile was not its own.
    pub(super) fn restart(&mut self) {
        self.deadline = Instant::now() + self.within;
    }

    /// Gets a name on the bus, has it pass on what is said of jobs, and asks who systemd is.
    fn named(mut self) -> Result<Bus> {
        let member = |member| Call { member, ..BUS };
        self.call(member("Hello"), &Arguments::default())?;
        self.call(member("AddMatch"), &Arguments::default().text(JOBS))?;
        let name = Arguments::default().text(manager("").destination);
        self.systemd = self.call(member("GetNameOwner"), &name)?.text()?;
        Ok(self)
    }

    /// Says who we are, by leaving that to the kernel: our own number for ourselves is another
    /// one in a user namespace.
    fn greet(&mut self) -> Result<()> {
        self.send(b"\0AUTH EXTERNAL\r\nDATA\r\n")?;
        loop {
            let line = self.line()?;
            match line.split_ascii_whitespace().next() {
                Some("DATA") => {}
                Some("OK") => break,
                _ => bail!("it does not let this user in ({line:?})"),
            }
        }
        self.send(b"BEGIN\r\n")
    }

    /// Whether what this one says counts.
    fn trusts(&self, sender: &str) -> bool {
        sender == BUS.destination || (!self.systemd.is_empty() && sender == self.systemd)
    }

    /// Calls, and waits for the answer.
    pub(super) fn call(&mut self, call: Call, arguments: &Arguments) -> Result<Body> {
        // A job of an answer that is still to come has not ended yet.
        self.ended.clear();
        self.last += 1;
        let serial = self.last;
        let bytes = wire::encode(serial, call, arguments).context(call.member)?;
        self.send(&bytes).context(call.member)?;
        loop {
            match self.receive().context(call.member)? {
                Incoming::Answer(to, body) if to == serial => return Ok(body),
                Incoming::Error(to, name, said) if to == serial => {
                    return Err(Refused { name, said }.into());
                }
                other => self.keep(other)?,
            }
        }
    }

    /// Waits until the job is done, and says how it went.
    pub(super) fn end_of(&mut self, job: &str) -> Result<String> {
        loop {
            let ended = self.ended.drain(..).find(|(path, _)| path == job);
            if let Some((_, result)) = ended {
                return Ok(result);
            }
            let incoming = self.receive().context("wait for the job")?;
            self.keep(incoming)?;
        }
    }

    fn keep(&mut self, incoming: Incoming) -> Result<()> {
        match incoming {
            Incoming::Signal(interface, name, body)
                if interface == manager("").interface && name == "JobRemoved" =>
            {
                if self.ended.len() == REMEMBERED {
                    self.ended.pop_front();
                }
                self.ended.push_back(body.removed_job()?);
            }
            Incoming::Signal(..) | Incoming::Answer(..) | Incoming::Error(..) | Incoming::Other => {
            }
        }
        Ok(())
    }

    fn send(&mut self, bytes: &[u8]) -> Result<()> {
        let left = self.left()?;
        let socket = self.stream.get_mut();
        socket.set_write_timeout(Some(left))?;
        let sent = socket.write_all(bytes);
        self.told(sent)
    }

    fn receive(&mut self) -> Result<Incoming> {
        let mut fixed = [0; FIXED];
        self.fill(&mut fixed)?;
        let (fields, length) = wire::lengths(&fixed)?;
        if fields > LONGEST {
            self.pass_over(fields + length)?;
            return Ok(Incoming::Other);
        }
        let mut bytes = vec![0; FIXED + fields];
        bytes[..FIXED].copy_from_slice(&fixed);
        self.fill(&mut bytes[FIXED..])?;
        let head = Head::of(&bytes)?;
        if !self.trusts(head.sender) {
            self.pass_over(length)?;
            return Ok(Incoming::Other);
        }
        ensure!(length <= LONGEST, "{} says {length} bytes", head.sender);
        let mut body = vec![0; length];
        self.fill(&mut body)?;
        Ok(head.incoming(body))
    }

    /// Reads as many bytes, and keeps none.
    fn pass_over(&mut self, mut length: usize) -> Result<()> {
        let mut bytes = [0; 4096];
        while length > 0 {
            let part = length.min(bytes.len());
            self.fill(&mut bytes[..part])?;
            length -= part;
        }
        Ok(())
    }

    /// Each read on its own, so that a byte a second does not last for ever.
    fn fill(&mut self, mut bytes: &mut [u8]) -> Result<()> {
        while !bytes.is_empty() {
            let left = self.left()?;
            self.stream.get_ref().set_read_timeout(Some(left))?;
            let read = self.stream.read(bytes);
            let length = self.told(read)?;
            ensure!(length > 0, "it closed the connection");
            bytes = &mut bytes[length..];
        }
        Ok(())
    }

    fn line(&mut self) -> Result<String> {
        let mut line = Vec::new();
        loop {
            let left = self.left()?;
            self.stream.get_ref().set_read_timeout(Some(left))?;
            let room = LONGEST_LINE - line.len() as u64;
            let read = (&mut self.stream).take(room).read_until(b'\n', &mut line);
            let length = self.told(read)?;
            ensure!(length > 0, "it ended the greeting");
            if line.last() == Some(&b'\n') {
                return Ok(String::from_utf8_lossy(&line).trim_end().to_owned());
            }
        }
    }

    fn left(&self) -> Result<Duration> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        ensure!(!left.is_zero(), self.silence());
        Ok(left)
    }

    fn told<T>(&self, result: std::io::Result<T>) -> Result<T> {
        result.map_err(|error| match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => anyhow::anyhow!(self.silence()),
            _ => error.into(),
        })
    }

    fn silence(&self) -> String {
        format!("no answer within {} s", self.within.as_secs())
    }
}

fn reach(address: &Address, within: Duration) -> Result<UnixStream> {
    let flags = SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    // A full queue is waited for no longer, either.
    set_socket_timeout(&socket, Timeout::Send, Some(within))?;
    connect(&socket, &address.socket()?)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests;
