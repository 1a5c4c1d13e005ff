//! Namespaces to test in.

use std::fs::File;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustix::process::Pid;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use orlop_unit::{Addressing, Cidr, Uplink};

use crate::net::{Network, Settings, UplinkConfig};
use crate::skipped::skipped;

/// For what is to arrive, however busy the machine is.
pub(super) const PATIENCE: Duration = Duration::from_secs(120);
/// For what is to be dropped: on an idle machine many times what an answer
/// takes. On a busy one a test may miss that something came through; none fails
/// for that it took long.
const IMPATIENCE: Duration = Duration::from_millis(700);

pub(super) const HOST: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
pub(super) const NEIGHBOUR: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
pub(super) const THIRD: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);

/// A process in a network namespace of its own, and thereby the namespace.
pub(super) struct Spot {
    child: Child,
}

impl Spot {
    fn new(flags: &[&str]) -> io::Result<Spot> {
        let child = Command::new("unshare")
            .args(flags)
            .args(["sleep", "300"])
            .stderr(Stdio::null())
            .spawn()?;
        let mut spot = Spot { child };
        let here = std::fs::read_link("/proc/thread-self/ns/net")?;
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline && spot.child.try_wait()?.is_none() {
            let path = format!("/proc/{}/ns/net", spot.child.id());
            let exe = std::fs::read_link(format!("/proc/{}/exe", spot.child.id()));
            let sleeps = exe.is_ok_and(|exe| !exe.ends_with("unshare"));
            if sleeps && std::fs::read_link(path).is_ok_and(|there| there != here) {
                return Ok(spot);
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Err(io::Error::other("cannot make a network namespace"))
    }

    /// As the runtime makes a container: the network namespace belongs to a
    /// user namespace of its own.
    pub(super) fn container() -> Spot {
        Spot::new(&["--user", "--map-root-user", "--net"]).unwrap()
    }

    pub(super) fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap()
    }

    /// Runs `work` on a thread inside.
    pub(super) fn inside<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> std::thread::JoinHandle<T> {
        let file = File::open(format!("/proc/{}/ns/net", self.child.id())).unwrap();
        std::thread::spawn(move || {
            move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
            work()
        })
    }

    /// As [`Spot::inside`], for a test that has other tasks to run meanwhile.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> T {
        let thread = self.inside(work);
        tokio::task::spawn_blocking(move || thread.join().unwrap())
            .await
            .unwrap()
    }

    /// A command inside; its output.
    pub(super) fn command(&self, line: &str) -> String {
        let target = self.child.id().to_string();
        let output = Command::new("nsenter")
            .args(["--net", "--target", &target])
            .args(line.split_whitespace())
            .output()
            .unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        assert!(output.status.success(), "{line}: {}", text(output.stderr));
        text(output.stdout)
    }

    /// Answers connections to a port with the address that they come from.
    pub(super) async fn listen(&self, port: u16) {
        self.run(move || {
            let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).unwrap();
            std::thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    let from = stream.peer_addr().unwrap().ip();
                    // A client that gave up is the test's business.
                    let _ = io::Write::write_all(&mut &stream, from.to_string().as_bytes());
                }
            });
        })
        .await;
    }

    /// The datagrams that come for a port.
    pub(super) async fn hear(&self, port: u16) -> mpsc::Receiver<Vec<u8>> {
        self.run(move || {
            let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).unwrap();
            let (heard, receiver) = mpsc::channel();
            std::thread::spawn(move || {
                let mut buffer = [0; 64];
                while let Ok(length) = socket.recv(&mut buffer) {
                    if heard.send(buffer[..length].to_vec()).is_err() {
                        return;
                    }
                }
            });
            receiver
        })
        .await
    }

    /// Connects from inside, and gives what [`Spot::listen`] answered:
    /// the address that this end is seen as.
    pub(super) async fn connect(&self, address: Ipv4Addr, port: u16) -> io::Result<String> {
        self.run(move || connect(address, port, PATIENCE)).await
    }

    /// Whether nothing answers a connection from inside.
    pub(super) async fn cut_off(&self, address: Ipv4Addr, port: u16) -> bool {
        self.run(move || connect(address, port, IMPATIENCE).is_err())
            .await
    }

    /// One echo request (RFC 792) from inside, answered.
    pub(super) async fn ping(&self, to: Ipv4Addr) -> io::Result<()> {
        self.run(move || {
            let (raw, icmp) = (rustix::net::SocketType::RAW, rustix::net::ipproto::ICMP);
            let socket = rustix::net::socket(rustix::net::AddressFamily::INET, raw, Some(icmp))?;
            let socket = UdpSocket::from(socket);
            socket.set_read_timeout(Some(PATIENCE))?;
            // Type 8, checksum, number 1.2, first of the sequence.
            let request = [8, 0, 0xf6, 0xfc, 1, 2, 0, 1];
            let (flags, to) = (rustix::net::SendFlags::empty(), SocketAddrV4::new(to, 0));
            rustix::net::sendto(&socket, &request, flags, &to)?;
            let mut buffer = [0; 256];
            loop {
                let length = socket.recv(&mut buffer)?;
                // After the IP header: an echo reply with our number.
                if length >= 28 && buffer[20] == 0 && buffer[24..28] == request[4..] {
                    return Ok(());
                }
            }
        })
        .await
    }

    /// Sends a datagram from inside, and gives the answer.
    pub(super) async fn ask(&self, to: (Ipv4Addr, u16), bytes: Vec<u8>) -> io::Result<Vec<u8>> {
        self.run(move || ask(to, &bytes, PATIENCE)).await
    }

    /// Whether nothing answers a datagram from inside.
    pub(super) async fn unanswered(&self, to: (Ipv4Addr, u16), bytes: Vec<u8>) -> bool {
        self.run(move || ask(to, &bytes, IMPATIENCE).is_err()).await
    }
}

