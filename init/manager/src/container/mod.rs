//! Containers: what a unit becomes when it runs.
//!
//! The operations here take long and run in tasks of their own, one at a time
//! for each unit. They decide nothing: the owner task says what to do and
//! hears what came of it.

pub mod config;
pub mod files;
pub mod id;
pub mod ids;
pub mod image;
pub mod rootfs;
pub mod runtime;
pub mod stdio;
pub mod user;

use std::io::{Error, Result};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use orlop_control::types::MAKE_ROOM;
use orlop_images::store::StoredImage;
use orlop_unit::{Network as NetworkMode, Unit};
use rustix::process::Pid;

use crate::durable::no_room;
use crate::net::Network;
use crate::paths::Paths;
use config::Bind;
use files::Address;
use runtime::Runtime;

/// What operations work with; clones share it.
#[derive(Debug, Clone)]
pub struct Tools {
    /// Where everything is.
    pub paths: Arc<Paths>,
    /// The runtime.
    pub runtime: Runtime,
    /// The network; none in tests without one.
    pub network: Option<Arc<Network>>,
    /// The images.
    pub images: image::Images,
    /// The id ranges.
    pub ranges: Arc<Mutex<ids::Ranges>>,
}

/// A container that is ready to be created.
#[derive(Debug)]
pub struct Prepared {
    /// The manager's ends of its output.
    pub fifos: [OwnedFd; 2],
    /// The signal that its image wants to be stopped with.
    pub stop_signal: Option<String>,
    /// The id of its image.
    pub image_id: String,
    /// The unit wrote something over another image, and that is deleted.
    pub began_anew: bool,
    lock: OwnedFd,
    dir: PathBuf,
}

/// Whether a unit's container is on the bridge.
pub fn on_bridge(unit: &Unit) -> bool {
    match unit.container.network {
        NetworkMode::Default => true,
        NetworkMode::None => false,
    }
}

fn pid_of(pid: i32) -> Result<Pid> {
    Pid::from_raw(pid).ok_or_else(|| Error::other("the runtime named no process"))
}

impl Tools {
    /// Makes everything that the container `id` of `unit` needs, up to its
    /// configuration.
    pub async fn prepare(&self, unit: Arc<Unit>, id: String) -> Result<Prepared> {
        let dir = self.paths.container(&id);
        std::fs::create_dir_all(&dir)?;
        let lock = Runtime::lock(&dir).await?;
        let tools = self.clone();
        tokio::task::spawn_blocking(move || {
            let built = tools.build(&unit, &dir, lock);
            built.map_err(|error| tools.with_advice(error))
        })
        .await
        .map_err(Error::other)?
    }

    /// The error, with what to do if it is that of a full state partition: not
    /// every lack of room is.
    fn with_advice(&self, error: Error) -> Error {
        let (size, free) = crate::host::space(&self.paths.state());
        if !no_room(&error) || size == 0 || free > 0 {
            return error;
        }
        let text = format!("no room on the state partition ({error}): {MAKE_ROOM}");
        Error::new(error.kind(), text)
    }

    fn build(&self, unit: &Unit, dir: &Path, lock: OwnedFd) -> Result<Prepared> {
        let name = unit.name.as_str();
        let image = self.images.find(unit.container.image.as_str())?;
        let base = self
            .ranges
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .reserve(name)?;
        let user = self.user(unit, &image)?;
        let address = match &self.network {
            Some(network) if on_bridge(unit) => Some(Address {
                own: network.reserve(name).map_err(Error::other)?,
                gateway: network.gateway(),
            }),
            Some(_) | None => None,
        };
        let map = rootfs::IdMap::new(base)?;
        let mut binds = files::names(dir, &config::hostname(unit), address, base)?;
        binds.extend(files::volumes(&self.paths, dir, unit, &image.rootfs, &map)?);
        binds.extend(files::secrets(&self.paths, dir, unit, &user, base)?);
        binds.extend(self.bus(unit));
        let missing = mount_points(unit, &binds, &image.rootfs);
        let upper = self.paths.upper_dir(name);
        let upper = (!unit.container.read_only).then_some(upper.as_path());
        let began_anew = match upper {
            Some(upper) => fresh_upper(upper, &image.id)?,
            None => false,
        };
        rootfs::mount(dir, &image.rootfs, &map, base, upper, &missing)?;
        let spec = config::build(&config::Inputs {
            unit,
            image: &image.config,
            user: &user,
            rootfs: &dir.join("rootfs"),
            base,
            binds: &binds,
            devices: &files::devices(unit)?,
            io: &files::io_devices(unit)?,
            processors: &files::thermal_counts(Path::new(files::PROCESSORS))?,
        })
        .map_err(Error::other)?;
        std::fs::write(dir.join("config.json"), serde_json::to_vec(&spec)?)?;
        let fifos = stdio::make(dir, base + user.uid, base + user.gid)?;
        let image_config = image.config.config().as_ref();
        Ok(Prepared {
            fifos,
            stop_signal: image_config.and_then(|config| config.stop_signal().clone()),
            image_id: image.id,
            began_anew,
            lock,
            dir: dir.to_owned(),
        })
    }

