//! Commits out of shape, as old tools made them and anybody may push them: they are followed; what could harm is not, and says
//! what to do.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use codeops::port::Source;
use codeops::source::{Limits, Mirror};
use codeops_core::config::RepositorySettings;
use codeops_core::model::Revision;

use crate::support::git::TempRepo;

const GOOD: &str = "Ada <ada@acme.example> 1795800000 +0000";

async fn mirror(repo: &TempRepo, state: &Path) -> Mirror {
    let settings = RepositorySettings { url: Some(repo.url()), ..RepositorySettings::default() };
    let binary = Path::new(env!("CARGO_BIN_EXE_codeops"));
    let none = BTreeMap::new();
    Mirror::open_with(&settings, state, &none, &BTreeMap::new(), Limits::default(), binary).await.expect("it opens")
}

/// Writes an object as it is, whatever git would say of it.
fn object(repo: &TempRepo, kind: &str, bytes: &[u8]) -> String {
    let file = tempfile::NamedTempFile::new().expect("a file");
    fs::write(file.path(), bytes).expect("written");
    repo.git(&["hash-object", "-t", kind, "-w", "--literally", &file.path().display().to_string()])
}

/// A commit on the branch with these lines of who made it.
fn made_by(repo: &TempRepo, [author, committer]: [&str; 2], message: &str) -> Revision {
    let (tree, parent) = (repo.git(&["rev-parse", "HEAD^{tree}"]), repo.head());
    let text = format!("tree {tree}\nparent {parent}\nauthor {author}\ncommitter {committer}\n\n{message}\n");
    let commit = object(repo, "commit", text.as_bytes());
    repo.git(&["reset", "--quiet", "--hard", &commit]);
    commit.parse().expect("a commit id")
}

#[tokio::test]
async fn a_commit_whose_author_is_out_of_shape_keeps_nobody_from_being_followed() {
    let repo = TempRepo::with(&[("codeops.yaml", "a: 1")]);
    let state = tempfile::tempdir().expect("a folder");
    let mirror = mirror(&repo, state.path()).await;
    let first = mirror.fetch(None).await.expect("it answers").revision;
    let mut current = first.clone();
    for line in [
        "t t@x 1795800000 +0000",
        "t <t@x> soon +0000",
        "t <t@x>1795800000 +0000",
        "t<t@x> 1795800000 +0000",
        "<t@x> 1795800000 +99999999",
        "t <t@x> 99999999999999999999 +0000",
        "t > <t@x 1795800000 +0000",
    ] {
        for lines in [[line, GOOD], [GOOD, line]] {
            let bad = made_by(&repo, lines, &format!("By {line}"));
            let tip = mirror.fetch(Some(&current)).await.unwrap_or_else(|error| panic!("{lines:?}: {error}"));
            assert_eq!((&tip.revision, &tip.held), (&bad, &None), "{lines:?}");
            assert_eq!(mirror.files(&bad).await.expect("read").len(), 1);
            let good = repo.commit_file("codeops.yaml", &format!("a: 1 # {lines:?}"), "Good");
            let tip = mirror.fetch(Some(&current)).await.unwrap_or_else(|error| panic!("{lines:?}: {error}"));
            assert_eq!((&tip.revision, tip.held), (&good, None), "{lines:?}");
            let commits = mirror.commits(Some(&current), &good).await.expect("read");
            let said: Vec<_> = commits.iter().map(|commit| commit.subject.clone()).collect();
            assert_eq!(said, [format!("By {line}"), "Good".to_owned()]);
            assert!(commits[1].changed.contains("codeops.yaml"), "{commits:?}");
            current = good;
        }
    }
    let all = mirror.commits(Some(&first), &current).await.expect("read");
    assert!(all.iter().any(|commit| commit.author == "t t@x <>"), "{all:#?}");

    // One that a merge brings, beside a branch that goes on.
    repo.git(&["checkout", "--quiet", "-b", "topic"]);
    made_by(&repo, ["t t@x 1795800000 +0000", "t 1795800000"], "Topic\n\nCodeops-Retry: app/shop");
    repo.git(&["checkout", "--quiet", "main"]);
    repo.commit_file("other.yaml", "b: 1", "Beside");
    repo.git(&["merge", "--quiet", "--no-ff", "-m", "Merge", "topic"]);
    let merge = mirror.fetch(Some(&current)).await.expect("it answers").revision;
    assert_eq!(merge, repo.head());
    let commits = mirror.commits(Some(&current), &merge).await.expect("read");
    assert!(format!("{commits:?}").contains("app/shop"), "{commits:#?}");

    // A rewritten history is told as one.
    repo.git(&["reset", "--quiet", "--hard", first.as_str()]);
    repo.commit_file("codeops.yaml", "a: 2", "Elsewhere");
    let tip = mirror.fetch(Some(&merge)).await.expect("it answers");
    assert!(tip.revision == merge && tip.held.is_some_and(|held| held.contains("history was rewritten")));
}

