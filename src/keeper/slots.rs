//! The file that a keeper's table is kept in, whole after every crash and written also on a disk that is full.
//!
//! It is one of three that take turns. The next content goes where neither the newest lies nor the newest that was synced, over
//! what is there and filled up with blanks: that takes no room which the file does not have already. Then the two change their
//! names in one step. A number and a sum at the front tell the newest one that is whole.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};

use crate::base::complain;

/// The file in the app's folder, which is the keeper's working directory.
pub(super) const FILE: &str = "keeper.json";
const NEW_FILE: &str = "keeper.json.new";
/// The newest one that was synced, once there is a newer one.
const EARLIER: &str = "keeper.json.bak";
/// A newest one that was found broken, for whoever wants to know.
const BROKEN: &str = "keeper.json.broken";
/// All of them.
pub(super) const FILES: [&str; 4] = [FILE, NEW_FILE, EARLIER, BROKEN];

/// What a content begins with, before the digits of its sum.
const HEAD: &[u8] = br#"{"sum":""#;
/// As many hex digits has the sum.
const SUM: usize = 16;
/// What stands between the sum and what it is the sum of.
const MIDDLE: &[u8] = br#"","#;
/// Room is taken in pieces of this size, in bytes.
const PIECE: usize = 4096;

/// The three files in one folder. One write at a time.
#[derive(Debug)]
pub(super) struct Slots {
    dir: PathBuf,
    turn: Mutex<Turn>,
}

#[derive(Debug)]
struct Turn {
    /// The number of the newest content.
    written: u64,
    /// Whether that one was synced, and so must outlive the next one's being written.
    synced: bool,
    /// Whether somebody else has written it, and maybe synced it: nothing is written beside it that is not synced.
    inherited: bool,
}

/// What a file holds.
struct Found<T> {
    /// `None` for one of an earlier version, which has no number.
    written: Option<u64>,
    content: T,
}

impl Slots {
    /// The files in `dir`, and the newest content in them; `None` without any.
    ///
    /// # Errors
    /// When there is one and none can be read.
    pub(super) fn open<T: DeserializeOwned>(dir: &Path) -> io::Result<(Self, Option<T>)> {
        let [newest, earlier] = [FILE, EARLIER].map(|name| read::<T>(&dir.join(name)));
        // What was to become the newest counts only where it says itself that it is whole.
        let next = read::<T>(&dir.join(NEW_FILE)).ok().flatten().filter(|next| next.written.is_some());
        if let Err(error) = &newest
            && (next.is_some() || matches!(earlier, Ok(Some(_))))
        {
            complain(format_args!("codeops keeper: {error}; goes on with the one before it"));
            // Out of the way, so that it never becomes the earlier one.
            drop(fs::rename(dir.join(FILE), dir.join(BROKEN)));
        }
        let numbers = [newest.as_ref().ok(), earlier.as_ref().ok(), Some(&next)];
        let written = numbers.into_iter().flatten().flatten().filter_map(|found| found.written).max().unwrap_or(0);
        let found = match (newest, earlier, next) {
            // Of an earlier version, which knows no numbers.
            (Ok(Some(newest)), ..) if newest.written.is_none() => Some(newest),
            (newest, earlier, next) => {
                let (newest, earlier) = match (newest, earlier) {
                    (Err(error), Ok(None) | Err(_)) | (Ok(None), Err(error)) if next.is_none() => return Err(error),
                    (newest, earlier) => (newest.ok().flatten(), earlier.ok().flatten()),
                };
                // Of equals the last.
                [next, earlier, newest].into_iter().flatten().max_by_key(|found| found.written)
            }
        };
        let turn = Mutex::new(Turn { written, synced: false, inherited: found.is_some() });
        Ok((Self { dir: dir.to_owned(), turn }, found.map(|found| found.content)))
    }

