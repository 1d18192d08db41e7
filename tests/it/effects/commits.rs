//! Commits by the bot, pushed to real repositories.

use std::collections::BTreeMap;
use std::sync::Arc;

use codeops::port::{Effect, GitOrder, GitOrderChange, ScriptCall, Source as _};
use codeops::source::Mirror;
use codeops_core::config::{BotSettings, RepositorySettings, SignerSettings};
use codeops_core::model::{Name, Period, ResourceId, RunId};
use serde_json::{Value, json};

use super::{Setting, Stage, failed, payments};
use crate::support::git::{SshKey, TempRepo, git_in};
use crate::support::skip::skip;

const SHOP: &str = "apiVersion: codeops/v1\nkind: App\nmetadata: {name: shop}\nspec:\n  # how many\n  replicas: 2\n  env: {}\n  after: []\n  image: v1\n";

/// A bare repository, a work tree that pushes to it, and a stage that commits to it.
struct Remote {
    bare: tempfile::TempDir,
    work: TempRepo,
    stage: Stage,
}

impl Remote {
    async fn new(bot: BotSettings, signers: Option<SignerSettings>) -> Self {
        let work = TempRepo::with(&[("apps/shop.yaml", SHOP), ("other/x.yaml", "kind: App\n")]);
        let bare = tempfile::tempdir().expect("a folder");
        git_in(bare.path(), &["init", "--quiet", "--bare", "--initial-branch=main", "."]);
        work.git(&["remote", "add", "origin", &bare.path().display().to_string()]);
        work.git(&["push", "--quiet", "origin", "main"]);
        let stage = stage(&bare.path().display().to_string(), bot, signers).await;
        Self { bare, work, stage }
    }

    async fn plain() -> Self {
        Self::new(BotSettings::default(), None).await
    }

    fn git(&self, arguments: &[&str]) -> String {
        git_in(self.bare.path(), arguments)
    }

    fn commit(&self, path: &str, text: &str, message: &str) {
        self.work.git(&["pull", "--quiet", "--rebase", "origin", "main"]);
        self.work.commit_file(path, text, message);
        self.work.git(&["push", "--quiet", "origin", "main"]);
    }

    fn shop(&self) -> String {
        self.git(&["show", "main:apps/shop.yaml"]) + "\n"
    }
}

async fn mirror(url: &str, signers: Option<SignerSettings>, state: &std::path::Path) -> Mirror {
    let config = RepositorySettings { url: Some(url.to_owned()), signers, ..RepositorySettings::default() };
    Mirror::open(&config, state, &BTreeMap::new(), &BTreeMap::new()).await.expect("opened")
}

async fn stage(url: &str, bot: BotSettings, signers: Option<SignerSettings>) -> Stage {
    let state = tempfile::tempdir().expect("a folder");
    let mirror = Arc::new(mirror(url, signers, state.path()).await);
    let mut stage = Setting { source: Some(mirror.clone()), committer: mirror, bot, ..Setting::default() }.stage();
    stage.temporary.push(state);
    stage
}

fn order(change: GitOrderChange) -> Effect {
    Effect::Git(GitOrder {
        team: payments(),
        run: RunId(42),
        change,
        subject: "Scale app/shop to 4".to_owned(),
        again: false,
    })
}

fn set(file: &str, path: &str, value: Value) -> Effect {
    order(GitOrderChange::Set { file: file.to_owned(), document: None, path: path.to_owned(), value })
}

fn revert() -> Effect {
    revert_within(None)
}

fn revert_within(within: Option<Period>) -> Effect {
    let target = ResourceId::app(Name::new("shop").expect("a name"));
    order(GitOrderChange::RevertLast { target, file: "apps/shop.yaml".to_owned(), within })
}

#[tokio::test]
async fn a_change_that_is_older_than_the_window_is_not_taken_back() {
    let remote = Remote::plain().await;
    remote.commit("apps/shop.yaml", &SHOP.replace("v1", "v2"), "Release v2");
    // It was pushed since, which takes longer than that.
    let error = failed(remote.stage.perform_as(1, revert_within(Some(Period::from_millis(1)))).await);
    assert!(error.contains("too old to be what broke it now"), "{error}");
    assert_eq!(remote.shop(), SHOP.replace("v1", "v2"));
    remote.stage.perform_as(2, revert_within(Some(Period::from_secs(3_600)))).await.expect("reverted");
    assert_eq!(remote.shop(), SHOP);
}

