//! `linux.seccomp` as a classic BPF program.
//!
//! Each rule is asked in the order of the profile and the first that matches decides; rules
//! whose action is the default's are left out, as other runtimes do, unless they are about
//! arguments: then they are exceptions from a rule after them. A rule that compares the
//! same argument twice is one rule for each comparison (the behaviour that profiles in use
//! rely on). Where the default is an error, a system call newer than every one that the
//! profile names gets ENOSYS, so that programs fall back to an older one. Instruction sets
//! that the profile does not name, other than the machine's own, get ENOSYS throughout:
//! nothing in a profile can then be got around by calling differently.

mod agent;
mod compile;
mod table;
mod translate;

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
compile_error!("the numbers of system calls are known for x86_64 and aarch64 only");

use std::os::fd::OwnedFd;

use anyhow::{Context, Result, ensure};
use oci_spec::runtime::{LinuxSeccomp, LinuxSeccompFilterFlag as Flag};
use orlop_sys::seccomp::{Insn, MAX_INSNS};

pub(crate) use agent::Agent;
use table::Machine;

// SECCOMP_FILTER_FLAG_* of linux/seccomp.h.
const LOG: u32 = 2;
const SPEC_ALLOW: u32 = 4;
const WAIT_KILLABLE_RECV: u32 = 32;

/// A compiled filter.
#[derive(Debug)]
pub(crate) struct Filter {
    program: Vec<Insn>,
    flags: u32,
    /// Who answers, where the profile has calls for one to answer.
    agent: Option<Agent>,
}

impl Filter {
    pub(crate) fn compile(profile: &LinuxSeccomp) -> Result<Filter> {
        Filter::compile_for(profile, Machine::NATIVE)
    }

    fn compile_for(profile: &LinuxSeccomp, native: Machine) -> Result<Filter> {
        ensure!(
            profile.listener_metadata().is_none() || profile.listener_path().is_some(),
            "listenerMetadata without a listenerPath: nobody would be told"
        );
        let translated = translate::profile(profile, native)?;
        let agent = translated
            .notifies
            .then(|| Agent::new(profile))
            .transpose()?;
        let program = compile::program(&translated.sections, translated.default);
        ensure!(
            program.len() <= MAX_INSNS,
            "the profile needs {} BPF instructions; the kernel takes {MAX_INSNS}",
            program.len()
        );
        let mut flags = 0;
        for flag in profile.flags().iter().flatten() {
            flags |= match flag {
                // One thread only: nothing to synchronise.
                Flag::SeccompFilterFlagTsync => 0,
                Flag::SeccompFilterFlagLog => LOG,
                Flag::SeccompFilterFlagSpecAllow => SPEC_ALLOW,
                // How an answer is waited for, where one is; the kernel refuses it elsewhere.
                Flag::SeccompFilterFlagWaitKillableRecv if agent.is_none() => 0,
                Flag::SeccompFilterFlagWaitKillableRecv => WAIT_KILLABLE_RECV,
            };
        }
        Ok(Filter {
            program,
            flags,
            agent,
        })
    }

    pub(crate) fn agent(&self) -> Option<&Agent> {
        self.agent.as_ref()
    }

    /// Filters every later system call of this process. What is returned is for the agent: if
    /// nobody has it, the calls it is for end with ENOSYS.
    pub(crate) fn install(&self) -> Result<Option<OwnedFd>> {
        let installed = match self.agent {
            None => orlop_sys::seccomp::install(&self.program, self.flags).map(|()| None),
            Some(_) => {
                orlop_sys::seccomp::install_with_listener(&self.program, self.flags).map(Some)
            }
        };
        installed.context("install the seccomp filter")
    }
}

#[cfg(test)]
mod tests;
