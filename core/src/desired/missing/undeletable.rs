//! What must not be deleted while a mistake may hide what became of it: what seems to be gone may be what cannot be read. A file
//! can declare nothing of a team that it may not be, and so keeps nothing of that team's.

use std::collections::{BTreeMap, BTreeSet};

use crate::desired::Context;
use crate::desired::teams::rights;
use crate::model::TeamName;

/// Why what seems to be gone is not deleted, before the mistake.
pub const GONE: &str = "no longer declared, and not deleted: a mistake may hide what became of it, so mend that first";

/// What must not be deleted, each with why.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Undeletable {
    all: Option<String>,
    of: BTreeMap<TeamName, String>,
    /// What is of none of these teams, those of the settings, and so may be anybody's.
    others: Option<(BTreeSet<TeamName>, String)>,
}

impl Undeletable {
    /// Nothing at all may be deleted.
    pub fn all(why: String) -> Self {
        Self { all: Some(why), ..Self::default() }
    }

    /// Whether everything that is gone may be deleted.
    pub fn is_empty(&self) -> bool {
        self.all.is_none() && self.of.is_empty() && self.others.is_none()
    }

    /// Why nothing of `team` may be deleted, if so.
    pub fn why(&self, team: &TeamName) -> Option<&str> {
        let others = || self.others.as_ref().filter(|(named, _)| !named.contains(team)).map(|(_, why)| why);
        self.all.as_ref().or_else(|| self.of.get(team)).or_else(others).map(String::as_str)
    }

    /// The same of what is of a team that is not remembered: that is only kept with all else.
    pub(crate) fn why_of(&self, team: Option<&TeamName>) -> Option<&str> {
        team.map_or(self.all.as_deref(), |team| self.why(team))
    }

    /// Takes in a file with a mistake that may hide what became of others, or of which not all can be read.
    pub(crate) fn add(&mut self, path: &str, why: &str, context: &Context) {
        if context.teams.is_empty() {
            self.all.get_or_insert_with(|| why.to_owned());
            return;
        }
        for team in within(&rights::hands(path, context), context) {
            self.of.entry(team).or_insert_with(|| why.to_owned());
        }
        self.others.get_or_insert_with(|| (context.teams.keys().cloned().collect(), why.to_owned()));
    }
}

/// The teams whose resources a file may declare: of its owners, and of those that let one of them take over what is theirs.
/// `None`: anybody's.
pub(crate) fn writers(path: &str, context: &Context) -> Option<BTreeSet<TeamName>> {
    (!context.teams.is_empty()).then(|| within(&rights::of(path, context), context))
}

/// The teams whose resources these may declare.
fn within(writers: &[&TeamName], context: &Context) -> BTreeSet<TeamName> {
    let reached = |theirs: &&TeamName| writers.iter().any(|writer| rights::reaches(writer, theirs, context));
    context.teams.keys().filter(reached).cloned().collect()
}
