//! What must be remembered across restarts: the fold of the journal that decisions read. Plain data; the journal folds it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    Aim, Claims, Digest, HoldId, Instance, InstanceId, Name, Owner, ProviderName, Resource, ResourceId, ResponseMemory,
    Revision, RunId, StablePort, SystemId, TeamName, Verb, is_ahead, wait_ends,
};

/// All that is remembered.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Memory {
    /// The revision in force and the ones it came from.
    pub revision: RevisionMemory,
    /// By resource.
    pub resources: BTreeMap<ResourceId, ResourceMemory>,
    /// The system each provider last was.
    pub systems: BTreeMap<ProviderName, SystemId>,
    /// Removals let through, newest last: those within the hour, and all under a hold whose release is not spent.
    pub removals: Vec<Removal>,
    /// Holds that a commit's `Codeops-Allow` released and that are not spent yet, each with when it did.
    pub allowed: BTreeMap<HoldId, Timestamp>,
    /// Those of them that count for these teams' resources alone: their commit proved no right to others'.
    pub allowed_by: BTreeMap<HoldId, BTreeSet<TeamName>>,
    /// Of what they do not count for, as a commit after theirs declared it, or changed how it was declared.
    pub overtaken: BTreeMap<HoldId, BTreeSet<ResourceId>>,
    /// The wide update under way, if any.
    pub waves: Option<Waves>,
    /// Alerts, runs and pages.
    pub response: ResponseMemory,
}

/// The revision in force.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RevisionMemory {
    /// The owner that was stamped so far; a repository whose name changes is another owner.
    pub owner: Option<Owner>,
    /// The last revision that was accepted for applying.
    pub accepted: Option<Revision>,
    /// When that was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accepted_at: Option<Timestamp>,
    /// The last revision that was wholly applied.
    pub applied: Option<Revision>,
    /// Blast radius percent that the revision in force inherits; the stricter of it and its own applies, so that no commit
    /// raises its own limit. What a revision declares is inherited once it is wholly applied; until then, only what is
    /// stricter is, so that no later commit lets go what it held.
    pub blast_percent: Option<u8>,
    /// Blast radius percent of the revision in force: what counts as the earlier one once another is accepted.
    pub blast_declared: Option<u8>,
    /// Whether something was held since the revision in force was last wholly applied.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub has_held: bool,
    /// What is removed under the revision in force, from the first step on, also where the one before it began: once gone, a
    /// part of it that no longer shows where resources are counted.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub removes: BTreeSet<ResourceId>,
    /// Of each manifest of how alerts are answered that is broken in it, as `Kind/name`: the revision that had it good last,
    /// whose version stays in force; `None` where it never was good.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub kept: BTreeMap<String, Option<Revision>>,
    /// Of each manifest of how alerts are answered that several teams have in it, that stays as it was, or that is gone and still
    /// named, as `Kind/name`: whose it is.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub holders: BTreeMap<String, TeamName>,
    /// Of those in force, the file that each stood in when it last was good, as far as that was written down.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub files: BTreeMap<String, Arc<str>>,
}

/// What is remembered of one resource.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ResourceMemory {
    /// The file that last declared it; a file that becomes unreadable holds it.
    pub file: Option<Arc<str>>,
    /// Since when one does; `None` where that was before it was written down.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub declared_at: Option<Timestamp>,
    /// Since when none does any more: when its removal was asked for first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dropped_at: Option<Timestamp>,
    /// Whether its removal was held: then it stays so until a commit releases it, or declares it again.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub removal_held: bool,
    /// What it had by right when a revision was last accepted.
    #[serde(skip_serializing_if = "Claims::is_empty")]
    pub claims: Claims,
    /// The ports beside the one in `claims` on which it may live still: what it had when it came to be declared with another, and
    /// what it was seen on, until it has arrived.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub ports: BTreeSet<StablePort>,
    /// What it stays as while its manifest has a mistake: as it was declared last without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stays: Option<AsDeclared>,
    /// What it stayed as the last time, once that is over and unless it is what is last good: what comes to stay as the same
    /// again is not written down again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stayed: Option<AsDeclared>,
    /// What last finished its bake, whole, so that it can come back.
    pub last_good: Option<LastGood>,
    /// Templates that failed, by template digest.
    pub pins: BTreeMap<Digest, Pin>,
    /// Where it may live: every provider on which a step has begun to make or change it and from which it has not been
    /// removed since; with the number of the intent that removes it, while one is under way.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub places: BTreeMap<ProviderName, Option<u64>>,
    /// The template whose release command last succeeded.
    pub released: Option<Digest>,
    /// When a commit last said `Codeops-Retry`: what failed before then is started anew.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retried_at: Option<Timestamp>,
    /// Instances that a run has told to make way for new ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub renewal: Option<Renewal>,
    /// By whom it was changed since it was last good, where that is known and teams are kept apart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub changed_by: Option<ChangedBy>,
    /// Failed applies in a row, and when the next may be tried.
    pub failures: u32,
    /// When the first of them failed; `None` in the memory of early versions, until one fails again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failing_since: Option<Timestamp>,
    /// When the last of them did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed_at: Option<Timestamp>,
    /// No step that aims at what failed before this time.
    pub retry_at: Option<Timestamp>,
    /// What the step aimed at that `retry_at` is the wait of; `None` in the memory of early versions: everything waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missed: Option<Aim>,
    /// Whether that wait is as long as that of what was refused, which nothing but a change mends.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub waits_long: bool,
    /// The last apply error, redacted.
    pub error: Option<String>,
}

