//! The one function that says what a run does now.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::ends::{cancelled, finish, proven};
use super::may::{Against, against, commits};
use super::muted::{is_muted, muted, silenced};
use super::times::{deadline_of, timeout_of};
use super::{Facts, Next, facts, order};
use crate::expression;
use crate::model::{
    AlertId, AlertMemory, AlertState, Does, OnError, Part, Period, PlaybookStep, Progress, Run, RunEvent, RunState,
    Rung, StepOutcome, StepRecord, StepRef, Sync, WaitFor, is_ahead,
};

/// How the error of a step begins whose `if` has no value.
pub const NO_VALUE: &str = "its `if` has no value";

/// What the run does now. The same log and facts give the same answer, so a run that was cut off anywhere goes on as one
/// that was not.
pub fn next(run: &Run, facts: &Facts<'_>) -> Next {
    if run.ended.is_some() {
        return Next::Over;
    }
    let is_on = run.steps.iter().find(|record| record.on.is_some());
    if let Some(why) = &facts.cancelled
        && is_on.is_none_or(|record| only_waits(run, record))
    {
        return cancelled(run, why);
    }
    // Raised while it waited: what it waited for is no answer any more.
    if let Some(record) = is_on.filter(|record| is_left_out(run, record) && only_waits(run, record)) {
        let error = "broken off: it began higher than at its steps".to_owned();
        return ended(record, StepOutcome::Failed { error });
    }
    if let Some(record) = is_on {
        return on(run, record, facts);
    }
    let part = if run.turned.is_some() { Part::Otherwise } else { Part::Steps };
    match run.steps.iter().rfind(|record| record.step.part == part) {
        None => go_to(run, StepRef { part, index: 0 }, facts),
        Some(record) => after(run, record, facts),
    }
}

/// Whether an alert still counts as firing: whatever is not known to be over does.
pub(super) fn fires(id: &AlertId, facts: &Facts<'_>) -> bool {
    facts.alerts.get(id).is_none_or(|alert| alert.state != AlertState::Resolved)
}

/// Whether nothing is done while a step is on: it can be broken off at any time.
fn only_waits(run: &Run, record: &StepRecord) -> bool {
    run.step(record.step).is_some_and(|step| matches!(step.does, Does::Wait { .. }))
}

/// Whether a run leaves this step out since it was raised.
fn is_left_out(run: &Run, record: &StepRecord) -> bool {
    (run.turned.is_some() && record.step.part == Part::Steps) || run.rung == Rung::Page
}

/// A step is on.
fn on(run: &Run, record: &StepRecord, facts: &Facts<'_>) -> Next {
    let (Some(step), Some((_, deadline))) = (run.step(record.step), &record.on) else {
        return ended(record, StepOutcome::Failed { error: "the step is not in the playbook".to_owned() });
    };
    // Reckoned from the attempt's beginning, too: nothing that a run waits for lasts until a clock set back has caught up.
    let ahead = *deadline < Timestamp::MAX && is_ahead(record.tried_at.unwrap_or(record.begun_at), facts.now);
    let deadline = if ahead { &facts.now } else { deadline };
    let late = facts.now >= *deadline;
    let time_is_up = |what: &str| {
        let limit = run.playbook.limits.timeout;
        let error = match record.step.part == Part::Steps && run.clock.is_up(limit, facts.now) {
            true => format!("{what} in time: all steps together have only {limit}"),
            false => format!("{what} within {}", timeout_of(step)),
        };
        StepOutcome::Failed { error }
    };
    match &step.does {
        Does::Wait { what, quiet } => wait(run, record, what, *quiet, *deadline, facts),
        Does::Action { action, .. } => match &facts.progress {
            Some(Progress::Done(output)) => ended(record, StepOutcome::Done { output: output.clone() }),
            Some(Progress::Failed(error)) => ended(record, StepOutcome::Failed { error: error.clone() }),
            _ if late && !action.is_commit() => ended(record, time_is_up(&format!("{action} did not come to its end"))),
            Some(Progress::Going(why)) => still(*deadline, why.clone()),
            None => effect(run, record, step, *deadline, facts),
        },
        Does::Playbook(name) => match facts.called {
            Some(RunState::Resolved | RunState::Replaced) => ended(record, StepOutcome::Done { output: Value::Null }),
            Some(state) if state.is_over() => {
                ended(record, StepOutcome::Failed { error: format!("playbook {name} ended {state}") })
            }
            Some(_) if late => ended(record, time_is_up(&format!("playbook {name} did not come to its end"))),
            Some(_) => until(*deadline, format!("playbook {name} is on")),
            None => begin_again(run, record, step, *deadline, facts),
        },
        Does::Page { .. } => match facts.page {
            Some(page) if page.accepted => ended(record, StepOutcome::Done { output: Value::Null }),
            Some(page) if page.nobody => {
                let error = "there is nobody to page: no escalation policy with a channel applies".to_owned();
                ended(record, StepOutcome::Failed { error })
            }
            // It goes on being sent.
            Some(page) if late => ended(record, time_is_up(&format!("no channel has accepted page {}", page.page))),
            Some(page) => until(*deadline, format!("no channel has accepted page {} yet", page.page)),
            None => begin_again(run, record, step, *deadline, facts),
        },
        Does::Script { .. } | Does::Http(_) | Does::Notify { .. } | Does::Git(_) => {
            effect(run, record, step, *deadline, facts)
        }
    }
}

