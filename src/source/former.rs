//! What was followed before: mirrors of former addresses, and the folder that `repository.path` named. The revision in force is read
//! from there while what the settings name now has not brought it, and nothing of that is kept for longer.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use codeops_core::model::Revision;
use git2::{Oid, Repository};
use serde::{Deserialize, Serialize};

use super::tree::Unread;
use super::{Mirror, SourceError, ancestry, away, blocking, disk, history, object, tree};
use crate::base;

/// The note of what was taken last, beside the mirrors.
const TAKEN: &str = "taken";

impl Mirror {
    /// Why what is in force is not what the settings' folder holds, where it has none such.
    pub(super) async fn misplaced(&self, revision: &Revision) -> Option<String> {
        let (inner, wanted) = (Arc::clone(&self.0), revision.clone());
        let read = blocking(move || {
            let repository = inner.disk.repository()?;
            tree::root(&repository, history::oid(&wanted)?, &inner.path).map(drop)
        });
        let Err(Unread::Refused(SourceError(why))) = read.await else { return None };
        Some(format!("{why}: what is in force stays as it was read from the former folder"))
    }

    /// What is kept of former addresses is needed no more, once the revision in force is in the mirror of this one.
    pub(super) async fn let_go_of_former(&self, current: Option<&Revision>) {
        let Some(current) = current.and_then(|current| history::oid(current).ok()) else { return };
        let inner = Arc::clone(&self.0);
        let swept = blocking(move || {
            if inner.disk.holds(current) {
                sweep(inner.disk.folder());
            }
            Ok(())
        });
        let _ = swept.await;
    }
}

/// The revision that was taken last, and the folder that it was read from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Taken {
    revision: Revision,
    path: Vec<String>,
}

/// Remembers from which folder a revision in force is read. One that has no such folder is still read from the former.
pub(super) fn remember(repository: &Repository, revision: &Revision, path: &[String], root: &Path) -> io::Result<()> {
    let taken = Taken { revision: revision.clone(), path: path.to_owned() };
    let has = history::oid(revision).is_ok_and(|oid| tree::root(repository, oid, path).is_ok());
    if !has || read(root).as_ref() == Some(&taken) {
        return Ok(());
    }
    base::write_private(&root.join(TAKEN), &serde_json::to_vec(&taken)?)
}

/// The folder that a revision is read from: the one of the settings; where it has none such and was taken, or comes before what was,
/// the one that it was read from then.
pub(super) fn path(repository: &Repository, revision: Oid, path: &[String], root: &Path) -> Vec<String> {
    let was_taken = |taken: &Taken| {
        let oid = history::oid(&taken.revision).ok().filter(|oid| repository.odb().is_ok_and(|odb| odb.exists(*oid)));
        oid.is_some_and(|oid| ancestry::descends(repository, oid, revision).unwrap_or(false))
    };
    if object::find(repository, revision).is_err() || tree::root(repository, revision, path).is_ok() {
        return path.to_owned();
    }
    read(root).filter(was_taken).map_or_else(|| path.to_owned(), |taken| taken.path)
}

fn read(root: &Path) -> Option<Taken> {
    serde_json::from_slice(&fs::read(root.join(TAKEN)).ok()?).ok()
}

/// A mirror of another address, beside `mirror`, that has this commit.
pub(super) fn holding(mirror: &Path, revision: Oid) -> Option<Repository> {
    let mut opened = others(mirror).into_iter().filter_map(|folder| Repository::open_bare(folder).ok());
    opened.find(|repository| object::find(repository, revision).is_ok())
}

/// Removes what is kept of other addresses.
pub(super) fn sweep(mirror: &Path) {
    for entry in others(mirror) {
        let removed = if entry.is_dir() { disk::remove(&entry) } else { fs::remove_file(&entry) };
        match removed {
            Ok(()) => tracing::info!(mirror = %entry.display(), "removed: its address is followed no more"),
            Err(error) => tracing::warn!(%error, mirror = %entry.display(), "it is not needed and cannot be removed"),
        }
    }
}

/// The mirrors of other addresses, those that were being made, and what was accepted of them.
fn others(mirror: &Path) -> Vec<PathBuf> {
    let Some(root) = mirror.parent() else { return Vec::new() };
    let is_other = |path: &PathBuf| {
        let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        let is_mirrors = stem.len() == away::NAME && stem.bytes().all(|byte| byte.is_ascii_hexdigit());
        // Where a folder led to, which lies beside them, is also a name that is not the mirror's.
        let of_mirror = path.extension().is_none_or(|end| end == "new" || end == "old" || end == "accepted");
        is_mirrors && of_mirror && path.file_stem() != mirror.file_stem()
    };
    fs::read_dir(root).into_iter().flatten().flatten().map(|entry| entry.path()).filter(is_other).collect()
}

/// Takes the revision in force over from an old mirror, as far as that can be read.
pub(super) fn carry_over(old: &Path, new: &Path) -> Result<(), git2::Error> {
    if Repository::open_bare(old)?.refname_to_id(disk::CURRENT).is_err() {
        return Ok(());
    }
    let refspec = format!("+{0}:{0}", disk::CURRENT);
    Repository::open_bare(new)?.remote_anonymous(&old.display().to_string())?.fetch(&[refspec], None, None)
}
