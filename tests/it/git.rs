//! The source over real git: a local folder, a `git daemon`, signed commits, and what goes wrong with them.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use codeops::port::Source;
use codeops::source::{Limits, Mirror, Reason, Triggers, Watch, branch_of_absent, head_branch};
use codeops_core::config::{RepositorySettings, SignerSettings};
use codeops_core::desired::Files;
use codeops_core::desired::{Compiler, Context, Diagnostic};
use codeops_core::model::Revision;
use tempfile::TempDir;

use crate::support::git::{GitDaemon, SshKey, TempRepo};

/// A state folder and the settings that go with it.
struct Bench {
    state: TempDir,
    settings: RepositorySettings,
}

impl Bench {
    fn new(url: &str) -> Self {
        let settings = RepositorySettings { url: Some(url.to_owned()), ..RepositorySettings::default() };
        Self { state: tempfile::tempdir().expect("a folder"), settings }
    }

    async fn open(&self) -> Mirror {
        let (state, limits) = (self.state.path(), Limits::default());
        Mirror::open_with(&self.settings, state, &environment(), &BTreeMap::new(), limits, binary())
            .await
            .expect("it opens")
    }

    /// The mirror's folder.
    fn mirror(&self) -> PathBuf {
        let entries = fs::read_dir(self.state.path().join("source")).expect("a state folder");
        let folders = entries.flatten().map(|entry| entry.path());
        folders.into_iter().find(|path| path.join("HEAD").exists()).expect("a mirror")
    }
}

fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_codeops"))
}

fn environment() -> BTreeMap<String, String> {
    BTreeMap::new()
}

fn packs(mirror: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(mirror.join("objects/pack")).expect("packs");
    entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|end| end == "pack"))
        .collect()
}

#[tokio::test]
async fn a_commit_is_fetched_and_only_what_changed_is_read() {
    let repo =
        TempRepo::with(&[("codeops.yaml", "a: 1"), ("apps/shop.yml", "b: 2"), ("README.md", "no"), ("x.sh", "no")]);
    let bench = Bench::new(&repo.url());
    let mirror = bench.open().await;
    let first = mirror.fetch(None).await.expect("reachable");
    assert_eq!((&first.revision, &first.held), (&repo.head(), &None));
    let before = mirror.files(&first.revision).await.expect("readable");
    assert_eq!(before.keys().map(|path| &**path).collect::<Vec<_>>(), ["apps/shop.yml", "codeops.yaml"]);

    repo.commit_file("codeops.yaml", "a: 3", "Change the default");
    let second = mirror.fetch(Some(&first.revision)).await.expect("reachable");
    let after = mirror.files(&second.revision).await.expect("readable");
    assert_eq!(&*after["codeops.yaml"].bytes, b"a: 3");
    assert!(
        Arc::ptr_eq(&before["apps/shop.yml"].bytes, &after["apps/shop.yml"].bytes),
        "an unchanged blob is not read again"
    );
    assert!(Arc::ptr_eq(&after, &mirror.files(&second.revision).await.expect("readable")));

    let packs_before = packs(&bench.mirror()).len();
    mirror.fetch(Some(&second.revision)).await.expect("reachable");
    assert_eq!(packs(&bench.mirror()).len(), packs_before, "nothing new, nothing fetched");
}

#[tokio::test]
async fn state_is_private() {
    use std::os::unix::fs::PermissionsExt as _;
    let repo = TempRepo::with(&[("a.yaml", "a")]);
    let bench = Bench::new(&repo.url());
    bench.open().await.fetch(None).await.expect("reachable");
    for folder in [bench.state.path().join("source"), bench.mirror()] {
        assert_eq!(fs::metadata(&folder).expect("there").permissions().mode() & 0o777, 0o700, "{}", folder.display());
    }
}

#[tokio::test]
async fn only_the_configured_folder_is_read_and_links_are_not_followed() {
    let repo = TempRepo::with(&[("ops/prod/a.yaml", "a"), ("secret.yaml", "s")]);
    std::os::unix::fs::symlink("../../secret.yaml", repo.path().join("ops/prod/link.yaml")).expect("linked");
    std::os::unix::fs::symlink("..", repo.path().join("ops/prod/up")).expect("linked");
    repo.git(&["update-index", "--add", "--cacheinfo", &format!("160000,{},ops/prod/sub.yaml", repo.head())]);
    let head = repo.git(&["rev-parse", "HEAD"]);
    repo.git(&["add", "ops/prod/link.yaml", "ops/prod/up"]);
    repo.git(&["commit", "--quiet", "-m", "Links"]);
    assert_ne!(repo.git(&["rev-parse", "HEAD"]), head);
    let mut bench = Bench::new(&repo.url());
    bench.settings.path = "./ops/prod".to_owned();
    let mirror = bench.open().await;
    let tip = mirror.fetch(None).await.expect("reachable");
    let files = mirror.files(&tip.revision).await.expect("readable");
    let elsewhere: Vec<_> = files.iter().map(|(path, file)| (&**path, file.elsewhere, file.bytes.len())).collect();
    let (link, sub) = (Some("a symbolic link"), Some("a submodule"));
    let expected = [("a.yaml", None, 1), ("link.yaml", link, 0), ("sub.yaml", sub, 0), ("up", link, 0)];
    assert_eq!(elsewhere, expected);
    // They go and come with the next revision.
    repo.git(&["rm", "--quiet", "--cached", "ops/prod/link.yaml", "ops/prod/sub.yaml"]);
    repo.git(&["commit", "--quiet", "-m", "One link less"]);
    let tip = mirror.fetch(Some(&tip.revision)).await.expect("reachable");
    let files = mirror.files(&tip.revision).await.expect("readable");
    assert_eq!(files.keys().map(|path| &**path).collect::<Vec<_>>(), ["a.yaml", "up"]);
}

