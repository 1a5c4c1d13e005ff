//! Profiles for several instruction sets, and every action, flag and refusal.

use super::*;

const KILL: u32 = 0;
const NOTIFY: u32 = 0x7fc0_0000;
const AARCH64: u32 = 0xc000_00b7;

fn compiled(json: &str, native: Machine) -> Result<Filter> {
    Filter::compile_for(&serde_json::from_str(json)?, native)
}

/// The answer to a call by its name on that machine.
fn ask(filter: &Filter, machine: Machine, name: &str, args: &[u64]) -> u32 {
    let mut all = [0; 6];
    all[..args.len()].copy_from_slice(args);
    let data = Data {
        arch: machine.audit(),
        number: machine.number(name).unwrap(),
        args: all,
    };
    run(&filter.program, &data)
}

#[test]
fn each_machine_has_its_own_numbers() {
    let profile = |architectures: &str| {
        format!(
            r#"{{"defaultAction":"SCMP_ACT_ERRNO","architectures":[{architectures}],"syscalls":[
            {{"names":["read","execve","set_tls","close"],"action":"SCMP_ACT_ALLOW"}},
            {{"names":["mkdirat"],"action":"SCMP_ACT_KILL_THREAD"}}]}}"#
        )
    };
    let all = r#""SCMP_ARCH_X86","SCMP_ARCH_X86_64","SCMP_ARCH_X32","SCMP_ARCH_AARCH64",
        "SCMP_ARCH_ARM","SCMP_ARCH_S390X""#;
    for (native, family, strangers) in [
        (
            Machine::X86_64,
            vec![Machine::X86_64, Machine::X86, Machine::X32],
            vec![Machine::Aarch64, Machine::Arm],
        ),
        (
            Machine::Aarch64,
            vec![Machine::Aarch64, Machine::Arm],
            vec![Machine::X86_64, Machine::X86],
        ),
    ] {
        let filter = compiled(&profile(all), native).unwrap();
        for machine in family.iter().copied() {
            assert_eq!(ask(&filter, machine, "read", &[]), ALLOW, "{machine:?}");
            assert_eq!(ask(&filter, machine, "execve", &[]), ALLOW, "{machine:?}");
            assert_eq!(ask(&filter, machine, "write", &[]), EPERM, "{machine:?}");
            assert_eq!(ask(&filter, machine, "mkdirat", &[]), KILL, "{machine:?}");
            // Newer than all that is named; a private number is not newer.
            assert_eq!(ask(&filter, machine, "mseal", &[]), ENOSYS, "{machine:?}");
        }
        for machine in strangers {
            assert_eq!(ask(&filter, machine, "read", &[]), ENOSYS, "{machine:?}");
        }
        if native == Machine::Aarch64 {
            assert_eq!(ask(&filter, Machine::Arm, "set_tls", &[]), ALLOW);
            assert_eq!(ask(&filter, Machine::Arm, "cacheflush", &[]), ENOSYS);
            assert_eq!(ask(&filter, Machine::Arm, "get_tls", &[]), EPERM);
        }
        // What is not named is closed, but for the machine's own.
        let filter = compiled(&profile(""), native).unwrap();
        assert_eq!(ask(&filter, family[0], "read", &[]), ALLOW);
        for machine in &family[1..] {
            assert_eq!(ask(&filter, *machine, "read", &[]), ENOSYS, "{machine:?}");
        }
    }
    assert_eq!(Machine::Aarch64.audit(), AARCH64);
}

/// One call of i386 stands for many, with their arguments where no filter sees them.
#[test]
fn nothing_is_got_around_by_a_multiplexed_call() {
    let filter = compiled(
        r#"{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86"],"syscalls":[
            {"names":["socket"],"action":"SCMP_ACT_ERRNO",
             "args":[{"index":0,"value":40,"op":"SCMP_CMP_EQ"}]},
            {"names":["shmget","connect","accept","semop"],"action":"SCMP_ACT_ERRNO"}]}"#,
        Machine::X86_64,
    )
    .unwrap();
    let x86 = |name, args: &[u64]| ask(&filter, Machine::X86, name, args);
    assert_eq!(x86("socket", &[40]), EPERM);
    assert_eq!(x86("socket", &[2]), ALLOW);
    assert_eq!(x86("socketcall", &[1]), ENOSYS);
    assert_eq!(x86("socketcall", &[3]), EPERM);
    assert_eq!(x86("socketcall", &[2]), ALLOW);
    assert_eq!(x86("ipc", &[23]), EPERM);
    assert_eq!(x86("ipc", &[24]), ALLOW);
    // Those have no number of their own there.
    assert_eq!(x86("socketcall", &[5]), EPERM);
    assert_eq!(x86("ipc", &[1]), EPERM);
    assert_eq!(ask(&filter, Machine::X86_64, "shmget", &[]), EPERM);
}

