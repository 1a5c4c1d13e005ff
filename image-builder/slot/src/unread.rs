//! What becomes of a boot whose boot partition cannot be read: neither blessed nor marked as bad.
//!
//! Which entry runs is known all the same: the boot loader says so, and the record speaks of it. A
//! trial that is still undecided at its deadline is ended by a restart, in order. That cannot go on
//! without end: the boot loader reads the partition where this version cannot, and takes one from
//! the tries left at each start; when none is left it starts another install. Where it did not
//! count, or has nothing left to count, a restart would lead to the same boot again, so none is
//! made.

use crate::counted::{Endless, left};
use crate::trial::{Installed, Record, Running, Standing, standing};

/// What is to be done while the boot partition cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unread {
    /// Nothing: what runs is not on trial, and stays.
    NoTrial,
    /// Look again: the trial's deadline is to come.
    Wait,
    /// Restart the machine.
    Restart {
        /// The install that was on trial.
        serial: u32,
        /// The tries that the boot loader has left for it.
        left: u32,
    },
    /// Look again: the trial is undecided, and a restart would lead to it once more.
    Stay {
        /// Why it would.
        why: Endless,
    },
}

/// What is to be done about the install that is `running`. `counted` is the name that the boot
/// loader gave its entry when it counted this start; none when it did not. `is_over` says whether
/// the deadline of a trial has passed.
pub fn unread(
    running: &Running,
    counted: Option<&str>,
    record: Option<&Record>,
    is_over: bool,
) -> Unread {
    // What the boot loader started was there, under that name.
    let started = running.entry.iter().map(|name| Installed {
        name: name.clone(),
        root: Some(running.root.clone()),
    });
    let started: Vec<Installed> = started.collect();
    let serial = match standing(running, &started, record) {
        Standing::Good | Standing::Blessed { .. } => return Unread::NoTrial,
        Standing::Trial { serial } | Standing::Failed { serial } => serial,
    };
    if !is_over {
        return Unread::Wait;
    }
    let entry = started.first().and_then(Installed::entry);
    match left(entry.as_ref(), counted) {
        Ok(left) => Unread::Restart { serial, left },
        Err(why) => Unread::Stay { why },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::BootEntry;
    use crate::trial::Outcome;

    const ROOT: &str = "bb";

    fn record(serial: u32, outcome: Outcome) -> Record {
        Record {
            serial,
            version: "2".to_owned(),
            root: ROOT.to_owned(),
            outcome,
        }
    }

    fn of(entry: &str, counted: &str, record: Option<Record>, is_over: bool) -> Unread {
        let some = |name: &str| Some(name.to_owned()).filter(|name| !name.is_empty());
        let running = Running {
            entry: some(entry),
            version: "2".to_owned(),
            root: ROOT.to_owned(),
        };
        unread(&running, some(counted).as_deref(), record.as_ref(), is_over)
    }

    #[test]
    fn a_trial_is_ended_at_its_deadline_where_that_ends() {
        let restart = |left| Unread::Restart { serial: 2, left };
        let stay = |why| Unread::Stay { why };
        let trying = || Some(record(2, Outcome::Trying));
        let cases = [
            ("orlop_2_2+3.efi", "orlop_2_2+2-1.efi", trying(), restart(2)),
            (
                "orlop_2_2+2-1.efi",
                "orlop_2_2+1-2.efi",
                trying(),
                restart(1),
            ),
            (
                "orlop_2_2+1-2.efi",
                "orlop_2_2+0-3.efi",
                trying(),
                restart(0),
            ),
            // It failed, and could not be marked.
            (
                "orlop_2_2+2-1.efi",
                "orlop_2_2+1-2.efi",
                Some(record(2, Outcome::Failed)),
                restart(1),
            ),
            // Without a record, or with another's, the name is believed.
            ("orlop_2_2+1.efi", "orlop_2_2+0-1.efi", None, restart(0)),
            (
                "orlop_2_2+1.efi",
                "orlop_2_2+0-1.efi",
                Some(record(1, Outcome::Blessed)),
                restart(0),
            ),
            // None of these would end.
            (
                "orlop_2_2+0-3.efi",
                "orlop_2_2+0-4.efi",
                trying(),
                stay(Endless::NoTries),
            ),
            ("orlop_2_2+3.efi", "", trying(), stay(Endless::NotCounted)),
            (
                "orlop_2_2+3.efi",
                "orlop_2_2+3.efi",
                trying(),
                stay(Endless::NotCounted),
            ),
            (
                "orlop_2_2+3.efi",
                "orlop_3_2+2-1.efi",
                trying(),
                stay(Endless::NotCounted),
            ),
            (
                "orlop_2_2+3.efi",
                "orlop_2_2.efi",
                trying(),
                stay(Endless::NotCounted),
            ),
            ("orlop_2_2.efi", "", trying(), stay(Endless::NoCounter)),
            ("ORLOP_~1.EFI", "", trying(), stay(Endless::NoCounter)),
        ];
        for (entry, counted, record, wanted) in cases {
            let about = format!("{entry} {counted} {record:?}");
            assert_eq!(of(entry, counted, record.clone(), true), wanted, "{about}");
            assert_eq!(of(entry, counted, record, false), Unread::Wait, "{about}");
        }
    }

    #[test]
    fn what_is_not_on_trial_stays() {
        for is_over in [false, true] {
            for (entry, counted, record) in [
                ("", "", Some(record(2, Outcome::Trying))),
                ("orlop_2_2.efi", "", None),
                ("orlop_2_2.efi", "", Some(record(1, Outcome::Failed))),
                ("ORLOP_~1.EFI", "", None),
                // Its name was to lose the counter, and could not yet.
                (
                    "orlop_2_2+2-1.efi",
                    "orlop_2_2+1-2.efi",
                    Some(record(2, Outcome::Blessed)),
                ),
            ] {
                let what = of(entry, counted, record, is_over);
                assert_eq!(what, Unread::NoTrial, "{entry}");
            }
        }
    }

    /// Starts as the boot loader does, until it starts another one.
    #[test]
    fn restarts_come_to_an_end() {
        for tries in 1..5 {
            let mut entry: BootEntry = format!("orlop_2_2+{tries}.efi").parse().unwrap();
            let mut restarts = 0;
            loop {
                let started = entry.to_string();
                let counter = entry.tries.as_mut().unwrap();
                counter.left = counter.left.saturating_sub(1);
                counter.done += 1;
                let record = Some(record(2, Outcome::Trying));
                match of(&started, &entry.to_string(), record, true) {
                    Unread::Restart { .. } => restarts += 1,
                    Unread::Stay { why } => break assert_eq!(why, Endless::NoTries),
                    other @ (Unread::NoTrial | Unread::Wait) => panic!("{other:?}"),
                }
            }
            assert_eq!(restarts, tries);
        }
    }
}
