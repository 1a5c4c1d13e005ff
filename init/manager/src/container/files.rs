//! What of the host a container sees besides its image: name files, secrets,
//! volumes, devices.

use std::ffi::CStr;
use std::io::{Error, Result};
use std::net::Ipv4Addr;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use orlop_unit::{Mount, Unit, VolumeSource};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};
use rustix::mount::{MountFlags, mount};

use super::config::{Bind, DeviceNode, IoNumbers};
use super::rootfs::{self, IdMap};
use super::user::Ids;
use crate::paths::Paths;

/// The largest secret, in bytes.
const SECRET_MAX: usize = 1 << 20;
/// How much the name files may come to together.
const NAMES_LIMITS: &CStr = c"mode=0755,size=64k,nr_inodes=8";
/// Held while a volume is made: two units may begin to use it at once.
static MAKING: Mutex<()> = Mutex::new(());

/// The container's place on the network, if it has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    /// Its own address.
    pub own: Ipv4Addr,
    /// The host's, where the name server answers.
    pub gateway: Ipv4Addr,
}

/// Writes `/etc/hosts`, `/etc/resolv.conf` and `/etc/hostname`. Software expects
/// that it can write to them, so they are on a file system of their own that is
/// too small to take the host's memory up.
pub fn names(dir: &Path, hostname: &str, address: Option<Address>, base: u32) -> Result<Vec<Bind>> {
    let mut hosts = "127.0.0.1\tlocalhost\n::1\tlocalhost\n".to_owned();
    let mut resolv = String::new();
    match address {
        Some(Address { own, gateway }) => {
            hosts.push_str(&format!("{own}\t{hostname}\n{gateway}\thost.internal\n"));
            resolv.push_str(&format!("nameserver {gateway}\noptions ndots:0\n"));
        }
        None => hosts.push_str(&format!("127.0.1.1\t{hostname}\n")),
    }
    let files = [
        ("hosts", hosts),
        ("resolv.conf", resolv),
        ("hostname", format!("{hostname}\n")),
    ];
    let place = dir.join("names");
    std::fs::create_dir_all(&place)?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount("tmpfs", &place, "tmpfs", flags, Some(NAMES_LIMITS))?;
    let mut binds = Vec::new();
    for (name, text) in files {
        let source = place.join(name);
        std::fs::write(&source, text)?;
        chown(&source, Some(base), Some(base))?;
        binds.push(Bind {
            source,
            target: format!("/etc/{name}"),
            read_only: false,
        });
    }
    Ok(binds)
}

/// Puts the unit's secrets into a file system in memory, readable by the
/// container's user only.
pub fn secrets(
    paths: &Paths,
    dir: &Path,
    unit: &Unit,
    user: &Ids,
    base: u32,
) -> Result<Option<Bind>> {
    if unit.container.secrets.is_empty() {
        return Ok(None);
    }
    let place = dir.join("secrets");
    std::fs::create_dir_all(&place)?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount("tmpfs", &place, "tmpfs", flags, Some(c"mode=0755,size=16m"))?;
    let (uid, gid) = (Some(base + user.uid), Some(base + user.gid));
    for name in &unit.container.secrets {
        let path = paths.secret(name);
        let bytes = crate::durable::read_bounded(&path, SECRET_MAX).map_err(|error| {
            let path = path.display();
            Error::new(
                error.kind(),
                format!("secret {name:?}: expected the file {path} on the host: {error}"),
            )
        })?;
        if bytes.len() > SECRET_MAX {
            return Err(Error::other(format!(
                "secret {name:?} is larger than {SECRET_MAX} bytes"
            )));
        }
        let file = place.join(name);
        std::fs::write(&file, bytes)?;
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o400))?;
        chown(&file, uid, gid)?;
    }
    Ok(Some(Bind {
        source: place,
        target: "/run/secrets".to_owned(),
        read_only: true,
    }))
}

/// Mounts the unit's volumes below `dir`, through the container's ids.
pub fn volumes(
    paths: &Paths,
    dir: &Path,
    unit: &Unit,
    image: &Path,
    map: &IdMap,
) -> Result<Vec<Bind>> {
    let mut binds = Vec::new();
    for (number, volume) in unit.container.volumes.iter().enumerate() {
        let source = match &volume.source {
            VolumeSource::Named(name) => {
                let source = paths.volume(name);
                make_volume(&source, volume, image)?;
                source
            }
            VolumeSource::HostPath(path) => paths.host(Path::new(path)),
        };
        let place = dir.join("volumes").join(number.to_string());
        std::fs::create_dir_all(dir.join("volumes"))?;
        rootfs::bind(&source, &place, map, volume.read_only)?;
        binds.push(Bind {
            source: place,
            target: volume.target.clone(),
            read_only: volume.read_only,
        });
    }
    Ok(binds)
}

/// A new volume belongs to whom the directory in the image belongs to that it
/// is mounted on, so that a service that is not root can write to it.
fn make_volume(source: &Path, volume: &Mount, image: &Path) -> Result<()> {
    let _making = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
    if source.is_dir() {
        return Ok(());
    }
    // No volume's name begins with a dot, so this is none's place.
    let name = source.file_name().unwrap_or_default().to_string_lossy();
    let beside = source.with_file_name(format!(".new-{name}"));
    // Left by an attempt that was interrupted, with an owner it had then.
    match std::fs::remove_dir_all(&beside) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    std::fs::create_dir_all(&beside)?;
    if let Some(metadata) = in_image(image, &volume.target) {
        chown(&beside, Some(metadata.uid()), Some(metadata.gid()))?;
        let mode = std::fs::Permissions::from_mode(metadata.mode() & 0o7777);
        std::fs::set_permissions(&beside, mode)?;
    }
    std::fs::rename(&beside, source)?;
    match source.parent() {
        Some(parent) => crate::durable::sync_dir(parent),
        None => Ok(()),
    }
}

