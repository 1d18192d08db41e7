//! The durable intake: what a receiver delivered is on the disk before its sender is told so, once, and without what is
//! known already.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};

use codeops_core::model::{Alert, AlertId, AlertMemory, AlertState, Kept, Name, ResponseMemory, Signal, Spent};
use jiff::{SignedDuration, Timestamp};

use super::delivery::delivery_id;
use super::fold_response::{is_open, of_fingerprint};
use super::log::LogError;
use super::record::Record;
use super::room::leave_out;
use super::writer::Journal;

/// What became of a delivery. Whoever has one may tell the sender that it was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    /// It was taken before, within a day.
    pub duplicate: bool,
    /// How many of its signals said something new.
    pub new: usize,
}

/// What is known of alerts on their way in, for as long as the process lives.
#[derive(Debug, Default)]
pub(super) struct Incoming {
    /// Since when sources of alerts that count as silenced have not answered whether they still hold them back.
    unheard: Mutex<BTreeMap<AlertId, Timestamp>>,
}

impl Journal {
    /// Takes what a receiver delivered. `ids` are those that its sender gave the delivery, none if it gives none;
    /// `spoiled` counts elements that could not be read. What says nothing new, such as an alert that still fires, is
    /// left out, so that senders that repeat themselves do not fill the journal. Durable when it returns.
    ///
    /// # Errors
    /// [`LogError::Overloaded`] at once when too much waits, and as [`Journal::record`]: then nothing of it was taken,
    /// and the sender is to try again. [`LogError::Full`] where more is remembered of the receiver's alerts, or was written down
    /// of them of late, than may be: then what is over was taken, and what fires anew was not.
    pub async fn receive(
        &self,
        receiver: &Name,
        ids: &[String],
        signals: Vec<Signal>,
        spoiled: u32,
    ) -> Result<Receipt, LogError> {
        let delivery: Vec<String> = ids.iter().map(|id| delivery_id(receiver, id)).collect();
        let (nothing, mut signals) = (delivery.is_empty() && spoiled == 0, signals);
        // Asked before the memory is read: what is shown in between was on its way.
        let behind = self.log.is_behind();
        let left = match self.look(receiver, nothing, &mut signals, behind)? {
            Some(left) => left,
            None => {
                self.log.offer(Vec::new()).await?;
                self.look(receiver, nothing, &mut signals, false)?.unwrap_or_default()
            }
        };
        if left > 0 {
            // It comes again, and is no duplicate then: what closes alerts makes room, and must not wait for room.
            if !signals.is_empty() {
                let (receiver, delivery) = (receiver.clone(), Vec::new());
                self.log.offer(vec![Record::Alerts { receiver, delivery, signals, spoiled: 0 }]).await?;
            }
            return Err(LogError::Full);
        }
        let new = signals.len();
        if new == 0 && nothing {
            return Ok(Receipt { duplicate: false, new });
        }
        let record = Record::Alerts { receiver: receiver.clone(), delivery, signals, spoiled };
        let taken = self.log.offer(vec![record]).await?;
        Ok(taken.map_or(Receipt { duplicate: true, new: 0 }, |_| Receipt { duplicate: false, new }))
    }
}

impl Journal {
    /// Leaves out what says nothing new, and what there is no room for: answers how many of those. `None` where the memory is
    /// `behind` and something would be left out: what is on its way may make it new, also where its sender has given up. It is to
    /// be judged by what the memory shows after that; what comes in later is told at the same time, in no order.
    fn look(
        &self,
        receiver: &Name,
        nothing: bool,
        signals: &mut Vec<Signal>,
        behind: bool,
    ) -> Result<Option<usize>, LogError> {
        let memory = self.log.memory();
        let memory = memory.read().unwrap_or_else(PoisonError::into_inner);
        let (response, now) = (&memory.response, self.log.now());
        if keep_new(response, signals, now, behind) {
            return Ok(None);
        }
        let left = leave_out(response, receiver, signals, now);
        let tells_nothing = signals.is_empty() && !nothing;
        if left == 0 && tells_nothing && response.spent_of(receiver, now) >= Spent::MOST + Spent::RESERVE {
            return Err(LogError::Full);
        }
        Ok(Some(left))
    }
}

