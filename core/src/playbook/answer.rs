//! Who answers an alert: the playbook, what it acts on, and who is paged; or why only a person can.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Value, json};

use crate::alert::Routed;
use crate::config::TeamSpec;
use crate::model::{
    Alert, Concurrency, Labels, Limits, Name, Per, Period, Playbook, Resource, ResourceId, Response, TeamName, Trigger,
    WhenBusy,
};

use super::target_for;

/// Our own playbook, which answers what no other does: it pages.
const PAGES: &str = "codeops-page";

/// The same for what its receiver may not reach: nothing else joins its pages.
const BARRED: &str = "codeops-barred";

/// Why only a person is called where no playbook is on an alert.
pub const UNANSWERED: &str = "no playbook answers it";

/// Why no team's playbook takes what says nowhere whose it is.
const NOBODYS: &str = "the alert names no team, and no app or service that tells whose it is";

/// How the reason ends for which the playbook of a suspended target does nothing.
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
    /// A person, at once: its playbook may do nothing, since people keep its target as it is.
    Held {
        /// Which.
        playbook: Arc<Playbook>,
        /// Its target.
        target: ResourceId,
        /// Who.
        policy: Option<Name>,
        /// Why nothing is done.
        why: String,
    },
}

impl Answer {
    /// Who is paged by it.
    pub fn policy(&self) -> Option<&Name> {
        match self {
            Answer::Runs { policy, .. } | Answer::Pages { policy, .. } | Answer::Held { policy, .. } => policy.as_ref(),
        }
    }
}

/// Which playbooks may answer an alert.
#[derive(Debug, Clone, PartialEq)]
pub struct Answering<'a> {
    /// Those that may, the first that can first.
    pub may: Vec<&'a Arc<Playbook>>,
    /// Those that may not, each with why.
    pub not: Vec<(&'a Playbook, String)>,
    /// In one sentence, why none may where none does: a person decides.
    pub why: String,
}

