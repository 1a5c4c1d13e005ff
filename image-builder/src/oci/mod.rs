//! `orlop-image oci`: a small OCI image of one layer, from files, a static
//! binary or a root file system in a tar archive.
//!
//! The same arguments give the same bytes (I9): no clock, no user names, names
//! in order, and times of files are the image's own. It knows nothing of host
//! images.

mod args;
mod config;
mod contents;
mod elf;
mod output;

pub use args::OciArgs;

use anyhow::{Context, Result};
use orlop_images::reference;

/// Makes the image that `args` describe, and says what it made.
///
/// # Errors
/// Arguments that contradict each other, inputs that cannot be read, an
/// output that cannot be written; nothing is then left of it.
pub fn run(args: &OciArgs) -> Result<()> {
    let reference = reference::normalise(&args.reference)?;
    let created = args.created()?;
    let contents = contents::collect(args, created)?;
    for note in &contents.notes {
        eprintln!("note: {note}");
    }
    let made = output::write(args, &reference, created, &contents)
        .with_context(|| format!("make {}", args.output.display()))?;
    println!(
        "{}: image {reference} {}, {} bytes unpacked",
        args.output.display(),
        made.id,
        contents.tree.content_bytes()
    );
    Ok(())
}
