//! Cgroups that systemd makes: a scope for each container, asked for over D-Bus.
//!
//! ```text
//! create:  where it is going to be -> the container's process, which waits
//!          -> a scope with that process in it -> the rest of the limits -> the process goes on
//! update:  the cgroup's files, then the scope's properties
//! delete:  kill -> stop the scope
//! ```
//!
//! A scope takes processes that exist and is gone when there is none in it, so unlike elsewhere
//! the container's process is not born in its cgroup. It is moved there by systemd: where a
//! user's container comes from a login, only the system's own may do that.

mod address;
mod annotations;
mod bus;
mod names;
mod properties;
mod wire;

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use oci_spec::runtime::Linux;
use serde::{Deserialize, Serialize};

use super::limits::{self, Write};
use super::processes::place_of;
use super::{Cgroup, Made, check_thawed, devices, enable_controllers, mount_point, open, rules};
use crate::standing::Standing;
pub(crate) use annotations::PREFIX as PROPERTY_ANNOTATIONS;
use bus::{Bus, Refused};
use names::Names;
pub(super) use properties::round;
use properties::{Property, Value, property};
use wire::{Arguments, Call};

/// What systemd has a container as.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Scope {
    unit: String,
    /// A user's own systemd has it.
    user: bool,
}

/// A scope that is to be made once there is a process for it.
#[derive(Debug)]
pub(super) struct Promise {
    scope: Scope,
    bus: Bus,
    writes: Vec<Write>,
    properties: Vec<Property>,
}

const fn manager(member: &'static str) -> Call {
    Call {
        destination: "org.freedesktop.systemd1",
        path: "/org/freedesktop/systemd1",
        interface: "org.freedesktop.systemd1.Manager",
        member,
    }
}

const GET: Call = Call {
    interface: "org.freedesktop.DBus.Properties",
    ..manager("Get")
};

/// Works out the cgroup, and reaches systemd. Nothing is made yet.
pub(super) fn promise(
    linux: &Linux,
    id: &str,
    annotations: Option<&HashMap<String, String>>,
    standing: Standing,
    note: impl FnOnce(&Path) -> Result<()>,
) -> Result<Cgroup> {
    let mount = mount_point()
        .context("--systemd-cgroup: no cgroup2 file system is mounted on /sys/fs/cgroup")?;
    let user = !standing.owns_cgroups();
    let names = Names::of(linux.cgroups_path().as_deref(), id, user)?;
    let below = names.path()?;
    let resources = linux.resources().as_ref();
    let writes = resources.map(limits::writes).transpose()?;
    let mut writes = writes.unwrap_or_default();
    round(&mut writes);
    let devices = devices::program(rules(linux))?.filter(|_| standing.limits_devices());
    let mut properties = fixed(id, &names);
    properties.extend(annotations::of(annotations)?);
    properties.extend(properties::of(&writes));
    if resources.is_some_and(|all| all.pids().is_some_and(|pids| pids.limit() < 0)) {
        // It would have a limit of systemd's.
        properties.push(property("TasksMax", Value::U64(u64::MAX)));
    }
    let mut bus = connect(user)?;
    let own = bus.call(GET, &texts(manager("").interface, "ControlGroup"))?;
    let own = own.variant().context("systemd's own cgroup")?;
    let path = mount.join(own.trim_start_matches('/')).join(below);
    note(&path)?;
    Ok(Cgroup {
        made: Made {
            from: path.clone(),
            path,
            keep: true,
            scope: None,
        },
        fd: None,
        devices,
        promise: Some(Promise {
            scope: Scope {
                unit: names.unit,
                user,
            },
            bus,
            writes,
            properties,
        }),
    })
}

fn texts(first: &str, second: &str) -> Arguments {
    Arguments::default().text(first).text(second)
}

fn connect(user: bool) -> Result<Bus> {
    let hint = if user {
        "--systemd-cgroup: ask this user's systemd (is it running? `loginctl enable-linger` has \
         it run without a login)"
    } else {
        "--systemd-cgroup: ask systemd"
    };
    Bus::open(&address::address(user)?).context(hint)
}

