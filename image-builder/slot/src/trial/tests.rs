//! The table, and a machine that loses power in the middle of any step.

use super::*;
use crate::boot_order;
use crate::order::{Step, after_failing, after_passing};
use proptest::prelude::*;

fn file(name: &str, root: &str) -> Installed {
    Installed {
        name: name.to_owned(),
        root: Some(root.to_owned()).filter(|root| !root.is_empty()),
    }
}

fn running(entry: &str, root: &str) -> Running {
    Running {
        entry: Some(entry.to_owned()).filter(|name| !name.is_empty()),
        version: "2".to_owned(),
        root: root.to_owned(),
    }
}

fn record(serial: u32, root: &str, outcome: Outcome) -> Record {
    Record {
        serial,
        version: "2".to_owned(),
        root: root.to_owned(),
        outcome,
    }
}

const OLD: &str = "orlop_1_1.efi";
const SHORT: &str = "ORLOP_~1.EFI";

/// What the boot loader started, the names there are, the record, and who that is.
type Case<'a> = (
    &'a str,
    &'a [&'a str],
    Option<(u32, &'a str, Outcome)>,
    Standing,
);

const TRIED: &str = "orlop_2_2+2-1.efi";
const PLAIN: &str = "orlop_2_2.efi";
const TRIAL: Standing = Standing::Trial { serial: 2 };
const BLESSED: Standing = Standing::Blessed { serial: 2 };
const FAILED: Standing = Standing::Failed { serial: 2 };

#[rustfmt::skip]
const WHO: &[Case<'_>] = &[
    (TRIED, &[TRIED], None, TRIAL),
    (PLAIN, &[PLAIN], None, Standing::Good),
    // It says what it started, whatever it has made of the name.
    ("orlop_2_2+3.efi", &[TRIED], None, TRIAL),
    (TRIED, &[TRIED, PLAIN], None, Standing::Good),
    (PLAIN, &[PLAIN], Some((2, "b", Outcome::Trying)), TRIAL),
    (TRIED, &[TRIED], Some((2, "b", Outcome::Blessed)), BLESSED),
    (TRIED, &[TRIED], Some((2, "b", Outcome::Failed)), FAILED),
    ("orlop_~1.efi", &[SHORT], Some((2, "b", Outcome::Trying)), TRIAL),
    ("orlop_~1.efi", &[SHORT], Some((2, "b", Outcome::Failed)), FAILED),
    // Records of others.
    (PLAIN, &[PLAIN], Some((1, "b", Outcome::Trying)), Standing::Good),
    (PLAIN, &[PLAIN], Some((2, "a", Outcome::Failed)), Standing::Good),
    (TRIED, &[TRIED], Some((3, "b", Outcome::Failed)), TRIAL),
    ("orlop_~1.efi", &[SHORT], None, Standing::Good),
    ("orlop_~1.efi", &[SHORT], Some((2, "a", Outcome::Trying)), Standing::Good),
    // No boot loader.
    ("", &[TRIED], Some((2, "b", Outcome::Trying)), Standing::Good),
    // An ESP that shows nothing.
    (TRIED, &[], None, Standing::Good),
    (TRIED, &[], Some((2, "b", Outcome::Trying)), TRIAL),
];

#[test]
fn the_record_is_believed_and_then_the_name() {
    for (entry, names, known, expected) in WHO {
        let installed: Vec<Installed> = names.iter().map(|name| file(name, "b")).collect();
        let record = known.map(|(serial, root, outcome)| record(serial, root, outcome));
        let found = standing(&running(entry, "b"), &installed, record.as_ref());
        assert_eq!(found, *expected, "{entry} of {names:?}, {known:?}");
    }
}

