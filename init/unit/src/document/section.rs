//! A table of the document, and the keys in it that nobody asked for.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::{Field, MAX_DIAGNOSTICS, MAX_ITEMS, Source};
use crate::expected::{Expected, shown};
use crate::suggest;

/// A table of the document while it is read.
pub(crate) struct Section<'s, 't> {
    source: &'s Source<'t>,
    /// `container`; empty for the document itself.
    path: String,
    /// Where errors about the table as a whole point.
    span: Range<usize>,
    table: &'s DeTable<'t>,
}

impl<'s, 't> Section<'s, 't> {
    pub(super) fn new(
        source: &'s Source<'t>,
        path: String,
        span: Range<usize>,
        table: &'s DeTable<'t>,
    ) -> Self {
        Self {
            source,
            path,
            span,
            table,
        }
    }

    /// The value of `key`, if the table has it.
    pub(crate) fn get(&self, key: &str) -> Option<Field<'s, 't>> {
        // The key as a search term must be of the map's own type, spans and all.
        let (_, value) = self.table.iter().find(|(k, _)| k.get_ref() == key)?;
        Some(self.field(key, value))
    }

    /// The value of `key`; its absence is noted, with an example of the line to add.
    pub(crate) fn require(&self, key: &str, example: &str) -> Option<Field<'s, 't>> {
        let field = self.get(key);
        if field.is_none() && self.source.is_whole() {
            let here = if self.path.is_empty() {
                "the file"
            } else {
                &self.title()
            };
            let refusal = Expected::new(format!("{here} has no `{key}`"));
            self.source
                .note(self.span.clone(), &refusal.help(format!("add {example}")));
        }
        field
    }

    /// The table below this one; `None` when there is none or it is not a table.
    pub(crate) fn table(&self, key: &str) -> Option<Section<'s, 't>> {
        self.get(key).and_then(|field| field.section())
    }

    /// Where the key stands, if the table has it.
    pub(crate) fn key_span(&self, key: &str) -> Option<Range<usize>> {
        let found = self.table.keys().find(|k| k.get_ref() == key);
        found.map(Spanned::span)
    }

    /// Every entry, for tables whose keys are the user's own. Too many are noted and left out.
    pub(crate) fn entries(&self) -> Vec<(&'s str, Range<usize>, Field<'s, 't>)> {
        if self.table.len() > MAX_ITEMS {
            let message = format!(
                "{} entries are too many; at most {MAX_ITEMS}",
                self.table.len()
            );
            self.refuse(&Expected::new(message));
            return Vec::new();
        }
        let entry = |(key, value): (&'s Spanned<DeString<'t>>, _)| {
            let name: &'s str = key.get_ref();
            (name, key.span(), self.field(name, value))
        };
        self.table.iter().map(entry).collect()
    }

    /// Notes an error about the table as a whole.
    pub(crate) fn refuse(&self, refusal: &Expected) {
        self.source.note(self.span.clone(), refusal);
    }

    /// Notes an error about a place within it.
    pub(crate) fn refuse_at(&self, span: Range<usize>, refusal: &Expected) {
        self.source.note(span, refusal);
    }

    /// Notes every key that the catalogue does not have.
    pub(crate) fn close(&self) {
        let known = self.source.catalogue.keys(self.catalogue_path());
        let unknown = |key: &&Spanned<DeString>| !known.contains(&key.get_ref().as_ref());
        let mut keys: Vec<_> = self.table.keys().filter(unknown).collect();
        // Suggesting is the slow part, so it is done only for as many as will be shown.
        keys.sort_by_key(|key| key.span().start);
        let shown = keys.len().min(MAX_DIAGNOSTICS);
        for key in &keys[..shown] {
            let refusal = self.unknown(key.get_ref(), known);
            self.source.note(key.span(), &refusal);
        }
        self.source.note_dropped(keys.len() - shown);
    }

    /// `resources.io[3]` is catalogued as `resources.io`.
    fn catalogue_path(&self) -> &str {
        self.path.split('[').next().unwrap_or("")
    }

    fn unknown(&self, key: &str, known: &'static [&'static str]) -> Expected {
        let catalogue = self.source.catalogue;
        let what = if self.path.is_empty() {
            format!("unknown key or table {}", shown(key))
        } else {
            format!("unknown key {} in {}", shown(key), self.title())
        };
        let normal = key.to_lowercase().replace('_', "-");
        let refusal = Expected::new(what);
        let same = known.iter().find(|k| **k == normal);
        if let Some(same) = same {
            return refusal.help(format!("did you mean `{same}`?"));
        }
        let here = self.catalogue_path();
        if let Some(home) = catalogue
            .home(&normal, here)
            .filter(|home| !home.is_empty())
        {
            return refusal.help(format!("`{normal}` belongs in [{home}]"));
        }
        if catalogue.home(&normal, here).is_some() {
            return refusal.help(match catalogue.keys(&normal) {
                [] => format!("`{normal}` stands at the top, above all tables"),
                _ => format!("`{normal}` is a table of its own: [{normal}]"),
            });
        }
        if let Some(ours) = (catalogue.foreign)(key) {
            return refusal.help(format!("here that is {ours}"));
        }
        match suggest::nearest(key, known.iter().copied()) {
            Some(near) => refusal.help(format!("did you mean `{near}`?")),
            None => refusal.help(format!("known here: {}", known.join(", "))),
        }
    }

    fn title(&self) -> String {
        format!("[{}]", self.path)
    }

    fn field(&self, key: &str, value: &'s Spanned<DeValue<'t>>) -> Field<'s, 't> {
        let path = if self.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.path)
        };
        Field::new(self.source, path, key.to_owned(), value)
    }
}
