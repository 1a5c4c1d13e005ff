//! From the document to the model.

mod build;
mod network;
mod update;

use std::net::SocketAddr;

use crate::document::{Catalogue, Section, Source, schema};
use crate::expected::{Expected, shown};
use crate::host::{
    ApiConfig, Authority, Console, Disk, Host, ImageContent, Kernel, Listen, NetworkConfig, Update,
    version,
};
use crate::value::label_problem;
use crate::{Diagnostic, Spans};

/// Every table and key of a host TOML.
pub(crate) static CATALOGUE: Catalogue = Catalogue {
    sections: &[
        (
            "",
            &[
                "api", "console", "disk", "image", "kernel", "name", "network", "schema", "update",
                "version",
            ],
        ),
        (
            "kernel",
            &["command-line", "initramfs-modules", "modules", "package"],
        ),
        ("disk", &["esp", "root", "size", "state"]),
        ("image", &["containers", "units"]),
        ("image.containers", &["reference", "source"]),
        ("network", &["bridge", "hostname", "uplink"]),
        (
            "network.uplink",
            &["address", "dhcp", "dns", "gateway", "interface"],
        ),
        ("network.bridge", &["subnet"]),
        ("api", &["client-ca", "listen"]),
        ("console", &["screen"]),
        (
            "update",
            &[
                "apply",
                "ca",
                "check",
                "deadline",
                "keys",
                "minimum-version",
                "settle",
                "url",
            ],
        ),
    ],
    foreign: |_| None,
};

/// Keys that are fixed when the image is built.
const BUILD_ONLY: [&str; 5] = ["name", "version", "kernel", "disk", "image"];

/// Which of a host's files is read.
#[derive(Clone, Copy, Debug)]
enum Layer {
    /// The one that the image is built of.
    Image,
    /// The one that is laid over it.
    Overlay,
}

/// What is said of a key that only the image's own file may have.
fn fixed(key: &str) -> Expected {
    Expected::new(format!("`{key}` is fixed when the image is built"))
        .help("change it in the host TOML and build a new image")
}

pub(super) fn whole(file: &str, text: &str) -> Result<(Host, Spans), Vec<Diagnostic>> {
    let (source, table) = Source::parse(file, text, &CATALOGUE);
    let root = source.root(&table);
    if !schema::is_known(&root) {
        return source.finish(None);
    }
    let name = root
        .require("name", "name = \"demo\"")
        .and_then(|f| f.parse_with(name));
    let version = root.require("version", "version = \"1.0.0\"");
    let version = version.and_then(|f| f.parse_with(version::checked));
    let mut host = Host {
        name: name.unwrap_or_default(),
        version: version.unwrap_or_default(),
        kernel: root
            .table("kernel")
            .map_or_else(Kernel::default, build::kernel),
        disk: root.table("disk").map_or_else(Disk::default, build::disk),
        image: root
            .table("image")
            .map_or_else(ImageContent::default, build::image),
        network: NetworkConfig::default(),
        api: ApiConfig::default(),
        console: Console::default(),
        update: Update::default(),
    };
    runtime(&root, &mut host, Layer::Image);
    root.close();
    source.finish(Some(host))
}

pub(super) fn overlay(
    base: &Host,
    file: &str,
    text: &str,
) -> Result<(Host, Spans), Vec<Diagnostic>> {
    let (source, table) = Source::parse(file, text, &CATALOGUE);
    let root = source.root(&table);
    if !schema::is_known(&root) {
        return source.finish(None);
    }
    let mut host = base.clone();
    for key in BUILD_ONLY {
        let Some(span) = root.key_span(key) else {
            continue;
        };
        root.refuse_at(span, &fixed(key));
    }
    runtime(&root, &mut host, Layer::Overlay);
    root.close();
    source.finish(Some(host))
}

/// The keys that a running host reads; what is not given stays as it is in `host`.
fn runtime(root: &Section, host: &mut Host, layer: Layer) {
    if let Some(table) = root.table("network") {
        network::read(table, &mut host.network);
    }
    if let Some(table) = root.table("api") {
        api(table, &mut host.api);
    }
    if let Some(table) = root.table("console") {
        if let Some(screen) = table.get("screen").and_then(|f| f.boolean()) {
            host.console.screen = screen;
        }
        table.close();
    }
    if let Some(table) = root.table("update") {
        update::read(table, &mut host.update, layer);
    }
}

fn api(table: Section, api: &mut ApiConfig) {
    if let Some(listen) = table.get("listen").and_then(|f| f.parse_with(listen)) {
        api.listen = listen;
    }
    if let Some(ca) = table.get("client-ca").and_then(|f| f.parse_with(authority)) {
        api.client_ca = Some(ca);
    }
    table.close();
}

/// An address and port; `none` lets an overlay close what its base opens.
fn listen(text: &str) -> Result<Listen, Expected> {
    if text == "none" {
        return Ok(Listen::Nowhere);
    }
    let refusal = || {
        Expected::new("expected ADDRESS:PORT, or \"none\"")
            .help("for example \"0.0.0.0:7470\" for every address")
    };
    match text.parse::<SocketAddr>() {
        Ok(SocketAddr::V6(_)) => Err(Expected::new("a host has no IPv6 address to listen on")
            .help("\"0.0.0.0:7470\" is every address that it has")),
        Ok(address) if address.port() > 0 => Ok(Listen::At(address)),
        Ok(_) => Err(crate::expected::out_of_range("port", 0, 1, 65535)),
        Err(_) => Err(refusal()),
    }
}

/// The certificates themselves, or the path of a file with some.
fn authority(text: &str) -> Result<Authority, Expected> {
    match text.contains("-----BEGIN") {
        true => Authority::certificates(text).map(Authority::Pem),
        false => path(text).map(Authority::File),
    }
}

/// A path of a file: not empty, no control characters.
fn path(text: &str) -> Result<String, Expected> {
    if text.is_empty() || text.len() > 4096 || text.chars().any(char::is_control) {
        return Err(Expected::new("expected the path of a file"));
    }
    Ok(text.to_owned())
}

fn name(text: &str) -> Result<String, Expected> {
    match label_problem(text) {
        None => Ok(text.to_owned()),
        Some(problem) => {
            let message = format!("{} cannot name a host: {problem}", shown(text));
            Err(Expected::new(message).help("a-z, 0-9 and -, first a letter, at most 63"))
        }
    }
}