#[tokio::test]
async fn one_value_is_set_by_one_commit_of_the_bots() {
    let remote = Remote::plain().await;
    let done = remote.stage.perform(set("apps/shop.yaml", "spec.replicas", json!(4))).await.expect("pushed");
    assert_eq!(remote.shop(), SHOP.replace("replicas: 2", "replicas: 4"));
    assert_eq!(done.output["revision"], remote.git(&["rev-parse", "main"]));
    let log = remote.git(&["log", "-1", "--format=%cn <%ce>%n%B", "main"]);
    assert!(log.starts_with("codeops <codeops@localhost>\nScale app/shop to 4\n\n"), "{log}");
    let proof = log.split_once("\nCodeops-Run: r42\nCodeops-Key: ").expect("trailers").1.trim();
    assert!(proof.len() == 64 && proof.bytes().all(|byte| byte.is_ascii_hexdigit()), "the key itself is known: {log}");
    // The same key again, as after a crash: nothing more happens.
    let again = remote.stage.perform(set("apps/shop.yaml", "spec.replicas", json!(9))).await.expect("known");
    assert_eq!(again.output["revision"], done.output["revision"]);
    assert!(again.evidence.contains("already"), "{}", again.evidence);
    assert_eq!(remote.git(&["rev-list", "--count", "main"]), "2");
    // Nothing of it is to be made any more: it is found by its key alone.
    let known = || GitOrderChange::Known { file: "apps/shop.yaml".to_owned(), why: "it has 4 already".to_owned() };
    let found = remote.stage.perform(order(known())).await.expect("known");
    assert_eq!(found.output["revision"], done.output["revision"]);
    let error = failed(remote.stage.perform_as(3, order(known())).await);
    assert!(error.contains("it has 4 already"), "{error}");
    let error = failed(remote.stage.perform_as(4, set("apps/shop.yaml", "spec.replicas", json!("abc"))).await);
    assert!(error.contains("would not be valid"), "nobody looks at it before it is pushed: {error}");
    // What is so already needs no commit.
    remote.stage.perform_as(2, set("apps/shop.yaml", "spec.replicas", json!(4))).await.expect("nothing to do");
    assert_eq!(remote.git(&["rev-list", "--count", "main"]), "2");
}

#[tokio::test]
async fn who_pretends_to_be_the_bot_stops_no_commit_of_its() {
    let remote = Remote::plain().await;
    remote.commit("apps/shop.yaml", &SHOP.replace("v1", "v2"), "Release v2");
    let bad = remote.work.head();
    remote.work.git(&["config", "user.email", "codeops@localhost"]);
    remote.commit("other/x.yaml", "kind: App\n# mine\n", "Mine\n\nCodeops-Key: memory:p1\nCodeops-Key: memory:p2");
    let taken_back = format!("Mine again\n\nThis reverts commit {bad}.");
    remote.commit("other/x.yaml", "kind: App\n# mine again\n", &taken_back);
    let done = remote.stage.perform_as(1, set("apps/shop.yaml", "spec.replicas", json!(4))).await.expect("pushed");
    assert!(!done.evidence.contains("already"), "{}", done.evidence);
    remote.stage.perform_as(2, revert()).await.expect("reverted");
    assert_eq!(remote.shop(), SHOP.replace("replicas: 2", "replicas: 4"));
}

#[tokio::test]
async fn the_bot_changes_no_file_that_its_team_may_not() {
    let remote = Remote::plain().await;
    let error = failed(remote.stage.perform(set("other/x.yaml", "spec.replicas", json!(4))).await);
    assert!(error.contains("may not change `other/x.yaml`"), "{error}");
    let error = failed(remote.stage.perform(set("apps/gone.yaml", "spec.replicas", json!(4))).await);
    assert!(error.contains("no file `apps/gone.yaml`"), "{error}");
    let error = failed(remote.stage.perform(set("apps/shop.yaml", "spec", json!(4))).await);
    assert!(error.contains("mapping"), "{error}");
    assert_eq!(remote.git(&["rev-list", "--count", "main"]), "1");
}

#[tokio::test]
async fn the_last_change_of_the_target_alone_is_taken_back() {
    let remote = Remote::plain().await;
    remote.commit("apps/shop.yaml", &SHOP.replace("v1", "v2"), "Release v2");
    remote.stage.perform_as(1, set("apps/shop.yaml", "spec.replicas", json!(4))).await.expect("pushed");
    remote.commit("other/x.yaml", "kind: App\n# more\n", "Elsewhere");
    remote.stage.perform_as(2, revert()).await.expect("reverted");
    assert_eq!(remote.shop(), SHOP.replace("replicas: 2", "replicas: 4"), "v1 again; what the bot set stays");
    let body = remote.git(&["log", "-1", "--format=%B", "main"]);
    assert!(body.contains("This reverts commit "), "{body}");
    let error = failed(remote.stage.perform_as(3, revert()).await);
    assert!(error.contains("taken back already"), "{error}");
    remote.commit("apps/shop.yaml", &SHOP.replace("image: v1", "image: v3"), "Release v3");
    remote.work.write("apps/shop.yaml", &SHOP.replace("image: v1", "image: v4"));
    remote.work.write("other/x.yaml", "kind: App\n# even more\n");
    remote.work.commit("Both");
    remote.work.git(&["push", "--quiet", "origin", "main"]);
    let error = failed(remote.stage.perform_as(4, revert()).await);
    assert!(error.contains("cannot be taken back"), "{error}");
}

