//! Builds the project's own binaries and, with them, container and host images.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::paths;

/// The packages whose binaries go into an image or make one.
const PACKAGES: &[&str] = &[
    "orlop-init",
    "orlop-manager",
    "orlop-runtime",
    "orlop-loader",
    "orlop-image",
    "orlop-control",
];

/// Builds the release binaries; cargo's own progress goes to standard error.
///
/// # Errors
///
/// When cargo cannot be run or the build fails.
pub fn binaries() -> Result<()> {
    release_build(PACKAGES)
}

/// Builds only the release binaries of `package`.
///
/// # Errors
///
/// As [`binaries`].
pub(crate) fn binaries_of(package: &str) -> Result<()> {
    release_build(&[package])
}

/// [`binaries`], and the programs that the end-to-end tests put into images.
///
/// # Errors
///
/// As there.
pub fn binaries_for_tests() -> Result<()> {
    release_build(&[PACKAGES, &["orlop-tests"]].concat())
}

/// Where the integration tests of the OCI runtime are, built.
pub struct RuntimeTests {
    /// The program of the tests.
    pub tests: PathBuf,
    /// The runtime, where the tests look for it.
    pub runtime: PathBuf,
}

/// Builds the integration tests of the OCI runtime, to be run elsewhere.
///
/// # Errors
///
/// When cargo cannot be run or the build fails.
pub fn runtime_tests() -> Result<RuntimeTests> {
    let mut cargo = cargo();
    cargo.args(["test", "--quiet", "--no-run", "--package", "orlop-runtime"]);
    cargo.args(["--test", "containers", "--message-format", "json"]);
    let built = cargo.stderr(Stdio::inherit()).output()?;
    if !built.status.success() {
        bail!("{} ended with {}", words(&cargo), built.status);
    }
    let told = String::from_utf8(built.stdout)?;
    let find = |kind: &str| {
        executable(&told, kind).with_context(|| format!("cargo told of no {kind} that it built"))
    };
    Ok(RuntimeTests {
        tests: find("test")?,
        runtime: find("bin")?,
    })
}

/// The program of a kind of target in what cargo tells, one JSON document a line.
fn executable(told: &str, kind: &str) -> Option<PathBuf> {
    told.lines().find_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        let path = message["executable"].as_str()?;
        (message["target"]["kind"][0] == kind).then(|| PathBuf::from(path))
    })
}

fn release_build(packages: &[&str]) -> Result<()> {
    let mut cargo = cargo();
    cargo.args(["build", "--release", "--bins"]);
    for package in packages {
        cargo.args(["--package", package]);
    }
    run(&mut cargo)
}

/// The cargo that runs this program, in the repository's top folder.
pub(crate) fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(paths::repository());
    // `cargo run` names this package in the environment. Build scripts that
    // ask for such names would see them change from a plain `cargo build` to
    // this one, and with them half of what is built here would be built again.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            cargo.env_remove(&name);
        }
    }
    cargo
}

/// A release binary's path.
pub fn binary(name: &str) -> PathBuf {
    paths::binaries().join(name)
}

/// Makes the demo's container image at `output` (an OCI archive): Debian's
/// static busybox as a web server with one page.
///
/// # Errors
///
/// When `orlop-image oci` fails.
pub fn demo_container(output: &Path) -> Result<()> {
    let page = paths::repository().join("configs/demo/index.html");
    busybox_container(
        output,
        "localhost/demo:1",
        &[(&page, "/www/index.html")],
        &["busybox", "httpd", "-f", "-v", "-p", "8000", "-h", "/www"],
    )
}

/// Makes an OCI archive of Debian's static busybox with `files` (source and
/// place) that runs `command`.
///
/// # Errors
///
/// When `orlop-image oci` fails.
pub fn busybox_container(
    output: &Path,
    reference: &str,
    files: &[(&Path, &str)],
    command: &[&str],
) -> Result<()> {
    let mut all = vec![(Path::new("/bin/busybox"), "/bin/busybox:755")];
    all.extend(files);
    container(output, reference, &all, command)
}

/// Makes an OCI archive of `files` (source, and place with an optional `:MODE`)
/// that runs `command`.
///
/// # Errors
///
/// When `orlop-image oci` fails.
pub fn container(
    output: &Path,
    reference: &str,
    files: &[(&Path, &str)],
    command: &[&str],
) -> Result<()> {
    make_parent(output)?;
    let mut oci = Command::new(binary("orlop-image"));
    oci.arg("oci").arg("--output").arg(output);
    oci.args(["--reference", reference, "--env", "PATH=/bin"]);
    // As the first process of its namespace busybox ignores SIGTERM.
    oci.args(["--stop-signal", "SIGKILL"]);
    for (source, place) in files {
        oci.arg("--file")
            .arg(format!("{}:{place}", source.display()));
    }
    for word in command {
        oci.arg(format!("--cmd={word}"));
    }
    run(&mut oci)
}

