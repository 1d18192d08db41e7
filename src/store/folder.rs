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
    is_ours(folder)?;
    let lock = lock(folder)?;
    let file = database(folder);
    let made = private(&file).map_err(fail(&file))?;
    made.set_permissions(std::fs::Permissions::from_mode(0o600)).map_err(fail(&file))?;
    Ok(lock)
}

/// Whether nobody else may put in its place, or in it, what is believed and run from there. A group that the daemon is in may
/// write: so volumes are handed over, and so folders are made where each user has a group of its own.
fn is_ours(folder: &Path) -> Result<(), StoreError> {
    let fail = |path: &Path| {
        let path = path.to_owned();
        move |source| StoreError::Folder { path, source }
    };
    // Itself, and where it leads if it is a link.
    for meta in [std::fs::symlink_metadata(folder), std::fs::metadata(folder)] {
        let meta = meta.map_err(fail(folder))?;
        let looked = look(&meta, "chown it, or name another folder", "chmod it to 0711, or name another folder");
        looked.map_err(fail(folder))?;
    }
    let whole = folder.canonicalize().map_err(fail(folder))?;
    for above in whole.ancestors().skip(1) {
        let mode = std::fs::metadata(above).map_err(fail(above))?.mode();
        // In a container, whose volumes are often so, there are no others.
        if mode & 0o1002 == 0o002 {
            let why = "others may put another state folder in the place of this one: chmod o-w it, or name another state folder";
            tracing::warn!(folder = %above.display(), why, "a folder above the state folder is everybody's");
        }
    }
    // What was put there before it was ours. Deeper down lie folders of apps, which belong to their users.
    for path in entries(folder).map_err(fail(folder))? {
        let meta = of_ours(&path).map_err(fail(&path))?;
        if meta.is_some_and(|meta| meta.is_dir()) {
            for inner in entries(&path).map_err(fail(&path))? {
                of_ours(&inner).map_err(fail(&inner))?;
            }
        }
    }
    Ok(())
}

fn entries(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    std::fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect()
}

/// What lies in the state folder, if it is ours, or gone by now.
fn of_ours(path: &Path) -> std::io::Result<Option<std::fs::Metadata>> {
    let meta = match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    look(&meta, "remove it, or chown it if you know what it is", "remove it, or chmod it to 0700")?;
    Ok(Some(meta))
}

fn refused(why: String) -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::PermissionDenied, why)
}

/// Whether it belongs to the daemon's user or root, and nobody else may write; with what to do where not.
fn look(meta: &std::fs::Metadata, chown: &str, chmod: &str) -> std::io::Result<()> {
    let me = rustix::process::geteuid().as_raw();
    if meta.uid() != me && meta.uid() != 0 {
        let why = "and the daemon runs as";
        return Err(refused(format!("it belongs to uid {}, {why} uid {me}: {chown}", meta.uid())));
    }
    // A link has no mode of its own, and a socket is of no use for what is believed.
    if !(meta.is_dir() || meta.is_file()) {
        return Ok(());
    }
    let ours = || {
        let groups = rustix::process::getgroups().unwrap_or_default();
        groups.into_iter().chain([rustix::process::getegid()]).any(|group| group.as_raw() == meta.gid())
    };
    if meta.mode() & 0o002 != 0 || (meta.mode() & 0o020 != 0 && !ours()) {
        let mode = meta.mode() & 0o7777;
        return Err(refused(format!("others may write in it (mode {mode:04o}): {chmod}")));
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

    #[test]
    fn what_others_put_into_the_folder_or_may_put_in_its_place_is_refused() {
        let place = tempfile::tempdir().expect("a folder");
        let folder = place.path().join("above/state");
        let why = || claim(&folder).map(drop).map_err(|error| format!("{:#}", anyhow::Error::from(error)));
        let mode = |path: &Path, mode: u32| {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("ours");
        };
        let (hooks, data) = (folder.join("hooks"), folder.join("local/data/x"));
        std::fs::create_dir_all(&hooks).expect("made");
        std::fs::create_dir_all(&data).expect("made");
        let token = hooks.join("alerts-token");
        std::fs::write(&token, "0123456789abcdef").expect("written");
        assert_eq!(why(), Ok(()));
        for path in [&hooks, &token] {
            mode(path, 0o777);
            let told = why().expect_err("others may write");
            assert!(told.contains(&path.display().to_string()) && told.contains("chmod"), "{told}");
            mode(path, 0o700);
        }
        let above = folder.parent().expect("one above");
        for good in [0o777, 0o1777, 0o755] {
            mode(above, good);
            assert_eq!(why(), Ok(()));
        }
        if !rustix::process::geteuid().is_root() {
            return;
        }
        std::os::unix::fs::chown(&data, Some(65_534), None).expect("root may");
        assert_eq!(why(), Ok(()), "apps' folders are theirs");
        let link = place.path().join("link");
        std::os::unix::fs::symlink(&folder, &link).expect("made");
        drop(claim(&link).expect("ours"));
        std::os::unix::fs::lchown(&link, Some(65_534), None).expect("root may");
        assert!(claim(&link).is_err(), "another's link");
        for path in [&token, &folder.join("local")] {
            std::os::unix::fs::chown(path, Some(65_534), None).expect("root may");
            let told = why().expect_err("another's");
            assert!(told.contains("belongs to uid 65534") && told.contains("chown"), "{told}");
            std::os::unix::fs::chown(path, Some(0), None).expect("root may");
        }
        assert_eq!(why(), Ok(()));
    }
}
