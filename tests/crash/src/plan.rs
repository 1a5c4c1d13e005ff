//! What the boot partition leads to: which entries are started, one after the other.

use orlop_fat::{Entry, FatError};

use crate::boot_order;
use crate::check::{Known, Which};
use crate::esp::{Contents, Esp};
use crate::uki::Digest;

/// What firmware starts before any entry, and what that reads.
const LOADER: [&str; 3] = [
    "EFI/BOOT/BOOTX64.EFI",
    "EFI/systemd/systemd-bootx64.efi",
    "loader/loader.conf",
];

/// An entry that is started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Start {
    pub(crate) name: String,
    pub(crate) which: Which,
    /// Whether it is counted, and so gives way to another some time.
    pub(crate) counted: bool,
}

/// What is started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Starts {
    /// The entry that is, then those that are when its tries are used up.
    pub(crate) starts: Vec<Start>,
    /// Each entry that could be started, whichever version it is of, and the root it leads to.
    pub(crate) all: Vec<(String, [u8; 32])>,
}

/// What is started, or why that does not go well.
pub(crate) type Plan = Result<Starts, String>;

/// The files before any entry, as they are to be.
pub(crate) type Loader = Vec<(&'static str, Digest)>;

/// The loader's files as they are.
pub(crate) fn loader(esp: &Esp<'_>, contents: &mut Contents) -> Result<Loader, FatError> {
    let mut found = Loader::new();
    for path in LOADER {
        let content = esp.content(&esp.entry(path)?, contents)?;
        found.push((path, content.digest));
    }
    Ok(found)
}

/// Reads the partition. Its caller knows it by its print, so this is asked once for each.
pub(crate) fn read(
    esp: Result<Esp<'_>, FatError>,
    expected: &Loader,
    known: &Known,
    contents: &mut Contents,
) -> Plan {
    let esp = esp.map_err(|error| error.to_string())?;
    let found = loader(&esp, contents).map_err(|error| error.to_string())?;
    if let Some((path, _)) = expected.iter().find(|file| !found.contains(file)) {
        return Err(format!("{path} is not what it was"));
    }
    let mut images = esp.images().map_err(|error| error.to_string())?;
    images.retain(|image| boot_order::counts(&image.name));
    // Stable: of names that are equal to it, systemd-boot takes them in the directory's order.
    images.sort_by(|a, b| boot_order::compare(&a.name, &b.name));
    let starts = starts(&esp, &images, known, contents)?;
    let mut all = Vec::new();
    for image in &images {
        let content = esp.content(image, contents).ok();
        if let Some(root) = content.and_then(|content| content.root) {
            all.push((image.name.clone(), root));
        }
    }
    Ok(Starts { starts, all })
}

/// What is started of `images`, which are in systemd-boot's order.
fn starts(
    esp: &Esp<'_>,
    images: &[Entry],
    known: &Known,
    contents: &mut Contents,
) -> Result<Vec<Start>, String> {
    let mut starts: Vec<Start> = Vec::new();
    let mut rest = images.iter();
    for image in rest.by_ref() {
        if let Some(start) = judge(esp, image, known, contents)? {
            let last = !start.counted;
            starts.push(start);
            if last {
                break;
            }
        }
    }
    let Some(first) = starts.first().cloned() else {
        return Err("there is no entry to start".to_owned());
    };
    // Whatever comes next: a version that is not on trial must be there, and good.
    let way_back = |start: &Start| start.which != first.which && !start.counted;
    if !first.counted || starts.iter().any(way_back) {
        return Ok(starts);
    }
    for image in rest {
        if let Ok(Some(start)) = judge(esp, image, known, contents)
            && way_back(&start)
        {
            starts.push(start);
            return Ok(starts);
        }
    }
    let name = first.name;
    Err(format!("{name} is on trial, and no other version is good"))
}

/// The image as an entry; `None` if systemd-boot passes over it.
fn judge(
    esp: &Esp<'_>,
    image: &Entry,
    known: &Known,
    contents: &mut Contents,
) -> Result<Option<Start>, String> {
    let name = &image.name;
    // Firmware may read as much of it as systemd-boot needs, and fail later.
    let content = esp
        .content(image, contents)
        .map_err(|error| format!("{name} would be started: {error}"))?;
    if !content.is_listed {
        return Ok(None);
    }
    let which = known.which(&content.digest).ok_or_else(|| {
        format!("{name} would be started, and is no whole image of either version")
    })?;
    Ok(Some(Start {
        name: name.clone(),
        which,
        counted: boot_order::tries(name).is_some(),
    }))
}
