//! How a run ends when its steps do, and whether its end leaves anything that nobody knows of.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::may::{NOTHING, acts};
use super::next::{end, state_of, turn};
use super::{Facts, Next};
use crate::model::{AlertId, AlertMemory, AlertState, Does, Part, Run, RunCause, RunState, StepOutcome};

/// All steps of a part are done.
pub(super) fn finish(run: &Run, part: Part, facts: &Facts<'_>) -> Next {
    let over = run.alerts.iter().all(|id| state_of(run, id, facts.alerts).0 == AlertState::Resolved);
    match part {
        // A called run is a part of its caller, which waits for the proof.
        Part::Steps if called(run) => end(RunState::Resolved, "its steps are done".to_owned()),
        Part::Steps if over => end(only_called(run).unwrap_or(RunState::Resolved), "its steps are done".to_owned()),
        Part::Steps => turn(run, "its steps are done and its alert is not proven over".to_owned()),
        Part::Otherwise if over && !run.alerts.is_empty() => end(proven(run), "its alert is over".to_owned()),
        Part::Otherwise if did(run, |does| matches!(does, Does::Page { .. })) => {
            end(RunState::Paged, "a person was called".to_owned())
        }
        Part::Otherwise if called(run) && helped(run) => end(RunState::Resolved, "its `otherwise` is done".to_owned()),
        Part::Otherwise if called(run) => end(RunState::Failed, "its `otherwise` did not help".to_owned()),
        Part::Otherwise => end(
            RunState::Failed,
            match not_called(run) {
                Some(why) => format!("nothing helped, and its own steps called nobody: {why}"),
                None => "nothing helped, and nobody could be called".to_owned(),
            },
        ),
    }
}

/// What it stands on is gone. Where its alert has been told to a person, they have it.
pub(super) fn cancelled(run: &Run, why: &str) -> Next {
    let answers = matches!(run.cause, RunCause::Alert { .. });
    if answers && did(run, |does| matches!(does, Does::Page { .. })) {
        return end(RunState::Paged, format!("a person was called, and {why}"));
    }
    end(RunState::Cancelled, why.to_owned())
}

/// What a run that is proven in `otherwise` comes to.
pub(super) fn proven(run: &Run) -> RunState {
    if let Some(called) = only_called(run) {
        return called;
    }
    // What found no instance that it concerns replaced none.
    let did = |outcome: &StepOutcome| matches!(outcome, StepOutcome::Done { output } if output.get(NOTHING).is_none());
    let in_otherwise =
        outcomes(run, Part::Otherwise).any(|(does, outcome)| matches!(does, Does::Action { .. }) && did(outcome));
    if in_otherwise { RunState::Replaced } else { RunState::Resolved }
}

/// Whether an alert of a run that is about to end still fires, as far as anybody says: what its source holds back, or said to
/// be over when it was asked, does not.
pub fn still_fires(run: &Run, alerts: &BTreeMap<AlertId, Arc<AlertMemory>>) -> bool {
    run.alerts.iter().any(|id| {
        let known = alerts.get(id).is_some_and(|alert| alert.state == AlertState::Firing);
        known && !matches!(state_of(run, id, alerts).0, AlertState::Resolved | AlertState::Silenced)
    })
}

/// Why a step that would call a person was passed over.
fn not_called(run: &Run) -> Option<&str> {
    let mut pages = run
        .steps
        .iter()
        .filter(|record| run.step(record.step).is_some_and(|step| matches!(step.does, Does::Page { .. })));
    pages.find_map(|record| record.skipped.as_deref())
}

fn called(run: &Run) -> bool {
    matches!(run.cause, RunCause::Call { .. })
}

/// Whether `otherwise` did something, and all of it that was tried.
fn helped(run: &Run) -> bool {
    let mut outcomes = outcomes(run, Part::Otherwise).map(|(_, outcome)| outcome).peekable();
    outcomes.peek().is_some() && outcomes.all(|outcome| matches!(outcome, StepOutcome::Done { .. }))
}

/// The end of a run that called a person and did nothing else: whoever mended it, this did not.
fn only_called(run: &Run) -> Option<RunState> {
    let pages = |does: &Does| matches!(does, Does::Page { .. });
    (!called(run) && did(run, pages) && !did(run, acts)).then_some(RunState::Paged)
}

fn did(run: &Run, which: impl Fn(&Does) -> bool) -> bool {
    let parts = [Part::Steps, Part::Otherwise];
    let mut of_all = parts.into_iter().flat_map(|part| outcomes(run, part));
    of_all.any(|(does, outcome)| matches!(outcome, StepOutcome::Done { .. }) && which(does))
}

/// What each step of a part that was tried did, and how its last attempt ended.
fn outcomes(run: &Run, part: Part) -> impl Iterator<Item = (&Does, &StepOutcome)> {
    let of_part = run.steps.iter().filter(move |record| record.step.part == part);
    of_part.filter_map(|record| Some((&run.step(record.step)?.does, record.outcome.as_ref()?)))
}
