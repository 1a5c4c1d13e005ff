//! Reads the host TOML with all that it names, and checks it before anything
//! is built. Every complaint about it carries file, line and column.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use orlop_images::source::LoadedImage;
use orlop_images::source::{Options, Source};
use orlop_unit::{Authority, Diagnostic, Host, MAX_FILE_BYTES, Parsed, Unit, UnitSet, diagnostic};

use crate::request::Progress;

/// A unit file to bake in.
#[derive(Debug)]
pub(crate) struct UnitFile {
    /// Name in the image (`web.toml`).
    pub(crate) name: String,
    /// The file, as it is.
    pub(crate) bytes: Vec<u8>,
}

/// A host TOML with what it names, all of it good.
#[derive(Debug)]
pub(crate) struct Inputs {
    pub(crate) host: Parsed<Host>,
    text: String,
    /// `host.toml` for the image: no paths of the build machine in it.
    pub(crate) runtime: String,
    pub(crate) units: Vec<UnitFile>,
    pub(crate) images: Vec<LoadedImage>,
}

impl Inputs {
    /// An error about the value at `path` of the host TOML, rendered.
    pub(crate) fn error(&self, path: &str, message: String, help: Option<String>) -> anyhow::Error {
        anyhow!(
            self.host
                .diagnostic(path, message, help)
                .render(Some(&self.text), false)
        )
    }
}

/// Reads `file` and what it names; container images go through `spool`.
pub(crate) fn read(file: &Path, spool: &Path, progress: &mut dyn Progress) -> Result<Inputs> {
    let shown = file.display().to_string();
    let bytes = read_bounded(file).with_context(|| format!("reading host file {shown}"))?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let fail = |found: Vec<Diagnostic>| anyhow!(diagnostic::render_all(&found, Some(&text), false));
    let host = Host::parse_bytes(&shown, &bytes).map_err(fail)?;
    let dir = file.parent().unwrap_or(Path::new("")).to_path_buf();
    let mut inputs = Inputs {
        host,
        text,
        runtime: String::new(),
        units: Vec::new(),
        images: Vec::new(),
    };
    inputs.runtime = runtime(&inputs, &dir)?;
    inputs.units = units(&inputs, &dir)?;
    inputs.images = images(&inputs, &dir, spool, progress)?;
    note_missing_images(&inputs, &dir, progress);
    Ok(inputs)
}

/// The file's bytes, at most one more than a parser takes.
fn read_bounded(file: &Path) -> std::io::Result<Vec<u8>> {
    use std::io::Read;
    let mut bytes = Vec::new();
    fs::File::open(file)?
        .take(MAX_FILE_BYTES as u64 + 1)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn runtime(inputs: &Inputs, dir: &Path) -> Result<String> {
    let mut host = inputs.host.value.clone();
    if let Some(Authority::File(path)) = &host.api.client_ca {
        let path = dir.join(path);
        host.api.client_ca = Some(authority(inputs, "api.client-ca", &path)?);
    }
    if let Some(Authority::File(path)) = &host.update.ca {
        host.update.ca = Some(authority(inputs, "update.ca", &dir.join(path))?);
    }
    let text = host.runtime_toml();
    // A host that cannot read this has neither its address nor an API to say so by.
    Host::parse_bytes("the image's host.toml", text.as_bytes())
        .map_err(|found| anyhow!(diagnostic::render_all(&found, Some(&text), false)))?;
    Ok(text)
}

/// The certificates in a file, which the image gets in place of its path.
fn authority(inputs: &Inputs, key: &str, file: &Path) -> Result<Authority> {
    let error = |message: String, help: Option<String>| {
        let message = format!("{}: {message}", file.display());
        inputs.error(key, message, help)
    };
    let bytes = read_bounded(file).map_err(|cause| {
        let help = "`orlop pki init DIR` makes a certificate authority (ca.crt)".to_owned();
        error(format!("cannot be read: {cause}"), Some(help))
    })?;
    Authority::certificates(&String::from_utf8_lossy(&bytes))
        .map(Authority::Pem)
        .map_err(|refusal| error(refusal.message, refusal.help))
}

fn units(inputs: &Inputs, dir: &Path) -> Result<Vec<UnitFile>> {
    let mut files = Vec::new();
    let mut parsed = Vec::new();
    for (index, path) in inputs.host.value.image.units.iter().enumerate() {
        let file = dir.join(path);
        let at = format!("image.units[{index}]");
        let bytes = read_bounded(&file).map_err(|error| {
            inputs.error(
                &at,
                format!("cannot read {}: {error}", file.display()),
                None,
            )
        })?;
        let name = file
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default()
            .to_owned();
        let shown = file.display().to_string();
        let unit = Unit::parse_bytes(&shown, &bytes).map_err(|found| {
            let text = String::from_utf8_lossy(&bytes);
            anyhow!(diagnostic::render_all(&found, Some(&text), false))
        })?;
        parsed.push(unit);
        files.push(UnitFile { name, bytes });
    }
    let problems = UnitSet::check(&parsed).diagnostics();
    if !problems.is_empty() {
        return Err(anyhow!(diagnostic::render_all(&problems, None, false)));
    }
    Ok(files)
}

fn images(
    inputs: &Inputs,
    dir: &Path,
    spool: &Path,
    progress: &mut dyn Progress,
) -> Result<Vec<LoadedImage>> {
    let mut images = Vec::new();
    for (index, baked) in inputs.host.value.image.containers.iter().enumerate() {
        let file: PathBuf = dir.join(&baked.source);
        progress.step(&format!("unpacking {}", file.display()));
        // Host images are for x86-64 alone, whatever builds them.
        let options = Options {
            spool_dir: spool.to_path_buf(),
            architecture: "amd64".to_owned(),
            ..Options::default()
        };
        let reference = baked.reference.as_ref().map(|name| name.as_str());
        let loaded = Source::open_with(&file, options).and_then(|source| source.load(reference));
        let image = loaded.map_err(|error| {
            inputs.error(
                &format!("image.containers[{index}].source"),
                error.to_string(),
                None,
            )
        })?;
        for note in &image.notes {
            progress.note(&format!("{}: {note}", image.reference));
        }
        images.push(image);
    }
    Ok(images)
}

/// A unit whose image comes later (by `orlop load`) is legal, yet most often a
/// slip of the pen.
fn note_missing_images(inputs: &Inputs, dir: &Path, progress: &mut dyn Progress) {
    for (path, file) in inputs.host.value.image.units.iter().zip(&inputs.units) {
        let shown = dir.join(path).display().to_string();
        let Ok(unit) = Unit::parse_bytes(&shown, &file.bytes) else {
            continue;
        };
        let image = unit.value.container.image.as_str();
        let normal = orlop_images::reference::normalise(image).unwrap_or_default();
        if !inputs.images.iter().any(|baked| baked.reference == normal) {
            progress.note(&format!(
                "{shown}: its image {image} is not baked in; load it into the host"
            ));
        }
    }
}
