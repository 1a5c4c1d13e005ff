//! A host that is looked at while it works: where an update is, how much memory the
//! manager has, when the host goes down and when its containers are well again.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{JoinHandle, sleep};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};
use orlop_control::client::{Blocking, Client, ClientError, Endpoint, Identity, Trust};
use orlop_control::types::{
    EventKind, EventQuery, HealthState, HostStatus, InstalledVersion, UpdateStatus, VersionState,
};
use tokio::time::timeout;

use super::releases::GATE;
use super::stages::Stage;
use crate::guest::{Guest, Operator};
use crate::machine::Config;
use crate::vm::{files, up};

/// How long anything may take.
const LIMIT: Duration = Duration::from_secs(900);
/// How often an update is looked at, and how often with the manager's memory, which costs
/// the host more.
const LOOK: Duration = Duration::from_millis(100);
const LOOK_WITH_MEMORY: Duration = Duration::from_millis(200);
/// How long one look may take before the host counts as gone.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);
/// The same of a host that boots: a packet that comes before its network is up is lost.
const ANSWER_OF_A_BOOT: Duration = Duration::from_secs(2);

/// A booted host.
pub(super) struct Watched {
    guest: Guest,
    endpoint: Endpoint,
}

/// What one look saw.
pub(super) struct Sample {
    pub(super) at: Instant,
    pub(super) update: UpdateStatus,
    /// The manager's, in bytes (PSS), where it was asked for.
    pub(super) memory: Option<u64>,
}

impl Watched {
    /// Boots `disk` as real machines boot, and waits until its units are well and its
    /// version counts as good.
    pub(super) fn boot(disk: &Path, folder: &Path) -> Result<Watched> {
        let operator = files::operator();
        let guest = Guest::boot(Config::new(disk, folder), &operator)?;
        let fingerprint = guest.trust(LIMIT)?;
        let read = |name: &str| {
            let file = operator.join(name);
            std::fs::read_to_string(&file).with_context(|| file.display().to_string())
        };
        let identity = Identity {
            certificate: read("client.crt")?,
            key: read("client.key")?,
        };
        let address = guest.operator().address();
        let (host, port) = address.rsplit_once(':').context("an address has a port")?;
        let trust = Trust::Pin(fingerprint.parse()?);
        let endpoint = Endpoint::tls(host, port.parse()?, &trust, &identity)?;
        let watched = Watched { guest, endpoint };
        watched
            .guest
            .wait_units("healthy units", LIMIT, up::all_healthy)?;
        watched.wait_good()?;
        Ok(watched)
    }

    pub(super) fn operator(&self) -> &Operator {
        self.guest.operator()
    }

    pub(super) fn console_text(&self) -> String {
        self.guest.console_text()
    }

    /// Waits until the version that runs is found good.
    pub(super) fn wait_good(&self) -> Result<()> {
        let deadline = Instant::now() + LIMIT;
        let good =
            |version: &InstalledVersion| version.running && version.state == VersionState::Good;
        loop {
            let versions: Result<Vec<InstalledVersion>> = self.operator().json(&["versions"]);
            match versions {
                Ok(versions) if versions.iter().any(good) => return Ok(()),
                seen if Instant::now() > deadline => bail!(
                    "the version that runs is never found good; last seen: {seen:?}; the console's \
                     end:\n{}",
                    self.guest.console_tail()
                ),
                _ => sleep(Duration::from_millis(500)),
            }
        }
    }

    /// Has the host power off in order.
    pub(super) fn power_off(mut self) -> Result<()> {
        self.guest.power_off(LIMIT)
    }

    fn client(&self) -> Result<Blocking> {
        Ok(Blocking::new(self.endpoint.clone())?)
    }

