//! What is said to the manager and heard from it.

use super::exits::{Exit, Exits};
use super::kept::Kept;
use super::{Supervisor, ending, keeper};
use crate::clock;
use crate::console::Console;
use orlop_handover::{FromInit, InitEnd, LinkError, ToInit};
use rustix::event::PollFlags;
use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};

/// The most messages heard in one turn.
const MAX_A_TURN: usize = 64;
/// With this many answers waiting the manager is not listened to until it reads.
const MANY: usize = 6_000;

/// One thing to say.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Say {
    Plain(FromInit),
    /// The descriptors under this key, looked up when it is said.
    Kept(String),
}

/// What is still to be said to this manager. Bounded by the tables it is made
/// from, and by [`MANY`] for answers.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    queue: VecDeque<Say>,
}

impl Outbox {
    /// Tells a new manager everything of the past, up to [`Outbox::ready`].
    pub(super) fn greet(&mut self, kept: &Kept, exits: &Exits) {
        self.queue.clear();
        self.plain(FromInit::Welcome { kept: kept.len() });
        self.queue.extend(kept.keys().cloned().map(Say::Kept));
        self.queue
            .extend(exits.iter().map(|exit| Say::Plain(exit.message())));
    }

    /// Tells a greeted manager that the kernel has what it needs, too.
    pub(super) fn ready(&mut self) {
        self.plain(FromInit::Ready);
    }

    pub(super) fn stop_containers(&mut self, deadline_ms: u64) {
        self.plain(FromInit::StopContainers { deadline_ms });
    }

    /// Asks for a sign of life, unless an older question has not even left.
    pub(super) fn ask(&mut self, seq: u64) {
        let asked = |say: &Say| matches!(say, Say::Plain(FromInit::Ping { .. }));
        if !self.queue.iter().any(asked) {
            self.plain(FromInit::Ping { seq });
        }
    }

    pub(super) fn exit(&mut self, exit: &Exit) {
        self.plain(exit.message());
    }

    pub(super) fn clear(&mut self) {
        self.queue.clear();
    }

    /// What the link is waited for.
    pub(super) fn interest(&self) -> PollFlags {
        let listen = if self.is_crowded() {
            PollFlags::empty()
        } else {
            PollFlags::IN
        };
        if self.queue.is_empty() {
            listen
        } else {
            listen | PollFlags::OUT
        }
    }

    fn is_crowded(&self) -> bool {
        self.queue.len() > MANY
    }

    fn plain(&mut self, message: FromInit) {
        self.queue.push_back(Say::Plain(message));
    }

    /// Says as much as the manager takes; whether it is still there.
    fn flush(&mut self, link: &InitEnd, kept: &Kept, console: &Console) -> bool {
        while let Some(say) = self.queue.front() {
            let said = match say {
                Say::Plain(message) => link.send(message, &[]),
                Say::Kept(key) => {
                    let entry = kept.get(key);
                    let names = entry.map(|e| e.names.clone()).unwrap_or_default();
                    let fds: Vec<_> = entry
                        .iter()
                        .flat_map(|e| e.fds.iter().map(OwnedFd::as_fd))
                        .collect();
                    link.send(
                        &FromInit::Kept {
                            key: key.clone(),
                            names,
                        },
                        &fds,
                    )
                }
            };
            match said {
                Ok(()) => {}
                Err(LinkError::WouldBlock) => return true,
                Err(error) if error.is_about_one_message() => {
                    console.say(&format!("telling the manager: {error}"));
                }
                Err(_) => return false,
            }
            self.queue.pop_front();
        }
        true
    }
}

impl Supervisor {
    /// Says what is to be said.
    pub(super) fn speak(&mut self) {
        if let Some(link) = &self.link
            && !self.outbox.flush(link, &self.kept, &self.console)
        {
            self.hang_up();
        }
    }

    /// Hears what the manager says.
    pub(super) fn hear(&mut self) {
        for _ in 0..MAX_A_TURN {
            if self.outbox.is_crowded() {
                return;
            }
            let Some(link) = &self.link else { return };
            match link.recv() {
                Ok(Some((message, fds))) => self.heed(message, fds),
                Ok(None) => return self.hang_up(),
                Err(LinkError::WouldBlock) => return,
                Err(error) if error.is_about_one_message() => {
                    self.console.say(&format!("from the manager: {error}"));
                }
                Err(_) => return self.hang_up(),
            }
        }
    }

