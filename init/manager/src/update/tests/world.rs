//! A host in a directory: its disks are files. And versions of its image, as bundles and published.

use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use orlop_bundle::{
    ARCHITECTURE, Content, Digest, FORMAT, Head, Hex, Manifest, Packer, Part, SecretKey,
    Signatures, Verity, bundle_name, chunk_path, head_name, newest_name,
};
use orlop_control::types::{ShutdownMode, UpdatePhase, UpdateStatus};
use orlop_slot::trial::Running;
use orlop_verity::Superblock;
use tokio::sync::mpsc;

use super::super::Updater;
use super::super::fetch::Patience;
use super::super::job::Disks;
use crate::handle::{Handle, Request};
use crate::host::Host;
use crate::installs::{Before, Esp, Records, uki};
use crate::paths::Paths;

/// Bytes of a root.
const ROOT: usize = 1 << 20;
/// Bytes that follow a kernel image's headers.
const KERNEL: usize = 300 << 10;
/// Bytes of a slot's partition for the root.
const SLOT: u64 = 4 << 20;

/// Bytes that compress to about half of themselves, and are the same for the same seed.
fn content(seed: u64, size: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 24) as u8 & 0x0f
    };
    (0..size).map(|_| next()).collect()
}

/// A version of the image.
pub(super) struct Version {
    pub(super) version: String,
    pub(super) root: Vec<u8>,
    pub(super) kernel: Vec<u8>,
    pub(super) root_hash: Digest,
    superblock: Superblock,
}

impl Version {
    /// The same `seed` gives versions that differ in a part of the root only.
    pub(super) fn new(version: &str, seed: u64) -> Version {
        let mut root = content(seed, ROOT);
        let changed = Digest::of(version.as_bytes()).0;
        for (byte, new) in root[ROOT / 2..]
            .iter_mut()
            .zip(changed.iter().cycle().take(8192))
        {
            *byte ^= new;
        }
        let superblock = Superblock {
            uuid: [7; 16],
            data_blocks: (ROOT as u64) / 4096,
            salt: changed.to_vec(),
        };
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), &root).unwrap();
        let tree = orlop_verity::build(file.as_file(), 0, &superblock).unwrap();
        let root_hash = Hex(tree.root_hash);
        let mut kernel = uki::tests::uki(&format!("orlop.root={root_hash} quiet"));
        kernel.extend(content(seed + 1, KERNEL));
        Version {
            version: version.to_owned(),
            root,
            kernel,
            root_hash,
            superblock,
        }
    }

    /// Its bundle's head, and its chunks.
    pub(super) fn pack(&self, name: &str, key: &SecretKey) -> (Head, Vec<u8>) {
        self.pack_as(name, key, |_| {})
    }

    pub(super) fn pack_as(
        &self,
        name: &str,
        key: &SecretKey,
        change: impl FnOnce(&mut Manifest),
    ) -> (Head, Vec<u8>) {
        let mut packer = Packer::new(Vec::new()).unwrap();
        let root = packer.add(Part::Root, self.root.as_slice()).unwrap();
        let uki = packer.add(Part::Uki, self.kernel.as_slice()).unwrap();
        let (index, chunks) = packer.finish();
        let mut manifest = Manifest {
            format: FORMAT,
            name: name.to_owned(),
            version: self.version.clone(),
            source_date: 0,
            architecture: ARCHITECTURE.to_owned(),
            minimum_version: None,
            root,
            uki,
            index: Content {
                size: 0,
                sha256: Digest::of(b""),
            },
            verity: Verity {
                root_hash: self.root_hash,
                salt: Hex(self.superblock.salt.clone().try_into().unwrap()),
                uuid: Hex(self.superblock.uuid),
            },
        };
        change(&mut manifest);
        let sign = |bytes: &[u8]| Signatures::sign(bytes, std::slice::from_ref(key), &[]);
        (Head::new(manifest, index, sign).unwrap(), chunks)
    }

    /// Publishes it in `dir`, as a bundle and in chunks.
    pub(super) fn publish(&self, dir: &Path, key: &SecretKey) {
        let (head, chunks) = self.pack("shop", key);
        let encoded = head.encode();
        let file = |name: &str, bytes: &[u8]| {
            let path = dir.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        };
        let bundle = [encoded.as_slice(), &chunks].concat();
        file(&bundle_name("shop", &self.version), &bundle);
        file(&head_name("shop", &self.version), &encoded);
        file(&newest_name("shop"), &encoded);
        let mut rest = Cursor::new(&chunks);
        for entry in head.index().entries() {
            let mut bytes = vec![0; entry.compressed as usize];
            std::io::Read::read_exact(&mut rest, &mut bytes).unwrap();
            file(&chunk_path(&entry.digest), &bytes);
        }
    }
}

/// A host that runs version 1.0.0 from slot A.
pub(super) struct World {
    pub(super) dir: tempfile::TempDir,
    pub(super) key: SecretKey,
    pub(super) old: Version,
    paths: Paths,
    pub(super) reboots: mpsc::UnboundedReceiver<()>,
    reboot: mpsc::UnboundedSender<()>,
    /// Whether PID 1 takes requests to reboot.
    pub(super) takes_reboots: Arc<AtomicBool>,
    pub(super) patience: Patience,
    pub(super) running: Running,
}

