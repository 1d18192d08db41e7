//! How much of the journal is kept.

use serde::{Deserialize, Serialize};

use crate::model::Bytes;

/// Entries are kept within all of these bounds, and as long what is over of alerts, runs and pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct JournalSettings {
    /// So many days.
    pub days: u32,
    /// So many entries.
    pub entries: u32,
    /// So much on the disk.
    pub size: Bytes,
}

impl Default for JournalSettings {
    fn default() -> Self {
        Self { days: 90, entries: 1_000_000, size: Bytes(4 << 30) }
    }
}
