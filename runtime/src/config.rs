//! Reads a bundle's config.json and refuses, by name, what this runtime would not carry out.

use std::io::{ErrorKind, Read};
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail, ensure};
use oci_spec::runtime::{
    Hooks, Linux, LinuxNamespaceType, LinuxResources, Mount, Process, Root, Spec,
};
use serde_json::error::Category;

use crate::clocks;
use crate::document;
use crate::hooks;
use crate::landlock;
use crate::lsm;
use crate::namespaces::{has_new, is_new};
use crate::process::check_schedule;

/// The most bytes of a config.json or process JSON.
const MAX_BYTES: u64 = 4 << 20;

/// A checked config.json and where it was found.
#[derive(Debug)]
pub(crate) struct Bundle {
    /// Absolute.
    pub(crate) dir: PathBuf,
    pub(crate) root: Root,
    pub(crate) process: Process,
    pub(crate) linux: Linux,
    pub(crate) hooks: Hooks,
    pub(crate) mounts: Vec<Mount>,
    pub(crate) hostname: Option<String>,
    pub(crate) domainname: Option<String>,
    pub(crate) annotations: Option<std::collections::HashMap<String, String>>,
    pub(crate) landlock: Option<landlock::Asked>,
    pub(crate) version: String,
    /// Names in `process.capabilities` that nobody knows here.
    pub(crate) unknown_capabilities: Vec<String>,
    /// config.json as it was read.
    pub(crate) text: Vec<u8>,
}

impl Bundle {
    /// Where the root file system is on the host.
    pub(crate) fn rootfs(&self) -> PathBuf {
        self.dir.join(self.root.path())
    }

    /// With another file than the bundle's own config.json, if one is named.
    pub(crate) fn load(dir: &Path, config: Option<&Path>) -> Result<Bundle> {
        let dir = dir.canonicalize().map_err(|error| match error.kind() {
            ErrorKind::NotFound => anyhow!("bundle {}: no such directory", dir.display()),
            _ => anyhow::Error::from(error).context(format!("bundle {}", dir.display())),
        })?;
        let path = config.map_or_else(|| dir.join("config.json"), Path::to_owned);
        Bundle::read(dir, &path)
    }

    /// As it was when its container was created, from the copy that was kept then.
    pub(crate) fn kept(dir: &Path, copy: &Path) -> Result<Bundle> {
        Bundle::read(dir.to_owned(), copy)
    }

    fn read(dir: PathBuf, path: &Path) -> Result<Bundle> {
        let text = read_bounded(path)?;
        let (spec, unknown) = parsed(path, document::spec(&text))?;
        let mut bundle = check(dir, &spec).with_context(|| format!("{}", path.display()))?;
        bundle.text = text;
        bundle.unknown_capabilities = unknown;
        Ok(bundle)
    }
}

/// The hooks alone, of the copy that was kept.
pub(crate) fn kept_hooks(copy: &Path) -> Result<Hooks> {
    let text = read_bounded(copy)?;
    parsed(copy, document::hooks(&text))
}

/// Reads a process JSON for `exec --process`. Beside it, names of capabilities that nobody knows.
pub(crate) fn load_process(path: &Path) -> Result<(Process, Vec<String>)> {
    let text = read_bounded(path)?;
    let (process, unknown) = parsed(path, document::process(&text))?;
    check_process(&process).with_context(|| format!("{}", path.display()))?;
    Ok((process, unknown))
}

/// Reads the resources of `update` from `source`, which errors call `path`.
pub(crate) fn read_resources(path: &Path, source: impl Read) -> Result<LinuxResources> {
    let text = read_at_most(path, source)?;
    parsed(path, serde_json::from_slice(&text))
}

/// Names the file, and tells what is no JSON at all from JSON that says something else.
fn parsed<T>(path: &Path, result: serde_json::Result<T>) -> Result<T> {
    result.map_err(|error| {
        let what = match error.classify() {
            Category::Syntax | Category::Eof => ": is not JSON",
            Category::Data | Category::Io => "",
        };
        anyhow::Error::from(error).context(format!("{}{what}", path.display()))
    })
}

