//! Effects of playbooks on the outside world, ready to be done: every template filled in, every name looked up.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use codeops_core::model::{
    Alert, AlertId, AlertState, Channel, DocumentName, Labels, Name, PageId, Period, ResourceId, Revision, RunId,
    SecretName, TeamName,
};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::journal::StartedEffect;

/// One effect.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Runs an executable of the repository, confined.
    Script(ScriptCall),
    /// Makes one request.
    Http(HttpRequest),
    /// Tells people.
    Send(Send),
    /// Commits and pushes.
    Git(GitOrder),
}

impl Effect {
    /// Whose it is.
    pub fn team(&self) -> &TeamName {
        match self {
            Effect::Script(call) => &call.team,
            Effect::Http(request) => &request.team,
            Effect::Send(send) => &send.team,
            Effect::Git(order) => &order.team,
        }
    }
}

/// A script and what it is given.
#[derive(Debug, Clone, PartialEq)]
pub struct ScriptCall {
    /// Whose authority, uid and egress it has.
    pub team: TeamName,
    /// The revision it is read from.
    pub revision: Revision,
    /// Its path in the repository, below the configured path.
    pub file: String,
    /// JSON on its standard input: `alert`, `target`, `steps`, `run`.
    pub input: Value,
    /// How long it may take, in milliseconds.
    pub timeout_ms: u64,
}

/// One HTTP request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpRequest {
    /// Whose egress it has.
    pub team: TeamName,
    /// The method.
    pub method: String,
    /// The URL.
    pub url: String,
    /// Headers.
    pub headers: BTreeMap<String, String>,
    /// Headers whose values are secrets.
    pub secret_headers: BTreeMap<String, SecretName>,
    /// The body.
    pub body: Option<String>,
    /// Status codes that count as done; 200 to 299 when empty.
    pub expect: Vec<u16>,
    /// How long it may take, in milliseconds.
    pub timeout_ms: u64,
}

/// A message to people on one channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Send {
    /// Whose egress and secrets it has.
    pub team: TeamName,
    /// The channel.
    pub channel: Channel,
    /// In one line.
    pub title: String,
    /// The text.
    pub body: String,
    /// The page it is, if it is one: what a channel deduplicates on.
    pub page: Option<PageId>,
    /// Whether it tells that what the page was about is over.
    pub over: bool,
    /// Whether it tells of a page for the first time though its alerts are over by now.
    pub late: bool,
    /// Whether it only shows that paging works: nobody is to be waked by it.
    pub test: bool,
    /// Where the page shows more: a path such as `/runs/r42`.
    pub path: Option<String>,
    /// The alert that it tells of first, if it is a page of one.
    pub alert: Option<ToldAlert>,
}

/// What people look for in an alert beside what it says, without secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToldAlert {
    /// When it began.
    pub starts_at: Timestamp,
    /// The monitoring system.
    pub source: Name,
    /// The receiver by which it came in.
    pub receiver: Name,
    /// Where that system shows it: http or https.
    pub url: Option<String>,
    /// The most that the labels `severity` of all its page's alerts say that still fire: `critical`, `error`, `warning` or `info`.
    pub severity: &'static str,
}

/// A commit to make.
#[derive(Debug, Clone, PartialEq)]
pub struct GitOrder {
    /// Whose paths it may change.
    pub team: TeamName,
    /// The run it is for; in the commit's trailer.
    pub run: RunId,
    /// What.
    pub change: GitOrderChange,
    /// The commit's subject.
    pub subject: String,
    /// Whether it was begun before, by a daemon that is gone: it may be there already.
    pub again: bool,
}

/// What a commit changes.
#[derive(Debug, Clone, PartialEq)]
pub enum GitOrderChange {
    /// Reverts the newest commit that is not the bot's and touches only the manifest of this resource.
    RevertLast {
        /// The resource.
        target: ResourceId,
        /// The file that declares it.
        file: String,
        /// How old that commit may be.
        within: Option<Period>,
    },
    /// Nothing: only the commit that was made before under this key is looked for.
    Known {
        /// The file that it changed.
        file: String,
        /// Why it is not made, where it is not there.
        why: String,
    },
    /// Sets one value in one manifest, and leaves the rest of the file as it is written.
    Set {
        /// The file.
        file: String,
        /// Which of its documents; the only one without.
        document: Option<DocumentName>,
        /// Dotted path.
        path: String,
        /// The value.
        value: Value,
    },
}

