//! Hooks: programs that the configuration has run at points of a container's life.
//!
//! ```text
//! create:  prestart, createRuntime   by `create`, once the child has built the root
//!          createContainer           by the child, before it makes that root its own
//! start:   startContainer            by the child, as the process's user, before its program
//!          poststart                 by `start`, once the program runs
//! delete:  poststop                  by `delete`, and by a `create` that failed with hooks
//! ```
//!
//! Each gets the container's state on stdin. The first that fails ends its step with an error,
//! but for `poststop`, whose failures are warnings. What `start` and `delete` run is in the copy
//! of config.json that `create` kept.

mod call;

use anyhow::{Context, Result, ensure};
use oci_spec::runtime::{ContainerState, Hook, Hooks};
use std::os::fd::BorrowedFd;

use crate::log;
use crate::subject::Subject;
use call::Call;

/// The points in a container's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Prestart,
    CreateRuntime,
    CreateContainer,
    StartContainer,
    Poststart,
    Poststop,
}

pub(crate) const KINDS: [Kind; 6] = [
    Kind::Prestart,
    Kind::CreateRuntime,
    Kind::CreateContainer,
    Kind::StartContainer,
    Kind::Poststart,
    Kind::Poststop,
];

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Prestart => "prestart",
            Kind::CreateRuntime => "createRuntime",
            Kind::CreateContainer => "createContainer",
            Kind::StartContainer => "startContainer",
            Kind::Poststart => "poststart",
            Kind::Poststop => "poststop",
        }
    }

    /// What the container is at that point. By the spec it is created once its environment is
    /// there (step 2 of its life), and hooks of `create` are the steps after that. (`state` and
    /// a seccomp agent go by the operation: until `create` has finished, it is being created.)
    fn status(self) -> ContainerState {
        match self {
            Kind::Prestart | Kind::CreateRuntime | Kind::CreateContainer | Kind::StartContainer => {
                ContainerState::Created
            }
            Kind::Poststart => ContainerState::Running,
            Kind::Poststop => ContainerState::Stopped,
        }
    }

    /// Whether it runs with the runtime, outside of the container.
    fn is_outside(self) -> bool {
        match self {
            Kind::Prestart | Kind::CreateRuntime | Kind::Poststart | Kind::Poststop => true,
            Kind::CreateContainer | Kind::StartContainer => false,
        }
    }
}

/// The hooks of one kind, in their order.
#[allow(deprecated)] // prestart is, but must be run all the same.
pub(crate) fn of(hooks: &Hooks, kind: Kind) -> &[Hook] {
    let list = match kind {
        Kind::Prestart => hooks.prestart(),
        Kind::CreateRuntime => hooks.create_runtime(),
        Kind::CreateContainer => hooks.create_container(),
        Kind::StartContainer => hooks.start_container(),
        Kind::Poststart => hooks.poststart(),
        Kind::Poststop => hooks.poststop(),
    };
    list.as_deref().unwrap_or_default()
}

/// Whether there are some to run before the child leaves the host's root.
pub(crate) fn are_in_create(hooks: &Hooks) -> bool {
    [Kind::Prestart, Kind::CreateRuntime, Kind::CreateContainer]
        .into_iter()
        .any(|kind| !of(hooks, kind).is_empty())
}

/// Whether there are some for `start` or `delete` to run.
pub(crate) fn are_later(hooks: &Hooks) -> bool {
    [Kind::Poststart, Kind::Poststop]
        .into_iter()
        .any(|kind| !of(hooks, kind).is_empty())
}

/// Refuses what could not be run, before anything is made.
pub(crate) fn check(hooks: &Hooks) -> Result<()> {
    for kind in KINDS {
        for (index, hook) in of(hooks, kind).iter().enumerate() {
            let name = name(kind, index);
            ensure!(
                hook.path().is_absolute(),
                "{name}: the path {:?} is not absolute",
                hook.path()
            );
            ensure!(
                hook.timeout().is_none_or(|seconds| seconds > 0),
                "{name}: a timeout of {} s; give 1 or more, or none to wait without end",
                hook.timeout().unwrap_or_default()
            );
            for entry in hook.env().iter().flatten() {
                ensure!(
                    entry.contains('='),
                    "{name}: env {entry:?}: not of the form NAME=VALUE"
                );
            }
        }
    }
    Ok(())
}

