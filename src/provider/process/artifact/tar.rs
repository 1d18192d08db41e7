//! Reads tar streams into a [`Tree`]. Extended headers are read here, with limits, as the tar crate's own reading has none.

use std::io::{BufRead, Read};

use tar::{Archive, Entry, EntryType, PaxExtensions};

use super::bounded::ended;
use super::{ArtifactError, Tree};

/// More than any name needs, and little memory.
const EXTENSION_LIMIT: u64 = 64 << 10;

/// Decompresses Zstandard with a window of at most 128 MiB, all of which may be in memory: its caller sees to it that few are.
pub(super) fn zstd<R: BufRead>(from: R) -> Result<impl Read, ArtifactError> {
    let broken = |error| ArtifactError::Refused(format!("the artifact is not Zstandard: {error}"));
    let mut decoder = zstd::stream::read::Decoder::with_buffer(from).map_err(broken)?;
    decoder.window_log_max(27).map_err(broken)?;
    Ok(decoder)
}

/// What an extended header says of the next entry.
#[derive(Debug, Default)]
struct Extended {
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
}

/// Writes every entry of the tar `from` into `tree`.
pub(super) fn unpack<R: Read>(from: R, tree: &mut Tree) -> Result<(), ArtifactError> {
    let mut archive = Archive::new(from);
    let entries = archive.entries().map_err(|e| broken(&e))?.raw(true);
    let mut extended = Extended::default();
    let mut headers = 0_u64;
    let mut any = false;
    for entry in entries {
        let mut entry = entry.map_err(|e| broken(&e))?;
        match entry.header().entry_type() {
            EntryType::GNULongName => extended.name = Some(text(&mut entry)?),
            EntryType::GNULongLink => extended.link = Some(text(&mut entry)?),
            EntryType::XHeader => pax(&mut entry, &mut extended)?,
            EntryType::XGlobalHeader => {}
            _ => {
                any = true;
                write(&mut entry, std::mem::take(&mut extended), tree)?;
                continue;
            }
        }
        headers += 1;
        if headers > 500_000 {
            return Err(ArtifactError::Refused("the artifact has too many extended headers".to_owned()));
        }
    }
    if any { Ok(()) } else { Err(ArtifactError::Refused("the artifact is an empty tar".to_owned())) }
}

fn write<R: Read>(entry: &mut Entry<'_, R>, extended: Extended, tree: &mut Tree) -> Result<(), ArtifactError> {
    let header = entry.header().clone();
    let name = extended.name.unwrap_or_else(|| header.path_bytes().into_owned());
    let link = || extended.link.or_else(|| header.link_name_bytes().map(|l| l.into_owned())).unwrap_or_default();
    match header.entry_type() {
        EntryType::Directory => tree.folder(&name),
        // Old tars mark a folder by a slash at the end of a plain file's name.
        EntryType::Regular if name.ends_with(b"/") => tree.folder(&name),
        EntryType::Regular | EntryType::Continuous => {
            let executable = header.mode().is_ok_and(|mode| mode & 0o111 != 0);
            tree.file(&name, executable, entry)
        }
        EntryType::Symlink => tree.symlink(&name, &link()),
        EntryType::Link => tree.hard_link(&name, &link()),
        EntryType::Char | EntryType::Block => Err(tree.refuse(&name, "it is a device")),
        EntryType::Fifo => Err(tree.refuse(&name, "it is a named pipe")),
        EntryType::GNUSparse => Err(tree.refuse(&name, "it is a sparse file; pack it without --sparse")),
        _ => Err(tree.refuse(&name, "it is of an unknown kind")),
    }
}

fn text<R: Read>(entry: &mut Entry<'_, R>) -> Result<Vec<u8>, ArtifactError> {
    let mut bytes = extension(entry)?;
    while bytes.last() == Some(&0) {
        bytes.pop();
    }
    Ok(bytes)
}

fn pax<R: Read>(entry: &mut Entry<'_, R>, extended: &mut Extended) -> Result<(), ArtifactError> {
    let bytes = extension(entry)?;
    for record in PaxExtensions::new(&bytes) {
        let record = record.map_err(|e| broken(&e))?;
        match record.key_bytes() {
            b"path" => extended.name = Some(record.value_bytes().to_vec()),
            b"linkpath" => extended.link = Some(record.value_bytes().to_vec()),
            // A second opinion on where the next header lies is how archives smuggle entries.
            b"size" => {
                return Err(ArtifactError::Refused("the artifact's tar gives a size in an extended header".into()));
            }
            key if key.starts_with(b"GNU.sparse.") => {
                return Err(ArtifactError::Refused("the artifact has a sparse file; pack it without --sparse".into()));
            }
            _ => {}
        }
    }
    Ok(())
}

fn extension<R: Read>(entry: &mut Entry<'_, R>) -> Result<Vec<u8>, ArtifactError> {
    let mut bytes = Vec::new();
    entry.take(EXTENSION_LIMIT + 1).read_to_end(&mut bytes).map_err(|e| broken(&e))?;
    if bytes.len() as u64 > EXTENSION_LIMIT {
        return Err(ArtifactError::Refused("the artifact has an extended header of more than 64 KiB".to_owned()));
    }
    Ok(bytes)
}

fn broken(error: &std::io::Error) -> ArtifactError {
    let broken = || ArtifactError::Refused(format!("the artifact is not a tar that can be read: {error}"));
    ended(error).unwrap_or_else(broken)
}
