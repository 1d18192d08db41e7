//! Manifests with their overlays merged in. Of the environment selected they are kept as long as both files stay the same; of
//! others only the mistakes are, so that however many overlays there are they take no more than their manifests do.

use std::collections::HashMap;
use std::sync::Arc;

use super::file::{Body, body, trees};
use super::groups::Found;
use super::overlay;
use crate::desired::bounds::allowance::Allowance;
use crate::desired::bounds::portion::{Left, Portion, Shares};
use crate::desired::bounds::space;
use crate::desired::text::diagnostic::Diagnostic;
use crate::desired::text::tree::Node;

/// What was merged, kept from one revision to the next.
pub(crate) type Merged = HashMap<MergeKey, Merge>;
type MergeKey = [(Arc<str>, Arc<str>, usize); 2];

/// A manifest and an overlay, merged.
#[derive(Debug)]
pub(crate) struct Merge {
    /// `None` of an environment that is not selected.
    body: Option<Body>,
    found: Vec<Diagnostic>,
    /// What its expressions took.
    allowance: Allowance,
    /// What it took of what overlays may make.
    space: Portion,
}

#[cfg(test)]
impl Merge {
    pub(crate) fn is_kept(&self) -> bool {
        self.body.is_some()
    }

    pub(crate) fn used(&self) -> u64 {
        self.space.used()
    }
}

/// Merging for one revision.
pub(crate) struct Merging<'r> {
    before: &'r mut Merged,
    now: Merged,
    shares: Shares<'r>,
    /// The trees of one file's documents, read again.
    trees: Option<(Arc<str>, Vec<Option<Node>>)>,
}

/// An overlay, what it changes, and whether it is of the environment selected.
pub(crate) type Pair<'f> = (Found<'f>, Found<'f>, bool);

impl<'r> Merging<'r> {
    /// `before` is what was merged for the last revision, `shares` what may still be taken.
    pub(crate) fn new(before: &'r mut Merged, shares: Shares<'r>) -> Self {
        Self { before, now: Merged::new(), shares, trees: None }
    }

    /// Merges all: those of other environments too, so that what is left does not hang on which is selected.
    pub(crate) fn all(&mut self, mut pairs: Vec<Pair<'_>>) {
        // Each file's trees are read once, and no two files' at a time.
        pairs.sort_by(|(a, ..), (b, ..)| a.file.source.path.cmp(&b.file.source.path));
        for (base, patch, keeps) in pairs {
            self.one(&base, &patch, keeps);
        }
        self.trees = None;
    }

    /// What was merged of these two: its body, where it is kept, and its mistakes.
    pub(crate) fn of(&self, base: &Found<'_>, patch: &Found<'_>) -> Option<(Option<&Body>, &[Diagnostic])> {
        let merge = self.now.get(&[base.merge_key(), patch.merge_key()])?;
        Some((merge.body.as_ref(), &merge.found))
    }

    /// Keeps what was merged for the next revision.
    pub(crate) fn end(self) {
        *self.before = self.now;
    }

    fn one(&mut self, base: &Found<'_>, patch: &Found<'_>, keeps: bool) {
        let key = [base.merge_key(), patch.merge_key()];
        let left = *self.shares.left(&patch.file.source.path);
        let stands = |merge: &Merge| {
            let is_enough = merge.allowance.stands(left.expressions) && merge.space.stands(left.merged);
            is_enough && (merge.body.is_some() || !keeps)
        };
        let before = self.before.remove(&key).filter(stands);
        let mut merge = before.unwrap_or_else(|| self.merge(base, patch, left));
        if !keeps {
            merge.body = None;
            merge.found =
                std::mem::take(&mut merge.found).into_iter().filter(|mistake| is_of(mistake, patch)).collect();
        }
        let left = self.shares.left(&patch.file.source.path);
        left.expressions -= merge.allowance.used();
        left.merged -= merge.space.used();
        self.now.insert(key, merge);
    }

    /// The tree of a manifest, read again.
    fn tree(&mut self, base: &Found<'_>) -> Option<&Node> {
        let path = &base.file.source.path;
        if self.trees.as_ref().is_none_or(|(of, _)| of != path) {
            self.trees = None;
            self.trees = Some((Arc::clone(path), trees(&base.file.source)));
        }
        let (_, trees) = self.trees.as_ref()?;
        trees.get(base.document().ordinal)?.as_ref()
    }

    fn merge(&mut self, base: &Found<'_>, patch: &Found<'_>, left: Left) -> Merge {
        let mut space = Portion::of(left.merged);
        // What does not fit is neither read nor looked at.
        if space.takes(base.document().weight + patch.document().weight)
            && let (Some(whole), Some(overlay)) = (self.tree(base), &patch.document().patch)
        {
            let mut allowance = Allowance::of(left.expressions);
            let tree = overlay::merge(whole, overlay);
            let sources = vec![&base.file.source, &patch.file.source];
            let (body, found) = body(base.document().header.kind, &tree, sources, &mut allowance);
            if space.takes(space::of_mistakes(found.iter().filter(|mistake| is_of(mistake, patch)))) {
                return Merge { body: Some(body), found, allowance, space };
            }
        }
        // What was merged in vain is not given back: so much work is done, and no more.
        space.takes(u64::MAX);
        let (message, help) = space::refusal_of_overlay();
        let found = vec![patch.error(message, Some(help))];
        Merge { body: Some(base.document().body.clone()), found, allowance: Allowance::of(left.expressions), space }
    }
}

/// Whether a mistake stands in the overlay.
fn is_of(mistake: &Diagnostic, patch: &Found<'_>) -> bool {
    *mistake.place.file == *patch.file.source.path
}