impl World {
    pub(super) fn new() -> World {
        let dir = tempfile::tempdir().unwrap();
        let key = SecretKey::from_seed(&[1; 32]);
        let old = Version::new("1.0.0", 5);
        let (reboot, reboots) = mpsc::unbounded_channel();
        let running = Running {
            entry: Some("orlop_1_1.0.0.efi".to_owned()),
            version: "1.0.0".to_owned(),
            root: old.root_hash.to_string(),
        };
        let world = World {
            takes_reboots: Arc::new(AtomicBool::new(true)),
            patience: Patience {
                silence: Duration::from_millis(300),
                answer: Duration::from_secs(2),
                give_up: Duration::from_secs(2),
                pauses: (Duration::from_millis(20), Duration::from_millis(200)),
            },
            running,
            paths: Paths::below(dir.path()),
            dir,
            key,
            old,
            reboots,
            reboot,
        };
        for below in ["usr/lib/orlop", "esp/EFI/Linux", "var/lib/orlop", "web"] {
            fs::create_dir_all(world.at(below)).unwrap();
        }
        let id = world.key.public().id();
        let toml = format!("name = \"shop\"\nversion = \"1.0.0\"\n[update]\nkeys = [\"{id}\"]\n");
        fs::write(world.at("usr/lib/orlop/host.toml"), toml).unwrap();
        fs::write(world.at("root-a"), &world.old.root).unwrap();
        fs::write(world.entry("orlop_1_1.0.0.efi"), &world.old.kernel).unwrap();
        for (name, size) in [("root-b", SLOT), ("verity-b", SLOT / 64)] {
            fs::File::create(world.at(name))
                .unwrap()
                .set_len(size)
                .unwrap();
        }
        world
    }

    pub(super) fn at(&self, below: &str) -> PathBuf {
        self.dir.path().join(below)
    }

    pub(super) fn entry(&self, name: &str) -> PathBuf {
        self.at("esp/EFI/Linux").join(name)
    }

    /// The entries, in order.
    pub(super) fn entries(&self) -> Vec<String> {
        let files = fs::read_dir(self.at("esp/EFI/Linux")).unwrap();
        let name =
            |file: std::io::Result<fs::DirEntry>| file.unwrap().file_name().into_string().unwrap();
        let mut names: Vec<String> = files.map(name).collect();
        names.sort();
        names
    }

    pub(super) fn records(&self) -> Records {
        Records::new(self.paths.update())
    }

    pub(super) fn pending(&self) -> bool {
        self.paths.update().join("pending.json").exists()
    }

    /// An updater, as a manager that starts has it.
    pub(super) fn updater(&self) -> Updater {
        self.updater_with("")
    }

    pub(super) fn updater_with(&self, overlay: &str) -> Updater {
        let updater = self.updater_on_trial(overlay);
        updater.0.host.trial.settle();
        updater
    }

    /// The same, of a version that is not found good yet.
    pub(super) fn updater_on_trial(&self, overlay: &str) -> Updater {
        fs::create_dir_all(self.at("etc/orlop")).unwrap();
        fs::write(self.at("etc/orlop/host.toml"), overlay).unwrap();
        let host = Host::read(&self.paths).unwrap();
        let (handle, mut requests) = Handle::new(self.at("uploads"));
        let (reboot, takes) = (self.reboot.clone(), Arc::clone(&self.takes_reboots));
        tokio::spawn(async move {
            let mut unanswered = Vec::new();
            while let Some(request) = requests.recv().await {
                if let Request::Shutdown(ShutdownMode::Reboot, reply) = request {
                    match takes.load(Ordering::SeqCst) {
                        true => drop(reply.send(Ok(()))),
                        false => unanswered.push(reply),
                    }
                    let _ = reboot.send(());
                }
            }
        });
        let disks = Disks {
            running_root: self.at("root-a"),
            root: self.at("root-b"),
            verity: self.at("verity-b"),
            esp: Esp::mounted(&self.at("esp")),
            records: self.records(),
            before: Before::new(&self.at("var/lib/orlop/update")),
            etc: self.at("etc/orlop"),
            image: host.config.clone(),
        };
        let disks = Ok((disks, self.running.clone()));
        Updater::with(handle, &host, &self.paths, disks, self.patience)
    }

    /// Waits until no update is on record.
    pub(super) async fn forgotten(&self) {
        for _ in 0..3000 {
            if !self.pending() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("an update is on record");
    }

    /// That slot B holds `version` whole, and an entry on trial leads to it.
    pub(super) fn assert_installed(&self, version: &Version, entries: &[&str]) {
        assert_eq!(self.entries(), entries);
        let name = entries.last().unwrap();
        assert!(
            fs::read(self.entry(name)).unwrap() == version.kernel,
            "{name}"
        );
        let open = |name: &str| fs::File::open(self.at(name)).unwrap();
        let mut go_on = |_: u64| std::ops::ControlFlow::Continue(());
        orlop_verity::check(
            &open("root-b"),
            &open("verity-b"),
            &version.superblock,
            &version.root_hash.0,
            &mut go_on,
        )
        .unwrap();
        let record = self.records().trial().unwrap().unwrap();
        assert_eq!(record.root, version.root_hash.to_string());
        assert_eq!(record.version, version.version);
        assert!(!self.pending());
    }

    /// That what boots is the old version, and nothing leads to slot B.
    pub(super) fn assert_untouched(&self) {
        assert_eq!(self.entries(), ["orlop_1_1.0.0.efi"]);
        assert!(fs::read(self.entry("orlop_1_1.0.0.efi")).unwrap() == self.old.kernel);
    }
}

/// Waits until the update is in one of `phases`.
pub(super) async fn wait(updater: &Updater, phases: &[UpdatePhase]) -> UpdateStatus {
    for _ in 0..3000 {
        let status = updater.status();
        if phases.contains(&status.phase) {
            return status;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never in {phases:?}: {:?}", updater.status());
}
