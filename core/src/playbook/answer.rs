//! Who answers an alert: the playbook, what it acts on, and who is paged; or why only a person can.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Value, json};

use crate::alert::Routed;
use crate::config::TeamSpec;
use crate::model::{
    Alert, Concurrency, Limits, Name, Per, Period, Playbook, Resource, ResourceId, Response, TeamName, Trigger,
    WhenBusy,
};

use super::target_for;

/// Our own playbook, which answers what no other does: it pages.
pub const PAGES: &str = "codeops-page";

/// Why only a person is called where no playbook is on an alert.
pub const UNANSWERED: &str = "no playbook answers it";

/// How the reason ends for which a suspended target takes no playbook.
pub const SUSPENDED: &str = "is suspended by its manifest";

/// What one revision declares, as far as answers rest on it.
#[derive(Debug, Clone, Copy)]
pub struct World<'a> {
    /// Playbooks, routes and people.
    pub response: &'a Response,
    /// What can be acted on.
    pub resources: &'a BTreeMap<ResourceId, Arc<Resource>>,
    /// Which teams each team lets act on what is its own.
    pub reach: &'a BTreeMap<TeamName, BTreeSet<TeamName>>,
    /// The teams, which say who is paged for what they own.
    pub teams: &'a BTreeMap<TeamName, TeamSpec>,
    /// Who is paged where nothing says.
    pub fallback: Option<&'a Name>,
    /// How late a resolved signal may come.
    pub resolve_delay: Period,
}

/// Who answers.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// A playbook.
    Runs {
        /// Which.
        playbook: Arc<Playbook>,
        /// On what.
        target: Option<ResourceId>,
        /// Who is paged if it does not help.
        policy: Option<Name>,
    },
    /// A person, at once.
    Pages {
        /// Our own playbook, which does.
        playbook: Arc<Playbook>,
        /// Who.
        policy: Option<Name>,
        /// Why no playbook.
        why: String,
    },
    /// Nobody, as long as this is so.
    Quiet(String),
}

