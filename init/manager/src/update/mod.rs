//! Updates the host image: takes a bundle from a web server or a client, writes what it holds into
//! the slot that does not run, and makes that bootable, on trial.
//!
//! ```text
//! head -> trusted? wanted? -> on record -> survey -> STEPS of orlop_slot::install -> reboot
//! ```
//!
//! One update is under way at a time. All of it may be interrupted anywhere: what is on record is
//! begun again by the next manager, and finds what has come in its places. What is written in which
//! order, and why, is `orlop_slot`'s; whether a bundle is to be believed, `orlop_bundle`'s.

mod api_error;
mod cancel;
mod channel;
mod end;
mod error;
mod failure;
mod fetch;
mod job;
mod joined;
mod pending;
mod places;
mod progress;
mod resume;
mod section;
mod stop;
mod survey;
mod target;
#[cfg(test)]
mod tests;
mod unflushed;
mod upload;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use orlop_bundle::{Digest, Head, Running as Version, Trusted, refusal};
use orlop_control::types::{ApiError, InstalledVersion, UpdateQuery, UpdateStatus};
use orlop_slot::trial::Running;

use crate::handle::Handle;
use crate::host::Host;
use crate::installs::{Before, Records};
use crate::paths::Paths;
use crate::trial;
use channel::Channel;
use error::UpdateError;
use fetch::{Http, Offer, Patience};
use job::{Disks, Job};
use pending::{Origin, Pending, PendingFiles};
use progress::Progress;
use stop::Stop;
use target::Target;

/// How many servers may be asked for a bundle's head at once.
const OFFERS_MAX: usize = 2;

/// The updater; every clone is the same one.
#[derive(Debug, Clone)]
pub struct Updater(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    handle: Handle,
    host: Host,
    paths: Paths,
    /// Or why this host cannot be updated.
    disks: Result<(Disks, Running), String>,
    pending: PendingFiles,
    progress: Progress,
    channel: Channel,
    patience: Patience,
    /// Whoever begins something has this until it is under way.
    begins: tokio::sync::Mutex<()>,
    offers: tokio::sync::Semaphore,
    /// Whoever changes what is on record of `current` has this, from reading to writing.
    changes: Mutex<()>,
    current: Mutex<Option<Current>>,
}

/// The update that is under way.
#[derive(Debug, Clone)]
struct Current {
    target: Arc<Target>,
    stop: Stop,
    http: Http,
    pending: Pending,
}

impl Updater {
    /// The updater of `host`, which has nothing to do yet.
    pub fn new(handle: Handle, host: &Host, paths: &Paths) -> Updater {
        let disks = disks(host, paths);
        Updater::with(handle, host, paths, disks, Patience::default())
    }

    fn with(
        handle: Handle,
        host: &Host,
        paths: &Paths,
        disks: Result<(Disks, Running), String>,
        patience: Patience,
    ) -> Updater {
        let pending = PendingFiles::new(paths.update());
        let progress = Progress::default();
        if let Some(failure) = pending.failure() {
            progress.failed(&failure);
        }
        Updater(Arc::new(Inner {
            handle,
            host: host.clone(),
            disks,
            pending,
            progress,
            channel: Channel::new(&host.config.update),
            current: Mutex::default(),
            changes: Mutex::default(),
            paths: paths.clone(),
            patience,
            begins: tokio::sync::Mutex::default(),
            offers: tokio::sync::Semaphore::new(OFFERS_MAX),
        }))
    }

    /// Goes on with what is on record, and looks for new versions where the host is to. Never ends.
    pub async fn run(self) {
        self.resume().await;
        self.follow_channel().await;
    }

    /// How the update is that is under way, or was the last.
    pub fn status(&self) -> UpdateStatus {
        let mut status = self.0.progress.status(Instant::now());
        if let Some(current) = &*self.current() {
            status.moved = current.target.moved();
        }
        status.channel = self.0.channel.status();
        status
    }

