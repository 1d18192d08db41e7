//! Documents of all files grouped by what they are about. It decides nothing about them.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::diagnostic::Diagnostic;
use super::file::{Document, ParsedFile};
use super::header::ManifestKind;
use crate::model::{Environment, Name};

/// What a manifest is about.
pub(super) type Key<'f> = (ManifestKind, &'f Name);

/// Documents by what they are about, in the order of their keys; within one key in the order of the files. Sorted and not
/// a map: files mostly come in this order already, and ten thousand of them are taken together for each revision.
pub(super) struct Groups<'f, K>(pub(super) Vec<(K, Found<'f>)>);

impl<'f, K: Ord + Clone> Groups<'f, K> {
    pub(super) fn of(mut all: Vec<(K, Found<'f>)>) -> Self {
        all.sort_by(|(a, _), (b, _)| a.cmp(b));
        Self(all)
    }

    /// Each key with its documents; never none.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, &[(K, Found<'f>)])> {
        self.0.chunk_by(|(a, _), (b, _)| a == b).map(|group| (&group[0].0, group))
    }

    /// The documents of one key.
    pub(super) fn get(&self, key: &K) -> &[(K, Found<'f>)] {
        let begin = self.0.partition_point(|(other, _)| other < key);
        let rest = &self.0[begin..];
        &rest[..rest.iter().take_while(|(other, _)| other == key).count()]
    }
}

pub(super) type Bases<'f> = Groups<'f, Key<'f>>;
/// A key in an environment.
pub(super) type In<'f> = (Option<&'f Environment>, Key<'f>);
pub(super) type Overlays<'f> = Groups<'f, In<'f>>;
/// The overlays of the environment selected, by what they change.
pub(super) type Own<'g, 'f> = BTreeMap<Key<'f>, &'g [(In<'f>, Found<'f>)]>;

/// A document and the file it stands in.
#[derive(Clone, Copy)]
pub(super) struct Found<'f> {
    pub(super) file: &'f Arc<ParsedFile>,
    pub(super) index: usize,
}

impl<'f> Found<'f> {
    pub(super) fn document(&self) -> &'f Document {
        &self.file.documents[self.index]
    }

    pub(super) fn merge_key(&self) -> (Arc<str>, Arc<str>, usize) {
        (Arc::clone(&self.file.source.path), Arc::clone(&self.file.content), self.index)
    }

    pub(super) fn error(&self, message: String, help: Option<String>) -> Diagnostic {
        Diagnostic::error(&self.file.source, self.document().header.name.span, message, help)
    }

    pub(super) fn place(&self) -> String {
        self.file.source.place(self.document().header.name.span).to_string()
    }
}
