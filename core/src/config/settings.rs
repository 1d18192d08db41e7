//! The daemon's settings, `daemon.yaml`. Every field has a default that works on a laptop.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{BotSettings, Freeze, HeartbeatSettings, JournalSettings, ReceiverSettings, ScriptsMode};
use crate::model::{Environment, Name, Period, ProviderName, Revision, SecretName, TeamName};

/// Where the page listens when nothing says otherwise.
pub const PAGE: &str = "127.0.0.1:8080";

/// The whole file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Settings {
    /// The config repository.
    pub repository: RepositorySettings,
    /// Which overlay folder below `environments/` applies.
    pub environment: Option<Environment>,
    /// Whether changes are made or only shown.
    pub mode: Mode,
    /// The page's address, `host:port`, `127.0.0.1:8080` by default; or a map with a token for other addresses.
    pub listen: Option<PageSettings>,
    /// Where people reach the page, if that is not where it listens: in links of pages and messages. No slash at its end.
    pub page_url: Option<String>,
    /// The hooks' address.
    pub hooks: HooksSettings,
    /// The state folder. `/var/lib/codeops` as root, else `$XDG_STATE_HOME/codeops`.
    pub state: Option<String>,
    /// Where the journal lies.
    pub store: StoreSettings,
    /// How much of the journal is kept.
    pub journal: JournalSettings,
    /// What each team may claim and reach. Empty: every team may claim any path.
    pub teams: BTreeMap<TeamName, TeamSettings>,
    /// Secrets that manifests may name.
    pub secrets: BTreeMap<SecretName, SecretSettings>,
    /// Providers by the name manifests use. Empty: one process provider called `local`.
    pub providers: BTreeMap<ProviderName, ProviderSettings>,
    /// A freeze from outside the repository.
    pub freeze: Option<Freeze>,
    /// Who may tell of alerts, by the name in the hook's path. Empty: one generic receiver called `alerts`, with a generated token.
    pub receivers: BTreeMap<Name, ReceiverSettings>,
    /// A sign of life sent while reconcile, intake and paging make progress.
    pub heartbeat: Option<HeartbeatSettings>,
    /// Who commits for playbooks.
    pub bot: BotSettings,
    /// Whether scripts may run where they cannot be confined.
    pub scripts: ScriptsMode,
    /// Who is paged when nothing else says: the name of an escalation policy.
    pub fallback: Option<Name>,
    /// Whose policy that is, where it is of nobody who may claim the Repository's file.
    pub fallback_team: Option<TeamName>,
    /// When a page is sent to the fallback to see that paging works: five fields of cron, in UTC.
    pub self_test: Option<String>,
}

impl Settings {
    /// What is to be said of a `runAs` beside several teams: apps of one user are open to each other.
    pub fn one_user(&self) -> Option<String> {
        let named = |(name, provider): (&ProviderName, &ProviderSettings)| {
            let ProviderSettings::Process(process) = provider;
            Some(format!("providers.{name}.process.runAs: {}", process.run_as.as_ref()?))
        };
        let named = self.providers.iter().find_map(named).filter(|_| self.teams.len() > 1)?;
        Some(format!(
            "`{named}` gives the apps of all teams the same user: each can read the secrets of every other and end it; leave \
             `runAs` out, and under root each app has a user of its own"
        ))
    }

    /// The page's address, `host:port`.
    pub fn page_address(&self) -> &str {
        match &self.listen {
            None => PAGE,
            Some(PageSettings::Address(address) | PageSettings::Guarded { address, .. }) => address,
        }
    }

    /// Where links to the page lead.
    pub fn page_url(&self) -> String {
        self.page_url.clone().unwrap_or_else(|| format!("http://{}", self.page_address()))
    }

    /// Where the daemon itself listens, which no app may: what, and `host:port`.
    pub fn reserved(&self) -> Vec<(&'static str, String)> {
        vec![("the page", self.page_address().to_owned()), ("hooks", self.hooks.listen.clone())]
    }
}

/// The config repository and how it is followed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct RepositorySettings {
    /// A URL, or a local folder.
    pub url: Option<String>,
    /// The branch followed. Where none is named it is the one that a local folder has checked out, else `main`.
    pub branch: Option<String>,
    /// The folder inside it that holds the manifests.
    pub path: String,
    /// The time between two looks, give or take a tenth.
    pub poll: Period,
    /// The push hook's secret.
    pub hook: Option<HookSettings>,
    /// If set, every first-parent commit must carry a good signature of one of these.
    pub signers: Option<SignerSettings>,
    /// Accept this rewritten history once.
    pub accept: Option<Revision>,
}

