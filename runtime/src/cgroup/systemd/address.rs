//! Where systemd is reached: the system's bus for root, a user's own for anyone else.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

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

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Address::Path(path) => write!(f, "{}", path.display()),
            Address::Abstract(name) => write!(f, "@{}", String::from_utf8_lossy(name)),
        }
    }
}

/// `user`: a user's own systemd.
pub(super) fn address(user: bool) -> Result<Address> {
    choose(user, |name| std::env::var_os(name))
}

fn choose(user: bool, variable: impl Fn(&str) -> Option<OsString>) -> Result<Address> {
    let name = if user {
        "DBUS_SESSION_BUS_ADDRESS"
    } else {
        "DBUS_SYSTEM_BUS_ADDRESS"
    };
    if let Some(addresses) = variable(name).filter(|text| !text.is_empty()) {
        return parse(addresses.as_bytes())
            .with_context(|| format!("{name}={addresses:?}: no address of a Unix socket"));
    }
    if !user {
        return Ok(Address::Path(SYSTEM.into()));
    }
    let own = variable("XDG_RUNTIME_DIR").map(PathBuf::from);
    match own.filter(|path| path.is_absolute()) {
        Some(own) => Ok(Address::Path(own.join("bus"))),
        None => bail!(
            "whose systemd is it? Set XDG_RUNTIME_DIR, as a login does (`loginctl enable-linger` \
             has a user's systemd run without one), or take the cgroupfs manager"
        ),
    }
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

    fn chosen(user: bool, variables: &[(&str, &str)]) -> Result<String> {
        let variable = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| OsString::from(value))
        };
        Ok(choose(user, variable)?.to_string())
    }

    #[test]
    fn places() {
        let session = "DBUS_SESSION_BUS_ADDRESS";
        let runtime = ("XDG_RUNTIME_DIR", "/run/user/7");
        for (user, variables, expected) in [
            (false, &[runtime][..], SYSTEM),
            (false, &[("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/x")], "/x"),
            (true, &[runtime], "/run/user/7/bus"),
            (true, &[runtime, (session, "unix:abstract=x")], "@x"),
            (true, &[runtime, (session, "")], "/run/user/7/bus"),
        ] {
            assert_eq!(chosen(user, variables).unwrap(), expected, "{variables:?}");
        }
        for variables in [
            &[("XDG_RUNTIME_DIR", "run")][..],
            &[],
            &[(session, "tcp:host=x")],
        ] {
            assert!(chosen(true, variables).is_err(), "{variables:?}");
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
