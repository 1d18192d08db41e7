//! From one resource's change to the next small steps, by looking only at desired, observed, memory and now. Pure, so that
//! a rollout can be pre-empted, resumed after a crash, and tested without waiting.
//!
//! Nothing here remembers where a rollout is: each look begins again from what is there. A newer commit therefore needs no
//! cancelling, and what it finds under way of an older template is simply old.

mod look;
mod ports;
mod roll;
#[cfg(test)]
mod tests;
mod verdict;

use std::sync::Arc;

use jiff::Timestamp;

use crate::model::{
    Cause, Digest, Health, Live, Observed, Op, Owner, ProviderName, Resource, ResourceId, ResourceMemory, Step, Sync,
    due,
};
use crate::plan::{Effective, effective, health_as_applied, health_of, may_adopt};

pub use look::{Look, Planned, Sight};

/// What the next step rests on.
#[derive(Debug, Clone, Copy)]
pub struct Situation<'a> {
    /// The resource.
    pub id: &'a ResourceId,
    /// Who declares it.
    pub owner: &'a Owner,
    /// The provider that `observed` is the word of: for a declared resource the one that [`effective`] names, for one on
    /// its way out the one it leaves.
    pub provider: &'a ProviderName,
    /// What it should be; `None`: it should not exist.
    pub desired: Option<&'a Arc<Resource>>,
    /// What is there.
    pub observed: &'a Observed,
    /// For a rename: the id it had and what lives under it. It is taken over where else it would be made.
    pub former: Option<(&'a ResourceId, &'a Live)>,
    /// What is remembered of it.
    pub memory: &'a ResourceMemory,
    /// Why a change is made.
    pub cause: &'a Cause,
    /// Now.
    pub now: Timestamp,
}

/// What follows.
#[derive(Debug, Clone)]
pub struct Next {
    /// Steps that may go now, in order; the first that fails stops the rest.
    pub steps: Vec<Step>,
    /// When to look again even if nothing is observed to change.
    pub wake: Option<Timestamp>,
    /// Sync as of now.
    pub sync: Sync,
    /// Health as of now.
    pub health: Health,
    /// Whether its instances are all there and well, whatever else of it is not: a move goes on with that, for the place it
    /// leaves may still hold what the new one waits for, such as a port.
    pub works: bool,
    /// In one sentence, when not simply synced and healthy: what is wrong and what happens next.
    pub why: Option<String>,
    /// What this look has established and must be remembered.
    pub finding: Option<Finding>,
}

/// What a look at a rollout has established.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// All instances of this template stayed healthy through the bake: it is the last good one.
    Baked(Arc<Resource>),
    /// This template failed: pin it.
    Failed {
        /// The template.
        template: Digest,
        /// What it was tried with.
        tried: Digest,
        /// How, in one sentence.
        why: String,
        /// Whether only what judges it did: the template is good.
        check_only: bool,
    },
}

impl Next {
    fn still(sync: Sync, health: Health, why: Option<String>) -> Self {
        Self { steps: Vec::new(), wake: None, sync, health, works: health == Health::Healthy, why, finding: None }
    }

    fn going(steps: Vec<Step>, health: Health, why: String) -> Self {
        Self { steps, ..Self::still(Sync::OutOfSync, health, Some(why)) }
    }
}

/// The next steps for one resource. Repeated with the same input it gives the same answer.
///
/// After a [`Finding`] there are no steps: it is remembered first, and the look that follows acts on it.
pub fn next(situation: &Situation<'_>) -> Next {
    let Some(declared) = situation.desired else { return leave(situation) };
    let effective = effective(declared, Some(situation.memory));
    let mut next = match situation.observed {
        _ if declared.spec.suspend => suspended(situation.observed),
        _ if effective.resource().spec.provider != *situation.provider => elsewhere(&effective),
        Observed::Unknown(why) => Next::still(Sync::Unknown, Health::Unknown, Some(why.0.clone())),
        Observed::Absent(_) => arrive(situation, &effective),
        Observed::Present(live) => present(situation, &effective, live),
    };
    back_off(situation, &mut next);
    next
}

/// Whether a resource that moves has arrived: it is the last good one where it now is, so that the place it came from may
/// be emptied. Until then a rollback finds the old place untouched.
pub fn has_arrived(declared: &Arc<Resource>, memory: &ResourceMemory, next: &Next) -> bool {
    let target = effective(declared, Some(memory)).resource();
    let good = memory.last_good.as_ref().is_some_and(|good| good.resource.spec_digest == target.spec_digest);
    let nothing_to_bake = target.spec.replicas == 0;
    next.steps.is_empty() && next.finding.is_none() && next.works && (good || nothing_to_bake)
}