impl World<'_> {
    /// Who answers an alert that was routed so: the first playbook that may, of those that may speak for whose it is. `seen` is
    /// what steps see of it.
    pub fn answer(&self, routed: &Routed, seen: &Value) -> Answer {
        let policy = routed.policy.as_ref();
        let known = match self.may_answer(routed, seen) {
            Ok(known) => known,
            Err(why) => return self.pages(policy, why),
        };
        let mut answers = known.into_iter().map(|playbook| self.answered_by(playbook, policy, seen));
        let first = answers.next();
        match first {
            None => self.pages(policy, UNANSWERED.to_owned()),
            Some(pages @ Answer::Pages { .. }) => {
                answers.find(|answer| !matches!(answer, Answer::Pages { .. })).unwrap_or(pages)
            }
            Some(answer) => answer,
        }
    }

    /// An answer to what a receiver brought that may only reach what these teams own: anything else is told to the fallback.
    pub fn within(&self, answer: Answer, teams: &BTreeSet<TeamName>, routed: &Routed) -> Answer {
        let why = match &answer {
            Answer::Quiet(_) => return answer,
            Answer::Pages { why, .. } if !routed.owner.as_ref().is_some_and(|owner| teams.contains(owner)) => {
                why.clone()
            }
            Answer::Pages { .. } => return answer,
            Answer::Runs { playbook, target, .. } => {
                let reached = target.as_ref().and_then(|id| Some(&self.resources.get(id)?.team));
                if teams.contains(reached.unwrap_or(&playbook.team)) {
                    return answer;
                }
                let on = target.as_ref().map_or_else(|| format!("playbook {}", playbook.name), ToString::to_string);
                format!("its receiver may not reach {on}: add the team to the receiver's `teams`")
            }
        };
        self.pages(self.fallback.or(routed.policy.as_ref()), why)
    }

    /// Those of the playbooks on an alert that may answer it, the owner's own first. Where the settings name no teams, all.
    ///
    /// # Errors
    /// In one sentence, why none may: a person decides.
    pub fn may_answer(&self, routed: &Routed, seen: &Value) -> Result<Vec<&Arc<Playbook>>, String> {
        let named = routed.playbooks.iter();
        let known: Vec<&Arc<Playbook>> = named.filter_map(|name| self.response.playbooks.get(name)).collect();
        if self.reach.is_empty() || known.is_empty() {
            return Ok(known);
        }
        if let Some(owner) = routed.owner.clone().or_else(|| self.acted_on(&known, seen)) {
            let lets = |team: &TeamName| self.reach.get(&owner).is_some_and(|allowed| allowed.contains(team));
            let (own, others): (Vec<_>, Vec<_>) = known.into_iter().partition(|playbook| playbook.team == owner);
            let others = others.into_iter().filter(|playbook| lets(&playbook.team));
            let may: Vec<_> = own.into_iter().chain(others).collect();
            let why = || format!("it is team {owner}'s, and no playbook that may answer for that team is on it");
            return if may.is_empty() { Err(why()) } else { Ok(may) };
        }
        // Nothing says whose it is, and playbooks of several teams are on it.
        let policy = routed.policy.as_ref().and_then(|policy| self.response.policies.get(policy));
        let named = |playbook: &&Arc<Playbook>| routed.by_route.contains(&playbook.name);
        let of_policy = |playbook: &&Arc<Playbook>| policy.is_some_and(|policy| policy.team == playbook.team);
        let by_route: Vec<_> = known.iter().copied().filter(named).collect();
        let by_policy: Vec<_> = known.iter().copied().filter(of_policy).collect();
        match (by_route.is_empty(), by_policy.is_empty()) {
            (false, _) => Ok(by_route),
            (true, false) => Ok(by_policy),
            (true, true) => {
                let names: Vec<&str> = known.iter().map(|playbook| playbook.name.as_str()).collect();
                let names = names.join(" and ");
                Err(format!("{names} of different teams are on it; a label `team` would say whose it is"))
            }
        }
    }

    /// Whose the resources are that all these playbooks would act on, where they agree. One without a target is about its own
    /// team's.
    fn acted_on(&self, playbooks: &[&Arc<Playbook>], seen: &Value) -> Option<TeamName> {
        let teams = playbooks.iter().filter_map(|playbook| match &playbook.target {
            None => Some(&playbook.team),
            Some(template) => {
                let target = target_for(template, seen).ok().filter(|target| self.may_act(&playbook.team, target))?;
                Some(&self.resources.get(&target)?.team)
            }
        });
        let teams: BTreeSet<&TeamName> = teams.collect();
        match teams.len() {
            1 => teams.first().map(|team| (*team).clone()),
            _ => None,
        }
    }

    /// What becomes of an alert that this playbook is to answer; `policy` is its route's.
    pub fn answered_by(&self, playbook: &Arc<Playbook>, policy: Option<&Name>, seen: &Value) -> Answer {
        let target = match playbook.target.as_ref().map(|template| target_for(template, seen)).transpose() {
            Ok(target) => target,
            Err(error) => return self.pages(policy, error),
        };
        if let Some(target) = &target {
            let Some(declared) = self.resources.get(target) else {
                return self.pages(policy, format!("its target {target} is not declared"));
            };
            if !self.may_act(&playbook.team, target) {
                return self.pages(policy, format!("team {} may not act on {target}", playbook.team));
            }
            if declared.spec.suspend {
                return Answer::Quiet(format!("{target} {SUSPENDED}"));
            }
        }
        let policy = policy.cloned().or_else(|| self.escalation(&playbook.team));
        Answer::Runs { playbook: Arc::clone(playbook), target, policy }
    }

    /// Whether a team may act on a resource.
    pub fn may_act(&self, team: &TeamName, id: &ResourceId) -> bool {
        let Some(declared) = self.resources.get(id) else { return false };
        declared.team == *team || self.reach.get(&declared.team).is_some_and(|allowed| allowed.contains(team))
    }

    /// Who is paged for what a team owns.
    pub fn escalation(&self, team: &TeamName) -> Option<Name> {
        let own = self.teams.get(team).and_then(|team| team.escalation.as_ref());
        own.or(self.fallback).cloned()
    }

    /// A person alone, for this reason.
    pub fn pages(&self, policy: Option<&Name>, why: String) -> Answer {
        let found = policy.and_then(|policy| self.response.policies.get(policy));
        let team = found.map_or_else(|| Name::new("codeops").expect("a literal name"), |policy| policy.team.clone());
        Answer::Pages { playbook: Arc::new(pages(team)), policy: policy.cloned(), why }
    }
}

/// What steps see as `alert`.
pub fn seen(alert: &Alert) -> Value {
    json!({
        "labels": alert.labels,
        "annotations": alert.annotations,
        "startsAt": alert.id.starts_at.to_string(),
        "source": alert.id.source.as_str(),
        "fingerprint": alert.id.fingerprint.as_str(),
        "url": alert.url,
    })
}

/// The playbook that answers what no other does.
pub fn pages(team: TeamName) -> Playbook {
    Playbook {
        name: Name::new(PAGES).expect("a literal name"),
        team,
        folder: String::new(),
        on: Trigger::Called,
        target: None,
        concurrency: Concurrency { per: Per::Target, when_busy: WhenBusy::Join },
        limits: Limits { timeout: Period::from_secs(900), runs: None },
        steps: Vec::new(),
        otherwise: None,
    }
}
