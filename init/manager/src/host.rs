//! The host as a whole: its configuration, what PID 1 found, what it is called.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use jiff::Timestamp;
use orlop_control::types::{BootPhase, HostStatus, MAKE_ROOM, UplinkStatus};
use orlop_handover::{BootReport, StateHealth};
use orlop_slot::trial::Running;
use orlop_unit::{Authority, Host as HostToml, MAX_FILE_BYTES};

use crate::durable::read_bounded;
use crate::installs::{Before, Esp};
use crate::net::Network;
use crate::paths::Paths;
use crate::trial::{self, Trial};
use crate::ways_in::WaysIn;

/// What is known of the host.
#[derive(Debug, Clone)]
pub struct Host {
    /// Its configuration.
    pub config: HostToml,
    /// What PID 1 left; none where it left nothing.
    pub boot: Option<BootReport>,
    /// This boot, as the kernel names it.
    pub boot_id: String,
    client_ca: Result<Option<String>, String>,
    update_ca: Result<Option<String>, String>,
    machine_id: String,
    kernel: String,
    state_dir: std::path::PathBuf,
    ways_in: Arc<OnceLock<WaysIn>>,
    /// The boot partition.
    pub esp: Esp,
    /// What is known of its image's trial, and of other installs.
    pub trial: Trial,
    /// What an operator should know.
    pub warnings: Vec<String>,
}

/// The name and version when the image says nothing that can be read.
const FALLBACK: &str = "name = \"orlop\"\nversion = \"0.0.0\"\n";

impl Host {
    /// Reads it all. What cannot be read becomes a warning: a bad overlay must
    /// not keep the containers from running.
    pub fn read(paths: &Paths) -> anyhow::Result<Host> {
        let mut warnings = Vec::new();
        let [image, overlay] = paths.host_toml();
        let config = match read_toml(&image, HostToml::parse_bytes) {
            Ok(Some(config)) => config,
            Ok(None) => fallback()?,
            Err(problem) => {
                warnings.push(problem);
                fallback()?
            }
        };
        let boot = read_bounded(&paths.boot_report(), 1 << 20)
            .ok()
            .and_then(|bytes| serde_json::from_slice::<BootReport>(&bytes).ok());
        let laid_over = |path: &Path| read_toml(path, |file, bytes| config.overlay(file, bytes));
        let config = match laid_over(&overlay) {
            Ok(Some(overlaid)) => overlaid,
            Ok(None) => config,
            Err(problem) => {
                let root = boot.as_ref().map_or("", |boot| &boot.root_hash);
                let before = Before::new(&paths.update()).host_toml(root);
                let before = before.and_then(|path| laid_over(&path).ok().flatten());
                let used = match before {
                    Some(_) => "what it was before the last update is used",
                    None => "the image's own settings are used",
                };
                warnings.push(format!("{problem}; {used}"));
                before.unwrap_or(config)
            }
        };
        let line = |path: &Path| {
            let text = std::fs::read_to_string(path).unwrap_or_default();
            text.trim().to_owned()
        };
        let boot_id = match &boot {
            Some(boot) => boot.boot_id.clone(),
            None => line(Path::new("/proc/sys/kernel/random/boot_id")),
        };
        let client_ca = certificates(config.api.client_ca.as_ref(), &paths.etc());
        let update_ca = certificates(config.update.ca.as_ref(), &paths.etc());
        if let Err(problem) = &update_ca {
            warnings.push(format!(
                "{problem}; nothing is fetched by https:// until then"
            ));
        }
        let esp = Esp::new(boot.as_ref().map_or("", |boot| &boot.esp));
        Ok(Host {
            config,
            client_ca,
            update_ca,
            boot,
            boot_id,
            machine_id: line(&paths.machine_id()),
            kernel: line(Path::new("/proc/sys/kernel/osrelease")),
            state_dir: paths.state(),
            ways_in: Arc::default(),
            esp,
            trial: trial::open(paths),
            warnings,
        })
    }

    /// Tells the kernel the host's name. PID 1 did so at boot, but knows the
    /// image's name only.
    ///
    /// # Errors
    /// The kernel's own.
    pub fn name_kernel(&self) -> std::io::Result<()> {
        Ok(rustix::system::sethostname(
            self.config.hostname().as_bytes(),
        )?)
    }

