//! The one handle through which the API and D-Bus see and drive the manager.
//!
//! It only carries questions to the owner task and answers back; it decides
//! nothing and knows no transport. Clones are cheap.

use std::path::PathBuf;

use futures_util::stream::BoxStream;
use orlop_control::types::{
    ApiError, ApplyReport, Desired, Event, EventKind, ExecRequest, HostStatus, ImageInfo,
    InstalledVersion, LastExit, LogLine, LogQuery, ShutdownMode, UnitFile, UnitStatus,
};
use orlop_slot::gate::Watched;
use tokio::sync::{broadcast, mpsc, oneshot};

use crate::exec::{ExecSession, ExecTarget};
use crate::logs::LogSource;
use crate::update::Updater;

/// How many requests may wait for the owner task before callers wait too.
pub const REQUESTS_MAX: usize = 64;

/// How many events a slow reader may lag behind before it loses the oldest.
pub const EVENTS_MAX: usize = 256;

/// Where an answer goes.
pub type Reply<T> = oneshot::Sender<Result<T, ApiError>>;

/// What callers ask of the owner task.
#[derive(Debug)]
pub enum Request {
    /// All units.
    Units(Reply<Vec<UnitStatus>>),
    /// One unit.
    Unit(String, Reply<UnitStatus>),
    /// Make a unit wanted or unwanted.
    SetDesired(String, Desired, Reply<UnitStatus>),
    /// Stop and start a unit.
    Restart(String, Reply<UnitStatus>),
    /// Put unit files into effect together.
    Apply(Vec<UnitFile>, bool, Reply<ApplyReport>),
    /// Take a unit's dropped-in file away.
    Remove(String, Reply<()>),
    /// The host as a whole.
    Status(Reply<HostStatus>),
    /// The installed host images.
    Versions(Reply<Vec<InstalledVersion>>),
    /// How the units are that are to run, for the gate.
    Watched(Reply<Vec<Watched>>),
    /// The images in both stores.
    Images(Reply<Vec<ImageInfo>>),
    /// Take an archive's images into the store.
    LoadImage(PathBuf, Reply<Vec<ImageInfo>>),
    /// Where a unit's log is.
    Logs(String, Reply<LogSource>),
    /// Where a command in a unit's container would run.
    Exec(String, Reply<ExecTarget>),
    /// The exits that are on record for a unit, oldest first.
    Exits(String, Reply<Vec<LastExit>>),
    /// Stop the containers, then the machine.
    Shutdown(ShutdownMode, Reply<()>),
}

/// The manager, as its interfaces see it.
#[derive(Debug, Clone)]
pub struct Handle {
    requests: mpsc::Sender<Request>,
    events: broadcast::Sender<Event>,
    upload_dir: PathBuf,
    updater: Option<Updater>,
}

impl Handle {
    /// A handle and the receiving end for the owner task.
    pub fn new(upload_dir: PathBuf) -> (Handle, mpsc::Receiver<Request>) {
        let (requests, receiver) = mpsc::channel(REQUESTS_MAX);
        let (events, _) = broadcast::channel(EVENTS_MAX);
        (
            Handle {
                requests,
                events,
                upload_dir,
                updater: None,
            },
            receiver,
        )
    }

    /// The same, by which the host image can be updated, too.
    #[must_use]
    pub fn with_updater(self, updater: Updater) -> Handle {
        let updater = Some(updater);
        Handle { updater, ..self }
    }

    /// What updates the host image.
    ///
    /// # Errors
    /// Nothing does.
    pub fn updater(&self) -> Result<&Updater, ApiError> {
        let updater = self.updater.as_ref();
        updater.ok_or_else(|| ApiError::unavailable("this host cannot be updated"))
    }

    /// The sender of what [`Handle::events`] receives; the owner task's.
    pub fn event_sender(&self) -> broadcast::Sender<Event> {
        self.events.clone()
    }

    /// All units, ordered by name.
    pub async fn units(&self) -> Result<Vec<UnitStatus>, ApiError> {
        self.ask(Request::Units).await
    }

    /// One unit.
    pub async fn unit(&self, name: &str) -> Result<UnitStatus, ApiError> {
        self.ask(|reply| Request::Unit(name.to_owned(), reply))
            .await
    }