fn ask(to: (Ipv4Addr, u16), bytes: &[u8], patience: Duration) -> io::Result<Vec<u8>> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.set_read_timeout(Some(patience))?;
    socket.connect(to)?;
    socket.send(bytes)?;
    let mut buffer = vec![0; 4096];
    let length = socket.recv(&mut buffer)?;
    buffer.truncate(length);
    Ok(buffer)
}

fn connect(address: Ipv4Addr, port: u16, patience: Duration) -> io::Result<String> {
    let to = SocketAddrV4::new(address, port).into();
    let mut stream = TcpStream::connect_timeout(&to, patience)?;
    stream.set_read_timeout(Some(patience))?;
    let mut seen = String::new();
    io::Read::read_to_string(&mut stream, &mut seen)?;
    Ok(seen)
}

impl Drop for Spot {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A host with an uplink `up0` to a neighbour's `n0`.
pub(super) struct World {
    pub(super) host: Spot,
    pub(super) neighbour: Spot,
    pub(super) directory: tempfile::TempDir,
}

impl World {
    pub(super) fn settings(&self) -> Settings {
        let address = Cidr {
            address: HOST,
            prefix_len: 24,
        };
        let addressing = Addressing::Static {
            address,
            gateway: Some(NEIGHBOUR),
        };
        self.settings_with(addressing, vec![NEIGHBOUR.into()])
    }

    pub(super) fn settings_with(&self, addressing: Addressing, dns: Vec<IpAddr>) -> Settings {
        Settings {
            uplink: UplinkConfig {
                uplink: Uplink {
                    interface: Some("up*".to_owned()),
                    addressing,
                    dns,
                },
                hostname: "tested".to_owned(),
                resolv_conf: self.directory.path().join("resolv.conf"),
            },
            subnet: Cidr {
                address: Ipv4Addr::new(10, 89, 0, 0),
                prefix_len: 16,
            },
            runtime_dir: self.directory.path().join("run"),
            patience: PATIENCE,
        }
    }

    /// Someone on another link of the host.
    pub(super) fn beyond(&self) -> Spot {
        let third = Spot::new(&["--net"]).unwrap();
        let pid = third.child.id();
        self.host.command(&format!(
            "ip link add more0 type veth peer name t0 netns {pid}"
        ));
        self.host
            .command("ip address add 198.51.100.1/24 dev more0");
        self.host.command("ip link set more0 up");
        third.command(&format!("ip address add {THIRD}/24 dev t0"));
        third.command("ip link set t0 up");
        third.command("ip route add default via 198.51.100.1");
        third
    }

    pub(super) fn state_dir(&self) -> PathBuf {
        self.directory.path().join("state")
    }

    pub(super) async fn network(&self) -> Network {
        let network = Network::begin_with(self.settings(), Some(7470), &self.state_dir()).unwrap();
        let mut status = network.uplink();
        let ready = status.wait_for(|status| status.addresses.contains(&HOST));
        let ready = tokio::time::timeout(PATIENCE, ready).await;
        ready.expect("the uplink gets its address in time").unwrap();
        network
    }

    pub(super) async fn attached(&self, network: &Network, unit: &str) -> (Spot, Ipv4Addr) {
        let container = Spot::container();
        let address = network.reserve(unit).unwrap();
        network.attach(unit, container.pid(), &[]).await.unwrap();
        (container, address)
    }
}

/// What of rights and commands is missing to build a world.
fn missing() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("it needs root".to_owned());
    }
    ["ip", "nsenter", "unshare"]
        .into_iter()
        .find(|tool| Command::new(tool).arg("--help").output().is_err())
        .map(|tool| format!("it needs the command {tool}"))
}

/// A world, or what the kernel lacks for one.
fn build() -> Result<World, String> {
    let spot = || Spot::new(&["--net"]).map_err(|error| error.to_string());
    let (host, neighbour) = (spot()?, spot()?);
    let pid = neighbour.child.id();
    let made = Command::new("nsenter")
        .args(["--net", "--target", &host.child.id().to_string()])
        .args([
            "ip", "link", "add", "up0", "type", "veth", "peer", "name", "n0", "netns",
        ])
        .arg(pid.to_string())
        .output();
    let output = made.map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Err(format!(
            "no veth: {}",
            String::from_utf8_lossy(&output.stderr)
        ));
    }
    let replaced = host.inside(|| crate::net::nft::replace(&[])).join();
    if !matches!(replaced, Ok(Ok(()))) {
        // Whose fault it is, netfilter's own command tells.
        let target = host.child.id().to_string();
        let listed = Command::new("nsenter")
            .args(["--net", "--target", &target, "nft", "list", "tables"])
            .output();
        match listed {
            Ok(output) if output.status.success() => panic!("nft works, and here: {replaced:?}"),
            other => return Err(format!("no nf_tables: {replaced:?}; nft: {other:?}")),
        }
    }
    neighbour.command("ip link set lo up");
    neighbour.command(&format!("ip address add {NEIGHBOUR}/24 dev n0"));
    neighbour.command("ip link set n0 up");
    let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
    Ok(World {
        host,
        neighbour,
        directory,
    })
}

/// Runs a test on a thread in the host's network namespace.
pub(super) fn in_world<F>(test: impl FnOnce(World) -> F + Send + 'static)
where
    F: Future<Output = ()>,
{
    if let Some(missing) = missing() {
        return skipped(&missing);
    }
    let world = match build() {
        Ok(world) => world,
        Err(reason) => return skipped(&reason),
    };
    let file = File::open(format!("/proc/{}/ns/net", world.host.child.id())).unwrap();
    let thread = std::thread::spawn(move || {
        move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(test(world));
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}
