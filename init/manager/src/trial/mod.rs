//! The trial of a host image: watches the units through the gate, then keeps the image that runs or
//! goes back to the one before.
//!
//! What is decided, and what is then written in which order and why, is `orlop_slot`'s
//! ([`orlop_slot::gate`], [`orlop_slot::trial`], and the module with [`Step`]); here is what asks
//! and what does. Nothing of it is in memory alone: a manager that takes over finds the record and
//! the names, and the deadline counts from when PID 1 started the first manager of this boot. So it
//! goes on where the one before was, and decides once.
//!
//! A missing or broken ESP stops no unit: it is a warning in the host's status. A trial that it keeps
//! from being decided is ended at the deadline ([`unread`]).

mod back;
mod given_up;
mod panic;
mod report;
mod shown;
mod unread;
mod way_back;

use std::time::Duration;

use orlop_control::types::{EventKind, FailedUpdate, TrialOutcome, TrialStatus};
use orlop_handover::{BootReport, StateHealth};
use orlop_slot::gate::{Blame, Condition, Gate, Limits, Part, Watched};
use orlop_slot::trial::{self, Installed, Outcome, Record, Rename, Running, Standing};
use orlop_slot::{Step, after_failing, after_passing};
use tokio::sync::broadcast::error::RecvError;

pub use back::roll_back;
pub use shown::Trial;

use crate::core::now_ms;
use crate::handle::Handle;
use crate::host::Host;
use crate::installs::{Esp, Records, VFAT_PATIENCE};
use crate::paths::Paths;

/// How often units are looked at without an event.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The pause before something is tried again that the machine refused.
const AGAIN: Duration = Duration::from_secs(5);

/// Reads what an earlier boot left for people to know.
pub fn open(paths: &Paths) -> Trial {
    let shown = Trial::default();
    match Records::new(paths.update()).failed() {
        Ok(failed) => shown.set_failed(failed),
        Err(problem) => shown.warn(problem),
    }
    shown
}

/// Sees the trial of this boot through, if it is one, and tells in `host.trial` how it goes.
pub async fn run(handle: Handle, host: Host, paths: &Paths) {
    // Containers come first: the owner answers once the first are being made.
    if handle.watched().await.is_err() {
        return;
    }
    let Some(case) = Case::new(&handle, &host, paths) else {
        host.trial.list_none(NO_REPORT);
        return host.trial.settle();
    };
    match case.see_through().await {
        Seen::Decided(given_up) => {
            host.trial.settle();
            case.tell_panic(given_up).await;
        }
        // Nothing is to be installed over what the host goes back to.
        Seen::Leaving => {}
    }
}

/// What came of looking at a boot.
enum Seen {
    /// What runs is no trial, or its trial is over and the host stays; and an install was given up that
    /// was not known to be.
    Decided(Option<FailedUpdate>),
    /// The host goes down.
    Leaving,
}

/// Tells anew what is installed, after that has changed.
pub async fn show(handle: &Handle, host: &Host, paths: &Paths) {
    if let Some(case) = Case::new(handle, host, paths) {
        let record = case.records.trial().unwrap_or_default();
        case.look(record.as_ref()).await;
    }
}

/// What is said when the boot cannot be judged.
const NO_REPORT: &str = "PID 1 left no report of the boot";

/// The boot that is judged.
#[derive(Debug)]
struct Case {
    handle: Handle,
    shown: Trial,
    esp: Esp,
    records: Records,
    boot: BootReport,
    running: Running,
    limits: Limits,
}

impl Case {
    /// None without PID 1's report of the boot.
    fn new(handle: &Handle, host: &Host, paths: &Paths) -> Option<Case> {
        let boot = host.boot.as_ref()?;
        let update = &host.config.update;
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Some(Case {
            limits: Limits {
                settle_ms: ms(update.settle),
                deadline_ms: boot.manager_exec_ms.saturating_add(ms(update.deadline)),
            },
            running: host.running(boot),
            handle: handle.clone(),
            shown: host.trial.clone(),
            esp: host.esp.clone(),
            records: Records::new(paths.update()),
            boot: boot.clone(),
        })
    }

