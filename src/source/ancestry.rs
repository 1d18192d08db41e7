//! Which commits lead back to which. Commits claim any date, so nothing goes by those, as git's own walks and git2's do: a wrong
//! answer lets a trailer count twice, or a rewritten history in. Levels, where parents put them, end walks early. Reads the mirror only.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use git2::{Oid, Repository};

use super::levels::Levels;
use super::object;

/// Commits without merges are followed so far before levels are asked.
const LINE: usize = 100_000;
/// What descends is looked for among so many commits before that.
const NEAR: usize = 100;

/// All that `until` leads back to and `since` does not.
pub(super) fn after(repository: &Repository, since: Oid, until: Oid) -> Result<BTreeSet<Oid>, git2::Error> {
    match plain(repository, since, until) {
        Some(line) => Ok(line),
        // The end of one may move, and with it the levels.
        None if repository.is_shallow() => all_after(repository, since, until),
        None => above(repository, &Levels::of(repository, &[since, until])?, since, until),
    }
}

/// Whether `tip` is `base` or leads back to it.
pub(super) fn descends(repository: &Repository, tip: Oid, base: Oid) -> Result<bool, git2::Error> {
    let (mut is, mut left) = (false, NEAR);
    let shallow = repository.is_shallow();
    walk(repository, tip, &mut BTreeSet::new(), |id| {
        is = id == base;
        left = left.saturating_sub(1);
        is || (left == 0 && !shallow)
    })?;
    if is || left > 0 || shallow {
        return Ok(is);
    }
    let levels = Levels::of(repository, &[tip, base])?;
    leads_back(repository, &levels, tip, base)
}

/// The usual case: `since` is right below commits that merge nothing.
fn plain(repository: &Repository, since: Oid, until: Oid) -> Option<BTreeSet<Oid>> {
    let (mut line, mut at) = (BTreeSet::new(), until);
    while at != since {
        line.insert(at);
        let commit = object::find(repository, at).ok().filter(|it| it.parent_count() == 1 && line.len() < LINE)?;
        at = commit.parent_ids().next()?;
    }
    Some(line)
}

/// Highest first, so that all that leads back to a commit was looked at before it is. Ends where nothing is left but what `since`
/// leads back to.
fn above(repository: &Repository, levels: &Levels, since: Oid, until: Oid) -> Result<BTreeSet<Oid>, git2::Error> {
    let mut found = BTreeSet::new();
    // By level; whether `since` does not lead back to it, as far as is known.
    let mut next = BTreeMap::from([((levels.get(until)?, until), true), ((levels.get(since)?, since), false)]);
    let mut new = next.values().filter(|is_new| **is_new).count();
    while new > 0
        && let Some(((_, id), is_new)) = next.pop_last()
    {
        if is_new {
            new -= 1;
            found.insert(id);
        }
        for parent in object::find(repository, id)?.parent_ids() {
            match next.entry((levels.get(parent)?, parent)) {
                Entry::Vacant(entry) => {
                    entry.insert(is_new);
                    new += usize::from(is_new);
                }
                Entry::Occupied(mut entry) if !is_new => new -= usize::from(entry.insert(false)),
                Entry::Occupied(_) => {}
            }
        }
    }
    Ok(found)
}

/// As [`descends`], past what stands no higher than `base`.
fn leads_back(repository: &Repository, levels: &Levels, tip: Oid, base: Oid) -> Result<bool, git2::Error> {
    let floor = levels.get(base)?;
    let (mut seen, mut next) = (BTreeSet::from([tip]), vec![tip]);
    while let Some(id) = next.pop() {
        if id == base {
            return Ok(true);
        }
        for parent in object::find(repository, id)?.parent_ids() {
            if (parent == base || levels.get(parent)? > floor) && seen.insert(parent) {
                next.push(parent);
            }
        }
    }
    Ok(false)
}

/// As [`after`]. Walks everything.
fn all_after(repository: &Repository, since: Oid, until: Oid) -> Result<BTreeSet<Oid>, git2::Error> {
    let (mut seen, mut found) = (BTreeSet::new(), BTreeSet::new());
    walk(repository, since, &mut seen, |_| false)?;
    walk(repository, until, &mut seen, |id| {
        found.insert(id);
        false
    })?;
    Ok(found)
}

/// Shows each commit once until `ends` says that it is enough.
fn walk(
    repository: &Repository,
    from: Oid,
    seen: &mut BTreeSet<Oid>,
    mut ends: impl FnMut(Oid) -> bool,
) -> Result<(), git2::Error> {
    let shallow = repository.is_shallow();
    let mut next: VecDeque<Oid> = Some(from).into_iter().filter(|id| seen.insert(*id)).collect();
    while let Some(id) = next.pop_front() {
        let commit = match object::find(repository, id) {
            Err(_) if shallow => continue,
            found => found?,
        };
        if ends(id) {
            break;
        }
        next.extend(commit.parent_ids().filter(|parent| seen.insert(*parent)));
    }
    Ok(())
}

