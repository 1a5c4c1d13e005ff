//! Images as the owner sees them: who uses them, and which nobody can use any
//! more.

use std::collections::BTreeSet;
use std::path::PathBuf;

use orlop_control::types::{ApiError, EventKind, ImageInfo};

use super::owner::{Owner, Report};
use super::state::{Event, State};
use crate::container::image::{Images, Turn};
use crate::handle::Reply;

impl Owner {
    fn users_of(&self) -> impl Fn(&str) -> Vec<String> + '_ {
        |reference| {
            let units = self.units.iter();
            units
                .filter(|(_, entry)| {
                    let names = entry.effective().map(|d| d.unit().container.image.as_str());
                    names.is_some_and(|image| {
                        image == reference || format!("{image}:latest") == reference
                    })
                })
                .map(|(name, _)| name.clone())
                .collect()
        }
    }

    pub(super) fn images(&self) -> Result<Vec<ImageInfo>, ApiError> {
        self.tools.images.list(self.users_of())
    }

    /// Takes long: done in a task, which also answers.
    pub(super) fn load_image(&self, archive: PathBuf, reply: Reply<Vec<ImageInfo>>) {
        let (images, reports) = (self.tools.images.clone(), self.reports.clone());
        tokio::spawn(async move {
            let turn = images.turn().await;
            let work = images.clone();
            // The turn goes with the work: it may last longer than this task.
            let loaded =
                tokio::task::spawn_blocking(move || work.load(&archive).map(|all| (all, turn)));
            let answer = match loaded.await {
                Ok(Ok((references, turn))) => {
                    let report = Report::Loaded(references.clone(), turn);
                    let _ = reports.send(report).await;
                    images.list(|_| Vec::new()).map(|mut all| {
                        all.retain(|image| references.contains(&image.reference));
                        all
                    })
                }
                Ok(Err(error)) => Err(error),
                Err(error) => Err(ApiError::internal(format!("the load ended: {error}"))),
            };
            let _ = reply.send(answer);
        });
    }

    /// Takes note of images that were loaded just now.
    pub(super) fn loaded(&mut self, references: Vec<String>, turn: Turn) {
        for reference in references {
            self.tell(EventKind::ImageLoaded { reference });
        }
        self.collect_images(turn);
        let waits = |state: &State| {
            matches!(
                state,
                State::Backoff { until: _ } | State::Cleaning { next: _ }
            )
        };
        for name in self.names_where(|_, entry| waits(&entry.machine.state)) {
            self.step(&name, Event::Retry);
        }
    }

    /// Deletes images that lost their name to a later one of the same, except
    /// those that containers run from. Until that is done no name may change
    /// its image: a container that is begun meanwhile runs from an image that
    /// has its name now.
    pub(super) fn collect_images(&self, turn: Turn) {
        let Some(in_use) = self.images_in_use() else {
            return;
        };
        let images = self.tools.images.clone();
        tokio::task::spawn_blocking(move || collect(&images, &in_use, turn));
    }

    /// The same, once what interrupted loads left is gone, too: for the start, where it is not waited
    /// for. Deleting takes long on a slow disk, and PID 1 waits for a first answer.
    pub(super) fn sweep_images(&self, turn: Turn) {
        let (images, in_use) = (self.tools.images.clone(), self.images_in_use());
        let reports = self.reports.clone();
        tokio::task::spawn_blocking(move || {
            if let Err(error) = images.sweep() {
                let warning = format!("leftovers of an image load stay: {error}");
                tracing::warn!("{warning}");
                let _ = reports.blocking_send(Report::Warning(warning));
            }
            match in_use {
                Some(in_use) => collect(&images, &in_use, turn),
                None => drop(turn),
            }
        });
    }

    /// The images that containers run from. None when that is not known: the image of a container
    /// that is being made is not yet. It will be the next time: after the next load, or when the next
    /// manager starts.
    fn images_in_use(&self) -> Option<BTreeSet<String>> {
        let containers = self.units.values().filter_map(|e| e.container.as_ref());
        let in_use: BTreeSet<String> = containers.map(|c| c.image_id.clone()).collect();
        (!in_use.contains("")).then_some(in_use)
    }
}

fn collect(images: &Images, in_use: &BTreeSet<String>, turn: Turn) {
    if let Err(error) = images.collect(|id| in_use.contains(id)) {
        tracing::warn!("images that nobody can use stay: {error}");
    }
    drop(turn);
}
