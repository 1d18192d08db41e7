//! Whom an alert reaches at this moment, in the same words wherever a command tells of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use codeops_core::config::{Egress, TeamSettings, host};
use codeops_core::model::{Does, Name, Playbook, Response, TeamName};
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
pub(super) fn lost(answered: bool, policy: Option<&Name>, response: &Response, people: &[Told]) -> Option<String> {
    if !people.is_empty() {
        return None;
    }
    // What was there before this mistake is known to a daemon alone.
    let policy = policy.map(|policy| match response.broken.get(&format!("EscalationPolicy/{policy}")) {
        Some(why) => {
            format!(
                "its policy {policy} tells nobody by this folder alone, and a daemon goes on with the one it had: {why}"
            )
        }
        None => format!("its policy {policy} tells nobody"),
    });
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
    pages: &[StepPage],
    fallback: Option<&Name>,
    response: &Response,
    teams: &BTreeMap<TeamName, TeamSettings>,
    now: Timestamp,
) -> Option<String> {
    let mut all = told_in_turn(policy, fallback, response, now);
    all.extend(pages.iter().flat_map(|page| &page.people).cloned());
    let none = !all.is_empty() && all.iter().all(|told| bars(told, response, teams).is_some());
    none.then(|| "it reaches nobody: `egress` forbids every channel that would be told".to_owned())
}

/// A page that a step of a playbook sends to others than its run's own policy would tell.
#[derive(Serialize)]
pub(super) struct StepPage {
    /// The playbook the step is of: the one that runs, or one that it calls.
    pub(super) playbook: Name,
    pub(super) step: Name,
    pub(super) policy: Name,
    #[serde(skip)]
    pub(super) people: Vec<Told>,
}

/// The pages of a playbook's steps, and of those it calls, that name another policy than `policy`; in the order they stand.
pub(super) fn step_pages(
    program: &Playbook,
    policy: Option<&Name>,
    fallback: Option<&Name>,
    response: &Response,
    now: Timestamp,
) -> Vec<StepPage> {
    let (mut pages, mut seen, mut next) = (Vec::new(), BTreeSet::new(), vec![program]);
    while let Some(playbook) = next.pop() {
        if !seen.insert(&playbook.name) {
            continue;
        }
        for step in playbook.steps.iter().chain(playbook.otherwise.iter().flatten()) {
            match &step.does {
                Does::Page { policy: Some(own) } if policy != Some(own) => pages.push(StepPage {
                    playbook: playbook.name.clone(),
                    step: step.name.clone(),
                    policy: own.clone(),
                    people: people(Some(own), fallback, response, now),
                }),
                Does::Playbook(called) => next.extend(response.playbooks.get(called).map(AsRef::as_ref)),
                _ => {}
            }
        }
    }
    pages
}

/// When the run's own policy is told: always, or where all pages of its steps go elsewhere.
pub(super) fn when_its_own(program: &Playbook, policy: Option<&Name>) -> &'static str {
    let mut steps = program.steps.iter().chain(program.otherwise.iter().flatten());
    let own = |own: &Option<Name>| own.is_none() || own.as_ref() == policy;
    let any = steps.any(|step| matches!(&step.does, Does::Page { policy } if own(policy)));
    if any { "" } else { ", where its steps are not tried" }
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
