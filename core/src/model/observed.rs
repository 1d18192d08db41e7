//! What providers report: objects as they live, with their stamps, and the three-valued `Present`, `Absent`, `Unknown`.
//!
//! `Absent` cannot be made by hand: it comes only from a listing whose scope covers the id.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{AppSpec, Digest, InstanceId, Key, Owner, ProviderName, ResourceId, TeamName};

/// What an observation was asked to cover.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum Scope {
    /// All the provider has.
    All,
    /// These ids, and nothing else.
    Ids(BTreeSet<ResourceId>),
}

impl Scope {
    /// Whether an absence of `id` from a listing of this scope means that it does not exist.
    pub fn covers(&self, id: &ResourceId) -> bool {
        match self {
            Scope::All => true,
            Scope::Ids(ids) => ids.contains(id),
        }
    }
}

/// The durable identity of the system behind a provider: a machine id, a daemon's id, a cluster's uid.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SystemId(pub String);

impl fmt::Display for SystemId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// What is written on every live object that is ours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    /// Who declares it.
    pub owner: Owner,
    /// The resource it is.
    pub id: ResourceId,
    /// The team that owned it when it was stamped.
    pub team: TeamName,
    /// The spec digest last applied.
    pub spec: Digest,
    /// The template digest last applied.
    pub template: Digest,
    /// The idempotency key of the step that last stamped it.
    pub key: Key,
}

/// Proof that an object carries our stamp; a delete cannot be made without it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Ours(Stamp);

impl Ours {
    /// The stamp that proves it.
    pub fn stamp(&self) -> &Stamp {
        &self.0
    }
}

/// An object as it lives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Live {
    /// Our stamp; `None` means the object is not ours.
    pub stamp: Option<Stamp>,
    /// The spec it runs under, where the provider keeps it; the left side of a plan's differences.
    pub spec: Option<AppSpec>,
    /// Ways in which it differs from its own stamp, found by the provider.
    pub drift: Vec<FieldDrift>,
    /// What instances of another template than they were started from live by, that other instances put right: what the
    /// provider gives them beside the manifest, and gives otherwise by now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub renews: Vec<FieldDrift>,
    /// The template whose release command has succeeded on it.
    pub released: Option<Digest>,
    /// Whether the provider has taken its removal, and goes on with that by itself: asking again changes nothing.
    #[serde(default, skip_serializing_if = "is_no")]
    pub leaves: bool,
    /// Its instances, ordered by id.
    pub instances: Vec<Instance>,
    /// `host:port` clients reach it at, when it listens.
    pub address: Option<String>,
    /// Notes for people, such as `not isolated` or `memory limit not enforced`.
    pub notes: Vec<String>,
}

impl Live {
    /// Proof that this object belongs to `owner`, if it does.
    pub fn ours(&self, owner: &Owner) -> Option<Ours> {
        self.stamp.as_ref().filter(|stamp| stamp.owner == *owner).cloned().map(Ours)
    }
}

/// One field in which an object differs from what was applied to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldDrift {
    /// Dotted path, such as `port.number`.
    pub field: String,
    /// What was applied.
    pub expected: Value,
    /// What is there.
    pub found: Value,
    /// What the provider waits for to put this right by itself, in one sentence: no step would help. `None`: a step does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits: Option<String>,
}

impl Live {
    /// What the provider waits for before all is as it was applied, if it does.
    pub fn waits(&self) -> Option<&str> {
        self.drift.iter().find_map(|drift| drift.waits.as_deref())
    }
}

/// One instance of an app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Instance {
    /// Its id.
    pub id: InstanceId,
    /// The template it was started from.
    pub template: Digest,
    /// Where it is in its life.
    pub state: InstanceState,
    /// Whether it works.
    pub health: InstanceHealth,
    /// When it was first asked to start.
    pub created_at: Timestamp,
    /// Since when `health` is what it is, by the check that is asked now.
    pub health_since: Timestamp,
    /// Whether its check was changed and it has not passed the new one yet. Until it has, or its process ends, it is sent
    /// requests as before: a check that it never passed shows nothing that is wrong with it. A failure of one that it did
    /// pass, such as after a rollback, ends the trial.
    #[serde(default, skip_serializing_if = "is_no")]
    pub on_trial: bool,
    /// When its present process started, if one runs.
    pub started_at: Option<Timestamp>,
    /// How often it was started again since `created_at` after an end of its own.
    pub restarts: u32,
    /// How often after an end that says nothing of it: with its machine or its keeper, or robbed of its port.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub losses: u32,
    /// The process id, where there is one.
    pub pid: Option<u32>,
    /// The port it was given.
    pub port: Option<u16>,
    /// In one sentence: the last exit, the last failed probe.
    pub why: Option<String>,
}

/// What stands between the cause of an instance's state and when it is started again.
pub const STARTED_AGAIN: &str = "; it is started again in ";
/// The same, by keepers of older versions.
const STARTED_AGAIN_BEFORE: &str = "; started again in ";

fn is_zero(count: &u32) -> bool {
    *count == 0
}

fn is_no(is: &bool) -> bool {
    !*is
}

impl Instance {
    /// How often it was started again, whatever for.
    pub fn starts_again(&self) -> u32 {
        self.restarts.saturating_add(self.losses)
    }

