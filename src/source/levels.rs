//! How high each commit stands: one above the highest of its parents, as git's generation numbers. What stands no higher than a commit
//! does not lead back to it, whatever dates they claim. Kept in a file of the mirror, which may be missing, old or broken: what it does
//! not say is asked of the parents, and no level ever changes, for an id is the sum of what it names.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use git2::{ErrorClass, ErrorCode, Oid, Repository};
use sha2::{Digest as _, Sha256};

use super::object;
use crate::base;

/// The file in the mirror's folder: records in order of their ids, and the sum of them all.
const FILE: &str = "codeops-levels";
/// An id, and its level as a big-endian number.
const RECORD: usize = ID + 4;
const ID: usize = 20;
/// So many that it lacks are asked of the parents each time, before it is written anew with them.
const ENOUGH: usize = 256;
/// Of a commit with more parents they are read again for each: many of many parents would not fit into memory.
const FEW: usize = 8;

/// The levels of some commits and of all that these lead back to.
#[derive(Debug, Default)]
pub(super) struct Levels {
    /// What the file says.
    kept: Vec<u8>,
    new: BTreeMap<Oid, u32>,
}

/// A commit whose parents' levels are being found.
struct Open {
    id: Oid,
    /// None where there are many.
    parents: Option<Vec<Oid>>,
    next: usize,
    highest: u32,
}

impl Levels {
    /// Those that are needed for these commits. Not for a shallow mirror: what it lacks may come later.
    pub(super) fn of(repository: &Repository, tips: &[Oid]) -> Result<Self, git2::Error> {
        let mut levels = Self { kept: read(&file(repository)).unwrap_or_default(), new: BTreeMap::new() };
        for tip in tips {
            levels.find(repository, *tip)?;
        }
        if levels.new.len() >= ENOUGH {
            levels.write(repository);
        }
        Ok(levels)
    }

    /// The level of a commit that these ones lead back to.
    pub(super) fn get(&self, id: Oid) -> Result<u32, git2::Error> {
        let none = || git2::Error::new(ErrorCode::NotFound, ErrorClass::Object, format!("{id} has no level"));
        self.known(id).ok_or_else(none)
    }

    fn known(&self, id: Oid) -> Option<u32> {
        let (records, _) = self.kept.as_chunks::<RECORD>();
        let kept = records.binary_search_by(|record| record[..ID].cmp(id.as_bytes())).ok();
        let kept = kept.and_then(|place| records.get(place)?.last_chunk()).map(|level| u32::from_be_bytes(*level));
        kept.or_else(|| self.new.get(&id).copied())
    }

    /// Finds the level of a commit and of all below it.
    fn find(&mut self, repository: &Repository, tip: Oid) -> Result<(), git2::Error> {
        let open = |id: Oid| -> Result<Open, git2::Error> {
            let commit = object::find(repository, id)?;
            let parents = (commit.parent_count() <= FEW).then(|| commit.parent_ids().collect());
            Ok(Open { id, parents, next: 0, highest: 0 })
        };
        let mut below = Vec::new();
        if self.known(tip).is_none() {
            below.push(open(tip)?);
        }
        while let Some(at) = below.last_mut() {
            let parent = match &at.parents {
                Some(parents) => parents.get(at.next).copied(),
                None => object::find(repository, at.id)?.parent_ids().nth(at.next),
            };
            match parent.map(|parent| (parent, self.known(parent))) {
                Some((_, Some(level))) => {
                    at.highest = at.highest.max(level);
                    at.next += 1;
                }
                Some((parent, None)) => below.push(open(parent)?),
                None => {
                    self.new.insert(at.id, at.highest.saturating_add(1));
                    below.pop();
                }
            }
        }
        Ok(())
    }

    /// Keeps them for later questions.
    pub(super) fn write(&self, repository: &Repository) {
        let mut records = self.kept.as_chunks::<RECORD>().0.to_vec();
        for (id, level) in &self.new {
            let mut record = [0; RECORD];
            record[..ID].copy_from_slice(id.as_bytes());
            record[ID..].copy_from_slice(&level.to_be_bytes());
            records.push(record);
        }
        records.sort_unstable();
        let bytes = records.as_flattened();
        // Not waited for: what a power cut leaves of it is told by the sum.
        if let Err(error) = base::replace(&file(repository), &[bytes, &Sha256::digest(bytes)].concat()) {
            tracing::debug!(%error, "the levels of commits cannot be kept; they are found anew each time");
        }
    }
}

fn file(repository: &Repository) -> PathBuf {
    repository.path().join(FILE)
}

/// Nothing where it is not as it was written.
fn read(file: &Path) -> Option<Vec<u8>> {
    let mut bytes = fs::read(file).ok()?;
    let sum = bytes.split_off(bytes.len().checked_sub(32)?);
    (sum[..] == Sha256::digest(&bytes)[..] && bytes.len().is_multiple_of(RECORD)).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::super::ancestry::tests::made;
    use super::*;

    #[test]
    fn what_is_kept_is_trusted_only_as_it_was_written() {
        // The last one has more parents than are remembered on the way.
        let commits: Vec<_> = (0..=2 * FEW).map(|at| ((0..at).collect(), 0)).collect();
        let (_folder, repository, ids) = made(&commits);
        let last = ids[ids.len() - 1];
        let levels = || {
            let levels = Levels::of(&repository, &[last]).expect("read");
            let said: Vec<u32> = ids.iter().map(|id| levels.get(*id).expect("known")).collect();
            assert!((1..).zip(&said).all(|(level, said)| level == *said), "{said:?}");
            levels
        };
        levels().write(&repository);
        assert!(levels().new.is_empty(), "they are kept");
        let whole = fs::read(file(&repository)).expect("it is there");
        for at in 0..whole.len() {
            let mut broken = whole.clone();
            broken[at] ^= 1 << (at % 8);
            fs::write(file(&repository), &broken).expect("broken");
            assert_eq!(levels().new.len(), ids.len(), "byte {at}");
            fs::write(file(&repository), &whole[..at]).expect("cut");
            assert_eq!(levels().new.len(), ids.len(), "cut at {at}");
        }
        levels().write(&repository);
        assert!(levels().new.is_empty(), "and are mended");
    }
}
