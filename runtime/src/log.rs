//! What a call writes into the file of `--log`, for whoever called: the one line of a failure, and
//! warnings before it.
//!
//! podman and containerd read it as JSON with the fields that runc writes: `level`, `msg` and
//! `time`. The time is UTC in the form of RFC 3339, worked out here: it needs no time zones.

use std::ffi::OsStr;
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use anyhow::{Result, bail};
use rustix::time::{ClockId, clock_gettime};

/// Form of the lines.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(crate) enum Format {
    Text,
    Json,
}

/// What is told: this, and what is worse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Level {
    Debug,
    Warning,
    Error,
}

/// What --log and --log-format say.
static PLACE: OnceLock<(PathBuf, Format)> = OnceLock::new();

/// What --log-level says.
static LEVEL: OnceLock<Level> = OnceLock::new();

/// The file that --log names: with crun, it may say so before the name.
pub(crate) fn file(place: &Path) -> Result<PathBuf> {
    let text = place.as_os_str().as_encoded_bytes();
    for kind in ["journald:", "syslog:"] {
        if text.starts_with(kind.as_bytes()) {
            bail!(
                "--log {}: not supported by this runtime, which writes to files only; for one \
                 of this name give ./{0}",
                place.display()
            );
        }
    }
    Ok(match text.strip_prefix(b"file:") {
        Some(path) => OsStr::from_bytes(path).into(),
        None => place.to_owned(),
    })
}

/// From here on, this is where the caller looks, and for what.
pub(crate) fn configure(file: Option<PathBuf>, format: Format, level: Level) {
    // Said once, where the command line is read.
    let _ = LEVEL.set(level);
    if let Some(file) = file {
        let _ = PLACE.set((file, format));
    }
}

/// Why the call failed, for those who read it here and not on stderr.
pub(crate) fn error(message: &str) {
    if let Some((path, format)) = PLACE.get() {
        // That it cannot be written is no better told than the message itself.
        let _ = append(path, *format, "error", message);
    }
}

/// What was not as it was asked for, though the call goes on. To stderr only where there is no
/// log: that is often the container's own.
pub(crate) fn warn(message: &str) {
    if LEVEL.get() == Some(&Level::Error) {
        return;
    }
    let line = message.replace('\n', " ");
    let logged = PLACE
        .get()
        .map(|(path, format)| append(path, *format, "warning", &line));
    if !matches!(logged, Some(Ok(()))) {
        // With stderr closed there is nobody to warn.
        let _ = writeln!(std::io::stderr(), "orlop-runtime: warning: {line}");
    }
}

fn append(path: &Path, format: Format, level: &str, message: &str) -> std::io::Result<()> {
    let time = rfc3339(clock_gettime(ClockId::Realtime).tv_sec);
    let mut file = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)?;
    // In one write, so that the lines of two calls do not mix.
    file.write_all(line(format, level, message, &time).as_bytes())
}

fn line(format: Format, level: &str, message: &str, time: &str) -> String {
    match format {
        Format::Text => format!("time={time:?} level={level} msg={message:?}\n"),
        Format::Json => {
            let fields = serde_json::json!({ "level": level, "msg": message, "time": time });
            format!("{fields}\n")
        }
    }
}

/// Seconds since 1970 as a date and time. Years are counted from March on, so that the day a
/// leap year has more is its last one; 400 years are 146,097 days.
pub(crate) fn rfc3339(seconds: i64) -> String {
    let (day, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Days since 1 March of the year 0.
    let day = day + 719_468;
    let (era, day) = (day.div_euclid(146_097), day.rem_euclid(146_097));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    // Months of March to February: 31, 30, 31, 30, 31 days, and again.
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year + i64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (951_868_800, "2000-03-01T00:00:00Z"),
            (1_709_210_096, "2024-02-29T12:34:56Z"),
            (1_735_689_599, "2024-12-31T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (-1, "1969-12-31T23:59:59Z"),
        ] {
            assert_eq!(rfc3339(seconds), expected);
        }
    }

    #[test]
    fn places() {
        for (place, expected) in [
            ("log", "log"),
            ("/a:b/journald:c", "/a:b/journald:c"),
            ("file:/log", "/log"),
            ("file:a:b", "a:b"),
            ("./syslog:x", "./syslog:x"),
        ] {
            assert_eq!(file(Path::new(place)).unwrap(), Path::new(expected));
        }
        for place in ["journald:box", "syslog:"] {
            let error = file(Path::new(place)).unwrap_err().to_string();
            assert!(
                error.starts_with(&format!("--log {place}: not supp")),
                "{error}"
            );
        }
    }

    #[test]
    fn lines() {
        let json = line(Format::Json, "error", "no \"x\"\u{1b}", "T");
        let read: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(read["level"], "error");
        assert_eq!(read["msg"], "no \"x\"\u{1b}");
        assert_eq!(read["time"], "T");
        assert_eq!(json.lines().count(), 1);
        let text = line(Format::Text, "warning", "no \"x\"", "T");
        assert_eq!(text, "time=\"T\" level=warning msg=\"no \\\"x\\\"\"\n");
    }
}
