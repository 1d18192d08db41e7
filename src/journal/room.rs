//! Whether there is room for what a receiver tells: in the memory, and in what is written down for it of late.

use std::collections::{HashMap, HashSet};

use codeops_core::model::{Alert, AlertId, AlertState, Fingerprint, Kept, Name, ResponseMemory, Signal, Spent};
use jiff::{SignedDuration, Timestamp};

use super::fold_response::{is_open, of_fingerprint};

/// Leaves out what would add to the memory of a receiver that has its full share of it, or to the journal where as much was
/// written down for it of late as may be; says how many. What closes an alert that is open is taken all the same: it makes room,
/// and it closes it but once.
pub(super) fn leave_out(memory: &ResponseMemory, receiver: &Name, signals: &mut Vec<Signal>, now: Timestamp) -> usize {
    let spent = memory.spent_of(receiver, now);
    if spent < Spent::MOST && !memory.kept.values().any(Kept::is_full) {
        return 0;
    }
    let before = signals.len();
    if spent >= Spent::MOST + Spent::RESERVE {
        let mut closing = Closing { memory, open: HashMap::new(), taken: HashSet::new() };
        signals.retain(|signal| closing.needs(signal));
    } else {
        let fits = |alert: &Alert| spent < Spent::MOST && has_room(memory, receiver, alert);
        signals.retain(|signal| !matches!(signal, Signal::Firing(alert) if !fits(alert)));
    }
    before - signals.len()
}

/// Whether an alert adds nothing to a share of the memory that is full.
fn has_room(memory: &ResponseMemory, receiver: &Name, alert: &Alert) -> bool {
    let known = memory.alerts.get(&alert.id).map(|known| &known.alert);
    let counts_for = known.map_or(receiver, |known| &known.receiver);
    let grows = || known.is_none_or(|known| alert.bytes() > known.bytes());
    !memory.kept_of(counts_for).is_full() || !grows()
}

type Of = (Name, Fingerprint);

/// What of a delivery closes or holds back an alert: each of them once.
struct Closing<'m> {
    memory: &'m ResponseMemory,
    /// When the first that is open of a fingerprint began.
    open: HashMap<Of, Option<Timestamp>>,
    taken: HashSet<(Of, Option<Timestamp>, AlertState)>,
}

impl Closing<'_> {
    fn needs(&mut self, signal: &Signal) -> bool {
        match signal {
            Signal::Firing(_) | Signal::Still { .. } => false,
            Signal::Resolved { source, fingerprint, starts_at, ended_at, .. } => {
                let of = (source.clone(), fingerprint.clone());
                let closes = match starts_at {
                    Some(at) => self.is_open_at(&of, *at),
                    None => self.first_open(&of).is_some_and(|began| began <= *ended_at),
                };
                closes && self.taken.insert((of, *starts_at, AlertState::Resolved))
            }
            Signal::Silenced { source, fingerprint, .. } => {
                let of = (source.clone(), fingerprint.clone());
                self.taken.insert((of, None, AlertState::Silenced))
                    && of_fingerprint(&self.memory.alerts, source, fingerprint)
                        .any(|(_, known)| known.state == AlertState::Firing)
            }
        }
    }

    fn first_open(&mut self, of: &Of) -> Option<Timestamp> {
        let alerts = &self.memory.alerts;
        let first = || of_fingerprint(alerts, &of.0, &of.1).find(|(_, it)| is_open(it)).map(|(id, _)| id.starts_at);
        *self.open.entry(of.clone()).or_insert_with(first)
    }

    fn is_open_at(&self, (source, fingerprint): &Of, at: Timestamp) -> bool {
        let id = |starts_at| AlertId { source: source.clone(), fingerprint: fingerprint.clone(), starts_at };
        let millisecond = SignedDuration::from_millis(1);
        let from = at.checked_sub(millisecond).unwrap_or(Timestamp::MIN);
        let to = at.checked_add(millisecond).unwrap_or(Timestamp::MAX);
        let same = |id: &AlertId| id.starts_at.as_millisecond() == at.as_millisecond();
        self.memory.alerts.range(id(from)..=id(to)).any(|(id, known)| same(id) && is_open(known))
    }
}
