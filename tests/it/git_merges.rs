//! Whose words a merge's are, over real git: who merges what others committed speaks for none of them, and what these said
//! themselves counts as theirs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use codeops::journal::Record;
use codeops::port::Source as _;
use codeops::reconcile::acceptance;
use codeops::source::{Limits, Mirror};
use codeops_core::config::{RepositorySettings, TeamSettings};
use codeops_core::desired::{Compiler, Context};
use codeops_core::model::{ChangedBy, Commit, Memory, Revision, TeamName};
use tempfile::TempDir;

use crate::support::git::TempRepo;

const TOP: &str =
    "apiVersion: codeops/v1\nkind: Repository\nmetadata: {name: ops}\nspec: {defaults: {provider: local}}\n";
const PULLED: &str = "Merge branch 'main'\n\nCodeops-Allow: 2837fd4db0dc";

/// A repository in which the teams a and b have a folder each, followed up to its first commit.
struct Bench {
    repo: TempRepo,
    _state: TempDir,
    mirror: Mirror,
    base: Revision,
}

fn teams() -> BTreeMap<TeamName, TeamSettings> {
    let team = |name: &str| {
        let own = TeamSettings { paths: vec![format!("{name}/**")], ..TeamSettings::default() };
        (name.parse().expect("a name"), own)
    };
    [team("a"), team("b")].into()
}

fn names(names: &[&str]) -> BTreeSet<TeamName> {
    names.iter().map(|name| name.parse().expect("a name")).collect()
}

fn app(team: &str, text: &str) -> String {
    format!(
        "apiVersion: codeops/v1\nkind: App\nmetadata: {{name: {team}, team: {team}}}\n\
         spec: {{run: {{command: [x]}}, env: {{TEXT: {text}}}}}\n"
    )
}

/// What is written down when the branch is taken: for whom each `Codeops-Allow` counts, and who changed which app.
struct Taken {
    allowed: Vec<Option<BTreeSet<TeamName>>>,
    changed: BTreeMap<String, ChangedBy>,
    commits: Vec<Commit>,
}

impl Bench {
    async fn new() -> Self {
        let team = |name| format!("apiVersion: codeops/v1\nkind: Team\nmetadata: {{name: {name}}}\nspec: {{}}\n");
        let repo = TempRepo::with(&[
            ("codeops.yaml", TOP),
            ("teams/a.yaml", &team("a")),
            ("teams/b.yaml", &team("b")),
            ("a/app.yaml", &app("a", "first")),
            ("b/app.yaml", &app("b", "first")),
        ]);
        let settings = RepositorySettings { url: Some(repo.url()), ..RepositorySettings::default() };
        let (state, binary) = (tempfile::tempdir().expect("a folder"), Path::new(env!("CARGO_BIN_EXE_codeops")));
        let mirror = Mirror::open_with(&settings, state.path(), &BTreeMap::new(), &teams(), Limits::default(), binary)
            .await
            .expect("it opens");
        let base = mirror.fetch(None).await.expect("reachable").revision;
        Self { repo, _state: state, mirror, base }
    }

    /// A clone of somebody's, at `revision`.
    fn at(&self, revision: &Revision) {
        self.repo.git(&["checkout", "--quiet", "-B", "clone", revision.as_str()]);
    }

    fn commit(&self, path: &str, text: &str, message: &str) -> Revision {
        self.repo.commit_file(path, text, message)
    }

    fn merge(&self, others: &[&Revision], message: &str) -> Revision {
        let others = others.iter().map(|other| other.as_str());
        self.repo.git(&["merge", "--quiet", "--no-ff", "-m", message].into_iter().chain(others).collect::<Vec<_>>());
        self.repo.head()
    }

    /// Pushes what the clone has, and takes it as the daemon does that followed `since`.
    async fn push(&self, since: &Revision) -> Taken {
        self.repo.git(&["branch", "--quiet", "--force", "main", "HEAD"]);
        let tip = self.mirror.fetch(Some(since)).await.expect("reachable").revision;
        assert_eq!(tip, self.repo.head(), "it is followed");
        let files = self.mirror.files(&tip).await.expect("readable");
        let compiled = Compiler::default().compile(&files, &Context { teams: teams(), ..Context::default() });
        assert!(compiled.diagnostics.is_empty(), "{:?}", compiled.diagnostics);
        let commits = self.mirror.commits(Some(since), &tip).await.expect("readable");
        let mut taken = Taken { allowed: Vec::new(), changed: BTreeMap::new(), commits: Vec::new() };
        for record in acceptance::records(&tip, &compiled, &commits, &teams(), &Memory::default()) {
            match record {
                Record::Allowed { teams, .. } => taken.allowed.push(teams),
                Record::RevisionAccepted { changed, commits, .. } => {
                    taken.changed = changed.into_iter().map(|(id, by)| (id.to_string(), by)).collect();
                    taken.commits = commits;
                }
                _ => {}
            }
        }
        taken
    }
}

