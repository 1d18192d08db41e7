//! How much is taken of senders who proved themselves: a token bucket. They are told to come again when it is too much; how many
//! did not prove themselves costs nobody else his turn.

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
}
