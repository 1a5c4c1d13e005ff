//! Where systemd is reached: the system's bus for root, a user's own for anyone else.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use rustix::net::SocketAddrUnix;

const SYSTEM: &str = "/run/dbus/system_bus_socket";

/// A socket's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Address {
    Path(PathBuf),
    Abstract(Vec<u8>),
}

impl Address {
    pub(super) fn socket(&self) -> rustix::io::Result<SocketAddrUnix> {
        match self {
            Address::Path(path) => SocketAddrUnix::new(path),
            Address::Abstract(name) => SocketAddrUnix::new_abstract_name(name),
        }
    }
}

/// An address and what is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) address: Address,
    /// A bus, or systemd alone.
    pub(super) is_bus: bool,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.address {
            Address::Path(path) => write!(f, "{}", path.display()),
            Address::Abstract(name) => write!(f, "@{}", String::from_utf8_lossy(name)),
        }
    }
}

/// `user`: a user's own systemd.
pub(super) fn place(user: bool) -> Result<Place> {
    choose(user, |name| std::env::var_os(name), |path| path.exists())
}

fn choose(
    user: bool,
    variable: impl Fn(&str) -> Option<OsString>,
    exists: impl Fn(&Path) -> bool,
) -> Result<Place> {
    let name = if user {
        "DBUS_SESSION_BUS_ADDRESS"
    } else {
        "DBUS_SYSTEM_BUS_ADDRESS"
    };
    let at = |path: PathBuf, is_bus| Place {
        address: Address::Path(path),
        is_bus,
    };
    if let Some(addresses) = variable(name).filter(|text| !text.is_empty()) {
        let address = parse(addresses.as_bytes())
            .with_context(|| format!("{name}={addresses:?}: no address of a Unix socket"))?;
        return Ok(Place {
            address,
            is_bus: true,
        });
    }
    if !user {
        return Ok(at(SYSTEM.into(), true));
    }
    let own = variable("XDG_RUNTIME_DIR").map(PathBuf::from);
    let Some(own) = own.filter(|path| path.is_absolute()) else {
        bail!(
            "whose systemd is it? Set XDG_RUNTIME_DIR, as a login does (`loginctl enable-linger` \
             has a user's systemd run without one), or take the cgroupfs manager"
        )
    };
    let (bus, alone) = (own.join("bus"), own.join("systemd/private"));
    Ok(if !exists(&bus) && exists(&alone) {
        at(alone, false)
    } else {
        at(bus, true)
    })
}

/// The first Unix socket of a list like `unix:path=/run/bus,guid=1;tcp:port=2`.
fn parse(addresses: &[u8]) -> Option<Address> {
    addresses.split(|b| *b == b';').find_map(|address| {
        let keys = address.strip_prefix(b"unix:")?;
        keys.split(|b| *b == b',').find_map(|pair| {
            if let Some(path) = pair.strip_prefix(b"path=") {
                let path = OsString::from_vec(unescape(path)?);
                return Some(Address::Path(path.into()));
            }
            let name = pair.strip_prefix(b"abstract=")?;
            Some(Address::Abstract(unescape(name)?))
        })
    })
}

/// `%41` is an A.
fn unescape(text: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = text.iter();
    let mut plain = Vec::new();
    while let Some(byte) = bytes.next() {
        if *byte != b'%' {
            plain.push(*byte);
            continue;
        }
        let digits = [*bytes.next()?, *bytes.next()?];
        plain.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
    }
    (!plain.is_empty()).then_some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(user: bool, variables: &[(&str, &str)], there: &[&str]) -> Result<String> {
        let variable = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| OsString::from(value))
        };
        let exists = |path: &Path| there.iter().any(|known| Path::new(known) == path);
        let place = choose(user, variable, exists)?;
        Ok(format!("{place} {}", place.is_bus))
    }

    #[test]
    fn places() {
        let session = "DBUS_SESSION_BUS_ADDRESS";
        let runtime = ("XDG_RUNTIME_DIR", "/run/user/7");
        let (bus, alone) = ("/run/user/7/bus", "/run/user/7/systemd/private");
        for (user, variables, there, expected) in [
            (
                false,
                &[runtime][..],
                &[bus][..],
                "/run/dbus/system_bus_socket true",
            ),
            (
                false,
                &[("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/x")],
                &[],
                "/x true",
            ),
            (true, &[runtime], &[bus, alone], "/run/user/7/bus true"),
            (
                true,
                &[runtime],
                &[alone],
                "/run/user/7/systemd/private false",
            ),
            // To say that it is not there.
            (true, &[runtime], &[], "/run/user/7/bus true"),
            (
                true,
                &[runtime, (session, "unix:path=/x")],
                &[bus],
                "/x true",
            ),
            (
                true,
                &[runtime, (session, "")],
                &[bus],
                "/run/user/7/bus true",
            ),
        ] {
            assert_eq!(
                chosen(user, variables, there).unwrap(),
                expected,
                "{variables:?}"
            );
        }
        for variables in [
            &[("XDG_RUNTIME_DIR", "run")][..],
            &[],
            &[(session, "tcp:host=x")],
        ] {
            assert!(chosen(true, variables, &[]).is_err(), "{variables:?}");
        }
    }

    #[test]
    fn addresses() {
        let parsed = |text: &str| parse(text.as_bytes());
        let path = |path: &str| Some(Address::Path(path.into()));
        assert_eq!(parsed("unix:path=/a%2fb,guid=1"), path("/a/b"));
        assert_eq!(parsed("unix:guid=1,path=/a"), path("/a"));
        assert_eq!(parsed("tcp:host=x;unix:path=/a"), path("/a"));
        assert_eq!(
            parsed("unix:abstract=a"),
            Some(Address::Abstract(b"a".to_vec()))
        );
        for text in [
            "",
            "unix:",
            "unix:path=",
            "unix:path=%4",
            "unix:path=%zz",
            "unixexec:path=/a",
        ] {
            assert_eq!(parsed(text), None, "{text}");
        }
    }
}
