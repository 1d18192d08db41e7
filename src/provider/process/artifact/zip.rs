//! Reads zip files into a [`Tree`].

use std::cell::Cell;
use std::io::{self, Read, Seek, SeekFrom};
use std::rc::Rc;

use zip::ZipArchive;

use super::turn::Turn;
use super::{ArtifactError, Bounded, Progress, Tree};

/// Of a zip, the whole table of contents is kept in memory: some 620 bytes for an entry, and what the table holds of names
/// and the like up to three times.
const ENTRIES: u64 = 65_000;
/// The most bytes of the table.
const TABLE: u64 = 8 << 20;
/// The end record is 22 bytes and a comment of at most 65,535.
const END: usize = 22;
const TAIL: u64 = END as u64 + 0xffff;

/// Writes every entry of the zip `from` into `tree`.
pub(super) fn unpack<R: Read + Seek>(mut from: R, tree: &mut Tree, progress: &Progress) -> Result<(), ArtifactError> {
    let contents = contents(&mut from)?;
    let _turn = Turn::take(progress)?;
    let opening = Rc::new(Cell::new(Some(contents.budget())));
    let from = Guarded { from, at: 0, table: contents.table, opening: Rc::clone(&opening) };
    let mut archive = ZipArchive::new(from).map_err(|e| broken(&e))?;
    opening.set(None);
    if archive.is_empty() {
        return Err(ArtifactError::Refused("the artifact is an empty zip".to_owned()));
    }
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index).map_err(|e| broken(&e))?;
        let name = entry.name_raw().to_vec();
        let mode = entry.unix_mode().unwrap_or(0);
        if entry.is_dir() {
            tree.folder(&name)?;
            continue;
        }
        match mode & 0o170_000 {
            0o120_000 => {
                let mut target = Vec::new();
                entry.by_ref().take(4_097).read_to_end(&mut target).map_err(|e| broken(&e.into()))?;
                tree.symlink(&name, &target)?;
            }
            // The tree counts the bytes of files, and nothing else of a zip is unpacked.
            0 | 0o100_000 => tree.file(&name, mode & 0o111 != 0, &mut Bounded::new(&mut entry, u64::MAX, progress))?,
            _ => return Err(tree.refuse(&name, "it is a device or pipe")),
        }
    }
    Ok(())
}

/// Where the table of contents is.
struct Contents {
    table: u64,
    length: u64,
}

impl Contents {
    /// What may be read to open the archive: its end is looked for once and its table is read once; who reads on
    /// searches among what only looks like an end.
    fn budget(&self) -> u64 {
        4 * (self.length - self.table) + (256 << 10)
    }
}

/// Finds the table by the end record, and looks at how large it is before it is read into memory.
fn contents<R: Read + Seek>(from: &mut R) -> Result<Contents, ArtifactError> {
    let io = |e: io::Error| broken(&e.into());
    let too_large = || {
        let limits = format!("at most {ENTRIES} entries, with names and the like of {} MiB, are unpacked", TABLE >> 20);
        ArtifactError::Refused(format!("the artifact's zip has too large a table of contents: {limits}; use tar.gz"))
    };
    let none = || broken(&zip::result::ZipError::InvalidArchive("no end record is at its end".into()));
    let length = from.seek(SeekFrom::End(0)).map_err(io)?;
    let bytes = part(from, length.saturating_sub(TAIL), length).map_err(io)?;
    let ends = |at: &usize| {
        let end = &bytes[*at..];
        end.starts_with(b"PK\x05\x06") && number(&end[20..22]) <= (end.len() - END) as u64
    };
    let at = (0..=bytes.len().checked_sub(END).ok_or_else(none)?).rev().find(ends).ok_or_else(none)?;
    let end = &bytes[at..];
    let position = length - end.len() as u64;
    let (mut entries, mut size, mut offset) = (number(&end[10..12]), number(&end[12..16]), number(&end[16..20]));
    let mut last = position;
    if let Some(locator) = at.checked_sub(20).map(|at| &bytes[at..]).filter(|at| at.starts_with(b"PK\x06\x07")) {
        let place = number(&locator[8..16]);
        let wide = part(from, place, place.saturating_add(56).min(position)).map_err(io)?;
        if wide.len() == 56 && wide.starts_with(b"PK\x06\x06") {
            last = place;
            (entries, size, offset) = (number(&wide[32..40]), number(&wide[40..48]), number(&wide[48..56]));
        }
    }
    if entries > ENTRIES || size > TABLE {
        return Err(too_large());
    }
    let table = [Some(offset), last.checked_sub(size)].into_iter().flatten();
    let table =
        table.filter(|table| *table <= position && length - table <= TABLE + 2 * TAIL).min().ok_or_else(none)?;
    // Whatever in there is taken for an end, it does not promise more either.
    let rest = part(from, table, length).map_err(io)?;
    let promises = |wide: &[u8]| number(&wide[32..40]) > ENTRIES || number(&wide[40..48]) > TABLE;
    if rest.windows(56).any(|wide| wide.starts_with(b"PK\x06\x06") && promises(wide)) {
        return Err(too_large());
    }
    from.seek(SeekFrom::Start(0)).map_err(io)?;
    Ok(Contents { table, length })
}

fn part<R: Read + Seek>(from: &mut R, begin: u64, end: u64) -> io::Result<Vec<u8>> {
    from.seek(SeekFrom::Start(begin))?;
    let mut bytes = Vec::new();
    from.take(end.saturating_sub(begin)).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Of at most eight bytes.
fn number(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |all, byte| all << 8 | u64::from(*byte))
}

/// A zip of which, while it is opened, nothing before its table is seen: no end of another table, with other promises,
/// is found there.
struct Guarded<R> {
    from: R,
    at: u64,
    table: u64,
    /// How many bytes may still be read to open it; `None` once it is open.
    opening: Rc<Cell<Option<u64>>>,
}

impl<R: Read + Seek> Read for Guarded<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.from.read(into)?;
        if let Some(left) = self.opening.get() {
            let over = || io::Error::other("its end says what is not so");
            self.opening.set(Some(left.checked_sub(count as u64).ok_or_else(over)?));
            let hidden = usize::try_from(self.table.saturating_sub(self.at)).unwrap_or(usize::MAX).min(count);
            into[..hidden].fill(0);
        }
        self.at += count as u64;
        Ok(count)
    }
}

impl<R: Seek> Seek for Guarded<R> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.at = self.from.seek(to)?;
        Ok(self.at)
    }
}

fn broken(error: &zip::result::ZipError) -> ArtifactError {
    ArtifactError::Refused(format!("the artifact is not a zip that can be read: {error}"))
}
