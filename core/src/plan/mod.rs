//! Desired against observed: what would change, field by field. Pure; decides nothing about whether it may.

use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;

use crate::desired::Desired;
use crate::model::{
    Cause, Memory, Owner, Place, ProviderName, Resource, ResourceId, Revision, Snapshot, TeamName, Verb, Why,
};

/// What would change.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Plan {
    /// Changes in the order they go: dependencies first, deletes last and in reverse.
    pub changes: Vec<Change>,
    /// Resources that are what they should be.
    pub unchanged: Vec<ResourceId>,
    /// Resources of which nothing is known, and why; nothing is done to them.
    pub unknown: Vec<(ResourceId, Why)>,
}

/// One resource's change.
#[derive(Debug, Clone, Serialize)]
pub struct Change {
    /// The resource.
    pub id: ResourceId,
    /// Who owns it.
    pub team: Option<TeamName>,
    /// Where it happens.
    pub provider: ProviderName,
    /// For [`Verb::Move`]: the provider that holds it now. For [`Verb::Rename`]: none.
    pub from_provider: Option<ProviderName>,
    /// For [`Verb::Rename`]: the id it had.
    pub from_id: Option<ResourceId>,
    /// What is done.
    pub verb: Verb,
    /// Field by field.
    pub differences: Vec<Difference>,
    /// Why.
    pub cause: Cause,
    /// What it should be; `None` for a delete.
    pub desired: Option<Arc<Resource>>,
    /// Resources that must be healthy first.
    pub after: Vec<ResourceId>,
    /// Where its manifest stands.
    pub place: Option<Place>,
    /// Why it cannot go without a commit, found while planning: not ours, owner unknown, manifest broken.
    pub held: Option<String>,
}

/// One field's difference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Dotted path, such as `run.command[2]`.
    pub field: String,
    /// What is there; `None` when nothing is.
    pub from: Option<Value>,
    /// What should be; `None` when nothing should.
    pub to: Option<Value>,
}

/// Compares one revision with what was observed.
pub fn plan(desired: &Desired, revision: &Revision, owner: &Owner, snapshot: &Snapshot, memory: &Memory) -> Plan {
    let _ = (desired, revision, owner, snapshot, memory);
    Plan::default()
}
