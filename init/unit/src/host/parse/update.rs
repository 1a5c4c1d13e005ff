//! The `[update]` table.

use std::time::Duration;

use super::{Layer, fixed};
use crate::document::Section;
use crate::expected::Expected;
use crate::host::{Update, version};
use crate::value::duration;

/// Keys that an overlay cannot give.
const FIXED: [&str; 2] = ["keys", "minimum-version"];

pub(super) fn read(table: Section, update: &mut Update, layer: Layer) {
    match layer {
        Layer::Image => signed(&table, update),
        Layer::Overlay => {
            for key in FIXED {
                if let Some(span) = table.key_span(key) {
                    table.refuse_at(span, &fixed(key));
                }
            }
        }
    }
    let hour = Duration::from_secs(3600);
    let settle = table.get("settle");
    if let Some(settle) = settle.and_then(|f| f.duration(Duration::ZERO..=hour)) {
        update.settle = settle;
    }
    let day = 24 * hour;
    let deadline = table.get("deadline");
    if let Some(deadline) = deadline.and_then(|f| f.duration(Duration::from_secs(1)..=day)) {
        update.deadline = deadline;
    }
    if update.settle >= update.deadline {
        let (settle, deadline) = (
            duration::format(update.settle),
            duration::format(update.deadline),
        );
        let message = format!("no trial could pass: settle {settle}, deadline {deadline}");
        table.refuse(&Expected::new(message).help("give `deadline` more than `settle`"));
    }
    table.close();
}

fn signed(table: &Section, update: &mut Update) {
    let keys = table.get("keys").map(|f| f.list(|item| item.parse()));
    update.keys = keys.unwrap_or_default();
    let oldest = table.get("minimum-version");
    update.minimum_version = oldest.and_then(|f| f.parse_with(version::checked));
}