#[test]
fn only_a_good_entry_that_can_be_read_is_a_way_back() {
    let found = |files: &[(&str, &str)]| {
        let files: Vec<Installed> = files.iter().map(|(name, root)| file(name, root)).collect();
        fallback(2, &files).map(|entry| entry.to_string())
    };
    let own = ("orlop_2_2+2-1.efi", "b");
    for (other, root, good) in [
        (OLD, "a", true),
        (OLD, "", false),
        ("orlop_1_1+0-3.efi", "a", false),
        ("orlop_1_1+1.efi", "a", false),
        (SHORT, "a", false),
        ("orlop_2_2.efi", "b", false),
    ] {
        assert_eq!(found(&[own, (other, root)]).is_some(), good, "{other}");
    }
    let both = found(&[
        own,
        (OLD, "a"),
        ("orlop_9_1.efi", "c"),
        ("orlop_8_1.efi", "c"),
    ]);
    assert_eq!(both.as_deref(), Some("orlop_9_1.efi"));
}

#[test]
fn names_never_go_over_other_names() {
    let runs = running("orlop_2_2+2-1.efi", "b");
    let blessing = |names: &[&str]| {
        let files: Vec<Installed> = names.iter().map(|name| file(name, "b")).collect();
        bless(2, &runs, &files).map(|rename| (rename.from, rename.to))
    };
    let pair = |from: &str, to: &str| (from.to_owned(), to.to_owned());
    let plain = "orlop_2_2.efi";
    assert_eq!(
        blessing(&["orlop_2_2+2-1.efi"]),
        Some(pair("orlop_2_2+2-1.efi", plain))
    );
    assert_eq!(blessing(&[SHORT]), Some(pair(SHORT, plain)));
    assert_eq!(blessing(&["orlop_2_2+2-1.efi", "ORLOP_2_2.EFI"]), None);
    assert_eq!(blessing(&["orlop_1_1+2-1.efi"]), None);

    let rejecting = |names: &[&str]| {
        let files: Vec<Installed> = names.iter().map(|name| file(name, "b")).collect();
        let renames = reject(2, &runs, &files);
        renames
            .into_iter()
            .map(|rename| (rename.from, rename.to))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        rejecting(&["orlop_2_2+2-1.efi"]),
        [pair("orlop_2_2+2-1.efi", "orlop_2_2+0-1.efi")]
    );
    assert_eq!(rejecting(&[plain]), [pair(plain, "orlop_2_2+0.efi")]);
    assert_eq!(rejecting(&[SHORT]), [pair(SHORT, "orlop_2_2+0.efi")]);
    assert_eq!(rejecting(&["orlop_2_2+0-1.efi"]), []);
    assert_eq!(
        rejecting(&["orlop_2_2+2-1.efi", "orlop_2_2.efi", "orlop_2_2+0-1.efi"]),
        [
            pair("orlop_2_2+2-1.efi", "orlop_2_2+0-2.efi"),
            pair(plain, "orlop_2_2+0.efi"),
        ]
    );
    // It may be the good one's.
    assert_eq!(rejecting(&[SHORT, OLD]), []);
}

#[test]
fn what_waits_is_newer_and_was_never_started() {
    for (names, waits) in [
        (&[OLD, "orlop_2_2+3.efi"][..], Some(2)),
        (&[OLD, "orlop_2_2+3.efi", "orlop_3_3+1.efi"], Some(3)),
        (&[OLD, "orlop_2_2+2-1.efi"], None),
        (&[OLD, "orlop_2_2+0.efi"], None),
        (&[OLD, PLAIN], None),
        (&[OLD, SHORT], None),
        (&["orlop_1_1+3.efi", "orlop_0_0+3.efi"], None),
    ] {
        let files: Vec<Installed> = names.iter().map(|name| file(name, "b")).collect();
        let found = waiting(1, &files).map(|entry| entry.serial);
        assert_eq!(found, waits, "{names:?}");
    }
}