    /// Judges the boot, and tells of a newer install that never came up.
    async fn see_through(&self) -> Seen {
        let record = self.records.trial().unwrap_or_else(|problem| {
            self.shown
                .warn(format!("{problem}; the entries' names are believed"));
            None
        });
        // Started without a boot loader, it has none to change either.
        let installed = match self.running.entry {
            None if self.boot.esp.is_empty() => self.look(record.as_ref()).await,
            None | Some(_) => match self.look_for_sure(record.as_ref(), None).await {
                Some(installed) => installed,
                None => return Seen::Leaving,
            },
        };
        match trial::standing(&self.running, &installed, record.as_ref()) {
            Standing::Good => Seen::Decided(self.find_given_up(&installed)),
            Standing::Trial { serial } => self.judge(serial, installed).await,
            Standing::Blessed { serial } => {
                let steps = after_passing(serial, &self.running, &installed);
                self.take(serial, steps, None).await;
                Seen::Decided(self.find_given_up(&installed))
            }
            Standing::Failed { serial } => self.go_back(serial, installed, None).await,
        }
    }

    /// Reads the entries, and shows them. None when they cannot be read.
    async fn look(&self, record: Option<&Record>) -> Vec<Installed> {
        match self.try_to_look(record, VFAT_PATIENCE).await {
            Ok(installed) => installed,
            Err(problem) => {
                self.shown.set_problems(vec![problem]);
                Vec::new()
            }
        }
    }

    /// Reads the entries, and shows them, or why they cannot be read. The kernel may take so long to
    /// get vfat.
    async fn try_to_look(
        &self,
        record: Option<&Record>,
        patience: Duration,
    ) -> Result<Vec<Installed>, String> {
        match self.esp.list_within(patience).await {
            Ok(listing) => {
                self.shown.set_problems(listing.problems);
                self.shown
                    .list(&listing.files, &self.running, record, self.boot.slot);
                Ok(listing.files)
            }
            Err(error) => {
                let device = &self.boot.esp;
                let problem = format!("the EFI system partition {device} cannot be read: {error}");
                self.shown.list_none(&problem);
                Err(problem)
            }
        }
    }

    /// Lets the gate decide, and does what follows.
    async fn judge(&self, serial: u32, installed: Vec<Installed>) -> Seen {
        let known = self.shown.failed();
        let decided = |failed: FailedUpdate| {
            failed.boot_id == self.boot.boot_id && failed.serial == u64::from(serial)
        };
        if known.is_some_and(decided) {
            // By an earlier manager of this boot, without a record: there was
            // nowhere to go, or no room for one.
            return self.go_back(serial, installed, None).await;
        }
        self.tell(serial, TrialOutcome::Begun);
        let decided = self.watch().await;
        self.shown.set_trial(None);
        let Some(gate) = decided else {
            // The next boot is the next try.
            return Seen::Leaving;
        };
        let report = match &gate {
            Err(blames) => Some(self.report(serial, blames).await),
            Ok(()) => None,
        };
        let record = self.records.trial().unwrap_or_default();
        let looked = self.look_for_sure(record.as_ref(), report.as_ref());
        let Some(installed) = looked.await else {
            return Seen::Leaving;
        };
        match report {
            Some(report) => self.go_back(serial, installed, Some(report)).await,
            None => {
                let steps = after_passing(serial, &self.running, &installed);
                let seen = self.take(serial, steps, None).await;
                self.tell(serial, TrialOutcome::Passed);
                seen
            }
        }
    }

    /// Gives up the install that runs, for another one that is whole, if there is one.
    async fn go_back(
        &self,
        serial: u32,
        installed: Vec<Installed>,
        mut report: Option<FailedUpdate>,
    ) -> Seen {
        let (installed, damage) = self.without_damaged(serial, installed).await;
        match (&mut report, damage) {
            (_, None) => {}
            (Some(report), Some(damage)) => report.reason.push_str(&format!("; {damage}")),
            (None, Some(damage)) => self.shown.warn(damage),
        }
        let steps = after_failing(serial, &self.running, &installed);
        self.take(serial, steps, report).await
    }

    fn tell(&self, serial: u32, outcome: TrialOutcome) {
        self.handle.tell(EventKind::Trial {
            version: self.running.version.clone(),
            serial: serial.into(),
            outcome,
            reason: None,
        });
    }

