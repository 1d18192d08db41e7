//! What is written down. Records are versioned by the `v` the store writes beside them and have golden files; a variant
//! or field, once released, keeps its meaning for ever.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use codeops_core::model::{
    Aim, AlertId, AlertState, AsDeclared, Asked, CauseKind, ChangedBy, Claims, Commit, Digest, Disposition, Health,
    HoldId, InstanceId, Key, LastGood, Name, Owner, PageEvent, PageId, Pin, ProviderName, Renewal, ResourceId,
    Revision, RevisionState, RunEvent, RunId, Signal, StablePort, Subject, Sync, SystemId, TeamName, Verb, Waves,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::log::Seq;
use super::outcome::Outcome;

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
        /// Whether it is the same process, which has taken over other settings.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        reloaded: bool,
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
        /// The file that declares each resource, of those that another file declared before, or none, in the journals of early
        /// versions.
        files: BTreeMap<ResourceId, String>,
        /// The same by file, so that each is named once.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        by_file: BTreeMap<Arc<str>, BTreeSet<ResourceId>>,
        /// The resources that a file declared before and none does now.
        #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
        gone: BTreeSet<ResourceId>,
        /// The port, former names and team of each resource that had others, or none, before.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        claims: BTreeMap<ResourceId, Claims>,
        /// Whose commits changed each resource that they changed, where teams are kept apart.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        changed: BTreeMap<ResourceId, ChangedBy>,
        /// Of what is remembered and not declared, or not without a mistake: since when others ask for its name, where that is
        /// other than before.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        asked: BTreeMap<ResourceId, Asked>,
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
    /// What is broken in the revision in force of how alerts are answered, or had by several teams, or gone and still named, is other than before.
    Kept {
        /// Each of those manifests, as `Kind/name`, with the revision that had it good last, whose version stays in force;
        /// `null` where it never was good.
        manifests: BTreeMap<String, Option<Revision>>,
        /// Of each manifest that several teams have, that stays as it was, or that is gone and still named, whose it is.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        holders: BTreeMap<String, TeamName>,
        /// Of those of them that are in force, the file that each stood in when it last was good.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        files: BTreeMap<String, Arc<str>>,
        /// Whether those that are not named are as before; without, there are no others.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        others: bool,
        /// Of which nothing of the kind is to be said any more.
        #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
        gone: BTreeSet<String>,
    },
    /// A resource whose manifest now has a mistake stays as it was declared last without one; or the manifest has none any
    /// more.
    Stays {
        /// The resource.
        resource: ResourceId,
        /// What it stays as; `None`: what is declared counts again, unless it is said before.
        declared: Option<AsDeclared>,
        /// Where that was written down before, how and by which revision it was declared.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        before: Option<AsBefore>,
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
        /// What it aimed at, where it is tried again: only that waits. `None` in the journals of early versions.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        aim: Option<Aim>,
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
        /// Whether that template was it before and only what is around it is declared otherwise, such as how many instances.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        again: bool,
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
        /// Those of them that are removals and stay held until a commit releases them or declares them again, whatever else
        /// changes; none in the journals of early versions.
        #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
        removals: BTreeSet<ResourceId>,
    },
    /// A removal that was held is not asked for any more.
    TakenBack {
        /// The resource.
        resource: ResourceId,
    },
    /// A commit released a hold.
    Allowed {
        /// The hold.
        hold: HoldId,
        /// The commit.
        revision: Revision,
        /// Whose resources it counts for; all without.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        teams: Option<BTreeSet<TeamName>>,
        /// What it does not count for, as a later commit that was taken with it changed how that is declared.
        #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
        overtaken: BTreeSet<ResourceId>,
    },
    /// A removal was let through and counts for an hour; `hold` is spent when it came from one.
    Removal {
        /// What was done.
        verb: Verb,
        /// To which resource.
        resource: ResourceId,
        /// The hold that allowed it.
        hold: Option<HoldId>,
        /// Whose it was.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        team: Option<TeamName>,
    },
    /// A release is over: the hold's whole set has gone through, or no such hold was there when its commit came.
    HoldSpent {
        /// The hold.
        hold: HoldId,
    },
    /// On which ports a resource may live beside the one that it is declared with, as was seen, where that is otherwise than
    /// remembered: they stay its own until it has arrived at that.
    Ports {
        /// The resource.
        resource: ResourceId,
        /// The ports; none once it has arrived.
        ports: BTreeSet<StablePort>,
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
    /// What a receiver delivered, all that is new of it, together with the ids of its delivery.
    Alerts {
        /// The receiver.
        receiver: Name,
        /// Hashes of the ids of this delivery, 32 hex each; the same ids again bring nothing new for a day.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        delivery: Vec<String>,
        /// What it says.
        signals: Vec<Signal>,
        /// How many of its elements could not be read.
        #[serde(default)]
        spoiled: u32,
    },
    /// Alerts whose state changed without a signal: expired, or asked for.
    AlertState {
        /// Which.
        alerts: Vec<AlertId>,
        /// How they are.
        state: AlertState,
        /// In one sentence.
        why: String,
    },
    /// What became of alerts: the receipt.
    Disposed {
        /// Which.
        alerts: Vec<AlertId>,
        /// What became of them.
        disposition: Disposition,
    },
    /// Something happened in a run.
    Run {
        /// The run.
        run: RunId,
        /// Its target, again, so that one index serves both; set when it is opened and when it ends.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        resource: Option<ResourceId>,
        /// What.
        event: RunEvent,
    },
    /// Something happened to a page.
    Page {
        /// The page.
        page: PageId,
        /// What.
        event: PageEvent,
    },
    /// A scheduled time was taken up, or left with why.
    Scheduled {
        /// The playbook.
        playbook: Name,
        /// The time.
        due: Timestamp,
        /// Why nothing was started.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        left: Option<String>,
        /// Of which schedule, as its words; `None` in an older record.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        of: Option<String>,
    },
    /// A receiver's Watchdog was heard.
    Watchdog {
        /// The receiver.
        receiver: Name,
    },
    /// A run told instances to make way for new ones.
    Renewed {
        /// The resource.
        resource: ResourceId,
        /// Which instances, for which run.
        renewal: Renewal,
    },
    /// Nothing more is tried on something until it has been healthy for an hour, or a commit says `Codeops-Retry`.
    Latched {
        /// On what.
        subject: Subject,
    },
    /// It may be tried again.
    Unlatched {
        /// On what.
        subject: Subject,
        /// Why.
        why: String,
    },
    /// Something a person should know that has no state of its own.
    Note {
        /// The resource it is about, if one.
        resource: Option<ResourceId>,
        /// In one sentence.
        text: String,
    },
}

/// What was declared of a resource, where the journal has it already.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AsBefore {
    /// The revision that declared it so.
    pub revision: Revision,
    /// Whether it is what is last good; else what it stayed as the last time.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub good: bool,
}

/// Why no time of a schedule is taken up when it is seen for the first time, or was changed.
pub const SCHEDULE_CHANGED: &str = "it counts from now on";
