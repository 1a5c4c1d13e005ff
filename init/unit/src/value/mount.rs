//! What is mounted into a container besides its image: volumes, tmpfs, devices.

use std::fmt;
use std::str::FromStr;

use super::{Bytes, is_absolute_and_plain, volume_name_problem};
use crate::expected::{self, Expected, shown};

/// Where a volume's files are.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum VolumeSource {
    /// A named volume on the state partition, made when it is first used.
    Named(String),
    /// A path of the host, which must exist.
    HostPath(String),
}

/// A volume in a container: `shop-data:/data`, `/etc/orlop/pages:/www:ro`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Mount {
    /// What is mounted.
    pub source: VolumeSource,
    /// Absolute path in the container.
    pub target: String,
    /// Whether the container may only read it.
    pub read_only: bool,
}

impl FromStr for Mount {
    type Err = Expected;

    fn from_str(text: &str) -> Result<Self, Expected> {
        let parts: Vec<&str> = text.split(':').collect();
        let (source, target, mode) = match parts[..] {
            [source, target] => (source, target, "rw"),
            [source, target, mode] => (source, target, mode),
            _ => return Err(expected::volume()),
        };
        let read_only = match mode {
            "ro" => true,
            "rw" => false,
            other => return Err(expected::one_of(other, &["ro", "rw"])),
        };
        let source = if source.starts_with(['/', '.', '~']) {
            VolumeSource::HostPath(absolute(source)?)
        } else {
            match volume_name_problem(source) {
                None => VolumeSource::Named(source.to_owned()),
                Some(problem) => {
                    let name = shown(source);
                    return Err(
                        Expected::new(format!("{name} cannot name a volume: {problem}"))
                            .help("a path of the host begins with /"),
                    );
                }
            }
        };
        Ok(Self {
            source,
            target: below_root(target)?,
            read_only,
        })
    }
}

fn absolute(path: &str) -> Result<String, Expected> {
    if is_absolute_and_plain(path) {
        Ok(path.to_owned())
    } else {
        Err(expected::absolute_path(path))
    }
}

/// An absolute path in the container that is not its root, over which nothing can be mounted.
fn below_root(path: &str) -> Result<String, Expected> {
    match absolute(path)?.as_str() {
        "/" => Err(
            Expected::new("nothing can be mounted on the container's root \"/\"")
                .help("name a directory below it"),
        ),
        path => Ok(path.to_owned()),
    }
}

impl fmt::Display for VolumeSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            VolumeSource::Named(text) | VolumeSource::HostPath(text) => f.write_str(text),
        }
    }
}

impl fmt::Display for Mount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}:{}{}",
            self.source,
            self.target,
            if self.read_only { ":ro" } else { "" }
        )
    }
}

/// An empty file system in memory: `/run`, `/tmp:size=64M,mode=1777`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Tmpfs {
    /// Absolute path in the container.
    pub target: String,
    /// Most that it may hold; the kernel's default (half of memory) when `None`.
    pub size: Option<Bytes>,
    /// Permission bits of its root, at most 0o1777; 0o1777 when `None`.
    pub mode: Option<u32>,
}

impl FromStr for Tmpfs {
    type Err = Expected;

    fn from_str(text: &str) -> Result<Self, Expected> {
        let (target, options) = text.split_once(':').unwrap_or((text, ""));
        let mut tmpfs = Self {
            target: below_root(target)?,
            size: None,
            mode: None,
        };
        for option in options.split(',').filter(|option| !option.is_empty()) {
            match option.split_once('=') {
                Some(("size", size)) => tmpfs.size = Some(size.parse()?),
                Some(("mode", mode)) => tmpfs.mode = Some(permissions(mode)?),
                Some(_) | None => {
                    let option = shown(option);
                    return Err(
                        Expected::new(format!("{option} is not an option of a tmpfs"))
                            .help("for example \"/tmp:size=64M,mode=1777\""),
                    );
                }
            }
        }
        Ok(tmpfs)
    }
}

fn permissions(text: &str) -> Result<u32, Expected> {
    u32::from_str_radix(text, 8)
        .ok()
        .filter(|mode| *mode <= 0o1777)
        .ok_or_else(|| {
            Expected::new(format!(
                "{} is not a mode: expected octal digits, at most 1777",
                shown(text)
            ))
        })
}

