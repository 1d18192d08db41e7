//! Runs: durable executions, each the fold of its own log. What follows from one is decided by
//! [`crate::playbook`]; here is only what happened, and how it adds up.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    AlertId, AlertState, Group, Key, Labels, Name, Playbook, PlaybookStep, ResourceId, Revision, RunClock, RunId,
    RunState, StepRecord, Subject, TeamName,
};

/// Why a run was opened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum RunCause {
    /// An alert.
    Alert {
        /// The first one; others may have joined.
        alert: AlertId,
    },
    /// A time of its schedule.
    Schedule {
        /// The time that was due.
        due: Timestamp,
    },
    /// A step of another run.
    Call {
        /// That run.
        run: RunId,
        /// Its step.
        step: StepRef,
    },
}

/// Where a run begins: each refire within 30 minutes begins one rung higher. What another playbook proved over is none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rung {
    /// At its first step.
    #[default]
    Steps,
    /// At `otherwise`.
    Otherwise,
    /// It only pages.
    Page,
}

/// Which list of steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// `steps`.
    Steps,
    /// `otherwise`, or the default.
    Otherwise,
}

/// One step of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct StepRef {
    /// Of which list.
    pub part: Part,
    /// From 0.
    pub index: u32,
}

/// How one attempt of a step ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum StepOutcome {
    /// It did what it should.
    Done {
        /// What later steps see as `steps.NAME.output`; bounded to 64 KiB, redacted.
        #[serde(default, skip_serializing_if = "Value::is_null")]
        output: Value,
    },
    /// It did not, and is known not to have done more than it says.
    Failed {
        /// Why, redacted: what was tried, on what, what to do next.
        error: String,
    },
    /// It is not known: never done again unless it is idempotent.
    Unknown {
        /// Why, redacted.
        error: String,
    },
}

/// One thing that happened in a run. Its log is all of these, in order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum RunEvent {
    /// It was opened: all it will ever need is pinned here.
    Opened {
        /// The program, pinned with its `otherwise`: what the manifest left out is filled in.
        playbook: Arc<Playbook>,
        /// Whose authority it has: the playbook's team, or its caller's.
        authority: TeamName,
        /// The revision whose scripts it runs.
        revision: Revision,
        /// What it acts on.
        target: Option<ResourceId>,
        /// Why.
        cause: RunCause,
        /// Where it begins.
        rung: Rung,
        /// Who is paged, from the alert's route or the team.
        policy: Option<Name>,
        /// The labels and annotations that steps see as `alert`, of the first alert.
        #[serde(default, skip_serializing_if = "Value::is_null")]
        alert: Value,
        /// The labels that others agree on which share its page, where an alert opened it; `None` in an older record.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        group: Option<Labels>,
        /// Why it begins higher than at its steps, where it does; an older record does not say.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        because: Option<String>,
        /// The team whose the alert was that opened it, where the settings name teams.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        owner: Option<TeamName>,
        /// What tells its keys from those of another run that has its number in a copy of the store; `None` in an older record.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mark: Option<String>,
    },
    /// Another alert on the same thing joined it.
    Joined {
        /// The alert.
        alert: AlertId,
    },
    /// The source of an alert was asked how it is.
    Asked {
        /// The alert.
        alert: AlertId,
        /// What it said; `Unknown` when it could not be asked.
        state: AlertState,
    },
    /// A step was not done, or not tried again: its `if` is false, its alert is over, nothing may be done.
    StepSkipped {
        /// The step.
        step: StepRef,
        /// Why.
        why: String,
    },
    /// An attempt is about to be made. The intent of an effect.
    StepBegun {
        /// The step.
        step: StepRef,
        /// From 1.
        attempt: u32,
        /// The idempotency key; the same for each attempt of an idempotent step.
        key: Key,
        /// When this attempt's time is up.
        deadline: Timestamp,
    },
    /// An attempt ended.
    StepEnded {
        /// The step.
        step: StepRef,
        /// Which attempt.
        attempt: u32,
        /// How.
        outcome: StepOutcome,
        /// Lines for people and for pages, redacted, at most 16 KiB.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        evidence: String,
    },
    /// It begins higher than was decided when it was opened: it had to wait for its turn, and was judged again.
    Raised {
        /// Where it begins now.
        rung: Rung,
        /// Why; an older record does not say.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        because: Option<String>,
    },
    /// What a step waits for was seen to hold, or to hold no more: how long it has held counts from then.
    Holds {
        /// The step.
        step: StepRef,
        /// Whether it does.
        so: bool,
    },
    /// It goes on with `otherwise`.
    Turned {
        /// Why.
        why: String,
    },
    /// It waits for something outside of its steps, or no longer does.
    Paused {
        /// For what; `None`: it goes on.
        why: Option<String>,
    },
    /// It is over.
    Ended {
        /// How.
        state: RunState,
        /// In one sentence.
        why: String,
    },
}

