//! The manifests of one revision, read straight from Git objects: no work tree, nothing followed out of the repository.
//!
//! Only `.yaml` and `.yml` are read, and of scripts the beginning. Symbolic links and submodules are neither and are left out,
//! whatever their name.

use std::borrow::Cow;
use std::sync::{Arc, OnceLock};

use codeops_core::desired::{self, File, Files, is_manifest};
use git2::{ObjectType, Odb, Oid, Repository, Tree, TreeEntry};

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

/// How much of a script is kept: what is read again when it runs is its blob.
const BEGINNING: usize = 256;

/// Whether a file of this path, which ends in `name`, is one to read: a manifest, or a script that can be named.
pub(super) fn is_wanted(path: &str, name: &[u8]) -> bool {
    desired::is_wanted(path) && (is_manifest(path) || std::str::from_utf8(name).is_ok())
}

/// Whether a file or folder is left out by its name.
pub(super) fn is_hidden(name: &[u8]) -> bool {
    name.starts_with(b".")
}

/// A name as a path has it. Bytes that are no text stay apart and can be told: the compiler refuses such a path alone.
pub(super) fn legible(name: &[u8]) -> Cow<'_, str> {
    if let Ok(name) = std::str::from_utf8(name) {
        return name.into();
    }
    let mut legible = String::new();
    for chunk in name.utf8_chunks() {
        legible.push_str(chunk.valid());
        for byte in chunk.invalid() {
            legible.push(char::REPLACEMENT_CHARACTER);
            legible.push_str(&hex::encode([*byte]));
        }
    }
    legible.into()
}

/// What is kept of a file's bytes: all of a manifest, and as much of a script as compiling looks at.
pub(super) fn kept<'b>(path: &str, bytes: &'b [u8]) -> &'b [u8] {
    if is_manifest(path) { bytes } else { &bytes[..bytes.len().min(BEGINNING)] }
}

/// What stands for the bytes of a file that is too big to be read: of a script nothing, which no playbook may run.
pub(super) fn instead(path: &str) -> Arc<[u8]> {
    if is_manifest(path) { too_big() } else { Arc::default() }
}

/// Too much for a manifest, and the same for all of them.
fn too_big() -> Arc<[u8]> {
    static BYTES: OnceLock<Arc<[u8]>> = OnceLock::new();
    let bytes = || {
        // An empty first line is what is shown of it.
        let mut bytes = vec![b' '; (1 << 20) + 1];
        bytes[0] = b'\n';
        bytes.into()
    };
    Arc::clone(BYTES.get_or_init(bytes))
}

/// The manifests of one revision, and all that is needed to bring them to the next: only folders whose Git tree is another
/// are looked at again.
#[derive(Debug)]
pub(super) struct Listing {
    /// Shared with whoever reads them; changed in place once nobody does any more.
    pub(super) files: Arc<Files>,
    /// The tree they were read from; `None` before the first.
    tree: Option<Oid>,
    budget: Budget,
}

/// Reads the manifests below `path`, from those of `previous` where there are any.
pub(super) fn read(
    repository: &Repository,
    revision: Oid,
    path: &[String],
    previous: Option<Listing>,
    limits: Limits,
) -> Result<Listing, Unread> {
    let tree = root(repository, revision, path)?;
    // On the way from one revision to another there may be more than in either, and the old trees may be gone: only a
    // reading from nothing says that something is wrong.
    let brought = previous.and_then(|previous| bring(repository, previous, tree.as_ref()).ok());
    let nothing = Listing { files: Arc::default(), tree: None, budget: Budget::new(limits) };
    brought.map_or_else(|| bring(repository, nothing, tree.as_ref()), Ok)
}

/// The tree of the folder `path`; `None` where there is no such folder.
fn root<'r>(repository: &'r Repository, revision: Oid, path: &[String]) -> Result<Option<Tree<'r>>, Unread> {
    let mut tree = repository.find_commit(revision)?.tree()?;
    for segment in path {
        let Some((id, kind)) = tree.get_name(segment).map(|entry| (entry.id(), entry.kind())) else {
            return Ok(None);
        };
        if kind != Some(ObjectType::Tree) {
            return Err(refused(format!("repository.path: `{}` is not a folder in {revision}", path.join("/"))));
        }
        tree = repository.find_tree(id)?;
    }
    Ok(Some(tree))
}

/// Brings a listing to another tree.
fn bring(repository: &Repository, listing: Listing, to: Option<&Tree<'_>>) -> Result<Listing, Unread> {
    let Listing { mut files, tree, budget } = listing;
    let from = tree.map(|id| repository.find_tree(id)).transpose()?;
    let budget = {
        let mut reader = Reader { repository, odb: repository.odb()?, budget, files: Arc::make_mut(&mut files) };
        reader.folder(from.as_ref(), to, "", 0)?;
        reader.budget
    };
    Ok(Listing { files, tree: to.map(Tree::id), budget })
}