impl fmt::Display for Tmpfs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.target)?;
        let size = self.size.map(|size| format!("size={size}"));
        let mode = self.mode.map(|mode| format!("mode={mode:o}"));
        let options: Vec<String> = [size, mode].into_iter().flatten().collect();
        if options.is_empty() {
            Ok(())
        } else {
            write!(f, ":{}", options.join(","))
        }
    }
}

/// A device of the host in the container: `/dev/ttyS1`, `/dev/ttyS1:/dev/gps:r`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Device {
    /// Path on the host, below `/dev`.
    pub host: String,
    /// Path in the container, below `/dev`.
    pub container: String,
    /// May be read.
    pub read: bool,
    /// May be written.
    pub write: bool,
}

impl FromStr for Device {
    type Err = Expected;

    fn from_str(text: &str) -> Result<Self, Expected> {
        let parts: Vec<&str> = text.split(':').collect();
        let (host, container, access) = match parts[..] {
            [host] => (host, host, "rw"),
            [host, container] if container.starts_with('/') => (host, container, "rw"),
            [host, access] => (host, host, access),
            [host, container, access] => (host, container, access),
            _ => return Err(device_form()),
        };
        let (read, write) = match access {
            "r" => (true, false),
            "w" => (false, true),
            "rw" => (true, true),
            other => return Err(expected::one_of(other, &["r", "w", "rw"])),
        };
        let below_dev = |path: &str| {
            let plain = is_absolute_and_plain(path) && path.starts_with("/dev/");
            if plain {
                Ok(path.to_owned())
            } else {
                Err(device_form())
            }
        };
        Ok(Self {
            host: below_dev(host)?,
            container: below_dev(container)?,
            read,
            write,
        })
    }
}

fn device_form() -> Expected {
    Expected::new("expected /dev/HOST, with an optional :/dev/CONTAINER and :r, :w or :rw")
        .help("for example \"/dev/ttyS1\" or \"/dev/ttyS1:/dev/gps:r\"")
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.host)?;
        if self.container != self.host {
            write!(f, ":{}", self.container)?;
        }
        match (self.read, self.write) {
            (true, true) => Ok(()),
            (true, false) => f.write_str(":r"),
            (false, true) => f.write_str(":w"),
            (false, false) => f.write_str(":"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round<T: FromStr<Err = Expected> + fmt::Display>(texts: &[&str]) {
        for text in texts {
            match text.parse::<T>() {
                Ok(value) => assert_eq!(value.to_string(), *text),
                Err(refusal) => panic!("{text}: {refusal}"),
            }
        }
    }

    fn refused<T: FromStr<Err = Expected>>(cases: &[(&str, &str)]) {
        for (text, message) in cases {
            match text.parse::<T>() {
                Ok(_) => panic!("{text} was accepted"),
                Err(refusal) => {
                    assert!(refusal.message.contains(message), "{text}: {refusal}");
                }
            }
        }
    }

    #[test]
    fn volumes() {
        round::<Mount>(&[
            "shop-data:/data",
            "shop-pages:/www:ro",
            "/srv/x:/x",
            "/srv/x:/x:ro",
        ]);
        refused::<Mount>(&[
            ("data", "expected SOURCE:/TARGET"),
            ("a:/b:ro:x", "expected SOURCE:/TARGET"),
            ("data:data", "not an absolute path"),
            ("data:/a/../b", "not an absolute path"),
            ("./data:/data", "not an absolute path"),
            ("data:/", "container's root"),
            ("a b:/data", "cannot name a volume"),
            (":/data", "it is empty"),
            ("data:/data:rx", "not one of \"ro\", \"rw\""),
        ]);
    }

    #[test]
    fn tmpfs() {
        round::<Tmpfs>(&["/run", "/tmp:size=64M,mode=1777", "/x:mode=700"]);
        refused::<Tmpfs>(&[
            ("run", "not an absolute path"),
            ("/", "container's root"),
            ("/tmp:size=64Q", "expected a number with"),
            ("/tmp:mode=9", "expected octal"),
            ("/tmp:mode=7777", "at most 1777"),
            ("/tmp:exec", "not an option of a tmpfs"),
        ]);
    }

    #[test]
    fn devices() {
        round::<Device>(&["/dev/ttyS1", "/dev/ttyS1:/dev/gps:r", "/dev/ttyS1:w"]);
        refused::<Device>(&[
            ("/etc/passwd", "expected /dev/HOST"),
            ("/dev/../etc/passwd", "expected /dev/HOST"),
            ("ttyS1", "expected /dev/HOST"),
            ("/dev/a:/dev/b:m", "not one of \"r\", \"w\", \"rw\""),
        ]);
    }
}
