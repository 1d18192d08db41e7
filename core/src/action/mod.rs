//! Actions of playbooks, lowered: what is written down so that the ordinary flow does them step by step through the gate,
//! and how they are getting on. Pure.
//!
//! `app.restart` and `app.replace` come to a [`Renewal`]: the rollout replaces the instances it names, a new one healthy
//! before a healthy old one goes. `app.rollback` comes to a [`Pin`]: the rollout goes back. So reconciling and playbooks cannot
//! fight, and a daemon that dies in between goes on.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::model::{
    Action, Digest, Health, Instance, InstanceId, InstanceState, Live, Name, OnFailure, Pin, Progress, Renewal,
    Resource, ResourceId, ResourceMemory, RunId, Strategy,
};
use crate::plan::{
    Effective, Standing, effective, health_of, is_failing, is_good, is_healthy, is_proven, is_tried, pin_of,
};

/// What an action rests on.
#[derive(Debug, Clone, Copy)]
pub struct Situation<'a> {
    /// What is declared.
    pub declared: &'a Arc<Resource>,
    /// What lives, if it is known.
    pub live: Option<&'a Live>,
    /// What is remembered of it.
    pub memory: &'a ResourceMemory,
    /// The run that acts.
    pub run: RunId,
    /// Its playbook.
    pub playbook: &'a Name,
    /// Now.
    pub now: Timestamp,
}

/// What an action comes to.
#[derive(Debug, Clone, PartialEq)]
pub enum Lowered {
    /// Instances make way for new ones. `healthy`: some of them work, so that it counts against the blast radius.
    Renew {
        /// The mark to be remembered.
        renewal: Renewal,
        /// Whether any of them works.
        healthy: bool,
    },
    /// The template fails by decree, and the last good one comes back.
    Pin {
        /// The template.
        template: Digest,
        /// How it failed.
        pin: Pin,
    },
    /// There is nothing to do.
    Nothing(String),
}

/// Lowers an action that is no commit.
///
/// # Errors
/// In one sentence, why it cannot be done.
pub fn lower(action: Action, with: &BTreeMap<String, Value>, situation: &Situation<'_>) -> Result<Lowered, String> {
    let declared = situation.declared;
    if declared.spec.suspend {
        return Err(format!("{} is suspended by its manifest", declared.id));
    }
    let live = situation.live.ok_or_else(|| format!("what lives of {} is not known", declared.id))?;
    match action {
        Action::AppRestart => renew(situation, live, |_| true),
        Action::AppReplace => match with.get("instances").and_then(Value::as_str).unwrap_or("unhealthy") {
            "all" => renew(situation, live, |_| true),
            "unhealthy" => renew(situation, live, |instance| !is_healthy(instance)),
            "one" => {
                let oldest = oldest_of_several(live, &situation.declared.id)?;
                renew(situation, live, |instance| instance.id == oldest)
            }
            other => Err(format!("`instances` is `unhealthy`, `one` or `all`, not `{other}`")),
        },
        Action::AppRollback => roll_back(situation),
        Action::AppScale | Action::AppSuspend | Action::AppResume => Err(format!("{action} is a commit by the bot")),
    }
}

/// A healthy instance that may be taken away, for another goes on.
fn oldest_of_several(live: &Live, id: &ResourceId) -> Result<InstanceId, String> {
    let healthy: Vec<_> = live.instances.iter().filter(|instance| is_healthy(instance)).collect();
    let oldest = healthy.iter().min_by_key(|instance| instance.created_at).filter(|_| healthy.len() > 1);
    let why = || format!("{id} has {} healthy instances, and the last one is never taken away", healthy.len());
    oldest.map(|instance| instance.id.clone()).ok_or_else(why)
}

fn renew(situation: &Situation<'_>, live: &Live, which: impl Fn(&Instance) -> bool) -> Result<Lowered, String> {
    let declared = situation.declared;
    let up: Vec<_> = live.instances.iter().filter(|instance| instance.state != InstanceState::Stopping).collect();
    let chosen: Vec<_> = up.iter().filter(|instance| which(instance)).collect();
    if chosen.is_empty() {
        return Ok(Lowered::Nothing(format!("{} has no instance that it concerns", declared.id)));
    }
    let healthy = chosen.iter().filter(|instance| is_healthy(instance)).count();
    let effective = effective(declared, Some(situation.memory));
    left_as_it_is(&effective).map_or(Ok(()), Err)?;
    let target = effective.resource();
    if healthy > 0 && healthy == up.iter().filter(|instance| is_healthy(instance)).count() {
        nothing_beside(target).map_or(Ok(()), Err)?;
    }
    let instances: BTreeSet<InstanceId> = chosen.iter().map(|instance| instance.id.clone()).collect();
    let (at, run, playbook) = (situation.now, situation.run, situation.playbook.clone());
    Ok(Lowered::Renew { renewal: Renewal { at, instances, run, playbook, over: false }, healthy: healthy > 0 })
}

/// Why none of its instances is renewed, where they are left as they are.
fn left_as_it_is(effective: &Effective<'_>) -> Option<String> {
    let why = effective.why().filter(|_| matches!(effective, Effective::Stuck { .. }))?;
    Some(format!("none of its instances is replaced: {why}"))
}

