//! How long a run's steps have taken: from the first one's beginning, without the time in which it stood still for something
//! outside of them.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::{Period, Rung};

/// How long writing a beginning down takes at most, in milliseconds, for what is reckoned from before it.
const WRITING_MS: u64 = 200;

/// The fold of what a run's log says of time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunClock {
    /// When its first step began, later by all the time that it stood still since.
    from: Option<Timestamp>,
    /// Since when it stands still, while it does.
    still: Option<Timestamp>,
}

impl RunClock {
    /// An attempt begins.
    pub(super) fn begins(&mut self, at: Timestamp) {
        self.from.get_or_insert(at);
    }

    /// It stands still, or goes on.
    pub(super) fn stands_still(&mut self, at: Timestamp, still: bool) {
        if let (Some(from), Some(since)) = (self.from, self.still) {
            self.from = from.checked_add(at.duration_since(since)).ok();
        }
        self.still = still.then_some(at);
    }

    /// How much is left of the time that its steps may take.
    pub fn left(&self, limit: Period, now: Timestamp) -> Period {
        Period::from_millis(limit.as_millis().saturating_sub(self.spent(now)))
    }

    /// Whether that time is up, but for the moment that writing the first beginning down took.
    pub fn is_up(&self, limit: Period, now: Timestamp) -> bool {
        self.from.is_some() && self.left(limit, now).as_millis() <= WRITING_MS.min(limit.as_millis() / 20)
    }

    /// How long its steps have taken by now, in milliseconds.
    pub fn spent(&self, now: Timestamp) -> u64 {
        let spent = |from| self.still.unwrap_or(now).duration_since(from).max(SignedDuration::ZERO);
        self.from.map_or(0, |from| u64::try_from(spent(from).as_millis()).unwrap_or(u64::MAX))
    }
}

impl Rung {
    /// Why a run that begins here leaves its steps out: `because`, where that was written down.
    pub(super) fn why_not_by_its_steps(self, because: Option<&str>) -> Option<String> {
        let otherwise = match self {
            Rung::Steps => return None,
            Rung::Otherwise => "what an earlier run on it did within 30 minutes did not hold",
            Rung::Page => "it is for a person to answer",
        };
        Some(because.unwrap_or(otherwise).to_owned())
    }
}
