//! What is given out of the bounds of a revision: in the order of the paths, so that it does not matter which files were read
//! before. Files that the same teams may write share it: nobody takes what is another's. What does not fit leaves what there
//! is to those after it.

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
    /// The same of the top file, and of those that hold nothing but the Repository and teams.
    pub people: u64,
    /// What overlays may make.
    pub merged: u64,
}

impl Left {
    /// Nobody has taken anything.
    const ALL: Self = Self {
        expressions: allowance::MOST,
        space: space::MOST,
        people: space::MOST_OF_PEOPLE,
        merged: space::MOST_MERGED,
    };

    /// What may be kept of a file.
    pub(super) fn space(&mut self, of_people: bool) -> &mut u64 {
        if of_people { &mut self.people } else { &mut self.space }
    }
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
    /// How much there would have to be for what first asked for more. Nothing is given after it.
    asked: Option<u64>,
}

impl Portion {
    pub(super) fn of(given: u64) -> Self {
        Self { given, taken: 0, asked: None }
    }

    /// Takes so much, or says that there is no more.
    pub(super) fn takes(&mut self, weight: u64) -> bool {
        let fits = self.asked.is_none() && self.given - self.taken >= weight;
        if fits {
            self.taken += weight;
        } else if weight > 0 {
            // What weighs nothing asks for nothing.
            self.asked.get_or_insert(self.taken.saturating_add(weight));
        }
        fits || weight == 0
    }

    /// The same, of which nothing is kept.
    pub(super) fn given_back(self) -> Self {
        Self { taken: 0, ..self }
    }

    /// Whether one asked for more than there was.
    pub(super) fn is_spent(&self) -> bool {
        self.asked.is_some()
    }

    /// Whether it stays as it is, however much is given.
    pub(super) fn is_untouched(&self) -> bool {
        self.taken == 0 && self.asked.is_none()
    }

    /// What is not left for others.
    pub(super) fn used(&self) -> u64 {
        self.taken
    }

    /// Whether the same would be taken where so much is given.
    pub(super) fn stands(&self, given: u64) -> bool {
        self.taken <= given && self.asked.is_none_or(|asked| given < asked)
    }
}
