//! How long each boot on a console lasted, by the guest's own clock.
//!
//! A kernel stamps its lines with the seconds since it began, and says so when it restarts, so the
//! last stamp of a boot is its length. What comes before a kernel is not counted, but for the pauses
//! that it announces.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

/// What the firmware says at each start of the machine.
const STARTED: &str = "BdsDxe: starting ";
/// And a kernel that panicked, before it waits.
const PANICKED: (&str, &str) = ("Rebooting in ", " seconds..");
/// And our boot loader, before it waits, and a PID 1 that gives up, whose wait the kernel's later
/// stamps tell of.
const GAVE_UP: (&str, &str) = ("restarting in ", " s");

/// The guest's time from the start of the boot that was `before` boots ago until now: the boot that
/// runs is the last one on `console`, and has run for `now`.
///
/// # Errors
/// There were not so many, or one of those that ended tells no time.
pub fn time_since(console: &str, before: usize, now: Duration) -> Result<Duration> {
    let boots: Vec<&str> = console.split(STARTED).skip(1).collect();
    ensure!(
        boots.len() > before,
        "{} boots on the console, expected {before} and the one that runs",
        boots.len()
    );
    // What the one that runs has said so far may be without any time.
    let ended = boots[boots.len() - 1 - before..boots.len() - 1].iter();
    let lengths = ended.map(|boot| {
        uptime(boot).with_context(|| format!("no line of a boot on the console has a time: {boot}"))
    });
    Ok(lengths.sum::<Result<Duration>>()? + now)
}

fn uptime(boot: &str) -> Option<Duration> {
    let mut last = None;
    let mut pause = Duration::ZERO;
    for line in boot.lines() {
        let announced = |(before, after)| seconds_between(line, before, after);
        match stamp(line) {
            Some(at) => last = last.max(Some(at + announced(PANICKED).unwrap_or_default())),
            None => pause += announced(GAVE_UP).unwrap_or_default(),
        }
    }
    last.or_else(|| Some(pause).filter(|pause| !pause.is_zero()))
}

/// The time at the start of a kernel's line, as in `[    5.093855] reboot: …`.
fn stamp(line: &str) -> Option<Duration> {
    let (time, _) = after_drawing(line)
        .trim_start_matches('\r')
        .strip_prefix('[')?
        .split_once("] ")?;
    let (seconds, micros) = time.trim_start().split_once('.')?;
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !digits(seconds) || !digits(micros) || micros.len() != 6 {
        return None;
    }
    let seconds = Duration::from_secs(seconds.parse().ok()?);
    Some(seconds + Duration::from_micros(micros.parse().ok()?))
}

/// The line without the last thing that drew on the screen, and what stands before that.
fn after_drawing(line: &str) -> &str {
    let Some((_, drawn)) = line.rsplit_once("\u{1b}[") else {
        return line;
    };
    let rest = drawn.trim_start_matches(|c: char| !c.is_ascii_alphabetic());
    rest.get(1..).unwrap_or_default()
}

fn seconds_between(line: &str, before: &str, after: &str) -> Option<Duration> {
    let (_, rest) = line.split_once(before)?;
    let (number, _) = rest.split_once(after)?;
    number.parse().ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_boot_is_as_long_as_its_kernel_says() {
        let restarts = "orlop: root: slot b, vda4\r\n[    5.093855] chaos: quits\r\n\
            orlop: restarting\r\n[   27.097987] reboot: Restarting system\r\n";
        let panics = "[    2.125087] Kernel panic - not syncing\r\n\
            [    2.126000] Rebooting in 10 seconds..\r\n";
        let at_once = "[    2.125087] Rebooting in 0 seconds..\r\n";
        let loader = "orlop: cannot boot: it is damaged\r\norlop: restarting in 5 s\r\n";
        let init = "orlop: cannot boot: no root\r\norlop: restarting in 10 s\r\n\
            [   12.949549] reboot: Restarting system\r\n";
        let runs = "[    4.000001] a\r\n\r[   11.500000] b\r\norlop: web: running (healthy)\r\n";
        // What a screen was drawn with may stand before it.
        let drawn =
            "  web  starting \u{1b}[J\u{1b}[999;1H[   27.097987] reboot: Restarting system\r\n";
        for (boot, millis) in [
            (restarts, 27_097),
            (panics, 12_126),
            (at_once, 2_125),
            (loader, 5_000),
            (init, 12_949),
            (runs, 11_500),
            (drawn, 27_097),
        ] {
            assert_eq!(
                uptime(boot).map(|time| time.as_millis()),
                Some(millis),
                "{boot}"
            );
        }
    }

    #[test]
    fn the_boots_before_are_added_up() {
        let boots = [10, 20, 30, 4].map(|s| format!("BdsDxe: starting A\n[   {s}.000000] x\n"));
        let console = boots.concat();
        for (before, seconds) in [(0, 7), (1, 37), (2, 57), (3, 67)] {
            let time = time_since(&console, before, Duration::from_secs(7));
            assert_eq!(time.expect("a time").as_secs(), seconds);
        }
        let error = time_since(&console, 4, Duration::ZERO).unwrap_err();
        assert!(
            error.to_string().starts_with("4 boots on the console"),
            "{error}"
        );
    }

    #[test]
    fn a_boot_without_a_time_is_told() {
        let console = "BdsDxe: starting A\nBdsDxe: starting B\n";
        let error = time_since(console, 1, Duration::ZERO).unwrap_err();
        assert!(
            error.to_string().starts_with("no line of a boot"),
            "{error}"
        );
        // The one that runs need not.
        let now = Duration::from_secs(3);
        assert_eq!(time_since(console, 0, now).expect("a time"), now);
        for line in [
            "[12] x",
            "[1.5] x",
            "[a.000000] x",
            "[Korlop: x",
            "x [    1.000000] y",
            "",
        ] {
            assert_eq!(stamp(line), None, "{line}");
        }
    }
}
