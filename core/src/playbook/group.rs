//! Which alerts are one thing: they share a run, or the page of one. It does not decide what becomes of them.

use serde_json::Value;

use super::Asked;
use crate::model::{Labels, Run, RunCause, WhenBusy};

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
