//! Tests of playbooks as they are written, as types: only their JSON Schema is used.
#![expect(dead_code, reason = "only the schema of these types is used")]

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde_json::Value;

use super::forms::one_of;
use super::syntax::{OwnedMetadata, Text};
use crate::model::Name;

/// Cases that a playbook is tested with.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct PlaybookTest {
    api_version: String,
    kind: String,
    metadata: OwnedMetadata,
    spec: PlaybookTestSpec,
}

/// The playbook and the cases.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct PlaybookTestSpec {
    /// The playbook that is tested.
    playbook: Name,
    /// What it is tested with.
    #[schemars(length(min = 1, max = 1000))]
    cases: Vec<Case>,
}

/// One case.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Case {
    /// What people call it.
    name: Text,
    /// What is so.
    given: Option<Given>,
    /// What must follow.
    expect: Expect,
}

/// What is so.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
struct Given {
    /// The alert.
    alert: Option<GivenAlert>,
    /// How the target is.
    target: Option<GivenTarget>,
    /// How steps end, by name; done with no output when left out.
    steps: Option<BTreeMap<String, Outcome>>,
    /// The step after whose end the alert is resolved; never when left out.
    resolved_after: Option<Name>,
}

/// An alert.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct GivenAlert {
    labels: Option<BTreeMap<String, Text>>,
    annotations: Option<BTreeMap<String, Text>>,
}

/// How the target is.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
struct GivenTarget {
    /// Degraded when left out.
    health: Option<Health>,
    /// 2 when left out.
    #[schemars(range(min = 0, max = 1000))]
    replicas: Option<u32>,
    /// 1 when left out.
    #[schemars(range(min = 0, max = 1000))]
    healthy: Option<u32>,
    /// true when left out.
    dependencies_healthy: Option<bool>,
    /// true when left out.
    can_roll_back: Option<bool>,
    /// false when left out.
    unproven: Option<bool>,
    /// Whether what is unproven is a changed check alone: then a rollback leaves the instances as they are. false when left out.
    check_only: Option<bool>,
}

#[derive(JsonSchema)]
enum Health {
    Healthy,
    Progressing,
    Degraded,
    Missing,
    Unknown,
}

/// Exactly one of these.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, extend("oneOf" = one_of(&["output", "error", "unknown"])))]
struct Outcome {
    /// It is done, and gives this.
    output: Option<Value>,
    /// It fails.
    error: Option<Text>,
    /// Its outcome is not known.
    unknown: Option<Text>,
}

/// What must follow.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Expect {
    /// The names of the steps that are begun, in order.
    steps: Vec<Name>,
    /// How the run ends.
    state: State,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
enum State {
    Resolved,
    Replaced,
    Paged,
    Failed,
    Skipped,
    Cancelled,
}
