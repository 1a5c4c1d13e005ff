//! The API as clients see it, over a manager that only answers.

mod exec;
mod hostile;
mod routes;
mod streams;
mod tls;

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use orlop_control::client::{Client, Endpoint};
use orlop_control::pki::files;
use orlop_control::types::{
    ApiError, ApplyReport, Desired, Diagnostic, Event, HostStatus, ImageInfo, UnitState, UnitStatus,
};
use tempfile::TempDir;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{broadcast, mpsc, watch};

use super::{ApiConfig, Server, serve};
use crate::exec::ExecTarget;
use crate::handle::{Handle, Request};

/// A served API over a manager with one unit, `web`.
pub(crate) struct Fixture {
    pub(crate) dir: TempDir,
    pub(crate) server: Server,
    pub(crate) events: broadcast::Sender<Event>,
}

impl Fixture {
    pub(crate) async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (handle, events) = handle(dir.path());
        let pki = dir.path().join("pki");
        files::init(&pki, &["localhost".into()], Timestamp::now()).unwrap();
        let config = ApiConfig {
            unix_path: dir.path().join("api.sock"),
            listen: Some("127.0.0.1:0".parse().unwrap()),
            client_ca_pem: Ok(Some(files::read_text(&pki.join("ca.crt")).unwrap())),
            state_dir: dir.path().join("state"),
            host_name: "demo".into(),
        };
        let server = serve(handle.clone(), handle.events(), config)
            .await
            .unwrap();
        assert!(server.problem.is_none(), "{:?}", server.problem);
        Self {
            dir,
            server,
            events,
        }
    }

    pub(crate) fn pki(&self) -> PathBuf {
        self.dir.path().join("pki")
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.path().join("api.sock")
    }

    pub(crate) fn local(&self) -> Client {
        Client::new(Endpoint::Unix(self.socket()))
    }

    /// A client over a link that can be cut.
    pub(crate) fn over_a_link(&self) -> (Client, Link) {
        let (path, host) = (self.dir.path().join("link.sock"), self.socket());
        let listener = UnixListener::bind(&path).unwrap();
        let link = Link(watch::Sender::new(0));
        let cut = link.0.subscribe();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let host = UnixStream::connect(&host).await.unwrap();
                tokio::spawn(carry(client, host, cut.clone()));
            }
        });
        (Client::new(Endpoint::Unix(path)), link)
    }
}

/// A network between a client and its host.
pub(crate) struct Link(watch::Sender<u32>);

impl Link {
    /// From now on nothing comes through on the connections that there are; none
    /// of their ends is told.
    pub(crate) fn cut(&self) {
        self.0.send_modify(|cuts| *cuts += 1);
    }
}

async fn carry(mut client: UnixStream, mut host: UnixStream, mut cut: watch::Receiver<u32>) {
    cut.mark_unchanged();
    tokio::select! {
        _ = tokio::io::copy_bidirectional(&mut client, &mut host) => {}
        _ = cut.changed() => std::future::pending().await,
    }
}

/// A manager that only answers.
pub(crate) fn handle(dir: &Path) -> (Handle, broadcast::Sender<Event>) {
    let (handle, requests) = Handle::new(dir.join("uploads"));
    let events = handle.event_sender();
    tokio::spawn(answer(requests, runtime(dir), dir.to_owned()));
    (handle, events)
}

/// A runtime whose `exec` runs the command right here.
pub(crate) fn runtime(dir: &Path) -> PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let path = dir.join("runtime");
    let script = r#"#!/bin/sh
while [ "$1" != -- ]; do
  case "$1" in
    --pid-file) pid=$2 ;;
    --log) log=$2 ;;
  esac
  shift
done
shift 2
if ! command -v "$1" >/dev/null; then
  echo "{\"level\":\"error\",\"msg\":\"exec $1: no such file\"}" >"$log"
  exit 127
fi
echo $$ >"$pid.new"
mv "$pid.new" "$pid"
exec setsid "$@"
"#;
    std::fs::write(&path, script).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

