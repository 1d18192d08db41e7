//! Tests of playbooks as they are written beside them: what is given, and what is expected. Only `codeops playbook test` runs
//! them.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Health, Labels, Name, RunState, StepOutcome};

/// The tests of one playbook: `kind: PlaybookTest`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PlaybookTest {
    /// The playbook.
    pub playbook: Name,
    /// The cases, in the order they are written.
    pub cases: Vec<TestCase>,
}

/// One case.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TestCase {
    /// What people call it.
    pub name: String,
    /// What is so.
    pub given: Given,
    /// What must follow.
    pub expect: Expected,
}

/// What is so in a case.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Given {
    /// The alert; `None`: the playbook's time has come, or it is called.
    pub alert: Option<GivenAlert>,
    /// How the target is; found as the playbook says it is.
    pub target: GivenTarget,
    /// How steps end, by their names. One that is not named does what it should, with an output of nothing.
    pub steps: BTreeMap<Name, StepOutcome>,
    /// The step after whose end the alert is resolved by its source; `None`: it never is.
    pub resolved_after: Option<Name>,
    /// Whether it is before the first step, as no case has it.
    #[serde(skip)]
    pub is_over: bool,
}

/// An alert that is given.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct GivenAlert {
    /// Its labels.
    pub labels: Labels,
    /// Its annotations.
    pub annotations: Labels,
}

/// How the target is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GivenTarget {
    /// Whether it works.
    pub health: Health,
    /// How many instances are declared.
    pub replicas: u32,
    /// How many pass their check.
    pub healthy: u32,
    /// Whether all it depends on works.
    pub dependencies_healthy: bool,
    /// Whether there is a last good version to go back to.
    pub can_roll_back: bool,
    /// Whether what is live has not finished its bake.
    pub unproven: bool,
    /// Whether that is a changed check alone, which goes back by itself and mends no outage.
    pub check_only: bool,
}

impl Default for GivenTarget {
    fn default() -> Self {
        Self {
            health: Health::Degraded,
            replicas: 2,
            healthy: 1,
            dependencies_healthy: true,
            can_roll_back: true,
            unproven: false,
            check_only: false,
        }
    }
}

/// What must follow.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Expected {
    /// The names of the steps that are begun, in that order; further attempts are not counted.
    pub steps: Vec<Name>,
    /// How the run ends.
    pub state: RunState,
}
