//! Which changes may go: blast radius, waves, freeze, suspend, holds. Pure; the facts come in, decisions go out.

mod blast;
mod budget;
mod disputed;
mod leaving;
mod permit;
mod released;
mod render;
mod system;
#[cfg(test)]
mod tests;
mod wait;
mod wave;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::Serialize;

use crate::config::Freeze;
use crate::desired::Desired;
use crate::model::{HoldId, Memory, ProviderName, ResourceId, Revision, Snapshot, SystemId, Verb, Waves};
use crate::plan::{Change, Plan};

pub use blast::is_counted;
pub use leaving::{as_before, leaving};
pub use permit::{permit, permit_mark};
pub use render::render;

/// What the decision rests on.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// Now.
    pub now: Timestamp,
    /// What is remembered.
    pub memory: &'a Memory,
    /// What was observed.
    pub snapshot: &'a Snapshot,
    /// The revision being applied.
    pub revision: &'a Revision,
    /// A freeze from the settings; the repository's own is in `desired`.
    pub freeze: Option<&'a Freeze>,
}

/// May this change go?
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Decision {
    /// Yes.
    Go,
    /// Only a commit releases it.
    Held {
        /// In one sentence.
        why: String,
        /// How to release it, in one sentence; holds the trailer where one releases it.
        release: String,
        /// The hold it belongs to, if a trailer releases it.
        hold: Option<HoldId>,
    },
    /// It goes by itself once this clears.
    Waiting {
        /// What it waits for, in one sentence.
        why: String,
        /// When to look again, if known.
        until: Option<Timestamp>,
    },
    /// Nothing is done, as its manifest says.
    Suspended,
}

/// A set of changes that one trailer releases.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Hold {
    /// Its id.
    pub id: HoldId,
    /// What is held.
    pub changes: BTreeSet<(Verb, ResourceId)>,
    /// Why, in one sentence.
    pub why: String,
    /// The trailer to copy into a commit message: `Codeops-Allow: ID`.
    pub trailer: String,
    /// Those that are removals and stay held until a commit releases them or declares them again, whatever else changes.
    #[serde(skip)]
    pub removals: BTreeSet<ResourceId>,
}

impl Hold {
    fn new(changes: BTreeSet<(Verb, ResourceId)>, why: String) -> Self {
        Self::named(HoldId::of(&changes), changes, why)
    }

    fn named(id: HoldId, changes: BTreeSet<(Verb, ResourceId)>, why: String) -> Self {
        let trailer = format!("Codeops-Allow: {id}");
        Self { id, changes, why, trailer, removals: BTreeSet::new() }
    }
}

/// The decision on a whole plan.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Judged {
    /// By resource; every change of the plan has one, and what is not known on a provider that became another system.
    pub decisions: BTreeMap<ResourceId, Decision>,
    /// The holds that a trailer releases and none has.
    pub holds: Vec<Hold>,
    /// Removals that go because a commit released them, with the hold to be written into their `Removal`.
    pub released: BTreeMap<ResourceId, HoldId>,
    /// Released holds whose whole set has gone, or whose release has lapsed: to be written down as spent.
    pub spent: Vec<HoldId>,
    /// Providers whose change of system a commit accepted: to be remembered, and their holds spent.
    pub accepted: BTreeMap<ProviderName, SystemId>,
    /// The wide update under way, to be remembered.
    pub waves: Option<Waves>,
    /// What was held to be removed and is declared again: to be written down, so that it counts anew when it is removed anew.
    #[serde(skip)]
    pub taken_back: BTreeSet<ResourceId>,
    /// What is stuck: its steps have failed for so long that somebody has to look, though they are tried again.
    #[serde(skip)]
    pub stuck: BTreeSet<ResourceId>,
}

/// Judges a plan. The same plan and facts give the same answer.
///
/// What is asked first counts: a suspended resource is suspended whatever else is true of it, a hold outranks a wait, and
/// among waits the one that comes first in time is not sought.
pub fn judge(plan: &Plan, desired: &Desired, facts: &Facts<'_>) -> Judged {
    let mut judged = Judged::default();
    let waits = wait::Waits::new(plan, desired, facts);
    let stuck = plan.changes.iter().filter(|change| waits.stuck(change).is_some());
    judged.taken_back = blast::taken_back(plan, desired, facts);
    judged.stuck = stuck.map(|change| change.id.clone()).collect();
    let guards = Guards {
        systems: system::guard(plan, desired, facts, &mut judged),
        removals: blast::guard(plan, desired, facts, &mut judged),
        waves: wave::guard(plan, desired, facts, &waits, &mut judged),
        waits,
    };
    for change in &plan.changes {
        judged.decisions.insert(change.id.clone(), guards.decide(change, desired));
    }
    for (provider, decision) in &guards.systems {
        for id in system::unknown(facts, provider).filter(|id| !is_suspended(id, desired)) {
            judged.decisions.entry(id.clone()).or_insert_with(|| decision.clone());
        }
    }
    judged
}

/// Everything that can stop a change, asked in turn.
struct Guards<'a> {
    systems: BTreeMap<ProviderName, Decision>,
    removals: BTreeMap<ResourceId, Decision>,
    waves: BTreeMap<ResourceId, Decision>,
    waits: wait::Waits<'a>,
}

impl Guards<'_> {
    fn decide(&self, change: &Change, desired: &Desired) -> Decision {
        if is_suspended(&change.id, desired) {
            return Decision::Suspended;
        }
        if let Some(why) = &change.held {
            let release = "a commit that settles this releases it".to_owned();
            return Decision::Held { why: why.clone(), release, hold: None };
        }
        let system = |provider| self.systems.get(provider).cloned();
        system(&change.provider)
            .or_else(|| change.from_provider.as_ref().and_then(system))
            .or_else(|| self.removals.get(&change.id).cloned())
            .or_else(|| self.waits.freeze(change))
            .or_else(|| self.waits.retry(change))
            .or_else(|| self.waits.dependency(change))
            .or_else(|| self.waves.get(&change.id).cloned())
            .unwrap_or(Decision::Go)
    }
}

fn is_suspended(id: &ResourceId, desired: &Desired) -> bool {
    desired.resources.get(id).is_some_and(|resource| resource.spec.suspend)
}
