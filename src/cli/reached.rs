//! Whom an alert reaches at this moment, in the same words wherever a command tells of it.

use std::collections::BTreeMap;

use codeops_core::config::{Egress, TeamSettings, host};
use codeops_core::model::{Name, Response, TeamName};
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

/// Those of them whose address their team's `egress` forbids, each with its place.
pub(super) fn barred(people: &[Told], response: &Response, teams: &BTreeMap<TeamName, TeamSettings>) -> Vec<String> {
    let of = |told: &Told| {
        let address = told.channel.address().filter(|url| Egress::of(&told.team, teams).bars(url))?;
        let place = &response.receivers.get(&told.receiver)?.place;
        let fails = format!("{place}: receiver {} cannot be told: the `egress` of team {}", told.receiver, told.team);
        Some(format!("{fails} does not name {}: add it in the settings", host(address)))
    };
    people.iter().filter_map(of).collect()
}

/// Why only a person answers it.
pub(super) fn unanswered(why: &str) -> String {
    if why == UNANSWERED { why.to_owned() } else { format!("{UNANSWERED}: {why}") }
}
