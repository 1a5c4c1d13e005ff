//! The compiled program, run by an interpreter, against the rules it was made from.

mod machines;

use std::collections::BTreeSet;

use super::compile::{Band, Comparison, Rule, Section};
use super::table::X32_BIT;
use super::*;
use oci_spec::runtime::{LinuxSeccompOperator as Operator, LinuxSyscall};
use proptest::prelude::*;

/// Whether an argument satisfies a comparison, straight from the spec's words.
fn holds(one: &Comparison, argument: u64) -> bool {
    match one.operator {
        Operator::ScmpCmpNe => argument != one.value,
        Operator::ScmpCmpLt => argument < one.value,
        Operator::ScmpCmpLe => argument <= one.value,
        Operator::ScmpCmpEq => argument == one.value,
        Operator::ScmpCmpGe => argument >= one.value,
        Operator::ScmpCmpGt => argument > one.value,
        Operator::ScmpCmpMaskedEq => argument & one.value == one.second,
    }
}

/// struct seccomp_data.
#[derive(Debug, Clone, Copy)]
struct Data {
    arch: u32,
    number: u32,
    args: [u64; 6],
}

const X86_64: u32 = 0xc000_003e;

fn run(program: &[Insn], data: &Data) -> u32 {
    let word = |offset: u32| match offset {
        0 => data.number,
        4 => data.arch,
        16.. if offset.is_multiple_of(8) => data.args[(offset as usize - 16) / 8] as u32,
        16.. => (data.args[(offset as usize - 16) / 8] >> 32) as u32,
        other => panic!("load at {other}"),
    };
    let (mut accumulator, mut at) = (0_u32, 0_usize);
    loop {
        let now = program[at];
        at += 1;
        let holds = match now.code {
            0x20 => {
                accumulator = word(now.k);
                continue;
            }
            0x54 => {
                accumulator &= now.k;
                continue;
            }
            0x05 => {
                at += now.k as usize;
                continue;
            }
            0x06 => return now.k,
            0x15 => accumulator == now.k,
            0x25 => accumulator > now.k,
            0x35 => accumulator >= now.k,
            other => panic!("operation {other:#x}"),
        };
        at += usize::from(if holds { now.jt } else { now.jf });
    }
}

fn model(sections: &[Section], default: u32, data: &Data) -> u32 {
    let Some(section) = sections.iter().find(|one| one.audit == data.arch) else {
        return compile::NO_SUCH_CALL;
    };
    let bands = section.bands.iter();
    let Some(band) = bands.rev().find(|band| band.first <= data.number) else {
        return compile::NO_SUCH_CALL;
    };
    if band.beyond.is_some_and(|beyond| data.number >= beyond) {
        return compile::NO_SUCH_CALL;
    }
    let matches = |rule: &&Rule| {
        let mut all = rule.all.iter();
        rule.number == data.number && all.all(|one| holds(one, data.args[one.index as usize]))
    };
    let found = band.rules.iter().find(matches);
    found.map_or(default, |rule| rule.action)
}

/// Values that meet: small ones, in the low word, the high word, or both.
fn value() -> impl Strategy<Value = u64> {
    (0_u64..3, 0_u64..3).prop_map(|(high, low)| (high << 32) | low)
}

fn comparison() -> impl Strategy<Value = Comparison> {
    let operator = prop_oneof![
        Just(Operator::ScmpCmpNe),
        Just(Operator::ScmpCmpLt),
        Just(Operator::ScmpCmpLe),
        Just(Operator::ScmpCmpEq),
        Just(Operator::ScmpCmpGe),
        Just(Operator::ScmpCmpGt),
        Just(Operator::ScmpCmpMaskedEq),
    ];
    (0_u32..6, operator, value(), value()).prop_map(|(index, operator, value, second)| Comparison {
        index,
        operator,
        value,
        second,
    })
}

