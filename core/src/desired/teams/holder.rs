//! Who had a thing before, of several teams whose manifests say that it is theirs now. It decides nothing about what becomes
//! of the others.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::model::{ResourceId, TeamName};

use super::rights;
use crate::desired::Context;
use crate::desired::answering::in_force::{self, InForce};
use crate::desired::files::groups::{Found, Key};
use crate::desired::kinds::response::Declares;

/// What is remembered of who had what.
pub(crate) struct Holders<'c> {
    context: &'c Context,
    in_force: &'c InForce,
    /// The file that last declared each resource, once it is asked for.
    files: OnceCell<BTreeMap<&'c ResourceId, &'c Arc<str>>>,
    /// The resource that each former name is of, and that one's team.
    former: BTreeMap<&'c ResourceId, (&'c ResourceId, &'c TeamName)>,
}

impl<'c> Holders<'c> {
    pub(crate) fn new(context: &'c Context, in_force: &'c InForce) -> Self {
        let of_team = context.claims.iter().filter_map(|(id, claims)| Some((id, claims, claims.team.as_ref()?)));
        let former = of_team.flat_map(|(id, claims, team)| claims.was.iter().map(move |was| (was, (id, team))));
        Self { context, in_force, files: OnceCell::new(), former: former.collect() }
    }

    /// The teams, of those whose documents these are, that had it before; none where nobody remembers. It is a team's wherever
    /// it writes it down; only where no team is remembered does the file tell, or else whose that file is.
    pub(crate) fn among<'d>(&self, key: Key<'_>, all: &[(&Found<'_>, &'d TeamName)]) -> BTreeSet<&'d TeamName> {
        let of = |is: &dyn Fn(&Found<'_>, &TeamName) -> bool| -> BTreeSet<&'d TeamName> {
            all.iter().filter(|(found, team)| is(found, team)).map(|(_, team)| *team).collect()
        };
        let holder = self.team(key);
        let mut teams = of(&|_, team| Some(team) == holder);
        if teams.is_empty() {
            teams = of(&|found, _| self.stood_in(key, &found.file.source.path));
        }
        if teams.is_empty()
            && let Some(owner) = self.file(key).and_then(|path| rights::whose(path, self.context))
        {
            teams = of(&|_, team| team == owner);
        }
        teams
    }

    /// The team that had it, as far as that is remembered.
    pub(crate) fn team(&self, (kind, name): Key<'_>) -> Option<&TeamName> {
        match kind.resource(name) {
            Some(id) => self.context.claims.get(&id)?.team.as_ref(),
            None => {
                let key = (kind, name.clone());
                let now = self.there(&key).map(|(declares, _)| declares.team());
                now.or_else(|| self.context.holders.get(&in_force::id(&key)))
            }
        }
    }

    /// What has this as a former name, and whose that is.
    pub(crate) fn formerly(&self, (kind, name): Key<'_>) -> Option<(&ResourceId, &TeamName)> {
        self.former.get(&kind.resource(name)?).copied()
    }

    /// What was in force last. A Team's manifest is not the team's that it declares: whoever may writes it.
    fn there(&self, key: &in_force::Key) -> Option<&(Declares, Arc<str>)> {
        self.in_force.get(key).filter(|(declares, _)| !matches!(declares, Declares::Team(..)))
    }

    /// Whether it was in force until now.
    pub(crate) fn is_there(&self, (kind, name): Key<'_>) -> bool {
        self.there(&(kind, name.clone())).is_some()
    }

    /// Whether it was declared in this file.
    pub(crate) fn stood_in(&self, (kind, name): Key<'_>, path: &Arc<str>) -> bool {
        match kind.resource(name) {
            Some(id) => self.context.declared.get(path).is_some_and(|ids| ids.contains(&id)),
            None => {
                let key = (kind, name.clone());
                // The paths that teams had there are not known: of several manifests only one was good there.
                let stood = |id: &String| self.context.files.get(id).is_none_or(|file| file == path);
                let knows = |good: &BTreeSet<String>| good.get(&in_force::id(&key)).is_some_and(stood);
                self.context.looks_back.as_ref().is_some_and(knows)
                    || self.there(&key).is_some_and(|(_, there)| there == path)
            }
        }
    }

    /// The file it was declared in.
    fn file(&self, (kind, name): Key<'_>) -> Option<&Arc<str>> {
        let Some(id) = kind.resource(name) else {
            return self.there(&(kind, name.clone())).map(|(_, path)| path);
        };
        let all = || self.context.declared.iter().flat_map(|(path, ids)| ids.iter().map(move |id| (id, path)));
        self.files.get_or_init(|| all().collect()).get(&id).copied()
    }
}
