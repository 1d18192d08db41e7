//! Whom an alert reaches at this moment, in the same words wherever a command tells of it.

use std::collections::BTreeMap;
use std::fmt;

use codeops_core::config::{Egress, TeamSettings, host};
use codeops_core::model::{Name, Playbook, Response, TeamName};
use codeops_core::playbook::{Answering, Told, UNANSWERED, told, told_in_turn};
use jiff::Timestamp;
use serde::Serialize;

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
    people.iter().filter_map(|told| bars(told, response, teams)).collect()
}

fn bars(told: &Told, response: &Response, teams: &BTreeMap<TeamName, TeamSettings>) -> Option<String> {
    let address = told.channel.address().filter(|url| Egress::of(&told.team, teams).bars(url))?;
    let place = &response.receivers.get(&told.receiver)?.place;
    let fails = format!("{place}: receiver {} cannot be told: the `egress` of team {}", told.receiver, told.team);
    Some(format!("{fails} does not name {}: add it in the settings", host(address)))
}

/// That there are people, and none of them can be told, the fallback's after those of the policy neither.
pub(super) fn unreachable(
    policy: Option<&Name>,
    fallback: Option<&Name>,
    response: &Response,
    teams: &BTreeMap<TeamName, TeamSettings>,
    now: Timestamp,
) -> Option<String> {
    let all = told_in_turn(policy, fallback, response, now);
    let none = !all.is_empty() && all.iter().all(|told| bars(told, response, teams).is_some());
    none.then(|| "it reaches nobody: `egress` forbids every channel that would be told".to_owned())
}

/// Why only a person answers it.
pub(super) fn unanswered(why: &str) -> String {
    if why == UNANSWERED { why.to_owned() } else { format!("{UNANSWERED}: {why}") }
}

/// A playbook that matches and is not taken.
#[derive(Serialize)]
pub(super) struct NotTaken {
    pub(super) playbook: Name,
    pub(super) team: TeamName,
    pub(super) why: String,
}

/// Those of an alert.
pub(super) fn not_taken(answering: &Answering<'_>) -> Vec<NotTaken> {
    let of = |(playbook, why): &(&Playbook, String)| NotTaken {
        playbook: playbook.name.clone(),
        team: playbook.team.clone(),
        why: why.clone(),
    };
    answering.not.iter().map(of).collect()
}

impl fmt::Display for NotTaken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of team {}: {}", self.playbook, self.team, self.why)
    }
}