fn rules(first: u32) -> impl Strategy<Value = Vec<Rule>> {
    let rule = (proptest::collection::vec(comparison(), 0..4), 0_u32..4);
    let of_one_call = (0_u32..300, proptest::collection::vec(rule, 1..4));
    proptest::collection::vec(of_one_call, 0..40).prop_map(move |calls| {
        let each = calls.into_iter().flat_map(|(number, rules)| {
            let number = first + number;
            rules.into_iter().map(move |(all, action)| Rule {
                number,
                all,
                action,
            })
        });
        let mut rules: Vec<Rule> = each.collect();
        rules.sort_by_key(|rule| rule.number);
        rules
    })
}

/// One that begins at `first`, with an end after its calls or none.
fn band(first: u32) -> impl Strategy<Value = Band> {
    (rules(first), proptest::option::of(0_u32..20)).prop_map(move |(rules, after)| {
        let newest = rules.last().map_or(first, |rule| rule.number);
        Band {
            first,
            beyond: after.map(|after| newest + 1 + after),
            rules,
        }
    })
}

fn section(audit: u32) -> impl Strategy<Value = Section> {
    (band(0), band(X32_BIT)).prop_map(move |(low, high)| Section {
        audit,
        bands: vec![low, high],
    })
}

const X86: u32 = 0x4000_0003;
const ARM: u32 = 0x4000_0028;

proptest! {
    #[test]
    fn the_program_does_what_the_rules_say(
        sections in (section(X86_64), section(X86)),
        numbers in proptest::collection::vec(0_u32..330, 20),
        args in proptest::array::uniform6(value()),
    ) {
        let sections = [sections.0, sections.1];
        let program = compile::program(&sections, 9);
        let bands = sections.iter().flat_map(|section| &section.bands);
        let named = bands.flat_map(|band| &band.rules).map(|rule| rule.number);
        let named: BTreeSet<u32> = named.collect();
        let high = numbers.iter().map(|number| number | X32_BIT);
        let ends = [X32_BIT - 1, X32_BIT, u32::MAX];
        for number in named.into_iter().chain(numbers.iter().copied()).chain(high).chain(ends) {
            for arch in [X86_64, X86, ARM] {
                let data = Data { arch, number, args };
                prop_assert_eq!(run(&program, &data), model(&sections, 9, &data), "{:?}", data);
            }
        }
    }
}

const ALLOW: u32 = 0x7fff_0000;
const EPERM: u32 = 0x0005_0001;
const ENOSYS: u32 = 0x0005_0000 | 38;

fn profile(json: &str) -> Result<Filter> {
    Filter::compile(&serde_json::from_str(json)?)
}

fn answer(filter: &Filter, name: &str, args: &[u64]) -> u32 {
    let mut all = [0; 6];
    all[..args.len()].copy_from_slice(args);
    let number = Machine::X86_64.number(name).unwrap();
    run(
        &filter.program,
        &Data {
            arch: X86_64,
            number,
            args: all,
        },
    )
}

#[test]
fn profiles() {
    let filter = profile(
        r#"{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[
            {"names":["read","no_such_call","mkdir"],"action":"SCMP_ACT_ALLOW"},
            {"names":["personality"],"action":"SCMP_ACT_ALLOW",
             "args":[{"index":0,"value":0,"op":"SCMP_CMP_EQ"},{"index":0,"value":8,"op":"SCMP_CMP_EQ"}]},
            {"names":["ioctl"],"action":"SCMP_ACT_ERRNO",
             "args":[{"index":1,"value":21522,"op":"SCMP_CMP_EQ"}]},
            {"names":["ioctl"],"action":"SCMP_ACT_ALLOW"},
            {"names":["mount"],"action":"SCMP_ACT_ERRNO","errnoRet":1}]}"#,
    )
    .unwrap();
    assert_eq!(answer(&filter, "read", &[]), ALLOW);
    assert_eq!(answer(&filter, "write", &[]), EPERM);
    assert_eq!(answer(&filter, "personality", &[8]), ALLOW);
    assert_eq!(answer(&filter, "personality", &[9]), EPERM);
    assert_eq!(answer(&filter, "ioctl", &[0, 21522]), EPERM);
    assert_eq!(answer(&filter, "ioctl", &[0, 21523]), ALLOW);
    assert_eq!(answer(&filter, "mount", &[]), EPERM);
    assert_eq!(
        answer(&filter, "clone3", &[]),
        ENOSYS,
        "newer than all that is named"
    );
    for (json, expected) in [
        (
            r#"{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":70000}"#,
            "no error number",
        ),
        (
            r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"],
            "action":"SCMP_ACT_ERRNO","args":[{"index":6,"value":0,"op":"SCMP_CMP_EQ"}]}]}"#,
            "above 5",
        ),
    ] {
        let error = format!("{:#}", profile(json).unwrap_err());
        assert!(error.contains(expected), "{error}");
    }
}

