//! The client's configuration file: which hosts there are and how each is
//! trusted.
//!
//! ```toml
//! default = "demo"                  # without --host; needed with two hosts or more
//! [hosts.demo]
//! address = "192.0.2.10:7470"       # the port may be left out
//! certificate = "client.crt"        # ours; relative to this file's directory
//! key = "client.key"
//! fingerprint = "SHA256:..."        # as the host's console shows it, or:
//! ca = "ca.crt"                     # the authority that signed the host's
//! ```

use std::collections::BTreeMap;
use std::env;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::failure::Failure;
use crate::client::{API_PORT, Endpoint, Identity, Trust};
use crate::pki::files;

/// The API of the machine that the command runs on.
const LOCAL_SOCKET: &str = "/run/orlop/api.sock";

/// The configuration file, as far as there is one.
#[derive(Debug)]
pub(super) struct Config {
    /// Where it is or would be.
    pub(super) path: PathBuf,
    content: Content,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Content {
    default: Option<String>,
    #[serde(default)]
    hosts: BTreeMap<String, Entry>,
}

/// One host.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Entry {
    pub(super) address: String,
    certificate: PathBuf,
    key: PathBuf,
    ca: Option<PathBuf>,
    pub(super) fingerprint: Option<String>,
}

impl Config {
    /// Reads the file; none there is an empty one.
    pub(super) fn load() -> Result<Self, Failure> {
        let path = match env::var_os("ORLOP_CONFIG") {
            Some(path) => PathBuf::from(path),
            None => default_path()?,
        };
        if !path.exists() {
            return Ok(Self {
                path,
                content: Content::default(),
            });
        }
        let text = files::read_text(&path).map_err(|error| Failure::new(error.to_string()))?;
        Self::parse(path, &text)
    }

    fn parse(path: PathBuf, text: &str) -> Result<Self, Failure> {
        let content: Content = toml::from_str(text).map_err(|error| {
            Failure::new(format!(
                "{}: {}",
                path.display(),
                error.to_string().trim_end()
            ))
        })?;
        Ok(Self { path, content })
    }

    /// The host called `name`, if there is one.
    pub(super) fn entry(&self, name: &str) -> Option<&Entry> {
        self.content.hosts.get(name)
    }

    /// The directory that files in the configuration are relative to.
    pub(super) fn directory(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new("."))
    }

    /// Where to find the host that was asked for, or the one to take without
    /// asking.
    pub(super) fn endpoint(&self, asked: Option<&str>) -> Result<Endpoint, Failure> {
        match asked.or(self.content.default.as_deref()) {
            Some(host) => self.named(host),
            None if Path::new(LOCAL_SOCKET).exists() => Ok(Endpoint::Unix(LOCAL_SOCKET.into())),
            None => self.only(),
        }
    }

    fn named(&self, host: &str) -> Result<Endpoint, Failure> {
        if let Some(path) = host.strip_prefix("unix:") {
            return Ok(Endpoint::Unix(path.trim_start_matches("//").into()));
        }
        if let Some(entry) = self.entry(host) {
            return self.reach(host, entry);
        }
        let asked = address(host)?;
        let known = self
            .content
            .hosts
            .iter()
            .find(|(_, entry)| address(&entry.address).is_ok_and(|known| known == asked));
        match known {
            Some((name, entry)) => self.reach(name, entry),
            None => Err(
                Failure::new(format!("the host {host:?} is not known")).help(format!(
                    "`orlop trust {host}` records it in {}",
                    self.path.display()
                )),
            ),
        }
    }

    fn only(&self) -> Result<Endpoint, Failure> {
        let mut hosts = self.content.hosts.iter();
        match (hosts.next(), hosts.next()) {
            (Some((name, entry)), None) => self.reach(name, entry),
            (None, _) => Err(Failure::new("no host is configured").help(format!(
                "`orlop trust HOST` records one in {}; on an Orlop host itself, run as root",
                self.path.display()
            ))),
            (Some(_), Some(_)) => {
                let names: Vec<&str> = self.content.hosts.keys().map(String::as_str).collect();
                Err(Failure::new("which host?").help(format!(
                    "--host or ORLOP_HOST with one of {}, or `default` in {}",
                    names.join(", "),
                    self.path.display()
                )))
            }
        }
    }

    fn reach(&self, name: &str, entry: &Entry) -> Result<Endpoint, Failure> {
        let wrong = |reason: String| {
            Failure::new(format!("{}: host {name:?}: {reason}", self.path.display()))
        };
        let read = |file: &Path| {
            files::read_text(&self.directory().join(file)).map_err(|error| wrong(error.to_string()))
        };
        let (host, port) = address(&entry.address)?;
        let trust = match (&entry.ca, &entry.fingerprint) {
            (Some(ca), None) => Trust::Authority(read(ca)?),
            (None, Some(print)) => {
                Trust::Pin(print.parse().map_err(|error| wrong(format!("{error}")))?)
            }
            (Some(_), Some(_)) => {
                return Err(wrong("both `ca` and `fingerprint` are given".into())
                    .help("keep one: `fingerprint` for a host that made its own certificate"));
            }
            (None, None) => {
                return Err(wrong("neither `ca` nor `fingerprint` is given".into())
                    .help("without one of them the host cannot be told from an impostor"));
            }
        };
        let identity = Identity {
            certificate: read(&entry.certificate)?,
            key: read(&entry.key)?,
        };
        Ok(Endpoint::tls(&host, port, &trust, &identity)?)
    }
}

