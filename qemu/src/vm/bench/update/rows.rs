//! What is measured, and the table's rows of it.

use anyhow::{Context as _, Result};

use super::super::report::{Row, as_f64, mebibytes};
use super::releases::{Release, Releases};
use super::stages::{Course, Stage};
use super::turn::{Turn, Way};

/// What one package may move of an image, in per cent.
const PACKAGE_AIM: f64 = 5.0;
/// What the manager may need, in MiB.
const MEMORY_AIM: f64 = 48.0;

/// What is new in a version, beside its number.
const NUMBER: &str = "the version only";
const PROGRAM: &str = "a program";
const KERNEL: &str = "the kernel";
const LARGE: &str = "kernel and 300 MiB";

/// The same at more length.
fn in_full(what: &str) -> String {
    let more = match what {
        PROGRAM => " (2 MiB in a container's image, qemu-nbd for qemu-img)",
        KERNEL => " (linux-image-amd64 for that of clouds)",
        LARGE => " (of random bytes, in a container's image)",
        _ => "",
    };
    format!("new: {what}{more}")
}

/// A kind of update, measured again and again.
pub(super) struct Kind<'r> {
    /// What is new in it.
    pub(super) what: &'static str,
    pub(super) new: &'r Release,
    /// What it is to move of the image at most, in per cent.
    aim: Option<f64>,
    pub(super) turns: Vec<Turn>,
}

/// An update in which the manager's memory was looked at.
pub(super) struct Looked<'r> {
    pub(super) what: &'static str,
    pub(super) new: &'r Release,
    pub(super) way: Way,
    pub(super) course: Course,
}

pub(super) fn kinds(releases: &Releases) -> [Kind<'_>; 3] {
    let kinds = [
        (NUMBER, &releases.number, None),
        (PROGRAM, &releases.program, Some(PACKAGE_AIM)),
        (KERNEL, &releases.kernel, None),
    ];
    kinds.map(|(what, new, aim)| Kind {
        what,
        new,
        aim,
        turns: Vec::new(),
    })
}

/// The updates in which the manager's memory is looked at.
pub(super) fn to_look_at(releases: &Releases) -> [(&'static str, &Release, Way); 3] {
    [
        (KERNEL, &releases.kernel, Way::File),
        (LARGE, &releases.large, Way::File),
        (LARGE, &releases.large, Way::Web),
    ]
}

/// The whole table.
pub(super) fn all(kinds: &[Kind<'_>], looked: &[Looked<'_>]) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for kind in kinds {
        rows.extend(kind.moved()?);
    }
    for looked in looked.iter().filter(|looked| looked.what == LARGE) {
        rows.extend(looked.moved()?);
    }
    rows.extend(rates(kinds, looked)?);
    for kind in kinds {
        rows.extend(kind.downtime()?);
    }
    rows.extend(memory(looked)?);
    Ok(rows)
}

/// The bytes that are moved, head included, and their share of root and kernel image.
fn moved(what: &str, course: &Course, new: &Release) -> [Row; 2] {
    let moved = course.moved + new.head;
    let name = format!("{}: moved, head included", in_full(what));
    let size = mebibytes(course.size);
    let share = 100.0 * as_f64(moved) / as_f64(course.size);
    [
        match moved < 1 << 20 {
            true => Row::once(name, "KiB", as_f64(moved) / 1024.0),
            false => Row::once(name, "MiB", mebibytes(moved)),
        },
        Row::once(
            format!("that, of root and kernel image ({size:.1} MiB)"),
            "%",
            share,
        ),
    ]
}

/// Where the time of updates goes that are alike.
fn stages(courses: &[&Course]) -> Result<Vec<Row>> {
    let all = |figure: &dyn Fn(&Course) -> Result<f64>| -> Result<Vec<f64>> {
        courses.iter().map(|course| figure(course)).collect()
    };
    let looking = all(&|course| course.until(Stage::Copying))?;
    let mut rows = vec![Row::new(
        "of that, looking for what is there",
        "s",
        looking,
    )?];
    let stages = [
        ("copying that", Stage::Copying, Stage::Moving),
        ("moving the rest", Stage::Moving, Stage::Verifying),
        (
            "hash tree and reading back",
            Stage::Verifying,
            Stage::Installing,
        ),
        ("boot entry", Stage::Installing, Stage::Installed),
    ];
    for (name, from, to) in stages {
        let seconds = all(&|course| course.between(from, to))?;
        rows.push(Row::new(format!("of that, {name}"), "s", seconds)?);
    }
    Ok(rows)
}

