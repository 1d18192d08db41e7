//! Playbooks as one revision declares them, lowered: what they answer, and their steps.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{InvalidName, Matcher, Name, Period, TeamName};
use crate::expression::{Expression, Template};

/// One playbook. Shared: runs pin it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Playbook {
    /// Its name.
    pub name: Name,
    /// Whose authority its runs have.
    pub team: TeamName,
    /// The folder of its manifest, with `/`, without one at the end; empty for the top. Scripts are named from here.
    pub folder: String,
    /// What starts it.
    pub on: Trigger,
    /// What it acts on: a resource id, or a template of one.
    pub target: Option<Template>,
    /// What happens when its target is busy.
    pub concurrency: Concurrency,
    /// How long and how often it may run.
    pub limits: Limits,
    /// The steps.
    pub steps: Vec<PlaybookStep>,
    /// What is done when they do not prove the alert resolved; `None`: the default of its target's kind.
    pub otherwise: Option<Vec<PlaybookStep>>,
}

/// What starts a playbook.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Trigger {
    /// An alert for which all of these hold.
    Alert(Vec<Matcher>),
    /// A time.
    Schedule(Schedule),
    /// Nothing by itself: another playbook or a route names it.
    Called,
}

/// When a scheduled playbook runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Schedule {
    /// Five fields of cron: minute, hour, day of month, month, day of week.
    pub cron: String,
    /// An IANA time zone; UTC without. A time that a clock change skips runs right after it; one that comes twice runs once.
    pub timezone: Option<String>,
    /// What becomes of times that were missed while the daemon was down.
    pub catch_up: CatchUp,
}

/// What becomes of missed times.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CatchUp {
    /// The last one missed is run.
    #[default]
    Last,
    /// None is.
    None,
}

/// What happens when it is to start and its target is busy with another run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Concurrency {
    /// What at most one run is for.
    pub per: Per,
    /// What then happens.
    pub when_busy: WhenBusy,
}

/// What at most one run is for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Per {
    /// Each target.
    #[default]
    Target,
    /// The playbook.
    Playbook,
}

/// What happens to an alert or time whose turn comes while another run is on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WhenBusy {
    /// It joins that run.
    #[default]
    Join,
    /// It waits for its end.
    Queue,
    /// It is left, with a receipt.
    Skip,
}

/// How long and how often it may run. Paging is never limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// From the first step to the last before `otherwise`.
    pub timeout: Period,
    /// At most so many runs of one target within so long.
    pub runs: Option<(u32, Period)>,
}

/// One step: a name and exactly one thing to do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlaybookStep {
    /// Unique in its playbook, `steps` and `otherwise` apart.
    pub name: Name,
    /// What it does.
    pub does: Does,
    /// Only if this is true; written `if`.
    pub when: Option<Expression>,
    /// How long one attempt may take.
    pub timeout: Option<Period>,
    /// Further attempts after an error.
    pub retry: Option<Retry>,
    /// What follows a last error.
    pub on_error: OnError,
    /// Whether it may be done again when its outcome is not known.
    pub idempotent: bool,
}

/// Further attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retry {
    /// All attempts, the first included; 1 to 10.
    pub attempts: u32,
    /// The wait before the second, doubled before each further one.
    pub backoff: Period,
}

/// What follows a step's last error.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnError {
    /// The run goes to `otherwise`.
    #[default]
    Otherwise,
    /// The next step.
    Continue,
}

/// What a step does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Does {
    /// An action on a resource, lowered to plan steps.
    Action {
        /// Which.
        action: Action,
        /// On what; the playbook's target without.
        target: Option<Template>,
        /// Arguments: the numbers, texts and booleans of `with:`.
        with: BTreeMap<String, Value>,
    },
    /// An executable of the repository, confined.
    Script {
        /// Its path from the playbook's folder, normalised; it stays inside the repository.
        file: String,
    },
    /// Waits.
    Wait {
        /// For what.
        what: WaitFor,
        /// For how long it must have been so.
        quiet: Period,
    },
    /// One HTTP request.
    Http(HttpCall),
    /// A message to people that waits for no answer.
    Notify {
        /// Where: exactly one channel, written in place.
        channel: super::Channel,
        /// The title.
        title: Template,
        /// The text.
        body: Template,
    },
    /// A page: the last resort.
    Page {
        /// The escalation policy; without, that of the alert's route, or the team's own.
        policy: Option<Name>,
    },
    /// A commit by the bot.
    Git(GitChange),
    /// Another playbook, with the caller's authority.
    Playbook(Name),
}

