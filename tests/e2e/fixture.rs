//! What the stories start from: images that are built once, and fresh guests.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use orlop_control::types::{HealthState, LastExit, UnitState, UnitStatus};
use orlop_qemu::guest::Guest;
use orlop_qemu::machine::{self, Config, Firmware, Forward};
use orlop_qemu::{build, paths};
use sha2::{Digest as _, Sha256};

/// How long anything in a guest may take before a story fails. Generous: under
/// emulation on a busy machine everything is slow, and no story measures time.
pub(crate) const PATIENCE: Duration = Duration::from_secs(180);

/// The size of every guest's disk, larger than its image so that it grows.
const DISK_BYTES: u64 = 3 << 30;

/// A folder below the tests' own, made if needed.
pub(crate) fn folder(name: &str) -> Result<PathBuf> {
    let path = paths::target().join("e2e").join(name);
    std::fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
    Ok(path)
}

/// What tells apart things that are kept under the cache and were made by other versions of the
/// file that has this text.
pub(crate) fn recipe(text: &str) -> String {
    let digest = Sha256::digest(text);
    digest[..6]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Makes something once in a run, whichever story asks first. Others that ask for
/// the same wait, those that ask for something else do not.
pub(crate) fn once(name: &str, make: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    type Made = Arc<Mutex<Option<PathBuf>>>;
    static ALL: Mutex<BTreeMap<String, Made>> = Mutex::new(BTreeMap::new());
    let failed = || anyhow!("another story failed while it made {name}");
    let made = {
        let mut all = ALL.lock().map_err(|_| failed())?;
        Arc::clone(all.entry(name.to_owned()).or_default())
    };
    let mut made = made.lock().map_err(|_| failed())?;
    if let Some(path) = &*made {
        return Ok(path.clone());
    }
    let path = folder("shared")?.join(name);
    make(&path).with_context(|| format!("making {name}"))?;
    *made = Some(path.clone());
    Ok(path)
}

/// The operator's certificates: those that the demo's host TOML names.
pub(crate) fn pki() -> Result<PathBuf> {
    static LOCK: Mutex<()> = Mutex::new(());
    let _alone = LOCK
        .lock()
        .map_err(|_| anyhow::anyhow!("another story failed here"))?;
    let path = paths::vm().join("operator");
    if !path.join("ca.crt").exists() {
        std::fs::create_dir_all(&path)?;
        build::pki(&path)?;
    }
    Ok(path)
}

/// Debian's static busybox as an OCI archive, `localhost/busybox:1`.
pub(crate) fn busybox() -> Result<PathBuf> {
    once("busybox.tar", |path| {
        build::busybox_container(
            path,
            "localhost/busybox:1",
            &[],
            &["busybox", "sleep", "1000000"],
        )
    })
}

/// A host image with busybox baked in and `units` as its unit files, under
/// `name`; `extra` is appended to its host TOML.
pub(crate) fn host_image(name: &str, extra: &str, units: &[(&str, &str)]) -> Result<PathBuf> {
    host_image_with(name, extra, units, &[], &paths::binaries())
}

/// [`host_image`] with more baked containers, and the host's own programs from
/// `binaries`.
pub(crate) fn host_image_with(
    name: &str,
    extra: &str,
    units: &[(&str, &str)],
    containers: &[(&str, &Path)],
    binaries: &Path,
) -> Result<PathBuf> {
    host_image_of(name, (name, "1.0.0"), extra, units, containers, binaries)
}

/// [`host_image_with`], of another name and version than those of its file.
pub(crate) fn host_image_of(
    name: &str,
    (called, version): (&str, &str),
    extra: &str,
    units: &[(&str, &str)],
    containers: &[(&str, &Path)],
    binaries: &Path,
) -> Result<PathBuf> {
    // Before the lock of `once` is taken.
    let containers = with_busybox(containers)?;
    once(&format!("{name}.img"), |path| {
        let host = host_toml(name, (called, version), extra, units, &containers)?;
        build::disk_with(&host, path, binaries)
    })
}

/// The containers that are baked in: busybox, and `more`.
pub(crate) fn with_busybox(more: &[(&str, &Path)]) -> Result<Vec<(String, PathBuf)>> {
    let own = |(reference, source): &(&str, &Path)| ((*reference).to_owned(), source.to_path_buf());
    let mut all = vec![("localhost/busybox:1".to_owned(), busybox()?)];
    all.extend(more.iter().map(own));
    Ok(all)
}

/// Writes the host TOML of an image, and its unit files, into a folder called
/// `name`.
pub(crate) fn host_toml(
    name: &str,
    (called, version): (&str, &str),
    extra: &str,
    units: &[(&str, &str)],
    containers: &[(String, PathBuf)],
) -> Result<PathBuf> {
    let authority = pki()?.join("ca.crt");
    let place = folder("shared")?.join(name);
    std::fs::create_dir_all(&place)?;
    let mut files = Vec::new();
    for (unit, text) in units {
        let file = place.join(format!("{unit}.toml"));
        std::fs::write(&file, text)?;
        files.push(format!("{file:?}"));
    }
    let baked: Vec<String> = containers
        .iter()
        .map(|(reference, source)| format!("{{ source = {source:?}, reference = {reference:?} }}"))
        .collect();
    let host = place.join("host.toml");
    std::fs::write(
        &host,
        format!(
            "name = {called:?}\nversion = {version:?}\n\n[image]\nunits = [{}]\n\
             containers = [{}]\n\n[api]\nlisten = \"0.0.0.0:7470\"\n\
             client-ca = {authority:?}\n\n{extra}",
            files.join(", "),
            baked.join(", "),
        ),
    )?;
    Ok(host)
}

/// A story's own copy of `image`'s disk, larger than that as a machine's is,
/// and its folder; not booted yet.
pub(crate) fn disk_of(image: &Path, story: &str) -> Result<Config> {
    let config = disk_as_built(image, story)?;
    machine::grow_disk(&config.disk, DISK_BYTES)?;
    Ok(config)
}

/// [`disk_of`] on a disk that is no larger than its image.
pub(crate) fn disk_as_built(image: &Path, story: &str) -> Result<Config> {
    let place = folder("stories")?.join(story);
    if place.exists() {
        std::fs::remove_dir_all(&place)?;
    }
    std::fs::create_dir_all(&place)?;
    let disk = place.join("disk.img");
    machine::copy_disk(image, &disk)?;
    let mut config = Config::new(disk, &place);
    config.firmware = Firmware::Direct(build::boot_files(image));
    config.isolated = true;
    Ok(config)
}

/// Forwards a free port of the loopback to the guest's `port`, and names it.
pub(crate) fn forward(config: &mut Config, port: u16) -> Result<u16> {
    let host = machine::free_port(None)?;
    config.forwards.push(Forward { host, guest: port });
    Ok(host)
}

/// Boots `config` with an operator of the story's own, who trusts the host.
pub(crate) fn boot(config: Config) -> Result<Guest> {
    boot_within(config, PATIENCE)
}

/// [`boot`], which may come to a host that answers as late as this.
pub(crate) fn boot_within(config: Config, patience: Duration) -> Result<Guest> {
    let operator = config.folder.join("operator");
    if !operator.exists() {
        copy_folder(&pki()?, &operator)?;
    }
    let guest = Guest::boot(config, &operator)?;
    guest.trust(patience)?;
    Ok(guest)
}

/// Copies the files of a folder, but for a client configuration.
pub(crate) fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        // Not the client configuration: each story makes its own.
        if entry.file_name() != "config.toml" {
            std::fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
    }
    Ok(())
}

