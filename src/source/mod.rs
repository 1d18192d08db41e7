//! The config repository as a bare mirror: fetched by the `git` command, read with git2, followed fast-forward only.
//!
//! The flow of one look: `ls-remote` → fetch when the tip is new → judge it (does it descend, is it signed) → a [`Tip`].
//! Commits of the daemon's own
//! go the other way. It decides nothing about what is in the manifests, keeps no work tree, and runs no program but git.

mod address;
mod ancestry;
mod away;
mod census;
mod changes;
mod commit;
mod configuration;
mod crowded;
mod disk;
mod entries;
mod export;
mod folder;
mod former;
mod git;
mod history;
mod judge;
mod later;
mod leftovers;
mod levels;
mod merges;
mod object;
mod owner;
mod signers;
mod text;
mod tree;
mod trigger;
mod watch;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use codeops_core::config::{RepositorySettings, SignerSettings};
use codeops_core::desired::Files;
use codeops_core::model::Revision;
use git2::{Oid, Repository};

use self::address::Address;
use self::census::Teams;
use self::changes::Comparer;
use self::disk::Disk;
use self::git::Git;
use self::judge::{Question, Verdict};
use self::tree::{Listing, Unread};
use crate::port::{Commit, Source, Tip};

pub use self::away::branch_of_absent;
pub use self::folder::read_dir;
pub use self::history::trailers;
pub use self::signers::Signers;
pub use self::trigger::{Reason, Trigger, Triggers};
pub use self::watch::{Watch, head_branch};
pub use crate::port::SourceError;

/// What a repository may cost. The defaults are the documented ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// One git command.
    pub time: Duration,
    /// Asking for the tip.
    pub look: Duration,
    /// The mirror on disk while it is fetched.
    pub mirror_bytes: u64,
    /// One manifest.
    pub file_bytes: u64,
    /// All manifests of a revision. Where there are more, each who may write has a share.
    pub total_bytes: u64,
    /// Manifests and scripts of a revision, shared alike.
    pub files: usize,
    /// Files and folders that the same teams may write, manifests or not.
    pub entries: usize,
    /// Folders in folders.
    pub depth: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            time: Duration::from_secs(300),
            look: Duration::from_secs(60),
            mirror_bytes: 1 << 30,
            file_bytes: 1 << 20,
            total_bytes: 256 << 20,
            files: 50_000,
            entries: 500_000,
            depth: 32,
        }
    }
}

impl Limits {
    /// Whether a folder this deep is not looked into.
    fn is_too_deep(&self, depth: usize) -> bool {
        depth > self.depth
    }
}

/// The mirror of one config repository. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Mirror(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    disk: Disk,
    path: Vec<String>,
    branch: String,
    signers: Option<SignerSettings>,
    accept: Option<Revision>,
    limits: Limits,
    /// Who may write what: nobody's files keep out another's.
    teams: Teams,
    /// Held while the mirror changes.
    work: tokio::sync::Mutex<()>,
    /// The files last given out; the next revision's are made of them.
    cache: Mutex<Option<(Revision, Listing)>>,
}

/// Where a revision is read.
#[derive(Clone, Copy)]
struct Place<'a> {
    repository: &'a Repository,
    /// The folder in it.
    path: &'a [String],
}

impl Mirror {
    /// Opens or makes the mirror below `state/source`. Opens no connection. `environment` is the daemon's: git sees of it
    /// only where programs, agents, proxies and certificates are. `teams` are what the settings grant.
    ///
    /// # Errors
    /// The settings cannot be used, git is missing or too old, or the state folder cannot be written.
    pub async fn open(
        config: &RepositorySettings,
        state: &Path,
        environment: &BTreeMap<String, String>,
        teams: &Teams,
    ) -> Result<Self, SourceError> {
        // Named by its process, for git is what starts it.
        let launcher = format!("/proc/{}/exe", std::process::id());
        Self::open_with(config, state, environment, teams, Limits::default(), launcher.as_ref()).await
    }