#[test]
fn a_reboot_has_to_lead_away() {
    let leads = |started: &str, counted: &str, names: &[(&str, &str)]| {
        let files: Vec<Installed> = names.iter().map(|(name, root)| file(name, root)).collect();
        let counted = Some(counted).filter(|name| !name.is_empty());
        leaves(2, &running(started, "b"), counted, &files)
    };
    let (first, marked) = ("orlop_2_2+3.efi", ("orlop_2_2+0-1.efi", "b"));
    for counted in [TRIED, ""] {
        assert!(leads(first, counted, &[marked, (OLD, "a")]));
        assert!(!leads(first, counted, &[marked]));
        assert!(!leads(first, counted, &[(PLAIN, "b"), (OLD, "a")]));
    }
    // It could not be marked, but is counted down.
    assert!(leads(first, TRIED, &[(TRIED, "b"), (OLD, "a")]));
    assert!(leads(
        TRIED,
        "orlop_2_2+1-2.efi",
        &[("orlop_2_2+1-2.efi", "b"), (OLD, "a")]
    ));
    // Neither: the first start, and one after some that were counted.
    assert!(!leads(first, "", &[(first, "b"), (OLD, "a")]));
    assert!(!leads(TRIED, "", &[(TRIED, "b"), (OLD, "a")]));
}

#[test]
fn an_install_that_never_came_up_is_seen_by_its_name() {
    let files = [file(OLD, "a"), file("orlop_2_2+0-3.efi", "b")];
    assert_eq!(given_up(1, &files).map(|entry| entry.serial), Some(2));
    assert_eq!(given_up(2, &files), None);
    for name in ["orlop_2_2+1-2.efi", "orlop_2_2+0.efi", PLAIN] {
        assert_eq!(given_up(1, &[file(name, "b")]), None, "{name}");
    }
}

/// What power that goes during a rename may leave.
#[derive(Clone, Copy, Debug)]
enum Torn {
    Before,
    Both,
    OnlyShort,
    ShortToo,
    After,
}

const TORN: [Torn; 5] = [
    Torn::Before,
    Torn::Both,
    Torn::OnlyShort,
    Torn::ShortToo,
    Torn::After,
];

/// Who cannot write to the ESP.
#[derive(Clone, Copy, Debug, Default)]
struct Refuses {
    loader: bool,
    manager: bool,
}

/// A machine: its ESP, its state partition, and what went wrong.
#[derive(Clone, Debug)]
struct Machine {
    refuses: Refuses,
    /// The name that the boot loader gave what it started.
    counted: Option<String>,
    files: Vec<Installed>,
    record: Option<Record>,
    reports: u32,
    trials: u32,
}

impl Machine {
    /// The boot loader: picks, counts, and says what it started. An 8.3 name is behind all others
    /// that have no tries used up.
    fn start(&mut self) -> Running {
        let mut entries: Vec<BootEntry> = self.files.iter().filter_map(Installed::entry).collect();
        boot_order(&mut entries);
        let named = entries.first().filter(|entry| !entry.is_bad()).cloned();
        let short = self.files.iter().position(|file| file.entry().is_none());
        let at = match (named.or_else(|| entries.first().cloned()), short) {
            (Some(entry), None) => self.place(&entry),
            (Some(entry), Some(short)) if entry.is_bad() => short,
            (Some(entry), Some(_)) => self.place(&entry),
            (None, Some(short)) => short,
            (None, None) => panic!("nothing to boot"),
        };
        let file = &mut self.files[at];
        let name = file.name.clone();
        self.counted = None;
        if let Some(mut entry) = file.entry()
            && !self.refuses.loader
            && let Some(tries) = &mut entry.tries
            && tries.left > 0
        {
            (tries.left, tries.done) = (tries.left - 1, tries.done + 1);
            file.name = entry.to_string();
            self.counted = Some(file.name.clone());
        }
        running(&name.to_lowercase(), &file.root.clone().unwrap_or_default())
    }

    fn place(&self, entry: &BootEntry) -> usize {
        let name = entry.to_string();
        self.files
            .iter()
            .position(|file| file.name == name)
            .unwrap()
    }