fn default_path() -> Result<PathBuf, Failure> {
    let base = match (env::var_os("XDG_CONFIG_HOME"), env::var_os("HOME")) {
        (Some(base), _) if !base.is_empty() => PathBuf::from(base),
        (_, Some(home)) if !home.is_empty() => PathBuf::from(home).join(".config"),
        // As for a service without a home.
        (_, _) => {
            return Err(
                Failure::new("there is no home directory to find the configuration in")
                    .help("ORLOP_CONFIG names the file"),
            );
        }
    };
    Ok(base.join("orlop/config.toml"))
}

/// `HOST`, `HOST:PORT`, `IPv6` or `[IPv6]:PORT`.
pub(super) fn address(text: &str) -> Result<(String, u16), Failure> {
    let wrong = || {
        Failure::new(format!("{text:?} is no address"))
            .help("expected HOST, HOST:PORT or [IPv6]:PORT")
    };
    if text.parse::<std::net::Ipv6Addr>().is_ok() {
        return Ok((text.to_owned(), API_PORT));
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) => (
            host,
            port.parse()
                .ok()
                .filter(|port| *port > 0)
                .ok_or_else(wrong)?,
        ),
        None => (text, API_PORT),
    };
    let host = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._:".contains(c);
    if host.is_empty() || !host.chars().all(plain) {
        return Err(wrong());
    }
    Ok((host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Role;

    #[test]
    fn addresses() {
        for (text, host, port) in [
            ("demo", "demo", 7470),
            ("demo:80", "demo", 80),
            ("192.0.2.1:1", "192.0.2.1", 1),
            ("2001:db8::1", "2001:db8::1", 7470),
            ("[2001:db8::1]:80", "2001:db8::1", 80),
        ] {
            assert_eq!(address(text).unwrap(), (host.to_owned(), port), "{text}");
        }
        for text in [
            "",
            ":80",
            "demo:",
            "demo:0",
            "demo:70000",
            "a b",
            "http://demo",
        ] {
            assert!(address(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn hosts_are_found_by_name_address_or_being_the_only_one() {
        let dir = tempfile::tempdir().unwrap();
        let now = jiff::Timestamp::now();
        files::init(dir.path(), &["demo".into()], now).unwrap();
        files::client(dir.path(), "ann", Role::Reader, now, 30).unwrap();
        let one = "[hosts.demo]\naddress = \"192.0.2.1\"\ncertificate = \"client.crt\"\n\
                   key = \"client.key\"\nca = \"ca.crt\"\n";
        let path = dir.path().join("config.toml");
        let config = Config::parse(path.clone(), one).unwrap();
        for asked in [
            Some("demo"),
            Some("192.0.2.1"),
            Some("192.0.2.1:7470"),
            None,
        ] {
            let endpoint = match asked {
                Some(asked) => config.named(asked),
                None => config.only(),
            };
            assert_eq!(endpoint.unwrap().to_string(), "192.0.2.1:7470", "{asked:?}");
        }
        assert_eq!(config.named("unix:/x").unwrap().to_string(), "/x");
        for unknown in ["other", "192.0.2.1:80"] {
            assert!(config.named(unknown).is_err(), "{unknown}");
        }
        let two = format!("{one}{}", one.replace("demo", "two"));
        assert!(Config::parse(path.clone(), &two).unwrap().only().is_err());
        for wrong in [
            one.replace("ca.crt", "missing.crt"),
            one.replace("ca = \"ca.crt\"\n", ""),
            format!("{one}fingerprint = \"SHA256:00\"\n"),
            one.replace("ca = \"ca.crt\"", "fingerprint = \"SHA256:00\""),
        ] {
            let config = Config::parse(path.clone(), &wrong).unwrap();
            assert!(config.only().is_err(), "{wrong}");
        }
        assert!(Config::parse(path, "[hosts.demo]\nadress = \"x\"\n").is_err());
    }

    proptest::proptest! {
        #[test]
        fn what_is_an_address_stays_one(text in "\\PC{0,40}", port in 1_u16..) {
            if let Ok((host, _)) = address(&text) {
                let again = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
                proptest::prop_assert_eq!(address(&again).unwrap(), (host, port));
            }
        }
    }
}
