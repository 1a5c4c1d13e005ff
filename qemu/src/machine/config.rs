//! What a guest is made of, and the command line that it makes.

use std::path::PathBuf;

use anyhow::{Context as _, Result};

use crate::accel::Accel;

/// Debian's OVMF, without and with its variable store's template.
const OVMF_CODE: &str = "/usr/share/OVMF/OVMF_CODE_4M.fd";
pub(super) const OVMF_VARS: &str = "/usr/share/OVMF/OVMF_VARS_4M.fd";

/// How the guest starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Firmware {
    /// OVMF, systemd-boot and the UKI on the ESP, as on real hardware.
    Uefi,
    /// The kernel, initramfs and command line that the builder wrote beside the
    /// disk, in this folder; same disk, no firmware.
    Direct(PathBuf),
    /// A kernel alone, which mounts the disk by itself: the disk is one that
    /// Debian's kernels know without a module, and so are those of `extra`.
    Kernel {
        /// Its file.
        file: PathBuf,
        /// Its command line.
        words: String,
    },
}

/// A port of this machine's loopback that leads to one of the guest's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forward {
    /// On 127.0.0.1 here.
    pub host: u16,
    /// In the guest.
    pub guest: u16,
}

/// A network segment that joins the guest's card, QEMU's user network, and a
/// socket that carries raw frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// The loopback's port on which QEMU hands frames out, each after its length
    /// as a big-endian 32-bit number.
    pub frames_port: u16,
}

/// What a guest is made of.
#[derive(Clone, Debug)]
pub struct Config {
    /// The disk image, raw; written to by the guest.
    pub disk: PathBuf,
    /// A folder for the sockets, logs and firmware variables of this guest.
    pub folder: PathBuf,
    /// How it starts.
    pub firmware: Firmware,
    /// How its instructions run.
    pub accel: Accel,
    /// In MiB.
    pub memory_mib: u32,
    /// Ports led inward.
    pub forwards: Vec<Forward>,
    /// Words appended to the kernel's command line (direct boot only).
    pub append: String,
    /// Whether the guest reaches nothing beyond the forwards: the tests' guests
    /// have no business outside.
    pub isolated: bool,
    /// A segment that others than QEMU's user network are on, too.
    pub segment: Option<Segment>,
    /// More QEMU arguments, for tests that need a device.
    pub extra: Vec<String>,
    /// Whether writes to the disk are dropped when QEMU leaves (never for a test
    /// of what lasts: QEMU then ignores the guest's flushes).
    pub snapshot: bool,
    /// A file that gets every write and flush that the guest makes to its disk,
    /// in the form of the kernel's dm-log-writes; emptied when the guest starts,
    /// and whole once QEMU has left by itself.
    pub log_writes: Option<PathBuf>,
    /// Whether QEMU leaves when the guest resets, so that a test sees it.
    pub stop_on_reset: bool,
    /// Whether QEMU goes on when the process that started it ends or is
    /// interrupted; else it ends with the thread that started it.
    pub lives_on: bool,
}

impl Config {
    /// A guest of 1 GiB that boots `disk` (raw) through OVMF under TCG.
    pub fn new(disk: impl Into<PathBuf>, folder: impl Into<PathBuf>) -> Config {
        Config {
            disk: disk.into(),
            folder: folder.into(),
            firmware: Firmware::Uefi,
            accel: Accel::Tcg,
            memory_mib: 1024,
            forwards: Vec::new(),
            append: String::new(),
            isolated: false,
            segment: None,
            extra: Vec::new(),
            snapshot: false,
            log_writes: None,
            stop_on_reset: false,
            lives_on: false,
        }
    }

