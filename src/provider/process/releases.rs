//! The releases folder: every artifact once for those who may read it, read-only, made in one rename, pruned when nothing
//! needs it.
//!
//! A release lies in `SHA256.KEY/`. The key stands for who fetched it and for the file's name, which decides whether a zip is
//! unpacked: nobody gets by its digest what another may fetch, or the same bytes in another form.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use codeops_core::model::{Artifact, ResourceId, TeamName};
use rustix::fs::{Gid, chown};
use sha2::{Digest as _, Sha256};
use tokio::sync::broadcast;

use super::artifact::{self, ArtifactError, Egress, Limits, Progress};
use super::fetches::Fetches;
use crate::base::remove_folder;
use crate::port::Hint;

const UNFINISHED: &str = ".new-";
/// How long a step waits for a fetch, and keeps its place from others. The fetch goes on: the step's next try joins it.
const PATIENCE: Duration = Duration::from_secs(2);

/// Who fetches a release, and so who may use it.
#[derive(Debug, Clone)]
pub struct Reader {
    /// The app that asks, for hints.
    pub app: ResourceId,
    /// The team that asks.
    pub team: TeamName,
    /// The group of the app that asks, where it has one of its own: no other app then gets into the folder.
    pub group: Option<u32>,
}

/// The releases of one provider.
#[derive(Debug)]
pub struct Releases {
    root: PathBuf,
    fetches: Fetches,
    patience: Duration,
}

impl Releases {
    /// Opens or makes the folder. Through `hints` an app that went away from a fetch is told of its end.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub fn open(root: PathBuf, hints: broadcast::Sender<Hint>) -> io::Result<Self> {
        // Apps that run as other users reach their release through it; they cannot list it.
        DirBuilder::new().recursive(true).mode(0o711).create(&root)?;
        Ok(Self { root, fetches: Fetches::new(hints), patience: PATIENCE })
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

    /// The folder of `artifact` for `reader`, fetched, verified and unpacked if it is not there yet. Two apps which start together fetch
    /// once; what takes longer than a step may wait goes on without it.
    ///
    /// # Errors
    /// As [`artifact::fetch`] and [`artifact::unpack`] say; nothing is left behind. [`ArtifactError::UnderWay`] while the
    /// fetch is.
    pub async fn ensure(
        &self,
        artifact: &Artifact,
        egress: &Egress,
        reader: &Reader,
    ) -> Result<PathBuf, ArtifactError> {
        if artifact.sha256.len() != 64 || !artifact.sha256.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(ArtifactError::Refused("the artifact's sha256 is not 64 hex digits".to_owned()));
        }
        if let Some(folder) = self.found(artifact, reader) {
            return Ok(folder);
        }
        let (place, group) = (self.place(artifact, reader), reader.group);
        let (into, wanted, rights) = (place.clone(), artifact.clone(), egress.clone());
        let bring = move |progress| bring(into, group, wanted, rights, progress);
        self.fetches.join(reader, &place, artifact, egress, self.patience, bring).await
    }

    /// `app` wants no other artifact than this one: a fetch for what nobody wants any more ends.
    pub fn leave(&self, app: &ResourceId, but: Option<&Artifact>) {
        self.fetches.leave(app, but);
    }

    /// Takes all but `needed` (folder names as [`name_of`] gives them) away from where they are found; says where they lie
    /// now, for [`remove`].
    ///
    /// # Errors
    /// The folder cannot be read, or a release cannot be renamed.
    pub fn set_aside(&self, needed: &BTreeSet<String>) -> io::Result<Vec<PathBuf>> {
        let promised = self.fetches.promised();
        let mut others: Vec<PathBuf> = Vec::new();
        for entry in fs::read_dir(&self.root)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if !needed.contains(&name) && !promised.contains(&name) && !name.starts_with('.') {
                others.push(entry.path());
            }
        }
        // Renamed first: a half-removed release is never taken for a whole one.
        let aside = |path: PathBuf| {
            let doomed = self.root.join(format!("{UNFINISHED}old-{}", name_of(&path)));
            fs::rename(&path, &doomed).map(|()| doomed)
        };
        others.into_iter().map(aside).collect()
    }

    /// Where the releases lie.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The name of the release that `folder` is, if it is one.
    pub fn name_in(&self, folder: &Path) -> Option<String> {
        (folder.parent() == Some(&self.root)).then(|| name_of(folder))
    }

    /// The folder of `artifact` for `reader`, if it is there.
    pub fn found(&self, artifact: &Artifact, reader: &Reader) -> Option<PathBuf> {
        Some(self.place(artifact, reader)).filter(|folder| folder.is_dir())
    }

    pub(super) fn place(&self, artifact: &Artifact, reader: &Reader) -> PathBuf {
        let group = reader.group.map(|group| group.to_string()).unwrap_or_default();
        // Neither a team's name nor a number holds a line's end.
        let key = Sha256::digest(format!("{}\n{group}\n{}", reader.team, artifact::file_name(&artifact.url)));
        self.root.join(format!("{}.{}", artifact.sha256, hex::encode(&key[..16])))
    }
}

