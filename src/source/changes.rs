//! What differs between commits: trees are compared by their ids and gone into only where they differ, and of what the same
//! teams may write only so much is looked at. A tree may name one folder many times, so a small commit may have files without end.

use std::collections::{BTreeMap, BTreeSet};

use codeops_core::desired::Writers;
use git2::{Odb, Oid, Repository};

use super::census::Teams;
use super::entries::{Entry, Tree, find_tree};
use super::tree::legible;
use super::{Limits, object};

/// So much of the same teams' each comparison may look at for itself, whatever other commits change.
const EACH: usize = 100;
/// So many bytes of a folder's list cost as much as one entry that differs.
const LIST_BYTES: usize = 2_048;
/// So many of a path do.
const PATH_BYTES: usize = 64;
/// A longer path is told by its folder.
const LONGEST: usize = 4_096;
/// So many of the same teams are told that are not looked at; then the folder that they are in.
const TOLD: usize = 10;
/// A merge of more parents shows nothing of who changed what.
const PARENTS: usize = 8;

/// Two trees, before and after: none where the folder is not there.
pub(super) type Pair = (Option<Oid>, Option<Oid>);

/// Paths below the folder that is followed.
#[derive(Debug, Default)]
pub(super) struct Differing {
    /// Files that differ.
    pub(super) files: BTreeSet<String>,
    /// What differs and was not looked at: files, and folders, which end with `/`; an empty one is all that there is.
    pub(super) beyond: BTreeSet<String>,
}

/// Compares commits for one answer.
pub(super) struct Comparer<'a> {
    repository: &'a Repository,
    odb: Odb<'a>,
    path: &'a [String],
    limits: Limits,
    teams: &'a Teams,
    /// What was looked at beside what each comparison may for itself.
    spent: BTreeMap<Writers, usize>,
}

impl<'a> Comparer<'a> {
    /// Compares what is below the folder `path`.
    pub(super) fn new(
        repository: &'a Repository,
        path: &'a [String],
        (limits, teams): (Limits, &'a Teams),
    ) -> Result<Self, git2::Error> {
        Ok(Self { repository, odb: repository.odb()?, path, limits, teams, spent: BTreeMap::new() })
    }

    /// Two commits.
    pub(super) fn pair(&self, before: Oid, after: Oid) -> Result<Pair, git2::Error> {
        Ok((self.followed(before)?, self.followed(after)?))
    }

    /// A commit against each of its parents, the first one first; `None` where it has too many of them.
    pub(super) fn parents(&self, oid: Oid) -> Result<Option<Vec<Pair>>, git2::Error> {
        let commit = object::find(self.repository, oid)?;
        if commit.parent_count() > PARENTS {
            return Ok(None);
        }
        let after = self.followed(oid)?;
        let mut pairs = Vec::new();
        for parent in commit.parent_ids() {
            match self.followed(parent) {
                Ok(before) => pairs.push((before, after)),
                // A shallow clone names parents that it has not.
                Err(_) if self.repository.is_shallow() => {}
                Err(error) => return Err(error),
            }
        }
        if pairs.is_empty() {
            pairs.push((None, after));
        }
        Ok(Some(pairs))
    }

    /// A commit against its first parent.
    pub(super) fn first_parent(&self, oid: Oid) -> Result<Pair, git2::Error> {
        match object::find(self.repository, oid)?.parent_ids().next() {
            Some(parent) if !self.repository.is_shallow() || self.odb.exists(parent) => self.pair(parent, oid),
            _ => Ok((None, self.followed(oid)?)),
        }
    }

    /// The tree of the followed folder.
    fn followed(&self, commit: Oid) -> Result<Option<Oid>, git2::Error> {
        let mut tree = object::find(self.repository, commit)?.tree()?;
        for segment in self.path {
            let Some(id) = tree.get(segment.as_bytes()).and_then(|entry| folder(&entry)) else { return Ok(None) };
            tree = find_tree(self.repository, id)?;
        }
        Ok(Some(tree.id()))
    }

    /// Where all of these pairs differ.
    pub(super) fn differing(&mut self, pairs: &[Pair]) -> Result<Differing, git2::Error> {
        let mut walk =
            Walk { comparer: self, seen: BTreeMap::new(), told: BTreeMap::new(), found: Differing::default() };
        walk.folder(pairs, "", 0)?;
        Ok(walk.found)
    }
}

struct Walk<'w, 'a> {
    comparer: &'w mut Comparer<'a>,
    seen: BTreeMap<Writers, usize>,
    told: BTreeMap<Writers, usize>,
    found: Differing,
}

impl Walk<'_, '_> {
    fn folder(&mut self, pairs: &[Pair], path: &str, depth: usize) -> Result<(), git2::Error> {
        if pairs.iter().any(|(before, after)| before == after) {
            return Ok(());
        }
        let mut bytes = 0;
        for id in pairs.iter().flat_map(|(before, after)| [before, after]).flatten() {
            bytes += self.comparer.odb.read_header(*id)?.0;
        }
        if self.comparer.limits.is_too_deep(depth) || !self.pays(path, 1 + bytes / LIST_BYTES) {
            self.tell(path);
            return Ok(());
        }
        let repository = self.comparer.repository;
        let tree = |id: &Option<Oid>| id.map(|id| find_tree(repository, id)).transpose();
        let mut trees = Vec::new();
        for (before, after) in pairs {
            trees.push((tree(before)?, tree(after)?));
        }
        // Where the first ones agree nothing differs in all.
        let Some((before, after)) = trees.first() else { return Ok(()) };
        for entry in after.iter().flat_map(Tree::iter) {
            self.entry(&trees, &entry, path, depth)?;
        }
        for entry in before.iter().flat_map(Tree::iter) {
            if named(after.as_ref(), &entry).is_none() {
                self.entry(&trees, &entry, path, depth)?;
            }
        }
        Ok(())
    }