/// A folder that is not there is no empty one, in which nothing is declared any more: the revision is not taken.
#[tokio::test]
async fn a_folder_that_a_revision_has_not_is_told_with_what_comes_near() {
    let repo = TempRepo::with(&[("ops/prod/a.yaml", "a"), ("ops/stage/a.yaml", "a"), ("docs/x.yaml", "x")]);
    let mut bench = Bench::new(&repo.url());
    for (path, told) in [
        ("opps/prod", "did you mean `ops`?"),
        ("ops/prdo", "did you mean `ops/prod`?"),
        ("nowhere", "there are `docs`, `ops`"),
        ("docs/deep", "there is no folder at all beside it"),
    ] {
        bench.settings.path = path.to_owned();
        let mirror = bench.open().await;
        let tip = mirror.fetch(None).await.expect("reachable");
        let why = mirror.files(&tip.revision).await.expect_err("it has no such folder").0;
        assert!(why.contains(&format!("no folder `{path}`")) && why.contains(told), "{why}");
    }
    bench.settings.path = "ops/prod".to_owned();
    let mirror = bench.open().await;
    let tip = mirror.fetch(None).await.expect("reachable");
    assert_eq!(mirror.files(&tip.revision).await.expect("readable").len(), 1);
    repo.git(&["rm", "--quiet", "ops/prod/a.yaml"]);
    repo.commit("Take all of it away");
    let tip = mirror.fetch(Some(&tip.revision)).await.expect("reachable");
    mirror.files(&tip.revision).await.expect_err("who takes the folder away has taken it all away, or moved it");
}

/// Whatever one commit does to folders and files, the next revision read from it is the one read from nothing.
#[tokio::test]
async fn a_revision_read_from_the_one_before_is_the_one_read_from_nothing() {
    let repo =
        TempRepo::with(&[("a.yaml", "a"), ("apps/one/x.yaml", "x"), ("apps/two/y.yaml", "y"), ("b/note.md", "n")]);
    let bench = Bench::new(&repo.url());
    let mirror = bench.open().await;
    let mut last = mirror.fetch(None).await.expect("reachable").revision;
    let first = last.clone();
    mirror.files(&last).await.expect("readable");
    // What a commit removes, and what it writes.
    type Change = (&'static [&'static str], &'static [(&'static str, &'static str)]);
    let changes: [Change; 8] = [
        (&[], &[("apps/one/x.yaml", "x2")]),
        (&[], &[("apps/three/deep/z.yaml", "z"), ("b/c.yaml", "c")]),
        (&["apps/two/y.yaml"], &[]),
        (&["a.yaml"], &[("a.yaml/inner.yaml", "a folder now")]),
        (&["a.yaml/inner.yaml"], &[("a.yaml", "a file again"), ("apps.yaml", "beside")]),
        (&["apps/one/x.yaml"], &[("apps/four/x.yaml", "moved")]),
        (&["apps/three/deep/z.yaml", "apps/four/x.yaml"], &[("apps", "no folder any more")]),
        (&["b/c.yaml"], &[("README.md", "no manifest")]),
    ];
    for (removed, written) in changes {
        for path in removed {
            repo.git(&["rm", "--quiet", path]);
        }
        for (path, text) in written {
            repo.write(path, text);
        }
        repo.commit("Change");
        last = mirror.fetch(Some(&last)).await.expect("reachable").revision;
        same_as_from_nothing(&bench, &mirror, &last).await;
    }
    same_as_from_nothing(&bench, &mirror, &first).await;
}

async fn same_as_from_nothing(bench: &Bench, mirror: &Mirror, revision: &Revision) {
    let texts = |files: &Files| -> Vec<(String, String, Vec<u8>)> {
        files.iter().map(|(path, file)| (path.to_string(), file.content.to_string(), file.bytes.to_vec())).collect()
    };
    let fresh = bench.open().await.files(revision).await.expect("readable");
    let brought = mirror.files(revision).await.expect("readable");
    assert_eq!(texts(&brought), texts(&fresh));
}

#[tokio::test]
async fn limits_count_what_is_there_and_not_what_was() {
    let repo = TempRepo::with(&[("z/a.yaml", "a"), ("z/b.yaml", "b")]);
    let bench = Bench::new(&repo.url());
    let limits = Limits { files: 2, entries: 3, ..Limits::default() };
    let mirror =
        Mirror::open_with(&bench.settings, bench.state.path(), &environment(), &BTreeMap::new(), limits, binary())
            .await
            .expect("it opens");
    let mut last = mirror.fetch(None).await.expect("reachable").revision;
    assert_eq!(mirror.files(&last).await.expect("readable").len(), 2);
    for (from, to) in [("z", "a"), ("a", "b"), ("b", "z")] {
        repo.git(&["mv", from, to]);
        repo.git(&["commit", "--quiet", "-m", "Move all"]);
        last = mirror.fetch(Some(&last)).await.expect("reachable").revision;
        assert_eq!(mirror.files(&last).await.expect("readable").len(), 2);
    }
    let third = repo.commit_file("z/c.yaml", "c", "One more");
    mirror.fetch(Some(&last)).await.expect("reachable");
    let files = mirror.files(&third).await.expect("readable but for one");
    assert!(files["z/c.yaml"].left_out.is_some() && files["z/b.yaml"].left_out.is_none());
}

#[tokio::test]
async fn a_folder_too_deep_is_told_with_its_place_and_stops_no_other() {
    let repo = TempRepo::with(&[("a.yaml", "a")]);
    let bench = Bench::new(&repo.url());
    let mirror = bench.open().await;
    let good = mirror.fetch(None).await.expect("reachable").revision;
    assert_eq!(mirror.files(&good).await.expect("readable").len(), 1);
    let deep = repo.commit_file(&format!("{}notes.txt", "d/".repeat(80)), "a", "Too deep");
    mirror.fetch(Some(&good)).await.expect("reachable");
    let place = "d/".repeat(33);
    let files = mirror.files(&deep).await.expect("readable");
    assert_eq!(files.keys().map(|path| &**path).collect::<Vec<_>>(), ["a.yaml", place.as_str()]);
    let compiled = Compiler::default().compile(&files, &Context::default());
    let told = |d: &Diagnostic| d.message.contains("nested too deep") && *d.place.file == *place;
    assert!(compiled.diagnostics.iter().any(told), "{:?}", compiled.diagnostics);
    fs::remove_dir_all(repo.path().join("d")).expect("removed");
    let up = repo.commit("Up again");
    mirror.fetch(Some(&deep)).await.expect("reachable");
    assert_eq!(mirror.files(&up).await.expect("readable").len(), 1);
}

