//! The part of the settings that is about alerts and what answers them.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::SecretSource;
use crate::model::{Name, Period, TeamName};

/// One sender of alerts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ReceiverSettings {
    /// What it sends.
    pub format: ReceiverFormat,
    /// The monitoring system; receivers of one system share it. The receiver's own name when left out.
    #[serde(default)]
    pub source: Option<Name>,
    /// What it proves itself with.
    pub auth: AuthSettings,
    /// Where the system itself can be asked how an alert is: the base URL of an Alertmanager.
    #[serde(default)]
    pub api: Option<String>,
    /// What that API wants to see: `bearer` or `basic`.
    #[serde(default)]
    pub api_auth: Option<AuthSettings>,
    /// For `generic` and `cloudevents`: where in the body things are.
    #[serde(default)]
    pub mapping: Option<MappingSettings>,
    /// An alert that always fires: its absence is an alert of its own.
    #[serde(default)]
    pub watchdog: Option<WatchdogSettings>,
    /// Within what time its alerts must be told of again, or they expire, where their sender says no end of them; for ever when
    /// left out.
    #[serde(default)]
    pub expire: Option<Period>,
    /// Whether an alert named `CodeopsFreeze` freezes everything while it fires.
    #[serde(default)]
    pub may_freeze: bool,
    /// The teams whose resources its alerts may reach; all when left out. What reaches for others is only told to the
    /// fallback.
    #[serde(default)]
    pub teams: Option<BTreeSet<TeamName>>,
}

/// What a receiver sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReceiverFormat {
    /// Alertmanager's webhook, version 4.
    Alertmanager,
    /// The API that Prometheus posts alerts to, at `/api/v2/alerts`.
    Prometheus,
    /// Grafana's webhook.
    Grafana,
    /// `PagerDuty` webhooks, version 3.
    PagerDuty,
    /// `CloudEvents`, binary or structured.
    CloudEvents,
    /// Datadog's webhook.
    Datadog,
    /// JSON, read as `mapping` says.
    Generic,
}

/// What a sender proves itself with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum AuthSettings {
    /// `Authorization: Bearer TOKEN`.
    Bearer(SecretSource),
    /// `Authorization: Basic`.
    Basic {
        /// The user's name.
        user: String,
        /// The password.
        password: SecretSource,
    },
    /// HMAC-SHA-256 over the body, as the format's sender signs; for `generic` as `X-Codeops-Signature` is.
    Hmac {
        /// The shared secret.
        secret: SecretSource,
    },
}

/// Where a generic body's parts are: CEL expressions over `body`, and over `item` where `items` is given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MappingSettings {
    /// The list of alerts in the body; the body itself is one without.
    #[serde(default)]
    pub items: Option<String>,
    /// Labels by name.
    pub labels: BTreeMap<String, String>,
    /// Annotations by name.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
    /// True when it is over.
    #[serde(default)]
    pub resolved: Option<String>,
    /// RFC 3339, or seconds since 1970; now without.
    #[serde(default)]
    pub starts_at: Option<String>,
    /// A delivery id.
    #[serde(default)]
    pub id: Option<String>,
}

/// An alert that always fires.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WatchdogSettings {
    /// Its `alertname`; `Watchdog` when left out.
    #[serde(default)]
    pub alertname: Option<String>,
    /// It must be heard again within this time.
    pub within: Period,
}

/// A sign of life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HeartbeatSettings {
    /// Where the URL is kept, for it is often a secret of its own.
    pub url: SecretSource,
    /// How often.
    pub every: Period,
}

/// Who commits for playbooks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct BotSettings {
    /// Its name.
    pub name: String,
    /// Its address; commits by it are the bot's.
    pub email: String,
    /// The SSH key its commits are signed with: an absolute path. Needed where `signers` is set.
    pub signing_key: Option<String>,
}

impl Default for BotSettings {
    fn default() -> Self {
        Self { name: "codeops".to_owned(), email: "codeops@localhost".to_owned(), signing_key: None }
    }
}

/// Whether scripts may run where they cannot be confined.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ScriptsMode {
    /// They are refused there.
    #[default]
    Confined,
    /// They run all the same.
    Unconfined,
}
