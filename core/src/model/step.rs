//! Steps: the small, idempotent things a provider is asked to do. Data, made by pure functions, let through by the gate.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Digest, InvalidName, Name, Ours, Owner, ProviderName, Resource, ResourceId, Revision, RunId, TeamName};

/// One thing a provider is asked to do to one resource. It is never read back from storage: after a crash it is made
/// anew from what is observed.
#[derive(Debug, Clone, Serialize)]
pub struct Step {
    /// The resource acted on.
    pub resource: ResourceId,
    /// Who declares it.
    pub owner: Owner,
    /// The team that owns it.
    pub team: TeamName,
    /// The provider asked.
    pub provider: ProviderName,
    /// What to do.
    pub op: Op,
    /// Why it is done; kept for people and left out of keys.
    pub cause: Cause,
}

/// What a step does. A provider does each within seconds and never waits for health.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Op {
    /// Make the resource with its stable port and no instance, stamped. Only where it was `Absent`.
    Create {
        /// What it should be.
        desired: Arc<Resource>,
    },
    /// Take over an object that carries no stamp, as `adopt: true` says.
    Adopt {
        /// What it should be.
        desired: Arc<Resource>,
    },
    /// Take over what was ours under another id, keeping data, port and instances.
    Rename {
        /// The id it had.
        from: ResourceId,
        /// Proof that it is ours.
        ours: Ours,
        /// What it should be.
        desired: Arc<Resource>,
    },
    /// Change in place all that needs no new instance, and stamp the new spec digest.
    Configure {
        /// What it should be.
        desired: Arc<Resource>,
    },
    /// Run the release command of this template once.
    Release {
        /// The template's resource.
        desired: Arc<Resource>,
    },
    /// Start one instance of this template.
    Start {
        /// The new instance's id.
        instance: InstanceId,
        /// The template's resource.
        desired: Arc<Resource>,
    },
    /// Take one instance out of the port's rotation, then end it by its stop policy.
    Stop {
        /// The instance.
        instance: InstanceId,
    },
    /// End all instances, free the port, remove all that is stamped, and all that it ever wrote. What moves lives on: what it
    /// wrote where it was is kept there, for a move takes no data along.
    Delete {
        /// Proof that it is ours.
        ours: Ours,
        /// Where it lives on, if it moves.
        moved_to: Option<ProviderName>,
    },
}

impl Op {
    /// One word for logs, events and plans.
    pub fn word(&self) -> &'static str {
        match self {
            Op::Create { .. } => "create",
            Op::Adopt { .. } => "adopt",
            Op::Rename { .. } => "rename",
            Op::Configure { .. } => "configure",
            Op::Release { .. } => "release",
            Op::Start { .. } => "start",
            Op::Stop { .. } => "stop",
            Op::Delete { .. } => "delete",
        }
    }

    /// What distinguishes this from another op of the same word on the same resource: an instance, a digest. Two steps of
    /// one resource with equal `(word, subject)` are the same intention.
    pub fn subject(&self) -> String {
        match self {
            Op::Create { desired } | Op::Adopt { desired } | Op::Configure { desired } => {
                desired.spec_digest.to_string()
            }
            Op::Rename { from, desired, .. } => format!("{from} {}", desired.spec_digest),
            Op::Release { desired } => desired.template_digest.to_string(),
            Op::Start { instance, .. } | Op::Stop { instance } => instance.to_string(),
            Op::Delete { ours, moved_to: None } => ours.stamp().spec.to_string(),
            Op::Delete { ours, moved_to: Some(to) } => format!("{} moved to {to}", ours.stamp().spec),
        }
    }

    /// For a rename: the id it had.
    pub fn former(&self) -> Option<&ResourceId> {
        match self {
            Op::Rename { from, .. } => Some(from),
            _ => None,
        }
    }

    /// What it is to bring about.
    pub fn aim(&self) -> Aim {
        match self {
            Op::Delete { .. } => Aim::Gone,
            Op::Stop { .. } => Aim::Fewer,
            Op::Create { desired }
            | Op::Adopt { desired }
            | Op::Rename { desired, .. }
            | Op::Configure { desired }
            | Op::Release { desired }
            | Op::Start { desired, .. } => Aim::Spec(desired.spec_digest.clone()),
        }
    }

    /// The resource this op brings in, if it carries one.
    pub fn desired(&self) -> Option<&Arc<Resource>> {
        match self {
            Op::Create { desired }
            | Op::Adopt { desired }
            | Op::Rename { desired, .. }
            | Op::Configure { desired }
            | Op::Release { desired }
            | Op::Start { desired, .. } => Some(desired),
            Op::Stop { .. } | Op::Delete { .. } => None,
        }
    }
}

/// What steps are to bring about. What failed is waited with only by what aims at the same: a commit that mends it, or takes
/// it away, goes at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Aim {
    /// That a resource is as this spec declares it.
    Spec(Digest),
    /// That an instance ends.
    Fewer,
    /// That nothing is left of it.
    Gone,
}

/// Why a step is done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Cause {
    /// A revision declares it.
    Revision {
        /// The revision.
        revision: Revision,
    },
    /// Live state moved away with no new revision.
    Drift {
        /// What moved, in a few words.
        what: String,
    },
    /// A playbook's run acts.
    Run {
        /// The run.
        run: RunId,
        /// Its playbook.
        playbook: Name,
    },
    /// A template failed and the last good one comes back.
    Rollback {
        /// The template that failed.
        failed: Digest,
        /// How, in one sentence.
        why: String,
    },
}

/// The kind of a [`Cause`], to tell them apart without its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CauseKind {
    /// A revision declares it.
    Revision,
    /// Live state moved away.
    Drift,
    /// A template failed.
    Rollback,
    /// A playbook's run acts.
    Run,
}

impl Cause {
    /// Which kind it is.
    pub fn kind(&self) -> CauseKind {
        match self {
            Cause::Revision { .. } => CauseKind::Revision,
            Cause::Drift { .. } => CauseKind::Drift,
            Cause::Rollback { .. } => CauseKind::Rollback,
            Cause::Run { .. } => CauseKind::Run,
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cause::Revision { revision } => write!(f, "revision {}", revision.short()),
            Cause::Drift { what } => write!(f, "drift: {what}"),
            Cause::Run { run, playbook } => write!(f, "playbook {playbook}, run {run}"),
            Cause::Rollback { failed, why } => write!(f, "rollback from {}: {why}", failed.short()),
        }
    }
}

/// The idempotency key of one intent: minted by the journal, at most 128 of `a-z 0-9 - :`. Repeating one key has one effect.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Key(pub String);

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// One instance of an app: the first 8 digits of its template digest and an ordinal, such as `9f86d081-1`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct InstanceId(Name);

impl InstanceId {
    /// The `ordinal`th instance of a template.
    pub fn new(template: &Digest, ordinal: u32) -> Result<Self, InvalidName> {
        Name::new(&format!("{}-{ordinal}", template.short())).map(Self)
    }

    /// The ordinal after the hyphen.
    pub fn ordinal(&self) -> u32 {
        self.0.as_str().rsplit_once('-').and_then(|(_, n)| n.parse().ok()).unwrap_or(0)
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl TryFrom<String> for InstanceId {
    type Error = InvalidName;
    fn try_from(text: String) -> Result<Self, InvalidName> {
        Name::new(&text).map(Self)
    }
}

impl From<InstanceId> for String {
    fn from(id: InstanceId) -> Self {
        id.0.into()
    }
}

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.0.as_str())
    }
}
