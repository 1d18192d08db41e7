//! What a scheduled run failed of: a person who was called for it is not called again each time it comes to the same.

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Digest, Does, PageId, Run, RunCause, RunId, StepOutcome};

/// A failure that a person was called for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToldFailure {
    /// The page.
    pub page: PageId,
    /// The run that it comes from.
    pub run: RunId,
    /// What it told of.
    pub of: Digest,
}

impl Run {
    /// What a scheduled run failed of: its program, and each step that failed, with why. `None` while nothing did, and for
    /// runs that alerts or other runs open: those have their own ladder.
    pub fn failure(&self) -> Option<Digest> {
        let RunCause::Schedule { .. } = self.cause else { return None };
        let failed = self.steps.iter().filter_map(|record| {
            let step = self.step(record.step).filter(|step| !matches!(step.does, Does::Page { .. }))?;
            match &record.outcome {
                Some(StepOutcome::Failed { error } | StepOutcome::Unknown { error }) => Some(json!([step.name, error])),
                _ => None,
            }
        });
        let failed: Vec<_> = failed.collect();
        let program = serde_json::to_value(&*self.playbook).ok()?;
        (!failed.is_empty()).then(|| Digest::of(&json!([program, failed])))
    }
}
