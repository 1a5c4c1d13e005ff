//! Where everything is. All paths hang on one prefix, so that a test can run
//! the manager in a directory of its own.

use std::path::{Path, PathBuf};

/// The host's paths below a prefix (`/` on a host).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    prefix: PathBuf,
}

impl Paths {
    /// Paths below `prefix`.
    pub fn below(prefix: impl Into<PathBuf>) -> Paths {
        Paths {
            prefix: prefix.into(),
        }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.prefix.join(path)
    }

    /// A path of the host as units or reports name it.
    pub fn host(&self, path: &Path) -> PathBuf {
        self.prefix.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// `orlop-runtime`.
    pub fn runtime(&self) -> PathBuf {
        self.at("usr/lib/orlop/bin/orlop-runtime")
    }

    /// The runtime's `--root`.
    pub fn runtime_root(&self) -> PathBuf {
        self.at("run/orlop/runtime")
    }

    /// The host TOML of the image, and the one that overlays it.
    pub fn host_toml(&self) -> [PathBuf; 2] {
        [
            self.at("usr/lib/orlop/host.toml"),
            self.at("etc/orlop/host.toml"),
        ]
    }

    /// The unit directories, the later winning.
    pub fn unit_dirs(&self) -> [PathBuf; 3] {
        [
            self.at("usr/lib/orlop/units"),
            self.lasting_units(),
            self.at("run/orlop/units"),
        ]
    }

    /// Where applied units go.
    pub fn lasting_units(&self) -> PathBuf {
        self.at("etc/orlop/units")
    }

    /// Where units that go with the next boot are.
    pub fn passing_units(&self) -> PathBuf {
        self.at("run/orlop/units")
    }

    /// The host's lasting configuration.
    pub fn etc(&self) -> PathBuf {
        self.at("etc/orlop")
    }

    /// The machine's id, which PID 1 makes at the first boot.
    pub fn machine_id(&self) -> PathBuf {
        self.etc().join("machine-id")
    }

    /// The image stores: baked in, and loaded.
    pub fn image_stores(&self) -> [PathBuf; 2] {
        [
            self.at("usr/lib/orlop/images"),
            self.at("var/lib/orlop/images"),
        ]
    }

    /// What lasts of the manager's own.
    pub fn state(&self) -> PathBuf {
        self.at("var/lib/orlop")
    }

    /// What a unit's containers wrote into their root.
    pub fn upper_dir(&self, unit: &str) -> PathBuf {
        self.state().join("containers").join(unit)
    }

    /// A named volume.
    pub fn volume(&self, name: &str) -> PathBuf {
        self.state().join("volumes").join(name)
    }

    /// A secret.
    pub fn secret(&self, name: &str) -> PathBuf {
        self.state().join("secrets").join(name)
    }

    /// What is known of installs of the host image.
    pub fn update(&self) -> PathBuf {
        self.state().join("update")
    }

    /// Where uploads gather.
    pub fn uploads(&self) -> PathBuf {
        self.state().join("uploads")
    }

    /// The exits on record.
    pub fn exits(&self) -> PathBuf {
        self.state().join("exits")
    }

    /// The marks of units that are being removed.
    pub fn removed(&self) -> PathBuf {
        self.state().join("removed")
    }

    /// A unit's log directory.
    pub fn logs(&self, unit: &str) -> PathBuf {
        self.at("var/log/orlop").join(unit)
    }

    /// What the manager records of units for its successor.
    pub fn unit_records(&self) -> PathBuf {
        self.at("run/orlop/manager/units")
    }

    /// Sockets and files that are gone after use.
    pub fn scratch(&self) -> PathBuf {
        self.at("run/orlop/manager/scratch")
    }

    /// One container's directory.
    pub fn container(&self, id: &str) -> PathBuf {
        self.containers().join(id)
    }

    /// The containers' directory.
    pub fn containers(&self) -> PathBuf {
        self.at("run/orlop/containers")
    }

    /// The API's local socket.
    pub fn api_socket(&self) -> PathBuf {
        self.at("run/orlop/api.sock")
    }

    /// The bus for the host's own programs.
    pub fn bus_socket(&self) -> PathBuf {
        self.at("run/orlop/bus.sock")
    }

    /// The directory with the bus of one role, as units get it.
    pub fn bus_dir(&self, role: &str) -> PathBuf {
        self.at("run/orlop/bus").join(role)
    }

    /// PID 1's report.
    pub fn boot_report(&self) -> PathBuf {
        self.at("run/orlop/boot.json")
    }

    /// What runs until the next boot.
    pub fn run(&self) -> PathBuf {
        self.at("run/orlop")
    }

    /// The host's name servers.
    pub fn resolv_conf(&self) -> PathBuf {
        self.at("run/orlop/resolv.conf")
    }

    /// The console.
    pub fn console(&self) -> PathBuf {
        self.at("dev/console")
    }

    /// The cgroup v2 mount; the kernel's own, whatever the prefix.
    pub fn cgroup(&self, unit: &str) -> PathBuf {
        Path::new("/sys/fs/cgroup/orlop").join(unit)
    }
}
