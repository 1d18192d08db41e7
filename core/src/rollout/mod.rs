//! From one resource's change to the next small steps, by looking only at desired, observed, memory and now. Pure, so that
//! a rollout can be pre-empted, resumed after a crash, and tested without waiting.

use std::sync::Arc;

use jiff::Timestamp;

use crate::model::{Cause, Digest, Health, Observed, Owner, Resource, ResourceId, ResourceMemory, Step, Sync};

/// What the next step rests on.
#[derive(Debug, Clone, Copy)]
pub struct Situation<'a> {
    /// The resource.
    pub id: &'a ResourceId,
    /// Who declares it.
    pub owner: &'a Owner,
    /// What it should be; `None`: it should not exist.
    pub desired: Option<&'a Arc<Resource>>,
    /// What is there.
    pub observed: &'a Observed,
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
        /// How, in one sentence.
        why: String,
    },
}

/// The next steps for one resource. Repeated with the same input it gives the same answer.
pub fn next(situation: &Situation<'_>) -> Next {
    let _ = situation;
    Next { steps: Vec::new(), wake: None, sync: Sync::Unknown, health: Health::Unknown, why: None, finding: None }
}