/// What added the file is not taken back, nor what was changed of another that was there before it; and that is said.
#[tokio::test]
async fn a_file_that_nobody_changed_since_it_was_added_is_left_to_people() {
    let remote = Remote::plain().await;
    let added = || remote.git(&["log", "-1", "--format=%H", "main"])[..12].to_owned();
    let first = added();
    let error = failed(remote.stage.perform_as(1, revert()).await);
    let told =
        |added: &str| format!("no commit since {added}, which added `apps/shop.yaml`, changes it and nothing else");
    assert!(error.contains(&told(&first)), "{error}");
    remote.commit("apps/shop.yaml", &SHOP.replace("v1", "v2"), "Release v2");
    std::fs::remove_file(remote.work.path().join("apps/shop.yaml")).expect("removed");
    remote.work.commit("Away");
    remote.commit("apps/shop.yaml", SHOP, "Here again");
    let error = failed(remote.stage.perform_as(2, revert()).await);
    assert!(error.contains(&told(&added())), "{error}");
    assert_eq!(remote.shop(), SHOP);
}

/// What others commit, however much, puts the last change of a file out of nobody's reach.
#[tokio::test]
async fn the_last_change_is_found_behind_what_others_commit() {
    let remote = Remote::plain().await;
    remote.commit("apps/shop.yaml", &SHOP.replace("v1", "v2"), "Release v2");
    remote.commit("other/x.yaml", "kind: App\n# more\n", "Elsewhere");
    let bare = git2::Repository::open(remote.bare.path()).expect("it opens");
    let tip = bare.find_reference("refs/heads/main").and_then(|main| main.peel_to_commit()).expect("a branch");
    let trees = [tip.parent(0).and_then(|before| before.tree()), tip.tree()].map(|tree| tree.expect("a tree"));
    let other = git2::Signature::now("Other", "other@example.org").expect("a name");
    let mut last = tip;
    for n in 0..1_001 {
        let next = bare.commit(Some("refs/heads/main"), &other, &other, "Elsewhere", &trees[n % 2], &[&last]);
        last = next.and_then(|next| bare.find_commit(next)).expect("committed");
    }
    remote.stage.perform(revert()).await.expect("reverted");
    assert_eq!(remote.shop(), SHOP);
}

/// Nor does a folder without end: a revert looks at its file alone.
#[tokio::test]
async fn the_last_change_is_taken_back_beside_folders_without_end() {
    let remote = Remote::plain().await;
    remote.commit("apps/shop.yaml", &SHOP.replace("v1", "v2"), "Release v2");
    let bare = git2::Repository::open(remote.bare.path()).expect("it opens");
    let tip = bare.find_reference("refs/heads/main").and_then(|main| main.peel_to_commit()).expect("a branch");
    let mut folder = bare.treebuilder(None).and_then(|builder| builder.write()).expect("written");
    for _ in 0..20 {
        let mut builder = bare.treebuilder(None).expect("a builder");
        for number in 0..10 {
            builder.insert(format!("d{number}"), folder, 0o040_000).expect("inserted");
        }
        folder = builder.write().expect("written");
    }
    let other = git2::Signature::now("Other", "other@example.org").expect("a name");
    let commit = |shop: &str, parent: &git2::Commit<'_>| {
        let mut update = git2::build::TreeUpdateBuilder::new();
        update.upsert("apps/shop.yaml", bare.blob(shop.as_bytes()).expect("written"), git2::FileMode::Blob);
        update.upsert("other/without", folder, git2::FileMode::Tree);
        let tree = update.create_updated(&bare, &parent.tree().expect("a tree")).expect("written");
        let tree = bare.find_tree(tree).expect("there");
        let made = bare.commit(Some("refs/heads/main"), &other, &other, "With it", &tree, &[parent]);
        made.and_then(|made| bare.find_commit(made)).expect("committed")
    };
    let both = commit(&SHOP.replace("image: v1", "image: v2").replace("replicas: 2", "replicas: 3"), &tip);
    commit(&SHOP.replace("image: v1", "image: v3").replace("replicas: 2", "replicas: 3"), &both);
    remote.stage.perform(revert()).await.expect("reverted");
    assert_eq!(remote.shop(), SHOP.replace("image: v1", "image: v2").replace("replicas: 2", "replicas: 3"));
}

