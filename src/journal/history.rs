//! What is asked of the history of alerts, runs and pages, which a store keeps after the memory has let go of them.

use std::sync::Arc;

use codeops_core::model::{AlertMemory, AlertState, Name, Page, PageId, ResourceId, Run, RunId, RunState};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::log::Seq;

/// Some of a history, newest first.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Listed<T, C> {
    /// Newest first.
    pub items: Vec<T>,
    /// The cursor of what follows, if anything does.
    pub next: Option<C>,
}

impl<T, C> Default for Listed<T, C> {
    fn default() -> Self {
        Self { items: Vec::new(), next: None }
    }
}

/// Which runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunQuery {
    /// Only those of this playbook.
    pub playbook: Option<Name>,
    /// Only those on this target.
    pub target: Option<ResourceId>,
    /// Only those that are so.
    pub state: Option<RunState>,
    /// Only those opened before this one: the cursor.
    pub before: Option<RunId>,
    /// At most so many; 1 to 1,000.
    pub limit: usize,
}

/// Some runs, the last opened first.
pub type RunPage = Listed<Arc<Run>, RunId>;

/// A place in the history of alerts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AlertCursor(pub u64);

/// Which alerts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AlertQuery {
    /// Only those of this monitoring system.
    pub source: Option<Name>,
    /// Only those with this `alertname`.
    pub name: Option<String>,
    /// Only those that a run on this target answered.
    pub target: Option<ResourceId>,
    /// Only those that are so.
    pub state: Option<AlertState>,
    /// Only those that came in before: the cursor.
    pub before: Option<AlertCursor>,
    /// At most so many; 1 to 1,000.
    pub limit: usize,
}

/// Some alerts, the last that came in first. One that comes back after more than an hour stands here once more.
pub type AlertPage = Listed<Arc<AlertMemory>, AlertCursor>;

/// Which pages.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PageQuery {
    /// Only those of this run.
    pub run: Option<RunId>,
    /// Only those opened before this one: the cursor.
    pub before: Option<PageId>,
    /// At most so many; 1 to 1,000.
    pub limit: usize,
}

/// Some pages, the last opened first.
pub type PageList = Listed<Arc<Page>, PageId>;

/// The deliveries of a period.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignalQuery {
    /// From then.
    pub from: Timestamp,
    /// Until before then.
    pub to: Timestamp,
    /// Only those newer than this entry: the cursor.
    pub after: Option<Seq>,
    /// At most so many; 1 to 1,000.
    pub limit: usize,
}
