//! The order of changes: what others depend on goes first, removals go last and the other way round. Ties by id.

use std::collections::{BTreeMap, BTreeSet};

use super::Change;
use crate::model::{ResourceId, Verb};

/// Sorts changes, and keeps in each delete's `after` only dependants that really come before it, so that nothing waits in
/// a circle even where live objects, made by different revisions, depend on each other.
pub(super) fn order(changes: Vec<Change>) -> Vec<Change> {
    let (deletes, others): (Vec<_>, Vec<_>) = changes.into_iter().partition(|c| c.verb == Verb::Delete);
    let mut ordered = sorted(others);
    let mut gone: BTreeSet<ResourceId> = BTreeSet::new();
    for mut delete in sorted(deletes) {
        delete.after.retain(|id| gone.contains(id));
        gone.insert(delete.id.clone());
        ordered.push(delete);
    }
    ordered
}

/// Kahn's algorithm over `after`; what is left in a circle follows by id.
fn sorted(changes: Vec<Change>) -> Vec<Change> {
    let ids: BTreeSet<ResourceId> = changes.iter().map(|c| c.id.clone()).collect();
    let mut waits: BTreeMap<ResourceId, usize> = BTreeMap::new();
    let mut frees: BTreeMap<ResourceId, Vec<ResourceId>> = BTreeMap::new();
    for change in &changes {
        let before: BTreeSet<&ResourceId> = change.after.iter().filter(|id| ids.contains(id)).collect();
        waits.insert(change.id.clone(), before.len());
        for id in before {
            frees.entry(id.clone()).or_default().push(change.id.clone());
        }
    }
    let mut ready: BTreeSet<ResourceId> = waits.iter().filter(|(_, n)| **n == 0).map(|(id, _)| id.clone()).collect();
    let mut changes: BTreeMap<ResourceId, Change> = changes.into_iter().map(|c| (c.id.clone(), c)).collect();
    let mut out = Vec::with_capacity(changes.len());
    while let Some(id) = ready.pop_first() {
        out.extend(changes.remove(&id));
        for freed in frees.remove(&id).unwrap_or_default() {
            if let Some(count) = waits.get_mut(&freed) {
                *count -= 1;
                if *count == 0 {
                    ready.insert(freed);
                }
            }
        }
    }
    out.extend(changes.into_values());
    out
}
