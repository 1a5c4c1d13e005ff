//! Brings the manager's parts together.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use anyhow::Context;
use orlop_handover::{FD_VARIABLE, ManagerEnd};
use tokio::sync::oneshot;

use crate::container::runtime::Runtime;
use crate::container::{Tools, ids, image};
use crate::core::owner::{Owner, Queues};
use crate::core::past::Past;
use crate::handle::Handle;
use crate::host::Host;
use crate::net::Network;
use crate::paths::Paths;
use crate::update::Updater;
use crate::ways_in;

/// How the manager is started. Only tests give options.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Options {
    /// All paths are below it.
    pub root: Option<PathBuf>,
    /// Containers get no network, and the host's is left alone.
    pub no_network: bool,
    /// Another runtime than the host's.
    pub runtime: Option<PathBuf>,
}

impl Options {
    /// Reads `--root DIR`, `--no-network` and `--runtime FILE`.
    pub fn parse(args: impl Iterator<Item = String>) -> anyhow::Result<Options> {
        let mut options = Options::default();
        let mut args = args;
        while let Some(arg) = args.next() {
            let mut value = || args.next().with_context(|| format!("{arg} needs a value"));
            match arg.as_str() {
                "--root" => options.root = Some(value()?.into()),
                "--runtime" => options.runtime = Some(value()?.into()),
                "--no-network" => options.no_network = true,
                other => anyhow::bail!("unknown option {other:?}"),
            }
        }
        Ok(options)
    }
}

/// The manager. Ends only with an error: PID 1 starts another one.
pub fn main(options: Options) -> anyhow::Result<()> {
    let link = ManagerEnd::inherited().with_context(|| {
        format!("{FD_VARIABLE}: the manager is started by orlop-init and talks to it")
    })?;
    // What containers are to read must be readable, whatever this was started with.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    // One thread is all that the work needs; long calls have their own.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(16)
        .thread_stack_size(512 * 1024)
        .thread_keep_alive(std::time::Duration::from_secs(2))
        .build()?;
    runtime.block_on(serve(link, options))
}

async fn serve(link: ManagerEnd, options: Options) -> anyhow::Result<()> {
    let paths = Paths::below(options.root.clone().unwrap_or_else(|| "/".into()));
    for dir in [
        paths.unit_records(),
        paths.scratch(),
        paths.containers(),
        paths.passing_units(),
        paths.state(),
        paths.uploads(),
    ] {
        std::fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    }
    let (mut to_init, mut from_init) = crate::init_link::serve(link)?;
    let mut host = Host::read(&paths)?;
    let past = Past::take_over(&paths, &host.boot_id, &mut to_init, &mut from_init).await?;
    let runtime = options.runtime.unwrap_or_else(|| paths.runtime());
    let runtime = Runtime::new(runtime, paths.runtime_root());
    runtime.read_ahead();
    let network = match options.no_network {
        true => None,
        false => Some(begin_network(&mut host, &paths)?),
    };
    let changes = crate::unit_dirs::watch(paths.unit_dirs().to_vec())?;
    let (handle, requests) = Handle::new(paths.uploads());
    let images = image::Images::new(&paths);
    let tools = Tools {
        runtime,
        network,
        images,
        ranges: Arc::new(Mutex::new(ids::Ranges::open(
            paths.state().join("ids.json"),
        ))),
        paths: Arc::new(paths),
    };
    let (begun, begins) = oneshot::channel();
    let queues = Queues {
        requests,
        to_init,
        from_init,
        changes,
        events: handle.event_sender(),
        begun,
    };
    let updater = Updater::new(handle.clone(), &host, &tools.paths);
    let handle = handle.with_updater(updater.clone());
    ways_in::buses(&handle, &tools, &mut host);
    let (asks, paths) = (handle.clone(), Arc::clone(&tools.paths));
    // From here on they miss nothing of what the owner tells.
    let ways_in = ways_in::Opening::new(handle, tools.clone(), host.clone());
    let judged = host.clone();
    tokio::spawn(async move { crate::trial::run(asks, judged, &paths).await });
    tokio::spawn(ways_in.open(begins));
    tokio::spawn(updater.run());
    Owner::run(tools, host, past, queues).await
}

/// The network comes up while other things go on: only containers that are
/// made already wait for it.
fn begin_network(host: &mut Host, paths: &Paths) -> anyhow::Result<Arc<Network>> {
    if let Err(error) = host.name_kernel() {
        host.warnings
            .push(format!("the host name cannot be set: {error}"));
    }
    let config = &host.config;
    let network = Network::begin(
        &config.network,
        config.hostname(),
        host.ports().first().copied(),
        &paths.state(),
    )?;
    Ok(Arc::new(network))
}
