//! The container's first process, from clone3 to execve: a list of steps.
//!
//! It is not dumpable, so nothing in the container can attach to it, and it keeps no
//! descriptor that is not in `Birth`.

use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use rustix::thread::{Gid, Uid};

use crate::clocks;
use crate::config::Bundle;
use crate::console::Console;
use crate::failure::Failure;
use crate::handshake::{Channel, Message};
use crate::hooks::{self, Kind};
use crate::namespaces::{Namespaces, libc_flags};
use crate::process::Plan;
use crate::rootfs::{Layout, Prepared, Shown, enter, prepare};
use crate::standing::Standing;
use crate::subject::Subject;

/// All that the child takes from its parent.
pub(crate) struct Birth<'b> {
    pub(crate) bundle: &'b Bundle,
    pub(crate) id: &'b str,
    pub(crate) namespaces: Namespaces,
    /// `None`: we do it ourselves, once we can.
    pub(crate) prepared: Option<Prepared>,
    pub(crate) cgroup: Option<PathBuf>,
    pub(crate) standing: Standing,
    pub(crate) plan: Plan,
    pub(crate) console: Option<Console>,
    pub(crate) parent: Channel,
    pub(crate) listener: OwnedFd,
    /// How many descriptors from 3 on are the process's.
    pub(crate) preserved_fds: i32,
}

impl Birth<'_> {
    /// Whether the process shows itself to nobody from its first instruction on. Else whoever
    /// is to map its ids has to be no stranger to it until then. Those of other containers are
    /// all the same: they have no power in its user namespace, nor in the one around it.
    pub(crate) fn hides_at_once(&self) -> bool {
        self.standing.reaches_hidden() || !self.namespaces.is_new(libc_flags::USER)
    }
}

type Step = (&'static str, fn(&mut Birth<'_>) -> Result<()>);

const STEPS: &[Step] = &[
    ("close descriptors", close_descriptors),
    ("wait for the parent", |birth| {
        birth.parent.expect(&Message::Mapped)?;
        Ok(set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
    }),
    ("become root of the user namespace", become_root),
    ("open what the host has", open_sources),
    ("open the security attributes", |birth| {
        birth.plan.open_labels()
    }),
    ("join namespaces", join_namespaces),
    ("set the clocks", set_clocks),
    ("bring up the loopback device", bring_up_loopback),
    ("set the host name", set_host_name),
    ("start a session", |_| {
        Ok(rustix::process::setsid().map(drop)?)
    }),
    ("build the root file system", enter_root),
    ("take the terminal", take_terminal),
    ("leave the caller's keyring", |birth| {
        birth.plan.leave_keyring()
    }),
    ("label the program", |birth| birth.plan.label_program()),
    ("complete the environment", |birth| {
        birth.plan.complete_environment()
    }),
    ("limit resources", |birth| birth.plan.limit_resources()),
    ("become the process's user", |birth| {
        birth.plan.become_user(&birth.parent, birth.preserved_fds)
    }),
    ("find the program", |birth| birth.plan.find_program()),
];

/// Runs in the child. Returns its exit status, which means that something failed.
pub(crate) fn run(mut birth: Birth<'_>) -> i32 {
    // Those that wait are for `run`'s relay.
    orlop_sys::signal::unblock();
    for (name, step) in STEPS {
        if let Err(error) = step(&mut birth) {
            // If the parent is gone too, nobody is left to be told.
            let failure = Failure::new(Some(name), &error);
            let _ = birth.parent.send(&Message::Failed(failure));
            return 1;
        }
    }
    if birth.parent.send(&Message::Created).is_err()
        || birth.parent.expect(&Message::Recorded).is_err()
    {
        return 1;
    }
    let Birth {
        bundle,
        id,
        plan,
        parent,
        listener,
        preserved_fds,
        ..
    } = birth;
    drop(parent);
    let Ok(starter) = wait_for_start(&listener) else {
        return 1;
    };
    let subject = Subject::of_bundle(bundle, id);
    let error = match hooks::run(
        &bundle.hooks,
        Kind::StartContainer,
        &subject,
        own_pid(),
        None,
    ) {
        Ok(()) => plan.execute(preserved_fds),
        Err(error) => error,
    };
    // Whoever said "start" may have left; the exit status still tells.
    let _ = starter.send(&Message::Failed(Failure::new(None, &error)));
    1
}

fn close_descriptors(birth: &mut Birth<'_>) -> Result<()> {
    if birth.hides_at_once() {
        set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    }
    let mut keep = vec![birth.parent.as_fd(), birth.listener.as_fd()];
    keep.extend(birth.console.as_ref().map(Console::fd));
    keep.extend(
        birth
            .namespaces
            .child_joins
            .iter()
            .map(|(_, fd)| fd.as_fd()),
    );
    keep.extend(birth.namespaces.mounts.as_ref().map(AsFd::as_fd));
    keep.extend(birth.prepared.iter().flat_map(Prepared::fds));
    // The parent's own, which nothing here closes, are in this child's memory only as values
    // that are never dropped.
    orlop_sys::fd::close_all_but(3 + birth.preserved_fds, &keep)?;
    Ok(())
}

fn become_root(birth: &mut Birth<'_>) -> Result<()> {
    if birth.namespaces.all & libc_flags::USER != 0 {
        root_of_namespace()?;
    }
    Ok(())
}

/// What the parent had no right to, or what was not there before us.
fn open_sources(birth: &mut Birth<'_>) -> Result<()> {
    if let Some(prepared) = &mut birth.prepared {
        return prepared.open_late();
    }
    // Nobody says that our ids are mapped before it is there.
    let is_made = true;
    let path = birth.cgroup.as_deref();
    let cgroup = path.map(|path| Shown { path, is_made });
    let prepared = prepare(birth.bundle, &birth.namespaces, cgroup, birth.standing)?;
    birth.prepared = Some(prepared);
    Ok(())
}

/// Everything that is set up belongs to the namespace's root, which must be mapped.
pub(crate) fn root_of_namespace() -> Result<()> {
    rustix::thread::set_thread_res_gid(Gid::ROOT, Gid::ROOT, Gid::ROOT)
        .context("group 0 of the user namespace (is it mapped?)")?;
    rustix::thread::set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT)
        .context("user 0 of the user namespace (is it mapped?)")
}