    /// Updates to what is at `url`, or in the host's channel. The bundle's head is fetched and judged
    /// before this returns, unless it is a dry run, and all the rest is done after it.
    ///
    /// # Errors
    /// The server, the bundle, or the host is not fit for it; another update is under way.
    pub async fn begin(
        &self,
        url: Option<String>,
        query: UpdateQuery,
    ) -> Result<UpdateStatus, ApiError> {
        self.ready()?;
        let offer = match url {
            Some(url) => self.offer(url).await?,
            None => match self.newer_in_channel().await? {
                Some(offer) => offer,
                None => {
                    return Ok(UpdateStatus {
                        channel: self.0.channel.status(),
                        ..UpdateStatus::default()
                    });
                }
            },
        };
        let trusted = self.judge(offer.head, query.allow_downgrade)?;
        let source = offer.source;
        self.start(trusted, Origin::Web { source }, query).await
    }

    async fn offer(&self, url: String) -> Result<Offer, ApiError> {
        let _turn = self.0.offers.try_acquire().map_err(|_| {
            ApiError::new(429, "busy", "other bundles are being looked at")
                .with_help("try again in a minute")
        })?;
        let http = self.http()?;
        let name = self.0.host.config.name.clone();
        let fetched = aside(move || Offer::fetch(&http, &url, &name)).await?;
        fetched.map_err(|error| UpdateError::Fetch(error).into())
    }

    fn http(&self) -> Result<Http, ApiError> {
        let ca = self.0.host.update_ca();
        let ca = ca.map_err(|problem| ApiError::conflict(format!("[update] ca: {problem}")))?;
        let resolv_conf = self.0.paths.resolv_conf();
        Ok(Http::new(resolv_conf, ca.as_deref(), self.0.patience))
    }

    fn current(&self) -> MutexGuard<'_, Option<Current>> {
        let current = self.0.current.lock();
        current.unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the host can be updated now.
    fn ready(&self) -> Result<&(Disks, Running), ApiError> {
        let disks = self.0.disks.as_ref();
        let disks = disks.map_err(|problem| ApiError::conflict(problem.clone()))?;
        let trial = &self.0.host.trial;
        if trial.is_settled() {
            return Ok(disks);
        }
        if let Some(problem) = trial.unread() {
            return Err(ApiError::conflict(problem));
        }
        let version = self.0.host.version();
        let message = format!("version {version}, which runs, has not passed its trial yet");
        Err(ApiError::conflict(message)
            .with_help("wait until it is decided: `orlop status` tells what it waits for"))
    }

    /// Whether `head` can be believed, and is wanted.
    fn judge(&self, head: Head, allow_downgrade: bool) -> Result<Trusted, ApiError> {
        let config = &self.0.host.config;
        let trusted = head
            .verify(&config.name, &config.update.keys)
            .map_err(api_error::untrusted)?;
        let version = Version {
            version: self.0.host.version(),
            allow_downgrade,
        };
        match refusal(&trusted, version) {
            None => Ok(trusted),
            Some(refusal) => Err(api_error::unwanted(&refusal)),
        }
    }

    /// Begins an update to what a head tells of that is believed and wanted, or joins the one that is under way.
    async fn start(
        &self,
        trusted: Trusted,
        origin: Origin,
        query: UpdateQuery,
    ) -> Result<UpdateStatus, ApiError> {
        let head = Arc::new(trusted.into_head());
        let digest = Digest::of(&head.encode());
        let _turn = self.0.begins.lock().await;
        let current = self.current().clone();
        if let Some(current) = current {
            return match current.pending.head == digest && current.pending.origin.is_like(&origin) {
                true => self.join(query).await,
                false => Err(api_error::another(&self.status())),
            };
        }
        if query.dry_run {
            return self.plan(head, &origin).await;
        }
        let pending = Pending::new(origin, query.allow_downgrade, query.no_reboot, digest);
        let target = self.open(Arc::clone(&head)).await?;
        let (files, asked) = (self.0.pending.clone(), pending.clone());
        let put = aside(move || files.put(&asked, &head)).await?;
        put.map_err(|error| api_error::record(&error))?;
        if let Err(error) = self.go(pending, target) {
            // What is refused is not begun by the next manager.
            self.forget(None).await;
            return Err(error);
        }
        Ok(self.status())
    }

    /// The slot that an update goes to.
    async fn open(&self, head: Arc<Head>) -> Result<Target, ApiError> {
        let (disks, _) = self.ready()?.clone();
        Ok(aside(move || Target::open(head, &disks.root, &disks.verity)).await??)
    }

