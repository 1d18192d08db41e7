//! What came after a commit that says something, up to the revision that is taken. A word is about what is not declared as it
//! comes: what was declared again after it, and is taken away once more, it was not about. Reads the mirror only.

use std::collections::BTreeMap;

use codeops_core::desired::{declared_in, is_manifest};
use codeops_core::model::{Commit, Later, Revision};
use git2::{Oid, Repository};

use super::changes::Comparer;
use super::entries::{find_tree, is_regular};
use super::history;

/// The trailer that asks for it.
const ALLOW: &str = "Codeops-Allow";
/// So many bytes of files as they were are read, the newest first.
const BYTES: usize = 16 << 20;
/// One file of more is not.
const FILE: usize = 1 << 20;
/// So much is told of all commits together.
const TOLD: usize = 10_000;

/// What is after a commit, while a line is walked from its newest one on.
pub(super) struct After<'r> {
    repository: &'r Repository,
    /// Not looked at yet: few lines have a word in them.
    passed: Vec<Oid>,
    later: Later,
    bytes: usize,
    told: usize,
}

impl<'r> After<'r> {
    pub(super) fn new(repository: &'r Repository) -> Self {
        Self { repository, passed: Vec::new(), later: Later::default(), bytes: BYTES, told: TOLD }
    }

    /// This one is before all that are asked about from now on.
    pub(super) fn passes(&mut self, oid: Oid) {
        self.passed.push(oid);
    }

    /// Says of this commit what came after it, and of those that it `brought`, newest first, as well.
    pub(super) fn tell(
        &mut self,
        comparer: &mut Comparer<'_>,
        commit: &mut Commit,
        brought: &[Oid],
    ) -> Result<(), git2::Error> {
        self.tell_one(comparer, commit)?;
        let says = commit.brought.iter_mut().filter(|it| allows(it));
        let mut says: BTreeMap<Revision, &mut Commit> = says.map(|it| (it.revision.clone(), it)).collect();
        if says.is_empty() {
            return Ok(());
        }
        self.look(comparer)?;
        let line = self.later.clone();
        for oid in brought {
            if let Some(commit) = says.remove(&history::revision(*oid)?) {
                self.tell_one(comparer, commit)?;
            }
            if says.is_empty() {
                break;
            }
            self.passes(*oid);
        }
        self.passed.clear();
        self.later = line;
        Ok(())
    }

    fn tell_one(&mut self, comparer: &mut Comparer<'_>, commit: &mut Commit) -> Result<(), git2::Error> {
        if !allows(commit) {
            return Ok(());
        }
        self.look(comparer)?;
        let much = 1 + self.later.declared.len() + self.later.unread.len();
        match self.told.checked_sub(much) {
            Some(left) => {
                self.told = left;
                commit.later = self.later.clone();
            }
            None => commit.later.unknown = true,
        }
        Ok(())
    }

    fn look(&mut self, comparer: &mut Comparer<'_>) -> Result<(), git2::Error> {
        for oid in std::mem::take(&mut self.passed) {
            self.look_at(comparer, oid)?;
        }
        Ok(())
    }

    /// What stood in the files that a commit changes, before it.
    fn look_at(&mut self, comparer: &mut Comparer<'_>, oid: Oid) -> Result<(), git2::Error> {
        let pair = comparer.first_parent(oid)?;
        let changed = comparer.differing(&[pair])?;
        self.later.unread.extend(changed.beyond);
        let Some(before) = pair.0 else { return Ok(()) };
        let (tree, odb) = (find_tree(self.repository, before)?, self.repository.odb()?);
        for path in changed.files.into_iter().filter(|path| is_manifest(path)) {
            let file = tree.below(self.repository, &path)?.filter(|(_, mode)| is_regular(*mode));
            let Some((id, _)) = file else { continue };
            let size = odb.read_header(id)?.0;
            let left = self.bytes.checked_sub(size).filter(|_| size <= FILE);
            self.bytes = left.unwrap_or(self.bytes);
            let declared = left.map(|_| odb.read(id)).transpose()?.and_then(|it| declared_in(&path, it.data()));
            match declared {
                Some(ids) => self.later.declared.extend(ids),
                None => drop(self.later.unread.insert(path)),
            }
        }
        Ok(())
    }
}

fn allows(commit: &Commit) -> bool {
    commit.trailers.iter().any(|(key, _)| key == ALLOW)
}
