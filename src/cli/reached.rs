//! Whom an alert reaches at this moment, in the same words wherever a command tells of it.

use codeops_core::model::{Name, Response};
use codeops_core::playbook::{Told, UNANSWERED, told};
use jiff::Timestamp;

/// Who is told, in turn: whom the policy names, else whom the fallback does.
pub(super) fn people(policy: Option<&Name>, fallback: Option<&Name>, response: &Response, now: Timestamp) -> Vec<Told> {
    let of = |policy: Option<&Name>| policy.map(|policy| told(policy, response, now)).unwrap_or_default();
    let named = of(policy);
    if named.is_empty() { of(fallback) } else { named }
}

/// What is missing where nobody is told; `answered` says whether a playbook is on it.
pub(super) fn lost(answered: bool, policy: Option<&Name>, people: &[Told]) -> Option<String> {
    if !people.is_empty() {
        return None;
    }
    let policy = policy.map(|policy| format!("its policy {policy} tells nobody"));
    Some(if answered {
        let why = policy
            .unwrap_or_else(|| "name a `policy` in its route, or an `escalation` in the playbook's team".to_owned());
        format!("nobody is told when its playbooks cannot help: {why}")
    } else {
        let why = policy.unwrap_or_else(|| "no route that counts for it and no `fallback` says who is told".to_owned());
        format!("it reaches no playbook and no person: {why}")
    })
}

/// Why only a person answers it.
pub(super) fn unanswered(why: &str) -> String {
    if why == UNANSWERED { why.to_owned() } else { format!("{UNANSWERED}: {why}") }
}
