//! From byte offsets to lines and columns, quickly however long a line is: a file may have a
//! hundred thousand errors on one line, and counting its characters for each would take minutes.

use crate::Position;

/// Bytes between two places whose characters are counted beforehand.
const STRIDE: usize = 1024;

/// Line and column of every offset of a text.
pub(super) struct Places<'t> {
    text: &'t str,
    /// Byte offset of each line's beginning.
    lines: Vec<usize>,
    /// Characters that begin before each multiple of [`STRIDE`].
    chars: Vec<usize>,
}

impl<'t> Places<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        let begins = text.match_indices('\n').map(|(at, _)| at + 1);
        let mut total = 0;
        let chars = text.as_bytes().chunks(STRIDE).map(|chunk| {
            let before = total;
            total += characters(chunk);
            before
        });
        Self {
            text,
            chars: chars.collect(),
            lines: std::iter::once(0).chain(begins).collect(),
        }
    }

    pub(super) fn position(&self, offset: usize) -> Position {
        let line = self.lines.partition_point(|start| *start <= offset).max(1);
        let start = self.lines.get(line - 1).copied().unwrap_or(0);
        let column = self.before(offset).saturating_sub(self.before(start));
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Position {
            line: count(line),
            column: count(column + 1),
        }
    }

    /// How many characters begin before `offset`.
    fn before(&self, offset: usize) -> usize {
        let offset = offset.min(self.text.len());
        let stride = (offset / STRIDE).min(self.chars.len().saturating_sub(1));
        let counted = self.chars.get(stride).copied().unwrap_or(0);
        let rest = self.text.as_bytes().get(stride * STRIDE..offset);
        counted + rest.map_or(0, characters)
    }
}

/// How many characters of UTF-8 begin in these bytes: all but the continuations (0b10xxxxxx).
fn characters(bytes: &[u8]) -> usize {
    bytes.iter().filter(|b| **b & 0xc0 != 0x80).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn naive(text: &str, offset: usize) -> (u32, u32) {
        let before = &text[..offset];
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
        (line as u32, column as u32)
    }

    proptest! {
        #[test]
        fn as_by_counting(text in "([aä€\u{1f600}\n]|[a-zé]{200}){0,12}") {
            let places = Places::new(&text);
            let ends = text.char_indices().map(|(at, _)| at).chain([text.len()]);
            for offset in ends {
                let Position { line, column } = places.position(offset);
                prop_assert_eq!((line, column), naive(&text, offset));
            }
        }
    }
}
