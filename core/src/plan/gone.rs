//! What may be forgotten: what no revision declares, no provider has, and no rename may still hand to another id. What is
//! remembered of a resource is its last good version and its pins; whoever forgets it too early cannot go back.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::desired::Desired;
use crate::model::{Memory, Observed, Resource, ResourceId, ResourceMemory, Snapshot};

/// Steps whose outcome is not known yet: while one is under way, what is seen says nothing of how it will end.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UnderWay {
    renames: BTreeMap<ResourceId, ResourceId>,
}

impl UnderWay {
    /// These renames, each from its old id to its new one. They must be asked for before the memory and the snapshot are: one
    /// that ends in between has handed on what is remembered.
    pub fn new(renames: impl IntoIterator<Item = (ResourceId, ResourceId)>) -> Self {
        Self { renames: renames.into_iter().collect() }
    }

    /// The id from which this one is being renamed, if it is.
    pub fn former(&self, to: &ResourceId) -> Option<&ResourceId> {
        self.renames.iter().find(|(_, new)| *new == to).map(|(from, _)| from)
    }

    fn concerns(&self, id: &ResourceId) -> bool {
        self.renames.contains_key(id) || self.former(id).is_some()
    }
}

/// What is neither declared nor live any more, by the word of every provider: what cannot be told is not gone. A provider
/// that is no longer in the settings is not asked: what may still run there is not forgotten. Nor is what is being renamed,
/// or is to be: that is remembered until it is handed on, or the new id lives without it.
pub fn gone<'m>(
    desired: &Desired,
    snapshot: &Snapshot,
    memory: &'m Memory,
    under_way: &UnderWay,
) -> Vec<&'m ResourceId> {
    let everywhere = |id: &ResourceId, is: fn(&Observed) -> bool| {
        snapshot.providers.keys().map(|name| snapshot.observed(name, id)).all(|observed| is(&observed))
    };
    let is_gone = |id| everywhere(id, |observed| matches!(observed, Observed::Absent(_)));
    let lives = |id| !everywhere(id, |observed| !matches!(observed, Observed::Present(_)));
    let renamed = desired.renamed();
    let is_to_be = |id: &ResourceId, it: &ResourceMemory| {
        let may =
            |to: &&&Arc<Resource>| it.claims.team.as_ref().is_none_or(|theirs| desired.may_take(&to.team, theirs));
        renamed.get(id).is_some_and(|all| all.iter().filter(may).any(|to| !lives(&to.id)))
    };
    let gone = memory.resources.iter().filter(|(id, it)| {
        !desired.resources.contains_key(*id)
            && !desired.held.contains_key(*id)
            && !under_way.concerns(id)
            && !is_to_be(id, it)
            && is_asked_for(id, snapshot, memory)
            && is_gone(id)
    });
    gone.map(|(id, _)| id).collect()
}

/// Whether every provider it may live on is in the settings.
fn is_asked_for(id: &ResourceId, snapshot: &Snapshot, memory: &Memory) -> bool {
    let asked = |provider| snapshot.providers.contains_key(provider);
    let mut known = memory.resources.get(id).into_iter().flat_map(ResourceMemory::lived_on).peekable();
    match known.peek() {
        Some(_) => known.all(asked),
        None => memory.systems.keys().all(asked),
    }
}
