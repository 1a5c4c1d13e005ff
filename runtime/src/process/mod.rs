//! The process that a container runs: first prepared, then made out of the child.
//!
//! `Plan` is everything that can be worked out beforehand; `become_user` gives up what the
//! process shall not have; `find_program` sees whether there is one; `execute` is the end of
//! us in it.

mod capabilities;
mod denied;
mod home;
pub(crate) mod oom;
mod program;
mod rlimits;
mod schedule;

use std::os::fd::AsFd;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use oci_spec::runtime::{Linux, LinuxPersonalityDomain, Process};
use orlop_sys::sched::{Domain, set_personality};
use rustix::fs::Mode;
use rustix::thread::{Gid, Uid};

pub(crate) use capabilities::Sets;
pub(crate) use rlimits::{pid, raise as raise_rlimits};
pub(crate) use schedule::{Affinity, apply as apply_schedule, check as check_schedule};

use crate::activation::Activation;
use crate::handshake::{Channel, Message};
use crate::landlock::Restriction;
use crate::log;
use crate::lsm::Labels;
use crate::namespaces::{self, libc_flags};
use crate::seccomp::{Agent, Filter};
use program::Executable;

/// A checked process.
pub(crate) struct Plan {
    pub(crate) process: Process,
    capabilities: Sets,
    /// Names of those that the process is to have, and cannot.
    ungranted: Vec<String>,
    labels: Labels,
    seccomp: Option<Filter>,
    /// For personality(2).
    domain: Option<Domain>,
    executable: Executable,
    pub(crate) landlock: Option<Restriction>,
    /// Stay in the caller's session keyring.
    pub(crate) keep_keyring: bool,
}

impl Plan {
    pub(crate) fn new(process: &Process, linux: &Linux) -> Result<Plan> {
        let asked = process.capabilities().as_ref();
        let in_user_namespace = namespaces::kinds(linux) & libc_flags::USER != 0;
        let (capabilities, lost) = Sets::new(asked)
            .grantable(in_user_namespace)
            .context("our own capabilities")?;
        Ok(Plan {
            process: process.clone(),
            capabilities,
            ungranted: asked.map_or_else(Vec::new, |asked| capabilities::names(asked, lost)),
            labels: Labels::new(process)?,
            seccomp: linux
                .seccomp()
                .as_ref()
                .map(Filter::compile)
                .transpose()
                .context("seccomp")?,
            domain: linux
                .personality()
                .as_ref()
                .map(|asked| domain(asked.domain())),
            executable: Executable::new(process)?,
            landlock: None,
            keep_keyring: false,
        })
    }

    /// Tells of the capabilities that the process goes without, and of those `unknown`. Of the
    /// former only those that are `news`: those of the container were told of as it was made.
    pub(crate) fn warn(&self, unknown: &[String], news: impl Fn(&str) -> bool) {
        for name in unknown {
            log::warn(&format!(
                "process.capabilities: {name} is left out: there is no such capability"
            ));
        }
        for name in self.ungranted.iter().filter(|name| news(name)) {
            log::warn(&format!(
                "process.capabilities: {name} is left out: it cannot be granted (we have it not, \
                 or the set that it has to be in as well does not)"
            ));
        }
    }

    pub(crate) fn wants_terminal(&self) -> bool {
        self.process.terminal().unwrap_or(false)
    }

    /// What has to be opened while /proc is the host's.
    pub(crate) fn open_labels(&mut self) -> Result<()> {
        self.labels.open().context("process labels")
    }

    fn no_new_privileges(&self) -> bool {
        self.process.no_new_privileges().unwrap_or(false)
    }

    /// The caller's keys are no longer the process's, nor of those that it makes.
    pub(crate) fn leave_keyring(&self) -> Result<()> {
        if self.keep_keyring {
            return Ok(());
        }
        self.labels.label_keys(leave_session_keyring)
    }

    /// Labels what this process, or one that it makes, is going to execute. The files for it
    /// are closed then.
    pub(crate) fn label_program(&mut self) -> Result<()> {
        self.labels.label_program()?;
        self.labels.close();
        Ok(())
    }

    /// The process is told of these descriptors.
    pub(crate) fn hand_on(&mut self, activation: Option<Activation>) {
        self.executable.activation = activation;
    }

    /// Adds what only the container tells. Before a filter that may not allow the calls.
    pub(crate) fn complete_environment(&mut self) -> Result<()> {
        self.executable.complete_environment()
    }

    /// The last thing to do before the process is its user's.
    pub(crate) fn limit_resources(&self) -> Result<()> {
        rlimits::apply(self.process.rlimits().as_deref().unwrap_or_default())
    }

