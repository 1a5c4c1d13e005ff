//! How long an update is at what.

use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use orlop_control::types::{UpdatePhase, UpdateStatus};

use super::watched::Sample;

/// How far an update is, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    /// The host looks for what it has, or has not begun.
    Surveying,
    /// It knows what it lacks, and puts what it has into its places.
    Copying,
    /// The rest comes.
    Moving,
    /// The hash tree is made, and all is read back.
    Verifying,
    /// The boot partition is written.
    Installing,
    /// It is done.
    Installed,
    /// It came to nothing.
    Failed,
}

impl Stage {
    pub(super) fn of(update: &UpdateStatus) -> Stage {
        match (update.phase, update.plan) {
            (UpdatePhase::Idle | UpdatePhase::Surveying, None) => Stage::Surveying,
            (UpdatePhase::Idle | UpdatePhase::Surveying, Some(_)) => Stage::Copying,
            (UpdatePhase::Fetching | UpdatePhase::Receiving, _) => Stage::Moving,
            (UpdatePhase::Verifying, _) => Stage::Verifying,
            (UpdatePhase::Installing, _) => Stage::Installing,
            (UpdatePhase::Installed | UpdatePhase::Rebooting, _) => Stage::Installed,
            (UpdatePhase::Failed, _) => Stage::Failed,
        }
    }
}

/// What was seen of one update.
pub(super) struct Course {
    began: Instant,
    samples: Vec<Sample>,
    /// Compressed bytes that came, and the bytes of root and kernel image.
    pub(super) moved: u64,
    pub(super) size: u64,
}

impl Course {
    /// Of an update that was asked for when it `began`, and installed.
    pub(super) fn new(began: Instant, samples: Vec<Sample>) -> Result<Course> {
        let last = samples.last().context("the update was not looked at")?;
        if let Some(problem) = &last.update.problem {
            bail!("the update failed: {problem}");
        }
        let plan = last.update.plan.context("the update has no plan")?;
        if last.update.moved != plan.missing_size {
            bail!(
                "{} bytes were moved of {} that were missing",
                last.update.moved,
                plan.missing_size
            );
        }
        Ok(Course {
            began,
            moved: last.update.moved,
            size: plan.size,
            samples,
        })
    }

    /// Seconds from asking for it until it was seen at `stage` or past it.
    pub(super) fn until(&self, stage: Stage) -> Result<f64> {
        let there = |sample: &&Sample| Stage::of(&sample.update) >= stage;
        let seen = self.samples.iter().find(there).or(self.samples.last());
        let seen = seen.context("the update was not looked at")?;
        Ok(seen.at.saturating_duration_since(self.began).as_secs_f64())
    }

    /// Seconds from one stage to another.
    pub(super) fn between(&self, from: Stage, to: Stage) -> Result<f64> {
        Ok(self.until(to)? - self.until(from)?)
    }

    /// The manager's memory in bytes before the update, in the middle, and at the most since.
    pub(super) fn memory(&self) -> Result<(u64, u64)> {
        let of = |before: bool| {
            let samples = self.samples.iter();
            samples
                .filter(move |sample| (sample.at < self.began) == before)
                .filter_map(|sample| sample.memory)
        };
        let mut earlier: Vec<u64> = of(true).collect();
        earlier.sort_unstable();
        let middle = earlier.get(earlier.len() / 2);
        let (Some(before), Some(most)) = (middle, of(false).max()) else {
            bail!("the host did not tell the manager's memory");
        };
        Ok((*before, most))
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use orlop_control::types::{UpdatePhase, UpdatePlan, UpdateStatus};

    use super::{Course, Stage};
    use crate::vm::bench::update::watched::Sample;

    const PLAN: UpdatePlan = UpdatePlan {
        size: 1000,
        chunks: 10,
        missing_chunks: 2,
        missing_size: 70,
    };

    fn sample(at: Instant, phase: UpdatePhase, plan: Option<UpdatePlan>, memory: u64) -> Sample {
        Sample {
            at,
            update: UpdateStatus {
                phase,
                plan,
                moved: 70,
                ..UpdateStatus::default()
            },
            memory: Some(memory),
        }
    }

    #[test]
    fn stages_are_told_apart_and_those_too_short_to_be_seen_take_no_time() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let samples = vec![
            sample(at(0), UpdatePhase::Idle, None, 12),
            sample(at(100), UpdatePhase::Idle, None, 13),
            sample(at(300), UpdatePhase::Surveying, None, 20),
            sample(at(500), UpdatePhase::Surveying, Some(PLAN), 30),
            sample(at(700), UpdatePhase::Verifying, Some(PLAN), 19),
            sample(at(1200), UpdatePhase::Rebooting, Some(PLAN), 15),
        ];
        let course = Course::new(at(200), samples).expect("a course");
        let seconds = |from, to| course.between(from, to).expect("seconds");
        assert!((course.until(Stage::Installed).expect("seconds") - 1.0).abs() < 1e-9);
        assert!((seconds(Stage::Copying, Stage::Moving) - 0.2).abs() < 1e-9);
        assert!(seconds(Stage::Moving, Stage::Verifying).abs() < 1e-9);
        assert!((seconds(Stage::Verifying, Stage::Installing) - 0.5).abs() < 1e-9);
        assert_eq!(course.memory().expect("memory"), (13, 30));
    }

    #[test]
    fn an_update_that_moved_less_than_it_lacked_is_none() {
        let now = Instant::now();
        let mut last = sample(now, UpdatePhase::Installed, Some(PLAN), 1);
        last.update.moved = 69;
        assert!(Course::new(now, vec![last]).is_err());
        let mut failed = sample(now, UpdatePhase::Failed, Some(PLAN), 1);
        failed.update.problem = Some("no room".to_owned());
        assert!(Course::new(now, vec![failed]).is_err());
        assert!(Course::new(now, Vec::new()).is_err());
    }
}
