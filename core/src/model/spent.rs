//! How much was written down of late of what one receiver told: a bucket that empties by the hour. A storm has room in it; what
//! goes on day and night, such as one alert that comes and goes, fills no disk.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Labels, Name, ResponseMemory, Signal};

/// What is written beside the texts of a signal, and for an id of a delivery.
const OF_SIGNAL: u64 = 256;
const OF_ID: u64 = 64;

/// How much one receiver has had written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spent {
    /// So many bytes are in the bucket.
    pub bytes: u64,
    /// As of then.
    pub at: Timestamp,
}

impl Spent {
    /// So much is taken at once: more than the alerts that are remembered of one receiver can say.
    pub const MOST: u64 = 256 << 20;
    /// So much more of what needs little: that an alert still fires, that a delivery brought nothing.
    pub const RESERVE: u64 = 16 << 20;
    /// So much is taken for ever.
    pub const PER_SECOND: u64 = 32 << 10;

    fn left(self, now: Timestamp) -> u64 {
        let since = u64::try_from(now.duration_since(self.at).as_millis()).unwrap_or(0);
        self.bytes.saturating_sub(since.saturating_mul(Self::PER_SECOND) / 1_000)
    }
}

impl ResponseMemory {
    /// How much of a receiver's bucket is full.
    pub fn spent_of(&self, receiver: &Name, now: Timestamp) -> u64 {
        self.spent.get(receiver).map_or(0, |spent| spent.left(now))
    }

    /// Counts what was written down of a delivery, and forgets the receivers whose bucket is empty.
    pub fn spend(&mut self, receiver: &Name, (ids, signals): (usize, &[Signal]), now: Timestamp) {
        let texts = signals.iter().map(|signal| OF_SIGNAL + written(signal)).sum::<u64>();
        let more = OF_SIGNAL + OF_ID * u64::try_from(ids).unwrap_or(u64::MAX) + texts;
        let bytes = self.spent_of(receiver, now).saturating_add(more);
        self.spent.retain(|_, spent| spent.left(now) > 0);
        self.spent.insert(receiver.clone(), Spent { bytes, at: now });
    }
}

/// What the texts of a signal take as JSON.
fn written(signal: &Signal) -> u64 {
    let alert = match signal {
        Signal::Firing(alert) => alert,
        Signal::Still { name, .. } | Signal::Resolved { name, .. } | Signal::Silenced { name, .. } => {
            return name.as_deref().map_or(0, escaped);
        }
    };
    let of = |texts: &Labels| texts.iter().map(|(name, value)| escaped(name) + escaped(value)).sum::<u64>();
    of(&alert.labels) + of(&alert.annotations) + alert.url.as_deref().map_or(0, escaped)
}

fn escaped(text: &str) -> u64 {
    let of = |byte| match byte {
        0..0x20 => 6,
        b'"' | b'\\' => 2,
        _ => 1,
    };
    text.bytes().map(of).sum()
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;

    #[test]
    fn a_bucket_empties_with_time_and_never_below_nothing() {
        let (mut memory, receiver) = (ResponseMemory::default(), Name::new("am").unwrap());
        let at = |secs| Timestamp::UNIX_EPOCH.saturating_add(SignedDuration::from_secs(secs)).unwrap();
        let over = |n: usize| {
            vec![
                Signal::Silenced {
                    source: receiver.clone(),
                    fingerprint: super::super::Fingerprint::of(&Labels::new()),
                    name: None,
                };
                n
            ]
        };
        memory.spend(&receiver, (0, &over(1_023)), at(0));
        assert_eq!(memory.spent_of(&receiver, at(0)), 256 << 10);
        assert_eq!(memory.spent_of(&receiver, at(2)), 192 << 10);
        assert_eq!((memory.spent_of(&receiver, at(9)), memory.spent_of(&receiver, at(-9))), (0, 256 << 10));
        memory.spend(&Name::new("other").unwrap(), (2, &[]), at(9));
        assert_eq!(memory.spent.len(), 1, "an empty one is forgotten");
    }
}
