//! Commits of the daemon's own: made on the tip as it is over there, in the mirror's objects and without a work tree, and
//! pushed by the hardened `git`. Where somebody else was faster, made again on the new tip. It decides nothing about what is
//! changed.

use std::sync::Arc;

use async_trait::async_trait;
use codeops_core::desired::Files;
use git2::{Oid, Repository};
use jiff::Timestamp;
use subtle::ConstantTimeEq as _;

use super::entries::{Tree, find_tree, is_regular};
use super::history::{self, trailers};
use super::owner::Service;
use super::tree::Unread;
use super::{Inner, Mirror, SourceError, ancestry, blocking, object};
use crate::port::{CommitChange, CommitError, CommitOrder, Committed, Committer};

/// How often a commit is made again because somebody else pushed first.
const TRIES: usize = 4;
/// So many commits are looked through for one that has the same key.
const KNOWN: usize = 100;
/// So many commits that change a file are looked through for one to take back.
const BACK: usize = 1_000;
/// And so many for those: others may commit what they like, and a change of an hour ago must be found behind it.
const WALKED: usize = 100_000;

#[async_trait]
impl Committer for Mirror {
    async fn commit(&self, order: &CommitOrder<'_>) -> Result<Committed, CommitError> {
        if self.0.signers.is_some() && order.bot.signing_key.is_none() {
            return Err(CommitError::Failed(
                "commits must be signed here, and the bot has no key: set bot.signingKey, and name its public key among \
                 the signers"
                    .to_owned(),
            ));
        }
        self.0.disk.served(Service::Receive).map_err(refused)?;
        for _ in 0..TRIES {
            let _working = self.0.work.lock().await;
            if let Some(committed) = self.attempt_commit(order).await? {
                return Ok(committed);
            }
        }
        Err(CommitError::Failed(format!(
            "others push to branch `{}` of {} all the time: {TRIES} commits came too late; try again",
            self.0.branch,
            self.url()
        )))
    }
}

impl Mirror {
    /// One commit on the tip of this moment; `None` when another came first.
    async fn attempt_commit(&self, order: &CommitOrder<'_>) -> Result<Option<Committed>, CommitError> {
        let tip = self.0.disk.bring(None).await.map_err(refused)?;
        if let Some(known) = self.known(tip, order).await? {
            return Ok(Some(known));
        }
        let Some(made) = self.made(tip, order).await? else {
            let revision = history::revision(tip).map_err(damaged)?;
            return Ok(Some(Committed { revision, subject: "it is so already".to_owned(), already: true }));
        };
        let commit = self.0.disk.commit_tree(made.tree, tip, &made.message, order.bot).await.map_err(refused)?;
        let revision = history::revision(commit).map_err(damaged)?;
        let done = Committed { revision, subject: order.subject.clone(), already: false };
        let complaint = match self.0.disk.push(commit).await {
            Ok(None) => return Ok(Some(done)),
            Ok(Some(complaint)) => complaint,
            Err(SourceError(why)) => why,
        };
        // What was heard of the push may be wrong: the branch itself says what came of it.
        let there = self.0.disk.bring(None).await.map_err(|SourceError(why)| {
            CommitError::Unknown(format!(
                "the push was not confirmed ({complaint}), and the branch cannot be looked at: {why}"
            ))
        })?;
        if self.holds(there, commit).await? {
            return Ok(Some(done));
        }
        if there != tip {
            return Ok(None);
        }
        Err(CommitError::Failed(advice(&self.url(), &complaint)))
    }

    /// The commit that was made for this key before, if it was.
    async fn known(&self, tip: Oid, order: &CommitOrder<'_>) -> Result<Option<Committed>, CommitError> {
        let (key, email) = (order.key.clone(), order.bot.email.clone());
        self.on_mirror(move |_, repository| {
            for oid in line(repository, tip, KNOWN)? {
                let commit = object::find(repository, oid)?;
                let message = String::from_utf8_lossy(commit.message_bytes());
                let has = trailers(&message)
                    .iter()
                    .any(|(name, value)| name == "Codeops-Key" && bool::from(value.as_bytes().ct_eq(key.as_bytes())));
                if has && is_bots(&commit, &email) {
                    let subject = message.lines().next().unwrap_or_default().to_owned();
                    return Ok(Some(Committed { revision: history::revision(oid)?, subject, already: true }));
                }
            }
            Ok(None)
        })
        .await
    }

