//! Reads zip files into a [`Tree`].

use std::io::{Read, Seek, SeekFrom};

use zip::ZipArchive;

use super::{ArtifactError, Bounded, Progress, Tree};

/// A table of contents beyond this would cost more memory than a daemon should spend on one archive.
const CONTENTS_LIMIT: u64 = 32 << 20;

/// Writes every entry of the zip `from` into `tree`.
pub(super) fn unpack<R: Read + Seek>(mut from: R, tree: &mut Tree, progress: &Progress) -> Result<(), ArtifactError> {
    contents_fit(&mut from)?;
    let mut archive = ZipArchive::new(from).map_err(|e| broken(&e))?;
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

/// Looks at the end record before the whole table of contents is read into memory.
fn contents_fit<R: Read + Seek>(from: &mut R) -> Result<(), ArtifactError> {
    let io = |e: std::io::Error| broken(&e.into());
    let length = from.seek(SeekFrom::End(0)).map_err(io)?;
    let tail = length.min(66 << 10);
    from.seek(SeekFrom::Start(length - tail)).map_err(io)?;
    let mut bytes = Vec::new();
    from.take(tail).read_to_end(&mut bytes).map_err(io)?;
    from.seek(SeekFrom::Start(0)).map_err(io)?;
    let fits = bytes.windows(22).filter(|w| w.starts_with(b"PK\x05\x06")).all(|end| {
        let size = u32::from_le_bytes([end[12], end[13], end[14], end[15]]);
        size == u32::MAX || u64::from(size) <= CONTENTS_LIMIT
    });
    let wide = bytes
        .windows(48)
        .filter(|w| w.starts_with(b"PK\x06\x06"))
        .all(|end| end[40..48].try_into().map(u64::from_le_bytes).is_ok_and(|size| size <= CONTENTS_LIMIT));
    if fits && wide {
        Ok(())
    } else {
        Err(ArtifactError::Refused("the artifact's zip has too large a table of contents".to_owned()))
    }
}

fn broken(error: &zip::result::ZipError) -> ArtifactError {
    ArtifactError::Refused(format!("the artifact is not a zip that can be read: {error}"))
}
