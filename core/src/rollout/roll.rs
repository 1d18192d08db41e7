//! One look at a live object of ours: the in-place change, the release, the starts and the stops that may go now.

use std::cmp::Reverse;
use std::sync::Arc;

use super::{Finding, Next, Situation, verdict};
use crate::model::{
    Health, Instance, InstanceHealth, InstanceId, InstanceState, Live, Op, Resource, ResourceMemory, Step, Strategy,
    Sync,
};
use crate::plan::{Effective, Standing, health_of, is_good, is_healthy, is_serving};

/// Looks at what is there and says what follows.
pub(super) fn look(situation: &Situation<'_>, effective: &Effective<'_>, live: &Live) -> Next {
    let mut next = instances(situation, effective, live);
    // The instances may be all well; what the provider waits for still keeps clients from them.
    if let Some(waits) = live.waits().filter(|_| next.works) {
        next.health = Health::Degraded;
        if next.steps.is_empty() {
            next.why = Some(match next.why {
                Some(why) => format!("{waits}; {why}"),
                None => format!("{waits}; it is put right as soon as that ends"),
            });
        }
        if next.sync == Sync::Synced {
            next.sync = Sync::OutOfSync;
        }
    }
    next
}

/// What follows from the instances alone.
fn instances(situation: &Situation<'_>, effective: &Effective<'_>, live: &Live) -> Next {
    let target = effective.resource();
    let standing = Standing::of(target, live, Some(situation.memory));
    let health = health_of(target, live);
    if let Some(finding) = verdict::failed(situation, effective, &standing) {
        let why = match &finding {
            Finding::Failed { why, .. } if is_good(target, situation.memory) => format!("it failed: {why}"),
            Finding::Failed { why, .. } => format!("the new template failed: {why}"),
            Finding::Baked(_) => String::new(),
        };
        return Next { finding: Some(finding), ..Next::still(Sync::OutOfSync, Health::Degraded, Some(why)) };
    }
    let steps = steps(situation, effective, &standing, live);
    if let Some(kept) = effective.why() {
        return held(effective, &standing, steps, health, kept);
    }
    if !steps.is_empty() {
        let (have, wanted) = (healthy_current(&standing), target.spec.replicas);
        let why = if steps.iter().all(|step| matches!(step.op, Op::Configure { .. })) {
            "what is declared of it is told to its provider; its instances stay as they are".to_owned()
        } else if have > count(wanted) {
            // Above what is declared there is nothing to follow.
            format!("{have} instances run instead of {wanted}; the others end")
        } else {
            format!("{have} of {wanted} instances are as declared; the rest follow")
        };
        return Next::going(steps, health, why);
    }
    let whole = standing.old.is_empty() && standing.current.len() == wanted(target);
    if whole && health == Health::Healthy {
        return verdict::settled(situation, target, &standing);
    }
    let sync = if whole { Sync::Synced } else { Sync::OutOfSync };
    let (mut why, mut wake) = verdict::unwell(&standing, target, situation.now);
    if standing.old.is_empty() && standing.current.is_empty() && standing.stopping > 0 {
        (why, wake) = (format!("{} old instances are ending; new ones start after them", standing.stopping), None);
    }
    Next { wake: wake.filter(|at| *at > situation.now), ..Next::still(sync, health, Some(why)) }
}

/// A pinned template: on its way back to the last good one, there, or left as it is.
fn held(effective: &Effective<'_>, standing: &Standing<'_>, steps: Vec<Step>, health: Health, why: String) -> Next {
    let health = match effective {
        // Unless all of it works by now, what was left as it is has failed.
        Effective::Stuck { .. } if !standing.old.is_empty() => Health::Degraded,
        Effective::Stuck { .. } if health != Health::Healthy => Health::Degraded,
        _ => health,
    };
    let back = steps.is_empty() && standing.old.is_empty() || matches!(effective, Effective::Stuck { .. });
    let sync = if back { Sync::Held } else { Sync::OutOfSync };
    let why = if back { why } else { why.replacen("rolled back", "going back", 1) };
    Next { steps, ..Next::still(sync, health, Some(why)) }
}

fn steps(situation: &Situation<'_>, effective: &Effective<'_>, standing: &Standing<'_>, live: &Live) -> Vec<Step> {
    let target = effective.resource();
    let mut steps = Vec::new();
    if !standing.stamp_same || live.drift.iter().any(|drift| drift.waits.is_none()) {
        steps.push(situation.step(target, Op::Configure { desired: Arc::clone(target) }));
    }
    let (stop, start) = match effective {
        Effective::Stuck { fill, .. } => {
            let spare = if fill.is_none() { 0 } else { count(target.spec.rollout.surge) };
            let everyone: Vec<&Instance> = standing.current.iter().chain(&standing.old).copied().collect();
            let most = wanted(target).saturating_add(spare);
            (surplus(&everyone, most), wanted(target).saturating_sub(standing.count()))
        }
        _ => match target.spec.rollout.strategy {
            Strategy::Recreate => recreate(target, standing),
            Strategy::Rolling => rolling(target, standing),
        },
    };
    let to_release = standing.current.is_empty() && needs_release(situation.memory, Some(live), effective);
    if to_release && (start > 0 || !standing.old.is_empty()) && wanted(target) > 0 {
        steps.push(situation.step(target, Op::Release { desired: Arc::clone(target) }));
    }
    let stops = stop.into_iter().map(|i| situation.step(target, Op::Stop { instance: i.id.clone() }));
    let starts =
        effective.fill().map(|fill| starts(situation, fill, &live.instances, u32::try_from(start).unwrap_or(u32::MAX)));
    steps.extend(stops.chain(starts.into_iter().flatten()));
    steps
}

