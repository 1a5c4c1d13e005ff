//! The container's cgroup: version 2 only, made by us, removed by us.
//!
//! What is found at its path already goes first, if nobody lives in it. Other runtimes take it as
//! it is. But what limits a container is what its configuration says: limits and device programs
//! that somebody left there would hold on unseen, and nobody could tell from a container before
//! it what was meant to stay. Who wants to limit it further does so in a cgroup above, which is
//! used as it is.

mod delegated;
mod devices;
mod freeze;
mod kill;
mod limits;
mod manager;
mod processes;
mod remove;
mod replaced;
mod stats;
mod systemd;
mod update;
mod watched;
mod without;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use oci_spec::runtime::{Linux, LinuxDeviceCgroup, LinuxResources};
use orlop_sys::bpf::Insn;
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::standing::Standing;
pub(crate) use delegated::may_enter;
pub(crate) use freeze::{freeze, is_frozen, thaw};
pub(crate) use kill::{ends_within, identity, kill, signal};
use limits::Write;
pub(crate) use manager::Manager;
pub(crate) use processes::{open_of, processes};
pub(crate) use remove::{leave_to_systemd, remove};
pub(crate) use stats::stats;
pub(crate) use systemd::{PROPERTY_ANNOTATIONS, Scope, attach, stop};
pub(crate) use update::update;
use watched::flat;
pub(crate) use watched::{Watched, timespec};
pub(crate) use without::check_devices_unlimited;

const CGROUP2_SUPER_MAGIC: i64 = 0x6367_7270;

/// How long processes that were killed may take to be gone.
const EMPTY_WITHIN: Duration = Duration::from_secs(10);

/// Where the version 2 hierarchy is mounted: alone, or beside version 1.
fn mount_point() -> Option<&'static Path> {
    ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"]
        .into_iter()
        .map(Path::new)
        .find(|path| rustix::fs::statfs(*path).is_ok_and(|stat| stat.f_type == CGROUP2_SUPER_MAGIC))
}

/// A container's cgroup while `create` works: removed again unless kept.
#[derive(Debug)]
pub(crate) struct Cgroup {
    made: Made,
    /// `None` until systemd has made it.
    fd: Option<OwnedFd>,
    /// The device rules, to be loaded.
    devices: Option<Vec<Insn>>,
    promise: Option<systemd::Promise>,
}

/// The directories that we made for it.
#[derive(Debug)]
struct Made {
    path: PathBuf,
    /// The first on the way, the cgroup itself if none above.
    from: PathBuf,
    keep: bool,
    /// systemd made them.
    scope: Option<Scope>,
}

/// Makes the cgroup with its limits, but for the device rules. `None` when the machine has no
/// cgroup v2, or none that is ours, and nothing that needs it is asked for. `note` hears of the
/// path before it is there.
pub(crate) fn create(
    linux: &Linux,
    id: &str,
    standing: Standing,
    note: impl FnOnce(&Path) -> Result<()>,
) -> Result<Option<Cgroup>> {
    let resources = linux.resources().as_ref();
    let writes = resources
        .map(limits::writes)
        .transpose()?
        .unwrap_or_default();
    let Some(mount) = mount_point() else {
        ensure!(
            writes.is_empty(),
            "{}: limits need cgroup v2, and no cgroup2 file system is mounted on /sys/fs/cgroup",
            writes[0].limit
        );
        return Ok(None);
    };
    let devices = devices::program(rules(linux))?.filter(|_| standing.limits_devices());
    let asked = linux.cgroups_path().as_deref();
    let place = if standing.owns_cgroups() {
        Some(path_below(mount, asked, id)?)
    } else {
        delegated::place(mount, asked, id)?
    };
    let Some(path) = place else {
        ensure!(
            writes.is_empty(),
            "{}: limits need a cgroup that is ours, and none was given to us (systemd gives a \
             user one with Delegate=yes; or run as root)",
            writes[0].limit
        );
        return Ok(None);
    };
    note(&path)?;
    let made = make_new(&path)?;
    let cgroup = Cgroup {
        made,
        fd: Some(open(&path)?),
        devices,
        promise: None,
    };
    // A process that was born in it would not even begin.
    check_thawed(cgroup.fd()?).with_context(|| format!("{} or one above it", describe(&path)))?;
    enable_controllers(mount, &path, &writes)?;
    for write in &writes {
        cgroup.write(write)?;
    }
    Ok(Some(cgroup))
}