    /// As [`Mirror::open`], with limits of one's own. `launcher` is the binary that `launch` is a command of.
    ///
    /// # Errors
    /// As [`Mirror::open`].
    pub async fn open_with(
        config: &RepositorySettings,
        state: &Path,
        environment: &BTreeMap<String, String>,
        teams: &Teams,
        limits: Limits,
        launcher: &Path,
    ) -> Result<Self, SourceError> {
        let url = config.url.as_deref().ok_or_else(|| {
            SourceError("no config repository is named: set repository.url or give --repo URL|DIR".to_owned())
        })?;
        let root = state.join("source");
        let address =
            Address::parse(url).and_then(Address::with_repository).or_else(|why| away::address(url, &root, why))?;
        address::check_branch(config.branch())?;
        let path = address::check_path(&config.path)?;
        if address.is_unproven() && config.signers.is_none() {
            return Err(SourceError(format!(
                "{address} does not prove who answers: use https or ssh, or set repository.signers"
            )));
        }
        if let Some(signers) = &config.signers {
            Signers::read(signers)?;
        }
        let git = Git::new(&address, &root, environment, limits).await?;
        away::remember(url, &address, config.branch(), &root);
        let disk = Disk::open(git, address, config.branch(), &root, launcher).await?;
        Ok(Self(Arc::new(Inner {
            disk,
            path,
            branch: config.branch().to_owned(),
            signers: config.signers.clone(),
            accept: config.accept.clone(),
            limits,
            teams: teams.clone(),
            work: tokio::sync::Mutex::new(()),
            cache: Mutex::new(None),
        })))
    }

    /// The repository's address without credentials.
    pub fn url(&self) -> String {
        self.0.disk.address().to_string()
    }

    /// The branch followed.
    pub fn branch(&self) -> &str {
        &self.0.branch
    }

    async fn judge(&self, tip: Oid, current: Option<&Revision>) -> Result<Verdict, Unread> {
        let inner = Arc::clone(&self.0);
        let current = current.cloned();
        blocking(move || {
            let repository = inner.disk.repository()?;
            let question = Question {
                tip,
                current: current.as_ref().map(history::oid).transpose()?,
                accept: inner.accept.as_ref().map(history::oid).transpose()?,
                accepted: inner.disk.accepted(),
                signers: inner.signers.as_ref().map(Signers::read).transpose().map_err(Unread::Refused)?,
                branch: &inner.branch,
            };
            Ok(judge::judge(&repository, &question)?)
        })
        .await
    }

    /// Runs `work` on the mirror; where objects are missing or damaged, makes the mirror anew and runs it once more.
    async fn reading<T: Send + 'static>(
        &self,
        revision: &Revision,
        work: impl Fn(&Inner, Place<'_>) -> Result<T, Unread> + Send + Sync + Clone + 'static,
    ) -> Result<T, SourceError> {
        match self.attempt(revision, work.clone()).await {
            Err(Unread::Damaged(_)) => {}
            Err(Unread::Refused(error)) => return Err(self.about(revision, &error)),
            Ok(value) => return Ok(value),
        }
        let _working = self.0.work.lock().await;
        let damaged = match self.attempt(revision, work.clone()).await {
            Err(Unread::Damaged(error)) => error,
            Err(Unread::Refused(error)) => return Err(self.about(revision, &error)),
            Ok(value) => return Ok(value),
        };
        tracing::warn!(%revision, error = damaged.message(), "the mirror lacks objects; it is cloned again");
        self.0.disk.rebuild(Some(revision)).await.map_err(|SourceError(why)| {
            SourceError(format!(
                "revision {} cannot be read from the mirror ({}), which cannot be cloned again yet: {why}",
                revision.short(),
                damaged.message()
            ))
        })?;
        self.attempt(revision, work).await.map_err(|unread| match unread {
            Unread::Refused(error) => self.about(revision, &error),
            Unread::Damaged(error) => SourceError(format!(
                "revision {} is not in {} any more ({}): push it again, or set repository.accept to the new tip",
                revision.short(),
                self.url(),
                error.message()
            )),
        })
    }

    /// Runs `work` on the mirror; where that has not this revision, on the one of a former address that has it.
    async fn attempt<T: Send + 'static>(
        &self,
        revision: &Revision,
        work: impl Fn(&Inner, Place<'_>) -> Result<T, Unread> + Send + 'static,
    ) -> Result<T, Unread> {
        let (inner, revision) = (Arc::clone(&self.0), revision.clone());
        blocking(move || {
            let revision = history::oid(&revision)?;
            let run = |repository: &Repository| {
                let path = former::path(repository, revision, &inner.path, inner.disk.root());
                work(&inner, Place { repository, path: &path })
            };
            let damaged = match inner.disk.repository().map_err(Unread::from).and_then(|own| run(&own)) {
                Err(Unread::Damaged(error)) => error,
                done => return done,
            };
            let elsewhere = former::holding(inner.disk.folder(), revision).map(|former| run(&former));
            elsewhere.filter(Result::is_ok).unwrap_or(Err(Unread::Damaged(damaged)))
        })
        .await
    }

