//! What stands against an attempt at a step, the first or a further one.

use super::Facts;
use super::next::fires;
use crate::model::{Action, Does, Part, PlaybookStep, Run, Rung, StepOutcome, StepRecord, StepRef, Trace, WaitFor};

/// Why an action did nothing, in the output of one that did not.
pub const NOTHING: &str = "nothing";

/// How it is said why a step is passed over whose alert is over.
pub const OVER: &str = "its alert is resolved";

/// Why no step may begin now that acts, and so what follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hold {
    /// Everything is frozen, for how long nobody knows: what fires is a person's.
    Frozen(String),
    /// Its target is suspended by its manifest, for how long nobody knows: what fires is a person's. What ends that goes on.
    Suspended(String),
    /// What fires is in maintenance, which has an end: its steps wait, and `otherwise` only calls people.
    Still(String),
    /// It goes on by itself: a commit on its way.
    Turn(String),
    /// An earlier run has the turn: nothing is begun but a call, not even a wait, as if this one were not opened yet.
    Queued(String),
}

impl Hold {
    /// In one sentence.
    pub fn why(&self) -> &str {
        match self {
            Hold::Frozen(why) | Hold::Suspended(why) | Hold::Still(why) | Hold::Turn(why) | Hold::Queued(why) => why,
        }
    }

    /// What holds a run of which `kept` says why people keep it still, and `queued` that another has the turn. Where a person is
    /// called for what fires, that waits for no turn.
    pub fn first_of(run: &Run, kept: Option<Hold>, queued: Option<Hold>) -> Option<Hold> {
        match kept {
            Some(Hold::Frozen(_) | Hold::Suspended(_)) if !run.alerts.is_empty() => kept,
            kept => queued.or(kept),
        }
    }
}

/// What an attempt comes to that cannot be made.
pub(super) enum Against {
    /// Nothing more of its part is done.
    Part(String),
    /// The step is passed over.
    Step(String),
    /// It waits.
    Now(String),
}

/// What stands against an attempt at this step now, whatever its `if` says.
pub(super) fn against(run: &Run, at: StepRef, step: &PlaybookStep, facts: &Facts<'_>) -> Option<Against> {
    if at.part == Part::Steps && run.clock.is_up(run.playbook.limits.timeout, facts.now) {
        return Some(Against::Part(format!("its time of {} is up", run.playbook.limits.timeout)));
    }
    if let Some(why) = skips(run, at, step, facts) {
        return Some(Against::Step(why));
    }
    let hold =
        facts.hold.as_ref().filter(|hold| holds_up(hold, &step.does) || begins_no_wait(run, step, hold, facts))?;
    let why = hold.why().to_owned();
    Some(match (hold, at.part) {
        // Paging goes on whatever is held: the way to it leads past what acts.
        (Hold::Frozen(_) | Hold::Suspended(_) | Hold::Still(_), Part::Otherwise) => Against::Step(why),
        (Hold::Frozen(_) | Hold::Suspended(_), Part::Steps) if !run.alerts.is_empty() => Against::Part(why),
        _ => Against::Now(why),
    })
}

/// Whether a run that answers what fires would only begin now, with a wait, though nothing may be done after it: a person is called
/// at once.
fn begins_no_wait(run: &Run, step: &PlaybookStep, hold: &Hold, facts: &Facts<'_>) -> bool {
    let tells = |record: &StepRecord| {
        let does = run.step(record.step).map(|step| &step.does);
        matches!(does, Some(Does::Notify { .. } | Does::Page { .. }))
    };
    matches!(hold, Hold::Frozen(_) | Hold::Suspended(_))
        && matches!(step.does, Does::Wait { .. })
        && run.turned.is_none()
        && run.steps.iter().all(|record| record.attempts == 0 || tells(record))
        && run.alerts.iter().any(|id| fires(id, facts))
}

/// Why a step is passed over.
fn skips(run: &Run, at: StepRef, step: &PlaybookStep, facts: &Facts<'_>) -> Option<String> {
    let pages = matches!(step.does, Does::Page { .. });
    if run.rung == Rung::Page {
        return (!pages).then(|| "a person is called at once".to_owned());
    }
    let over = !run.alerts.is_empty() && run.alerts.iter().all(|id| !fires(id, facts));
    if over && pages {
        return Some(format!("{OVER}: nobody is called"));
    }
    // What goes back by itself is given the time of one proof, on whatever rung the run begins, unless it may not go either.
    let rolls_back = facts.target.as_ref().is_some_and(|target| target.rolling_back)
        && !matches!(facts.hold, Some(Hold::Frozen(_) | Hold::Suspended(_) | Hold::Still(_)))
        && (at.part == Part::Steps || !waited_for_proof(run));
    if let Some(why) = proves_nothing(run, at, step, facts).filter(|_| !over && !rolls_back) {
        return Some(why.to_owned());
    }
    if !acts(&step.does) {
        return None;
    }
    if over {
        return Some(format!("{OVER}: nothing is done to what works again"));
    }
    rolls_back.then(|| "its target is being rolled back: the run only proves".to_owned())
}

