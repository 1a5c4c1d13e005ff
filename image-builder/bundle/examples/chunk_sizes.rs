//! Measures what an update moves with chunks of other sizes: cuts the contents of two bundles anew
//! and prints a table. Any other file is taken for a root without a UKI.
//!
//! ```sh
//! cargo run --release -p orlop-bundle --example chunk_sizes OLD.orlop NEW.orlop [LEVEL]
//! ```

use std::error::Error;
use std::io::{Write, sink};

use orlop_bundle::chunk::{LEVEL, Sizes};
use orlop_bundle::{Chunks, Head, Index, MAGIC, Packer, Part};

/// What a request and its answer cost beside the chunk: headers, about, in bytes.
const REQUEST: u64 = 500;
/// Bytes of a head that do not depend on the chunks, about.
const HEAD: u64 = 1200;

const PARTS: [Part; 2] = [Part::Root, Part::Uki];

fn main() -> Result<(), Box<dyn Error>> {
    let files: Vec<String> = std::env::args().skip(1).collect();
    let (old, new, level) = match files.as_slice() {
        [old, new] => (old, new, LEVEL),
        [old, new, level] => (old, new, level.parse()?),
        _ => return Err("usage: chunk_sizes OLD.orlop NEW.orlop [LEVEL]".into()),
    };
    let (old, new) = (contents(old)?, contents(new)?);
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "{:>4} {:>4} {:>4} {:>7} {:>9} {:>8} {:>6} {:>9} {:>9} {:>6} {:>6}",
        "min", "avg", "max", "chunks", "whole", "head", "move", "moved", "on wire", "root", "share"
    )?;
    for average in [8, 16, 32, 64] {
        for (below, above) in [(4, 4), (2, 4)] {
            let kib = |size: u32| size << 10;
            let sizes = Sizes {
                min: kib(average / below),
                average: kib(average),
                max: kib(average * above).min(kib(256)),
            };
            row(&mut out, [&old, &new], sizes, level)?;
        }
    }
    Ok(())
}

fn row(
    out: &mut impl Write,
    [old, new]: [&[Vec<u8>; 2]; 2],
    sizes: Sizes,
    level: i32,
) -> Result<(), Box<dyn Error>> {
    let (old, new) = (index(old, sizes, level)?, index(new, sizes, level)?);
    let all = new.missing_from(&Index::default());
    let missing = new.missing_from(&old);
    let places = PARTS.map(|part| new.uses(part).count() as u64);
    let head = HEAD + u64::from(all.chunks) * 40 + places.iter().sum::<u64>() * 4;
    let moved = missing.compressed + head;
    let wire = moved + REQUEST * (u64::from(missing.chunks) + 1);
    let there: std::collections::HashSet<_> = old.entries().iter().map(|e| e.digest).collect();
    let lacks = |number: u32| {
        let entry = &new.entries()[number as usize];
        (!there.contains(&entry.digest)).then_some((number, u64::from(entry.compressed)))
    };
    let root: std::collections::HashMap<u32, u64> = new
        .uses(Part::Root)
        .filter_map(|place| lacks(place.chunk))
        .collect();
    let root: u64 = root.values().sum();
    let kib = |bytes: u64| bytes >> 10;
    writeln!(
        out,
        "{:>4} {:>4} {:>4} {:>7} {:>5} KiB {:>4} KiB {:>6} {:>5} KiB {:>5} KiB {:>6} {:>5.2}%",
        sizes.min >> 10,
        sizes.average >> 10,
        sizes.max >> 10,
        all.chunks,
        kib(all.compressed),
        kib(head),
        missing.chunks,
        kib(moved),
        kib(wire),
        kib(root),
        wire as f64 * 100.0 / (all.compressed + head) as f64
    )?;
    Ok(())
}

fn index(contents: &[Vec<u8>; 2], sizes: Sizes, level: i32) -> Result<Index, Box<dyn Error>> {
    let mut packer = Packer::with(sink(), sizes, level)?;
    for (part, bytes) in PARTS.iter().zip(contents) {
        packer.add(*part, bytes.as_slice())?;
    }
    Ok(packer.finish().0)
}

/// Root and UKI of a bundle.
fn contents(file: &str) -> Result<[Vec<u8>; 2], Box<dyn Error>> {
    let bytes = std::fs::read(file)?;
    if !bytes.starts_with(&MAGIC) {
        return Ok([bytes, Vec::new()]);
    }
    let mut input = bytes.as_slice();
    let head = Head::read(&mut input)?;
    let chunks = Chunks::new(head.index(), input).collect::<Result<Vec<_>, _>>()?;
    Ok(PARTS.map(|part| {
        let uses = head.index().uses(part);
        let bytes = uses.flat_map(|place| &chunks[place.chunk as usize].bytes);
        bytes.copied().collect()
    }))
}