    /// What is to be committed on the tip; `None` when nothing would change.
    async fn made(&self, tip: Oid, order: &CommitOrder<'_>) -> Result<Option<Made>, CommitError> {
        let mut trailers: Vec<String> = order.trailers.iter().map(|(name, value)| format!("{name}: {value}")).collect();
        trailers.push(format!("Codeops-Key: {}", order.key));
        let trailers = trailers.join("\n");
        match &order.change {
            CommitChange::Edit { file, edit } => {
                let (path, edit) = (self.whole_path(file), Arc::clone(edit));
                let files = self.manifests(tip).await?;
                let tree = self.on_mirror(move |_, repository| {
                    let bytes = blob(repository, tip, &path)?.1;
                    let edited = match edit(&bytes, &files) {
                        Ok(edited) if edited == bytes => return Ok(Ok(None)),
                        Ok(edited) => edited,
                        Err(why) => return Ok(Err(CommitError::Failed(why))),
                    };
                    with_file(repository, tip, &path, &edited).map(|tree| Ok(Some(tree)))
                });
                let made = |tree| Made { tree, message: format!("{}\n\n{trailers}\n", order.subject) };
                Ok(tree.await??.map(made))
            }
            CommitChange::RevertLast { file, since } => {
                let (path, email, since) = (self.whole_path(file), order.bot.email.clone(), *since);
                let (tree, back) =
                    self.on_mirror(move |_, repository| reverted(repository, tip, &path, &email, since)).await?;
                let message = format!("{}\n\nThis reverts commit {back}.\n\n{trailers}\n", order.subject);
                Ok(Some(Made { tree, message }))
            }
        }
    }

    async fn holds(&self, tip: Oid, commit: Oid) -> Result<bool, CommitError> {
        self.on_mirror(move |_, repository| Ok(ancestry::descends(repository, tip, commit)?)).await
    }

    fn whole_path(&self, file: &str) -> String {
        self.0.path.iter().map(String::as_str).chain([file]).collect::<Vec<_>>().join("/")
    }

    /// The manifests of the tip, as those of any revision.
    async fn manifests(&self, tip: Oid) -> Result<Arc<Files>, CommitError> {
        let revision = history::revision(tip).map_err(damaged)?;
        if let Some(files) = self.0.cached(&revision) {
            return Ok(files);
        }
        let wanted = revision.clone();
        self.attempt(&revision, move |inner, place| inner.read_files(place, &wanted)).await.map_err(unread)
    }

    async fn on_mirror<T: Send + 'static>(
        &self,
        work: impl Fn(&Inner, &Repository) -> Result<T, Unread> + Send + 'static,
    ) -> Result<T, CommitError> {
        let inner = Arc::clone(&self.0);
        blocking(move || work(&inner, &inner.disk.repository()?)).await.map_err(unread)
    }
}

/// A commit before it is made.
struct Made {
    tree: Oid,
    message: String,
}

fn unread(unread: Unread) -> CommitError {
    match unread {
        Unread::Refused(error) => refused(error),
        Unread::Damaged(error) => damaged(error),
    }
}

fn refused(SourceError(why): SourceError) -> CommitError {
    CommitError::Failed(why)
}

#[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` gives")]
fn damaged(error: git2::Error) -> CommitError {
    CommitError::Failed(format!("the mirror cannot be read: {}", error.message()))
}

fn not_so(why: String) -> Unread {
    Unread::Refused(SourceError(why))
}

/// Why a push was not taken, with what to do.
fn advice(url: &str, complaint: &str) -> String {
    let what = if complaint.contains("checked out branch") || complaint.contains("denyCurrentBranch") {
        "the branch is checked out there: push to a bare repository, or run `git config receive.denyCurrentBranch \
         updateInstead` in it"
    } else {
        "the bot needs the right to push to this branch"
    };
    format!("{url} did not take the commit: {complaint}; {what}")
}

