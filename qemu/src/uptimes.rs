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

/// The lengths of the boots on `console` that firmware began, oldest first. The last one may still
/// run: then it is as long as its last line tells.
///
/// # Errors
/// One of them tells no time.
pub fn uptimes(console: &str) -> Result<Vec<Duration>> {
    let boots = console.split(STARTED).skip(1).zip(1..);
    boots
        .map(|(boot, number)| {
            uptime(boot).with_context(|| {
                format!("boot {number} on the console has no line with a time: {boot}")
            })
        })
        .collect()
}

/// The guest's time from the start of the boot that was `before` boots ago until now: the boot that
/// runs is the last one on `console`, and has run for `now`.
///
/// # Errors
/// There were not so many, or one tells no time.
pub fn time_since(console: &str, before: usize, now: Duration) -> Result<Duration> {
    let boots = uptimes(console)?;
    ensure!(
        boots.len() > before,
        "{} boots on the console, expected {before} and the one that runs",
        boots.len()
    );
    let past = boots.iter().rev().skip(1).take(before);
    Ok(past.sum::<Duration>() + now)
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
    let (time, _) = line
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

fn seconds_between(line: &str, before: &str, after: &str) -> Option<Duration> {
    let (_, rest) = line.split_once(before)?;
    let (number, _) = rest.split_once(after)?;
    number.parse().ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(console: &str) -> Vec<u128> {
        let all = uptimes(console).expect("times");
        all.iter().map(Duration::as_millis).collect()
    }

    #[test]
    fn each_boot_is_as_long_as_its_kernel_says() {
        let start = "BdsDxe: loading Boot0001\r\nBdsDxe: starting Boot0001 \"UEFI\"\r\n";
        let restarts = "orlop: root: slot b, vda4\r\n[    5.093855] chaos: quits\r\n\
            orlop: restarting\r\n[   27.097987] reboot: Restarting system\r\n";
        let panics = "[    2.125087] Kernel panic - not syncing\r\n\
            [    2.126000] Rebooting in 10 seconds..\r\n";
        let at_once = "[    2.125087] Rebooting in 0 seconds..\r\n";
        let loader = "orlop: cannot boot: it is damaged\r\norlop: restarting in 5 s\r\n";
        let init = "orlop: cannot boot: no root\r\norlop: restarting in 10 s\r\n\
            [   12.949549] reboot: Restarting system\r\n";
        let runs = "[    4.000001] a\r\n\r[   11.500000] b\r\norlop: web: running (healthy)\r\n";
        let console: String = [restarts, panics, at_once, loader, init, runs]
            .map(|boot| format!("{start}{boot}"))
            .concat();
        assert_eq!(
            millis(&console),
            [27_097, 12_126, 2_125, 5_000, 12_949, 11_500]
        );
        assert_eq!(millis("[    1.000000] no firmware\n"), Vec::<u128>::new());
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
        let error = uptimes("BdsDxe: starting A\nBdsDxe: starting B\n[1.000000] x\n").unwrap_err();
        assert!(error.to_string().starts_with("boot 1 "), "{error}");
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