#[tokio::test]
async fn one_file_that_cannot_be_read_is_told_with_its_place_and_stops_no_other() {
    let repo = TempRepo::with(&[("a.yaml", "a: 1"), (".ci/x.yaml", "x: 1"), (".x.yaml", "x: 1")]);
    let bench = Bench::new(&repo.url());
    let mirror = bench.open().await;
    let good = mirror.fetch(None).await.expect("reachable").revision;
    assert_eq!(mirror.files(&good).await.expect("readable").len(), 1, "what is hidden is not read");
    repo.write("big.yaml", &"x".repeat((1 << 20) + 1));
    let odd = repo.path().join(OsStr::from_bytes(b"odd\xff.yaml"));
    fs::write(&odd, "b: 2").expect("written");
    let bad = repo.commit("Two that cannot be read");
    mirror.fetch(Some(&good)).await.expect("reachable");
    let files = mirror.files(&bad).await.expect("readable but for two");
    assert_eq!(files.keys().map(|path| &**path).collect::<Vec<_>>(), ["a.yaml", "big.yaml", "odd\u{fffd}ff.yaml"]);
    let compiled = Compiler::default().compile(&files, &Context::default());
    for (file, what) in [("big.yaml", "bigger than"), ("odd\u{fffd}ff.yaml", "not UTF-8")] {
        let told = |d: &Diagnostic| d.message.contains(what) && &*d.place.file == file;
        assert!(compiled.diagnostics.iter().any(told), "{file}: {:?}", compiled.diagnostics);
    }
    fs::remove_file(odd).expect("removed");
    repo.remove("big.yaml");
    let next = repo.commit("They go");
    mirror.fetch(Some(&bad)).await.expect("reachable");
    assert_eq!(mirror.files(&next).await.expect("readable").len(), 1);
}

#[tokio::test]
async fn a_repository_that_is_too_big_is_not_fetched() {
    let repo = TempRepo::new();
    let mut seed = 1_u64;
    let noise: String = (0..6 << 20)
        .map(|_| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            char::from(b' ' + u8::try_from((seed >> 33) % 90).expect("small"))
        })
        .collect();
    repo.commit_file("noise.txt", &noise, "Noise");
    let bench = Bench::new(&repo.url());
    let small = Limits { mirror_bytes: 1 << 20, ..Limits::default() };
    let mirror =
        Mirror::open_with(&bench.settings, bench.state.path(), &environment(), &BTreeMap::new(), small, binary())
            .await
            .expect("it opens");
    for _ in 0..2 {
        assert!(mirror.fetch(None).await.expect_err("too big").0.contains("bigger than 1 MiB"));
    }
    repo.git(&["checkout", "--quiet", "--orphan", "small"]);
    repo.remove("noise.txt");
    repo.commit_file("a.yaml", "1", "Small");
    repo.git(&["branch", "--quiet", "-M", "small", "main"]);
    assert_eq!(mirror.fetch(None).await.expect("small again").revision, repo.head());
}

/// Whoever removes it loses nothing: it is a copy.
#[tokio::test]
async fn a_mirror_that_was_removed_is_cloned_again() {
    let repo = TempRepo::with(&[("a.yaml", "1")]);
    let bench = Bench::new(&repo.url());
    let mirror = bench.open().await;
    let mut current = mirror.fetch(None).await.expect("reachable").revision;
    for folder in [bench.mirror(), bench.state.path().join("source/home"), bench.state.path().join("source")] {
        fs::remove_dir_all(&folder).expect("removed");
        assert_eq!(mirror.fetch(Some(&current)).await.expect("cloned again").revision, current, "{}", folder.display());
        fs::remove_dir_all(&folder).expect("removed");
        let next = repo.commit_file("a.yaml", &folder.display().to_string(), "Change");
        current = mirror.fetch(Some(&current)).await.expect("cloned again").revision;
        assert_eq!(current, next, "{}", folder.display());
        assert_eq!(mirror.files(&current).await.expect("readable").len(), 1);
    }
}

