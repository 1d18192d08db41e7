//! What is written down. Records are versioned by the `v` the store writes beside them and have golden files; a variant
//! or field, once released, keeps its meaning for ever.

use std::collections::{BTreeMap, BTreeSet};

use codeops_core::model::{
    CauseKind, Commit, Digest, Health, HoldId, InstanceId, Key, LastGood, Owner, Pin, ProviderName, ResourceId,
    Revision, RevisionState, Sync, SystemId, TeamName, Verb, Waves,
};
use serde::{Deserialize, Serialize};

use super::log::Seq;

/// One thing that happened or was decided.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Record {
    /// A daemon started on this store.
    DaemonStarted {
        /// Its version.
        version: String,
        /// Counts daemons on this store; keepers refuse older ones.
        epoch: u64,
    },
    /// A revision was accepted: from now on it is what should be.
    RevisionAccepted {
        /// The revision.
        revision: Revision,
        /// Who declares.
        owner: Owner,
        /// The commits it brings, oldest first.
        commits: Vec<Commit>,
        /// Blast radius percent it declares.
        blast_percent: u8,
        /// The file that declares each resource, of those that another file declared before, or none.
        files: BTreeMap<ResourceId, String>,
        /// The resources that a file declared before and none does now.
        #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
        gone: BTreeSet<ResourceId>,
    },
    /// A revision came to a state.
    RevisionState {
        /// The revision.
        revision: Revision,
        /// The state.
        state: RevisionState,
        /// Why, when not applied.
        why: Option<String>,
    },
    /// The repository answers differently than before: an error, a hold, or neither when it is well again.
    Source {
        /// Why it cannot be reached.
        error: Option<String>,
        /// Why its tip is not followed.
        held: Option<String>,
    },
    /// A step is about to be done.
    Intent {
        /// The idempotency key.
        key: Key,
        /// The resource.
        resource: ResourceId,
        /// Its team.
        team: TeamName,
        /// The provider asked.
        provider: ProviderName,
        /// The op's word, such as `start`.
        word: String,
        /// What the op is about; with word and resource, its identity.
        subject: String,
        /// Why, in a few words.
        cause: String,
        /// What kind of cause that is; `None` in the journals of early versions.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cause_kind: Option<CauseKind>,
    },
    /// How an intent ended.
    Result {
        /// The intent's number.
        intent: Seq,
        /// The resource, again, so that one index serves both.
        resource: ResourceId,
        /// The intent's word and subject, such as `start 9f86d081-1`, for readers; `None` in the journals of early versions.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        what: Option<String>,
        /// How it ended.
        outcome: Outcome,
    },
    /// Sync or health of a resource changed.
    Status {
        /// The resource.
        resource: ResourceId,
        /// Sync now.
        sync: Sync,
        /// Health now.
        health: Health,
        /// Why.
        why: Option<String>,
    },
    /// An instance's process ended or failed its check, as its provider reported.
    Instance {
        /// The resource.
        resource: ResourceId,
        /// The instance.
        instance: InstanceId,
        /// In one sentence.
        what: String,
    },
    /// Live state moved away with no new revision.
    Drift {
        /// The resource.
        resource: ResourceId,
        /// What moved.
        what: String,
    },
    /// A template finished its bake.
    Baked {
        /// The resource.
        resource: ResourceId,
        /// What is now the last good.
        good: LastGood,
    },
    /// A release command succeeded.
    Released {
        /// The resource.
        resource: ResourceId,
        /// The template it ran for.
        template: Digest,
    },
    /// A template failed and is not tried again.
    Pinned {
        /// The resource.
        resource: ResourceId,
        /// The template.
        template: Digest,
        /// How it failed.
        pin: Pin,
    },
    /// A commit says to try again.
    Unpinned {
        /// The resource.
        resource: ResourceId,
        /// The commit.
        revision: Revision,
    },
    /// Changes are held until a commit releases them.
    Held {
        /// The hold.
        hold: HoldId,
        /// What is held.
        changes: Vec<(Verb, ResourceId)>,
        /// Why.
        why: String,
    },
    /// A commit released a hold.
    Allowed {
        /// The hold.
        hold: HoldId,
        /// The commit.
        revision: Revision,
    },
    /// A removal was let through and counts for an hour; `hold` is spent when it came from one.
    Removal {
        /// What was done.
        verb: Verb,
        /// To which resource.
        resource: ResourceId,
        /// The hold that allowed it.
        hold: Option<HoldId>,
    },
    /// A release is over: the hold's whole set has gone through, or no such hold was there when its commit came.
    HoldSpent {
        /// The hold.
        hold: HoldId,
    },
    /// A resource is gone and nothing more is remembered of it.
    Forgotten {
        /// The resource.
        resource: ResourceId,
    },
    /// A resource has a new id and keeps what is remembered of it.
    Renamed {
        /// The id it had.
        from: ResourceId,
        /// The id it has.
        resource: ResourceId,
    },
    /// A provider was seen on a system for the first time, or a commit accepted a change of it.
    System {
        /// The provider.
        provider: ProviderName,
        /// The system.
        system: SystemId,
    },
    /// A wide update began, or, with `None`, ended.
    Waves {
        /// Its members.
        waves: Option<Waves>,
    },
    /// Something a person should know that has no state of its own.
    Note {
        /// The resource it is about, if one.
        resource: Option<ResourceId>,
        /// In one sentence.
        text: String,
    },
}

