//! The manifests of one revision, read straight from Git objects: no work tree, nothing followed out of the repository.
//!
//! Only `.yaml` and `.yml` are read, and of scripts the beginning. Symbolic links and submodules are not manifests and are left out, whatever their name.

use std::sync::Arc;

use codeops_core::desired::{File, Files, is_manifest, is_wanted};
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

/// Reads the manifests below `path`. Those that `previous` holds unchanged are shared with it and not read again.
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
        previous,
        budget: Budget::new(limits),
        files: Vec::with_capacity(previous.len()),
    };
    reader.folder(&tree, "", 0)?;
    Ok(reader.files.into_iter().collect())
}

struct Reader<'a> {
    repository: &'a Repository,
    odb: Odb<'a>,
    previous: &'a Files,
    budget: Budget,
    /// In Git's order, which is almost that of the map.
    files: Vec<(Arc<str>, File)>,
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
                (Some(ObjectType::Blob), 0o100_000) if is_wanted(&format!("{prefix}{name}")) => {
                    if entry.name().is_err() {
                        return Err(refused(format!("the file name `{}` is not UTF-8", clean(&name, 200))));
                    }
                    let path = format!("{prefix}{name}");
                    let file = self.file(entry.id(), path)?;
                    self.files.push(file);
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn file(&mut self, oid: Oid, path: String) -> Result<(Arc<str>, File), Unread> {
        if let Some((path, known)) = self.previous.get_key_value(path.as_str())
            && is_hex_of(oid, &known.content)
        {
            self.budget.file(path, known.bytes.len() as u64)?;
            return Ok((Arc::clone(path), File::clone(known)));
        }
        let (size, _) = self.odb.read_header(oid)?;
        let content = oid.to_string().into();
        if !is_manifest(&path) {
            // Too long a one counts as empty, which no playbook may run.
            let whole = if size as u64 <= self.budget.limits.file_bytes { Some(self.odb.read(oid)?) } else { None };
            let bytes = whole.as_ref().map_or(&[][..], |whole| beginning(whole.data())).into();
            self.budget.file(&path, 0)?;
            return Ok((path.into(), File { content, bytes }));
        }
        self.budget.file(&path, size as u64)?;
        Ok((path.into(), File { content, bytes: self.odb.read(oid)?.data().into() }))
    }
}

/// How much of a script is kept: what is read again when it runs is its blob.
const BEGINNING: usize = 256;

/// As much of a script as compiling looks at.
pub(super) fn beginning(bytes: &[u8]) -> &[u8] {
    &bytes[..bytes.len().min(BEGINNING)]
}

/// Whether `text` is this id, without making its text: ten thousand are compared for each revision.
fn is_hex_of(oid: Oid, text: &str) -> bool {
    let digit = |nibble: u8| b"0123456789abcdef"[usize::from(nibble)];
    let bytes = oid.as_bytes();
    let mut pairs = bytes.iter().zip(text.as_bytes().chunks_exact(2));
    text.len() == 2 * bytes.len() && pairs.all(|(byte, pair)| pair == [digit(byte >> 4), digit(byte & 15)])
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