/// Builds the disk image that the host TOML `host` describes, at `output`.
///
/// # Errors
///
/// When `orlop-image build` fails; its own messages say where.
pub fn disk(host: &Path, output: &Path) -> Result<()> {
    disk_with(host, output, &paths::binaries())
}

/// The kernel, initramfs and command line that [`disk`] leaves beside an image.
pub fn boot_files(image: &Path) -> PathBuf {
    let mut name = image.as_os_str().to_owned();
    name.push(".d");
    PathBuf::from(name)
}

/// [`disk`], with the host's own programs taken from `binaries`.
///
/// # Errors
///
/// As there.
pub fn disk_with(host: &Path, output: &Path, binaries: &Path) -> Result<()> {
    make_parent(output)?;
    run(&mut image_command(host, output, binaries))
}

/// [`disk_with`], and beside it the update bundle, signed with the key in the file `key`.
///
/// # Errors
///
/// As there.
pub fn disk_and_bundle(host: &Path, output: &Path, binaries: &Path, key: &Path) -> Result<()> {
    make_parent(output)?;
    run(image_command(host, output, binaries).arg("--sign").arg(key))
}

/// Makes a key that signs update bundles, and gives the public one as a host TOML takes it.
///
/// # Errors
///
/// When `orlop-image keygen` fails.
pub fn update_key(file: &Path) -> Result<String> {
    let mut keygen = Command::new(binary("orlop-image"));
    keygen.arg("keygen").arg(file);
    let made = keygen.output().context("cannot run orlop-image")?;
    if !made.status.success() {
        let said = String::from_utf8_lossy(&made.stderr);
        bail!("{} ended with {}: {said}", words(&keygen), made.status);
    }
    Ok(String::from_utf8(made.stdout)?.trim().to_owned())
}

/// Publishes the update bundle `bundle` in `folder`.
///
/// # Errors
///
/// When `orlop-image publish` fails.
pub fn publish(bundle: &Path, folder: &Path) -> Result<()> {
    let mut publish = Command::new(binary("orlop-image"));
    publish.stdout(Stdio::null());
    run(publish.arg("publish").arg(bundle).arg(folder))
}

/// [`disk`], with a bundle as [`disk_and_bundle`] makes it if there is a `key`; gives
/// what the builder says of it: a JSON document.
///
/// # Errors
///
/// As there.
pub fn disk_report(host: &Path, output: &Path, key: Option<&Path>) -> Result<String> {
    make_parent(output)?;
    let mut image = image_command(host, output, &paths::binaries());
    if let Some(key) = key {
        image.arg("--sign").arg(key);
    }
    let built = image
        .arg("--json")
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run orlop-image")?;
    if !built.status.success() {
        bail!("{} ended with {}", words(&image), built.status);
    }
    Ok(String::from_utf8(built.stdout)?)
}

fn image_command(host: &Path, output: &Path, binaries: &Path) -> Command {
    let mut image = Command::new(binary("orlop-image"));
    image.arg("build").arg(host).arg("--output").arg(output);
    image.arg("--cache").arg(paths::cache());
    image.arg("--binaries").arg(binaries);
    image
}

/// Makes a certificate authority, and a client certificate and key signed by it,
/// in `folder`, with a client configuration that uses them.
///
/// # Errors
///
/// When `orlop pki init` fails.
pub fn pki(folder: &Path) -> Result<()> {
    let mut orlop = Command::new(binary("orlop"));
    orlop.env("ORLOP_CONFIG", folder.join("config.toml"));
    run(orlop
        .args(["pki", "init", "--host", "localhost"])
        .arg(folder))
}

/// Runs a command to its end.
///
/// # Errors
///
/// When it cannot be started or does not end well; names the whole command.
pub fn run(command: &mut Command) -> Result<()> {
    let words = words(command);
    let status = command
        .status()
        .with_context(|| format!("cannot run {words}"))?;
    if !status.success() {
        bail!("{words} ended with {status}");
    }
    Ok(())
}

/// A command as one would type it; what is left out of its environment would
/// only hide that.
fn words(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}

fn make_parent(file: &Path) -> Result<()> {
    let parent = file.parent().context("an output file needs a folder")?;
    std::fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))
}
