//! The keys that only the builder reads.

use std::ops::RangeInclusive;

use super::path;
use crate::document::{Field, Section};
use crate::expected::{Expected, shown};
use crate::host::{BakedContainer, Disk, ImageContent, Kernel};
use crate::value::Bytes;

pub(super) fn kernel(table: Section) -> Kernel {
    let mut kernel = Kernel::default();
    if let Some(package) = table.get("package").and_then(|f| f.parse_with(package)) {
        kernel.package = package;
    }
    let modules = |key| {
        table
            .get(key)
            .map(|f| f.list(|item| item.parse_with(module)))
    };
    kernel.modules = modules("modules").unwrap_or_default();
    kernel.initramfs_modules = modules("initramfs-modules").unwrap_or_default();
    if let Some(words) = table
        .get("command-line")
        .and_then(|f| f.parse_with(command_line))
    {
        kernel.command_line = words;
    }
    table.close();
    kernel
}

/// Debian Policy, section 5.6.1: the name of a package.
fn package(text: &str) -> Result<String, Expected> {
    let first = text
        .bytes()
        .next()
        .is_some_and(|b| b.is_ascii_alphanumeric());
    let inner =
        |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'+' | b'-' | b'.');
    if first && text.starts_with("linux-image-") && text.bytes().all(inner) {
        return Ok(text.to_owned());
    }
    Err(Expected::new("expected a Debian package with a kernel")
        .help("\"linux-image-cloud-amd64\" for virtual machines, \"linux-image-amd64\" for metal"))
}

fn module(text: &str) -> Result<String, Expected> {
    let inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
    if !text.is_empty() && text.len() <= 64 && text.bytes().all(inner) {
        return Ok(text.to_owned());
    }
    Err(
        Expected::new("expected a module's name, without its directory and .ko")
            .help("for example \"i6300esb\""),
    )
}

/// The parameters that the builder sets itself.
const OWN_PARAMETERS: [&str; 3] = ["orlop.root", "init", "rdinit"];

fn command_line(text: &str) -> Result<String, Expected> {
    if text.len() > 1024 || !text.bytes().all(|b| b.is_ascii_graphic() || b == b' ') {
        return Err(Expected::new(
            "expected at most 1024 visible ASCII characters on one line",
        ));
    }
    let name = |word: &str| word.split('=').next().unwrap_or("").to_owned();
    match text
        .split(' ')
        .map(name)
        .find(|name| OWN_PARAMETERS.contains(&name.as_str()))
    {
        Some(own) => Err(Expected::new(format!("`{own}` is set by the image itself"))),
        None => Ok(text.to_owned()),
    }
}

pub(super) fn disk(table: Section) -> Disk {
    let mut disk = Disk::default();
    let most = Bytes::mib(16 << 20);
    let size = |key, range| table.get(key).and_then(|f: Field| size(&f, range));
    if let Some(esp) = size("esp", Bytes::mib(64)..=Bytes::mib(4096)) {
        disk.esp = esp;
    }
    disk.root = size("root", Bytes::mib(16)..=most);
    if let Some(state) = size("state", Disk::STATE_MIN..=most) {
        disk.state = state;
    }
    disk.size = size("size", Bytes::mib(256)..=most);
    table.close();
    disk
}

fn size(field: &Field, range: RangeInclusive<Bytes>) -> Option<Bytes> {
    let size: Bytes = field.parse_or_integer()?;
    if !range.contains(&size) {
        let message = format!("expected a size from {} to {}", range.start(), range.end());
        field.refuse(&Expected::new(message));
        return None;
    }
    let mib = Bytes::mib(1).get();
    if !size.get().is_multiple_of(mib) {
        let help = format!("write \"{}\"", Bytes::mib(size.get().div_ceil(mib)));
        field.refuse(&Expected::new("partitions begin and end on whole MiB").help(help));
        return None;
    }
    Some(size)
}

pub(super) fn image(table: Section) -> ImageContent {
    let units = table
        .get("units")
        .map(|f| f.list(|item| item.parse_with(unit_path)));
    let containers = table
        .get("containers")
        .map(|f| f.list(|item| item.section().and_then(baked_container)));
    table.close();
    ImageContent {
        units: units.unwrap_or_default(),
        containers: containers.unwrap_or_default(),
    }
}

fn unit_path(text: &str) -> Result<String, Expected> {
    if !text.ends_with(".toml") {
        let message = format!("{} does not end in .toml, as unit files do", shown(text));
        return Err(Expected::new(message));
    }
    path(text)
}

fn baked_container(table: Section) -> Option<BakedContainer> {
    let source = table.require("source", "source = \"demo-oci.tar\"");
    let source = source.and_then(|f| f.parse_with(path));
    let reference = table.get("reference").and_then(|f| f.parse());
    table.close();
    Some(BakedContainer {
        source: source?,
        reference,
    })
}
