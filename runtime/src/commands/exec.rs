//! `exec`: one more process in a container that runs, or is to be started.
//!
//! Others in the container's pid namespace see a process there from its first instruction on,
//! and who among them has CAP_SYS_PTRACE where the container has no user namespace of its own
//! looks into it, whatever it hides. So it is born of a helper that is in all of the
//! container's namespaces and has nothing of the host open: its root, its directory and its
//! descriptors lead nowhere else. What such a one does see is the memory of the command, with
//! its arguments and environment, and the sockets to it; and what it could do to a process
//! that has not given up its privileges yet is what the capability is for.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use oci_spec::runtime::{BoxBuilder, ContainerState, Linux, LinuxNamespaceType, Process};
use orlop_sys::clone::{Child, CloneArgs, kill_and_reap};
use rustix::fs::{Mode, OFlags};
use rustix::process::{
    DumpableBehavior, Signal, set_dumpable_behavior, set_parent_process_death_signal,
};

use super::create::{Terminal, hide};
use super::pause::own_cgroup;
use super::privileges::privileges;
use super::{send_pidfd, write_pid_file};
use crate::cgroup;
use crate::config::{Bundle, check_process, load_process};
use crate::console::Console;
use crate::failure::Failure;
use crate::handshake::{Channel, Message};
use crate::init::root_of_namespace;
use crate::landlock::Asked;
use crate::launch::{launch, launch_after};
use crate::namespaces::{self, has_new, libc_flags};
use crate::process::{self, Affinity, Plan, apply_schedule, oom, raise_rlimits};
use crate::rootfs;
use crate::standing::Standing;
use crate::state::{Dir, Record, Status, process as container_process};
use crate::subject::Subject;

/// What the command line asks for.
#[derive(Debug, Default)]
pub(crate) struct Request {
    pub(crate) id: String,
    pub(crate) process: Option<PathBuf>,
    pub(crate) args: Vec<String>,
    pub(crate) tty: bool,
    /// Rows and columns of the terminal.
    pub(crate) console_size: Option<(u16, u16)>,
    pub(crate) user: Option<String>,
    pub(crate) cwd: Option<PathBuf>,
    pub(crate) env: Vec<String>,
    pub(crate) pid_file: Option<PathBuf>,
    pub(crate) pidfd_socket: Option<PathBuf>,
    pub(crate) preserve_fds: i32,
    pub(crate) detach: bool,
    /// Start in a paused container too: the process then waits until it is resumed.
    pub(crate) ignore_paused: bool,
    /// Capabilities beside those of the container's process.
    pub(crate) capabilities: Vec<String>,
    pub(crate) additional_gids: Vec<u32>,
    pub(crate) no_new_privileges: bool,
    pub(crate) apparmor: Option<String>,
    pub(crate) label: Option<String>,
    /// A cgroup in the container's, instead of the one its process is in.
    pub(crate) cgroup: Option<PathBuf>,
}

/// A process that has executed its program, still our child.
#[derive(Debug)]
pub(crate) struct Executed {
    pub(crate) child: Child,
    /// Whether it has a terminal.
    pub(crate) terminal: bool,
}

/// Starts the process; when this returns, it has executed its program.
pub(crate) fn exec(root: &Path, request: &Request, terminal: Terminal) -> Result<Executed> {
    let dir = Dir::open_unlocked(root, &request.id)?;
    let record = dir.created_record()?;
    let standing = Standing::here()?;
    let state = match dir.status(&record)? {
        Status::Running => ContainerState::Running,
        // Its process waits to be started, where it is going to be, and hides from a mere user.
        Status::Created if standing.reaches_hidden() => ContainerState::Created,
        Status::Paused if request.ignore_paused => ContainerState::Running,
        Status::Paused => bail!(
            "container {} is frozen; resume it first, or have the process wait for that with \
             --ignore-paused",
            request.id
        ),
        Status::Created | Status::Creating => {
            bail!(
                "container {} is not started yet; start it first",
                request.id
            )
        }
        Status::Stopped => bail!("container not running: {} has stopped", request.id),
    };
    let bundle = Bundle::kept(&record.bundle, &dir.kept_config())?;
    let linux = &bundle.linux;
    // Those in the container see our child as soon as it is there.
    hide(linux, standing)?;
    let (process, unknown) = wanted(&bundle, request)?;
    let mut plan = Plan::new(&process, linux)?;
    plan.warn(&unknown, |capability| request.asks_for(capability));
    plan.keep_keyring = record.no_new_keyring;
    let landlock = bundle.landlock.as_ref();
    plan.landlock = landlock.map_or(Ok(None), Asked::of_further)?;
    let has_terminal = plan.wants_terminal();
    let console = terminal.console(&plan)?;
    let child = make(&record, state, &bundle, plan, console, request, standing)?;
    Ok(Executed {
        child,
        terminal: has_terminal,
    })
}