fn name(kind: Kind, index: usize) -> String {
    format!("hooks.{}[{index}]", kind.name())
}

/// Runs the hooks of one kind, one after the other, until one fails; with the pidfd of the
/// container's process, no longer than that lives.
pub(crate) fn run(
    hooks: &Hooks,
    kind: Kind,
    subject: &Subject<'_>,
    pid: Option<i32>,
    pidfd: Option<BorrowedFd<'_>>,
) -> Result<()> {
    for (index, hook) in of(hooks, kind).iter().enumerate() {
        run_one(hook, kind, subject, pid, pidfd)
            .with_context(|| format!("{} {}", name(kind, index), hook.path().display()))?;
    }
    Ok(())
}

/// Runs every `poststop` hook. A failure is a warning: the container is gone already.
pub(crate) fn run_poststop(hooks: &Hooks, subject: &Subject<'_>) {
    for (index, hook) in of(hooks, Kind::Poststop).iter().enumerate() {
        if let Err(error) = run_one(hook, Kind::Poststop, subject, None, None) {
            let name = name(Kind::Poststop, index);
            log::warn(&format!("{name} {}: {error:#}", hook.path().display()));
        }
    }
}

/// Runs a program that is no hook as if it were one: with a timeout, and what it says in the
/// error.
pub(crate) fn call(program: &Hook) -> Result<()> {
    Call {
        hook: program,
        directory: None,
        input: b"",
        process: None,
    }
    .run()
}

fn run_one(
    hook: &Hook,
    kind: Kind,
    subject: &Subject<'_>,
    pid: Option<i32>,
    pidfd: Option<BorrowedFd<'_>>,
) -> Result<()> {
    let state = serde_json::to_vec(&subject.state(kind.status(), pid)?)?;
    Call {
        hook,
        // Inside, the caller's directory is where they start: the container's root before it
        // is entered, the process's directory afterwards.
        directory: kind.is_outside().then(|| subject.bundle()),
        input: &state,
        process: pidfd,
    }
    .run()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hooks(json: &str) -> Hooks {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn each_kind_is_read_by_its_name() {
        for kind in KINDS {
            let one = hooks(&format!(r#"{{"{}":[{{"path":"/a"}}]}}"#, kind.name()));
            assert_eq!(of(&one, kind).len(), 1, "{kind:?}");
        }
    }

    #[test]
    fn what_is_refused() {
        for (json, expected) in [
            (r#"{"prestart":[{"path":"/a","timeout":1}]}"#, "ok"),
            (
                r#"{"poststop":[{"path":"/a"},{"path":"b"}]}"#,
                "hooks.poststop[1]: the path \"b\" is not absolute",
            ),
            (
                r#"{"createRuntime":[{"path":"/a","timeout":0}]}"#,
                "hooks.createRuntime[0]: a timeout of 0 s",
            ),
            (
                r#"{"startContainer":[{"path":"/a","timeout":-1}]}"#,
                "a timeout of -1 s",
            ),
            (
                r#"{"poststart":[{"path":"/a","env":["B=c","D"]}]}"#,
                "env \"D\"",
            ),
        ] {
            let got = check(&hooks(json)).map_or_else(|error| error.to_string(), |()| "ok".into());
            assert!(got.contains(expected), "{json}: {got}");
        }
    }

    #[test]
    fn when_there_are_some_to_run() {
        for (kind, in_create, later) in [
            ("prestart", true, false),
            ("createRuntime", true, false),
            ("createContainer", true, false),
            ("startContainer", false, false),
            ("poststart", false, true),
            ("poststop", false, true),
        ] {
            let one = hooks(&format!(r#"{{"{kind}":[{{"path":"/a"}}]}}"#));
            let none = hooks(&format!(r#"{{"{kind}":[]}}"#));
            assert_eq!(are_in_create(&one), in_create, "{kind}");
            assert_eq!(are_later(&one), later, "{kind}");
            assert!(!are_in_create(&none) && !are_later(&none), "{kind}");
        }
    }
}
