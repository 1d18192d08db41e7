//! Which deliveries were taken lately, so that one that is sent again, by a sender that missed the answer or by somebody
//! who listened, changes nothing.

use std::collections::{BTreeMap, HashMap, VecDeque};

use codeops_core::model::Name;
use jiff::{SignedDuration, Timestamp};
use sha2::{Digest as _, Sha256};

use super::log::Entry;
use super::record::Record;

/// How long a delivery is known.
const KNOWN: SignedDuration = SignedDuration::from_hours(24);

/// How many are known at most: the newest.
const MOST: usize = 100_000;

/// How many that are too old go with one entry: after a quiet day a hundred thousand may be.
const OLD: usize = 1_000;

type Hash = [u8; 16];

/// The hash of one id that a receiver was given, 32 hex: of the id, under the receiver's name.
pub fn delivery_id(receiver: &Name, id: &str) -> String {
    let hash = Sha256::new().chain_update(receiver.as_str()).chain_update([0]).chain_update(id).finalize();
    hex::encode(&hash[..16])
}

/// One delivery, as a store keeps it: under a number, 1, 2, 3….
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Its number.
    pub number: u64,
    /// Who was given it; a store that was written before this was kept does not say.
    pub receiver: Option<Name>,
    /// Of its id.
    pub hash: [u8; 16],
    /// When.
    pub at: Timestamp,
}

/// What a store is to write of the deliveries of an entry, in this order.
#[derive(Debug, Default)]
pub struct Came {
    /// Those that came.
    pub new: Vec<Delivery>,
    /// The numbers of those that are not known any more.
    pub gone: Vec<u64>,
}

/// The deliveries of a day, at most 100,000. Where there are more, those of the receiver that has most go first: one sender
/// cannot make the ids of another forgotten.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Deliveries {
    last: u64,
    known: usize,
    /// Of each receiver, oldest first.
    rings: BTreeMap<Option<Name>, VecDeque<(u64, Hash, Timestamp)>>,
    /// The number and the time of the newest of each.
    newest: HashMap<Hash, (u64, Timestamp)>,
}

impl Deliveries {
    /// Whether all of these were seen within the day before `now`; never of none.
    pub fn knows(&self, ids: &[String], now: Timestamp) -> bool {
        let since = now.saturating_sub(KNOWN).unwrap_or(Timestamp::MIN);
        let at = |hash: Hash| self.newest.get(&hash).map(|(_, at)| *at);
        !ids.is_empty() && ids.iter().all(|id| hash(id).is_some_and(|hash| at(hash) > Some(since)))
    }

    /// Takes in what an entry says was delivered, and lets go of what is too old or too many.
    pub fn fold(&mut self, entry: &Entry) -> Came {
        let Record::Alerts { receiver, delivery, .. } = &entry.record else { return Came::default() };
        let mut came = Came::default();
        for hash in delivery.iter().filter_map(|id| hash(id)) {
            let new = Delivery { number: self.last + 1, receiver: Some(receiver.clone()), hash, at: entry.at };
            self.restore(new.clone());
            came.new.push(new);
        }
        let since = entry.at.saturating_sub(KNOWN).unwrap_or(Timestamp::MIN);
        let (mut known, newest) = (self.known, &mut self.newest);
        let mut old = OLD;
        for ring in self.rings.values_mut() {
            while old > 0 && ring.front().is_some_and(|(_, _, at)| *at <= since) {
                old -= 1;
                known -= 1;
                came.gone.extend(forget(ring, newest));
            }
        }
        while known > MOST
            && let Some(ring) = self.rings.values_mut().max_by_key(|ring| ring.len())
        {
            known -= 1;
            came.gone.extend(forget(ring, newest));
        }
        self.known = known;
        self.rings.retain(|_, ring| !ring.is_empty());
        came
    }

    /// Takes in one that a store kept; they come in the order of their numbers.
    pub fn restore(&mut self, Delivery { number, receiver, hash, at }: Delivery) {
        self.last = number;
        self.known += 1;
        self.newest.insert(hash, (number, at));
        self.rings.entry(receiver).or_default().push_back((number, hash, at));
    }
}

/// Lets go of the oldest of a ring; says its number.
fn forget(ring: &mut VecDeque<(u64, Hash, Timestamp)>, newest: &mut HashMap<Hash, (u64, Timestamp)>) -> Option<u64> {
    let (number, hash, _) = ring.pop_front()?;
    if newest.get(&hash).is_some_and(|(newest, _)| *newest == number) {
        newest.remove(&hash);
    }
    Some(number)
}

fn hash(id: &str) -> Option<Hash> {
    let mut hash = Hash::default();
    hex::decode_to_slice(id, &mut hash).ok().map(|()| hash)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::Seq;

    fn deliver(known: &mut Deliveries, receiver: &str, id: u64, at: i64) -> Came {
        let receiver: Name = receiver.parse().expect("a name");
        let delivery = vec![delivery_id(&receiver, &id.to_string())];
        let record = Record::Alerts { receiver, delivery, signals: Vec::new(), spoiled: 0 };
        known.fold(&Entry { seq: Seq(id), at: Timestamp::from_second(at).expect("a time"), record })
    }

    fn knows(known: &Deliveries, receiver: &str, id: u64, at: i64) -> bool {
        let id = delivery_id(&receiver.parse().expect("a name"), &id.to_string());
        known.knows(&[id], Timestamp::from_second(at).expect("a time"))
    }

    #[test]
    fn one_sender_does_not_make_the_ids_of_another_forgotten() {
        let mut known = Deliveries::default();
        deliver(&mut known, "quiet", 1, 0);
        let most = MOST as u64;
        let gone: Vec<u64> = (0..most + 10).flat_map(|id| deliver(&mut known, "loud", id, 1).gone).collect();
        assert_eq!(gone, (2..13).collect::<Vec<u64>>(), "the oldest of the loud one");
        assert!(knows(&known, "quiet", 1, 2) && !knows(&known, "loud", 10, 2) && knows(&known, "loud", 11, 2));
        assert_eq!((known.known, known.newest.len()), (MOST, MOST));
    }

    #[test]
    fn after_a_day_ids_are_forgotten_a_thousand_at_a_time() {
        let mut known = Deliveries::default();
        (0..1_500).for_each(|id| drop(deliver(&mut known, "a", id, 0)));
        let day = 24 * 3_600;
        assert!(knows(&known, "a", 1_499, day - 1) && !knows(&known, "a", 1_499, day));
        assert_eq!(deliver(&mut known, "b", 1, day).gone.len(), OLD);
        assert_eq!(deliver(&mut known, "b", 2, day).gone.len(), 500);
        assert_eq!((known.known, known.rings.len()), (2, 1));
    }
}
