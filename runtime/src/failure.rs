//! A failure of the container's side, as it is told to whoever asked for the process.

use std::fmt;

/// The exit status for what has none of its own.
pub(crate) const OTHER: u8 = 1;
/// The program exists but cannot be executed, as shells have it.
pub(crate) const NOT_EXECUTABLE: u8 = 126;
/// The program does not exist in the container, as shells have it.
pub(crate) const NOT_FOUND: u8 = 127;

/// What went wrong, and the exit status that tells its kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// Never 0.
    pub(crate) status: u8,
    pub(crate) text: String,
}

impl Failure {
    /// The error with its causes in one line, after the step's name if there is one.
    pub(crate) fn new(step: Option<&str>, error: &anyhow::Error) -> Failure {
        Failure {
            status: status(error),
            text: match step {
                Some(step) => format!("{step}: {error:#}"),
                None => format!("{error:#}"),
            },
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Failure {}

/// The exit status that the failure among an error's causes asks for.
pub(crate) fn status(error: &anyhow::Error) -> u8 {
    error
        .chain()
        .find_map(|cause| cause.downcast_ref::<Failure>())
        .map_or(OTHER, |failure| failure.status)
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::{Context, anyhow};

    #[test]
    fn the_status_survives_what_is_said_about_it() {
        let missing = Failure {
            status: NOT_FOUND,
            text: "exec x: no".into(),
        };
        let error = Err::<(), _>(missing).context("outer").unwrap_err();
        assert_eq!(status(&error), NOT_FOUND);
        let told = Failure::new(Some("step"), &error);
        assert_eq!(told.status, NOT_FOUND);
        assert_eq!(told.to_string(), "step: outer: exec x: no");
        let other = Failure::new(None, &anyhow!("cause").context("outer"));
        assert_eq!(other.status, OTHER);
        assert_eq!(other.to_string(), "outer: cause");
    }
}
