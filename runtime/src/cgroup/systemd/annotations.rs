//! Properties that a config.json asks for by annotations, `org.systemd.property.NAME`. Pure.
//!
//! The values are written as runc and crun have them: `true`, `'text'`, `['a', 'b']`, and numbers
//! with their type before them (`uint64 5`), without one for int32. A time that is given in
//! seconds (`TimeoutStopSec`) is one in microseconds for systemd (`TimeoutStopUSec`).

use std::collections::HashMap;

use anyhow::{Context, Result, ensure};

use super::properties::{Property, Value};

/// What comes before the name of a property.
pub(crate) const PREFIX: &str = "org.systemd.property.";

/// Of all annotations, in order of their names.
pub(super) fn of(annotations: Option<&HashMap<String, String>>) -> Result<Vec<Property>> {
    let mut asked: Vec<(&str, &str)> = annotations
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| Some((key.strip_prefix(PREFIX)?, value.trim())))
        .collect();
    asked.sort_unstable();
    let parse = |(name, text): (&str, &str)| {
        let wrong = || {
            format!(
                "annotation {PREFIX}{name}: {text:?} is no value; give true, 'text', ['a', 'b'], \
                 or a number as in uint64 5"
            )
        };
        ensure!(
            name.len() >= 3 && name.bytes().all(|byte| byte.is_ascii_alphanumeric()),
            "annotation {PREFIX}{name}: {name:?} is not the name of a property"
        );
        let seconds = name.strip_suffix("Sec").filter(|of| !of.ends_with('U'));
        match seconds {
            Some(of) => {
                let value = value(text).and_then(microseconds).with_context(wrong)?;
                Ok((format!("{of}USec"), value))
            }
            None => Ok((name.to_owned(), value(text).with_context(wrong)?)),
        }
    };
    asked.into_iter().map(parse).collect()
}

fn value(text: &str) -> Option<Value> {
    let number = text.split_once(' ');
    match (text, number) {
        ("true", _) => Some(Value::Bool(true)),
        ("false", _) => Some(Value::Bool(false)),
        (_, Some(("uint64", number))) => number.trim().parse().ok().map(Value::U64),
        (_, Some(("int64", number))) => number.trim().parse().ok().map(Value::I64),
        (_, Some(("uint32", number))) => number.trim().parse().ok().map(Value::U32),
        (_, Some(("int32", number))) => number.trim().parse().ok().map(Value::I32),
        _ if text.starts_with('[') => texts(text).map(Value::Texts),
        _ if text.starts_with(['\'', '"']) => match quoted(text)? {
            (text, "") => Some(Value::Text(text)),
            _ => None,
        },
        _ => text.parse().ok().map(Value::I32),
    }
}

/// Of any kind of number; systemd has times as 64 bits.
fn microseconds(value: Value) -> Option<Value> {
    let seconds = match value {
        Value::I32(number) => u64::try_from(number).ok()?,
        Value::I64(number) => u64::try_from(number).ok()?,
        Value::U32(number) => number.into(),
        Value::U64(number) => number,
        Value::Bool(_) | Value::Text(_) | Value::Texts(_) => return None,
        Value::Numbers(_) | Value::Bytes(_) | Value::Device(..) => return None,
    };
    seconds.checked_mul(1_000_000).map(Value::U64)
}

fn texts(list: &str) -> Option<Vec<String>> {
    let mut rest = list.strip_prefix('[')?.strip_suffix(']')?.trim();
    let mut all = Vec::new();
    while !rest.is_empty() {
        let (text, after) = quoted(rest)?;
        all.push(text);
        let after = after.trim_start();
        rest = match after.strip_prefix(',') {
            Some(more) if !more.trim().is_empty() => more.trim_start(),
            Some(_) => return None,
            None if after.is_empty() => after,
            None => return None,
        };
    }
    Some(all)
}

/// A text in quotes, in which a backslash takes the next character as it is; and what follows.
fn quoted(text: &str) -> Option<(String, &str)> {
    let quote = text.chars().next().filter(|c| ['\'', '"'].contains(c))?;
    let mut content = String::new();
    let mut characters = text.char_indices().skip(1);
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' => content.push(characters.next()?.1),
            end if end == quote => return Some((content, &text[at + 1..])),
            other => content.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(name: &str, text: &str) -> Result<String> {
        let all = HashMap::from([
            (format!("{PREFIX}{name}"), text.to_owned()),
            ("other".to_owned(), "x".to_owned()),
        ]);
        let (name, value) = of(Some(&all))?.remove(0);
        Ok(format!("{name}={value:?}"))
    }

    #[test]
    fn values() {
        for (name, text, expected) in [
            ("SendSIGHUP", "true", "SendSIGHUP=Bool(true)"),
            (
                "CollectMode",
                "'inactive'",
                "CollectMode=Text(\"inactive\")",
            ),
            ("Description", r#""it\"s""#, r#"Description=Text("it\"s")"#),
            (
                "After",
                "['a.service', \"b\"]",
                "After=Texts([\"a.service\", \"b\"])",
            ),
            ("After", "[]", "After=Texts([])"),
            ("TimeoutStopUSec", "uint64 5", "TimeoutStopUSec=U64(5)"),
            ("TimeoutStopSec", "uint64 5", "TimeoutStopUSec=U64(5000000)"),
            ("RuntimeMaxSec", "7", "RuntimeMaxUSec=U64(7000000)"),
            ("KillSignal", "int32 9", "KillSignal=I32(9)"),
            ("KillSignal", "9", "KillSignal=I32(9)"),
            ("Number", "int64 -9", "Number=I64(-9)"),
            ("Number", "uint32 9", "Number=U32(9)"),
        ] {
            assert_eq!(parsed(name, text).unwrap(), expected, "{name} {text}");
        }
    }

    #[test]
    fn what_is_refused() {
        for (name, text) in [
            ("Xy", "true"),
            ("A-b-c", "true"),
            ("Name", ""),
            ("Name", "text"),
            ("Name", "'text"),
            ("Name", "'te'xt'"),
            ("Name", "'text\\"),
            ("Name", "['a'"),
            ("Name", "['a' 'b']"),
            ("Name", "['a',]"),
            ("Name", "uint64 -5"),
            ("Name", "uint32 4294967296"),
            ("NameSec", "'text'"),
            ("NameSec", "-1"),
            ("NameSec", "uint64 18446744073709551615"),
        ] {
            let error = parsed(name, text).unwrap_err().to_string();
            assert!(error.contains(&format!("{PREFIX}{name}")), "{error}");
        }
        assert_eq!(of(None).unwrap(), []);
    }
}
