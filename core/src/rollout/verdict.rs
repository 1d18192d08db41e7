//! Is the new template good, and what judges it? It fails by a failing instance, and is the last good one after its whole
//! bake. A template that once was good is judged again only where its health check or protocol changes, by that alone.

use std::sync::Arc;

use jiff::Timestamp;

use super::{Finding, Next, Situation};
use crate::model::{Health, Instance, InstanceHealth, InstanceState, Pin, Resource, Sync, due};
use crate::plan::{Effective, Standing, has_moved, is_failing, is_good, is_healthy, is_proven, pin_of};

/// How the declared template has failed, if it has. One that once was good is never judged again as it then was.
pub(super) fn failed(situation: &Situation<'_>, effective: &Effective<'_>, standing: &Standing<'_>) -> Option<Finding> {
    let Effective::Declared(target) = effective else { return None };
    // Where nothing is to run there is nothing to judge, and what has been found out once is not found out again: either
    // would put a finding in the way of the steps for ever.
    let known = pin_of(target, situation.memory).is_some();
    if target.spec.replicas == 0 || known || is_proven(target, situation.memory) {
        return None;
    }
    // Under a new check a good template can fail that check, and nothing else: how its instances end says nothing of it.
    let was_good = is_good(target, situation.memory);
    let new = if was_good { " new" } else { "" };
    let can_go_back = situation.memory.last_good.is_some();
    let why = standing.current.iter().find_map(|instance| {
        let told = instance.lasting_why().map(|why| format!(": {why}")).unwrap_or_default();
        let id = &instance.id;
        match instance.health {
            InstanceHealth::CrashLoop if !was_good => Some(format!("instance {id} ends again and again{told}")),
            // What does not run has failed no check: it waits for something that is not its template's to bring.
            InstanceHealth::Unhealthy if instance.state == InstanceState::Backoff => None,
            // A check that is yet to be told to the provider has judged nothing; how an instance ends needs none.
            InstanceHealth::Unhealthy if standing.spec_same => {
                Some(format!("instance {id} does not pass its{new} check{told}"))
            }
            // With nothing to go back to, one exit only begins the bake again; so does an end that was not its own.
            _ if can_go_back && !was_good && instance.restarts > 0 => {
                Some(format!("instance {id} ended before its bake was over{told}"))
            }
            _ => None,
        }
    })?;
    let (template, tried) = (target.template_digest.clone(), Pin::tried_with(target));
    Some(Finding::Failed { template, tried, why, check_only: was_good })
}

/// All is as it should be but for time: baking, baked, or long good.
pub(super) fn settled(situation: &Situation<'_>, target: &Arc<Resource>, standing: &Standing<'_>) -> Next {
    let synced = |why| Next::still(Sync::Synced, Health::Healthy, why);
    if target.spec.replicas == 0 {
        return synced(None);
    }
    let good = situation.memory.last_good.as_ref().map(|good| &good.resource);
    let baked = || Next { finding: Some(Finding::Baked(Arc::clone(target))), ..synced(None) };
    // Where it has moved to it is proven once it has baked there, too; its old place serves until then.
    let moved = has_moved(target, situation.memory);
    if is_proven(target, situation.memory) && !moved {
        // The same under a newer spec, or as another team's: what a rollback returns to must be the newest.
        let newest = |good: &Arc<Resource>| good.spec_digest == target.spec_digest && good.team == target.team;
        return if good.is_some_and(newest) { synced(None) } else { baked() };
    }
    let healthy_since = standing.current.iter().map(|i| i.health_since).max().unwrap_or(situation.now);
    let ends = target.spec.rollout.bake.after(healthy_since);
    if ends <= situation.now {
        return baked();
    }
    let under = match is_good(target, situation.memory) {
        true if moved => " where it has moved to",
        true => " under its new check",
        false => "",
    };
    let why = format!("baking until {}{under}", due(situation.now, ends));
    Next { wake: Some(ends), ..synced(Some(why)) }
}

/// What is wrong with instances that are all there, and when a look is due if nothing is observed to change.
pub(super) fn unwell(standing: &Standing<'_>, target: &Resource, now: Timestamp) -> (String, Option<Timestamp>) {
    let instances = standing.current.iter().chain(&standing.old);
    if let Some(bad) = instances.clone().find(|i| is_failing(i)) {
        // When it is started again next passes, and is gone by the time that it is read.
        let why = if bad.health == InstanceHealth::CrashLoop { bad.lasting_why() } else { bad.why.as_deref() };
        let told = why.unwrap_or("it fails its check");
        if bad.state == InstanceState::Backoff && bad.health == InstanceHealth::Unhealthy {
            return (format!("instance {} does not run: it {told}", bad.id), None);
        }
        let what_follows = match bad.health {
            InstanceHealth::CrashLoop => "it is started again with a growing delay",
            _ if bad.on_trial => "it has not passed that since it was changed, and goes on being sent requests",
            _ => "it is sent no requests until it passes, and only a playbook or a commit starts it anew",
        };
        return (format!("instance {} is failing: {told}; {what_follows}", bad.id), None);
    }
    // A check has its whole time from when it is asked, which may be long after the start.
    let asked_since = |i: &Instance| i.started_at.unwrap_or(i.created_at).max(i.health_since);
    let late_at = target.spec.health.as_ref().and_then(|check| {
        let starting = instances.clone().filter(|i| !is_healthy(i));
        starting.map(|i| check.start_timeout.after(asked_since(i))).max()
    });
    let (healthy, replicas) = (standing.healthy(), target.spec.replicas);
    if instances.clone().any(|i| i.on_trial) {
        let late = late_at.filter(|at| *at > now).map(|at| format!(" by {}", due(now, at))).unwrap_or_default();
        let why = "each is sent requests as before until it passes";
        return (
            format!("on trial under its new check: {healthy} of {replicas} instances have passed it{late}; {why}"),
            late_at,
        );
    }
    let answers = |i: &&&Instance| i.state == InstanceState::Running && !is_healthy(i);
    let told = instances.clone().filter(answers).find_map(|i| Some(format!("; {}: {}", i.id, i.lasting_why()?)));
    let told = told.unwrap_or_default();
    (format!("{healthy} of {replicas} instances healthy, waiting for the rest{told}"), late_at)
}
