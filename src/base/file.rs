//! Files that are written whole or not at all, for the daemon's own eyes.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;

/// Makes or replaces the file at `path` (mode 0600) in one rename. When it returns, the file outlives a power cut. Several
/// writers never mix: the last one wins whole.
///
/// # Errors
/// The disk's; the old file is then still there.
pub fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    put(path, bytes, true)
}

/// The same without waiting for the disk: it outlives the process, and after a power cut the old file may be back.
///
/// # Errors
/// As [`write_private`].
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    put(path, bytes, false)
}

fn put(path: &Path, bytes: &[u8], durable: bool) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // A name of its own for each writer; private from the first moment.
    let mut next = tempfile::Builder::new().prefix(".next-").tempfile_in(folder)?;
    next.write_all(bytes)?;
    if durable {
        next.as_file().sync_all()?;
    }
    next.persist(path).map_err(|error| error.error)?;
    if durable {
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn many_writers_never_mix_and_leave_nothing_beside() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("state.json");
        std::thread::scope(|scope| {
            for writer in 0..8_u8 {
                let path = &path;
                scope.spawn(move || {
                    for _ in 0..20 {
                        replace(path, &vec![b'a' + writer; 10_000 + usize::from(writer)]).unwrap();
                    }
                });
            }
        });
        let text = fs::read(&path).unwrap();
        assert!(text.iter().all(|byte| *byte == text[0]) && text.len() == 10_000 + usize::from(text[0] - b'a'));
        write_private(&path, b"x").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"x");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1);
    }
}
