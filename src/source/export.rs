//! All files of one revision, written out for scripts to read: straight from Git objects, links left out, within limits.

use std::io;
use std::path::Path;

use git2::{ObjectType, Oid, Repository, Tree};

use super::text::clean;
use super::tree::{Budget, Unread};
use super::{Limits, SourceError};
use crate::base::{Sealed, remove_sealed};

/// The largest file that is written out, in bytes.
const FILE: u64 = 32 << 20;

/// Writes the files below `path` of a revision into the new folder `into`, which nobody can change then.
pub(super) fn export(
    repository: &Repository,
    revision: Oid,
    path: &[String],
    into: &Path,
    limits: Limits,
) -> Result<(), Unread> {
    let unwritable = |error: io::Error| {
        Unread::Refused(SourceError(format!("its files cannot be written to `{}`: {error}", into.display())))
    };
    let mut tree = repository.find_commit(revision)?.tree()?;
    for segment in path {
        let id = tree.get_name(segment).filter(|entry| entry.kind() == Some(ObjectType::Tree)).map(|entry| entry.id());
        let Some(id) = id else {
            return Err(Unread::Refused(SourceError(format!("it has no folder `{}`", path.join("/")))));
        };
        tree = repository.find_tree(id)?;
    }
    // A first try may have ended in the middle.
    remove_sealed(into).map_err(unwritable)?;
    let sealed = Sealed::new(into).map_err(unwritable)?;
    let budget = Budget::new(limits);
    let mut writer = Writer { repository, sealed, budget, unwritable: &unwritable };
    writer.folder(&tree, "", 0)?;
    writer.sealed.seal().map_err(unwritable)
}

struct Writer<'a> {
    repository: &'a Repository,
    sealed: Sealed,
    budget: Budget,
    unwritable: &'a dyn Fn(io::Error) -> Unread,
}

impl Writer<'_> {
    fn folder(&mut self, tree: &Tree<'_>, prefix: &str, depth: usize) -> Result<(), Unread> {
        if self.budget.is_too_deep(depth) {
            return Ok(());
        }
        for entry in tree {
            self.budget.entry()?;
            // A name that is not UTF-8 could not be named by a step.
            let Ok(name) = entry.name() else { continue };
            let path = format!("{prefix}{name}");
            match (entry.kind(), entry.filemode() & 0o170_000) {
                (Some(ObjectType::Tree), _) => {
                    let below = self.repository.find_tree(entry.id())?;
                    self.folder(&below, &format!("{path}/"), depth + 1)?;
                }
                (Some(ObjectType::Blob), 0o100_000) => {
                    let (size, _) = self.repository.odb()?.read_header(entry.id())?;
                    if size as u64 > FILE {
                        let (path, most) = (clean(&path, 200), FILE >> 20);
                        let why = format!("`{path}` is {size} bytes, more than {most} MiB: scripts cannot be given it");
                        return Err(Unread::Refused(SourceError(why)));
                    }
                    self.budget.file(size as u64)?;
                    let blob = self.repository.find_blob(entry.id())?;
                    let executable = entry.filemode() & 0o111 != 0 || blob.content().starts_with(b"#!");
                    self.sealed.file(&path, blob.content(), executable).map_err(self.unwritable)?;
                }
                _ => {}
            }
        }
        Ok(())
    }
}
