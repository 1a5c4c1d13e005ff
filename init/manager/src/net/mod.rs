//! Uplink, bridge, veth pairs, packet filter and the name server of the bridge.
//!
//! ```text
//!              world                      containers
//!                |                            |
//!    uplink: DHCP or static         netns: eth0, default route
//!                |                            |
//!                +---- nft: who may ---- orlop0 (bridge) ---- dns
//!                                             |
//!                                   addresses: unit -> address
//! ```
//!
//! [`Network`] is all that the rest of the manager sees. It knows units as
//! names with addresses and ports; what units are, and when they start, it
//! does not know. Addresses are there at once; the kernel's part, [`wiring`],
//! comes up in the background, and whoever needs it waits. All that it makes is
//! made again, or found, when the manager starts anew: no packet of a running
//! container is lost to that.
//!
//! Of Debian's kernel it needs the modules `bridge`, `veth`, `nf_tables`,
//! `nft_chain_nat`, `nft_ct`, `nft_fib_inet`, `nft_masq` and `nft_nat`, with
//! what they depend on, loaded before it starts: nothing loads them on demand.

mod addresses;
mod dns;
mod error;
mod links;
mod netns;
mod nft;
mod ports;
mod published;
mod sysctl;
#[cfg(test)]
mod tests;
mod uplink;
mod wiring;

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use orlop_unit::{Cidr, NetworkConfig, PortMap};
use rustix::process::Pid;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::warn;

pub use error::{NetError, Result};
pub use nft::NftError;
pub use uplink::UplinkStatus;

use addresses::Book;
use uplink::UplinkConfig;
use wiring::Wiring;

/// The bridge's link name.
pub const BRIDGE: &str = "orlop0";
/// Where the host's name servers are written, for its own programs.
const RESOLV_CONF: &str = "/run/orlop/resolv.conf";
/// Where the manager keeps what is gone after a boot.
const RUNTIME_DIR: &str = "/run/orlop/manager";
/// The first pause after the network could not be brought up, and the longest.
const TRY_AGAIN: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(30)];
/// How long one try may take: the kernel answers in milliseconds, or not at all.
const TRY: Duration = Duration::from_secs(60);
/// How long a container that is to be connected waits for the network.
const PATIENCE: Duration = Duration::from_secs(30);

/// Everything that the network is told.
#[derive(Clone, Debug)]
struct Settings {
    uplink: UplinkConfig,
    subnet: Cidr,
    /// For what is to outlive the manager but not the host's boot.
    runtime_dir: PathBuf,
    /// How long a container that is to be connected waits for the network.
    patience: Duration,
}

impl Settings {
    /// Where published ports are on record.
    fn record(&self) -> PathBuf {
        self.runtime_dir.join("published.json")
    }
}

/// The host's network. It works for as long as this is held.
#[derive(Debug)]
pub struct Network {
    gateway: Ipv4Addr,
    patience: Duration,
    book: Arc<Mutex<Book>>,
    /// The API's port, for a wiring that is still to come.
    api_port: Arc<Mutex<Option<u16>>>,
    progress: watch::Receiver<Progress>,
    status: watch::Receiver<UplinkStatus>,
    task: JoinHandle<()>,
}

/// How far the kernel's part is.
#[derive(Clone, Debug)]
enum Progress {
    /// It is being brought up for the first time.
    Coming,
    Up(Arc<Wiring>),
    /// It could not be brought up, for this reason; it is tried again.
    Down(String),
}

impl Network {
    /// Opens the book of addresses, and begins to bring the network up, or to
    /// find it up: bridge, packet filter, switches of the kernel, name server,
    /// then uplinks; it tells DHCP servers `hostname`, and opens `api_port` on the
    /// uplinks. What the kernel refuses is tried again and again, and is the
    /// uplinks' problem meanwhile.
    ///
    /// # Errors
    /// A configuration that cannot work.
    pub fn begin(
        cfg: &NetworkConfig,
        hostname: &str,
        api_port: Option<u16>,
        state_dir: &Path,
    ) -> Result<Network> {
        let uplink = UplinkConfig {
            uplink: cfg.uplink.clone(),
            hostname: hostname.to_owned(),
            resolv_conf: PathBuf::from(RESOLV_CONF),
        };
        let settings = Settings {
            uplink,
            subnet: cfg.bridge.subnet,
            runtime_dir: PathBuf::from(RUNTIME_DIR),
            patience: PATIENCE,
        };
        Network::begin_with(settings, api_port, state_dir)
    }

    fn begin_with(
        mut settings: Settings,
        api_port: Option<u16>,
        state_dir: &Path,
    ) -> Result<Network> {
        let (book, problem) = Book::open(&state_dir.join("addresses.json"), settings.subnet)?;
        if let Some(problem) = problem {
            warn!("{problem}");
        }
        let gateway = book.pool().gateway();
        settings.subnet = book.pool().net();
        let book = Arc::new(Mutex::new(book));
        let api_port = Arc::new(Mutex::new(api_port));
        let (tell, progress) = watch::channel(Progress::Coming);
        let (uplinks, status) = watch::channel(UplinkStatus::default());
        let patience = settings.patience;
        let task = BringUp {
            settings: Arc::new(settings),
            book: Arc::clone(&book),
            api_port: Arc::clone(&api_port),
            tell,
            uplinks,
        };
        Ok(Network {
            gateway,
            patience,
            book,
            api_port,
            progress,
            status,
            task: tokio::spawn(task.run()),
        })
    }

