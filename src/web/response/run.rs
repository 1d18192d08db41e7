//! One run as JSON and pages show it: its steps with their times, outputs and evidence, also those still to come.

use codeops_core::model::{
    AlertId, Disposition, Does, Name, Part, PlaybookStep, ResourceId, Revision, Run, RunCause, RunId, RunState,
    StepOutcome, StepRecord, StepRef, TeamName, WaitFor,
};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use super::{Extent, doing, gather};
use crate::journal::{LogError, RunQuery};
use crate::port::Whose;
use crate::web::words::{Mark, took};
use crate::web::{Redact, Web, team};

/// Runs looked through for those that a run called: a called run is opened soon after its caller.
const NEAR: u32 = 200;
/// Alerts of one run that are named.
const ALERTS: usize = 100;

/// One run.
#[derive(Debug, Clone, Serialize)]
pub(in crate::web) struct RunItem {
    pub(in crate::web) id: RunId,
    pub(in crate::web) playbook: Name,
    /// Whose authority it has.
    pub(in crate::web) team: TeamName,
    pub(in crate::web) target: Option<ResourceId>,
    pub(in crate::web) state: RunState,
    /// What it waits for, or how it ended.
    pub(in crate::web) why: Option<String>,
    pub(in crate::web) started_at: Timestamp,
    pub(in crate::web) ended_at: Option<Timestamp>,
    /// `alert`, `schedule` or `call`.
    pub(in crate::web) cause: &'static str,
    /// The time that was due, of a schedule.
    pub(in crate::web) due: Option<Timestamp>,
    /// The run that called it.
    pub(in crate::web) called_by: Option<CalledBy>,
    /// What its steps see as `alert`, of the first alert.
    pub(in crate::web) alert: Option<Seen>,
    /// The alerts it answers, and of one run those that its page tells of beside them; at most 100.
    pub(in crate::web) alerts: Vec<AlertId>,
    /// Why it went on with `otherwise`.
    pub(in crate::web) turned: Option<String>,
    pub(in crate::web) policy: Option<Name>,
    pub(in crate::web) revision: Revision,
    pub(in crate::web) steps: Vec<StepItem>,
}

/// The step that called a run.
#[derive(Debug, Clone, Serialize)]
pub(in crate::web) struct CalledBy {
    pub(in crate::web) run: RunId,
    pub(in crate::web) part: Part,
    /// From 0.
    pub(in crate::web) index: u32,
}

/// An alert as a run sees it.
#[derive(Debug, Clone, Serialize)]
pub(in crate::web) struct Seen {
    pub(in crate::web) source: Option<String>,
    pub(in crate::web) fingerprint: Option<String>,
    pub(in crate::web) starts_at: Option<String>,
    pub(in crate::web) receiver: Option<String>,
    /// Where its source shows it.
    pub(in crate::web) url: Option<String>,
    pub(in crate::web) labels: Value,
    pub(in crate::web) annotations: Value,
}

/// One step.
#[derive(Debug, Clone, Serialize)]
pub(in crate::web) struct StepItem {
    pub(in crate::web) name: Name,
    pub(in crate::web) part: Part,
    /// `action`, `script`, `wait`…
    pub(in crate::web) does: &'static str,
    /// What exactly: the action, the file, what it waits for.
    pub(in crate::web) what: String,
    /// `pending`, `running`, `waiting`, `done`, `failed`, `unknown` or `skipped`.
    pub(in crate::web) state: &'static str,
    pub(in crate::web) begun_at: Option<Timestamp>,
    pub(in crate::web) ended_at: Option<Timestamp>,
    /// When the present attempt's time is up.
    pub(in crate::web) deadline: Option<Timestamp>,
    pub(in crate::web) attempts: u32,
    pub(in crate::web) output: Value,
    /// Why it failed, is not known or was skipped; while it is on, why nobody has accepted a call yet, or how the target of an action
    /// is.
    pub(in crate::web) error: Option<String>,
    pub(in crate::web) evidence: String,
    /// Whether something of output, error or evidence was left out.
    pub(in crate::web) cut: bool,
}

