//! `create`, and the first half of `run`.
//!
//! Whatever is made is held by a value that unmakes it when dropped, until the container is
//! complete: an error anywhere leaves no process, cgroup, mount or state behind.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use oci_spec::runtime::Linux;
use orlop_sys::clone::{Child, CloneArgs, kill_and_reap};
use orlop_sys::wait::Ended;
use rustix::fs::Mode;
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use rustix::time::{ClockId, clock_gettime};

use super::raise::Raising;
use super::{send_pidfd, write_pid_file};
use crate::activation::Activation;
use crate::cgroup::{self, Cgroup};
use crate::config::Bundle;
use crate::console::Console;
use crate::handshake::{Channel, Message};
use crate::hooks;
use crate::init::{self, Birth};
use crate::joined;
use crate::landlock::Asked;
use crate::launch;
use crate::namespaces::Namespaces;
use crate::process::{Plan, oom};
use crate::rootfs::{self, Shown};
use crate::selfexe;
use crate::standing::Standing;
use crate::state::{Dir, Record, Status, start_time};
use crate::subject::Subject;

const SIGKILL: i32 = 9;
const SIGSYS: i32 = 31;

/// What the command line asks for.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) bundle: PathBuf,
    pub(crate) pid_file: Option<PathBuf>,
    pub(crate) pidfd_socket: Option<PathBuf>,
    /// With those that were handed to us.
    pub(crate) preserve_fds: i32,
    pub(crate) activation: Option<Activation>,
    pub(crate) id: String,
    /// Instead of the bundle's config.json.
    pub(crate) config: Option<PathBuf>,
    pub(crate) no_new_keyring: bool,
    pub(crate) cgroups: cgroup::Manager,
}

/// Where the container's terminal goes.
pub(crate) enum Terminal {
    /// To this socket, if one was named.
    Socket(Option<PathBuf>),
    /// To us, over this socket pair's other end.
    Ours(OwnedFd),
}

impl Terminal {
    pub(crate) fn console(self, plan: &Plan) -> Result<Option<Console>> {
        let (size, owner) = (plan.process.console_size(), plan.process.user().uid());
        match (self, plan.wants_terminal()) {
            (Terminal::Socket(None) | Terminal::Ours(_), false) => Ok(None),
            (Terminal::Socket(Some(at)), true) => Console::connect(&at, size, owner).map(Some),
            (Terminal::Ours(socket), true) => Ok(Some(Console::over(socket, size, owner))),
            (Terminal::Socket(None), true) => {
                bail!("process.terminal is set: name a --console-socket")
            }
            (Terminal::Socket(Some(_)), false) => {
                bail!("--console-socket is given, but process.terminal is not set")
            }
        }
    }
}

/// A created container, whose process is still our child.
#[derive(Debug)]
pub(crate) struct Created {
    pub(crate) child: Child,
    /// Whether it has a terminal.
    pub(crate) terminal: bool,
    /// Its directory, still locked.
    pub(crate) dir: Dir,
    pub(crate) record: Record,
}

