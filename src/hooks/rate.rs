//! How much is taken of whom: a token bucket for what senders who proved themselves send, who are told to come again when it is
//! too much; and one for what is said in the log of those who did not, whose number costs nobody else his turn.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use tokio::time::Instant;

/// Lets `burst` through at once and `per_second` for ever.
#[derive(Debug)]
pub(super) struct Rate {
    per_second: f64,
    burst: f64,
    state: Mutex<(f64, Instant)>,
}

impl Rate {
    pub(super) fn new(per_second: u32, burst: u32) -> Self {
        let (per_second, burst) = (f64::from(per_second), f64::from(burst));
        Self { per_second, burst, state: Mutex::new((burst, Instant::now())) }
    }

    /// Whether one more may pass now.
    pub(super) fn admits(&self) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (tokens, since) = *state;
        let now = Instant::now();
        let tokens = (tokens + now.duration_since(since).as_secs_f64() * self.per_second).min(self.burst);
        let admitted = tokens >= 1.0;
        *state = (if admitted { tokens - 1.0 } else { tokens }, now);
        admitted
    }
}

/// What is said of requests that prove nothing: so many lines at once and a second, then only how many there were.
#[derive(Debug)]
pub(super) struct Refusals {
    rate: Rate,
    unsaid: AtomicU64,
}

impl Refusals {
    pub(super) fn new() -> Self {
        Self { rate: Rate::new(1, 20), unsaid: AtomicU64::new(0) }
    }

    /// Says so of one more, or counts it.
    pub(super) fn note(&self, what: &'static str, why: &'static str) {
        match self.next() {
            Some(0) => tracing::warn!(what, why, "refused"),
            Some(unsaid) => tracing::warn!(what, why, unsaid, "refused, as others before that were not told of"),
            None => {}
        }
    }

    /// How many went before this one that was not said, if it is said.
    fn next(&self) -> Option<u64> {
        if self.rate.admits() {
            return Some(self.unsaid.swap(0, Ordering::Relaxed));
        }
        self.unsaid.fetch_add(1, Ordering::Relaxed);
        None
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_passes_and_then_so_many_a_second() {
        let rate = Rate::new(2, 3);
        assert_eq!((0..5).filter(|_| rate.admits()).count(), 3);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!((0..5).filter(|_| rate.admits()).count(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_refusals_is_told_of_in_few_lines_that_say_how_many() {
        let refusals = Refusals::new();
        let said: Vec<u64> = (0..1_000).filter_map(|_| refusals.next()).collect();
        assert_eq!(said, [0; 20]);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!((refusals.next(), refusals.next()), (Some(980), None));
    }
}