impl RunItem {
    pub(in crate::web) fn of(web: &Web, run: &Run, extent: Extent) -> Self {
        let redact = &web.page.redact;
        let (ended_at, why) = match &run.ended {
            Some((_, why, at)) => (Some(*at), Some(why.clone())),
            None => (None, run.paused.clone()),
        };
        let (cause, due, called_by) = match &run.cause {
            RunCause::Alert { .. } => ("alert", None, None),
            RunCause::Schedule { due } => ("schedule", Some(*due), None),
            RunCause::Call { run, step } => {
                ("call", None, Some(CalledBy { run: *run, part: step.part, index: step.index }))
            }
        };
        let shown = run.steps.iter().filter_map(|record| StepItem::of(run, record, extent, redact));
        Self {
            id: run.id,
            playbook: run.playbook.name.clone(),
            team: run.authority.clone(),
            target: run.target.clone(),
            state: run.state(),
            why,
            started_at: run.opened_at,
            ended_at,
            cause,
            due,
            called_by,
            alert: Seen::of(web, &run.alert),
            alerts: run.alerts.iter().take(ALERTS).cloned().collect(),
            turned: run.turned.as_ref().map(|(why, _)| why.clone()),
            policy: run.policy.clone(),
            revision: run.revision.clone(),
            steps: shown.chain(to_come(run)).collect(),
        }
    }

    pub(in crate::web) fn mark(&self) -> Mark {
        Mark::of_run(self.state)
    }

    /// What it answers, in a few words.
    pub(in crate::web) fn answers(&self) -> String {
        let name = self.alert.as_ref().and_then(|alert| alert.labels.get("alertname")?.as_str());
        match (self.cause, name, self.due) {
            ("alert", Some(name), _) => format!("answers {name}"),
            ("schedule", _, Some(due)) => format!("was due at {}", due.strftime("%Y-%m-%d %H:%M UTC")),
            (_, Some(name), _) => format!("called for {name}"),
            ("call", ..) => "called by another run".to_owned(),
            _ => "answers an alert".to_owned(),
        }
    }

    /// How long it took, once it is over.
    pub(in crate::web) fn took(&self) -> Option<String> {
        Some(took(self.ended_at?.duration_since(self.started_at)))
    }

    /// What it does now.
    pub(in crate::web) fn on(&self) -> Option<String> {
        let step = self.steps.iter().find(|step| matches!(step.state, "running" | "waiting"))?;
        Some(format!("{}: {} {}", step.name, step.does, step.what))
    }

    fn bytes(&self) -> usize {
        let of = |step: &StepItem| step.evidence.len() + step.output.as_str().map_or(64, str::len) + 256;
        self.steps.iter().map(of).sum::<usize>() + 1_024
    }
}

impl Seen {
    /// Since when it fires, and who told of it; runs of early versions do not say.
    pub(in crate::web) fn told(&self) -> Option<(Timestamp, &str, &str)> {
        let began = self.starts_at.as_ref()?.parse().ok()?;
        Some((began, self.source.as_deref()?, self.receiver.as_deref()?))
    }

    /// Masked as every alert is: a run's own team may be another than its sender's.
    fn of(web: &Web, alert: &Value) -> Option<Self> {
        let text = |name: &str| alert.get(name).and_then(Value::as_str).map(str::to_owned);
        let sender = text("receiver").and_then(|name| Some(team::sender(web, &Name::new(&name).ok()?)));
        let sender = sender.unwrap_or(Whose::Nobody);
        let shown = |name: &str| {
            let texts = alert.get(name)?.as_object()?.iter();
            let mask = |(name, value): (&String, &Value)| match value.as_str() {
                Some(text) => (name.clone(), Value::String((web.page.redact)(sender, text))),
                None => (name.clone(), value.clone()),
            };
            Some(Value::Object(texts.map(mask).collect()))
        };
        let (labels, annotations) = (shown("labels")?, shown("annotations"));
        Some(Self {
            source: text("source"),
            fingerprint: text("fingerprint"),
            starts_at: text("startsAt"),
            receiver: text("receiver"),
            // One with a mask in it leads nowhere.
            url: text("url").filter(|url| (web.page.redact)(sender, url) == *url),
            labels,
            annotations: annotations.unwrap_or_else(|| Value::Object(serde_json::Map::new())),
        })
    }
}

