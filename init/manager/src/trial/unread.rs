//! A boot partition that cannot be read: how long it is waited for, what is told meanwhile, and how a
//! trial ends that can be neither kept nor marked.
//!
//! What is to be done is [`orlop_slot::unread`]'s.

use std::time::Duration;

use orlop_control::types::{FailedUpdate, ShutdownMode};
use orlop_slot::Endless;
use orlop_slot::trial::{Installed, Record};
use orlop_slot::unread::{Unread, unread};

use super::{AGAIN, Case};
use crate::core::now_ms;
use crate::installs::VFAT_PATIENCE;

/// The pause when nothing waits for an answer any more: each look is a complaint of the kernel's.
const SELDOM: Duration = Duration::from_secs(60);

impl Case {
    /// [`Case::look`], again and again until the entries can be read: what is decided depends on
    /// them. None when the machine restarts instead, as the deadline of a trial has passed. `failed`
    /// is what is known by then of how the trial went.
    pub(super) async fn look_for_sure(
        &self,
        record: Option<&Record>,
        failed: Option<&FailedUpdate>,
    ) -> Option<Vec<Installed>> {
        let mut vfat = VFAT_PATIENCE;
        if self.unread(record) == Unread::NoTrial {
            self.shown.set_unread(Some(self.not_yet()));
        }
        loop {
            let problem = match self.look_in_time(record, vfat).await {
                Ok(installed) => {
                    self.shown.set_unread(None);
                    return Some(installed);
                }
                Err(problem) => problem,
            };
            vfat = Duration::ZERO;
            let next = self.unread(record);
            let told = told(&problem, &self.running.version, next);
            self.shown.set_problems(vec![told.clone()]);
            match next {
                Unread::NoTrial | Unread::Stay { .. } => {
                    self.shown.set_unread(Some(told));
                    tokio::time::sleep(SELDOM).await;
                }
                Unread::Wait => tokio::time::sleep(AGAIN.min(self.left())).await,
                Unread::Restart { serial, .. } => {
                    let reason = match failed {
                        Some(failed) => format!("{}; {told}", failed.reason),
                        None => told,
                    };
                    self.end_undecided(serial, failed, reason).await;
                    return None;
                }
            }
        }
    }

    fn unread(&self, record: Option<&Record>) -> Unread {
        let is_over = self.left().is_zero();
        unread(&self.running, self.counted(), record, is_over)
    }

    /// The name that the boot loader gave its entry when it counted this start.
    pub(super) fn counted(&self) -> Option<&str> {
        Some(self.boot.counted.as_str()).filter(|name| !name.is_empty())
    }

    /// What is left until the deadline.
    fn left(&self) -> Duration {
        Duration::from_millis(self.limits.deadline_ms.saturating_sub(now_ms()))
    }

    /// Looks once, and waits for `vfat` at the most where the kernel has none; not past the deadline
    /// of a trial, whether the disk answers or not.
    async fn look_in_time(
        &self,
        record: Option<&Record>,
        vfat: Duration,
    ) -> Result<Vec<Installed>, String> {
        match self.unread(record) {
            Unread::NoTrial | Unread::Stay { .. } => self.try_to_look(record, vfat).await,
            Unread::Wait | Unread::Restart { .. } => {
                let left = self.left();
                let look = self.try_to_look(record, vfat.min(left));
                let looked = tokio::time::timeout(left + AGAIN, look).await;
                looked.unwrap_or_else(|_| {
                    let device = &self.boot.esp;
                    Err(format!(
                        "the EFI system partition {device} cannot be read: it does not answer"
                    ))
                })
            }
        }
    }

    fn not_yet(&self) -> String {
        let (version, device) = (&self.running.version, &self.boot.esp);
        format!(
            "version {version}, which runs, is not on trial, but the EFI system partition {device} \
             has not been read yet; try again in a few seconds"
        )
    }

    /// Writes down why, and restarts: the boot loader has counted this try.
    async fn end_undecided(&self, serial: u32, failed: Option<&FailedUpdate>, reason: String) {
        let report = match failed {
            Some(failed) => FailedUpdate {
                reason,
                ..failed.clone()
            },
            None => FailedUpdate {
                reason,
                ..self.report(serial, &[]).await
            },
        };
        self.put_report(Some(&report));
        self.restart("the trial cannot be decided").await;
    }

    /// Restarts the machine, in order.
    pub(super) async fn restart(&self, why: &str) {
        tracing::warn!("{why}: restarting the machine");
        while let Err(error) = self.handle.shutdown(ShutdownMode::Reboot).await {
            // It goes down already, or the owner is gone and this with it.
            tracing::warn!("a reboot is refused: {error}");
            tokio::time::sleep(AGAIN).await;
        }
    }
}

/// What a person is told of `problem`, by what is to be done about `version`, which runs.
fn told(problem: &str, version: &str, next: Unread) -> String {
    let stays = |why: &str| {
        format!(
            "{problem}; so the trial of version {version} cannot be decided, and the machine is not \
             restarted, as {why}; mend the partition, or write the disk anew"
        )
    };
    match next {
        Unread::NoTrial => format!(
            "{problem}; version {version}, which runs, is not on trial and runs on, but nothing can \
             be installed, nor gone back to, until it can be read: mend the partition, or write the \
             disk anew"
        ),
        Unread::Wait => format!(
            "{problem}; until it can be, the trial of version {version} is not decided, and at its \
             deadline the machine restarts"
        ),
        Unread::Restart { left, .. } => format!(
            "{problem}; so the trial of version {version} could not be decided by its deadline, and \
             the machine was restarted; the boot loader had counted the start, with {left} tries \
             left, and starts another version when none is"
        ),
        Unread::Stay { why } => stays(match why {
            Endless::NoCounter => {
                "its entry has no counter: the same one would be started for ever"
            }
            Endless::NoTries => {
                "its tries are used up and it was started all the same: there is no other"
            }
            Endless::NotCounted => {
                "the boot loader did not count this start: the same entry would be started for ever"
            }
        }),
    }
}

#[cfg(test)]
pub(super) mod tests;
