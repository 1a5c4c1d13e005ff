//! The image: what its parts weigh, and how long it takes to build again.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, Result};
use serde::Deserialize;

use super::report::{Row, mebibytes};
use crate::{build, paths};

/// How often the image is built again.
const REBUILDS: usize = 5;

/// What `orlop-image build --json` prints.
#[derive(Deserialize)]
pub(super) struct Built {
    parts: Vec<Part>,
}

#[derive(Deserialize)]
struct Part {
    name: String,
    bytes: u64,
    room: Option<u64>,
}

impl Built {
    /// Builds the host that the TOML `host` describes at `output`, with a bundle
    /// beside it if there is a `key` to sign it.
    pub(super) fn build(host: &Path, output: &Path, key: Option<&Path>) -> Result<Built> {
        let report = build::disk_report(host, output, key)?;
        serde_json::from_str(&report).with_context(|| format!("orlop-image printed {report}"))
    }

    pub(super) fn bytes(&self, name: &str) -> Result<u64> {
        let part = self.parts.iter().find(|part| part.name == name);
        Ok(part.with_context(|| format!("no part {name:?}"))?.bytes)
    }
}

pub(super) fn rows() -> Result<Vec<Row>> {
    let place = Place::make()?;
    // The first build fills the cache.
    let full = place.build()?;
    let mut times = Vec::new();
    for run in 0..REBUILDS {
        place.change_unit(run)?;
        let started = Instant::now();
        place.build()?;
        times.push(started.elapsed().as_secs_f64());
    }
    let mut rows = vec![Row::new("image rebuild after a changed unit", "s", times)?.aim(5.0)];
    for part in &full.parts {
        rows.push(Row::once(
            format!("size: {}", part.name),
            "MiB",
            mebibytes(part.bytes),
        ));
        if let (Some(room), "disk image") = (part.room, part.name.as_str()) {
            rows.push(Row::once(
                "size: disk image, with its holes",
                "MiB",
                mebibytes(room),
            ));
        }
    }
    let bare = place.build_bare()?;
    let slot = bare.bytes("root")? + bare.bytes("unified kernel image")?;
    rows.push(
        Row::once(
            "size: root and kernel of a slot, no container baked in",
            "MiB",
            mebibytes(slot),
        )
        .aim(60.0),
    );
    for name in ["orlop-init", "orlop-manager", "orlop-runtime", "orlop"] {
        let file = build::binary(name);
        let length = std::fs::metadata(&file)
            .with_context(|| file.display().to_string())?
            .len();
        rows.push(Row::once(
            format!("size: the program {name}"),
            "MiB",
            mebibytes(length),
        ));
    }
    Ok(rows)
}

/// A folder with a copy of the demo's configuration, whose unit can be changed.
struct Place(PathBuf);

impl Place {
    fn make() -> Result<Place> {
        let place = Place(paths::vm().join("bench/rebuild"));
        std::fs::create_dir_all(place.0.join("units"))?;
        place.change_unit(REBUILDS)?;
        Ok(place)
    }

    fn change_unit(&self, run: usize) -> Result<()> {
        let unit = read(&paths::repository().join("configs/units/web.toml"))?;
        let text = format!("# change {run}\n{unit}");
        Ok(std::fs::write(self.0.join("units/web.toml"), text)?)
    }

    /// Builds the demo's image with what the copy changes, `cargo vm up`'s own
    /// files aside.
    fn build(&self) -> Result<Built> {
        let demo = read(&paths::repository().join("configs/demo.toml"))?;
        // Paths in a host TOML are relative to it.
        let here = paths::target().display().to_string();
        self.build_host("demo", &demo.replace("../target", &here))
    }

    /// Builds the smallest host: no unit, no container's image.
    fn build_bare(&self) -> Result<Built> {
        self.build_host("bare", "name = \"bare\"\nversion = \"1.0.0\"\n")
    }

    fn build_host(&self, name: &str, toml: &str) -> Result<Built> {
        let host = self.0.join(format!("{name}.toml"));
        std::fs::write(&host, toml)?;
        Built::build(&host, &self.0.join(format!("{name}.img")), None)
    }
}

fn read(file: &Path) -> Result<String> {
    std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))
}