fn rules(linux: &Linux) -> &[LinuxDeviceCgroup] {
    let resources = linux.resources().as_ref();
    resources
        .and_then(|resources| resources.devices().as_deref())
        .unwrap_or_default()
}

fn path_below(mount: &Path, asked: Option<&Path>, id: &str) -> Result<PathBuf> {
    let asked = asked.filter(|path| *path != Path::new(""));
    let Some(asked) = asked else {
        return Ok(mount.join(id));
    };
    ensure!(
        asked.to_string_lossy().matches(':').count() != 2,
        "linux.cgroupsPath {asked:?} is for systemd (slice:prefix:name); give a path"
    );
    let below = asked.strip_prefix("/").unwrap_or(asked);
    let plain = |part| matches!(part, std::path::Component::Normal(_));
    ensure!(
        below.components().all(plain) && below != Path::new(""),
        "linux.cgroupsPath {asked:?}: neither \"..\" nor the root cgroup is allowed"
    );
    Ok(mount.join(below))
}

/// Makes the cgroup. What another container left in its place goes first: its limits and its
/// device program would hold on, unseen.
fn make_new(path: &Path) -> Result<Made> {
    if let Some(made) = make(path)? {
        return Ok(made);
    }
    check_unused(path)?;
    remove(path)?;
    make(path)?.with_context(|| format!("{}: somebody else made it just now", describe(path)))
}

/// An old cgroup may go only if nothing lives in it.
fn check_unused(path: &Path) -> Result<()> {
    let events = std::fs::read_to_string(path.join("cgroup.events")).unwrap_or_default();
    ensure!(
        flat(&events, "populated") != Some(1),
        "{}: processes live in it; is the container still running?",
        describe(path)
    );
    Ok(())
}

/// Makes the directories that are missing; `None` if it is there already.
fn make(path: &Path) -> Result<Option<Made>> {
    let made = |from: &Path| Made {
        path: path.to_owned(),
        from: from.to_owned(),
        keep: false,
        scope: None,
    };
    match rustix::fs::mkdir(path, Mode::from_raw_mode(0o755)) {
        Ok(()) => Ok(Some(made(path))),
        Err(Errno::EXIST) => Ok(None),
        Err(Errno::NOENT) => {
            let parent = path.parent().with_context(|| describe(path))?;
            let above = make(parent)?;
            rustix::fs::mkdir(path, Mode::from_raw_mode(0o755)).with_context(|| describe(path))?;
            let Some(mut above) = above else {
                return Ok(Some(made(path)));
            };
            above.keep = true;
            Ok(Some(made(&above.from)))
        }
        Err(errno) => Err(anyhow::Error::from(errno).context(format!("make {}", describe(path)))),
    }
}

fn describe(path: &Path) -> String {
    format!("cgroup {}", path.display())
}

