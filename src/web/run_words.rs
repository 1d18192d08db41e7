//! What happens in a run, in words.

use codeops_core::model::{AlertId, AlertState, Part, RunEvent, Rung, StepOutcome, StepRef};

/// A step by its number, where its run is not at hand.
pub(super) fn numbered(step: &StepRef) -> String {
    match step.part {
        Part::Steps => format!("step {}", step.index + 1),
        Part::Otherwise => format!("otherwise step {}", step.index + 1),
    }
}

/// An alert by the hash of its labels, where its name is not known.
pub(super) fn hash(alert: &AlertId) -> String {
    alert.fingerprint.to_string()
}

/// What was asked about an alert, of whom, and what was answered.
fn asked(alert: &AlertId, name: &str, state: AlertState) -> String {
    let answer = match state {
        AlertState::Firing => "it does",
        AlertState::Resolved => "it does not: it is over, or not among those that fire",
        AlertState::Silenced => "it does, and is silenced there",
        AlertState::Expired | AlertState::Unknown => "there was no answer",
    };
    format!("asked {}, which told of alert {name}, whether it still fires: {answer}", alert.source)
}

fn said(what: &str, because: Option<&str>) -> String {
    because.map_or_else(|| what.to_owned(), |because| format!("{what}: {because}"))
}

/// What happened, with what steps and alerts are called.
pub(super) fn of_run(event: &RunEvent, part: &dyn Fn(&StepRef) -> String, name: &dyn Fn(&AlertId) -> String) -> String {
    match event {
        RunEvent::Opened { playbook, .. } => format!("of playbook {} opened", playbook.name),
        RunEvent::Joined { alert } => format!("joined by alert {}", name(alert)),
        RunEvent::Asked { alert, state } => asked(alert, &name(alert), *state),
        RunEvent::StepSkipped { step, why } => format!("{} skipped: {why}", part(step)),
        RunEvent::StepBegun { step, attempt: 1, .. } => format!("{} begun", part(step)),
        RunEvent::StepBegun { step, attempt, .. } => format!("{} begun again, attempt {attempt}", part(step)),
        RunEvent::StepEnded { step, outcome, .. } => match outcome {
            StepOutcome::Done { .. } => format!("{} done", part(step)),
            StepOutcome::Failed { error } => format!("{} failed: {error}", part(step)),
            StepOutcome::Unknown { error } => format!("{}: outcome not known: {error}", part(step)),
        },
        RunEvent::Raised { rung: Rung::Page, because } => {
            said("begins at the call to a person by now", because.as_deref())
        }
        RunEvent::Raised { because, .. } => said("begins at otherwise by now", because.as_deref()),
        RunEvent::Holds { step, so: true } => format!("{}: what it waits for is so", part(step)),
        RunEvent::Holds { step, so: false } => format!("{}: what it waits for is not so any more", part(step)),
        RunEvent::Turned { why } => format!("goes on with otherwise: {why}"),
        RunEvent::Paused { why: Some(why) } => format!("waits: {why}"),
        RunEvent::Paused { why: None } => "goes on".to_owned(),
        RunEvent::Ended { state, why } => format!("{state}: {why}"),
    }
}
