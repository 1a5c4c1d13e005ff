//! The `[update]` table.

use std::time::Duration;

use super::{Layer, authority, fixed};
use crate::document::Section;
use crate::expected::Expected;
use crate::host::{ApplyUpdates, Update, version};
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
    channel(&table, update);
    table.close();
}

fn channel(table: &Section, update: &mut Update) {
    if let Some(url) = table.get("url").and_then(|f| f.parse_with(url)) {
        update.url = Some(url).filter(|url| !url.is_empty());
    }
    if let Some(ca) = table.get("ca").and_then(|f| f.parse_with(authority)) {
        update.ca = Some(ca);
    }
    let check = table.get("check");
    if let Some(check) = check.and_then(|f| f.duration(Duration::from_secs(1)..=duration::MAX)) {
        update.check = check;
    }
    let words = ApplyUpdates::ALL.map(|apply| (apply.as_str(), apply));
    if let Some(apply) = table.get("apply").and_then(|f| f.one_of(&words)) {
        update.apply = apply;
    }
}

/// A URL of a web server; an empty one lets an overlay close its base's channel.
fn url(text: &str) -> Result<String, Expected> {
    let rest = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"));
    let plain = |b: u8| b.is_ascii_graphic();
    match rest {
        Some(rest) if !rest.is_empty() && text.len() <= 2048 && text.bytes().all(plain) => {
            Ok(text.to_owned())
        }
        None if text.is_empty() => Ok(String::new()),
        Some(_) | None => Err(Expected::new("expected a URL of at most 2048 characters")
            .help("for example \"https://updates.example/edge\"")),
    }
}

fn signed(table: &Section, update: &mut Update) {
    let keys = table.get("keys").map(|f| f.list(|item| item.parse()));
    update.keys = keys.unwrap_or_default();
    let oldest = table.get("minimum-version");
    update.minimum_version = oldest.and_then(|f| f.parse_with(version::checked));
}
