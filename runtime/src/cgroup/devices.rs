//! The device rules of config.json as an eBPF program. Pure.
//!
//! The rules are read in order, and for each kind of access (read, write, mknod) the last one
//! that names the device decides; nothing is allowed to begin with. The program keeps the
//! accesses granted so far in a register and lets each matching rule add to it or take away,
//! so it is as long as the list, has no loops, and needs no merging of rules.

use anyhow::{Context, Result, bail};
use oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceType};
use orlop_sys::bpf::Insn;

// linux/bpf.h: BPF_DEVCG_*.
const DEV_BLOCK: u32 = 1;
const DEV_CHAR: u32 = 2;
const MKNOD: u32 = 1;
const READ: u32 = 2;
const WRITE: u32 = 4;
const ALL: u32 = MKNOD | READ | WRITE;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Rule {
    allow: bool,
    /// `None`: both kinds.
    kind: Option<u32>,
    major: Option<u32>,
    minor: Option<u32>,
    access: u32,
}

/// Allowed whatever the configuration says: the six devices, and pseudo-terminals.
const USUAL: [(u32, Option<u32>); 8] = [
    (1, Some(3)),
    (1, Some(5)),
    (1, Some(7)),
    (1, Some(8)),
    (1, Some(9)),
    (5, Some(0)),
    (5, Some(2)),
    (136, None),
];

/// The program for these rules; `None` when they allow everything.
pub(crate) fn program(config: &[LinuxDeviceCgroup]) -> Result<Option<Vec<Insn>>> {
    let rules = rules(config)?;
    if let Some(Rule {
        allow: true,
        kind: None,
        major: None,
        minor: None,
        access: ALL,
    }) = rules.last()
    {
        return Ok(None);
    }
    Ok(Some(compile(&rules)))
}

fn rules(config: &[LinuxDeviceCgroup]) -> Result<Vec<Rule>> {
    let mut rules = Vec::with_capacity(config.len() + USUAL.len());
    for (index, entry) in config.iter().enumerate() {
        rules.push(rule(entry).with_context(|| format!("linux.resources.devices[{index}]"))?);
    }
    let everything = matches!(
        rules.last(),
        Some(Rule {
            allow: true,
            kind: None,
            major: None,
            minor: None,
            access: ALL
        })
    );
    if !everything {
        rules.extend(USUAL.map(|(major, minor)| Rule {
            allow: true,
            kind: Some(DEV_CHAR),
            major: Some(major),
            minor,
            access: ALL,
        }));
    }
    Ok(rules)
}

fn rule(entry: &LinuxDeviceCgroup) -> Result<Rule> {
    let kind = match entry.typ() {
        None | Some(LinuxDeviceType::A) => None,
        Some(LinuxDeviceType::B) => Some(DEV_BLOCK),
        Some(LinuxDeviceType::C | LinuxDeviceType::U) => Some(DEV_CHAR),
        Some(LinuxDeviceType::P) => bail!("type \"p\": a pipe is no device"),
    };
    let number = |name: &str, value: Option<i64>| match value {
        None | Some(-1) => Ok(None),
        Some(value) => u32::try_from(value)
            .map(Some)
            .with_context(|| format!("{name} {value} is out of range")),
    };
    let (major, minor) = (
        number("major", entry.major())?,
        number("minor", entry.minor())?,
    );
    let mut access = 0;
    for letter in entry.access().as_deref().unwrap_or("rwm").chars() {
        access |= match letter {
            'r' => READ,
            'w' => WRITE,
            'm' => MKNOD,
            other => bail!("access {other:?}: only r, w and m exist"),
        };
    }
    Ok(Rule {
        allow: entry.allow(),
        kind,
        major,
        minor,
        access,
    })
}

// Operations of linux/bpf_common.h and linux/bpf.h, as far as they are used.
const LDX_W: u8 = 0x61;
const MOV64_REG: u8 = 0xbf;
const MOV64_IMM: u8 = 0xb7;
const AND32_IMM: u8 = 0x54;
const OR32_IMM: u8 = 0x44;
const RSH32_IMM: u8 = 0x74;
const XOR32_IMM: u8 = 0xa4;
const AND32_REG: u8 = 0x5c;
const JNE_IMM: u8 = 0x56;
const EXIT: u8 = 0x95;

// Registers: what is asked (2 kind, 3 access, 4 major, 5 minor), granted so far (6).
const CTX: u8 = 1;
const KIND: u8 = 2;
const ACCESS: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;
const GRANTED: u8 = 6;
const RESULT: u8 = 0;

fn insn(code: u8, to: u8, from: u8, offset: i16, immediate: u32) -> Insn {
    Insn {
        code,
        registers: (from << 4) | to,
        offset,
        immediate: immediate as i32,
    }
}