    /// The ways in are open: this and every clone know what came of it.
    pub fn opened(&self, ways_in: WaysIn) {
        // Only the first time counts, and there is no second.
        let _ = self.ways_in.set(ways_in);
    }

    /// The version of the host image.
    pub fn version(&self) -> &str {
        match &self.boot {
            Some(boot) if !boot.version.is_empty() => &boot.version,
            Some(_) | None => &self.config.version,
        }
    }

    /// The install that runs, as `boot` found it.
    pub fn running(&self, boot: &BootReport) -> Running {
        Running {
            entry: Some(boot.entry.clone()).filter(|entry| !entry.is_empty()),
            version: self.version().to_owned(),
            root: boot.root_hash.clone(),
        }
    }

    /// The ports of the host that units cannot publish.
    pub fn ports(&self) -> Vec<u16> {
        let listen = self
            .config
            .api
            .address()
            .filter(|_| matches!(self.client_ca, Ok(Some(_))));
        listen.map(|address| address.port()).into_iter().collect()
    }

    /// The authority that signs clients' certificates, if there is one, or why
    /// it cannot be had.
    pub fn client_ca(&self) -> Result<Option<String>, String> {
        self.client_ca.clone()
    }

    /// The authority of the servers that updates are fetched from, if it is not
    /// the public ones, or why it cannot be had.
    pub fn update_ca(&self) -> Result<Option<String>, String> {
        self.update_ca.clone()
    }

    /// The host's part of a status; units are the owner task's.
    pub fn status(&self, network: Option<&Network>) -> HostStatus {
        let uplink = network.map(|network| network.uplink().borrow().clone());
        let uplink = uplink.unwrap_or_default();
        let (state_size, state_free) = space(&self.state_dir);
        let memory = memory(&std::fs::read_to_string("/proc/meminfo").unwrap_or_default());
        let (phases, boot) = (phases(self.boot.as_ref()), self.boot.as_ref());
        let mut warnings = self.warnings.clone();
        let ways_in = self.ways_in.get();
        warnings.extend(ways_in.iter().flat_map(|ways| ways.warnings.clone()));
        warnings.extend(uplink.problem.clone());
        warnings.extend(room_warning(state_size, state_free));
        let tmpfs = boot.is_some_and(|boot| boot.state == StateHealth::Tmpfs);
        if tmpfs {
            warnings.push("the state partition is not in use: nothing lasts".to_owned());
        }
        let mut status = HostStatus {
            name: self.config.hostname().to_owned(),
            version: self.version().to_owned(),
            slot: boot.map_or_else(String::new, |boot| boot.slot.letter().to_string()),
            serial: boot.map_or(0, |boot| boot.serial),
            state: state_word(boot.map(|boot| boot.state)).to_owned(),
            state_detail: boot
                .map(|boot| boot.state_detail.clone())
                .unwrap_or_default(),
            state_size,
            state_free,
            watchdog: boot.map_or_else(|| "none".to_owned(), |boot| boot.watchdog.clone()),
            uptime_ms: crate::core::now_ms(),
            time: Timestamp::now(),
            addresses: uplink.addresses.iter().map(|ip| (*ip).into()).collect(),
            uplinks: uplinks(&uplink),
            machine_id: self.machine_id.clone(),
            boot_id: self.boot_id.clone(),
            fingerprint: ways_in.and_then(|ways| ways.fingerprint.clone()),
            warnings,
            pid1_start_ms: boot.map_or(0, |boot| boot.pid1_start_ms),
            manager_start_ms: boot.map_or(0, |boot| boot.manager_exec_ms),
            boot_phases: phases,
            kernel: self.kernel.clone(),
            architecture: orlop_images::source::host_architecture().to_owned(),
            cpus: std::thread::available_parallelism()
                .map_or(1, |count| u32::try_from(count.get()).unwrap_or(1)),
            memory_total: memory.total,
            memory_available: memory.available,
            memory_used: memory.used,
            ..HostStatus::default()
        };
        self.trial.tell(&mut status);
        status
    }
}