    /// Makes this the newest content: a JSON object as text. With `durable` it outlives a power cut.
    ///
    /// # Errors
    /// When it cannot be written; then the one before is the newest still.
    pub(super) fn write(&self, object: &[u8], durable: bool) -> io::Result<()> {
        let mut turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let durable = durable || turn.inherited;
        turn.written += 1;
        let slot = self.dir.join(if turn.synced { EARLIER } else { NEW_FILE });
        let next = fill(&slot, &sealed(turn.written, object))?;
        if durable {
            next.sync_data()?;
        }
        let file = self.dir.join(FILE);
        turn.synced = false;
        let changed = match renameat_with(CWD, &slot, CWD, &file, RenameFlags::EXCHANGE) {
            Ok(()) => true,
            // There was none, or the file system cannot change names.
            Err(Errno::NOENT | Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                fs::rename(&slot, &file)?;
                false
            }
            Err(error) => return Err(error.into()),
        };
        if !durable {
            return Ok(());
        }
        let earlier = self.dir.join(EARLIER);
        if !changed {
            // A second name for it, where that can be. Nothing is ever written over a file of two names.
            drop(fs::remove_file(&earlier));
            drop(fs::hard_link(&file, &earlier));
        }
        File::open(&self.dir)?.sync_all()?;
        (turn.synced, turn.inherited) = (changed, false);
        Ok(())
    }
}

/// Reads one of the files; `None` when it is not there.
fn read<T: DeserializeOwned>(file: &Path) -> io::Result<Option<Found<T>>> {
    let named = |error: io::Error| io::Error::new(error.kind(), format!("{} cannot be read: {error}", file.display()));
    match fs::read(file) {
        Ok(bytes) => parse(&bytes).map(Some).map_err(named),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(named(error)),
    }
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> io::Result<Found<T>> {
    #[derive(Deserialize)]
    struct Numbered {
        written: u64,
    }
    let bytes = bytes.trim_ascii_end();
    let Some(rest) = bytes.strip_prefix(HEAD) else {
        return Ok(Found { written: None, content: serde_json::from_slice(bytes)? });
    };
    let told = rest.split_at_checked(SUM).and_then(|(told, rest)| Some((told, rest.strip_prefix(MIDDLE)?)));
    if told.is_none_or(|(told, rest)| told != sum(rest).as_bytes()) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is not whole"));
    }
    let Numbered { written } = serde_json::from_slice(bytes)?;
    Ok(Found { written: Some(written), content: serde_json::from_slice(bytes)? })
}