impl StepItem {
    fn of(run: &Run, record: &StepRecord, extent: Extent, redact: &Redact) -> Option<Self> {
        let (step, team) = (run.step(record.step)?, Some(&run.authority));
        // Whoever ended the run did not write down an end of what was on.
        let cut_off = run.ended.as_ref().filter(|_| record.on.is_some());
        let over = cut_off.map(|(state, _, _)| format!("the run ended {state} while it was on"));
        let (output, error) = match &record.outcome {
            _ if over.is_some() => (Value::Null, over.as_ref()),
            Some(StepOutcome::Done { output }) => (output.clone(), None),
            Some(StepOutcome::Failed { error } | StepOutcome::Unknown { error }) => (Value::Null, Some(error)),
            None => (Value::Null, record.skipped.as_ref()),
        };
        let (output, cut_output) = match output {
            Value::Null => (Value::Null, false),
            output => match extent.text(&output.to_string(), team, redact) {
                (text, true) => (Value::String(text), true),
                _ => (output, false),
            },
        };
        let (error, cut_error) = match error.map(|error| extent.text(error, team, redact)) {
            Some((error, cut)) => (Some(error), cut),
            None => (None, false),
        };
        let (evidence, cut_evidence) = extent.text(&record.evidence, team, redact);
        Some(Self {
            state: state(record, step, cut_off.is_some()),
            begun_at: Some(record.begun_at),
            ended_at: cut_off.map(|(_, _, at)| *at).or(record.ended_at.filter(|_| record.on.is_none())),
            deadline: record.on.as_ref().filter(|_| cut_off.is_none()).map(|(_, deadline)| *deadline),
            attempts: record.attempts,
            output,
            error,
            evidence,
            cut: cut_output || cut_error || cut_evidence,
            ..Self::pending(run, record.step.part, step)
        })
    }

    fn pending(run: &Run, part: Part, step: &PlaybookStep) -> Self {
        Self {
            name: step.name.clone(),
            part,
            does: step.does.word(),
            what: what(run, &step.does),
            state: "pending",
            begun_at: None,
            ended_at: None,
            deadline: None,
            attempts: 0,
            output: Value::Null,
            error: None,
            evidence: String::new(),
            cut: false,
        }
    }

    pub(in crate::web) fn mark(&self) -> Mark {
        match self.state {
            "done" => Mark::Fine,
            "failed" => Mark::Degraded,
            "unknown" => Mark::Unknown,
            "running" | "waiting" => Mark::Progressing,
            _ => Mark::Suspended,
        }
    }

    /// How long it has been on; nothing before it is begun.
    pub(in crate::web) fn took(&self, run: &RunItem, now: Timestamp) -> Option<String> {
        let begun = self.begun_at.filter(|_| self.attempts > 0)?;
        let until = self.ended_at.or(run.ended_at).unwrap_or(now);
        Some(took(until.duration_since(begun)))
    }

    /// Its list, as in JSON.
    pub(in crate::web) fn part_word(&self) -> &'static str {
        match self.part {
            Part::Steps => "steps",
            Part::Otherwise => "otherwise",
        }
    }

    /// The output for people; nothing where there is none.
    pub(in crate::web) fn output_text(&self) -> Option<String> {
        match &self.output {
            Value::Null => None,
            Value::String(text) => Some(text.clone()),
            other => Some(serde_json::to_string_pretty(other).unwrap_or_else(|_| other.to_string())),
        }
    }
}

fn state(record: &StepRecord, step: &PlaybookStep, cut_off: bool) -> &'static str {
    let waits = matches!(step.does, Does::Wait { .. });
    match (&record.on, &record.skipped, &record.outcome) {
        // A wait did nothing; of all else it is not known how far it came.
        (Some(_), ..) if cut_off => {
            if waits {
                "skipped"
            } else {
                "unknown"
            }
        }
        (Some(_), ..) if waits => "waiting",
        (Some(_), ..) => "running",
        (None, Some(_), _) => "skipped",
        (None, None, Some(StepOutcome::Done { .. })) => "done",
        (None, None, Some(StepOutcome::Failed { .. })) => "failed",
        (None, None, Some(StepOutcome::Unknown { .. })) => "unknown",
        (None, None, None) => "pending",
    }
}

