//! The manifests of one revision, read straight from Git objects: no work tree, nothing followed out of the repository.
//!
//! Only `.yaml` and `.yml` are read, and of scripts the beginning. Of symbolic links and submodules it is known that they are
//! there, whatever their name, and no more.

use std::borrow::Cow;
use std::sync::{Arc, OnceLock};

use codeops_core::desired::{self, File, Files, is_manifest};
use git2::{Odb, Oid, Repository};

use super::census::Teams;
use super::entries::{Entry, Tree, find_tree};
use super::text::clean;
use super::{Limits, SourceError, crowded, object};

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

/// Why a revision is not read as one.
enum Halt {
    /// All together are more than there may be: each has its share.
    Crowded,
    Unread(Unread),
}

impl From<git2::Error> for Halt {
    fn from(error: git2::Error) -> Self {
        Self::Unread(Unread::Damaged(error))
    }
}

/// What a symbolic link is called.
pub(super) const LINK: &str = "a symbolic link";

/// So many folders are named where none comes near.
const SHOWN: usize = 10;
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

/// How many bytes are kept of a file of this size.
pub(super) fn size_kept(path: &str, size: u64, limits: Limits) -> u64 {
    match (size > limits.file_bytes, is_manifest(path)) {
        (true, _) => instead(path).len() as u64,
        (false, true) => size,
        (false, false) => size.min(BEGINNING as u64),
    }
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

/// What stands for all that is in a folder too deep to be read, under the folder's path with its `/`: the compiler tells of
/// it alone.
pub(super) fn too_deep() -> Arc<[u8]> {
    Arc::new([])
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
    /// Whether some were left out, as there were too many: the next cannot be made of it.
    is_crowded: bool,
}

/// Reads the manifests below `path`, from those of `previous` where there are any.
pub(super) fn read(
    repository: &Repository,
    revision: Oid,
    path: &[String],
    previous: Option<Listing>,
    (limits, teams): (Limits, &Teams),
) -> Result<Listing, Unread> {
    let tree = Some(root(repository, revision, path)?);
    let count = || crowded::count(repository, tree.as_ref(), (limits, teams));
    let brought = match previous {
        Some(previous) if previous.is_crowded => {
            let census = count()?;
            if !census.fits() {
                return crowded::read(repository, census, &previous.files, limits);
            }
            None
        }
        // On the way from one revision to another there may be more than in either, and the old trees may be gone: only a
        // reading from nothing says that something is wrong.
        Some(previous) => bring(repository, previous, tree.as_ref()).ok(),
        None => None,
    };
    let nothing = || Listing { files: Arc::default(), tree: None, budget: Budget::new(limits), is_crowded: false };
    match brought.map_or_else(|| bring(repository, nothing(), tree.as_ref()), Ok) {
        Ok(listing) => Ok(listing),
        Err(Halt::Unread(why)) => Err(why),
        Err(Halt::Crowded) => crowded::read(repository, count()?, &Files::new(), limits),
    }
}

/// A listing that has only a share of what there is for each.
pub(super) fn crowded(files: Files, limits: Limits) -> Listing {
    Listing { files: Arc::new(files), tree: None, budget: Budget::new(limits), is_crowded: true }
}

/// The tree of the folder `path`. One that is not there is no empty one: where it is misspelt, or was moved, nobody has said that
/// all in it is to go.
pub(super) fn root(repository: &Repository, revision: Oid, path: &[String]) -> Result<Tree, Unread> {
    let mut tree = object::find(repository, revision)?.tree()?;
    for (depth, segment) in path.iter().enumerate() {
        let Some((id, is_folder)) = tree.get(segment.as_bytes()).map(|entry| (entry.id(), entry.is_folder())) else {
            return Err(refused(no_folder(&tree, path, depth, revision)));
        };
        if !is_folder {
            return Err(refused(format!("repository.path: `{}` is not a folder in {revision}", path.join("/"))));
        }
        tree = find_tree(repository, id)?;
    }
    Ok(tree)
}

/// That `path` is not there from its folder `depth` on, which `tree` should have, with what comes nearest.
fn no_folder(tree: &Tree, path: &[String], depth: usize, revision: Oid) -> String {
    let folders = tree.iter().filter(is_folder);
    let names: Vec<String> = folders.map(|entry| clean(&legible(entry.name()), 200)).collect();
    let whole = |name: &str| [&path[..depth], &[name.to_owned()]].concat().join("/");
    let there = match desired::near(&path[depth], names.iter().map(String::as_str)) {
        Some(name) => format!("did you mean `{}`?", whole(name)),
        None if names.is_empty() => "there is no folder at all beside it".to_owned(),
        None => {
            let shown: Vec<String> = names.iter().take(SHOWN).map(|name| format!("`{}`", whole(name))).collect();
            let more = names.len().checked_sub(SHOWN).filter(|more| *more > 0);
            let more = more.map(|more| format!(" and {more} more")).unwrap_or_default();
            format!("there are {}{more}", shown.join(", "))
        }
    };
    format!(
        "repository.path: there is no folder `{}` in revision {}; {there}",
        path.join("/"),
        &revision.to_string()[..12]
    )
}

/// Brings a listing to another tree.
fn bring(repository: &Repository, listing: Listing, to: Option<&Tree>) -> Result<Listing, Halt> {
    let Listing { mut files, tree, budget, is_crowded } = listing;
    let from = tree.map(|id| find_tree(repository, id)).transpose()?;
    let budget = {
        let mut reader = Reader { repository, odb: repository.odb()?, budget, files: Arc::make_mut(&mut files) };
        reader.folder(from.as_ref(), to, "", 0)?;
        reader.budget
    };
    Ok(Listing { files, tree: to.map(Tree::id), budget, is_crowded })
}

struct Reader<'a> {
    repository: &'a Repository,
    odb: Odb<'a>,
    budget: Budget,
    files: &'a mut Files,
}

