//! The loop that PID 1 stays in.
//!
//! What to do is decided by five small machines that know no time but what they
//! are told: [`exits`], [`kept`], [`keeper`], [`pulse`], [`ending`]. This module
//! waits for events, feeds them, and does what they say. Nothing in it fails:
//! an operation that the kernel refuses is said on the console, and the loop
//! goes on (I1).

mod button;
mod ending;
mod exits;
mod keeper;
mod kept;
mod output;
mod pulse;
mod reaper;
mod talk;

use crate::console::Console;
use crate::guard::Guard;
use crate::modules::{Loaded, Loading};
use crate::{clock, power, process};
use button::Buttons;
use ending::Ending;
use exits::Exits;
use keeper::Keeper;
use kept::Kept;
use orlop_handover::{InitEnd, ShutdownMode};
use orlop_sys::signals;
use orlop_sys::watchdog::Watchdog;
use output::Output;
use pulse::Pulse;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, Signal};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use talk::Outbox;

/// The longest sleep, in milliseconds: a wake too many is cheaper than one missed.
const LONGEST_SLEEP_MS: u64 = 5_000;

/// How soon the console is tried again that did not take a line, in milliseconds.
const CATCH_UP_MS: u64 = 100;

/// Everything that PID 1 holds while the host is up.
pub(crate) struct Supervisor {
    console: Console,
    /// Until the modules that the manager needs are loaded; it has the watchdog,
    /// and the manager is not told that all is ready.
    guard: Option<Guard>,
    watchdog: Option<Watchdog>,
    signals: OwnedFd,
    /// Until all modules are loaded.
    loading: Option<Loading>,
    buttons: Buttons,
    output: Output,
    link: Option<InitEnd>,
    outbox: Outbox,
    exits: Exits,
    kept: Kept,
    keeper: Keeper,
    pulse: Pulse,
    ending: Option<Ending>,
}

/// Has the signals that PID 1 acts on wait for it, in this thread and in those
/// that it starts from now on.
pub(crate) fn block_signals() -> io::Result<OwnedFd> {
    let signals = [Signal::CHILD, Signal::INT, Signal::TERM, Signal::POWER];
    Ok(signals::open(&signals.map(Signal::as_raw))?)
}

impl Supervisor {
    /// The last thing that may fail. A boot `on_trial` is given up sooner.
    pub(crate) fn new(
        console: Console,
        signals: OwnedFd,
        loading: Loading,
        on_trial: bool,
    ) -> io::Result<Self> {
        let now_ms = clock::now_ms();
        Ok(Self {
            console,
            guard: None,
            watchdog: None,
            signals,
            loading: Some(loading),
            buttons: Buttons::default(),
            output: Output::new()?,
            link: None,
            outbox: Outbox::default(),
            exits: Exits::default(),
            kept: Kept::default(),
            keeper: Keeper::Waiting {
                due_ms: now_ms,
                failures: 0,
            },
            pulse: Pulse::new(now_ms, on_trial),
            ending: None,
        })
    }

    /// Supervises until the machine goes down. What the boot has left under way
    /// is under its `guard`.
    pub(crate) fn run(mut self, guard: Guard) -> ! {
        self.guard = Some(guard);
        loop {
            self.take_signals();
            self.take_modules();
            self.output.relay(&self.console);
            self.hear();
            let more = self.reap();
            self.keep_manager();
            self.take_pulse();
            if let Some(mode) = self.go_down() {
                self.end_guard();
                power::finish(&self.console, mode, self.watchdog.take());
            }
            self.speak();
            self.sleep(more);
        }
    }

    fn take_signals(&mut self) {
        while let Ok(Some(signal)) = signals::next(&self.signals) {
            if signal == Signal::INT.as_raw() {
                self.begin(ShutdownMode::Reboot, "Ctrl-Alt-Del");
            } else if signal == Signal::TERM.as_raw() || signal == Signal::POWER.as_raw() {
                self.begin(ShutdownMode::PowerOff, "a signal");
            }
        }
        if self.buttons.pressed() {
            self.begin(ShutdownMode::PowerOff, "the power button");
        }
    }

