//! The guest's serial console, as the file that QEMU writes.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

/// A serial log that grows while the guest runs.
#[derive(Clone, Debug)]
pub struct Console {
    file: PathBuf,
}

impl Console {
    /// The console that QEMU writes to `file`.
    pub fn new(file: impl Into<PathBuf>) -> Console {
        Console { file: file.into() }
    }

    /// The log's path.
    pub fn path(&self) -> &Path {
        &self.file
    }

    /// All that was printed so far, without terminal control sequences.
    pub fn text(&self) -> String {
        strip_controls(&String::from_utf8_lossy(
            &std::fs::read(&self.file).unwrap_or_default(),
        ))
    }

    /// The last `count` lines.
    pub fn tail(&self, count: usize) -> String {
        let text = self.text();
        let lines: Vec<&str> = text
            .lines()
            .filter(|line| !line.trim().is_empty())
            .collect();
        lines[lines.len().saturating_sub(count)..].join("\n")
    }

    /// Waits until `wanted` stands in the log at least `times` times, and
    /// returns the line of that occurrence.
    ///
    /// # Errors
    ///
    /// After `limit`, with the end of the log.
    pub fn expect_times(&self, wanted: &str, times: usize, limit: Duration) -> Result<String> {
        self.wait_for(&format!("{wanted:?} ({times} times)"), limit, |text| {
            text.lines()
                .filter(|line| line.contains(wanted))
                .nth(times - 1)
                .map(str::to_owned)
        })
    }

    /// Waits until `find` makes something of all that was printed. QEMU
    /// writes letter by letter, so `find` must not take half a word for whole.
    ///
    /// # Errors
    ///
    /// After `limit`, with `what` was wanted and the end of the log.
    pub fn wait_for<T>(
        &self,
        what: &str,
        limit: Duration,
        find: impl Fn(&str) -> Option<T>,
    ) -> Result<T> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(found) = find(&self.text()) {
                return Ok(found);
            }
            if Instant::now() >= deadline {
                bail!(
                    "the console did not show {what} within {} s; its end:\n{}",
                    limit.as_secs(),
                    self.tail(40)
                );
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// [`Console::expect_times`] for one occurrence.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn expect(&self, wanted: &str, limit: Duration) -> Result<String> {
        self.expect_times(wanted, 1, limit)
    }

    /// Empties the log, for the next boot.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn clear(&self) -> Result<()> {
        std::fs::write(&self.file, "")
            .with_context(|| format!("cannot empty {}", self.file.display()))
    }
}

/// Removes ANSI control sequences and carriage returns.
fn strip_controls(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    while let Some(letter) = rest.next() {
        match letter {
            '\x1b' => {
                if rest.next_if_eq(&'[').is_some() {
                    for inner in rest.by_ref() {
                        if ('@'..='~').contains(&inner) {
                            break;
                        }
                    }
                } else {
                    rest.next();
                }
            }
            '\r' => {}
            other => clean.push(other),
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::{Console, strip_controls};
    use std::time::Duration;

    #[test]
    fn control_sequences_are_removed() {
        assert_eq!(
            strip_controls("a\x1b[2J\x1b[1;31mred\x1b[0m\r\nend\x1b7"),
            "ared\nend"
        );
    }

    #[test]
    fn the_nth_occurrence_is_found() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), "up 1\nother\nup 2\n").expect("written");
        let console = Console::new(file.path());
        assert_eq!(
            console
                .expect_times("up", 2, Duration::ZERO)
                .expect("there"),
            "up 2"
        );
        let error = console
            .expect("never", Duration::ZERO)
            .expect_err("not there");
        assert!(error.to_string().contains("up 2"), "{error}");
    }
}