/// An effect is on: in hand, or begun by a daemon that is gone, and then nobody knows how it ended; but of a commit it can be
/// seen.
fn effect(run: &Run, record: &StepRecord, step: &PlaybookStep, deadline: Timestamp, facts: &Facts<'_>) -> Next {
    if facts.in_hand {
        return still(deadline, format!("`{}` is on", step.name));
    }
    // A commit is known by its key: where it is there, that is found, and where it is not, it is made.
    if commits(&step.does) {
        let deadline = deadline_of(run, record.step, step, facts);
        return begin_again(run, record, step, deadline, facts);
    }
    let error = "codeops ended while it was on, so it is not known whether it was done".to_owned();
    ended(record, StepOutcome::Unknown { error })
}

/// What was begun and leaves its own trace is begun again where that trace is missing: nothing happened yet.
fn begin_again(run: &Run, record: &StepRecord, step: &PlaybookStep, deadline: Timestamp, facts: &Facts<'_>) -> Next {
    match order::order(run, step, facts) {
        Ok(order) => Next::Begin { step: record.step, attempt: record.attempts, deadline, order: Box::new(order) },
        Err(error) => ended(record, StepOutcome::Failed { error }),
    }
}

/// A deadline is reckoned before its step's beginning is written down, which takes a moment.
const WRITING: Period = Period::from_secs(1);

/// Since when the target is seen as the commits of this run made it: from the beginning where it made none, and none while the
/// last is not in force. A revision that came after that commit has it.
fn seen_since(run: &Run, facts: &Facts<'_>) -> Option<Timestamp> {
    let made = |record: &StepRecord| match (&record.outcome, record.ended_at) {
        (Some(StepOutcome::Done { output }), Some(at)) if commits(&run.step(record.step)?.does) => {
            Some((output.get("revision")?.as_str()?.to_owned(), at))
        }
        _ => None,
    };
    let (Some((made, at)), Some((revision, since))) = (run.steps.iter().filter_map(made).next_back(), &facts.revision)
    else {
        return Some(Timestamp::MIN);
    };
    (revision.as_str() == made || *since > at).then_some(*since)
}

fn wait(run: &Run, record: &StepRecord, what: &WaitFor, quiet: Period, deadline: Timestamp, facts: &Facts<'_>) -> Next {
    let done = || ended(record, StepOutcome::Done { output: Value::Null });
    let failed = |error: String| ended(record, StepOutcome::Failed { error });
    let late = facts.now >= deadline;
    match what {
        WaitFor::For(time)
            if late && WRITING.after(deadline) >= time.ends(record.tried_at.unwrap_or(record.begun_at), facts.now) =>
        {
            done()
        }
        WaitFor::For(_) if late => failed(format!("all steps together have only {}", run.playbook.limits.timeout)),
        WaitFor::For(_) => still(deadline, "its time is not up".to_owned()),
        WaitFor::Healthy => {
            let Some(target) = &facts.target else { return failed("the target is not known".to_owned()) };
            let Some(since) = seen_since(run, facts) else {
                let why = "the commit of this run is not in force yet";
                return if late {
                    failed(format!("{why}, and the time is up"))
                } else {
                    still(deadline, why.to_owned())
                };
            };
            let quiet_at = quiet.after(target.since.max(since));
            let settled = since == Timestamp::MIN || target.sync == Sync::Synced;
            match target.health == crate::model::Health::Healthy && settled {
                true if facts.now >= quiet_at => done(),
                _ if late => failed(format!("{} was not healthy for {quiet} in time", target.id)),
                true => still(deadline.min(quiet_at), format!("{} is healthy; for {quiet}", target.id)),
                false => still(deadline, format!("{} is {}, {}", target.id, target.sync, target.health)),
            }
        }
        WaitFor::Until(expression) => match expression::holds(expression, &facts::facts(run, facts)) {
            Ok(true) if quiet == Period::default() => done(),
            Ok(true) => match record.holds_since.map(|since| quiet.after(since.max(facts.looks_since))) {
                None => Next::Record(vec![RunEvent::Holds { step: record.step, so: true }]),
                Some(at) if facts.now >= at => done(),
                Some(_) if late => failed(format!("`{}` was not true for {quiet} in time", expression.source())),
                Some(at) => still(deadline.min(at), format!("`{}` is true; for {quiet}", expression.source())),
            },
            _ if record.holds_since.is_some() => Next::Record(vec![RunEvent::Holds { step: record.step, so: false }]),
            Ok(false) if late => failed(format!("`{}` did not become true in time", expression.source())),
            Ok(false) => still(deadline, format!("`{}` is not true yet", expression.source())),
            Err(error) if late => failed(error),
            Err(error) => still(deadline, error),
        },
        WaitFor::Resolved => resolved(run, record, quiet, deadline, facts),
    }
}

