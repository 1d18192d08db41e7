//! What merges bring beside their first parents, and where their branches parted, in one pass over all that is new: a walk for
//! each merge would let one push of many keep everybody else from being followed. Reads the mirror only.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use git2::{Oid, Repository};

use super::object;

/// So many commits are looked at.
const MOST: usize = 200_000;

/// What the merges between two revisions bring.
#[derive(Default)]
pub(super) struct Merges {
    /// By the merge on the first-parent line with which they came, newest first.
    brought: BTreeMap<Oid, Vec<Oid>>,
    /// The newest commit of the first-parent line that each commit leads back to.
    parted: BTreeMap<Oid, Oid>,
}

impl Merges {
    /// Those among the `new` commits up to `until`, whose first-parent `line` this is, oldest first. `None` where there are too many
    /// to look at.
    pub(super) fn among(
        repository: &Repository,
        (new, until): (&BTreeSet<Oid>, Oid),
        line: &[Oid],
    ) -> Result<Option<Self>, git2::Error> {
        let places: BTreeMap<Oid, usize> = line.iter().enumerate().map(|(place, id)| (*id, place)).collect();
        if new.len() > MOST {
            return Ok(None);
        }
        let mut parents = BTreeMap::new();
        for id in new {
            let theirs = object::find(repository, *id)?;
            parents.insert(*id, theirs.parent_ids().filter(|parent| new.contains(parent)).collect::<Vec<_>>());
        }
        let order = newest_first(&parents, until);
        let mut merges = Self::default();
        // The first of the line that leads back to each.
        let mut came: BTreeMap<Oid, usize> = BTreeMap::new();
        for id in &order {
            let place = match (places.get(id), came.get(id)) {
                (Some(place), _) => *place,
                (None, Some(place)) => {
                    merges.brought.entry(line[*place]).or_default().push(*id);
                    *place
                }
                (None, None) => continue,
            };
            for parent in parents.get(id).into_iter().flatten() {
                came.entry(*parent).and_modify(|first| *first = place.min(*first)).or_insert(place);
            }
        }
        let mut last: BTreeMap<Oid, usize> = BTreeMap::new();
        for id in order.iter().rev() {
            let theirs = parents.get(id).into_iter().flatten().filter_map(|parent| last.get(parent).copied()).max();
            if let Some(place) = places.get(id).copied().or(theirs) {
                last.insert(*id, place);
                merges.parted.insert(*id, line[place]);
            }
        }
        Ok(Some(merges))
    }

    /// What came with this commit beside its first parent, newest first.
    pub(super) fn brought(&self, merge: Oid) -> &[Oid] {
        self.brought.get(&merge).map_or(&[], Vec::as_slice)
    }

    /// The newest commit of the first-parent line that this one leads back to; none where it parted before.
    pub(super) fn parted(&self, id: Oid) -> Option<Oid> {
        self.parted.get(&id).copied()
    }
}

/// The commits, none before one that leads back to it; dates, which anybody may choose, do not matter.
fn newest_first(parents: &BTreeMap<Oid, Vec<Oid>>, until: Oid) -> Vec<Oid> {
    let mut children: BTreeMap<Oid, usize> = BTreeMap::new();
    for parent in parents.values().flatten() {
        *children.entry(*parent).or_default() += 1;
    }
    let (mut order, mut next) = (Vec::new(), VecDeque::from([until]));
    while let Some(id) = next.pop_front() {
        order.push(id);
        for parent in parents.get(&id).into_iter().flatten() {
            if let Some(left) = children.get_mut(parent) {
                *left -= 1;
                if *left == 0 {
                    next.push_back(*parent);
                }
            }
        }
    }
    order
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::ancestry::{
        self,
        tests::{history, made, reach},
    };
    use super::*;

    proptest! {
        #[test]
        fn each_commit_came_with_the_first_that_leads_back_to_it(commits in history(), since in any::<prop::sample::Index>()) {
            came_with_the_first(&commits, since.index(commits.len() - 1))?;
        }
    }

    /// Found by the property above: git2's walk took a commit for new that the old revision has.
    #[test]
    fn dates_make_nothing_new_that_was_there() {
        let commits: Vec<(Vec<usize>, i64)> = [
            (&[][..], 2),
            (&[0], 0),
            (&[0], 26),
            (&[2], 0),
            (&[0], 2),
            (&[3], 0),
            (&[0], 0),
            (&[2], 3),
            (&[4], 1),
            (&[0], 0),
            (&[5], 0),
            (&[8], 0),
            (&[7], 1),
            (&[0], 0),
            (&[3], 38),
            (&[7], 34),
            (&[1], 26),
            (&[6, 3], 42),
            (&[11], 23),
            (&[2, 12], 36),
            (&[11, 0], 7),
            (&[10, 11, 0], 17),
            (&[12], 32),
        ]
        .map(|(parents, at)| (parents.to_vec(), 1_795_800_000 + at))
        .into();
        for since in 0..commits.len() - 1 {
            came_with_the_first(&commits, since).unwrap();
        }
    }

    /// Holds that each commit after `since` came with the first of the last one's first parents that leads back to it.
    fn came_with_the_first(commits: &[(Vec<usize>, i64)], since: usize) -> Result<(), TestCaseError> {
        let (_folder, repository, ids) = made(commits);
        let until = commits.len() - 1;
        let old = reach(commits, since);
        let mut line = Vec::new();
        let mut at = Some(until).filter(|at| !old.contains(at));
        while let Some(place) = at {
            line.push(place);
            at = commits[place].0.first().copied().filter(|parent| !old.contains(parent));
        }
        line.reverse();
        let line_ids: Vec<Oid> = line.iter().map(|place| ids[*place]).collect();
        let new = ancestry::after(&repository, ids[since], ids[until]).expect("read");
        let merges = Merges::among(&repository, (&new, ids[until]), &line_ids).expect("read").expect("not too many");
        let mut before = old.clone();
        for place in &line {
            let reached = reach(commits, *place);
            let new: BTreeSet<Oid> =
                reached.difference(&before).filter(|id| *id != place).map(|place| ids[*place]).collect();
            let brought: BTreeSet<Oid> = merges.brought(ids[*place]).iter().copied().collect();
            prop_assert_eq!(brought, new);
            before.extend(reached);
        }
        for place in reach(commits, until).difference(&old) {
            let reached = reach(commits, *place);
            let last = line.iter().rev().find(|on| reached.contains(on)).map(|on| ids[*on]);
            prop_assert_eq!(merges.parted(ids[*place]), last);
        }
        Ok(())
    }
}
