//! What is no longer declared by whose it is, while another team's manifest has begun to ask for its name: either it was to be
//! handed over, with its data, or the two have nothing to do with each other. Whose it is says which. Who asked for it in vain
//! all the while keeps nobody from giving it up.

use super::Facts;
use super::blast::{Removals, let_through, team_of};
use crate::desired::Desired;
use crate::model::{ResourceId, TeamName, Verb};

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
    let dispute = |removal: &(Verb, ResourceId)| {
        let (_, id) = removal;
        let before = facts.memory.resources.get(id).map(|memory| &memory.claims.wanted_by);
        let has_begun = |team: &TeamName| before.is_none_or(|before| !before.contains(team));
        let (team, place) = desired.wanted.get(id)?.iter().find(|(team, _)| has_begun(team))?;
        let theirs = team_of(id, desired, facts)?;
        let why = format!(
            "{place} asks for its name for the team {team}: to hand it over with its data, add {team} to `teams.{theirs}.allow` \
             in the daemon's settings; this would delete it"
        );
        Some((Removals::from([removal.clone()]), why))
    };
    removals.filter(|it| it.0 == Verb::Delete && !under_way.contains(*it)).filter_map(dispute).collect()
}
