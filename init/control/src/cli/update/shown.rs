//! How an update is shown while it is under way: a bar on a terminal, else a line for each phase.

use indicatif::{ProgressBar, ProgressStyle};

use super::super::failure::Failure;
use super::text;
use crate::client::{ClientError, UpdateProgress};
use crate::types::{UpdatePhase, UpdatePlan, UpdateStatus};

const MOVING: &str =
    "{msg:9} {wide_bar} {bytes:>10} of {total_bytes:<10} {bytes_per_sec:>12} {eta:>4}";
const WORKING: &str = "{msg}";

/// What was shown last.
pub(super) struct Shown {
    /// It draws on a terminal only.
    bar: ProgressBar,
    moving: ProgressStyle,
    working: ProgressStyle,
    phase: Option<UpdatePhase>,
    plan: Option<UpdatePlan>,
    said: Option<String>,
}

impl Shown {
    pub(super) fn new() -> Result<Self, Failure> {
        let style = |template| {
            ProgressStyle::with_template(template).map_err(|error| Failure::new(error.to_string()))
        };
        Ok(Self {
            bar: ProgressBar::new(0),
            moving: style(MOVING)?,
            working: style(WORKING)?,
            phase: None,
            plan: None,
            said: None,
        })
    }

    /// Says on a terminal what the host is at before it answers.
    pub(super) fn busy(&self, what: &'static str) {
        self.bar.set_style(self.working.clone());
        self.bar.set_message(what);
    }

    pub(super) fn progress(&mut self, progress: UpdateProgress<'_>) {
        match progress {
            UpdateProgress::At(update) => self.at(update),
            UpdateProgress::Interrupted(error) => self.interrupted(error),
        }
    }

    /// Shows how far it is.
    pub(super) fn at(&mut self, update: &UpdateStatus) {
        let began = self.phase.replace(update.phase) != Some(update.phase);
        let new_plan = self.plan != update.plan;
        self.plan = update.plan;
        if began && self.bar.is_hidden() {
            eprintln!("orlop: {}", line(update));
        }
        match (update.phase, &update.plan) {
            (UpdatePhase::Fetching | UpdatePhase::Receiving, Some(plan)) => {
                self.bar.set_message(update.phase.as_str());
                if began {
                    self.bar.set_style(self.moving.clone());
                }
                self.bar.set_length(plan.missing_size);
                // Answers may overtake each other.
                if new_plan || update.moved > self.bar.position() {
                    self.bar.set_position(update.moved);
                }
                if began || new_plan {
                    // What was there before says nothing of the rate.
                    self.bar.reset_eta();
                }
            }
            _ => {
                if began {
                    self.bar.set_style(self.working.clone());
                }
                self.bar.set_message(line(update));
            }
        }
        self.trouble(update.problem.as_deref());
    }

    /// Says that it is tried again, and why.
    pub(super) fn interrupted(&mut self, error: &ClientError) {
        self.trouble(Some(&format!("{error}; trying again")));
    }

    /// Says once why it does not get on.
    fn trouble(&mut self, problem: Option<&str>) {
        if self.said.as_deref() == problem {
            return;
        }
        self.said = problem.map(str::to_owned);
        let Some(problem) = problem else {
            return;
        };
        match self.bar.is_hidden() {
            true => eprintln!("orlop: {problem}"),
            false => self.bar.println(format!("orlop: {problem}")),
        }
    }

    /// Takes the bar away.
    pub(super) fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

/// The line for the beginning of a phase.
fn line(update: &UpdateStatus) -> String {
    let (version, phase) = (text::version(update), update.phase.as_str());
    match (update.phase, &update.plan) {
        (UpdatePhase::Fetching | UpdatePhase::Receiving, Some(plan)) => {
            format!("{version}: {phase} {}", text::to_move(plan))
        }
        _ => format!("{version}: {phase}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phase_is_a_line() {
        let mut update = UpdateStatus {
            phase: UpdatePhase::Surveying,
            version: Some("2.0".to_owned()),
            ..UpdateStatus::default()
        };
        assert_eq!(line(&update), "2.0: looking for what is there");
        update.phase = UpdatePhase::Receiving;
        update.plan = Some(UpdatePlan {
            size: 2 << 20,
            chunks: 4,
            missing_chunks: 2,
            missing_size: 1 << 20,
        });
        assert_eq!(
            line(&update),
            "2.0: receiving 1.0 MiB in 2 of 4 chunks, 50.0 % of the image's 2.0 MiB"
        );
        update.phase = UpdatePhase::Verifying;
        assert_eq!(line(&update), "2.0: verifying");
    }

    #[test]
    fn the_bar_can_be_drawn() {
        let mut shown = Shown::new().unwrap();
        shown.at(&UpdateStatus::default());
        let gone = ClientError::Protocol("gone".to_owned());
        shown.progress(UpdateProgress::Interrupted(&gone));
        assert_eq!(shown.said, Some(format!("{gone}; trying again")));
        shown.clear();
    }
}
