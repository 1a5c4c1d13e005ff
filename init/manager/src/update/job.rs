//! An update, from what is there to an entry that boots: the steps of [`orlop_slot::install`], one
//! after the other. It runs on a thread of its own and may wait for disks and servers.

use std::fs::File;
use std::io::{self, Read};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use orlop_bundle::{Digest, Head, Hex};
use orlop_control::types::{UpdatePhase, UpdatePlan};
use orlop_slot::install::{Install, InstallStep, STEPS, install};
use orlop_slot::trial::{self, Installed, Running, Standing};
use orlop_unit::Host as HostToml;
use orlop_verity::VerityError;
use sha2::{Digest as _, Sha256};

use super::error::UpdateError;
use super::fetch::{Http, fetch};
use super::pending::Origin;
use super::progress::Progress;
use super::section::Section;
use super::stop::Stop;
use super::survey::{Sources, Survey, survey};
use super::target::Target;
use crate::installs::uki::{Piece, UkiError, root_hash, root_hash_of};
use crate::installs::{Before, Esp, Listing, Records};

/// When a client has sent nothing for so many minutes its update is given up.
const IDLE_MINUTES: u64 = 30;
/// Bytes that are hashed at once.
const PIECE: usize = 256 << 10;
/// What is left free on the boot partition, in bytes: FAT counts in clusters, and a directory may
/// grow by one.
const ESP_SPARE: u64 = 256 << 10;

/// Where a host keeps what an update is made of.
#[derive(Debug, Clone)]
pub(super) struct Disks {
    /// The root that runs.
    pub(super) running_root: PathBuf,
    /// The other slot's root and hash tree.
    pub(super) root: PathBuf,
    pub(super) verity: PathBuf,
    pub(super) esp: Esp,
    pub(super) records: Records,
    pub(super) before: Before,
    /// The units and the configuration, which is laid over the image's.
    pub(super) etc: PathBuf,
    pub(super) image: HostToml,
}

/// What is to be done.
pub(super) struct Job {
    pub(super) disks: Disks,
    pub(super) running: Running,
    pub(super) origin: Origin,
    pub(super) http: Http,
    pub(super) target: Arc<Target>,
    pub(super) stop: Stop,
    pub(super) progress: Progress,
    /// Hears what is missing.
    pub(super) found: Box<dyn Fn(UpdatePlan) + Send + Sync>,
}

/// What an update would move.
///
/// # Errors
/// The disk; cancelling.
pub(super) fn plan(
    disks: &Disks,
    running: &Running,
    target: &Target,
    stop: &Stop,
) -> Result<UpdatePlan, UpdateError> {
    Ok(look(disks, running, target, stop)?.plan)
}

fn look(
    disks: &Disks,
    running: &Running,
    target: &Target,
    stop: &Stop,
) -> Result<Survey, UpdateError> {
    with_sources(disks, running, |sources| {
        survey(target.head().index(), target.root(), sources, stop)
    })
}

/// Opens what runs for reading, for as long as `work` takes.
fn with_sources<T>(
    disks: &Disks,
    running: &Running,
    work: impl FnOnce(&Sources) -> Result<T, UpdateError>,
) -> Result<T, UpdateError> {
    let about = || UpdateError::disk("reading", "the boot partition");
    let listing = disks.esp.list().map_err(about())?;
    let own = listing
        .files
        .iter()
        .find(|file| file.root.as_deref() == Some(running.root.as_str()))
        .ok_or_else(|| {
            let version = running.version.clone();
            orlop_slot::install::InstallRefusal::NoWayBack(version)
        })?;
    let opened = disks.esp.read().map_err(about())?;
    let root = &disks.running_root;
    let sources = Sources {
        root: File::open(root).map_err(UpdateError::disk("opening", root.display()))?,
        kernel: opened.entry(&own.name).map_err(about())?,
    };
    work(&sources)
}

impl Job {
    /// Does all of it.
    ///
    /// # Errors
    /// Why it ended. What runs is as it was, and boots.
    pub(super) fn run(&self) -> Result<(), UpdateError> {
        self.progress.phase(UpdatePhase::Surveying);
        let survey = look(&self.disks, &self.running, &self.target, &self.stop)?;
        (self.found)(survey.plan);
        self.bless()?;
        let (mut install, _) = self.judge()?;
        for step in STEPS {
            self.stop.check()?;
            self.step(step, &survey, &mut install)?;
        }
        Ok(())
    }

