//! How much of expressions is read: no revision keeps the compiler busy for long. It is told from their texts, before they are
//! parsed, and given out in the order of the paths, so that it does not matter which files were read before. Files that the
//! same teams may write share it: nobody takes what is another's.

use std::collections::BTreeMap;

use super::{Context, rights};
use crate::expression::{weight, weight_of_pattern, weight_of_template};
use crate::model::TeamName;

/// The most words and signs of the expressions of one file, as [`weight`] counts them.
const MOST_OF_FILE: u64 = 100_000;
/// The same of all files together that the same teams may write, and of what overlays in such files make.
pub(super) const MOST: u64 = 500_000;

/// What is left of [`MOST`] for each.
#[derive(Debug)]
pub(super) struct Shares<'c> {
    context: &'c Context,
    left: BTreeMap<Vec<&'c TeamName>, u64>,
}

impl<'c> Shares<'c> {
    /// Nobody has taken anything.
    pub(super) fn new(context: &'c Context) -> Self {
        Self { context, left: BTreeMap::new() }
    }

    /// What is left for a file.
    pub(super) fn left(&mut self, path: &str) -> &mut u64 {
        self.left.entry(rights::granted(path, self.context)).or_insert(MOST)
    }
}

/// What the expressions of one file may take, and took.
#[derive(Debug, Clone, Copy)]
pub(super) struct Allowance {
    given: u64,
    taken: u64,
    /// Whether one asked for more: no other is read after it.
    is_spent: bool,
}

impl Allowance {
    /// For one file, where so much is left of its share.
    pub(super) fn of(left: u64) -> Self {
        Self { given: left.min(MOST_OF_FILE), taken: 0, is_spent: false }
    }

    /// Whether an expression may be read.
    pub(super) fn takes(&mut self, expression: &str) -> bool {
        self.has(weight(expression))
    }

    /// Whether a template may be read.
    pub(super) fn takes_template(&mut self, text: &str) -> bool {
        self.has(weight_of_template(text))
    }

    /// Whether a regular expression of a matcher may be made.
    pub(super) fn takes_pattern(&mut self, pattern: &str) -> bool {
        self.has(weight_of_pattern(pattern))
    }

    fn has(&mut self, weight: u64) -> bool {
        let fits = !self.is_spent && self.given - self.taken >= weight;
        if fits {
            self.taken += weight;
        }
        // What weighs nothing is no expression.
        self.is_spent |= !fits && weight > 0;
        fits || weight == 0
    }

    /// Whether it stays as it is, however much is left.
    pub(super) fn is_untouched(&self) -> bool {
        self.taken == 0 && !self.is_spent
    }

    /// What is not left for others.
    pub(super) fn used(&self) -> u64 {
        if self.is_spent { self.given } else { self.taken }
    }

    /// Whether the same would be read where so much is left of its share.
    pub(super) fn stands(&self, left: u64) -> bool {
        let given = Self::of(left).given;
        given == self.given || (!self.is_spent && self.taken <= given)
    }

    /// Why one is not read, and what to do.
    pub(super) fn refusal(&self) -> (String, String) {
        if self.given == MOST_OF_FILE {
            let message = format!(
                "this expression is not read: those of a file have {MOST_OF_FILE} words and signs at most, and those before \
                 it have as many"
            );
            return (message, "split the file; what is long in an expression is better done by a script".to_owned());
        }
        let message = format!(
            "this expression is not read: those of all files that the same teams may write have {MOST} words and signs at \
             most together, and those of the files before this one have as many"
        );
        (message, "shorten them, or let scripts do what is long: files count in the order of their paths".to_owned())
    }
}