pub(crate) fn create(root: &Path, request: &Request, terminal: Terminal) -> Result<Created> {
    // Mount points and cgroups are as open as ever, whatever the caller's umask.
    rustix::process::umask(Mode::WGRP | Mode::WOTH);
    let standing = Standing::here()?;
    let mut bundle = load(request, standing)?;
    let linux = &bundle.linux;
    let plan = plan(request, &bundle)?;
    let has_terminal = plan.wants_terminal();
    let console = terminal.console(&plan)?;
    let agent = plan.agent().cloned();
    let mut namespaces = Namespaces::open(linux)?;
    standing.check(&bundle, &namespaces)?;
    let joins = namespaces.take_parent_joins(standing);
    joined::note_mappings(&mut bundle, &joins)?;
    let guard = DirGuard(Some(Dir::create(root, &request.id)?));
    let dir = guard.0.as_ref().context("no state directory")?;
    dir.keep_config(&std::mem::take(&mut bundle.text))?;
    let mut cgroup = make_cgroup(request, &bundle, standing, dir)?;
    let shown = cgroup.as_ref().map(shown);
    let prepare = || rootfs::prepare(&bundle, &namespaces, shown, standing);
    let prepared = standing.clones_mounts().then(prepare).transpose()?;
    let (ours, theirs) = Channel::pair()?;
    let new = namespaces.new;
    let birth = Birth {
        bundle: &bundle,
        id: &request.id,
        namespaces,
        prepared,
        cgroup: shown.map(|shown| shown.path.to_owned()),
        standing,
        plan,
        console,
        parent: theirs,
        listener: dir.listen()?,
        preserved_fds: request.preserve_fds,
    };
    let (child, prepared) = launch(cgroup.as_ref(), &joins, birth)?;
    let taken = cgroup.as_mut().map_or(Ok(()), |it| it.take_in(child.pid));
    let raising = Raising {
        bundle: &bundle,
        id: &request.id,
        child: &child,
        channel: &ours,
        cgroup: cgroup.as_ref(),
        new,
        agent,
        standing,
    };
    let mut hooked = false;
    let raised =
        taken.and_then(|()| see_through(&raising, prepared.as_ref(), dir, request, &mut hooked));
    let record = match raised {
        Ok(record) => record,
        Err(error) => {
            // It may have ended by itself.
            let _ = kill_and_reap(&child);
            drop(cgroup);
            drop(guard);
            if hooked {
                hooks::run_poststop(&bundle.hooks, &Subject::of_bundle(&bundle, &request.id));
            }
            return Err(error);
        }
    };
    if let Some(cgroup) = &mut cgroup {
        cgroup.keep();
    }
    Ok(Created {
        child,
        terminal: has_terminal,
        dir: guard.keep()?,
        record,
    })
}

fn load(request: &Request, standing: Standing) -> Result<Bundle> {
    let bundle = Bundle::load(&request.bundle, request.config.as_deref())?;
    hide(&bundle.linux, standing)?;
    Ok(bundle)
}

fn make_cgroup(
    request: &Request,
    bundle: &Bundle,
    standing: Standing,
    dir: &Dir,
) -> Result<Option<Cgroup>> {
    let note = |path: &Path| dir.note_cgroup(path);
    let (linux, id) = (&bundle.linux, &request.id);
    let annotations = bundle.annotations.as_ref();
    let cgroup = request
        .cgroups
        .create(linux, id, annotations, standing, note)?;
    // Who asks for no cgroup, as podman does for --cgroups=disabled, asks for no rules either,
    // whatever defaults he gives along.
    let disabled = request.cgroups == cgroup::Manager::Disabled;
    if cgroup.is_none() && standing.limits_devices() && !disabled {
        cgroup::check_devices_unlimited(linux, &bundle.process)?;
    }
    Ok(cgroup)
}

fn shown(cgroup: &Cgroup) -> Shown<'_> {
    Shown {
        path: cgroup.path(),
        is_made: cgroup.cradle().is_some(),
    }
}

fn plan(request: &Request, bundle: &Bundle) -> Result<Plan> {
    let mut plan = Plan::new(&bundle.process, &bundle.linux)?;
    plan.hand_on(request.activation.clone());
    plan.keep_keyring = request.no_new_keyring;
    let landlock = bundle.landlock.as_ref();
    plan.landlock = landlock.map_or(Ok(None), Asked::of_first)?;
    plan.warn(&bundle.unknown_capabilities, |_| true);
    Ok(plan)
}

/// From then on our file is out of reach, and whoever sees the helpers and the child that are
/// made cannot look into them. Of an ordinary user all that is seen to later: what is hidden is
/// out of his own reach, too.
pub(super) fn hide(linux: &Linux, standing: Standing) -> Result<()> {
    selfexe::protect(linux, standing)?;
    if standing.reaches_hidden() {
        set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    }
    Ok(())
}

/// Brings the child to where it waits for `start`, and has it on record.
fn see_through(
    raising: &Raising<'_>,
    prepared: Option<&rootfs::Prepared>,
    dir: &Dir,
    request: &Request,
    hooked: &mut bool,
) -> Result<Record> {
    let (child, cgroup) = (raising.child, raising.cgroup);
    let mut record = record(request, raising.bundle, cgroup, child)?;
    if hooks::are_in_create(&raising.bundle.hooks) {
        // Who knows how long they take: meanwhile `state` and `delete --force` find it.
        dir.write(&record)?;
    }
    raising
        .run(prepared, hooked)
        .map_err(|error| diagnose(error, child, cgroup))?;
    record.status = Status::Created;
    dir.write(&record)?;
    raising.channel.send(&Message::Recorded)?;
    send_pidfd(request.pidfd_socket.as_deref(), "standard", child)?;
    // The last of all, because it is where the caller says: nothing takes it away again.
    if let Some(path) = &request.pid_file {
        write_pid_file(path, child.pid)?;
    }
    Ok(record)
}

