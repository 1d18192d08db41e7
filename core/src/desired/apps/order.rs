//! Dependency order: who comes first, and who waits for himself. Iterative, so that long chains cannot overflow the stack.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Display;
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

/// From so many ids a cycle is looked for; a hostile revision's others are held unnamed.
const MOST_SEARCHES: usize = 100;

/// How many of a circle are named: all of one that a person made.
const NAMED: usize = 32;

/// The names of a circle, from its first back to its first.
pub(crate) fn circle(names: impl Iterator<Item = impl Display>) -> String {
    let mut names: Vec<String> = names.map(|name| name.to_string()).collect();
    if names.len() > NAMED {
        let more = names.len() - NAMED;
        names.splice(NAMED - 1..names.len() - 1, [format!("{more} more")]);
    }
    names.join(" → ")
}

type Edges<'e> = BTreeMap<&'e ResourceId, Vec<&'e ResourceId>>;

/// One cycle for each knot of ids that wait for each other, and ids that may be in more than were looked for.
pub(crate) fn cycles(after: &BTreeMap<ResourceId, Vec<ResourceId>>) -> (Vec<Vec<ResourceId>>, BTreeSet<ResourceId>) {
    let mut edges: Edges<'_> = Edges::new();
    let mut back: Edges<'_> = Edges::new();
    for (id, before) in after {
        for before in before.iter().filter(|before| after.contains_key(before)) {
            edges.entry(id).or_default().push(before);
            back.entry(before).or_default().push(id);
        }
    }
    // Whoever waits for nobody, or is waited for by nobody, again and again, is in no cycle.
    let mut inside: BTreeSet<&ResourceId> = after.keys().collect();
    peel(&mut inside, &edges, &back);
    peel(&mut inside, &back, &edges);
    let mut out = Vec::new();
    let mut searches = 0;
    let mut left = inside.clone();
    for start in inside.iter().copied() {
        if !left.contains(start) {
            continue;
        }
        if searches >= MOST_SEARCHES {
            return (out, left.into_iter().cloned().collect());
        }
        searches += 1;
        left.remove(start);
        if let Some(cycle) = shortest(start, &edges, &inside) {
            left.retain(|id| !cycle.contains(id));
            out.push(cycle.into_iter().cloned().collect());
        }
    }
    (out, BTreeSet::new())
}

/// Removes, again and again, ids from which no edge leads to one inside.
fn peel<'e>(inside: &mut BTreeSet<&'e ResourceId>, edges: &Edges<'e>, back: &Edges<'e>) {
    let count = |id: &&ResourceId| edges.get(id).into_iter().flatten().filter(|to| inside.contains(*to)).count();
    let mut counts: BTreeMap<&ResourceId, usize> = inside.iter().map(|id| (*id, count(id))).collect();
    let mut free: Vec<&ResourceId> = counts.iter().filter(|(_, count)| **count == 0).map(|(id, _)| *id).collect();
    while let Some(id) = free.pop() {
        inside.remove(id);
        for from in back.get(id).into_iter().flatten() {
            if let Some(count) = counts.get_mut(from).filter(|count| **count > 0) {
                *count -= 1;
                if *count == 0 {
                    free.push(from);
                }
            }
        }
    }
}

/// The shortest way from an id back to itself, if there is one.
fn shortest<'e>(
    start: &'e ResourceId,
    edges: &Edges<'e>,
    inside: &BTreeSet<&'e ResourceId>,
) -> Option<Vec<&'e ResourceId>> {
    let mut from: BTreeMap<&ResourceId, &ResourceId> = BTreeMap::new();
    let mut queue = VecDeque::from([start]);
    while let Some(id) = queue.pop_front() {
        for next in edges.get(id).into_iter().flatten().copied().filter(|next| inside.contains(next)) {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn id(name: &str) -> ResourceId {
        ResourceId::app(name.parse().expect("a name"))
    }

    #[test]
    fn every_knot_is_found_and_chains_are_not() {
        let pairs = [("a", "b"), ("b", "a"), ("c", "a"), ("d", "e"), ("e", "f"), ("f", "d"), ("b", "x"), ("y", "y")];
        let mut after: BTreeMap<ResourceId, Vec<ResourceId>> = BTreeMap::new();
        for (from, to) in pairs {
            after.entry(id(from)).or_default().push(id(to));
            after.entry(id(to)).or_default();
        }
        let (found, left) = cycles(&after);
        let words: Vec<String> =
            found.iter().map(|cycle| cycle.iter().map(|id| id.name.as_str()).collect::<Vec<_>>().join(" ")).collect();
        assert_eq!(words, ["a b", "d e f", "y"]);
        assert!(left.is_empty());
    }

    #[test]
    fn a_circle_is_named_in_full_unless_nobody_reads_it() {
        let names = |count: usize| circle((0..count).chain([0]).map(|n| format!("a{n}")));
        assert_eq!(names(2), "a0 → a1 → a0");
        assert!(names(31).contains("a15") && !names(31).contains("more"));
        assert!(names(100_000).ends_with("a30 → 99969 more → a0"), "{}", names(100_000));
    }

    #[test]
    fn many_knots_stay_cheap_and_none_is_missed() {
        let mut after: BTreeMap<ResourceId, Vec<ResourceId>> = BTreeMap::new();
        for i in 0..5_000 {
            after.entry(id(&format!("a{i}"))).or_default().push(id(&format!("b{i}")));
            after.entry(id(&format!("b{i}"))).or_default().push(id(&format!("a{i}")));
        }
        let (found, left) = cycles(&after);
        assert_eq!(found.iter().map(Vec::len).sum::<usize>() + left.len(), 10_000);
    }
}
