//! How alerts are answered, as declared; and what must be remembered of it across restarts, a part of [`super::Memory`].

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    AlertId, AlertMemory, AlertRouteSpec, Call, Channel, EscalationPolicySpec, Failing, Kept, Labels, Name, OnCallSpec,
    Page, PageId, Place, Playbook, PlaybookTest, ResourceId, Run, RunId, RunState, Rung, Spent, TeamName, ToldFailure,
};

/// How alerts are answered, as one revision says. Shared: runs and readers keep it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Response {
    /// Playbooks by name: only those without a mistake.
    pub playbooks: BTreeMap<Name, Arc<Playbook>>,
    /// Alert routes by name. The one whose top has no `match` is the last; the others are tried before it in the order of
    /// their names.
    pub routes: BTreeMap<Name, Arc<Owned<AlertRouteSpec>>>,
    /// Channels to people by name.
    pub receivers: BTreeMap<Name, Arc<Owned<Channel>>>,
    /// Escalation policies by name.
    pub policies: BTreeMap<Name, Arc<Owned<EscalationPolicySpec>>>,
    /// Who is on call, by name.
    pub on_calls: BTreeMap<Name, Arc<Owned<OnCallSpec>>>,
    /// Tests of playbooks by name; the daemon takes no notice of them.
    pub tests: BTreeMap<Name, Arc<Owned<PlaybookTest>>>,
    /// Manifests of these kinds that cannot be used, each `Kind/name` with why.
    pub broken: BTreeMap<String, String>,
    /// Manifests of these kinds that the revision deletes and that stay as they were, each `Kind/name` with why.
    pub deleted: BTreeMap<String, String>,
}

impl Response {
    /// Whose a manifest of these kinds is, by its `Kind/name`.
    pub fn team_of(&self, id: &str) -> Option<&TeamName> {
        let (kind, name) = id.split_once('/')?;
        let name = &name.parse::<Name>().ok()?;
        match kind {
            "Playbook" => self.playbooks.get(name).map(|it| &it.team),
            "PlaybookTest" => self.tests.get(name).map(|it| &it.team),
            "AlertRoute" => self.routes.get(name).map(|it| &it.team),
            "Receiver" => self.receivers.get(name).map(|it| &it.team),
            "EscalationPolicy" => self.policies.get(name).map(|it| &it.team),
            "OnCall" => self.on_calls.get(name).map(|it| &it.team),
            _ => None,
        }
    }
}

/// What a team declares that has no live state.
#[derive(Debug, Clone, PartialEq)]
pub struct Owned<T> {
    /// The team.
    pub team: TeamName,
    /// Where its manifest stands.
    pub place: Place,
    /// What it says.
    pub spec: T,
}

/// Alerts, runs and pages that still matter. What is over stays readable in the store's history.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ResponseMemory {
    /// Alerts that fire, and those whose end is younger than an hour.
    pub alerts: BTreeMap<AlertId, Arc<AlertMemory>>,
    /// How much of them each receiver brought: counted as they come and go, and never written down.
    #[serde(skip)]
    pub kept: BTreeMap<Name, Kept>,
    /// How much was written down of late of what each receiver told.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub spent: BTreeMap<Name, Spent>,
    /// Runs that are not over.
    pub runs: BTreeMap<RunId, Arc<Run>>,
    /// Pages that are not over.
    pub pages: BTreeMap<PageId, Arc<Page>>,
    /// Accepted pages whose alerts are not over.
    pub calls: BTreeMap<PageId, Call>,
    /// When the last page of a storm was opened.
    pub stormed_at: Option<Timestamp>,
    /// The recurrence ledger: runs that ended, per target or, without one, per playbook and group.
    pub ledger: BTreeMap<Subject, Ledger>,
    /// What was last taken up or left of each scheduled playbook.
    pub schedules: BTreeMap<Name, Taken>,
    /// When each receiver last heard its Watchdog.
    pub watchdogs: BTreeMap<Name, Timestamp>,
    /// The numbers of the last run and page opened.
    pub counted: Counted,
    /// How far the sweep for alerts that no longer matter has come; `None`: it begins anew.
    pub swept: Option<AlertId>,
}

