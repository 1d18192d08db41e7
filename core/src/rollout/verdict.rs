//! Is the new template good? It fails by a failing instance, and is the last good one after its whole bake.

use std::sync::Arc;

use jiff::Timestamp;

use super::{Finding, Next, Situation};
use crate::model::{Health, InstanceHealth, InstanceState, Pin, Resource, Sync, due};
use crate::plan::{Effective, Standing, is_failing, is_good, is_healthy, pin_of};

/// How the declared template has failed, if it has. One that once was good is never judged again.
pub(super) fn failed(situation: &Situation<'_>, effective: &Effective<'_>, standing: &Standing<'_>) -> Option<Finding> {
    let Effective::Declared(target) = effective else { return None };
    // Where nothing is to run there is nothing to judge, and what has been found out once is not found out again: either
    // would put a finding in the way of the steps for ever.
    let known = pin_of(target, situation.memory).is_some();
    if target.spec.replicas == 0 || known || is_good(target, situation.memory) {
        return None;
    }
    let can_go_back = situation.memory.last_good.is_some();
    let why = standing.current.iter().find_map(|instance| {
        let told = instance.lasting_why().map(|why| format!(": {why}")).unwrap_or_default();
        let id = &instance.id;
        match instance.health {
            InstanceHealth::CrashLoop => Some(format!("instance {id} ends again and again{told}")),
            // What does not run has failed no check: it waits for something that is not its template's to bring.
            InstanceHealth::Unhealthy if instance.state == InstanceState::Backoff => None,
            InstanceHealth::Unhealthy => Some(format!("instance {id} does not pass its check{told}")),
            // With nothing to go back to, one exit only begins the bake again; so does an end that was not its own.
            _ if can_go_back && instance.restarts > 0 => {
                Some(format!("instance {id} ended before its bake was over{told}"))
            }
            InstanceHealth::Starting | InstanceHealth::Healthy => None,
        }
    })?;
    Some(Finding::Failed { template: target.template_digest.clone(), tried: Pin::tried_with(target), why })
}

/// All is as it should be but for time: baking, baked, or long good.
pub(super) fn settled(situation: &Situation<'_>, target: &Arc<Resource>, standing: &Standing<'_>) -> Next {
    let synced = |why| Next::still(Sync::Synced, Health::Healthy, why);
    if target.spec.replicas == 0 {
        return synced(None);
    }
    let good = situation.memory.last_good.as_ref().map(|good| &good.resource);
    let baked = || Next { finding: Some(Finding::Baked(Arc::clone(target))), ..synced(None) };
    if is_good(target, situation.memory) {
        // The same template under a newer spec: what a rollback returns to must be the newest.
        return if good.is_some_and(|good| good.spec_digest == target.spec_digest) { synced(None) } else { baked() };
    }
    let healthy_since = standing.current.iter().map(|i| i.health_since).max().unwrap_or(situation.now);
    let ends = target.spec.rollout.bake.after(healthy_since);
    if ends <= situation.now {
        return baked();
    }
    let why = format!("baking until {}", due(situation.now, ends));
    Next { wake: Some(ends), ..synced(Some(why)) }
}

/// What is wrong with instances that are all there, and when a look is due if nothing is observed to change.
pub(super) fn unwell(standing: &Standing<'_>, target: &Resource) -> (String, Option<Timestamp>) {
    let instances = standing.current.iter().chain(&standing.old);
    if let Some(bad) = instances.clone().find(|i| is_failing(i)) {
        let told = bad.why.as_deref().unwrap_or("it fails its check");
        if bad.state == InstanceState::Backoff && bad.health == InstanceHealth::Unhealthy {
            return (format!("instance {} does not run: it {told}", bad.id), None);
        }
        let what_follows = match bad.health {
            InstanceHealth::CrashLoop => "it is started again with a growing delay",
            _ => "it is sent no requests until it passes, and only a playbook or a commit starts it anew",
        };
        return (format!("instance {} is failing: {told}; {what_follows}", bad.id), None);
    }
    let due = target.spec.health.as_ref().and_then(|check| {
        let starting = instances.clone().filter(|i| !is_healthy(i));
        starting.map(|i| check.start_timeout.after(i.started_at.unwrap_or(i.created_at))).max()
    });
    let healthy = standing.healthy();
    (format!("{healthy} of {} instances healthy, waiting for the rest", target.spec.replicas), due)
}