/// The container's own process with what the command line changes, or the given JSON. Beside it,
/// the names of capabilities in that JSON that nobody knows.
fn wanted(bundle: &Bundle, request: &Request) -> Result<(Process, Vec<String>)> {
    if let Some(path) = &request.process {
        ensure!(
            request.args.is_empty(),
            "a command beside --process: which of the two?"
        );
        request.ensure_process_alone()?;
        let (process, unknown) = load_process(path)?;
        ensure!(
            !request.tty || process.terminal().unwrap_or(false),
            "--tty beside --process {}: put \"terminal\": true into the file, which says that \
             there is none",
            path.display()
        );
        return Ok((process, unknown));
    }
    ensure!(!request.args.is_empty(), "no command is given");
    let mut process = bundle.process.clone();
    process
        .set_args(Some(request.args.clone()))
        .set_terminal(Some(request.tty));
    if let Some((rows, columns)) = request.console_size {
        ensure!(
            request.tty,
            "--console-size without a terminal: give --tty too"
        );
        let size = BoxBuilder::default().height(rows).width(columns).build()?;
        process.set_console_size(Some(size));
    }
    if let Some(text) = &request.user {
        let (uid, gid) = parse_user(text)?;
        let mut user = process.user().clone();
        user.set_uid(uid);
        if let Some(gid) = gid {
            user.set_gid(gid);
        }
        process.set_user(user);
    }
    if let Some(cwd) = &request.cwd {
        ensure!(
            cwd.is_absolute(),
            "--cwd {}: not an absolute path",
            cwd.display()
        );
        process.set_cwd(cwd.clone());
    }
    let mut env = process.env().clone().unwrap_or_default();
    for entry in &request.env {
        let (name, _) = entry
            .split_once('=')
            .with_context(|| format!("--env {entry}: not of the form NAME=VALUE"))?;
        env.retain(|old| old.split_once('=').is_none_or(|(old, _)| old != name));
        env.push(entry.clone());
    }
    process.set_env(Some(env));
    privileges(&mut process, request)?;
    check_process(&process)?;
    // Those of the container were told of as it was made, and --cap takes none.
    Ok((process, Vec::new()))
}

/// `UID[:GID]`, decimal and nothing else: a name is an error, never user 0.
fn parse_user(text: &str) -> Result<(u32, Option<u32>)> {
    let id = |part: &str| {
        let digits = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        part.parse()
            .ok()
            .filter(|id| digits && *id != u32::MAX)
            .with_context(|| format!("--user {text:?}: give UID or UID:GID as numbers"))
    };
    match text.split_once(':') {
        Some((uid, gid)) => Ok((id(uid)?, Some(id(gid)?))),
        None => Ok((id(text)?, None)),
    }
}

/// `ROWSxCOLS`, as in `24x80`.
pub(crate) fn parse_size(text: &str) -> std::result::Result<(u16, u16), String> {
    let parsed = text
        .split_once('x')
        .and_then(|(rows, columns)| Some((rows.parse().ok()?, columns.parse().ok()?)));
    parsed.ok_or_else(|| format!("{text:?}: give ROWSxCOLS, as in 24x80"))
}

/// What the child takes from its parent.
struct Entry {
    /// The container's first process, until its namespaces are joined.
    target: Option<OwnedFd>,
    /// The container's root, where its mount namespace does not lead to it, until then.
    root: Option<OwnedFd>,
    /// Kinds of namespaces that are the container's.
    namespaces: i32,
    plan: Plan,
    console: Option<Console>,
    parent: Channel,
    preserved_fds: i32,
    detach: bool,
}

