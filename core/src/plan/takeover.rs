//! Whether a team may have what is live under another's name: by declaring the same id, by a former name, or by both on
//! another provider. What is live brings its data and its user along, so the settings are asked first.

use std::sync::Arc;

use super::locate::Located;
use super::{Change, Effective, Look};
use crate::model::{Live, Resource, ResourceId, TeamName, Verb};

impl Look<'_> {
    /// The held change to a resource that lives as another team's, unless that team lets the declaring one take it over.
    pub(super) fn takeover(
        &self,
        declared: &Arc<Resource>,
        effective: &Effective<'_>,
        located: &Located<'_>,
    ) -> Option<Change> {
        let (id, live, verb) = match located {
            Located::Here { live, .. } => (&declared.id, *live, Verb::Adopt),
            Located::Elsewhere { live, .. } => (&declared.id, *live, Verb::Move),
            Located::Formerly { id, live } => (*id, *live, Verb::Rename),
            Located::FormerlyElsewhere { .. } | Located::Nowhere | Located::Unknown(_) => return None,
        };
        let theirs = self.owning_team(live).filter(|theirs| !self.desired.may_take(&declared.team, theirs))?;
        let held = Some(refusal(id, theirs, &declared.team));
        let from_id = (verb == Verb::Rename).then(|| id.clone());
        let place = Some(declared.place.clone());
        Some(Change { held, from_id, place, ..self.change(declared, effective, verb) })
    }

    pub(super) fn owning_team<'l>(&self, live: &'l Live) -> Option<&'l TeamName> {
        live.stamp.as_ref().filter(|stamp| stamp.owner == *self.owner).map(|stamp| &stamp.team)
    }
}

fn refusal(id: &ResourceId, theirs: &TeamName, team: &TeamName) -> String {
    format!(
        "what lives as {id} belongs to the team {theirs}, with its data: {team} gets it once `teams.{theirs}.allow` in the \
         daemon's settings has {team}; until then declare it under {theirs} again, or choose another name"
    )
}
