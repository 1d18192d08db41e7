//! The words between a daemon and a keeper: requests, replies and the pushed state. Data only; [`super::frame`] puts it
//! on the socket.
//!
//! A daemon that connects says [`ToKeeper::Hello`] and is told [`FromKeeper::Welcome`] or [`FromKeeper::Refused`]. Then it
//! sends requests, each with a number that its reply repeats, and is pushed the whole [`State`] after every change; the
//! state that shows what a request did comes before its reply. A keeper speaks one version; a daemon speaks the last two.
//!
//! Any daemon may look. Only the newest may change anything: a keeper remembers the highest epoch it was ever told and
//! answers a request of a lower one, but for [`Request::Stats`], with [`Failure::Barred`].

use std::collections::BTreeMap;
use std::path::PathBuf;

use codeops_core::model::{
    Digest, FieldDrift, Instance, InstanceId, Key, Live, Period, Resource, Secret, SecretName, Stamp, TeamName,
};
use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub use crate::launch::User;

/// The version of this wire that this binary's keeper speaks.
pub const VERSION: u16 = 1;

/// The versions that this binary's daemon speaks, best first.
pub const SPOKEN: &[u16] = &[VERSION];

/// What a daemon sends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ToKeeper {
    /// The first frame of a connection.
    Hello(Hello),
    /// Every later one.
    Request {
        /// Chosen by the daemon, repeated by the reply.
        id: u64,
        /// The daemon's epoch, which may have risen since it connected.
        epoch: u64,
        /// What is asked.
        request: Box<Request>,
    },
}

/// Who connects.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The versions it speaks, best first.
    pub versions: Vec<u16>,
    /// Counts daemons on one store. A keeper remembers the highest it was told; a daemon of a lower one may only look.
    pub epoch: u64,
}

/// What a keeper sends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum FromKeeper {
    /// The answer to a [`Hello`] that it accepts.
    Welcome(Box<Welcome>),
    /// The answer to a [`Hello`] in versions that it does not speak; it hangs up.
    Refused {
        /// In one sentence.
        why: String,
    },
    /// The answer to a request.
    Reply {
        /// The request's number.
        id: u64,
        /// How it went.
        result: Result<Done, Failure>,
    },
    /// Something changed; the whole state anew. Changes are coalesced.
    State(Box<State>),
}

/// Who answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// The version both speak.
    pub version: u16,
    /// The keeper's own release, such as `0.1.0`.
    pub release: String,
    /// Identity of the keeper's binary ([`super::binary_id`]); another one than the daemon's calls for [`Request::Handover`].
    pub binary: String,
    /// The keeper's process id.
    pub pid: u32,
    /// All it knows.
    pub state: State,
}

/// What a keeper is asked. Requests with a key may be repeated: one key has one effect, and the same reply.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Request {
    /// What the app should be: sets stamp, stable port, health, stop policy and rotation. Starts and ends no instance.
    Configure {
        /// Idempotency key.
        key: Key,
        /// What the object carries from now on.
        stamp: Stamp,
        /// What it should be.
        resource: Box<Resource>,
    },
    /// Start one instance and keep it running. An id that already lives is refused.
    Start {
        /// Idempotency key.
        key: Key,
        /// Its id.
        instance: InstanceId,
        /// What it is an instance of.
        resource: Box<Resource>,
        /// Where and as whom it runs.
        setting: Setting,
        /// Its secrets.
        secrets: Confidential,
    },
    /// Take one instance out of rotation, drain it, end it by its stop policy. Answered at once; an id that does not live
    /// is fine.
    Stop {
        /// Idempotency key.
        key: Key,
        /// Which.
        instance: InstanceId,
    },
    /// Run the release command of `resource` once. Answered at once; the end is in [`State::release`].
    Release {
        /// Idempotency key.
        key: Key,
        /// The template's resource; its `spec.release` says what is run and for how long at most.
        resource: Box<Resource>,
        /// Where and as whom it runs.
        setting: Setting,
        /// Its secrets.
        secrets: Confidential,
    },
    /// End all instances, free the port, remove the keeper's files from the folder, and the folder if it is then empty.
    /// Answered at once; the keeper exits when all is gone.
    Delete {
        /// Idempotency key.
        key: Key,
    },
    /// The secrets of a template, again, after [`State::secrets_missing`] named it.
    Secrets {
        /// The template they belong to.
        template: Digest,
        /// Their values.
        secrets: Confidential,
    },
    /// Use of resources, now.
    Stats,
    /// Go on as this binary: connections in flight are drained, the stable port is never closed, instances keep running.
    Handover {
        /// Absolute path of the new binary.
        binary: PathBuf,
    },
    /// End the keeper and leave its instances running; the next keeper on the folder adopts them.
    Shutdown,
}

impl Request {
    /// The key under which it has one effect, if it changes something.
    pub fn key(&self) -> Option<&Key> {
        match self {
            Request::Configure { key, .. }
            | Request::Start { key, .. }
            | Request::Stop { key, .. }
            | Request::Release { key, .. }
            | Request::Delete { key } => Some(key),
            Request::Secrets { .. } | Request::Stats | Request::Handover { .. } | Request::Shutdown => None,
        }
    }
}

/// Where and as whom a command runs. Kept on disk, so that a restart needs no daemon: no secrets here.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Setting {
    /// The working directory, absolute; a relative program is looked up here.
    pub dir: PathBuf,
    /// All plain variables. The keeper adds `PORT`, `HOST`, `INSTANCE`, `APP` and the secrets, nothing else; the arguments
    /// of the resource's command are sent as declared and the keeper expands them.
    pub env: BTreeMap<String, String>,
    /// The user; the keeper's own without.
    pub user: Option<User>,
    /// A path below the keeper's own group in each cgroup hierarchy, or below the root where that cannot be, such as
    /// `codeops/acme/shop`; each instance gets a child of it. No cgroup without.
    pub cgroup: Option<String>,
    /// Open files allowed; as inherited without.
    pub files: Option<u64>,
}