#[tokio::test]
async fn rewritten_history_is_held_until_a_descendant_or_an_acceptance() {
    let repo = TempRepo::with(&[("a.yaml", "1")]);
    let base = repo.head();
    let mut bench = Bench::new(&repo.url());
    let mirror = bench.open().await;
    let good = repo.commit_file("a.yaml", "2", "Good");
    mirror.fetch(None).await.expect("reachable");
    repo.git(&["reset", "--quiet", "--hard", base.as_str()]);
    let other = repo.commit_file("a.yaml", "3", "Rewritten\n\nCodeops-Allow: 463339a07d6f");

    let held = mirror.fetch(Some(&good)).await.expect("reachable");
    assert_eq!(held.revision, good);
    let why = held.held.expect("held");
    assert!(why.contains("history was rewritten") && why.contains(other.as_str()), "{why}");
    assert_eq!(&*mirror.files(&good).await.expect("still readable")["a.yaml"].bytes, b"2");

    // A commit that descends from the one in force is followed.
    repo.git(&["reset", "--quiet", "--hard", good.as_str()]);
    let next = repo.commit_file("a.yaml", "4", "Back");
    assert_eq!(mirror.fetch(Some(&good)).await.expect("reachable").revision, next);

    // Or the settings name the new tip: once.
    repo.git(&["reset", "--quiet", "--hard", other.as_str()]);
    bench.settings.accept = Some(other.clone());
    let mirror = bench.open().await;
    for _ in 0..2 {
        let accepted = mirror.fetch(Some(&next)).await.expect("reachable");
        assert_eq!(
            (accepted.revision, accepted.held),
            (other.clone(), None),
            "a crash before it is in force asks again"
        );
    }
    let said = async |since, until| {
        let commit = mirror.commits(Some(since), until).await.expect("readable").pop().expect("a commit");
        (commit.trailers.len(), commit.later.unknown)
    };
    assert_eq!(said(&next, &other).await, (1, true), "it may have counted before it was rewritten");
    let after = repo.commit_file("a.yaml", "5", "After\n\nCodeops-Allow: 463339a07d6f");
    assert_eq!(mirror.fetch(Some(&other)).await.expect("reachable").revision, after);
    assert_eq!(said(&other, &after).await, (1, false));
    repo.git(&["reset", "--quiet", "--hard", other.as_str()]);
    let again = mirror.fetch(Some(&after)).await.expect("reachable");
    assert_eq!(again.revision, after);
    assert!(again.held.is_some(), "the acceptance is spent");

    // So it is at another address, be it one that lags or one that went its own way.
    let aside = TempRepo::with(&[("a.yaml", "1")]);
    aside.git(&["fetch", "--quiet", &repo.url(), "main"]);
    aside.git(&["reset", "--quiet", "--hard", other.as_str()]);
    bench.settings.url = Some(aside.url());
    let of = |held: Option<String>| held.is_some_and(|why| why.contains("history was rewritten"));
    for what in ["it lags", "its own way"] {
        let tip = bench.open().await.fetch(Some(&after)).await.expect("reachable");
        assert!(tip.revision == after && of(tip.held), "{what}");
        aside.commit_file("a.yaml", "6", "Aside");
    }
    // Whoever wants to go back names the commit.
    aside.git(&["reset", "--quiet", "--hard", base.as_str()]);
    bench.settings.accept = Some(base.clone());
    assert_eq!(bench.open().await.fetch(Some(&after)).await.expect("reachable").revision, base);
}

#[tokio::test]
async fn a_deleted_branch_and_an_unreachable_server_leave_the_last_revision_also_after_a_restart() {
    let repo = TempRepo::with(&[("a.yaml", "1")]);
    let mut daemon = GitDaemon::serve(repo.path());
    let bench = Bench::new(&daemon.url(""));
    let mirror = bench.open().await;
    let good = mirror.fetch(None).await.expect("reachable").revision;
    repo.git(&["checkout", "--quiet", "--detach"]);
    repo.git(&["branch", "-D", "main"]);
    let error = mirror.fetch(Some(&good)).await.expect_err("no branch").0;
    assert!(error.contains("branch `main` does not exist"), "{error}");
    assert_eq!(mirror.files(&good).await.expect("readable").len(), 1);

    daemon.stop();
    drop(mirror);
    let mirror = bench.open().await;
    let error = mirror.fetch(Some(&good)).await.expect_err("unreachable").0;
    assert!(error.contains("check the network"), "{error}");
    assert_eq!(mirror.files(&good).await.expect("readable after a restart").len(), 1);

    daemon.start();
    repo.git(&["checkout", "--quiet", "-b", "main"]);
    let next = repo.commit_file("a.yaml", "2", "Back");
    assert_eq!(mirror.fetch(Some(&good)).await.expect("back").revision, next);
}

#[tokio::test]
async fn a_corrupted_mirror_is_found_out_and_cloned_again() {
    let repo = TempRepo::with(&[("a.yaml", "1"), ("b.yaml", "2")]);
    let bench = Bench::new(&repo.url());
    let good = bench.open().await.fetch(None).await.expect("reachable").revision;
    for pack in packs(&bench.mirror()) {
        let mut bytes = fs::read(&pack).expect("readable");
        let middle = bytes.len() / 2;
        bytes[12..middle].fill(0x5a);
        fs::remove_file(&pack).expect("removed");
        fs::write(&pack, bytes).expect("written");
    }
    let mirror = bench.open().await;
    assert_eq!(mirror.files(&good).await.expect("cloned again").len(), 2);
    let next = repo.commit_file("a.yaml", "3", "Go on");
    assert_eq!(mirror.fetch(Some(&good)).await.expect("reachable").revision, next);

    fs::remove_dir_all(bench.mirror().join("objects")).expect("removed");
    assert_eq!(mirror.fetch(Some(&next)).await.expect("cloned again").revision, next);
    assert_eq!(mirror.files(&good).await.expect("readable").len(), 2);
    fs::write(bench.mirror().join("HEAD"), "junk").expect("written");
    assert_eq!(bench_reopened(&bench).await, 2);
}

async fn bench_reopened(bench: &Bench) -> usize {
    let mirror = bench.open().await;
    let tip = mirror.fetch(None).await.expect("reachable").revision;
    mirror.files(&tip).await.expect("readable").len()
}

#[tokio::test]
async fn a_lost_mirror_is_held_when_the_revision_in_force_is_gone_upstream_too() {
    let repo = TempRepo::with(&[("a.yaml", "1")]);
    let bench = Bench::new(&repo.url());
    let gone = "1234567890123456789012345678901234567890".parse().expect("an id");
    let tip = bench.open().await.fetch(Some(&gone)).await.expect("reachable");
    assert_eq!(tip.revision, gone);
    assert!(tip.held.is_some());
    let error = bench.open().await.files(&gone).await.expect_err("gone").0;
    assert!(error.contains("repository.accept"), "{error}");
}

