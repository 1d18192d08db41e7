//! What becomes of a step once it is let go: applied, settled in the journal, and answered.

use std::collections::BTreeSet;
use std::sync::PoisonError;
use std::time::Duration;

use codeops_core::model::{Cause, Op, Pin, Resource, ResourceId, Step};

use super::{Parts, STEP_DEADLINE, backoff};
use crate::journal::{Outcome, Record, Started};
use crate::port::{Applied, ApplyError, Secrets};

/// How a step's way through the gate ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Passage {
    /// It took effect.
    Applied,
    /// It was not let through; nothing was written or done. Says why.
    Refused(String),
    /// It did not take effect and is tried again later.
    Retry(String),
    /// It did not take effect yet: what it needs is under way beside it, and does well. Says how far that is.
    UnderWay(String),
    /// It did not take effect and will not as declared.
    Rejected(String),
    /// It may have taken effect: observe before anything else.
    InDoubt(String),
    /// Nothing more passes: the daemon ends, or the journal is poisoned.
    Closed(String),
}

/// Applies a started step and settles it.
pub(super) async fn carry_out(parts: &Parts, started: Started) -> Passage {
    let result = apply(parts, &started).await;
    let (outcome, beside, passage) = conclude(parts, &started, result);
    match parts.journal.settle(&started, outcome, beside).await {
        Ok(()) => passage,
        Err(error) => Passage::Closed(error.to_string()),
    }
}

async fn apply(parts: &Parts, started: &Started) -> Result<Applied, ApplyError> {
    let step = started.step();
    let Some(actuator) = parts.actuators.get(&step.provider) else {
        return Err(ApplyError::Retry(format!("provider {} is not in the settings", step.provider)));
    };
    let secrets = secrets_for(parts, step).map_err(ApplyError::Retry)?;
    let deadline = deadline_of(step);
    match tokio::time::timeout(deadline, actuator.apply(started, &secrets)).await {
        Ok(result) => result,
        Err(_) => Err(ApplyError::OutcomeUnknown(format!(
            "provider {} did not answer `{} {}` within {} s",
            step.provider,
            step.op.word(),
            step.resource,
            deadline.as_secs()
        ))),
    }
}

fn deadline_of(step: &Step) -> Duration {
    match &step.op {
        Op::Release { desired } => {
            STEP_DEADLINE
                + desired.spec.release.as_ref().map_or(Duration::ZERO, |release| release.timeout.as_duration())
        }
        _ => STEP_DEADLINE,
    }
}

fn secrets_for(parts: &Parts, step: &Step) -> Result<Secrets, String> {
    let names: BTreeSet<_> =
        step.op.desired().map(|desired| desired.spec.secrets.values().cloned().collect()).unwrap_or_default();
    if names.is_empty() { Ok(Secrets::new()) } else { parts.vault.values(&step.team, &names) }
}

/// What is written down, what follows from it, and what the asker hears. Pure but for the memory and the clock it reads.
fn conclude(parts: &Parts, started: &Started, result: Result<Applied, ApplyError>) -> (Outcome, Vec<Record>, Passage) {
    // What a program printed may be in it: its team must not learn of others' secrets what was taken out.
    let clean = |text: &str| parts.vault.redact_of(&started.step().team, text);
    match result {
        Ok(applied) => {
            let note = applied.note.map(|note| clean(&note));
            (Outcome::Done { note }, consequences(parts, started.step()), Passage::Applied)
        }
        // Not now; but the same was begun before, and how that ended is still not known.
        Err(ApplyError::Retry(error) | ApplyError::Barred(error)) if started.is_again() => in_doubt(clean(&error)),
        // What was begun before keeps its key meanwhile.
        Err(ApplyError::UnderWay(note)) if started.is_again() => {
            let note = clean(&note);
            (Outcome::Unknown { error: note.clone() }, Vec::new(), Passage::UnderWay(note))
        }
        Err(ApplyError::UnderWay(note)) => {
            let note = clean(&note);
            (Outcome::UnderWay { note: note.clone() }, Vec::new(), Passage::UnderWay(note))
        }
        Err(ApplyError::Retry(error)) => {
            let error = clean(&error);
            let backoff_ms = backoff::wait_ms(failures(parts, started.step()) + 1, started.key());
            (Outcome::Retry { error: error.clone(), backoff_ms }, Vec::new(), Passage::Retry(error))
        }
        Err(ApplyError::Reject(error)) => {
            let error = clean(&error);
            match pin(parts, started.step(), &error) {
                Some(record) => (Outcome::Rejected { error: error.clone() }, vec![record], Passage::Rejected(error)),
                None => barred(error),
            }
        }
        Err(ApplyError::Barred(error)) => barred(clean(&error)),
        Err(ApplyError::OutcomeUnknown(error)) => in_doubt(clean(&error)),
    }
}

