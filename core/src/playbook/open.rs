//! What becomes of an alert or a due time that a playbook answers: a run of its own, a place in another's, or nothing, said
//! why.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::pin;
use crate::model::{
    AlertId, Concurrency, Disposition, Does, Labels, Name, Per, Period, Playbook, ResourceId, ResponseMemory, Revision,
    Run, RunCause, RunEnd, RunEvent, RunId, RunState, Rung, StepRecord, Subject, TeamName, WhenBusy,
};

/// So many runs opened within [`STORM_WITHIN`] are a storm: more are not opened, and one page tells of all.
pub const STORM_RUNS: usize = 20;
/// See [`STORM_RUNS`].
pub const STORM_WITHIN: SignedDuration = SignedDuration::from_secs(60);
/// What comes back within this time begins a rung higher.
const REFIRE: SignedDuration = SignedDuration::from_mins(30);
/// The third run on one thing within this time calls a person and latches it.
const LATCH: SignedDuration = SignedDuration::from_hours(1);
const LATCH_RUNS: usize = 3;

/// Something that asks for a run.
#[derive(Debug, Clone)]
pub struct Asked<'a> {
    /// The playbook that answers.
    pub playbook: &'a Arc<Playbook>,
    /// Whose authority the run has.
    pub authority: &'a TeamName,
    /// What asks.
    pub cause: RunCause,
    /// What it is about.
    pub target: Option<ResourceId>,
    /// Who is paged.
    pub policy: Option<Name>,
    /// What steps see as `alert`.
    pub alert: Value,
    /// The revision in force.
    pub revision: &'a Revision,
    /// How late a resolved signal may come.
    pub resolve_delay: Period,
    /// The labels on which alerts without a target must agree to share a run: its route's `groupBy`.
    pub group: Labels,
    /// It goes to a person at once: no playbook answers it.
    pub only_pages: bool,
}

/// What becomes of it.
#[derive(Debug, Clone, PartialEq)]
pub enum Opening {
    /// A run of its own.
    Open {
        /// The first event of its log.
        event: Box<RunEvent>,
        /// What is latched with it, if this is one time too many.
        latches: Option<Subject>,
    },
    /// It joins this run.
    Join(RunId),
    /// Nothing is done.
    Left(String),
    /// Nothing is done while another run is on; if it still fires then, it is asked again.
    Later(String),
}

/// Decides what becomes of it.
pub fn open(asked: &Asked<'_>, response: &ResponseMemory, now: Timestamp) -> Opening {
    let playbook = asked.playbook;
    let subject = subject(asked);
    if let RunCause::Call { .. } = asked.cause {
        return opened(asked, Rung::Steps, None);
    }
    if let Some(run) = busy(asked, response) {
        match (playbook.concurrency.when_busy, &asked.cause) {
            // What one run does helps its own target only: for another, the playbook's next run waits its turn.
            (WhenBusy::Join, RunCause::Alert { .. }) if run.target != asked.target => {}
            (WhenBusy::Join, RunCause::Alert { .. })
                if !has_called(run) || (run.target.is_some() && was_answered(asked, response)) =>
            {
                return Opening::Join(run.id);
            }
            (WhenBusy::Join, RunCause::Alert { .. }) | (WhenBusy::Queue, _) => {}
            (_, RunCause::Alert { .. }) => return Opening::Later(is_on(run)),
            _ => return Opening::Left(is_on(run)),
        }
    }
    let RunCause::Alert { .. } = asked.cause else {
        return opened(asked, Rung::Steps, None);
    };
    let ledger = response.ledger.get(&subject);
    if let Some(at) = ledger.and_then(|ledger| ledger.latched_at) {
        if !was_answered(asked, response) {
            // The latch is for what came back; this is another thing, and nobody knows of it.
            return opened(asked, Rung::Page, None);
        }
        let why = "nothing more is tried until it has been healthy for an hour, or a commit says Codeops-Retry";
        return Opening::Left(format!("latched since {at}: {why}"));
    }
    let ends: Vec<&RunEnd> =
        ledger.map(|ledger| ledger.ends.iter().filter(|end| counts(end)).collect()).unwrap_or_default();
    let within = |time: SignedDuration| {
        let since = now.checked_sub(time).unwrap_or(Timestamp::MIN);
        ends.iter().filter(move |end| end.at > since).copied()
    };
    if within(LATCH).count() + 1 >= LATCH_RUNS {
        return opened(asked, Rung::Page, Some(subject));
    }
    if asked.only_pages {
        return opened(asked, Rung::Page, None);
    }
    if let Some((most, per)) = playbook.limits.runs {
        let per = SignedDuration::from_millis(i64::try_from(per.as_millis()).unwrap_or(i64::MAX));
        let of_this = within(per).filter(|end| end.playbook == playbook.name).count();
        if of_this >= usize::try_from(most).unwrap_or(usize::MAX) {
            return opened(asked, Rung::Page, None);
        }
    }
    let rung = match within(REFIRE).map(|end| end.rung).max() {
        None => Rung::Steps,
        Some(Rung::Steps) => Rung::Otherwise,
        Some(Rung::Otherwise | Rung::Page) => Rung::Page,
    };
    opened(asked, rung, None)
}

