//! What every provider must do: the read half for everyone, the write half for the gate alone.

use std::collections::BTreeMap;

use async_trait::async_trait;
use codeops_core::model::{InstanceId, Kind, Listing, ResourceId, Scope, Secret, SecretName};
use futures_util::stream::BoxStream;
use jiff::Timestamp;
use serde::Serialize;

use crate::journal::Started;

/// What a provider can do; used by `validate` and `plan`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Abilities {
    /// The kind of provider, such as `process`.
    pub word: &'static str,
    /// The kinds of resource it takes.
    pub kinds: &'static [Kind],
    /// Whether it runs commands from the host or an artifact.
    pub commands: bool,
    /// Whether it runs container images.
    pub images: bool,
    /// Whether its apps' ports are those of the daemon's machine, which it shares with all that say so.
    pub host_ports: bool,
}

/// The system behind a provider cannot be reached; says what was tried and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unreachable(pub String);

/// "Look again": coalesced and lossy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hint {
    /// This resource may have changed.
    Changed(ResourceId),
    /// Something befell this resource that its state does not show: this sentence is for whoever asks later.
    Befell(ResourceId, String),
    /// Hints were lost: observe everything.
    Lost,
}

/// Which log lines.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogQuery {
    /// Only this instance; all of them without.
    pub instance: Option<InstanceId>,
    /// How many of the newest lines to begin with.
    pub tail: usize,
    /// Whether to go on as new lines come.
    pub follow: bool,
}

/// One line an instance wrote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LogLine {
    /// When it was read.
    pub at: Timestamp,
    /// By which instance.
    pub instance: InstanceId,
    /// `stdout` or `stderr`.
    pub stream: &'static str,
    /// Without its newline; lossy UTF-8, at most 16 KiB.
    pub line: String,
}

/// Log lines as they come.
pub type LogStream = BoxStream<'static, LogLine>;

/// Use of resources by one instance at one time; counters since the instance started.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Stat {
    /// The resource.
    pub id: ResourceId,
    /// Its instance.
    pub instance: InstanceId,
    /// When.
    pub at: Timestamp,
    /// Processor time used so far, in microseconds.
    pub cpu_micros: u64,
    /// Memory held now, in bytes.
    pub memory_bytes: u64,
    /// Requests forwarded to it so far, where the provider sees them.
    pub requests: Option<u64>,
}

/// Values of the secrets one step needs, by name. Never printed, never stored.
pub type Secrets = BTreeMap<SecretName, Secret<String>>;

/// A step took effect.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Applied {
    /// In a few words, for the events: `listening on 127.0.0.1:8080`. Redacted.
    pub note: Option<String>,
}

/// A step did not, or may not have, taken effect.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// Not now; nothing was changed. Tried again after a backoff.
    #[error("{0}")]
    Retry(String),
    /// Not like this, and the template is at fault; nothing was changed. Tried again when what is declared changes.
    #[error("{0}")]
    Reject(String),
    /// Not as things are, whatever the template: a newer daemon, a host that the settings do not grant. Nothing was
    /// changed, no template failed; tried again now and then.
    #[error("{0}")]
    Barred(String),
    /// Not yet, and nothing failed: what the step needs is under way beside it and does well, such as a fetch; says how far it
    /// is. Nothing was changed. Asked again soon, and at the hint that its end is.
    #[error("{0}")]
    UnderWay(String),
    /// It may have happened: observe before anything else.
    #[error("{0}")]
    OutcomeUnknown(String),
}

/// Read half: all that web, logs and `plan` ever hold.
#[async_trait]
pub trait Observer: Send + Sync {
    /// What it can do.
    fn abilities(&self) -> &'static Abilities;

    /// What lives. `Scope::All` is one listing of everything; `Scope::Ids` looks at these again.
    async fn observe(&self, scope: &Scope) -> Result<Listing, Unreachable>;

    /// Hints that something changed, from now on.
    fn hints(&self) -> BoxStream<'static, Hint>;

    /// Log lines of one resource.
    async fn logs(&self, id: &ResourceId, query: LogQuery) -> Result<LogStream, Unreachable>;

    /// Use of resources, now.
    async fn stats(&self, scope: &Scope) -> Result<Vec<Stat>, Unreachable>;
}

/// Write half: only the gate holds it.
#[async_trait]
pub trait Actuator: Observer {
    /// Does one step.
    ///
    /// # Guarantees
    /// Short: it never waits for health. Repeating one key has one effect. What it makes is stamped with owner, digests
    /// and key. A delete of what moves keeps what the app wrote: whoever makes it there again for the same owner gives it back, and
    /// its last delete removes it.
    ///
    /// # Errors
    /// [`ApplyError`]; after `OutcomeUnknown` the caller observes before it acts again.
    async fn apply(&self, step: &Started, secrets: &Secrets) -> Result<Applied, ApplyError>;
}