/// Why the last healthy instance of it cannot be renewed: its rollout starts none before that one has ended.
fn nothing_beside(target: &Resource) -> Option<String> {
    let rollout = &target.spec.rollout;
    let how = match rollout.strategy {
        Strategy::Recreate => "is replaced by `recreate`",
        // With more instances than one, the rest go on meanwhile.
        Strategy::Rolling if target.spec.replicas <= 1 && rollout.surge == 0 && rollout.unavailable > 0 => {
            "has a single instance, beside which `surge: 0` lets none start"
        }
        Strategy::Rolling => return None,
    };
    let id = &target.id;
    Some(format!("{id} {how}, and the last healthy instance is never taken away: nothing would serve"))
}

fn roll_back(situation: &Situation<'_>) -> Result<Lowered, String> {
    let (declared, memory) = (situation.declared, situation.memory);
    if let Effective::RolledBack { .. } = effective(declared, Some(memory)) {
        return Ok(Lowered::Nothing(format!("{} is on its last good version already", declared.id)));
    }
    let good = memory.last_good.as_ref().filter(|_| !is_proven(declared, memory));
    let good = good.filter(|good| pin_of(&good.resource, memory).is_none());
    good.ok_or_else(|| format!("{} has no other last good version to go back to", declared.id))?;
    if !situation.live.is_some_and(|live| is_tried(declared, live, memory)) {
        return Ok(Lowered::Nothing(format!(
            "{} is on its last good version: what is declared was not tried yet",
            declared.id
        )));
    }
    if declared.spec.rollout.on_failure == OnFailure::Pause {
        return Err(format!("{} is not rolled back: its manifest says `onFailure: pause`", declared.id));
    }
    let why = format!("rolled back by playbook {}, run {}", situation.playbook, situation.run);
    let (tried, check_only) = (Some(Pin::tried_with(declared)), is_good(declared, memory));
    let pin = Pin { at: situation.now, revision: None, why, tried, check_only };
    Ok(Lowered::Pin { template: declared.template_digest.clone(), pin })
}

/// How an action that was lowered is getting on. What is suspended meanwhile is changed no further: what is left to be done of it
/// is not waited for.
pub fn progress(action: Action, situation: &Situation<'_>) -> Progress {
    let declared = situation.declared;
    match under_way(action, situation) {
        Progress::Going(why) if declared.spec.suspend && !is_all_begun(action, situation) => {
            Progress::Failed(format!("{} is suspended by its manifest: {why}", declared.id))
        }
        progress => progress,
    }
}

/// Whether every new instance is there, and none is left that is to make way: the rest comes by itself.
fn is_all_begun(action: Action, situation: &Situation<'_>) -> bool {
    let (Some(live), renewal) = (situation.live, situation.memory.renewal.as_ref()) else { return true };
    let target = effective(situation.declared, Some(situation.memory)).resource();
    let left = live.instances.iter().any(|instance| match action {
        Action::AppRollback => instance.template != target.template_digest,
        _ => renewal.is_some_and(|renewal| renewal.concerns(instance)),
    });
    !left && !Standing::of(target, live, Some(situation.memory)).is_short(target)
}

fn under_way(action: Action, situation: &Situation<'_>) -> Progress {
    let (declared, memory) = (situation.declared, situation.memory);
    let Some(live) = situation.live else {
        return Progress::Going(format!("what lives of {} is not known", declared.id));
    };
    let effective = effective(declared, Some(memory));
    let target = effective.resource();
    if action == Action::AppRollback {
        let Effective::RolledBack { to, .. } = &effective else {
            return Progress::Failed(format!("a commit or a retry overtook the rollback of {}", declared.id));
        };
        let told = live.spec.as_ref().is_none_or(|spec| *spec == to.spec);
        let back = told && live.instances.iter().all(|instance| instance.template == to.template_digest);
        return match back && health_of(to, live) == Health::Healthy {
            true => Progress::Done(json!({ "template": to.template_digest.short() })),
            false => Progress::Going(format!("{} is going back to {}", declared.id, to.template_digest.short())),
        };
    }
    let Some(renewal) = memory.renewal.as_ref().filter(|renewal| renewal.run == situation.run) else {
        // Nothing was to be done, or another run has taken over.
        return Progress::Done(json!({ "instances": [] }));
    };
    if let Some(why) = left_as_it_is(&effective) {
        return Progress::Failed(why);
    }
    let new = |instance: &&Instance| instance.state != InstanceState::Stopping && instance.created_at >= renewal.at;
    // One that failed after its `startTimeout`, or ends again and again, is not waited for: it has shown what it comes to.
    if let Some(failing) = live.instances.iter().filter(new).find(|instance| is_failing(instance)) {
        let why = failing.why.as_deref().unwrap_or("its health check fails");
        return Progress::Failed(format!("{} of {}, begun anew, does not get healthy: {why}", failing.id, declared.id));
    }
    let left = live.instances.iter().filter(|instance| renewal.concerns(instance)).count();
    if left > 0 {
        // It has come round since: with no other to come up beside it, it stays.
        let stays = target.spec.replicas <= 1 && Standing::of(target, live, Some(memory)).last_renewed().is_some();
        if let Some(why) = nothing_beside(target).filter(|_| stays) {
            return Progress::Failed(why);
        }
        return Progress::Going(format!("{left} of {} instances still to make way", renewal.instances.len()));
    }
    match health_of(target, live) {
        Health::Healthy => Progress::Done(json!({ "instances": renewal.instances })),
        health => Progress::Going(format!("the new instances of {} are {health}", declared.id)),
    }
}
