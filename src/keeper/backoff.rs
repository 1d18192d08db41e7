//! How long to wait before a process is started again. Pure.

use std::time::Duration;

/// A process that ran this long counts as having worked.
const STEADY: Duration = Duration::from_secs(60);
const LONGEST: Duration = Duration::from_secs(60);
const LOOP: u32 = 3;

/// Ends in a row, each within 60 s of its start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Streak(u32);

impl Streak {
    /// Counts an end after `ran`, and says how long to wait: not at all the first time, then 1 s, 2 s, 4 s … 60 s.
    pub(super) fn ended(&mut self, ran: Duration) -> Duration {
        self.0 = if ran >= STEADY { 1 } else { self.0.saturating_add(1) };
        match self.0 {
            0 | 1 => Duration::ZERO,
            n => Duration::from_secs(1 << (n - 2).min(6)).min(LONGEST),
        }
    }

    /// Whether it ends again and again.
    pub(super) fn is_loop(self) -> bool {
        self.0 >= LOOP
    }

    /// When a process that was started after such a streak counts as steady again.
    pub(super) const fn steady_after() -> Duration {
        STEADY
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_restart_is_at_once_and_later_ones_wait_longer_up_to_a_minute() {
        let mut streak = Streak::default();
        let waits: Vec<u64> = (0..10).map(|_| streak.ended(Duration::from_secs(1)).as_secs()).collect();
        assert_eq!(waits, [0, 1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert!(streak.is_loop());
        assert_eq!(streak.ended(Duration::from_secs(61)), Duration::ZERO);
        assert!(!streak.is_loop());
    }
}
