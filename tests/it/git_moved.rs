//! The settings name another repository, or another folder of it: what is in force stays in force until the new place has brought
//! a revision that is taken.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use codeops::port::Source as _;
use codeops::source::{Limits, Mirror};
use codeops_core::config::RepositorySettings;

use crate::support::git::{GitDaemon, TempRepo};

async fn open(state: &Path, url: &str, path: &str) -> Mirror {
    let settings =
        RepositorySettings { url: Some(url.to_owned()), path: path.to_owned(), ..RepositorySettings::default() };
    let (environment, teams) = (BTreeMap::new(), BTreeMap::new());
    let binary = Path::new(env!("CARGO_BIN_EXE_codeops"));
    Mirror::open_with(&settings, state, &environment, &teams, Limits::default(), binary).await.expect("it opens")
}

/// The folders beside git's own home.
fn mirrors(state: &Path) -> usize {
    let entries = fs::read_dir(state.join("source")).expect("a state folder").flatten();
    entries.filter(|entry| entry.path().is_dir() && entry.file_name() != "home").count()
}

#[tokio::test]
async fn another_url_that_does_not_answer_leaves_the_revision_in_force_until_it_brings_one() {
    let repo = TempRepo::with(&[("a.yaml", "1"), ("scripts/look.sh", "#!/bin/sh\n")]);
    let state = tempfile::tempdir().expect("a folder");
    let mirror = open(state.path(), &repo.url(), ".").await;
    let good = mirror.fetch(None).await.expect("reachable").revision;
    mirror.taken(&good).await;
    let mut moved = GitDaemon::serve(repo.path());
    moved.stop();
    for _restart in 0..2 {
        let mirror = open(state.path(), &moved.url(""), ".").await;
        mirror.fetch(Some(&good)).await.expect_err("it does not answer");
        assert_eq!(mirror.files(&good).await.expect("in force").len(), 2);
        assert_eq!(mirror.commits(None, &good).await.expect("its own").len(), 1);
        let into = tempfile::tempdir().expect("a folder");
        mirror.export(&good, &into.path().join("view")).await.expect("scripts go on");
        mirror.taken(&good).await;
    }
    assert_eq!(mirrors(state.path()), 2, "the former one stays");
    moved.start();
    let mirror = open(state.path(), &moved.url(""), ".").await;
    let next = repo.commit_file("a.yaml", "2", "Moved");
    assert_eq!(mirror.fetch(Some(&good)).await.expect("reachable").revision, next);
    assert_eq!(mirror.files(&next).await.expect("readable").len(), 2);
    mirror.taken(&next).await;
    mirror.fetch(Some(&next)).await.expect("reachable");
    assert_eq!(mirrors(state.path()), 1, "and goes when it is not needed");
}

#[tokio::test]
async fn another_url_with_another_history_leaves_the_revision_in_force() {
    let (repo, other) = (TempRepo::with(&[("a.yaml", "1")]), TempRepo::with(&[("b.yaml", "1")]));
    let state = tempfile::tempdir().expect("a folder");
    let mirror = open(state.path(), &repo.url(), ".").await;
    let good = mirror.fetch(None).await.expect("reachable").revision;
    mirror.taken(&good).await;
    let mirror = open(state.path(), &other.url(), ".").await;
    let tip = mirror.fetch(Some(&good)).await.expect("reachable");
    assert!(tip.revision == good && tip.held.is_some(), "{tip:?}");
    let files = mirror.files(&good).await.expect("in force");
    assert_eq!(files.keys().map(|path| &**path).collect::<Vec<_>>(), ["a.yaml"]);
    assert_eq!(mirrors(state.path()), 2);
}

#[tokio::test]
async fn another_folder_that_is_not_there_leaves_what_was_read_from_the_former_one() {
    let repo = TempRepo::with(&[("ops/a.yaml", "1"), ("b.yaml", "2")]);
    let state = tempfile::tempdir().expect("a folder");
    let url = repo.url();
    let mirror = open(state.path(), &url, "ops").await;
    let good = mirror.fetch(None).await.expect("reachable").revision;
    mirror.taken(&good).await;
    let names = |files: &codeops_core::desired::Files| files.keys().map(|path| path.to_string()).collect::<Vec<_>>();
    for _restart in 0..2 {
        let mirror = open(state.path(), &url, "opps").await;
        let tip = mirror.fetch(Some(&good)).await.expect("reachable");
        let held = tip.held.expect("it is said");
        assert!(held.contains("no folder `opps`") && held.contains("did you mean `ops`?"), "{held}");
        assert_eq!(names(&mirror.files(&good).await.expect("in force")), ["a.yaml"]);
        mirror.commits(None, &good).await.expect("its own");
        mirror.taken(&good).await;
    }
    let mirror = open(state.path(), &url, "opps").await;
    let next = repo.commit_file("ops/a.yaml", "3", "Go on");
    assert_eq!(mirror.fetch(Some(&good)).await.expect("reachable").revision, next);
    mirror.files(&next).await.expect_err("one that has no such folder is not taken");
    assert_eq!(names(&mirror.files(&good).await.expect("in force")), ["a.yaml"]);
    let moved = repo.commit_file("opps/c.yaml", "3", "Move");
    assert_eq!(mirror.fetch(Some(&good)).await.expect("reachable").revision, moved);
    assert_eq!(names(&mirror.files(&moved).await.expect("it has the folder")), ["c.yaml"]);
}