/// An authority's certificates. The builder puts them into the image's file, so
/// a path is always the overlay's: from `dir`.
fn certificates(authority: Option<&Authority>, dir: &Path) -> Result<Option<String>, String> {
    let path = match authority {
        Some(Authority::Pem(pem)) => return Ok(Some(pem.clone())),
        Some(Authority::File(path)) => dir.join(path),
        None => return Ok(None),
    };
    let about = |problem: String| format!("{}: {problem}", path.display());
    let bytes = read_bounded(&path, MAX_FILE_BYTES).map_err(|error| about(error.to_string()))?;
    Authority::certificates(&String::from_utf8_lossy(&bytes))
        .map(Some)
        .map_err(|refusal| about(refusal.to_string()))
}

fn fallback() -> anyhow::Result<HostToml> {
    let parsed = HostToml::parse("host.toml", FALLBACK);
    parsed
        .map(|parsed| parsed.value)
        .map_err(|problems| anyhow::anyhow!("no host configuration: {problems:?}"))
}

fn read_toml(
    path: &Path,
    parse: impl Fn(&str, &[u8]) -> Result<orlop_unit::Parsed<HostToml>, Vec<orlop_unit::Diagnostic>>,
) -> Result<Option<HostToml>, String> {
    let bytes = match read_bounded(path, MAX_FILE_BYTES) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("{}: {error}", path.display())),
    };
    match parse(&path.to_string_lossy(), &bytes) {
        Ok(parsed) => Ok(Some(parsed.value)),
        Err(problems) => Err(match problems.first() {
            Some(problem) => format!(
                "{}:{}:{}: {}",
                problem.file, problem.line, problem.column, problem.message
            ),
            None => format!("{} is rejected", path.display()),
        }),
    }
}

fn state_word(state: Option<StateHealth>) -> &'static str {
    match state {
        Some(StateHealth::Ok) | None => "ok",
        Some(StateHealth::Repaired) => "repaired",
        Some(StateHealth::Tmpfs) => "tmpfs",
    }
}

fn phases(boot: Option<&BootReport>) -> Vec<BootPhase> {
    // PID 1 says how long each took; a status says when each ended.
    let mut end = 0;
    let phases = boot.map(|boot| boot.phases.as_slice()).unwrap_or_default();
    phases
        .iter()
        .map(|phase| {
            end += phase.ms;
            BootPhase {
                name: phase.name.clone(),
                ms: end,
            }
        })
        .collect()
}

fn uplinks(status: &crate::net::UplinkStatus) -> Vec<UplinkStatus> {
    let first = status.links.first();
    let one = |name: &String| {
        let main = Some(name) == first;
        UplinkStatus {
            name: name.clone(),
            addresses: if main {
                status.addresses.iter().map(ToString::to_string).collect()
            } else {
                Vec::new()
            },
            gateway: status.gateway.filter(|_| main).map(Into::into),
            dns: if main { status.dns.clone() } else { Vec::new() },
            problem: status.problem.clone().filter(|_| main),
        }
    };
    status.links.iter().map(one).collect()
}

/// The size of the file system of `dir`, and what containers may still write to
/// it, in bytes; zeros where it does not say.
pub(crate) fn space(dir: &Path) -> (u64, u64) {
    match rustix::fs::statvfs(dir) {
        Ok(stat) => (stat.f_blocks * stat.f_frsize, stat.f_bavail * stat.f_frsize),
        Err(_) => (0, 0),
    }
}

/// With less free than this in bytes a state partition is full.
const FULL: u64 = 1 << 20;
/// And with less than this almost so.
const ALMOST_FULL: u64 = 16 << 20;

/// What an operator should know of the room on the state partition.
fn room_warning(size: u64, free: u64) -> Option<String> {
    let how = match free {
        _ if size == 0 => return None,
        0..FULL => "full",
        FULL..ALMOST_FULL => "almost full",
        ALMOST_FULL.. => return None,
    };
    Some(format!("the state partition is {how}: {MAKE_ROOM}"))
}

/// Memory in bytes.
#[derive(Debug, PartialEq, Eq)]
struct Memory {
    total: u64,
    available: u64,
    used: u64,
}

