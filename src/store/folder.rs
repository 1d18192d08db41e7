//! The state folder: private, and locked by one daemon at a time.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::StoreError;
use crate::base;

/// The database's name in the folder.
const DATABASE: &str = "journal.db";
/// The name of the tag key's file.
const TAG_KEY: &str = "secret-tags.key";

/// The path of the database in a state folder.
pub(super) fn database(folder: &Path) -> PathBuf {
    folder.join(DATABASE)
}

/// The key under which secrets are tagged: beside the database and not in it, so that a lost database restarts no app
/// that has secrets. `first` is what it becomes where there is none yet.
pub(super) fn keep_tag_key(folder: &Path, first: [u8; 32]) -> Result<[u8; 32], StoreError> {
    if let Some(key) = tag_key(folder)? {
        return Ok(key);
    }
    let path = folder.join(TAG_KEY);
    base::write_private(&path, hex::encode(first).as_bytes()).map_err(|source| StoreError::Folder { path, source })?;
    Ok(first)
}

/// The key, if it is kept there. One that cannot be read is not taken for none: another would restart every app that has
/// secrets.
pub(super) fn tag_key(folder: &Path) -> Result<Option<[u8; 32]>, StoreError> {
    let path = folder.join(TAG_KEY);
    let text = match std::fs::read_to_string(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(StoreError::Folder { path, source }),
        Ok(text) => text,
    };
    let key = hex::decode(text.trim()).ok().and_then(|key| key.try_into().ok());
    let broken =
        "it is not 64 hex digits: put the right key back, or remove the file, which starts apps with secrets anew";
    let source = std::io::Error::new(std::io::ErrorKind::InvalidData, broken);
    key.map(Some).ok_or(StoreError::Folder { path, source })
}

/// Held while a daemon uses the folder; the kernel lets go of it when the process ends, however it ends.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

/// Makes the folder (0711: apps that run as users of their own pass through it to theirs; what lies in it is private of itself) if need be, locks it, and makes the database file (0600), so that SQLite, which gives its
/// side files the same mode, never makes one that others can read.
pub(super) fn claim(folder: &Path) -> Result<Lock, StoreError> {
    let fail = |path: &Path| {
        let path = path.to_owned();
        move |source| StoreError::Folder { path, source }
    };
    DirBuilder::new().recursive(true).mode(0o711).create(folder).map_err(fail(folder))?;
    is_ours(folder).map_err(fail(folder))?;
    let lock = lock(folder)?;
    let file = database(folder);
    let made = private(&file).map_err(fail(&file))?;
    made.set_permissions(std::fs::Permissions::from_mode(0o600)).map_err(fail(&file))?;
    Ok(lock)
}

/// Whether nobody else may put in its place what is believed and run from there. A group that the daemon is in may write: so
/// volumes are handed over, and so folders are made where each user has a group of its own.
fn is_ours(folder: &Path) -> std::io::Result<()> {
    let meta = std::fs::metadata(folder)?;
    let me = rustix::process::geteuid().as_raw();
    let refused = |why: String| Err(std::io::Error::new(std::io::ErrorKind::PermissionDenied, why));
    if meta.uid() != me && meta.uid() != 0 {
        let why = "and the daemon runs as";
        return refused(format!("it belongs to uid {}, {why} uid {me}: chown it, or name another folder", meta.uid()));
    }
    let ours = || {
        let groups = rustix::process::getgroups().unwrap_or_default();
        groups.into_iter().chain([rustix::process::getegid()]).any(|group| group.as_raw() == meta.gid())
    };
    if meta.mode() & 0o002 != 0 || (meta.mode() & 0o020 != 0 && !ours()) {
        let mode = meta.mode() & 0o7777;
        return refused(format!("others may write in it (mode {mode:04o}): chmod it to 0711, or name another folder"));
    }
    Ok(())
}

fn private(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

fn lock(folder: &Path) -> Result<Lock, StoreError> {
    let path = folder.join("lock");
    let fail = |source| StoreError::Folder { path: path.clone(), source };
    let mut file = private(&path).map_err(fail)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut pid = String::new();
            let _ = file.read_to_string(&mut pid);
            let pid = pid.trim().parse::<u32>().map_or_else(|_| "unknown".to_owned(), |pid| pid.to_string());
            return Err(StoreError::Locked { pid, folder: folder.to_owned() });
        }
        Err(TryLockError::Error(source)) => return Err(fail(source)),
    }
    // The pid is for people; a full disk must not keep the daemon from starting, so a failed write is let be.
    let _ = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| writeln!(file, "{}", std::process::id()));
    Ok(Lock { _file: file })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_another_user_owns_or_writes_in_is_refused() {
        let place = tempfile::tempdir().expect("a folder");
        let folder = place.path().join("state");
        drop(claim(&folder).expect("made"));
        let try_mode = |mode: u32| {
            std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(mode)).expect("ours");
            claim(&folder).map(drop).map_err(|error| format!("{:#}", anyhow::Error::from(error)))
        };
        for mode in [0o700, 0o711, 0o755, 0o2775] {
            assert_eq!(try_mode(mode), Ok(()), "{mode:o}");
        }
        for mode in [0o777, 0o1777, 0o757] {
            let why = try_mode(mode).expect_err("others may write");
            assert!(why.contains("others may write in it") && why.contains("chmod"), "{why}");
        }
        assert_eq!(try_mode(0o711), Ok(()));
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::chown(&folder, Some(65_534), None).expect("root may");
            let why = try_mode(0o711).expect_err("another's");
            assert!(why.contains("belongs to uid 65534"), "{why}");
        }
    }
}