/// The demo's image, as `cargo vm up` makes it.
pub(crate) fn demo_image() -> Result<PathBuf> {
    pki()?;
    once("demo.img", |path| {
        build::demo_container(&paths::vm().join("demo-container.tar"))?;
        build::disk(&paths::repository().join("configs/demo.toml"), path)
    })
}

/// Whether `unit` is the one called `name` and is healthy.
pub(crate) fn is_healthy(unit: &UnitStatus, name: &str) -> bool {
    unit.name == name && unit.health == Some(HealthState::Healthy)
}

/// Runs `orlop apply` on files made of `units`.
pub(crate) fn try_apply(guest: &Guest, units: &[(&str, &[u8])]) -> Result<Output> {
    let place = tempfile::tempdir()?;
    let mut arguments = vec!["apply".to_owned()];
    for (name, text) in units {
        let file = place.path().join(format!("{name}.toml"));
        std::fs::write(&file, text)?;
        arguments.push(file.display().to_string());
    }
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    guest.operator().try_run(&words)
}

/// [`try_apply`], which must succeed.
pub(crate) fn apply(guest: &Guest, units: &[(&str, &str)]) -> Result<()> {
    let files: Vec<(&str, &[u8])> = units
        .iter()
        .map(|(name, text)| (*name, text.as_bytes()))
        .collect();
    let answer = try_apply(guest, &files)?;
    ensure!(
        answer.status.success(),
        "apply failed: {}",
        String::from_utf8_lossy(&answer.stderr)
    );
    Ok(())
}

