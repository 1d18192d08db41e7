//! What is one team's while manifests of others ask for its name and have no effect. However many files ask for however many
//! names, of each name one place is known for each team.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::unit::Unit;
use crate::model::{ResourceId, TeamName};

/// Names that others ask for, each with those teams.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted(BTreeMap<ResourceId, BTreeMap<TeamName, Asks>>);

/// That a team asks for a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asks {
    /// Where, in one of its manifests: the first one that has begun, if one has.
    pub place: String,
    /// Whether that file came or changed since the revision that was looked at before.
    pub begun: bool,
}

impl Wanted {
    /// Notes that a team asks for this.
    pub fn ask(&mut self, id: ResourceId, team: &TeamName, begun: bool, place: impl FnOnce() -> String) {
        let by = self.0.entry(id).or_default();
        if by.get(team).is_none_or(|before| begun && !before.begun) {
            by.insert(team.clone(), Asks { place: place(), begun });
        }
    }

    /// The teams that ask for this, each with where; none that has nobody.
    pub fn of(&self, id: &ResourceId) -> Option<&BTreeMap<TeamName, Asks>> {
        self.0.get(id)
    }

    /// All that is asked for.
    pub fn all(&self) -> impl Iterator<Item = (&ResourceId, &BTreeMap<TeamName, Asks>)> {
        self.0.iter()
    }

    /// Whether nothing is.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Forgets what is declared: who asks for that asks in vain.
    pub(crate) fn forget<T>(&mut self, declared: &BTreeMap<ResourceId, T>) {
        self.0.retain(|id, _| !declared.contains_key(id));
    }
}

/// The files of a revision that came or changed since the one that was looked at before.
#[derive(Debug, Default)]
pub(crate) struct Came(BTreeSet<Arc<str>>);

impl Came {
    pub(crate) fn new(paths: impl Iterator<Item = Arc<str>>) -> Self {
        Self(paths.collect())
    }

    /// Whether this file is one of them.
    pub(crate) fn has(&self, path: &str) -> bool {
        self.0.contains(path)
    }

    /// Whether a file of this manifest is, be it its overlay's.
    pub(crate) fn has_of(&self, unit: &Unit) -> bool {
        self.has(&unit.base.source.path) || unit.overlay.as_ref().is_some_and(|overlay| self.has(&overlay.source.path))
    }
}
