//! Documents of all files grouped by what they are about. It decides nothing about them.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::file::{Document, ParsedFile};
use crate::desired::kinds::header::ManifestKind;
use crate::desired::text::diagnostic::Diagnostic;
use crate::model::{Environment, Name};

/// What a manifest is about.
pub(crate) type Key<'f> = (ManifestKind, &'f Name);

/// Documents by what they are about, in the order of their keys; within one key in the order of the files. Sorted and not
/// a map: files mostly come in this order already, and ten thousand of them are taken together for each revision.
pub(crate) struct Groups<'f, K>(pub(crate) Vec<(K, Found<'f>)>);

impl<'f, K: Ord + Clone> Groups<'f, K> {
    pub(crate) fn of(mut all: Vec<(K, Found<'f>)>) -> Self {
        all.sort_by(|(a, _), (b, _)| a.cmp(b));
        Self(all)
    }

    /// Each key with its documents; never none.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&K, &[(K, Found<'f>)])> {
        self.0.chunk_by(|(a, _), (b, _)| a == b).map(|group| (&group[0].0, group))
    }

    /// The documents of one key.
    pub(crate) fn get(&self, key: &K) -> &[(K, Found<'f>)] {
        let begin = self.0.partition_point(|(other, _)| other < key);
        let rest = &self.0[begin..];
        &rest[..rest.iter().take_while(|(other, _)| other == key).count()]
    }
}

pub(crate) type Bases<'f> = Groups<'f, Key<'f>>;
/// A key in an environment.
pub(crate) type In<'f> = (Option<&'f Environment>, Key<'f>);
pub(crate) type Overlays<'f> = Groups<'f, In<'f>>;
/// The overlays of the environment selected, by what they change.
pub(crate) type Own<'g, 'f> = BTreeMap<Key<'f>, &'g [(In<'f>, Found<'f>)]>;

/// A document and the file it stands in.
#[derive(Clone, Copy)]
pub(crate) struct Found<'f> {
    pub(crate) file: &'f Arc<ParsedFile>,
    pub(crate) index: usize,
}

impl<'f> Found<'f> {
    pub(crate) fn document(&self) -> &'f Document {
        &self.file.documents[self.index]
    }

    pub(crate) fn merge_key(&self) -> (Arc<str>, Arc<str>, usize) {
        (Arc::clone(&self.file.source.path), Arc::clone(&self.file.content), self.index)
    }

    pub(crate) fn error(&self, message: String, help: Option<String>) -> Diagnostic {
        Diagnostic::error(&self.file.source, self.document().header.name.span, message, help)
    }

    pub(crate) fn place(&self) -> String {
        self.file.source.place(self.document().header.name.span).to_string()
    }
}
