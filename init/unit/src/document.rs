//! A TOML document with its spans, read key by key: the raw side of "raw, then checked".
//!
//! Reading never stops at an error. A value that is refused is noted with its place and left out;
//! keys that nobody asked for are noted when a table is closed. This module knows no unit and no
//! host: which keys there are is told by a [`Catalogue`].

mod decode;
mod field;
mod section;

use std::cell::RefCell;
use std::ops::Range;

pub(crate) use decode::decode;
pub(crate) use field::Field;
pub(crate) use section::Section;
use toml::Spanned;
use toml::de::DeTable;

use crate::expected::Expected;
use crate::parsed::Spans;
use crate::{Diagnostic, Position};

/// Most errors that one file reports; past that only their number is said.
const MAX_DIAGNOSTICS: usize = 100;

/// The tables that a kind of file has, each with its keys.
pub(crate) struct Catalogue {
    /// `("container", &["image", ...])`; the document itself is `""`.
    pub(crate) sections: &'static [(&'static str, &'static [&'static str])],
    /// Where the thing that other tools give some name is written here.
    pub(crate) foreign: fn(&str) -> Option<&'static str>,
}

impl Catalogue {
    pub(crate) fn keys(&self, section: &str) -> &'static [&'static str] {
        self.sections
            .iter()
            .find(|(name, _)| *name == section)
            .map_or(&[], |(_, keys)| keys)
    }

    /// The first other table that has exactly this key.
    pub(crate) fn home(&self, key: &str, not: &str) -> Option<&'static str> {
        let found = self
            .sections
            .iter()
            .find(|(name, keys)| *name != not && keys.contains(&key));
        found.map(|(name, _)| *name)
    }
}

/// The text of a file while it is read, with what was found wrong so far.
pub(crate) struct Source<'t> {
    file: &'t str,
    text: &'t str,
    /// Byte offset of each line's beginning.
    lines: Vec<usize>,
    catalogue: &'static Catalogue,
    found: RefCell<Vec<Diagnostic>>,
    spans: RefCell<Spans>,
    /// Line of the first syntax error: nothing from there on can be judged.
    broken_from: Option<u32>,
}

impl<'t> Source<'t> {
    /// Parses `text`; syntax errors are noted, and what stands before the first one can be read.
    pub(crate) fn parse(
        file: &'t str,
        text: &'t str,
        catalogue: &'static Catalogue,
    ) -> (Self, Spanned<DeTable<'t>>) {
        let lines = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1));
        let mut source = Self {
            file,
            text,
            lines: lines.collect(),
            catalogue,
            found: RefCell::default(),
            spans: RefCell::default(),
            broken_from: None,
        };
        let (table, errors) = DeTable::parse_recoverable(text);
        for error in &errors {
            let span = error.span().unwrap_or(0..0);
            source.note(
                span,
                &Expected::new(format!("not valid TOML: {}", error.message())),
            );
        }
        source.broken_from = source.found.borrow().iter().map(|d| d.line).min();
        (source, table)
    }

    /// The table that holds everything.
    pub(crate) fn root<'s>(&'s self, table: &'s Spanned<DeTable<'t>>) -> Section<'s, 't> {
        Section::new(self, String::new(), table.span(), table.get_ref())
    }

    /// Whether the document could be read as TOML.
    pub(crate) fn is_whole(&self) -> bool {
        self.broken_from.is_none()
    }

    /// Notes an error about `span`. After a syntax error what follows it is not judged, since it
    /// may have been read as something that nobody wrote.
    pub(crate) fn note(&self, span: Range<usize>, refusal: &Expected) {
        let Position { line, column } = self.position(span.start);
        if self.broken_from.is_some_and(|broken| line >= broken) {
            return;
        }
        self.found.borrow_mut().push(Diagnostic {
            file: self.file.to_owned(),
            line,
            column,
            message: refusal.message.clone(),
            help: refusal.help.clone(),
            span,
        });
    }

    fn remember(&self, path: &str, span: Range<usize>) {
        let position = self.position(span.start);
        self.spans.borrow_mut().insert(path, position, span);
    }

    fn position(&self, offset: usize) -> Position {
        let line = self.lines.partition_point(|start| *start <= offset).max(1);
        let start = self.lines.get(line - 1).copied().unwrap_or(0);
        let column = self
            .text
            .get(start..offset)
            .map_or(0, |before| before.chars().count());
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Position {
            line: count(line),
            column: count(column + 1),
        }
    }

    /// The value, when nothing was found wrong; else everything that was, in the file's order.
    pub(crate) fn finish<T>(self, value: Option<T>) -> Result<(T, Spans), Vec<Diagnostic>> {
        let mut found = self.found.into_inner();
        match value {
            Some(value) if found.is_empty() => return Ok((value, self.spans.into_inner())),
            None if found.is_empty() => {
                // Whoever refuses a value notes why; should one forget, the file is refused all
                // the same, and says so.
                found.push(Diagnostic::whole_file(
                    self.file,
                    "the file cannot be used",
                    None,
                ));
            }
            Some(_) | None => {}
        }
        found.sort_by(|a, b| (a.position(), &a.message).cmp(&(b.position(), &b.message)));
        found.dedup();
        if found.len() > MAX_DIAGNOSTICS {
            let more = found.len() - MAX_DIAGNOSTICS;
            found.truncate(MAX_DIAGNOSTICS);
            let message = format!("{more} more errors are not shown");
            found.push(Diagnostic::whole_file(self.file, message, None));
        }
        Err(found)
    }
}
