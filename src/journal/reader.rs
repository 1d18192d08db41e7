//! The reading half of the journal.

use std::sync::{Arc, PoisonError};

use codeops_core::model::{PageId, ResponseMemory, Run, RunId};

use super::history::{AlertPage, AlertQuery, PageList, PageQuery, RunPage, RunQuery, SignalQuery};
use super::log::{Entry, Log, LogError, Page, Query};

/// What the edges are given of the journal.
#[derive(Clone)]
pub struct Reader {
    log: Arc<dyn Log>,
}

impl Reader {
    /// A reader of a log.
    pub fn new(log: Arc<dyn Log>) -> Self {
        Self { log }
    }

    /// What is remembered of alerts, runs and pages that still matter, as of this moment. `read` is to be short: nothing is
    /// written meanwhile.
    pub fn response<T>(&self, read: impl FnOnce(&ResponseMemory) -> T) -> T {
        let memory = self.log.memory();
        let memory = memory.read().unwrap_or_else(PoisonError::into_inner);
        read(&memory.response)
    }

    /// One page of entries.
    pub async fn read(&self, query: Query) -> Result<Page, LogError> {
        self.log.read(query).await
    }

    /// The journaled deliveries of a period, oldest first.
    pub async fn signals_between(&self, query: SignalQuery) -> Result<Page, LogError> {
        self.log.signals_between(query).await
    }

    /// Runs, newest first, those that are over too.
    pub async fn runs(&self, query: RunQuery) -> Result<RunPage, LogError> {
        self.log.runs(query).await
    }

    /// One run.
    pub async fn run(&self, id: RunId) -> Result<Option<Arc<Run>>, LogError> {
        self.log.run(id).await
    }

    /// Alerts, newest first, those that are over too.
    pub async fn alerts(&self, query: AlertQuery) -> Result<AlertPage, LogError> {
        self.log.alerts(query).await
    }

    /// Pages, newest first, those that are over too.
    pub async fn pages(&self, query: PageQuery) -> Result<PageList, LogError> {
        self.log.pages(query).await
    }

    /// One page.
    pub async fn page(&self, id: PageId) -> Result<Option<Arc<codeops_core::model::Page>>, LogError> {
        self.log.page(id).await
    }

    /// Entries as they are appended.
    pub fn tail(&self) -> tokio::sync::broadcast::Receiver<Arc<Entry>> {
        self.log.tail()
    }

    /// Why nothing more is taken, if so.
    pub fn poisoned(&self) -> Option<String> {
        self.log.poisoned()
    }
}
