//! The bundle that a build writes beside the disk image.

use std::cmp::Ordering;
use std::io::{self, BufWriter, Read, Seek, Write};
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use orlop_bundle::{
    ARCHITECTURE, BundleError, Content, Endorsement, FORMAT, Head, Hex, Manifest, Packer, Part,
    PublicKey, SIGNERS_MAX, SecretKey, Signatures, Verity, compare,
};
use orlop_verity::{Superblock, Tree};
use tempfile::NamedTempFile;

use super::keys::{read_endorsement, read_secret};
use crate::host::Inputs;
use crate::request::{BuildRequest, Progress};

/// Who signs, and who says that they may.
pub(crate) struct Bundling {
    keys: Vec<SecretKey>,
    endorsements: Vec<Endorsement>,
}

impl Bundling {
    /// What `request` names; `None` when it names no key.
    ///
    /// # Errors
    /// Keys and endorsements that cannot be read, or are for something else.
    pub(crate) fn read(
        request: &BuildRequest,
        inputs: &Inputs,
        progress: &mut dyn Progress,
    ) -> Result<Option<Self>> {
        let keys = request.sign.iter().map(|file| read_secret(file));
        let keys = keys.collect::<Result<Vec<_>>>()?;
        if keys.is_empty() {
            if !request.endorsements.is_empty() {
                bail!("--endorsement goes into an update bundle, which --sign KEY writes");
            }
            return Ok(None);
        }
        if keys.len().max(request.endorsements.len()) > SIGNERS_MAX {
            bail!(
                "a bundle has room for {SIGNERS_MAX} keys (--sign) and {SIGNERS_MAX} endorsements"
            );
        }
        let host = &inputs.host.value;
        let mut endorsements = Vec::new();
        for file in &request.endorsements {
            let endorsement = read_endorsement(file)?;
            let checked = endorsement.check(&host.name);
            checked.with_context(|| file.display().to_string())?;
            endorsements.push(endorsement);
        }
        for key in &keys {
            let id = key.public().id();
            if !host.update.keys.contains(&id) {
                progress.note(&format!(
                    "{id} signs this bundle, and [update] keys of {} does not name it: a host that \
                     runs this version takes what it signs only with an endorsement",
                    request.host.display()
                ));
            }
        }
        Ok(Some(Self { keys, endorsements }))
    }
}

/// Checks `[update]` as far as form is not all.
pub(crate) fn check_update(inputs: &Inputs) -> Result<()> {
    let host = &inputs.host.value;
    for (index, key) in host.update.keys.iter().enumerate() {
        PublicKey::try_from(*key).map_err(|error| {
            inputs.error(&format!("update.keys[{index}]"), error.to_string(), None)
        })?;
    }
    match &host.update.minimum_version {
        Some(minimum) if compare(minimum, &host.version) == Ordering::Greater => {
            let version = &host.version;
            let message = format!("newer than the version itself, which is {version}");
            let help = "give the oldest version that may be updated to this one".to_owned();
            Err(inputs.error("update.minimum-version", message, Some(help)))
        }
        Some(_) | None => Ok(()),
    }
}

/// What goes into a bundle.
pub(crate) struct Contents<'a> {
    pub(crate) inputs: &'a Inputs,
    /// Time that all files carry, in seconds since 1970.
    pub(crate) time: u64,
    pub(crate) uki: &'a [u8],
    pub(crate) superblock: &'a Superblock,
    pub(crate) tree: &'a Tree,
}

/// Says what to do where a bundle does not hold the host.
fn too_large(error: BundleError) -> anyhow::Error {
    let is_size = matches!(error, BundleError::TooLarge { what: "index", .. });
    let error = anyhow::Error::from(error);
    match is_size {
        true => error.context(
            "the host is too large for an update bundle, which holds some 3 GiB: leave container \
             images out of it, and load or pull them",
        ),
        false => error,
    }
}

/// Writes the bundle to a new file in `dir`; `root` gives the root.
///
/// # Errors
/// What cannot be read or written, and a host that is larger than a bundle can be.
pub(crate) fn pack(
    bundling: &Bundling,
    contents: &Contents<'_>,
    root: impl Read,
    dir: &Path,
) -> Result<NamedTempFile> {
    let writing = "writing the update bundle";
    // The index comes first and is known last, so the chunks wait in a file.
    let spool = BufWriter::with_capacity(1 << 20, tempfile::tempfile_in(dir)?);
    let mut packer = Packer::new(spool).context(writing)?;
    let root = packer.add(Part::Root, root).context(writing)?;
    let uki = packer.add(Part::Uki, contents.uki).context(writing)?;
    let (index, spool) = packer.finish();
    let mut spool = spool.into_inner().map_err(io::IntoInnerError::into_error)?;
    let manifest = manifest(contents, root, uki)?;
    let sign = |bytes: &[u8]| Signatures::sign(bytes, &bundling.keys, &bundling.endorsements);
    let head = Head::new(manifest, index, sign);
    let head = head.map_err(too_large).context(writing)?;
    head.check_signatures().context(writing)?;
    let mut file = NamedTempFile::new_in(dir)?;
    file.write_all(&head.encode()).context(writing)?;
    spool.rewind()?;
    io::copy(&mut spool, &mut file).context(writing)?;
    Ok(file)
}

fn manifest(contents: &Contents<'_>, root: Content, uki: Content) -> Result<Manifest> {
    let host = &contents.inputs.host.value;
    let superblock = contents.superblock;
    let salt = superblock.salt.as_slice().try_into();
    let salt = salt.map_err(|_| anyhow!("the hash tree's salt is not of 32 bytes"))?;
    Ok(Manifest {
        format: FORMAT,
        name: host.name.clone(),
        version: host.version.clone(),
        source_date: contents.time,
        architecture: ARCHITECTURE.to_owned(),
        minimum_version: host.update.minimum_version.clone(),
        root,
        uki,
        // Put in once it is written.
        index: Content {
            size: 1,
            sha256: Hex([0; 32]),
        },
        verity: Verity {
            root_hash: Hex(contents.tree.root_hash),
            salt: Hex(salt),
            uuid: Hex(superblock.uuid),
        },
    })
}
