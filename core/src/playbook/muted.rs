//! What its source holds back, by a silence or an inhibition there, calls nobody.

use super::next::{end, fires, state_of};
use super::{Facts, Next};
use crate::model::{AlertState, Does, PlaybookStep, Run, RunState};

/// What comes before a call to a person: the source is asked once whether it holds back what fires, unless it just was; where it does,
/// nobody is called. What joins meanwhile is not waited for.
pub(super) fn silenced(run: &Run, step: &PlaybookStep, facts: &Facts<'_>) -> Option<Next> {
    if !matches!(step.does, Does::Page { .. }) || run.alerts.is_empty() {
        return None;
    }
    if facts.asks && run.asked.is_empty() {
        let open: Vec<_> = run.alerts.iter().filter(|id| fires(id, facts)).cloned().collect();
        return (!open.is_empty()).then_some(Next::Ask(open));
    }
    is_muted(run, facts).then(muted)
}

/// Whether the source holds back all of a run that is not over.
pub(super) fn is_muted(run: &Run, facts: &Facts<'_>) -> bool {
    let states = run.alerts.iter().map(|id| state_of(run, id, facts.alerts).0);
    let mut open = states.filter(|state| *state != AlertState::Resolved).peekable();
    open.peek().is_some() && open.all(|state| state == AlertState::Silenced)
}

/// The end of such a run.
pub(super) fn muted() -> Next {
    end(RunState::Cancelled, "muted: its source holds the alert back".to_owned())
}