fn read_bounded(path: &Path) -> Result<Vec<u8>> {
    let file = std::fs::File::open(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound if path.ends_with("config.json") => anyhow!(
            "{}: no such file; a bundle has one, as `orlop-runtime spec` writes it",
            path.display()
        ),
        _ => anyhow::Error::from(error).context(format!("open {}", path.display())),
    })?;
    read_at_most(path, file)
}

fn read_at_most(path: &Path, source: impl Read) -> Result<Vec<u8>> {
    let mut text = Vec::new();
    source
        .take(MAX_BYTES + 1)
        .read_to_end(&mut text)
        .with_context(|| format!("read {}", path.display()))?;
    ensure!(
        text.len() as u64 <= MAX_BYTES,
        "{}: larger than {} MiB; is it a config?",
        path.display(),
        MAX_BYTES >> 20
    );
    Ok(text)
}

fn check(dir: PathBuf, spec: &Spec) -> Result<Bundle> {
    let version = spec.version();
    ensure!(!version.is_empty(), "\"ociVersion\" is missing");
    ensure!(
        version.starts_with("1."),
        "ociVersion is {version:?}; this runtime reads 1.x"
    );
    let process = spec.process().clone().context("\"process\" is missing")?;
    check_process(&process).context("process")?;
    let root = spec.root().clone().context("\"root\" is missing")?;
    ensure!(!root.path().as_os_str().is_empty(), "root.path is empty");
    let linux = spec
        .linux()
        .clone()
        .context("\"linux\" is missing: nothing says how to isolate")?;
    check_linux(&linux).context("linux")?;
    let hooks = spec.hooks().clone().unwrap_or_default();
    hooks::check(&hooks)?;
    let mut mounts = spec.mounts().clone().unwrap_or_default();
    for (index, mount) in mounts.iter_mut().enumerate() {
        // A relative one is so to the root.
        mount.set_destination(Path::new("/").join(mount.destination()));
        ensure!(
            !mount
                .destination()
                .components()
                .any(|part| part == Component::ParentDir),
            "mounts[{index}]: \"..\" in the destination {:?}",
            mount.destination()
        );
        let unbindable = |word: &String| word.ends_with("unbindable");
        ensure!(
            has_new(&linux, LinuxNamespaceType::Mount)
                || !mount.options().iter().flatten().any(unbindable),
            "mounts[{index}]: unbindable needs a mount namespace of the container's own"
        );
        ensure!(
            mount.uid_mappings().is_some() == mount.gid_mappings().is_some(),
            "mounts[{index}]: uidMappings and gidMappings go together"
        );
    }
    let uts = has_namespace(&linux, LinuxNamespaceType::Uts);
    ensure!(
        uts || (spec.hostname().is_none() && spec.domainname().is_none()),
        "hostname or domainname without a uts namespace would rename the host"
    );
    Ok(Bundle {
        dir,
        root,
        process,
        linux,
        hooks,
        mounts,
        hostname: spec.hostname().clone(),
        domainname: spec.domainname().clone(),
        annotations: spec.annotations().clone(),
        landlock: landlock::asked(spec.annotations().as_ref())?,
        version: version.clone(),
        unknown_capabilities: Vec::new(),
        text: Vec::new(),
    })
}

/// Whether a config.json with this content would be taken, for `features`.
pub(crate) fn accepts(config: &serde_json::Value) -> bool {
    document::spec(config.to_string().as_bytes())
        .is_ok_and(|(spec, _)| check(PathBuf::new(), &spec).is_ok())
}

pub(crate) fn has_namespace(linux: &Linux, kind: LinuxNamespaceType) -> bool {
    linux
        .namespaces()
        .iter()
        .flatten()
        .any(|namespace| namespace.typ() == kind)
}

