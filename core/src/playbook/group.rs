//! Which alerts are one thing: they share a run, or the page of one. It does not decide what becomes of them.

use std::collections::BTreeSet;

use serde_json::Value;

use super::Asked;
use crate::model::{Does, Labels, Name, Playbook, PlaybookStep, Run, RunCause, WhenBusy};

/// The labels on which others must agree to share its page: its route's `groupBy`; without one its name, if it has one, for what
/// acts on the same target, and all where nothing says that two are one thing. Whose it is is always one of them.
pub(super) fn group(asked: &Asked<'_>) -> Option<Labels> {
    let RunCause::Alert { .. } = asked.cause else { return None };
    let mut group = if asked.group.is_empty() { labels(&asked.alert) } else { asked.group.clone() };
    if asked.group.is_empty() && asked.target.is_some() && group.contains_key("alertname") {
        group.retain(|name, _| name == "alertname");
    }
    group.extend(asked.owner.map(|owner| ("team".to_owned(), owner.to_string())));
    Some(group)
}

/// The labels of an alert.
pub(super) fn labels(alert: &Value) -> Labels {
    let labels = alert.get("labels").and_then(Value::as_object).into_iter().flatten();
    labels.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect()
}

/// Whether a run without a target is of the same group, which is all labels where nobody says which; what joins it must call the
/// same people, too.
pub(super) fn agrees(asked: &Asked<'_>, run: &Run) -> bool {
    let has = labels(&run.alert);
    let of = |name: &String| has.get(name).map(String::as_str).unwrap_or_default();
    let same = match asked.group.is_empty() {
        true => has == labels(&asked.alert),
        false => asked.group.iter().all(|(name, value)| of(name) == value),
    };
    let calls = asked.playbook.concurrency.when_busy != WhenBusy::Join || run.policy == asked.policy;
    calls && !is_anothers(run, asked) && same
}

/// Whether an alert opened a run that is not of the team whose the one is that asks.
pub(super) fn is_anothers(run: &Run, asked: &Asked<'_>) -> bool {
    matches!(run.cause, RunCause::Alert { .. }) && run.owner.as_ref() != asked.owner
}

/// Whether all that would be called for what asks would be called by this run: by the same policy, and by steps that name the
/// same.
pub(super) fn calls_the_same(run: &Run, asked: &Asked<'_>) -> bool {
    let same_steps = run.playbook.name == asked.playbook.name;
    let of_run = || called_by(&run.playbook, run.policy.as_ref());
    let of_asked = || called_by(asked.playbook, asked.policy.as_ref());
    run.policy == asked.policy && (same_steps || of_asked().is_subset(&of_run()))
}

/// Whom the steps of a playbook call: policies, its run's own where none of `otherwise` pages, for then one is added; and
/// playbooks, which may page anybody.
fn called_by<'a>(playbook: &'a Playbook, own: Option<&'a Name>) -> BTreeSet<(&'static str, Option<&'a Name>)> {
    let calls = |step: &'a PlaybookStep| match &step.does {
        Does::Page { policy } => Some(("policy", policy.as_ref().or(own))),
        Does::Playbook(name) => Some(("playbook", Some(name))),
        _ => None,
    };
    let of_otherwise: BTreeSet<_> = playbook.otherwise.iter().flatten().filter_map(calls).collect();
    let added = (!of_otherwise.iter().any(|(kind, _)| *kind == "policy")).then_some(("policy", own));
    playbook.steps.iter().filter_map(calls).chain(of_otherwise).chain(added).collect()
}
