//! What anybody may cause is not logged as often as anybody likes: the first time at once, then a count at most once a
//! minute.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// The shortest time between two lines on the same thing.
const BETWEEN: Duration = Duration::from_secs(60);

/// When each thing was last logged of whom, and how often it has come since. Things are fixed sentences, and those of whom they are told
/// are declared, so that they are few.
#[derive(Debug, Default)]
pub struct Seldom(Mutex<HashMap<Line, (Instant, u64)>>);

/// Of whom, and what.
type Line = (String, &'static str);

impl Seldom {
    /// Whether this is to be logged now, and how often it was not since it last was.
    pub fn admits(&self, what: &'static str) -> Option<u64> {
        self.admits_of("", what)
    }

    /// The same of one of several, so that one's flood hides nothing of another's: `whom` comes from settings, never from outside.
    pub fn admits_of(&self, whom: &str, what: &'static str) -> Option<u64> {
        let now = Instant::now();
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (last, left_out) = match all.entry((whom.to_owned(), what)) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                entry.insert((now, 0));
                return Some(0);
            }
        };
        if now.duration_since(*last) < BETWEEN {
            *left_out += 1;
            return None;
        }
        *last = now;
        Some(std::mem::take(left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_first_is_told_at_once_and_then_a_count_a_minute() {
        let seldom = Seldom::default();
        assert_eq!(seldom.admits("forged"), Some(0));
        let told = (0..1_000).filter_map(|_| seldom.admits("forged")).count();
        assert_eq!((told, seldom.admits("too old")), (0, Some(0)), "another thing is told at once");
        assert_eq!((seldom.admits_of("grafana", "forged"), seldom.admits_of("grafana", "forged")), (Some(0), None));
        tokio::time::advance(BETWEEN).await;
        assert_eq!((seldom.admits("forged"), seldom.admits("forged")), (Some(1_000), None));
        tokio::time::advance(BETWEEN).await;
        assert_eq!(seldom.admits("forged"), Some(1));
    }
}
