//! Updates in their order are safe, and in another they are not.

use super::*;
use crate::{Checker, Report, Unrecorded, run};

const OLDER: &str = "EFI/Linux/orlop_1_0.9.efi";
const TEMPORARY: &str = "EFI/Linux/orlop_3_1.1.part";
const TRIAL: &str = "EFI/Linux/orlop_3_1.1+3.efi";

/// The steps of an update, by their numbers.
const REMOVE: usize = 0;
const SLOT: usize = 1;
const IMAGE: usize = 2;
const RENAME: usize = 3;

struct Recorded {
    trace: Trace,
    steps: Vec<usize>,
    disk: Disk,
    known: Known,
    _base: tempfile::NamedTempFile,
}

impl Recorded {
    /// The events of a step, with the flush that ends it.
    fn step(&self, number: usize) -> Range<usize> {
        let start = number.checked_sub(1).map_or(0, |before| self.steps[before]);
        start..self.steps[number]
    }

    fn run(&self, trace: &Trace) -> Report {
        run(trace, &self.disk, &self.known, 1, 1500).unwrap()
    }
}

fn recorded(machine: Machine, old: &Build, new: &Build) -> Recorded {
    let (trace, steps, base) = machine.end();
    let known = Known {
        old: old.version(),
        new: new.version(),
    };
    Recorded {
        disk: Disk::open(base.path()).unwrap(),
        trace,
        steps,
        known,
        _base: base,
    }
}

/// An update as it is done: slot B has an older version, A runs.
fn update() -> Recorded {
    let [older, old, new] = [1, 2, 3].map(|seed| Build::new(seed, BLOCKS));
    let mut machine = Machine::new(BLOCKS);
    machine.install(Slot::B, &older, "orlop_1_0.9.efi");
    machine.install(Slot::A, &old, "orlop_2_1.0.efi");
    machine.begin();
    machine.step(|fat| fat.remove(OLDER));
    machine.write_slot(Slot::B, &new, 32768);
    machine.step(|fat| fat.create(TEMPORARY, &new.uki));
    machine.step(|fat| fat.rename(TEMPORARY, TRIAL));
    recorded(machine, &old, &new)
}

#[test]
fn an_update_is_the_old_version_or_the_new_one() {
    let update = update();
    let report = update.run(&update.trace);
    assert_eq!(report.broken, 0, "{report}");
    assert!(report.old > 500 && report.new > 1, "{report}");
    assert_eq!((report.new_uncounted, report.dangling), (0, 0), "{report}");
    assert!(
        report.states > 1500 && report.distinct_disks > 500,
        "{report}"
    );
    assert_eq!(report, update.run(&update.trace));
}

#[test]
fn a_missing_flush_is_found() {
    let update = update();
    let without = |steps: &[usize]| {
        let flushes = steps.iter().map(|step| update.steps[*step] - 1).rev();
        let trace = flushes.fold(update.trace.clone(), |trace, flush| {
            trace.without_flush(flush)
        });
        update.run(&trace)
    };
    // The image that is being removed is not the one that is started.
    let report = without(&[REMOVE]);
    assert!(report.broken == 0 && report.dangling > 0, "{report}");
    // The image's flush is the slot's, too.
    let report = without(&[SLOT]);
    assert!(report.broken == 0 && report.dangling == 0, "{report}");
    let report = without(&[IMAGE]);
    assert!(report.broken > 0, "{report}");
    let report = without(&[SLOT, IMAGE]);
    assert!(report.broken > 0, "{report}");
    let slots = report
        .examples
        .iter()
        .filter(|(_, why)| why.contains("slot b"));
    assert!(slots.count() > 0, "{report}");
    let end = update.trace.events().len();
    let none = update.trace.without_any_flush_between(0, end);
    let report = update.run(&none);
    assert!(report.broken > 0 && none.flushes().is_empty(), "{report}");
}

#[test]
fn another_order_is_found() {
    let update = update();
    let of = |first: usize, second: usize| {
        let swapped = update
            .trace
            .swapped(update.step(first), update.step(second));
        update.run(&swapped.unwrap())
    };
    for (first, second) in [(IMAGE, RENAME), (SLOT, RENAME)] {
        let report = of(first, second);
        assert!(report.broken > 0, "{first} {second}: {report}");
        // Even with nothing lost.
        let whole = |(state, _): &&(State, String)| matches!(state, State::Prefix { .. });
        assert!(
            report.examples.iter().any(|example| whole(&example)),
            "{report}"
        );
    }
    let report = of(REMOVE, SLOT);
    assert!(report.broken == 0 && report.dangling > 0, "{report}");
}

