//! What a store must do for the journal: append durably, remember the fold, and be read in pages.

use std::sync::Arc;

use async_trait::async_trait;
use codeops_core::model::{PageId, ResourceId, Run, RunId};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::category::Category;
use super::history::{AlertPage, AlertQuery, PageList, PageQuery, RunPage, RunQuery, SignalQuery};
use super::record::Record;
use super::shared::SharedMemory;
use super::writer::InDoubt;

/// A record's number: 1, 2, 3… in one store, without gaps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Seq(pub u64);

/// A record as stored.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Entry {
    /// Its number.
    pub seq: Seq,
    /// When it was appended.
    pub at: Timestamp,
    /// The record.
    pub record: Record,
}

/// Which entries, newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query {
    /// Only entries about this resource.
    pub resource: Option<ResourceId>,
    /// Only these groups; all when empty.
    pub categories: Vec<Category>,
    /// Only the log of this run, and what was decided with it.
    pub run: Option<RunId>,
    /// Only entries older than this number: the cursor of the page before.
    pub before: Option<Seq>,
    /// Only entries newer than this number.
    pub since: Option<Seq>,
    /// At most so many; 1 to 1,000.
    pub limit: usize,
}

/// One page of entries.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Page {
    /// Newest first.
    pub items: Vec<Entry>,
    /// The cursor of the next page, if there is one.
    pub next: Option<Seq>,
}

/// The log cannot take or give entries. A failed commit is for good: the log is poisoned until it is opened again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// Nothing more is taken, because a commit failed; says how.
    #[error("the journal is poisoned and takes nothing more until it is opened anew: {0}")]
    Poisoned(String),
    /// A read failed.
    #[error("the journal cannot be read: {0}")]
    Read(String),
    /// The log is closing.
    #[error("the journal is closed")]
    Closed,
    /// Too much waits to be written; nothing of this was. It is for the sender to try again.
    #[error("the journal cannot keep up with what comes in; send it again later")]
    Overloaded,
    /// As many alerts of one receiver are remembered, or as much was written down of them of late, as may be. It is for the sender
    /// to try again.
    #[error(
        "of this receiver's alerts as many are remembered, or as much was written down of late, as may be; send it again later"
    )]
    Full,
}

/// A durable, append-only log with its fold beside it.
#[async_trait]
pub trait Log: Send + Sync {
    /// Appends records in order, in one transaction with the fold and the audit hashes. Durable when it returns; many
    /// callers share one commit.
    async fn append(&self, records: Vec<Record>) -> Result<Vec<Entry>, LogError>;

    /// Appends what a receiver delivered, a [`Record::Alerts`] and what follows from it, unless all ids of the delivery
    /// were seen within a day: then `None`. Answers [`LogError::Overloaded`] at once when too much waits already, so that
    /// what comes in from outside never holds up the daemon's own records.
    /// Of no records: answers once the memory shows all that was on its way before.
    async fn offer(&self, records: Vec<Record>) -> Result<Option<Vec<Entry>>, LogError>;

    /// Whether something is on its way that the memory does not show yet, also where nobody waits for its answer any more.
    fn is_behind(&self) -> bool {
        false
    }

    /// One page of entries.
    async fn read(&self, query: Query) -> Result<Page, LogError>;

    /// The journaled deliveries of a period, oldest first: entries with a [`Record::Alerts`].
    async fn signals_between(&self, query: SignalQuery) -> Result<Page, LogError>;

    /// Runs, those that are over too.
    async fn runs(&self, query: RunQuery) -> Result<RunPage, LogError>;

    /// One run.
    async fn run(&self, id: RunId) -> Result<Option<Arc<Run>>, LogError>;

    /// Alerts, those that are over too.
    async fn alerts(&self, query: AlertQuery) -> Result<AlertPage, LogError>;

    /// Pages, those that are over too.
    async fn pages(&self, query: PageQuery) -> Result<PageList, LogError>;

    /// One page.
    async fn page(&self, id: PageId) -> Result<Option<Arc<codeops_core::model::Page>>, LogError>;

    /// The fold of everything appended. Never hold the guard across an await.
    fn memory(&self) -> Arc<SharedMemory>;

    /// Intents without a result when the store was opened, and those since.
    fn in_doubt(&self) -> Vec<InDoubt>;

    /// A durable random id of this store, and how many daemons have opened it: minted keys are made of both.
    fn identity(&self) -> (String, u64);

    /// Random, for as long as this store is open: what is numbered under it is told from what has the same number in a copy,
    /// such as a backup that is restored. `None` where there are no copies.
    fn opening(&self) -> Option<String> {
        None
    }

    /// The time that an entry would have that is appended now.
    fn now(&self) -> Timestamp;

    /// Why nothing more is taken, if so.
    fn poisoned(&self) -> Option<String>;

    /// Entries as they are appended, from now on; a slow reader misses some and is told so by a gap in the numbers.
    fn tail(&self) -> tokio::sync::broadcast::Receiver<Arc<Entry>>;
}
