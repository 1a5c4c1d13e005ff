//! A value together with the places in its file where its parts stand.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::{Diagnostic, Position};

/// A value read from a file, with the places where its parts stand.
#[derive(Clone, Debug, PartialEq)]
pub struct Parsed<T> {
    /// What was read.
    pub value: T,
    /// The file, as the caller named it.
    pub file: String,
    /// Where each value of the file stands, by its path (`container.ports[0]`).
    pub spans: Spans,
}

impl<T> Parsed<T> {
    /// An error about the value at `path` (`image.units[0]`) that only the caller could find, such
    /// as a file that it names and that is not there. About the file as a whole when it has no
    /// such value.
    pub fn diagnostic(
        &self,
        path: &str,
        message: impl Into<String>,
        help: Option<String>,
    ) -> Diagnostic {
        let (position, span) = self.spans.get(path);
        let Position { line, column } = position;
        Diagnostic {
            file: self.file.clone(),
            line,
            column,
            message: message.into(),
            help,
            span,
        }
    }
}

/// Where the values of a file were read, by their path (`container.ports[0]`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spans(BTreeMap<String, (Position, Range<usize>)>);

impl Spans {
    pub(crate) fn insert(&mut self, path: &str, position: Position, span: Range<usize>) {
        self.0.insert(path.to_owned(), (position, span));
    }

    /// Where the value at `path` stands; the beginning of the file when it does not give it.
    pub fn position(&self, path: &str) -> Position {
        self.get(path).0
    }

    fn get(&self, path: &str) -> (Position, Range<usize>) {
        self.0.get(path).cloned().unwrap_or((Position::START, 0..0))
    }
}