/// So long what counts as silenced is believed to be, though its source does not answer whether it still is.
const BELIEVED: SignedDuration = SignedDuration::from_mins(5);

impl Journal {
    /// Remembers which of these alerts that count as silenced, or are over, their sources said something of when asked.
    pub fn asked<'a>(&self, alerts: impl Iterator<Item = (&'a AlertId, bool)>) {
        let now = self.log.now();
        let mut unheard = self.incoming.unheard.lock().unwrap_or_else(PoisonError::into_inner);
        for (alert, said) in alerts {
            if said {
                unheard.remove(alert);
            } else {
                unheard.entry(alert.clone()).or_insert(now);
            }
        }
        let memory = self.log.memory();
        let memory = memory.read().unwrap_or_else(PoisonError::into_inner);
        unheard.retain(|alert, _| memory.response.alerts.contains_key(alert));
    }

    /// Whether an alert counts as silenced at its source, and that was heard of not long ago.
    pub fn is_silenced(&self, alert: &AlertId) -> bool {
        let since = self.incoming.unheard.lock().unwrap_or_else(PoisonError::into_inner).get(alert).copied();
        let believed = since.is_none_or(|since| self.log.now().duration_since(since) < BELIEVED);
        let memory = self.log.memory();
        let memory = memory.read().unwrap_or_else(PoisonError::into_inner);
        believed && memory.response.alerts.get(alert).is_some_and(|known| known.state == AlertState::Silenced)
    }
}

/// So many alerts that do not matter any more are worth an entry; fewer go with the next that comes.
const WORTH: usize = 100;

impl Journal {
    /// Lets go of some of the alerts that do not matter any more, where they are many or a receiver is full: what is let go of
    /// otherwise goes with what comes in. Answers whether there may be more.
    ///
    /// # Errors
    /// As [`Journal::record`].
    pub async fn sweep(&self) -> Result<bool, LogError> {
        let now = self.log.now();
        let receiver = {
            let memory = self.log.memory();
            let memory = memory.read().unwrap_or_else(PoisonError::into_inner);
            let response = &memory.response;
            let least = if response.kept.values().any(Kept::is_full) { 1 } else { WORTH };
            let mut gone = response.alerts.values().filter(|it| !response.matters(it, now)).take(least);
            let first = gone.next().map(|it| it.alert.receiver.clone());
            first.filter(|_| gone.count() + 1 == least)
        };
        let Some(receiver) = receiver else { return Ok(false) };
        let record = Record::Alerts { receiver, delivery: Vec::new(), signals: Vec::new(), spoiled: 0 };
        self.record(vec![record]).await.map(|_| true)
    }
}

/// Keeps the signals that say something new. While the memory is `behind`, all of them are kept as they are, and the answer says
/// whether any of them would be left out or shortened by what it shows. Each fingerprint is looked up once: a delivery may name
/// the same one as often as it has room for.
fn keep_new(memory: &ResponseMemory, signals: &mut Vec<Signal>, now: Timestamp, behind: bool) -> bool {
    let (mut open, mut doubted) = (HashMap::new(), false);
    signals.retain(|signal| {
        let new = match signal {
            Signal::Firing(alert) => {
                open.insert((alert.id.source.clone(), alert.id.fingerprint.clone()), true);
                memory.alerts.get(&alert.id).is_none_or(|known| says_more(known, alert, now))
            }
            Signal::Still { .. } => true,
            Signal::Resolved { source, fingerprint, .. } | Signal::Silenced { source, fingerprint, .. } => {
                let is_open = || of_fingerprint(&memory.alerts, source, fingerprint).any(|(_, known)| is_open(known));
                *open.entry((source.clone(), fingerprint.clone())).or_insert_with(is_open)
            }
        };
        doubted |= behind && (!new || still(memory, signal).is_some());
        new || behind
    });
    if doubted {
        return true;
    }
    // The hash of its labels tells people nothing.
    for signal in signals {
        if let Some(still) = still(memory, signal) {
            *signal = still;
        }
        signal.name(|source, fingerprint| {
            of_fingerprint(&memory.alerts, source, fingerprint).last().map(|(_, known)| known.alert.name().to_owned())
        });
    }
    false
}

