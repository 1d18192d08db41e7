//! A followed repository on this machine that belongs to somebody else: nothing of it runs with the daemon's rights.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::Path;
use std::sync::Arc;

use codeops::port::{CommitChange, CommitOrder, Committer as _, Source as _};
use codeops::source::{Limits, Mirror};
use codeops_core::config::{BotSettings, RepositorySettings};
use tempfile::TempDir;

use crate::support::git::TempRepo;

const NOBODY: u32 = 65_534;

/// Whether another user can be had here; says so if not.
fn others_can_be_had() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        println!("skipped: it needs root");
    }
    root
}

fn give_away(path: &Path, user: u32) {
    chown(path, Some(user), Some(user)).expect("its owner");
    for entry in fs::read_dir(path).expect("a folder").flatten() {
        let is_folder = entry.file_type().expect("a type").is_dir();
        if is_folder {
            give_away(&entry.path(), user);
        } else {
            chown(entry.path(), Some(user), Some(user)).expect("its owner");
        }
    }
}

/// The users that own something in a folder.
fn owners(path: &Path) -> BTreeSet<u32> {
    let own = fs::symlink_metadata(path).expect("there").uid();
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    entries.flat_map(|entry| owners(&entry.path())).chain([own]).collect()
}

/// A work tree of nobody's whose repository runs whatever git lets it run. What ran says as whom, in `told`.
struct Trap {
    repo: TempRepo,
    told: TempDir,
}

impl Trap {
    fn new() -> Self {
        let repo = TempRepo::with(&[("a.yaml", "1\n")]);
        let told = tempfile::tempdir().expect("a folder");
        fs::set_permissions(told.path(), fs::Permissions::from_mode(0o777)).expect("open to all");
        let tell = |name: &str| format!("id -u >> {}/{name}", told.path().display());
        let script = |path: &Path, name: &str| {
            fs::write(path, format!("#!/bin/sh\n{}\ncase {name} in packing) exec \"$@\";; esac\n", tell(name)))
                .expect("written");
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("executable");
        };
        let git = repo.path().join(".git");
        for name in ["pre-receive", "update", "post-receive", "post-update", "reference-transaction"] {
            script(&git.join("hooks").join(name), name);
        }
        for (setting, name) in [
            ("core.fsmonitor", "fsmonitor"),
            ("core.alternateRefsCommand", "alternates"),
            ("uploadpack.packObjectsHook", "packing"),
        ] {
            script(&git.join(name), name);
            repo.git(&["config", setting, &git.join(name).display().to_string()]);
        }
        repo.git(&["config", "receive.denyCurrentBranch", "updateInstead"]);
        let alternate = TempRepo::with(&[("b.yaml", "1\n")]);
        let there = repo.path().join(".git/other");
        fs::rename(alternate.path().join(".git"), &there).expect("moved");
        fs::write(git.join("objects/info/alternates"), format!("{}\n", there.join("objects").display()))
            .expect("written");
        Self { repo, told }
    }

    /// As whom what ran did so.
    fn told(&self) -> BTreeMap<String, BTreeSet<u32>> {
        let read = |entry: fs::DirEntry| {
            let text = fs::read_to_string(entry.path()).expect("text");
            let uids = text.lines().map(|line| line.parse().expect("a uid")).collect();
            (entry.file_name().to_string_lossy().into_owned(), uids)
        };
        fs::read_dir(self.told.path()).expect("a folder").flatten().map(read).collect()
    }

    async fn mirror(&self, url: &str, state: &TempDir) -> Mirror {
        let settings = RepositorySettings { url: Some(url.to_owned()), ..RepositorySettings::default() };
        let binary = Path::new(env!("CARGO_BIN_EXE_codeops"));
        Mirror::open_with(&settings, state.path(), &BTreeMap::new(), &BTreeMap::new(), Limits::default(), binary)
            .await
            .expect("it opens")
    }
}

async fn set_to_two(mirror: &Mirror) -> Result<(), String> {
    let order = CommitOrder {
        change: CommitChange::Edit { file: "a.yaml".to_owned(), edit: Arc::new(|_, _| Ok(b"2\n".to_vec())) },
        subject: "Set it".to_owned(),
        trailers: Vec::new(),
        key: "key-1".to_owned(),
        bot: &BotSettings::default(),
    };
    mirror.commit(&order).await.map(drop).map_err(|error| error.to_string())
}

#[tokio::test]
async fn the_owner_of_a_followed_folder_gets_none_of_the_daemons_rights() {
    if !others_can_be_had() {
        return;
    }
    for scheme in ["", "file://"] {
        let trap = Trap::new();
        give_away(trap.repo.path(), NOBODY);
        let state = tempfile::tempdir().expect("a folder");
        let mirror = trap.mirror(&format!("{scheme}{}", trap.repo.url()), &state).await;
        mirror.fetch(None).await.expect("it is read");
        set_to_two(&mirror).await.expect("it takes the commit");
        let text = fs::read_to_string(trap.repo.path().join("a.yaml")).expect("checked out");
        assert_eq!(text, "2\n", "the work tree follows, as its owner asked for");
        let told = trap.told();
        assert!(told.contains_key("post-receive") && told.contains_key("fsmonitor"), "{told:?}");
        assert!(told.values().all(|uids| *uids == BTreeSet::from([NOBODY])), "{told:?}");
        assert_eq!(owners(trap.repo.path()), BTreeSet::from([NOBODY]), "what came in is theirs");
    }
}

#[tokio::test]
async fn a_commit_into_a_repository_of_roots_that_others_may_write_is_refused() {
    if !others_can_be_had() {
        return;
    }
    let trap = Trap::new();
    let hook = trap.repo.path().join(".git/hooks/post-receive");
    fs::set_permissions(&hook, fs::Permissions::from_mode(0o777)).expect("open to all");
    let state = tempfile::tempdir().expect("a folder");
    let mirror = trap.mirror(&trap.repo.url(), &state).await;
    mirror.fetch(None).await.expect("it is read");
    let error = set_to_two(&mirror).await.expect_err("refused");
    assert!(
        error.contains("others may write") && error.contains("post-receive") && error.contains("ssh://"),
        "{error}"
    );
    assert_eq!(trap.told(), BTreeMap::new());
}