impl Reader<'_> {
    /// Takes out what `from` has and `to` has not, and puts in what `to` has and `from` has not.
    fn folder(&mut self, from: Option<&Tree>, to: Option<&Tree>, prefix: &str, depth: usize) -> Result<(), Halt> {
        if self.budget.limits.is_too_deep(depth) {
            if from.is_some() {
                self.take_out(prefix);
            }
            return to.map_or(Ok(()), |to| self.keep(prefix.to_owned(), to.id(), too_deep()));
        }
        for entry in from.into_iter().flat_map(Tree::iter) {
            let now = twin(&entry, to);
            if now.as_ref().is_none_or(|now| !is_same(&entry, now)) {
                self.budget.without_entry();
                if is_file(&entry, prefix) || elsewhere(&entry).is_some() {
                    self.take_out(&format!("{prefix}{}", legible(entry.name())));
                } else if is_folder(&entry) && !now.as_ref().is_some_and(is_folder) {
                    self.below(Some(&entry), None, prefix, depth)?;
                }
            }
        }
        for entry in to.into_iter().flat_map(Tree::iter) {
            let before = twin(&entry, from);
            if before.as_ref().is_none_or(|before| !is_same(&entry, before)) {
                self.budget.entry()?;
                if is_file(&entry, prefix) {
                    self.put_in(&entry, prefix)?;
                } else if let Some(what) = elsewhere(&entry) {
                    self.insert(format!("{prefix}{}", legible(entry.name())), File::elsewhere(what))?;
                } else if is_folder(&entry) {
                    self.below(before.as_ref().filter(|before| is_folder(before)), Some(&entry), prefix, depth)?;
                }
            }
        }
        Ok(())
    }

    fn below(
        &mut self,
        from: Option<&Entry<'_>>,
        to: Option<&Entry<'_>>,
        prefix: &str,
        depth: usize,
    ) -> Result<(), Halt> {
        let name = to.or(from).map(|entry| legible(entry.name())).unwrap_or_default();
        let tree = |entry: Option<&Entry<'_>>| entry.map(|entry| find_tree(self.repository, entry.id())).transpose();
        let (from, to) = (tree(from)?, tree(to)?);
        self.folder(from.as_ref(), to.as_ref(), &format!("{prefix}{name}/"), depth + 1)
    }

    fn take_out(&mut self, path: &str) {
        if let Some(file) = self.files.remove(path) {
            self.budget.without_file(file.bytes.len() as u64);
        }
    }

    fn put_in(&mut self, entry: &Entry<'_>, prefix: &str) -> Result<(), Halt> {
        let path = format!("{prefix}{}", legible(entry.name()));
        let bytes = bytes(&self.odb, entry.id(), &path, self.budget.limits)?;
        self.keep(path, entry.id(), bytes)
    }

    fn keep(&mut self, path: String, id: Oid, bytes: Arc<[u8]>) -> Result<(), Halt> {
        self.insert(path, File::new(id.to_string(), bytes))
    }

    fn insert(&mut self, path: String, file: File) -> Result<(), Halt> {
        self.budget.file(file.bytes.len() as u64)?;
        // Two names that look the same are both no text, so neither is read.
        if let Some(twin) = self.files.insert(path.into(), file) {
            self.budget.without_file(twin.bytes.len() as u64);
        }
        Ok(())
    }
}