/// Bytes that an update writes to the slot, a second of filling and verifying it.
fn rate(course: &Course, new: &Release) -> Result<f64> {
    let seconds = course.between(Stage::Copying, Stage::Installing)?;
    Ok(mebibytes(course.size + new.tree) / seconds)
}

impl Kind<'_> {
    fn of(&self, figure: impl Fn(&Turn) -> Result<f64>) -> Result<Vec<f64>> {
        self.turns.iter().map(figure).collect()
    }

    fn moved(&self) -> Result<Vec<Row>> {
        let turn = self.turns.first().context("nothing was measured")?;
        let [moved, share] = moved(self.what, &turn.course, self.new);
        let share = match self.aim {
            Some(aim) => share.aim(aim),
            None => share,
        };
        let seconds = self.of(|turn| turn.course.until(Stage::Installed))?;
        let installed = Row::new("that, from the command to installed", "s", seconds)?;
        let mut rows = vec![moved, share, installed];
        if self.what == KERNEL {
            let courses: Vec<&Course> = self.turns.iter().map(|turn| &turn.course).collect();
            rows.extend(stages(&courses)?);
        }
        Ok(rows)
    }

    fn downtime(&self) -> Result<[Row; 2]> {
        let down = self.of(|turn| Ok(turn.down))?;
        let plain = self.of(|turn| Ok(turn.plain))?;
        let name = format!("reboot to healthy gate unit, new: {}", self.what);
        Ok([
            Row::new(name, "s", down)?,
            Row::new("the same of a plain reboot after that", "s", plain)?,
        ])
    }
}

impl Looked<'_> {
    fn moved(&self) -> Result<Vec<Row>> {
        let seconds = self.course.until(Stage::Installed)?;
        let installed = format!("that, from the command to installed, {}", self.way);
        let mut rows = Vec::new();
        if self.way == Way::File {
            rows.extend(moved(self.what, &self.course, self.new));
        }
        rows.push(Row::once(installed, "s", seconds));
        rows.extend(stages(&[&self.course])?);
        Ok(rows)
    }
}

/// How fast updates write, beside `dd` to the same disks.
fn rates(kinds: &[Kind<'_>], looked: &[Looked<'_>]) -> Result<Vec<Row>> {
    let all = kinds.iter().flat_map(|kind| &kind.turns);
    let dd: Vec<f64> = all.map(|turn| turn.dd).collect();
    let mut rows = vec![Row::new("dd to the disk, in a second", "MiB/s", dd)?];
    for kind in kinds.iter().filter(|kind| kind.what == KERNEL) {
        let rate = kind.of(|turn| rate(&turn.course, kind.new))?;
        let name = format!("slot filled and verified in a second, new: {}", kind.what);
        rows.push(Row::new(name, "MiB/s", rate)?);
    }
    for looked in looked.iter().filter(|looked| looked.what == LARGE) {
        let rate = rate(&looked.course, looked.new)?;
        let name = format!("the same, new: {}, {}", looked.what, looked.way);
        rows.push(Row::once(name, "MiB/s", rate));
    }
    Ok(rows)
}

/// The manager's memory.
fn memory(looked: &[Looked<'_>]) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for looked in looked {
        let (before, most) = looked.course.memory()?;
        let (what, way) = (looked.what, looked.way);
        rows.extend([
            Row::once(
                format!("manager's memory (PSS) before, {way}, new: {what}"),
                "MiB",
                mebibytes(before),
            ),
            Row::once(
                "the same at its peak (looked at every 200 ms)",
                "MiB",
                mebibytes(most),
            )
            .aim(MEMORY_AIM),
            Row::once(
                "that peak above what it was before",
                "MiB",
                mebibytes(most.saturating_sub(before)),
            )
            .aim(MEMORY_AIM),
        ]);
    }
    Ok(rows)
}