/// A sample of what ordinary programs need.
const ALLOWED: &str = "
    read execve openat mmap futex epoll_wait accept4 fork rseq statx sendfile splice
    copy_file_range memfd_create prctl setuid chroot pidfd_open landlock_restrict_self
    membarrier close_range futex_wait fchmodat2 exit_group rt_sigreturn capset setgroups
";

/// What no container needs that was not given a privilege for it.
const REFUSED: &str = "
    mount umount2 pivot_root move_mount open_tree fsopen fsmount mount_setattr unshare setns
    bpf keyctl add_key request_key userfaultfd io_uring_setup io_uring_enter kexec_load
    init_module finit_module reboot swapon perf_event_open open_by_handle_at quotactl
    settimeofday clock_settime adjtimex acct iopl ioperm clone3 ptrace process_vm_readv
    sethostname lookup_dcookie move_pages fanotify_init syslog pidfd_getfd kcmp vhangup
    mbind
";

/// What containers get unless their unit says otherwise: docker's default, or stricter.
#[test]
fn the_default_profile() {
    let parsed: LinuxSeccomp = serde_json::from_str(crate::DEFAULT_SECCOMP).unwrap();
    for name in parsed
        .syscalls()
        .iter()
        .flatten()
        .flat_map(LinuxSyscall::names)
    {
        assert!(
            Machine::X86_64.number(name).is_some(),
            "{name} is no system call of x86_64"
        );
    }
    let filter = Filter::compile(&parsed).unwrap();
    for name in ALLOWED.split_whitespace() {
        assert_eq!(answer(&filter, name, &[]), ALLOW, "{name}");
    }
    for name in REFUSED.split_whitespace() {
        assert_ne!(answer(&filter, name, &[]), ALLOW, "{name}");
    }
    assert_eq!(
        answer(&filter, "clone3", &[]),
        ENOSYS,
        "so that libc falls back to clone"
    );
    const THREAD: u64 = 0x3d_0f00;
    assert_eq!(answer(&filter, "clone", &[THREAD]), ALLOW);
    for namespace in [
        0x2_0000,
        0x0200_0000,
        0x0400_0000,
        0x0800_0000,
        0x1000_0000,
        0x2000_0000,
        0x4000_0000_u64,
    ] {
        assert_eq!(
            answer(&filter, "clone", &[namespace | 17]),
            EPERM,
            "{namespace:#x}"
        );
    }
    const TIOCSTI: u64 = 0x5412;
    assert_eq!(answer(&filter, "ioctl", &[0, 0x5413]), ALLOW);
    assert_eq!(answer(&filter, "ioctl", &[0, TIOCSTI]), EPERM);
    // The kernel looks at 32 bits only (CVE-2019-10063's trick).
    assert_eq!(answer(&filter, "ioctl", &[0, TIOCSTI | (1 << 32)]), EPERM);
    for (family, allowed) in [
        (1, true),
        (2, true),
        (10, true),
        (16, true),
        (38, false),
        (40, false),
    ] {
        assert_eq!(
            answer(&filter, "socket", &[family]) == ALLOW,
            allowed,
            "family {family}"
        );
        assert_eq!(
            answer(&filter, "socket", &[family | (1 << 32)]) == ALLOW,
            allowed
        );
    }
    assert_eq!(answer(&filter, "personality", &[0x0002_0000]), ALLOW);
    assert_eq!(answer(&filter, "personality", &[0x0040_0000]), EPERM);
    assert!(
        filter.program.len() < 1024,
        "{} instructions",
        filter.program.len()
    );
}
