//! One value of the document, read as the type that is wanted.

use std::fmt::Display;
use std::ops::{Range, RangeInclusive};
use std::str::FromStr;
use std::time::Duration;

use toml::Spanned;
use toml::de::DeValue;

use super::{MAX_ITEMS, Section, Source};
use crate::expected::{self, Expected, shown};
use crate::value::duration;

/// A value of the document. Each reader gives `None` after it has noted why.
pub(crate) struct Field<'s, 't> {
    source: &'s Source<'t>,
    /// `container.ports[0]`.
    path: String,
    /// As messages call it: `ports[0]`.
    label: String,
    value: &'s Spanned<DeValue<'t>>,
}

impl<'s, 't> Field<'s, 't> {
    pub(super) fn new(
        source: &'s Source<'t>,
        path: String,
        label: String,
        value: &'s Spanned<DeValue<'t>>,
    ) -> Self {
        source.remember(&path, value.span());
        Self {
            source,
            path,
            label,
            value,
        }
    }

    /// Where it stands.
    pub(crate) fn span(&self) -> Range<usize> {
        self.value.span()
    }

    /// Notes that the value is refused: `memory = "256Q": expected ...`.
    pub(crate) fn refuse(&self, refusal: &Expected) {
        let written = self.source.text.get(self.span()).unwrap_or("");
        let message = match self.value.get_ref() {
            DeValue::Array(_) | DeValue::Table(_) => format!("{}: {}", self.label, refusal.message),
            DeValue::String(text) => {
                format!("{} = {}: {}", self.label, shown(text), refusal.message)
            }
            DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_) => format!("{} = {written}: {}", self.label, refusal.message),
        };
        self.source.note(
            self.span(),
            &Expected {
                message,
                help: refusal.help.clone(),
            },
        );
    }

    fn wrong_type<T>(&self, wanted: &str, help: Option<String>) -> Option<T> {
        let found = match self.value.get_ref() {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "an integer",
            DeValue::Float(_) => "a float",
            DeValue::Boolean(_) => "a boolean",
            DeValue::Datetime(_) => "a date or time",
            DeValue::Array(_) => "an array",
            DeValue::Table(_) => "a table",
        };
        let message = format!("expected {wanted}, found {found}");
        self.refuse(&Expected { message, help });
        None
    }

    /// Any string without NUL, which no argument, variable or path can hold.
    pub(crate) fn string(&self) -> Option<&'s str> {
        match self.value.get_ref() {
            DeValue::String(text) if text.contains('\0') => {
                self.refuse(&Expected::new("a NUL character is not allowed"));
                None
            }
            DeValue::String(text) => Some(text),
            DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) => {
                let written = self.source.text.get(self.span()).unwrap_or("");
                self.wrong_type("a string", Some(format!("put it in quotes: \"{written}\"")))
            }
            DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => {
                self.wrong_type("a string", None)
            }
        }
    }

    pub(crate) fn boolean(&self) -> Option<bool> {
        match self.value.get_ref() {
            DeValue::Boolean(value) => Some(*value),
            DeValue::String(text) if matches!(text.as_ref(), "true" | "false") => self.wrong_type(
                "true or false",
                Some(format!("write {text} without quotes")),
            ),
            DeValue::String(_)
            | DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Datetime(_)
            | DeValue::Array(_)
            | DeValue::Table(_) => self.wrong_type("true or false", None),
        }
    }

    /// An integer in `range`; `what` names it in the message (`port`).
    pub(crate) fn integer(&self, what: &str, range: RangeInclusive<u64>) -> Option<u64> {
        let DeValue::Integer(integer) = self.value.get_ref() else {
            return self.wrong_type("a whole number", None);
        };
        let number = i128::from_str_radix(integer.as_str(), integer.radix()).ok();
        let found = number
            .and_then(|n| u64::try_from(n).ok())
            .filter(|n| range.contains(n));
        if found.is_none() {
            let (low, high) = (range.start(), range.end());
            self.refuse(&expected::out_of_range(what, integer, low, high));
        }
        found
    }

    /// A number, whole or not, in `range`.
    pub(crate) fn number(&self, what: &str, range: RangeInclusive<f64>) -> Option<f64> {
        let (written, number): (&dyn Display, Option<f64>) = match self.value.get_ref() {
            DeValue::Integer(integer) => {
                let number = i128::from_str_radix(integer.as_str(), integer.radix()).ok();
                (integer, number.map(|n| n as f64))
            }
            DeValue::Float(float) => (float, float.as_str().parse().ok()),
            DeValue::String(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_)
            | DeValue::Array(_)
            | DeValue::Table(_) => return self.wrong_type("a number", None),
        };
        let found = number.filter(|n| range.contains(n));
        if found.is_none() {
            let (low, high) = (range.start(), range.end());
            self.refuse(&expected::out_of_range(what, written, low, high));
        }
        found
    }

    /// A string in the form of `T`.
    pub(crate) fn parse<T: FromStr<Err = Expected>>(&self) -> Option<T> {
        self.parse_with(str::parse)
    }

    /// A string in the form that `parse` reads.
    pub(crate) fn parse_with<T>(
        &self,
        parse: impl FnOnce(&str) -> Result<T, Expected>,
    ) -> Option<T> {
        self.string().and_then(|text| self.checked(parse(text)))
    }

    /// The value, or its refusal noted.
    pub(crate) fn checked<T>(&self, value: Result<T, Expected>) -> Option<T> {
        value.map_err(|refusal| self.refuse(&refusal)).ok()
    }

    /// A string, or a whole number as it would be written in one.
    pub(crate) fn text_or_integer(&self) -> Option<String> {
        match self.value.get_ref() {
            DeValue::Integer(integer) if integer.radix() == 10 => Some(integer.as_str().to_owned()),
            DeValue::String(_)
            | DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_)
            | DeValue::Array(_)
            | DeValue::Table(_) => self.string().map(str::to_owned),
        }
    }

    /// A string in the form of `T`, or a bare number of the same meaning (`memory = 1048576`).
    pub(crate) fn parse_or_integer<T: FromStr<Err = Expected>>(&self) -> Option<T> {
        self.text_or_integer()
            .and_then(|text| self.checked(text.parse()))
    }

    /// A span of time in `range`.
    pub(crate) fn duration(&self, range: RangeInclusive<Duration>) -> Option<Duration> {
        if let DeValue::Integer(integer) = self.value.get_ref() {
            let help = format!("write \"{integer}s\" for seconds");
            return self.wrong_type("a time with its unit", Some(help));
        }
        let value = self.parse_with(duration::parse)?;
        if !range.contains(&value) {
            let (low, high) = (
                duration::format(*range.start()),
                duration::format(*range.end()),
            );
            let message = format!("expected a time from {low} to {high}");
            self.refuse(&Expected::new(message));
            return None;
        }
        Some(value)
    }

    /// One of a few words.
    pub(crate) fn one_of<T: Copy>(&self, words: &[(&str, T)]) -> Option<T> {
        self.parse_with(|text| match words.iter().find(|(word, _)| *word == text) {
            Some((_, value)) => Ok(*value),
            None => {
                let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
                Err(expected::one_of(text, &words))
            }
        })
    }

    /// The entries of an array.
    pub(crate) fn items(&self) -> Option<Vec<Field<'s, 't>>> {
        let DeValue::Array(array) = self.value.get_ref() else {
            return self.wrong_type("an array", self.array_help());
        };
        if array.len() > MAX_ITEMS {
            let message = format!("{} entries are too many; at most {MAX_ITEMS}", array.len());
            self.refuse(&Expected::new(message));
            return None;
        }
        let item = |(at, value)| {
            let (path, label) = (
                format!("{}[{at}]", self.path),
                format!("{}[{at}]", self.label),
            );
            Field::new(self.source, path, label, value)
        };
        Some(array.iter().enumerate().map(item).collect())
    }

    /// How many entries an array has; `None` when the value is no array.
    pub(crate) fn items_len(&self) -> Option<usize> {
        match self.value.get_ref() {
            DeValue::Array(array) => Some(array.len()),
            DeValue::String(_)
            | DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_)
            | DeValue::Table(_) => None,
        }
    }

    fn array_help(&self) -> Option<String> {
        let DeValue::String(text) = self.value.get_ref() else {
            return None;
        };
        if text.chars().count() > 60 || text.chars().any(char::is_control) {
            return Some("write each part as its own string in [ ]".to_owned());
        }
        let words: Vec<String> = text
            .split_whitespace()
            .map(|word| format!("{word:?}"))
            .collect();
        Some(format!("write {} = [{}]", self.label, words.join(", ")))
    }

    /// An array read entry by entry. Entries that are refused are left out, each noted.
    pub(crate) fn list<T>(&self, read: impl Fn(&Field<'s, 't>) -> Option<T>) -> Vec<T> {
        self.items()
            .unwrap_or_default()
            .iter()
            .filter_map(read)
            .collect()
    }

    /// An array of strings, each a `T`, none twice.
    pub(crate) fn set<T: FromStr<Err = Expected> + PartialEq>(&self) -> Vec<T> {
        let mut values: Vec<T> = Vec::new();
        for item in self.items().unwrap_or_default() {
            match item.parse::<T>() {
                Some(value) if values.contains(&value) => {
                    item.refuse(&Expected::new("stands here twice").help("remove one"));
                }
                Some(value) => values.push(value),
                None => {}
            }
        }
        values
    }

    /// The value as a table.
    pub(crate) fn section(&self) -> Option<Section<'s, 't>> {
        match self.value.get_ref() {
            DeValue::Table(table) => Some(Section::new(
                self.source,
                self.path.clone(),
                self.span(),
                table,
            )),
            DeValue::String(_)
            | DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_)
            | DeValue::Array(_) => self.wrong_type("a table", None),
        }
    }
}