    /// What judges it has changed: whether it works is not known until it is asked anew, and until then it serves if it did.
    /// What does not run, or ends again and again, is asked nothing.
    pub fn put_on_trial(&mut self, now: Timestamp) {
        if self.state == InstanceState::Running && self.health != InstanceHealth::CrashLoop {
            self.on_trial |= self.health == InstanceHealth::Healthy;
            (self.health, self.health_since, self.why) = (InstanceHealth::Starting, now, None);
        }
    }

    /// It passes the check that is asked now, which ends its trial.
    pub fn pass(&mut self, now: Timestamp) {
        self.come_to(InstanceHealth::Healthy, now);
        self.on_trial = false;
    }

    /// It does not pass the check that is asked now, for this reason. Where it `had_passed` that very one before, it does not
    /// work, and its trial is over.
    pub fn fail(&mut self, why: String, had_passed: bool, now: Timestamp) {
        self.come_to(InstanceHealth::Unhealthy, now);
        self.on_trial &= !had_passed;
        self.why = Some(why);
    }

    fn come_to(&mut self, health: InstanceHealth, now: Timestamp) {
        if self.health != health {
            (self.health, self.health_since) = (health, now);
        }
    }

    /// Why it does not work, without what passes, such as the time to its next start: for what is remembered.
    pub fn lasting_why(&self) -> Option<&str> {
        let why = self.why.as_deref()?;
        let split = why.split_once(STARTED_AGAIN).or_else(|| why.split_once(STARTED_AGAIN_BEFORE));
        Some(split.map_or(why, |(cause, _)| cause))
    }
}

/// Where an instance is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum InstanceState {
    /// Its process runs.
    Running,
    /// Its process has ended and the next start waits.
    Backoff,
    /// It is out of rotation and ending.
    Stopping,
}

/// Whether an instance works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum InstanceHealth {
    /// Not yet known, within its start timeout.
    Starting,
    /// It passes its check.
    Healthy,
    /// It fails its check, or never passed it in time.
    Unhealthy,
    /// It ends again and again.
    CrashLoop,
}

/// Why something is not known; one sentence that names what was tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Why(pub String);

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// What one provider reported at one time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Listing {
    /// The system that answered.
    pub system: SystemId,
    /// When it answered.
    pub at: Timestamp,
    /// What it was asked for; an id outside it is not known.
    pub scope: Scope,
    /// The highest epoch of a daemon that the system remembers to have obeyed; 0 where it remembers none.
    pub epoch: u64,
    /// What it has, ours or not.
    pub objects: BTreeMap<ResourceId, Live>,
    /// What it could not look at though it was asked for: one object that does not answer makes no other one unknown.
    pub unknown: BTreeMap<ResourceId, Why>,
}

/// Proof that a listing covered an id and did not have it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Covered(());

/// One resource as observed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum Observed {
    /// It is there.
    Present(Box<Live>),
    /// It is certainly not there.
    Absent(Covered),
    /// It cannot be told.
    Unknown(Why),
}

impl Listing {
    /// What this listing says of `id`.
    pub fn observed(&self, id: &ResourceId) -> Observed {
        if let Some(why) = self.unknown.get(id) {
            return Observed::Unknown(why.clone());
        }
        match self.objects.get(id) {
            Some(live) => Observed::Present(Box::new(live.clone())),
            None if self.scope.covers(id) => Observed::Absent(Covered(())),
            None => Observed::Unknown(Why(format!("{id} was not asked for"))),
        }
    }

    /// Whether it tells of everything there is, with nothing that could not be looked at.
    pub fn is_whole(&self) -> bool {
        self.scope == Scope::All && self.unknown.is_empty()
    }

    /// This listing with the part that `newer` covers replaced by it.
    pub fn merged(mut self, newer: Listing) -> Listing {
        match &newer.scope {
            Scope::All => newer,
            Scope::Ids(ids) => {
                for id in ids {
                    self.objects.remove(id);
                    self.unknown.remove(id);
                }
                self.objects.extend(newer.objects);
                self.unknown.extend(newer.unknown);
                if let Scope::Ids(covered) = &mut self.scope {
                    covered.extend(ids.iter().cloned());
                }
                self.epoch = self.epoch.max(newer.epoch);
                self.system = newer.system;
                self.at = newer.at;
                self
            }
        }
    }
}

/// The last word of every provider: a listing, or why there is none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// By provider. A provider that is missing here is not in the settings.
    pub providers: BTreeMap<ProviderName, Result<Listing, Why>>,
}

impl Snapshot {
    /// What is known of `id` on `provider`.
    pub fn observed(&self, provider: &ProviderName, id: &ResourceId) -> Observed {
        match self.providers.get(provider) {
            Some(Ok(listing)) => listing.observed(id),
            Some(Err(why)) => Observed::Unknown(why.clone()),
            None => Observed::Unknown(Why(format!("provider {provider} is not in the settings"))),
        }
    }

    /// The live object called `id` on `provider`, without a copy.
    pub fn live(&self, provider: &ProviderName, id: &ResourceId) -> Option<&Live> {
        self.providers.get(provider)?.as_ref().ok()?.objects.get(id)
    }

    /// Every live object with its provider and id.
    pub fn objects(&self) -> impl Iterator<Item = (&ProviderName, &ResourceId, &Live)> {
        self.providers
            .iter()
            .filter_map(|(name, listing)| listing.as_ref().ok().map(|l| (name, l)))
            .flat_map(|(name, listing)| listing.objects.iter().map(move |(id, live)| (name, id, live)))
    }
}