    /// What an update would move; nothing is changed.
    async fn plan(&self, head: Arc<Head>, origin: &Origin) -> Result<UpdateStatus, ApiError> {
        let (disks, running) = self.ready()?.clone();
        let version = head.manifest().version.clone();
        let plan = aside(move || {
            let target = Target::open(head, &disks.root, &disks.verity)?;
            job::plan(&disks, &running, &target, &Stop::default())
        });
        Ok(UpdateStatus {
            version: Some(version),
            source: Some(shown(origin)),
            plan: Some(plan.await??),
            ..UpdateStatus::default()
        })
    }

    /// Does what is on record, in the background. None is under way yet.
    fn go(&self, pending: Pending, target: Target) -> Result<(), ApiError> {
        let (disks, running) = self.ready()?.clone();
        let version = target.head().manifest().version.clone();
        let http = match &pending.origin {
            Origin::Web { .. } => self.http()?,
            Origin::Upload => Http::new(self.0.paths.resolv_conf(), None, self.0.patience),
        };
        let current = Current {
            target: Arc::new(target),
            stop: Stop::default(),
            http,
            pending: pending.clone(),
        };
        self.0.progress.begin(&version, &shown(&pending.origin));
        let job = Job {
            disks,
            running,
            origin: pending.origin,
            http: current.http.clone(),
            target: Arc::clone(&current.target),
            stop: current.stop.clone(),
            progress: self.0.progress.clone(),
            found: Box::new({
                let updater = self.clone();
                move |plan| updater.found(plan)
            }),
        };
        *self.current() = Some(current);
        let updater = self.clone();
        tokio::spawn(async move {
            let ended = aside(move || job.run()).await;
            updater.ended(ended).await;
        });
        Ok(())
    }

    /// Goes back to the other installed version, which is good: the one that runs is given up, and
    /// the host reboots.
    ///
    /// # Errors
    /// There is none, or it is not whole; an update or a trial is under way.
    pub async fn roll_back(&self) -> Result<InstalledVersion, ApiError> {
        self.ready()?;
        let _turn = self.0.begins.lock().await;
        if self.current().is_some() {
            return Err(api_error::another(&self.status()));
        }
        let back = trial::roll_back(&self.0.handle, &self.0.host, &self.0.paths).await?;
        // Whoever goes back wants nothing that was asked for before.
        self.forget(None).await;
        Ok(back)
    }
}

fn shown(origin: &Origin) -> String {
    match origin {
        Origin::Web { source } => source.shown(),
        Origin::Upload => "upload".to_owned(),
    }
}

/// Where this host keeps what an update is made of, or why it has no such places.
fn disks(host: &Host, paths: &Paths) -> Result<(Disks, Running), String> {
    let boot = host.boot.as_ref();
    let boot = boot.ok_or("PID 1 left no report of the boot, so the other slot is not known")?;
    let other = boot.other.as_ref();
    let other =
        other.ok_or("the root's disk has no other slot: expected partitions root-b, verity-b")?;
    let running_root = running_root().map_err(|error| {
        format!("the device of the root that runs cannot be found, in /sys/dev/block: {error}")
    })?;
    let disks = Disks {
        running_root,
        root: PathBuf::from(&other.root),
        verity: PathBuf::from(&other.verity),
        esp: host.esp.clone(),
        records: Records::new(paths.update()),
        before: Before::new(&paths.update()),
        etc: paths.etc(),
        image: host.config.clone(),
    };
    Ok((disks, host.running(boot)))
}

/// The device that the root is mounted from: verity checks what is read of it, and it is as long as
/// the root.
fn running_root() -> std::io::Result<PathBuf> {
    let device = rustix::fs::stat("/")?.st_dev;
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let uevent = std::fs::read_to_string(format!("/sys/dev/block/{major}:{minor}/uevent"))?;
    let name = uevent
        .lines()
        .find_map(|line| line.strip_prefix("DEVNAME="));
    let name = name.ok_or_else(|| std::io::Error::other("it has no name"))?;
    Ok(PathBuf::from("/dev").join(name))
}

/// A number from 0 to 1.
fn chance() -> f64 {
    let mut bytes = [0; 4];
    // Without chance all ask at once, which is no reason not to ask.
    let _ = getrandom::fill(&mut bytes);
    f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX)
}

/// Does what may wait for disks and servers on a thread of its own.
async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ApiError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|_| ApiError::internal("the work broke off"))
}
