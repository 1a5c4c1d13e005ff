//! Small disks and logs for tests.

use std::fs::File;
use std::io::Write;
use std::sync::Arc;

use crate::disk::Disk;
use crate::trace::{Event, SECTOR, Trace};

const FILE_ALIGNMENT: usize = 512;

/// The least that is a unified kernel image with this command line; `fill` more bytes of kernel.
pub(crate) fn uki(command_line: &str, fill: usize) -> Vec<u8> {
    let kernel: Vec<u8> = (0..fill).map(|at| (at * 7 + at / 251) as u8).collect();
    let sections = [
        (&b".osrel\0\0"[..], &b"ID=orlop\nPRETTY_NAME=Orlop\n"[..]),
        (b".cmdline", command_line.as_bytes()),
        (b".linux\0\0", &kernel),
    ];
    let mut bytes = vec![0; 64];
    bytes[..2].copy_from_slice(b"MZ");
    bytes[60] = 64;
    bytes.extend(b"PE\0\0\x64\x86\x03\0");
    bytes.resize(64 + 24, 0);
    bytes[64 + 20] = 240;
    let optional = bytes.len();
    bytes.resize(optional + 240, 0);
    bytes[optional..optional + 2].copy_from_slice(&[0x0b, 0x02]);
    let mut at = FILE_ALIGNMENT;
    let mut place = Vec::new();
    for (name, content) in sections {
        place.push(at);
        let mut header = [0; 40];
        header[..8].copy_from_slice(name);
        let length = content.len();
        for (field, value) in [(8, length), (12, at), (16, length), (20, at)] {
            header[field..field + 4].copy_from_slice(&u32::try_from(value).unwrap().to_le_bytes());
        }
        bytes.extend(header);
        at = (at + length).next_multiple_of(FILE_ALIGNMENT);
    }
    for ((_, content), at) in sections.into_iter().zip(place) {
        bytes.resize(at, 0);
        bytes.extend(content);
    }
    bytes
}

/// Writes a log as QEMU does.
pub(crate) struct Recorder {
    file: File,
    entries: u64,
    unit: usize,
}

impl Recorder {
    pub(crate) fn new(unit: usize) -> Recorder {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&vec![0; unit]).unwrap();
        Recorder {
            file,
            entries: 0,
            unit,
        }
    }

    /// An entry of any kind; `sector` is in the log's unit.
    pub(crate) fn entry(&mut self, sector: u64, sectors: u64, flags: u64, data: &[u8]) {
        let mut bytes = Vec::new();
        for field in [sector, sectors, flags, 0] {
            bytes.extend(field.to_le_bytes());
        }
        bytes.resize(self.unit, 0);
        bytes.extend(data);
        self.file.write_all(&bytes).unwrap();
        self.entries += 1;
    }

    pub(crate) fn write(&mut self, sector: u64, data: &[u8]) {
        assert!(data.len().is_multiple_of(self.unit));
        self.entry(sector, (data.len() / self.unit) as u64, 0, data);
    }

    pub(crate) fn flush(&mut self) {
        self.entry(0, 0, 1, &[]);
    }

    /// The log with the first sector filled in.
    pub(crate) fn finish(self) -> File {
        use std::os::unix::fs::FileExt;
        let mut first = Vec::new();
        for field in [0x006a_7366_7773_6872, 1, self.entries] {
            first.extend(u64::to_le_bytes(field));
        }
        first.extend(u32::try_from(self.unit).unwrap().to_le_bytes());
        self.file.write_all_at(&first, 0).unwrap();
        self.file
    }
}

/// A trace drawn as text: `3-5` writes sectors 3 to 5, `f3-5` durably, `d3-5` discards them, `|` is
/// a flush. Each sector of write number n is filled with n.
pub(crate) fn drawn(text: &str) -> Trace {
    let mut events = Vec::new();
    let mut log = tempfile::tempfile().unwrap();
    let mut at = 0;
    for (number, word) in text.split_whitespace().enumerate() {
        if word == "|" {
            events.push(Event::Flush);
            continue;
        }
        let (fua, discard) = (word.starts_with('f'), word.starts_with('d'));
        let (first, last) = word.trim_start_matches(['f', 'd']).split_once('-').unwrap();
        let sector: u64 = first.parse().unwrap();
        let sectors = last.parse::<u64>().unwrap() + 1 - sector;
        if discard {
            events.push(Event::Discard { sector, sectors });
            continue;
        }
        let data = vec![u8::try_from(number).unwrap(); (sectors * SECTOR) as usize];
        log.write_all(&data).unwrap();
        events.push(Event::Write {
            sector,
            sectors,
            at,
            fua,
        });
        at += sectors * SECTOR;
    }
    Trace::new(events, Arc::new(log))
}

/// A disk without partitions, each byte `fill`, and its file.
pub(crate) fn disk(sectors: u64, fill: u8) -> (Disk, tempfile::NamedTempFile) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), vec![fill; (sectors * SECTOR) as usize]).unwrap();
    let (own, path) = (file.reopen().unwrap(), file.path().to_owned());
    (Disk::with(own, path, sectors, Vec::new()), file)
}