    /// Goes on with what waits for modules.
    fn take_modules(&mut self) {
        let Some(loaded) = self.loading.as_ref().and_then(Loading::news) else {
            return;
        };
        self.buttons = Buttons::find(Path::new("/sys/class/input"), Path::new("/dev/input"));
        if self.end_guard() && self.link.is_some() {
            self.outbox.ready();
        }
        if loaded == Loaded::All {
            self.loading = None;
        }
    }

    /// Takes the watchdog over from the boot's guard, if that is not done yet.
    fn end_guard(&mut self) -> bool {
        let Some(guard) = self.guard.take() else {
            return false;
        };
        self.watchdog = guard.over();
        true
    }

    /// Starts the manager when it is time to.
    fn keep_manager(&mut self) {
        let now_ms = clock::now_ms();
        let (keeper, start) = self.keeper.step(keeper::Event::Tick, now_ms);
        self.keeper = keeper;
        if !start {
            return;
        }
        let started = InitEnd::pair().and_then(|(ours, theirs)| {
            process::start_manager(theirs, self.output.writer()).map(|pid| (ours, pid))
        });
        let event = match started {
            Ok((ours, pid)) => {
                self.link = Some(ours);
                self.outbox.greet(&self.kept, &self.exits);
                if self.guard.is_none() {
                    self.outbox.ready();
                }
                if let Some(Ending::Containers { longest_ms, .. }) = self.ending {
                    self.outbox
                        .stop_containers(longest_ms.saturating_sub(now_ms));
                }
                self.pulse.started(pid, now_ms);
                keeper::Event::Started(pid)
            }
            Err(error) => {
                self.console
                    .say(&format!("the manager cannot be started: {error}"));
                keeper::Event::StartFailed
            }
        };
        self.keeper = self.keeper.step(event, now_ms).0;
    }

    fn take_pulse(&mut self) {
        for act in self.pulse.tick(clock::now_ms()) {
            match act {
                pulse::Act::Ask(seq) => self.outbox.ask(seq),
                pulse::Act::Feed => {
                    if let Some(Err(errno)) = self.watchdog.as_ref().map(Watchdog::feed) {
                        self.console.say(&format!("feeding the watchdog: {errno}"));
                    }
                }
                pulse::Act::Kill(pid) => {
                    self.console
                        .say("the manager does not answer: killing it to start it again");
                    if let Some(pid) = Pid::from_raw(pid) {
                        let _ = rustix::process::kill_process(pid, Signal::KILL);
                    }
                }
                pulse::Act::Distrust => self.give_up(),
            }
        }
    }

    /// Begins the ordered shutdown, once.
    fn begin(&mut self, mode: ShutdownMode, whose: &str) {
        if self.ending.is_some() {
            return;
        }
        self.console.say(&match mode {
            ShutdownMode::Reboot => format!("restart asked for by {whose}: stopping containers"),
            ShutdownMode::PowerOff => {
                format!("power-off asked for by {whose}: stopping containers")
            }
        });
        let ending = Ending::begin(mode, clock::now_ms());
        self.ending = Some(ending);
        self.outbox.stop_containers(ending::LONGEST_MS);
        self.pulse.shut_down_by(ending.down_by_ms());
    }

    /// Nothing answers, and nothing that PID 1 can start will: the host is
    /// restarted, which is in order still, and for a version on trial one try.
    /// One that was going down already is left to the watchdog.
    fn give_up(&mut self) {
        if self.ending.is_some() {
            let fate = match self.watchdog {
                Some(_) => "the watchdog is fed no longer and will reset the machine",
                None => "there is no watchdog to reset the machine",
            };
            self.console.say(&format!("not down in time: {fate}"));
            return;
        }
        self.console
            .say("no manager has answered for long: restarting the machine");
        let ending = Ending::without_manager(ShutdownMode::Reboot, clock::now_ms());
        self.ending = Some(ending);
        self.pulse.shut_down_by(ending.down_by_ms());
        self.terminate();
    }