#[tokio::test]
async fn a_mirror_that_is_made_anew_keeps_the_revision_in_force_also_when_it_is_gone_upstream() {
    let repo = TempRepo::with(&[("a.yaml", "1")]);
    let bench = Bench::new(&repo.url());
    let mirror = bench.open().await;
    let good = mirror.fetch(None).await.expect("reachable").revision;
    mirror.fetch(Some(&good)).await.expect("reachable");
    repo.git(&["commit", "--quiet", "--amend", "-m", "Another history"]);
    repo.git(&["reflog", "expire", "--expire=now", "--all"]);
    repo.git(&["gc", "--quiet", "--prune=now"]);
    assert!(mirror.fetch(Some(&good)).await.expect("reachable").held.is_some());
    // What is nowhere has the mirror made anew.
    let nowhere = "1234567890123456789012345678901234567890".parse().expect("an id");
    mirror.files(&nowhere).await.expect_err("it is in no repository");
    let mirror = bench.open().await;
    assert_eq!(mirror.files(&good).await.expect("still there").len(), 1);
    assert_eq!(mirror.fetch(Some(&good)).await.expect("reachable").revision, good);
}

#[tokio::test]
async fn a_folder_that_is_away_at_start_leaves_the_last_revision_in_force_until_it_is_back() {
    let repo = TempRepo::with(&[("a.yaml", "1")]);
    repo.git(&["checkout", "--quiet", "-b", "trunk"]);
    let place = tempfile::tempdir().expect("a folder");
    let (folder, aside) = (place.path().join("ops"), place.path().join("aside"));
    std::os::unix::fs::symlink(repo.path(), &folder).expect("linked");
    for url in [folder.display().to_string(), format!("file://{}", folder.display())] {
        let mut bench = Bench::new(&url);
        bench.settings.branch = Some("trunk".to_owned());
        let good = bench.open().await.fetch(None).await.expect("reachable").revision;
        fs::rename(&folder, &aside).expect("away");
        let mirror = bench.open().await;
        assert_eq!(branch_of_absent(&url, bench.state.path()).as_deref(), Some("trunk"));
        let error = mirror.fetch(Some(&good)).await;
        assert_eq!(mirror.files(&good).await.expect("readable").len(), 1);
        fs::rename(&aside, &folder).expect("back");
        // The link led to a folder that is still there.
        assert_eq!(error.expect("what it led to is there").revision, good);
        assert_eq!(branch_of_absent(&url, bench.state.path()), None);

        let never = Bench::new(&url);
        fs::rename(&folder, &aside).expect("away");
        let first = Mirror::open(&never.settings, never.state.path(), &environment(), &BTreeMap::new()).await;
        fs::rename(&aside, &folder).expect("back");
        assert!(first.is_err(), "there is nothing to go on with");
    }
    let gone = repo.path().with_extension("gone");
    let bench = Bench::new(&format!("{}/", repo.path().display()));
    repo.git(&["branch", "main", "trunk", "--force"]);
    let good = bench.open().await.fetch(None).await.expect("reachable").revision;
    fs::rename(repo.path(), &gone).expect("away");
    let mirror = bench.open().await;
    let (fetched, files) = (mirror.fetch(Some(&good)).await, mirror.files(&good).await);
    fs::rename(&gone, repo.path()).expect("back");
    assert!(fetched.expect_err("away").0.contains("cannot look at"));
    assert_eq!(files.expect("readable").len(), 1);
    let next = repo.commit_file("a.yaml", "2", "Back");
    repo.git(&["branch", "main", "trunk", "--force"]);
    assert_eq!(mirror.fetch(Some(&good)).await.expect("back").revision, next);
}

#[tokio::test]
async fn every_first_parent_commit_must_be_signed_by_a_known_key() {
    for kind in ["ed25519", "ecdsa"] {
        let (known, foreign) = (SshKey::new(kind), SshKey::new("ed25519"));
        let repo = TempRepo::new();
        repo.sign_with(&known);
        let first = repo.commit_file("a.yaml", "1", "Signed");
        let mut bench = Bench::new(&repo.url());
        let file = known.allowed_signers("ada@acme.example").display().to_string();
        bench.settings.signers = Some(SignerSettings { file });
        let mirror = bench.open().await;
        assert_eq!(mirror.fetch(None).await.expect("reachable").revision, first);
        let commits = mirror.commits(None, &first).await.expect("readable");
        assert_eq!(commits[0].signer.as_deref(), Some("ada@acme.example"));

        let second = repo.commit_file("a.yaml", "2", "Signed too");
        repo.sign_no_more();
        let unsigned = repo.commit_file("a.yaml", "3", "Not signed");
        repo.sign_with(&known);
        repo.commit_file("a.yaml", "4", "Signed on top");
        let tip = mirror.fetch(Some(&first)).await.expect("reachable");
        assert_eq!(tip.revision, second, "as far as it is signed");
        let held = tip.held.expect("held");
        assert!(held.contains(unsigned.short()) && held.contains("is not signed"), "{held}");

        repo.git(&["reset", "--quiet", "--hard", second.as_str()]);
        repo.sign_with(&foreign);
        let theirs = repo.commit_file("a.yaml", "5", "Foreign");
        let held = mirror.fetch(Some(&second)).await.expect("reachable").held.expect("held");
        assert!(held.contains(theirs.short()) && held.contains("does not name"), "{held}");
    }
}

#[tokio::test]
async fn a_first_revision_without_a_signature_is_not_taken() {
    let key = SshKey::new("ed25519");
    let repo = TempRepo::with(&[("a.yaml", "1")]);
    let mut bench = Bench::new(&repo.url());
    let file = key.allowed_signers("ada@acme.example").display().to_string();
    bench.settings.signers = Some(SignerSettings { file });
    let error = bench.open().await.fetch(None).await.expect_err("unsigned").0;
    assert!(error.contains("is not signed"), "{error}");
}

