//! How long an attempt at a step may take.

use jiff::Timestamp;

use super::Facts;
use super::pin::DEFAULT_TIMEOUT;
use crate::model::{Does, Part, Period, PlaybookStep, Run, StepRef, WaitFor};

/// When the time of an attempt is up that begins now.
pub(super) fn deadline_of(run: &Run, at: StepRef, step: &PlaybookStep, facts: &Facts<'_>) -> Timestamp {
    let own = match step.does {
        // Paging ends when somebody has it, and a called run has its own limits.
        Does::Page { .. } | Does::Playbook(_) => Timestamp::MAX,
        _ => timeout_of(step).after(facts.now),
    };
    // Nothing takes longer than all of `steps` may.
    match at.part {
        Part::Steps => own.min(run.clock.left(run.playbook.limits.timeout, facts.now).after(facts.now)),
        Part::Otherwise => own,
    }
}

/// How long one attempt may take by its step alone.
pub(super) fn timeout_of(step: &PlaybookStep) -> Period {
    match &step.does {
        Does::Wait { what: WaitFor::For(time), .. } => *time,
        _ => step.timeout.unwrap_or(DEFAULT_TIMEOUT),
    }
}
