//! The part of the fold that answers alerts: what of alerts, runs, pages, ledgers and schedules is remembered. As pure as
//! the rest of it, and what it does for one entry is bounded by what the entry says.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use codeops_core::model::{
    Alert, AlertId, AlertMemory, AlertState, Disposition, Does, Fingerprint, Ledger, Name, Page, PageEvent, PageId,
    ResponseMemory, Run, RunEnd, RunEvent, RunId, RunState, Rung, Signal, Subject,
};
use jiff::{SignedDuration, Timestamp};

use super::fold::{Change, Folded, Over};
use super::log::Entry;
use super::record::Record;

/// How long an alert that is over may come back as the same one, and how long a run's end counts.
const MATTERS: SignedDuration = SignedDuration::from_hours(1);

/// How many ends one ledger keeps: the newest.
const ENDS: usize = 16;

/// How many alerts one entry looks at, to see whether they still matter, beside two for each that it names.
const SWEPT: usize = 8;

type Alerts = BTreeMap<AlertId, Arc<AlertMemory>>;

/// Folds one entry.
pub(super) fn fold_response(memory: &mut ResponseMemory, entry: &Entry, folded: &mut Folded) {
    let mut fold = Fold { memory, at: entry.at, folded };
    match &entry.record {
        Record::Alerts { signals, .. } => {
            signals.iter().for_each(|signal| fold.signal(signal));
            fold.sweep(SWEPT + 2 * signals.len());
        }
        Record::AlertState { alerts, state, .. } => alerts.iter().for_each(|id| fold.is_now(id, *state)),
        Record::Disposed { alerts, disposition } => {
            alerts.iter().for_each(|id| fold.alert(id, |alert| alert.disposition = disposition.clone()));
            fold.sweep(SWEPT);
        }
        Record::Run { run, event, .. } => {
            fold.run(*run, event);
            fold.sweep(SWEPT);
        }
        Record::Page { page, event } => fold.page(*page, event),
        Record::Scheduled { playbook, due, .. } => {
            let last = fold.memory.schedules.entry(playbook.clone()).or_insert(Timestamp::MIN);
            *last = (*last).max(*due);
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
        Record::Forgotten { resource } => {
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

/// The alerts of one source with these labels, by when they began.
pub(super) fn of_fingerprint<'a>(
    alerts: &'a Alerts,
    source: &Name,
    fingerprint: &Fingerprint,
) -> impl Iterator<Item = (&'a AlertId, &'a Arc<AlertMemory>)> {
    let at = |starts_at| AlertId { source: source.clone(), fingerprint: fingerprint.clone(), starts_at };
    alerts.range(at(Timestamp::MIN)..=at(Timestamp::MAX))
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

    fn signal(&mut self, signal: &Signal) {
        match signal {
            Signal::Firing(alert) => self.fires(alert),
            Signal::Resolved { source, fingerprint, starts_at, ended_at } => {
                let began = starts_at.map(Timestamp::as_millisecond);
                self.each_of(source, fingerprint, AlertState::Resolved, |id, state| {
                    state != AlertState::Resolved
                        && id.starts_at <= *ended_at
                        && began.is_none_or(|began| began == id.starts_at.as_millisecond())
                });
            }
            Signal::Silenced { source, fingerprint } => {
                self.each_of(source, fingerprint, AlertState::Silenced, |_, state| state == AlertState::Firing);
            }
        }
    }

    /// Puts those of one fingerprint that are meant into another state.
    fn each_of(
        &mut self,
        source: &Name,
        fingerprint: &Fingerprint,
        state: AlertState,
        meant: impl Fn(&AlertId, AlertState) -> bool,
    ) {
        let of = of_fingerprint(&self.memory.alerts, source, fingerprint);
        let ids: Vec<AlertId> = of.filter(|(id, it)| meant(id, it.state)).map(|(id, _)| id.clone()).collect();
        ids.iter().for_each(|id| self.is_now(id, state));
    }

    fn fires(&mut self, alert: &Arc<Alert>) {
        let (at, id) = (self.at, &alert.id);
        let runs = &self.memory.runs;
        let Some(known) = self.memory.alerts.get_mut(id) else {
            let (state, disposition) = (AlertState::Firing, Disposition::Received);
            let new = AlertMemory { alert: Arc::clone(alert), state, since: at, received_at: at, disposition };
            self.memory.alerts.insert(id.clone(), Arc::new(new));
            return self.changed(Change::Alert(id.clone()));
        };
        let mut told = known.as_ref().clone();
        told.alert = told_again(&known.alert, alert);
        if known.state != AlertState::Firing {
            (told.state, told.since) = (AlertState::Firing, at);
            // One that was only out of sight for a while goes on with the run that answers it.
            let over = matches!(known.state, AlertState::Resolved | AlertState::Expired);
            if over || !answered(&known.disposition, runs) {
                told.disposition = Disposition::Received;
            }
        }
        if **known != told {
            *known = Arc::new(told);
            self.changed(Change::Alert(id.clone()));
        }
    }

    fn is_now(&mut self, id: &AlertId, state: AlertState) {
        let at = self.at;
        self.alert(id, |alert| {
            if alert.state != state {
                (alert.state, alert.since) = (state, at);
            }
        });
    }

    fn alert(&mut self, id: &AlertId, change: impl FnOnce(&mut AlertMemory)) {
        let Some(known) = self.memory.alerts.get_mut(id) else { return };
        let mut after = known.as_ref().clone();
        change(&mut after);
        if **known != after {
            *known = Arc::new(after);
            self.changed(Change::Alert(id.clone()));
        }
    }

    /// Looks at the next few alerts and lets go of those that do not matter any more.
    fn sweep(&mut self, most: usize) {
        let from = self.memory.swept.clone().map_or(Bound::Unbounded, Bound::Excluded);
        let mut looked = self.memory.alerts.range((from, Bound::Unbounded)).take(most + 1).peekable();
        let (mut last, mut gone) = (None, Vec::new());
        let mut left = most;
        while let Some((id, alert)) = looked.next_if(|_| left > 0) {
            left -= 1;
            if !self.matters(alert) {
                gone.push(id.clone());
            }
            last = Some(id.clone());
        }
        let swept = looked.peek().and(last);
        for id in gone {
            if let Some(alert) = self.memory.alerts.remove(&id) {
                self.folded.over.push(Over::Alert(alert));
            }
            self.changed(Change::Alert(id));
        }
        if self.memory.swept != swept {
            self.memory.swept = swept;
            self.changed(Change::Swept);
        }
    }

    fn matters(&self, alert: &AlertMemory) -> bool {
        alert.state == AlertState::Firing
            || self.at.duration_since(alert.since) <= MATTERS
            || answered(&alert.disposition, &self.memory.runs)
    }

    fn run(&mut self, id: RunId, event: &RunEvent) {
        if self.memory.counted.runs < id.0 {
            self.memory.counted.runs = id.0;
            self.changed(Change::Counted);
        }
        match self.memory.runs.get_mut(&id) {
            Some(run) => Arc::make_mut(run).take(self.at, event),
            None => {
                let Some(run) = Run::open(id, self.at, event) else { return };
                self.memory.runs.insert(id, Arc::new(run));
            }
        }
        self.changed(Change::Run(id));
        if self.memory.runs.get(&id).is_some_and(|run| run.state().is_over())
            && let Some(run) = self.memory.runs.remove(&id)
        {
            self.count(&run);
            self.folded.over.push(Over::Run(run));
        }
    }

    /// A run that ended goes into the ledger, unless it never began; ends that do not count any more leave it.
    fn count(&mut self, run: &Run) {
        let Some((state, _, at)) = run.ended.as_ref().filter(|(state, _, _)| *state != RunState::Skipped) else {
            return;
        };
        let now = self.at;
        let stale: Vec<Subject> = self
            .memory
            .ledger
            .iter()
            .filter(|(_, it)| !all_count(it, now))
            .map(|(subject, _)| subject.clone())
            .collect();
        for subject in stale {
            self.ledger(&subject, |ledger, now| ledger.ends.retain(|end| counts(end, now)));
        }
        let end =
            RunEnd { run: run.id, playbook: run.playbook.name.clone(), state: *state, rung: reached(run), at: *at };
        let subject =
            run.target.clone().map_or_else(|| Subject::Playbook(run.playbook.name.clone()), Subject::Resource);
        self.ledger(&subject, |ledger, _| {
            ledger.ends.push(end);
            let many = ledger.ends.len().saturating_sub(ENDS);
            ledger.ends.drain(..many);
        });
    }

    fn ledger(&mut self, subject: &Subject, change: impl FnOnce(&mut Ledger, Timestamp)) {
        let before = self.memory.ledger.remove(subject).unwrap_or_default();
        let mut after = before.clone();
        change(&mut after, self.at);
        let is = before != after;
        if after != Ledger::default() {
            self.memory.ledger.insert(subject.clone(), after);
        }
        if is {
            self.changed(Change::Ledger(subject.clone()));
        }
    }

    fn page(&mut self, id: PageId, event: &PageEvent) {
        if self.memory.counted.pages < id.0 {
            self.memory.counted.pages = id.0;
            self.changed(Change::Counted);
        }
        match self.memory.pages.get_mut(&id) {
            Some(page) => Arc::make_mut(page).take(self.at, event),
            None => {
                let Some(page) = Page::open(id, self.at, event) else { return };
                self.memory.pages.insert(id, Arc::new(page));
            }
        }
        self.changed(Change::Page(id));
        if self.memory.pages.get(&id).is_some_and(|page| page.is_over())
            && let Some(page) = self.memory.pages.remove(&id)
        {
            self.folded.over.push(Over::Page(page));
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

/// Whether a run that is not over answers it.
fn answered(disposition: &Disposition, runs: &BTreeMap<RunId, Arc<Run>>) -> bool {
    matches!(disposition, Disposition::Run { run } if runs.contains_key(run))
}

fn counts(end: &RunEnd, now: Timestamp) -> bool {
    now.duration_since(end.at) <= MATTERS
}

fn all_count(ledger: &Ledger, now: Timestamp) -> bool {
    ledger.ends.iter().all(|end| counts(end, now))
}

/// The rung that a run had come to when it ended.
fn reached(run: &Run) -> Rung {
    let paging = |run: &Run| {
        let last = run.steps.iter().rev().find(|record| record.attempts > 0);
        last.and_then(|record| run.step(record.step)).is_some_and(|step| matches!(step.does, Does::Page { .. }))
    };
    match &run.ended {
        Some((RunState::Paged, _, _)) => Rung::Page,
        Some((RunState::Failed, _, _)) if paging(run) => Rung::Page,
        _ if run.rung == Rung::Page => Rung::Page,
        _ if run.turned.is_some() => Rung::Otherwise,
        _ => Rung::Steps,
    }
}
