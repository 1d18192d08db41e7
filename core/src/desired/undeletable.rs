//! What must not be deleted while a file cannot be read and what it declared is not known: it may be what seems to be gone. A
//! file can declare nothing of a team that may not write there, and so keeps nothing of that team's.

use std::collections::{BTreeMap, BTreeSet};

use super::{Context, rights};
use crate::model::TeamName;

/// What must not be deleted, each with why.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Undeletable {
    all: Option<String>,
    of: BTreeMap<TeamName, String>,
}

impl Undeletable {
    /// Nothing at all may be deleted.
    pub fn all(why: String) -> Self {
        Self { all: Some(why), of: BTreeMap::new() }
    }

    /// Whether everything that is gone may be deleted.
    pub fn is_empty(&self) -> bool {
        self.all.is_none() && self.of.is_empty()
    }

    /// Why nothing of `team` may be deleted, if so.
    pub fn why(&self, team: &TeamName) -> Option<&str> {
        self.all.as_ref().or_else(|| self.of.get(team)).map(String::as_str)
    }

    /// Takes in a file that cannot be read.
    pub(super) fn add(&mut self, path: &str, why: String, context: &Context) {
        let Some(teams) = writers(path, context) else {
            self.all.get_or_insert(why);
            return;
        };
        for team in teams {
            self.of.entry(team).or_insert_with(|| why.clone());
        }
    }
}

/// The teams whose resources a file may declare: of those that may claim its path, and of those that let one of them take over
/// what is theirs. `None`: anybody's.
pub(super) fn writers(path: &str, context: &Context) -> Option<BTreeSet<TeamName>> {
    let writers = rights::of(path, context);
    let within = |theirs: &&TeamName| writers.iter().any(|writer| rights::reaches(writer, theirs, context));
    (!context.teams.is_empty()).then(|| context.teams.keys().filter(within).cloned().collect())
}