/// Nor does who makes another's change once more, and merges it: what a server sees of the push is his own file alone.
#[tokio::test]
async fn who_makes_anothers_change_too_says_nothing_for_them() {
    let bench = Bench::new().await;
    for order in [false, true] {
        bench.at(&bench.base);
        let theirs = bench.commit("a/app.yaml", &app("a", "second"), "Theirs");
        bench.at(&bench.base);
        bench.commit("b/app.yaml", &app("b", "second"), "Mine");
        bench.commit("a/app.yaml", &app("a", "second"), "Theirs again\n\nCodeops-Allow: 2837fd4db0dc");
        let mine = bench.repo.head();
        if order {
            bench.at(&theirs);
            bench.merge(&[&mine], "Merge mine");
        } else {
            bench.merge(&[&theirs], "Merge theirs");
        }
        let taken = bench.push(&bench.base).await;
        assert_eq!(taken.allowed, [Some(names(&[]))], "{order}");
        assert_eq!(taken.changed.keys().collect::<Vec<_>>(), ["app/a", "app/b"], "both are changed all the same");
    }
    // What is committed before a branch parts from it, or beside one that leaves it alone, counts.
    bench.at(&bench.base);
    let own = bench.commit("a/app.yaml", &app("a", "third"), "Own\n\nCodeops-Allow: 2837fd4db0dc");
    bench.commit("b/app.yaml", &app("b", "third"), "On top");
    let branch = bench.repo.head();
    bench.at(&own);
    bench.merge(&[&branch], "Merge branch");
    assert_eq!(bench.push(&bench.base).await.allowed, [Some(names(&["a"]))]);
    bench.at(&bench.base);
    bench.commit("b/app.yaml", &app("b", "fourth"), "Beside");
    let branch = bench.repo.head();
    bench.at(&bench.base);
    bench.commit("a/app.yaml", &app("a", "fourth"), "Own\n\nCodeops-Allow: 2837fd4db0dc");
    bench.merge(&[&branch], "Merge branch");
    assert_eq!(bench.push(&bench.base).await.allowed, [Some(names(&["a"]))]);
}

/// What others committed meanwhile is not changed by who pulls it.
#[tokio::test]
async fn who_merges_what_others_committed_says_nothing_for_them() {
    let bench = Bench::new().await;
    for (path, text) in
        [("a/app.yaml", app("a", "second")), ("codeops.yaml", TOP.replace("spec: {", "spec: {resolveDelay: 30s, "))]
    {
        bench.at(&bench.base);
        let theirs = bench.commit(path, &text, "Theirs");

        bench.at(&bench.base);
        bench.merge(&[&theirs], PULLED);
        let taken = bench.push(&bench.base).await;
        assert_eq!(taken.allowed, [Some(names(&[]))], "{path}: with nothing of one's own");
        assert_eq!(taken.commits[0].teams, names(&[]), "{path}: nor are its words theirs");

        bench.at(&bench.base);
        bench.commit("b/app.yaml", &app("b", "second"), "Ours");
        bench.merge(&[&theirs], PULLED);
        let taken = bench.push(&bench.base).await;
        assert_eq!(taken.allowed, [Some(names(&[]))], "{path}: on one's own commit");

        bench.at(&bench.base);
        let other = bench.commit("b/other.txt", "other", "Another of ours");
        bench.at(&bench.base);
        bench.commit("b/app.yaml", &app("b", "second"), "Ours");
        bench.merge(&[&theirs, &other], PULLED);
        assert_eq!(bench.push(&bench.base).await.allowed, [Some(names(&[]))], "{path}: several at once");

        bench.at(&bench.base);
        let ours = bench.commit("b/app.yaml", &app("b", "second"), "Ours, pushed before");
        let theirs = bench.commit(path, &text, "Theirs upon it");
        bench.at(&ours);
        bench.merge(&[&theirs], PULLED);
        assert_eq!(bench.push(&bench.base).await.allowed, [Some(names(&[]))], "{path}: on one's own that was pushed");
        assert_eq!(bench.push(&ours).await.allowed, [Some(names(&[]))], "{path}: and followed");
        assert_eq!(bench.push(&theirs).await.allowed, [Some(names(&[]))], "{path}: as theirs was");
    }
}