    /// The unit's address on the bridge, its own until it is released. It is
    /// recorded when this returns.
    ///
    /// # Errors
    /// The containers' network is full, or the record cannot be written.
    pub fn reserve(&self, unit: &str) -> Result<Ipv4Addr> {
        wiring::lock(&self.book).reserve(unit)
    }

    /// Frees the unit's address, for a unit that is gone for good.
    pub fn release(&self, unit: &str) {
        if let Err(error) = wiring::lock(&self.book).release(unit) {
            warn!(unit, %error, "the record of addresses still has a released one");
        }
    }

    /// The host's address on the bridge: the containers' router and name
    /// server.
    pub fn gateway(&self) -> Ipv4Addr {
        self.gateway
    }

    /// Connects a created container: link, address, way out, published ports.
    ///
    /// # Errors
    /// No address is reserved for the unit, a port is not free, the kernel
    /// refuses, or the network does not come up in time. Nothing is left behind
    /// then.
    pub async fn attach(&self, unit: &str, pid: Pid, ports: &[PortMap]) -> Result<()> {
        self.wiring_in_time().await?.attach(unit, pid, ports).await
    }

    /// Takes over a container that an earlier manager connected: what is as it
    /// should be stays untouched, what is missing is made.
    ///
    /// # Errors
    /// As for [`Network::attach`].
    pub async fn adopt(&self, unit: &str, pid: Pid, ports: &[PortMap]) -> Result<()> {
        self.wiring_in_time().await?.adopt(unit, pid, ports).await
    }

    /// Removes a container's link and published ports, if they are there.
    ///
    /// # Errors
    /// The kernel refuses.
    pub async fn detach(&self, unit: &str) -> Result<()> {
        match self.wiring().await {
            Ok(wiring) => wiring.detach(unit).await,
            // A link goes with its container, and what is on record without one
            // is not published again.
            Err(NetError::Down(_)) => Ok(()),
            Err(other) => Err(other),
        }
    }

    /// What the uplinks are like, now and whenever that changes.
    pub fn uplink(&self) -> watch::Receiver<UplinkStatus> {
        self.status.clone()
    }

    /// Which TCP port of the uplinks is open for the API; none when it does not
    /// listen there.
    ///
    /// # Errors
    /// The kernel refuses.
    pub async fn set_api_port(&self, port: Option<u16>) -> Result<()> {
        *self.api_port.lock().unwrap_or_else(PoisonError::into_inner) = port;
        match self.wiring().await {
            Ok(wiring) => wiring.set_api_port(port).await,
            // It is what the network comes up with.
            Err(NetError::Down(_)) => Ok(()),
            Err(other) => Err(other),
        }
    }

    /// The kernel's part, waited for while it is tried again: a container is made
    /// by now, and would be made anew for a moment's trouble.
    async fn wiring_in_time(&self) -> Result<Arc<Wiring>> {
        let mut progress = self.progress.clone();
        let up = progress.wait_for(|progress| matches!(progress, Progress::Up(_)));
        // Up or not, this tells which, and why.
        let _ = tokio::time::timeout(self.patience, up).await;
        self.wiring().await
    }

    /// The kernel's part, once it is known whether there is one.
    async fn wiring(&self) -> Result<Arc<Wiring>> {
        let mut progress = self.progress.clone();
        loop {
            match &*progress.borrow_and_update() {
                Progress::Coming => {}
                Progress::Up(wiring) => return Ok(Arc::clone(wiring)),
                Progress::Down(why) => return Err(NetError::Down(why.clone())),
            }
            let ended = |_| NetError::Ended("bringing the network up");
            progress.changed().await.map_err(ended)?;
        }
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What bringing the network up takes.
struct BringUp {
    settings: Arc<Settings>,
    book: Arc<Mutex<Book>>,
    api_port: Arc<Mutex<Option<u16>>>,
    tell: watch::Sender<Progress>,
    uplinks: watch::Sender<UplinkStatus>,
}

impl BringUp {
    fn api_port(&self) -> Option<u16> {
        *self.api_port.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tries until it is up.
    async fn run(self) {
        let [mut pause, longest] = TRY_AGAIN;
        loop {
            let api_port = self.api_port();
            let (settings, book) = (Arc::clone(&self.settings), Arc::clone(&self.book));
            let up = Wiring::up(settings, book, api_port, self.uplinks.clone());
            let late = |_| NetError::Ended("the time for bringing the network up");
            let up = tokio::time::timeout(TRY, up).await.map_err(late);
            match up.flatten() {
                Ok(wiring) => {
                    let wiring = Arc::new(wiring);
                    self.tell.send_replace(Progress::Up(Arc::clone(&wiring)));
                    // Who set another port during a second try was told that it comes.
                    let wanted = self.api_port();
                    if let Err(error) = wiring.set_api_port(wanted).await {
                        warn!("the API's port cannot be opened: {error}");
                    }
                    return;
                }
                Err(error) => {
                    let why = error.to_string();
                    warn!("the network cannot be brought up: {why}");
                    let problem = NetError::Down(why.clone()).to_string();
                    self.uplinks
                        .send_modify(|status| status.problem = Some(problem));
                    self.tell.send_replace(Progress::Down(why));
                }
            }
            tokio::time::sleep(pause).await;
            pause = longest.min(pause * 2);
        }
    }
}