/// The steps of its present list that it has not come to.
fn to_come(run: &Run) -> impl Iterator<Item = StepItem> + '_ {
    let (part, list) = match &run.turned {
        Some(_) => (Part::Otherwise, run.playbook.otherwise.as_deref().unwrap_or_default()),
        None => (Part::Steps, run.playbook.steps.as_slice()),
    };
    let list = if run.ended.is_some() { &[] } else { list };
    let begun = move |index: usize| {
        let at = u32::try_from(index).map(|index| StepRef { part, index });
        at.is_ok_and(|at| run.steps.iter().any(|record| record.step == at))
    };
    list.iter()
        .enumerate()
        .filter(move |(index, _)| !begun(*index))
        .map(move |(_, step)| StepItem::pending(run, part, step))
}

fn what(run: &Run, does: &Does) -> String {
    match does {
        Does::Action { action, .. } => action.to_string(),
        Does::Script { file } => file.clone(),
        Does::Wait { what: WaitFor::Resolved, .. } => "resolved".to_owned(),
        Does::Wait { what: WaitFor::Healthy, .. } => "healthy".to_owned(),
        Does::Wait { what: WaitFor::For(period), .. } => format!("for {period}"),
        Does::Wait { what: WaitFor::Until(expression), .. } => format!("until {}", expression.source()),
        Does::Http(call) => call.method.clone(),
        Does::Notify { channel, .. } => channel.word().to_owned(),
        Does::Page { policy } => {
            policy.as_ref().or(run.policy.as_ref()).map_or_else(|| "the team's policy".to_owned(), ToString::to_string)
        }
        Does::Git(codeops_core::model::GitChange::RevertLast) => "revert last".to_owned(),
        Does::Git(codeops_core::model::GitChange::RevertRecent { within }) => format!("revert last, within {within}"),
        Does::Git(codeops_core::model::GitChange::Set { file, document, path, .. }) => {
            let of = document.as_ref().map(|document| format!(" of {document}")).unwrap_or_default();
            format!("set {path}{of} in {file}")
        }
        Does::Playbook(name) => name.to_string(),
    }
}

/// Runs, the last opened first, and the cursor of what follows.
pub(in crate::web) async fn runs(web: &Web, query: RunQuery) -> Result<(Vec<RunItem>, Option<RunId>), LogError> {
    let (limit, before, journal) = (query.limit, query.before, web.page.journal.clone());
    let read = move |before, limit| {
        let (journal, query) = (journal.clone(), RunQuery { before, limit, ..query.clone() });
        async move { journal.runs(query).await }
    };
    gather(limit, before, read, |run| {
        let item = RunItem::of(web, run, Extent::Short);
        let bytes = item.bytes();
        (item, bytes)
    })
    .await
}

/// A run, whole, with the alerts that joined its page: the page leads here.
pub(in crate::web) fn of_run(web: &Web, run: &Run) -> RunItem {
    let mut item = RunItem::of(web, run, Extent::Whole);
    let joined: Vec<AlertId> = web.page.journal.response(|response| {
        let answered =
            response.alerts.iter().filter(|(_, known)| known.disposition == (Disposition::Run { run: run.id }));
        answered.map(|(id, _)| id).filter(|id| !run.alerts.contains(*id)).cloned().collect()
    });
    let room = ALERTS.saturating_sub(item.alerts.len());
    item.alerts.extend(joined.into_iter().take(room));
    for step in item.steps.iter_mut().filter(|step| step.state == "running") {
        step.error = doing::waits_for(web, run, step.does).or(step.error.take());
    }
    item
}

/// The runs that this one called, in the order of its steps.
pub(in crate::web) async fn children(web: &Web, run: &Run) -> Result<Vec<RunId>, LogError> {
    let mut found = Vec::new();
    for record in &run.steps {
        let Some(Does::Playbook(name)) = run.step(record.step).map(|step| &step.does) else { continue };
        let before = Some(RunId(run.id.0.saturating_add(u64::from(NEAR))));
        let query = RunQuery { playbook: Some(name.clone()), before, limit: NEAR as usize, ..RunQuery::default() };
        let listed = web.page.journal.runs(query).await?;
        let of_step = listed.items.iter().filter(|child| {
            matches!(child.cause, RunCause::Call { run: caller, step } if caller == run.id && step == record.step)
        });
        found.extend(of_step.map(|child| child.id));
    }
    Ok(found)
}