/// Controllers reach a cgroup only if every ancestor passes them on.
fn enable_controllers(mount: &Path, path: &Path, writes: &[Write]) -> Result<()> {
    for write in writes {
        let Some(controller) = write.controller.as_deref() else {
            continue;
        };
        let available = |dir: &Path| {
            std::fs::read_to_string(dir.join("cgroup.controllers"))
                .is_ok_and(|text| text.split_ascii_whitespace().any(|name| name == controller))
        };
        // Some files are there without a controller, as pressure is.
        if available(path) || path.join(&write.file).exists() {
            continue;
        }
        ensure!(
            available(mount),
            "{}: the cgroup v2 controller \"{controller}\" is not available on this machine",
            write.limit
        );
        // Those above may be somebody else's, who passes it on already.
        let mut missing: Vec<&Path> = path
            .ancestors()
            .take_while(|dir| *dir != mount && !available(dir))
            .filter_map(Path::parent)
            .collect();
        missing.reverse();
        for ancestor in missing {
            pass_on(ancestor, controller).with_context(|| write.limit.to_string())?;
        }
    }
    Ok(())
}

/// Has a cgroup pass a controller on to those below it.
fn pass_on(cgroup: &Path, controller: &str) -> Result<()> {
    let file = cgroup.join("cgroup.subtree_control");
    std::fs::write(file, format!("+{controller}")).map_err(|error| {
        let mut what = format!("enable \"{controller}\" in {}", describe(cgroup));
        if error.kind() == std::io::ErrorKind::PermissionDenied {
            what.push_str(&format!(
                ", which is not ours: whoever gave us a cgroup has to (systemd does with \
                 Delegate={controller} in user@.service)"
            ));
        }
        anyhow::Error::from(error).context(what)
    })
}

impl Cgroup {
    /// The cgroup of a container that has one already; it stays.
    fn of(path: &Path) -> Result<Cgroup> {
        Ok(Cgroup {
            made: Made {
                path: path.to_owned(),
                from: path.to_owned(),
                keep: true,
                scope: None,
            },
            fd: Some(open(path)?),
            devices: None,
            promise: None,
        })
    }

    /// The path below the mount point, as `state.json` records it.
    pub(crate) fn path(&self) -> &Path {
        &self.made.path
    }

    /// From here on, `delete` removes it.
    pub(crate) fn keep(&mut self) {
        self.made.keep = true;
    }

    /// Whether the memory limit killed something in it.
    pub(crate) fn ran_out_of_memory(&self) -> bool {
        let events = std::fs::read_to_string(self.made.path.join("memory.events"));
        events.is_ok_and(|text| flat(&text, "oom_kill").is_some_and(|killed| killed > 0))
    }

    /// What a process can be born in; `None`: it is taken in later.
    pub(crate) fn cradle(&self) -> Option<BorrowedFd<'_>> {
        self.fd.as_ref().map(AsFd::as_fd)
    }

    fn fd(&self) -> Result<BorrowedFd<'_>> {
        self.cradle()
            .with_context(|| format!("{} is not made yet", describe(&self.made.path)))
    }

    fn write(&self, write: &Write) -> Result<()> {
        let file = rustix::fs::openat(
            self.fd()?,
            &*write.file,
            OFlags::WRONLY | OFlags::CLOEXEC,
            Mode::empty(),
        );
        let file = match file {
            Ok(file) => file,
            Err(Errno::NOENT) if write.optional => return Ok(()),
            Err(errno) => {
                return Err(anyhow::Error::from(errno).context(format!(
                    "{}: this machine's cgroups have no {}",
                    write.limit, write.file
                )));
            }
        };
        rustix::io::write(&file, write.value.as_bytes())
            .map(drop)
            .with_context(|| {
                format!(
                    "{}: the kernel refused {:?} in {} of {}",
                    write.limit,
                    write.value,
                    write.file,
                    describe(&self.made.path)
                )
            })
    }

    /// Sets the device rules. The kernel takes its time to check them, in which the child can
    /// do something; nothing of the container's own may run before.
    pub(crate) fn limit_devices(&self) -> Result<()> {
        let Some(program) = &self.devices else {
            return Ok(());
        };
        let loaded = orlop_sys::bpf::load_device_program(program)
            .context("linux.resources.devices: load the device program")?;
        orlop_sys::bpf::attach_device_program(self.fd()?, &loaded).with_context(|| {
            format!(
                "linux.resources.devices: attach to {}",
                describe(&self.made.path)
            )
        })
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        if self.keep {
            return;
        }
        // Best effort in an error path: the error that led here is what gets reported.
        if let Some(scope) = &self.scope {
            let _ = stop(scope);
        }
        for dir in self
            .path
            .ancestors()
            .take_while(|dir| dir.starts_with(&self.from))
        {
            if remove(dir).is_err() {
                break;
            }
        }
    }
}

