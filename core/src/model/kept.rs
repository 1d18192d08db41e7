//! How much is remembered of the alerts that one receiver brought, and where that has its bound: its secret may be known to
//! somebody who sends more than anybody needs, and what is remembered is in memory.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::{Alert, AlertId, AlertMemory, AlertState, Disposition, Labels, Name, ResponseMemory, Spent};

/// How long what is over is remembered: it may come back as the same alert.
const REMEMBERED: SignedDuration = SignedDuration::from_hours(1);

/// What is remembered of one receiver's alerts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Kept {
    /// How many: those that are not over, and those whose end is younger than an hour.
    pub alerts: usize,
    /// The bytes of what they say.
    pub bytes: usize,
}

impl Kept {
    /// How many alerts of one receiver are remembered. Those of a bad day are tens of thousands.
    pub const MOST_ALERTS: usize = 200_000;
    /// How many bytes of theirs.
    pub const MOST_BYTES: usize = 128 << 20;

    /// Whether its receiver is to bring no more for now. It may be over its bounds by as much as came in at once.
    pub fn is_full(&self) -> bool {
        self.alerts >= Self::MOST_ALERTS || self.bytes >= Self::MOST_BYTES
    }

    /// Whether there is room again, and not only for the next few: whoever was told that it is full is told so.
    pub fn has_room(&self) -> bool {
        self.alerts <= Self::MOST_ALERTS / 10 * 9 && self.bytes <= Self::MOST_BYTES / 10 * 9
    }
}

impl Alert {
    /// The bytes of what it says: its labels, its annotations and its address.
    pub fn bytes(&self) -> usize {
        let of = |texts: &Labels| texts.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>();
        of(&self.labels) + of(&self.annotations) + self.url.as_ref().map_or(0, String::len)
    }
}

impl ResponseMemory {
    /// Remembers an alert, or how it is now. What is counted of its receiver changes with it.
    pub fn put_alert(&mut self, alert: Arc<AlertMemory>) {
        let new = Arc::clone(&alert.alert);
        let before = self.alerts.insert(new.id.clone(), alert).map(|before| Arc::clone(&before.alert));
        if before.as_ref().is_some_and(|before| Arc::ptr_eq(before, &new)) {
            return;
        }
        if let Some(before) = before {
            self.uncount(&before);
        }
        let kept = self.kept.entry(new.receiver.clone()).or_default();
        kept.alerts += 1;
        kept.bytes += new.bytes();
    }

    /// Lets go of an alert.
    pub fn drop_alert(&mut self, id: &AlertId) -> Option<Arc<AlertMemory>> {
        let gone = self.alerts.remove(id)?;
        self.uncount(&gone.alert);
        Some(gone)
    }

    /// Whether an alert still matters: it is open, it may come back, or it is answered.
    pub fn matters(&self, alert: &AlertMemory, now: Timestamp) -> bool {
        let held_back = alert.state == AlertState::Silenced && !matches!(alert.disposition, Disposition::Left { .. });
        alert.state == AlertState::Firing
            || held_back
            || now.duration_since(alert.since) <= REMEMBERED
            || self.answers(&alert.disposition)
    }

    /// Whether a run that is not over is what became of an alert.
    pub fn answers(&self, disposition: &Disposition) -> bool {
        matches!(disposition, Disposition::Run { run } if self.runs.contains_key(run))
    }

    /// Whether that run has called a person.
    pub fn answers_by_a_call(&self, disposition: &Disposition) -> bool {
        let Disposition::Run { run } = disposition else { return false };
        self.runs.get(run).is_some_and(|run| run.has_called())
    }

    /// Whether a page is out that tells of an alert, of the run that became of it.
    pub fn tells_of(&self, alert: &AlertId, disposition: &Disposition) -> bool {
        let Disposition::Run { run } = disposition else { return false };
        let open = self.pages.values().map(|page| (page.run, &page.alerts));
        let mut out = open.chain(self.calls.values().map(|call| (call.run, &call.alerts)));
        out.any(|(of, alerts)| of == Some(*run) && alerts.contains(alert))
    }

    /// Whether a receiver is to bring no more for now: of its alerts as many are remembered, or as much was written down of late,
    /// as may be.
    pub fn is_full(&self, receiver: &Name, now: Timestamp) -> bool {
        self.kept_of(receiver).is_full() || self.spent_of(receiver, now) >= Spent::MOST
    }

    /// Whether there is room again, as [`Kept::has_room`].
    pub fn has_room(&self, receiver: &Name, now: Timestamp) -> bool {
        self.kept_of(receiver).has_room() && self.spent_of(receiver, now) <= Spent::MOST / 10 * 9
    }

    /// The receivers that are full.
    pub fn full(&self, now: Timestamp) -> BTreeSet<&Name> {
        self.kept.keys().chain(self.spent.keys()).filter(|receiver| self.is_full(receiver, now)).collect()
    }

    /// The receivers that are full and of whom a page tells so.
    pub fn told_full(&self) -> impl Iterator<Item = &Name> {
        let pages = self.pages.values().filter_map(|page| page.full.as_ref());
        pages.chain(self.calls.values().filter_map(|call| call.full.as_ref()))
    }

    /// How much is remembered of a receiver's alerts.
    pub fn kept_of(&self, receiver: &Name) -> Kept {
        self.kept.get(receiver).copied().unwrap_or_default()
    }

    fn uncount(&mut self, alert: &Alert) {
        let Some(kept) = self.kept.get_mut(&alert.receiver) else { return };
        kept.alerts = kept.alerts.saturating_sub(1);
        kept.bytes = kept.bytes.saturating_sub(alert.bytes());
        if kept.alerts == 0 {
            self.kept.remove(&alert.receiver);
        }
    }
}