/// What the image has at a path, not leaving the image.
pub fn in_image(image: &Path, path: &str) -> Option<std::fs::Metadata> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let root = openat(CWD, image, flags | OFlags::DIRECTORY, Mode::empty()).ok()?;
    let inside = path.trim_start_matches('/');
    let found = openat2(root, inside, flags, Mode::empty(), ResolveFlags::IN_ROOT).ok()?;
    std::fs::File::from(found).metadata().ok()
}

/// The numbers of the devices that the unit names.
pub fn devices(unit: &Unit) -> Result<Vec<DeviceNode>> {
    let mut nodes = Vec::new();
    for device in &unit.container.devices {
        let metadata = std::fs::metadata(&device.host).map_err(|error| {
            Error::new(error.kind(), format!("device {}: {error}", device.host))
        })?;
        let kind = metadata.file_type();
        let kind = match (kind.is_char_device(), kind.is_block_device()) {
            (true, _) => 'c',
            (false, true) => 'b',
            (false, false) => return Err(Error::other(format!("{} is no device", device.host))),
        };
        nodes.push(DeviceNode {
            path: device.container.clone(),
            kind,
            major: rustix::fs::major(metadata.rdev()),
            minor: rustix::fs::minor(metadata.rdev()),
            access: match (device.read, device.write) {
                (true, true) => "rw",
                (true, false) => "r",
                (false, true) => "w",
                (false, false) => "",
            }
            .to_owned(),
        });
    }
    Ok(nodes)
}

/// The numbers of the devices whose io the unit limits.
pub fn io_devices(unit: &Unit) -> Result<Vec<IoNumbers>> {
    let mut numbers = Vec::new();
    for limit in &unit.resources.io {
        let metadata = std::fs::metadata(&limit.device).map_err(|error| {
            Error::new(error.kind(), format!("device {}: {error}", limit.device))
        })?;
        if !metadata.file_type().is_block_device() {
            return Err(Error::other(format!("{} is no block device", limit.device)));
        }
        numbers.push(IoNumbers {
            major: rustix::fs::major(metadata.rdev()),
            minor: rustix::fs::minor(metadata.rdev()),
        });
    }
    Ok(numbers)
}

/// Where the kernel has directories `cpu0`, `cpu1`, and so on.
pub const PROCESSORS: &str = "/sys/devices/system/cpu";

/// Of each processor the directory that counts how often it was throttled for its heat, where it
/// has one: it changes with what others compute, so no container is to see it.
pub fn thermal_counts(processors: &Path) -> Result<Vec<String>> {
    let failed =
        |error: Error| Error::new(error.kind(), format!("{}: {error}", processors.display()));
    let mut numbers = Vec::new();
    for entry in std::fs::read_dir(processors).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix("cpu"));
        numbers.extend(number.and_then(|number| number.parse::<u32>().ok()));
    }
    numbers.sort_unstable();
    let paths = numbers
        .into_iter()
        .map(|number| processors.join(format!("cpu{number}/thermal_throttle")));
    Ok(paths
        .filter(|path| path.exists())
        .map(|path| path.display().to_string())
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_are_in_their_order() {
        let root = tempfile::tempdir().unwrap();
        for of in ["cpu10", "cpu2", "cpufreq", "cpu0x"] {
            std::fs::create_dir_all(root.path().join(of).join("thermal_throttle")).unwrap();
        }
        std::fs::create_dir(root.path().join("cpu3")).unwrap();
        let at = |of: &str| root.path().join(of).join("thermal_throttle");
        let expected = ["cpu2", "cpu10"].map(|of| at(of).display().to_string());
        assert_eq!(thermal_counts(root.path()).unwrap(), expected);
        let error = thermal_counts(Path::new("/no/such")).unwrap_err();
        assert!(error.to_string().starts_with("/no/such: "));
    }

    #[test]
    fn a_new_volume_takes_no_others_place() {
        let root = tempfile::tempdir().unwrap();
        let volumes = root.path().join("volumes");
        for other in ["shop.new", "shop.old", ".new-shop"] {
            std::fs::create_dir_all(volumes.join(other)).unwrap();
            std::fs::write(volumes.join(other).join("file"), other).unwrap();
        }
        let image = root.path().join("image");
        std::fs::create_dir_all(image.join("data")).unwrap();
        let mode = std::fs::Permissions::from_mode(0o750);
        std::fs::set_permissions(image.join("data"), mode).unwrap();
        for name in ["shop", "shop.db"] {
            let volume: Mount = format!("{name}:/data").parse().unwrap();
            make_volume(&volumes.join(name), &volume, &image).unwrap();
            let made = std::fs::metadata(volumes.join(name)).unwrap();
            assert_eq!(made.mode() & 0o7777, 0o750);
            assert!(!volumes.join(name).join("file").exists(), "a leftover's");
        }
        assert!(volumes.join("shop.new/file").exists());
        assert!(volumes.join("shop.old/file").exists());
        assert!(!volumes.join(".new-shop").exists());
        assert!(".new-shop:/data".parse::<Mount>().is_err());
    }
}