/// What every scope has.
fn fixed(id: &str, names: &Names) -> Vec<Property> {
    let yes = |name| property(name, Value::Bool(true));
    let text = |name, text: &str| property(name, Value::Text(text.to_owned()));
    vec![
        text("Description", &format!("orlop-runtime container {id}")),
        text("Slice", &names.slice),
        // What is below is the container's own business, and every controller is passed on.
        yes("Delegate"),
        property("DefaultDependencies", Value::Bool(false)),
        // One that failed is not kept either.
        text("CollectMode", "inactive-or-failed"),
        yes("CPUAccounting"),
        yes("MemoryAccounting"),
        yes("IOAccounting"),
        yes("TasksAccounting"),
    ]
}

impl Cgroup {
    /// Has systemd make the cgroup with this process in it, if it is to be systemd's.
    pub(crate) fn take_in(&mut self, pid: i32) -> Result<()> {
        let Some(mut promise) = self.promise.take() else {
            return Ok(());
        };
        let pids = vec![u32::try_from(pid)?];
        let pids = property("PIDs", Value::Numbers(pids));
        promise.properties.push(pids);
        let made = &mut self.made;
        let what = || format!("--systemd-cgroup: start {}", promise.scope.unit);
        let (bus, scope) = (&mut promise.bus, &promise.scope);
        // Mounts and the launch were between.
        bus.restart();
        let job = ask(bus, scope, &promise.properties).with_context(what)?;
        // From here on there is one, and it is ours. (Where no answer came it ends with the
        // process that it was to have.)
        made.keep = false;
        made.scope = Some(promise.scope.clone());
        finish(bus, scope, &job).with_context(what)?;
        check_place(pid, &made.path)?;
        self.fd = Some(open(&made.path)?);
        check_thawed(self.fd()?).context("the slice of the container")?;
        let mount = mount_point().context("no cgroup2 file system any more")?;
        let enabled = enable_controllers(mount, &self.made.path, &promise.writes);
        if promise.scope.user {
            enabled.context(
                "this user's systemd passes on no more than it was given (Delegate= of \
                 user@.service says what)",
            )?;
        } else {
            enabled?;
        }
        promise
            .writes
            .iter()
            .try_for_each(|write| self.write(write))
    }

    /// What systemd has it as.
    pub(crate) fn scope(&self) -> Option<&Scope> {
        self.made.scope.as_ref()
    }
}

/// Asks for the scope; its job is the answer. The "fail" is about other jobs for these units:
/// while the machine goes down, nothing that stops is kept from it.
fn ask(bus: &mut Bus, scope: &Scope, properties: &[Property]) -> Result<String> {
    let unit = scope.unit.as_str();
    let call = manager("StartTransientUnit");
    let arguments = texts(unit, "fail").properties(properties).no_units();
    let mut again = true;
    loop {
        match bus.call(call, &arguments) {
            Ok(job) => return job.object(),
            // One that failed is kept by that name, and goes.
            Err(error) if again && is(&error, "UnitExists") => {
                again = false;
                reset(bus, unit)?;
            }
            Err(error) => return Err(explain(error)),
        }
    }
}

fn finish(bus: &mut Bus, scope: &Scope, job: &str) -> Result<()> {
    match bus.end_of(job)?.as_str() {
        "done" => Ok(()),
        other => bail!(
            "its job ended as {other:?}; `journalctl -u {}` may say why",
            scope.unit
        ),
    }
}

fn is(error: &anyhow::Error, name: &str) -> bool {
    let refused = error.downcast_ref::<Refused>();
    refused.is_some_and(|refused| refused.name.ends_with(name))
}

fn explain(error: anyhow::Error) -> anyhow::Error {
    if is(&error, "AccessDenied") || is(&error, "InteractiveAuthorizationRequired") {
        return error.context(
            "systemd lets this user do no such thing; be root, or have a rule \
            of polkit's for org.freedesktop.systemd1.manage-units",
        );
    }
    if is(&error, "UnitExists") {
        return error.context("a unit of this name runs; is the container still there?");
    }
    error
}