    fn rename(&mut self, rename: &Rename, torn: Torn) {
        assert!(self.files.iter().all(|file| file.name != rename.to));
        let from = self.files.iter().position(|file| file.name == rename.from);
        let file = self.files.remove(from.unwrap());
        let named = |name: &str| Installed {
            name: name.to_owned(),
            ..file.clone()
        };
        let left: &[&str] = match torn {
            Torn::Before => &[&rename.from],
            Torn::Both => &[&rename.from, &rename.to],
            Torn::OnlyShort => &[SHORT],
            Torn::ShortToo => &[&rename.from, SHORT],
            Torn::After => &[&rename.to],
        };
        let left: Vec<Installed> = left.iter().map(|name| named(name)).collect();
        for file in left {
            if self.files.iter().all(|other| other.name != file.name) {
                self.files.push(file);
            }
        }
    }

    /// The manager. `cut` is the step in which power goes, and how that leaves a rename. True if
    /// the machine stays up.
    fn manage(&mut self, runs: &Running, passes: bool, cut: Option<(usize, Torn)>) -> bool {
        let who = standing(runs, &self.files, self.record.as_ref());
        self.trials += u32::from(matches!(who, Standing::Trial { .. }));
        let steps = match who {
            Standing::Good => return true,
            Standing::Trial { serial } if passes => after_passing(serial, runs, &self.files),
            Standing::Blessed { serial } => after_passing(serial, runs, &self.files),
            Standing::Trial { serial } | Standing::Failed { serial } => {
                after_failing(serial, runs, &self.files)
            }
        };
        let serial = runs.serial(self.record.as_ref()).unwrap();
        for (at, step) in steps.into_iter().enumerate() {
            let torn = cut.filter(|(cut, _)| *cut == at).map(|(_, torn)| torn);
            match step {
                Step::Report => self.reports += 1,
                // A file of ext4 is replaced whole or not at all.
                Step::Record(outcome) => match torn {
                    Some(Torn::Before) => {}
                    Some(_) | None => self.record = Some(record(serial, &runs.root, outcome)),
                },
                Step::Rename(_) if self.refuses.manager => {}
                Step::Rename(rename) => self.rename(&rename, torn.unwrap_or(Torn::After)),
                Step::Reboot => {
                    return !leaves(serial, runs, self.counted.as_deref(), &self.files);
                }
            }
            if torn.is_some() {
                return false;
            }
        }
        true
    }

    /// Boots until it stays up, with power going as `cuts` say, one a boot.
    fn run(&mut self, passes: bool, cuts: &[(usize, Torn)]) -> Running {
        for boot in 0..12 {
            let runs = self.start();
            if self.manage(&runs, passes, cuts.get(boot).copied()) {
                return runs;
            }
        }
        panic!("it boots for ever: {self:?}");
    }
}

fn machine(old: bool, name: &str, known: Option<Outcome>) -> Machine {
    let mut files = vec![file(name, "b")];
    files.extend(old.then(|| file(OLD, "a")));
    Machine {
        refuses: Refuses::default(),
        counted: None,
        files,
        record: known.map(|outcome| record(2, "b", outcome)),
        reports: 0,
        trials: 0,
    }
}