/// Who pulls takes nothing from those whose commits come with it: what they say counts, and what they changed is theirs.
#[tokio::test]
async fn what_a_merge_brings_is_of_those_who_committed_it() {
    let bench = Bench::new().await;
    let theirs = bench.commit("a/app.yaml", &app("a", "second"), "Fewer\n\nCodeops-Allow: 2837fd4db0dc");
    bench.at(&bench.base);
    bench.commit("b/app.yaml", &app("b", "second"), "Ours");
    bench.merge(&[&theirs], "Merge branch 'main'");
    let taken = bench.push(&bench.base).await;
    assert_eq!(taken.allowed, [Some(names(&["a"]))]);
    let team = |app: &str| (app.to_owned(), ChangedBy::Team);
    assert_eq!(taken.changed, [team("app/a"), team("app/b")].into());
    let said = ("Codeops-Allow".to_owned(), "2837fd4db0dc".to_owned());
    assert_eq!(taken.commits[1].trailers, [said], "it is shown with the merge");
}

/// A pull request that the server merges.
#[tokio::test]
async fn a_pull_requests_trailers_count_in_its_commits_and_not_in_the_merge() {
    let bench = Bench::new().await;
    let request = bench.commit("a/app.yaml", &app("a", "second"), "Fewer\n\nCodeops-Allow: 2837fd4db0dc");
    bench.at(&bench.base);
    let main = bench.commit("b/app.yaml", &app("b", "second"), "Theirs");
    bench.merge(&[&request], "Merge pull request #1");
    assert_eq!(bench.push(&main).await.allowed, [Some(names(&["a"]))]);

    bench.at(&bench.base);
    let request = bench.commit("a/app.yaml", &app("a", "second"), "Fewer");
    bench.at(&main);
    bench.merge(&[&request], PULLED);
    assert_eq!(bench.push(&main).await.allowed, [Some(names(&[]))], "nobody sees who it was that merged whose commits");

    // A change that only passes through the request, while the branch has another.
    bench.at(&bench.base);
    bench.commit("a/app.yaml", &app("a", "theirs"), "Look like them\n\nCodeops-Allow: 2837fd4db0dc");
    bench.commit("a/app.yaml", &app("a", "first"), "And back");
    let request = bench.commit("b/app.yaml", &app("b", "second"), "Ours");
    bench.at(&bench.base);
    bench.commit("a/app.yaml", &app("a", "second"), "Theirs");
    bench.merge(&[&request], "Merge pull request #2");
    assert_eq!(bench.push(&bench.base).await.allowed, [Some(names(&[]))]);
}

/// A conflict that is resolved another way than either side has it is a change of its own.
#[tokio::test]
async fn a_merge_speaks_for_what_it_changes_itself() {
    let bench = Bench::new().await;
    let theirs = bench.commit("a/app.yaml", &app("a", "theirs"), "Theirs");
    bench.at(&bench.base);
    bench.commit("b/app.yaml", &app("b", "second"), "Ours");
    bench.repo.git(&["merge", "--quiet", "--no-ff", "--no-commit", theirs.as_str()]);
    bench.commit("a/app.yaml", &app("a", "third"), PULLED);
    let taken = bench.push(&bench.base).await;
    assert_eq!(taken.allowed, [Some(names(&["a"]))]);
    assert_eq!(taken.commits[1].teams, names(&["a"]));
}

/// A commit of the clone's files with these parents, at a time of its own.
fn dated(bench: &Bench, parents: &[&Revision], at: i64, message: &str) -> Revision {
    let tree = bench.repo.git(&["rev-parse", "HEAD^{tree}"]);
    let parents: String = parents.iter().map(|parent| format!("parent {parent}\n")).collect();
    let who = format!("Ada <ada@acme.example> {at} +0000");
    let text = format!("tree {tree}\n{parents}author {who}\ncommitter {who}\n\n{message}\n");
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), text).expect("written");
    let id = bench.repo.git(&["hash-object", "-t", "commit", "-w", &file.path().display().to_string()]);
    bench.repo.git(&["reset", "--quiet", "--hard", &id]);
    id.parse().expect("a commit id")
}

/// A merge whose first parent is the side branch, while what is in force comes in as its second: what was said before the branch
/// parted was said once, however old the commits since then claim to be.
#[tokio::test]
async fn what_was_said_counts_once_whatever_dates_commits_claim() {
    let bench = Bench::new().await;
    bench.at(&bench.base);
    let said = dated(&bench, &[&bench.base], 1_795_000_002, "Fewer\n\nCodeops-Allow: 2837fd4db0dc");
    assert_eq!(bench.push(&bench.base).await.allowed.len(), 1);
    let mut main = said.clone();
    for back in 0..12 {
        main = dated(&bench, &[&main], 1_000_000_100 - back, "Older than it is");
    }
    assert!(bench.push(&said).await.allowed.is_empty());
    let side = dated(&bench, &[&said], 1_795_000_003, "Beside");
    let merge = dated(&bench, &[&side, &main], 1_795_000_004, "Merge branch 'main'");
    let taken = bench.push(&main).await;
    assert_eq!(taken.allowed, [], "it is spent");
    let told: Vec<_> = taken.commits.iter().map(|commit| &commit.revision).collect();
    assert_eq!(told, [&side, &merge]);
}
