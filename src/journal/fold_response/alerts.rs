//! What of alerts is remembered: how each is, what became of it, and for how long it matters.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use codeops_core::model::{
    Alert, AlertId, AlertMemory, AlertState, Disposition, Fingerprint, Name, Page, PageId, Signal,
};
use jiff::{SignedDuration, Timestamp};

use super::Fold;
use crate::journal::fold::{Change, Over};

/// How soon the source of an alert that it held back tells of it again, where it tells when it expires.
const HEARD_WITHIN: SignedDuration = SignedDuration::from_mins(5);

const MILLISECOND: SignedDuration = SignedDuration::from_millis(1);

type Alerts = BTreeMap<AlertId, Arc<AlertMemory>>;

/// The alerts of one source with these labels, by when they began.
pub(in crate::journal) fn of_fingerprint<'a>(
    alerts: &'a Alerts,
    source: &Name,
    fingerprint: &Fingerprint,
) -> impl Iterator<Item = (&'a AlertId, &'a Arc<AlertMemory>)> {
    let at = |starts_at| AlertId { source: source.clone(), fingerprint: fingerprint.clone(), starts_at };
    alerts.range(at(Timestamp::MIN)..=at(Timestamp::MAX))
}

/// Whether its source's word that it is over would be news.
pub(in crate::journal) fn is_open(alert: &AlertMemory) -> bool {
    alert.state != AlertState::Resolved || alert.asked
}

/// What one delivery may still close or hold back of the fingerprints that it names. Each is looked up once, whatever the
/// delivery says of it and however many alerts have these labels: no sender's word costs all that came before it.
#[derive(Debug, Default)]
pub(super) struct Standing(HashMap<(Fingerprint, Name), Began>);

/// When the alerts of one fingerprint began.
#[derive(Debug, Default)]
struct Began {
    open: BTreeSet<Timestamp>,
    /// Those of them that fire.
    firing: BTreeSet<Timestamp>,
}

impl Standing {
    fn of(&mut self, alerts: &Alerts, source: &Name, fingerprint: &Fingerprint) -> &mut Began {
        self.0.entry((fingerprint.clone(), source.clone())).or_insert_with(|| {
            let of = || of_fingerprint(alerts, source, fingerprint);
            Began {
                open: of().filter(|(_, it)| is_open(it)).map(|(id, _)| id.starts_at).collect(),
                firing: of().filter(|(_, it)| it.state == AlertState::Firing).map(|(id, _)| id.starts_at).collect(),
            }
        })
    }

    fn fires(&mut self, id: &AlertId) {
        if let Some(began) = self.0.get_mut(&(id.fingerprint.clone(), id.source.clone())) {
            began.open.insert(id.starts_at);
            began.firing.insert(id.starts_at);
        }
    }
}

impl Began {
    /// Takes out what is over now: all that began no later, or only what began then.
    fn over(&mut self, began: Option<Timestamp>, ended_at: Timestamp) -> Vec<Timestamp> {
        let (first, last) = began.map_or((Timestamp::MIN, ended_at), |began| within_a_millisecond(began, ended_at));
        if first > last {
            return Vec::new();
        }
        let same = |at: &Timestamp| began.is_none_or(|began| began.as_millisecond() == at.as_millisecond());
        let over: Vec<Timestamp> = self.open.range(first..=last).filter(|at| same(at)).copied().collect();
        for at in &over {
            self.open.remove(at);
            self.firing.remove(at);
        }
        over
    }
}

fn within_a_millisecond(at: Timestamp, ended_at: Timestamp) -> (Timestamp, Timestamp) {
    let (before, after) = (at.checked_sub(MILLISECOND), at.checked_add(MILLISECOND));
    (before.unwrap_or(Timestamp::MIN), after.unwrap_or(Timestamp::MAX).min(ended_at))
}