    fn user(&self, unit: &Unit, image: &StoredImage) -> Result<user::Ids> {
        let from_image = image.config.config().as_ref();
        let from_image = from_image.and_then(|config| config.user().clone());
        let wanted = match &unit.container.user {
            Some(user) => user.to_string(),
            None => from_image.unwrap_or_default(),
        };
        let ids = user::resolve(&image.rootfs, &wanted)
            .map_err(|error| Error::other(format!("container.user {wanted:?}: {error}")))?;
        if ids.uid >= ids::COUNT || ids.gid >= ids::COUNT {
            return Err(Error::other(format!(
                "user {wanted:?} is {}:{}; a container has the ids 0 to {}",
                ids.uid,
                ids.gid,
                ids::COUNT - 1
            )));
        }
        Ok(ids)
    }

    fn bus(&self, unit: &Unit) -> Option<Bind> {
        // The directory, not the socket: a new manager makes another socket.
        unit.container.host_bus.map(|role| Bind {
            source: self.paths.bus_dir(role.as_str()),
            target: "/run/orlop".to_owned(),
            read_only: true,
        })
    }

    /// Creates the container; its process waits. Returns pid and start time.
    pub async fn create(&self, id: &str, prepared: &Prepared) -> Result<(i32, u64)> {
        let output = stdio::container_ends(&prepared.dir)?;
        let pid = self
            .runtime
            .create(&prepared.dir, id, output, &prepared.lock)
            .await?;
        let start = runtime::start_time(pid)
            .ok_or_else(|| Error::other("the container's process ended at once"))?;
        Ok((pid, start))
    }

    /// Connects a created container and lets it run.
    pub async fn start(&self, unit: &Unit, id: &str, pid: i32, prepared: &Prepared) -> Result<()> {
        self.connect(unit, pid).await?;
        self.runtime.start(id, &prepared.lock).await
    }

