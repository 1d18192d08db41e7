//! One step of a run as its log adds up: its attempts, how the last ended, and what they may have done.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Key, StepOutcome, StepRef};

/// One step of a run as it is known so far.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepRecord {
    /// Which.
    pub step: StepRef,
    /// When its first attempt began, or it was skipped.
    pub begun_at: Timestamp,
    /// When its last attempt ended.
    pub ended_at: Option<Timestamp>,
    /// Attempts begun; 0 for a step that was skipped before its first.
    pub attempts: u32,
    /// The present attempt's key and deadline, while it is on.
    pub on: Option<(Key, Timestamp)>,
    /// How the last attempt that ended did.
    pub outcome: Option<StepOutcome>,
    /// Why it was skipped.
    pub skipped: Option<String>,
    /// What it left for people.
    pub evidence: String,
    /// When the last attempt began; `None` in an older store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tried_at: Option<Timestamp>,
    /// The most that one of its attempts may have done.
    #[serde(default)]
    pub trace: Trace,
    /// Since when what the present attempt waits for has been seen to hold, where that counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holds_since: Option<Timestamp>,
}

/// What an attempt that ended may have done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Trace {
    /// Nothing: it failed the moment it began.
    Nothing,
    /// A part: it failed after a while.
    Part,
    /// All of it: it was done, or nobody knows how it ended. So too what an older store has.
    #[default]
    All,
}

impl StepRecord {
    pub(super) fn new(step: StepRef, at: Timestamp) -> Self {
        Self {
            step,
            begun_at: at,
            ended_at: None,
            attempts: 0,
            on: None,
            outcome: None,
            skipped: None,
            evidence: String::new(),
            tried_at: None,
            trace: Trace::default(),
            holds_since: None,
        }
    }

    pub(super) fn begins(&mut self, at: Timestamp, attempt: u32, key: Key, deadline: Timestamp) {
        self.attempts = attempt;
        self.tried_at = Some(at);
        self.holds_since = None;
        self.on = Some((key, deadline));
    }

    pub(super) fn ends(&mut self, at: Timestamp, attempt: u32, outcome: &StepOutcome, evidence: &str) {
        let trace = match outcome {
            StepOutcome::Failed { .. } if self.tried_at == Some(at) => Trace::Nothing,
            StepOutcome::Failed { .. } => Trace::Part,
            StepOutcome::Done { .. } | StepOutcome::Unknown { .. } => Trace::All,
        };
        self.trace = if self.outcome.is_some() { self.trace.max(trace) } else { trace };
        self.attempts = attempt;
        self.on = None;
        self.ended_at = Some(at);
        self.outcome = Some(outcome.clone());
        evidence.clone_into(&mut self.evidence);
    }
}