/// Secret variables by name. It goes over the private socket and is written nowhere else; `Debug` shows no value.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Confidential(pub BTreeMap<String, Secret<String>>);

impl std::fmt::Debug for Confidential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(&self.0).finish()
    }
}

impl Serialize for Confidential {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value.reveal())))
    }
}

impl<'de> Deserialize<'de> for Confidential {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let plain = BTreeMap::<String, String>::deserialize(deserializer)?;
        Ok(Self(plain.into_iter().map(|(name, value)| (name, Secret::new(value))).collect()))
    }
}

/// A request took effect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Done {
    /// With a few words for the events.
    Note(Option<String>),
    /// The answer to [`Request::Stats`].
    Stats(Vec<Usage>),
}

/// A request took no effect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "camelCase")]
pub enum Failure {
    /// Not now; it may be sent again under the same key.
    #[error("{0}")]
    Retry(String),
    /// Not like this: what is asked for is at fault.
    #[error("{0}")]
    Reject(String),
    /// Not as things are, whatever is asked for.
    #[error("{0}")]
    Barred(String),
}

/// What one instance uses; counters since its process started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Usage {
    /// Which.
    pub instance: InstanceId,
    /// When it was read.
    pub at: Timestamp,
    /// Processor time of the instance and its children, in microseconds.
    pub cpu_micros: u64,
    /// Memory held now, in bytes.
    pub memory_bytes: u64,
    /// Requests (or connections, for tcp) forwarded to it since it was created; `None` without a port.
    pub requests: Option<u64>,
}

/// All a keeper knows, as it maps to [`Live`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct State {
    /// Grows with every change while one keeper lives.
    pub serial: u64,
    /// As last configured; `None` until the first [`Request::Configure`].
    pub stamp: Option<Stamp>,
    /// As last configured.
    pub resource: Option<Resource>,
    /// Its instances, ordered by id. One that was stopped leaves when its last process is gone.
    pub instances: Vec<Instance>,
    /// The working directory of each instance. An earlier keeper does not tell: an instance without one runs somewhere.
    pub folders: BTreeMap<InstanceId, PathBuf>,
    /// The user of each instance, the keeper's own without. An earlier keeper does not tell: of an instance without an entry it
    /// is not known.
    pub users: BTreeMap<InstanceId, Option<User>>,
    /// `host:port` clients reach it at, while it listens.
    pub address: Option<String>,
    /// Ways in which it differs from its stamp, such as a port that another process holds.
    pub drift: Vec<FieldDrift>,
    /// Notes for people, such as `memory limit not enforced: …`.
    pub notes: Vec<String>,
    /// The template whose release command last succeeded.
    pub released: Option<Digest>,
    /// The newest release command.
    pub release: Option<ReleaseRun>,
    /// Templates whose instances need secrets that this keeper does not hold: a running instance goes on, but it cannot be
    /// started again before [`Request::Secrets`] brings them.
    pub secrets_missing: Vec<Digest>,
    /// The same with what they are, for a daemon that never gave them. An earlier keeper does not tell.
    pub lost: Vec<Lost>,
    /// Whether [`Request::Delete`] is under way.
    pub deleting: bool,
    /// The highest epoch of a daemon that was here.
    pub epoch: u64,
    /// Whether it puts instances on trial when their check changes. An earlier keeper does not: what passed the check
    /// before goes on as passing.
    pub trials: bool,
}

/// The secrets of a template that a keeper held and does not hold any more: what they were, and nothing of their values.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Lost {
    /// The template.
    pub template: Digest,
    /// Whose it is.
    pub team: TeamName,
    /// The secrets by variable.
    pub secrets: BTreeMap<String, SecretName>,
    /// The keyed tags of the values that were given, by variable.
    pub tags: BTreeMap<String, String>,
}

impl Lost {
    /// Those of a resource as it was started, `team`'s now.
    pub fn of(resource: &Resource, team: &TeamName) -> Self {
        Self {
            template: resource.template_digest.clone(),
            team: team.clone(),
            secrets: resource.spec.secrets.clone(),
            tags: resource.secret_tags.clone(),
        }
    }
}

/// One run of a release command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseRun {
    /// The key it was asked under.
    pub key: Key,
    /// The template it is for.
    pub template: Digest,
    /// When it started.
    pub at: Timestamp,
    /// How it stands.
    pub outcome: ReleaseOutcome,
}

/// How a release command stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ReleaseOutcome {
    /// It runs; killed when its time is up.
    Running {
        /// That time.
        timeout: Period,
    },
    /// It exited 0.
    Succeeded,
    /// It did not; in one sentence with the last line it wrote.
    Failed {
        /// Why.
        why: String,
        /// Whether it never began, for the machine would not let it: it may be asked for again. An earlier keeper does not
        /// tell.
        #[serde(default)]
        refused: bool,
    },
    /// It has ended, and how is not known: its keeper was killed while it ran.
    Lost {
        /// In one sentence.
        why: String,
    },
}

impl State {
    /// This state in the words of every provider.
    pub fn live(&self) -> Live {
        Live {
            stamp: self.stamp.clone(),
            spec: self.resource.as_ref().map(|resource| resource.spec.clone()),
            drift: self.drift.clone(),
            released: self.released.clone(),
            leaves: self.deleting,
            renews: Vec::new(),
            instances: self.instances.clone(),
            address: self.address.clone(),
            notes: self.notes.clone(),
        }
    }
}