pub(crate) fn check_process(process: &Process) -> Result<()> {
    let args = process.args().as_deref().unwrap_or_default();
    ensure!(
        args.first().is_some_and(|arg| !arg.is_empty()),
        "args: no program is named"
    );
    ensure!(
        process.cwd().is_absolute(),
        "cwd {:?} is not an absolute path",
        process.cwd()
    );
    lsm::check(process)?;
    let limits = process.rlimits().as_deref().unwrap_or_default();
    for (index, limit) in limits.iter().enumerate() {
        let twice = limits[..index]
            .iter()
            .any(|other| other.typ() == limit.typ());
        ensure!(!twice, "rlimits: {} is given twice", limit.typ());
    }
    check_schedule(process)
}

fn check_linux(linux: &Linux) -> Result<()> {
    let namespaces = linux.namespaces().as_deref().unwrap_or_default();
    for (index, namespace) in namespaces.iter().enumerate() {
        let kind = namespace.typ();
        ensure!(
            !namespaces[..index]
                .iter()
                .any(|earlier| earlier.typ() == kind),
            "namespaces: {kind} is given twice"
        );
    }
    // Who is root of a user namespace has no power over the mounts of others.
    ensure!(
        has_new(linux, LinuxNamespaceType::Mount)
            || !has_namespace(linux, LinuxNamespaceType::User),
        "namespaces: a container in a user namespace needs a mount namespace of its own (type \
         \"mount\" without a path)"
    );
    let propagation = linux.rootfs_propagation().as_deref().unwrap_or_default();
    let known = ["", "shared", "slave", "private", "unbindable"];
    ensure!(
        known.contains(&propagation.strip_prefix('r').unwrap_or(propagation)),
        "rootfsPropagation is {propagation:?}; give shared, slave, private or unbindable"
    );
    ensure!(
        has_new(linux, LinuxNamespaceType::Mount) || !propagation.ends_with("shared"),
        "rootfsPropagation {propagation:?} needs a mount namespace of the container's own"
    );
    let user = namespaces
        .iter()
        .find(|namespace| namespace.typ() == LinuxNamespaceType::User);
    let mapped = |maps: &Option<Vec<_>>| maps.as_ref().is_some_and(|maps| !maps.is_empty());
    let (uids, gids) = (mapped(linux.uid_mappings()), mapped(linux.gid_mappings()));
    match user {
        None => ensure!(
            !uids && !gids,
            "uidMappings and gidMappings need a user namespace"
        ),
        Some(user) if is_new(user) => ensure!(
            uids && gids,
            "a new user namespace needs uidMappings and gidMappings"
        ),
        Some(_) => {}
    }
    let personality = linux.personality().as_ref();
    refuse(
        personality.is_some_and(|p| p.flags().as_ref().is_some_and(|flags| !flags.is_empty())),
        "personality.flags",
    )?;
    refuse(linux.intel_rdt().is_some(), "intelRdt")?;
    refuse(linux.memory_policy().is_some(), "memoryPolicy")?;
    refuse(
        linux
            .net_devices()
            .as_ref()
            .is_some_and(|devices| !devices.is_empty()),
        "netDevices",
    )?;
    if let Some(offsets) = linux.time_offsets() {
        let any = clocks::text(offsets)?.is_some();
        ensure!(
            !any || has_new(linux, LinuxNamespaceType::Time),
            "timeOffsets need a new time namespace"
        );
    }
    lsm::check_mounts(linux.mount_label())
}

