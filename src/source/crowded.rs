//! A revision that holds more than all may have together, read for each who may write it as far as their share goes: straight from
//! Git objects, sizes first.

use codeops_core::desired::{File, Files};
use git2::{Odb, Oid, Repository};

use super::Limits;
use super::census::{Census, Teams};
use super::entries::{Tree, find_tree};
use super::tree::{Listing, Unread, bytes, crowded, elsewhere, is_file, is_folder, legible, size_kept, too_deep};

/// What a file is read by.
#[derive(Clone, Copy)]
pub(super) enum At {
    Blob(Oid),
    /// It is a folder that is too deep.
    TooDeep,
    /// It is no file.
    Elsewhere(&'static str),
}

/// What is in a tree: files by their blobs, and of folders that are too deep and of what is no file only that they are there.
pub(super) fn count<'t>(
    repository: &Repository,
    tree: Option<&Tree>,
    (limits, teams): (Limits, &'t Teams),
) -> Result<Census<'t, At>, Unread> {
    let mut walk = Walk { repository, odb: repository.odb()?, limits, census: Census::new(limits, teams) };
    if let Some(tree) = tree {
        walk.folder(tree, "", 0)?;
    }
    Ok(walk.census)
}

/// Reads of these what is not in `known` as it is.
pub(super) fn read(
    repository: &Repository,
    census: Census<'_, At>,
    known: &Files,
    limits: Limits,
) -> Result<Listing, Unread> {
    let odb = repository.odb()?;
    let (each, mut files) = census.level();
    for (found, beyond) in each {
        let path = found.path.as_str();
        let file = match (beyond, found.at) {
            (Some(why), _) => File::left_out(why),
            (None, At::TooDeep) => File::new("too deep", too_deep()),
            (None, At::Elsewhere(what)) => File::elsewhere(what),
            (None, At::Blob(id)) => {
                let content = id.to_string();
                match known.get(path).filter(|known| *known.content == content) {
                    Some(known) => known.clone(),
                    None => File::new(content, bytes(&odb, id, path, limits)?),
                }
            }
        };
        files.insert(path.into(), file);
    }
    Ok(crowded(files, limits))
}

struct Walk<'r, 't> {
    repository: &'r Repository,
    odb: Odb<'r>,
    limits: Limits,
    census: Census<'t, At>,
}

impl Walk<'_, '_> {
    fn folder(&mut self, tree: &Tree, prefix: &str, depth: usize) -> Result<(), Unread> {
        if self.limits.is_too_deep(depth) {
            self.census.wants(prefix.to_owned(), 0, At::TooDeep);
            return Ok(());
        }
        for entry in tree.iter() {
            let path = format!("{prefix}{}", legible(entry.name()));
            if is_folder(&entry) {
                let path = path + "/";
                if self.census.entry(&path) {
                    self.folder(&find_tree(self.repository, entry.id())?, &path, depth + 1)?;
                }
            } else if self.census.entry(&path) {
                if is_file(&entry, prefix) {
                    let (size, _) = self.odb.read_header(entry.id())?;
                    let size = size_kept(&path, size as u64, self.limits);
                    self.census.wants(path, size, At::Blob(entry.id()));
                } else if let Some(what) = elsewhere(&entry) {
                    self.census.wants(path, 0, At::Elsewhere(what));
                }
            }
        }
        Ok(())
    }
}