impl Situation<'_> {
    fn step(&self, target: &Resource, op: Op) -> Step {
        Step {
            resource: self.id.clone(),
            owner: self.owner.clone(),
            team: target.team.clone(),
            provider: target.spec.provider.clone(),
            op,
            cause: self.cause.clone(),
        }
    }
}

const LEAVES: &str = "it is no longer declared and is being removed";

/// It should not exist.
fn leave(situation: &Situation<'_>) -> Next {
    let mut next = match situation.observed {
        Observed::Unknown(why) => Next::still(Sync::Unknown, Health::Unknown, Some(why.0.clone())),
        Observed::Absent(_) => Next::still(Sync::Synced, Health::Missing, None),
        Observed::Present(live) => match live.ours(situation.owner) {
            None => Next::still(Sync::Held, Health::Unknown, Some("it is not ours and is left alone".to_owned())),
            Some(_) if live.leaves => Next::going(Vec::new(), Health::Progressing, LEAVES.to_owned()),
            Some(ours) => {
                let stamp = ours.stamp();
                let step = Step {
                    resource: situation.id.clone(),
                    owner: situation.owner.clone(),
                    team: stamp.team.clone(),
                    provider: situation.provider.clone(),
                    op: Op::Delete { ours: ours.clone(), moved_to: None },
                    cause: situation.cause.clone(),
                };
                Next::going(vec![step], health_as_applied(live), LEAVES.to_owned())
            }
        },
    };
    back_off(situation, &mut next);
    next
}

/// Looked for at the wrong provider: nothing follows from that.
fn elsewhere(effective: &Effective<'_>) -> Next {
    let why = format!("it belongs on provider {} and was looked for on another", effective.resource().spec.provider);
    Next::still(Sync::Unknown, Health::Unknown, Some(why))
}

/// Nothing is on its way to what its manifest now says: it is held against what was last applied to it.
fn suspended(observed: &Observed) -> Next {
    let health = match observed {
        Observed::Present(live) => health_as_applied(live),
        Observed::Absent(_) => Health::Missing,
        Observed::Unknown(_) => Health::Unknown,
    };
    let why = "its manifest says `suspend: true`: nothing of it is changed until a commit takes that away; what ends is still started again";
    Next::still(Sync::Suspended, health, Some(why.to_owned()))
}

/// It should exist and does not: made whole at once, for there is nothing old to be careful of.
fn arrive(situation: &Situation<'_>, effective: &Effective<'_>) -> Next {
    let target = effective.fill().unwrap_or(effective.resource());
    if let Some((from, live)) = situation.former {
        return match live.ours(situation.owner) {
            Some(ours) => {
                let op = Op::Rename { from: from.clone(), ours, desired: Arc::clone(target) };
                let why = format!("{from} is being renamed");
                Next::going(vec![situation.step(target, op)], health_of(target, live), why)
            }
            None => Next::still(Sync::Held, Health::Missing, Some(format!("{from}, its old id, is not ours"))),
        };
    }
    let mut steps = vec![situation.step(target, Op::Create { desired: Arc::clone(target) })];
    if roll::needs_release(situation.memory, None, effective) {
        steps.push(situation.step(target, Op::Release { desired: Arc::clone(target) }));
    }
    let start = if effective.fill().is_some() { target.spec.replicas } else { 0 };
    steps.extend(roll::starts(situation, target, &[], start));
    Next::going(steps, Health::Missing, "it is being made".to_owned())
}

fn present(situation: &Situation<'_>, effective: &Effective<'_>, live: &Live) -> Next {
    let target = effective.resource();
    match &live.stamp {
        Some(stamp) if stamp.owner == *situation.owner => roll::look(situation, effective, live),
        stamp if target.adopt && stamp.as_ref().is_none_or(|stamp| may_adopt(stamp, situation.owner)) => {
            let op = Op::Adopt { desired: Arc::clone(target) };
            let why = "an object that was not ours is being taken over, as `adopt: true` says".to_owned();
            Next::going(vec![situation.step(target, op)], health_of(target, live), why)
        }
        None => {
            let why = "an object of this name is there and is not ours: remove it, or say `adopt: true`".to_owned();
            Next::still(Sync::Held, health_as_applied(live), Some(why))
        }
        Some(stamp) => {
            let why = format!("it belongs to {}, not to {}", stamp.owner, situation.owner);
            Next::still(Sync::Held, health_as_applied(live), Some(why))
        }
    }
}

/// After a failed apply the same is not tried before its time.
fn back_off(situation: &Situation<'_>, next: &mut Next) {
    let waits = |step: &Step| situation.memory.waits(&step.op.aim(), situation.now);
    if let Some(at) = next.steps.iter().find_map(waits) {
        next.steps.clear();
        next.wake = Some(next.wake.map_or(at, |wake| wake.min(at)));
        let error = situation.memory.error.as_deref().unwrap_or("the last step failed");
        next.why = Some(format!("{error}; tried again at {}", due(situation.now, at)));
    }
}
