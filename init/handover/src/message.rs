//! The messages, and what makes one acceptable beyond its JSON shape.

use crate::{MAX_FDS, MAX_KEY_BYTES, MAX_NAME_BYTES};
use serde::{Deserialize, Serialize};

/// What PID 1 tells the manager.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    tag = "type",
    rename_all = "camelCase",
    rename_all_fields = "camelCase",
    deny_unknown_fields
)]
pub enum FromInit {
    /// The first message to each new manager.
    Welcome {
        /// How many [`FromInit::Kept`] messages follow.
        kept: usize,
    },
    /// Descriptors that an earlier manager left in PID 1's care; they travel
    /// with the message, in the order of `names`. PID 1 goes on keeping its own.
    Kept {
        /// The key that the manager chose.
        key: String,
        /// A name for each descriptor.
        names: Vec<String>,
    },
    /// Everything that was kept or unacknowledged has been told, and the kernel
    /// modules that the manager needs are loaded.
    Ready,
    /// A child of PID 1 ended. Told again to each new manager until it is
    /// acknowledged with [`ToInit::Ack`].
    Exit {
        /// The process id it had.
        pid: i32,
        /// Field 22 of `/proc/PID/stat`, in clock ticks since boot: with the
        /// pid it names the process for as long as the host is up.
        start_time: u64,
        /// The exit code, when it exited.
        code: Option<i32>,
        /// The signal's number, when a signal ended it.
        signal: Option<i32>,
        /// When PID 1 reaped it: milliseconds of `CLOCK_REALTIME`.
        at_ms: u64,
    },
    /// Asks for [`ToInit::Pong`] with the same number: the watchdog is fed only
    /// while the answers come.
    Ping {
        /// Counts up.
        seq: u64,
    },
    /// The descriptors of [`ToInit::Keep`] with this key are safe now: from here
    /// on they outlive the manager.
    KeptOk {
        /// The key of the answered request.
        key: String,
    },
    /// The descriptors were not kept.
    KeepRefused {
        /// The key of the answered request.
        key: String,
        /// Why, for a person.
        reason: String,
    },
    /// The host is going down: stop every container by its unit's settings,
    /// answer [`ToInit::Stopping`] at once and [`ToInit::ContainersStopped`] in
    /// the end.
    StopContainers {
        /// How long PID 1 will wait whatever it is asked for, in milliseconds
        /// from now.
        deadline_ms: u64,
    },
}

/// What the manager tells PID 1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    tag = "type",
    rename_all = "camelCase",
    rename_all_fields = "camelCase",
    deny_unknown_fields
)]
pub enum ToInit {
    /// This exit is durably recorded (or no unit's business): forget it.
    Ack {
        /// As told in [`FromInit::Exit`].
        pid: i32,
        /// As told in [`FromInit::Exit`].
        start_time: u64,
    },
    /// Keep the descriptors that travel with this message; a second `Keep` of
    /// the same key replaces the first.
    Keep {
        /// Any name, at most [`MAX_KEY_BYTES`].
        key: String,
        /// A name for each descriptor, at most [`MAX_FDS`].
        names: Vec<String>,
    },
    /// Close what was kept under this key. An unknown key is no error.
    Forget {
        /// The key given to [`ToInit::Keep`].
        key: String,
    },
    /// The answer to [`FromInit::Ping`].
    Pong {
        /// The number asked with.
        seq: u64,
    },
    /// The first answer to [`FromInit::StopContainers`]: what to wait for.
    /// Without it PID 1 waits as long as it thinks fit.
    Stopping {
        /// How long the units' stop settings take, in milliseconds from now.
        needs_ms: u64,
        /// How many containers there are to stop.
        containers: usize,
    },
    /// The last answer to [`FromInit::StopContainers`]: none is left.
    ContainersStopped,
    /// An operator wants the host down: begin the ordered shutdown.
    Shutdown {
        /// What comes after it.
        mode: ShutdownMode,
    },
    /// The manager is up: its next restart need not wait long.
    Running,
}

/// What follows an ordered shutdown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ShutdownMode {
    /// Start again.
    Reboot,
    /// Switch the machine off.
    PowerOff,
}

/// Why a message that parsed is not acceptable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Bad {
    /// The number of descriptors is not what the message says.
    #[error("{got} descriptors came with a message that names {expected}")]
    Fds {
        /// As many as the message names.
        expected: usize,
        /// As many as came.
        got: usize,
    },
    /// A key is empty or too long.
    #[error("a key of {0} bytes: expected 1 to {MAX_KEY_BYTES}")]
    Key(usize),
    /// A descriptor's name is empty or too long.
    #[error("a descriptor name of {0} bytes: expected 1 to {MAX_NAME_BYTES}")]
    Name(usize),
    /// More names than descriptors can travel.
    #[error("{0} descriptors in one message: expected at most {MAX_FDS}")]
    Names(usize),
}

/// A message that knows how many descriptors travel with it, and its bounds.
pub trait Checked: Serialize + for<'de> Deserialize<'de> {
    /// Checks the message against `fds`, the number of descriptors beside it.
    ///
    /// # Errors
    /// [`Bad`], naming the bound that does not hold.
    fn check(&self, fds: usize) -> Result<(), Bad>;
}

impl Checked for FromInit {
    fn check(&self, fds: usize) -> Result<(), Bad> {
        match self {
            Self::Kept { key, names } => check_named(key, names, fds),
            Self::KeptOk { key } | Self::KeepRefused { key, reason: _ } => {
                check_key(key)?;
                check_fds(0, fds)
            }
            Self::Welcome { kept: _ }
            | Self::Ready
            | Self::Exit {
                pid: _,
                start_time: _,
                code: _,
                signal: _,
                at_ms: _,
            }
            | Self::Ping { seq: _ }
            | Self::StopContainers { deadline_ms: _ } => check_fds(0, fds),
        }
    }
}

impl Checked for ToInit {
    fn check(&self, fds: usize) -> Result<(), Bad> {
        match self {
            Self::Keep { key, names } => check_named(key, names, fds),
            Self::Forget { key } => {
                check_key(key)?;
                check_fds(0, fds)
            }
            Self::Ack {
                pid: _,
                start_time: _,
            }
            | Self::Pong { seq: _ }
            | Self::Stopping {
                needs_ms: _,
                containers: _,
            }
            | Self::ContainersStopped
            | Self::Shutdown { mode: _ }
            | Self::Running => check_fds(0, fds),
        }
    }
}

fn check_named(key: &str, names: &[String], fds: usize) -> Result<(), Bad> {
    check_key(key)?;
    if names.len() > MAX_FDS {
        return Err(Bad::Names(names.len()));
    }
    if let Some(name) = names
        .iter()
        .find(|n| n.is_empty() || n.len() > MAX_NAME_BYTES)
    {
        return Err(Bad::Name(name.len()));
    }
    check_fds(names.len(), fds)
}

fn check_key(key: &str) -> Result<(), Bad> {
    match key.len() {
        1..=MAX_KEY_BYTES => Ok(()),
        length => Err(Bad::Key(length)),
    }
}

fn check_fds(expected: usize, got: usize) -> Result<(), Bad> {
    if expected == got {
        Ok(())
    } else {
        Err(Bad::Fds { expected, got })
    }
}
