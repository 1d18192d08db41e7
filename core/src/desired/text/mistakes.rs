//! The mistakes of a revision. So many that nobody reads them all are not kept, and none of one file hides those of another.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::diagnostic::{Diagnostic, Severity};

/// The most errors, and the most warnings, that are told of one file.
pub(crate) const MOST_OF_FILE: usize = 1_000;
/// From so many in all on, one of each file is.
const MANY: usize = 10_000;

/// Mistakes as they are found.
#[derive(Debug, Default)]
pub(crate) struct Mistakes {
    all: Vec<Diagnostic>,
    /// How many there are of each file.
    of_files: HashMap<(Arc<str>, Severity), usize>,
    /// The files of which not all errors are kept.
    cut_off: BTreeSet<Arc<str>>,
}

impl Mistakes {
    /// Notes one.
    pub(crate) fn push(&mut self, mistake: Diagnostic) {
        let most = self.most();
        let count = self.of_files.entry((mistake.place.file.clone(), mistake.severity)).or_default();
        if *count < most {
            *count += 1;
            self.all.push(mistake);
        } else if mistake.severity == Severity::Error {
            self.cut_off.insert(mistake.place.file);
        }
    }

    /// Whether another error of this file, which there is, would be kept: what would not need not be made.
    pub(crate) fn takes(&mut self, path: &str) -> bool {
        let path: Arc<str> = path.into();
        let key = (Arc::clone(&path), Severity::Error);
        let is_kept = self.of_files.get(&key).is_none_or(|count| *count < self.most());
        if !is_kept {
            self.cut_off.insert(path);
        }
        is_kept
    }

    fn most(&self) -> usize {
        if self.all.len() < MANY { MOST_OF_FILE } else { 1 }
    }

    /// Those that are kept.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Diagnostic> {
        self.all.iter()
    }

    /// The files of which not all errors are kept.
    pub(crate) fn cut_off(&self) -> impl Iterator<Item = &str> {
        self.cut_off.iter().map(AsRef::as_ref)
    }

    /// How many are kept.
    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// All, ordered by place, each once.
    pub(crate) fn ordered(self) -> Vec<Diagnostic> {
        let mut all = self.all;
        all.sort_by(|a, b| (&a.place, &a.message).cmp(&(&b.place, &b.message)));
        all.dedup();
        all
    }
}

impl Extend<Diagnostic> for Mistakes {
    fn extend<I: IntoIterator<Item = Diagnostic>>(&mut self, mistakes: I) {
        mistakes.into_iter().for_each(|mistake| self.push(mistake));
    }
}