fn refuse(present: bool, what: &str) -> Result<()> {
    if present {
        bail!("{what}: not supported by this runtime (refused, because ignoring it would mislead)");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn base() -> Value {
        json!({
            "ociVersion": "1.0.2",
            "root": { "path": "rootfs" },
            "process": { "user": { "uid": 0, "gid": 0 }, "args": ["true"], "cwd": "/" },
            "linux": { "namespaces": [{ "type": "mount" }, { "type": "pid" }] }
        })
    }

    fn verdict(config: &Value) -> String {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("config.json"), config.to_string()).unwrap();
        match Bundle::load(dir.path(), None) {
            Ok(_) => "ok".into(),
            Err(error) => format!("{error:#}"),
        }
    }

    #[test]
    fn what_is_taken_and_what_is_refused() {
        assert_eq!(verdict(&base()), "ok");
        let kinds = "/linux/namespaces";
        let cases: &[(&str, Value, &str)] = &[
            ("/ociVersion", json!("2.0"), "reads 1.x"),
            ("/process", Value::Null, "\"process\" is missing"),
            ("/process/args", json!([]), "no program is named"),
            ("/process/cwd", json!("tmp"), "not an absolute path"),
            (kinds, json!([{"type": "pid"}]), "ok"),
            (
                kinds,
                json!([{"type": "mount", "path": "/proc/1/ns/mnt"}]),
                "ok",
            ),
            (
                kinds,
                json!([{"type": "mount", "path": "/proc/1/ns/mnt"}, {"type": "user"}]),
                "needs a mount namespace of its own",
            ),
            (
                kinds,
                json!([{"type": "mount"}, {"type": "mount"}]),
                "given twice",
            ),
            (
                kinds,
                json!([{"type": "mount"}, {"type": "user"}]),
                "needs uidMappings",
            ),
            ("/root", Value::Null, "\"root\" is missing"),
        ];
        for (pointer, value, expected) in cases {
            let mut config = base();
            *config.pointer_mut(pointer).unwrap() = value.clone();
            let got = verdict(&config);
            assert!(got.contains(expected), "{pointer}: {got}");
        }
    }

    #[test]
    fn what_is_refused_beside_what_is_taken() {
        let additions: &[(&str, &str, Value, &str)] = &[
            ("", "hostname", json!("h"), "uts namespace"),
            (
                "",
                "hooks",
                json!({"poststop": [{"path": "bin/true"}]}),
                "hooks.poststop[0]",
            ),
            (
                "",
                "mounts",
                json!([{"destination": "../data"}]),
                "mounts[0]",
            ),
            (
                "",
                "mounts",
                json!([{"destination": "/a/../proc"}]),
                "mounts[0]",
            ),
            (
                "/process",
                "apparmorProfile",
                json!("a\nb"),
                "apparmorProfile \"a\\nb\"",
            ),
            (
                "/process",
                "selinuxLabel",
                json!("bad"),
                "selinuxLabel \"bad\"",
            ),
            ("/linux", "mountLabel", json!("bad"), "mountLabel \"bad\""),
            (
                "/linux",
                "uidMappings",
                json!([{"hostID": 1, "containerID": 0, "size": 1}]),
                "need a user",
            ),
            (
                "/linux",
                "timeOffsets",
                json!({"boottime": {"secs": 1}}),
                "need a new time namespace",
            ),
        ];
        for (pointer, key, value, expected) in additions {
            let mut config = base();
            config.pointer_mut(pointer).unwrap()[*key] = value.clone();
            let got = verdict(&config);
            assert!(got.contains(expected), "{key}: {got}");
        }
        let mut config = base();
        config["futureField"] = json!(1);
        config["hooks"] = json!({"prestart": []});
        assert_eq!(verdict(&config), "ok");
        // An empty path is none.
        let new = json!([{"type": "mount", "path": ""}, {"type": "user", "path": ""}]);
        config["linux"]["namespaces"] = new;
        assert!(verdict(&config).contains("needs uidMappings"));
    }

    #[test]
    fn bad_files_are_named() {
        let dir = tempfile::tempdir().unwrap();
        assert!(
            format!("{:#}", Bundle::load(dir.path(), None).unwrap_err()).contains("config.json")
        );
        std::fs::write(dir.path().join("config.json"), "{\n  nonsense").unwrap();
        assert!(format!("{:#}", Bundle::load(dir.path(), None).unwrap_err()).contains("line 2"));
    }
}
