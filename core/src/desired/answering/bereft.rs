//! What is some team's of how alerts are answered though no manifest of that team says so: what stood in a file that the settings
//! have taken from it, and names that it gave up while others still refer to them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::config::TeamSpec;
use crate::model::TeamName;

use super::deleted;
use super::in_force::{Candidate, InForce, Key, id};
use super::referred::Referred;
use crate::desired::Context;
use crate::desired::kinds::response::Declares;
use crate::desired::teams::rights;
use crate::desired::text::mistakes::Mistakes;

/// What was in force, stood where its team may not write any more, and is not there now: whoever has the path by now does not
/// speak for that team, which could not take it away. So it stays until that team declares it somewhere else.
pub(crate) fn of(before: &InForce, candidates: &[Candidate], context: &Context) -> BTreeMap<Key, TeamName> {
    if context.teams.is_empty() {
        return BTreeMap::new();
    }
    let declared: BTreeSet<&Key> = candidates.iter().map(|candidate| &candidate.key).collect();
    let is_bereft = |(key, (declares, path)): (&Key, &(Declares, Arc<str>))| {
        let team = declares.team();
        let taken = context.teams.contains_key(team) && !rights::may_claim(team, path, context);
        let stays = taken && !matches!(declares, Declares::Team(..) | Declares::Test(_)) && !declared.contains(key);
        stays.then(|| (key.clone(), team.clone()))
    };
    before.iter().filter_map(is_bereft).collect()
}

/// Says so, and gives why it stays.
pub(crate) fn told(
    key: &Key,
    (declares, path): &(Declares, Arc<str>),
    team: &TeamName,
    found: &mut Mistakes,
) -> String {
    let why = format!(
        "the settings have taken `{path}`, where it stood, from the team `{team}`, and it is not there any more"
    );
    let message = format!("{} `{}` stays as it was: {why}", key.0.word(), key.1);
    let help = format!("let `{team}` declare it in a file that it may claim; from there it may also remove it");
    found.push(deleted::told(declares, path, message, help));
    why
}

/// Names that nothing in force has now and somebody refers to, with whose they were: whoever comes to have one does not come to
/// be called by what others said of its holder.
pub(crate) fn still_named(
    candidates: &[Candidate],
    teams: &BTreeMap<TeamName, Arc<TeamSpec>>,
    before: &InForce,
    context: &Context,
) -> BTreeMap<String, TeamName> {
    if context.teams.is_empty() {
        return BTreeMap::new();
    }
    let counts = candidates.iter().filter(|one| one.broken.is_none() || before.contains_key(&one.key));
    let there: BTreeSet<&Key> = counts.map(|candidate| &candidate.key).collect();
    let referred = Referred::by_what_counts(candidates, teams, before, context);
    let dangling = referred.names().filter(|key| !there.contains(key));
    let holder = |key: &Key| {
        let was = before.get(key).map(|(declares, _)| declares.team()).or_else(|| context.holders.get(&id(key)))?;
        context.teams.contains_key(was).then(|| (id(key), was.clone()))
    };
    dangling.filter_map(holder).collect()
}
