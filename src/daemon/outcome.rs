//! What `plan` and `apply` answer, as plain data for printing.

use std::path::PathBuf;

use codeops_core::desired::Diagnostic;
use codeops_core::model::{Commit, Owner, ResourceId, Verb};
use codeops_core::plan::Plan;
use codeops_core::policy::Judged;
use serde::Serialize;

/// What one revision would change.
#[derive(Debug, Clone, Serialize)]
pub struct PlanOutcome {
    /// Who declares it, once its `Repository` manifest could be read.
    pub owner: Option<Owner>,
    /// The revision planned.
    pub revision: Commit,
    /// What would change.
    pub plan: Plan,
    /// Which of it may go.
    pub judged: Judged,
    /// Mistakes in the revision.
    pub diagnostics: Vec<Diagnostic>,
    /// What else a reader should know, a sentence each: a newer tip that is not followed, a provider that is silent.
    pub notes: Vec<String>,
    /// The state folder, where no store is in it: then nothing is remembered, neither holds nor versions that failed.
    pub no_store: Option<PathBuf>,
}

/// What one pass did.
#[derive(Debug, Clone, Serialize)]
pub struct ApplyOutcome {
    /// What was planned at its start.
    pub planned: PlanOutcome,
    /// What became of each resource that changed.
    pub resources: Vec<ApplyResult>,
    /// All of it in one word.
    pub verdict: Verdict,
}

/// What became of one resource.
#[derive(Debug, Clone, Serialize)]
pub struct ApplyResult {
    /// The resource.
    pub id: ResourceId,
    /// What was to be done.
    pub verb: Verb,
    /// How it ended.
    pub verdict: Verdict,
    /// In one sentence: where it listens, why it failed, how it is released.
    pub note: Option<String>,
}

/// How a pass, or one resource in it, ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It is as declared.
    Applied,
    /// Some of it is; something failed or did not settle in time.
    Partial,
    /// It is not.
    Failed,
    /// Something waits for a commit or the end of a freeze, and nothing failed.
    Held,
    /// Nothing is done, as its manifest says: one resource, never a pass.
    Suspended,
}