proptest! {
    /// Whatever the name and the record say, wherever power goes, even twice: a trial that passes
    /// stays or, if it used its tries up, goes back; one that fails goes back; the good entry that
    /// was there is there in the end, and nothing boots for ever.
    #[test]
    fn it_ends_well_wherever_power_goes(
        passes in any::<bool>(),
        old in any::<bool>(),
        name in prop::sample::select(vec!["orlop_2_2+3.efi", "orlop_2_2+1-2.efi", "orlop_2_2.efi", SHORT]),
        known in any::<bool>(),
        cuts in prop::collection::vec((0_usize..5, prop::sample::select(TORN.to_vec())), 0..3),
    ) {
        let mut machine = machine(old, name, known.then_some(Outcome::Trying));
        let on_trial = known || name.contains('+');
        let first = machine.clone().start();
        let end = machine.run(passes, &cuts);
        prop_assert!(!old || machine.files.iter().any(|file| file.name == OLD), "{machine:?}");
        if !old {
            // Nowhere else to go: it runs, in any case.
            prop_assert_eq!(&end.root, "b");
            prop_assert_eq!(machine.reports > 0, !passes && on_trial);
        } else if first.root == "b" && on_trial && !passes {
            prop_assert_eq!(&end.root, "a", "{:?}", machine);
            prop_assert!(machine.reports > 0);
        } else if first.root == "b" && cuts.is_empty() {
            prop_assert_eq!(&end.root, "b", "{:?}", machine);
        }
        // What it has come to is what it comes to again.
        let again = machine.run(passes, &[]);
        prop_assert_eq!(again.root, end.root);
    }

    /// Whenever the boot loader cannot count or the manager cannot mark, from whichever start on: the
    /// machine stays up in the end, and goes back where that is possible.
    #[test]
    fn it_ends_where_names_cannot_be_changed(
        name in prop::sample::select(vec!["orlop_2_2+3.efi", "orlop_2_2+1-2.efi", "orlop_2_2.efi", SHORT]),
        refuses in prop::collection::vec(any::<(bool, bool)>(), 12),
    ) {
        let mut machine = machine(true, name, Some(Outcome::Trying));
        let mut ends = None;
        for (boot, (loader, manager)) in refuses.into_iter().enumerate() {
            machine.refuses = Refuses { loader, manager };
            let runs = machine.start();
            if machine.manage(&runs, false, None) {
                ends = Some((boot, runs, loader, manager));
                break;
            }
        }
        let Some((boots, runs, loader, manager)) = ends else {
            panic!("it boots for ever: {machine:?}");
        };
        prop_assert!(boots <= 3, "{boots}: {machine:?}");
        if runs.root == "b" {
            prop_assert!(manager, "{:?}", machine);
            prop_assert!(loader || !name.contains('+'), "{:?}", machine);
        }
    }

    /// Power goes in the rename, so the record is there: whatever the units would come to then, the
    /// install is not on trial again.
    #[test]
    fn what_is_decided_stays_so(
        passes in any::<bool>(),
        torn in prop::sample::select(TORN.to_vec()),
    ) {
        let mut machine = machine(true, "orlop_2_2+3.efi", None);
        let runs = machine.start();
        let steps = match passes {
            true => after_passing(2, &runs, &machine.files),
            false => after_failing(2, &runs, &machine.files),
        };
        let at = steps.iter().position(|step| matches!(step, Step::Rename(_))).unwrap();
        prop_assert!(!machine.manage(&runs, passes, Some((at, torn))));
        prop_assert_eq!(machine.trials, 1);
        machine.run(!passes, &[]);
        prop_assert_eq!(machine.trials, 1, "{:?}", machine);
    }

    /// Once blessed on record, no name brings back a trial.
    #[test]
    fn a_blessed_install_is_not_tried_again(
        name in prop::sample::select(vec!["orlop_2_2+2-1.efi", "orlop_2_2.efi", SHORT]),
        torn in prop::sample::select(TORN.to_vec()),
    ) {
        let mut machine = machine(true, name, Some(Outcome::Blessed));
        let runs = running(&name.to_lowercase(), "b");
        machine.manage(&runs, false, Some((1, torn)));
        let names = machine.files.clone();
        for file in names {
            let runs = running(&file.name.to_lowercase(), "b");
            if file.root.as_deref() == Some("b") {
                let found = standing(&runs, &machine.files, machine.record.as_ref());
                prop_assert_eq!(found, Standing::Blessed { serial: 2 });
            }
        }
    }
}
