//! What is given out of the bounds of a revision: in the order of the paths, so that it does not matter which files were read
//! before. Files that the same teams may write share it: nobody takes what is another's.

use std::collections::BTreeMap;

use super::{Context, allowance, rights, space};
use crate::model::TeamName;

/// What is left of each bound for a file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Left {
    /// Words and signs of expressions.
    pub expressions: u64,
    /// What may be kept of files.
    pub space: u64,
    /// What overlays may make.
    pub merged: u64,
}

impl Left {
    /// Nobody has taken anything.
    const ALL: Self = Self { expressions: allowance::MOST, space: space::MOST, merged: space::MOST_MERGED };
}

/// What is left for each.
#[derive(Debug)]
pub(super) struct Shares<'c> {
    context: &'c Context,
    left: BTreeMap<Vec<&'c TeamName>, Left>,
}

impl<'c> Shares<'c> {
    /// Nobody has taken anything.
    pub(super) fn new(context: &'c Context) -> Self {
        Self { context, left: BTreeMap::new() }
    }

    /// What is left for a file.
    pub(super) fn left(&mut self, path: &str) -> &mut Left {
        self.left.entry(rights::granted(path, self.context)).or_insert(Left::ALL)
    }
}

/// What one may take of a bound, and took.
#[derive(Debug, Clone, Copy)]
pub(super) struct Portion {
    pub(super) given: u64,
    taken: u64,
    /// Whether one asked for more: no other is given anything after it.
    is_spent: bool,
}

impl Portion {
    pub(super) fn of(given: u64) -> Self {
        Self { given, taken: 0, is_spent: false }
    }

    /// Takes so much, or says that there is no more.
    pub(super) fn takes(&mut self, weight: u64) -> bool {
        let fits = !self.is_spent && self.given - self.taken >= weight;
        if fits {
            self.taken += weight;
        }
        // What weighs nothing asks for nothing.
        self.is_spent |= !fits && weight > 0;
        fits || weight == 0
    }

    /// Whether one asked for more than there was.
    pub(super) fn is_spent(&self) -> bool {
        self.is_spent
    }

    /// Whether it stays as it is, however much is given.
    pub(super) fn is_untouched(&self) -> bool {
        self.taken == 0 && !self.is_spent
    }

    /// What is not left for others.
    pub(super) fn used(&self) -> u64 {
        if self.is_spent { self.given } else { self.taken }
    }

    /// Whether the same would be taken where so much is given.
    pub(super) fn stands(&self, given: u64) -> bool {
        given == self.given || (!self.is_spent && self.taken <= given)
    }
}