/// Fetches into a scratch folder, unpacks, and puts the whole in its place.
async fn bring(
    place: PathBuf,
    group: Option<u32>,
    artifact: Artifact,
    egress: Egress,
    progress: Arc<Progress>,
) -> Result<PathBuf, ArtifactError> {
    let root = place.parent().unwrap_or(&place);
    let scratch = tempfile::Builder::new()
        .prefix(UNFINISHED)
        .tempdir_in(root)
        .map_err(|e| ArtifactError::disk("make a folder in", root, &e))?;
    let fetched = scratch.path().join("fetched");
    artifact::fetch(&artifact, &egress, &fetched, &progress).await?;
    let unpacked = tokio::task::spawn_blocking(move || {
        let result = unpack_into_place(&place, group, scratch.path(), &fetched, &artifact, &progress);
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
    place: &Path,
    group: Option<u32>,
    scratch: &Path,
    fetched: &Path,
    artifact: &Artifact,
    progress: &Progress,
) -> Result<PathBuf, ArtifactError> {
    let tree = scratch.join("tree");
    fs::create_dir(&tree).map_err(|e| ArtifactError::disk("make", &tree, &e))?;
    let name = artifact::file_name(&artifact.url);
    artifact::unpack(fetched, &name, &tree, &Limits::default(), progress)?;
    if let Some(group) = group {
        chown(&tree, None, Some(Gid::from_raw(group)))
            .map_err(io::Error::from)
            .and_then(|()| fs::set_permissions(&tree, Permissions::from_mode(0o550)))
            .map_err(|e| ArtifactError::disk("give away", &tree, &e))?;
    }
    // Files first, then the name: after a power cut there is a whole release or none.
    fs::File::open(&tree)
        .and_then(|folder| rustix::fs::syncfs(&folder).map_err(io::Error::from))
        .map_err(|e| ArtifactError::disk("write", &tree, &e))?;
    let mode = fs::metadata(&tree).map_err(|e| ArtifactError::disk("look at", &tree, &e))?.permissions().mode();
    // Nobody but root may move a folder elsewhere that he may not write in.
    seal(&tree, mode | 0o200)?;
    match fs::rename(&tree, place) {
        // The same bytes came from another address meanwhile.
        Err(_) if place.is_dir() => Ok(place.to_owned()),
        Err(error) => Err(ArtifactError::disk("make", place, &error)),
        Ok(()) => seal(place, mode).map(|()| place.to_owned()),
    }
}

fn seal(folder: &Path, mode: u32) -> Result<(), ArtifactError> {
    fs::set_permissions(folder, Permissions::from_mode(mode)).map_err(|e| ArtifactError::disk("seal", folder, &e))
}

/// Removes a release, or a file that is in the place of one.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    if fs::symlink_metadata(path)?.is_dir() { remove_folder(path) } else { fs::remove_file(path) }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;
    use std::os::unix::fs::MetadataExt as _;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use tokio::sync::Notify;
    use tokio::task::JoinSet;
    use tokio::time::timeout;

    use super::*;

    fn reader(team: &str) -> Reader {
        Reader { app: "app/a".parse().unwrap(), team: team.parse().unwrap(), group: None }
    }

    #[tokio::test]
    async fn a_digest_alone_gives_nobody_what_another_team_may_fetch() {
        let home = tempfile::tempdir().unwrap();
        let releases = Releases::open(home.path().join("releases"), broadcast::channel(8).0).unwrap();
        let folder = home.path().join("a");
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("tool"), "private").unwrap();
        let sha256 = hex::encode(Sha256::digest("private"));
        let artifact = Artifact { url: format!("file://{}/tool", folder.display()), sha256 };
        let a = Egress::Guarded(vec![folder.display().to_string()]);
        // On a busy machine it may be under way for a while.
        while let Err(ArtifactError::UnderWay(_)) = releases.ensure(&artifact, &a, &reader("a")).await {}
        releases.ensure(&artifact, &a, &reader("a")).await.unwrap();
        let b = Egress::Guarded(Vec::new());
        let error = releases.ensure(&artifact, &b, &reader("b")).await.unwrap_err();
        assert!(matches!(error, ArtifactError::Barred(_)), "{error}");
        assert!(releases.found(&artifact, &reader("b")).is_none());
        if rustix::process::geteuid().is_root() {
            let own = Reader { group: Some(64_123), ..reader("a") };
            let metadata = fs::metadata(releases.ensure(&artifact, &a, &own).await.unwrap()).unwrap();
            assert_eq!((metadata.permissions().mode() & 0o777, metadata.gid()), (0o550, 64_123));
        }
    }

    #[tokio::test]
    async fn a_zip_that_was_unpacked_is_not_the_program_of_the_same_bytes() {
        let home = tempfile::tempdir().unwrap();
        let releases = Releases::open(home.path().join("releases"), broadcast::channel(8).0).unwrap();
        let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
        zip.start_file("main", zip::write::SimpleFileOptions::default()).unwrap();
        let bytes = zip.finish().unwrap().into_inner();
        let sha256 = hex::encode(Sha256::digest(&bytes));
        let mut folders = Vec::new();
        for name in ["app.zip", "app.jar"] {
            let file = home.path().join(name);
            fs::write(&file, &bytes).unwrap();
            let artifact = Artifact { url: format!("file://{}", file.display()), sha256: sha256.clone() };
            folders.push(releases.ensure(&artifact, &Egress::Open, &reader("a")).await.unwrap());
        }
        assert!(folders[0].join("main").is_file());
        assert_eq!(fs::read(folders[1].join("app.jar")).unwrap(), bytes);
    }

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
        let (sender, mut hints) = broadcast::channel(8);
        let mut releases = Releases::open(home.path().join("releases"), sender).unwrap();
        let sha256 = hex::encode(Sha256::digest("helloworld"));
        let artifact = Artifact { url, sha256 };
        // The gate cuts a step off.
        let cut = timeout(Duration::from_millis(50), releases.ensure(&artifact, &Egress::Open, &reader("a"))).await;
        assert!(cut.is_err());
        releases.patience = Duration::from_millis(20);
        let halfway = async {
            loop {
                let error = releases.ensure(&artifact, &Egress::Open, &reader("a")).await.unwrap_err();
                assert!(
                    matches!(&error, ArtifactError::UnderWay(how) if how.starts_with("fetching http://")),
                    "{error}"
                );
                if error.to_string().ends_with("/tool: 50 %") {
                    return;
                }
            }
        };
        timeout(Duration::from_secs(20), halfway).await.unwrap();
        go_on.notify_one();
        let hint = timeout(Duration::from_secs(20), hints.recv()).await.unwrap().unwrap();
        assert_eq!(hint, Hint::Changed("app/a".parse().unwrap()), "who waits for it is told");
        // What was fetched for a step that waits for its next try is not pruned.
        for index in 0..6 {
            fs::create_dir(releases.root().join(format!("newer-{index}"))).unwrap();
        }
        releases.set_aside(&BTreeSet::new()).unwrap();
        let folder = releases.ensure(&artifact, &Egress::Open, &reader("a")).await.unwrap();
        assert_eq!(fs::read_to_string(folder.join("tool")).unwrap(), "helloworld");
    }

    #[tokio::test]
    async fn a_team_that_fetches_from_a_slow_server_holds_up_nobody_and_ends_what_it_wants_no_more() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (begun, mut begins) = tokio::sync::mpsc::unbounded_channel();
        let mut server = JoinSet::new();
        // It begins an answer and never ends it, but for `/quick`; it says what it begins, and what is left.
        server.spawn(async move {
            let mut clients = JoinSet::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                let begun = begun.clone();
                clients.spawn(async move {
                    let mut request = [0; 4_096];
                    let count = stream.read(&mut request).await.unwrap();
                    let request = String::from_utf8_lossy(&request[..count]).into_owned();
                    let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
                    let body = if path == "/quick" { "hello" } else { "h" };
                    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n{body}");
                    stream.write_all(answer.as_bytes()).await.unwrap();
                    let _ = begun.send(format!("began {path}"));
                    while stream.read(&mut [0; 64]).await.is_ok_and(|read| read > 0) {}
                    let _ = begun.send(format!("left {path}"));
                });
            }
        });
        let home = tempfile::tempdir().unwrap();
        let mut releases = Releases::open(home.path().join("releases"), broadcast::channel(64).0).unwrap();
        releases.patience = Duration::ZERO;
        let of = |path: &str| Artifact {
            url: format!("http://127.0.0.1:{port}/{path}"),
            sha256: hex::encode(Sha256::digest("hello")),
        };
        let app = |n: usize| Reader { app: format!("app/b-{n}").parse().unwrap(), ..reader("b") };
        for n in 0..10 {
            let error = releases.ensure(&of(&format!("slow-{n}")), &Egress::Open, &app(n)).await.unwrap_err();
            assert!(matches!(error, ArtifactError::UnderWay(_)), "{error}");
        }
        let mut next = async || timeout(Duration::from_secs(20), begins.recv()).await.unwrap().unwrap();
        let mut first = Vec::new();
        for _ in 0..4 {
            first.push(next().await);
        }
        first.sort();
        assert_eq!(first, [0, 1, 2, 3].map(|n| format!("began /slow-{n}")), "no more at once");

        // Others neither wait for them nor for their turns, from servers or from here.
        releases.patience = Duration::from_secs(20);
        releases.ensure(&of("quick"), &Egress::Open, &reader("a")).await.unwrap();
        assert_eq!(next().await, "began /quick");
        let file = home.path().join("tool");
        fs::write(&file, "hello").unwrap();
        let here = Artifact { url: format!("file://{}", file.display()), ..of("") };
        releases.ensure(&here, &Egress::Open, &reader("a")).await.unwrap();
        releases.ensure(&here, &Egress::Open, &app(11)).await.unwrap();

        // One is declared otherwise, one is gone: the next ones have their turns.
        releases.leave(&app(0).app, Some(&of("quick")));
        releases.leave(&app(1).app, Some(&of("slow-1")));
        releases.leave(&app(2).app, None);
        let mut told: Vec<String> = Vec::new();
        while told.iter().filter(|told| told.contains("slow")).count() < 4 {
            told.push(next().await);
        }
        told.retain(|told| told.contains("slow"));
        told.sort();
        assert_eq!(told, ["began /slow-4", "began /slow-5", "left /slow-0", "left /slow-2"]);
        assert_eq!(
            fs::read_dir(releases.root())
                .unwrap()
                .filter(|entry| !name_of(&entry.as_ref().unwrap().path()).starts_with('.'))
                .count(),
            3
        );
    }

    #[tokio::test]
    async fn one_digest_is_fetched_once_and_pruned_when_nothing_needs_it() {
        let home = tempfile::tempdir().unwrap();
        let releases = Releases::open(home.path().join("releases"), broadcast::channel(8).0).unwrap();
        let mut folders = Vec::new();
        for index in 0..6 {
            let file = home.path().join(format!("tool-{index}"));
            fs::write(&file, format!("version {index}")).unwrap();
            let sha256 = hex::encode(Sha256::digest(format!("version {index}")));
            let artifact = Artifact { url: format!("file://{}", file.display()), sha256 };
            let reader = reader("a");
            let (one, two) = tokio::join!(
                releases.ensure(&artifact, &Egress::Open, &reader),
                releases.ensure(&artifact, &Egress::Open, &reader)
            );
            let folder = one.unwrap();
            assert_eq!(folder, two.unwrap());
            assert_eq!(fs::read_to_string(folder.join(format!("tool-{index}"))).unwrap(), format!("version {index}"));
            folders.push(folder);
        }
        let kept = BTreeSet::from([name_of(&folders[0])]);
        let aside = releases.set_aside(&kept).unwrap();
        assert_eq!(aside.len(), 5);
        aside.iter().for_each(|path| remove(path).unwrap());
        assert!(folders[0].exists());
        assert_eq!(folders.iter().filter(|f| f.exists()).count(), 1);
        assert_eq!(fs::read_dir(releases.root()).unwrap().count(), 1, "no scratch is left");
    }

    #[tokio::test]
    async fn a_wrong_digest_is_refused_and_leaves_nothing() {
        let home = tempfile::tempdir().unwrap();
        let releases = Releases::open(home.path().join("releases"), broadcast::channel(8).0).unwrap();
        let file = home.path().join("tool");
        fs::write(&file, "not that").unwrap();
        let artifact = Artifact { url: format!("file://{}", file.display()), sha256: "0".repeat(64) };
        let error = releases.ensure(&artifact, &Egress::Open, &reader("a")).await.unwrap_err();
        assert!(matches!(&error, ArtifactError::Refused(why) if why.contains("SHA-256")), "{error}");
        assert_eq!(fs::read_dir(releases.root()).unwrap().count(), 0);
    }
}
