//! What records are about: the group, the resource, the run that filters on them name.

use codeops_core::model::{Disposition, PageEvent, PageOpened, ResourceId, RunId, Subject};
use serde::{Deserialize, Serialize};

use super::record::Record;

/// Groups of records, for filters on the events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Category {
    /// Revisions and the repository.
    Commit,
    /// Steps and their results.
    Step,
    /// Sync, health, instances.
    Health,
    /// Drift.
    Drift,
    /// Holds, pins, waves and their release.
    Guard,
    /// Alerts, and what became of them.
    Alert,
    /// Runs and pages.
    Run,
    /// The daemon itself.
    Daemon,
}

impl Category {
    /// All, in the order of the timeline's lanes.
    pub const ALL: [Self; 8] =
        [Self::Commit, Self::Step, Self::Health, Self::Drift, Self::Guard, Self::Alert, Self::Run, Self::Daemon];

    /// Its word, as in JSON, queries and the store.
    pub fn word(self) -> &'static str {
        match self {
            Category::Commit => "commit",
            Category::Step => "step",
            Category::Health => "health",
            Category::Drift => "drift",
            Category::Guard => "guard",
            Category::Alert => "alert",
            Category::Run => "run",
            Category::Daemon => "daemon",
        }
    }
}

impl Record {
    /// The resource it is about, if one.
    pub fn resource(&self) -> Option<&ResourceId> {
        match self {
            Record::Intent { resource, .. }
            | Record::Result { resource, .. }
            | Record::Status { resource, .. }
            | Record::Instance { resource, .. }
            | Record::Drift { resource, .. }
            | Record::Stays { resource, .. }
            | Record::Baked { resource, .. }
            | Record::Released { resource, .. }
            | Record::Pinned { resource, .. }
            | Record::Unpinned { resource, .. }
            | Record::TakenBack { resource }
            | Record::Ports { resource, .. }
            | Record::Removal { resource, .. }
            | Record::Forgotten { resource }
            | Record::Renamed { resource, .. }
            | Record::Renewed { resource, .. } => Some(resource),
            Record::Note { resource, .. } | Record::Run { resource, .. } => resource.as_ref(),
            Record::Latched { subject } | Record::Unlatched { subject, .. } => match subject {
                Subject::Resource(resource) => Some(resource),
                Subject::Playbook(_) | Subject::Group { .. } => None,
            },
            Record::DaemonStarted { .. }
            | Record::RevisionAccepted { .. }
            | Record::RevisionState { .. }
            | Record::Kept { .. }
            | Record::Source { .. }
            | Record::Held { .. }
            | Record::Allowed { .. }
            | Record::HoldSpent { .. }
            | Record::System { .. }
            | Record::Waves { .. }
            | Record::Alerts { .. }
            | Record::AlertState { .. }
            | Record::Disposed { .. }
            | Record::Page { .. }
            | Record::Scheduled { .. }
            | Record::Watchdog { .. } => None,
        }
    }

    /// The run it is about, or was decided for, if one.
    pub fn run(&self) -> Option<RunId> {
        match self {
            Record::Run { run, .. } | Record::Disposed { disposition: Disposition::Run { run }, .. } => Some(*run),
            Record::Page { event: PageEvent::Opened(PageOpened { run, .. }), .. } => *run,
            _ => None,
        }
    }

    /// Its group.
    pub fn category(&self) -> Category {
        match self {
            Record::RevisionAccepted { .. }
            | Record::RevisionState { .. }
            | Record::Kept { .. }
            | Record::Stays { .. }
            | Record::Source { .. } => Category::Commit,
            Record::Intent { .. } | Record::Result { .. } | Record::Released { .. } => Category::Step,
            Record::Status { .. } | Record::Instance { .. } | Record::Baked { .. } => Category::Health,
            Record::Drift { .. } => Category::Drift,
            Record::Pinned { .. }
            | Record::Unpinned { .. }
            | Record::Held { .. }
            | Record::TakenBack { .. }
            | Record::Allowed { .. }
            | Record::HoldSpent { .. }
            | Record::Removal { .. }
            | Record::Waves { .. } => Category::Guard,
            Record::Alerts { .. } | Record::AlertState { .. } | Record::Disposed { .. } | Record::Watchdog { .. } => {
                Category::Alert
            }
            Record::Run { .. } | Record::Page { .. } | Record::Scheduled { .. } => Category::Run,
            Record::Latched { .. } | Record::Unlatched { .. } | Record::Renewed { .. } => Category::Guard,
            Record::DaemonStarted { .. }
            | Record::Ports { .. }
            | Record::Forgotten { .. }
            | Record::Renamed { .. }
            | Record::System { .. }
            | Record::Note { .. } => Category::Daemon,
        }
    }
}