    fn entry(
        &mut self,
        trees: &[(Option<Tree>, Option<Tree>)],
        entry: &Entry<'_>,
        path: &str,
        depth: usize,
    ) -> Result<(), git2::Error> {
        let (mut is_file, mut folders) = (true, Vec::new());
        for (before, after) in trees {
            let (before, after) = (named(before.as_ref(), entry), named(after.as_ref(), entry));
            let (was, is) = (before.as_ref().and_then(folder), after.as_ref().and_then(folder));
            is_file &= before.as_ref().and_then(file) != after.as_ref().and_then(file);
            folders.push((was, is));
            if !is_file && was == is {
                return Ok(());
            }
        }
        let name = legible(entry.name());
        if path.len() + name.len() > LONGEST {
            self.found.beyond.insert(path.to_owned());
            return Ok(());
        }
        let whole = format!("{path}{name}");
        if is_file {
            if self.pays(&whole, 1) {
                self.found.files.insert(whole.clone());
            } else {
                self.tell(&whole);
            }
        }
        self.folder(&folders, &format!("{whole}/"), depth + 1)
    }

    /// Whether whoever may write there has enough left for this to be looked at.
    fn pays(&mut self, path: &str, cost: usize) -> bool {
        let (cost, writers) = (cost + path.len() / PATH_BYTES, Writers::of(path, self.comparer.teams));
        let seen = self.seen.entry(writers.clone()).or_default();
        if *seen + cost <= EACH {
            *seen += cost;
            return true;
        }
        let spent = self.comparer.spent.entry(writers).or_default();
        let has = *spent + cost <= self.comparer.limits.entries;
        if has {
            *spent += cost;
        }
        has
    }

    /// Notes what is not looked at.
    fn tell(&mut self, path: &str) {
        let told = self.told.entry(Writers::of(path, self.comparer.teams)).or_default();
        *told += 1;
        let within = path.strip_suffix('/').unwrap_or(path).rfind('/').map_or("", |end| &path[..=end]);
        self.found.beyond.insert(if *told > TOLD { within } else { path }.to_owned());
    }
}

/// What of the same name is in a tree.
fn named<'t>(tree: Option<&'t Tree>, entry: &Entry<'_>) -> Option<Entry<'t>> {
    tree?.get(entry.name())
}

fn folder(entry: &Entry<'_>) -> Option<Oid> {
    entry.is_folder().then(|| entry.id())
}

fn file(entry: &Entry<'_>) -> Option<(Oid, i32)> {
    (!entry.is_folder()).then(|| (entry.id(), entry.mode()))
}
