//! Removes a folder whatever is in it: folders as deep as anybody made them, and folders that nobody may write in. By hand, for
//! the standard library and the crates for it go down by recursion and with one open folder a level: whoever may write in a
//! folder could end the process by it, and keep it from ever starting again.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::path::Arg;

use super::random;

const FOLDER: OFlags = OFlags::DIRECTORY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Removes the folder and all that is in it, never what a link in it leads to. One that is not there is removed already.
/// Nobody may write in it meanwhile.
///
/// # Errors
/// The disk's. The same call goes on with what is left then.
pub fn remove_folder(path: &Path) -> io::Result<()> {
    let top = match opened(rustix::fs::CWD, path) {
        Err(Errno::NOENT) => return Ok(()),
        top => top?,
    };
    Removal { top, prefix: hex::encode(random::<8>()?), moved: 0 }.run()?;
    Ok(rustix::fs::rmdir(path)?)
}

/// What lies in folders of the top folder is moved up into it, so that no more than two are open, however deep they lie.
struct Removal {
    top: OwnedFd,
    /// Of the names that folders have which were moved up: nobody has guessed it.
    prefix: String,
    moved: u64,
}

impl Removal {
    fn run(&mut self) -> Result<(), Errno> {
        let mut stuck = None;
        loop {
            let mut progress = false;
            let mut left = false;
            for entry in Dir::read_from(&self.top)? {
                let entry = entry?;
                let name = entry.file_name();
                if is_self(name) {
                    continue;
                }
                left = true;
                if !is_folder(self.top.as_fd(), name, entry.file_type())? {
                    rustix::fs::unlinkat(&self.top, name, AtFlags::empty())?;
                    progress = true;
                    continue;
                }
                match self.empty(name)? {
                    None => {
                        rustix::fs::unlinkat(&self.top, name, AtFlags::REMOVEDIR)?;
                        progress = true;
                    }
                    Some(more) => {
                        progress |= more.progress;
                        stuck = Some(more.why);
                    }
                }
            }
            if !left {
                return Ok(());
            }
            if !progress {
                return Err(stuck.unwrap_or(Errno::NOTEMPTY));
            }
        }
    }

    /// Removes what is in a folder of the top folder, and moves the folders in it up; says what it had to leave.
    fn empty(&mut self, name: &CStr) -> Result<Option<Left>, Errno> {
        let folder = opened(self.top.as_fd(), name)?;
        let mut progress = false;
        loop {
            let (mut left, mut any) = (None, false);
            for entry in Dir::read_from(&folder)? {
                let entry = entry?;
                let name = entry.file_name();
                if is_self(name) {
                    continue;
                }
                if !is_folder(folder.as_fd(), name, entry.file_type())? {
                    rustix::fs::unlinkat(&folder, name, AtFlags::empty())?;
                    (any, progress) = (true, true);
                    continue;
                }
                match self.move_up(folder.as_fd(), name) {
                    Ok(()) => (any, progress) = (true, true),
                    // The top folder has as many as a folder may have: there is room once some are gone.
                    Err(why @ Errno::MLINK) => left = Some(why),
                    Err(error) => return Err(error),
                }
            }
            match left {
                Some(why) if !any => return Ok(Some(Left { why, progress })),
                None if !any => return Ok(None),
                _ => {}
            }
        }
    }

    fn move_up(&mut self, from: BorrowedFd<'_>, name: &CStr) -> Result<(), Errno> {
        let to = format!("{}-{}", self.prefix, self.moved);
        self.moved += 1;
        match rustix::fs::renameat(from, name, &self.top, &to) {
            // To be moved, a folder has to be writable itself.
            Err(Errno::ACCESS) => {
                rustix::fs::chmodat(from, name, Mode::RWXU, AtFlags::empty())?;
                rustix::fs::renameat(from, name, &self.top, &to)
            }
            moved => moved,
        }
    }
}

/// Why something was left in a folder, and whether something else of it went.
struct Left {
    why: Errno,
    progress: bool,
}

/// A folder, opened and writable.
fn opened(at: BorrowedFd<'_>, path: impl Arg + Copy) -> Result<OwnedFd, Errno> {
    let folder = match rustix::fs::openat(at, path, FOLDER, Mode::empty()) {
        Err(Errno::ACCESS) => {
            rustix::fs::chmodat(at, path, Mode::RWXU, AtFlags::empty())?;
            rustix::fs::openat(at, path, FOLDER, Mode::empty())?
        }
        folder => folder?,
    };
    // Where that may not be, what is in it cannot be removed, which is said then.
    let _ = rustix::fs::fchmod(&folder, Mode::RWXU);
    Ok(folder)
}

fn is_self(name: &CStr) -> bool {
    matches!(name.to_bytes(), b"." | b"..")
}

/// Whether it is a folder and no link to one.
fn is_folder(at: BorrowedFd<'_>, name: &CStr, kind: FileType) -> Result<bool, Errno> {
    if kind != FileType::Unknown {
        return Ok(kind == FileType::Directory);
    }
    let stat = rustix::fs::statat(at, name, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    #[test]
    fn everything_in_it_is_removed_and_nothing_beside_it() {
        let home = tempfile::tempdir().unwrap();
        let (folder, beside) = (home.path().join("folder"), home.path().join("beside"));
        fs::create_dir_all(folder.join("a/b/c")).unwrap();
        fs::create_dir_all(folder.join("d")).unwrap();
        fs::create_dir(&beside).unwrap();
        for file in [folder.join("a/b/c/f"), folder.join("a/f"), folder.join("f"), beside.join("f")] {
            fs::write(file, "x").unwrap();
        }
        symlink(&beside, folder.join("a/link")).unwrap();
        symlink("/", folder.join("root")).unwrap();
        fs::set_permissions(folder.join("a/b/c"), Permissions::from_mode(0o000)).unwrap();
        for sealed in ["a/b", "a", "d", ""] {
            fs::set_permissions(folder.join(sealed), Permissions::from_mode(0o555)).unwrap();
        }
        remove_folder(&folder).unwrap();
        assert!(!folder.exists() && beside.join("f").exists());
        remove_folder(&folder).unwrap();
        let link = home.path().join("link");
        symlink(&beside, &link).unwrap();
        remove_folder(&link).unwrap_err();
        assert!(beside.join("f").exists());
    }

    #[test]
    fn a_folder_of_any_depth_is_removed() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("deep");
        fs::create_dir(&folder).unwrap();
        let mut at = rustix::fs::open(&folder, FOLDER, Mode::empty()).unwrap();
        for _ in 0..5_000 {
            rustix::fs::mkdirat(&at, "d", Mode::RWXU).unwrap();
            at = rustix::fs::openat(&at, "d", FOLDER, Mode::empty()).unwrap();
        }
        drop(at);
        remove_folder(&folder).unwrap();
        assert!(!folder.exists());
    }
}
