//! Wide updates in waves: one resource, then a tenth, then the rest; each wave only after all before it are baked and
//! healthy, and none after a failure.

use std::collections::{BTreeMap, BTreeSet};

use super::wait::Waits;
use super::{Decision, Facts, Judged, is_suspended};
use crate::desired::Desired;
use crate::model::{Cause, Health, Kind, Live, Observed, ResourceId, Verb, Waves};
use crate::plan::{Change, Plan, effective, health_of, is_proven, pin_of};

const ALWAYS_AT_ONCE: usize = 2;
const WIDE_PERCENT: usize = 25;
const SECOND_WAVE_PERCENT: usize = 10;

/// Decides on the members of a wide update that may not go yet, and says what is to be remembered of it.
pub(super) fn guard(
    plan: &Plan,
    desired: &Desired,
    facts: &Facts<'_>,
    waits: &Waits<'_>,
    judged: &mut Judged,
) -> BTreeMap<ResourceId, Decision> {
    let pending: BTreeSet<&ResourceId> = plan.changes.iter().filter(|c| counts(c, desired)).map(|c| &c.id).collect();
    if pending.is_empty() && facts.memory.waves.is_none() {
        return BTreeMap::new();
    }
    let changing: BTreeSet<&ResourceId> = plan.changes.iter().map(|c| &c.id).collect();
    let Some(waves) = under_way(plan, &pending, &changing, desired, facts, waits) else { return BTreeMap::new() };
    let all: Vec<(&ResourceId, State)> =
        waves.members.iter().map(|id| (id, state(id, &changing, desired, facts))).collect();
    if all.iter().all(|(_, state)| matches!(state, State::Done | State::Failed(_))) {
        return BTreeMap::new();
    }
    // Who is silent proves nothing and holds nobody up: the waves are made of those that answer.
    let (members, states): (Vec<_>, Vec<_>) =
        all.into_iter().filter(|(_, state)| !matches!(state, State::Silent)).unzip();
    let decisions = decide(&members, &states, &pending);
    judged.waves = Some(waves);
    decisions
}

/// What a wide update is made of: changes that a revision brings and that have not begun.
fn counts(change: &Change, desired: &Desired) -> bool {
    matches!(change.verb, Verb::Update | Verb::Replace)
        && matches!(change.cause, Cause::Revision { .. })
        && !change.begun
        && change.held.is_none()
        && !is_suspended(&change.id, desired)
}

/// The waves to follow: the remembered ones, with what this look adds to them, or new ones when a revision changes many.
///
/// An update that another revision overtakes goes on with the members that are not done, those under way or failed before
/// the rest: an unrelated commit neither forgets a bake nor carries a failure to the next resource.
fn under_way(
    plan: &Plan,
    pending: &BTreeSet<&ResourceId>,
    changing: &BTreeSet<&ResourceId>,
    desired: &Desired,
    facts: &Facts<'_>,
    waits: &Waits<'_>,
) -> Option<Waves> {
    let before = facts.memory.waves.as_ref();
    let same = before.is_some_and(|waves| waves.revision == *facts.revision);
    let mut members: Vec<&ResourceId> = before.map(|waves| waves.members.iter().collect()).unwrap_or_default();
    if !same {
        members.retain(|id| !matches!(state(id, changing, desired, facts), State::Done));
    }
    let has_place = |change: &Change| pending.contains(&change.id) || waits.dependency(change).is_some();
    let order = plan.changes.iter().enumerate().filter(|(_, change)| has_place(change));
    let places: BTreeMap<&ResourceId, usize> = order.map(|(place, change)| (&change.id, place)).collect();
    let known: BTreeSet<&ResourceId> = members.iter().copied().collect();
    members.extend(wide(pending, desired, facts).filter(|id| !known.contains(id)));
    // What others depend on goes first, or a member could wait for one of a later wave, and that one for it.
    members.sort_by_key(|id| places.get(id));
    if !same && !members.iter().any(|id| pending.contains(id)) {
        return None;
    }
    let members = members.into_iter().cloned().collect();
    Some(Waves { revision: facts.revision.clone(), members })
}