impl Default for RepositorySettings {
    fn default() -> Self {
        Self {
            url: None,
            branch: None,
            path: ".".to_owned(),
            poll: Period::from_secs(30),
            hook: None,
            signers: None,
            accept: None,
        }
    }
}

impl RepositorySettings {
    /// The branch followed.
    pub fn branch(&self) -> &str {
        self.branch.as_deref().unwrap_or("main")
    }
}

/// The push hook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HookSettings {
    /// What its sender proves to know.
    pub secret: SecretSource,
}

/// Who may sign commits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SignerSettings {
    /// An `allowed_signers` file as `ssh-keygen(1)` describes it.
    pub file: String,
}

/// Where a secret's value comes from. Only here, never in a manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum SecretSource {
    /// An absolute path; one trailing newline is dropped.
    File(String),
    /// A variable of the daemon's environment.
    Env(String),
}

/// Whether changes are made or only shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Changes are made.
    #[default]
    Apply,
    /// Everything is planned and shown, nothing is changed.
    Observe,
}

/// The page's address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum PageSettings {
    /// `host:port`.
    Address(String),
    /// With the token that every address but loopback needs.
    Guarded {
        /// `host:port`.
        address: String,
        /// The bearer token readers present.
        token: SecretSource,
        /// Host names it answers to beside its address.
        #[serde(default)]
        hosts: Vec<String>,
    },
}

/// The hooks' address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct HooksSettings {
    /// `host:port`.
    pub listen: String,
}

impl Default for HooksSettings {
    fn default() -> Self {
        Self { listen: "127.0.0.1:8081".to_owned() }
    }
}

/// Where the journal lies.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StoreSettings {
    /// One file in the state folder.
    #[default]
    Sqlite,
}

/// What a team may claim and reach.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct TeamSettings {
    /// Globs of paths whose manifests it may claim.
    pub paths: Vec<String>,
    /// Host names and addresses that requests made for it may reach beside public ones, and folders, which begin with `/`,
    /// whose files it may name as artifacts.
    pub egress: Vec<String>,
    /// Teams that may reach its resources, and take them over.
    pub allow: Vec<TeamName>,
    /// Ports below 1024 that its apps may have.
    pub ports: Vec<u16>,
    /// Addresses beside loopback that its apps may listen on.
    pub bind: Vec<IpAddr>,
}

/// One secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "SecretSettingsText", into = "SecretSettingsText")]
pub struct SecretSettings {
    /// Where its value comes from.
    pub source: SecretSource,
    /// The teams it is granted to.
    pub teams: Vec<TeamName>,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct SecretSettingsText {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    env: Option<String>,
    #[serde(default)]
    teams: Vec<TeamName>,
}

impl TryFrom<SecretSettingsText> for SecretSettings {
    type Error = &'static str;
    fn try_from(text: SecretSettingsText) -> Result<Self, Self::Error> {
        let source = match (text.file, text.env) {
            (Some(file), None) => SecretSource::File(file),
            (None, Some(env)) => SecretSource::Env(env),
            _ => return Err("a secret has exactly one of `file` and `env`"),
        };
        Ok(Self { source, teams: text.teams })
    }
}

impl From<SecretSettings> for SecretSettingsText {
    fn from(settings: SecretSettings) -> Self {
        let (file, env) = match settings.source {
            SecretSource::File(file) => (Some(file), None),
            SecretSource::Env(env) => (None, Some(env)),
        };
        Self { file, env, teams: settings.teams }
    }
}

/// One provider: exactly one kind of live system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum ProviderSettings {
    /// Local processes, each app under its own keeper.
    Process(ProcessSettings),
}

impl ProviderSettings {
    /// The word for this kind of provider.
    pub fn word(&self) -> &'static str {
        match self {
            ProviderSettings::Process(_) => "process",
        }
    }
}

/// Local processes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ProcessSettings {
    /// The user all its apps run as. Left out under root: each app has a uid of its own.
    pub run_as: Option<String>,
}