struct Reader<'a> {
    repository: &'a Repository,
    odb: Odb<'a>,
    budget: Budget,
    files: &'a mut Files,
}

impl Reader<'_> {
    /// Takes out what `from` has and `to` has not, and puts in what `to` has and `from` has not.
    fn folder(
        &mut self,
        from: Option<&Tree<'_>>,
        to: Option<&Tree<'_>>,
        prefix: &str,
        depth: usize,
    ) -> Result<(), Unread> {
        self.budget.depth(prefix, depth)?;
        for entry in from.into_iter().flatten() {
            let now = twin(&entry, to);
            if now.as_ref().is_none_or(|now| !is_same(&entry, now)) {
                self.budget.without_entry();
                if is_file(&entry, prefix) {
                    self.take_out(&format!("{prefix}{}", legible(entry.name_bytes())));
                } else if is_folder(&entry) && !now.as_ref().is_some_and(is_folder) {
                    self.below(Some(&entry), None, prefix, depth)?;
                }
            }
        }
        for entry in to.into_iter().flatten() {
            let before = twin(&entry, from);
            if before.as_ref().is_none_or(|before| !is_same(&entry, before)) {
                self.budget.entry()?;
                if is_file(&entry, prefix) {
                    self.put_in(&entry, prefix)?;
                } else if is_folder(&entry) {
                    self.below(before.as_ref().filter(|before| is_folder(before)), Some(&entry), prefix, depth)?;
                }
            }
        }
        Ok(())
    }

    fn below(
        &mut self,
        from: Option<&TreeEntry<'_>>,
        to: Option<&TreeEntry<'_>>,
        prefix: &str,
        depth: usize,
    ) -> Result<(), Unread> {
        let name = to.or(from).map(|entry| legible(entry.name_bytes())).unwrap_or_default();
        let tree = |entry: Option<&TreeEntry<'_>>| entry.map(|entry| self.repository.find_tree(entry.id())).transpose();
        let (from, to) = (tree(from)?, tree(to)?);
        self.folder(from.as_ref(), to.as_ref(), &format!("{prefix}{name}/"), depth + 1)
    }

    fn take_out(&mut self, path: &str) {
        if let Some(file) = self.files.remove(path) {
            self.budget.without_file(file.bytes.len() as u64);
        }
    }

    fn put_in(&mut self, entry: &TreeEntry<'_>, prefix: &str) -> Result<(), Unread> {
        let path = format!("{prefix}{}", legible(entry.name_bytes()));
        let (size, _) = self.odb.read_header(entry.id())?;
        // What is too big is not even read: the compiler says of it what is wrong, and holds what it may declare.
        let is_too_big = size as u64 > self.budget.limits.file_bytes;
        let bytes = if is_too_big { instead(&path) } else { kept(&path, self.odb.read(entry.id())?.data()).into() };
        self.budget.file(bytes.len() as u64)?;
        match self.files.insert(path.into(), File { content: entry.id().to_string().into(), bytes }) {
            None => Ok(()),
            Some(_) => Err(refused(format!("two names at `{}` look the same: rename one", clean(prefix, 200)))),
        }
    }
}

/// The entry of the same name in another version of its folder.
fn twin<'t>(entry: &TreeEntry<'_>, tree: Option<&'t Tree<'_>>) -> Option<TreeEntry<'t>> {
    tree?.get_name_bytes(entry.name_bytes())
}

fn is_same(a: &TreeEntry<'_>, b: &TreeEntry<'_>) -> bool {
    (a.id(), a.filemode()) == (b.id(), b.filemode())
}

fn is_folder(entry: &TreeEntry<'_>) -> bool {
    entry.kind() == Some(ObjectType::Tree) && !is_hidden(entry.name_bytes())
}

/// Whether an entry is a manifest or a script: a regular file, of its path.
fn is_file(entry: &TreeEntry<'_>, prefix: &str) -> bool {
    let regular = entry.kind() == Some(ObjectType::Blob) && entry.filemode() & 0o170_000 == 0o100_000;
    let name = entry.name_bytes();
    regular && is_wanted(&format!("{prefix}{}", legible(name)), name)
}

/// What was read of one revision or folder, held against what may be.
#[derive(Debug)]
pub(super) struct Budget {
    pub(super) limits: Limits,
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

    /// One entry less.
    fn without_entry(&mut self) {
        self.entries -= 1;
    }

    /// One manifest of this size less.
    fn without_file(&mut self, size: u64) {
        self.files -= 1;
        self.bytes -= size;
    }

    /// One more manifest of this size.
    pub(super) fn file(&mut self, size: u64) -> Result<(), Unread> {
        self.files += 1;
        self.bytes += size;
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