impl Fold<'_> {
    pub(super) fn signal(&mut self, signal: &Signal, standing: &mut Standing) {
        let (source, fingerprint, state, times) = match signal {
            Signal::Firing(alert) => {
                standing.fires(&alert.id);
                return self.fires(alert);
            }
            Signal::Still { alert, expires_at, .. } => {
                let Some(known) = self.memory.alerts.get(alert) else { return };
                standing.fires(alert);
                let still = Alert { expires_at: Some(*expires_at), ..known.alert.as_ref().clone() };
                return self.fires(&Arc::new(still));
            }
            Signal::Resolved { source, fingerprint, starts_at, ended_at, .. } => {
                let over = standing.of(&self.memory.alerts, source, fingerprint).over(*starts_at, *ended_at);
                (source, fingerprint, AlertState::Resolved, over)
            }
            Signal::Silenced { source, fingerprint, .. } => {
                let firing = &mut standing.of(&self.memory.alerts, source, fingerprint).firing;
                let held_back = std::mem::take(firing).into_iter().collect();
                (source, fingerprint, AlertState::Silenced, held_back)
            }
        };
        for starts_at in times {
            let id = AlertId { source: source.clone(), fingerprint: fingerprint.clone(), starts_at };
            self.is_now(&id, state, false);
        }
    }

    fn fires(&mut self, alert: &Arc<Alert>) {
        let (at, id) = (self.at, &alert.id);
        let Some(known) = self.memory.alerts.get(id) else {
            let (state, disposition) = (AlertState::Firing, Disposition::Received);
            let alert = Arc::clone(alert);
            let new = AlertMemory { alert, state, since: at, received_at: at, disposition, asked: false };
            self.memory.put_alert(Arc::new(new));
            return self.changed(Change::Alert(id.clone()));
        };
        let mut told = known.as_ref().clone();
        told.alert = told_again(&known.alert, alert);
        if known.state != AlertState::Firing {
            (told.state, told.since, told.asked) = (AlertState::Firing, at, false);
            // One that was only out of sight for a while goes on with the run that answers it, or with the page that tells of it.
            let over = known.state == AlertState::Resolved;
            let paged = known.state == AlertState::Expired && self.memory.tells_of(id, &known.disposition);
            if over || !(paged || self.memory.answers(&known.disposition)) {
                told.disposition = Disposition::Received;
            }
        }
        if **known != told {
            self.memory.put_alert(Arc::new(told));
            self.changed(Change::Alert(id.clone()));
        }
    }

    /// How an alert is now, by its source's own word, or as it was found out: by asking, where it is over.
    pub(super) fn is_now(&mut self, id: &AlertId, state: AlertState, found: bool) {
        let at = self.at;
        let is_answered = self.memory.alerts.get(id).is_some_and(|it| self.memory.answers(&it.disposition));
        let has_called = self.memory.alerts.get(id).is_some_and(|it| self.memory.answers_by_a_call(&it.disposition));
        self.alert(id, |alert| {
            if alert.state == state {
                alert.asked &= found;
                return;
            }
            // Whoever was called may know that it is over.
            let anew = !is_answered || (alert.state == AlertState::Resolved && has_called);
            (alert.state, alert.since) = (state, at);
            alert.asked = found && state == AlertState::Resolved;
            if state != AlertState::Firing {
                return;
            }
            if anew {
                alert.disposition = Disposition::Received;
            }
            // What its source told of its end, while it was held back, was not listened to.
            if alert.alert.expires_at.is_some_and(|expires| expires <= at) {
                let expires_at = at.checked_add(HEARD_WITHIN).ok();
                alert.alert = Arc::new(Alert { expires_at, ..alert.alert.as_ref().clone() });
            }
        });
    }

    pub(super) fn alert(&mut self, id: &AlertId, change: impl FnOnce(&mut AlertMemory)) {
        let Some(known) = self.memory.alerts.get_mut(id) else { return };
        let mut after = known.as_ref().clone();
        change(&mut after);
        if **known != after {
            *known = Arc::new(after);
            self.changed(Change::Alert(id.clone()));
        }
    }

    /// Looks at the next few alerts and lets go of those that do not matter any more.
    pub(super) fn sweep(&mut self, most: usize) {
        let from = self.memory.swept.clone().map_or(Bound::Unbounded, Bound::Excluded);
        let mut looked = self.memory.alerts.range((from, Bound::Unbounded)).take(most + 1).peekable();
        let (mut last, mut gone) = (None, Vec::new());
        let mut left = most;
        while let Some((id, alert)) = looked.next_if(|_| left > 0) {
            left -= 1;
            if !self.memory.matters(alert, self.at) {
                gone.push(id.clone());
            }
            last = Some(id.clone());
        }
        let swept = looked.peek().and(last);
        self.let_go(gone);
        if self.memory.swept != swept {
            self.memory.swept = swept;
            self.changed(Change::Swept);
        }
    }

    /// Lets go of what does not matter any more, of all that are remembered: at most so many.
    pub(super) fn sweep_all(&mut self, most: usize) {
        let alerts = self.memory.alerts.iter();
        let gone = alerts.filter(|(_, alert)| !self.memory.matters(alert, self.at)).take(most);
        let gone = gone.map(|(id, _)| id.clone()).collect();
        self.let_go(gone);
    }

    fn let_go(&mut self, gone: Vec<AlertId>) {
        for id in gone {
            if let Some(alert) = self.memory.drop_alert(&id) {
                self.gone_for_calls(&id, alert.state);
                self.folded.over.push(Over::Alert(alert));
            }
            self.changed(Change::Alert(id));
        }
    }

    /// What is over for long is nothing that a call still waits for; what only expired is not known to be over. A call is
    /// written anew for the first such only: it may be about thousands.
    fn gone_for_calls(&mut self, id: &AlertId, state: AlertState) {
        let resolved = state == AlertState::Resolved;
        let calls = self.memory.calls.iter_mut();
        let changed = calls.filter_map(|(page, call)| match &mut call.lost {
            None => (resolved && call.alerts.remove(id)).then_some(*page),
            Some(lost) => (!resolved && !*lost && call.alerts.contains(id)).then(|| {
                *lost = true;
                *page
            }),
        });
        let changed: Vec<PageId> = changed.collect();
        changed.into_iter().for_each(|page| self.changed(Change::Call(page)));
        // Nor is a page that nobody has accepted yet over by it.
        let loses = |page: &Arc<Page>| !resolved && !page.lost && page.alerts.contains(id);
        let pages: Vec<PageId> = self.memory.pages.iter().filter(|(_, it)| loses(it)).map(|(page, _)| *page).collect();
        for page in pages {
            if let Some(known) = self.memory.pages.get_mut(&page) {
                Arc::make_mut(known).lost = true;
            }
            self.changed(Change::Page(page));
        }
    }
}

/// What is told of a known alert: by whom it first came in stays, and one who does not say when it expires takes nothing
/// back from one who does.
fn told_again(known: &Arc<Alert>, alert: &Arc<Alert>) -> Arc<Alert> {
    let expires_at = alert.expires_at.or(known.expires_at);
    if alert.receiver == known.receiver && alert.expires_at == expires_at {
        return Arc::clone(alert);
    }
    Arc::new(Alert { receiver: known.receiver.clone(), expires_at, ..alert.as_ref().clone() })
}