    /// Gives the containers the time that their units need.
    fn wait_for_containers(&mut self, needs_ms: u64, containers: usize) {
        let Some(Ending::Containers { .. }) = self.ending else {
            return;
        };
        let _ = self.step_ending(ending::Event::Needs(needs_ms));
        if let Some(ending) = self.ending {
            self.pulse.shut_down_by(ending.down_by_ms());
            let wait_ms = ending.wake_ms().unwrap_or(0);
            let seconds = wait_ms.saturating_sub(clock::now_ms()).div_ceil(1000);
            self.console.say(&format!(
                "waiting for {containers} containers to stop, {seconds} s at the most"
            ));
        }
    }

    /// Moves the shutdown on by `event`; the mode once all is done.
    fn step_ending(&mut self, event: ending::Event) -> Option<ShutdownMode> {
        let (next, act) = self.ending?.step(event, clock::now_ms());
        self.ending = Some(next);
        match act? {
            ending::Act::Terminate => {
                if event == ending::Event::Tick {
                    self.console
                        .say("the containers did not stop in time: going on without them");
                }
                self.terminate();
                None
            }
            ending::Act::Kill => {
                self.console
                    .say("some processes did not end at SIGTERM: killing them");
                self.kill_all(Signal::KILL);
                let _ = crate::files::set("/sys/fs/cgroup/orlop/cgroup.kill", "1");
                None
            }
            ending::Act::Finish(mode) => Some(mode),
        }
    }

    fn go_down(&mut self) -> Option<ShutdownMode> {
        let event = match self.ending? {
            Ending::Terminating { .. } | Ending::Killing { .. } if reaper::is_alone() => {
                ending::Event::Alone
            }
            Ending::Containers { .. }
            | Ending::Terminating { .. }
            | Ending::Killing { .. }
            | Ending::Done { .. } => ending::Event::Tick,
        };
        self.step_ending(event)
    }

    /// Asks every process to end, the last manager too.
    fn terminate(&mut self) {
        self.pulse.retired();
        self.keeper = self.keeper.step(keeper::Event::Retire, clock::now_ms()).0;
        self.console.say("stopping every process");
        self.kill_all(Signal::TERM);
    }

    fn kill_all(&self, signal: Signal) {
        if let Err(errno) = signals::kill_all(signal.as_raw()) {
            self.console
                .say(&format!("signalling every process: {errno}"));
        }
    }

    /// Waits until something happens or is due; not at all when there is more
    /// to do that no event will tell of.
    fn sleep(&self, more: bool) {
        let now_ms = clock::now_ms();
        let wakes = [
            self.pulse.wake_ms(),
            self.keeper.wake_ms(),
            self.ending.and_then(Ending::wake_ms),
            more.then_some(now_ms),
            (!self.console.catch_up()).then_some(now_ms + CATCH_UP_MS),
        ];
        let wake_ms = wakes.into_iter().flatten().min().unwrap_or(u64::MAX);
        let sleep_ms = wake_ms.saturating_sub(now_ms).min(LONGEST_SLEEP_MS);
        let timeout = Timespec {
            tv_sec: (sleep_ms / 1000) as i64,
            tv_nsec: (sleep_ms % 1000 * 1_000_000) as i64,
        };
        let mut fds = vec![
            PollFd::new(&self.signals, PollFlags::IN),
            PollFd::from_borrowed_fd(self.output.reader(), PollFlags::IN),
        ];
        let buttons = self.buttons.devices();
        fds.extend(buttons.map(|device| PollFd::new(device, PollFlags::IN)));
        if let Some(loading) = &self.loading {
            fds.push(PollFd::new(loading, PollFlags::IN));
        }
        if let Some(link) = &self.link {
            fds.push(PollFd::from_borrowed_fd(
                link.as_fd(),
                self.outbox.interest(),
            ));
        }
        // A failed wait is an early wake, but never a busy loop.
        if rustix::event::poll(&mut fds, Some(&timeout)).is_err() {
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }
}