fn make(
    record: &Record,
    state: ContainerState,
    bundle: &Bundle,
    plan: Plan,
    console: Option<Console>,
    request: &Request,
    standing: Standing,
) -> Result<Child> {
    let target = container_process(record)?
        .with_context(|| format!("container not running: {} has stopped", record.id))?;
    let cgroup = match &request.cgroup {
        Some(below) => Some(cgroup::open_below(own_cgroup(record)?, below).context("--cgroup")?),
        // Nobody gave us the one that it shares with others.
        None if record.cgroup.is_none() && !standing.owns_cgroups() => None,
        None => cgroup::open_of(record.pid)?,
    };
    if !request.ignore_paused {
        cgroup.as_ref().map_or(Ok(()), cgroup::check_thawed)?;
    }
    let moved = by_systemd(record, request)?;
    let namespaces = namespaces::kinds(&bundle.linux);
    let (process, agent) = (plan.process.clone(), plan.agent().cloned());
    let (ours, parent) = Channel::pair()?;
    let entry = Entry {
        root: root_of(record.pid, &bundle.linux, &target)?,
        target: Some(target),
        namespaces,
        plan,
        console,
        parent,
        preserved_fds: request.preserve_fds,
        detach: request.detach,
    };
    let args = CloneArgs {
        namespaces: 0,
        cgroup: cgroup.as_ref().map(AsFd::as_fd).filter(|_| moved.is_none()),
        sibling: false,
    };
    let affinity = Affinity::of(&process)?;
    affinity.begin()?;
    let score = process.oom_score_adj();
    let lent = oom::lend(standing, score)?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    let child = launch_entry(args, entry).map_err(|error| unmade(&record.id, error))?;
    drop(lent);
    let started = (|| {
        if let Some((scope, path)) = moved {
            cgroup::attach(scope, path, record.pid, child.pid)?;
        }
        oom::set(standing, child.pid, score)?;
        let pid = process::pid(child.pid)?;
        raise_rlimits(pid, process.rlimits().as_deref().unwrap_or_default())?;
        apply_schedule(pid, &process)?;
        affinity.finish(pid)?;
        send_pidfd(request.pidfd_socket.as_deref(), "setns", &child)?;
        ours.send(&Message::Mapped)
            .context("the new process is gone")?;
        let agent = |listener| {
            let agent = agent.as_ref().context("a listener that nobody asked for")?;
            let state = Subject::of_record(record).state(state, Some(record.pid))?;
            agent.hand_over(&listener, child.pid, state)
        };
        match ours.receive_past_listener(&agent)? {
            None => {}
            Some(Message::Failed(failure)) => return Err(failure.into()),
            Some(other) => bail!("unexpected answer {other:?}"),
        }
        // Not before: whoever waits for the file takes it that the program runs.
        match &request.pid_file {
            Some(path) => write_pid_file(path, child.pid),
            None => Ok(()),
        }
    })();
    if let Err(error) = started {
        // It may have ended by itself.
        let _ = kill_and_reap(&child);
        return Err(error);
    }
    Ok(child)
}

/// What the helper says is as the process itself would say it, were there no helper.
fn unmade(id: &str, error: anyhow::Error) -> anyhow::Error {
    if error.is::<Failure>() {
        return error;
    }
    error.context(format!("make a process in container {id}"))
}

/// The scope that systemd has to move our child to, and its cgroup, as nobody can be born there
/// who comes from where we are: a user's login, for one.
fn by_systemd<'r>(
    record: &'r Record,
    request: &Request,
) -> Result<Option<(&'r cgroup::Scope, &'r Path)>> {
    match (&record.scope, &record.cgroup) {
        (Some(scope), Some(path)) if request.cgroup.is_none() && !cgroup::may_enter(path)? => {
            Ok(Some((scope, path)))
        }
        (Some(_) | None, _) => Ok(None),
    }
}

/// Makes the process, so that it is seen in the container only once it is there altogether.
fn launch_entry(args: CloneArgs<'_>, mut entry: Entry) -> Result<Child> {
    if entry.namespaces & libc_flags::PID == 0 {
        return launch(args, &[], || run(entry));
    }
    let go = |channel: BorrowedFd<'_>| {
        approach(&mut entry, &[channel])?;
        Ok(entry)
    };
    launch_after(args, go, enter)
}

/// The root of the container's process, if its mount namespace does not lead to that.
fn root_of(pid: i32, linux: &Linux, target: &OwnedFd) -> Result<Option<OwnedFd>> {
    if has_new(linux, LinuxNamespaceType::Mount) {
        return Ok(None);
    }
    let path = format!("/proc/{pid}/root");
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(&path, flags, Mode::empty()).context(path)?;
    // It is the process's if that lives now: its number is no other's yet.
    orlop_sys::signal::send(target, 0).context("the container's process has ended")?;
    Ok(Some(root))
}

