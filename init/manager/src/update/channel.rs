//! The host's channel: looks there for a new version every so often, at times that differ from host
//! to host, and does what the host TOML says with one.
//!
//! A version that failed on this host is never taken from there again; whoever wants it back asks
//! for it by name.

use std::cmp::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use orlop_bundle::compare;
use orlop_control::types::{ApiError, ChannelStatus, InstalledVersion, UpdateQuery, VersionState};
use orlop_unit::{ApplyUpdates, Update};

use super::fetch::{Offer, public};
use super::pending::Origin;
use super::{Updater, aside, chance};

/// The channel; every clone is the same one.
#[derive(Debug, Clone)]
pub(super) struct Channel(Option<Arc<Followed>>);

#[derive(Debug)]
struct Followed {
    url: String,
    check: Duration,
    apply: ApplyUpdates,
    shown: Mutex<Shown>,
}

#[derive(Debug, Default)]
struct Shown {
    checked: Option<Timestamp>,
    next: Option<Instant>,
    found: String,
}

impl Channel {
    pub(super) fn new(update: &Update) -> Channel {
        let followed = |url: &String| {
            Arc::new(Followed {
                url: url.clone(),
                check: update.check,
                apply: update.apply,
                shown: Mutex::default(),
            })
        };
        Channel(update.url.as_ref().map(followed))
    }

    pub(super) fn status(&self) -> Option<ChannelStatus> {
        let followed = self.0.as_ref()?;
        let shown = followed.shown.lock();
        let shown = shown.unwrap_or_else(PoisonError::into_inner);
        let left = |next: Instant| {
            let left = next.saturating_duration_since(Instant::now()).as_millis();
            u64::try_from(left).unwrap_or(u64::MAX)
        };
        Some(ChannelStatus {
            url: public(&followed.url),
            apply: followed.apply.as_str().to_owned(),
            checked: shown.checked,
            next_ms: shown.next.map(left),
            found: shown.found.clone(),
        })
    }
}

impl Followed {
    fn found(&self, found: String) {
        tracing::info!("channel {}: {found}", public(&self.url));
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        shown.checked = Some(Timestamp::now());
        shown.found = found;
    }

    fn next(&self, pause: Duration) {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        shown.next = Some(Instant::now() + pause);
    }
}

/// The pause before a look, of `check` on average from the second on; `chance` is from 0 to 1 and
/// another one on each host. The first comes at any time within the first `check`, so that a fleet
/// that was started together does not ask together.
fn pause(check: Duration, first: bool, chance: f64) -> Duration {
    match first {
        true => check.mul_f64(chance),
        false => check.mul_f64(0.5 + chance),
    }
}

impl Updater {
    /// Looks into the channel, if there is one, for ever.
    pub(super) async fn follow_channel(&self) {
        let Some(followed) = self.0.channel.0.clone() else {
            return;
        };
        let mut first = true;
        loop {
            let pause = pause(followed.check, first, chance());
            first = false;
            followed.next(pause);
            tokio::time::sleep(pause).await;
            if self.ready().is_err() || self.status().phase.is_under_way() {
                continue;
            }
            match self.look_into(&followed).await {
                Ok(Some(found)) | Err(found) => followed.found(found),
                Ok(None) => {}
            }
        }
    }

    /// What is in the channel now, if it is newer than what runs; else what was found is in the
    /// channel's status.
    ///
    /// # Errors
    /// There is no channel; the server.
    pub(super) async fn newer_in_channel(&self) -> Result<Option<Offer>, ApiError> {
        let followed = self.0.channel.0.as_ref().ok_or_else(|| {
            ApiError::invalid("no URL was given, and the host has no channel")
                .with_help("give a file or URL, or the host TOML `[update] url`")
        })?;
        let offer = self.offer(followed.url.clone()).await?;
        let (version, runs) = (&offer.head.manifest().version, self.0.host.version());
        match compare(version, runs) {
            Ordering::Greater => Ok(Some(offer)),
            Ordering::Equal | Ordering::Less => {
                followed.found(format!("version {version} is the newest, and {runs} runs"));
                Ok(None)
            }
        }
    }

    /// Whether a version failed here, by whatever knows of it.
    async fn has_failed(&self, version: &str) -> Result<bool, ApiError> {
        let (disks, _) = self.ready()?;
        let records = disks.records.clone();
        let given_up = aside(move || records.given_up()).await?;
        let trial = &self.0.host.trial;
        let last = trial
            .failed()
            .is_some_and(|failed| failed.version == version);
        let failed = |v: &InstalledVersion| v.version == version && v.state == VersionState::Failed;
        let installed = trial.versions().is_ok_and(|all| all.iter().any(failed));
        Ok(last || installed || given_up.iter().any(|known| known == version))
    }

    /// Looks once; what was found, unless that is told already, or what stood in the way.
    async fn look_into(&self, followed: &Followed) -> Result<Option<String>, String> {
        let about = |error: ApiError| error.message;
        let Some(offer) = self.newer_in_channel().await.map_err(about)? else {
            return Ok(None);
        };
        let version = offer.head.manifest().version.clone();
        let trusted = self.judge(offer.head, false).map_err(about)?;
        if self.has_failed(&version).await.map_err(about)? {
            return Ok(Some(format!(
                "version {version} failed on this host, or was given up by hand, and is not taken again \
                 by itself"
            )));
        }
        let waiting = self.0.host.trial.versions().unwrap_or_default();
        if waiting
            .iter()
            .any(|v| !v.running && v.version == version && v.tries_left.is_some())
        {
            return Ok(Some(format!(
                "version {version} is installed, and starts at the next boot"
            )));
        }
        let no_reboot = match followed.apply {
            ApplyUpdates::Never => return Ok(Some(format!("version {version} is there"))),
            ApplyUpdates::Download => true,
            ApplyUpdates::Auto => false,
        };
        let query = UpdateQuery {
            no_reboot,
            ..UpdateQuery::default()
        };
        let source = offer.source;
        let origin = Origin::Web { source };
        self.start(trusted, origin, query).await.map_err(about)?;
        Ok(Some(format!("version {version} is being installed")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_differ_and_are_of_the_length_that_was_asked_for() {
        let check = Duration::from_secs(100);
        let seconds = |first, chance| pause(check, first, chance).as_secs();
        assert_eq!((seconds(true, 0.0), seconds(true, 1.0)), (0, 100));
        assert_eq!((seconds(false, 0.0), seconds(false, 1.0)), (50, 150));
        for _ in 0..100 {
            assert!((0.0..=1.0).contains(&chance()));
        }
    }
}
