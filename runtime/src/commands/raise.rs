//! What `create` does for the child while that sets itself up: all that only the parent may.

use std::os::fd::{AsFd, OwnedFd};

use anyhow::{Context, Result};
use oci_spec::runtime::ContainerState;
use orlop_sys::clone::Child;

use crate::cgroup::Cgroup;
use crate::clocks;
use crate::config::Bundle;
use crate::handshake::{Channel, Message};
use crate::hooks::{self, Kind};
use crate::idmaps;
use crate::namespaces::{libc_flags, ranges};
use crate::process::{self, apply_schedule, oom, raise_rlimits};
use crate::rootfs::Prepared;
use crate::seccomp::Agent;
use crate::standing::Standing;
use crate::subject::Subject;

pub(super) struct Raising<'r> {
    pub(super) bundle: &'r Bundle,
    pub(super) id: &'r str,
    pub(super) child: &'r Child,
    pub(super) channel: &'r Channel,
    pub(super) cgroup: Option<&'r Cgroup>,
    /// Flags of the namespaces that are new.
    pub(super) new: i32,
    pub(super) agent: Option<Agent>,
    pub(super) standing: Standing,
}

impl Raising<'_> {
    /// Until the child is ready. `hooked` is set once hooks may have run.
    pub(super) fn run(&self, prepared: Option<&Prepared>, hooked: &mut bool) -> Result<()> {
        self.map(prepared)?;
        self.limit()?;
        self.channel
            .send(&Message::Mapped)
            .context("the container's process is gone")?;
        // While the child builds its root; nothing of the container's own may run before.
        if let Some(cgroup) = self.cgroup {
            cgroup.limit_devices()?;
        }
        if self.new & libc_flags::TIME != 0 {
            self.set_clocks()?;
        }
        if hooks::are_in_create(&self.bundle.hooks) {
            self.run_hooks(hooked)?;
        }
        let hand_over = |listener| self.hand_over(&listener);
        self.channel
            .expect_past_listener(&Message::Created, &hand_over)?;
        // Not before: an idle process would take long to set itself up.
        apply_schedule(process::pid(self.child.pid)?, &self.bundle.process)
    }

    fn map(&self, prepared: Option<&Prepared>) -> Result<()> {
        let linux = &self.bundle.linux;
        if self.new & libc_flags::USER != 0 {
            let uids = ranges(linux.uid_mappings().as_ref());
            let gids = ranges(linux.gid_mappings().as_ref());
            idmaps::write(self.child.pid, &uids, &gids)?;
        }
        if let Some(prepared) = prepared.filter(|prepared| prepared.wants_idmap()) {
            let path = format!("/proc/{}/ns/user", self.child.pid);
            prepared.idmap(&std::fs::File::open(&path).context(path)?.into())?;
        }
        Ok(())
    }

    fn limit(&self) -> Result<()> {
        let process = &self.bundle.process;
        oom::set(self.standing, self.child.pid, process.oom_score_adj())?;
        let limits = process.rlimits().as_deref().unwrap_or_default();
        raise_rlimits(process::pid(self.child.pid)?, limits)
    }

    /// Sets the offsets of the child's time namespace before it enters that.
    fn set_clocks(&self) -> Result<()> {
        self.channel.expect(&Message::TimeMade)?;
        if let Some(offsets) = self.bundle.linux.time_offsets() {
            clocks::write(self.child.pid, offsets)?;
        }
        Ok(self.channel.send(&Message::TimeSet)?)
    }

    /// Runs what is to run in the runtime's namespaces, once the child has built its root.
    fn run_hooks(&self, begun: &mut bool) -> Result<()> {
        self.channel.expect(&Message::Built)?;
        *begun = true;
        let subject = Subject::of_bundle(self.bundle, self.id);
        let (pid, pidfd) = (Some(self.child.pid), Some(self.child.pidfd.as_fd()));
        for kind in [Kind::Prestart, Kind::CreateRuntime] {
            hooks::run(&self.bundle.hooks, kind, &subject, pid, pidfd)?;
        }
        Ok(self.channel.send(&Message::Hooked)?)
    }

    /// Gives the seccomp agent what it answers by. What it is told of the container is its state,
    /// as our `state` would say at that time: by the spec it is created once the create operation
    /// has finished, and until then it is being created; so it is in the spec's own example of
    /// what an agent gets. Hooks are told `created` all the same, even before: see
    /// [`hooks::Kind`], whose steps come after the one in which it is being created.
    fn hand_over(&self, listener: &OwnedFd) -> Result<()> {
        let agent = self.agent.as_ref();
        let agent = agent.context("a seccomp listener that nobody asked for")?;
        let subject = Subject::of_bundle(self.bundle, self.id);
        let state = subject.state(ContainerState::Creating, Some(self.child.pid))?;
        agent.hand_over(listener, self.child.pid, state)
    }
}