    fn about(&self, revision: &Revision, SourceError(why): &SourceError) -> SourceError {
        SourceError(format!("revision {} of {} is not read: {why}", revision.short(), self.url()))
    }
}

impl Inner {
    fn cached(&self, revision: &Revision) -> Option<Arc<Files>> {
        let cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        cache.as_ref().filter(|(known, _)| known == revision).map(|(_, listing)| Arc::clone(&listing.files))
    }

    fn read_files(&self, place: Place<'_>, revision: &Revision) -> Result<Arc<Files>, Unread> {
        // Taken out, for it is changed on the way: a revision that cannot be read leaves nothing behind.
        let previous = self.cache.lock().unwrap_or_else(PoisonError::into_inner).take();
        let previous = previous.map(|(_, listing)| listing);
        let Place { repository, path } = place;
        let listing = tree::read(repository, history::oid(revision)?, path, previous, (self.limits, &self.teams))?;
        let files = Arc::clone(&listing.files);
        *self.cache.lock().unwrap_or_else(PoisonError::into_inner) = Some((revision.clone(), listing));
        Ok(files)
    }
}

#[async_trait]
impl Source for Mirror {
    async fn fetch(&self, current: Option<&Revision>) -> Result<Tip, SourceError> {
        let _working = self.0.work.lock().await;
        let tip = self.0.disk.bring(current).await?;
        let verdict = match self.judge(tip, current).await {
            Err(Unread::Damaged(error)) => {
                tracing::warn!(error = error.message(), "the mirror is damaged; it is cloned again");
                self.0.disk.rebuild(current).await?;
                let tip = self.0.disk.tip().map_err(|error| broken(&error))?;
                self.judge(tip, current).await
            }
            verdict => verdict,
        };
        let mut tip = match verdict {
            Ok(Verdict::Follow(tip)) => tip,
            Ok(Verdict::Accept(tip, acceptance)) => self.0.disk.remember(acceptance).map(|()| tip)?,
            Ok(Verdict::Nothing(why)) | Err(Unread::Refused(SourceError(why))) => return Err(SourceError(why)),
            Err(Unread::Damaged(error)) => return Err(broken(&error)),
        };
        self.let_go_of_former(current).await;
        if current == Some(&tip.revision) && tip.held.is_none() {
            tip.held = self.misplaced(&tip.revision).await;
        }
        Ok(tip)
    }

    async fn taken(&self, revision: &Revision) {
        let (inner, revision) = (Arc::clone(&self.0), revision.clone());
        let remembered = blocking(move || {
            let (repository, root) = (inner.disk.repository()?, inner.disk.root());
            if let Err(error) = former::remember(&repository, &revision, &inner.path, root) {
                tracing::warn!(%error, "the folder that manifests are read from cannot be written down");
            }
            Ok(())
        });
        let _ = remembered.await;
    }

    async fn files(&self, revision: &Revision) -> Result<Arc<Files>, SourceError> {
        if let Some(files) = self.0.cached(revision) {
            return Ok(files);
        }
        let wanted = revision.clone();
        self.reading(revision, move |inner, place| inner.read_files(place, &wanted)).await
    }

    async fn export(&self, revision: &Revision, into: &Path) -> Result<(), SourceError> {
        let (wanted, into) = (revision.clone(), into.to_owned());
        self.reading(revision, move |inner, Place { repository, path }| {
            export::export(repository, history::oid(&wanted)?, path, &into, (inner.limits, &inner.teams))
        })
        .await
    }

    async fn commits(&self, since: Option<&Revision>, until: &Revision) -> Result<Vec<Commit>, SourceError> {
        let (since, wanted) = (since.cloned(), until.clone());
        self.reading(until, move |inner, Place { repository, path }| {
            let since = since.as_ref().map(history::oid).transpose()?;
            // What a rewritten history left behind may be gone; then `until` stands alone.
            let since = since.filter(|oid| object::find(repository, *oid).is_ok());
            let signers = inner.signers.as_ref().map(Signers::read).transpose().map_err(Unread::Refused)?;
            let comparer = Comparer::new(repository, path, (inner.limits, &inner.teams))?;
            Ok(history::commits(repository, since, history::oid(&wanted)?, signers.as_ref(), comparer)?)
        })
        .await
    }
}

fn broken(error: &git2::Error) -> SourceError {
    SourceError(format!("the mirror cannot be read even though it was just cloned again: {}", error.message()))
}

/// Runs what blocks away from the async threads.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Unread> + Send + 'static) -> Result<T, Unread> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(Unread::Refused(SourceError(format!("reading the mirror was cut short: {error}")))))
}