    fn step(
        &self,
        step: InstallStep,
        survey: &Survey,
        install: &mut Install,
    ) -> Result<(), UpdateError> {
        let esp = &self.disks.esp;
        let about = |what| UpdateError::disk(what, "the boot partition");
        match step {
            InstallStep::Mend => {
                let mended = esp.mend(&install.remove).map_err(about("mending"))?;
                if let Some(did) = mended {
                    tracing::warn!("{did}");
                }
                // Names may be gone, and clusters were freed.
                let (anew, listing) = self.judge()?;
                *install = anew;
                self.has_room(install, &listing)
            }
            InstallStep::Remove => esp.remove(&install.remove).map_err(about("writing")),
            InstallStep::Fill => self.fill(survey),
            InstallStep::Verify => self.verify(),
            InstallStep::Record => {
                self.progress.phase(UpdatePhase::Installing);
                self.keep_configuration();
                let put = self.disks.records.put_trial(&install.record);
                put.map_err(UpdateError::disk("writing", "the record of the install"))
            }
            InstallStep::Copy => self.copy(),
            InstallStep::Rename => esp.rename(&install.rename).map_err(about("writing")),
        }
    }

    /// What runs was found good, but its name may not say so: power went, or the boot partition could
    /// not be written. After the next record nobody would know.
    fn bless(&self) -> Result<(), UpdateError> {
        let about = |what| UpdateError::disk(what, "the boot partition");
        let listing = self.disks.esp.list().map_err(about("reading"))?;
        let record = self.disks.records.trial().unwrap_or_default();
        let standing = trial::standing(&self.running, &listing.files, record.as_ref());
        let Standing::Blessed { serial } = standing else {
            return Ok(());
        };
        match trial::bless(serial, &self.running, &listing.files) {
            Some(rename) => self.disks.esp.rename(&rename).map_err(about("writing")),
            None => Ok(()),
        }
    }

    /// Keeps the units as this version has them. Without that it may not understand them when it
    /// comes up again, but it would come up.
    fn keep_configuration(&self) {
        let Disks { before, etc, .. } = &self.disks;
        let understands = |path: &Path, bytes: &[u8]| {
            let file = path.to_string_lossy();
            match path.file_name().is_some_and(|name| name == "host.toml") {
                true => self.disks.image.overlay(&file, bytes).is_ok(),
                false => orlop_unit::Unit::parse_bytes(&file, bytes).is_ok(),
            }
        };
        if let Err(error) = before.keep(&self.running.root, etc, understands) {
            tracing::warn!("the units as they are cannot be kept beside the update: {error}");
        }
    }

    /// What is to be installed as what, by the boot partition as it is.
    fn judge(&self) -> Result<(Install, Listing), UpdateError> {
        let about = UpdateError::disk("reading", "the boot partition");
        let listing = self.disks.esp.list().map_err(about)?;
        let record = self.disks.records.trial().unwrap_or_default();
        let files: Vec<Installed> = listing
            .files
            .iter()
            .chain(&listing.temporary)
            .cloned()
            .collect();
        let manifest = self.head().manifest();
        let root = manifest.verity.root_hash.to_string();
        let version = &manifest.version;
        let install = install(version, &root, &self.running, &files, record.as_ref())?;
        Ok((install, listing))
    }

    /// Whether the boot partition has room for the kernel image once `install` has begun.
    fn has_room(&self, install: &Install, listing: &Listing) -> Result<(), UpdateError> {
        let manifest = self.head().manifest();
        let goes = |name: &String| install.remove.contains(name);
        let given: u64 = listing
            .sizes
            .iter()
            .filter(|(name, _)| goes(name))
            .map(|(_, size)| size)
            .sum();
        let (room, needed) = (listing.free + given, manifest.uki.size + ESP_SPARE);
        match room < needed {
            true => Err(UpdateError::EspFull {
                room,
                needed,
                version: manifest.version.clone(),
            }),
            false => Ok(()),
        }
    }

    fn head(&self) -> &Head {
        self.target.head()
    }