/// The object with its number and sum before its own fields, which whoever reads it as it is passes over.
fn sealed(written: u64, object: &[u8]) -> Vec<u8> {
    let mut rest = format!(r#""written":{written},"#).into_bytes();
    rest.extend_from_slice(object.strip_prefix(b"{").unwrap_or(object));
    [HEAD, sum(&rest).as_bytes(), MIDDLE, &rest].concat()
}

fn sum(rest: &[u8]) -> String {
    let mut sum = hex::encode(Sha256::digest(rest));
    sum.truncate(SUM);
    sum
}

/// Writes a file over, without giving back room that it has, and takes more in time, while there is some.
fn fill(slot: &Path, text: &[u8]) -> io::Result<File> {
    let open = || OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(slot);
    let mut file = open()?;
    if file.metadata()?.nlink() > 1 {
        fs::remove_file(slot)?;
        file = open()?;
    }
    let has = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
    let position = |length: usize| u64::try_from(length).unwrap_or(u64::MAX);
    file.write_all_at(text, 0)?;
    file.write_all_at(&vec![b' '; has.saturating_sub(text.len())], position(text.len()))?;
    let (has, room) = (has.max(text.len()), (text.len() + text.len() / 2 + PIECE).next_multiple_of(PIECE));
    // Blanks, as many as there is room for.
    drop(file.write_all_at(&vec![b' '; room.saturating_sub(has)], position(has)));
    Ok(file)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::{Value, json};

    use super::*;

    fn write(slots: &Slots, value: &Value, durable: bool) {
        slots.write(value.to_string().as_bytes(), durable).expect("written");
    }

    fn newest(dir: &Path) -> io::Result<Option<u64>> {
        let (_, content) = Slots::open::<Value>(dir)?;
        Ok(content.and_then(|content| content["n"].as_u64()))
    }

    /// Every file with the room that it has.
    fn rooms(dir: &Path) -> BTreeSet<(u64, u64, u64)> {
        let files = fs::read_dir(dir).expect("a folder").flatten().map(|entry| entry.metadata().expect("a file"));
        files.map(|file| (file.ino(), file.len(), file.blocks())).collect()
    }

    #[test]
    fn what_is_written_needs_no_room_that_is_not_there() {
        let dir = tempfile::tempdir().expect("a folder");
        let (slots, _) = Slots::open::<Value>(dir.path()).expect("empty");
        for durable in [true, true, false, false] {
            write(&slots, &json!({"n": 0, "instances": ["one"]}), durable);
        }
        let before = rooms(dir.path());
        assert_eq!(before.len(), 3);
        assert!(before.iter().all(|(_, length, blocks)| *length >= 4096 && blocks * 512 >= *length), "{before:?}");
        for n in 1..40 {
            let more: Vec<u64> = (0..n * 20).collect();
            write(&slots, &json!({"n": n, "instances": more}), n % 3 == 0);
            assert_eq!(newest(dir.path()).expect("readable"), Some(n));
            if n <= 10 {
                assert_eq!(rooms(dir.path()), before, "{n}");
            }
        }
        assert_eq!(rooms(dir.path()).len(), 3);
        // Whoever knows nothing of numbers reads it all the same.
        let plain: Value = serde_json::from_slice(&fs::read(dir.path().join(FILE)).expect("read")).expect("JSON");
        assert_eq!(plain["n"], 39);
    }

    #[test]
    fn of_torn_and_stale_files_the_newest_whole_one_counts() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = |name| dir.path().join(name);
        let (slots, _) = Slots::open::<Value>(dir.path()).expect("empty");
        for (n, durable) in [(1, true), (2, true), (3, false), (4, false)] {
            write(&slots, &json!({"n": n}), durable);
        }
        // As a power cut may leave it: names have changed and what was written has not come.
        let whole = fs::read(path(FILE)).expect("read");
        let stale = String::from_utf8_lossy(&whole).replace("\"n\":4", "\"n\":5");
        fs::write(path(FILE), stale).expect("written");
        assert_eq!(newest(dir.path()).expect("readable"), Some(3));
        assert!(path(BROKEN).exists());
        for name in [NEW_FILE, EARLIER] {
            fs::write(path(name), &whole[..20]).expect("written");
        }
        newest(dir.path()).expect_err("what runs would be forgotten");
        fs::write(path(FILE), &whole).expect("written");
        assert_eq!(newest(dir.path()).expect("readable"), Some(4));
    }

    #[test]
    fn what_an_earlier_keeper_synced_outlives_what_the_next_one_writes() {
        let dir = tempfile::tempdir().expect("a folder");
        let (slots, _) = Slots::open::<Value>(dir.path()).expect("empty");
        (1..=3).for_each(|n| write(&slots, &json!({"n": n}), true));
        let (slots, _) = Slots::open::<Value>(dir.path()).expect("readable");
        for n in 4..=5 {
            write(&slots, &json!({"n": n}), false);
        }
        // As a power cut may leave what was not synced.
        for name in [FILE, NEW_FILE] {
            fs::write(dir.path().join(name), "{").expect("written");
        }
        let kept = newest(dir.path()).expect("readable");
        assert!(kept >= Some(3), "{kept:?}");
    }

    #[test]
    fn a_file_of_an_earlier_version_is_the_newest_and_is_not_written_over() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = |name| dir.path().join(name);
        let (slots, _) = Slots::open::<Value>(dir.path()).expect("empty");
        (0..3).for_each(|n| write(&slots, &json!({"n": n}), true));
        fs::write(path(FILE), r#"{"n":7}"#).expect("written");
        fs::remove_file(path(EARLIER)).expect("removed");
        fs::hard_link(path(FILE), path(EARLIER)).expect("linked");
        assert_eq!(newest(dir.path()).expect("readable"), Some(7));
        let (slots, _) = Slots::open::<Value>(dir.path()).expect("readable");
        (8..11).for_each(|n| write(&slots, &json!({"n": n}), false));
        let earlier = read::<Value>(&path(EARLIER)).expect("readable").expect("there");
        assert_eq!(earlier.content["n"], 8, "what was written first over one of somebody else's is synced");
        assert_eq!(newest(dir.path()).expect("readable"), Some(10));
    }
}
