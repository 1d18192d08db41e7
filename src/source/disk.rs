//! The mirror on disk: made, brought up to date, repacked, and made anew when it is damaged. The old one stays until the
//! new one is whole. Judges nothing.

use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use codeops_core::config::BotSettings;
use codeops_core::model::Revision;
use git2::{Oid, Repository};

use super::address::Address;
use super::git::{Ended, Git, HOME};
use super::judge::Acceptance;
use super::leftovers::sweep;
use super::owner::{self, Service};
use super::{SourceError, away, configuration, former, history, object, text};
use crate::base;

/// With more packs than this the mirror is repacked after a fetch.
const PACKS: usize = 24;
/// Keeps the revision in force, so that it survives a rewritten history and a repack.
pub(super) const CURRENT: &str = "refs/codeops/current";
/// Which rewritten history was accepted.
const ACCEPTED: &str = "accepted";

/// One bare mirror.
#[derive(Debug)]
pub(super) struct Disk {
    git: Git,
    address: Address,
    branch: String,
    root: PathBuf,
    folder: PathBuf,
    /// This binary.
    launcher: PathBuf,
    /// A tip that was too big to fetch: it is not fetched over and over.
    too_big: Mutex<Option<Oid>>,
}

impl Disk {
    /// Opens the mirror of `address` below `root`, or makes an empty one.
    pub(super) async fn open(
        git: Git,
        address: Address,
        branch: &str,
        root: &Path,
        launcher: &Path,
    ) -> Result<Self, SourceError> {
        let name = away::name_of(&address.argument());
        let (root, folder, launcher) = (root.to_owned(), root.join(name), launcher.to_owned());
        let disk = Self { git, address, branch: branch.to_owned(), root, folder, launcher, too_big: Mutex::default() };
        disk.finish_swap().map_err(|error| disk.unwritable(&error))?;
        if disk.repository().is_err() && configuration::readable().is_ok() {
            remove(&disk.folder).map_err(|error| disk.unwritable(&error))?;
            disk.init(&disk.folder).await?;
        }
        sweep(&disk.folder);
        Ok(disk)
    }

    /// The repository's address.
    pub(super) fn address(&self) -> &Address {
        &self.address
    }

    /// Where mirrors lie.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Where this one lies.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The mirror, opened for reading.
    pub(super) fn repository(&self) -> Result<Repository, git2::Error> {
        Repository::open_bare(&self.folder)
    }

    /// The branch's tip as last fetched.
    pub(super) fn tip(&self) -> Result<Oid, git2::Error> {
        self.repository()?.refname_to_id(&self.tip_ref())
    }

    fn tip_ref(&self) -> String {
        format!("refs/codeops/heads/{}", self.branch)
    }

