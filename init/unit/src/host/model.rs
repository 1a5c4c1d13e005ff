//! The checked types, with what each defaults to.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use crate::value::{Bytes, Cidr, ImageName, UpdateKey};

/// A host: an image and its set-up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// The image's name; a DNS label, and the host name where nothing else is said.
    pub name: String,
    /// The image's version: 1 to 64 of `A-Z a-z 0-9 . ~ ^ -`. Without `_` and `+`, which separate
    /// the parts of a boot entry's file name.
    pub version: String,
    /// `[kernel]`, for the builder.
    pub kernel: Kernel,
    /// `[disk]`, for the builder.
    pub disk: Disk,
    /// `[image]`, for the builder.
    pub image: ImageContent,
    /// `[network]`.
    pub network: NetworkConfig,
    /// `[api]`.
    pub api: ApiConfig,
    /// `[console]`.
    pub console: Console,
    /// `[update]`.
    pub update: Update,
}

/// `[kernel]`: which kernel, and what of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// Debian package; `linux-image-cloud-amd64` (for virtual machines) by default.
    pub package: String,
    /// Modules loaded once the root is mounted, their dependencies coming along.
    pub modules: Vec<String>,
    /// Modules for finding the disk, in the initramfs, their dependencies coming along.
    pub initramfs_modules: Vec<String>,
    /// Appended to the kernel command line; may be empty.
    pub command_line: String,
}

/// `[disk]`: sizes, each a multiple of 1 MiB.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    /// EFI system partition, 64M to 4G (default 512M).
    pub esp: Bytes,
    /// Each of the two root partitions; the builder's choice, with headroom, when `None`.
    pub root: Option<Bytes>,
    /// State partition in the image, at least [`Disk::STATE_MIN`] (default 256M); it grows at the
    /// first boot.
    pub state: Bytes,
    /// The whole disk image; as large as its partitions when `None`.
    pub size: Option<Bytes>,
}

/// `[image]`: what is baked into the root. Paths are relative to the host TOML's directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageContent {
    /// Unit files.
    pub units: Vec<String>,
    /// Container images.
    pub containers: Vec<BakedContainer>,
}

/// A container image that is baked in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BakedContainer {
    /// OCI layout directory or OCI archive.
    pub source: String,
    /// The name that units use; also picks the image where the source holds several. The source's
    /// own name for its only image when `None`.
    pub reference: Option<ImageName>,
}

/// `[network]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetworkConfig {
    /// Host name, a DNS label; the image's name when `None` (see [`Host::hostname`]).
    pub hostname: Option<String>,
    /// `[network.uplink]`.
    pub uplink: Uplink,
    /// `[network.bridge]`.
    pub bridge: Bridge,
}

/// `[network.uplink]`: the way to the outside.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Uplink {
    /// Name of the interface, `*` standing for anything (`en*`); the first Ethernet interface when
    /// `None`.
    pub interface: Option<String>,
    /// How it gets its address.
    pub addressing: Addressing,
    /// Name servers; with DHCP, instead of the ones that it gives.
    pub dns: Vec<IpAddr>,
}

impl Uplink {
    /// Whether the interface of this name is meant. (With no name given any is; the caller picks
    /// the first Ethernet one.)
    pub fn matches(&self, interface: &str) -> bool {
        match &self.interface {
            None => true,
            Some(pattern) => glob(pattern, interface),
        }
    }
}

/// `*` stands for any run of characters. Each part between two stars is taken at its first place,
/// which is enough as no other wildcard can stand between.
fn glob(pattern: &str, text: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let Some(mut text) = text.strip_prefix(head) else {
        return false;
    };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let tail = parts.pop().unwrap_or("");
    for part in parts {
        match text.find(part) {
            Some(at) => text = &text[at + part.len()..],
            None => return false,
        }
    }
    text.ends_with(tail)
}

/// How the uplink gets its address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Addressing {
    /// From a DHCPv4 server.
    #[default]
    Dhcp,
    /// As written.
    Static {
        /// The host's address and its network's prefix.
        address: Cidr,
        /// The default route, within the network; no way out of it when `None`.
        gateway: Option<Ipv4Addr>,
    },
}

/// `[network.bridge]`: the network of the containers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bridge {
    /// Its addresses, prefix 8 to 28 (default 10.89.0.0/16). The first is the bridge's own.
    pub subnet: Cidr,
}

/// `[api]`: the API towards the network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ApiConfig {
    /// Where the manager listens, inside mutual TLS.
    pub listen: Listen,
    /// Who may connect: holders of a certificate that this authority signed. While it is `None`
    /// nobody can, so nothing is to listen.
    pub client_ca: Option<Authority>,
}