fn compile(rules: &[Rule]) -> Vec<Insn> {
    // struct bpf_cgroup_dev_ctx { access << 16 | kind, major, minor }
    let mut program = vec![
        insn(LDX_W, KIND, CTX, 0, 0),
        insn(MOV64_REG, ACCESS, KIND, 0, 0),
        insn(RSH32_IMM, ACCESS, 0, 0, 16),
        insn(AND32_IMM, KIND, 0, 0, 0xffff),
        insn(LDX_W, MAJOR, CTX, 4, 0),
        insn(LDX_W, MINOR, CTX, 8, 0),
        insn(MOV64_IMM, GRANTED, 0, 0, 0),
    ];
    for rule in rules {
        let tests = [(KIND, rule.kind), (MAJOR, rule.major), (MINOR, rule.minor)];
        let tests: Vec<(u8, u32)> = tests
            .into_iter()
            .filter_map(|(reg, value)| Some((reg, value?)))
            .collect();
        for (index, (register, value)) in tests.iter().enumerate() {
            // Over the tests still to come, and the action.
            let skip = (tests.len() - index) as i16;
            program.push(insn(JNE_IMM, *register, 0, skip, *value));
        }
        program.push(if rule.allow {
            insn(OR32_IMM, GRANTED, 0, 0, rule.access)
        } else {
            insn(AND32_IMM, GRANTED, 0, 0, !rule.access & ALL)
        });
    }
    program.extend([
        // asked & ~granted: what is missing
        insn(XOR32_IMM, GRANTED, 0, 0, ALL),
        insn(AND32_REG, ACCESS, GRANTED, 0, 0),
        insn(MOV64_IMM, RESULT, 0, 0, 0),
        insn(JNE_IMM, ACCESS, 0, 1, 0),
        insn(MOV64_IMM, RESULT, 0, 0, 1),
        insn(EXIT, 0, 0, 0, 0),
    ]);
    program
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Request = (u32, u32, u32, u32);

    /// Executes the program as the kernel would, for the operations above.
    fn execute(program: &[Insn], (kind, access, major, minor): Request) -> bool {
        let context = [(access << 16) | kind, major, minor];
        let mut registers = [0_u64; 11];
        let mut at = 0;
        loop {
            let now = program[at];
            let (to, from) = ((now.registers & 15) as usize, (now.registers >> 4) as usize);
            let low = registers[to] as u32;
            let immediate = now.immediate as u32;
            match now.code {
                LDX_W => registers[to] = context[now.offset as usize / 4].into(),
                MOV64_REG => registers[to] = registers[from],
                MOV64_IMM => registers[to] = immediate.into(),
                AND32_IMM => registers[to] = (low & immediate).into(),
                OR32_IMM => registers[to] = (low | immediate).into(),
                RSH32_IMM => registers[to] = (low >> immediate).into(),
                XOR32_IMM => registers[to] = (low ^ immediate).into(),
                AND32_REG => registers[to] = (low & registers[from] as u32).into(),
                JNE_IMM if low != immediate => at += now.offset as usize,
                JNE_IMM => {}
                EXIT => return registers[0] != 0,
                other => panic!("operation {other:#x}"),
            }
            at += 1;
        }
    }

    fn model(rules: &[Rule], (kind, access, major, minor): Request) -> bool {
        (0..3)
            .map(|bit| 1 << bit)
            .filter(|bit| access & bit != 0)
            .all(|bit| {
                let last = rules.iter().rev().find(|rule| {
                    rule.access & bit != 0
                        && rule.kind.is_none_or(|value| value == kind)
                        && rule.major.is_none_or(|value| value == major)
                        && rule.minor.is_none_or(|value| value == minor)
                });
                last.is_some_and(|rule| rule.allow)
            })
    }

    fn some_rule() -> impl Strategy<Value = Rule> {
        let number = || proptest::option::of(0_u32..3);
        (
            any::<bool>(),
            proptest::option::of(1_u32..=2),
            number(),
            number(),
            0_u32..8,
        )
            .prop_map(|(allow, kind, major, minor, access)| Rule {
                allow,
                kind,
                major,
                minor,
                access,
            })
    }

    proptest! {
        #[test]
        fn the_program_does_what_the_rules_say(
            rules in proptest::collection::vec(some_rule(), 0..12),
            request in (1_u32..=2, 0_u32..8, 0_u32..3, 0_u32..3),
        ) {
            prop_assert_eq!(execute(&compile(&rules), request), model(&rules, request));
        }
    }

    #[test]
    fn default_is_the_usual_devices_only() {
        let program = program(&[]).unwrap().unwrap();
        let rw = READ | WRITE;
        for (request, expected) in [
            ((DEV_CHAR, rw, 1, 3), true),
            ((DEV_CHAR, ALL, 1, 9), true),
            ((DEV_CHAR, rw, 136, 7), true),
            ((DEV_CHAR, READ, 1, 1), false),
            ((DEV_BLOCK, READ, 1, 3), false),
            ((DEV_BLOCK, READ, 254, 0), false),
            ((DEV_CHAR, READ, 10, 229), false),
        ] {
            assert_eq!(execute(&program, request), expected, "{request:?}");
        }
    }

    #[test]
    fn configuration() {
        let parse = |json: &str| {
            let config: Vec<LinuxDeviceCgroup> = serde_json::from_str(json).unwrap();
            program(&config)
        };
        assert!(parse(r#"[{"allow":true}]"#).unwrap().is_none());
        let fuse = parse(
            r#"[{"allow":false,"access":"rwm"},
                {"allow":true,"type":"c","major":10,"minor":229,"access":"rw"}]"#,
        );
        let fuse = fuse.unwrap().unwrap();
        assert!(execute(&fuse, (DEV_CHAR, READ | WRITE, 10, 229)));
        assert!(!execute(&fuse, (DEV_CHAR, MKNOD, 10, 229)));
        assert!(parse(r#"[{"allow":true,"access":"x"}]"#).is_err());
    }

    #[test]
    fn the_kernel_accepts_it() {
        if !rustix::process::geteuid().is_root() {
            assert!(
                std::env::var_os("ORLOP_TESTS_COMPLETE").is_none(),
                "no root"
            );
            eprintln!("skipped: loading a program needs root");
            return;
        }
        orlop_sys::bpf::load_device_program(&program(&[]).unwrap().unwrap()).unwrap();
    }
}