    /// QEMU's arguments.
    ///
    /// # Errors
    ///
    /// When the direct boot's files cannot be read.
    pub(super) fn arguments(&self) -> Result<Vec<String>> {
        let mut all: Vec<String> = [
            "-nodefaults",
            "-machine",
            "q35",
            "-smp",
            "2",
            "-display",
            "none",
        ]
        .map(String::from)
        .into();
        all.extend(self.accel.arguments().map(String::from));
        let mut add = |name: &str, value: String| all.extend([name.to_owned(), value]);
        add("-m", self.memory_mib.to_string());
        add("-serial", format!("file:{}", self.console_file().display()));
        add(
            "-qmp",
            format!("unix:{},server=on,wait=off", self.qmp_socket().display()),
        );
        for (name, value) in self.disk_words() {
            add(name, value);
        }
        let boot_order = match self.firmware {
            Firmware::Uefi => ",bootindex=0",
            Firmware::Direct(_) | Firmware::Kernel { .. } => "",
        };
        let model = match self.firmware {
            Firmware::Uefi | Firmware::Direct(_) => "virtio-blk-pci",
            Firmware::Kernel { .. } => "nvme,serial=disk",
        };
        // What is recorded has to be all that is written, as it is written.
        let plain = match self.log_writes {
            Some(_) => ",write-cache=on,discard=off,write-zeroes=off",
            None => "",
        };
        add("-device", format!("{model},drive=disk{plain}{boot_order}"));
        add("-device", "virtio-rng-pci".into());
        match &self.firmware {
            Firmware::Uefi => {
                add(
                    "-drive",
                    format!("if=pflash,unit=0,format=raw,readonly=on,file={OVMF_CODE}"),
                );
                let vars = self.variables_file();
                add(
                    "-drive",
                    format!("if=pflash,unit=1,format=raw,file={}", vars.display()),
                );
            }
            Firmware::Direct(files) => {
                let words = std::fs::read_to_string(files.join("cmdline"))
                    .with_context(|| format!("cannot read {}/cmdline", files.display()))?;
                add("-kernel", files.join("vmlinuz").display().to_string());
                add("-initrd", files.join("initrd.img").display().to_string());
                let own = self.accel.kernel_words();
                add("-append", format!("{} {own} {}", words.trim(), self.append));
            }
            Firmware::Kernel { file, words } => {
                let own = self.accel.kernel_words();
                add("-kernel", file.display().to_string());
                // First: what stands after ` -- ` is the first program's.
                add("-append", format!("{} {own} {words}", self.append));
            }
        }
        all.extend(self.network());
        if self.stop_on_reset {
            all.push("-no-reboot".into());
        }
        all.extend(self.extra.iter().cloned());
        Ok(all)
    }

    /// What makes the drive `disk`.
    fn disk_words(&self) -> Vec<(&'static str, String)> {
        let disk = self.disk.display();
        let Some(log) = &self.log_writes else {
            let snapshot = if self.snapshot { ",snapshot=on" } else { "" };
            let words = format!("if=none,id=disk,format=raw,file={disk}{snapshot}");
            return vec![("-drive", words)];
        };
        // Flushes are recorded; that they reach this machine's disk does not matter, and waiting
        // for them would let later writes overtake them in the record.
        let nodes = [
            format!("driver=file,node-name=disk-file,filename={disk},cache.no-flush=on"),
            "driver=raw,node-name=disk-raw,file=disk-file,cache.no-flush=on".to_owned(),
            format!("driver=file,node-name=log-file,filename={}", log.display()),
            "driver=blklogwrites,node-name=disk,file=disk-raw,log=log-file,log-sector-size=512,\
             log-super-update-interval=1"
                .to_owned(),
        ];
        nodes.map(|node| ("-blockdev", node)).into()
    }

    fn network(&self) -> Vec<String> {
        let (mut words, card) = match self.segment {
            Some(Segment { frames_port }) => {
                (segment(frames_port, &self.forward_words()), "hub-card")
            }
            None => {
                let user = format!(
                    "user,id=uplink{}{}",
                    self.restriction(),
                    self.forward_words()
                );
                (vec!["-netdev".into(), user], "uplink")
            }
        };
        words.push("-device".into());
        words.push(format!("virtio-net-pci,netdev={card},romfile="));
        words
    }