/// Whether the release command is still to be run. Never on the way back: it ran when that template was new.
pub(super) fn needs_release(memory: &ResourceMemory, live: Option<&Live>, effective: &Effective<'_>) -> bool {
    let Effective::Declared(target) = effective else { return false };
    let template = Some(&target.template_digest);
    target.spec.release.is_some()
        && target.spec.replicas > 0
        && !is_good(target, memory)
        && memory.released.as_ref() != template
        && live.and_then(|live| live.released.as_ref()) != template
}

/// Starts `count` instances, with the smallest ordinals above those there are of this template.
pub(super) fn starts(situation: &Situation<'_>, target: &Arc<Resource>, there: &[Instance], count: u32) -> Vec<Step> {
    let short = target.template_digest.short();
    let same = there.iter().filter(|i| i.id.as_str().rsplit_once('-').is_some_and(|(template, _)| template == short));
    let highest = same.map(|i| i.id.ordinal()).max().unwrap_or(0);
    (1..=count)
        .map(|n| {
            let instance = InstanceId::new(&target.template_digest, highest.saturating_add(n))
                .expect("hex digits, a hyphen and a number make a name");
            situation.step(target, Op::Start { instance, desired: Arc::clone(target) })
        })
        .collect()
}

/// All old ones end, and are gone, before the first new one starts; but for the last one that serves, where only a run says so.
fn recreate<'a>(target: &Resource, standing: &Standing<'a>) -> (Vec<&'a Instance>, usize) {
    let kept = standing.last_renewed().map(|kept| &kept.id);
    let old: Vec<&Instance> = standing.old.iter().copied().filter(|i| Some(&i.id) != kept).collect();
    if !old.is_empty() {
        return (old, 0);
    }
    let there = standing.current.len() + usize::from(kept.is_some());
    let missing = wanted(target).saturating_sub(there);
    let start = if standing.stopping > 0 && there == 0 { 0 } else { missing };
    (surplus(&standing.current, wanted(target)), start)
}

/// New ones beside old ones, within surge and unavailable. Old instances that do not work serve nobody and make room first.
fn rolling<'a>(target: &Resource, standing: &Standing<'a>) -> (Vec<&'a Instance>, usize) {
    let wanted = wanted(target);
    let (mut unavailable, mut surge) = (count(target.spec.rollout.unavailable), count(target.spec.rollout.surge));
    if surge == 0 && unavailable == 0 {
        surge = 1; // Otherwise it could never move.
    }
    if !standing.renewed.is_empty() {
        // What a commit may take away for a while, a run may not: one goes on serving.
        unavailable = unavailable.min(wanted.saturating_sub(1));
    }
    let mut stop = surplus(&standing.current, wanted);
    let (serving, idle): (Vec<&Instance>, Vec<&Instance>) = standing.old.iter().copied().partition(|i| is_serving(i));
    let served = standing.serving() - stop.iter().filter(|i| is_serving(i)).count();
    let floor = wanted.saturating_sub(unavailable);
    let may_stop = served.saturating_sub(floor).min(serving.len());
    stop.extend(idle);
    stop.extend(worst_first(&serving).into_iter().take(may_stop));
    let after = standing.count() - stop.len();
    let missing = wanted.saturating_sub(standing.current.len());
    (stop, missing.min(wanted.saturating_add(surge).saturating_sub(after)))
}

/// The ones above `wanted`: those that serve nobody first, then failing ones, then the newest.
fn surplus<'a>(instances: &[&'a Instance], wanted: usize) -> Vec<&'a Instance> {
    let above = instances.len().saturating_sub(wanted);
    worst_first(instances).into_iter().take(above).collect()
}

fn worst_first<'a>(instances: &[&'a Instance]) -> Vec<&'a Instance> {
    let rank = |health| match health {
        InstanceHealth::CrashLoop => 0,
        InstanceHealth::Unhealthy => 1,
        InstanceHealth::Starting => 2,
        InstanceHealth::Healthy => 3,
    };
    let mut sorted = instances.to_vec();
    sorted.sort_by_key(|i| {
        (
            is_serving(i),
            rank(i.health),
            i.state != InstanceState::Backoff,
            Reverse(i.created_at),
            Reverse(i.id.ordinal()),
            i.id.clone(),
        )
    });
    sorted
}

fn healthy_current(standing: &Standing<'_>) -> usize {
    standing.current.iter().filter(|i| is_healthy(i)).count()
}

fn wanted(target: &Resource) -> usize {
    count(target.spec.replicas)
}

fn count(n: u32) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}
