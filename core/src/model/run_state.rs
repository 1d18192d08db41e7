//! How runs are, in one word.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How a run is, or ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RunState {
    /// A step is on.
    Running,
    /// It goes on by itself: a wait, a backoff, a turn in a queue, a freeze.
    Waiting,
    /// Its steps did what they should, and where there was an alert, it is proven over.
    Resolved,
    /// Its steps did not; an instance was replaced, and the alert is proven over.
    Replaced,
    /// A person was called, and a channel accepted it.
    Paged,
    /// None of that.
    Failed,
    /// It did not begin.
    Skipped,
    /// It was ended from outside: its playbook, target or permission is gone, or its store is older than the world.
    Cancelled,
}

impl RunState {
    /// Whether nothing more happens.
    pub fn is_over(self) -> bool {
        !matches!(self, RunState::Running | RunState::Waiting)
    }

    /// Its word, as in JSON.
    pub fn word(self) -> &'static str {
        match self {
            RunState::Running => "running",
            RunState::Waiting => "waiting",
            RunState::Resolved => "resolved",
            RunState::Replaced => "replaced",
            RunState::Paged => "paged",
            RunState::Failed => "failed",
            RunState::Skipped => "skipped",
            RunState::Cancelled => "cancelled",
        }
    }
}

impl fmt::Display for RunState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}