    fn restriction(&self) -> &'static str {
        if self.isolated { ",restrict=on" } else { "" }
    }

    fn forward_words(&self) -> String {
        let forwards: Vec<String> = self
            .forwards
            .iter()
            .map(|port| format!(",hostfwd=tcp:127.0.0.1:{}-:{}", port.host, port.guest))
            .collect();
        forwards.concat()
    }

    pub(super) fn console_file(&self) -> PathBuf {
        self.folder.join("console.log")
    }

    pub(super) fn messages_file(&self) -> PathBuf {
        self.folder.join("qemu.log")
    }

    pub(super) fn qmp_socket(&self) -> PathBuf {
        self.folder.join("qmp.sock")
    }

    pub(super) fn variables_file(&self) -> PathBuf {
        self.folder.join("firmware-variables.fd")
    }
}

fn segment(frames_port: u16, forwards: &str) -> Vec<String> {
    let parts = [
        format!("user,id=nat,restrict=on{forwards}"),
        format!("socket,id=frames,listen=127.0.0.1:{frames_port}"),
        "hubport,id=hub-nat,hubid=0,netdev=nat".into(),
        "hubport,id=hub-frames,hubid=0,netdev=frames".into(),
        "hubport,id=hub-card,hubid=0".into(),
    ];
    parts
        .into_iter()
        .flat_map(|part| ["-netdev".to_owned(), part])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{Config, Firmware, Forward};

    #[test]
    fn forwards_stand_on_the_loopback_only() {
        let mut config = Config::new("/d.raw", "/f");
        config.forwards = vec![
            Forward {
                host: 8080,
                guest: 80,
            },
            Forward { host: 1, guest: 2 },
        ];
        let arguments = config.arguments().expect("arguments").join(" ");
        assert!(
            arguments.contains(
                "user,id=uplink,hostfwd=tcp:127.0.0.1:8080-:80,hostfwd=tcp:127.0.0.1:1-:2"
            )
        );
        assert!(arguments.contains("if=pflash,unit=1,format=raw,file=/f/firmware-variables.fd"));
    }

    #[test]
    fn only_a_snapshot_drops_what_is_written() {
        let mut config = Config::new("/d.raw", "/f");
        let disk = "if=none,id=disk,format=raw,file=/d.raw";
        let has = |config: &Config, word: &str| {
            let arguments = config.arguments().expect("arguments");
            arguments.iter().any(|argument| argument == word)
        };
        assert!(has(&config, disk));
        config.snapshot = true;
        assert!(has(&config, &format!("{disk},snapshot=on")));
        assert!(!has(&config, disk));
    }

    #[test]
    fn a_kernel_alone_finds_the_disk_and_has_its_words_last() {
        let mut config = Config::new("/d.raw", "/f");
        config.append = "quiet".to_owned();
        config.firmware = Firmware::Kernel {
            file: "/k/vmlinuz".into(),
            words: "root=/dev/nvme0n1 -- sh".to_owned(),
        };
        let arguments = config.arguments().expect("arguments").join(" ");
        assert!(arguments.contains("-kernel /k/vmlinuz -append quiet no_timer_check root="));
        assert!(arguments.contains("root=/dev/nvme0n1 -- sh -netdev"));
        assert!(arguments.contains("-device nvme,serial=disk,drive=disk "));
        assert!(!arguments.contains("-initrd"));
    }

    #[test]
    fn a_direct_boot_needs_the_files_beside_the_disk() {
        let mut config = Config::new("/d.raw", "/f");
        config.firmware = Firmware::Direct("/nonexistent".into());
        let error = config.arguments().expect_err("no such folder").to_string();
        assert!(error.contains("/nonexistent/cmdline"), "{error}");
    }
}