#[tokio::test]
async fn commits_tell_who_and_what_and_the_trailers() {
    let repo = TempRepo::with(&[("a.yaml", "1")]);
    let base = repo.head();
    repo.git(&["checkout", "--quiet", "-b", "side"]);
    repo.commit_file("b.yaml", "1", "On the side");
    repo.git(&["checkout", "--quiet", "main"]);
    repo.commit("Retry \u{1b}[31mit\n\nbody\n\nCodeops-Retry: app/shop\nCodeops-Allow: abc\nReviewed-by: x");
    repo.git(&["merge", "--quiet", "--no-ff", "-m", "Merge side", "side"]);
    let bench = Bench::new(&repo.url());
    let mirror = bench.open().await;
    let tip = mirror.fetch(Some(&base)).await.expect("reachable").revision;
    let commits = mirror.commits(Some(&base), &tip).await.expect("readable");
    let subjects: Vec<&str> = commits.iter().map(|commit| &*commit.subject).collect();
    assert_eq!(subjects, ["Retry [31mit", "Merge side"], "first parents only, oldest first");
    let side = repo.git(&["rev-parse", "side"]).parse().expect("an id");
    let from_side = mirror.commits(Some(&side), &tip).await.expect("readable");
    assert_eq!(from_side.len(), 2, "what came in by a merge hides only what it reaches");
    assert_eq!(commits[0].author, "Ada Lovelace <ada@acme.example>");
    let trailers =
        [("Codeops-Retry".to_owned(), "app/shop".to_owned()), ("Codeops-Allow".to_owned(), "abc".to_owned())];
    assert_eq!(commits[0].trailers, trailers);
}

/// Whoever commits much keeps nobody from being heard.
#[tokio::test]
async fn a_trailer_counts_below_more_commits_than_are_told_of() {
    let repo = TempRepo::with(&[("a.yaml", "1")]);
    let base = repo.head();
    repo.commit_file("b.yaml", "1", "Nothing to say");
    repo.commit_file("a.yaml", "2", "Mine\n\nCodeops-Allow: 463339a07d6f");
    let git = git2::Repository::open(repo.path()).expect("a repository");
    for number in 0..1_000 {
        let head = git.head().and_then(|head| head.peel_to_commit()).expect("a commit");
        let who = git2::Signature::now("b", "b@b.example").expect("a name");
        let tree = head.tree().expect("its tree");
        git.commit(Some("HEAD"), &who, &who, &format!("Note {number}"), &tree, &[&head]).expect("committed");
    }
    let mirror = Bench::new(&repo.url()).open().await;
    let tip = mirror.fetch(Some(&base)).await.expect("reachable").revision;
    let commits = mirror.commits(Some(&base), &tip).await.expect("readable");
    let subjects: Vec<&str> = commits.iter().take(2).map(|commit| &*commit.subject).collect();
    assert_eq!((commits.len(), subjects), (1_001, vec!["Mine", "Note 0"]));
    assert_eq!(commits[0].stands.iter().collect::<Vec<_>>(), ["a.yaml"]);
}

/// Who pushes a change together with what takes it back has changed nothing, and shows nothing of whose commits these are.
#[tokio::test]
async fn what_a_push_changes_and_changes_back_does_not_stand() {
    let repo = TempRepo::with(&[("a/shop.yaml", "a"), ("b/shop.yaml", "b")]);
    let bench = Bench::new(&repo.url());
    let mirror = bench.open().await;
    let base = mirror.fetch(None).await.expect("reachable").revision;
    for (path, text, message) in [
        ("a/shop.yaml", "other", "Look like them\n\nCodeops-Allow: 83de91986205"),
        ("a/shop.yaml", "a", "And back"),
        ("b/shop.yaml", "mine", "Ours"),
    ] {
        repo.write(path, text);
        repo.commit(message);
    }
    let tip = mirror.fetch(Some(&base)).await.expect("reachable").revision;
    let commits = mirror.commits(Some(&base), &tip).await.expect("readable");
    let stands: Vec<Vec<&str>> = commits.iter().map(|it| it.stands.iter().map(String::as_str).collect()).collect();
    assert_eq!(stands, [vec![], vec![], vec!["b/shop.yaml"]]);
    assert_eq!(commits[0].changed.iter().collect::<Vec<_>>(), ["a/shop.yaml"]);
    let first = mirror.commits(None, &base).await.expect("readable");
    assert_eq!(first[0].stands.len(), 2, "the first revision of all brings all that it has");
}

#[tokio::test]
async fn a_merge_has_the_trailers_of_the_commits_that_it_brings_and_of_no_others() {
    let repo = TempRepo::with(&[("a.yaml", "1")]);
    repo.git(&["checkout", "--quiet", "-b", "side"]);
    repo.commit_file("b.yaml", "1", "Begun long ago\n\nCodeops-Allow: 000000000001");
    repo.git(&["checkout", "--quiet", "main"]);
    repo.git(&["merge", "--quiet", "--no-ff", "-m", "Merge its beginning", "side"]);
    let base = repo.head();
    repo.git(&["checkout", "--quiet", "side"]);
    repo.commit_file("b.yaml", "2", "Go on\n\nCodeops-Allow: 000000000002");
    repo.commit_file("b.yaml", "3", "Try it again\n\nCodeops-Retry: app/shop");
    repo.git(&["checkout", "--quiet", "main"]);
    let said = "Merge the rest\n\nCodeops-Retry: app/shop";
    repo.git(&["merge", "--quiet", "--no-ff", "-m", said, "side"]);
    let bench = Bench::new(&repo.url());
    let mirror = bench.open().await;
    let tip = mirror.fetch(Some(&base)).await.expect("reachable").revision;
    let commits = mirror.commits(Some(&base), &tip).await.expect("readable");
    let text = |key: &str, value: &str| vec![(key.to_owned(), value.to_owned())];
    let trailers: Vec<_> = commits.iter().map(|commit| commit.trailers.clone()).collect();
    assert_eq!(trailers, [text("Codeops-Retry", "app/shop")]);
    let brought: Vec<_> = commits[0].brought.iter().map(|commit| commit.trailers.clone()).collect();
    assert_eq!(brought, [text("Codeops-Allow", "000000000002"), text("Codeops-Retry", "app/shop")]);
    for commit in &commits[0].brought {
        assert_eq!(commit.changed, ["b.yaml".to_owned()].into(), "what it changes shows whose it is");
    }
    assert!(commits[0].changed.is_empty(), "a merge that only merges changes nothing");
    assert_eq!(commits[0].brings, ["b.yaml".to_owned()].into());
    let first = mirror.commits(None, &base).await.expect("readable");
    assert!(first[0].trailers.is_empty() && first[0].brought.is_empty(), "the first revision of all stands alone");
    let plain = repo.commit_file("c.yaml", "1", "Say a word");
    let tip = mirror.fetch(Some(&tip)).await.expect("reachable").revision;
    let commits = mirror.commits(None, &tip).await.expect("readable");
    assert_eq!(commits[0].changed, ["c.yaml".to_owned()].into(), "whose words it holds: {plain:?}");
}

