//! The phases on the root, as a list, up to the supervisor.

use crate::console::Console;
use crate::disk::partitions;
use crate::guard::Guard;
use crate::initramfs::Root;
use crate::modules::{self, Loading};
use crate::supervise::Supervisor;
use crate::{clock, files, identity, mounts, state, watchdog};
use anyhow::{Context, Result};
use orlop_handover::{BOOT_REPORT_PATH, BootReport, PhaseTime, SlotDevices, StateHealth};
use rustix::process::{Resource, Rlimit};
use std::os::fd::OwnedFd;
use std::path::Path;

/// What the phases find and make.
struct Boot<'a> {
    console: &'a Console,
    root: Root,
    state: state::Outcome,
    /// What `status` calls the watchdog.
    watchdog: String,
    guard: &'a Guard,
    loading: Option<Loading>,
}

/// One phase: the name that the console and the report show, and what it does.
type Phase = (&'static str, fn(&mut Boot<'_>) -> Result<()>);

const PHASES: &[Phase] = &[
    ("file systems", |_| mounts::mount_all(mounts::ROOT)),
    ("kernel settings", |boot| settings(boot.console)),
    ("modules", |boot| {
        // Those for the manager and for nobody go on beside the phases to come.
        boot.loading = Some(Loading::begin().context("a thread that loads modules")?);
        modules::load_list(
            boot.console,
            Path::new(modules::DIRECTORY),
            modules::FOR_BOOT,
        );
        mounts::mount_all(mounts::LATE)
    }),
    // From here on a kernel that hangs is reset.
    ("watchdog", |boot| {
        boot.watchdog = match watchdog::arm(boot.console) {
            Some(armed) => {
                boot.guard.feed(armed.device);
                armed.kind
            }
            None => "none".to_owned(),
        };
        Ok(())
    }),
    ("cgroups", |_| cgroups(Path::new("/sys/fs/cgroup"))),
    ("state", |boot| {
        // A check may rightly take longer than any other phase.
        let going_on = || boot.guard.phase("state");
        boot.state = state::bring_up(boot.console, &boot.root.disk, &going_on)?;
        Ok(())
    }),
    ("identity", |boot| identity::establish(boot.console)),
];

/// Boots; what comes back cannot fail any more.
///
/// # Errors
/// Whatever a host cannot do without.
pub(crate) fn boot(root: Root, signals: OwnedFd, guard: &Guard) -> Result<Supervisor> {
    let console = &Console::open();
    let state = state::Outcome {
        health: StateHealth::Tmpfs,
        detail: String::new(),
    };
    let mut boot = Boot {
        console,
        root,
        state,
        watchdog: String::new(),
        guard,
        loading: None,
    };
    run(&mut boot)?;
    std::fs::create_dir_all("/run/orlop").context("/run/orlop")?;
    let report = report(&boot);
    let text = serde_json::to_string_pretty(&report).context(BOOT_REPORT_PATH)?;
    files::replace(Path::new(BOOT_REPORT_PATH), &text).context(BOOT_REPORT_PATH)?;
    // The last that may hang goes on beside the supervisor.
    guard.phase("the manager's modules");
    let loading = boot.loading.context("no modules are being loaded")?;
    let on_trial = identity::is_on_trial(&report.entry);
    Supervisor::new(Console::open(), signals, loading, on_trial).context("preparing to supervise")
}

fn run(boot: &mut Boot<'_>) -> Result<()> {
    for (name, phase) in PHASES {
        boot.console.say(name);
        boot.guard.phase(name);
        phase(boot).with_context(|| format!("boot phase {name:?}"))?;
        boot.root.phases.done(name);
    }
    Ok(())
}