    async fn connect(&self, unit: &Unit, pid: i32) -> Result<()> {
        match &self.network {
            Some(network) if on_bridge(unit) => {
                let name = unit.name.as_str();
                let attached = network
                    .attach(name, pid_of(pid)?, &unit.container.ports)
                    .await;
                attached.map_err(Error::other)
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Takes a running container of an earlier manager over.
    pub async fn adopt(&self, unit: &Unit, pid: i32) -> Result<()> {
        match &self.network {
            Some(network) if on_bridge(unit) => {
                let name = unit.name.as_str();
                network.reserve(name).map_err(Error::other)?;
                let adopted = network
                    .adopt(name, pid_of(pid)?, &unit.container.ports)
                    .await;
                adopted.map_err(Error::other)
            }
            Some(_) | None => Ok(()),
        }
    }

    /// What there is of a container, once no call for it is under way.
    pub async fn look(&self, id: &str) -> Result<Option<runtime::Found>> {
        let dir = self.paths.container(id);
        std::fs::create_dir_all(&dir)?;
        let lock = Runtime::lock(&dir).await?;
        self.runtime.state(id, &lock).await
    }

    /// Lets a created container run, without having prepared it.
    pub async fn resume(&self, unit: &Unit, id: &str, pid: i32) -> Result<()> {
        let lock = Runtime::lock(&self.paths.container(id)).await?;
        self.adopt(unit, pid).await?;
        self.runtime.start(id, &lock).await
    }

    /// Sends a signal to a container.
    pub async fn signal(&self, id: &str, signal: i32, all: bool) -> Result<()> {
        let lock = Runtime::lock(&self.paths.container(id)).await?;
        self.runtime.kill(id, signal, all, &lock).await
    }

    /// Kills whatever runs of a container. Nothing of it writes from then on.
    /// Can be done over and over.
    pub async fn end(&self, id: &str) -> Result<()> {
        let dir = self.paths.container(id);
        if dir.exists() {
            let lock = Runtime::lock(&dir).await?;
            self.runtime.delete(id, &lock).await?;
        }
        Ok(())
    }

    /// Gives back all that a container held that has ended. Can be done over
    /// and over.
    pub async fn clean(&self, unit: &str, id: &str) -> Result<()> {
        let dir = self.paths.container(id);
        if dir.exists() {
            let _lock = Runtime::lock(&dir).await?;
            rootfs::unmount_below(&dir)?;
        }
        if let Some(network) = &self.network {
            network.detach(unit).await.map_err(Error::other)?;
        }
        match std::fs::remove_dir_all(&dir) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Gives back what a container held that belongs to no unit.
    pub async fn clean_stranger(&self, id: &str) -> Result<()> {
        let dir = self.paths.container(id);
        let lock = Runtime::lock(&dir).await?;
        self.runtime.delete(id, &lock).await?;
        rootfs::unmount_below(&dir)?;
        std::fs::remove_dir_all(&dir)
    }

    /// Gives back what a unit held beyond its containers.
    pub fn forget(&self, unit: &str) -> Result<()> {
        if let Some(network) = &self.network {
            network.release(unit);
        }
        for dir in [self.paths.upper_dir(unit), self.paths.logs(unit)] {
            match std::fs::remove_dir_all(&dir) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
        // Last: the ids must not go to another unit while files have them.
        let mut ranges = self.ranges.lock().unwrap_or_else(PoisonError::into_inner);
        ranges.release(unit)
    }
}

/// What a unit wrote belongs to the image that it wrote over. Only a mark that
/// says so, or none at all, is a reason to delete it: a disk that cannot be
/// read just now is not. Returns whether something that it wrote is deleted.
fn fresh_upper(dir: &Path, image: &str) -> Result<bool> {
    renew(dir, image, |dir| std::fs::remove_dir_all(dir))
}

fn renew(dir: &Path, image: &str, remove: impl Fn(&Path) -> Result<()>) -> Result<bool> {
    let mark = dir.join("image");
    match std::fs::read(&mark) {
        Ok(of) if of == image.as_bytes() => return Ok(false),
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        // Gone for good before anything else is: the power may go, and one half
        // of the files must never pass for what was written over that image.
        Ok(_) => {
            std::fs::remove_file(&mark)?;
            crate::durable::sync_dir(dir)?;
        }
        Err(_) => {}
    }
    let written = std::fs::read_dir(dir.join("upper"));
    let lost = written.is_ok_and(|mut written| written.next().is_some());
    if lost {
        let dir = dir.display();
        tracing::warn!("{dir} holds what was written over another image: it is deleted");
    }
    if dir.exists() {
        remove(dir)?;
    }
    std::fs::create_dir_all(dir)?;
    crate::durable::replace(&mark, image.as_bytes(), true)?;
    Ok(lost)
}

/// The mount points that the image lacks; `true` for directories.
fn mount_points(unit: &Unit, binds: &[Bind], image: &Path) -> Vec<(String, bool)> {
    let usual = ["/proc", "/dev", "/sys"].map(|path| (path.to_owned(), true));
    let tmpfs = unit.container.tmpfs.iter();
    let tmpfs = tmpfs.map(|tmpfs| (tmpfs.target.clone(), true));
    let binds = binds
        .iter()
        .map(|bind| (bind.target.clone(), bind.source.is_dir()));
    usual
        .into_iter()
        .chain(tmpfs)
        .chain(binds)
        .filter(|(path, _)| files::in_image(image, path).is_none())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_another_images_files_are_deleted() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("upper");
        let (mark, file) = (dir.join("image"), dir.join("file"));
        fresh_upper(&dir, "one").unwrap();
        std::fs::write(&file, "written").unwrap();
        fresh_upper(&dir, "one").unwrap();
        assert!(file.exists());
        // A mark that cannot be read, as root reads all files: a directory.
        std::fs::remove_file(&mark).unwrap();
        std::fs::create_dir(&mark).unwrap();
        assert!(fresh_upper(&dir, "one").is_err());
        assert!(file.exists());
        std::fs::remove_dir(&mark).unwrap();
        fresh_upper(&dir, "one").unwrap();
        assert!(!file.exists());
        std::fs::create_dir(dir.join("upper")).unwrap();
        assert!(!fresh_upper(&dir, "one").unwrap());
        std::fs::write(dir.join("upper/file"), "written").unwrap();
        assert!(!fresh_upper(&dir, "one").unwrap());
        assert!(fresh_upper(&dir, "two").unwrap(), "it is told");
        assert_eq!(std::fs::read_to_string(&mark).unwrap(), "two");
        assert!(!fresh_upper(&dir, "three").unwrap(), "there was nothing");
    }

    #[test]
    fn files_that_are_half_deleted_have_no_mark() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("upper");
        fresh_upper(&dir, "one").unwrap();
        let half_way = |_: &Path| Err(Error::other("the power is gone"));
        assert!(renew(&dir, "two", half_way).is_err());
        assert!(!dir.join("image").exists());
    }
}
