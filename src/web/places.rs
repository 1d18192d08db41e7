//! What clients may hold of something: so much in all, and of that so much for one peer, so that nobody takes all.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::problem::Problem;
use crate::edge::Peer;

/// What there is of it, and who holds how much.
pub(super) struct Places {
    /// What a refusal calls those that are taken: `streams`.
    what: &'static str,
    all: usize,
    of_one_peer: usize,
    taken: Mutex<HashMap<Peer, usize>>,
}

/// Some of them, for as long as it lives.
pub(super) struct Place {
    of: Arc<Places>,
    peer: Peer,
    many: usize,
}

impl Places {
    pub(super) fn new(what: &'static str, all: usize, of_one_peer: usize) -> Self {
        Self { what, all, of_one_peer, taken: Mutex::default() }
    }

    /// So many places, or 503.
    pub(super) fn take(self: &Arc<Self>, peer: Peer, many: usize) -> Result<Place, Problem> {
        let mut taken = self.taken();
        let refused = |detail: String| Err(Problem::unavailable(detail).with(axum::http::header::RETRY_AFTER, "10"));
        let (own, all) = (taken.get(&peer).copied().unwrap_or(0), taken.values().sum::<usize>());
        if own.saturating_add(many) > self.of_one_peer {
            return refused(format!(
                "{own} {} of your address are open already, the most that one may have; close one, or ask again later",
                self.what
            ));
        }
        if all.saturating_add(many) > self.all {
            return refused(format!("{all} {} are open already; close one, or ask again later", self.what));
        }
        *taken.entry(peer).or_default() += many;
        Ok(Place { of: Arc::clone(self), peer, many })
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
            *own = own.saturating_sub(self.many);
            if *own == 0 {
                taken.remove(&self.peer);
            }
        }
    }
}
