//! From what was measured to the rows of the table.

use anyhow::{Context as _, Result};

use super::calls::Calls;
use super::contestant::Seen;
use super::measure::{Measured, Runtime};
use crate::vm::bench::report::{Row, as_f64, mebibytes};

/// At most this share of what the one to compare with takes.
const RUN: f64 = 0.7;
const CYCLE: f64 = 0.6;
const EXEC: f64 = 0.8;
const MEMORY_MIB: f64 = 3.0;
const PROGRAM_MIB: f64 = 2.5;
/// How many of our system calls are listed.
const COSTLIEST: usize = 8;

pub(super) fn all(measured: &Measured) -> Result<Vec<Row>> {
    let floor = "the floor: unshare and chroot, no runtime";
    let mut rows = vec![Row::new(floor, "ms", measured.floor.clone())?];
    let runtimes = &measured.runtimes;
    rows.extend(times(runtimes, "run", RUN, |seen| seen.run.clone())?);
    rows.extend(times(runtimes, "create+start+delete", CYCLE, cycle)?);
    rows.extend(times(runtimes, "exec", EXEC, |seen| seen.exec.clone())?);
    let (ours, _) = runtimes.split_first().context("no runtime")?;
    for (what, values) in [
        ("create", &ours.times.create),
        ("start", &ours.times.start),
        ("delete", &ours.times.delete),
    ] {
        let what = format!("{what} alone, {}", ours.name);
        rows.push(Row::new(what, "ms", values.clone())?);
    }
    rows.extend(sizes(runtimes)?);
    for (what, pick) in TRACED {
        for runtime in runtimes {
            let what = format!("system calls of {what}, {}", runtime.name);
            let calls = pick(&runtime.calls).first().context("nothing was traced")?;
            rows.push(Row::once(what, "calls", as_f64(calls.count())));
        }
    }
    for (what, pick) in TRACED {
        let calls = pick(&ours.calls).first().context("nothing was traced")?;
        for call in calls.0.iter().take(COSTLIEST) {
            let (name, count) = (&call.name, call.count);
            let what = format!("traced {what}, {}: {name}, called {count}x", ours.name);
            rows.push(Row::once(what, "ms", call.ms));
        }
    }
    Ok(rows)
}

type Pick = fn(&Seen<Calls>) -> &Vec<Calls>;

const TRACED: [(&str, Pick); 2] = [("run", |seen| &seen.run), ("exec", |seen| &seen.exec)];

/// The three calls of one container's life, turn by turn.
fn cycle(seen: &Seen<f64>) -> Vec<f64> {
    let calls = seen.create.iter().zip(&seen.start).zip(&seen.delete);
    calls
        .map(|((create, start), delete)| create + start + delete)
        .collect()
}

/// A row a runtime, and after the second how much of its time the first takes.
fn times(
    runtimes: &[Runtime],
    what: &str,
    aim: f64,
    pick: impl Fn(&Seen<f64>) -> Vec<f64>,
) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (number, runtime) in runtimes.iter().enumerate() {
        let what = format!("{what}, {}", runtime.name);
        rows.push(Row::new(what, "ms", pick(&runtime.times))?);
        if number == 1 {
            rows.push(rows[0].over(&rows[1], aim));
        }
    }
    Ok(rows)
}

fn sizes(runtimes: &[Runtime]) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (number, runtime) in runtimes.iter().enumerate() {
        // The aims are for ours, the first.
        let aimed = |row: Row, aim| if number == 0 { row.aim(aim) } else { row };
        let (name, memory) = (&runtime.name, &runtime.memory);
        for (what, values) in [
            ("run", &memory.run),
            ("create", &memory.create),
            ("exec", &memory.exec),
        ] {
            let what = format!("peak memory of {what}, {name}");
            rows.push(aimed(Row::new(what, "MiB", values.clone())?, MEMORY_MIB));
        }
        let size = format!("size: the program {name}");
        let size = Row::once(size, "MiB", mebibytes(runtime.bytes));
        rows.push(aimed(size, PROGRAM_MIB));
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runtime(name: &str, ms: f64) -> Runtime {
        let table = "------\n 1.0 0.002000 2 7 openat\n------\n";
        let seen = |value: f64| Seen {
            run: vec![value],
            create: vec![value],
            start: vec![value],
            delete: vec![value],
            exec: vec![value],
        };
        let calls = || vec![Calls::parse(table).expect("a table")];
        Runtime {
            name: name.to_owned(),
            bytes: 1 << 20,
            times: seen(ms),
            memory: seen(2.0),
            calls: Seen {
                run: calls(),
                exec: calls(),
                ..Seen::default()
            },
        }
    }

    #[test]
    fn ours_is_compared_with_the_second() {
        let measured = Measured {
            floor: vec![1.0],
            runtimes: vec![runtime("a", 3.0), runtime("b", 4.0), runtime("c", 9.0)],
        };
        let rows = all(&measured).expect("rows");
        let rows = serde_json::to_value(rows).expect("JSON");
        let find = |what: &str| {
            let rows = rows.as_array().expect("a list");
            let row = rows.iter().find(|row| row["what"] == what);
            row.unwrap_or_else(|| panic!("no row {what:?}")).clone()
        };
        let share = find("run, a, as a share of that");
        assert_eq!(
            (&share["median"], &share["aim"]),
            (&0.75.into(), &0.7.into())
        );
        assert_eq!(find("create+start+delete, c")["median"], 27.0);
        assert_eq!(find("peak memory of exec, a")["aim"], 3.0);
        assert!(find("peak memory of exec, b")["aim"].is_null());
        assert_eq!(find("system calls of exec, b")["median"], 7.0);
        assert_eq!(find("traced run, a: openat, called 7x")["median"], 2.0);
    }
}
