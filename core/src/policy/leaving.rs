//! What stands otherwise than it is declared. What a revision changes and has not begun to stands as it was before.
//!
//! What no revision declares any more and has not been let go: for whoever answers alerts it is still there, as it was declared.
//! Its playbooks act on it, and what is missing of it is brought back, until a commit releases its removal.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Decision, Facts, Judged};
use crate::desired::Desired;
use crate::model::{Aim, Cause, Live, Observed, Place, Resource, ResourceId, ResourceMemory, Verb};
use crate::plan::{Change, Plan, Standing, pin_of};

/// What is on its way out and held, or not known yet for its provider is silent, each as it was declared.
pub fn leaving(
    plan: &Plan,
    judged: &Judged,
    desired: &Desired,
    facts: &Facts<'_>,
) -> BTreeMap<ResourceId, Arc<Resource>> {
    let remembered = |id: &ResourceId| facts.memory.resources.get(id);
    let held = plan.changes.iter().filter(|change| {
        change.verb == Verb::Delete
            && matches!(judged.decisions.get(&change.id), Some(Decision::Held { hold: Some(_), .. }))
    });
    let held = held.filter_map(|change| {
        let live = facts.snapshot.live(&change.provider, &change.id)?;
        Some((change.id.clone(), as_it_lives(&change.id, live, remembered(&change.id))?))
    });
    let unknown = facts.memory.resources.iter().filter(|(id, memory)| {
        let declared = desired.resources.contains_key(*id) || desired.held.contains_key(*id);
        !declared && memory.dropped_at.is_some() && is_unknown(id, memory, facts)
    });
    let unknown =
        unknown.filter_map(|(id, memory)| Some((id.clone(), Arc::clone(&memory.last_good.as_ref()?.resource))));
    unknown.chain(held).collect()
}

/// What the revision changes and has not begun to, for it waits or is held, each as it was before: it is kept up as that, and
/// playbooks act on that. What failed on its way is none of it: it is tried again.
pub fn as_before(
    plan: &Plan,
    judged: &Judged,
    desired: &Desired,
    facts: &Facts<'_>,
) -> BTreeMap<ResourceId, Arc<Resource>> {
    let before = |change: &Change| {
        let revises =
            matches!(change.verb, Verb::Update | Verb::Replace) && matches!(change.cause, Cause::Revision { .. });
        let decision = judged.decisions.get(&change.id);
        let waits = matches!(decision, Some(Decision::Waiting { .. } | Decision::Held { .. })) && !change.begun;
        let declared = desired.resources.get(&change.id).filter(|_| revises && waits)?;
        let memory = facts.memory.resources.get(&change.id)?;
        let good = memory.last_good.as_ref().map(|good| &good.resource)?;
        let live = facts.snapshot.live(&change.provider, &change.id)?;
        let missed = match &memory.missed {
            Some(Aim::Fewer) => false,
            Some(missed) => *missed != Aim::Spec(good.spec_digest.clone()),
            None => true,
        };
        let tried = memory.failures > 0 && missed;
        let same_place = good.spec.provider == declared.spec.provider && good.team == declared.team;
        let stands = Standing::of(good, live, None).stamp_same && pin_of(good, memory).is_none();
        // Nobody has the value any more that a secret had: another comes with its turn.
        let same_values = good.secret_tags == declared.secret_tags;
        (!tried && same_place && stands && same_values).then(|| (change.id.clone(), Arc::clone(good)))
    };
    plan.changes.iter().filter_map(before).collect()
}

/// Whether a silent provider may have it, and nothing was begun that takes it away there.
fn is_unknown(id: &ResourceId, memory: &ResourceMemory, facts: &Facts<'_>) -> bool {
    let mut places = memory
        .places
        .iter()
        .filter(|(place, leaves)| leaves.is_none() && facts.snapshot.providers.contains_key(*place));
    places.any(|(place, _)| matches!(facts.snapshot.observed(place, id), Observed::Unknown(_)))
}

/// As it is stamped: what was last good, where it is that; else with the spec that was applied.
fn as_it_lives(id: &ResourceId, live: &Live, memory: Option<&ResourceMemory>) -> Option<Arc<Resource>> {
    let stamp = live.stamp.as_ref()?;
    let good = memory.and_then(|memory| memory.last_good.as_ref()).map(|good| &good.resource);
    if let Some(good) = good.filter(|good| good.spec_digest == stamp.spec || live.spec.is_none()) {
        return Some(Arc::clone(good));
    }
    Some(Arc::new(Resource {
        id: id.clone(),
        team: stamp.team.clone(),
        spec: live.spec.clone()?,
        spec_digest: stamp.spec.clone(),
        template_digest: stamp.template.clone(),
        secret_tags: BTreeMap::new(),
        was: Vec::new(),
        adopt: false,
        place: good.map_or_else(|| Place { file: "".into(), line: 1, column: 1 }, |good| good.place.clone()),
    }))
}
