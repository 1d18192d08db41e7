//! Folders whose content nobody changes: files 0444 or 0555, folders 0555.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// A folder that is being filled. Everybody may read what is in it.
#[derive(Debug)]
pub struct Sealed {
    root: PathBuf,
}

impl Sealed {
    /// Makes the folder; it must not be there, and its parent must.
    ///
    /// # Errors
    /// The disk's.
    pub fn new(root: &Path) -> io::Result<Self> {
        DirBuilder::new().mode(0o755).create(root)?;
        Ok(Self { root: root.to_owned() })
    }

    /// Adds a file at `path`, which has `/` between its parts and stays below the folder.
    ///
    /// # Errors
    /// The disk's; a path that leads elsewhere; a file that is there already.
    pub fn file(&mut self, path: &str, bytes: &[u8], executable: bool) -> io::Result<()> {
        if path.split('/').any(|part| part.is_empty() || part == "." || part == ".." || part.contains('\0')) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("`{path}` is no path of a file")));
        }
        let path = self.root.join(path);
        if let Some(folder) = path.parent() {
            DirBuilder::new().recursive(true).mode(0o755).create(folder)?;
        }
        let mut file = File::create_new(&path)?;
        file.write_all(bytes)?;
        file.set_permissions(Permissions::from_mode(if executable { 0o555 } else { 0o444 }))
    }

    /// Nothing can be added any more.
    ///
    /// # Errors
    /// The disk's.
    pub fn seal(self) -> io::Result<()> {
        each_folder(&self.root, &mut |folder| fs::set_permissions(folder, Permissions::from_mode(0o555)))
    }
}

/// Folders before what is in them; links are not followed.
fn each_folder(root: &Path, act: &mut impl FnMut(&Path) -> io::Result<()>) -> io::Result<()> {
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        act(&folder)?;
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_is_read_only_and_stays_inside() {
        let home = tempfile::tempdir().unwrap();
        let root = home.path().join("view");
        let mut sealed = Sealed::new(&root).unwrap();
        sealed.file("a/b/run.sh", b"#!/bin/sh\n", true).unwrap();
        sealed.file("a/data", b"x", false).unwrap();
        for bad in ["../x", "/etc/x", "a//b", "a/./b", ""] {
            assert!(sealed.file(bad, b"", false).is_err(), "{bad}");
        }
        assert!(sealed.file("a/data", b"y", false).is_err());
        sealed.seal().unwrap();
        let mode = |path: &str| fs::metadata(root.join(path)).unwrap().permissions().mode() & 0o7777;
        assert_eq!((mode("a/b/run.sh"), mode("a/data"), mode("a/b"), mode("")), (0o555, 0o444, 0o555, 0o555));
        super::super::remove_folder(&root).unwrap();
        assert!(!root.exists());
    }
}
