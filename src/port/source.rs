//! Where revisions come from, and where commits of ours go.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use codeops_core::config::BotSettings;
use codeops_core::desired::Files;
use codeops_core::model::Revision;
use jiff::Timestamp;

use crate::base::Sealed;

pub use codeops_core::model::Commit;

/// What the last look at the repository gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tip {
    /// The newest revision that may be followed.
    pub revision: Revision,
    /// Set when the branch has a newer tip that is not followed: rewritten history, a missing signature. One sentence
    /// that says what to do.
    pub held: Option<String>,
}

/// The repository cannot be followed at the moment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SourceError(pub String);

/// A config repository.
#[async_trait]
pub trait Source: Send + Sync {
    /// Brings the mirror up to date and says what may be followed. `current` is the revision in force: a tip that does
    /// not descend from it is not followed.
    async fn fetch(&self, current: Option<&Revision>) -> Result<Tip, SourceError>;

    /// A revision is in force from now on: what it is read from is kept until another is, whatever the settings name.
    async fn taken(&self, _revision: &Revision) {}

    /// The files of one revision below the configured path. Blobs that did not change since the last call are not read
    /// again. Works without the network.
    async fn files(&self, revision: &Revision) -> Result<Arc<Files>, SourceError>;

    /// The first-parent commits after `since` up to `until`, oldest first; without `since`, `until` alone. Beyond the newest
    /// 1,000 only those with trailers. A merge has the commits with trailers that it brings, too.
    async fn commits(&self, since: Option<&Revision>, until: &Revision) -> Result<Vec<Commit>, SourceError>;

    /// Writes all regular files of one revision below the configured path, manifests or not, into the new folder `into`,
    /// which nobody can change then. Symbolic links and submodules are left out. A file is executable when it is in the
    /// revision, or begins with `#!`. Works without the network.
    async fn export(&self, revision: &Revision, into: &Path) -> Result<(), SourceError> {
        let files = self.files(revision).await?;
        let written = Sealed::new(into).and_then(|mut sealed| {
            files.iter().try_for_each(|(path, file)| sealed.file(path, &file.bytes, file.bytes.starts_with(b"#!")))?;
            sealed.seal()
        });
        written.map_err(|error| SourceError(format!("`{}` cannot be written: {error}", into.display())))
    }
}

/// A commit to be made on the tip of the branch.
pub struct CommitOrder<'a> {
    /// What it changes.
    pub change: CommitChange,
    /// Its first line.
    pub subject: String,
    /// Its trailers, beside `Codeops-Key`, which holds `key`.
    pub trailers: Vec<(String, String)>,
    /// What it is told by, which nobody knows before it is there: where one of the last 100 commits has it, nothing is done
    /// again.
    pub key: String,
    /// Who makes it, and signs it.
    pub bot: &'a BotSettings,
}

/// What becomes of a file's bytes among the manifests of the tip, or in one sentence why nothing can.
pub type Edit = dyn Fn(&[u8], &Files) -> Result<Vec<u8>, String> + Send + Sync;

/// What a commit changes. Paths are below the configured one.
pub enum CommitChange {
    /// One file, from what it holds to what it should.
    Edit {
        /// The file.
        file: String,
        /// What becomes of it.
        edit: Arc<Edit>,
    },
    /// Takes back the newest first-parent commit that is not the bot's and touches this file and no other.
    RevertLast {
        /// The file.
        file: String,
        /// It is refused where that commit was made before this time.
        since: Option<Timestamp>,
    },
}

/// A commit that is in the repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// Its id.
    pub revision: Revision,
    /// In one line: what it is.
    pub subject: String,
    /// Whether it was there already.
    pub already: bool,
}

/// Why there is no commit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// It was not made.
    #[error("{0}")]
    Failed(String),
    /// It may have been pushed.
    #[error("{0}")]
    Unknown(String),
}

/// Makes commits and pushes them.
#[async_trait]
pub trait Committer: Send + Sync {
    /// Makes one commit on the tip of the branch followed and pushes it; where somebody else was faster, on the new tip.
    ///
    /// # Errors
    /// [`CommitError`].
    async fn commit(&self, order: &CommitOrder<'_>) -> Result<Committed, CommitError>;
}
