//! Reads the annotation. What it says of security is not to be guessed at: a word that is not
//! known is an error with the nearest one that is, and so is a rule that could do nothing.

use std::path::PathBuf;

use anyhow::{Context, Result, anyhow, bail, ensure};
use orlop_sys::landlock::Handled;
use serde_json::{Map, Value};

use super::rights::{FILES, PORTS, Right, SCOPES, named};
use super::{ANNOTATION, Asked, Beneath, Port, Ruleset};

/// The default ruleset's name.
const DEFAULT: &str = "default";
/// A word that is further from all others is like none of them.
const NEAR: usize = 3;

type Fields = Map<String, Value>;

/// What an annotation asks for.
pub(super) fn asked(text: &str) -> Result<Asked> {
    read(text).with_context(|| format!("annotation {ANNOTATION}"))
}

fn read(text: &str) -> Result<Asked> {
    if text == DEFAULT {
        return Ok(Asked::Default);
    }
    ensure!(
        text.trim_start().starts_with('{'),
        "expected {DEFAULT:?}, or in JSON an object with ruleset, rules and disableBestEffort, \
         not {text:?}"
    );
    let value: Value = serde_json::from_str(text).context("not JSON")?;
    let whole = fields(&value, "", &["ruleset", "rules", "disableBestEffort"])?;
    let handled = handled(whole.get("ruleset"))?;
    let none = Value::Null;
    let rules = whole.get("rules").unwrap_or(&none);
    let rules = fields(rules, "rules", &["pathBeneath", "netPort"])?;
    let best_effort = match whole.get("disableBestEffort") {
        None | Some(Value::Null) => true,
        Some(Value::Bool(disabled)) => !disabled,
        Some(other) => bail!("disableBestEffort: expected true or false, not {other}"),
    };
    Ok(Asked::Given(Ruleset {
        handled,
        beneath: each(rules, "rules", "pathBeneath", |rule, place| {
            beneath(rule, place, handled.files)
        })?,
        ports: each(rules, "rules", "netPort", |rule, place| {
            ports(rule, place, handled.ports)
        })?,
        best_effort,
    }))
}

fn handled(ruleset: Option<&Value>) -> Result<Handled> {
    let keys = ["handledAccessFS", "handledAccessNet", "scoped"];
    let ruleset = fields(ruleset.unwrap_or(&Value::Null), "ruleset", &keys)?;
    let [files, ports, scopes] = keys;
    let handled = Handled {
        files: rights(ruleset, "ruleset", files, FILES)?,
        ports: rights(ruleset, "ruleset", ports, PORTS)?,
        scopes: rights(ruleset, "ruleset", scopes, SCOPES)?,
    };
    ensure!(
        handled != Handled::default(),
        "ruleset: restricts nothing; name what is denied where no rule allows it in {files}, \
         {ports} or {scopes}"
    );
    Ok(handled)
}

/// One rule for each of its paths.
fn beneath(rule: &Value, place: &str, handled: u64) -> Result<Vec<Beneath>> {
    let rule = fields(rule, place, &["allowedAccess", "paths"])?;
    let allowed = allowed(rule, place, FILES, handled, "handledAccessFS")?;
    some(rule, place, "paths")?
        .iter()
        .map(|path| {
            let text = path.as_str().filter(|path| path.starts_with('/'));
            let text = text.filter(|path| !path.contains('\0'));
            let text = text
                .with_context(|| format!("{place}.paths: expected absolute paths, not {path}"))?;
            Ok(Beneath {
                allowed,
                path: PathBuf::from(text),
                place: format!("{place}.paths"),
            })
        })
        .collect()
}

/// One rule for each of its ports.
fn ports(rule: &Value, place: &str, handled: u64) -> Result<Vec<Port>> {
    let rule = fields(rule, place, &["allowedAccess", "ports"])?;
    let allowed = allowed(rule, place, PORTS, handled, "handledAccessNet")?;
    some(rule, place, "ports")?
        .iter()
        .map(|port| {
            let number = port.as_u64().and_then(|port| u16::try_from(port).ok());
            let number = number.with_context(|| {
                format!("{place}.ports: expected numbers from 0 to 65535, not {port}")
            })?;
            Ok(Port {
                allowed,
                port: number,
            })
        })
        .collect()
}