pub(crate) fn unit(name: &str, state: UnitState) -> UnitStatus {
    UnitStatus {
        name: name.to_owned(),
        description: "Shop front".to_owned(),
        desired: Desired::Started,
        state,
        health: None,
        reason: (state != UnitState::Running).then(|| "stopped by an operator".to_owned()),
        diagnostics: Vec::new(),
        image: "localhost/demo:1".to_owned(),
        pid: Some(42),
        container_id: None,
        address: Some([10, 89, 0, 2].into()),
        ports: Vec::new(),
        started_at: None,
        restarts: 0,
        retry_at: None,
        last_exit: None,
        enabled: true,
        source: String::new(),
    }
}

fn named(name: &str, state: UnitState) -> Result<UnitStatus, ApiError> {
    if name == "web" {
        Ok(unit(name, state))
    } else {
        Err(ApiError::unit_not_found(name))
    }
}

async fn answer(mut requests: mpsc::Receiver<Request>, runtime: PathBuf, dir: PathBuf) {
    let mut state = UnitState::Running;
    while let Some(request) = requests.recv().await {
        // A caller that has left wants no answer.
        match request {
            Request::Units(reply) => drop(reply.send(Ok(vec![unit("web", state)]))),
            Request::Unit(name, reply) => drop(reply.send(named(&name, state))),
            Request::SetDesired(name, desired, reply) => {
                if name == "web" {
                    state = match desired {
                        Desired::Started => UnitState::Running,
                        Desired::Stopped => UnitState::Stopped,
                    };
                }
                drop(reply.send(named(&name, state)));
            }
            Request::Restart(name, reply) => drop(reply.send(named(&name, state))),
            Request::Apply(files, dry_run, reply) => drop(reply.send(
                match files.iter().find(|file| file.content.is_empty()) {
                    None => Ok(ApplyReport {
                        dry_run,
                        ..Default::default()
                    }),
                    Some(file) => Err(ApiError::rejected(vec![Diagnostic {
                        file: format!("{}.toml", file.name),
                        line: 1,
                        column: 1,
                        message: "the file is empty".into(),
                        help: None,
                    }])),
                },
            )),
            Request::Remove(name, reply) => {
                drop(reply.send(named(&name, state).map(drop)));
            }
            Request::Status(reply) => drop(reply.send(Ok(HostStatus {
                name: "demo".into(),
                version: "1.0.0".into(),
                ..Default::default()
            }))),
            Request::Versions(reply) => drop(reply.send(Ok(Vec::new()))),
            Request::Watched(reply) => drop(reply.send(Ok(Vec::new()))),
            Request::Images(reply) => drop(reply.send(Ok(Vec::new()))),
            Request::LoadImage(path, reply) => drop(reply.send(load(&path))),
            Request::Logs(name, reply) => {
                drop(reply.send(Err(ApiError::unit_not_found(&name))));
            }
            Request::Exec(_, reply) => drop(reply.send(Ok(ExecTarget {
                runtime: runtime.clone(),
                runtime_root: dir.clone(),
                container_id: "web".into(),
                rootfs: dir.clone(),
                scratch: dir.clone(),
            }))),
            Request::Exits(name, reply) => {
                drop(reply.send(named(&name, state).map(|_| Vec::new())));
            }
            Request::Shutdown(_, reply) => drop(reply.send(Ok(()))),
        }
    }
}

/// "Loads" a file: the image's size is the file's, its reference the content.
fn load(path: &Path) -> Result<Vec<ImageInfo>, ApiError> {
    let content = std::fs::read(path).map_err(|error| ApiError::internal(error.to_string()))?;
    Ok(vec![ImageInfo {
        reference: String::from_utf8_lossy(&content[..content.len().min(16)]).into_owned(),
        id: String::new(),
        digest: String::new(),
        architecture: "amd64".into(),
        size: content.len() as u64,
        created: None,
        baked: false,
        used_by: Vec::new(),
    }])
}