    /// Looks at the host's update from now on, until it has come to its end.
    pub(super) fn watch(&self, memory: bool) -> Result<Watch> {
        let client = self.client()?;
        let given_up = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&given_up);
        let samples = std::thread::spawn(move || samples(&client, memory, &told));
        Ok(Watch { samples, given_up })
    }

    /// Waits, from now on, for the host to begin to go down, and gives when.
    pub(super) fn going_down(&self) -> Result<JoinHandle<Result<Instant>>> {
        let client = self.client()?;
        let events = client.wait(|client| client.events(EventQuery::default()));
        let mut events = events.context("the host's events")?;
        Ok(std::thread::spawn(move || {
            let gone = async {
                while let Some(record) = events.next().await? {
                    if matches!(record.event.kind, EventKind::Shutdown { .. }) {
                        return Ok(Instant::now());
                    }
                }
                bail!("the host's events ended before it went down")
            };
            client.block_on(async { timeout(LIMIT, gone).await })?
        }))
    }

    /// When the unit that decides became healthy in the boot after the one called `before`, by
    /// this machine's clock, and how the host is then.
    pub(super) fn healthy_after(&self, before: &str) -> Result<(Instant, HostStatus)> {
        let client = self.client()?;
        let deadline = Instant::now() + LIMIT;
        loop {
            let seen =
                client.wait(|client| async { timeout(ANSWER_OF_A_BOOT, client.status()).await });
            match seen {
                Ok(Ok(status)) if status.boot_id != before => break,
                _ if Instant::now() > deadline => bail!(
                    "the host has not come up again; its console's end:\n{}",
                    self.guest.console_tail()
                ),
                _ => sleep(LOOK),
            }
        }
        // Once more: on a connection that is there it takes next to no time.
        let status = client.wait(Client::status)?;
        let now = Instant::now();
        let healthy = client.wait(|client| async { timeout(LIMIT, healthy(client)).await })??;
        let ago = status.time.as_millisecond() - healthy;
        let apart = Duration::from_millis(ago.unsigned_abs());
        let at = match ago < 0 {
            true => now.checked_add(apart),
            false => now.checked_sub(apart),
        };
        Ok((at.context("a clock that is far off")?, status))
    }
}

/// When the unit that decides became healthy, by the host's clock in milliseconds.
async fn healthy(client: &Client) -> Result<i64> {
    let from_the_first = EventQuery { cursor: Some(0) };
    let mut events = client.events(from_the_first).await?;
    while let Some(record) = events.next().await? {
        if let EventKind::UnitHealth { unit, health } = &record.event.kind
            && (unit.as_str(), *health) == (GATE, HealthState::Healthy)
        {
            return Ok(record.event.time.as_millisecond());
        }
    }
    bail!("the host's events ended before {GATE} was healthy")
}

/// Somebody who looks at an update.
pub(super) struct Watch {
    samples: JoinHandle<Result<Vec<Sample>>>,
    given_up: Arc<AtomicBool>,
}

impl Watch {
    /// What was seen, once the update, which `outcome` is of, has come to its end.
    pub(super) fn end<T>(self, outcome: Result<T>) -> Result<Vec<Sample>> {
        if outcome.is_err() {
            self.given_up.store(true, Ordering::Relaxed);
        }
        let samples = self.samples.join();
        outcome?;
        samples.map_err(|_| anyhow!("who watched the update broke off"))?
    }
}

fn samples(client: &Blocking, memory: bool, given_up: &AtomicBool) -> Result<Vec<Sample>> {
    let mut samples: Vec<Sample> = Vec::new();
    let pause = if memory { LOOK_WITH_MEMORY } else { LOOK };
    while !given_up.load(Ordering::Relaxed) {
        let began = Instant::now();
        let seen =
            client.wait(|client| async { timeout(ANSWER_WITHIN, look(client, memory)).await });
        let last = samples.last().map(|sample| Stage::of(&sample.update));
        match seen {
            Ok(Ok(sample)) => {
                let stage = Stage::of(&sample.update);
                samples.push(sample);
                if stage >= Stage::Installed {
                    break;
                }
            }
            // It has gone down between two looks.
            Ok(Err(_)) | Err(_) if last == Some(Stage::Installing) => break,
            Ok(Err(error)) => return Err(error).context("how the update is"),
            Err(_) => bail!("the host did not say in time how the update is"),
        }
        sleep(pause.saturating_sub(began.elapsed()));
    }
    Ok(samples)
}

async fn look(client: &Client, memory: bool) -> Result<Sample, ClientError> {
    let update = client.update_status().await?;
    let at = Instant::now();
    let memory = match memory {
        false => None,
        true => {
            let processes = client.processes().await?.processes;
            let manager = |name: &str| name == "orlop-manager";
            let found = processes.iter().find(|process| manager(&process.name));
            found.and_then(|process| process.memory)
        }
    };
    Ok(Sample { at, update, memory })
}
