//! Logs as QEMU writes them, and damaged ones.

use super::*;
use crate::testing::Recorder;
use proptest::prelude::*;

fn events(recorder: Recorder) -> Result<Vec<Event>, String> {
    let read = read_file(recorder.finish());
    read.map(|trace| trace.events().to_vec())
        .map_err(|error| error.to_string())
}

fn write(sector: u64, sectors: u64, at: u64, fua: bool) -> Event {
    Event::Write {
        sector,
        sectors,
        at,
        fua,
    }
}

#[test]
fn each_kind_of_entry() {
    let mut log = Recorder::new(512);
    log.write(8, &[1; 1024]);
    log.flush();
    log.entry(100, 50, 4, &[]);
    log.entry(0, 0, 8, &[]);
    log.entry(9, 1, 2 | 16, &[2; 512]);
    log.entry(10, 1, 1, &[3; 512]);
    let expected = [
        write(8, 2, 1024, false),
        Event::Flush,
        Event::Discard {
            sector: 100,
            sectors: 50,
        },
        write(9, 1, 512 * 8, true),
        Event::Flush,
        write(10, 1, 512 * 10, false),
    ];
    assert_eq!(events(log).unwrap(), expected);
    assert_eq!(events(Recorder::new(512)).unwrap(), []);
}

/// What QEMU itself writes: a second flush with nothing before it is none, a durable write is one and
/// a flush, and "write zeroes" has its zeros in the log.
#[test]
fn what_qemu_logs_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(path("disk"), vec![0; 1 << 20]).unwrap();
    std::fs::write(path("log"), []).unwrap();
    let options = format!(
        "driver=blklogwrites,log-super-update-interval=1,log.driver=file,log.filename={},\
         file.driver=file,file.filename={},file.cache.no-flush=on",
        path("log"),
        path("disk"),
    );
    let commands = [
        "write -P 1 0 4096",
        "write -P 2 512 512",
        "flush",
        "flush",
        "write -z 8192 4096",
        "discard 16384 4096",
        "write -f -P 3 20480 512",
        "write -P 4 20480 512",
    ];
    let mut qemu = std::process::Command::new("qemu-io");
    qemu.args(["-t", "writeback", "-d", "unmap"]);
    commands.iter().for_each(|command| {
        qemu.args(["-c", command]);
    });
    let output = qemu.args(["--image-opts", &options]).output();
    let output = output.expect("qemu-io (Debian package qemu-utils)");
    assert!(output.status.success(), "{output:?}");
    let trace = read(Path::new(&path("log"))).unwrap();
    let expected = [
        write(0, 8, 1024, false),
        write(1, 1, 512 * 11, false),
        Event::Flush,
        write(16, 8, 512 * 14, false),
        Event::Discard {
            sector: 32,
            sectors: 8,
        },
        write(40, 1, 512 * 24, false),
        Event::Flush,
        write(40, 1, 512 * 27, false),
    ];
    // It flushes once more when it is closed.
    assert_eq!(trace.events()[..8], expected);
    assert!(
        trace.events()[8..]
            .iter()
            .all(|event| *event == Event::Flush)
    );
    let mut byte = [0];
    trace.log().read_exact_at(&mut byte, 512 * 24).unwrap();
    assert_eq!(byte, [3]);
}

#[test]
fn large_sectors_are_counted_in_small_ones() {
    let mut log = Recorder::new(4096);
    log.write(3, &[1; 8192]);
    log.entry(5, 1, 4, &[]);
    let discard = Event::Discard {
        sector: 40,
        sectors: 8,
    };
    assert_eq!(events(log).unwrap(), [write(24, 16, 8192, false), discard]);
}

#[test]
fn other_files_are_refused() {
    let of = |bytes: &[u8]| {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        read(file.path()).unwrap_err().to_string()
    };
    let first = |magic: u64, version: u64, entries: u64, unit: u32| {
        let numbers = [magic, version, entries].map(u64::to_le_bytes);
        [&numbers.concat()[..], &unit.to_le_bytes(), &[0; 2000]].concat()
    };
    for (bytes, expected) in [
        (vec![], "it is too short"),
        (vec![0; 600], "the magic number is missing"),
        (first(MAGIC, 2, 0, 512), "it is not version 1"),
        (first(MAGIC, 1, 0, 100), "no size that can be"),
        (first(MAGIC, 1, 0, 256), "no size that can be"),
        (first(MAGIC, 1, 1 << 23, 512), "8388608 entries"),
        (
            first(MAGIC, 1, 1, 512),
            "entry 0 of the log, at byte 512: it is empty",
        ),
        (
            first(MAGIC, 1, 1, 4096),
            "entry 0 of the log, at byte 4096: it is cut off",
        ),
    ] {
        let refusal = of(&bytes);
        assert!(refusal.contains(expected), "{refusal}");
    }
    let missing = read(Path::new("/nonexistent")).unwrap_err().to_string();
    assert!(missing.contains("No such file"), "{missing}");
}

#[test]
fn damaged_entries_are_refused() {
    for (sector, sectors, flags, data, expected) in [
        (
            0,
            1,
            32,
            512,
            "entry 1 of the log, at byte 1536: it has flags",
        ),
        (0, 0, 2, 0, "it is empty"),
        (0, 3, 0, 1024, "its data is cut off"),
        (0, u64::MAX, 0, 0, "past the end of any disk"),
        (u64::MAX, 1, 0, 512, "past the end of any disk"),
        (u64::MAX, 1, 4, 0, "past the end of any disk"),
    ] {
        let mut log = Recorder::new(512);
        log.write(0, &[0; 512]);
        log.entry(sector, sectors, flags, &vec![0; data]);
        let refusal = events(log).unwrap_err();
        assert!(refusal.contains(expected), "{refusal}");
    }
}

proptest! {
    #[test]
    fn a_changed_log_never_panics(
        changes in prop::collection::vec((0_u64..6000, any::<u8>()), 1..12),
        length in 0_u64..7000,
    ) {
        let mut log = Recorder::new(512);
        for sector in 0..4 {
            log.write(sector, &[7; 1024]);
            log.flush();
        }
        let file = log.finish();
        for (at, value) in changes {
            file.write_all_at(&[value], at).unwrap();
        }
        file.set_len(length).unwrap();
        if let Ok(trace) = read_file(file) {
            for event in trace.events() {
                prop_assert!(event.sectors().end < 1 << 51);
                if let Event::Write { sectors, at, .. } = event {
                    prop_assert!(at + sectors * SECTOR <= length);
                }
            }
        }
    }
}
