//! What is told of an install that failed. All of it is bounded.

use std::time::Duration;

use futures_util::StreamExt;
use orlop_control::types::{FailedUnit, FailedUpdate, LogQuery};
use orlop_slot::gate::Blame;

use super::Case;
use crate::core::now_ms;

/// The most units that are told of.
const UNITS_MAX: usize = 8;
/// The last lines of each.
const LINES: u64 = 20;
/// The characters of a line or a reason.
const CHARS_MAX: usize = 400;
/// How long reading a unit's log may take: what it wrote is not worth a hung trial.
const PATIENCE: Duration = Duration::from_secs(5);

/// A unit and what is wrong with it, on one line.
pub(super) fn line(blame: &Blame) -> String {
    cut(&format!("{}: {}", blame.unit, blame.reason))
}

fn cut(text: &str) -> String {
    text.chars().take(CHARS_MAX).collect()
}

/// Why a trial failed, in a sentence.
fn sentence(blames: &[Blame]) -> String {
    let mut parts: Vec<String> = blames.iter().take(UNITS_MAX).map(line).collect();
    match blames.len().saturating_sub(UNITS_MAX) {
        0 => {}
        more => parts.push(format!("and {more} more units")),
    }
    match parts.is_empty() {
        // The deadline is so short that nobody could settle.
        true => "its units had no time to settle".to_owned(),
        false => parts.join("; "),
    }
}

impl Case {
    /// What is to be kept of the trial that failed for `blames`.
    pub(super) async fn report(&self, serial: u32, blames: &[Blame]) -> FailedUpdate {
        let mut units = Vec::new();
        for blame in blames.iter().take(UNITS_MAX) {
            let log = tokio::time::timeout(PATIENCE, self.last_lines(&blame.unit)).await;
            units.push(FailedUnit {
                unit: blame.unit.clone(),
                reason: cut(&blame.reason),
                log: log.unwrap_or_default(),
            });
        }
        FailedUpdate {
            version: self.running.version.clone(),
            serial: serial.into(),
            reason: sentence(blames),
            at: jiff::Timestamp::now(),
            boot_id: self.boot.boot_id.clone(),
            units,
        }
    }

    /// What a unit wrote last in this boot: what it wrote on another version says nothing of this
    /// one.
    async fn last_lines(&self, unit: &str) -> Vec<String> {
        let up = Duration::from_millis(now_ms());
        let query = LogQuery {
            tail: Some(LINES),
            since: jiff::Timestamp::now().checked_sub(up).ok(),
            ..LogQuery::default()
        };
        let Ok(lines) = self.handle.logs(unit, query).await else {
            return Vec::new();
        };
        let lines = lines.filter_map(|line| async move { line.ok() });
        let lines = lines.map(|line| cut(&line.line));
        lines.take(LINES as usize).collect().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_is_bounded() {
        let blame = |unit: usize| Blame {
            unit: format!("u{unit}"),
            reason: "x".repeat(1000),
        };
        let text = sentence(&(0..20).map(blame).collect::<Vec<_>>());
        assert!(text.starts_with("u0: xxx") && text.ends_with("and 12 more units"));
        assert!(text.len() < UNITS_MAX * (CHARS_MAX + 2) + 40);
        assert!(sentence(&[]).contains("no time"));
    }
}
