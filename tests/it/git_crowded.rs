//! Revisions over real git that hold more than all teams may have together: whoever writes too much keeps out only their own.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use codeops::port::Source as _;
use codeops::source::{Limits, Mirror};
use codeops_core::config::{RepositorySettings, TeamSettings};
use codeops_core::desired::{Compiled, Compiler, Context, Declared};
use codeops_core::model::{Revision, TeamName};
use git2::{Oid, Repository, Signature};
use tempfile::TempDir;

use crate::support::git::TempRepo;

/// A mirror with small limits, of a repository in which the teams a and b have a folder each.
struct Bench {
    repo: TempRepo,
    _state: TempDir,
    mirror: Mirror,
    compiler: Compiler,
    declared: Declared,
    last: Option<Revision>,
}

fn teams() -> BTreeMap<TeamName, TeamSettings> {
    let team = |name: &str| {
        let own = TeamSettings { paths: vec![format!("{name}/**")], ..TeamSettings::default() };
        (name.parse().expect("a name"), own)
    };
    [team("a"), team("b")].into()
}

fn app(team: &str, name: &str, text: &str) -> String {
    format!(
        "apiVersion: codeops/v1\nkind: App\nmetadata: {{name: {name}, team: {team}}}\n\
         spec: {{run: {{command: [x]}}, env: {{TEXT: {text}}}}}\n"
    )
}

impl Bench {
    async fn new(limits: Limits) -> Self {
        let team = |name| {
            format!(
                "apiVersion: codeops/v1\nkind: Team\nmetadata: {{name: {name}}}\nspec: {{members: [a@b.example]}}\n"
            )
        };
        let repo = TempRepo::with(&[
            (
                "codeops.yaml",
                "apiVersion: codeops/v1\nkind: Repository\nmetadata: {name: ops}\nspec: {defaults: {provider: local}}\n",
            ),
            ("teams/a.yaml", &team("a")),
            ("teams/b.yaml", &team("b")),
            ("a/one.yaml", &app("a", "one", "first")),
            ("b/two.yaml", &app("b", "two", "first")),
        ]);
        let settings = RepositorySettings { url: Some(repo.url()), ..RepositorySettings::default() };
        let (state, binary) = (tempfile::tempdir().expect("a folder"), Path::new(env!("CARGO_BIN_EXE_codeops")));
        let mirror = Mirror::open_with(&settings, state.path(), &BTreeMap::new(), &teams(), limits, binary)
            .await
            .expect("it opens");
        let mut bench =
            Self { repo, _state: state, mirror, compiler: Compiler::default(), declared: Declared::new(), last: None };
        let compiled = bench.take().await;
        assert!(compiled.diagnostics.is_empty(), "{:?}", compiled.diagnostics);
        bench
    }

    /// Takes the newest commit as the daemon does.
    async fn take(&mut self) -> Compiled {
        let tip = self.mirror.fetch(self.last.as_ref()).await.expect("reachable");
        let files = self.mirror.files(&tip.revision).await.expect("it is taken");
        let context = Context { teams: teams(), declared: self.declared.clone(), ..Context::default() };
        let compiled = self.compiler.compile(&files, &context);
        self.declared.clone_from(&compiled.declared);
        self.last = Some(tip.revision);
        compiled
    }

    /// A folder of 10^20 files in twenty objects.
    fn without_end(&self) -> Oid {
        let git = Repository::open(self.repo.path()).expect("a repository");
        let blob = git.blob(app("b", "many", "x").as_bytes()).expect("written");
        let mut tree = None;
        for _ in 0..20 {
            let mut folder = git.treebuilder(None).expect("a builder");
            for number in 0..10 {
                let name = if tree.is_some() { format!("d{number}") } else { format!("d{number}.yaml") };
                let mode = if tree.is_some() { 0o040_000 } else { 0o100_644 };
                folder.insert(name, tree.unwrap_or(blob), mode).expect("inserted");
            }
            tree = Some(folder.write().expect("written"));
        }
        tree.expect("a folder")
    }

