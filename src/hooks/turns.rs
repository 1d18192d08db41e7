//! How much is done at once: of all senders together, and of each receiver less, so that one never has all. Who waits for one of
//! the few turns waits among those of its receiver first.

use tokio::sync::{Semaphore, SemaphorePermit};

/// Large deliveries read at once: each may be many alerts in memory.
const BIG: usize = 2;
/// Answers of monitoring systems in memory at once: one may be large.
const PULLS: usize = 2;

/// The turns of all, or of one receiver.
#[derive(Debug)]
pub(super) struct Turns {
    /// Deliveries taken in the same moment.
    places: Semaphore,
    big: Semaphore,
    pulls: Semaphore,
}

/// One of those of all and one of the receiver's own, until it is dropped.
pub(super) type Turn<'t> = [SemaphorePermit<'t>; 2];

impl Turns {
    /// Those of all.
    pub(super) fn of_all(places: usize) -> Self {
        Self::new(places, BIG, PULLS)
    }

    /// Those of one receiver, of which all have so many.
    pub(super) fn of_one(places: usize) -> Self {
        Self::new(places.div_ceil(2), BIG / 2, PULLS / 2)
    }

    fn new(places: usize, big: usize, pulls: usize) -> Self {
        Self { places: Semaphore::new(places), big: Semaphore::new(big), pulls: Semaphore::new(pulls) }
    }

    /// A place for a delivery of the receiver whose own turns these are, if one is free.
    pub(super) fn place<'t>(&'t self, all: &'t Self) -> Option<Turn<'t>> {
        Some([self.places.try_acquire().ok()?, all.places.try_acquire().ok()?])
    }

    /// A turn at a large delivery.
    pub(super) async fn big<'t>(&'t self, all: &'t Self) -> Option<Turn<'t>> {
        Some([self.big.acquire().await.ok()?, all.big.acquire().await.ok()?])
    }

    /// A turn at asking for what was left out.
    pub(super) async fn pull<'t>(&'t self, all: &'t Self) -> Option<Turn<'t>> {
        Some([self.pulls.acquire().await.ok()?, all.pulls.acquire().await.ok()?])
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn one_receiver_never_has_all() {
        let (all, [a, b]) = (Turns::of_all(4), [(); 2].map(|()| Turns::of_one(4)));
        let places = [a.place(&all), a.place(&all)];
        assert!(places.iter().all(Option::is_some) && a.place(&all).is_none());
        assert!(b.place(&all).is_some());
        let pull = a.pull(&all).now_or_never();
        assert!(pull.is_some() && a.pull(&all).now_or_never().is_none(), "it waits for its own");
        assert!(b.pull(&all).now_or_never().is_some());
        let big = a.big(&all).now_or_never();
        assert!(big.is_some() && a.big(&all).now_or_never().is_none() && b.big(&all).now_or_never().is_some());
        assert!(Turns::of_one(1).place(&Turns::of_all(1)).is_some());
    }
}