    /// Watches the units until the gate is decided; `None` when the host goes down.
    async fn watch(&self) -> Option<Result<(), Vec<Blame>>> {
        let mut events = self.handle.events();
        let mut gate = Gate::new(now_ms());
        loop {
            let mut units = self.handle.watched().await.ok()?;
            units.extend(self.lost_state());
            let now_ms = now_ms();
            gate = gate.step(&units, now_ms, self.limits);
            match gate {
                Gate::Passed => return Some(Ok(())),
                Gate::Failed(blames) => return Some(Err(blames)),
                Gate::Waiting { .. } => {}
            }
            let waits = gate.waits_for(&units, now_ms, self.limits);
            self.shown.set_trial(Some(TrialStatus {
                deadline_ms: self.limits.deadline_ms,
                waits_for: waits.iter().map(report::line).collect(),
            }));
            tokio::select! {
                event = events.recv() => match event {
                    Ok(_) | Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return None,
                },
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    }

    /// A state partition that this version cannot use: its units would be well
    /// without any of their data.
    fn lost_state(&self) -> Option<Watched> {
        match self.boot.state {
            StateHealth::Ok | StateHealth::Repaired => None,
            StateHealth::Tmpfs => Some(Watched {
                name: "the state partition".to_owned(),
                part: Part::Unknown,
                container: String::new(),
                condition: Condition::Unwell("it is not in use: nothing lasts".to_owned()),
            }),
        }
    }

    /// Takes the steps, one after the other.
    async fn take(&self, serial: u32, steps: Vec<Step>, report: Option<FailedUpdate>) -> Seen {
        let mut leaving = false;
        let nowhere = match steps.contains(&Step::Reboot) {
            true => "a restart would lead to it again",
            false => "there is no other good one to go back to",
        };
        for step in steps {
            match step {
                Step::Report => self.put_report(report.as_ref()),
                Step::Record(outcome) => self.put_outcome(serial, outcome).await,
                Step::Rename(rename) => self.rename(rename).await,
                Step::Reboot => leaving = self.reboot(serial).await,
            }
        }
        let record = self.records.trial().unwrap_or_default();
        let failed = self.shown.failed();
        if !leaving && failed.is_some_and(|failed| failed.serial == u64::from(serial)) {
            self.stay(serial, nowhere);
        }
        self.look(record.as_ref()).await;
        match leaving {
            true => Seen::Leaving,
            false => Seen::Decided(None),
        }
    }

    fn put_report(&self, report: Option<&FailedUpdate>) {
        let Some(report) = report else { return };
        self.handle.tell(EventKind::Trial {
            version: report.version.clone(),
            serial: report.serial,
            outcome: TrialOutcome::Failed,
            reason: Some(report.reason.clone()),
        });
        self.keep_report(report);
    }

    fn keep_report(&self, report: &FailedUpdate) {
        // Known to this manager in any case.
        self.shown.set_failed(Some(report.clone()));
        if let Err(error) = self.records.put_failed(report) {
            self.shown.warn(format!(
                "why version {} failed cannot be kept: {error}",
                report.version
            ));
        }
    }

    /// Puts the outcome on record. Nothing is blessed before that has succeeded; to go back is
    /// safer than to stay, on record or not.
    async fn put_outcome(&self, serial: u32, outcome: Outcome) {
        let record = Record {
            serial,
            version: self.running.version.clone(),
            root: self.running.root.clone(),
            outcome,
        };
        if self.records.trial() != Ok(Some(record.clone())) {
            while let Err(error) = self.records.put_trial(&record) {
                let problem = format!("how the trial ended cannot be put on record: {error}");
                self.shown.set_problems(vec![problem]);
                match outcome {
                    Outcome::Failed => return,
                    Outcome::Trying | Outcome::Blessed => tokio::time::sleep(AGAIN).await,
                }
            }
            self.shown.set_problems(Vec::new());
        }
        let older = |failed: FailedUpdate| failed.serial <= u64::from(serial);
        if outcome == Outcome::Blessed && self.shown.failed().is_some_and(older) {
            self.shown.set_failed(None);
            if let Err(error) = self.records.forget_failed() {
                self.shown
                    .warn(format!("an old failed trial is still on record: {error}"));
            }
        }
    }

    async fn rename(&self, rename: Rename) {
        let Rename { from, to } = rename.clone();
        let renamed = self.esp.aside(move |esp| esp.rename(&rename)).await;
        if let Err(error) = renamed {
            self.shown.warn(format!(
                "{from} on the EFI system partition cannot be renamed to {to}: {error}"
            ));
        }
    }

    /// Reboots if that leads to another install; whether it does.
    async fn reboot(&self, serial: u32) -> bool {
        let record = self.records.trial().unwrap_or_default();
        let Some(installed) = self.look_for_sure(record.as_ref(), None).await else {
            return true;
        };
        if !trial::leaves(serial, &self.running, self.counted(), &installed) {
            return false;
        }
        self.restart("another installation is to run").await;
        true
    }

    fn stay(&self, serial: u32, why: &str) {
        let version = &self.running.version;
        self.shown.set_notice(format!(
            "version {version} (installation {serial}) failed its trial and runs on, as {why}"
        ));
    }
}
