//! The fold of a revision that is accepted: what it declares and no longer does, and the limit that the next one inherits.

use std::collections::{BTreeMap, BTreeSet};

use codeops_core::model::{Asked, Memory, ResourceId, RevisionMemory};
use jiff::Timestamp;

use super::fold::{Change, resource_of};

/// Only what moved is said, so that a commit costs what it changes and not what there is.
pub(super) fn declare(
    memory: &mut Memory,
    files: &BTreeMap<ResourceId, String>,
    gone: &BTreeSet<ResourceId>,
    at: Timestamp,
) -> Vec<Change> {
    let drop_it = |id| resource_of(memory, id, |it| it.drop_declaration(at));
    let mut changes: Vec<Change> = gone.iter().flat_map(drop_it).collect();
    changes.extend(files.iter().flat_map(|(id, file)| resource_of(memory, id, |it| it.declare(file, at))));
    changes
}

/// Since when others ask for what is one team's; what is not remembered by now is nobody's any more.
pub(super) fn ask(memory: &mut Memory, asked: &BTreeMap<ResourceId, Asked>) -> Vec<Change> {
    let mut changes = Vec::new();
    for (id, since) in asked {
        if memory.resources.contains_key(id) {
            changes.extend(resource_of(memory, id, |it| it.claims.asked = Some(since.clone())));
        }
    }
    changes
}

/// The limit by which the next revision is judged beside its own, for as long as it is in force: its predecessor's, and
/// while that one was not wholly applied also the one that it was judged by itself.
pub(super) fn inherit_limit(revision: &mut RevisionMemory, declared: u8) {
    let is_applied = revision.accepted == revision.applied && !revision.has_held;
    let before = revision.blast_declared.replace(declared);
    revision.blast_percent = match (revision.blast_percent, before) {
        (Some(inherited), Some(before)) if !is_applied => Some(inherited.min(before)),
        (_, before) => before,
    };
    revision.has_held = false;
}