    /// The manager has closed its end. If it does not end itself, its missing
    /// answers will be noticed.
    fn hang_up(&mut self) {
        self.link = None;
        self.outbox.clear();
    }

    fn heed(&mut self, message: ToInit, fds: Vec<OwnedFd>) {
        let now_ms = clock::now_ms();
        match message {
            ToInit::Ack { pid, start_time } => {
                // A second acknowledgement of the same exit is no error.
                self.exits.acknowledge(pid, start_time);
            }
            ToInit::Keep { key, names } => {
                let answer = match self.kept.keep(&key, names, fds) {
                    Ok(()) => FromInit::KeptOk { key },
                    Err(reason) => {
                        self.console
                            .say(&format!("keeping descriptors of {key}: {reason}"));
                        FromInit::KeepRefused { key, reason }
                    }
                };
                self.outbox.plain(answer);
            }
            ToInit::Forget { key } => self.kept.forget(&key),
            ToInit::Pong { seq } => self.pulse.answered(seq, now_ms),
            ToInit::Stopping {
                needs_ms,
                containers,
            } => self.wait_for_containers(needs_ms, containers),
            ToInit::ContainersStopped => {
                // Its only act is to signal every process: never the end itself.
                let _ = self.step_ending(ending::Event::ContainersStopped);
            }
            ToInit::Shutdown { mode } => self.begin(mode, "the manager"),
            ToInit::Running => {
                self.keeper = self.keeper.step(keeper::Event::Running, now_ms).0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    fn exit(pid: i32) -> Exit {
        Exit {
            pid,
            start_time: 1,
            code: Some(0),
            signal: None,
            at_ms: 0,
        }
    }

    #[test]
    fn a_new_manager_is_told_everything_in_order_however_slowly_it_reads() {
        let (init, manager) = InitEnd::pair().unwrap();
        let console = Console::open();
        let (mut kept, mut exits) = (Kept::default(), Exits::default());
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        kept.keep("web", vec!["out".into()], vec![writer]).unwrap();
        kept.keep("gone", vec![], vec![]).unwrap();
        for pid in 1..=3000 {
            exits.record(exit(pid));
        }
        let mut outbox = Outbox::default();
        outbox.greet(&kept, &exits);
        outbox.ready();
        outbox.ask(1);
        outbox.ask(2);
        kept.forget("gone");

        let mut heard = Vec::new();
        while !outbox.queue.is_empty() {
            assert!(outbox.flush(&init, &kept, &console));
            while rustix::event::poll(
                &mut [rustix::event::PollFd::from_borrowed_fd(
                    manager.as_fd(),
                    PollFlags::IN,
                )],
                Some(&rustix::event::Timespec {
                    tv_sec: 0,
                    tv_nsec: 0,
                }),
            )
            .unwrap()
                > 0
            {
                heard.push(manager.recv().unwrap().unwrap());
            }
        }
        assert_eq!(heard.len(), 1 + 2 + 3000 + 1 + 1);
        assert_eq!(heard[0].0, FromInit::Welcome { kept: 2 });
        assert_eq!(
            heard[1].0,
            FromInit::Kept {
                key: "gone".into(),
                names: vec![]
            }
        );
        assert_eq!(heard[2].1.len(), 1);
        assert_eq!(heard[3].0, exit(1).message());
        assert_eq!(heard[3003].0, FromInit::Ready);
        assert_eq!(heard[3004].0, FromInit::Ping { seq: 1 });

        // The descriptor that came is an end of the pipe that is kept.
        kept.forget("web");
        rustix::io::write(&heard[2].1[0], b"line").unwrap();
        heard.clear();
        let mut text = String::new();
        std::fs::File::from(reader)
            .read_to_string(&mut text)
            .unwrap();
        assert_eq!(text, "line");
    }

    #[test]
    fn a_manager_that_is_gone_is_noticed() {
        let (init, manager) = InitEnd::pair().unwrap();
        drop(manager);
        let mut outbox = Outbox::default();
        outbox.ask(1);
        assert!(!outbox.flush(&init, &Kept::default(), &Console::open()));
    }
}