/// Whose commit changed a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ChangedBy {
    /// One that changes no other team's manifests: its team's own.
    Team,
    /// One that changes the manifests of several teams, or what all of them take: of somebody who writes for all.
    Several,
}

/// Instances that make way for new ones of the same template, within what the rollout allows: what `app.restart` and
/// `app.replace` come to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Renewal {
    /// When; instances made later are new ones, whatever their id.
    pub at: Timestamp,
    /// Which make way.
    pub instances: BTreeSet<InstanceId>,
    /// The run that says so.
    pub run: RunId,
    /// Its playbook.
    pub playbook: Name,
    /// Whether that run has ended: what has not made way by then stays.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub over: bool,
}

impl Renewal {
    /// Whether this instance makes way.
    pub fn concerns(&self, instance: &Instance) -> bool {
        !self.over && instance.created_at < self.at && self.instances.contains(&instance.id)
    }

    /// Whether this instance may have been begun for one that was to make way.
    pub fn began(&self, instance: &Instance) -> bool {
        instance.created_at >= self.at
    }
}

/// From so many failed steps in a row on a resource is stuck, once they have failed for so long.
const STUCK: u32 = 3;
const STUCK_FOR: SignedDuration = SignedDuration::from_mins(1);

impl ResourceMemory {
    /// A file declares it. What came back before it was gone has been there all along.
    pub fn declare(&mut self, file: &Arc<str>, at: Timestamp) {
        if self.file.is_none() && self.dropped_at.take().is_none() {
            self.declared_at = Some(at);
        }
        self.file = Some(Arc::clone(file));
    }

    /// No file declares it any more. What nothing else is remembered of is forgotten; else it is its team's until it is gone, and
    /// has no port but as long as it may live on it.
    pub fn drop_declaration(&mut self, at: Timestamp) {
        let Claims { team, asked, .. } = self.claims.clone();
        self.claim(Claims::default());
        (self.file, self.changed_by, self.stayed) = (None, None, None);
        let declared_at = self.declared_at.take();
        if *self != Self::default() {
            (self.declared_at, self.dropped_at) = (declared_at, Some(at));
            self.claims = Claims { team, asked, ..Claims::default() };
        }
    }

    /// By right it has these from now on. The port that it had stays its own as long as it may live on it.
    pub fn claim(&mut self, claims: Claims) {
        let had = std::mem::replace(&mut self.claims, claims).port;
        let may_live = self.lived_on().next().is_some();
        self.ports.extend(had.filter(|_| may_live));
        self.ports.retain(|port| self.claims.port.as_ref() != Some(port));
    }

    /// What it has that no other may have: by right, and as it lives. What is not declared any more has its ports only as long as
    /// it may live on them.
    pub fn has(&self) -> Claims {
        let may_live = self.file.is_some() || self.lived_on().next().is_some();
        let live = if may_live { self.ports.clone() } else { BTreeSet::new() };
        Claims { live, ..self.claims.clone() }
    }

    /// Whether there was such an app: one that is only declared, and never without a mistake, has nothing.
    pub fn was_there(&self) -> bool {
        !self.claims.is_empty() || self.lived_on().next().is_some()
    }

    /// What is described again: what it stayed as until now.
    pub fn stays_no_more(&mut self) {
        let good = self.last_good.as_ref().map(|good| &good.resource);
        let other = self.stays.take().filter(|stays| !good.is_some_and(|good| good.same_as(&stays.resource)));
        self.stayed = other.or_else(|| self.stayed.take());
    }

