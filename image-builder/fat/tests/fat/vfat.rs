//! What Linux's vfat writes, in its order, on a mount with `dirsync`.
//!
//! From `fs/fat/{namei_vfat,dir,fatent}.c`: `vfat_rename` makes the new entry without content (the
//! sectors of its long name, then the one with its 8.3 name), writes cluster and size into it, and
//! removes the old one (the sector with its 8.3 name, then the rest of its long name). The
//! allocation table is not touched by it, and otherwise written when the kernel pleases.

use orlop_fat::SECTOR;

use crate::disk::{Disk, Write};
use crate::maker::{CLUSTER, Maker, ROOT, entry_slots};

/// Notes what a change of the volume writes as a step of its own.
fn step(maker: &mut Maker, steps: &mut Vec<Write>, change: impl FnOnce(&mut Disk)) {
    let before = maker.disk.clone();
    change(&mut maker.disk);
    steps.extend(before.changes(&maker.disk));
}

fn by_sector(slots: &[(u64, [u8; 32])]) -> Vec<Vec<(u64, [u8; 32])>> {
    let sector = |slot: &(u64, [u8; 32])| slot.0 / SECTOR as u64;
    let groups = slots.chunk_by(|one, other| sector(one) == sector(other));
    groups.map(<[_]>::to_vec).collect()
}

/// Free slots in a row. Where a directory grows for them, its new cluster is cleared and marked as
/// in use before it is linked.
pub(crate) fn room(
    maker: &mut Maker,
    steps: &mut Vec<Write>,
    directory: u32,
    count: usize,
) -> Vec<u64> {
    let before = maker.clone();
    let offsets = maker.free_slots(directory, count);
    let grown = maker.clone();
    maker.disk = before.disk.clone();
    let (old, new) = (
        before.chain(directory.max(2)),
        grown.chain(directory.max(2)),
    );
    for cluster in &new[old.len()..] {
        step(maker, steps, |disk| {
            disk.write(grown.offset(*cluster), &[0; CLUSTER]);
        });
    }
    for cluster in new.iter().skip(old.len().saturating_sub(1)).rev() {
        step(maker, steps, |disk| {
            for table in 0..2 {
                let at = grown.table_entry(table, *cluster);
                disk.write(at, &grown.disk.bytes(at, grown.width()));
            }
        });
    }
    offsets
}

/// Writes the slots of an entry; where they are.
pub(crate) fn put(
    maker: &mut Maker,
    steps: &mut Vec<Write>,
    directory: u32,
    slots: &[[u8; 32]],
) -> Vec<u64> {
    let offsets = room(maker, steps, directory, slots.len());
    let placed: Vec<_> = offsets.iter().copied().zip(slots.iter().copied()).collect();
    for group in by_sector(&placed) {
        step(maker, steps, |disk| {
            for (offset, slot) in group {
                disk.write(offset, &slot);
            }
        });
    }
    offsets
}

/// Makes an entry without content; where its slots are.
fn create(maker: &mut Maker, steps: &mut Vec<Write>, directory: u32, name: &str) -> Vec<u64> {
    let short = maker.short_for(directory, name);
    let slots = entry_slots(name, &short, 0x20, 0, 0);
    put(maker, steps, directory, &slots)
}

fn remove(maker: &mut Maker, steps: &mut Vec<Write>, slots: &[u64]) {
    let placed: Vec<_> = slots.iter().map(|offset| (*offset, [0; 32])).collect();
    let mut groups = by_sector(&placed);
    groups.rotate_right(1);
    for group in groups {
        step(maker, steps, |disk| {
            for (offset, _) in group {
                disk.write(offset, &[0xE5]);
            }
        });
    }
}

fn slots_of(maker: &Maker, path: &str) -> Vec<u64> {
    maker.disk.volume().entry(path).unwrap().slots
}

/// Renames in `EFI/Linux`, whose cluster is `directory`; what is written, in order.
pub(crate) fn rename(maker: &mut Maker, directory: u32, from: &str, to: &str) -> Vec<Write> {
    let mut steps = Vec::new();
    let old = slots_of(maker, &format!("EFI/Linux/{from}"));
    let new = create(maker, &mut steps, directory, to);
    let (from, to) = (*old.last().unwrap(), *new.last().unwrap());
    step(maker, &mut steps, |disk| {
        for at in [20, 26] {
            let count = if at == 20 { 2 } else { 6 };
            let bytes = disk.bytes(from + at, count);
            disk.write(to + at, &bytes);
        }
    });
    remove(maker, &mut steps, &old);
    steps
}

/// Writes a new file: the steps that are in order, and the sectors that come in any order then.
pub(crate) fn write(
    maker: &mut Maker,
    directory: u32,
    name: &str,
    bytes: &[u8],
) -> (Vec<Write>, Vec<Write>) {
    let mut steps = Vec::new();
    let slots = create(maker, &mut steps, directory, name);
    let before = maker.disk.clone();
    let chain = maker.allocate(bytes.len().div_ceil(CLUSTER));
    maker.fill(&chain, bytes);
    let short = *slots.last().unwrap();
    let first = chain.first().copied().unwrap_or(ROOT);
    let disk = &mut maker.disk;
    disk.write(short + 20, &((first >> 16) as u16).to_le_bytes());
    disk.write(short + 26, &(first as u16).to_le_bytes());
    disk.write(short + 28, &(bytes.len() as u32).to_le_bytes());
    (steps, before.changes(&maker.disk))
}

/// Removes from `EFI/Linux`: the steps that are in order, and the sectors that come in any order
/// then.
pub(crate) fn unlink(maker: &mut Maker, name: &str) -> (Vec<Write>, Vec<Write>) {
    let path = format!("EFI/Linux/{name}");
    let entry = maker.disk.volume().entry(&path).unwrap();
    let mut steps = Vec::new();
    remove(maker, &mut steps, &entry.slots);
    let before = maker.disk.clone();
    for cluster in maker.chain(entry.first_cluster) {
        maker.set(cluster, 0);
    }
    (steps, before.changes(&maker.disk))
}
