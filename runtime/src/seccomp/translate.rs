//! From the words of a profile to numbers, actions and comparisons. Pure.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use oci_spec::runtime::{
    LinuxSeccomp, LinuxSeccompAction as Action, LinuxSeccompArg, LinuxSyscall,
};

use super::compile::{Band, Call, Comparison, NO_SUCH_CALL, Rule, Section};
use super::table::{Machine, X32_BIT};

/// SECCOMP_RET_USER_NOTIF.
const NOTIFY: u32 = 0x7fc0_0000;

#[derive(Debug)]
pub(super) struct Translated {
    pub(super) default: u32,
    pub(super) sections: Vec<Section>,
    /// Whether anything is for an agent to answer.
    pub(super) notifies: bool,
}

pub(super) fn profile(profile: &LinuxSeccomp, native: Machine) -> Result<Translated> {
    let default =
        action(profile.default_action(), profile.default_errno_ret()).context("defaultAction")?;
    let mut machines = vec![native];
    for arch in profile.architectures().iter().flatten() {
        // What this kernel runs no programs of needs no rules.
        let machine = Machine::of(*arch, native).filter(|machine| machine.runs_on(native));
        machines.extend(machine.filter(|machine| !machines.contains(machine)));
    }
    let mut sections: Vec<Section> = Vec::new();
    // x32 comes after x86_64, as it is a part of that.
    machines.sort_by_key(|machine| *machine == Machine::X32);
    for machine in machines {
        let mut bands = bands(profile, machine, default)?;
        match machine {
            Machine::X32 => {
                sections[0].bands.truncate(1);
                sections[0].bands.append(&mut bands);
                continue;
            }
            Machine::X86_64 => bands.push(closed(X32_BIT)),
            Machine::X86 | Machine::Aarch64 | Machine::Arm => {}
        }
        sections.push(Section {
            audit: machine.audit(),
            bands,
        });
    }
    let calls = sections.iter().flat_map(|section| &section.bands);
    let mut rules = calls
        .flat_map(|band| &band.calls)
        .flat_map(|call| &call.rules);
    let notifies = default == NOTIFY || rules.any(|rule| rule.action == NOTIFY);
    if notifies {
        check_sendmsg(&sections[0], default, native)?;
    }
    Ok(Translated {
        default,
        sections,
        notifies,
    })
}

/// A part of the numbers in which there are no calls.
fn closed(first: u32) -> Band {
    Band {
        first,
        calls: Vec::new(),
        beyond: Some(first),
    }
}

/// The listener is sent to us by the process that installed the filter: if that call waited
/// for the agent, both would wait without end.
fn check_sendmsg(native: &Section, default: u32, machine: Machine) -> Result<()> {
    let number = machine.number("sendmsg").unwrap_or(u32::MAX);
    let calls = native.bands.first().map_or(&[][..], |band| &band.calls);
    let rules = calls
        .iter()
        .find(|call| call.number == number)
        .map_or(&[][..], |call| &call.rules);
    let decided = rules.iter().position(|rule| rule.all.is_empty());
    let asked = decided.map_or(rules, |at| &rules[..=at]);
    ensure!(
        asked.iter().all(|rule| rule.action != NOTIFY) && (decided.is_some() || default != NOTIFY),
        "SCMP_ACT_NOTIFY for sendmsg: the agent is reached by it; give it another action"
    );
    Ok(())
}