/// Of an alert that fires as it did, with another end: only that is written down.
fn still(memory: &ResponseMemory, signal: &Signal) -> Option<Signal> {
    let Signal::Firing(alert) = signal else { return None };
    let known = memory.alerts.get(&alert.id).filter(|known| !says_otherwise(known, alert))?;
    let (expires_at, name) = (alert.expires_at?, Some(known.alert.name().to_owned()));
    Some(Signal::Still { alert: alert.id.clone(), expires_at, name })
}

/// Whether the source says more of an alert than is known of it.
fn says_more(known: &AlertMemory, alert: &Alert, now: Timestamp) -> bool {
    says_otherwise(known, alert) || moves_expiry(known.alert.expires_at, alert.expires_at, now)
}

/// Whether it did not fire, or is told of in other words.
fn says_otherwise(known: &AlertMemory, alert: &Alert) -> bool {
    let before = &*known.alert;
    known.state != AlertState::Firing
        || (&before.labels, &before.annotations, &before.url) != (&alert.labels, &alert.annotations, &alert.url)
}

/// A later end is written down once less than half of its time is left by what is known: a source that repeats itself
/// every minute may miss a turn, and costs every other one.
fn moves_expiry(known: Option<Timestamp>, said: Option<Timestamp>, now: Timestamp) -> bool {
    let (Some(known), Some(said)) = (known, said) else { return said.is_some() };
    let left = |at: Timestamp| at.duration_since(now).max(SignedDuration::ZERO);
    let (known, said) = (left(known), left(said));
    known != said && known.min(said) <= known.max(said) / 2
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use codeops_core::model::{Fingerprint, Labels};

    use super::*;

    /// Compared each with each, these took minutes, and nobody else's alerts came in meanwhile.
    #[test]
    fn a_delivery_of_many_that_fire_and_are_over_is_looked_through_once() {
        const MANY: i64 = 120_000;
        let (source, receiver) = (Name::new("main").unwrap(), Name::new("alertmanager").unwrap());
        let labels = |of: i64| Labels::from([("host".to_owned(), of.to_string())]);
        let firing = |of: i64| {
            let labels = labels(of);
            let fingerprint = Fingerprint::of(&labels);
            let id = AlertId { source: source.clone(), fingerprint, starts_at: Timestamp::UNIX_EPOCH };
            let (receiver, annotations) = (receiver.clone(), Labels::new());
            Alert { id, receiver, labels, annotations, url: None, expires_at: None }
        };
        let resolved = |of: i64, ended: i64| Signal::Resolved {
            source: source.clone(),
            fingerprint: Fingerprint::of(&labels(of)),
            starts_at: None,
            ended_at: Timestamp::from_second(ended).unwrap(),
            name: None,
        };
        let now = Timestamp::from_second(MANY).unwrap();
        let mut memory = ResponseMemory::default();
        let fires = (0..MANY).map(|of| Signal::Firing(Arc::new(firing(of))));
        let mut told = fires.chain((0..2 * MANY).map(|of| resolved(of, MANY))).collect();
        assert!(keep_new(&memory, &mut told, now, true) && told.len() == 360_000, "what is on its way may open it");
        assert!(!keep_new(&memory, &mut told, now, false));
        assert_eq!(told.len(), 240_000, "what closes an alert that is not known is left out");

        // The same for many of one fingerprint, which are over already.
        for began in 0..MANY {
            let mut alert = firing(0);
            alert.id.starts_at = Timestamp::from_second(began).unwrap();
            let (state, disposition) = (AlertState::Resolved, codeops_core::model::Disposition::Received);
            let alert = Arc::new(alert);
            memory.put_alert(Arc::new(AlertMemory {
                alert,
                state,
                since: now,
                received_at: now,
                disposition,
                asked: false,
            }));
        }
        let mut told = (0..MANY).map(|at| resolved(0, at)).collect();
        assert!(!keep_new(&memory, &mut told, now, false) && told.is_empty());
    }
}