#[test]
fn negative_numbers_are_as_wide_as_the_machine() {
    let filter = compiled(
        r#"{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86"],"syscalls":[
            {"names":["kill"],"action":"SCMP_ACT_ERRNO",
             "args":[{"index":0,"value":18446744073709551615,"op":"SCMP_CMP_EQ"}]}]}"#,
        Machine::X86_64,
    )
    .unwrap();
    assert_eq!(ask(&filter, Machine::X86, "kill", &[0xffff_ffff]), EPERM);
    assert_eq!(ask(&filter, Machine::X86_64, "kill", &[0xffff_ffff]), ALLOW);
    assert_eq!(ask(&filter, Machine::X86_64, "kill", &[u64::MAX]), EPERM);
}

#[test]
fn actions_and_flags() {
    for (action, errno, expected) in [
        ("SCMP_ACT_KILL", "", 0),
        ("SCMP_ACT_KILL_THREAD", "", 0),
        ("SCMP_ACT_KILL_PROCESS", "", 0x8000_0000),
        ("SCMP_ACT_TRAP", "", 0x0003_0000),
        ("SCMP_ACT_ERRNO", "", 0x0005_0001),
        ("SCMP_ACT_ERRNO", r#","errnoRet":4095"#, 0x0005_0fff),
        ("SCMP_ACT_TRACE", r#","errnoRet":65535"#, 0x7ff0_ffff),
        ("SCMP_ACT_LOG", "", 0x7ffc_0000),
        ("SCMP_ACT_NOTIFY", "", NOTIFY),
    ] {
        let json = format!(
            r#"{{"defaultAction":"SCMP_ACT_ALLOW","listenerPath":"/a","syscalls":[
            {{"names":["mkdir"],"action":"{action}"{errno}}}]}}"#
        );
        let filter = compiled(&json, Machine::X86_64).unwrap();
        let got = ask(&filter, Machine::X86_64, "mkdir", &[]);
        assert_eq!(got, expected, "{action}{errno}");
        assert_eq!(filter.agent.is_some(), expected == NOTIFY, "{action}");
    }
    let flags = |action: &str| {
        let json = format!(
            r#"{{"defaultAction":"SCMP_ACT_ALLOW","listenerPath":"/a",
            "flags":["SECCOMP_FILTER_FLAG_TSYNC","SECCOMP_FILTER_FLAG_LOG",
            "SECCOMP_FILTER_FLAG_SPEC_ALLOW","SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"],
            "syscalls":[{{"names":["mkdir"],"action":"{action}"}}]}}"#
        );
        compiled(&json, Machine::X86_64).unwrap().flags
    };
    assert_eq!(flags("SCMP_ACT_TRAP"), LOG | SPEC_ALLOW);
    assert_eq!(
        flags("SCMP_ACT_NOTIFY"),
        LOG | SPEC_ALLOW | WAIT_KILLABLE_RECV
    );
}

#[test]
fn what_is_refused() {
    let allow = r#""defaultAction":"SCMP_ACT_ALLOW""#;
    let notify = |name: &str| {
        format!(
            r#"{{{allow},"listenerPath":"/a","syscalls":[{{"names":["{name}"],"action":"SCMP_ACT_NOTIFY"}}]}}"#
        )
    };
    for (json, expected) in [
        (notify("mkdir"), "ok"),
        (
            notify("mkdir").replace(r#""listenerPath":"/a","#, ""),
            "needs a listenerPath",
        ),
        (
            notify("mkdir").replace("\"/a\"", "\"a\""),
            "not an absolute path",
        ),
        (notify("sendmsg"), "SCMP_ACT_NOTIFY for sendmsg"),
        (
            r#"{"defaultAction":"SCMP_ACT_NOTIFY","listenerPath":"/a"}"#.into(),
            "SCMP_ACT_NOTIFY for sendmsg",
        ),
        (
            r#"{"defaultAction":"SCMP_ACT_NOTIFY","listenerPath":"/a","syscalls":[
                {"names":["sendmsg"],"action":"SCMP_ACT_ALLOW"}]}"#
                .into(),
            "ok",
        ),
        (
            format!(r#"{{{allow},"listenerMetadata":"m"}}"#),
            "without a listenerPath",
        ),
        (
            format!(r#"{{{allow},"defaultErrnoRet":1}}"#),
            "errnoRet beside SCMP_ACT_ALLOW",
        ),
        (
            format!(
                r#"{{{allow},"syscalls":[{{"names":["read"],"action":"SCMP_ACT_LOG","errnoRet":1}}]}}"#
            ),
            "syscalls[0]",
        ),
    ] {
        let got = compiled(&json, Machine::X86_64);
        let got = got.map_or_else(|error| format!("{error:#}"), |_| "ok".into());
        assert!(got.contains(expected), "{json}: {got}");
    }
}
