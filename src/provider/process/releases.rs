//! The releases folder: every artifact once, under the name of its digest, read-only, made in one rename, pruned when
//! nothing needs it.
//!
//! An archive lies in `SHA256/`, one file `NAME` in `SHA256.NAME/`, so that one file wanted under two names is two releases.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use codeops_core::model::Artifact;

use super::artifact::{self, ArtifactError, Egress, Form, Limits};

/// How many releases that nothing needs are kept, newest first, so that going back is quick.
const SPARE: usize = 3;
const UNFINISHED: &str = ".new-";

/// The releases of one provider.
#[derive(Debug)]
pub struct Releases {
    root: PathBuf,
    /// One turn at a time for each digest, so that two apps which start together fetch once.
    turns: Mutex<BTreeMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

impl Releases {
    /// Opens or makes the folder.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub fn open(root: PathBuf) -> io::Result<Self> {
        // Apps that run as other users reach their release through it; they cannot list it.
        DirBuilder::new().recursive(true).mode(0o711).create(&root)?;
        Ok(Self { root, turns: Mutex::default() })
    }

    /// Throws away what an earlier daemon left unfinished. Only before anything is fetched.
    ///
    /// # Errors
    /// The folder cannot be read, or something in it cannot be removed.
    pub fn tidy(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.root)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with(UNFINISHED) {
                remove(&entry.path())?;
            }
        }
        Ok(())
    }

    /// The folder of `artifact`, fetched, verified and unpacked if it is not there yet.
    ///
    /// # Errors
    /// As [`artifact::fetch`] and [`artifact::unpack`] say; nothing is left behind.
    pub async fn ensure(&self, artifact: &Artifact, egress: &Egress) -> Result<PathBuf, ArtifactError> {
        if artifact.sha256.len() != 64 || !artifact.sha256.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(ArtifactError::Refused("the artifact's sha256 is not 64 hex digits".to_owned()));
        }
        if let Some(folder) = self.found(artifact) {
            return Ok(folder);
        }
        let turn = Arc::clone(self.turns().entry(artifact.sha256.clone()).or_default());
        let result = {
            let _turn = turn.lock().await;
            match self.found(artifact) {
                Some(folder) => Ok(folder),
                None => self.bring(artifact, egress).await,
            }
        };
        drop(turn);
        self.turns().retain(|_, turn| Arc::strong_count(turn) > 1);
        result
    }

    /// Removes all but `needed` (folder names as [`name_of`] gives them) and the few newest others; says how many went.
    ///
    /// # Errors
    /// The folder cannot be read, or a release cannot be removed.
    pub fn prune(&self, needed: &BTreeSet<String>) -> io::Result<usize> {
        let mut others: Vec<(SystemTime, PathBuf)> = Vec::new();
        for entry in fs::read_dir(&self.root)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if !needed.contains(&name) && !name.starts_with('.') {
                others.push((entry.metadata()?.modified()?, entry.path()));
            }
        }
        others.sort();
        let gone = others.len().saturating_sub(SPARE);
        for (_, path) in &others[..gone] {
            // Renamed first: a half-removed release is never taken for a whole one.
            let doomed = self.root.join(format!("{UNFINISHED}old-{}", name_of(path)));
            fs::rename(path, &doomed)?;
            remove(&doomed)?;
        }
        Ok(gone)
    }

    /// Where the releases lie.
    pub fn root(&self) -> &Path {
        &self.root
    }

    fn found(&self, artifact: &Artifact) -> Option<PathBuf> {
        let archive = self.root.join(&artifact.sha256);
        let file = self.root.join(format!("{}.{}", artifact.sha256, artifact::file_name(&artifact.url)));
        [archive, file].into_iter().find(|folder| folder.is_dir())
    }

    async fn bring(&self, artifact: &Artifact, egress: &Egress) -> Result<PathBuf, ArtifactError> {
        let scratch = tempfile::Builder::new()
            .prefix(UNFINISHED)
            .tempdir_in(&self.root)
            .map_err(|e| ArtifactError::disk("make a folder in", &self.root, &e))?;
        let fetched = scratch.path().join("fetched");
        artifact::fetch(artifact, egress, &fetched).await?;
        let (root, artifact) = (self.root.clone(), artifact.clone());
        let unpacked = tokio::task::spawn_blocking(move || {
            let result = unpack_into_place(&root, scratch.path(), &fetched, &artifact);
            // A sealed folder is not removed by an ordinary remove.
            let path = scratch.keep();
            let _ = remove(&path);
            result
        });
        unpacked.await.map_err(|e| ArtifactError::Transient(format!("unpacking ended early: {e}")))?
    }

    fn turns(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Arc<tokio::sync::Mutex<()>>>> {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The last part of a release's path: what [`Releases::prune`] is told to keep.
pub fn name_of(folder: &Path) -> String {
    folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

fn unpack_into_place(
    root: &Path,
    scratch: &Path,
    fetched: &Path,
    artifact: &Artifact,
) -> Result<PathBuf, ArtifactError> {
    let tree = scratch.join("tree");
    fs::create_dir(&tree).map_err(|e| ArtifactError::disk("make", &tree, &e))?;
    let name = artifact::file_name(&artifact.url);
    let form = artifact::unpack(fetched, &name, &tree, &Limits::default())?;
    let place = match form {
        Form::File => root.join(format!("{}.{name}", artifact.sha256)),
        Form::TarGz | Form::TarZst | Form::Zip => root.join(&artifact.sha256),
    };
    // Files first, then the name: after a power cut there is a whole release or none.
    fs::File::open(&tree)
        .and_then(|folder| rustix::fs::syncfs(&folder).map_err(io::Error::from))
        .map_err(|e| ArtifactError::disk("write", &tree, &e))?;
    fs::rename(&tree, &place).map_err(|e| ArtifactError::disk("make", &place, &e))?;
    Ok(place)
}

/// Removes a folder whose folders may be read-only.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    if !fs::symlink_metadata(path)?.is_dir() {
        return fs::remove_file(path);
    }
    fs::set_permissions(path, Permissions::from_mode(0o700))?;
    for entry in fs::read_dir(path)? {
        remove(&entry?.path())?;
    }
    fs::remove_dir(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_digest_is_fetched_once_and_pruned_when_nothing_needs_it() {
        let home = tempfile::tempdir().unwrap();
        let releases = Releases::open(home.path().join("releases")).unwrap();
        let mut folders = Vec::new();
        for index in 0..6 {
            let file = home.path().join(format!("tool-{index}"));
            fs::write(&file, format!("version {index}")).unwrap();
            let sha256 = hex::encode(<sha2::Sha256 as sha2::Digest>::digest(format!("version {index}")));
            let artifact = Artifact { url: format!("file://{}", file.display()), sha256 };
            let (one, two) =
                tokio::join!(releases.ensure(&artifact, &Egress::Open), releases.ensure(&artifact, &Egress::Open));
            let folder = one.unwrap();
            assert_eq!(folder, two.unwrap());
            assert_eq!(fs::read_to_string(folder.join(format!("tool-{index}"))).unwrap(), format!("version {index}"));
            folders.push(folder);
        }
        let kept = BTreeSet::from([name_of(&folders[0])]);
        assert_eq!(releases.prune(&kept).unwrap(), 2);
        assert!(folders[0].exists());
        assert_eq!(folders.iter().filter(|f| f.exists()).count(), 4);
        assert_eq!(fs::read_dir(releases.root()).unwrap().count(), 4, "no scratch is left");
    }

    #[tokio::test]
    async fn a_wrong_digest_is_refused_and_leaves_nothing() {
        let home = tempfile::tempdir().unwrap();
        let releases = Releases::open(home.path().join("releases")).unwrap();
        let file = home.path().join("tool");
        fs::write(&file, "not that").unwrap();
        let artifact = Artifact { url: format!("file://{}", file.display()), sha256: "0".repeat(64) };
        let error = releases.ensure(&artifact, &Egress::Open).await.unwrap_err();
        assert!(matches!(&error, ArtifactError::Refused(why) if why.contains("SHA-256")), "{error}");
        assert_eq!(fs::read_dir(releases.root()).unwrap().count(), 0);
    }
}