type Step = (&'static str, fn(&mut Entry) -> Result<()>);

/// Before the process is there, or is seen.
const APPROACH: &[Step] = &[
    ("open the security attributes", |entry| {
        entry.plan.open_labels()
    }),
    ("join the container's namespaces", join),
    ("leave the caller's keyring", |entry| {
        entry.plan.leave_keyring()
    }),
    ("label the program", |entry| entry.plan.label_program()),
];

const STEPS: &[Step] = &[
    ("close descriptors", |entry| entry.close_others(&[])),
    ("wait for the parent", |entry| {
        entry.parent.expect(&Message::Mapped)
    }),
    ("start a session", |_| {
        Ok(rustix::process::setsid().map(drop)?)
    }),
    ("open the terminal", open_terminal),
    ("complete the environment", |entry| {
        entry.plan.complete_environment()
    }),
    ("limit resources", |entry| entry.plan.limit_resources()),
    ("become the process's user", |entry| {
        entry.plan.become_user(&entry.parent, entry.preserved_fds)
    }),
    // Another user would not have it any more.
    ("stay with the parent", stay_with_parent),
    ("find the program", |entry| entry.plan.find_program()),
];

fn walk(steps: &[Step], entry: &mut Entry) -> std::result::Result<(), Failure> {
    let named = |(name, step): &Step| step(entry).map_err(|error| Failure::new(Some(name), &error));
    steps.iter().try_for_each(named)
}

/// Goes where the process is to be born, with nothing open but `keep` and what it takes along.
fn approach(entry: &mut Entry, keep: &[BorrowedFd<'_>]) -> std::result::Result<(), Failure> {
    let closed = entry.close_others(keep);
    closed.map_err(|error| Failure::new(Some("close descriptors"), &error))?;
    walk(APPROACH, entry)
}

/// Runs in the child, if that has to go there itself. Returns its exit status, which means that
/// something failed.
fn run(mut entry: Entry) -> i32 {
    match approach(&mut entry, &[]) {
        Ok(()) => enter(entry),
        Err(failure) => tell(&entry, failure),
    }
}

/// Runs in the child, once it is there.
fn enter(mut entry: Entry) -> i32 {
    let failure = match walk(STEPS, &mut entry) {
        Ok(()) => Failure::new(None, &entry.plan.execute(entry.preserved_fds)),
        Err(failure) => failure,
    };
    tell(&entry, failure)
}

fn tell(entry: &Entry, failure: Failure) -> i32 {
    // If the parent is gone too, nobody is left to be told.
    let _ = entry.parent.send(&Message::Failed(failure));
    1
}

impl Entry {
    /// Closes what is neither its own, nor the process's, nor in `keep`.
    fn close_others(&self, keep: &[BorrowedFd<'_>]) -> Result<()> {
        let mut keep = [keep, &[self.parent.as_fd()]].concat();
        keep.extend(self.target.as_ref().map(AsFd::as_fd));
        keep.extend(self.root.as_ref().map(AsFd::as_fd));
        keep.extend(self.console.as_ref().map(Console::fd));
        orlop_sys::fd::close_all_but(3 + self.preserved_fds, &keep)?;
        Ok(())
    }
}

fn join(entry: &mut Entry) -> Result<()> {
    let target = entry.target.take().context("they were joined before")?;
    if entry.namespaces != 0 {
        orlop_sys::namespace::join(&target, entry.namespaces)?;
    }
    if let Some(root) = entry.root.take() {
        rootfs::change_root(&root)?;
    }
    if entry.namespaces & libc_flags::USER != 0 {
        root_of_namespace()?;
    }
    Ok(())
}

/// Has the process killed when we are, so that it does not stay where nobody waits for it. A
/// program that gains privileges by its file, as set-uid ones do, is let off by the kernel.
fn stay_with_parent(entry: &mut Entry) -> Result<()> {
    if entry.detach {
        return Ok(());
    }
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // It may have been killed before.
    ensure!(!entry.parent.is_closed(), "the parent is gone");
    Ok(())
}

fn open_terminal(entry: &mut Entry) -> Result<()> {
    let Some(console) = entry.console.take() else {
        return Ok(());
    };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open("/", flags, Mode::empty())?;
    console.open(&root)?;
    console.take_over()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whose_process_it_was_to_be() {
        let said = Failure::new(Some("join"), &anyhow::anyhow!("no"));
        assert_eq!(format!("{:#}", unmade("web", said.into())), "join: no");
        let error = format!("{:#}", unmade("web", anyhow::anyhow!("clone3: no")));
        assert_eq!(error, "make a process in container web: clone3: no");
    }

    #[test]
    fn users_are_numbers() {
        assert_eq!(parse_user("1000").unwrap(), (1000, None));
        assert_eq!(parse_user("1000:5").unwrap(), (1000, Some(5)));
        for text in [
            "",
            "root",
            "1000:",
            ":5",
            "-1",
            "+1",
            "1 ",
            "1:2:3",
            "4294967295",
            "99999999999",
        ] {
            assert!(parse_user(text).is_err(), "{text}");
        }
    }
}