/// Proof is the source's own word, and that it held for the quiet time.
fn resolved(run: &Run, record: &StepRecord, quiet: Period, deadline: Timestamp, facts: &Facts<'_>) -> Next {
    if run.alerts.is_empty() {
        return ended(record, StepOutcome::Failed { error: "the run answers no alert".to_owned() });
    }
    let states = run.alerts.iter().map(|id| state_of(run, id, facts.alerts));
    let states: Vec<(AlertState, Timestamp)> = states.collect();
    let count = |state| states.iter().filter(|(s, _)| *s == state).count();
    let total = states.len();
    if count(AlertState::Resolved) == total {
        let since = states.iter().map(|(_, since)| *since).max().unwrap_or(facts.now);
        let quiet_at = quiet.after(since);
        if facts.now >= quiet_at {
            return ended(record, StepOutcome::Done { output: Value::Null });
        }
        // The quiet time may end after the deadline: what is over by then is proven by staying so.
        return still(quiet_at, format!("resolved; quiet for {quiet}"));
    }
    if facts.now < deadline {
        return still(deadline, format!("{} of {total} alerts resolved", count(AlertState::Resolved)));
    }
    let unasked: Vec<AlertId> =
        run.alerts.iter().filter(|id| fires(id, facts) && !run.asked.contains_key(*id)).cloned().collect();
    if facts.asks && !unasked.is_empty() {
        return Next::Ask(unasked);
    }
    if is_muted(run, facts) {
        return muted();
    }
    let (firing, unknown) = (count(AlertState::Firing), count(AlertState::Expired) + count(AlertState::Unknown));
    let error = match (firing, unknown) {
        (0, _) => {
            format!("no word from the source that it is over: {unknown} of {total} alerts only stopped being told of")
        }
        (firing, _) => format!("{firing} of {total} alerts still fire"),
    };
    ended(record, StepOutcome::Failed { error })
}

/// How an alert is: what its source said when asked counts until it says otherwise.
pub(super) fn state_of(
    run: &Run,
    id: &AlertId,
    alerts: &BTreeMap<AlertId, Arc<AlertMemory>>,
) -> (AlertState, Timestamp) {
    let known = alerts.get(id).map(|alert| (alert.state, alert.since));
    match (known, run.asked.get(id)) {
        (Some((_, since)), Some(asked)) if asked.1 >= since => *asked,
        (Some(known), _) => known,
        (None, Some(asked)) => *asked,
        (None, None) => (AlertState::Unknown, run.opened_at),
    }
}

/// A step has ended or was skipped.
fn after(run: &Run, record: &StepRecord, facts: &Facts<'_>) -> Next {
    let Some(step) = run.step(record.step) else { return end(RunState::Failed, "it has lost its step".to_owned()) };
    let following = StepRef { index: record.step.index + 1, ..record.step };
    let proof = matches!(&step.does, Does::Wait { what: WaitFor::Resolved, .. });
    let ended_at = record.ended_at.unwrap_or(facts.now);
    let (failed, again) = match &record.outcome {
        _ if record.skipped.is_some() => (None, false),
        None | Some(StepOutcome::Done { .. }) => (None, false),
        Some(StepOutcome::Failed { error }) => (Some(error), true),
        Some(StepOutcome::Unknown { error }) => (Some(error), step.idempotent),
    };
    let Some(error) = failed else {
        if proof && record.skipped.is_none() && record.step.part == Part::Otherwise {
            return end(proven(run), "its alert is proven over".to_owned());
        }
        return go_to(run, following, facts);
    };
    // An effect whose end is not known is tried once more even without `retry`: being idempotent is its author's word.
    let unknown = matches!(record.outcome, Some(StepOutcome::Unknown { .. }));
    let attempts = step.retry.map_or(1, |retry| retry.attempts).max(if unknown { 2 } else { 1 });
    if again && record.attempts < attempts {
        let backoff = step.retry.map_or(Period::from_secs(1), |retry| retry.backoff);
        let doubled = backoff.as_millis().saturating_mul(1 << (record.attempts.saturating_sub(1)).min(10));
        let at = Period::from_millis(doubled).ends(ended_at, facts.now);
        if facts.now < at {
            return still(at, format!("`{}` is tried again: {error}", step.name));
        }
        return attempt(run, record.step, record.attempts + 1, facts);
    }
    match (record.step.part, step.on_error) {
        (Part::Otherwise, _) | (Part::Steps, OnError::Continue) => go_to(run, following, facts),
        (Part::Steps, OnError::Otherwise) => turn(run, format!("`{}`: {error}", step.name)),
    }
}