/// It keeps its key until a look shows what came of it.
fn in_doubt(error: String) -> (Outcome, Vec<Record>, Passage) {
    (Outcome::Unknown { error: error.clone() }, Vec::new(), Passage::InDoubt(error))
}

/// No template failed: tried again now and then, for the world around it may change.
fn barred(error: String) -> (Outcome, Vec<Record>, Passage) {
    let outcome = Outcome::Retry { error: error.clone(), backoff_ms: backoff::longest_ms() };
    (outcome, Vec::new(), Passage::Rejected(error))
}

fn failures(parts: &Parts, step: &Step) -> u32 {
    let memory = parts.journal.memory();
    let memory = memory.read().unwrap_or_else(PoisonError::into_inner);
    memory.resources.get(&step.resource).map_or(0, |resource| resource.failures_of(&step.op.aim()))
}

/// What is remembered because a step took effect.
fn consequences(parts: &Parts, step: &Step) -> Vec<Record> {
    let renamed = |from: ResourceId| Record::Renamed { from, resource: step.resource.clone() };
    match &step.op {
        Op::Release { desired } => {
            vec![Record::Released { resource: step.resource.clone(), template: desired.template_digest.clone() }]
        }
        Op::Rename { from, .. } => vec![renamed(from.clone())],
        Op::Create { desired } => heir_of(parts, desired).map(renamed).into_iter().collect(),
        _ => Vec::new(),
    }
}

/// What is made anew because its old id lives no longer, such as by a hand's doing, is still what that was, if nothing is known of
/// it by itself: what went well under the old id and what failed counts for it.
fn heir_of(parts: &Parts, desired: &Resource) -> Option<ResourceId> {
    let memory = parts.journal.memory();
    let memory = memory.read().unwrap_or_else(PoisonError::into_inner);
    let has_history = |id: &ResourceId| {
        memory.resources.get(id).is_some_and(|known| known.last_good.is_some() || !known.pins.is_empty())
    };
    let from = desired.was.iter().find(|was| has_history(was)).filter(|_| !has_history(&desired.id));
    from.cloned()
}

/// A template whose release command or start is rejected is a template that failed; unless it is the last good one, which
/// has shown that it works: then something around it failed, and there is nothing better to go back to.
fn pin(parts: &Parts, step: &Step, why: &str) -> Option<Record> {
    let desired = match &step.op {
        Op::Release { desired } | Op::Start { desired, .. } => desired,
        _ => return None,
    };
    let memory = parts.journal.memory();
    let memory = memory.read().unwrap_or_else(PoisonError::into_inner);
    let good = memory.resources.get(&step.resource).and_then(|remembered| remembered.last_good.as_ref());
    if good.is_some_and(|good| good.resource.template_digest == desired.template_digest) {
        return None;
    }
    let revision = match &step.cause {
        Cause::Revision { revision } => Some(revision.clone()),
        Cause::Drift { .. } | Cause::Rollback { .. } | Cause::Run { .. } => None,
    };
    let why = format!("{} failed: {why}", step.op.word());
    let pin = Pin { at: parts.clock.now(), revision, why, tried: Some(Pin::tried_with(desired)), check_only: false };
    Some(Record::Pinned { resource: step.resource.clone(), template: desired.template_digest.clone(), pin })
}
