//! The same step that takes effect over and over changes nothing: whoever asks for it so often waits longer each time. No
//! rule is known by which that comes about; this keeps one that is not known from turning into a busy loop.

use std::collections::BTreeMap;
use std::time::Duration;

use codeops_core::model::ResourceId;
use jiff::Timestamp;

/// So often the same step may take effect within [`WITHIN`].
const OFTEN: u32 = 5;
const WITHIN: Duration = Duration::from_secs(10);
const FIRST: Duration = Duration::from_secs(1);
/// After this long without it a step may come as often again.
const LONGEST: Duration = Duration::from_secs(300);

/// A step that took effect: its word, and what of the resource it was about.
pub(super) type Did = (&'static str, String);

/// The steps of late, by resource.
#[derive(Debug, Default)]
pub(super) struct Repeats(BTreeMap<ResourceId, BTreeMap<Did, Times>>);

#[derive(Debug)]
struct Times {
    since: Timestamp,
    last: Timestamp,
    count: u32,
}

impl Repeats {
    /// Takes in what was done to a resource; how long it must now wait, if one of these steps came too often.
    pub(super) fn again(&mut self, id: &ResourceId, did: Vec<Did>, now: Timestamp) -> Option<Duration> {
        let of_late = self.0.entry(id.clone()).or_default();
        of_late.retain(|_, times| since(times.last, now) <= if times.count > OFTEN { LONGEST * 2 } else { WITHIN });
        let waits = did.into_iter().filter_map(|step| {
            let times = of_late.entry(step).or_insert(Times { since: now, last: now, count: 0 });
            if times.count <= OFTEN && since(times.since, now) > WITHIN {
                (times.since, times.count) = (now, 0);
            }
            times.last = now;
            times.count = times.count.saturating_add(1);
            let over = times.count.checked_sub(OFTEN + 1)?;
            Some(FIRST.saturating_mul(1 << over.min(16)).min(LONGEST))
        });
        let longest = waits.max();
        self.0.retain(|_, of_late| !of_late.is_empty());
        longest
    }
}

fn since(then: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(then)).unwrap_or(Duration::ZERO)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_step_over_and_over_waits_longer_each_time_and_others_do_not() {
        let id: ResourceId = "app/shop".parse().expect("an id");
        let at = |seconds| Timestamp::from_second(seconds).expect("a time");
        let configure = || vec![("configure", "v1:a".to_owned())];
        let mut repeats = Repeats::default();
        for second in 0..5 {
            assert_eq!(repeats.again(&id, configure(), at(second)), None);
        }
        assert_eq!(repeats.again(&id, vec![("start", "a-1".to_owned())], at(5)), None);
        assert_eq!(repeats.again(&id, configure(), at(5)), Some(Duration::from_secs(1)));
        assert_eq!(repeats.again(&id, configure(), at(6)), Some(Duration::from_secs(2)));
        assert_eq!(repeats.again(&id, configure(), at(60)), Some(Duration::from_secs(4)));
        assert_eq!(repeats.again(&"app/other".parse().expect("an id"), configure(), at(60)), None);
        assert_eq!(repeats.again(&id, configure(), at(700)), None, "long over");
        // One that comes now and then is none that loops.
        let mut repeats = Repeats::default();
        assert!((0..50).all(|n| repeats.again(&id, configure(), at(n * 3)).is_none()));
    }
}