#[tokio::test]
async fn who_pushes_first_is_built_upon() {
    let remote = Remote::plain().await;
    let hook = remote.bare.path().join("hooks/update");
    // The first push meets somebody who was faster.
    let racer = remote.work.path().display();
    let text = format!(
        "#!/bin/sh\n[ -e raced ] && exit 0\ntouch raced\nunset GIT_DIR GIT_QUARANTINE_PATH GIT_OBJECT_DIRECTORY GIT_ALTERNATE_OBJECT_DIRECTORIES\ngit -C {racer} push -q origin main >/dev/null 2>&1\nexit 1\n"
    );
    std::fs::write(&hook, text).expect("written");
    std::fs::set_permissions(&hook, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("set");
    remote.work.commit_file("other/x.yaml", "kind: App\n# faster\n", "Faster");
    remote.stage.perform(set("apps/shop.yaml", "spec.replicas", json!(4))).await.expect("pushed");
    assert_eq!(remote.git(&["log", "--format=%s", "main"]), "Scale app/shop to 4\nFaster\nFirst");
}

#[tokio::test]
async fn a_branch_that_is_checked_out_is_not_pushed_to_without_advice() {
    let repo = TempRepo::with(&[("apps/shop.yaml", SHOP)]);
    let stage = stage(&repo.url(), BotSettings::default(), None).await;
    let error = failed(stage.perform(set("apps/shop.yaml", "spec.replicas", json!(4))).await);
    assert!(error.contains("receive.denyCurrentBranch updateInstead"), "{error}");
    repo.git(&["config", "receive.denyCurrentBranch", "updateInstead"]);
    stage.perform(set("apps/shop.yaml", "spec.replicas", json!(4))).await.expect("pushed");
    assert!(repo.git(&["show", "main:apps/shop.yaml"]).contains("replicas: 4"));
}

#[tokio::test]
async fn where_commits_are_signed_the_bots_are() {
    let key = SshKey::new("ed25519");
    let signers = SignerSettings { file: key.allowed_signers("codeops@localhost").display().to_string() };
    let bot = BotSettings { signing_key: Some(key.private().display().to_string()), ..BotSettings::default() };
    let remote = Remote::new(bot, Some(signers.clone())).await;
    remote.stage.perform(set("apps/shop.yaml", "spec.replicas", json!(4))).await.expect("pushed");
    let raw = remote.git(&["cat-file", "commit", "main"]);
    assert!(raw.contains("-----BEGIN SSH SIGNATURE-----"), "{raw}");
    let state = tempfile::tempdir().expect("a folder");
    let url = remote.bare.path().display().to_string();
    let first = remote.git(&["rev-parse", "main~1"]).parse().expect("a commit id");
    let tip = mirror(&url, Some(signers.clone()), state.path()).await.fetch(Some(&first)).await.expect("fetched");
    assert_eq!((tip.revision.as_str(), tip.held), (remote.git(&["rev-parse", "main"]).as_str(), None));
    let unsigned = stage(&url, BotSettings::default(), Some(signers)).await;
    assert!(
        failed(unsigned.perform(set("apps/shop.yaml", "spec.replicas", json!(5))).await).contains("bot.signingKey")
    );
}

#[tokio::test]
async fn scripts_run_from_the_revision_that_is_asked_for() {
    if let Err(why) = codeops::effect::confinement() {
        return skip(&format!("scripts from a repository, since {why}"));
    }
    let remote = Remote::plain().await;
    remote.commit("scripts/say.sh", "#!/bin/sh\ncat scripts/word\n", "A script");
    remote.commit("scripts/word", "old", "A word");
    let old = remote.work.head();
    remote.commit("scripts/word", "new", "Another word");
    // The mirror learns of them.
    remote.stage.perform_as(9, set("apps/shop.yaml", "spec.replicas", json!(3))).await.expect("pushed");
    let call = |revision| {
        Effect::Script(ScriptCall {
            team: payments(),
            revision,
            file: "scripts/say.sh".to_owned(),
            input: json!({}),
            timeout_ms: 10_000,
        })
    };
    assert_eq!(remote.stage.perform(call(old)).await.expect("done").output, json!({"text": "old"}));
    let new = remote.work.head();
    assert_eq!(remote.stage.perform(call(new)).await.expect("done").output, json!({"text": "new"}));
}
