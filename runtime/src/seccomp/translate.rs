//! From the words of a profile to numbers, actions and comparisons. Pure.

use anyhow::{Context, Result, ensure};
use oci_spec::runtime::{
    LinuxSeccomp, LinuxSeccompAction as Action, LinuxSeccompArg, LinuxSeccompOperator as Operator,
    LinuxSyscall,
};

use super::compile::{Band, Comparison, NO_SUCH_CALL, Rule, Section};
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
    let bands = sections.iter().flat_map(|section| &section.bands);
    let mut rules = bands.flat_map(|band| &band.rules);
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
        rules: Vec::new(),
        beyond: Some(first),
    }
}

/// The listener is sent to us by the process that installed the filter: if that call waited
/// for the agent, both would wait without end.
fn check_sendmsg(native: &Section, default: u32, machine: Machine) -> Result<()> {
    let number = machine.number("sendmsg").unwrap_or(u32::MAX);
    let rules = native.bands.iter().flat_map(|band| &band.rules);
    let rules: Vec<&Rule> = rules.filter(|rule| rule.number == number).collect();
    let decided = rules.iter().position(|rule| rule.all.is_empty());
    let asked = decided.map_or(&rules[..], |at| &rules[..=at]);
    ensure!(
        asked.iter().all(|rule| rule.action != NOTIFY) && (decided.is_some() || default != NOTIFY),
        "SCMP_ACT_NOTIFY for sendmsg: the agent is reached by it; give it another action"
    );
    Ok(())
}

/// The rules of one instruction set.
fn bands(profile: &LinuxSeccomp, machine: Machine, default: u32) -> Result<Vec<Band>> {
    let mut rules: Vec<Rule> = Vec::new();
    let (mut newest, mut first_private) = (None, None);
    for (index, entry) in profile.syscalls().iter().flatten().enumerate() {
        let context = || format!("syscalls[{index}]");
        let action = action(entry.action(), entry.errno_ret()).with_context(context)?;
        let alternatives = alternatives(entry, machine).with_context(context)?;
        let compares = alternatives.iter().any(|all| !all.is_empty());
        for name in entry.names() {
            // A name of another architecture, or of a kernel to come, cannot be called here.
            let number = machine.number(name);
            match number {
                Some(number) if machine.is_common(number) => newest = newest.max(Some(number)),
                Some(number) => {
                    first_private = Some(first_private.map_or(number, |it: u32| it.min(number)));
                }
                None => {}
            }
            if action == default && !compares {
                continue;
            }
            let rule = |number, all| Rule {
                number,
                all,
                action,
            };
            let each = alternatives.iter().cloned();
            rules.extend(
                number
                    .into_iter()
                    .flat_map(|n| each.clone().map(move |all| rule(n, all))),
            );
            rules.extend(machine.multiplexed(name).map(|(number, argument)| Rule {
                number,
                all: vec![first_argument(argument)],
                // The arguments are in memory there, where no filter sees them.
                action: if compares { NO_SUCH_CALL } else { action },
            }));
        }
    }
    rules.sort_by_key(|rule| rule.number);
    let private = rules.partition_point(|rule| machine.is_common(rule.number));
    let private = rules.split_off(private);
    let mut bands = vec![Band {
        first: match machine {
            Machine::X32 => X32_BIT,
            Machine::X86_64 | Machine::X86 | Machine::Aarch64 | Machine::Arm => 0,
        },
        beyond: newest
            .filter(|_| default >> 16 == 5)
            .map(|number| number + 1),
        rules,
    }];
    bands.extend(first_private.map(|first| Band {
        first,
        beyond: None,
        rules: private,
    }));
    Ok(bands)
}

fn first_argument(value: u64) -> Comparison {
    Comparison {
        index: 0,
        operator: Operator::ScmpCmpEq,
        value,
        second: 0,
    }
}

/// The comparisons of an entry: one rule's, or of several.
fn alternatives(entry: &LinuxSyscall, machine: Machine) -> Result<Vec<Vec<Comparison>>> {
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
        comparisons.into_iter().map(|one| vec![one]).collect()
    } else {
        vec![comparisons]
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
