//! `orlop-image keygen` and `orlop-image endorse`.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use clap::Args;
use orlop_bundle::{Endorsement, PublicKey, SecretKey};
use orlop_unit::UpdateKey;

/// Bytes of the largest key or endorsement that is read.
const SIZE_MAX: u64 = 16 << 10;

/// What `orlop-image keygen` is asked.
#[derive(Debug, Args)]
pub struct KeygenArgs {
    /// The private key to write; it must not be there yet
    pub file: PathBuf,
    /// Print the public key of a private key that is there
    #[arg(long)]
    pub public: bool,
}

/// What `orlop-image endorse` is asked.
#[derive(Debug, Args)]
pub struct EndorseArgs {
    /// The private key that hosts trust now
    pub old: PathBuf,
    /// The public key that they are to trust too: "ed25519:…", as keygen prints it
    pub new: UpdateKey,
    /// Name of the host images that it may sign for
    #[arg(long)]
    pub name: String,
}

/// Makes a private key, for its owner alone, and prints its public key; or only
/// prints that of one that is there.
///
/// # Errors
/// A file that is there already, or not; one that is no key; no randomness.
pub fn keygen(args: &KeygenArgs) -> Result<()> {
    let shown = args.file.display();
    if args.public {
        println!("{}", read_secret(&args.file)?.public().id());
        return Ok(());
    }
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|error| anyhow!("no random bytes: {error}"))?;
    let key = SecretKey::from_seed(&seed);
    let pem = key.to_pem()?;
    fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&args.file)
        .and_then(|mut file| {
            file.write_all(pem.as_bytes())
                .and_then(|()| file.sync_all())
        })
        .with_context(|| {
            format!(
                "{shown}: expected a new file to write a key to (--public shows one's public key)"
            )
        })?;
    let public = key.public().id();
    eprintln!(
        "{shown} is a private key: keep it, and keep it secret. Hosts that shall take what it\n\
         signs have its public key in their host TOML:\n\n[update]\nkeys = [\"{public}\"]\n"
    );
    println!("{public}");
    Ok(())
}

/// Prints the endorsement of a new key by an old one, as JSON.
///
/// # Errors
/// Keys that are none.
pub fn endorse(args: &EndorseArgs) -> Result<()> {
    if let Some(problem) = orlop_unit::value::label_problem(&args.name) {
        return Err(anyhow!("--name {:?}: {problem}", args.name));
    }
    let old = read_secret(&args.old)?;
    let new = PublicKey::try_from(args.new)?;
    let endorsement = Endorsement::new(&old, &new, &args.name);
    println!("{}", serde_json::to_string_pretty(&endorsement)?);
    Ok(())
}

/// The private key in `file`.
pub(super) fn read_secret(file: &Path) -> Result<SecretKey> {
    let text = read_bounded(file).with_context(|| {
        format!(
            "{}: expected a private key, as `orlop-image keygen` makes it",
            file.display()
        )
    })?;
    let shown = file.display();
    let mode = fs::metadata(file)
        .with_context(|| shown.to_string())?
        .mode();
    if mode & 0o077 != 0 {
        eprintln!(
            "note: {shown} is a private key that others may read; `chmod 600 {shown}` ends that"
        );
    }
    SecretKey::from_pem(&text).with_context(|| shown.to_string())
}

/// The endorsement in `file`.
pub(super) fn read_endorsement(file: &Path) -> Result<Endorsement> {
    let expected = || {
        format!(
            "{}: expected an endorsement, as `orlop-image endorse OLD.key NEW --name NAME` prints it",
            file.display()
        )
    };
    let text = read_bounded(file).with_context(expected)?;
    serde_json::from_str(&text).with_context(expected)
}

fn read_bounded(file: &Path) -> Result<String> {
    let mut bytes = Vec::new();
    File::open(file)?
        .take(SIZE_MAX + 1)
        .read_to_end(&mut bytes)?;
    anyhow::ensure!(
        bytes.len() as u64 <= SIZE_MAX,
        "larger than {SIZE_MAX} bytes"
    );
    String::from_utf8(bytes).context("not text")
}
