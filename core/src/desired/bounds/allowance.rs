//! How much of expressions is read: no revision keeps the compiler busy for long. It is told from their texts, before they are
//! parsed.

use super::portion::Portion;
use crate::expression::{weight, weight_of_pattern, weight_of_template};

/// The most words and signs of the expressions of one file, as [`weight`] counts them.
const MOST_OF_FILE: u64 = 100_000;
/// The same of all files together that the same teams may write, and of what overlays in such files make.
pub(crate) const MOST: u64 = 500_000;

/// What the expressions of one file may take, and took.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Allowance(Portion);

impl Allowance {
    /// For one file, where so much is left of its share.
    pub(crate) fn of(left: u64) -> Self {
        Self(Portion::of(left.min(MOST_OF_FILE)))
    }

    /// Whether an expression may be read.
    pub(crate) fn takes(&mut self, expression: &str) -> bool {
        self.0.takes(weight(expression))
    }

    /// Whether a template may be read.
    pub(crate) fn takes_template(&mut self, text: &str) -> bool {
        self.0.takes(weight_of_template(text))
    }

    /// Whether a regular expression of a matcher may be made.
    pub(crate) fn takes_pattern(&mut self, pattern: &str) -> bool {
        self.0.takes(weight_of_pattern(pattern))
    }

    /// Whether it stays as it is, however much is left.
    pub(crate) fn is_untouched(&self) -> bool {
        self.0.is_untouched()
    }

    /// What is not left for others.
    pub(crate) fn used(&self) -> u64 {
        self.0.used()
    }

    /// Whether the same would be read where so much is left of its share.
    pub(crate) fn stands(&self, left: u64) -> bool {
        self.0.stands(left.min(MOST_OF_FILE))
    }

    /// Why one is not read, and what to do.
    pub(crate) fn refusal(&self) -> (String, String) {
        if self.0.given == MOST_OF_FILE {
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
