//! A host that takes updates, by the API's words, and fails where it is told to.

use std::collections::{BTreeSet, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use orlop_bundle::{Head, chunk};
use orlop_control::client::{Blocking, Endpoint};
use orlop_control::types::{
    ApiError, CHUNKS_SIZE_MAX, ErrorBody, HostStatus, InstalledVersion, MissingChunks,
    NOT_RECEIVING, UpdatePhase, UpdatePlan, UpdateStatus, VersionState,
};
use serde::Serialize;
use tempfile::TempDir;
use tokio::net::UnixListener;

/// What becomes of a request with chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing but what should.
    None,
    /// The connection breaks before anything is kept.
    Cut,
    /// The connection breaks when everything is kept.
    AnswerLost,
    /// A new manager knows of no update.
    Forgotten,
    /// It is not able to just now.
    Unavailable,
    /// They are not what the head says.
    Refused,
}

/// A host as it is seen once; none while it is away.
pub(crate) type Sight = Option<(HostStatus, Vec<InstalledVersion>)>;

/// What the host knows, and what it was sent.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) update: UpdateStatus,
    pub(crate) head: Option<Head>,
    pub(crate) no_reboot: bool,
    /// The chunks that it has.
    pub(crate) have: BTreeSet<u32>,
    /// What becomes of the next requests with chunks.
    pub(crate) faults: VecDeque<Fault>,
    /// A head is refused with this.
    pub(crate) refusal: Option<ApiError>,
    /// How long a request with chunks takes.
    pub(crate) pause: Duration,
    /// How the host is seen, the last for good.
    pub(crate) sights: VecDeque<Sight>,
    /// Every request, by method and path.
    pub(crate) requests: Vec<String>,
    /// Every chunk that arrived, in order.
    pub(crate) arrived: Vec<u32>,
    pub(crate) in_flight: usize,
    pub(crate) in_flight_max: usize,
}

pub(crate) struct FakeHost {
    state: Arc<Mutex<State>>,
    socket: PathBuf,
    _dir: TempDir,
}

impl FakeHost {
    pub(crate) fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("api.sock");
        let state = Arc::new(Mutex::new(State::default()));
        state
            .lock()
            .unwrap()
            .sights
            .push_back(sight("1.0", 1, "first"));
        let (listener, served) = (socket.clone(), state.clone());
        let (ready, is_ready) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async move {
                let listener = UnixListener::bind(listener).unwrap();
                ready.send(()).unwrap();
                serve(&listener, &served).await;
            });
        });
        is_ready.recv().unwrap();
        Self {
            state,
            socket,
            _dir: dir,
        }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(crate) fn client(&self) -> Blocking {
        Blocking::new(Endpoint::Unix(self.socket.clone())).unwrap()
    }

    /// What `--host` takes.
    pub(crate) fn address(&self) -> String {
        format!("unix:{}", self.socket.display())
    }
}

/// A host that runs `version` and has it installed as `serial`.
pub(crate) fn sight(version: &str, serial: u64, boot: &str) -> Sight {
    let host = HostStatus {
        version: version.to_owned(),
        serial,
        boot_id: boot.to_owned(),
        ..HostStatus::default()
    };
    Some((host, vec![installed(version, serial, VersionState::Good)]))
}

pub(crate) fn installed(version: &str, serial: u64, state: VersionState) -> InstalledVersion {
    InstalledVersion {
        serial,
        version: version.to_owned(),
        slot: Some("b".to_owned()),
        running: true,
        state,
        tries_left: None,
        file: String::new(),
    }
}

async fn serve(listener: &UnixListener, state: &Arc<Mutex<State>>) {
    while let Ok((stream, _)) = listener.accept().await {
        let state = state.clone();
        tokio::spawn(async move {
            let answer = service_fn(|request| answer(request, state.clone()));
            let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), answer);
            // That the client sees it broken is meant.
            let _ = connection.await;
        });
    }
}

/// Why a connection breaks.
type Break = Box<dyn std::error::Error + Send + Sync>;
type Answer = Result<Response<Full<Bytes>>, Break>;

async fn answer(request: Request<Incoming>, state: Arc<Mutex<State>>) -> Answer {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path().to_owned();
    let query = parts.uri.query().unwrap_or_default().to_owned();
    let method = parts.method;
    let line = format!("{method} {}", parts.uri);
    state.lock().unwrap().requests.push(line);
    let body = body.collect().await?.to_bytes();
    let locked = || state.lock().unwrap();
    match (&method, path.as_str()) {
        (&Method::POST, "/v1/update/head") => locked().take_head(&body, &query),
        (&Method::POST, "/v1/update") => locked().fetch(&query),
        (&Method::POST, "/v1/update/chunks") => {
            let pause = {
                let mut state = locked();
                state.in_flight += 1;
                state.in_flight_max = state.in_flight_max.max(state.in_flight);
                state.pause
            };
            tokio::time::sleep(pause).await;
            let mut state = locked();
            state.in_flight -= 1;
            state.take_chunks(&body)
        }
        (&Method::GET, "/v1/update/missing") => locked().missing(),
        (&Method::GET, "/v1/update") => locked().next_phase(),
        (&Method::DELETE, "/v1/update") => {
            let mut state = locked();
            state.update.phase = UpdatePhase::Failed;
            ok(&state.update)
        }
        (&Method::GET, "/v1/status") => locked().look(),
        (&Method::GET, "/v1/versions") => match locked().sights.front() {
            Some(Some((_, versions))) => ok(versions),
            _ => Err("away".into()),
        },
        (&Method::POST, "/v1/rollback") => ok(&installed("1.0", 1, VersionState::Good)),
        _ => refuse(&ApiError::not_found(path)),
    }
}