impl ApiConfig {
    /// The port unless another is given.
    pub const PORT: u16 = 7470;

    /// The address to listen on, if any.
    pub fn address(&self) -> Option<SocketAddr> {
        match (self.listen, &self.client_ca) {
            (Listen::At(address), _) => Some(address),
            (Listen::Anywhere, Some(_)) => {
                Some((std::net::Ipv4Addr::UNSPECIFIED, ApiConfig::PORT).into())
            }
            (Listen::Anywhere, None) | (Listen::Nowhere, _) => None,
        }
    }
}

/// Where the API listens on the network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Listen {
    /// On every address, at [`ApiConfig::PORT`], once there is an authority for clients.
    #[default]
    Anywhere,
    /// Nowhere, authority or not.
    Nowhere,
    /// There.
    At(SocketAddr),
}

/// A certificate authority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Authority {
    /// Path of a PEM file, relative to the directory of the file that names it.
    File(String),
    /// The certificates themselves, in PEM.
    Pem(String),
}

/// `[console]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Console {
    /// Whether the status screen is drawn (default true); without it the console shows messages
    /// only.
    pub screen: bool,
}

/// `[update]`: whose update bundles are for this host, and when a new host image, booted on trial,
/// is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Update {
    /// The keys that bundles may be signed with; none are taken while there are none. They are fixed
    /// when the image is built: what stands in the verified root cannot be changed by whoever can
    /// write to the state partition.
    pub keys: Vec<UpdateKey>,
    /// The oldest version that may be updated to this one, for the builder; any when `None`.
    pub minimum_version: Option<String>,
    /// How long its units have to be well without a break (default 10 s).
    pub settle: Duration,
    /// How long after the boot that may take before it is given up (default 5 min); longer than
    /// `settle`.
    pub deadline: Duration,
    /// The channel: where the host looks for new versions by itself. `http://` or `https://`.
    pub url: Option<String>,
    /// Who signs the certificates of servers that updates are fetched from by `https://`; the public
    /// authorities when `None`.
    pub ca: Option<Authority>,
    /// How often it looks there, on average (default 6 h); 1 s to a year.
    pub check: Duration,
    /// What it does with a new version that it finds there.
    pub apply: ApplyUpdates,
}

/// What a host does with a new version that is in its channel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ApplyUpdates {
    /// Installs it and reboots.
    #[default]
    Auto,
    /// Installs it; it starts at the next boot, whoever asks for that.
    Download,
    /// Only tells of it.
    Never,
}

impl ApplyUpdates {
    /// All of them.
    pub const ALL: [ApplyUpdates; 3] = [Self::Auto, Self::Download, Self::Never];

    /// The word in a host TOML.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Download => "download",
            Self::Never => "never",
        }
    }
}

impl Default for Update {
    fn default() -> Self {
        Self {
            keys: Vec::new(),
            minimum_version: None,
            settle: Duration::from_secs(10),
            deadline: Duration::from_secs(300),
            url: None,
            ca: None,
            check: Duration::from_secs(6 * 3600),
            apply: ApplyUpdates::Auto,
        }
    }
}

impl Default for Kernel {
    fn default() -> Self {
        Self {
            package: "linux-image-cloud-amd64".to_owned(),
            modules: Vec::new(),
            initramfs_modules: Vec::new(),
            command_line: String::new(),
        }
    }
}

impl Disk {
    /// The smallest state partition: its journal alone takes 64 MiB.
    pub const STATE_MIN: Bytes = Bytes::mib(160);
}

impl Default for Disk {
    fn default() -> Self {
        Self {
            esp: Bytes::mib(512),
            root: None,
            state: Bytes::mib(256),
            size: None,
        }
    }
}

impl Default for Bridge {
    fn default() -> Self {
        Self {
            subnet: Cidr {
                address: Ipv4Addr::new(10, 89, 0, 0),
                prefix_len: 16,
            },
        }
    }
}

impl Default for Console {
    fn default() -> Self {
        Self { screen: true }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces() {
        let cases = [
            ("en*", "enp0s3", true),
            ("en*", "eth0", false),
            ("eth0", "eth0", true),
            ("eth0", "eth01", false),
            ("*", "anything", true),
            ("e*0", "eth0", true),
            ("e*0", "eth1", false),
            ("e*h*0", "eth10", true),
            ("aa*aa", "aaa", false),
        ];
        for (pattern, name, matches) in cases {
            let uplink = Uplink {
                interface: Some(pattern.to_owned()),
                ..Uplink::default()
            };
            assert_eq!(uplink.matches(name), matches, "{pattern} {name}");
        }
        assert!(Uplink::default().matches("eth0"));
    }
}