fn join_namespaces(birth: &mut Birth<'_>) -> Result<()> {
    birth.namespaces.join_in_child()?;
    birth.namespaces.child_joins.clear();
    if birth.namespaces.is_new(libc_flags::CGROUP) {
        orlop_sys::namespace::unshare(libc_flags::CGROUP).context("new cgroup namespace")?;
    }
    Ok(())
}

fn set_clocks(birth: &mut Birth<'_>) -> Result<()> {
    if !birth.namespaces.is_new(libc_flags::TIME) {
        return Ok(());
    }
    clocks::make()?;
    birth.parent.send(&Message::TimeMade)?;
    birth.parent.expect(&Message::TimeSet)?;
    clocks::enter()
}

fn bring_up_loopback(birth: &mut Birth<'_>) -> Result<()> {
    if birth.namespaces.is_new(libc_flags::NETWORK) {
        orlop_sys::loopback::up()?;
    }
    Ok(())
}

fn set_host_name(birth: &mut Birth<'_>) -> Result<()> {
    let named = birth.bundle.hostname.is_some() || birth.bundle.domainname.is_some();
    ensure!(
        !named || birth.namespaces.owned() & libc_flags::UTS != 0,
        "the uts namespace is the host's own, which would be renamed"
    );
    if let Some(name) = &birth.bundle.hostname {
        rustix::system::sethostname(name.as_bytes())
            .with_context(|| format!("hostname {name:?}"))?;
    }
    if let Some(name) = &birth.bundle.domainname {
        rustix::system::setdomainname(name.as_bytes())
            .with_context(|| format!("domainname {name:?}"))?;
    }
    Ok(())
}

fn enter_root(birth: &mut Birth<'_>) -> Result<()> {
    let prepared = birth.prepared.take().context("the root was built before")?;
    let (bundle, parent) = (birth.bundle, &birth.parent);
    let hooked = hooks::are_in_create(&bundle.hooks);
    let run_hooks = || {
        if hooked {
            parent.send(&Message::Built)?;
            parent.expect(&Message::Hooked)?;
        }
        let subject = Subject::of_bundle(bundle, birth.id);
        hooks::run(
            &bundle.hooks,
            Kind::CreateContainer,
            &subject,
            own_pid(),
            None,
        )
    };
    let layout = Layout {
        linux: &bundle.linux,
        read_only: bundle.root.readonly().unwrap_or(false),
        namespaces: birth.namespaces.owned(),
        mounts: birth.namespaces.mounts.as_ref(),
        cwd: bundle.process.cwd(),
        console: birth.console.as_ref(),
        shown_at: hooked.then(|| bundle.rootfs()),
        when_built: &run_hooks,
    };
    enter(prepared, &layout)
}

fn own_pid() -> Option<i32> {
    Some(rustix::process::getpid().as_raw_pid())
}

fn take_terminal(birth: &mut Birth<'_>) -> Result<()> {
    birth.console.as_ref().map_or(Ok(()), Console::take_over)?;
    birth.console = None;
    Ok(())
}

/// Whoever connects without saying "start" only asked whether we are still waiting.
fn wait_for_start(listener: &OwnedFd) -> rustix::io::Result<Channel> {
    use rustix::net::{SocketFlags, accept_with};
    loop {
        let accepted = rustix::io::retry_on_intr(|| accept_with(listener, SocketFlags::CLOEXEC))?;
        let channel = Channel::from_socket(accepted);
        if matches!(channel.receive(), Ok(Some(Message::Start))) {
            return Ok(channel);
        }
    }
}
