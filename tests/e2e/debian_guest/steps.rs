//! What a Debian guest is to do, as files have it, and what came of it.
//!
//! A step is `## NAME`, the lines of a script, `=> STATUS`, and the lines that the script must
//! print, in order, others between them; `~` stands before a part of a line.

use anyhow::{Context as _, Result, bail, ensure};

/// Something that the guest does, and what must come of it.
pub(super) struct Step {
    file: String,
    name: String,
    pub(super) script: String,
    status: i32,
    lines: Vec<String>,
}

/// What came of a step.
struct Outcome {
    status: i32,
    output: Vec<String>,
}

/// What the guest calls a step.
pub(super) fn key(index: usize, step: &Step) -> String {
    format!("{index:03}-{}", step.file)
}

/// The steps of the file `file`.
pub(super) fn parse(file: &str, text: &str) -> Result<Vec<Step>> {
    let mut steps = Vec::new();
    for block in text.split("## ").skip(1) {
        let (name, rest) = block.split_once('\n').context("a step is only a name")?;
        let (script, rest) = rest
            .split_once("\n=> ")
            .with_context(|| format!("{name}: no line `=> STATUS`"))?;
        let (status, lines) = rest.split_once('\n').unwrap_or((rest, ""));
        let lines = lines.lines().map(str::trim).filter(|line| !line.is_empty());
        steps.push(Step {
            file: file.to_owned(),
            name: name.to_owned(),
            script: format!("{script}\n"),
            status: status
                .trim()
                .parse()
                .with_context(|| format!("{name}: status"))?,
            lines: lines.map(str::to_owned).collect(),
        });
    }
    ensure!(!steps.is_empty(), "no step begins with `## `");
    Ok(steps)
}

/// Compares what the guest said with what the steps ask for, all of them.
pub(super) fn check(steps: &[Step], said: &str) -> Result<()> {
    let mut wrong = Vec::new();
    for (index, step) in steps.iter().enumerate() {
        let key = key(index, step);
        let Some(outcome) = outcome(said, &key)? else {
            wrong.push(format!("{key} ({}): was not reached", step.name));
            continue;
        };
        let mut left = outcome.output.iter();
        let mut missing = step.lines.iter().filter(|line| {
            let fits = |printed: &String| match line.strip_prefix('~') {
                Some(part) => printed.contains(part),
                None => printed.trim() == line.as_str(),
            };
            !left.any(fits)
        });
        let missing = missing.next();
        if missing.is_some() || outcome.status != step.status {
            wrong.push(format!(
                "{key} ({}): status {}, expected {}; {}; it printed:\n{}",
                step.name,
                outcome.status,
                step.status,
                missing.map_or("no line missing".into(), |line| format!("no line {line:?}")),
                outcome.output.join("\n")
            ));
        }
    }
    if wrong.is_empty() {
        return Ok(());
    }
    bail!(
        "{} of {} steps:\n{}",
        wrong.len(),
        steps.len(),
        wrong.join("\n\n")
    )
}

/// What the guest said of the step `key`; `None` if nothing.
fn outcome(said: &str, key: &str) -> Result<Option<Outcome>> {
    let mut lines = said.lines();
    let Some(head) = lines.find_map(|line| line.strip_prefix(&format!("@ {key} "))) else {
        return Ok(None);
    };
    let status = head.split(' ').next().unwrap_or_default();
    let output = lines.map_while(|line| line.strip_prefix('|'));
    Ok(Some(Outcome {
        status: status.parse().with_context(|| format!("{key}: {head:?}"))?,
        output: output.map(|line| line.trim_end().to_owned()).collect(),
    }))
}
