//! What the runs that are on mean for one that comes: it joins one, waits for its end, or passes it by.

use std::sync::Arc;

use super::Asked;
use super::group::{agrees, calls_the_same, is_anothers, labels};
use super::open::{Still, out};
use crate::model::{
    AlertId, AlertState, Concurrency, Per, ResponseMemory, Run, RunCause, Rung, WhenBusy, covers, severity,
};
use jiff::Timestamp;

/// The runs that have what this one wants: first of all one that has not called a person yet.
pub(super) fn busy<'a>(asked: &Asked<'_>, response: &'a ResponseMemory, still: Still<'_>) -> Vec<&'a Arc<Run>> {
    let of_playbook = |run: &Run| run.playbook.name == asked.playbook.name;
    let has = |run: &&Arc<Run>| match asked.playbook.concurrency.per {
        Per::Target if asked.target.is_some() => run.target == asked.target,
        Per::Target => of_playbook(run) && run.target.is_none() && agrees(asked, run),
        Per::Playbook => of_playbook(run) && (run.target == asked.target || !still(run)),
    };
    let mut all: Vec<&Arc<Run>> = response.runs.values().filter(has).collect();
    all.sort_by_key(|run| run.has_called());
    all
}

/// Whether an alert may join this run: one that answers alerts itself, on the same thing, and that tells the same people. No other
/// proves it over or tells anybody of it. Whoever was called knows only of what the page said: later ones are told of anew, but
/// for one that comes back while its page is out. Where no playbook may do anything, a person is called at once: then no wait
/// of a run is waited for.
pub(super) fn joins(asked: &Asked<'_>, run: &Run, response: &ResponseMemory) -> bool {
    let answers = matches!(run.cause, RunCause::Alert { .. });
    if !answers || run.target != asked.target || is_anothers(run, asked) || !calls_the_same(run, asked) {
        return false;
    }
    match run.has_called() {
        false => !asked.only_pages || run.rung == Rung::Page,
        true => run.target.is_some() && is_known(asked, run, response) && !says_more(asked, run, response),
    }
}

/// Whether an earlier time of the same alert is answered by this run, and a page of it is out.
fn is_known(asked: &Asked<'_>, run: &Run, response: &ResponseMemory) -> bool {
    let RunCause::Alert { alert } = &asked.cause else { return false };
    let at = |starts_at| AlertId { starts_at, ..alert.clone() };
    let before = run.alerts.range(at(Timestamp::MIN)..=at(alert.starts_at)).next().is_some();
    before && out(response).any(|page| page.run == run.id)
}

/// Whether a person was called by this run for less than what asks: some of its alerts still fire, and none says as much.
fn says_more(asked: &Asked<'_>, run: &Run, response: &ResponseMemory) -> bool {
    let labels = labels(&asked.alert);
    let known = run.alerts.iter().filter_map(|id| response.alerts.get(id));
    let mut fires = known.filter(|it| it.state == AlertState::Firing).peekable();
    fires.peek().is_some() && !fires.any(|it| covers(severity(&it.alert.labels), severity(&labels)))
}

/// The run whose end this one waits for before it acts: an earlier one on its target, or of its playbook where that says so.
/// One that stands still is passed by, but on its own target; going on, it is ahead again.
pub fn ahead<'a>(run: &Run, response: &'a ResponseMemory, still: Still<'_>) -> Option<&'a Arc<Run>> {
    let Concurrency { per, when_busy } = run.playbook.concurrency;
    response.runs.range(..run.id).map(|(_, other)| other).find(|other| {
        let one_at_a_time = match per {
            Per::Playbook => true,
            Per::Target => when_busy == WhenBusy::Queue && run.target.is_none() && other.target.is_none(),
        };
        let called = matches!(other.cause, RunCause::Call { .. });
        let same_playbook = one_at_a_time && other.playbook.name == run.playbook.name && !called;
        let same_target = run.target.is_some() && other.target == run.target;
        same_target || (same_playbook && !still(other))
    })
}

/// Whether nobody can say how long a run takes that others wait for: it answers no alert of its own, so that its limits are none
/// that an alert can wait for, it has called a person, or people keep still what it is about.
pub(super) fn keeps_waiting(run: &Run, still: Still<'_>) -> bool {
    run.has_called() || still(run) || !matches!(run.cause, RunCause::Alert { .. })
}