fn is_on(run: &Run) -> String {
    format!("run {} of playbook {} is on", run.id, run.playbook.name)
}

/// Whether so many runs were opened lately that another would only add to the storm.
pub fn in_storm(response: &ResponseMemory, now: Timestamp) -> bool {
    let since = now.checked_sub(STORM_WITHIN).unwrap_or(Timestamp::MIN);
    let lately = |run: &&Arc<Run>| run.opened_at > since && matches!(run.cause, RunCause::Alert { .. });
    let ends = response.ledger.values().flat_map(|ledger| &ledger.ends);
    let over = ends.filter(|end| end.opened_at.is_some_and(|at| at > since)).count();
    response.runs.values().filter(lately).count() + over >= STORM_RUNS
}

/// Whether a run that only pages has called a person: its page tells of the alerts that it had then, and of no later one.
fn has_called(run: &Run) -> bool {
    let pages = |record: &StepRecord| run.step(record.step).is_some_and(|step| matches!(step.does, Does::Page { .. }));
    (run.target.is_none() || run.rung == Rung::Page) && run.steps.iter().any(pages)
}

/// Whether a run has answered the same alert before: that it comes back is known.
fn was_answered(asked: &Asked<'_>, response: &ResponseMemory) -> bool {
    let RunCause::Alert { alert } = &asked.cause else { return false };
    let at = |starts_at| AlertId { starts_at, ..alert.clone() };
    let before = response.alerts.range(at(Timestamp::MIN)..at(alert.starts_at));
    before.into_iter().any(|(_, known)| matches!(known.disposition, Disposition::Run { .. }))
}

/// The run that has what this one wants; of several, one on the same target.
fn busy<'a>(asked: &Asked<'_>, response: &'a ResponseMemory) -> Option<&'a Arc<Run>> {
    let of_playbook = |run: &Run| run.playbook.name == asked.playbook.name;
    let has = |run: &&Arc<Run>| match asked.playbook.concurrency.per {
        Per::Target if asked.target.is_some() => run.target == asked.target,
        Per::Target => of_playbook(run) && run.target.is_none() && agrees(asked, run),
        Per::Playbook => of_playbook(run),
    };
    let same = response.runs.values().filter(has).find(|run| run.target == asked.target);
    same.or_else(|| response.runs.values().find(has))
}

/// The run whose end this one waits for before it acts: an earlier one on its target, or of its playbook where that says so.
pub fn ahead<'a>(run: &Run, response: &'a ResponseMemory) -> Option<&'a Arc<Run>> {
    let Concurrency { per, when_busy } = run.playbook.concurrency;
    response.runs.range(..run.id).map(|(_, other)| other).find(|other| {
        let one_at_a_time = match per {
            Per::Playbook => true,
            Per::Target => when_busy == WhenBusy::Queue && run.target.is_none() && other.target.is_none(),
        };
        let same_playbook = one_at_a_time && other.playbook.name == run.playbook.name;
        let same_target = run.target.is_some() && other.target == run.target;
        (same_target || same_playbook) && !matches!(other.cause, RunCause::Call { .. })
    })
}

/// Whether a run without a target is of the same group.
fn agrees(asked: &Asked<'_>, run: &Run) -> bool {
    let labels = run.alert.get("labels");
    let has = |name: &String| labels.and_then(|labels| labels.get(name)?.as_str()).unwrap_or_default();
    asked.group.iter().all(|(name, value)| has(name) == value)
}

fn subject(asked: &Asked<'_>) -> Subject {
    match &asked.target {
        Some(target) => Subject::Resource(target.clone()),
        None => Subject::Playbook(asked.playbook.name.clone()),
    }
}

/// What no alert opened, or never began, says nothing of whether a fix holds.
fn counts(end: &RunEnd) -> bool {
    end.opened_at.is_some() && !matches!(end.state, RunState::Skipped | RunState::Cancelled)
}

fn opened(asked: &Asked<'_>, rung: Rung, latches: Option<Subject>) -> Opening {
    let event = RunEvent::Opened {
        playbook: pin(asked.playbook, &asked.cause, asked.target.as_ref(), asked.resolve_delay),
        authority: asked.authority.clone(),
        revision: asked.revision.clone(),
        target: asked.target.clone(),
        cause: asked.cause.clone(),
        rung,
        policy: asked.policy.clone(),
        alert: asked.alert.clone(),
    };
    Opening::Open { event: Box::new(event), latches }
}
