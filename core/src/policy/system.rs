//! A provider whose address now leads to another system: everything on it is held, for what was made there is elsewhere
//! and would be made twice, or deleted where it never was.

use std::collections::{BTreeMap, BTreeSet};

use super::{Decision, Facts, Hold, Judged, released};
use crate::desired::{Desired, TOP};
use crate::model::{HoldId, Observed, ProviderName, ResourceId, SystemId, Verb};
use crate::plan::Plan;

/// What is to be said of every change on each provider that changed. Its hold covers all changes planned on it, and what of it is
/// not known, but is called after the two systems: a commit that releases it says "yes, this is the new system", whatever other
/// commits come with it, and the new one is then remembered.
pub(super) fn guard(
    plan: &Plan,
    desired: &Desired,
    facts: &Facts<'_>,
    judged: &mut Judged,
) -> BTreeMap<ProviderName, Decision> {
    let mut decisions = BTreeMap::new();
    for (provider, before, now) in changed(facts) {
        let on_it =
            plan.changes.iter().filter(|c| c.provider == *provider || c.from_provider.as_ref() == Some(provider));
        let mut changes: BTreeSet<(Verb, ResourceId)> = on_it.map(|c| (c.verb, c.id.clone())).collect();
        let mut why = format!("provider {provider} now points at another system ({now}; it was {before})");
        let planned: BTreeSet<ResourceId> = changes.iter().map(|(_, id)| id.clone()).collect();
        let beside: Vec<&ResourceId> = unknown(facts, provider).filter(|id| !planned.contains(*id)).collect();
        if let Some(id) = beside.first()
            && let Observed::Unknown(reason) = facts.snapshot.observed(provider, id)
        {
            why = format!("{why}: {reason}");
        }
        changes.extend(beside.into_iter().map(|id| (Verb::Adopt, id.clone())));
        if changes.is_empty() {
            // All is as it should be there, as in a folder that was moved under what runs: it waits for the same word, before
            // something of it ends.
            let lives = facts.snapshot.objects().filter(|(on, _, live)| *on == provider && live.stamp.is_some());
            changes.extend(lives.map(|(_, id, _)| (Verb::Adopt, id.clone())));
        }
        if changes.is_empty() {
            continue;
        }
        let id = HoldId::of_system(provider, before, now);
        if released::in_force(facts).any(|released| *released == id) {
            // It is everybody's: a commit that speaks for some teams alone does not accept it, unless one of them writes for all.
            if facts.memory.allowed_by.get(&id).is_none_or(|by| !by.is_disjoint(&desired.everybodys)) {
                judged.accepted.insert(provider.clone(), now.clone());
                judged.spent.push(id);
                continue;
            }
            why = format!(
                "{why}; a commit that says so does not count for this: it must change something of a team that may claim `{TOP}`"
            );
        }
        let hold = Hold::named(id, changes, why.clone());
        let release = format!("put the settings back, or accept the new system by a commit with `{}`", hold.trailer);
        decisions.insert(provider.clone(), Decision::Held { why, release, hold: Some(hold.id.clone()) });
        judged.holds.push(hold);
    }
    decisions
}

/// What a provider that answers does not know of.
pub(super) fn unknown<'a>(
    facts: &Facts<'a>,
    provider: &ProviderName,
) -> impl Iterator<Item = &'a ResourceId> + use<'a> {
    let listing = facts.snapshot.providers.get(provider).and_then(|listing| listing.as_ref().ok());
    listing.into_iter().flat_map(|listing| listing.unknown.keys())
}

/// Providers whose system is another than the remembered one: name, before, now.
pub(super) fn changed<'a>(facts: &Facts<'a>) -> impl Iterator<Item = (&'a ProviderName, &'a SystemId, &'a SystemId)> {
    facts.snapshot.providers.iter().filter_map(|(provider, listing)| {
        let now = &listing.as_ref().ok()?.system;
        let before = facts.memory.systems.get(provider)?;
        (before != now).then_some((provider, before, now))
    })
}