#[cfg(test)]
pub(super) mod tests {
    use git2::Signature;
    use proptest::prelude::*;

    use super::*;

    /// A repository with these commits, each with the parents it is given by their places, and at a time of its own.
    pub(in super::super) fn made(commits: &[(Vec<usize>, i64)]) -> (tempfile::TempDir, Repository, Vec<Oid>) {
        let folder = tempfile::tempdir().expect("a folder");
        let repository = Repository::init_bare(folder.path()).expect("a repository");
        let tree = repository.treebuilder(None).and_then(|tree| tree.write()).expect("a tree");
        let mut ids: Vec<Oid> = Vec::new();
        for (place, (parents, at)) in commits.iter().enumerate() {
            let who = Signature::new("t", "t@x", &git2::Time::new(*at, 0)).expect("a signature");
            let tree = repository.find_tree(tree).expect("the tree");
            let parents: Vec<_> =
                parents.iter().map(|parent| repository.find_commit(ids[*parent]).expect("a parent")).collect();
            let parents: Vec<&git2::Commit<'_>> = parents.iter().collect();
            let message = format!("commit {place}");
            ids.push(repository.commit(None, &who, &who, &message, &tree, &parents).expect("a commit"));
        }
        (folder, repository, ids)
    }

    /// All that a commit leads back to, itself included, by places.
    pub(in super::super) fn reach(commits: &[(Vec<usize>, i64)], from: usize) -> BTreeSet<usize> {
        let mut found = BTreeSet::from([from]);
        for place in (0..=from).rev() {
            if found.contains(&place) {
                found.extend(&commits[place].0);
            }
        }
        found
    }

    pub(in super::super) fn history() -> impl Strategy<Value = Vec<(Vec<usize>, i64)>> {
        let one = (proptest::collection::vec(any::<prop::sample::Index>(), 1..4), 0_i64..50);
        proptest::collection::vec(one, 2..25).prop_map(|all| {
            let commit = |(place, (parents, at)): (usize, (Vec<prop::sample::Index>, i64))| {
                let mut seen = BTreeSet::new();
                let parents = parents.into_iter().map(|parent| if place == 0 { 0 } else { parent.index(place) });
                (parents.filter(|parent| place > 0 && seen.insert(*parent)).collect(), 1_795_800_000 + at)
            };
            all.into_iter().enumerate().map(commit).collect()
        })
    }

    proptest! {
        /// Whatever dates commits claim, and however much of their levels is kept.
        #[test]
        fn what_leads_back_is_what_parents_say(
            commits in history(),
            [since, until, kept] in any::<[prop::sample::Index; 3]>(),
        ) {
            let (_folder, repository, ids) = made(&commits);
            let [since, until, kept] = [since, until, kept].map(|place| place.index(commits.len()));
            Levels::of(&repository, &[ids[kept]]).expect("read").write(&repository);
            let levels = Levels::of(&repository, &[ids[since], ids[until]]).expect("read");
            let (old, all) = (reach(&commits, since), reach(&commits, until));
            let new: BTreeSet<Oid> = all.difference(&old).map(|place| ids[*place]).collect();
            prop_assert_eq!(&above(&repository, &levels, ids[since], ids[until]).expect("read"), &new);
            prop_assert_eq!(&all_after(&repository, ids[since], ids[until]).expect("read"), &new);
            prop_assert_eq!(&after(&repository, ids[since], ids[until]).expect("read"), &new);
            let descends = all.contains(&since);
            prop_assert_eq!(leads_back(&repository, &levels, ids[until], ids[since]).expect("read"), descends);
            prop_assert_eq!(super::descends(&repository, ids[until], ids[since]).expect("read"), descends);
        }
    }

    /// Further than is looked at without levels.
    #[test]
    fn what_is_far_descends_too() {
        let line: Vec<_> = (0..3 * NEAR).map(|at| (at.checked_sub(1).into_iter().collect(), 0)).collect();
        let (_folder, repository, ids) = made(&line);
        let (first, last) = (ids[0], ids[ids.len() - 1]);
        assert!(descends(&repository, last, first).expect("read"));
        assert!(!descends(&repository, first, last).expect("read"));
        let other = repository.find_commit(first).and_then(|it| it.tree()).expect("a tree");
        let who = Signature::new("t", "t@x", &git2::Time::new(0, 0)).expect("a signature");
        let other = repository.commit(None, &who, &who, "elsewhere", &other, &[]).expect("a commit");
        assert!(!descends(&repository, last, other).expect("read"));
        assert_eq!(after(&repository, other, last).expect("read").len(), ids.len());
    }
}