    /// Commits what is at `path` of nothing but trees.
    fn commit_tree(&self, path: &str, tree: Oid) {
        let git = Repository::open(self.repo.path()).expect("a repository");
        let head = git.head().and_then(|head| head.peel_to_commit()).expect("a commit");
        let mut root = git.treebuilder(Some(&head.tree().expect("its tree"))).expect("a builder");
        root.insert(path, tree, 0o040_000).expect("inserted");
        let root = git.find_tree(root.write().expect("written")).expect("there");
        let who = Signature::now("b", "b@b.example").expect("a name");
        git.commit(Some("HEAD"), &who, &who, "Many", &root, &[&head]).expect("committed");
    }
}

/// The places of all mistakes.
fn places(compiled: &Compiled) -> Vec<&str> {
    compiled.diagnostics.iter().map(|found| &*found.place.file).collect()
}

/// What an app's environment says, where the app is not held.
fn text<'c>(compiled: &'c Compiled, name: &str) -> Option<&'c str> {
    let found = compiled.desired.resources.iter().find(|(id, _)| id.name.as_str() == name);
    found.and_then(|(_, resource)| resource.spec.env.get("TEXT")).map(String::as_str)
}

fn is_held(compiled: &Compiled, name: &str) -> bool {
    compiled.desired.held.keys().any(|id| id.name.as_str() == name)
}

#[tokio::test]
async fn files_of_one_team_beyond_its_share_hold_its_own_apps_and_no_others() {
    for limits in [
        Limits { files: 20, ..Limits::default() },
        Limits { total_bytes: 4_000, ..Limits::default() },
        Limits { entries: 20, ..Limits::default() },
    ] {
        let mut bench = Bench::new(limits).await;
        for number in 0..40 {
            bench.repo.write(&format!("b/n{number}.yaml"), &app("b", &format!("n{number}"), &"x".repeat(100)));
        }
        bench.repo.write("b/two.yaml", &app("b", "two", "second"));
        bench.repo.commit_file("a/one.yaml", &app("a", "one", "second"), "Both");
        let compiled = bench.take().await;
        assert_eq!(text(&compiled, "one"), Some("second"), "{limits:?}: {:?}", compiled.diagnostics);
        assert!(is_held(&compiled, "two") || !compiled.desired.undeletable.is_empty(), "{limits:?}");
        assert_eq!(text(&compiled, "two"), None, "{limits:?}: files count in the order of their paths");
        assert_eq!(text(&compiled, "n0").map(str::len), Some(100), "{limits:?}: its share is read");
        assert!(compiled.desired.owner.is_some() && compiled.desired.teams.len() == 2, "{limits:?}");
        let told = &compiled.diagnostics;
        assert!(!told.is_empty() && told.iter().all(|found| found.place.file.starts_with("b/")), "{told:?}");
        assert!(told.iter().all(|found| found.message.contains("the team `b` may write")), "{told:?}");
        assert!(told.iter().all(|found| found.team.as_ref().is_some_and(|team| team.as_str() == "b")), "{told:?}");

        // What the other does is taken meanwhile, and all is as before once there is room again.
        bench.repo.commit_file("a/one.yaml", &app("a", "one", "third"), "One");
        let again = bench.take().await;
        assert_eq!(text(&again, "one"), Some("third"), "{limits:?}");
        assert_eq!(places(&again), places(&compiled), "{limits:?}");
        for number in 0..40 {
            bench.repo.remove(&format!("b/n{number}.yaml"));
        }
        bench.repo.commit("Fewer");
        let after = bench.take().await;
        assert_eq!((text(&after, "one"), text(&after, "two")), (Some("third"), Some("second")), "{limits:?}");
        assert!(after.diagnostics.is_empty(), "{limits:?}: {:?}", after.diagnostics);
    }
}

#[tokio::test]
async fn a_file_beyond_its_share_is_held_by_what_it_last_declared() {
    let mut bench = Bench::new(Limits { total_bytes: 4_000, ..Limits::default() }).await;
    bench.repo.commit_file("b/two.yaml", &app("b", "two", &"x".repeat(4_000)), "Too much");
    let compiled = bench.take().await;
    assert_eq!(places(&compiled), ["b/two.yaml"]);
    assert!(is_held(&compiled, "two") && compiled.desired.undeletable.is_empty());
    assert_eq!(text(&compiled, "one"), Some("first"));
}