/// The pending changes of each kind of which too many are pending.
fn wide<'a>(
    pending: &BTreeSet<&'a ResourceId>,
    desired: &Desired,
    facts: &Facts<'_>,
) -> impl Iterator<Item = &'a ResourceId> {
    let mut all = Vec::new();
    for kind in Kind::ALL {
        let of_kind: Vec<&ResourceId> = pending.iter().filter(|id| id.kind == *kind).copied().collect();
        if !of_kind.is_empty() && of_kind.len() > at_once(*kind, desired, facts) {
            all.extend(of_kind);
        }
    }
    all.into_iter()
}

/// What others made does not count: it makes no update of ours less wide.
fn at_once(kind: Kind, desired: &Desired, facts: &Facts<'_>) -> usize {
    let owner = facts.memory.revision.owner.as_ref().or(desired.owner.as_ref());
    let ours = |live: &Live| live.stamp.as_ref().is_some_and(|stamp| owner.is_none_or(|owner| stamp.owner == *owner));
    let live = facts.snapshot.objects().filter(|(_, id, live)| id.kind == kind && ours(live)).count();
    ALWAYS_AT_ONCE.max(live * WIDE_PERCENT / 100)
}

/// How far one member is.
enum State {
    /// There, no longer changing, healthy and baked; or not wanted any more.
    Done,
    /// Its template failed: this ends the update.
    Failed(String),
    /// Nothing is known of it: nothing is done to it until it answers, and then it is under way like any other.
    Silent,
    /// Anything between.
    Going,
}

fn state(id: &ResourceId, changing: &BTreeSet<&ResourceId>, desired: &Desired, facts: &Facts<'_>) -> State {
    let Some(declared) = desired.resources.get(id) else { return State::Done };
    let memory = facts.memory.resources.get(id);
    if let Some(pin) = memory.and_then(|memory| pin_of(declared, memory)) {
        return State::Failed(pin.why.clone());
    }
    if declared.spec.suspend || desired.held.contains_key(id) {
        return State::Done; // It will not move; the others need not wait for it.
    }
    let target = effective(declared, memory).resource();
    if let Observed::Unknown(_) = facts.snapshot.observed(&target.spec.provider, id) {
        return State::Silent;
    }
    let live = facts.snapshot.live(&target.spec.provider, id);
    let healthy = live.is_some_and(|live| health_of(target, live) == Health::Healthy);
    let baked = target.spec.replicas == 0 || memory.is_some_and(|memory| is_proven(target, memory));
    if healthy && baked && !changing.contains(id) { State::Done } else { State::Going }
}

fn decide(
    members: &[&ResourceId],
    states: &[State],
    pending: &BTreeSet<&ResourceId>,
) -> BTreeMap<ResourceId, Decision> {
    let failure = members.iter().zip(states).find_map(|(id, state)| match state {
        State::Failed(why) => Some((*id, why)),
        State::Done | State::Silent | State::Going => None,
    });
    let open_until = open(states);
    let mut decisions = BTreeMap::new();
    for (at, id) in members.iter().enumerate().filter(|(_, id)| pending.contains(*id)) {
        if let Some((failed, why)) = failure {
            decisions.insert((*id).clone(), stopped(failed, why));
        } else if at >= open_until {
            decisions.insert((*id).clone(), waiting(members, states, open_until));
        }
    }
    decisions
}

fn stopped(failed: &ResourceId, why: &str) -> Decision {
    Decision::Held {
        why: format!("stopped: {failed} failed in an earlier wave: {why}"),
        release: format!("commit a fix, or try again with `Codeops-Retry: {failed}`"),
        hold: None,
    }
}

fn waiting(members: &[&ResourceId], states: &[State], open_until: usize) -> Decision {
    let before = members.iter().zip(states).take(open_until);
    let behind = before.filter(|(_, state)| !matches!(state, State::Done)).map(|(id, _)| id.to_string());
    let behind: Vec<String> = behind.take(3).collect();
    let why = format!(
        "its wave comes later: {} of {} may change now, waiting for {} to finish the bake",
        open_until,
        members.len(),
        behind.join(", ")
    );
    Decision::Waiting { why, until: None }
}

/// How many members, from the first, may change: all of the waves up to the first that is not done.
fn open(states: &[State]) -> usize {
    let tenth = (states.len() * SECOND_WAVE_PERCENT / 100).max(1);
    let ends = [1, 1 + tenth, states.len()];
    let done = |end: &usize| states.iter().take(*end).all(|state| matches!(state, State::Done));
    ends.into_iter().find(|end| !done(end)).unwrap_or(states.len())
}