    /// Fills the slot: from what runs, and from elsewhere.
    fn fill(&self, survey: &Survey) -> Result<(), UpdateError> {
        with_sources(&self.disks, &self.running, |sources| {
            self.target.begin(survey, sources, &self.stop)
        })?;
        let tell = |trouble| self.progress.trouble(trouble);
        match &self.origin {
            Origin::Web { source } => {
                self.progress.phase(UpdatePhase::Fetching);
                fetch(&self.http, source, &self.target, &self.stop, &tell)?;
                self.progress.trouble(None);
                Ok(())
            }
            Origin::Upload => {
                self.progress.phase(UpdatePhase::Receiving);
                let patience = Duration::from_secs(IDLE_MINUTES * 60);
                match self.target.wait(&self.stop, patience)? {
                    true => Ok(()),
                    false => Err(UpdateError::Abandoned(IDLE_MINUTES)),
                }
            }
        }
    }

    /// Makes the hash tree, and reads all of the slot back.
    fn verify(&self) -> Result<(), UpdateError> {
        self.progress.phase(UpdatePhase::Verifying);
        let target = &self.target;
        let expected = self.head().manifest().verity.root_hash;
        let superblock = target.superblock();
        let mut go_on = |_: u64| match self.stop.stopped() {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        };
        target.forget_cache()?;
        let made = orlop_verity::write(target.root(), target.verity(), &superblock, &mut go_on);
        self.stop.check()?;
        let made = Hex(made.map_err(tree)?);
        if made != expected {
            return Err(unlike(format!(
                "the root hash is {made}, expected {expected}"
            )));
        }
        target.forget_cache()?;
        orlop_verity::check_tree(target.verity(), &superblock, &expected.0).map_err(tree)?;
        self.verify_kernel()
    }

    /// Reads the kernel image back, and whether it leads to the root.
    fn verify_kernel(&self) -> Result<(), UpdateError> {
        let (start, length) = self.target.kernel();
        let file = self.target.root();
        let read = Section {
            file,
            at: start,
            end: start + length,
        };
        let found = digest(read).map_err(UpdateError::disk("reading", "the other slot"))?;
        let manifest = self.head().manifest();
        if found != manifest.uki.sha256 {
            return Err(UpdateError::Wrong(format!(
                "the kernel image's SHA-256 is {found}, expected {}",
                manifest.uki.sha256
            )));
        }
        let image = Piece {
            file,
            start,
            length,
        };
        let leads = root_hash_of(&image).map_err(|error| match error {
            UkiError::Io(source) => UpdateError::disk("reading", "the other slot")(source),
            error @ (UkiError::Format(_) | UkiError::CutOff | UkiError::NoRoot) => {
                UpdateError::Wrong(format!("the bundle's kernel image: {error}"))
            }
        })?;
        let root = manifest.verity.root_hash.to_string();
        match leads == root {
            true => Ok(()),
            false => Err(UpdateError::Wrong(format!(
                "the bundle's kernel image leads to the root {leads}, expected {root}; build the bundle \
                 again"
            ))),
        }
    }

    fn copy(&self) -> Result<(), UpdateError> {
        let (start, length) = self.target.kernel();
        let from = Section {
            file: self.target.root(),
            at: start,
            end: start + length,
        };
        let manifest = self.head().manifest();
        let root = manifest.verity.root_hash.to_string();
        let check = |file: &File| {
            let found = digest(Section {
                file,
                at: 0,
                end: length,
            })?;
            let leads = root_hash(file).map_err(io::Error::other)?;
            match found == manifest.uki.sha256 && leads == root {
                true => Ok(()),
                false => Err(io::Error::other("it does not hold what was written to it")),
            }
        };
        let copied = self.disks.esp.copy(from, length, check);
        copied.map_err(UpdateError::disk("writing", "the boot partition"))
    }
}

/// What is wrong with the hash tree. A disk that fails says nothing of the bundle.
fn tree(error: VerityError) -> UpdateError {
    match error {
        VerityError::Read { .. } | VerityError::Write { .. } => {
            UpdateError::disk("verifying", "the other slot")(io::Error::other(error))
        }
        VerityError::Length(_)
        | VerityError::Superblock(_)
        | VerityError::OtherSuperblock { .. }
        | VerityError::Block { .. }
        | VerityError::Padding { .. }
        | VerityError::Stopped => unlike(error),
    }
}

fn unlike(problem: impl std::fmt::Display) -> UpdateError {
    UpdateError::Wrong(format!(
        "the other slot does not hold what was written to it: {problem}"
    ))
}

fn digest(mut content: impl Read) -> io::Result<Digest> {
    let mut hash = Sha256::new();
    let mut piece = vec![0; PIECE];
    loop {
        match content.read(&mut piece)? {
            0 => return Ok(Hex(hash.finalize().into())),
            read => hash.update(&piece[..read]),
        }
    }
}
