//! The part of the fold that answers alerts: what of alerts, runs, pages, ledgers and schedules is remembered. As pure as
//! the rest of it, and what it does for one entry is bounded by what the entry says.

mod alerts;
#[cfg(test)]
mod many;
mod runs;
#[cfg(test)]
mod tests;

use codeops_core::model::{Ledger, ResponseMemory, Subject, Taken};
use jiff::{SignedDuration, Timestamp};

use self::alerts::Standing;
pub(super) use self::alerts::{is_open, of_fingerprint};
use super::fold::{Change, Folded};
use super::log::Entry;
use super::record::Record;

/// How long a run's end counts.
const MATTERS: SignedDuration = SignedDuration::from_hours(1);

/// How many alerts one entry looks at, to see whether they still matter.
const SWEPT: usize = 8;

/// The same of a delivery, beside two for each alert that it names: more than it can bring.
const SWEPT_BY_DELIVERY: usize = 2;

/// How many are let go of by an entry that is there for that alone.
const SWEPT_AT_ONCE: usize = 1_000;

/// Folds one entry.
pub(super) fn fold_response(memory: &mut ResponseMemory, entry: &Entry, folded: &mut Folded) {
    let mut fold = Fold { memory, at: entry.at, folded };
    match &entry.record {
        // That nothing came says that there is something to let go of.
        Record::Alerts { delivery, signals, spoiled: 0, .. } if delivery.is_empty() && signals.is_empty() => {
            fold.sweep_all(SWEPT_AT_ONCE);
        }
        Record::Alerts { receiver, delivery, signals, .. } => {
            fold.memory.spend(receiver, (delivery.len(), signals), fold.at);
            fold.changed(Change::Spent);
            let mut standing = Standing::default();
            signals.iter().for_each(|signal| fold.signal(signal, &mut standing));
            fold.sweep(SWEPT_BY_DELIVERY + 2 * signals.len());
        }
        Record::AlertState { alerts, state, .. } => alerts.iter().for_each(|id| fold.is_now(id, *state, true)),
        Record::Disposed { alerts, disposition } => {
            alerts.iter().for_each(|id| fold.alert(id, |alert| alert.disposition = disposition.clone()));
            fold.sweep(SWEPT);
        }
        Record::Run { run, event, .. } => {
            fold.run(*run, event);
            fold.sweep(SWEPT);
        }
        Record::Page { page, event } => fold.page(*page, event),
        Record::Scheduled { playbook, due, of, .. } => {
            let last = fold.memory.schedules.entry(playbook.clone());
            let last = last.or_insert_with(|| Taken::new(Timestamp::MIN, of.clone()));
            let same = of.is_none() || last.of.is_none() || last.of == *of;
            last.due = if same { last.due.max(*due) } else { *due };
            last.told = last.told.take().filter(|_| same);
            last.of = of.clone().or_else(|| last.of.take());
            last.failing = last.failing.take().filter(|_| !last.is_gone());
            fold.changed(Change::Schedule(playbook.clone()));
        }
        Record::Watchdog { receiver } => {
            fold.memory.watchdogs.insert(receiver.clone(), entry.at);
            fold.changed(Change::Watchdog(receiver.clone()));
            fold.sweep(SWEPT);
        }
        Record::Latched { subject } => fold.ledger(subject, |ledger, at| {
            ledger.latched_at.get_or_insert(at);
        }),
        // Tried anew, as if nothing had been tried before.
        Record::Unlatched { subject, .. } => fold.ledger(subject, |ledger, _| *ledger = Ledger::default()),
        Record::Forgotten { resource } | Record::Unpinned { resource, .. } => {
            fold.ledger(&Subject::Resource(resource.clone()), |ledger, _| *ledger = Ledger::default());
        }
        Record::Renamed { from, resource } if from != resource => {
            let (from, to) = (Subject::Resource(from.clone()), Subject::Resource(resource.clone()));
            if let Some(ledger) = fold.memory.ledger.remove(&from) {
                fold.memory.ledger.insert(to.clone(), ledger);
                fold.changed(Change::Ledger(from));
                fold.changed(Change::Ledger(to));
            }
        }
        _ => {}
    }
}

/// The folding of one entry.
struct Fold<'a> {
    memory: &'a mut ResponseMemory,
    at: Timestamp,
    folded: &'a mut Folded,
}

impl Fold<'_> {
    fn changed(&mut self, change: Change) {
        self.folded.changes.push(change);
    }
}
