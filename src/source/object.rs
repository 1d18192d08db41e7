//! Commits as their objects say, read with less than git2 asks of them. Whoever may push can push one whose author's line is out of
//! shape, old histories have such, and it stays below every later one: no team's commit keeps the others from being followed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use git2::{ErrorClass, ErrorCode, ObjectType, Oid, Repository};
use memchr::memmem;

use super::entries::{Tree, find_tree};

/// Of a message this much is kept, in bytes: as far as trailers and subjects are looked for.
pub(super) const MESSAGE: usize = 64 << 10;
/// Of a name and an email, in bytes.
const NAME: usize = 1 << 10;
/// A commit of more bytes is read from the mirror once, not at each question: git unpacks and sums the whole of it, and a push of a
/// few kilobytes brings gigabytes.
const LARGE: usize = 64 << 10;
/// So much is kept of large ones, in bytes; then they are read anew.
const KEPT: usize = 16 << 20;

/// A commit.
#[derive(Clone)]
pub(super) struct Commit<'r> {
    repository: &'r Repository,
    id: Oid,
    said: Arc<Said>,
}

/// What is read of a commit.
#[derive(Debug)]
struct Said {
    tree: Oid,
    parents: Vec<Oid>,
    author: Person,
    committer: Person,
    message: Vec<u8>,
}

/// Who made a commit, and when; what cannot be read of it is empty, or 0.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Person {
    pub(super) name: Vec<u8>,
    pub(super) email: Vec<u8>,
    /// In seconds since 1970.
    pub(super) at: i64,
}

/// The large commits that were read. An id is the sum of what it names, so one list serves all mirrors.
static LARGE_READ: Mutex<BTreeMap<Oid, Arc<Said>>> = Mutex::new(BTreeMap::new());

/// The commit of this id.
pub(super) fn find(repository: &Repository, id: Oid) -> Result<Commit<'_>, git2::Error> {
    let odb = repository.odb()?;
    let known = || LARGE_READ.lock().unwrap_or_else(PoisonError::into_inner).get(&id).cloned();
    if let Some(said) = known().filter(|_| odb.exists(id)) {
        return Ok(Commit { repository, id, said });
    }
    let object = odb.read(id)?;
    let parsed = (object.kind() == ObjectType::Commit).then(|| parse(object.data())).flatten();
    let none = || git2::Error::new(ErrorCode::Invalid, ErrorClass::Object, format!("{id} is no commit"));
    let said = Arc::new(parsed.ok_or_else(none)?);
    if object.len() > LARGE {
        keep(id, &said);
    }
    Ok(Commit { repository, id, said })
}

fn keep(id: Oid, said: &Arc<Said>) {
    let mut kept = LARGE_READ.lock().unwrap_or_else(PoisonError::into_inner);
    if kept.values().map(|said| said.weight()).sum::<usize>() + said.weight() > KEPT {
        kept.clear();
    }
    kept.insert(id, Arc::clone(said));
}

impl Said {
    /// How many bytes it holds, about.
    fn weight(&self) -> usize {
        self.message.len() + (self.parents.len() + 8) * size_of::<Oid>() + 2 * NAME
    }
}

fn parse(bytes: &[u8]) -> Option<Said> {
    let (head, message) = match memmem::find(bytes, b"\n\n") {
        Some(at) => (&bytes[..at], &bytes[at + 2..]),
        None => (bytes, &[][..]),
    };
    let begin = message.iter().position(|byte| *byte != b'\n').unwrap_or(message.len());
    // As git shows it: what stands behind a NUL nobody sees.
    let message = &message[begin..];
    let message = &message[..memchr::memchr(0, message).unwrap_or(message.len())];
    let oid = |hex: &[u8]| std::str::from_utf8(hex).ok().filter(|hex| hex.len() == 40)?.parse::<Oid>().ok();
    let mut lines = Lines(head).peekable();
    let tree = oid(lines.next()?.strip_prefix(b"tree ")?)?;
    // Only those right behind the tree, as git takes them: any line may stand below the committer.
    let mut parents = Vec::new();
    while let Some(hex) = lines.peek().and_then(|line| line.strip_prefix(b"parent ")) {
        parents.push(oid(hex)?);
        lines.next();
    }
    let (mut author, mut committer) = (None, None);
    for line in lines {
        if let Some(text) = line.strip_prefix(b"author ") {
            author.get_or_insert_with(|| person(text));
        } else if let Some(text) = line.strip_prefix(b"committer ") {
            committer.get_or_insert_with(|| person(text));
        }
    }
    let message = message[..message.len().min(MESSAGE)].to_vec();
    Some(Said { tree, parents, author: author.unwrap_or_default(), committer: committer.unwrap_or_default(), message })
}

/// The lines of a head, each found with the processor's own search: one may be of any length.
struct Lines<'b>(&'b [u8]);

impl<'b> Iterator for Lines<'b> {
    type Item = &'b [u8];

    fn next(&mut self) -> Option<&'b [u8]> {
        if self.0.is_empty() {
            return None;
        }
        let (line, rest) = match memchr::memchr(b'\n', self.0) {
            Some(at) => (&self.0[..at], &self.0[at + 1..]),
            None => (self.0, &[][..]),
        };
        self.0 = rest;
        Some(line)
    }
}