#[test]
fn blessing_and_rollback_hold() {
    let [old, new] = [2, 3].map(|seed| Build::new(seed, BLOCKS));
    for name in ["EFI/Linux/orlop_3_1.1.efi", "EFI/Linux/orlop_3_1.1+0-1.efi"] {
        let mut machine = Machine::new(BLOCKS);
        machine.install(Slot::A, &old, "orlop_2_1.0.efi");
        machine.install(Slot::B, &new, "orlop_3_1.1+2-1.efi");
        machine.begin();
        machine.step(|fat| fat.rename("EFI/Linux/orlop_3_1.1+2-1.efi", name));
        let recorded = recorded(machine, &old, &new);
        let report = recorded.run(&recorded.trace);
        assert_eq!(report.broken, 0, "{report}");
        let end = State::Prefix { events: 9 };
        let mut view = View::new(&recorded.disk, &recorded.trace);
        let mut checker = Checker::new(&view, recorded.known.clone()).unwrap();
        let before = checker.check(&view).to_string();
        assert_eq!(
            before,
            "boots the new version from slot b by orlop_3_1.1+2-1.efi, on trial"
        );
        view.enter(end);
        let after = checker.check(&view).to_string();
        let expected = match name.contains("+0") {
            true => "boots the old version from slot a by orlop_2_1.0.efi",
            false => "boots the new version from slot b by orlop_3_1.1.efi",
        };
        assert_eq!(after, expected);
    }
}

/// What becomes of the disk after an update when the byte at `at` is another.
fn damaged(update: &Recorded, at: usize) -> String {
    let mut whole = View::new(&update.disk, &update.trace);
    let events = update.trace.events().len();
    whole.enter(State::Prefix { events });
    let copy = tempfile::NamedTempFile::new().unwrap();
    whole.write_to(copy.path()).unwrap();
    let mut sector = [0; 512];
    let number = at as u64 / 512;
    whole.read(&mut sector, number * 512).unwrap();
    sector[at % 512] ^= 1;
    let mut log = Recorder::new(512);
    log.write(number, &sector);
    let trace = log::read_file(log.finish()).unwrap();
    let disk = Disk::open(copy.path()).unwrap();
    let mut view = View::new(&disk, &trace);
    let mut checker = Checker::new(&view, update.known.clone()).unwrap();
    view.enter(State::Prefix { events: 1 });
    checker.check(&view).to_string()
}

#[test]
fn each_part_of_the_boot_path_is_looked_at() {
    let update = update();
    let start = |partition| update.disk.partition(partition).start as usize * 512;
    let find = |what: &[u8]| {
        let mut whole = View::new(&update.disk, &update.trace);
        let events = update.trace.events().len();
        whole.enter(State::Prefix { events });
        let mut bytes = vec![0; ESP.end];
        whole.read(&mut bytes, 0).unwrap();
        bytes
            .windows(what.len())
            .position(|own| own == what)
            .unwrap()
    };
    let uki = Build::new(3, BLOCKS).uki;
    let good = "boots the new version from slot b by orlop_3_1.1+3.efi, on trial";
    for (at, expected) in [
        // The backup is good.
        (512 + 20, good),
        (1024 + 60, good),
        // Nobody reads what is behind the root, or the state partition.
        (start(Partition::Root(Slot::B)) + BLOCKS * 4096, good),
        (start(Partition::State), good),
        (
            start(Partition::Root(Slot::B)) + 5 * 4096,
            "leads to slot b: block 5 is another",
        ),
        (
            start(Partition::Verity(Slot::B)) + 4096,
            "slot b: it holds root",
        ),
        (
            start(Partition::Verity(Slot::B)) + 3 * 4096,
            "leads to slot b: hash block 1 is another",
        ),
        (
            start(Partition::Verity(Slot::B)),
            "slot b: no dm-verity superblock",
        ),
        // The old version, to which the trial goes back.
        (
            start(Partition::Root(Slot::A)) + 4096,
            "orlop_2_1.0.efi leads to slot a: block 1 is",
        ),
        (start(Partition::Esp) + 11, "the boot sector has"),
        (
            find(b"loader/loader.conf"),
            "loader/loader.conf is not what it was",
        ),
        (
            find(b"EFI/BOOT/BOOTX64.EFI"),
            "BOOTX64.EFI is not what it was",
        ),
        (
            find(&uki[..4000]) + 2000,
            "orlop_3_1.1+3.efi would be started, and is no whole image",
        ),
        // One that cannot be started is passed over.
        (
            find(&uki[..4000]),
            "boots the old version from slot a by orlop_2_1.0.efi",
        ),
    ] {
        let verdict = damaged(&update, at);
        assert!(
            verdict.contains(expected),
            "{at}: {verdict}, not {expected}"
        );
        assert_eq!(
            verdict.starts_with("broken"),
            !expected.starts_with("boots"),
            "{verdict}"
        );
    }
}