    /// From the root of the container's user namespace to the process's user, for good. The
    /// process gets `preserved_fds` descriptors from 3 on.
    pub(crate) fn become_user(&mut self, parent: &Channel, preserved_fds: i32) -> Result<()> {
        if let Some(domain) = self.domain {
            set_personality(domain).context("linux.personality")?;
        }
        let user = self.process.user();
        let entered = enter_directory(self.process.cwd());
        // While there are privileges for it, and before a filter that may not allow the calls.
        if let Some(restriction) = &self.landlock {
            restriction.enforce()?;
        }
        if !self.no_new_privileges() {
            // Later it would need CAP_SYS_ADMIN, which is about to go.
            self.install_filter(parent, preserved_fds)?;
        }
        self.capabilities
            .limit_bounding()
            .context("capability bounding set")?;
        rustix::thread::set_keep_capabilities(true)?;
        set_groups(user.additional_gids().as_deref().unwrap_or_default())?;
        let gid = Gid::from_raw(user.gid());
        rustix::thread::set_thread_res_gid(gid, gid, gid)
            .map_err(|errno| explain_id(errno, format!("become group {}", user.gid())))?;
        let uid = Uid::from_raw(user.uid());
        rustix::thread::set_thread_res_uid(uid, uid, uid)
            .map_err(|errno| explain_id(errno, format!("become user {}", user.uid())))?;
        rustix::thread::set_keep_capabilities(false)?;
        self.capabilities.apply().context("capabilities")?;
        if self.no_new_privileges() {
            rustix::thread::set_no_new_privs(true)?;
            if self.agent().is_some() {
                // The parent hands the listener over, and it is here only now.
                self.install_filter(parent, preserved_fds)?;
            }
        }
        if let Err(error) = entered {
            // What root may not search, its user perhaps may (a FUSE or NFS mount).
            enter_directory(self.process.cwd()).map_err(|_| error)?;
        }
        rustix::process::umask(Mode::from_raw_mode(user.umask().unwrap_or(0o022)));
        Ok(())
    }

    /// Finds the program as the process's user, so that a missing one is an error of `create`.
    pub(crate) fn find_program(&mut self) -> Result<()> {
        self.executable.find()
    }

    /// Replaces this process. Returns only if that failed.
    pub(crate) fn execute(&self, preserved_fds: i32) -> anyhow::Error {
        orlop_sys::signal::reset();
        if self.seccomp.is_none() || self.installs_late() {
            if let Err(error) = keep_from_program(preserved_fds) {
                return error;
            }
            // The last of all: the filter then has to pass execve, and nothing else of ours.
            if let Some(Err(error)) = self.seccomp.as_ref().map(Filter::install) {
                return error;
            }
        }
        self.executable.run()
    }

    /// Without new privileges the filter needs none, so of what is done before the program
    /// runs, only execve has to pass it.
    fn installs_late(&self) -> bool {
        self.no_new_privileges() && self.agent().is_none()
    }

    /// Who is to get the listener that `become_user` sends to the parent.
    pub(crate) fn agent(&self) -> Option<&Agent> {
        self.seccomp.as_ref().and_then(Filter::agent)
    }

    /// Before `execute`. Profiles name what their programs call, so from here on only calls
    /// will do that such programs make: close_range is none of these. Whatever is opened later
    /// is close-on-exec from the start.
    fn install_filter(&self, parent: &Channel, preserved_fds: i32) -> Result<()> {
        let Some(filter) = &self.seccomp else {
            return Ok(());
        };
        keep_from_program(preserved_fds)?;
        match filter.install()? {
            Some(listener) => parent.send_with(&Message::Listener, listener.as_fd()),
            None => Ok(()),
        }
    }
}

/// No descriptor from there on is the program's.
fn keep_from_program(preserved_fds: i32) -> Result<()> {
    orlop_sys::fd::close_on_exec_from(3 + preserved_fds).context("mark descriptors close-on-exec")
}

fn domain(asked: LinuxPersonalityDomain) -> Domain {
    match asked {
        LinuxPersonalityDomain::PerLinux => Domain::Linux,
        LinuxPersonalityDomain::PerLinux32 => Domain::Linux32,
    }
}

/// The keys of whoever called us are not the container's.
fn leave_session_keyring() -> Result<()> {
    use rustix::io::Errno;
    match orlop_sys::keyring::new_session() {
        // A kernel without keys.
        Ok(()) | Err(Errno::NOSYS) => Ok(()),
        // Whoever shares its user may have used them up.
        Err(Errno::DQUOT) => anyhow::bail!(
            "new session keyring: user 0 of the container has too many keys \
             (kernel.keys.maxkeys); --no-new-keyring shares the caller's"
        ),
        Err(errno) => Err(anyhow::Error::from(errno).context("new session keyring")),
    }
}

/// Changes to `cwd`, which must then be inside the root: a descriptor of the host that leaked
/// could otherwise be entered through /proc/self/fd.
fn enter_directory(cwd: &Path) -> Result<()> {
    rustix::process::chdir(cwd).map_err(|errno| match errno {
        rustix::io::Errno::NOENT => anyhow::anyhow!("cwd {}: no such directory", cwd.display()),
        rustix::io::Errno::ACCESS => {
            let why = denied::why_not_entered(cwd).unwrap_or_default();
            anyhow::anyhow!("cwd {}: permission denied: {why}", cwd.display())
        }
        errno => anyhow::Error::from(errno).context(format!("cwd {}", cwd.display())),
    })?;
    let now = rustix::process::getcwd(Vec::new()).context("cwd")?;
    ensure!(
        now.as_bytes().first() == Some(&b'/'),
        "cwd {}: is outside of the container's root",
        cwd.display()
    );
    Ok(())
}

fn set_groups(groups: &[u32]) -> Result<()> {
    let gids: Vec<Gid> = groups.iter().map(|&gid| Gid::from_raw(gid)).collect();
    match rustix::thread::set_thread_groups(&gids) {
        Ok(()) => Ok(()),
        // A user namespace may deny it; that matters only where groups are asked for.
        Err(rustix::io::Errno::PERM) if gids.is_empty() => Ok(()),
        Err(errno) => Err(explain_id(errno, format!("additionalGids {groups:?}"))),
    }
}

fn explain_id(errno: rustix::io::Errno, what: String) -> anyhow::Error {
    match errno {
        rustix::io::Errno::INVAL => {
            anyhow::anyhow!("{what}: not mapped in the container's user namespace")
        }
        errno => anyhow::Error::from(errno).context(what),
    }
}
