//! How often it is told how one resource, or the revision, stands: what changes again and again is told a few times a minute, then counted, and
//! told once when the minute is over, with how it stands by then. Pure: what is done about it is the pass's affair.

use codeops_core::model::{Health, Sync, wait_ends};
use jiff::{SignedDuration, Timestamp};

/// Changes of one thing that are told within [`WINDOW`].
const MOST: u32 = 12;
const WINDOW: SignedDuration = SignedDuration::from_secs(60);

/// How a resource stands, as far as a change of it is told: sync, health, and whether nothing of it works any more.
pub(super) type Standing = (Sync, Health, bool);

/// The changes of one thing, from the first that was told.
#[derive(Debug, Clone)]
pub(super) struct Flaps<S = Standing> {
    since: Timestamp,
    told: u32,
    /// How it stands as was told last.
    last: S,
    untold: u32,
}

/// What is told of one change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    /// Nothing, or nothing new.
    Nothing,
    /// How it stands now.
    Change,
    /// That it changed so often beside what was told; and how it stands now, where that was not told.
    Summary {
        /// How often.
        changes: u32,
        /// Whether it stands otherwise than as was told last.
        differs: bool,
    },
}

impl<S: Copy + PartialEq> Flaps<S> {
    /// Of one that stood like this.
    pub(super) fn new(last: S, now: Timestamp) -> Self {
        Self { since: now, told: 0, last, untold: 0 }
    }

    /// It stood as `before` at the last look, and stands as `current`.
    pub(super) fn look(&mut self, before: S, current: S, now: Timestamp) -> Told {
        let changed = before != current;
        if now >= wait_ends(self.since, WINDOW, now) {
            let (changes, differs) = (self.untold + u32::from(changed), current != self.last);
            let had_untold = self.untold > 0;
            *self = Self { since: now, told: u32::from(changed), last: current, untold: 0 };
            return match (had_untold, changed) {
                (true, _) => Told::Summary { changes, differs },
                (false, true) => Told::Change,
                (false, false) => Told::Nothing,
            };
        }
        if !changed {
            return Told::Nothing;
        }
        if self.told >= MOST {
            self.untold += 1;
            return Told::Nothing;
        }
        self.told += 1;
        self.last = current;
        Told::Change
    }

    /// When it is to be told what has not been.
    pub(super) fn due(&self) -> Option<Timestamp> {
        (self.untold > 0).then(|| self.since.checked_add(WINDOW).unwrap_or(Timestamp::MAX))
    }

    /// Whether nothing of it counts any more.
    pub(super) fn is_over(&self, now: Timestamp) -> bool {
        self.untold == 0 && now >= wait_ends(self.since, WINDOW, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WELL: Standing = (Sync::Synced, Health::Healthy, false);
    const SICK: Standing = (Sync::Synced, Health::Degraded, true);

    #[test]
    fn flaps_are_told_a_few_times_then_counted_and_the_last_is_always_told() {
        let start = Timestamp::UNIX_EPOCH;
        let at = |millis: i64| start.checked_add(SignedDuration::from_millis(millis)).unwrap();
        let mut flaps = Flaps::new(WELL, start);
        let (mut before, mut told) = (WELL, 0);
        for millis in 1..=1001 {
            let now = if before == WELL { SICK } else { WELL };
            told += u32::from(flaps.look(before, now, at(millis)) == Told::Change);
            before = now;
        }
        assert_eq!((told, before), (MOST, SICK));
        assert_eq!(flaps.due(), Some(at(60_000)));
        let summary = flaps.look(before, before, at(60_000));
        assert_eq!(summary, Told::Summary { changes: 1001 - MOST, differs: true });
        assert_eq!((flaps.due(), flaps.look(SICK, SICK, at(60_001))), (None, Told::Nothing));
        assert_eq!(flaps.look(SICK, WELL, at(70_000)), Told::Change, "the next minute has its own");
        assert!(flaps.is_over(at(130_000)));
        assert!(flaps.clone().is_over(at(0)), "the clock was set back");
        assert_eq!(flaps.look(WELL, SICK, at(140_000)), Told::Change);
    }
}