/// Asks until the answer is yes.
pub(crate) fn wait(what: &str, mut is_so: impl FnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !is_so()? {
        ensure!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(200));
    }
    Ok(())
}

/// Waits until the unit `name` is in `state`.
pub(crate) fn wait_state(guest: &Guest, name: &str, state: UnitState) -> Result<UnitStatus> {
    let is_there = |unit: &UnitStatus| unit.name == name && unit.state == state;
    let units = guest.wait_units(&format!("{name} to be {state}"), PATIENCE, |units| {
        units.iter().any(is_there)
    })?;
    units
        .into_iter()
        .find(is_there)
        .context("seen a moment ago")
}

/// Runs `orlop` until its output contains `wanted`.
pub(crate) fn wait_output(guest: &Guest, arguments: &[&str], wanted: &str) -> Result<String> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let output = guest.operator().run(arguments);
        match output {
            Ok(text) if text.contains(wanted) => return Ok(text),
            other if Instant::now() > deadline => {
                bail!("orlop {arguments:?} never printed {wanted:?}; last: {other:?}")
            }
            _ => std::thread::sleep(Duration::from_millis(200)),
        }
    }
}

/// What `curl`, with the client's certificate and key, gets from the API.
pub(crate) fn curl(guest: &Guest, path: &str) -> Result<String> {
    let url = format!("https://{}{path}", guest.operator().address());
    // The host's own certificate is pinned by its fingerprint, not signed.
    curl_believing(&["--insecure".as_ref()], &url)
}

/// [`curl`], with what makes it believe a host.
pub(crate) fn curl_believing(words: &[&OsStr], url: &str) -> Result<String> {
    let pki = pki()?;
    let output = std::process::Command::new("curl")
        .args([
            "--silent",
            "--show-error",
            "--fail-with-body",
            "--max-time",
            "60",
        ])
        .args(words)
        .arg("--cert")
        .arg(pki.join("client.crt"))
        .arg("--key")
        .arg(pki.join("client.key"))
        .arg(url)
        .output()
        .context("cannot run curl")?;
    ensure!(
        output.status.success(),
        "curl {url}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8(output.stdout)?)
}

/// The exit codes on record for a unit, oldest first.
pub(crate) fn exit_codes(guest: &Guest, name: &str) -> Result<Vec<Option<i32>>> {
    let text = curl(guest, &format!("/v1/units/{name}/exits"))?;
    let exits: Vec<LastExit> = serde_json::from_str(&text).with_context(|| text.clone())?;
    Ok(exits.into_iter().map(|exit| exit.code).collect())
}
