//! Which uids are whose: the daemons of one machine give out the same range, and a uid that two of them gave out would be no
//! border between apps, and would end in both where it ends in one. One small file for each, in a folder that none but root
//! reaches into and that is empty after a boot.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// Where the daemons of a machine say which uids their apps have.
pub(super) const CLAIMS: &str = "/run/codeops/apps";

/// The claims of one provider.
#[derive(Debug, Clone)]
pub(super) struct Claims {
    /// Where all claims are.
    folder: PathBuf,
    /// The provider's own folder: what its claims say.
    home: PathBuf,
}

impl Claims {
    /// For the provider whose folder is `home`; claims lie in `folder`.
    pub(super) fn of(home: &Path, folder: &Path) -> Self {
        Self { folder: folder.to_owned(), home: home.canonicalize().unwrap_or_else(|_| home.to_owned()) }
    }

    /// Claims a uid; `false` when a provider that there still is has it. Where nothing can be claimed, all is: a machine
    /// whose folder cannot be written has no second daemon that does better.
    pub(super) fn claim(&self, uid: u32) -> bool {
        self.try_claim(uid).unwrap_or_else(|error| {
            let folder = self.folder.display();
            tracing::warn!(%folder, uid, %error, "another daemon on this machine may give an app the same uid");
            true
        })
    }

    fn try_claim(&self, uid: u32) -> io::Result<bool> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
        // One at a time, so that nobody sees a claim half made, nor takes over what another just took over.
        let folder = fs::File::open(&self.folder)?;
        folder.lock()?;
        let file = self.file(uid);
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&file) {
            Ok(mut new) => new.write_all(self.home.as_os_str().as_bytes()).map(|()| true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => self.take_over(&file),
            Err(error) => Err(error),
        }
    }

    /// A claim of ours, or of a provider whose folder is gone, is ours; so is one that says nothing, left by a daemon that died
    /// as it made it.
    fn take_over(&self, file: &Path) -> io::Result<bool> {
        let said = fs::read(file)?;
        let other = Path::new(std::ffi::OsStr::from_bytes(&said));
        if other == self.home {
            return Ok(true);
        }
        if !said.is_empty() && other.exists() {
            return Ok(false);
        }
        fs::remove_file(file)?;
        let mut new = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file)?;
        new.write_all(self.home.as_os_str().as_bytes()).map(|()| true)
    }

    /// Gives a uid back.
    pub(super) fn release(&self, uid: u32) {
        let file = self.file(uid);
        if fs::read(&file).is_ok_and(|said| said == self.home.as_os_str().as_bytes()) {
            let _ = fs::remove_file(file);
        }
    }

    fn file(&self, uid: u32) -> PathBuf {
        self.folder.join(uid.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uid_belongs_to_one_provider_until_it_is_given_back_or_its_folder_is_gone() {
        let place = tempfile::tempdir().unwrap();
        let home = |name: &str| {
            let home = place.path().join(name);
            fs::create_dir_all(&home).unwrap();
            Claims::of(&home, &place.path().join("claims"))
        };
        let (one, two) = (home("one"), home("two"));
        assert!(one.claim(64_000) && one.claim(64_000), "it stays its own");
        assert!(!two.claim(64_000) && two.claim(64_001));
        two.release(64_000);
        assert!(!two.claim(64_000), "only its owner gives it back");
        one.release(64_000);
        assert!(two.claim(64_000));
        fs::remove_dir_all(&two.home).unwrap();
        assert!(one.claim(64_000) && one.claim(64_001), "nobody has them any more");
    }
}