/// Each system call that has rules of its own, by number.
fn bands(profile: &LinuxSeccomp, machine: Machine, default: u32) -> Result<Vec<Band>> {
    let mut calls = BTreeMap::<u32, Vec<Rule>>::new();
    for (index, entry) in profile.syscalls().iter().flatten().enumerate() {
        let context = || format!("syscalls[{index}]");
        let action = action(entry.action(), entry.errno_ret()).with_context(context)?;
        let rules = rules(entry, action, machine).with_context(context)?;
        let compares = rules.iter().any(|rule| !rule.all.is_empty());
        for name in entry.names() {
            // A name of another architecture, or of a kernel to come, cannot be called here.
            let Some(number) = machine.number(name) else {
                continue;
            };
            let known = calls.entry(number).or_default();
            if action == default && !compares {
                continue;
            }
            known.extend(rules.iter().cloned());
            if let Some((number, argument)) = machine.multiplexed(name) {
                // The arguments are in memory there, where no filter sees them.
                let action = if compares { NO_SUCH_CALL } else { action };
                let one_of_many = Comparison {
                    index: 0,
                    operator: oci_spec::runtime::LinuxSeccompOperator::ScmpCmpEq,
                    value: argument,
                    second: 0,
                };
                calls.entry(number).or_default().push(Rule {
                    all: vec![one_of_many],
                    action,
                });
            }
        }
    }
    let private = match calls.keys().find(|number| !machine.is_common(**number)) {
        Some(&first) => calls.split_off(&first),
        None => BTreeMap::new(),
    };
    let listed = |calls: BTreeMap<u32, Vec<Rule>>| {
        let calls = calls.into_iter();
        calls
            .map(|(number, rules)| Call { number, rules })
            .collect()
    };
    let newest = calls.keys().max().filter(|_| default >> 16 == 5);
    let mut bands = vec![Band {
        first: match machine {
            Machine::X32 => X32_BIT,
            Machine::X86_64 | Machine::X86 | Machine::Aarch64 | Machine::Arm => 0,
        },
        beyond: newest.map(|number| number + 1),
        calls: listed(calls),
    }];
    if let Some(&first) = private.keys().next() {
        bands.push(Band {
            first,
            beyond: None,
            calls: listed(private),
        });
    }
    Ok(bands)
}

fn rules(entry: &LinuxSyscall, action: u32, machine: Machine) -> Result<Vec<Rule>> {
    let args = entry.args().as_deref().unwrap_or_default();
    let comparisons = args
        .iter()
        .map(|arg| comparison(arg, machine))
        .collect::<Result<Vec<_>>>()?;
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

fn comparison(arg: &LinuxSeccompArg, machine: Machine) -> Result<Comparison> {
    ensure!(arg.index() < 6, "args: index {} is above 5", arg.index());
    // A negative number is as wide as the words of the machine.
    let fit = |value: u64| match machine.has_short_words() && value >> 32 == u64::from(u32::MAX) {
        true => value & u64::from(u32::MAX),
        false => value,
    };
    Ok(Comparison {
        index: arg.index() as u32,
        operator: arg.op(),
        value: fit(arg.value()),
        second: fit(arg.value_two().unwrap_or(0)),
    })
}

/// SECCOMP_RET_* of linux/seccomp.h with its 16 bits of data.
fn action(action: Action, errno: Option<u32>) -> Result<u32> {
    const EPERM: u32 = 1;
    let plain = |value: u32| {
        ensure!(
            errno.is_none(),
            "an errnoRet beside {action}, which returns none"
        );
        Ok(value)
    };
    let with_errno = |value: u32, most: u32| {
        let errno = errno.unwrap_or(EPERM);
        ensure!(errno <= most, "errnoRet {errno} is no error number");
        Ok(value | errno)
    };
    match action {
        Action::ScmpActKillProcess => plain(0x8000_0000),
        Action::ScmpActKill | Action::ScmpActKillThread => plain(0),
        Action::ScmpActTrap => plain(0x0003_0000),
        Action::ScmpActErrno => with_errno(0x0005_0000, 4095),
        // Here it is what the tracer is told.
        Action::ScmpActTrace => with_errno(0x7ff0_0000, 0xffff),
        Action::ScmpActLog => plain(0x7ffc_0000),
        Action::ScmpActAllow => plain(0x7fff_0000),
        Action::ScmpActNotify => plain(NOTIFY),
    }
}
