//! The command line of `orlop-image oci`.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use jiff::Timestamp;

/// Make a small OCI image from files, a static binary, or a rootfs tar.
#[derive(Clone, Debug, Args)]
pub struct OciArgs {
    /// Where to write: an archive if the name ends in .tar, else a layout
    /// directory
    #[arg(short, long, value_name = "PATH")]
    pub output: PathBuf,

    /// What to write, whatever the name says
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<Format>,

    /// Name of the image
    #[arg(short = 't', long, visible_alias = "tag", value_name = "NAME[:TAG]")]
    pub reference: String,

    /// Tar archive with the root file system (plain, gzip or zstd)
    #[arg(long, value_name = "TAR")]
    pub rootfs: Option<PathBuf>,

    /// File, or directory with all in it, to put into the image, owned by 0:0;
    /// the mode is octal, by default 755 for what is executable and 644 for
    /// the rest (repeatable)
    #[arg(long = "file", value_name = "SRC:DEST[:MODE]")]
    pub files: Vec<FileSpec>,

    /// Statically linked program to put at the root and make the entrypoint
    #[arg(long, value_name = "FILE")]
    pub binary: Option<PathBuf>,

    /// Word of the entrypoint (repeatable)
    #[arg(long, value_name = "WORD", allow_hyphen_values = true)]
    pub entrypoint: Vec<String>,

    /// Word of the default command (repeatable)
    #[arg(long, value_name = "WORD", allow_hyphen_values = true)]
    pub cmd: Vec<String>,

    /// Environment variable (repeatable)
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    pub env: Vec<(String, String)>,

    /// User, and group, of the processes
    #[arg(long, value_name = "USER[:GROUP]")]
    pub user: Option<String>,

    /// Label (repeatable)
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    pub label: Vec<(String, String)>,

    /// Working directory
    #[arg(long, value_name = "DIR")]
    pub workdir: Option<String>,

    /// Port that the image serves (repeatable)
    #[arg(long, value_name = "PORT[/tcp|/udp]")]
    pub expose: Vec<Port>,

    /// Signal that asks the container to stop
    #[arg(long, value_name = "SIGNAL")]
    pub stop_signal: Option<String>,

    /// When the image was made: RFC 3339, or seconds since 1970 with `@`
    /// [default: SOURCE_DATE_EPOCH, or else 1970]
    #[arg(long, value_name = "TIME")]
    pub created: Option<String>,

    /// Machine that the image is for, in the OCI's words
    #[arg(long, value_name = "ARCH", default_value = "amd64")]
    pub architecture: String,

    /// Compression of the layer
    #[arg(long, value_name = "KIND", default_value = "gzip")]
    pub compression: Compression,
}

/// See [`OciArgs::format`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A directory.
    Layout,
    /// A tar archive of one.
    Archive,
}

/// See [`OciArgs::compression`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Compression {
    /// Not at all.
    None,
    /// As every tool reads it.
    Gzip,
    /// Smaller and faster to read.
    Zstd,
}

/// A file for the image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSpec {
    /// Path on this machine.
    pub source: PathBuf,
    /// Path in the image.
    pub target: String,
    /// Permission bits, at most `0o7777`.
    pub mode: Option<u32>,
}

/// A port, as the configuration has it (`80/tcp`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port(pub String);

impl OciArgs {
    /// The format asked for, or the one that the output's name means.
    pub fn format(&self) -> Format {
        let by_name = match self.output.extension() {
            Some(extension) if extension == "tar" => Format::Archive,
            _ => Format::Layout,
        };
        self.format.unwrap_or(by_name)
    }

    /// The time asked for, or that of SOURCE_DATE_EPOCH, or 1970.
    ///
    /// # Errors
    /// Text that is no time.
    pub fn created(&self) -> Result<Timestamp> {
        if let Some(text) = &self.created {
            return parse_time(text);
        }
        match std::env::var("SOURCE_DATE_EPOCH") {
            Ok(text) => parse_time(&format!("@{text}")).context("SOURCE_DATE_EPOCH"),
            Err(_) => Ok(Timestamp::UNIX_EPOCH),
        }
    }
}

fn parse_time(text: &str) -> Result<Timestamp> {
    let parsed = match text.strip_prefix('@') {
        Some(secs) => secs
            .parse()
            .ok()
            .and_then(|secs| Timestamp::from_second(secs).ok()),
        None => text.parse().ok(),
    };
    let hint = "is no time; write it as 2026-01-31T12:00:00Z or @1769860800";
    parsed.with_context(|| format!("{text:?} {hint}"))
}

impl FromStr for FileSpec {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let parts: Vec<&str> = text.split(':').collect();
        let (source, target, mode) = match parts.as_slice() {
            [source, target] => (source, target, None),
            [source, target, mode] => (source, target, Some(parse_mode(mode)?)),
            _ => bail!("expected SRC:DEST or SRC:DEST:MODE"),
        };
        if source.is_empty() || target.trim_matches('/').is_empty() {
            bail!("expected SRC:DEST, neither of them empty or the root itself");
        }
        let source = Path::new(source).to_owned();
        Ok(Self {
            source,
            target: (*target).to_owned(),
            mode,
        })
    }
}

fn parse_mode(text: &str) -> Result<u32> {
    let mode = u32::from_str_radix(text, 8)
        .ok()
        .filter(|mode| *mode <= 0o7777);
    mode.with_context(|| format!("mode {text:?} is not octal, 0 to 7777"))
}

impl FromStr for Port {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let (number, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        if !matches!(protocol, "tcp" | "udp" | "sctp") {
            bail!("protocol {protocol:?} is none of tcp, udp, sctp");
        }
        match number.parse::<u16>() {
            Ok(number) if number > 0 => Ok(Self(format!("{number}/{protocol}"))),
            _ => bail!("port {number:?} is not a number from 1 to 65535"),
        }
    }
}

fn pair(text: &str) -> Result<(String, String)> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => bail!("expected NAME=VALUE"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_specs() {
        let spec: FileSpec = "a/b:/c:4755".parse().unwrap();
        assert_eq!(spec.source, Path::new("a/b"));
        assert_eq!((spec.target.as_str(), spec.mode), ("/c", Some(0o4755)));
        assert_eq!("a:/c".parse::<FileSpec>().unwrap().mode, None);
        for bad in [
            "",
            "a",
            "a:",
            ":b",
            "a:/",
            "a:b:c",
            "a:b:99",
            "a:b:17777",
            "a:b:7:7",
        ] {
            assert!(bad.parse::<FileSpec>().is_err(), "{bad}");
        }
    }

    #[test]
    fn ports() {
        assert_eq!("80".parse::<Port>().unwrap().0, "80/tcp");
        assert_eq!("53/udp".parse::<Port>().unwrap().0, "53/udp");
        for bad in ["", "0", "65536", "80/icmp", "x"] {
            assert!(bad.parse::<Port>().is_err(), "{bad}");
        }
    }

    #[test]
    fn times() {
        assert_eq!(
            parse_time("@60").unwrap().to_string(),
            "1970-01-01T00:01:00Z"
        );
        assert_eq!(
            parse_time("2026-01-31T12:00:00Z").unwrap().as_second(),
            1_769_860_800
        );
        for bad in ["", "60", "@", "@x", "yesterday"] {
            assert!(parse_time(bad).is_err(), "{bad}");
        }
    }
}
