//! Folders as their objects say, read with less than git2 asks of them: one entry that it does not take, such as of a mode that
//! nothing has, would keep all else in its folder from being read.

use std::cell::OnceCell;
use std::ops::Range;

use git2::{ErrorClass, ErrorCode, ObjectType, Oid, Repository};

/// How long a binary object id is.
const ID: usize = 20;

/// A folder.
#[derive(Clone)]
pub(super) struct Tree {
    id: Oid,
    bytes: Vec<u8>,
    entries: Vec<Place>,
    /// The places of the entries, by their names, once one is asked for.
    by_name: OnceCell<Vec<usize>>,
}

/// Where an entry stands in its folder's bytes.
#[derive(Clone)]
struct Place {
    mode: i32,
    name: Range<usize>,
    id: Oid,
}

/// What one name in a folder is of.
#[derive(Clone, Copy)]
pub(super) struct Entry<'t> {
    name: &'t [u8],
    mode: i32,
    id: Oid,
}

/// The folder of this id.
pub(super) fn find_tree(repository: &Repository, id: Oid) -> Result<Tree, git2::Error> {
    let odb = repository.odb()?;
    let object = odb.read(id)?;
    let tree = (object.kind() == ObjectType::Tree).then(|| parse(id, object.data().to_vec())).flatten();
    tree.ok_or_else(|| git2::Error::new(ErrorCode::Invalid, ErrorClass::Tree, format!("{id} is no tree")))
}

/// `mode name NUL id`, one behind the other.
fn parse(id: Oid, bytes: Vec<u8>) -> Option<Tree> {
    let (mut entries, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        let rest = &bytes[at..];
        let space = rest.iter().position(|byte| *byte == b' ')?;
        let end = space + 1 + rest[space + 1..].iter().position(|byte| *byte == 0)?;
        let id = Oid::from_bytes(rest.get(end + 1..end + 1 + ID)?).ok()?;
        // What is no number, or too large for one, is the mode of nothing.
        let mode = std::str::from_utf8(&rest[..space]).ok().and_then(|text| i32::from_str_radix(text, 8).ok());
        entries.push(Place { mode: mode.unwrap_or_default(), name: at + space + 1..at + end, id });
        at += end + 1 + ID;
    }
    Some(Tree { id, bytes, entries, by_name: OnceCell::new() })
}

impl Tree {
    /// Its id.
    pub(super) fn id(&self) -> Oid {
        self.id
    }

    /// How many entries it has.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Its entries, as they stand there.
    pub(super) fn iter(&self) -> impl Iterator<Item = Entry<'_>> {
        (0..self.entries.len()).map(|place| self.entry(place))
    }

    fn entry(&self, place: usize) -> Entry<'_> {
        let Place { mode, name, id } = &self.entries[place];
        Entry { name: &self.bytes[name.clone()], mode: *mode, id: *id }
    }

    /// The entry of a name, the first where there are several.
    pub(super) fn get(&self, name: &[u8]) -> Option<Entry<'_>> {
        let by_name = self.by_name.get_or_init(|| {
            let mut places: Vec<usize> = (0..self.entries.len()).collect();
            places.sort_by_key(|place| self.entry(*place).name);
            places
        });
        let first = by_name.partition_point(|place| self.entry(*place).name < name);
        by_name.get(first).map(|place| self.entry(*place)).filter(|entry| entry.name == name)
    }

    /// What is at a path below it.
    pub(super) fn below(&self, repository: &Repository, path: &str) -> Result<Option<(Oid, i32)>, git2::Error> {
        let (name, rest) = path.split_once('/').map_or((path, None), |(name, rest)| (name, Some(rest)));
        let Some(entry) = self.iter().find(|entry| entry.name == name.as_bytes()) else { return Ok(None) };
        match rest {
            None => Ok(Some((entry.id, entry.mode))),
            Some(_) if !entry.is_folder() => Ok(None),
            Some(rest) => find_tree(repository, entry.id)?.below(repository, rest),
        }
    }
}

impl<'t> Entry<'t> {
    /// What it is of.
    pub(super) fn id(&self) -> Oid {
        self.id
    }

    /// Its name.
    pub(super) fn name(&self) -> &'t [u8] {
        self.name
    }

    /// Its mode as it stands there; 0 for none.
    pub(super) fn mode(&self) -> i32 {
        self.mode
    }

    /// Whether it is a folder.
    pub(super) fn is_folder(&self) -> bool {
        self.mode & 0o170_000 == 0o040_000
    }

    /// Whether it is a regular file: no link, and nothing of another repository.
    pub(super) fn is_regular(&self) -> bool {
        is_regular(self.mode)
    }
}

/// Whether a mode is that of a regular file.
pub(super) fn is_regular(mode: i32) -> bool {
    mode & 0o170_000 == 0o100_000
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tree(entries: &[(&str, &str)]) -> Vec<u8> {
        entries.iter().flat_map(|(mode, name)| [mode.as_bytes(), b" ", name.as_bytes(), &[0; 21]].concat()).collect()
    }

    #[test]
    fn a_mode_that_nothing_has_hides_no_other_entry() {
        let modes = ["1000000", "644", "100664", "0100644", "", "9", "77777777777777", "160000", "120000"];
        for mode in modes {
            let bytes = tree(&[("100644", "a.yaml"), (mode, "b"), ("40000", "c")]);
            let tree = parse(Oid::ZERO_SHA1, bytes).expect("it is read");
            assert_eq!(tree.len(), 3, "{mode}");
            assert!(tree.get(b"a.yaml").is_some_and(|entry| entry.is_regular()), "{mode}");
            assert!(tree.get(b"c").is_some_and(|entry| entry.is_folder() && !entry.is_regular()), "{mode}");
            let odd = tree.get(b"b").expect("it is there");
            assert!(!odd.is_folder(), "{mode}");
            assert_eq!(odd.is_regular(), mode.contains("1006"), "{mode}");
        }
        assert!(parse(Oid::ZERO_SHA1, b"100644 a".to_vec()).is_none(), "cut off");
    }

    proptest! {
        #[test]
        fn any_bytes_are_taken(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Some(tree) = parse(Oid::ZERO_SHA1, bytes) {
                for entry in tree.iter() {
                    prop_assert_eq!(tree.get(entry.name()).map(|found| found.name()), Some(entry.name()));
                }
            }
        }
    }
}
