//! Which deliveries were taken lately, so that one that is sent again, by a sender that missed the answer or by somebody
//! who listened, changes nothing.

use std::collections::{HashMap, VecDeque};

use codeops_core::model::Name;
use jiff::{SignedDuration, Timestamp};
use sha2::{Digest as _, Sha256};

use super::log::Entry;
use super::record::Record;

/// How long a delivery is known.
const KNOWN: SignedDuration = SignedDuration::from_hours(24);

/// How many are known at most: the newest.
const MOST: usize = 100_000;

type Hash = [u8; 16];

/// The hash of one id that a receiver was given, 32 hex: of the id, under the receiver's name.
pub fn delivery_id(receiver: &Name, id: &str) -> String {
    let hash = Sha256::new().chain_update(receiver.as_str()).chain_update([0]).chain_update(id).finalize();
    hex::encode(&hash[..16])
}

/// The deliveries of a day, at most 100,000. Each has a number, 1, 2, 3…, by which a store keeps it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Deliveries {
    /// How many have come before the first in `order`.
    gone: u64,
    order: VecDeque<(Hash, Timestamp)>,
    /// The number of the newest of each.
    numbers: HashMap<Hash, u64>,
}

impl Deliveries {
    /// Whether all of these were seen within the day before `now`; never of none.
    pub fn knows(&self, ids: &[String], now: Timestamp) -> bool {
        let since = now.saturating_sub(KNOWN).unwrap_or(Timestamp::MIN);
        !ids.is_empty() && ids.iter().all(|id| hash(id).is_some_and(|hash| self.at(&hash) > Some(since)))
    }

    /// Takes in what an entry says was delivered, and lets go of what is too old or too many. Answers the numbers that
    /// came; those below [`Deliveries::oldest`] are gone.
    pub fn fold(&mut self, entry: &Entry) -> Vec<u64> {
        let Record::Alerts { delivery, .. } = &entry.record else { return Vec::new() };
        let hashes = delivery.iter().filter_map(|id| hash(id));
        let came = hashes.map(|hash| self.insert(hash, entry.at)).collect();
        let since = entry.at.saturating_sub(KNOWN).unwrap_or(Timestamp::MIN);
        while self.order.len() > MOST || self.order.front().is_some_and(|(_, at)| *at <= since) {
            self.forget();
        }
        came
    }

    /// Takes in one that a store kept under this number; they come in the order of the numbers.
    pub fn restore(&mut self, number: u64, hash: [u8; 16], at: Timestamp) {
        if self.order.is_empty() {
            self.gone = number.saturating_sub(1);
        }
        self.insert(hash, at);
    }

    /// The number of the oldest that is known, or of the next to come.
    pub fn oldest(&self) -> u64 {
        self.gone + 1
    }

    /// What is known under a number.
    pub fn get(&self, number: u64) -> Option<([u8; 16], Timestamp)> {
        self.order.get(usize::try_from(number.checked_sub(self.oldest())?).ok()?).copied()
    }

    fn at(&self, hash: &Hash) -> Option<Timestamp> {
        self.get(*self.numbers.get(hash)?).map(|(_, at)| at)
    }

    fn insert(&mut self, hash: Hash, at: Timestamp) -> u64 {
        self.order.push_back((hash, at));
        let number = self.gone + self.order.len() as u64;
        self.numbers.insert(hash, number);
        number
    }

    fn forget(&mut self) {
        let Some((hash, _)) = self.order.pop_front() else { return };
        self.gone += 1;
        if self.numbers.get(&hash) == Some(&self.gone) {
            self.numbers.remove(&hash);
        }
    }
}

fn hash(id: &str) -> Option<Hash> {
    let mut hash = Hash::default();
    hex::decode_to_slice(id, &mut hash).ok().map(|()| hash)
}
