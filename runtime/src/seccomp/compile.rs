//! Rules to classic BPF: a binary search over system call numbers, so that each call costs a
//! dozen instructions however long the profile is.

use oci_spec::runtime::LinuxSeccompOperator as Operator;
use orlop_sys::seccomp::Insn;

/// For one system call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) number: u32,
    /// All of them must hold; with none the rule always matches.
    pub(super) all: Vec<Comparison>,
    pub(super) action: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Comparison {
    pub(super) index: u32,
    pub(super) operator: Operator,
    pub(super) value: u64,
    /// For the masked comparison: `value` is the mask, this what must remain.
    pub(super) second: u64,
}

// linux/bpf_common.h.
const LD_W_ABS: u16 = 0x20;
const JA: u16 = 0x05;
const JEQ: u16 = 0x15;
const JGT: u16 = 0x25;
const JGE: u16 = 0x35;
const AND: u16 = 0x54;
const RET: u16 = 0x06;

// Offsets in struct seccomp_data.
const NR: u32 = 0;
const ARCH: u32 = 4;
const ARGS: u32 = 16;

/// SECCOMP_RET_ERRNO with ENOSYS.
pub(super) const NO_SUCH_CALL: u32 = 0x0005_0000 | 38;

fn insn(code: u16, jt: u8, jf: u8, k: u32) -> Insn {
    Insn { code, jt, jf, k }
}

/// What is answered for one instruction set (by its AUDIT_ARCH_*).
#[derive(Debug, Clone)]
pub(super) struct Section {
    pub(super) audit: u32,
    /// In the order of their first numbers; the first begins at 0.
    pub(super) bands: Vec<Band>,
}

/// Numbers from `first` up to the next band.
#[derive(Debug, Clone)]
pub(super) struct Band {
    pub(super) first: u32,
    /// In the order of their numbers. Of those for one number the first that matches decides.
    pub(super) rules: Vec<Rule>,
    /// From this number on the answer is ENOSYS instead of the default.
    pub(super) beyond: Option<u32>,
}

/// The whole program. Instruction sets without a section get ENOSYS.
pub(super) fn program(sections: &[Section], default: u32) -> Vec<Insn> {
    let mut code = Backwards(Vec::with_capacity(512));
    code.before(insn(RET, 0, 0, NO_SUCH_CALL));
    for section in sections.iter().rev() {
        let after = code.len();
        search(&mut code, &spans(&section.bands, default), default);
        code.before(insn(LD_W_ABS, 0, 0, NR));
        let length = (code.len() - after) as u32;
        code.before(insn(JA, 0, 0, length));
        code.before(insn(JEQ, 1, 0, section.audit));
    }
    code.before(insn(LD_W_ABS, 0, 0, ARCH));
    code.forwards()
}

/// A program that is written from its end: what a jump skips is there before the jump.
struct Backwards(Vec<Insn>);

impl Backwards {
    fn before(&mut self, insn: Insn) {
        self.0.push(insn);
    }

    fn all_before(&mut self, code: Vec<Insn>) {
        self.0.extend(code.into_iter().rev());
    }

    fn len(&self) -> usize {
        self.0.len()
    }

    fn forwards(mut self) -> Vec<Insn> {
        self.0.reverse();
        self.0
    }
}

/// A range of numbers up to the next span's start that is answered alike.
#[derive(Debug, PartialEq, Eq)]
struct Span<'c> {
    start: u32,
    answer: Answer<'c>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer<'c> {
    Always(u32),
    Rules(&'c [Rule]),
}

fn spans(bands: &[Band], default: u32) -> Vec<Span<'_>> {
    let mut spans: Vec<Span<'_>> = Vec::new();
    for band in bands {
        push(&mut spans, band.first, Answer::Always(default));
        for rules in band.rules.chunk_by(|one, next| one.number == next.number) {
            let first = &rules[0];
            let answer = match first.all.is_empty() {
                true => Answer::Always(first.action),
                false => Answer::Rules(rules),
            };
            push(&mut spans, first.number, answer);
            push(&mut spans, first.number + 1, Answer::Always(default));
        }
        if let Some(beyond) = band.beyond {
            push(&mut spans, beyond, Answer::Always(NO_SUCH_CALL));
        }
    }
    spans
}