/// The last time of a schedule that was taken up or left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Told")]
pub struct Taken {
    /// That time.
    pub due: Timestamp,
    /// Of which schedule, as its words: another one counts anew. `None` where an older record does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<String>,
    /// The failure of its runs that a person was called for, until one of them succeeds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub told: Option<ToldFailure>,
    /// Its runs that failed since the last that did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failing: Option<Failing>,
    /// The last run that ended well and called nobody: what pages of earlier ones tell of is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub well: Option<RunId>,
}

/// What a playbook has for a schedule that is not declared any more.
pub const UNSCHEDULED: &str = "none";

impl Taken {
    /// Of a schedule of which nothing was taken up yet.
    pub fn new(due: Timestamp, of: Option<String>) -> Self {
        Self { due, of, told: None, failing: None, well: None }
    }

    /// Whether the playbook has no schedule any more.
    pub fn is_gone(&self) -> bool {
        self.of.as_deref() == Some(UNSCHEDULED)
    }
}

/// As it is written; in an older store the time alone.
#[derive(Deserialize)]
#[serde(untagged)]
enum Told {
    Whole {
        due: Timestamp,
        of: Option<String>,
        #[serde(default)]
        told: Option<ToldFailure>,
        #[serde(default)]
        failing: Option<Failing>,
        #[serde(default)]
        well: Option<RunId>,
    },
    Time(Timestamp),
}

impl From<Told> for Taken {
    fn from(told: Told) -> Self {
        match told {
            Told::Whole { due, of, told, failing, well } => Self { due, of, told, failing, well },
            Told::Time(due) => Self::new(due, None),
        }
    }
}

/// The numbers given so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Counted {
    /// Of runs.
    pub runs: u64,
    /// Of pages.
    pub pages: u64,
}

/// What a recurrence is counted for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Subject {
    /// A target.
    Resource(ResourceId),
    /// A playbook without a target that no alert asks for, or one of an older store.
    Playbook(Name),
    /// Alerts of one group that a playbook without a target answers.
    Group {
        /// The playbook.
        playbook: Name,
        /// The labels on which they agree.
        labels: Labels,
    },
}

impl Subject {
    /// What a run of this playbook is counted for: its target, or the group of its alerts.
    pub fn of(playbook: &Name, target: Option<&ResourceId>, group: Option<&Labels>) -> Self {
        let playbook = playbook.clone();
        match (target, group) {
            (Some(target), _) => Subject::Resource(target.clone()),
            (None, Some(labels)) => Subject::Group { playbook, labels: labels.clone() },
            (None, None) => Subject::Playbook(playbook),
        }
    }
}

impl From<Subject> for String {
    fn from(subject: Subject) -> Self {
        match subject {
            Subject::Resource(id) => id.to_string(),
            Subject::Playbook(name) => format!("playbook/{name}"),
            Subject::Group { playbook, labels } => {
                let labels = serde_json::to_string(&labels).expect("texts by their names are always JSON");
                format!("playbook/{playbook} {labels}")
            }
        }
    }
}

impl TryFrom<String> for Subject {
    type Error = super::InvalidName;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        match text.strip_prefix("playbook/") {
            Some(group) => match group.split_once(' ') {
                Some((playbook, labels)) => {
                    let playbook = playbook.parse()?;
                    let labels = serde_json::from_str(labels).map_err(|_| super::InvalidName::group(labels))?;
                    Ok(Subject::Group { playbook, labels })
                }
                None => group.parse().map(Subject::Playbook),
            },
            None => text.parse().map(Subject::Resource),
        }
    }
}

/// How often runs on one thing ended lately, and whether it is latched.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Ledger {
    /// Ends within the last hour, oldest first; at most 32.
    pub ends: Vec<RunEnd>,
    /// Since when nothing more is tried on it: three in an hour. It ends after an hour of health in which nothing of it fires.
    pub latched_at: Option<Timestamp>,
}

/// One run that ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunEnd {
    /// The run.
    pub run: RunId,
    /// Its playbook.
    pub playbook: Name,
    /// How it ended.
    pub state: RunState,
    /// Where it had come to.
    pub rung: Rung,
    /// When.
    pub at: Timestamp,
    /// When it was opened, if for an alert: so many at once are a storm, also when each is soon over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opened_at: Option<Timestamp>,
    /// Whose alert that was; `None` where an older record does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Name>,
    /// The team whose it was, where the settings name teams.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<TeamName>,
    /// All that it could have tried was passed over, and its alert is over. An older record does not say.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub idle: bool,
}
