//! What is no longer declared by whose it is, while another team's manifest has begun to ask for its name: either it was to be
//! handed over, with its data, or the two have nothing to do with each other. Whose it is says which. Who asked for it in vain
//! all the while keeps nobody from giving it up.

use super::Facts;
use super::blast::{Removals, let_through, team_of};
use crate::desired::Desired;
use crate::model::{Asked, ResourceId, Verb};

/// Of these removals those that wait for a word of their team, each with why.
pub(super) fn waiting<'r>(
    removals: impl Iterator<Item = &'r (Verb, ResourceId)>,
    desired: &Desired,
    facts: &Facts<'_>,
) -> Vec<(Removals, String)> {
    if desired.wanted.is_empty() {
        return Vec::new();
    }
    let under_way = let_through(facts);
    let new = removals.filter(|it| !under_way.contains(*it));
    new.filter_map(|it| Some((Removals::from([it.clone()]), why(it, desired, facts)?))).collect()
}

/// Why this removal waits for a word of its team, if it does.
pub(super) fn why((verb, id): &(Verb, ResourceId), desired: &Desired, facts: &Facts<'_>) -> Option<String> {
    let wanted = desired.wanted.of(id).filter(|_| *verb == Verb::Delete)?;
    let asked = facts.memory.resources.get(id).and_then(|known| known.claims.asked.as_ref());
    let by = match asked {
        Some(Asked::Before) => return None,
        Some(Asked::By(team)) => wanted.get_key_value(team),
        // No revision took it away while somebody asked, such as where the settings have changed.
        None => None,
    };
    let (team, asks) = by.or_else(|| wanted.first_key_value())?;
    let theirs = team_of(id, desired, facts)?;
    Some(format!(
        "{} asks for its name for the team {team}: to hand it over with its data, add {team} to `teams.{theirs}.allow` \
         in the daemon's settings; this would delete it",
        asks.place
    ))
}
