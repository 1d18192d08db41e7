//! Waits since a remembered moment, when the clock may have been set back since: a moment of the future is of a clock that was
//! wrong. It counts as long ago, so that no page or retry waits until the clock has caught up. What proves something is not waited
//! for by this: it would be proven too soon.

use jiff::{SignedDuration, Timestamp};

/// Less ahead is waited for: clocks are put right by seconds now and then, and no step of a run is to fail of that.
const AHEAD: SignedDuration = SignedDuration::from_secs(60);

/// Whether a remembered moment is of a clock that was set back since.
pub fn is_ahead(moment: Timestamp, now: Timestamp) -> bool {
    moment.duration_since(now) >= AHEAD
}

/// When a wait that began at a remembered moment ends: now, where the clock was set back since.
pub fn wait_ends(since: Timestamp, wait: SignedDuration, now: Timestamp) -> Timestamp {
    if is_ahead(since, now) { now } else { since.checked_add(wait).unwrap_or(Timestamp::MAX) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_since_a_moment_of_the_future_is_over() {
        let at = |millis| Timestamp::from_millisecond(millis).unwrap();
        let ends = |since, now| wait_ends(at(since), SignedDuration::from_secs(60), at(now)).as_millisecond();
        assert_eq!(ends(5_000, 6_000), 65_000);
        assert_eq!(ends(65_000, 5_001), 125_000, "that is soon");
        assert_eq!(ends(65_000, 5_000), 5_000);
        assert_eq!(ends(7_200_000, 1_000), 1_000);
        assert_eq!(wait_ends(Timestamp::MAX, SignedDuration::MAX, Timestamp::MAX), Timestamp::MAX);
    }
}