/// One run: the fold of its log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// Its id.
    pub id: RunId,
    /// The pinned program.
    pub playbook: Arc<Playbook>,
    /// Whose authority it has.
    pub authority: TeamName,
    /// The revision whose scripts it runs.
    pub revision: Revision,
    /// What it acts on.
    pub target: Option<ResourceId>,
    /// Why it was opened.
    pub cause: RunCause,
    /// Where it begins.
    pub rung: Rung,
    /// Who is paged.
    pub policy: Option<Name>,
    /// What steps see as `alert`.
    pub alert: Value,
    /// The labels on which those agree that share its page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<Labels>,
    /// The team whose the alert was that opened it, where the settings name teams.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<TeamName>,
    /// What tells its keys from those of another run that has its number in a copy of the store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mark: Option<String>,
    /// The alerts it answers.
    pub alerts: BTreeSet<AlertId>,
    /// What their sources said when asked, and when, for the present wait.
    pub asked: BTreeMap<AlertId, (AlertState, Timestamp)>,
    /// When it was opened.
    pub opened_at: Timestamp,
    /// Steps begun or skipped, in order.
    pub steps: Vec<StepRecord>,
    /// Why and when it went on with `otherwise`, if it did.
    pub turned: Option<(String, Timestamp)>,
    /// What it waits for outside of its steps.
    pub paused: Option<String>,
    /// How long its steps have taken.
    #[serde(default)]
    pub clock: RunClock,
    /// How it ended, in one sentence, and when.
    pub ended: Option<(RunState, String, Timestamp)>,
}

impl Run {
    /// A run from the first event of its log; `None` when that is not [`RunEvent::Opened`].
    pub fn open(id: RunId, at: Timestamp, event: &RunEvent) -> Option<Self> {
        let RunEvent::Opened {
            playbook,
            authority,
            revision,
            target,
            cause,
            rung,
            policy,
            alert,
            group,
            because,
            owner,
            mark,
        } = event
        else {
            return None;
        };
        let alerts = match cause {
            RunCause::Alert { alert } => BTreeSet::from([alert.clone()]),
            RunCause::Schedule { .. } | RunCause::Call { .. } => BTreeSet::new(),
        };
        Some(Self {
            id,
            playbook: Arc::clone(playbook),
            authority: authority.clone(),
            revision: revision.clone(),
            target: target.clone(),
            cause: cause.clone(),
            rung: *rung,
            policy: policy.clone(),
            alert: alert.clone(),
            group: group.clone(),
            owner: owner.clone(),
            mark: mark.clone(),
            alerts,
            asked: BTreeMap::new(),
            opened_at: at,
            steps: Vec::new(),
            turned: rung.why_not_by_its_steps(because.as_deref()).map(|why| (why, at)),
            paused: None,
            clock: RunClock::default(),
            ended: None,
        })
    }

    /// The alerts that its page tells of, and others that come while that is not over.
    pub fn group(&self) -> Option<Group> {
        let labels = self.group.clone()?;
        let (playbook, target, policy) = (self.playbook.name.clone(), self.target.clone(), self.policy.clone());
        Some(Group { playbook, target, policy, labels })
    }

    /// What its end is counted for.
    pub fn subject(&self) -> Subject {
        Subject::of(&self.playbook.name, self.target.as_ref(), self.group.as_ref())
    }

    /// Takes in one event of its log. Live and recovered runs share this, so that they cannot differ.
    pub fn take(&mut self, at: Timestamp, event: &RunEvent) {
        match event {
            RunEvent::Opened { .. } => {}
            RunEvent::Joined { alert } => drop(self.alerts.insert(alert.clone())),
            RunEvent::Asked { alert, state } => drop(self.asked.insert(alert.clone(), (*state, at))),
            RunEvent::StepSkipped { step, why } => {
                let record = self.record(*step, at);
                record.skipped = Some(why.clone());
                record.ended_at = Some(at);
            }
            RunEvent::StepBegun { step, attempt, key, deadline } => {
                self.asked.clear();
                self.clock.begins(at);
                self.record(*step, at).begins(at, *attempt, key.clone(), *deadline);
            }
            RunEvent::StepEnded { step, attempt, outcome, evidence } => {
                self.record(*step, at).ends(at, *attempt, outcome, evidence);
            }
            RunEvent::Raised { rung, because } => {
                self.rung = *rung;
                self.turned = rung.why_not_by_its_steps(because.as_deref()).map(|why| (why, at));
            }
            RunEvent::Holds { step, so } => self.record(*step, at).holds_since = so.then_some(at),
            RunEvent::Turned { why } => self.turned = Some((why.clone(), at)),
            RunEvent::Paused { why } => {
                self.clock.stands_still(at, why.is_some());
                self.paused.clone_from(why);
            }
            RunEvent::Ended { state, why } => self.ended = Some((*state, why.clone(), at)),
        }
    }

    fn record(&mut self, step: StepRef, at: Timestamp) -> &mut StepRecord {
        let known = self.steps.iter().position(|record| record.step == step);
        let index = known.unwrap_or_else(|| {
            self.steps.push(StepRecord::new(step, at));
            self.steps.len() - 1
        });
        &mut self.steps[index]
    }

    /// The step as it is written.
    pub fn step(&self, step: StepRef) -> Option<&PlaybookStep> {
        let list = match step.part {
            Part::Steps => &self.playbook.steps,
            Part::Otherwise => self.playbook.otherwise.as_ref()?,
        };
        list.get(usize::try_from(step.index).ok()?)
    }

    /// How it is.
    pub fn state(&self) -> RunState {
        match &self.ended {
            Some((state, _, _)) => *state,
            None if self.steps.iter().any(|record| {
                record.on.is_some()
                    && !matches!(self.step(record.step).map(|step| &step.does), Some(super::Does::Wait { .. }))
            }) =>
            {
                RunState::Running
            }
            None => RunState::Waiting,
        }
    }
}