#[tokio::test]
async fn folders_without_end_keep_out_only_those_who_may_write_there() {
    let mut bench = Bench::new(Limits { entries: 100, ..Limits::default() }).await;
    bench.commit_tree("b", bench.without_end());
    let compiled = bench.take().await;
    assert_eq!(text(&compiled, "one"), Some("first"));
    assert!(!compiled.desired.undeletable.is_empty(), "what is in them is not known");
    let told = |why: &str| compiled.diagnostics.iter().any(|found| found.message.contains(why));
    assert!(told("more than 100 files and folders"), "{:?}", compiled.diagnostics);
    assert!(compiled.diagnostics.iter().all(|found| found.place.file.starts_with("b/")), "{:?}", compiled.diagnostics);
}

/// Who changes folders without end hides nothing that another changes, before it or after it, and may take them out again.
#[tokio::test]
async fn changes_without_end_keep_out_only_those_who_made_them() {
    let mut bench = Bench::new(Limits { entries: 1_000, ..Limits::default() }).await;
    let base = bench.last.clone().expect("a revision");
    bench.repo.commit_file("a/one.yaml", &app("a", "one", "second"), "Before");
    bench.commit_tree("b", bench.without_end());
    bench.repo.write("a/one.yaml", &app("a", "one", "third"));
    let git = Repository::open(bench.repo.path()).expect("a repository");
    let mut folder = git.treebuilder(None).expect("a builder");
    folder
        .insert("one.yaml", git.blob(app("a", "one", "third").as_bytes()).expect("written"), 0o100_644)
        .expect("inserted");
    bench.commit_tree("a", folder.write().expect("written"));
    let compiled = bench.take().await;
    assert_eq!(text(&compiled, "one"), Some("third"), "{:?}", compiled.diagnostics);
    let tip = bench.last.clone().expect("a revision");
    let commits = bench.mirror.commits(Some(&base), &tip).await.expect("readable");
    let [before, bomb, after] = &commits[..] else { panic!("{commits:?}") };
    for theirs in [before, after] {
        assert_eq!(theirs.changed, ["a/one.yaml".to_owned()].into());
        assert_eq!((&theirs.stands, &theirs.brings), (&theirs.changed, &theirs.changed));
        assert!(theirs.beyond.is_empty(), "{:?}", theirs.beyond);
    }
    let ours = |paths: &BTreeSet<String>| !paths.is_empty() && paths.iter().all(|path| path.starts_with("b/"));
    assert!(ours(&bomb.beyond) && ours(&bomb.changed) && ours(&bomb.brings), "{bomb:?}");

    bench.repo.commit("Take it out");
    let compiled = bench.take().await;
    assert_eq!((text(&compiled, "one"), text(&compiled, "two")), (Some("third"), Some("first")));
    let last = bench.last.clone().expect("a revision");
    let commits = bench.mirror.commits(Some(&tip), &last).await.expect("readable");
    assert!(commits.len() == 1 && ours(&commits[0].beyond) && ours(&commits[0].brings), "{commits:?}");
    let commits = bench.mirror.commits(Some(&base), &last).await.expect("readable");
    assert_eq!(commits.len(), 4, "also in its history");
    assert!(commits[3].stands.is_empty(), "{:?}", commits[3].stands);
}

#[tokio::test]
async fn what_scripts_see_of_a_revision_has_everybodys_share_and_nothing_too_big() {
    let bench = Bench::new(Limits { files: 20, ..Limits::default() }).await;
    for number in 0..40 {
        bench.repo.write(&format!("b/n{number}.txt"), "many");
    }
    bench.repo.write("b/big.bin", &"x".repeat((32 << 20) + 1));
    bench.repo.write("a/scripts/look.sh", "#!/bin/sh\n");
    let revision = bench.repo.commit("Many and one that is big");
    bench.mirror.fetch(bench.last.as_ref()).await.expect("reachable");
    let folder = tempfile::tempdir().expect("a folder");
    let view = folder.path().join("view");
    bench.mirror.export(&revision, &view).await.expect("written");
    assert!(view.join("a/scripts/look.sh").exists() && view.join("codeops.yaml").exists());
    assert!(view.join("b/n0.txt").exists() && !view.join("b/n9.txt").exists() && !view.join("b/big.bin").exists());
    // It can be removed again only by its owner.
    codeops::base::remove_folder(&view).expect("removed");
}