fn app(name: &str) -> String {
    format!("apiVersion: codeops/v1\nkind: App\nmetadata: {{name: {name}}}\nspec: {{run: {{command: [./x]}}}}\n")
}

/// What was declared again after a word, and taken away once more, the word was not about: all may come in one look.
#[tokio::test]
async fn a_word_is_not_about_what_is_declared_again_after_it() {
    let said = "Yes\n\nCodeops-Allow: 83de91986205";
    let repo = TempRepo::with(&[("apps/shop.yaml", &app("shop")), ("apps/web.yaml", &app("web"))]);
    let bench = Bench::new(&repo.url());
    let mirror = bench.open().await;
    let base = mirror.fetch(None).await.expect("reachable").revision;
    let remove = |path: &str, message: &str| {
        repo.git(&["rm", "--quiet", path]);
        repo.commit(message)
    };
    remove("apps/shop.yaml", "Drop it");
    repo.commit_file("note.txt", "1", said);
    repo.commit_file("apps/web.yaml", &(app("web") + "# another\n"), "Nothing to do with it");
    repo.commit_file("apps/other.yaml", &app("shop"), "No, back, and elsewhere");
    let last = remove("apps/other.yaml", &format!("By mistake\n\n{said}"));
    let later = |commits: &[codeops::port::Commit]| -> Vec<Vec<String>> {
        let each = commits.iter().flat_map(|it| it.brought.iter().chain([it])).filter(|it| !it.trailers.is_empty());
        each.map(|it| it.later.declared.iter().map(ToString::to_string).collect()).collect()
    };
    let tip = mirror.fetch(Some(&base)).await.expect("reachable").revision;
    let commits = mirror.commits(Some(&base), &tip).await.expect("readable");
    assert_eq!(later(&commits), [vec!["app/shop", "app/web"], vec![]]);
    assert!(commits.iter().all(|it| !it.later.unknown && it.later.unread.is_empty()));
    // The same brought by a merge, of which it is the other parent.
    repo.git(&["checkout", "--quiet", "-B", "clone", base.as_str()]);
    repo.commit_file("note2.txt", "1", "Mine");
    repo.git(&["merge", "--quiet", "--no-ff", "-m", "Merge theirs", last.as_str()]);
    repo.git(&["branch", "--quiet", "--force", "main", "HEAD"]);
    let tip = mirror.fetch(Some(&base)).await.expect("reachable").revision;
    let commits = mirror.commits(Some(&base), &tip).await.expect("readable");
    assert_eq!(later(&commits), [vec!["app/shop", "app/web"], vec![]]);
    // What was never followed may have counted, and so may what a rewritten history says.
    let first = mirror.commits(None, &last).await.expect("readable");
    assert!(first[0].later.unknown && !first[0].trailers.is_empty());
    repo.git(&["checkout", "--quiet", "--orphan", "fresh"]);
    let fresh = repo.commit(&format!("Anew\n\n{said}"));
    repo.git(&["branch", "--quiet", "--force", "main", "HEAD"]);
    let mut again = Bench::new(&repo.url());
    again.settings.accept = Some(fresh.clone());
    let mirror = again.open().await;
    mirror.fetch(None).await.expect("reachable");
    let gone = "1".repeat(40).parse().expect("an id");
    let commits = mirror.commits(Some(&gone), &fresh).await.expect("readable");
    assert!(commits.iter().all(|commit| commit.later.unknown), "{commits:?}");
}

#[tokio::test]
async fn settings_that_cannot_work_say_so_at_start() {
    let refused = async |change: fn(&mut RepositorySettings)| {
        let mut bench = Bench::new("git://git.example/ops");
        change(&mut bench.settings);
        Mirror::open(&bench.settings, bench.state.path(), &environment(), &BTreeMap::new())
            .await
            .expect_err("refused")
            .0
    };
    assert!(refused(|_| ()).await.contains("does not prove who answers"));
    assert!(refused(|s| s.url = None).await.contains("--repo"));
    assert!(refused(|s| s.branch = Some("--upload-pack=x".to_owned())).await.contains("branch"));
    assert!(refused(|s| s.path = "../x".to_owned()).await.contains("repository.path"));
    assert!(refused(|s| s.url = Some("ext::sh -c id".to_owned())).await.contains("repository.url"));
    let missing = |s: &mut RepositorySettings| s.signers = Some(SignerSettings { file: "/nowhere".to_owned() });
    assert!(refused(missing).await.contains("/nowhere"));
}

