//! Delivery ids that were seen, the newest so many. Only ids of authentic requests come here.

use std::collections::{HashSet, VecDeque};

use sha2::{Digest as _, Sha256};

/// A bounded memory. Ids are kept as hashes: a long one costs no more than a short one.
#[derive(Debug)]
pub(super) struct Seen {
    most: usize,
    order: VecDeque<[u8; 16]>,
    known: HashSet<[u8; 16]>,
}

impl Seen {
    /// Remembers at most `most` ids; the oldest is forgotten first.
    pub(super) fn new(most: usize) -> Self {
        Self { most, order: VecDeque::new(), known: HashSet::new() }
    }

    /// Whether any of these ids was seen before.
    pub(super) fn knows(&self, ids: &[String]) -> bool {
        ids.iter().any(|id| self.known.contains(&hash(id)))
    }

    /// Remembers all of these ids.
    pub(super) fn remember(&mut self, ids: &[String]) {
        ids.iter().for_each(|id| self.insert(hash(id)));
    }

    fn insert(&mut self, key: [u8; 16]) {
        if !self.known.insert(key) {
            return;
        }
        self.order.push_back(key);
        if self.order.len() > self.most
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }
}

fn hash(id: &str) -> [u8; 16] {
    let mut key = [0; 16];
    key.copy_from_slice(&Sha256::digest(id)[..16]);
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_are_known_and_memory_is_bounded() {
        let mut seen = Seen::new(2);
        let mut again = |ids: &[&str]| {
            let ids: Vec<String> = ids.iter().map(|id| (*id).to_owned()).collect();
            let known = seen.knows(&ids);
            seen.remember(&ids);
            known
        };
        assert!(!again(&["a"]) && again(&["a"]) && !again(&["b"]) && again(&["b", "c"]));
        assert!(!again(&["a"]), "forgotten");
        assert!(!again(&[]) && !again(&[]), "without an id nothing is a duplicate");
        assert_eq!((seen.order.len(), seen.known.len()), (2, 2));
    }
}
