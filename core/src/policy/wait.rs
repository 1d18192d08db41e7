//! What goes on by itself once something clears: a freeze ends, a backoff runs out, a dependency becomes healthy.

use std::collections::BTreeMap;

use super::{Decision, Facts, is_suspended};
use crate::config::{Freeze, FreezeWhat};
use crate::desired::Desired;
use crate::model::{Aim, Cause, Health, Observed, ResourceId, ResourceMemory, Verb, due};
use crate::plan::{Change, Plan, Standing, effective, health_of};

/// The waits of one plan.
pub(super) struct Waits<'a> {
    desired: &'a Desired,
    facts: &'a Facts<'a>,
    deletes: BTreeMap<&'a ResourceId, &'a Change>,
}

impl<'a> Waits<'a> {
    pub(super) fn new(plan: &'a Plan, desired: &'a Desired, facts: &'a Facts<'a>) -> Self {
        let deletes = plan.changes.iter().filter(|c| c.verb == Verb::Delete).map(|c| (&c.id, c)).collect();
        Self { desired, facts, deletes }
    }

    pub(super) fn freeze(&self, change: &Change) -> Option<Decision> {
        let freeze = frozen(self.desired, self.facts)?;
        if finishes(&change.id, &change.cause, self.desired, self.facts) {
            return None;
        }
        Some(Decision::Waiting { why: freeze.to_string(), until: freeze.until })
    }

    pub(super) fn retry(&self, change: &Change) -> Option<Decision> {
        let memory = self.facts.memory.resources.get(&change.id)?;
        let at = aims(change, memory).iter().find_map(|aim| memory.waits(aim, self.facts.now))?;
        let error = memory.error.as_deref().unwrap_or("the last step failed");
        let why = format!("retry at {} after: {error}", due(self.facts.now, at));
        Some(Decision::Waiting { why, until: Some(at) })
    }

    /// The error of a change whose steps have failed for so long that somebody has to look.
    pub(super) fn stuck(&self, change: &Change) -> Option<&'a str> {
        let memory = self.facts.memory.resources.get(&change.id)?;
        let is = memory.is_stuck(&aims(change, memory));
        is.then(|| memory.error.as_deref().unwrap_or("its steps fail"))
    }

    pub(super) fn dependency(&self, change: &Change) -> Option<Decision> {
        let waiting = |why| Some(Decision::Waiting { why, until: None });
        if change.verb == Verb::Delete {
            let user = change.after.iter().find(|id| self.deletes.contains_key(id))?;
            return waiting(format!("waits for {user}, which depends on it, to be removed"));
        }
        if change.begun || matches!(change.cause, Cause::Rollback { .. }) || self.still_serves(change) {
            return None;
        }
        let (id, state) = change.after.iter().find_map(|id| self.not_ready(id).map(|state| (id, state)))?;
        waiting(format!("waits for {id} to be healthy ({state})"))
    }

    /// A repair of what still runs in part must not wait for something else that is broken.
    fn still_serves(&self, change: &Change) -> bool {
        let live = self.facts.snapshot.live(&change.provider, &change.id);
        change.verb == Verb::Repair && live.is_some_and(|live| !live.instances.is_empty())
    }

    /// In what state a dependency is, when it is not healthy.
    fn not_ready(&self, id: &ResourceId) -> Option<String> {
        if let Some(why) = self.desired.held.get(id) {
            return Some(format!("it is held: {why}"));
        }
        let Some(declared) = self.desired.resources.get(id) else { return Some("it is not declared".to_owned()) };
        let target = effective(declared, self.facts.memory.resources.get(id)).resource();
        let Some(live) = self.facts.snapshot.live(&target.spec.provider, id) else {
            return Some(match self.facts.snapshot.observed(&target.spec.provider, id) {
                Observed::Unknown(why) => format!("it is Unknown: {why}"),
                _ if is_suspended(id, self.desired) => "it is Missing and suspended".to_owned(),
                Observed::Absent(_) | Observed::Present(_) => "it is Missing".to_owned(),
            });
        };
        match health_of(target, live) {
            Health::Healthy => None,
            health => Some(format!("it is {health}")),
        }
    }
}

/// All that the steps of a change may aim at.
fn aims(change: &Change, memory: &ResourceMemory) -> Vec<Aim> {
    let Some(declared) = &change.desired else { return vec![Aim::Gone] };
    let effective = effective(declared, Some(memory));
    let specs = [Some(effective.resource()), effective.fill()].into_iter().flatten();
    let mut aims: Vec<Aim> = specs.map(|resource| Aim::Spec(resource.spec_digest.clone())).collect();
    aims.push(Aim::Fewer);
    aims.extend(change.from_provider.is_some().then_some(Aim::Gone));
    aims
}

/// The freeze in force, if any: of the one from outside and the repository's own.
fn in_force<'a>(desired: &'a Desired, facts: &Facts<'a>) -> Option<&'a Freeze> {
    Freeze::in_force(facts.freeze.into_iter().chain(&desired.repository.freeze), facts.now)
}

/// A freeze that keeps everything from starting.
pub(super) fn frozen<'a>(desired: &'a Desired, facts: &Facts<'a>) -> Option<&'a Freeze> {
    in_force(desired, facts).filter(|freeze| freeze.what == FreezeWhat::All)
}

/// Whether this is the rest of a playbook's action that has begun, and of nothing else: in a freeze that comes to its end.
pub(super) fn finishes(id: &ResourceId, cause: &Cause, desired: &Desired, facts: &Facts<'_>) -> bool {
    let Cause::Run { run, .. } = cause else { return false };
    let (Some(declared), Some(memory)) = (desired.resources.get(id), facts.memory.resources.get(id)) else {
        return false;
    };
    let target = effective(declared, Some(memory)).resource();
    let Some(live) = facts.snapshot.live(&target.spec.provider, id) else { return false };
    let standing = Standing::of(target, live, Some(memory));
    let is_on = memory.renewal.as_ref().is_some_and(|renewal| renewal.run == *run && !renewal.over);
    is_on && standing.stamp_same && standing.old.len() == standing.renewed.len()
}

/// A freeze that keeps playbooks from acting: any.
pub(super) fn frozen_playbooks<'a>(desired: &'a Desired, facts: &Facts<'a>) -> Option<&'a Freeze> {
    in_force(desired, facts)
}