fn line(repository: &Repository, tip: Oid, most: usize) -> Result<Vec<Oid>, git2::Error> {
    object::first_parents(repository, tip).take(most).collect()
}

fn is_bots(commit: &object::Commit<'_>, email: &str) -> bool {
    commit.committer().email == email.as_bytes()
}

/// The file at `path`: its mode and bytes.
fn blob(repository: &Repository, tip: Oid, path: &str) -> Result<(i32, Vec<u8>), Unread> {
    let found = object::find(repository, tip)?.tree()?.below(repository, path)?.filter(|(_, mode)| is_regular(*mode));
    let (id, mode) = found.ok_or_else(|| not_so(format!("the branch has no file `{path}` any more")))?;
    Ok((mode, repository.find_blob(id)?.content().to_vec()))
}

/// The tip's tree with other bytes at `path`.
fn with_file(repository: &Repository, tip: Oid, path: &str, bytes: &[u8]) -> Result<Oid, Unread> {
    let (mode, _) = blob(repository, tip, path)?;
    let mode = if mode & 0o111 == 0 { git2::FileMode::Blob } else { git2::FileMode::BlobExecutable };
    let tree = object::find(repository, tip)?.tree()?;
    let mut update = git2::build::TreeUpdateBuilder::new();
    update.upsert(path, repository.blob(bytes)?, mode);
    Ok(update.create_updated(repository, &repository.find_tree(tree.id())?)?)
}

/// The tip's tree without the newest commit that is not the bot's and touches `path` alone; and which that is.
fn reverted(
    repository: &Repository,
    tip: Oid,
    path: &str,
    email: &str,
    since: Option<Timestamp>,
) -> Result<(Oid, Oid), Unread> {
    let mut taken_back = Vec::new();
    let mut left = BACK;
    let mut walk = object::first_parents(repository, tip).take(WALKED);
    while let Some(oid) = walk.next().filter(|_| left > 0) {
        let oid = oid?;
        let commit = object::find(repository, oid)?;
        if !touches(repository, &commit, path)? {
            continue;
        }
        if adds(repository, &commit, path)? {
            let short = &oid.to_string()[..12];
            return Err(not_so(format!(
                "no commit since {short}, which added `{path}`, changes it and nothing else: revert by hand"
            )));
        }
        left -= 1;
        let touches_only = touches_only(repository, &commit, path)?;
        if is_bots(&commit, email) {
            // Anybody can call himself the bot; who changes another's file alone has a right to it.
            let message = String::from_utf8_lossy(commit.message_bytes()).into_owned();
            let back = message.lines().find_map(|line| line.strip_prefix("This reverts commit "));
            let back = back.filter(|_| touches_only);
            taken_back.extend(back.and_then(|id| Oid::from_str(id.trim_end_matches('.')).ok()));
        } else if touches_only {
            let short = oid.to_string()[..12].to_owned();
            if taken_back.contains(&oid) {
                return Err(not_so(format!("the last change of `{path}`, commit {short}, was taken back already")));
            }
            let made = Timestamp::from_second(commit.committer().at).unwrap_or(Timestamp::MIN);
            if since.is_some_and(|since| made < since) {
                return Err(not_so(format!(
                    "the last change of `{path}`, commit {short}, is of {made}: too old to be what broke it now"
                )));
            }
            return Ok((without(repository, tip, &commit, path)?, oid));
        }
    }
    let looked = if left == 0 { format!("the last {BACK} that change it") } else { format!("the last {WALKED}") };
    Err(not_so(format!("no commit of {looked} changes `{path}` and nothing else: revert by hand")))
}

/// Whether a commit changes `path`, against its first parent.
fn touches(repository: &Repository, commit: &object::Commit<'_>, path: &str) -> Result<bool, git2::Error> {
    Ok(before(repository, commit, path)? != commit.tree()?.below(repository, path)?)
}