/// Whether a proof was waited for, to its end, in either part.
fn waited_for_proof(run: &Run) -> bool {
    let proof = |record: &StepRecord| run.step(record.step).is_some_and(|step| is_proof(&step.does));
    run.steps.iter().any(|record| record.attempts > 0 && record.outcome.is_some() && proof(record))
}

fn is_proof(does: &Does) -> bool {
    matches!(does, Does::Wait { what: WaitFor::Resolved, .. })
}

/// Why a proof in `otherwise` would only keep people waiting: every action that it could prove has failed; or all was passed over
/// but what changes nothing, and one was waited for already, or nothing came of the steps of this run, or nothing may be done.
fn proves_nothing(run: &Run, at: StepRef, step: &PlaybookStep, facts: &Facts<'_>) -> Option<&'static str> {
    if at.part != Part::Otherwise || !is_proof(&step.does) {
        return None;
    }
    let before = run.steps.iter().filter(|record| record.step.part == at.part && record.step.index < at.index);
    let before = before.filter_map(|record| Some((record, &run.step(record.step)?.does)));
    let before: Vec<(&StepRecord, &Does)> = before.filter(|(_, does)| acts(does)).collect();
    let tried = before.iter().filter(|(record, does)| record.attempts > 0 && !changed_nothing(record, does));
    let tried: Vec<&(&StepRecord, &Does)> = tried.collect();
    if !tried.is_empty() {
        // What else fails, such as a script, may have done what helps.
        let failed = |(record, does): &&(&StepRecord, &Does)| {
            matches!((does, &record.outcome), (Does::Action { .. }, Some(StepOutcome::Failed { .. })))
        };
        return tried.iter().all(failed).then_some("what it could prove has failed");
    }
    let in_steps = run.steps.iter().filter(|record| record.step.part == Part::Steps && record.attempts > 0);
    let mut in_steps = in_steps.filter_map(|record| Some((record, &run.step(record.step)?.does)));
    let waited = in_steps.clone().any(|(_, does)| is_proof(does));
    let may_not = matches!(facts.hold, Some(Hold::Frozen(_) | Hold::Suspended(_) | Hold::Still(_)));
    let in_vain = in_steps.all(|(record, does)| nothing_came_of(record, does));
    let needless = waited || may_not || in_vain;
    (needless && !before.is_empty()).then_some("nothing was done that it could prove")
}

/// Whether a step of `steps` that was tried leaves all as it was: it changes nothing, or it failed and none of its attempts is
/// known to have done anything. What failed after a while may have done a part; but of a commit there are no parts.
fn nothing_came_of(record: &StepRecord, does: &Does) -> bool {
    let failed = matches!(record.outcome, Some(StepOutcome::Failed { .. }));
    let (nothing, at_most_a_part) = (record.trace == Trace::Nothing, record.trace <= Trace::Part);
    match does {
        Does::Notify { .. } | Does::Page { .. } => true,
        does if changed_nothing(record, does) => true,
        Does::Wait { .. } => failed,
        Does::Git(_) => failed && at_most_a_part,
        Does::Action { action, .. } => failed && (nothing || (at_most_a_part && action.is_commit())),
        Does::Script { .. } | Does::Http(_) | Does::Playbook(_) => failed && nothing,
    }
}

/// Whether a step that was tried is known to have changed nothing: a request that only asks, by its method, or an action that
/// concerned no instance. What a script did nobody knows.
fn changed_nothing(record: &StepRecord, does: &Does) -> bool {
    match (does, &record.outcome) {
        (Does::Http(call), _) => ["GET", "HEAD", "OPTIONS"].contains(&call.method.as_str()),
        (Does::Action { action: Action::AppRestart | Action::AppReplace, .. }, Some(StepOutcome::Done { output })) => {
            output.get(NOTHING).is_some()
        }
        _ => false,
    }
}

/// Whether a hold stops this. What ends a suspension is not stopped by it.
fn holds_up(hold: &Hold, does: &Does) -> bool {
    if let Hold::Queued(_) = hold {
        return !matches!(does, Does::Page { .. });
    }
    let resumes = matches!(does, Does::Action { action: Action::AppResume, .. });
    acts(does) && !(resumes && matches!(hold, Hold::Suspended(_) | Hold::Still(_)))
}

/// Whether a step changes something, or may: what a hold stops.
pub(super) fn acts(does: &Does) -> bool {
    match does {
        Does::Action { .. } | Does::Script { .. } | Does::Http(_) | Does::Git(_) | Does::Playbook(_) => true,
        Does::Wait { .. } | Does::Notify { .. } | Does::Page { .. } => false,
    }
}

/// Whether a step is a commit by the bot.
pub(super) fn commits(does: &Does) -> bool {
    match does {
        Does::Action { action, .. } => action.is_commit(),
        Does::Git(_) => true,
        _ => false,
    }
}