    /// Fetches what is new and gives the branch's tip; nothing is fetched when nothing is new. Keeps `current`, and gets
    /// it where the mirror lost it.
    pub(super) async fn bring(&self, current: Option<&Revision>) -> Result<Oid, SourceError> {
        configuration::readable()?;
        let there = self.look().await?;
        if self.too_big.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|tip| tip == there) {
            return Err(self.git.too_big());
        }
        let known = self.tip().is_ok_and(|tip| tip == there) && self.holds(there);
        let fetched = if known { Ok(()) } else { self.fetch_within_limits(current).await };
        if let Err(error) = fetched {
            sweep(&self.folder);
            let tip = (error == self.git.too_big()).then_some(there);
            *self.too_big.lock().unwrap_or_else(PoisonError::into_inner) = tip;
            return Err(error);
        }
        if let Some(current) = current {
            self.keep(current).await;
        }
        let tip = match self.tip() {
            Ok(tip) => tip,
            Err(_) => {
                self.rebuild(current).await?;
                self.tip().map_err(|error| SourceError(format!("the mirror has no tip: {}", error.message())))?
            }
        };
        self.repack_if_due().await;
        Ok(tip)
    }

    /// The tip over there.
    async fn look(&self) -> Result<Oid, SourceError> {
        let (home, url) = (self.root.join(HOME), self.address.argument());
        let wanted = format!("refs/heads/{}", self.branch);
        let served = self.served(Service::Upload)?;
        let mut arguments = vec!["ls-remote", "--exit-code", "--quiet"];
        arguments.extend(served.as_deref());
        arguments.extend(["--", &url, &wanted]);
        let limit = self.git.limits().look;
        let ended = tokio::time::timeout(limit, self.git.run(&home, &arguments, None)).await.map_err(|_| {
            SourceError(format!("{} did not answer within {} s; it is asked again", self.address, limit.as_secs()))
        })??;
        let line = ended.stdout.lines().filter_map(|line| line.split_once('\t')).find(|(_, name)| *name == wanted);
        match (ended.code, line) {
            (Some(0), Some((id, _))) if id.len() == 40 => {
                Oid::from_str(id).map_err(|error| self.failed("look at", error.message()))
            }
            (Some(0), Some(_)) => Err(SourceError(format!(
                "{} names its commits by SHA-256, which is not supported: use a SHA-1 repository",
                self.address
            ))),
            (Some(0 | 2), _) => Err(SourceError(format!(
                "branch `{}` does not exist in {}: push it, or set repository.branch",
                self.branch, self.address
            ))),
            _ => Err(self.failed("look at", &ended.complaint)),
        }
    }

    fn failed(&self, verb: &str, why: &str) -> SourceError {
        SourceError(format!("cannot {verb} {}: {why}; {}", self.address, text::advice(why)))
    }

    pub(super) fn holds(&self, oid: Oid) -> bool {
        self.repository().is_ok_and(|repository| object::find(&repository, oid).is_ok())
    }

    /// Fetches; a mirror that already is too big is made anew, in case the repository became smaller.
    async fn fetch_within_limits(&self, current: Option<&Revision>) -> Result<(), SourceError> {
        if self.git.check_size(&self.folder).await.is_ok() {
            self.fetch_or_rebuild(current).await?;
        } else {
            self.rebuild(current).await?;
        }
        self.git.check_size(&self.folder).await
    }

    async fn fetch_or_rebuild(&self, current: Option<&Revision>) -> Result<(), SourceError> {
        if let Err(error) = self.repository() {
            tracing::warn!(error = error.message(), "the mirror is gone or damaged; it is cloned again");
            return self.rebuild(current).await;
        }
        let refspec = format!("refs/heads/{}:{}", self.branch, self.tip_ref());
        let mut ended = self.fetch(&self.folder, &refspec).await?;
        if !ended.ok() && ended.complaint.contains(".lock") {
            // A git that was killed left it: only one works here at a time.
            sweep(&self.folder);
            ended = self.fetch(&self.folder, &refspec).await?;
        }
        if ended.ok() {
            return Ok(());
        }
        if self.is_sound().await {
            return Err(self.failed("fetch from", &ended.complaint));
        }
        tracing::warn!(complaint = ended.complaint, "the mirror is damaged; it is cloned again");
        self.rebuild(current).await
    }

    async fn fetch(&self, folder: &Path, refspec: &str) -> Result<Ended, SourceError> {
        let (url, refspec) = (self.address.argument(), format!("+{refspec}"));
        let served = self.served(Service::Upload)?;
        let mut arguments = vec![
            "--git-dir=.",
            "fetch",
            "--quiet",
            "--no-tags",
            "--no-recurse-submodules",
            "--no-write-fetch-head",
            "--no-auto-maintenance",
            // That walk keeps each new commit's message in memory; whether the branch was rewritten is asked here.
            "--no-show-forced-updates",
            "--update-shallow",
        ];
        arguments.extend(served.as_deref());
        arguments.extend(["--", &url, &refspec]);
        self.git.run(folder, &arguments, Some(folder)).await
    }

    /// Makes a commit of `tree` on `parent`, by the bot and signed with its key if it has one.
    pub(super) async fn commit_tree(
        &self,
        tree: Oid,
        parent: Oid,
        message: &str,
        bot: &BotSettings,
    ) -> Result<Oid, SourceError> {
        let (tree, parent) = (tree.to_string(), parent.to_string());
        let (name, email) = (format!("user.name={}", bot.name), format!("user.email={}", bot.email));
        let key = bot.signing_key.as_ref().map(|key| format!("user.signingKey={key}"));
        let mut arguments = vec!["--git-dir=.", "-c", &name, "-c", &email];
        if let Some(key) = &key {
            arguments.extend(["-c", "gpg.format=ssh", "-c", key]);
        }
        arguments.push("commit-tree");
        if key.is_some() {
            arguments.push("-S");
        }
        let message = message.trim_end();
        arguments.extend(["-p", &parent, "-m", message, &tree]);
        let ended = self.git.run(&self.folder, &arguments, None).await?;
        let made = Oid::from_str(ended.stdout.trim()).ok().filter(|_| ended.ok());
        made.ok_or_else(|| {
            SourceError(format!("the commit cannot be made: {}; look at `bot:` in the settings", ended.complaint))
        })
    }

    /// The argument that says what serves a repository on this machine, where git's own program must not with our rights.
    pub(super) fn served(&self, service: Service) -> Result<Option<String>, SourceError> {
        let Address::Folder(folder) = &self.address else { return Ok(None) };
        let option = match service {
            Service::Upload => "--upload-pack",
            Service::Receive => "--receive-pack",
        };
        let program = owner::served(folder, service, &self.launcher)?;
        Ok(program.map(|program| format!("{option}={program}")))
    }

    /// Pushes a commit to the branch; what git complains of, if it does.
    pub(super) async fn push(&self, commit: Oid) -> Result<Option<String>, SourceError> {
        let (url, refspec) = (self.address.argument(), format!("{commit}:refs/heads/{}", self.branch));
        let served = self.served(Service::Receive)?;
        let mut arguments = vec!["--git-dir=.", "push", "--quiet", "--no-signed", "--recurse-submodules=no"];
        arguments.extend(served.as_deref());
        arguments.extend(["--", &url, &refspec]);
        let ended = self.git.run(&self.folder, &arguments, None).await?;
        Ok((!ended.ok()).then_some(ended.complaint))
    }

    /// Whether git finds the mirror whole.
    async fn is_sound(&self) -> bool {
        let arguments = ["--git-dir=.", "fsck", "--full", "--no-dangling", "--no-progress"];
        self.repository().is_ok() && self.git.run(&self.folder, &arguments, None).await.is_ok_and(|ended| ended.ok())
    }

    /// Keeps `current` from being pruned; fetches it by its id if it is not here. Where the server does not have it any
    /// more the judge says so.
    async fn keep(&self, current: &Revision) {
        let Ok(oid) = history::oid(current) else { return };
        if !self.holds(oid)
            && let Err(error) = self.fetch(&self.folder, &format!("{current}:{CURRENT}")).await
        {
            tracing::debug!(%error, %current, "the revision in force cannot be fetched by its id");
        }
        let kept = self.repository().and_then(|repository| {
            let same = repository.refname_to_id(CURRENT).is_ok_and(|kept| kept == oid);
            if same { Ok(()) } else { repository.reference(CURRENT, oid, true, "in force").map(drop) }
        });
        if let Err(error) = kept {
            tracing::debug!(error = error.message(), %current, "the revision in force cannot be kept");
        }
    }

    /// Makes the mirror anew beside the old one and swaps them when the new one is whole.
    pub(super) async fn rebuild(&self, current: Option<&Revision>) -> Result<(), SourceError> {
        let fresh = self.beside("new");
        remove(&fresh).map_err(|error| self.unwritable(&error))?;
        if let Err(error) = self.make(&fresh, current).await {
            // Where it stays all the same, the next one begins with its removal.
            let _ = remove(&fresh);
            return Err(error);
        }
        self.swap().map_err(|error| self.unwritable(&error))
    }

    async fn make(&self, fresh: &Path, current: Option<&Revision>) -> Result<(), SourceError> {
        self.init(fresh).await?;
        let ended = self.fetch(fresh, &format!("refs/heads/{}:{}", self.branch, self.tip_ref())).await?;
        if !ended.ok() {
            return Err(self.failed("clone", &ended.complaint));
        }
        // What is in force may be in no other place any more: a server may have dropped it, or refuse to give it.
        let (old, new) = (self.folder.clone(), fresh.to_owned());
        match tokio::task::spawn_blocking(move || former::carry_over(&old, &new)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(error = error.message(), "nothing is taken over from the old mirror"),
            Err(error) => tracing::debug!(%error, "nothing is taken over from the old mirror"),
        }
        if let Some(current) = current.filter(|current| !has(fresh, current)) {
            self.fetch(fresh, &format!("{current}:{CURRENT}")).await?;
        }
        Ok(())
    }

    async fn init(&self, folder: &Path) -> Result<(), SourceError> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(|error| self.unwritable(&error))?;
        let arguments = ["init", "--quiet", "--bare", "--template=", "--object-format=sha1", "."];
        let ended = self.git.run(folder, &arguments, None).await?;
        if ended.ok() {
            return Ok(());
        }
        Err(SourceError(format!("the mirror cannot be made in `{}`: {}", folder.display(), ended.complaint)))
    }

    async fn repack_if_due(&self) {
        let packs = fs::read_dir(self.folder.join("objects/pack")).into_iter().flatten().flatten();
        if packs.filter(|entry| entry.path().extension().is_some_and(|end| end == "pack")).count() <= PACKS {
            return;
        }
        let arguments = ["--git-dir=.", "gc", "--quiet", "--prune=1.hour.ago"];
        match self.git.run(&self.folder, &arguments, None).await {
            Ok(ended) if ended.ok() => {}
            Ok(ended) => tracing::warn!(complaint = ended.complaint, "the mirror cannot be repacked"),
            Err(error) => tracing::warn!(%error, "the mirror cannot be repacked"),
        }
    }

    /// The rewritten history that was last accepted. Kept beside the mirrors, because they may be made anew, and once for all
    /// addresses: what was accepted of one does not count again at another. Older daemons kept it by address.
    pub(super) fn accepted(&self) -> Option<Acceptance> {
        let read = |path: &Path| fs::read_to_string(path).ok();
        let text = read(&self.root.join(ACCEPTED)).or_else(|| read(&self.beside(ACCEPTED)))?;
        let (accept, from) = text.trim().split_once(' ')?;
        Some(Acceptance { accept: Oid::from_str(accept).ok()?, from: Oid::from_str(from).ok()? })
    }

    /// Remembers an accepted history durably, so that it is accepted once.
    pub(super) fn remember(&self, Acceptance { accept, from }: Acceptance) -> Result<(), SourceError> {
        let text = format!("{accept} {from}\n");
        base::write_private(&self.root.join(ACCEPTED), text.as_bytes()).map_err(|error| self.unwritable(&error))
    }

    fn beside(&self, end: &str) -> PathBuf {
        self.folder.with_extension(end)
    }

    fn swap(&self) -> std::io::Result<()> {
        let old = self.beside("old");
        remove(&old)?;
        if self.folder.exists() {
            fs::rename(&self.folder, &old)?;
        }
        fs::rename(self.beside("new"), &self.folder)?;
        remove(&old)
    }

    /// A swap that was cut short leaves the old mirror aside: it is put back.
    fn finish_swap(&self) -> std::io::Result<()> {
        let old = self.beside("old");
        if !self.folder.exists() && old.exists() {
            fs::rename(&old, &self.folder)?;
        }
        remove(&old)?;
        remove(&self.beside("new"))
    }

    fn unwritable(&self, error: &std::io::Error) -> SourceError {
        SourceError(format!("the mirror `{}` cannot be written: {error}", self.folder.display()))
    }
}

fn has(folder: &Path, revision: &Revision) -> bool {
    let found = Repository::open_bare(folder)
        .and_then(|repository| object::find(&repository, history::oid(revision)?).map(drop));
    found.is_ok()
}

pub(super) fn remove(folder: &Path) -> std::io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
