//! Wide updates in waves: one resource, then a tenth, then the rest; each wave only after all before it are baked and
//! healthy, and none after a failure.

use std::collections::{BTreeMap, BTreeSet};

use super::{Decision, Facts, Judged, is_suspended};
use crate::desired::Desired;
use crate::model::{Cause, Health, Kind, ResourceId, Verb, Waves};
use crate::plan::{Change, Plan, effective, health_of, is_good};

const ALWAYS_AT_ONCE: usize = 2;
const WIDE_PERCENT: usize = 25;
const SECOND_WAVE_PERCENT: usize = 10;

/// Decides on the members of a wide update that may not go yet, and says what is to be remembered of it.
pub(super) fn guard(
    plan: &Plan,
    desired: &Desired,
    facts: &Facts<'_>,
    judged: &mut Judged,
) -> BTreeMap<ResourceId, Decision> {
    let pending: BTreeSet<&ResourceId> = plan.changes.iter().filter(|c| counts(c, desired)).map(|c| &c.id).collect();
    let Some(waves) = under_way(&pending, desired, facts) else { return BTreeMap::new() };
    let changing: BTreeSet<&ResourceId> = plan.changes.iter().map(|c| &c.id).collect();
    let states: Vec<State> = waves.members.iter().map(|id| state(id, &changing, desired, facts)).collect();
    if states.iter().all(|state| !matches!(state, State::Going)) {
        return BTreeMap::new();
    }
    let decisions = decide(&waves, &states, &pending);
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

/// The waves to follow: the remembered ones of this revision, or new ones when this revision changes many.
fn under_way(pending: &BTreeSet<&ResourceId>, desired: &Desired, facts: &Facts<'_>) -> Option<Waves> {
    let before = facts.memory.waves.as_ref();
    if let Some(waves) = before.filter(|waves| waves.revision == *facts.revision) {
        return Some(waves.clone());
    }
    // An update that another revision overtakes goes on from its beginning, with what is left of it. One that failed stays
    // failed while its failure is what is declared: an unrelated commit does not carry it to the next resource.
    let failed = before.into_iter().flat_map(|waves| &waves.members).filter(|id| is_pinned(id, desired, facts));
    let failed: BTreeSet<&ResourceId> = failed.collect();
    let members: BTreeSet<&ResourceId> = Kind::ALL
        .iter()
        .flat_map(|kind| {
            let of_kind: BTreeSet<&ResourceId> = pending.iter().filter(|id| id.kind == *kind).copied().collect();
            let stopped = failed.iter().any(|id| id.kind == *kind);
            let wide = !of_kind.is_empty() && (stopped || of_kind.len() > at_once(*kind, facts));
            if wide { of_kind } else { BTreeSet::new() }
        })
        .collect();
    if members.is_empty() {
        return None;
    }
    let members = members.union(&failed).map(|id| (*id).clone()).collect();
    Some(Waves { revision: facts.revision.clone(), members })
}

fn at_once(kind: Kind, facts: &Facts<'_>) -> usize {
    let live = facts.snapshot.objects().filter(|(_, id, live)| id.kind == kind && live.stamp.is_some()).count();
    ALWAYS_AT_ONCE.max(live * WIDE_PERCENT / 100)
}

/// How far one member is.
enum State {
    /// There, no longer changing, healthy and baked; or not wanted any more.
    Done,
    /// Its template failed: this ends the update.
    Failed(String),
    /// Anything between.
    Going,
}

fn state(id: &ResourceId, changing: &BTreeSet<&ResourceId>, desired: &Desired, facts: &Facts<'_>) -> State {
    let Some(declared) = desired.resources.get(id) else { return State::Done };
    let memory = facts.memory.resources.get(id);
    if let Some(pin) = memory.and_then(|memory| memory.pins.get(&declared.template_digest)) {
        return State::Failed(pin.why.clone());
    }
    if declared.spec.suspend || desired.held.contains_key(id) {
        return State::Done; // It will not move; the others need not wait for it.
    }
    let target = effective(declared, memory).resource();
    let live = facts.snapshot.live(&target.spec.provider, id);
    let healthy = live.is_some_and(|live| health_of(target, live) == Health::Healthy);
    let baked = target.spec.replicas == 0 || memory.is_some_and(|memory| is_good(target, memory));
    if healthy && baked && !changing.contains(id) { State::Done } else { State::Going }
}

fn is_pinned(id: &ResourceId, desired: &Desired, facts: &Facts<'_>) -> bool {
    let template = desired.resources.get(id).map(|declared| &declared.template_digest);
    template.is_some_and(|template| facts.memory.resources.get(id).is_some_and(|m| m.pins.contains_key(template)))
}

fn decide(waves: &Waves, states: &[State], pending: &BTreeSet<&ResourceId>) -> BTreeMap<ResourceId, Decision> {
    let failure = waves.members.iter().zip(states).find_map(|(id, state)| match state {
        State::Failed(why) => Some((id, why)),
        State::Done | State::Going => None,
    });
    let open_until = open(states);
    let mut decisions = BTreeMap::new();
    for (at, id) in waves.members.iter().enumerate().filter(|(_, id)| pending.contains(id)) {
        if let Some((failed, why)) = failure {
            decisions.insert(id.clone(), stopped(failed, why));
        } else if at >= open_until {
            decisions.insert(id.clone(), waiting(waves, states, open_until));
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

fn waiting(waves: &Waves, states: &[State], open_until: usize) -> Decision {
    let members = waves.members.iter().zip(states).take(open_until);
    let behind = members.filter(|(_, state)| !matches!(state, State::Done)).map(|(id, _)| id.to_string());
    let behind: Vec<String> = behind.take(3).collect();
    let why = format!(
        "its wave comes later: {} of {} may change now, waiting for {} to finish the bake",
        open_until,
        waves.members.len(),
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