fn report(boot: &Boot<'_>) -> BootReport {
    let entry = identity::entry();
    let (slot, disk) = (boot.root.slot, &boot.root.disk);
    let all = partitions::list(Path::new("/sys/class/block")).unwrap_or_default();
    let device = |name: &str| {
        let found = all.iter().find(|p| p.disk == *disk && p.name == name);
        found.map(|partition| partition.path().display().to_string())
    };
    let other = slot.other().letter();
    let other_root = device(&format!("root-{other}"));
    let other_verity = device(&format!("verity-{other}"));
    BootReport {
        version: identity::version(&files::read("/etc/os-release").unwrap_or_default()),
        slot,
        serial: identity::serial(&entry),
        entry,
        counted: identity::counted(),
        esp: device("esp").unwrap_or_default(),
        other: other_root
            .zip(other_verity)
            .map(|(root, verity)| SlotDevices { root, verity }),
        root_hash: boot.root.hash.clone(),
        state: boot.state.health,
        state_detail: boot.state.detail.clone(),
        watchdog: boot.watchdog.clone(),
        boot_id: files::read_trimmed("/proc/sys/kernel/random/boot_id"),
        pid1_start_ms: boot.root.pid1_start_ms,
        manager_exec_ms: clock::since_boot_ms(),
        phases: boot.root.phases.times().to_vec(),
    }
}

/// Settings of the kernel and of PID 1 itself that nothing depends on to go on.
fn settings(console: &Console) -> Result<()> {
    // Ctrl-Alt-Del asks PID 1 instead of resetting at once.
    rustix::system::reboot(rustix::system::RebootCommand::CadOff).context("Ctrl-Alt-Del")?;
    // The manager's lines go to the kernel's log, whose rate limit would drop them.
    let _ = files::set("/proc/sys/kernel/printk_devkmsg", "on");
    // PID 1 keeps up to 4 descriptors for each of 1024 keys.
    let files = Rlimit {
        current: Some(8192),
        maximum: Some(1 << 20),
    };
    if let Err(errno) = rustix::process::setrlimit(Resource::Nofile, files) {
        console.say(&format!("raising the limit of open files: {errno}"));
    }
    if let Err(error) = identity::hostname() {
        console.say(&format!("/etc/hostname: {error}"));
    }
    Ok(())
}

/// Gives every controller to the first level, and to the containers' own.
fn cgroups(root: &Path) -> Result<()> {
    let containers = root.join("orlop");
    std::fs::create_dir_all(&containers).with_context(|| containers.display().to_string())?;
    for group in [root, &containers] {
        let controllers = files::read(group.join("cgroup.controllers"))
            .with_context(|| format!("{}/cgroup.controllers", group.display()))?;
        for controller in controllers.split_whitespace() {
            let path = group.join("cgroup.subtree_control");
            files::set(&path, &format!("+{controller}"))
                .with_context(|| format!("{}: enabling {controller}", path.display()))?;
        }
    }
    Ok(())
}

/// How long each phase took.
#[derive(Debug)]
pub(crate) struct Phases {
    since_ms: u64,
    times: Vec<PhaseTime>,
}

impl Phases {
    pub(crate) fn begin(now_ms: u64) -> Self {
        Self {
            since_ms: now_ms,
            times: Vec::new(),
        }
    }

    /// The phase `name` has ended, and the next begins.
    pub(crate) fn done(&mut self, name: &str) {
        self.done_at(name, clock::since_boot_ms());
    }

    fn done_at(&mut self, name: &str, now_ms: u64) {
        let ms = now_ms.saturating_sub(self.since_ms);
        self.times.push(PhaseTime {
            name: name.to_owned(),
            ms,
        });
        self.since_ms = now_ms;
    }

    pub(crate) fn times(&self) -> &[PhaseTime] {
        &self.times
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_add_up() {
        let mut phases = Phases::begin(10);
        phases.done_at("a", 12);
        phases.done_at("b", 12);
        phases.done_at("c", 20);
        let times: Vec<_> = phases.times().iter().map(|p| (&*p.name, p.ms)).collect();
        assert_eq!(times, [("a", 2), ("b", 0), ("c", 8)]);
    }

    #[test]
    fn every_phase_has_its_own_name() {
        let names: std::collections::BTreeSet<_> = PHASES.iter().map(|p| p.0).collect();
        assert_eq!(names.len(), PHASES.len());
    }
}
