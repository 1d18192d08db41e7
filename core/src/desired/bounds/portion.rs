//! What is given out of the bounds of a revision: in the order of the paths, so that it does not matter which files were read
//! before. Files that the same teams may write share it: nobody takes what is another's. What does not fit leaves what there
//! is to those after it.

use std::collections::BTreeMap;

use super::{allowance, space};
use crate::desired::Context;
use crate::desired::teams::rights;
use crate::model::TeamName;

/// What is left of each bound for a file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Left {
    /// Words and signs of expressions.
    pub expressions: u64,
    /// For files.
    space: Room,
    /// For the top file, and for those that hold nothing but the Repository and teams.
    people: Room,
    /// What overlays may make.
    pub merged: u64,
}

impl Left {
    /// Nobody has taken anything.
    pub(crate) const ALL: Self = Self {
        expressions: allowance::MOST,
        space: Room { free: space::MOST, vain: space::MOST_IN_VAIN },
        people: Room { free: space::MOST_OF_PEOPLE, vain: space::MOST_IN_VAIN },
        merged: space::MOST_MERGED,
    };

    /// What there is for a file.
    pub(crate) fn room(&mut self, of_people: bool) -> &mut Room {
        if of_people { &mut self.people } else { &mut self.space }
    }
}

/// What is left for files.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Room {
    /// What may be kept.
    free: u64,
    /// What may be looked at in vain.
    vain: u64,
}

impl Room {
    /// What a file may take, and how much of it is looked at: of a small one always all.
    pub(crate) fn offered(&self) -> u64 {
        self.free.min(self.vain.max(space::FEW))
    }

    /// Takes what a file took, to which all that is offered was given.
    pub(crate) fn take(&mut self, taken: &Portion) {
        if taken.is_spent() {
            self.vain = self.vain.saturating_sub(self.offered());
        } else {
            self.free -= taken.used();
        }
    }
}

/// What is left for each.
#[derive(Debug)]
pub(crate) struct Shares<'c> {
    context: &'c Context,
    left: BTreeMap<Vec<&'c TeamName>, Left>,
}

impl<'c> Shares<'c> {
    /// Nobody has taken anything.
    pub(crate) fn new(context: &'c Context) -> Self {
        Self { context, left: BTreeMap::new() }
    }

    /// What is left for a file.
    pub(crate) fn left(&mut self, path: &str) -> &mut Left {
        self.left.entry(rights::granted(path, self.context)).or_insert(Left::ALL)
    }
}

/// What one may take of a bound, and took.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Portion {
    pub(crate) given: u64,
    taken: u64,
    /// How much there would have to be for what first asked for more. Nothing is given after it.
    asked: Option<u64>,
}

impl Portion {
    pub(crate) fn of(given: u64) -> Self {
        Self { given, taken: 0, asked: None }
    }

    /// Takes so much, or says that there is no more.
    pub(crate) fn takes(&mut self, weight: u64) -> bool {
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
    pub(crate) fn given_back(self) -> Self {
        Self { taken: 0, ..self }
    }

    /// What there still is.
    pub(crate) fn rest(&self) -> u64 {
        self.given - self.taken
    }

    /// Whether one asked for more than there was.
    pub(crate) fn is_spent(&self) -> bool {
        self.asked.is_some()
    }

    /// Whether it stays as it is, however much is given.
    pub(crate) fn is_untouched(&self) -> bool {
        self.taken == 0 && self.asked.is_none()
    }

    /// What is not left for others.
    pub(crate) fn used(&self) -> u64 {
        self.taken
    }

    /// Whether the same would be taken where so much is given.
    pub(crate) fn stands(&self, given: u64) -> bool {
        self.taken <= given && self.asked.is_none_or(|asked| given < asked)
    }
}