#[tokio::test]
async fn what_stands_below_the_committer_is_no_parent_no_tree_and_no_author() {
    let repo = TempRepo::with(&[("codeops.yaml", "a: 1")]);
    let state = tempfile::tempdir().expect("a folder");
    let mirror = mirror(&repo, state.path()).await;
    let first = mirror.fetch(None).await.expect("it answers").revision;
    let elsewhere = "1".repeat(40);
    let below = format!("{GOOD}\nparent {elsewhere}\ntree {elsewhere}\nauthor Eve <eve@x> 1 +0000\nparent nothing");
    made_by(&repo, [GOOD, &below], "Below");
    let good = repo.commit_file("codeops.yaml", "a: 2", "Good");
    let tip = mirror.fetch(Some(&first)).await.expect("it answers");
    assert_eq!((&tip.revision, tip.held), (&good, None));
    let commits = mirror.commits(Some(&first), &good).await.expect("read");
    let said: Vec<_> = commits.iter().map(|commit| (commit.subject.as_str(), commit.author.as_str())).collect();
    assert_eq!(said, [("Below", "Ada <ada@acme.example>"), ("Good", commits[1].author.as_str())]);
}

#[tokio::test]
async fn an_entry_of_a_mode_that_nothing_has_hides_nothing_beside_it() {
    let repo = TempRepo::with(&[("codeops.yaml", "a: 1"), ("b/app.yaml", "b: 1")]);
    let state = tempfile::tempdir().expect("a folder");
    let mirror = mirror(&repo, state.path()).await;
    let first = mirror.fetch(None).await.expect("it answers").revision;
    let raw = |id: &str| -> Vec<u8> {
        (0..20).map(|n| u8::from_str_radix(&id[2 * n..2 * n + 2], 16).expect("hex")).collect()
    };
    let blob = raw(&repo.git(&["rev-parse", "HEAD:b/app.yaml"]));
    let entries =
        [&b"100644 app.yaml\0"[..], &blob, b"1000000 odd.yaml\0", &blob, b"100666 wide.yaml\0", &blob].concat();
    let folder = object(&repo, "tree", &entries);
    let top = raw(&repo.git(&["rev-parse", "HEAD:codeops.yaml"]));
    let tree = object(&repo, "tree", &[&b"40000 b\0"[..], &raw(&folder), b"100644 codeops.yaml\0", &top].concat());
    let text = format!("tree {tree}\nparent {first}\nauthor {GOOD}\ncommitter {GOOD}\n\nOdd\n");
    let odd = object(&repo, "commit", text.as_bytes());
    repo.git(&["update-ref", "refs/heads/main", &odd]);
    let tip = mirror.fetch(Some(&first)).await.expect("it answers");
    assert_eq!((tip.revision.as_str(), tip.held), (odd.as_str(), None));
    let files: Vec<_> = mirror.files(&tip.revision).await.expect("read").keys().map(ToString::to_string).collect();
    assert_eq!(files, ["b/app.yaml", "b/wide.yaml", "codeops.yaml"]);
    let commits = mirror.commits(Some(&first), &tip.revision).await.expect("read");
    assert!(commits[0].changed.contains("b/odd.yaml") && !commits[0].changed.contains("b/app.yaml"), "{commits:?}");
    // And once it is gone.
    repo.git(&["reset", "--quiet", "--hard", first.as_str()]);
    repo.git(&["update-ref", "refs/heads/main", &odd]);
    repo.git(&["read-tree", first.as_str()]);
    repo.git(&["commit", "--quiet", "-m", "Without"]);
    let last = mirror.fetch(Some(&tip.revision)).await.expect("it answers").revision;
    assert_eq!(mirror.commits(Some(&first), &last).await.expect("read").len(), 2);
    assert_eq!(mirror.files(&last).await.expect("read").len(), 2);
}

#[tokio::test]
async fn an_object_that_could_harm_is_refused_with_the_way_out() {
    let repo = TempRepo::with(&[("codeops.yaml", "a: 1")]);
    let state = tempfile::tempdir().expect("a folder");
    let mirror = mirror(&repo, state.path()).await;
    made_by(&repo, ["t t@x 1795800000 +0000", GOOD], "Out of shape");
    let first = mirror.fetch(None).await.expect("it answers").revision;
    let blob = repo.git(&["rev-parse", "HEAD:codeops.yaml"]);
    let raw: Vec<u8> = (0..20).map(|n| u8::from_str_radix(&blob[2 * n..2 * n + 2], 16).expect("hex")).collect();
    let tree = object(&repo, "tree", &[b"100644 .git\0", &raw[..]].concat());
    let text = format!("tree {tree}\nparent {first}\nauthor {GOOD}\ncommitter {GOOD}\n\nHarm\n");
    let commit = object(&repo, "commit", text.as_bytes());
    repo.git(&["update-ref", "refs/heads/main", &commit]);
    let error = mirror.fetch(Some(&first)).await.expect_err("refused").to_string();
    assert!(error.contains("cannot fetch from") && error.contains("hasDotgit"), "{error}");
    assert!(!error.contains("check the network") && error.contains("receive.fsckObjects"), "{error}");
    assert!(error.contains("push the branch again from the revision in force on"), "{error}");
    repo.git(&["update-ref", "refs/heads/main", first.as_str()]);
    let good = repo.commit_file("codeops.yaml", "a: 2", "Mended");
    assert_eq!(mirror.fetch(Some(&first)).await.expect("it answers").revision, good);
}
