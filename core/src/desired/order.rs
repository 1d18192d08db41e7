//! Dependency order: who comes first, and who waits for himself. Iterative, so that long chains cannot overflow the stack.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::model::{Resource, ResourceId};

/// All ids so that each comes after those it is `after`; by id where nothing else decides. Ids in a cycle, which
/// compiling leaves out, would come last.
pub fn order(resources: &BTreeMap<ResourceId, Arc<Resource>>) -> Vec<ResourceId> {
    let mut waiting: BTreeMap<&ResourceId, usize> = BTreeMap::new();
    let mut next: BTreeMap<&ResourceId, Vec<&ResourceId>> = BTreeMap::new();
    for (id, resource) in resources {
        let after: BTreeSet<&ResourceId> = resource.spec.after.iter().filter(|id| resources.contains_key(id)).collect();
        waiting.insert(id, after.len());
        for before in after {
            next.entry(before).or_default().push(id);
        }
    }
    let mut ready: BTreeSet<&ResourceId> =
        waiting.iter().filter(|(_, count)| **count == 0).map(|(id, _)| *id).collect();
    let mut out = Vec::with_capacity(resources.len());
    while let Some(id) = ready.pop_first() {
        waiting.remove(id);
        out.push(id.clone());
        for after in next.get(id).into_iter().flatten() {
            if let Some(count) = waiting.get_mut(after) {
                *count -= 1;
                if *count == 0 {
                    ready.insert(after);
                }
            }
        }
    }
    out.extend(waiting.into_keys().cloned());
    out
}

/// One cycle for each knot of ids that wait for each other, each beginning with its smallest id.
pub(super) fn cycles(edges: &BTreeMap<ResourceId, Vec<ResourceId>>) -> Vec<Vec<ResourceId>> {
    // Only ids that neither end nor begin nowhere can be in a cycle: peel off the rest from both sides.
    let mut inside: BTreeSet<&ResourceId> = edges.keys().collect();
    peel(&mut inside, edges);
    let mut out = Vec::new();
    let mut done: BTreeSet<&ResourceId> = BTreeSet::new();
    for start in inside.clone() {
        if done.contains(start) {
            continue;
        }
        if let Some(cycle) = shortest(start, edges, &inside) {
            done.extend(cycle.iter().copied());
            out.push(cycle.into_iter().cloned().collect());
        }
    }
    out
}

/// Removes, again and again, ids that wait for nobody inside.
fn peel<'e>(inside: &mut BTreeSet<&'e ResourceId>, edges: &'e BTreeMap<ResourceId, Vec<ResourceId>>) {
    let mut count: BTreeMap<&ResourceId, usize> = BTreeMap::new();
    let mut next: BTreeMap<&ResourceId, Vec<&ResourceId>> = BTreeMap::new();
    for (id, after) in edges {
        let after: Vec<&ResourceId> = after.iter().filter(|id| edges.contains_key(id)).collect();
        count.insert(id, after.len());
        for before in after {
            next.entry(before).or_default().push(id);
        }
    }
    let mut free: Vec<&ResourceId> = count.iter().filter(|(_, count)| **count == 0).map(|(id, _)| *id).collect();
    while let Some(id) = free.pop() {
        inside.remove(id);
        for after in next.get(id).into_iter().flatten() {
            if let Some(count) = count.get_mut(after) {
                *count -= 1;
                if *count == 0 {
                    free.push(after);
                }
            }
        }
    }
}

/// The shortest way from an id back to itself, if there is one.
fn shortest<'e>(
    start: &'e ResourceId,
    edges: &'e BTreeMap<ResourceId, Vec<ResourceId>>,
    inside: &BTreeSet<&'e ResourceId>,
) -> Option<Vec<&'e ResourceId>> {
    let mut from: BTreeMap<&ResourceId, &ResourceId> = BTreeMap::new();
    let mut queue = std::collections::VecDeque::from([start]);
    while let Some(id) = queue.pop_front() {
        for next in edges.get(id)?.iter().filter(|next| inside.contains(next)) {
            if next == start {
                let mut cycle = vec![id];
                while let Some(before) = from.get(cycle[cycle.len() - 1]) {
                    cycle.push(before);
                }
                cycle.reverse();
                return Some(cycle);
            }
            if !from.contains_key(next) {
                from.insert(next, id);
                queue.push_back(next);
            }
        }
    }
    None
}