#[tokio::test]
async fn a_commit_in_a_local_folder_is_noticed_at_once_also_in_a_linked_work_tree() {
    let repo = TempRepo::with(&[("a.yaml", "1")]);
    assert_eq!(head_branch(&repo.url()).as_deref(), Some("main"));
    let linked = tempfile::tempdir().expect("a folder");
    let linked = linked.path().join("tree").display().to_string();
    repo.git(&["worktree", "add", "--quiet", "-b", "topic", &linked]);
    assert_eq!(head_branch(&linked).as_deref(), Some("topic"));
    for url in [repo.url(), linked] {
        let mut triggers = Triggers::new(Duration::from_secs(3_600), 1);
        let watch = Watch::start(&url, triggers.trigger()).expect("watched").expect("a folder");
        repo.commit_file("a.yaml", &url, "Change");
        let reason = tokio::time::timeout(Duration::from_secs(20), triggers.next()).await.expect("noticed");
        assert_eq!(reason, Reason::Watch);
        drop(watch);
    }
    assert!(
        Watch::start("https://git.example/x", Triggers::new(Duration::from_secs(1), 1).trigger())
            .expect("no")
            .is_none()
    );
}

#[tokio::test]
async fn many_fetches_leave_few_packs() {
    let repo = TempRepo::with(&[("a.yaml", "0")]);
    let bench = Bench::new(&repo.url());
    let mirror = bench.open().await;
    let mut current = mirror.fetch(None).await.expect("reachable").revision;
    for n in 1..30 {
        repo.commit_file("a.yaml", &n.to_string(), "Change");
        current = mirror.fetch(Some(&current)).await.expect("reachable").revision;
    }
    assert!(packs(&bench.mirror()).len() <= 25);
    assert_eq!(&*mirror.files(&current).await.expect("readable")["a.yaml"].bytes, b"29");
}

#[tokio::test]
async fn credentials_reach_their_host_and_nothing_else() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let bench = Bench::new(&format!("http://bot:s3cret@127.0.0.1:{port}/ops.git"));
    let mirror = bench.open().await;
    assert!(!mirror.url().contains("s3cret"));
    let server = async {
        let (mut stream, _) = listener.accept().await.expect("git comes");
        let mut request = vec![0; 4_096];
        let read = stream.read(&mut request).await.expect("a request");
        let moved = "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/elsewhere\r\nContent-Length: 0\r\n\r\n";
        stream.write_all(moved.as_bytes()).await.expect("answered");
        String::from_utf8_lossy(&request[..read]).into_owned()
    };
    let (request, answer) = tokio::join!(server, mirror.fetch(None));
    assert!(request.contains("Authorization: Basic Ym90OnMzY3JldA=="), "{request}");
    let error = answer.expect_err("redirects are not followed").0;
    assert!(error.contains("check the network") && !error.contains("s3cret"), "{error}");
}

#[tokio::test]
async fn a_shallow_clone_can_be_followed() {
    let origin = TempRepo::with(&[("a.yaml", "1")]);
    origin.commit_file("a.yaml", "2", "Second");
    let folder = tempfile::tempdir().expect("a folder");
    let shallow = folder.path().join("shallow").display().to_string();
    origin.git(&["clone", "--quiet", "--depth=1", &format!("file://{}", origin.url()), &shallow]);
    let bench = Bench::new(&shallow);
    let mirror = bench.open().await;
    let tip = mirror.fetch(None).await.expect("reachable").revision;
    assert_eq!(tip, origin.head());
    assert_eq!(mirror.files(&tip).await.expect("readable").len(), 1);
    assert_eq!(mirror.commits(None, &tip).await.expect("readable").len(), 1);
}

#[tokio::test]
async fn what_a_killed_git_left_behind_stops_nothing() {
    let repo = TempRepo::with(&[("a.yaml", "1")]);
    let bench = Bench::new(&repo.url());
    let mirror = bench.open().await;
    let first = mirror.fetch(None).await.expect("reachable").revision;
    let lock = bench.mirror().join("refs/codeops/heads/main.lock");
    fs::create_dir_all(lock.parent().expect("a folder")).expect("made");
    fs::write(&lock, "").expect("written");
    let second = repo.commit_file("a.yaml", "2", "Second");
    assert_eq!(mirror.fetch(Some(&first)).await.expect("the lock is cleared").revision, second);

    let half = bench.mirror().join("objects/pack/tmp_pack_abcdef");
    fs::write(&half, "half a pack").expect("written");
    fs::write(bench.mirror().join("packed-refs.lock"), "").expect("written");
    bench.open().await;
    assert!(!half.exists() && !bench.mirror().join("packed-refs.lock").exists());
}

/// Gives a folder and all in it to somebody else; whether this user may.
fn give_away(folder: &Path) -> bool {
    let given = std::os::unix::fs::lchown(folder, Some(12_345), Some(12_345)).is_ok();
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    given
        && entries.map(|entry| entry.path()).all(|path| {
            if path.is_dir() {
                give_away(&path)
            } else {
                std::os::unix::fs::lchown(&path, Some(12_345), Some(12_345)).is_ok()
            }
        })
}

#[tokio::test]
async fn the_folder_named_is_read_whoever_owns_it_and_no_other_is_trusted() {
    let repo = TempRepo::with(&[("codeops.yaml", "a: 1")]);
    let linked = tempfile::tempdir().expect("a folder");
    let linked = linked.path().join("linked tree");
    repo.git(&["worktree", "add", "--detach", &linked.display().to_string()]);
    let bare = tempfile::tempdir().expect("a folder");
    repo.git(&["clone", "--quiet", "--bare", ".", &bare.path().join("x.git").display().to_string()]);
    let bare = bare.path().join("x.git");
    let foreign = [repo.path(), &linked, &bare].map(give_away);
    for folder in [repo.path(), &linked, &bare] {
        let bench = Bench::new(&folder.display().to_string());
        let mirror = bench.open().await;
        mirror.fetch(None).await.unwrap_or_else(|error| panic!("{} ({foreign:?}): {error}", folder.display()));
        let config = fs::read_to_string(bench.state.path().join("source/home/.gitconfig")).expect("git's own home");
        // Root needs no exception: it reads with the owner's rights.
        let is_named = config.contains(&folder.display().to_string());
        assert!(!config.contains('*') && is_named != rustix::process::geteuid().is_root(), "{config}");
    }
}
