//! The gate's last look at one step: what was true when the plan was judged may have changed since.

use super::blast::{alone_exceeds, was_held};
use super::{Decision, Facts, is_suspended, judge, system, wait};
use crate::desired::Desired;
use crate::model::{Action, Health, Op, Ours, Owner, ProviderName, ResourceId, Step, Verb};
use crate::plan::{doubt, effective, health_of, plan};

/// The gate's last look at one step, with facts of this very moment. `Err` says why not, in one sentence.
pub fn permit(step: &Step, desired: &Desired, facts: &Facts<'_>) -> Result<(), String> {
    let id = &step.resource;
    if is_suspended(id, desired) {
        return Err(format!("{id} is suspended by its manifest"));
    }
    if let Some(why) = desired.held.get(id) {
        return Err(format!("{id} is kept as it is: {why}"));
    }
    if step.op.desired().is_some() && !desired.resources.contains_key(id) {
        return Err(format!("{id} is not declared any more"));
    }
    if let Some(freeze) = wait::frozen(desired, facts)
        && !wait::finishes(id, &step.cause, desired, facts)
    {
        return Err(freeze.to_string());
    }
    if let Some((provider, before, now)) = system::changed(facts).find(|(provider, ..)| **provider == step.provider) {
        return Err(format!("provider {provider} now points at another system ({now}; it was {before})"));
    }
    if let Op::Create { desired } = &step.op
        && let Some(why) = doubt(desired, &step.owner, facts.snapshot, facts.memory)
    {
        return Err(format!("{id} may live already: {why}"));
    }
    if let Op::Delete { ours, moved_to } = &step.op {
        deletable(step, (ours, moved_to.as_ref()), desired, facts)?;
    }
    match removal(step, desired, facts) {
        Some(verb) => within_budget(verb, id, &step.owner, desired, facts),
        None => Ok(()),
    }
}

/// The gate's look at what a playbook's action comes to. `disturbs`: the action takes away for a while what works, and that
/// shares the budget of removals; what does not work may always be replaced.
pub fn permit_mark(
    id: &ResourceId,
    disturbs: Option<Action>,
    desired: &Desired,
    facts: &Facts<'_>,
) -> Result<(), String> {
    if is_suspended(id, desired) {
        return Err(format!("{id} is suspended by its manifest"));
    }
    if !desired.resources.contains_key(id) {
        return Err(format!("{id} is not declared any more"));
    }
    if let Some(freeze) = wait::frozen_playbooks(desired, facts) {
        return Err(freeze.to_string());
    }
    let Some(action) = disturbs else { return Ok(()) };
    match alone_exceeds(Verb::Replace, id, desired, facts) {
        Some(why) => Err(format!("the blast radius is spent: {action} {why}")),
        None => Ok(()),
    }
}

/// A delete needs our stamp on the object, as it was, and nothing that still wants it there.
fn deletable(
    step: &Step,
    (ours, moved_to): (&Ours, Option<&ProviderName>),
    desired: &Desired,
    facts: &Facts<'_>,
) -> Result<(), String> {
    let (id, provider) = (&step.resource, &step.provider);
    let live = facts.snapshot.live(provider, id).ok_or_else(|| format!("{id} is not seen on {provider} any more"))?;
    let stamp = live.stamp.as_ref().filter(|stamp| stamp.owner == step.owner);
    let stamp = stamp.ok_or_else(|| format!("{id} on {provider} does not carry our stamp"))?;
    if (&stamp.id, &stamp.spec) != (&ours.stamp().id, &ours.stamp().spec) {
        return Err(format!("{id} on {provider} has changed since its removal was decided"));
    }
    let Some(declared) = desired.resources.get(id) else {
        let kept = desired.undeletable.why(&stamp.team);
        return kept.map_or(Ok(()), |why| Err(format!("{id} is kept: {why}")));
    };
    let target = effective(declared, facts.memory.resources.get(id)).resource();
    let there = &target.spec.provider;
    if there == provider {
        return Err(format!("{id} is declared on {provider}"));
    }
    // Else what it wrote would go with it, or be looked for where it is not.
    if moved_to != Some(there) {
        return Err(format!("{id} is declared on {there}, which was not so when its removal was decided"));
    }
    let arrived =
        facts.snapshot.live(there, id).filter(|live| live.stamp.as_ref().is_some_and(|s| s.owner == step.owner));
    match arrived.map(|live| health_of(target, live)) {
        Some(Health::Healthy) => Ok(()),
        _ => Err(format!("{id} does not work on {there} yet")),
    }
}

/// What a step takes away, if anything.
fn removal(step: &Step, desired: &Desired, facts: &Facts<'_>) -> Option<Verb> {
    let declared = desired.resources.get(&step.resource);
    match &step.op {
        Op::Delete { .. } if declared.is_some() => Some(Verb::Move),
        Op::Delete { .. } => Some(Verb::Delete),
        Op::Stop { .. } | Op::Configure { .. } => {
            let zero = declared.is_some_and(|declared| declared.spec.replicas == 0);
            let runs = facts.snapshot.live(&step.provider, &step.resource).is_some_and(|l| !l.instances.is_empty());
            (zero && runs).then_some(Verb::ScaleToZero)
        }
        _ => None,
    }
}

/// The whole plan was judged before; alone, this step passes when it never was held and the budget still has room for it.
/// Otherwise only the whole, judged again with the facts of now, can say whether a commit released it.
fn within_budget(
    verb: Verb,
    id: &ResourceId,
    owner: &Owner,
    desired: &Desired,
    facts: &Facts<'_>,
) -> Result<(), String> {
    let empty = desired.resources.is_empty() && desired.held.is_empty();
    if !empty && !was_held(id, facts) && alone_exceeds(verb, id, desired, facts).is_none() {
        return Ok(());
    }
    let now = plan(desired, facts.revision, owner, facts.snapshot, facts.memory);
    match judge(&now, desired, facts).decisions.remove(id) {
        Some(Decision::Held { why, release, .. }) => Err(format!("{why}; {release}")),
        Some(Decision::Suspended) => Err(format!("{id} is suspended by its manifest")),
        Some(Decision::Go | Decision::Waiting { .. }) => Ok(()),
        None => Err(format!("removing {id} is not planned any more")),
    }
}