/// Whether limits like these can be carried out at all, for `features`.
pub(crate) fn supports(resources: &LinuxResources) -> bool {
    limits::writes(resources).is_ok()
}

/// Refuses a cgroup whose processes do not run: to wait for one of them would be for ever.
pub(crate) fn check_thawed(cgroup: impl AsFd) -> Result<()> {
    let says = |file: &str, line: &str| {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let mut text = [0_u8; 256];
        rustix::fs::openat(&cgroup, file, flags, Mode::empty())
            .and_then(|file| rustix::io::read(&file, &mut text))
            .is_ok_and(|length| {
                text[..length]
                    .split(|b| *b == b'\n')
                    .any(|l| l == line.as_bytes())
            })
    };
    // The first is of this cgroup and not complete at once, the second of those above too.
    ensure!(
        !says("cgroup.freeze", "1") && !says("cgroup.events", "frozen 1"),
        "the container is frozen; resume it first (that is 0 to cgroup.freeze)"
    );
    Ok(())
}

fn open(path: &Path) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).with_context(|| describe(path))
}

/// A cgroup that exists in the container's, for `exec --cgroup`.
pub(crate) fn open_below(path: &Path, below: &Path) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    let relative = below.strip_prefix("/").unwrap_or(below);
    let name = if relative == Path::new("") {
        Path::new(".")
    } else {
        relative
    };
    rustix::fs::openat2(open(path)?, name, flags, Mode::empty(), resolve)
        .with_context(|| format!("no {} in {}", below.display(), describe(path)))
}

/// What would be worked out of a configuration, without a cgroup.
#[cfg(test)]
pub(crate) fn consider(linux: &Linux) {
    let _ = path_below(Path::new("/m"), linux.cgroups_path().as_deref(), "id");
    if let Some(resources) = linux.resources() {
        let _ = limits::writes(resources);
        let _ = devices::program(resources.devices().as_deref().unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_below_the_mount() {
        let mount = Path::new("/m");
        for (asked, expected) in [
            (None, Some("/m/id")),
            (Some(""), Some("/m/id")),
            (Some("/orlop/web"), Some("/m/orlop/web")),
            (Some("rel/x"), Some("/m/rel/x")),
            (Some("/"), None),
            (Some("/a/../../b"), None),
            (Some("system.slice:crio:x"), None),
        ] {
            let got = path_below(mount, asked.map(Path::new), "id").ok();
            assert_eq!(got, expected.map(PathBuf::from), "{asked:?}");
        }
    }

    #[test]
    fn a_controller_nobody_knows_is_named() {
        let dir = tempfile::tempdir().unwrap();
        for (file, text) in [("cgroup.controllers", "new\n"), ("irq.pressure", "")] {
            std::fs::write(dir.path().join(file), text).unwrap();
        }
        let enabled = |file: &str| {
            let resources = serde_json::json!({ "unified": { file: "1" } });
            let resources: LinuxResources = serde_json::from_value(resources).unwrap();
            let writes = limits::writes(&resources).unwrap();
            enable_controllers(dir.path(), dir.path(), &writes)
        };
        enabled("new.max").unwrap();
        enabled("irq.pressure").unwrap();
        let error = enabled("absent.max").unwrap_err().to_string();
        let expected = ["unified[\"absent.max\"]", "controller \"absent\""];
        assert!(expected.iter().all(|part| error.contains(part)), "{error}");
    }
}
