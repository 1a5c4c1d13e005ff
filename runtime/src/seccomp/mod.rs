//! `linux.seccomp` as a classic BPF program.
//!
//! Each rule is asked in the order of the profile and the first that matches decides; rules
//! whose action is the default's are left out, as other runtimes do, unless they are about
//! arguments: then they are exceptions from a rule after them. A rule that compares the
//! same argument twice is one rule for each comparison (the behaviour that profiles in use
//! rely on). Where the default is an error, a system call newer than every one that the
//! profile names gets ENOSYS, so that programs fall back to an older one. Other instruction
//! sets than x86_64's own (i386, x32) get ENOSYS throughout, whatever the profile says:
//! nothing in a profile can then be got around by calling differently.

mod compile;
mod table;

#[cfg(not(target_arch = "x86_64"))]
compile_error!("the numbers of system calls are known for x86_64 only");

use anyhow::{Context, Result, bail, ensure};
use oci_spec::runtime::{
    LinuxSeccomp, LinuxSeccompAction as Action, LinuxSeccompFilterFlag as Flag, LinuxSyscall,
};
use orlop_sys::seccomp::{Insn, MAX_INSNS};

use compile::{Call, Comparison, Rule};

/// A compiled filter.
#[derive(Debug)]
pub(crate) struct Filter {
    program: Vec<Insn>,
    flags: u32,
}

impl Filter {
    pub(crate) fn compile(profile: &LinuxSeccomp) -> Result<Filter> {
        ensure!(
            profile.listener_path().is_none(),
            "listenerPath: user notification is not supported by this runtime"
        );
        let (default, calls) = translate(profile)?;
        let newest = calls.last().map(|call| call.number);
        let beyond = newest
            .filter(|_| default >> 16 == 5)
            .map(|number| number + 1);
        let program = compile::program(&calls, default, beyond);
        ensure!(
            program.len() <= MAX_INSNS,
            "the profile needs {} BPF instructions; the kernel takes {MAX_INSNS}",
            program.len()
        );
        let mut flags = 0;
        for flag in profile.flags().iter().flatten() {
            flags |= match flag {
                // One thread only: nothing to synchronise.
                Flag::SeccompFilterFlagTsync | Flag::SeccompFilterFlagWaitKillableRecv => 0,
                Flag::SeccompFilterFlagLog => 2,
                Flag::SeccompFilterFlagSpecAllow => 4,
            };
        }
        Ok(Filter { program, flags })
    }

    pub(crate) fn install(&self) -> Result<()> {
        orlop_sys::seccomp::install(&self.program, self.flags).context("install the seccomp filter")
    }
}

/// The default action and, by number, each system call that has rules of its own.
fn translate(profile: &LinuxSeccomp) -> Result<(u32, Vec<Call>)> {
    let default =
        action(profile.default_action(), profile.default_errno_ret()).context("defaultAction")?;
    let mut calls = std::collections::BTreeMap::<u32, Vec<Rule>>::new();
    for (index, entry) in profile.syscalls().iter().flatten().enumerate() {
        let context = || format!("syscalls[{index}]");
        let action = action(entry.action(), entry.errno_ret()).with_context(context)?;
        let rules = rules(entry, action).with_context(context)?;
        for name in entry.names() {
            // A name of another architecture, or of a kernel to come, cannot be called here.
            let Some(number) = table::number(name) else {
                continue;
            };
            let known = calls.entry(number).or_default();
            if action != default || entry.args().iter().any(|args| !args.is_empty()) {
                known.extend(rules.iter().cloned());
            }
        }
    }
    let calls = calls
        .into_iter()
        .map(|(number, rules)| Call { number, rules })
        .collect();
    Ok((default, calls))
}

fn rules(entry: &LinuxSyscall, action: u32) -> Result<Vec<Rule>> {
    let args = entry.args().as_deref().unwrap_or_default();
    let mut comparisons = Vec::with_capacity(args.len());
    for arg in args {
        ensure!(arg.index() < 6, "args: index {} is above 5", arg.index());
        comparisons.push(Comparison {
            index: arg.index() as u32,
            operator: arg.op(),
            value: arg.value(),
            second: arg.value_two().unwrap_or(0),
        });
    }
    let twice = comparisons.iter().enumerate().any(|(at, one)| {
        comparisons[..at]
            .iter()
            .any(|other| other.index == one.index)
    });
    Ok(if twice {
        comparisons
            .into_iter()
            .map(|one| Rule {
                all: vec![one],
                action,
            })
            .collect()
    } else {
        vec![Rule {
            all: comparisons,
            action,
        }]
    })
}

/// SECCOMP_RET_* of linux/seccomp.h with its 16 bits of data.
fn action(action: Action, errno: Option<u32>) -> Result<u32> {
    const EPERM: u32 = 1;
    let errno = errno.unwrap_or(EPERM);
    ensure!(errno <= 4095, "errnoRet {errno} is no error number");
    Ok(match action {
        Action::ScmpActKillProcess => 0x8000_0000,
        Action::ScmpActKill | Action::ScmpActKillThread => 0,
        Action::ScmpActTrap => 0x0003_0000,
        Action::ScmpActErrno => 0x0005_0000 | errno,
        Action::ScmpActTrace => 0x7ff0_0000 | errno,
        Action::ScmpActLog => 0x7ffc_0000,
        Action::ScmpActAllow => 0x7fff_0000,
        Action::ScmpActNotify => {
            bail!("SCMP_ACT_NOTIFY: user notification is not supported by this runtime")
        }
    })
}

#[cfg(test)]
mod tests;