/// How an intent ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Outcome {
    /// It took effect.
    Done {
        /// What the provider said, redacted.
        note: Option<String>,
    },
    /// It did not; it is tried again after `backoff_ms`.
    Retry {
        /// Why, redacted.
        error: String,
        /// How long to wait.
        backoff_ms: u64,
    },
    /// It did not, and will not as it is declared.
    Rejected {
        /// Why, redacted.
        error: String,
    },
    /// It is not known; observed next.
    Unknown {
        /// Why, redacted.
        error: String,
    },
    /// After a look it turned out that it had not happened, or no longer matters.
    Superseded,
}

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
    /// The daemon itself.
    Daemon,
}

impl Category {
    /// All, in the order of the timeline's lanes.
    pub const ALL: [Self; 6] = [Self::Commit, Self::Step, Self::Health, Self::Drift, Self::Guard, Self::Daemon];

    /// Its word, as in JSON, queries and the store.
    pub fn word(self) -> &'static str {
        match self {
            Category::Commit => "commit",
            Category::Step => "step",
            Category::Health => "health",
            Category::Drift => "drift",
            Category::Guard => "guard",
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
            | Record::Baked { resource, .. }
            | Record::Released { resource, .. }
            | Record::Pinned { resource, .. }
            | Record::Unpinned { resource, .. }
            | Record::Removal { resource, .. }
            | Record::Forgotten { resource }
            | Record::Renamed { resource, .. } => Some(resource),
            Record::Note { resource, .. } => resource.as_ref(),
            Record::DaemonStarted { .. }
            | Record::RevisionAccepted { .. }
            | Record::RevisionState { .. }
            | Record::Source { .. }
            | Record::Held { .. }
            | Record::Allowed { .. }
            | Record::HoldSpent { .. }
            | Record::System { .. }
            | Record::Waves { .. } => None,
        }
    }

    /// Its group.
    pub fn category(&self) -> Category {
        match self {
            Record::RevisionAccepted { .. } | Record::RevisionState { .. } | Record::Source { .. } => Category::Commit,
            Record::Intent { .. } | Record::Result { .. } | Record::Released { .. } => Category::Step,
            Record::Status { .. } | Record::Instance { .. } | Record::Baked { .. } => Category::Health,
            Record::Drift { .. } => Category::Drift,
            Record::Pinned { .. }
            | Record::Unpinned { .. }
            | Record::Held { .. }
            | Record::Allowed { .. }
            | Record::HoldSpent { .. }
            | Record::Removal { .. }
            | Record::Waves { .. } => Category::Guard,
            Record::DaemonStarted { .. }
            | Record::Forgotten { .. }
            | Record::Renamed { .. }
            | Record::System { .. }
            | Record::Note { .. } => Category::Daemon,
        }
    }
}