/// What `text`, the content of `/proc/meminfo`, says.
fn memory(text: &str) -> Memory {
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        let number = line.and_then(|line| line.split_whitespace().next());
        number.and_then(|number| number.parse().ok()).unwrap_or(0) * 1024_u64
    };
    // The kernel counts files in memory among the cached ones.
    let caches = field("Buffers:") + field("Cached:") + field("SReclaimable:");
    let free = field("MemFree:") + caches.saturating_sub(field("Shmem:"));
    Memory {
        total: field("MemTotal:"),
        available: field("MemAvailable:"),
        used: field("MemTotal:").saturating_sub(free),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn caches_are_not_in_use_but_files_in_memory_are() {
        let text = "MemTotal:  1000 kB\nMemFree:  500 kB\nMemAvailable:  800 kB\n\
            Buffers:  10 kB\nCached:  200 kB\nShmem:  50 kB\nSReclaimable:  40 kB\n";
        let expected = Memory {
            total: 1000 << 10,
            available: 800 << 10,
            used: 300 << 10,
        };
        assert_eq!(memory(text), expected);
        assert_eq!(memory("").used, 0);
    }

    /// A host whose files are these.
    fn host(files: &[(&str, &str)]) -> Host {
        let dir = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        Host::read(&Paths::below(dir.path())).unwrap()
    }

    #[test]
    fn the_machine_id_is_the_one_that_pid_1_made() {
        let id = "0cd4a7a44b874b579d1e0e1b0f5a7b11";
        let host = host(&[("etc/orlop/machine-id", &format!("{id}\n"))]);
        assert_eq!(host.status(None).machine_id, id);
    }

    /// Runs itself again where a host name may be set without harm.
    #[test]
    fn the_kernel_is_told_the_name_in_the_overlay() {
        const INSIDE: &str = "ORLOP_TEST_HAS_HOST_NAME";
        const NAME: &str = "host::tests::the_kernel_is_told_the_name_in_the_overlay";
        if std::env::var_os(INSIDE).is_none() {
            let output = std::process::Command::new("unshare")
                .args(["--user", "--map-root-user", "--uts"])
                .arg(std::env::current_exe().unwrap())
                .args(["--exact", NAME, "--nocapture"])
                .env(INSIDE, "1")
                .output()
                .unwrap();
            let text = String::from_utf8_lossy(&output.stdout);
            let ran = output.status.success() && text.contains("1 passed");
            assert!(ran, "{text}{}", String::from_utf8_lossy(&output.stderr));
            return;
        }
        let image = "name = \"demo\"\nversion = \"1.0.0\"\n";
        let host = host(&[
            ("usr/lib/orlop/host.toml", image),
            ("etc/orlop/host.toml", "[network]\nhostname = \"other\"\n"),
        ]);
        host.name_kernel().unwrap();
        let name = rustix::system::uname();
        assert_eq!(name.nodename().to_str(), Ok("other"));
    }

    #[test]
    fn an_authority_in_a_file_is_read_or_said_to_be_missing() {
        let overlay = "[api]\nlisten = \"0.0.0.0:7470\"\nclient-ca = \"ca.crt\"\n";
        let pem = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";
        let with =
            |more: &[(&str, &str)]| host(&[&[("etc/orlop/host.toml", overlay)], more].concat());
        let there = with(&[("etc/orlop/ca.crt", pem)]);
        assert_eq!(there.client_ca(), Ok(Some(pem.to_owned())));
        assert_eq!(there.ports(), [7470]);
        for (files, reason) in [
            (&[][..], "No such file"),
            (&[("etc/orlop/ca.crt", "nothing")], "whole PEM certificates"),
        ] {
            let host = with(files);
            let problem = host.client_ca().unwrap_err();
            let told = problem.contains("etc/orlop/ca.crt: ") && problem.contains(reason);
            assert!(told, "{problem}");
            assert!(host.ports().is_empty());
        }
    }

    #[test]
    fn little_room_is_told_with_what_to_do() {
        let said = |size, free| room_warning(size, free).unwrap_or_default();
        for (free, words) in [(0, "is full: "), (ALMOST_FULL - 1, "is almost full: ")] {
            let said = said(1 << 30, free);
            assert!(said.contains(words) && said.contains("orlop rm"), "{said}");
        }
        assert_eq!(said(1 << 30, ALMOST_FULL), "");
        // What cannot be asked for.
        assert_eq!(said(0, 0), "");
    }
}