#[test]
fn a_trial_needs_a_way_back() {
    let [old, new] = [2, 3].map(|seed| Build::new(seed, BLOCKS));
    for (name, expected) in [
        ("orlop_2_1.0.efi", "boots the new version"),
        (
            "orlop_2_1.0+0-1.efi",
            "is on trial, and no other version is good",
        ),
        (
            "orlop_2_1.0.old",
            "is on trial, and no other version is good",
        ),
        // After it and behind the good name of the new one.
        ("ORLOP_~1.EFI", "boots the new version"),
    ] {
        let mut machine = Machine::new(BLOCKS);
        machine.install(Slot::A, &old, name);
        machine.install(Slot::B, &new, "orlop_3_1.1+2-1.efi");
        machine.begin();
        let recorded = recorded(machine, &old, &new);
        let view = View::new(&recorded.disk, &recorded.trace);
        let mut checker = Checker::new(&view, recorded.known.clone()).unwrap();
        let verdict = checker.check(&view).to_string();
        assert!(verdict.contains(expected), "{name}: {verdict}");
    }
}

#[test]
fn what_does_not_belong_together_is_refused() {
    let update = update();
    let (small, _file) = crate::testing::disk(100, 0);
    let refusal = run(&update.trace, &small, &update.known, 1, 1).unwrap_err();
    assert!(refusal.to_string().contains("is past its end"), "{refusal}");
    let file = tempfile::NamedTempFile::new().unwrap();
    for (bytes, expected) in [
        (1000, "expected whole sectors"),
        (1 << 20, "partition table"),
    ] {
        file.as_file().set_len(bytes).unwrap();
        let refusal = Disk::open(file.path()).unwrap_err().to_string();
        assert!(refusal.contains(expected), "{refusal}");
    }
}

/// An update whose trial is on record before its image has a name.
fn update_on_record() -> (Recorded, Vec<String>) {
    let [old, new] = [2, 3].map(|seed| Build::new(seed, BLOCKS));
    let root: String = new
        .version()
        .root
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    let words = vec![root, "trying".to_owned()];
    let mut machine = Machine::new(BLOCKS);
    machine.install(Slot::A, &old, "orlop_2_1.0.efi");
    machine.begin();
    machine.write_slot(Slot::B, &new, 32768);
    machine.record(&words.join(" is "));
    machine.step(|fat| fat.create(TEMPORARY, &new.uki));
    machine.step(|fat| fat.rename(TEMPORARY, TRIAL));
    (recorded(machine, &old, &new), words)
}

#[test]
fn a_record_that_comes_too_late_is_found() {
    const RECORD: usize = 1;
    let (update, words) = update_on_record();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let look = |trace: &Trace| crate::recorded(trace, &update.disk, &update.known, &words);
    let found = look(&update.trace).unwrap();
    let record = update.step(RECORD);
    assert_eq!((found.write, found.flush), (record.start, record.end - 1));
    assert!(update.step(RENAME).contains(&found.bootable), "{found:?}");

    let naming = record.end..update.step(RENAME).end;
    let swapped = update.trace.swapped(record.clone(), naming);
    let late = look(&swapped.unwrap()).unwrap_err();
    assert!(matches!(late, Unrecorded::TooLate { .. }), "{late}");
    // The image's flush is the record's, too.
    assert!(look(&update.trace.without_flush(record.end - 1)).is_ok());
    let none = update
        .trace
        .without_any_flush_between(record.start, found.bootable);
    let unflushed = look(&none).unwrap_err();
    assert!(
        matches!(unflushed, Unrecorded::Unflushed { .. }),
        "{unflushed}"
    );
    let other = crate::recorded(&update.trace, &update.disk, &update.known, &["blessed"]);
    assert!(matches!(other.unwrap_err(), Unrecorded::Nowhere(_)));
    let cut = look(&update.trace.cut(found.bootable)).unwrap_err();
    assert!(matches!(cut, Unrecorded::NeverBoots), "{cut}");
}
