//! Whose an alert is, and who may speak for that team: with teams in the settings, no manifest of one team answers, routes or
//! hushes what is another's.

use std::collections::{BTreeMap, BTreeSet};

use super::{Labels, Name, ResourceId, TeamName};

/// The labels that name a resource, and of which kind.
const NAMES: [(&str, &str); 2] = [("app", "app"), ("service", "service")];
/// The label that names a team.
const TEAM: &str = "team";

/// The teams of a revision and what is theirs. Empty where the settings name no teams: then nothing is asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Whose {
    resources: BTreeMap<ResourceId, TeamName>,
    teams: BTreeSet<TeamName>,
    /// Which teams each lets act on what is its own.
    reach: BTreeMap<TeamName, BTreeSet<TeamName>>,
    /// Those that may claim the Repository's file: they write for everybody.
    everybodys: BTreeSet<TeamName>,
}

impl Whose {
    /// Of a revision; `reach` is empty where the settings name no teams.
    pub fn new(
        resources: impl Iterator<Item = (ResourceId, TeamName)>,
        teams: impl Iterator<Item = TeamName>,
        reach: &BTreeMap<TeamName, BTreeSet<TeamName>>,
        everybodys: &BTreeSet<TeamName>,
    ) -> Self {
        if reach.is_empty() {
            return Self::default();
        }
        Self {
            resources: resources.collect(),
            teams: teams.collect(),
            reach: reach.clone(),
            everybodys: everybodys.clone(),
        }
    }

    /// Whether it is asked at all.
    pub fn asks(&self) -> bool {
        !self.reach.is_empty()
    }

    /// Whether a team writes for everybody: it may claim the Repository's file.
    pub fn writes_for_everybody(&self, team: &TeamName) -> bool {
        !self.asks() || self.everybodys.contains(team)
    }

    /// The teams that do.
    pub fn everybodys(&self) -> &BTreeSet<TeamName> {
        &self.everybodys
    }

    /// Whose an alert is, as far as its labels tell: the team they name, else that of the app or service they name. Any team may
    /// declare an app by a name that another's alerts have.
    pub fn owner(&self, labels: &Labels) -> Option<&TeamName> {
        if !self.asks() {
            return None;
        }
        let team = labels.get(TEAM).and_then(|team| team.parse::<Name>().ok());
        let team = team.and_then(|team| self.teams.get(&team).or_else(|| Some(self.reach.get_key_value(&team)?.0)));
        let resource = |(label, kind): &(&str, &str)| {
            let id: ResourceId = format!("{kind}/{}", labels.get(*label)?).parse().ok()?;
            self.resources.get(&id)
        };
        team.or_else(|| NAMES.iter().find_map(resource))
    }

    /// Whose an alert is that came by a receiver for these teams, where that is not for all: what its labels do not tell is the
    /// team's whose alone the receiver is.
    pub fn owner_of<'a>(&'a self, labels: &Labels, receiver: Option<&'a BTreeSet<TeamName>>) -> Option<&'a TeamName> {
        let only = receiver.filter(|teams| self.asks() && teams.len() == 1);
        self.owner(labels).or_else(|| only?.first())
    }

    /// Whether a team may speak for another: it is the same, or is let.
    pub fn speaks(&self, team: &TeamName, owner: &TeamName) -> bool {
        team == owner || self.reach.get(owner).is_some_and(|allowed| allowed.contains(team))
    }
}