/// systemd says that it is there, but only where it is expected is it found again.
fn check_place(pid: i32, path: &Path) -> Result<()> {
    let found = place_of(pid)?.context("no cgroup2 file system any more")?;
    ensure!(
        found == path,
        "systemd put process {pid} into {}, not into {}",
        found.display(),
        path.display()
    );
    Ok(())
}

/// Forgets a unit that failed; one that did not, or is not there, is left alone.
fn reset(bus: &mut Bus, unit: &str) -> Result<()> {
    match bus.call(manager("ResetFailedUnit"), &Arguments::default().text(unit)) {
        Err(error) if !is(&error, "NoSuchUnit") => Err(error),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Stops the scope, and waits until it is gone. One that is gone already has nothing to stop.
pub(crate) fn stop(scope: &Scope) -> Result<()> {
    let unit = scope.unit.as_str();
    let mut bus = connect(scope.user)?;
    let stopped = match bus.call(manager("StopUnit"), &texts(unit, "replace")) {
        Ok(job) => bus.end_of(&job.object()?).map(drop),
        Err(error) if is(&error, "NoSuchUnit") => return Ok(()),
        Err(error) => Err(explain(error)),
    };
    stopped
        .and_then(|()| reset(&mut bus, unit))
        .with_context(|| format!("stop {unit}"))
}

/// Moves a process to where `first` is, the container's own, in the scope at `path`. Only
/// systemd can where that process comes from somebody else's part of the tree. At the scope's
/// top there is no room when the container has made cgroups of its own below.
pub(crate) fn attach(scope: &Scope, path: &Path, first: i32, pid: i32) -> Result<()> {
    let unit = scope.unit.as_str();
    let what = || format!("move process {pid} to {unit}");
    let pids = [u32::try_from(pid).with_context(what)?];
    let place = place_of(first)?.context("no cgroup2 file system any more")?;
    let subcgroup = subcgroup(path, &place).with_context(what)?;
    connect(scope.user)?
        .call(
            manager("AttachProcessesToUnit"),
            &texts(unit, &subcgroup).numbers(&pids),
        )
        .map_err(explain)
        .and_then(|_| check_place(pid, &place))
        .with_context(what)
}

/// What systemd calls a cgroup in a scope's: nothing for that itself, else an absolute path.
fn subcgroup(scope: &Path, place: &Path) -> Result<String> {
    let below = place.strip_prefix(scope).with_context(|| {
        format!(
            "the container's process is in {} now, not in {}; take it back there, or say with \
             --cgroup where to go",
            place.display(),
            scope.display()
        )
    })?;
    match below.to_str() {
        Some("") => Ok(String::new()),
        Some(below) => Ok(format!("/{below}")),
        None => bail!("{}: systemd takes only UTF-8", place.display()),
    }
}

/// Limits that systemd is going to be told of, as soon as they are written: it is there.
#[derive(Debug)]
pub(super) struct News {
    bus: Bus,
    unit: String,
    properties: Vec<Property>,
}

/// Reaches systemd, if these are limits that it knows.
pub(super) fn news(scope: &Scope, writes: &[Write]) -> Result<Option<News>> {
    let properties = properties::of(writes);
    if properties.is_empty() {
        return Ok(None);
    }
    Ok(Some(News {
        bus: connect(scope.user)?,
        unit: scope.unit.clone(),
        properties,
    }))
}

impl News {
    pub(super) fn tell(mut self) -> Result<()> {
        // Until the next boot, longer than which no scope is there.
        let arguments = Arguments::default().text(&self.unit).yes();
        let arguments = arguments.properties(&self.properties);
        self.bus
            .call(manager("SetUnitProperties"), &arguments)
            .map(drop)
            .map_err(explain)
            .with_context(|| format!("set the properties of {}", self.unit))
    }
}

#[cfg(test)]
mod tests;
