//! Gives a folder to another user, with what its former owner has in it and nothing else: whoever may write in it could have put
//! another's file there under a second name, or a link to one, even meanwhile.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, Gid, Mode, OFlags, Stat, Uid, chownat, fstat, openat};
use rustix::path::Arg;

/// Folders in folders that are gone down into; as many are open at once.
const DEEPEST: usize = 256;

/// Makes the folder `uid`'s and `gid`'s. Where it is so already nothing in it is looked at. It becomes so last: a call that was
/// cut off is repeated.
///
/// # Errors
/// The disk's; folders that lie deeper in each other than programs make them.
pub fn give_folder(path: &Path, uid: u32, gid: u32) -> io::Result<()> {
    let top = opened(rustix::fs::CWD, path, OFlags::DIRECTORY)?;
    let stat = fstat(&top)?;
    if (stat.st_uid, stat.st_gid) == (uid, gid) {
        return Ok(());
    }
    if stat.st_uid != uid {
        Gift { from: stat.st_uid, device: stat.st_dev, uid, gid }.all_in(&top, 0)?;
    }
    give(&top, uid, gid)
}

struct Gift {
    from: u32,
    /// What is mounted in it is not its own.
    device: u64,
    uid: u32,
    gid: u32,
}

impl Gift {
    fn all_in(&self, folder: &OwnedFd, depth: usize) -> io::Result<()> {
        if depth == DEEPEST {
            return Err(io::Error::other(format!("it holds folders more than {DEEPEST} deep")));
        }
        for entry in Dir::read_from(folder)? {
            let entry = entry?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let found = match opened(folder, name, OFlags::PATH) {
                Ok(found) => found,
                // It went meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            let stat = fstat(&found)?;
            if self.is_theirs(&stat) {
                if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                    self.all_in(&opened(&found, c".", OFlags::DIRECTORY)?, depth + 1)?;
                }
                give(&found, self.uid, self.gid)?;
            }
        }
        Ok(())
    }

    fn is_theirs(&self, stat: &Stat) -> bool {
        (stat.st_uid, stat.st_dev) == (self.from, self.device)
    }
}

fn opened(at: impl AsFd, path: impl Arg, how: OFlags) -> io::Result<OwnedFd> {
    Ok(openat(at, path, how | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?)
}

fn give(what: &OwnedFd, uid: u32, gid: u32) -> io::Result<()> {
    let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
    Ok(chownat(what, c"", uid, gid, AtFlags::EMPTY_PATH)?)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt as _, chown, symlink};

    use super::*;

    #[test]
    fn what_its_former_owner_has_in_it_goes_along_and_nothing_else() {
        let home = tempfile::tempdir().unwrap();
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let (top, deep) = (home.path().join("data"), home.path().join("data/a/b"));
        fs::create_dir_all(&deep).unwrap();
        for file in ["data/a/own", "data/a/other", "outside"] {
            fs::write(home.path().join(file), "x").unwrap();
        }
        symlink(home.path().join("outside"), deep.join("link")).unwrap();
        for path in ["data", "data/a", "data/a/b", "data/a/own", "outside"] {
            chown(home.path().join(path), Some(64_001), Some(64_001)).unwrap();
        }
        chown(home.path().join("data/a/other"), Some(64_009), Some(64_009)).unwrap();
        give_folder(&top, 64_002, 64_003).unwrap();
        let owner = |path: &str| {
            let meta = fs::symlink_metadata(home.path().join(path)).unwrap();
            (meta.uid(), meta.gid())
        };
        for path in ["data", "data/a", "data/a/b", "data/a/own"] {
            assert_eq!(owner(path), (64_002, 64_003), "{path}");
        }
        assert_eq!(owner("data/a/other").0, 64_009);
        assert_eq!(owner("outside").0, 64_001);
        fs::write(top.join("later"), "x").unwrap();
        give_folder(&top, 64_002, 64_003).unwrap();
        assert_eq!(owner("data/later").0, 0, "nothing is looked at again");
    }
}