/// Whoever begins at the same number goes before; whoever answers alike goes on.
fn push<'c>(spans: &mut Vec<Span<'c>>, start: u32, answer: Answer<'c>) {
    match spans.last_mut() {
        Some(last) if last.start == start => last.answer = answer,
        Some(last) if last.answer == answer => {}
        Some(_) | None => spans.push(Span { start, answer }),
    }
}

/// Code that ends in a RET for every number, with the number in the accumulator.
fn search(code: &mut Backwards, spans: &[Span<'_>], default: u32) {
    match spans {
        [] => code.before(insn(RET, 0, 0, default)),
        [only] => match only.answer {
            Answer::Always(action) => code.before(insn(RET, 0, 0, action)),
            Answer::Rules(rules) => code.all_before(rules_code(rules, default)),
        },
        several => {
            let (low, high) = several.split_at(several.len() / 2);
            search(code, high, default);
            let after = code.len();
            search(code, low, default);
            let length = code.len() - after;
            match u8::try_from(length) {
                Ok(skip) => code.before(insn(JGE, skip, 0, high[0].start)),
                // A conditional jump reaches 255 instructions, an unconditional one all.
                Err(_) => {
                    code.before(insn(JA, 0, 0, length as u32));
                    code.before(insn(JGE, 0, 1, high[0].start));
                }
            }
        }
    }
}

fn rules_code(rules: &[Rule], default: u32) -> Vec<Insn> {
    let mut code = Vec::new();
    for rule in rules {
        code.extend(rule_code(rule));
        if rule.all.is_empty() {
            return code;
        }
    }
    code.push(insn(RET, 0, 0, default));
    code
}

/// Falls out at the end when the rule does not match. At most six comparisons of seven
/// instructions: no jump is longer than 255.
fn rule_code(rule: &Rule) -> Vec<Insn> {
    let mut code = vec![insn(RET, 0, 0, rule.action)];
    for comparison in rule.all.iter().rev() {
        let mut block = comparison_code(comparison, code.len() as u8);
        block.append(&mut code);
        code = block;
    }
    code
}

/// Falls through when the comparison holds, else jumps `rest` instructions past its end.
///
/// The 64-bit argument is two words: the high one decides, unless it equals.
fn comparison_code(comparison: &Comparison, rest: u8) -> Vec<Insn> {
    let at = ARGS + 8 * comparison.index;
    let load_low = insn(LD_W_ABS, 0, 0, at);
    let load_high = insn(LD_W_ABS, 0, 0, at + 4);
    let (high, low) = ((comparison.value >> 32) as u32, comparison.value as u32);
    let ordered = |strict: bool, negated: bool| {
        // load high; above: holds; not equal: below, so it does not; load low; compare.
        let compare = if strict { JGT } else { JGE };
        let (above, below) = if negated {
            (rest + 3, 2)
        } else {
            (3, rest + 2)
        };
        let (yes, no) = if negated { (rest, 0) } else { (0, rest) };
        vec![
            load_high,
            insn(JGT, above, 0, high),
            insn(JEQ, 0, below, high),
            load_low,
            insn(compare, yes, no, low),
        ]
    };
    match comparison.operator {
        Operator::ScmpCmpGt => ordered(true, false),
        Operator::ScmpCmpGe => ordered(false, false),
        Operator::ScmpCmpLe => ordered(true, true),
        Operator::ScmpCmpLt => ordered(false, true),
        Operator::ScmpCmpEq => {
            vec![
                load_high,
                insn(JEQ, 0, rest + 2, high),
                load_low,
                insn(JEQ, 0, rest, low),
            ]
        }
        Operator::ScmpCmpNe => {
            vec![
                load_high,
                insn(JEQ, 0, 2, high),
                load_low,
                insn(JEQ, rest, 0, low),
            ]
        }
        Operator::ScmpCmpMaskedEq => {
            let (want_high, want_low) =
                ((comparison.second >> 32) as u32, comparison.second as u32);
            vec![
                load_high,
                insn(AND, 0, 0, high),
                insn(JEQ, 0, rest + 3, want_high),
                load_low,
                insn(AND, 0, 0, low),
                insn(JEQ, 0, rest, want_low),
            ]
        }
    }
}
