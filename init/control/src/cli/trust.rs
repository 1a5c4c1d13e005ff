//! `orlop trust`: knowing a host by its fingerprint.

use std::fs::{self, OpenOptions};
use std::io::{self, BufRead, IsTerminal, Write};
use std::path::{Path, PathBuf};

use super::config::{Config, address};
use super::failure::{Failure, Outcome};
use super::output::print;
use crate::client::presented;
use crate::pki::Fingerprint;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// HOST[:PORT]
    address: String,
    /// The fingerprint that the host's console shows; asks without it
    #[arg(long, value_name = "SHA256:…")]
    fingerprint: Option<String>,
    /// What to call the host; the address's host by default
    #[arg(long)]
    name: Option<String>,
    /// Our certificate [default: client.crt beside the configuration]
    #[arg(long, value_name = "FILE")]
    cert: Option<PathBuf>,
    /// Our key [default: client.key beside the configuration]
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
}

pub(super) async fn run(args: &Args) -> Outcome {
    let config = Config::load()?;
    let (host, port) = address(&args.address)?;
    let name = args.name.clone().unwrap_or_else(|| host.clone());
    let expected: Option<Fingerprint> = match &args.fingerprint {
        Some(text) => Some(
            text.parse()
                .map_err(|error| Failure::new(format!("{error}")))?,
        ),
        None => None,
    };
    let cert = ours(&config, args.cert.as_deref(), "client.crt")?;
    let key = ours(&config, args.key.as_deref(), "client.key")?;
    let shown = presented(&host, port).await?;
    print(&format!("{host}:{port} presents {shown}\n"))?;
    match expected {
        Some(expected) if expected == shown => {}
        Some(expected) => {
            return Err(
                Failure::new(format!("that is not {expected}: nothing recorded"))
                    .help("compare with the host's console; something may be between you and it"),
            );
        }
        None => ask()?,
    }
    let entry = entry(&name, &args.address, &cert, &key, shown);
    record(&config, &name, &entry)?;
    print(&format!(
        "recorded as {name:?} in {}\n",
        config.path.display()
    ))
}

/// Our certificate or key: as given, or beside the configuration.
fn ours(config: &Config, given: Option<&Path>, name: &str) -> Result<PathBuf, Failure> {
    let path = match given {
        Some(path) => std::path::absolute(path)
            .map_err(|error| Failure::new(format!("{}: {error}", path.display())))?,
        None => config.directory().join(name),
    };
    if path.is_file() {
        return Ok(path);
    }
    Err(Failure::new(format!(
        "{} is not there: the host asks who we are",
        path.display()
    ))
    .help("name your certificate with --cert and its key with --key; `orlop pki init` makes them"))
}

fn ask() -> Outcome {
    if !io::stdin().is_terminal() {
        return Err(
            Failure::new("nobody to ask whether this is right: nothing recorded")
                .help("give the fingerprint that the host's console shows with --fingerprint"),
        );
    }
    print("Does the host's console show this fingerprint? [y/N] ")?;
    let mut answer = String::new();
    io::stdin()
        .lock()
        .read_line(&mut answer)
        .map_err(|error| Failure::new(format!("cannot read the answer: {error}")))?;
    match answer.trim() {
        "y" | "Y" | "yes" => Ok(()),
        _ => Err(Failure::new("nothing recorded")),
    }
}

fn entry(name: &str, address: &str, cert: &Path, key: &Path, shown: Fingerprint) -> String {
    let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
    format!(
        "[hosts.{}]\naddress = {}\ncertificate = {}\nkey = {}\nfingerprint = \"{shown}\"\n",
        quoted(name),
        quoted(address),
        quoted(&cert.display().to_string()),
        quoted(&key.display().to_string()),
    )
}

/// Adds the entry to the file, whose other lines stay as they are; an entry of
/// that name is not replaced unseen.
fn record(config: &Config, name: &str, entry: &str) -> Outcome {
    if let Some(old) = config.entry(name) {
        let path = config.path.display();
        return Err(Failure::new(format!(
            "{path} has a host {name:?} already, at {}",
            old.address
        ))
        .help("remove it there if it is no longer right, or give another --name"));
    }
    let failed = |error: io::Error| Failure::new(format!("{}: {error}", config.path.display()));
    fs::create_dir_all(config.directory()).map_err(failed)?;
    let text = fs::read_to_string(&config.path).unwrap_or_default();
    let gap = if text.is_empty() {
        ""
    } else if text.ends_with('\n') {
        "\n"
    } else {
        "\n\n"
    };
    let beside = config.path.with_extension("new");
    let write = || {
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .open(&beside)?;
        write!(file, "{text}{gap}{entry}")?;
        file.sync_all()?;
        fs::rename(&beside, &config.path)
    };
    write().map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_added_below_what_is_there() {
        let shown = Fingerprint::of(b"x");
        let entry = entry(
            "a \"b\"",
            "192.0.2.1",
            Path::new("/c.crt"),
            Path::new("/c.key"),
            shown,
        );
        let whole = format!("# mine\ndefault = \"x\"\n\n{entry}");
        let table: toml::Table = whole.parse().unwrap();
        assert_eq!(
            table["hosts"]["a \"b\""]["fingerprint"].as_str(),
            Some(&*shown.to_string())
        );
    }
}