impl World<'_> {
    /// Who answers an alert that was routed so: the first playbook that may. `seen` is what steps see of it, `receiver` the teams
    /// that its receiver is for, where it is not for all.
    pub fn answer(&self, routed: &Routed, seen: &Value, receiver: Option<&BTreeSet<TeamName>>) -> Answer {
        let policy = routed.policy.as_ref();
        let Answering { may, why, .. } = self.may_answer(routed, receiver);
        // The playbook's team says who is called for it before the fallback does.
        let named = policy.filter(|_| !routed.by_fallback);
        let mut answers =
            may.into_iter().map(|playbook| self.answered_by(playbook, routed.owner.as_ref(), named, seen));
        let first = answers.next();
        let answer = match first {
            None => self.pages(policy, why),
            Some(pages @ Answer::Pages { .. }) => {
                answers.find(|answer| !matches!(answer, Answer::Pages { .. })).unwrap_or(pages)
            }
            Some(answer) => answer,
        };
        match receiver {
            Some(teams) => self.within(answer, teams, routed),
            None => answer,
        }
    }

    /// An answer to what a receiver brought that may only reach what these teams own: anything else is told to the fallback.
    pub fn within(&self, answer: Answer, teams: &BTreeSet<TeamName>, routed: &Routed) -> Answer {
        let why = match &answer {
            Answer::Pages { why, .. } if !routed.owner.as_ref().is_some_and(|owner| teams.contains(owner)) => {
                why.clone()
            }
            Answer::Pages { .. } => return answer,
            Answer::Runs { playbook, target, .. } => match self.out_of_reach(playbook, target.as_ref(), teams) {
                Some(why) => why,
                None => return answer,
            },
            Answer::Held { playbook, target, .. } => match self.out_of_reach(playbook, Some(target), teams) {
                Some(why) => why,
                None => return answer,
            },
        };
        self.person(BARRED, self.fallback.or(routed.policy.as_ref()), why)
    }

    /// Why a playbook on this target answers nothing that a receiver of these teams brings.
    fn out_of_reach(
        &self,
        playbook: &Playbook,
        target: Option<&ResourceId>,
        teams: &BTreeSet<TeamName>,
    ) -> Option<String> {
        let reached = target.and_then(|id| Some(&self.resources.get(id)?.team));
        let on = || target.map_or_else(|| format!("playbook {}", playbook.name), ToString::to_string);
        (!teams.contains(reached.unwrap_or(&playbook.team)))
            .then(|| format!("its receiver may not reach {}: add the team to the receiver's `teams`", on()))
    }

    /// Those of the playbooks on an alert that may answer it, the owner's own first, and why the others may not. Where the
    /// settings name no teams, all. What is nobody's is the platform's: of those whose routes are for everybody. What a target
    /// comes to tells nothing of whose it is: any team may name an app as some label's value happens to be.
    pub fn may_answer(&self, routed: &Routed, receiver: Option<&BTreeSet<TeamName>>) -> Answering<'_> {
        let named = routed.playbooks.iter();
        let known: Vec<&Arc<Playbook>> = named.filter_map(|name| self.response.playbooks.get(name)).collect();
        if self.reach.is_empty() || known.is_empty() {
            return Answering { may: known, not: Vec::new(), why: UNANSWERED.to_owned() };
        }
        let only = receiver.filter(|teams| teams.len() == 1).and_then(|teams| teams.first().cloned());
        if let Some(owner) = routed.owner.clone().or(only) {
            let lets = |team: &TeamName| self.reach.get(&owner).is_some_and(|allowed| allowed.contains(team));
            let (own, others): (Vec<_>, Vec<_>) = known.into_iter().partition(|playbook| playbook.team == owner);
            let (others, barred): (Vec<_>, Vec<_>) = others.into_iter().partition(|playbook| lets(&playbook.team));
            return Answering {
                may: own.into_iter().chain(others).collect(),
                not: not(&barred, &format!("the alert is team {owner}'s, which does not `allow` that team")),
                why: format!("it is team {owner}'s, and no playbook that may answer for that team is on it"),
            };
        }
        let policy = routed.policy.as_ref().and_then(|policy| self.response.policies.get(policy));
        let speaks = |playbook: &Arc<Playbook>| {
            let by_policy = policy.is_some_and(|policy| policy.team == playbook.team);
            let of = [routed.by_route.contains(&playbook.name), by_policy, routed.everybodys.contains(&playbook.team)];
            of.into_iter().position(|of| of)
        };
        let first = known.iter().filter_map(|playbook| speaks(playbook)).min();
        let (may, others): (Vec<_>, Vec<_>) =
            known.into_iter().partition(|playbook| first.is_some() && speaks(playbook) == first);
        let names: Vec<&str> = others.iter().map(|playbook| playbook.name.as_str()).collect();
        let names = names.join(" and ");
        Answering {
            may,
            not: not(&others, NOBODYS),
            why: format!("{NOBODYS}, so {names} may not answer it: a label `team` would say whose it is"),
        }
    }

    /// What becomes of an alert of this team that this playbook is to answer; `policy` is what its route names.
    pub fn answered_by(
        &self,
        playbook: &Arc<Playbook>,
        owner: Option<&TeamName>,
        policy: Option<&Name>,
        seen: &Value,
    ) -> Answer {
        let told = policy.or(self.fallback);
        let target = match playbook.target.as_ref().map(|template| target_for(template, seen)).transpose() {
            Ok(target) => target,
            Err(error) => return self.pages(told, error),
        };
        if let Some(target) = &target {
            let Some(declared) = self.resources.get(target) else {
                return self.pages(told, format!("its target {target} is not declared"));
            };
            if !self.may_act(&playbook.team, target) {
                return self.pages(told, format!("team {} may not act on {target}", playbook.team));
            }
            // What a label comes to may be anybody's: only what the alert's team may act on itself helps it, or what is the playbook's.
            if let Some(owner) = owner.filter(|owner| declared.team != playbook.team && !self.may_act(owner, target)) {
                let theirs = &declared.team;
                let why = format!("its target {target} is team {theirs}'s, and the alert team {owner}'s");
                return self.pages(told, why);
            }
        }
        let policy = policy.cloned().or_else(|| self.escalation(&playbook.team));
        if let Some(target) = target.clone().filter(|id| self.resources.get(id).is_some_and(|it| it.spec.suspend)) {
            let why = format!("{target} {SUSPENDED}");
            return Answer::Held { playbook: Arc::clone(playbook), target, policy, why };
        }
        Answer::Runs { playbook: Arc::clone(playbook), target, policy }
    }

    /// Whether a team may act on a resource: on all, where the settings keep no teams apart.
    pub fn may_act(&self, team: &TeamName, id: &ResourceId) -> bool {
        let Some(declared) = self.resources.get(id) else { return false };
        self.reach.is_empty()
            || declared.team == *team
            || self.reach.get(&declared.team).is_some_and(|allowed| allowed.contains(team))
    }

    /// What an alert says by its labels that it is about, whoever answers it: what its team may act on, and its receiver reach.
    pub fn about(
        &self,
        labels: &Labels,
        owner: Option<&TeamName>,
        receiver: Option<&BTreeSet<TeamName>>,
    ) -> Option<ResourceId> {
        let named = |kind: &&str| format!("{kind}/{}", labels.get(*kind)?).parse::<ResourceId>().ok();
        let may = |id: &ResourceId| {
            let its_own = self.reach.is_empty() || owner.is_some_and(|owner| self.may_act(owner, id));
            let declared = self.resources.get(id).filter(|it| its_own && !it.spec.suspend);
            declared.is_some_and(|it| receiver.is_none_or(|teams| teams.contains(&it.team)))
        };
        ["app", "service"].iter().filter_map(named).find(may)
    }

    /// Who is paged for what a team owns.
    pub fn escalation(&self, team: &TeamName) -> Option<Name> {
        let own = self.teams.get(team).and_then(|team| team.escalation.as_ref());
        own.or(self.fallback).cloned()
    }

    /// Who answers now for what a page tells of, the first that is to be told first: its route's policy, the escalation of the team
    /// that answers it, and of that whose the alert is, then the fallback. `playbook` is what its run is of. What a receiver may not
    /// reach is told to the fallback alone.
    pub fn answers_now(&self, playbook: Option<&Name>, team: Option<&TeamName>, routed: Option<&Routed>) -> Vec<Name> {
        let own = |team: &TeamName| self.teams.get(team)?.escalation.clone();
        let fallback = self.fallback.cloned();
        if playbook.is_some_and(|name| name.as_str() == BARRED) {
            return fallback.into_iter().collect();
        }
        let route = routed.filter(|routed| !routed.by_fallback).and_then(|routed| routed.policy.clone());
        let declared = playbook.and_then(|name| self.response.playbooks.get(name)).map(|it| &it.team);
        let owner = routed.and_then(|routed| routed.owner.as_ref());
        let teams = team.or(declared).into_iter().chain(owner).filter_map(own);
        route.into_iter().chain(teams).chain(fallback).collect()
    }

    /// A person alone, for this reason.
    pub fn pages(&self, policy: Option<&Name>, why: String) -> Answer {
        self.person(PAGES, policy, why)
    }

    fn person(&self, playbook: &str, policy: Option<&Name>, why: String) -> Answer {
        let found = policy.and_then(|policy| self.response.policies.get(policy));
        let team = found.map_or_else(|| literal("codeops"), |policy| policy.team.clone());
        let playbook = Arc::new(Playbook { name: literal(playbook), ..pages(team) });
        Answer::Pages { playbook, policy: policy.cloned(), why }
    }
}

/// Whether a playbook is ours, which only pages, and not of a repository.
pub fn is_built_in(name: &Name) -> bool {
    matches!(name.as_str(), PAGES | BARRED)
}

fn literal(name: &str) -> Name {
    Name::new(name).expect("a literal name")
}

fn not<'a>(playbooks: &[&'a Arc<Playbook>], why: &str) -> Vec<(&'a Playbook, String)> {
    playbooks.iter().map(|&playbook| (playbook.as_ref(), why.to_owned())).collect()
}

/// What steps see as `alert`.
pub fn seen(alert: &Alert) -> Value {
    json!({
        "labels": alert.labels,
        "annotations": alert.annotations,
        "startsAt": alert.id.starts_at.to_string(),
        "source": alert.id.source.as_str(),
        "receiver": alert.receiver.as_str(),
        "fingerprint": alert.id.fingerprint.as_str(),
        "url": alert.url,
    })
}

/// The playbook that answers what no other does.
pub fn pages(team: TeamName) -> Playbook {
    Playbook {
        name: literal(PAGES),
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