fn ok(document: &impl Serialize) -> Answer {
    Ok(Response::new(Full::new(
        serde_json::to_vec(document)?.into(),
    )))
}

fn refuse(error: &ApiError) -> Answer {
    let body = serde_json::to_vec(&ErrorBody::from(error.clone()))?;
    Ok(Response::builder()
        .status(error.status)
        .body(Full::new(body.into()))?)
}

impl State {
    fn lacks(&self) -> Vec<u32> {
        let count = self
            .head
            .as_ref()
            .map_or(0, |it| it.index().entries().len());
        (0..count as u32)
            .filter(|it| !self.have.contains(it))
            .collect()
    }

    /// Bytes of these chunks, compressed.
    fn size_of(&self, numbers: &[u32]) -> u64 {
        let entries = self.head.as_ref().map(|it| it.index().entries());
        let size =
            |number: &u32| u64::from(entries.map_or(0, |it| it[*number as usize].compressed));
        numbers.iter().map(size).sum()
    }

    fn take_head(&mut self, bytes: &Bytes, query: &str) -> Answer {
        if let Some(error) = &self.refusal {
            return refuse(error);
        }
        let head = Head::read(&mut &bytes[..])?;
        assert_eq!(head.encode(), bytes[..], "not the head byte for byte");
        if self.update.phase == UpdatePhase::Receiving && self.head.as_ref() == Some(&head) {
            return ok(&self.update);
        }
        self.update.version = Some(head.manifest().version.clone());
        self.update.source = Some("upload".to_owned());
        self.head = Some(head);
        self.begin(query, UpdatePhase::Surveying)
    }

    fn fetch(&mut self, query: &str) -> Answer {
        self.update.version = Some("2.0".to_owned());
        self.update.source = Some("http://192.0.2.1/demo".to_owned());
        self.begin(query, UpdatePhase::Fetching)
    }

    fn begin(&mut self, query: &str, phase: UpdatePhase) -> Answer {
        self.no_reboot = query.contains("noReboot=true");
        let missing = self.lacks();
        let plan = UpdatePlan {
            size: 8 << 20,
            chunks: (missing.len() + self.have.len()) as u64,
            missing_chunks: missing.len() as u64,
            missing_size: self.size_of(&missing),
        };
        self.update.moved = 0;
        self.update.plan = Some(plan);
        if query.contains("dryRun=true") {
            self.update.phase = UpdatePhase::Idle;
        } else {
            self.update.phase = phase;
        }
        ok(&self.update)
    }

    fn missing(&self) -> Answer {
        match self.update.phase {
            UpdatePhase::Receiving => ok(&MissingChunks {
                chunks: self.lacks(),
            }),
            _ => refuse(&ApiError::new(409, NOT_RECEIVING, "no chunks are received")),
        }
    }

    fn take_chunks(&mut self, body: &[u8]) -> Answer {
        assert!(body.len() <= CHUNKS_SIZE_MAX, "{} bytes", body.len());
        let chunks = self.checked(body);
        self.arrived.extend(&chunks);
        let fault = self.faults.pop_front().unwrap_or(Fault::None);
        match fault {
            Fault::Cut => return Err("cut".into()),
            Fault::Unavailable => return refuse(&ApiError::unavailable("going down")),
            Fault::Refused => return refuse(&ApiError::invalid("chunk 3: another digest")),
            Fault::None | Fault::AnswerLost | Fault::Forgotten => self.have.extend(chunks),
        }
        if fault == Fault::Forgotten {
            self.update = UpdateStatus::default();
        }
        if fault != Fault::None {
            return Err("the answer is lost".into());
        }
        if self.update.phase != UpdatePhase::Receiving {
            return self.missing();
        }
        let lacks = self.lacks();
        let all = self.update.plan.map_or(0, |plan| plan.missing_size);
        self.update.moved = all - self.size_of(&lacks);
        if lacks.is_empty() {
            self.update.phase = UpdatePhase::Verifying;
        }
        ok(&self.update)
    }

    /// The numbers of the chunks in `body`, each of which is what it should be.
    fn checked(&self, mut body: &[u8]) -> Vec<u32> {
        let mut numbers = Vec::new();
        let entries = self.head.as_ref().unwrap().index().entries();
        while let Some((head, rest)) = body.split_first_chunk::<8>() {
            let [number, size] = [0, 4]
                .map(|at| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]));
            let (chunk, rest) = rest.split_at(size as usize);
            chunk::unpack(&entries[number as usize], chunk).unwrap();
            numbers.push(number);
            body = rest;
        }
        assert!(body.is_empty(), "{} bytes too many", body.len());
        numbers
    }

    /// One phase further, where that needs no client.
    fn next_phase(&mut self) -> Answer {
        let update = self.update.clone();
        self.update.phase = match update.phase {
            UpdatePhase::Surveying => UpdatePhase::Receiving,
            UpdatePhase::Fetching => UpdatePhase::Verifying,
            UpdatePhase::Verifying => UpdatePhase::Installing,
            UpdatePhase::Installing if self.no_reboot => UpdatePhase::Installed,
            UpdatePhase::Installing => UpdatePhase::Rebooting,
            other => other,
        };
        ok(&update)
    }

    fn look(&mut self) -> Answer {
        if self.sights.len() > 1 {
            self.sights.pop_front();
        }
        match self.sights.front() {
            Some(Some((host, _))) => ok(host),
            _ => Err("away".into()),
        }
    }
}
