//! The releases folder: every artifact once, under the name of its digest, read-only, made in one rename, pruned when
//! nothing needs it.
//!
//! An archive lies in `SHA256/`, one file `NAME` in `SHA256.NAME/`, so that one file wanted under two names is two releases.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use codeops_core::model::Artifact;

use super::artifact::{self, ArtifactError, Egress, Form, Limits, Progress};
use super::fetches::Fetches;

/// How many releases that nothing needs are kept, newest first, so that going back is quick.
const SPARE: usize = 3;
const UNFINISHED: &str = ".new-";
/// How long a step waits for a fetch. The fetch goes on: the step's next try joins it.
const PATIENCE: Duration = Duration::from_secs(20);

/// The releases of one provider.
#[derive(Debug)]
pub struct Releases {
    root: PathBuf,
    fetches: Fetches,
    patience: Duration,
}

impl Releases {
    /// Opens or makes the folder.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub fn open(root: PathBuf) -> io::Result<Self> {
        // Apps that run as other users reach their release through it; they cannot list it.
        DirBuilder::new().recursive(true).mode(0o711).create(&root)?;
        Ok(Self { root, fetches: Fetches::default(), patience: PATIENCE })
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

    /// The folder of `artifact`, fetched, verified and unpacked if it is not there yet. Two apps which start together fetch
    /// once; what takes longer than a step may wait goes on without it.
    ///
    /// # Errors
    /// As [`artifact::fetch`] and [`artifact::unpack`] say; nothing is left behind. [`ArtifactError::Transient`] while the
    /// fetch is under way.
    pub async fn ensure(&self, artifact: &Artifact, egress: &Egress) -> Result<PathBuf, ArtifactError> {
        if artifact.sha256.len() != 64 || !artifact.sha256.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(ArtifactError::Refused("the artifact's sha256 is not 64 hex digits".to_owned()));
        }
        if let Some(folder) = self.found(artifact) {
            return Ok(folder);
        }
        let (root, wanted, rights) = (self.root.clone(), artifact.clone(), egress.clone());
        let bring = move |progress| bring(root, wanted, rights, progress);
        self.fetches.join(artifact, egress, self.patience, bring).await
    }

    /// Takes all but `needed` (folder names as [`name_of`] gives them) and the few newest others away from where they are
    /// found; says where they lie now, for [`remove`].
    ///
    /// # Errors
    /// The folder cannot be read, or a release cannot be renamed.
    pub fn set_aside(&self, needed: &BTreeSet<String>) -> io::Result<Vec<PathBuf>> {
        let promised = self.fetches.promised();
        let mut others: Vec<(SystemTime, PathBuf)> = Vec::new();
        for entry in fs::read_dir(&self.root)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if !needed.contains(&name) && !promised.contains(&name) && !name.starts_with('.') {
                others.push((entry.metadata()?.modified()?, entry.path()));
            }
        }
        others.sort();
        let gone = others.len().saturating_sub(SPARE);
        // Renamed first: a half-removed release is never taken for a whole one.
        let aside = |(_, path): (SystemTime, PathBuf)| {
            let doomed = self.root.join(format!("{UNFINISHED}old-{}", name_of(&path)));
            fs::rename(&path, &doomed).map(|()| doomed)
        };
        others.into_iter().take(gone).map(aside).collect()
    }

    /// Where the releases lie.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The name of the release that `folder` is, if it is one.
    pub fn name_in(&self, folder: &Path) -> Option<String> {
        (folder.parent() == Some(&self.root)).then(|| name_of(folder))
    }

    /// The folder of `artifact`, if it is there.
    pub fn found(&self, artifact: &Artifact) -> Option<PathBuf> {
        let archive = self.root.join(&artifact.sha256);
        let file = self.root.join(format!("{}.{}", artifact.sha256, artifact::file_name(&artifact.url)));
        [archive, file].into_iter().find(|folder| folder.is_dir())
    }
}

/// Fetches into a scratch folder, unpacks, and puts the whole in its place.
async fn bring(
    root: PathBuf,
    artifact: Artifact,
    egress: Egress,
    progress: Arc<Progress>,
) -> Result<PathBuf, ArtifactError> {
    let scratch = tempfile::Builder::new()
        .prefix(UNFINISHED)
        .tempdir_in(&root)
        .map_err(|e| ArtifactError::disk("make a folder in", &root, &e))?;
    let fetched = scratch.path().join("fetched");
    artifact::fetch(&artifact, &egress, &fetched, &progress).await?;
    let unpacked = tokio::task::spawn_blocking(move || {
        let result = unpack_into_place(&root, scratch.path(), &fetched, &artifact);
        // A sealed folder is not removed by an ordinary remove.
        let path = scratch.keep();
        let _ = remove(&path);
        result
    });
    unpacked.await.map_err(|e| ArtifactError::Transient(format!("unpacking ended early: {e}")))?
}

/// The last part of a release's path: what [`Releases::set_aside`] is told to keep.
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
    match fs::rename(&tree, &place) {
        // The same bytes came from another address meanwhile.
        Err(_) if place.is_dir() => Ok(place),
        Err(error) => Err(ArtifactError::disk("make", &place, &error)),
        Ok(()) => Ok(place),
    }
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
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use tokio::sync::Notify;
    use tokio::task::JoinSet;
    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn a_fetch_outlives_the_steps_that_ask_for_it() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/tool", listener.local_addr().unwrap());
        let go_on = Arc::new(Notify::new());
        let rest = Arc::clone(&go_on);
        let mut server = JoinSet::new();
        // One request only: a second one finds nobody.
        server.spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            drop(listener);
            let mut request = [0; 4_096];
            assert!(stream.read(&mut request).await.unwrap() > 0);
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello").await.unwrap();
            rest.notified().await;
            stream.write_all(b"world").await.unwrap();
        });
        let home = tempfile::tempdir().unwrap();
        let mut releases = Releases::open(home.path().join("releases")).unwrap();
        let sha256 = hex::encode(<sha2::Sha256 as sha2::Digest>::digest("helloworld"));
        let artifact = Artifact { url, sha256 };
        // The gate cuts a step off.
        let cut = timeout(Duration::from_millis(50), releases.ensure(&artifact, &Egress::Open)).await;
        assert!(cut.is_err());
        releases.patience = Duration::from_millis(20);
        let halfway = async {
            loop {
                let error = releases.ensure(&artifact, &Egress::Open).await.unwrap_err();
                assert!(
                    matches!(&error, ArtifactError::Transient(why) if why.starts_with("fetching http://")),
                    "{error}"
                );
                if error.to_string().ends_with("/tool: 50 %") {
                    return;
                }
            }
        };
        timeout(Duration::from_secs(20), halfway).await.unwrap();
        go_on.notify_one();
        while releases.fetches.promised().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // What was fetched for a step that waits for its next try is not pruned.
        for index in 0..6 {
            fs::create_dir(releases.root().join(format!("newer-{index}"))).unwrap();
        }
        releases.set_aside(&BTreeSet::new()).unwrap();
        let folder = releases.ensure(&artifact, &Egress::Open).await.unwrap();
        assert_eq!(fs::read_to_string(folder.join("tool")).unwrap(), "helloworld");
    }

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
        let aside = releases.set_aside(&kept).unwrap();
        assert_eq!(aside.len(), 2);
        aside.iter().for_each(|path| remove(path).unwrap());
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
