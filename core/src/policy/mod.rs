//! Which changes may go: blast radius, waves, freeze, suspend, holds. Pure; the facts come in, decisions go out.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::Serialize;

use crate::config::Freeze;
use crate::desired::Desired;
use crate::model::{HoldId, Memory, ResourceId, Revision, Snapshot, Step, Verb, Waves};
use crate::plan::Plan;

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
}

/// The decision on a whole plan.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Judged {
    /// By resource; every change of the plan has one.
    pub decisions: BTreeMap<ResourceId, Decision>,
    /// The holds that a trailer releases.
    pub holds: Vec<Hold>,
    /// The wide update under way, to be remembered.
    pub waves: Option<Waves>,
}

/// Judges a plan.
pub fn judge(plan: &Plan, desired: &Desired, facts: &Facts<'_>) -> Judged {
    let _ = (plan, desired, facts);
    Judged::default()
}

/// The gate's last look at one step, with facts of this very moment. `Err` says why not, in one sentence.
pub fn permit(step: &Step, desired: &Desired, facts: &Facts<'_>) -> Result<(), String> {
    let _ = (step, desired, facts);
    Ok(())
}