    /// Makes a unit, and what it requires, wanted; returns once that is recorded.
    pub async fn start(&self, name: &str) -> Result<UnitStatus, ApiError> {
        self.ask(|reply| Request::SetDesired(name.to_owned(), Desired::Started, reply))
            .await
    }

    /// Makes a unit unwanted; returns once that is recorded.
    pub async fn stop(&self, name: &str) -> Result<UnitStatus, ApiError> {
        self.ask(|reply| Request::SetDesired(name.to_owned(), Desired::Stopped, reply))
            .await
    }

    /// Stops a unit if it runs and starts it; returns once that is recorded.
    pub async fn restart(&self, name: &str) -> Result<UnitStatus, ApiError> {
        self.ask(|reply| Request::Restart(name.to_owned(), reply))
            .await
    }

    /// Puts all of the files into effect, lastingly, or none; with `dry_run`
    /// only says what would change.
    pub async fn apply(
        &self,
        files: Vec<UnitFile>,
        dry_run: bool,
    ) -> Result<ApplyReport, ApiError> {
        self.ask(|reply| Request::Apply(files, dry_run, reply))
            .await
    }

    /// Takes a dropped-in unit file away, lastingly.
    pub async fn remove(&self, name: &str) -> Result<(), ApiError> {
        self.ask(|reply| Request::Remove(name.to_owned(), reply))
            .await
    }

    /// The host as a whole.
    pub async fn status(&self) -> Result<HostStatus, ApiError> {
        self.ask(Request::Status).await
    }

    /// The installed host images, the newest first.
    pub async fn versions(&self) -> Result<Vec<InstalledVersion>, ApiError> {
        self.ask(Request::Versions).await
    }

    /// How the units are that are to run, for the gate.
    ///
    /// # Errors
    /// The host goes down.
    pub async fn watched(&self) -> Result<Vec<Watched>, ApiError> {
        self.ask(Request::Watched).await
    }

    /// The images that units can use.
    pub async fn images(&self) -> Result<Vec<ImageInfo>, ApiError> {
        self.ask(Request::Images).await
    }

    /// Takes the images of an OCI archive into the store. The archive stays
    /// where it is; it is the caller's to remove.
    pub async fn load_image(&self, archive: PathBuf) -> Result<Vec<ImageInfo>, ApiError> {
        self.ask(|reply| Request::LoadImage(archive, reply)).await
    }

    /// A directory on the state partition for uploads that are under way.
    pub fn upload_dir(&self) -> PathBuf {
        self.upload_dir.clone()
    }

    /// A unit's log lines. The stream ends at the log's end unless the query
    /// says to follow.
    pub async fn logs(
        &self,
        name: &str,
        query: LogQuery,
    ) -> Result<BoxStream<'static, Result<LogLine, ApiError>>, ApiError> {
        let source = self
            .ask(|reply| Request::Logs(name.to_owned(), reply))
            .await?;
        crate::logs::stream(source, query).await
    }

    /// Runs a command in a unit's container.
    pub async fn exec(&self, name: &str, request: ExecRequest) -> Result<ExecSession, ApiError> {
        let target = self
            .ask(|reply| Request::Exec(name.to_owned(), reply))
            .await?;
        crate::exec::start(target, request).await
    }

    /// The exits on record for a unit, oldest first: each exactly once.
    pub async fn exits(&self, name: &str) -> Result<Vec<LastExit>, ApiError> {
        self.ask(|reply| Request::Exits(name.to_owned(), reply))
            .await
    }

    /// What happens from now on. A receiver that lags is told how much it lost.
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }

    /// Tells who follows the events that this happened; nobody listening is no
    /// error.
    pub fn tell(&self, kind: EventKind) {
        let time = jiff::Timestamp::now();
        let _ = self.events.send(Event { time, kind });
    }

    /// Stops the containers and then the machine; returns once that has begun.
    pub async fn shutdown(&self, mode: ShutdownMode) -> Result<(), ApiError> {
        self.ask(|reply| Request::Shutdown(mode, reply)).await
    }

    async fn ask<T>(&self, request: impl FnOnce(Reply<T>) -> Request) -> Result<T, ApiError> {
        let (reply, answer) = oneshot::channel();
        let gone = || {
            ApiError::unavailable("the manager is going down")
                .with_help("try again in a few seconds")
        };
        self.requests
            .send(request(reply))
            .await
            .map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}