    /// Whether steps that aim at one of `aims` have failed so often in a row and for so long, or one was refused, that somebody
    /// has to look; they are tried again all the same. What failed of another aim says nothing of these.
    pub fn is_stuck(&self, aims: &[Aim]) -> bool {
        let same = self.missed.as_ref().is_none_or(|missed| aims.contains(missed));
        let times = self.failing_since.zip(self.failed_at);
        let lasted = times.is_some_and(|(first, last)| last >= wait_ends(first, STUCK_FOR, last));
        same && (self.waits_long || self.failures >= STUCK && lasted)
    }

    /// Until when something waits after a failure, if it does. One of the future is of a clock that was set back since.
    pub fn waits_until(&self, now: Timestamp) -> Option<Timestamp> {
        let ahead = self.failed_at.is_some_and(|failed| is_ahead(failed, now));
        self.retry_at.filter(|at| !ahead && *at > now)
    }

    /// Until when what aims at `aim` waits, if it does.
    pub fn waits(&self, aim: &Aim, now: Timestamp) -> Option<Timestamp> {
        let same = self.missed.as_ref().is_none_or(|missed| missed == aim);
        self.waits_until(now).filter(|_| same)
    }

    /// How often in a row what aims at `aim` has failed.
    pub fn failures_of(&self, aim: &Aim) -> u32 {
        if self.missed.as_ref().is_none_or(|missed| missed == aim) { self.failures } else { 0 }
    }

    /// Every provider on which it is known to have lived, as far as that is remembered.
    pub fn lived_on(&self) -> impl Iterator<Item = &ProviderName> {
        self.places.keys().chain(self.last_good.as_ref().map(|good| &good.resource.spec.provider))
    }
}

/// What a revision declared.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AsDeclared {
    /// The whole resource.
    pub resource: Arc<Resource>,
    /// The revision.
    pub revision: Revision,
}

/// The last template that finished its bake.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LastGood {
    /// The whole resource as it then was declared.
    pub resource: Arc<Resource>,
    /// The revision that declared it.
    pub revision: Option<Revision>,
    /// When the bake ended.
    pub at: Timestamp,
}

/// A template that failed; not tried again until the digest changes, or how it was tried, or a commit says `Codeops-Retry`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pin {
    /// When.
    pub at: Timestamp,
    /// The revision that brought it.
    pub revision: Option<Revision>,
    /// How it failed, in one sentence.
    pub why: String,
    /// What it was tried with, as [`Pin::tried_with`]; `None` in an older record: it counts whatever that was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tried: Option<Digest>,
    /// Whether its template was good by then, so that only what judges it failed: its check or protocol. An older record
    /// does not tell.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub check_only: bool,
}

impl Pin {
    /// The digest of what a template is tried with and may fail by without being at fault: its health check, its release
    /// command, and the protocol it is asked in.
    pub fn tried_with(resource: &Resource) -> Digest {
        let spec = &resource.spec;
        let protocol = spec.port.as_ref().map(|port| port.protocol);
        Digest::of(&json!({"health": spec.health, "protocol": protocol, "release": spec.release}))
    }

    /// Whether it holds for a resource of its template: it would be tried no other way.
    pub fn holds_for(&self, resource: &Resource) -> bool {
        self.tried.as_ref().is_none_or(|tried| *tried == Self::tried_with(resource))
    }
}

/// A removal that was let through.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removal {
    /// When.
    pub at: Timestamp,
    /// What was done.
    pub verb: Verb,
    /// To which resource.
    pub id: ResourceId,
    /// The released hold it went through under, if one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<HoldId>,
    /// Whose it was, where that was written down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub team: Option<TeamName>,
}

/// Wide updates, each let through in waves: 1, then 10 %, then the rest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waves {
    /// The revision that changed so many.
    pub revision: Revision,
    /// All it changed in one update of everybody's, in the order in which they go.
    pub members: Vec<ResourceId>,
    /// What teams that are kept apart changed of their own, each in an update of its own.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub own: BTreeMap<TeamName, Vec<ResourceId>>,
}

impl Waves {
    /// Every member, with the team whose update it is in.
    pub fn all(&self) -> impl Iterator<Item = (Option<&TeamName>, &ResourceId)> {
        let own = self.own.iter().flat_map(|(team, members)| members.iter().map(move |id| (Some(team), id)));
        self.members.iter().map(|id| (None, id)).chain(own)
    }
}
