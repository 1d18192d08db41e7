//! Where revisions come from.

use std::sync::Arc;

use async_trait::async_trait;
use codeops_core::desired::Files;
use codeops_core::model::Revision;

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

    /// The files of one revision below the configured path. Blobs that did not change since the last call are not read
    /// again. Works without the network.
    async fn files(&self, revision: &Revision) -> Result<Arc<Files>, SourceError>;

    /// The first-parent commits after `since` up to `until`, oldest first, at most 1,000; without `since`, `until` alone.
    async fn commits(&self, since: Option<&Revision>, until: &Revision) -> Result<Vec<Commit>, SourceError>;
}