impl Does {
    /// One word for people: `action`, `script`, `wait`…
    pub fn word(&self) -> &'static str {
        match self {
            Does::Action { .. } => "action",
            Does::Script { .. } => "script",
            Does::Wait { .. } => "wait",
            Does::Http(_) => "http",
            Does::Notify { .. } => "notify",
            Does::Page { .. } => "page",
            Does::Git(_) => "git",
            Does::Playbook(_) => "playbook",
        }
    }
}

/// What a step can do to a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Action {
    /// End each instance by its stop policy and start it again, one after the other, each healthy before the next.
    #[serde(rename = "app.restart")]
    AppRestart,
    /// Destroy instances and make new ones: `with: {instances: unhealthy | all}`, unhealthy by default.
    #[serde(rename = "app.replace")]
    AppReplace,
    /// Back to last good; pins the template that is live.
    #[serde(rename = "app.rollback")]
    AppRollback,
    /// A commit by the bot: `with: {replicas: N}`, or `{by: N, max: N}`.
    #[serde(rename = "app.scale")]
    AppScale,
    /// A commit by the bot: `suspend: true`.
    #[serde(rename = "app.suspend")]
    AppSuspend,
    /// A commit by the bot: `suspend: false`.
    #[serde(rename = "app.resume")]
    AppResume,
}

impl Action {
    /// All, in the order they are shown.
    pub const ALL: [Self; 6] =
        [Self::AppRestart, Self::AppReplace, Self::AppRollback, Self::AppScale, Self::AppSuspend, Self::AppResume];

    /// As it is written.
    pub fn word(self) -> &'static str {
        match self {
            Action::AppRestart => "app.restart",
            Action::AppReplace => "app.replace",
            Action::AppRollback => "app.rollback",
            Action::AppScale => "app.scale",
            Action::AppSuspend => "app.suspend",
            Action::AppResume => "app.resume",
        }
    }

    /// Whether it is a commit by the bot rather than a step of its own.
    pub fn is_commit(self) -> bool {
        matches!(self, Action::AppScale | Action::AppSuspend | Action::AppResume)
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

impl FromStr for Action {
    type Err = InvalidName;
    fn from_str(text: &str) -> Result<Self, InvalidName> {
        Action::ALL.into_iter().find(|action| action.word() == text).ok_or_else(|| InvalidName {
            text: text.chars().take(80).collect(),
            what: "action",
            expected: "app.restart, app.replace, app.rollback, app.scale, app.suspend or app.resume",
        })
    }
}

/// What a wait is for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum WaitFor {
    /// Every alert of the run to be resolved by its source.
    Resolved,
    /// The target to be healthy.
    Healthy,
    /// So long.
    For(Period),
    /// This to be true.
    Until(Expression),
}

/// One HTTP request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HttpCall {
    /// `GET`, `POST`…
    pub method: String,
    /// Scheme, host and port stand as written; templates only after them, percent-encoded.
    pub url: Template,
    /// Names as written; values are templates.
    pub headers: BTreeMap<String, Template>,
    /// Secrets sent as headers: header name to secret name.
    pub secret_headers: BTreeMap<String, super::SecretName>,
    /// The body, a template.
    pub body: Option<Template>,
    /// Status codes that count as done; 200 to 299 when empty.
    pub expect: Vec<u16>,
}

/// A commit by the bot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum GitChange {
    /// Reverts the newest non-bot commit that touches only the target.
    RevertLast,
    /// The same, unless that commit is older: then it is not what broke it now.
    RevertRecent {
        /// How old it may be.
        within: Period,
    },
    /// Sets one value in one manifest within the team's paths.
    Set {
        /// The file, as written.
        file: String,
        /// Which of its documents; the only one without.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        document: Option<DocumentName>,
        /// Dotted path of the value, such as `spec.replicas`.
        path: String,
        /// The value: anything YAML, templates in texts.
        value: Value,
    },
}

/// One document of a file that may hold several: `App/shop`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DocumentName {
    /// The word after `kind:`.
    pub kind: String,
    /// Its `metadata.name`.
    pub name: Name,
}

impl fmt::Display for DocumentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind, self.name)
    }
}

/// How an action is getting on.
#[derive(Debug, Clone, PartialEq)]
pub enum Progress {
    /// It is under way; says what is still to come.
    Going(String),
    /// It is done.
    Done(Value),
    /// It cannot be.
    Failed(String),
}
