//! The manifests of one revision, read straight from Git objects: no work tree, nothing followed out of the repository.
//!
//! Only `.yaml` and `.yml` are read. Symbolic links and submodules are not manifests and are left out, whatever their name.

use std::collections::HashMap;
use std::sync::Arc;

use codeops_core::desired::{File, Files};
use git2::{ObjectType, Odb, Oid, Repository, Tree};

use super::text::clean;
use super::{Limits, SourceError};

/// Why a revision cannot be read.
#[derive(Debug)]
pub(super) enum Unread {
    /// It is beyond a limit or not what the settings say: the mirror is fine.
    Refused(SourceError),
    /// Objects are missing or damaged: the mirror is not fine.
    Damaged(git2::Error),
}

impl From<git2::Error> for Unread {
    fn from(error: git2::Error) -> Self {
        Self::Damaged(error)
    }
}

/// Whether a file name is a manifest's.
pub(super) fn is_manifest(name: &str) -> bool {
    name.ends_with(".yaml") || name.ends_with(".yml")
}

/// Reads the manifests below `path`. Blobs that `previous` holds are not read again.
pub(super) fn read(
    repository: &Repository,
    revision: Oid,
    path: &[String],
    previous: &Files,
    limits: Limits,
) -> Result<Files, Unread> {
    let mut tree = repository.find_commit(revision)?.tree()?;
    for segment in path {
        let Some((id, kind)) = tree.get_name(segment).map(|entry| (entry.id(), entry.kind())) else {
            return Ok(Files::new());
        };
        if kind != Some(ObjectType::Tree) {
            return Err(refused(format!("repository.path: `{}` is not a folder in {revision}", path.join("/"))));
        }
        tree = repository.find_tree(id)?;
    }
    let mut reader = Reader {
        repository,
        odb: repository.odb()?,
        known: previous.values().map(|file| (Arc::clone(&file.content), file)).collect(),
        budget: Budget::new(limits),
        files: Files::new(),
    };
    reader.folder(&tree, "", 0)?;
    Ok(reader.files)
}

struct Reader<'a> {
    repository: &'a Repository,
    odb: Odb<'a>,
    known: HashMap<Arc<str>, &'a File>,
    budget: Budget,
    files: Files,
}

impl Reader<'_> {
    fn folder(&mut self, tree: &Tree<'_>, prefix: &str, depth: usize) -> Result<(), Unread> {
        self.budget.depth(prefix, depth)?;
        for entry in tree {
            self.budget.entry()?;
            let name = String::from_utf8_lossy(entry.name_bytes());
            match (entry.kind(), entry.filemode() & 0o170_000) {
                (Some(ObjectType::Tree), _) => {
                    let below = self.repository.find_tree(entry.id())?;
                    self.folder(&below, &format!("{prefix}{name}/"), depth + 1)?;
                }
                (Some(ObjectType::Blob), 0o100_000) if is_manifest(&name) => {
                    if entry.name().is_err() {
                        return Err(refused(format!("the file name `{}` is not UTF-8", clean(&name, 200))));
                    }
                    let path = format!("{prefix}{name}");
                    let file = self.file(entry.id(), &path)?;
                    self.files.insert(path.into(), file);
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn file(&mut self, oid: Oid, path: &str) -> Result<File, Unread> {
        let content: Arc<str> = oid.to_string().into();
        if let Some(known) = self.known.get(&content) {
            self.budget.file(path, known.bytes.len() as u64)?;
            return Ok(File::clone(known));
        }
        let (size, _) = self.odb.read_header(oid)?;
        self.budget.file(path, size as u64)?;
        Ok(File { content, bytes: self.odb.read(oid)?.data().into() })
    }
}

/// What may still be read of one revision or folder.
pub(super) struct Budget {
    limits: Limits,
    entries: usize,
    files: usize,
    bytes: u64,
}

impl Budget {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, entries: 0, files: 0, bytes: 0 }
    }

    /// One more folder, this deep.
    pub(super) fn depth(&self, path: &str, depth: usize) -> Result<(), Unread> {
        if depth > self.limits.depth {
            let path = clean(path, 200);
            return Err(refused(format!("folders are nested deeper than {} at `{path}`", self.limits.depth)));
        }
        Ok(())
    }

    /// One more entry of a folder, manifest or not.
    pub(super) fn entry(&mut self) -> Result<(), Unread> {
        self.entries += 1;
        if self.entries > self.limits.entries {
            return Err(refused(format!(
                "it holds more than {} files and folders: set repository.path to the folder with the manifests",
                self.limits.entries
            )));
        }
        Ok(())
    }

    /// One more manifest of this size.
    pub(super) fn file(&mut self, path: &str, size: u64) -> Result<(), Unread> {
        self.files += 1;
        self.bytes += size;
        if size > self.limits.file_bytes {
            let (path, most) = (clean(path, 200), self.limits.file_bytes >> 10);
            return Err(refused(format!("`{path}` is {size} bytes, more than {most} KiB: split it or rename it")));
        }
        if self.files > self.limits.files {
            return Err(refused(format!("it holds more than {} manifests: split the repository", self.limits.files)));
        }
        if self.bytes > self.limits.total_bytes {
            let most = self.limits.total_bytes >> 20;
            return Err(refused(format!("its manifests are more than {most} MiB together: split the repository")));
        }
        Ok(())
    }
}

fn refused(why: String) -> Unread {
    Unread::Refused(SourceError(why))
}
