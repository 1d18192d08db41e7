//! What waits for its turn is judged again until it begins, as if its alerts came then: what was ahead of it may have called a
//! person, not have held, or been the last that its limits allow.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::busy::{ahead, keeps_waiting};
use super::may::acts;
use super::open::{Asked, Begins, Still, begins, is_on};
use super::seen;
use crate::model::{
    AlertId, AlertMemory, AlertState, Does, PageId, Period, ResponseMemory, Run, RunCause, RunId, Rung, StepRecord,
    Subject,
};

/// So long an alert waits at most for the end of a run whose end nobody can foresee.
const WAITS: Period = Period::from_secs(120);

/// What becomes of a run that has not begun, other than was decided when it was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judged {
    /// It does not begin: these pages, by the runs that they come from, tell of its alerts, too.
    Told(BTreeMap<(PageId, RunId), Vec<AlertId>>),
    /// It begins higher.
    Higher {
        /// Here.
        rung: Rung,
        /// What is latched with it, if it is one time too many by now.
        latches: Option<Subject>,
        /// Why.
        because: String,
    },
}

/// Judges a run again that an alert opened and that has neither changed anything nor called anybody; `None` where what was
/// decided still holds.
pub fn judged(run: &Run, response: &ResponseMemory, now: Timestamp, still: Still<'_>) -> Option<Judged> {
    let RunCause::Alert { .. } = run.cause else { return None };
    if run.rung == Rung::Page || run.steps.iter().any(|record| has_begun(run, record)) {
        return None;
    }
    // What is over is not judged: nothing is done for it.
    let known = run.alerts.iter().filter_map(|id| response.alerts.get(id));
    let mut told: BTreeMap<(PageId, RunId), Vec<AlertId>> = BTreeMap::new();
    for alert in known.filter(|alert| alert.state != AlertState::Resolved) {
        match begins(&asks(run, alert), response, now) {
            Begins::Told(page, of) => told.entry((page, of)).or_default().push(alert.alert.id.clone()),
            // One of them is not told of: a person is called for all, since a person has the others.
            Begins::At { .. } if !told.is_empty() => {
                let because = "a person was called for others of its alerts before its turn".to_owned();
                return Some(Judged::Higher { rung: Rung::Page, latches: None, because });
            }
            Begins::At { rung, latches, because } => {
                let ahead = ahead(run, response, still);
                if rung != Rung::Page
                    && let Some(because) =
                        ahead.and_then(|other| waits_too_long(run, other, still, now)).filter(|_| !still(run))
                {
                    return Some(Judged::Higher { rung: Rung::Page, latches: None, because });
                }
                let its_turn = rung == Rung::Page || ahead.is_none();
                return (rung > run.rung && its_turn).then(|| Judged::Higher {
                    rung,
                    latches,
                    because: because.unwrap_or_default(),
                });
            }
        }
    }
    (!told.is_empty()).then_some(Judged::Told(told))
}

/// Why a run waits no longer for its turn but calls a person: whoever is ahead of it takes too long.
fn waits_too_long(run: &Run, other: &Run, still: Still<'_>, now: Timestamp) -> Option<String> {
    let late = keeps_waiting(other, still) && WAITS.ends(run.opened_at, now) <= now;
    late.then(|| format!("{}, and did not end within {WAITS}", is_on(other)))
}

fn has_begun(run: &Run, record: &StepRecord) -> bool {
    let begins = |does: &Does| acts(does) || matches!(does, Does::Page { .. });
    record.attempts > 0 && run.step(record.step).is_some_and(|step| begins(&step.does))
}

/// What this alert of a run would ask for if it came now.
fn asks<'a>(run: &'a Run, alert: &AlertMemory) -> Asked<'a> {
    Asked {
        playbook: &run.playbook,
        authority: &run.authority,
        cause: RunCause::Alert { alert: alert.alert.id.clone() },
        target: run.target.clone(),
        policy: run.policy.clone(),
        alert: seen(&alert.alert),
        revision: &run.revision,
        // The run's program is complete already.
        resolve_delay: Period::default(),
        group: run.group.clone().unwrap_or_default(),
        owner: run.owner.as_ref(),
        only_pages: false,
    }
}