/// An effect was done.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Performed {
    /// What later steps see: JSON that a script printed, a response's `{status, body}`, a commit's `{revision}`. Redacted,
    /// at most 64 KiB.
    pub output: Value,
    /// For people: redacted, at most 16 KiB.
    pub evidence: String,
}

/// An effect was not done, or may not have been.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EffectError {
    /// It was not, or it ran to an end that counts as failed.
    #[error("{error}")]
    Failed {
        /// What was tried, on what, what to do next. Redacted.
        error: String,
        /// For people.
        evidence: String,
    },
    /// It is not known whether it was.
    #[error("{error}")]
    Unknown {
        /// As above.
        error: String,
        /// For people.
        evidence: String,
    },
}

/// Does effects. Each is given a key; where the other side can deduplicate, it is told the key.
#[async_trait]
pub trait Effects: std::marker::Send + Sync {
    /// Does one effect within its time.
    ///
    /// # Errors
    /// [`EffectError`]; the caller decides whether it is tried again.
    async fn perform(&self, started: &StartedEffect, effect: &Effect) -> Result<Performed, EffectError>;
}

/// The monitoring systems that can be asked.
#[async_trait]
pub trait AlertSources: std::marker::Send + Sync {
    /// How its source says that this alert is, now. `Resolved` only where the source says so, or answers and does not know
    /// it as firing; `Unknown` where there is no API or it does not answer.
    async fn ask(&self, alert: &Alert) -> AlertState;

    /// The receiver whose source, asked with its credentials, says how this alert is; `None` where nobody can be asked.
    fn asked_by(&self, alert: &Alert) -> Option<Name>;

    /// How alerts are that are all asked about by this receiver, in one question.
    async fn ask_all(&self, receiver: &Name, alerts: &[Arc<Alert>]) -> Vec<AlertAnswer>;
}

/// What a source says of one alert.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlertAnswer {
    /// The alert that it was asked about.
    pub id: AlertId,
    /// How it is, as for [`AlertSources::ask`].
    pub state: AlertState,
    /// As it fires now, where it was over and began anew since.
    pub anew: Option<Arc<Alert>>,
}

/// The sign of life that codeops sends while it makes progress.
#[async_trait]
pub trait Heartbeat: std::marker::Send + Sync {
    /// Sends it once.
    ///
    /// # Errors
    /// In one sentence, redacted.
    async fn beat(&self) -> Result<(), String>;
}

/// What a monitoring system answers when it is asked for the alerts of one group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupListing {
    /// As an Alertmanager answers `GET /api/v2/alerts`: all that it has with these labels, silenced ones too.
    pub body: Vec<u8>,
    /// Since when it runs.
    pub up: UpSince,
}

/// Since when a monitoring system runs. It forgets its alerts when it ends, and is told again of those that fire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UpSince(pub Timestamp);

/// What it says of an alert that a monitoring system does not list it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Absence {
    /// It is over.
    Over,
    /// Nothing yet: all are told to it anew just now.
    TooEarly,
    /// Nothing for long: it forgot it, and where its rule began anew as well, as after a reboot, the rule's `for` must pass first.
    Forgotten,
}

impl UpSince {
    /// So long after its start it may not have been told of all that fires.
    const TOLD: SignedDuration = SignedDuration::from_mins(3);
    /// So long after its start a rule that began anew with it may not have come to fire.
    const REMEMBERED: SignedDuration = SignedDuration::from_hours(1);

    /// What it means `now` that it does not list an alert that began then.
    pub fn absence(self, began: Timestamp, now: Timestamp) -> Absence {
        let up = now.duration_since(self.0);
        match up {
            _ if up < Self::TOLD => Absence::TooEarly,
            _ if began < self.0 && up < Self::REMEMBERED => Absence::Forgotten,
            _ => Absence::Over,
        }
    }
}

/// Where a monitoring system lists its alerts.
#[async_trait]
pub trait AlertListing: std::marker::Send + Sync {
    /// What the Alertmanager behind a receiver has with these labels. At most 64 MiB.
    ///
    /// # Errors
    /// In one sentence: what was asked, and what went wrong.
    async fn group(&self, receiver: &Name, labels: &Labels) -> Result<GroupListing, String>;
}
