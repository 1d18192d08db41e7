//! What counts of earlier runs for an alert that comes back: those that ended lately, and those that are on and have called a person.
//! What was tried did not hold, whether or not the run still waits for somebody.

use jiff::{SignedDuration, Timestamp};

use crate::model::{Name, ResponseMemory, RunCause, RunEnd, RunId, RunState, Rung, Subject};

/// One of them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Counted<'a> {
    pub(super) run: RunId,
    pub(super) playbook: &'a Name,
    /// How it ended, or is.
    pub(super) state: RunState,
    pub(super) rung: Rung,
    /// When it ended; of one that is on, now.
    pub(super) at: Timestamp,
    /// As [`RunEnd::idle`].
    pub(super) idle: bool,
}

/// All that counts of these subjects.
pub(super) fn counted<'a>(
    response: &'a ResponseMemory,
    of: impl Fn(&Subject) -> bool,
    now: Timestamp,
) -> Vec<Counted<'a>> {
    let ends = response.ledger.iter().filter(|(subject, _)| of(subject)).flat_map(|(_, ledger)| &ledger.ends);
    let ends = ends.filter(|end| counts(end)).map(|end| Counted {
        run: end.run,
        playbook: &end.playbook,
        state: end.state,
        rung: end.rung,
        at: end.at,
        idle: end.idle,
    });
    let on = response.runs.values().filter(|run| matches!(run.cause, RunCause::Alert { .. }) && run.has_called());
    let on = on.filter(|run| of(&run.subject())).map(|run| Counted {
        run: run.id,
        playbook: &run.playbook.name,
        state: run.state(),
        rung: Rung::Page,
        at: now,
        idle: false,
    });
    ends.chain(on).collect()
}

/// Those of them within this time.
pub(super) fn within<'a, 'b>(
    all: &'b [Counted<'a>],
    time: SignedDuration,
    now: Timestamp,
) -> impl Iterator<Item = &'b Counted<'a>> {
    let since = now.checked_sub(time).unwrap_or(Timestamp::MIN);
    all.iter().filter(move |it| it.at > since)
}

/// What no alert opened, or never began, says nothing of whether a fix holds.
fn counts(end: &RunEnd) -> bool {
    end.opened_at.is_some() && !matches!(end.state, RunState::Skipped | RunState::Cancelled)
}