/// Whether there is nothing at `path` before a commit that changes it: what older ones change is another file.
fn adds(repository: &Repository, commit: &object::Commit<'_>, path: &str) -> Result<bool, git2::Error> {
    Ok(before(repository, commit, path)?.is_none())
}

/// What is at `path` in a commit's first parent.
fn before(repository: &Repository, commit: &object::Commit<'_>, path: &str) -> Result<Option<(Oid, i32)>, git2::Error> {
    let Ok(parent) = commit.parent(0) else { return Ok(None) };
    parent.tree()?.below(repository, path)
}

/// Whether a commit modifies the file `path` and nothing else, against its first parent. Goes into no other folder: what is in one
/// may be without end.
fn touches_only(repository: &Repository, commit: &object::Commit<'_>, path: &str) -> Result<bool, git2::Error> {
    let Ok(parent) = commit.parent(0) else { return Ok(false) };
    let (mut before, mut after) = (parent.tree()?, commit.tree()?);
    for segment in path.split('/') {
        if before.len() != after.len() {
            return Ok(false);
        }
        for entry in after.iter() {
            let was = before.get(entry.name()).map(|was| (was.id(), was.mode()));
            if entry.name() != segment.as_bytes() && was != Some((entry.id(), entry.mode())) {
                return Ok(false);
            }
        }
        let named = |tree: &Tree| tree.get(segment.as_bytes()).map(|entry| (entry.id(), entry.mode()));
        let (Some(was), Some(is)) = (named(&before), named(&after)) else { return Ok(false) };
        let kind = |mode: i32| mode & 0o170_000;
        if kind(was.1) != kind(is.1) {
            return Ok(false);
        }
        if kind(is.1) != 0o040_000 {
            // What added the file is not taken back by a playbook: that would remove what it declares.
            return touches(repository, commit, path);
        }
        (before, after) = (find_tree(repository, was.0)?, find_tree(repository, is.0)?);
    }
    Ok(false)
}

/// The tip's tree without what a commit changes in `path`, the one file that it changes.
fn without(repository: &Repository, tip: Oid, commit: &object::Commit<'_>, path: &str) -> Result<Oid, Unread> {
    let ours = object::find(repository, tip)?.tree()?;
    let at = |tree: &Tree| -> Result<Option<(Oid, i32)>, git2::Error> {
        Ok(tree.below(repository, path)?.filter(|(_, mode)| is_regular(*mode)))
    };
    let short = commit.id().to_string()[..12].to_owned();
    let cannot = || not_so(format!("commit {short} cannot be taken back: `{path}` changed since; revert by hand"));
    let (Some(base), Some(now)) = (at(&commit.tree()?)?, at(&ours)?) else { return Err(cannot()) };
    let Some(before) = at(&commit.parent(0)?.tree()?)? else { return Err(cannot()) };
    let mode = if now.1 == base.1 { before.1 } else { now.1 };
    let id = if now.0 == base.0 {
        before.0
    } else {
        let entry = |(id, mode)| entry(id, mode, path);
        let merged = repository.merge_file_from_index(&entry(base), &entry(now), &entry(before), None)?;
        if !merged.is_automergeable() {
            return Err(cannot());
        }
        repository.blob(merged.content())?
    };
    if (id, mode) == now {
        return Err(not_so(format!("the last change of `{path}`, commit {short}, was taken back already")));
    }
    let mode = if mode & 0o111 == 0 { git2::FileMode::Blob } else { git2::FileMode::BlobExecutable };
    let mut update = git2::build::TreeUpdateBuilder::new();
    update.upsert(path, id, mode);
    Ok(update.create_updated(repository, &repository.find_tree(ours.id())?)?)
}

/// A file as one side of a merge.
fn entry(id: Oid, mode: i32, path: &str) -> git2::IndexEntry {
    let never = git2::IndexTime::new(0, 0);
    git2::IndexEntry {
        ctime: never,
        mtime: never,
        dev: 0,
        ino: 0,
        mode: mode.unsigned_abs(),
        uid: 0,
        gid: 0,
        file_size: 0,
        id,
        flags: 0,
        flags_extended: 0,
        path: path.into(),
    }
}
