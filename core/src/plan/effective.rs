//! What is to run, which is not always what is declared: a template that failed is pinned and gives way to the last good
//! one. This choice is made here alone, for plans, policy and rollouts alike.

use std::sync::Arc;

use crate::model::{Digest, OnFailure, Pin, Resource, ResourceMemory};

/// What a resource should run now.
#[derive(Debug, Clone, Copy)]
pub enum Effective<'a> {
    /// What is declared.
    Declared(&'a Arc<Resource>),
    /// The last good one, because the declared template failed.
    RolledBack {
        /// What runs instead.
        to: &'a Arc<Resource>,
        /// The declared template.
        failed: &'a Digest,
        /// How it failed.
        pin: &'a Pin,
    },
    /// What is there stays: the declared template failed and there is nothing to go back to, or its manifest says pause.
    Stuck {
        /// What is declared; its in-place fields and its count still hold.
        declared: &'a Arc<Resource>,
        /// What a missing instance is started from: the last good one. Without one nothing is, for what failed is not tried
        /// again.
        fill: Option<&'a Arc<Resource>>,
        /// How the declared template failed.
        pin: &'a Pin,
    },
}

/// Chooses what `declared` runs as, given what is remembered of it.
pub fn effective<'a>(declared: &'a Arc<Resource>, memory: Option<&'a ResourceMemory>) -> Effective<'a> {
    let Some(memory) = memory else { return Effective::Declared(declared) };
    // With no instance wanted a failed template matters to nobody.
    if declared.spec.replicas == 0 {
        return Effective::Declared(declared);
    }
    let Some(pin) = pin_of(declared, memory) else { return Effective::Declared(declared) };
    let good = memory.last_good.as_ref().map(|good| &good.resource);
    let good = good.filter(|good| pin_of(good, memory).is_none());
    match (good, declared.spec.rollout.on_failure) {
        (Some(to), OnFailure::Rollback) => Effective::RolledBack { to, failed: &declared.template_digest, pin },
        (good, _) => Effective::Stuck { declared, fill: good, pin },
    }
}

/// The pin that keeps a resource as it is declared from being tried, if one does: its template failed, and it would be tried
/// as it then was.
pub fn pin_of<'a>(declared: &Resource, memory: &'a ResourceMemory) -> Option<&'a Pin> {
    memory.pins.get(&declared.template_digest).filter(|pin| pin.holds_for(declared))
}

impl<'a> Effective<'a> {
    /// The resource whose fields, count and provider hold.
    pub fn resource(&self) -> &'a Arc<Resource> {
        match self {
            Effective::Declared(resource) | Effective::RolledBack { to: resource, .. } => resource,
            Effective::Stuck { declared, .. } => declared,
        }
    }

    /// The resource that missing instances are started from, if any may be.
    pub fn fill(&self) -> Option<&'a Arc<Resource>> {
        match self {
            Effective::Stuck { fill, .. } => *fill,
            _ => Some(self.resource()),
        }
    }

    /// Why the declared template does not run, in one sentence with the way out; `None` when it may.
    pub fn why(&self) -> Option<String> {
        match self {
            Effective::Declared(_) => None,
            // Its instances are as they were: only what judges them has failed.
            Effective::RolledBack { to, failed, pin } if to.template_digest == **failed => Some(format!(
                "rolled back to its last good manifest, with the same template {}; check pinned: {}; commit a fix or `Codeops-Retry: {}`",
                failed.short(),
                pin.why,
                to.id
            )),
            Effective::RolledBack { to, failed, pin } => Some(format!(
                "rolled back to {}; template {} failed: {}; commit a fix or `Codeops-Retry: {}`",
                to.template_digest.short(),
                failed.short(),
                pin.why,
                to.id
            )),
            Effective::Stuck { declared, fill: Some(good), pin }
                if good.template_digest == declared.template_digest =>
            {
                Some(format!(
                    "check pinned, and its manifest says pause: {}; left as it is: commit a fix or `Codeops-Retry: {}`",
                    pin.why, declared.id
                ))
            }
            Effective::Stuck { declared, fill, pin } => {
                let reason = if fill.is_none() { "with no last good one" } else { "and it says pause" };
                Some(format!(
                    "template {} failed {reason}: {}; left as it is: commit a fix or `Codeops-Retry: {}`",
                    declared.template_digest.short(),
                    pin.why,
                    declared.id
                ))
            }
        }
    }
}
