//! A revision that holds more than all may have together, read for each who may write it as far as their share goes: straight from
//! Git objects, sizes first.

use codeops_core::desired::{File, Files};
use git2::{Odb, Oid, Repository};

use super::Limits;
use super::census::{Census, Teams};
use super::entries::{Tree, find_tree};
use super::tree::{Listing, Unread, bytes, crowded, is_file, is_folder, legible, size_kept, too_deep};

/// What is in a tree: files by their blobs, and of folders that are too deep only that they are there.
pub(super) fn count<'t>(
    repository: &Repository,
    tree: Option<&Tree>,
    (limits, teams): (Limits, &'t Teams),
) -> Result<Census<'t, Option<Oid>>, Unread> {
    let mut walk = Walk { repository, odb: repository.odb()?, limits, census: Census::new(limits, teams) };
    if let Some(tree) = tree {
        walk.folder(tree, "", 0)?;
    }
    Ok(walk.census)
}

/// Reads of these what is not in `known` as it is.
pub(super) fn read(
    repository: &Repository,
    census: Census<'_, Option<Oid>>,
    known: &Files,
    limits: Limits,
) -> Result<Listing, Unread> {
    let odb = repository.odb()?;
    let (each, mut files) = census.level();
    for (found, beyond) in each {
        let path = found.path.as_str();
        let file = match (beyond, found.at) {
            (Some(why), _) => File::left_out(why),
            (None, None) => File::new("too deep", too_deep()),
            (None, Some(id)) => {
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
    census: Census<'t, Option<Oid>>,
}

impl Walk<'_, '_> {
    fn folder(&mut self, tree: &Tree, prefix: &str, depth: usize) -> Result<(), Unread> {
        if self.limits.is_too_deep(depth) {
            self.census.wants(prefix.to_owned(), 0, None);
            return Ok(());
        }
        for entry in tree.iter() {
            let path = format!("{prefix}{}", legible(entry.name()));
            if is_folder(&entry) {
                let path = path + "/";
                if self.census.entry(&path) {
                    self.folder(&find_tree(self.repository, entry.id())?, &path, depth + 1)?;
                }
            } else if self.census.entry(&path) && is_file(&entry, prefix) {
                let (size, _) = self.odb.read_header(entry.id())?;
                let size = size_kept(&path, size as u64, self.limits);
                self.census.wants(path, size, Some(entry.id()));
            }
        }
        Ok(())
    }
}
