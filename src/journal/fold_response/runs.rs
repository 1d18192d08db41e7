//! What of runs and pages is remembered: those that are not over, and the ledger of those that ended lately.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use codeops_core::model::{
    AlertId, AlertMemory, AlertState, Does, Failing, Fingerprint, Ledger, Name, Page, PageEvent, PageId, PageOpened,
    Run, RunCause, RunEnd, RunEvent, RunId, RunState, Rung, StepRecord, Subject, Taken, ToldFailure,
};
use jiff::Timestamp;

use super::{Fold, MATTERS};
use crate::journal::fold::{Change, Over};

/// How many ends one ledger keeps: the newest. More than make a storm, or it would not be seen.
const ENDS: usize = 32;

impl Fold<'_> {
    pub(super) fn run(&mut self, id: RunId, event: &RunEvent) {
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
            self.scheduled_end(&run);
            self.folded.over.push(Over::Run(run));
        }
    }

    /// A scheduled run that did what it should ends the failures before it, and what a person was called for; another is one more.
    /// One whose steps call a person, and that failed of nothing, is neither.
    fn scheduled_end(&mut self, run: &Run) {
        let (RunCause::Schedule { .. }, Some((state, _, at))) = (&run.cause, &run.ended) else { return };
        let Some(taken) = self.memory.schedules.get_mut(&run.playbook.name) else { return };
        let before = taken.clone();
        match state {
            RunState::Resolved | RunState::Replaced => {
                (taken.told, taken.failing) = (None, None);
                taken.well = if run.has_called() { taken.well } else { Some(run.id) };
            }
            RunState::Paged if run.turned.is_none() => taken.failing = None,
            RunState::Failed | RunState::Paged if !taken.is_gone() => {
                let (since, times) = taken.failing.as_ref().map_or((*at, 0), |it| (it.since, it.times));
                taken.failing = Some(Failing { since, times: times.saturating_add(1), run: run.id });
            }
            _ => {}
        }
        if *taken != before {
            self.changed(Change::Schedule(run.playbook.name.clone()));
        }
    }

    /// The scheduled playbook that a run is of, or is called for.
    fn scheduled(&self, run: &Run) -> Option<Name> {
        let mut run = run;
        while let RunCause::Call { run: caller, .. } = &run.cause {
            run = self.memory.runs.get(caller).filter(|caller| caller.id < run.id)?;
        }
        matches!(run.cause, RunCause::Schedule { .. }).then(|| run.playbook.name.clone())
    }

    fn told_failure(&mut self, playbook: &Name, told: Option<ToldFailure>) {
        let Some(taken) = self.memory.schedules.get_mut(playbook) else { return };
        if taken.told != told {
            taken.told = told;
            self.changed(Change::Schedule(playbook.clone()));
        }
    }

    /// A page tells of a scheduled run's failure, or nobody can be told of it.
    fn tells_of_failure(&mut self, id: PageId, event: &PageEvent) {
        match event {
            PageEvent::Opened(PageOpened { run: Some(run), .. }) => {
                let Some(run) = self.memory.runs.get(run).cloned() else { return };
                if let Some(of) = run.failure() {
                    let told = ToldFailure { page: id, run: run.id, of, at: Some(self.at) };
                    self.told_failure(&run.playbook.name, Some(told));
                }
            }
            PageEvent::Withdrawn { .. } => {
                let told = |taken: &Taken| taken.told.as_ref().is_some_and(|told| told.page == id);
                let of_this = self.memory.schedules.iter().find(|(_, taken)| told(taken)).map(|(name, _)| name.clone());
                if let Some(playbook) = of_this {
                    self.told_failure(&playbook, None);
                }
            }
            _ => {}
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
        let (playbook, rung) = (run.playbook.name.clone(), reached(run));
        let source = match &run.cause {
            RunCause::Alert { alert } => Some(alert.source.clone()),
            RunCause::Schedule { .. } | RunCause::Call { .. } => None,
        };
        let opened_at = source.is_some().then_some(run.opened_at);
        let owner = run.owner.clone();
        let idle = *state == RunState::Resolved && passed_over(run);
        let end = RunEnd { run: run.id, playbook, state: *state, rung, at: *at, opened_at, source, owner, idle };
        self.ledger(&run.subject(), |ledger, _| {
            ledger.ends.push(end);
            let many = ledger.ends.len().saturating_sub(ENDS);
            ledger.ends.drain(..many);
        });
    }

    pub(super) fn ledger(&mut self, subject: &Subject, change: impl FnOnce(&mut Ledger, Timestamp)) {
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

    pub(super) fn page(&mut self, id: PageId, event: &PageEvent) {
        self.tells_of_failure(id, event);
        if self.memory.counted.pages < id.0 {
            self.memory.counted.pages = id.0;
            self.changed(Change::Counted);
        }
        if let PageEvent::Closed { .. } = event {
            self.memory.calls.remove(&id);
            return self.changed(Change::Call(id));
        }
        if let Some(call) = self.memory.calls.get_mut(&id) {
            match event {
                PageEvent::Told { begins: true, .. } => {
                    call.ends(self.at);
                }
                PageEvent::Told { knows, untold, .. } => call.told(self.at, knows, untold),
                // Others had it already.
                PageEvent::Failed { refused: Some(receiver), .. } => call.refused_by(receiver),
                _ => {}
            }
            if matches!(event, PageEvent::Told { .. } | PageEvent::Failed { .. }) {
                return self.changed(Change::Call(id));
            }
        }
        if let PageEvent::Joined { alerts } = event {
            let known = &self.memory.alerts;
            if let Some(call) = self.memory.calls.get_mut(&id) {
                forget_earlier(&mut call.alerts, alerts, known);
                call.alerts.extend(alerts.iter().cloned());
                return self.changed(Change::Call(id));
            }
            if let Some(page) = self.memory.pages.get_mut(&id) {
                forget_earlier(&mut Arc::make_mut(page).alerts, alerts, known);
            }
        }
        match self.memory.pages.get_mut(&id) {
            Some(page) => Arc::make_mut(page).take(self.at, event),
            None => {
                let Some(mut page) = Page::open(id, self.at, event) else { return };
                if page.run.is_none() && !page.alerts.is_empty() && page.observes.is_none() {
                    self.memory.stormed_at = Some(self.at);
                    self.changed(Change::Stormed);
                }
                if let Some(run) = page.run.and_then(|run| self.memory.runs.get(&run)) {
                    page.alerts.extend(run.alerts.iter().cloned());
                    page.group = run.group();
                    page.schedule = self.scheduled(run);
                }
                self.memory.pages.insert(id, Arc::new(page));
            }
        }
        self.changed(Change::Page(id));
        if self.memory.pages.get(&id).is_some_and(|page| page.is_over())
            && let Some(mut page) = self.memory.pages.remove(&id)
        {
            let over = Arc::make_mut(&mut page);
            if let Some(run) = over.run.and_then(|run| self.memory.runs.get(&run)) {
                over.alerts.extend(run.alerts.iter().cloned());
            }
            if let Some(call) = over.call(|id| !self.memory.alerts.contains_key(id)) {
                self.memory.calls.insert(id, call);
                self.changed(Change::Call(id));
            }
            self.folded.over.push(Over::Page(page));
        }
    }
}

/// An earlier time of the same alert that is over is told of by the one that joins: what flaps for days does not add up.
/// The last of each fingerprint is looked at: what is earlier than another of those that join is earlier than that.
fn forget_earlier(told: &mut BTreeSet<AlertId>, joining: &[AlertId], known: &BTreeMap<AlertId, Arc<AlertMemory>>) {
    let over = |id: &&AlertId| known.get(*id).is_none_or(|it| it.state == AlertState::Resolved);
    let mut last: BTreeMap<(&Fingerprint, &Name), &AlertId> = BTreeMap::new();
    for alert in joining {
        let last = last.entry((&alert.fingerprint, &alert.source)).or_insert(alert);
        *last = alert.max(*last);
    }
    for alert in last.into_values() {
        let first = AlertId { starts_at: Timestamp::MIN, ..alert.clone() };
        let before: Vec<AlertId> = told.range(first..alert.clone()).filter(over).cloned().collect();
        before.iter().for_each(|id| {
            told.remove(id);
        });
    }
}

fn counts(end: &RunEnd, now: Timestamp) -> bool {
    now.duration_since(end.at) <= MATTERS
}

fn all_count(ledger: &Ledger, now: Timestamp) -> bool {
    ledger.ends.iter().all(|end| counts(end, now))
}

/// Whether a run that came to steps which may change something passed over all of them.
fn passed_over(run: &Run) -> bool {
    let waits = |does: &Does| matches!(does, Does::Wait { .. } | Does::Notify { .. } | Does::Page { .. });
    let acts = |record: &&StepRecord| run.step(record.step).is_some_and(|step| !waits(&step.does));
    let mut acting = run.steps.iter().filter(acts).peekable();
    acting.peek().is_some() && acting.all(|record| record.attempts == 0)
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
