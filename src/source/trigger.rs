//! When to look at the repository: a poll with jitter, a push hook, a change of a local folder's refs. Reasons coalesce: many
//! pushes in one moment are one look. It looks at nothing itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// Why to look now. For logs: the look is the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// An authenticated push hook.
    Hook,
    /// The local folder's refs changed.
    Watch,
    /// It is time.
    Poll,
}

impl Reason {
    /// The word for logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hook => "hook",
            Self::Watch => "watch",
            Self::Poll => "poll",
        }
    }

    fn bit(self) -> u8 {
        match self {
            Self::Hook => 1,
            Self::Watch => 2,
            Self::Poll => 4,
        }
    }
}

/// Says "look now"; any number of clones.
#[derive(Debug, Clone, Default)]
pub struct Trigger(Arc<Pending>);

#[derive(Debug, Default)]
struct Pending {
    reasons: AtomicU8,
    notify: Notify,
}

impl Trigger {
    /// Asks for a look, soon, for this reason. Never blocks.
    pub fn fetch_now(&self, reason: Reason) {
        self.0.reasons.fetch_or(reason.bit(), Ordering::AcqRel);
        self.0.notify.notify_one();
    }

    /// Takes all reasons given so far and names the one that says most.
    fn take(&self) -> Option<Reason> {
        let reasons = self.0.reasons.swap(0, Ordering::AcqRel);
        [Reason::Hook, Reason::Watch, Reason::Poll].into_iter().find(|reason| reasons & reason.bit() != 0)
    }
}

/// The reconcile loop's end: the next reason to look.
#[derive(Debug)]
pub struct Triggers {
    trigger: Trigger,
    poll: Duration,
    seed: u64,
    next_poll: Instant,
}

impl Triggers {
    /// Polls every `poll`, give or take a tenth, from now on. Equal seeds give equal times.
    pub fn new(poll: Duration, seed: u64) -> Self {
        let mut triggers = Self { trigger: Trigger::default(), poll, seed, next_poll: Instant::now() };
        triggers.schedule();
        triggers
    }

    /// A seed from the system; 0 where it gives none, which only makes several daemons poll in step.
    pub fn random_seed() -> u64 {
        crate::base::random().map(u64::from_le_bytes).unwrap_or_default()
    }

    /// The handle that hooks and watches hold.
    pub fn trigger(&self) -> Trigger {
        self.trigger.clone()
    }

    /// Waits for the next reason. The next poll is counted from here. Safe to drop: no reason is lost.
    pub async fn next(&mut self) -> Reason {
        let reason = loop {
            if let Some(reason) = self.trigger.take() {
                break reason;
            }
            tokio::select! {
                () = self.trigger.0.notify.notified() => {}
                () = tokio::time::sleep_until(self.next_poll) => break Reason::Poll,
            }
        };
        self.schedule();
        reason
    }

    fn schedule(&mut self) {
        self.next_poll = Instant::now() + jittered(self.poll, &mut self.seed);
    }
}

/// `base` give or take a tenth, by splitmix64.
fn jittered(base: Duration, seed: &mut u64) -> Duration {
    *seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *seed;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^= z >> 31;
    let permille = u32::try_from(z % 201).unwrap_or_default() + 900;
    base.saturating_mul(permille) / 1_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn polls_stay_within_a_tenth_and_differ() {
        let mut triggers = Triggers::new(Duration::from_secs(30), 7);
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..50 {
            let before = Instant::now();
            assert_eq!(triggers.next().await, Reason::Poll);
            let took = before.elapsed();
            assert!(took >= Duration::from_secs(27) && took <= Duration::from_millis(33_010), "{took:?}");
            seen.insert(took.as_millis());
        }
        assert!(seen.len() > 10, "{seen:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn many_pushes_are_one_look_and_none_is_lost() {
        let mut triggers = Triggers::new(Duration::from_secs(30), 7);
        let trigger = triggers.trigger();
        for _ in 0..100 {
            trigger.fetch_now(Reason::Watch);
            trigger.fetch_now(Reason::Hook);
        }
        assert_eq!(triggers.next().await, Reason::Hook);
        assert_eq!(triggers.next().await, Reason::Poll);
        // A wait that is dropped half way takes no reason with it.
        drop(tokio::time::timeout(Duration::ZERO, triggers.next()).await);
        trigger.fetch_now(Reason::Watch);
        assert_eq!(triggers.next().await, Reason::Watch);
    }
}
