//! What is wrong with a file, where, and how to mend it.

use std::fmt;
use std::ops::Range;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

/// A place in a file; both numbers count from 1, the column in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Line, from 1.
    pub line: u32,
    /// Column in characters (not bytes), from 1.
    pub column: u32,
}

impl Position {
    /// The beginning of a file: where errors about the whole of it point.
    pub const START: Position = Position { line: 1, column: 1 };
}

/// One thing that is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// The file, as the caller named it.
    pub file: String,
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
    /// What is wrong and what was expected: a whole sentence without its full stop.
    pub message: String,
    /// How to mend it.
    pub help: Option<String>,
    /// The bytes of the file that are meant; empty when it is the whole file.
    pub span: Range<usize>,
}

impl Diagnostic {
    /// An error about a file as a whole: it cannot be read, or decoded, or is too large.
    ///
    /// Also for callers, whose own errors about a file (it cannot be opened) then look the same.
    pub fn whole_file(
        file: impl Into<String>,
        message: impl Into<String>,
        help: Option<&str>,
    ) -> Self {
        Self {
            file: file.into(),
            line: Position::START.line,
            column: Position::START.column,
            message: message.into(),
            help: help.map(str::to_owned),
            span: 0..0,
        }
    }

    /// Where it is.
    pub fn position(&self) -> Position {
        Position {
            line: self.line,
            column: self.column,
        }
    }

    /// Several lines for a person: the message, the line of the file with the place marked, and
    /// the help. Without the file's text, or with a text that is not the one it was found in, the
    /// place is given by its numbers alone.
    ///
    /// `colour` adds terminal colours.
    pub fn render(&self, text: Option<&str>, colour: bool) -> String {
        let title = Level::ERROR.primary_title(self.message.as_str());
        let mut report = match text.and_then(|text| self.line_of(text)) {
            Some((line, span)) => Group::with_title(title).element(
                Snippet::source(line)
                    .line_start(self.line as usize)
                    .path(self.file.as_str())
                    .annotation(AnnotationKind::Primary.span(span)),
            ),
            None => Group::with_title(title).element(
                annotate_snippets::Origin::path(self.file.as_str())
                    .line(self.line as usize)
                    .char_column(self.column as usize),
            ),
        };
        if let Some(help) = &self.help {
            report = report.element(Level::HELP.message(help.as_str()));
        }
        let renderer = if colour {
            Renderer::styled()
        } else {
            Renderer::plain()
        };
        renderer.render(&[report])
    }

    /// The line of `text` where the span begins, and what of the span lies on it. `None` when the
    /// span is none of this text's, or when the line is too long to be shown.
    fn line_of<'t>(&self, text: &'t str) -> Option<(&'t str, Range<usize>)> {
        const MAX_SHOWN_BYTES: usize = 500;
        if self.span.is_empty() || text.get(self.span.clone()).is_none() {
            return None;
        }
        let start = text[..self.span.start].rfind('\n').map_or(0, |at| at + 1);
        let line = text[start..].lines().next()?;
        let begin = self.span.start - start;
        let end = (self.span.end - start).min(line.len());
        (begin < end && line.len() <= MAX_SHOWN_BYTES).then_some((line, begin..end))
    }
}

/// The one-line form, `file:line:col: message (help)`.
impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}:{}:{}: {}",
            self.file, self.line, self.column, self.message
        )?;
        match &self.help {
            Some(help) => write!(f, " ({help})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Diagnostic {}

/// Renders many, with an empty line between two.
pub fn render_all(diagnostics: &[Diagnostic], text: Option<&str>, colour: bool) -> String {
    diagnostics
        .iter()
        .map(|d| d.render(text, colour))
        .collect::<Vec<_>>()
        .join("\n\n")
}
