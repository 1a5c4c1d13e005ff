//! A TOML document with its spans, read key by key: the raw side of "raw, then checked".
//!
//! Reading never stops at an error. A value that is refused is noted with its place and left out;
//! keys that nobody asked for are noted when a table is closed. This module knows no unit and no
//! host: which keys there are is told by a [`Catalogue`].

mod decode;
mod field;
mod place;
pub(crate) mod schema;
mod section;

use std::cell::RefCell;
use std::ops::Range;

pub(crate) use decode::decode;
pub(crate) use field::Field;
use place::Places;
pub(crate) use section::Section;
use toml::Spanned;
use toml::de::DeTable;

use crate::expected::Expected;
use crate::parsed::Spans;
use crate::{Diagnostic, Position};

/// Most errors that one file reports; past that only their number is said.
const MAX_DIAGNOSTICS: usize = 100;

/// Most entries in one array, or in one table whose keys are the user's own.
const MAX_ITEMS: usize = 1024;

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
    places: Places<'t>,
    catalogue: &'static Catalogue,
    found: RefCell<Found>,
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
        let mut source = Self {
            file,
            text,
            places: Places::new(text),
            catalogue,
            found: RefCell::default(),
            spans: RefCell::default(),
            broken_from: None,
        };
        let (table, mut errors) = DeTable::parse_recoverable(text);
        let span = |error: &toml::de::Error| error.span().unwrap_or(0..0);
        errors.sort_by_key(|error| span(error).start);
        let shown = errors.len().min(MAX_DIAGNOSTICS);
        for error in &errors[..shown] {
            let message = format!("not valid TOML: {}", error.message());
            source.note(span(error), &Expected::new(message));
        }
        source.note_dropped(errors.len() - shown);
        source.broken_from = source.found.borrow().first_line();
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
        let Position { line, column } = self.places.position(span.start);
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

    /// Counts errors that will not be shown.
    fn note_dropped(&self, count: usize) {
        self.found.borrow_mut().dropped += count;
    }

    fn remember(&self, path: &str, span: Range<usize>) {
        let position = self.places.position(span.start);
        self.spans.borrow_mut().insert(path, position, span);
    }

    /// The value, when nothing was found wrong; else everything that was, in the file's order.
    pub(crate) fn finish<T>(self, value: Option<T>) -> Result<(T, Spans), Vec<Diagnostic>> {
        let found = self.found.into_inner().sorted(self.file);
        match value {
            Some(value) if found.is_empty() => Ok((value, self.spans.into_inner())),
            // Whoever refuses a value notes why; should one forget, the file is refused all the
            // same, and says so.
            None if found.is_empty() => {
                let message = "the file cannot be used";
                Err(vec![Diagnostic::whole_file(self.file, message, None)])
            }
            Some(_) | None => Err(found),
        }
    }
}

/// The first errors of a file by place, and the number of the others.
#[derive(Default)]
struct Found {
    kept: Vec<Diagnostic>,
    dropped: usize,
}

impl Found {
    fn push(&mut self, diagnostic: Diagnostic) {
        self.kept.push(diagnostic);
        // Errors are not found in the file's order, so a few more are kept than are shown, and cut
        // now and then: a file of nothing but errors takes no more memory than one of a few.
        if self.kept.len() >= 4 * MAX_DIAGNOSTICS {
            self.cut();
        }
    }

    fn cut(&mut self) {
        self.kept
            .sort_by(|a, b| (a.position(), &a.message).cmp(&(b.position(), &b.message)));
        self.kept.dedup();
        self.dropped += self.kept.len().saturating_sub(MAX_DIAGNOSTICS);
        self.kept.truncate(MAX_DIAGNOSTICS);
    }

    fn first_line(&self) -> Option<u32> {
        self.kept.iter().map(|d| d.line).min()
    }

    fn sorted(mut self, file: &str) -> Vec<Diagnostic> {
        self.cut();
        if self.dropped > 0 {
            let message = format!("{} more errors are not shown", self.dropped);
            self.kept.push(Diagnostic::whole_file(file, message, None));
        }
        self.kept
    }
}