/// What is kept of a file.
pub(super) fn bytes(odb: &Odb<'_>, id: Oid, path: &str, limits: Limits) -> Result<Arc<[u8]>, git2::Error> {
    let (size, _) = odb.read_header(id)?;
    // What is too big is not even read: the compiler says of it what is wrong, and holds what it may declare.
    let is_too_big = size as u64 > limits.file_bytes;
    Ok(if is_too_big { instead(path) } else { kept(path, odb.read(id)?.data()).into() })
}

/// The entry of the same name in another version of its folder.
fn twin<'t>(entry: &Entry<'_>, tree: Option<&'t Tree>) -> Option<Entry<'t>> {
    tree?.get(entry.name())
}

fn is_same(a: &Entry<'_>, b: &Entry<'_>) -> bool {
    (a.id(), a.mode()) == (b.id(), b.mode())
}

pub(super) fn is_folder(entry: &Entry<'_>) -> bool {
    entry.is_folder() && !is_hidden(entry.name())
}

/// What an entry is that is no file here, and may stand in the place of manifests; one that cannot be named stands for none.
pub(super) fn elsewhere(entry: &Entry<'_>) -> Option<&'static str> {
    let name = entry.name();
    let counts = !is_hidden(name) && std::str::from_utf8(name).is_ok();
    match entry.mode() & 0o170_000 {
        0o120_000 if counts => Some(LINK),
        0o160_000 if counts => Some("a submodule"),
        _ => None,
    }
}

/// Whether an entry is a manifest or a script: a regular file, of its path.
pub(super) fn is_file(entry: &Entry<'_>, prefix: &str) -> bool {
    let name = entry.name();
    entry.is_regular() && is_wanted(&format!("{prefix}{}", legible(name)), name)
}

/// What was read of one revision, held against what may be.
#[derive(Debug)]
struct Budget {
    limits: Limits,
    entries: usize,
    files: usize,
    bytes: u64,
}

impl Budget {
    fn new(limits: Limits) -> Self {
        Self { limits, entries: 0, files: 0, bytes: 0 }
    }

    /// One more entry of a folder, manifest or not.
    fn entry(&mut self) -> Result<(), Halt> {
        self.entries += 1;
        if self.entries > self.limits.entries { Err(Halt::Crowded) } else { Ok(()) }
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
    fn file(&mut self, size: u64) -> Result<(), Halt> {
        self.files += 1;
        self.bytes += size;
        let fits = self.files <= self.limits.files && self.bytes <= self.limits.total_bytes;
        if fits { Ok(()) } else { Err(Halt::Crowded) }
    }
}

fn refused(why: String) -> Unread {
    Unread::Refused(SourceError(why))
}
