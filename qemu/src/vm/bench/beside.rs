//! Another host's boots, timed by a command of the user's.

use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

/// A shell command that prints one number: seconds.
pub(super) struct Beside(String);

impl Beside {
    pub(super) fn new(command: String) -> Beside {
        Beside(command)
    }

    /// Runs it once.
    pub(super) fn seconds(&self) -> Result<f64> {
        let output = Command::new("sh")
            .args(["-c", &self.0])
            .stderr(Stdio::inherit())
            .output()
            .context("cannot run sh")?;
        if !output.status.success() {
            bail!("`{}` ended with {}", self.0, output.status);
        }
        let text = String::from_utf8_lossy(&output.stdout);
        match text.trim().parse() {
            Ok(seconds) if f64::is_finite(seconds) && seconds > 0.0 => Ok(seconds),
            _ => bail!(
                "`{}` has to print how many seconds it took and nothing else; it printed {text:?}",
                self.0
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Beside;

    #[test]
    fn one_number_is_taken_and_nothing_else() {
        let run = |command: &str| Beside::new(command.to_owned()).seconds();
        assert_eq!(run("echo 13.80").expect("a number"), 13.8);
        for command in [
            "echo RUN 13.8 s",
            "true",
            "echo -1",
            "echo inf",
            "echo 3; false",
        ] {
            let error = run(command).expect_err(command).to_string();
            assert!(error.contains(command), "{error}");
        }
    }
}
