//! Places for streams: so many in all, and of them so many for one peer, so that nobody takes all.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::problem::Problem;
use crate::edge::Peer;

/// All places, and who has them.
pub(super) struct Places {
    all: usize,
    of_one_peer: usize,
    taken: Mutex<HashMap<Peer, usize>>,
}

/// One of them, for as long as it is held.
pub(super) struct Place {
    of: Arc<Places>,
    peer: Peer,
}

impl Places {
    pub(super) fn new(all: usize, of_one_peer: usize) -> Self {
        Self { all, of_one_peer, taken: Mutex::default() }
    }

    /// A place, or 503.
    pub(super) fn take(self: &Arc<Self>, peer: Peer) -> Result<Place, Problem> {
        let mut taken = self.taken();
        let refused = |detail: String| Err(Problem::unavailable(detail).with(axum::http::header::RETRY_AFTER, "10"));
        if taken.get(&peer).is_some_and(|own| *own >= self.of_one_peer) {
            let most = self.of_one_peer;
            return refused(format!(
                "{most} streams of your address are open already, the most that one may have; close one, or ask again later"
            ));
        }
        if taken.values().sum::<usize>() >= self.all {
            return refused(format!("{} streams are open already; close one, or ask again later", self.all));
        }
        *taken.entry(peer).or_default() += 1;
        Ok(Place { of: Arc::clone(self), peer })
    }

    /// How many are taken.
    pub(super) fn count(&self) -> usize {
        self.taken().values().sum()
    }

    fn taken(&self) -> MutexGuard<'_, HashMap<Peer, usize>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.of.taken();
        if let Some(own) = taken.get_mut(&self.peer) {
            *own -= 1;
            if *own == 0 {
                taken.remove(&self.peer);
            }
        }
    }
}
