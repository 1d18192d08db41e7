//! A clock that tests move by hand.

use std::sync::{Arc, Mutex, PoisonError};

use codeops::port::Clock;
use codeops_core::model::Period;
use jiff::Timestamp;

/// Stands still until it is moved.
pub(crate) struct ManualClock(Mutex<Timestamp>);

impl ManualClock {
    /// A clock that stands at a round time.
    pub(crate) fn new() -> Arc<Self> {
        let start = Timestamp::from_second(1_700_000_000).expect("a time within range");
        Arc::new(Self(Mutex::new(start)))
    }

    /// Moves it forward.
    pub(crate) fn advance(&self, by: Period) {
        let mut now = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *now = by.after(*now);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
