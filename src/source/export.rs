//! All files of one revision, written out for scripts to read: straight from Git objects, links left out, and what is beyond a
//! limit or its writers' share.

use std::io;
use std::path::Path;

use git2::{Odb, Oid, Repository};

use super::census::{Census, Teams};
use super::entries::{Entry, Tree, find_tree};
use super::tree::Unread;
use super::{Limits, SourceError, object};
use crate::base::{Sealed, remove_folder};

/// The largest file that is written out, in bytes.
const FILE: u64 = 32 << 20;

/// Writes the files below `path` of a revision into the new folder `into`, which nobody can change then.
pub(super) fn export(
    repository: &Repository,
    revision: Oid,
    path: &[String],
    into: &Path,
    (limits, teams): (Limits, &Teams),
) -> Result<(), Unread> {
    let unwritable = |error: io::Error| {
        Unread::Refused(SourceError(format!("its files cannot be written to `{}`: {error}", into.display())))
    };
    let mut tree = object::find(repository, revision)?.tree()?;
    for segment in path {
        let id = tree.get(segment.as_bytes()).filter(Entry::is_folder).map(|entry| entry.id());
        let Some(id) = id else {
            return Err(Unread::Refused(SourceError(format!("it has no folder `{}`", path.join("/")))));
        };
        tree = find_tree(repository, id)?;
    }
    // A first try may have ended in the middle.
    remove_folder(into).map_err(unwritable)?;
    let mut walk = Walk { repository, odb: repository.odb()?, limits, census: Census::new(limits, teams) };
    walk.folder(&tree, "", 0)?;
    let Walk { odb, census, .. } = walk;
    let mut sealed = Sealed::new(into).map_err(unwritable)?;
    let (each, _) = census.level();
    for (found, _) in each.filter(|(_, beyond)| beyond.is_none()) {
        let (id, is_executable) = found.at;
        let blob = odb.read(id)?;
        let executable = is_executable || blob.data().starts_with(b"#!");
        sealed.file(&found.path, blob.data(), executable).map_err(unwritable)?;
    }
    sealed.seal().map_err(unwritable)
}

struct Walk<'a> {
    repository: &'a Repository,
    odb: Odb<'a>,
    limits: Limits,
    /// Files by their blobs, and whether they may be run.
    census: Census<'a, (Oid, bool)>,
}

impl Walk<'_> {
    fn folder(&mut self, tree: &Tree, prefix: &str, depth: usize) -> Result<(), Unread> {
        if self.limits.is_too_deep(depth) {
            return Ok(());
        }
        for entry in tree.iter() {
            // A name that is not UTF-8 could not be named by a step.
            let Ok(name) = std::str::from_utf8(entry.name()) else { continue };
            let path = format!("{prefix}{name}");
            if entry.is_folder() {
                let path = path + "/";
                if self.census.entry(&path) {
                    self.folder(&find_tree(self.repository, entry.id())?, &path, depth + 1)?;
                }
            } else if entry.is_regular() && self.census.entry(&path) {
                let (size, _) = self.odb.read_header(entry.id())?;
                // A script that asks for a file as big as that finds none, and no other's suffers for it.
                if size as u64 <= FILE {
                    self.census.wants(path, size as u64, (entry.id(), entry.mode() & 0o111 != 0));
                }
            }
        }
        Ok(())
    }
}
