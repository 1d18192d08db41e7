//! Signs of progress: each worker says when it works and when it rests, and whoever looks now and then sees one that works at the
//! same thing for too long. No clock is read and no lock taken by a worker, so that nothing it may be stuck in is needed to see it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The time between two looks.
pub const LOOK: Duration = Duration::from_secs(5);
/// At the same thing for so many looks: a minute. Nothing that a worker does itself takes so long.
const STUCK: u32 = 12;
/// It will not come back.
const DEAD: u32 = 24;

/// One worker's sign: odd while it works, another number for each thing it works at.
#[derive(Debug, Clone, Default)]
pub struct Pulse(Arc<AtomicU64>);

impl Pulse {
    /// It begins with the next thing.
    pub fn works(&self) {
        let now = self.0.load(Ordering::Relaxed);
        self.0.store(if now.is_multiple_of(2) { now + 1 } else { now + 2 }, Ordering::Relaxed);
    }

    /// It waits for something to do, which may take for ever.
    pub fn rests(&self) {
        let now = self.0.load(Ordering::Relaxed);
        self.0.store(now + now % 2, Ordering::Relaxed);
    }
}

/// The workers of a daemon, and which of them is stuck.
#[derive(Debug, Clone, Default)]
pub struct Vitals {
    /// The flow that makes live state what the revision says.
    pub reconcile: Pulse,
    /// The flow that answers alerts and pages.
    pub respond: Pulse,
    /// The one way to change anything.
    pub gate: Pulse,
    /// Who writes the journal; without it nothing is taken in.
    pub journal: Pulse,
    /// What all tasks run on.
    pub runtime: Pulse,
    /// The worker that is stuck, from 1, and for how many looks; 0 for none.
    stuck: Arc<AtomicU64>,
}

/// A worker that makes no progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stuck {
    /// Which.
    pub worker: &'static str,
    looks: u32,
}

impl Stuck {
    /// For how long it has been seen so.
    pub fn time(self) -> Duration {
        LOOK * self.looks
    }

    /// Whether only a restart helps.
    pub fn is_dead(self) -> bool {
        self.looks >= DEAD
    }
}

impl Vitals {
    /// The workers' names, for metrics.
    pub const WORKERS: [&'static str; 5] = ["runtime", "journal", "gate", "reconcile", "respond"];

    /// Those of a daemon whose journal's writer has this sign.
    pub fn writing(journal: &Pulse) -> Self {
        Self { journal: journal.clone(), ..Self::default() }
    }

    fn pulses(&self) -> [&Pulse; 5] {
        [&self.runtime, &self.journal, &self.gate, &self.reconcile, &self.respond]
    }

    /// A worker that makes no progress: where several do not, the one that the others wait for.
    pub fn stuck(&self) -> Option<Stuck> {
        let seen = self.stuck.load(Ordering::Relaxed);
        let worker = usize::try_from(seen >> 32).ok()?.checked_sub(1).and_then(|nth| Self::WORKERS.get(nth))?;
        Some(Stuck { worker, looks: u32::try_from(seen & u64::from(u32::MAX)).unwrap_or(u32::MAX) })
    }
}

/// Looks at the workers. Time is counted in looks, so that a machine that slept has lost none.
#[derive(Debug, Default)]
pub struct Watchdog {
    vitals: Vitals,
    /// What each worker's sign was, and for how many looks it has been that.
    seen: [(u64, u32); 5],
}

impl Watchdog {
    /// Over these workers.
    pub fn new(vitals: Vitals) -> Self {
        Self { vitals, seen: [(0, 0); 5] }
    }

    /// One look, to be taken every [`LOOK`].
    pub fn look(&mut self) -> Option<Stuck> {
        let mut stuck = 0;
        for (nth, (pulse, (before, looks))) in (1_u64..).zip(self.vitals.pulses().into_iter().zip(&mut self.seen)) {
            let now = pulse.0.load(Ordering::Relaxed);
            *looks = if now == *before && now % 2 == 1 { looks.saturating_add(1) } else { 0 };
            *before = now;
            if stuck == 0 && *looks >= STUCK {
                stuck = (nth << 32) | u64::from(*looks);
            }
        }
        self.vitals.stuck.store(stuck, Ordering::Relaxed);
        self.vitals.stuck()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_works_at_one_thing_for_a_minute_is_stuck_and_who_rests_or_goes_on_is_not() {
        let vitals = Vitals::default();
        let mut dog = Watchdog::new(vitals.clone());
        vitals.gate.works();
        vitals.gate.rests();
        for _ in 0..100 {
            vitals.reconcile.works();
            assert_eq!(dog.look(), None);
        }
        vitals.reconcile.rests();
        vitals.respond.works();
        assert!((0..STUCK).all(|_| dog.look().is_none()));
        let stuck = dog.look().expect("for a minute");
        assert_eq!((stuck.worker, stuck.is_dead(), vitals.stuck()), ("respond", false, Some(stuck)));
        assert_eq!(stuck.time(), Duration::from_secs(60));
        let later = (0..DEAD).filter_map(|_| dog.look()).last();
        assert!(later.is_some_and(Stuck::is_dead));
        vitals.journal.works();
        assert_eq!((0..=STUCK).filter_map(|_| dog.look()).last().map(|it| it.worker), Some("journal"), "the cause");
        vitals.journal.rests();
        vitals.respond.rests();
        assert_eq!((dog.look(), vitals.stuck()), (None, None), "it goes on");
    }
}
