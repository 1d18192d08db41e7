//! How long a run's steps have taken: from the first one's beginning, without the time in which it stood still for something
//! outside of them.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::{Period, Rung};

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

    /// How long its steps have taken by now, in milliseconds.
    pub fn spent(&self, now: Timestamp) -> u64 {
        let spent = |from| self.still.unwrap_or(now).duration_since(from).max(SignedDuration::ZERO);
        self.from.map_or(0, |from| u64::try_from(spent(from).as_millis()).unwrap_or(u64::MAX))
    }
}

impl Rung {
    /// Why a run that begins here leaves its steps out.
    pub(super) fn why_not_by_its_steps(self) -> Option<&'static str> {
        match self {
            Rung::Steps => None,
            Rung::Otherwise => Some("what an earlier run on it did within 30 minutes did not hold"),
            Rung::Page => Some("it is for a person to answer"),
        }
    }
}