/// Goes on with `otherwise`, or ends where a run has none: one that another called.
pub(super) fn turn(run: &Run, why: String) -> Next {
    match run.playbook.otherwise {
        Some(_) => Next::Record(vec![RunEvent::Turned { why }]),
        None => end(RunState::Failed, why),
    }
}

/// Begins this step, if there is one and it may.
fn go_to(run: &Run, at: StepRef, facts: &Facts<'_>) -> Next {
    attempt(run, at, 1, facts)
}

/// Makes this attempt, if there is such a step and nothing stands against it now: a further one is asked the same as the first.
fn attempt(run: &Run, at: StepRef, nth: u32, facts: &Facts<'_>) -> Next {
    let Some(step) = run.step(at) else { return finish(run, at.part, facts) };
    match against(run, at, step, facts) {
        Some(Against::Part(why)) => return turn(run, why),
        Some(Against::Step(why)) => return Next::Record(vec![RunEvent::StepSkipped { step: at, why }]),
        Some(Against::Now(why)) => return pause(run, Some(why)),
        None if run.paused.is_some() => return Next::Record(vec![RunEvent::Paused { why: None }]),
        None => {}
    }
    let when = step.when.as_ref().filter(|_| nth == 1);
    match when.map(|when| expression::holds(when, &facts::facts(run, facts))) {
        Some(Ok(false)) => Next::Record(vec![RunEvent::StepSkipped { step: at, why: "its `if` is false".to_owned() }]),
        Some(Err(error)) => {
            let source = when.map(|when| when.source()).unwrap_or_default();
            fails_at_once(run, at, format!("{NO_VALUE}: {error}: `{source}`"), facts)
        }
        None | Some(Ok(true)) => match silenced(run, step, facts) {
            Some(first) => first,
            None => begin(run, at, step, nth, facts),
        },
    }
}

fn begin(run: &Run, at: StepRef, step: &PlaybookStep, attempt: u32, facts: &Facts<'_>) -> Next {
    match order::order(run, step, facts) {
        Ok(order) => {
            let deadline = deadline_of(run, at, step, facts);
            Next::Begin { step: at, attempt, deadline, order: Box::new(order) }
        }
        Err(error) => fails_at_once(run, at, error, facts),
    }
}

/// A step that cannot even begin: begun and ended in one, so that the log has it.
fn fails_at_once(run: &Run, at: StepRef, error: String, facts: &Facts<'_>) -> Next {
    let attempt = run.steps.iter().find(|record| record.step == at).map_or(0, |record| record.attempts) + 1;
    let key = crate::model::Key(format!("{}:{}:none", run.id, at.index));
    // No retry helps what has no value: the attempts are used up.
    let attempt = attempt.max(run.step(at).and_then(|step| step.retry).map_or(1, |retry| retry.attempts));
    Next::Record(vec![
        RunEvent::StepBegun { step: at, attempt, key, deadline: facts.now },
        RunEvent::StepEnded { step: at, attempt, outcome: StepOutcome::Failed { error }, evidence: String::new() },
    ])
}

fn pause(run: &Run, why: Option<String>) -> Next {
    if run.paused == why {
        let why = why.unwrap_or_default();
        return Next::Wait { until: None, why };
    }
    Next::Record(vec![RunEvent::Paused { why }])
}

fn ended(record: &StepRecord, outcome: StepOutcome) -> Next {
    let (step, attempt) = (record.step, record.attempts);
    Next::Record(vec![RunEvent::StepEnded { step, attempt, outcome, evidence: String::new() }])
}

pub(super) fn end(state: RunState, why: String) -> Next {
    Next::Record(vec![RunEvent::Ended { state, why }])
}

/// As [`still`], of what may have no end.
fn until(deadline: Timestamp, why: String) -> Next {
    if deadline == Timestamp::MAX { Next::Wait { until: None, why } } else { still(deadline, why) }
}

fn still(until: Timestamp, why: String) -> Next {
    // A moment later, so that what becomes due at that very time is due when it is looked at.
    let until = until.checked_add(SignedDuration::from_millis(1)).unwrap_or(until);
    Next::Wait { until: Some(until), why }
}