/// Starts the child, and keeps of its inheritance what the parent still works on.
fn launch(
    cgroup: Option<&Cgroup>,
    joins: &[(i32, OwnedFd)],
    mut birth: Birth<'_>,
) -> Result<(Child, Option<rootfs::Prepared>)> {
    let score = birth.plan.process.oom_score_adj();
    let lent = oom::lend(birth.standing, score)?;
    if birth.hides_at_once() {
        // Others may see the child as soon as it is there.
        set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    }
    let args = CloneArgs {
        namespaces: birth.namespaces.clone_flags(),
        cgroup: cgroup.and_then(Cgroup::cradle),
        sibling: false,
    };
    let child = launch::launch(args, joins, || {
        init::run(Birth {
            bundle: birth.bundle,
            id: birth.id,
            namespaces: std::mem::replace(&mut birth.namespaces, Namespaces::none()),
            prepared: birth.prepared.take(),
            cgroup: birth.cgroup.take(),
            standing: birth.standing,
            plan: birth.plan,
            console: birth.console.take(),
            parent: birth.parent,
            listener: birth.listener,
            preserved_fds: birth.preserved_fds,
        })
    })?;
    drop(lent);
    Ok((child, birth.prepared.take()))
}

/// A child that ended without a word was killed; says by what.
fn diagnose(error: anyhow::Error, child: &Child, cgroup: Option<&Cgroup>) -> anyhow::Error {
    let out_of_memory = cgroup.is_some_and(Cgroup::ran_out_of_memory);
    match kill_and_reap(child) {
        Ok(Ended::Killed(_)) if out_of_memory => anyhow::anyhow!(
            "linux.resources.memory.limit: too little to start a process in; give it a few MiB"
        ),
        // Our own was SIGKILL.
        Ok(Ended::Killed(SIGSYS)) => error.context(
            "the seccomp profile kills a call that starting a process needs (SIGSYS); allow what \
             is called before the program is executed (with process.noNewPrivileges and without \
             a seccomp listener: execve alone)",
        ),
        Ok(Ended::Killed(signal)) if signal != SIGKILL => error.context(format!(
            "the container's process was killed by signal {signal}"
        )),
        Ok(Ended::Exited(_) | Ended::Killed(_)) | Err(_) => error,
    }
}

/// As of a container that is being created.
fn record(
    request: &Request,
    bundle: &Bundle,
    cgroup: Option<&Cgroup>,
    child: &Child,
) -> Result<Record> {
    let (start_time, _) = start_time(child.pid).context("the container's process is gone")?;
    Ok(Record {
        oci_version: bundle.version.clone(),
        id: request.id.clone(),
        status: Status::Creating,
        pid: child.pid,
        bundle: bundle.dir.clone(),
        annotations: bundle.annotations.clone(),
        rootfs: Some(bundle.rootfs()),
        created: Some(clock_gettime(ClockId::Realtime).tv_sec),
        cgroup_identity: cgroup.and_then(|cgroup| cgroup::identity(cgroup.path())),
        start_time,
        cgroup: cgroup.map(|cgroup| cgroup.path().to_owned()),
        scope: cgroup.and_then(Cgroup::scope).cloned(),
        later_hooks: hooks::are_later(&bundle.hooks),
        no_new_keyring: request.no_new_keyring,
    })
}

/// Frees the id again unless the container got complete.
struct DirGuard(Option<Dir>);

impl DirGuard {
    fn keep(mut self) -> Result<Dir> {
        self.0.take().context("no state directory")
    }
}

impl Drop for DirGuard {
    fn drop(&mut self) {
        if let Some(dir) = self.0.take() {
            // An error is being reported already; delete --force removes what stays.
            let _ = dir.remove();
        }
    }
}