/// What a rule allows, which has to be something that is else denied.
fn allowed(
    rule: &Fields,
    place: &str,
    table: &'static [Right],
    handled: u64,
    key: &str,
) -> Result<u64> {
    some(rule, place, "allowedAccess")?;
    let allowed = rights(rule, place, "allowedAccess", table)?;
    if let Some(right) = named(table, allowed & !handled).next() {
        let name = right.name;
        bail!(
            "{place}.allowedAccess: {name} is denied nowhere, so it need not be allowed here; \
             take it out, or name it in ruleset.{key} too"
        );
    }
    Ok(allowed)
}

/// The rights that a list names.
fn rights(within: &Fields, place: &str, key: &str, table: &[Right]) -> Result<u64> {
    let names: Vec<&str> = table.iter().map(|right| right.name).collect();
    let mut mask = 0;
    for value in list(within, place, key)? {
        let place = at(place, key);
        let word = value.as_str();
        let word = word.with_context(|| format!("{place}: expected strings, not {value}"))?;
        let right = table.iter().find(|right| right.name == word);
        let right = right.ok_or_else(|| unknown(&place, word, &names))?;
        mask |= right.mask();
    }
    Ok(mask)
}

/// What a list's elements come to, all in one.
fn each<T>(
    within: &Fields,
    place: &str,
    key: &str,
    read: impl Fn(&Value, &str) -> Result<Vec<T>>,
) -> Result<Vec<T>> {
    let list = list(within, place, key)?.iter().enumerate();
    let read = list.map(|(index, value)| read(value, &format!("{}[{index}]", at(place, key))));
    Ok(read
        .collect::<Result<Vec<_>>>()?
        .into_iter()
        .flatten()
        .collect())
}

/// A list that is not empty.
fn some<'v>(within: &'v Fields, place: &str, key: &str) -> Result<&'v [Value]> {
    let list = list(within, place, key)?;
    ensure!(
        !list.is_empty(),
        "{}: is empty, so the rule allows nothing; leave the rule out, or say what it allows",
        at(place, key)
    );
    Ok(list)
}

/// A list, which may be left out.
fn list<'v>(within: &'v Fields, place: &str, key: &str) -> Result<&'v [Value]> {
    match within.get(key) {
        None | Some(Value::Null) => Ok(&[]),
        Some(Value::Array(list)) => Ok(list),
        Some(other) => bail!("{}: expected a list, not {other}", at(place, key)),
    }
}

/// The fields of an object that has no others than these, or of one that is left out.
fn fields<'v>(value: &'v Value, place: &str, known: &[&str]) -> Result<&'v Fields> {
    static NONE: std::sync::LazyLock<Fields> = std::sync::LazyLock::new(Map::new);
    let fields = match value {
        Value::Null => &NONE,
        Value::Object(fields) => fields,
        other => bail!("{place}: expected an object, not {other}"),
    };
    match fields.keys().find(|key| !known.contains(&key.as_str())) {
        Some(key) => Err(unknown(place, key, known)),
        None => Ok(fields),
    }
}

fn at(place: &str, key: &str) -> String {
    format!("{place}.{key}")
}

fn unknown(place: &str, word: &str, known: &[&str]) -> anyhow::Error {
    let place = match place {
        "" => String::new(),
        place => format!("{place}: "),
    };
    let all = known.join(", ");
    match nearest(word, known) {
        Some(near) => anyhow!("{place}{word:?} is not known; did you mean {near:?}? Known: {all}"),
        None => anyhow!("{place}{word:?} is not known; give one of {all}"),
    }
}

/// What was probably meant: the kernel's own names have a prefix, and are in capitals.
fn nearest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    let bare = [
        "LANDLOCK_ACCESS_FS_",
        "LANDLOCK_ACCESS_NET_",
        "LANDLOCK_SCOPE_",
    ]
    .iter()
    .find_map(|prefix| word.strip_prefix(prefix))
    .unwrap_or(word);
    // Longer words are near none, and the distance takes as long as the square of the length.
    if bare.len() > 64 {
        return None;
    }
    let bare = bare.to_lowercase();
    let far = |known: &str| strsim::osa_distance(&bare, &known.to_lowercase());
    let near = known.iter().map(|known| (far(known), *known));
    let near = near.filter(|(distance, _)| *distance <= NEAR.min(bare.len() / 2));
    near.min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known)
}

#[cfg(test)]
mod tests;
