//! The store as the command line reads it: beside a running daemon, or from a folder that none runs on. It never writes.

use std::path::{Path, PathBuf};

use codeops_core::model::{Memory, Secret};
use rusqlite::Connection;

use super::StoreError;
use super::audit::Head;
use super::folder::{database, tag_key};
use super::schema::open_reader;
use super::table::{self, Sql};
use super::{projection, query};
use crate::journal::{AlertPage, AlertQuery, InDoubt, Page, Query, RunPage, RunQuery, SignalQuery};

/// A store opened only to be read. Its calls block for as long as the disk takes.
pub struct Archive {
    file: PathBuf,
    db: Connection,
}

impl Archive {
    pub(super) fn open(state_dir: &Path) -> Result<Self, StoreError> {
        let file = database(state_dir);
        if !file.exists() {
            return Err(StoreError::Missing { folder: state_dir.to_owned() });
        }
        // SQLite says of such a file only that it cannot be opened.
        rustix::fs::access(&file, rustix::fs::Access::READ_OK)
            .map_err(|source| StoreError::Folder { path: file.clone(), source: source.into() })?;
        Ok(Self { db: open_reader(&file)?, file })
    }

    /// One page of entries.
    pub fn read(&self, query: &Query) -> Result<Page, StoreError> {
        self.ask(|db| table::page(db, query))
    }

    /// The journaled deliveries of a period, oldest first.
    pub fn signals_between(&self, asked: &SignalQuery) -> Result<Page, StoreError> {
        self.ask(|db| query::signals(db, asked))
    }

    /// Runs, newest first, those that are over too.
    pub fn runs(&self, asked: &RunQuery) -> Result<RunPage, StoreError> {
        self.ask(|db| query::runs(db, asked))
    }

    /// Alerts, the last that came in first, those that are over too.
    pub fn alerts(&self, asked: &AlertQuery) -> Result<AlertPage, StoreError> {
        self.ask(|db| query::alerts(db, asked))
    }

    /// The fold of everything, and the intents in doubt.
    pub fn memory(&self) -> Result<(Memory, Vec<InDoubt>), StoreError> {
        let recalled = self.ask(projection::recall)?;
        Ok((recalled.memory, recalled.doubts.into_values().collect()))
    }

    /// The store's id, and how many daemons have opened it.
    pub fn identity(&self) -> Result<(String, u64), StoreError> {
        let store = self.ask(|db| table::fact::<String>(db, "store"))?;
        Ok((store.unwrap_or_default(), self.ask(table::epoch)?))
    }

    /// The key under which secrets' values are tagged for digests, once a daemon has made it.
    pub fn tag_key(&self) -> Result<Option<Secret<[u8; 32]>>, StoreError> {
        if let Some(key) = self.file.parent().map(tag_key).transpose()?.flatten() {
            return Ok(Some(Secret::new(key)));
        }
        Ok(self.ask(|db| table::fact(db, "tag_key"))?.map(Secret::new))
    }

    /// The end of the audit chain, once a daemon has begun it.
    pub fn head(&self) -> Result<Option<Head>, StoreError> {
        Ok(self.ask(|db| table::mark(db, "head"))?.map(Head::from))
    }

    /// Asks the database, and names its file where that fails.
    pub(super) fn ask<T>(&self, read: impl FnOnce(&Connection) -> Sql<T>) -> Result<T, StoreError> {
        read(&self.db).map_err(|error| StoreError::sqlite(&self.file, &error))
    }
}