/// `Name <email> seconds zone`, as far as it is so.
fn person(line: &[u8]) -> Person {
    let end = line.iter().rposition(|byte| *byte == b'>');
    let begin = line.iter().rposition(|byte| *byte == b'<').filter(|begin| end.is_some_and(|end| *begin < end));
    let (who, rest) = match end {
        Some(end) => (&line[..end], &line[end + 1..]),
        None => {
            // Without an email the time is what is left when both of its words are taken away.
            let words = line.split(|byte| *byte == b' ').rev().take(2).map(|word| word.len() + 1).sum::<usize>();
            line.split_at(line.len().saturating_sub(words))
        }
    };
    let (name, email) = match begin {
        Some(begin) => (&line[..begin], &who[begin + 1..]),
        None => (who, &[][..]),
    };
    let digits = |text: &[u8]| std::str::from_utf8(text).ok()?.parse::<i64>().ok();
    let mut words = rest.split(|byte| *byte == b' ').filter(|word| !word.is_empty());
    let at = words.next().and_then(digits).unwrap_or_default();
    let kept = |text: &[u8]| text[..text.len().min(NAME)].trim_ascii().to_vec();
    Person { name: kept(name.trim_ascii_start()), email: kept(email.trim_ascii_start()), at }
}

impl<'r> Commit<'r> {
    /// Its id.
    pub(super) fn id(&self) -> Oid {
        self.id
    }

    /// The tree that it is of.
    pub(super) fn tree(&self) -> Result<Tree, git2::Error> {
        find_tree(self.repository, self.said.tree)
    }

    /// Its parents' ids, the first one first.
    pub(super) fn parent_ids(&self) -> impl Iterator<Item = Oid> + '_ {
        self.said.parents.iter().copied()
    }

    /// How many parents it has.
    pub(super) fn parent_count(&self) -> usize {
        self.said.parents.len()
    }

    /// One of its parents.
    pub(super) fn parent(&self, at: usize) -> Result<Commit<'r>, git2::Error> {
        let none = || git2::Error::new(ErrorCode::NotFound, ErrorClass::Object, format!("{} has no parent", self.id));
        find(self.repository, *self.said.parents.get(at).ok_or_else(none)?)
    }

    /// What it says.
    pub(super) fn message_bytes(&self) -> &[u8] {
        &self.said.message
    }

    /// Who wrote it.
    pub(super) fn author(&self) -> &Person {
        &self.said.author
    }

    /// Who committed it.
    pub(super) fn committer(&self) -> &Person {
        &self.said.committer
    }
}

/// The tip and its first parents, newest first, as far as they are here.
pub(super) fn first_parents(repository: &Repository, tip: Oid) -> impl Iterator<Item = Result<Oid, git2::Error>> + '_ {
    let mut next = Some(tip);
    std::iter::from_fn(move || {
        let id = next.take()?;
        let parent = match find(repository, id) {
            Ok(commit) => commit.said.parents.first().copied(),
            Err(error) => return Some(Err(error)),
        };
        // A shallow clone names parents that it has not.
        next =
            parent.filter(|parent| !repository.is_shallow() || repository.odb().is_ok_and(|odb| odb.exists(*parent)));
        Some(Ok(id))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn of_a_line_out_of_shape_is_read_what_there_is() {
        let of = |line: &str| {
            let Person { name, email, at } = person(line.as_bytes());
            (String::from_utf8_lossy(&name).into_owned(), String::from_utf8_lossy(&email).into_owned(), at)
        };
        let is = |name: &str, email: &str, at| (name.to_owned(), email.to_owned(), at);
        assert_eq!(of("Ann B <ann@x> 1795800000 +0000"), is("Ann B", "ann@x", 1_795_800_000));
        assert_eq!(of("t t@x 1795800000 +0000"), is("t t@x", "", 1_795_800_000));
        assert_eq!(of("t <t@x>1795800000 +0000"), is("t", "t@x", 1_795_800_000));
        assert_eq!(of("<t@x> soon"), is("", "t@x", 0));
        assert_eq!(of("t > <t@x 5 +0000"), is("t", "", 0));
        assert_eq!(of(""), is("", "", 0));
    }

    #[test]
    fn a_commit_of_any_size_is_read_once_and_as_far_as_it_says_something() {
        let folder = tempfile::tempdir().expect("a folder");
        let repository = Repository::init_bare(folder.path()).expect("a repository");
        let tree = repository.treebuilder(None).and_then(|tree| tree.write()).expect("a tree");
        let (long, who) = ("x".repeat(4 * LARGE), "t <t@x> 5 +0000");
        let text = format!("tree {tree}\nauthor {long} <a@x> 6 +0000\ncommitter {who}\nx {long}\n\n\nsaid\n{long}");
        let id = repository.odb().and_then(|odb| odb.write(ObjectType::Commit, text.as_bytes())).expect("a commit");
        let read = || {
            let commit = find(&repository, id).expect("read");
            assert_eq!(commit.tree().expect("its tree").id(), tree);
            (commit.author().clone(), commit.committer().clone(), commit.message_bytes().to_vec())
        };
        let (author, committer, message) = read();
        assert_eq!((author.name.len(), &*author.email, author.at), (NAME, &b"a@x"[..], 6));
        assert_eq!((&*committer.name, &*committer.email, committer.at), (&b"t"[..], &b"t@x"[..], 5));
        assert!(message.starts_with(b"said\nxxx") && message.len() == MESSAGE);
        // What is read from the disk again would be noticed.
        let id = id.to_string();
        let object = folder.path().join("objects").join(&id[..2]).join(&id[2..]);
        std::fs::remove_file(&object).and_then(|()| std::fs::write(&object, "broken")).expect("broken");
        assert_eq!(read(), (author, committer, message));
        let other = Repository::init_bare(folder.path().join("other")).expect("a repository");
        assert!(find(&other, id.parse().expect("an id")).is_err(), "what a mirror has not is not found in it");
    }

    proptest! {
        #[test]
        fn any_line_is_taken(line in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = person(&line);
        }
    }
}
