//! Runs: what follows for each is asked, written down, and then done.

use std::collections::BTreeMap;
use std::sync::Arc;

use codeops_core::model::{
    AlertId, AlertMemory, AlertState, Does, Memory, Name, Page, PageOpened, ResponseMemory, Run, RunCause, RunEvent,
    RunId, RunState, StepOutcome, StepRef, TeamName, covers, severity, worst,
};
use codeops_core::playbook::{Next, evidence, judged, latched_words, next, still_fires};
use jiff::Timestamp;

use super::Flow;
use super::targets::told;
use super::turns::in_turn;
use crate::journal::{LogError, Record};
use crate::port::{EffectError, Performed};

/// How many steps one run takes in one turn at most: the others shall have theirs.
const STEPS_A_TURN: usize = 16;
/// How many steps one turn takes at most in runs that no alert began: an alert that comes meanwhile waits for no more.
const OF_OTHERS: usize = 16;
/// How much of a step's output and evidence is kept, in bytes.
const OUTPUT: usize = 64 << 10;
const EVIDENCE: usize = 16 << 10;
/// How much of a page tells of the alerts of a run that has many, in bytes.
const OTHERS: usize = 7 << 10;

impl Flow {
    /// Brings every run that an alert waits for as far as it goes now.
    pub(super) async fn answers(&mut self) -> Result<(), LogError> {
        let answers: Vec<RunId> = self.remembered(|response| {
            response.runs.values().filter(|run| answers_alert(run, response)).map(|run| run.id).collect()
        });
        for id in answers {
            self.run_on(id).await?;
        }
        Ok(())
    }

    /// Takes so many steps in the other runs, in turns over teams.
    pub(super) async fn other_runs(&mut self) -> Result<(), LogError> {
        let mut others: BTreeMap<TeamName, Vec<RunId>> = BTreeMap::new();
        self.remembered(|response| {
            for run in response.runs.values().filter(|run| !answers_alert(run, response)) {
                others.entry(run.authority.clone()).or_default().push(run.id);
            }
        });
        let mut taken = 0;
        for (team, id) in in_turn(others, self.ran.as_ref()) {
            if taken >= OF_OTHERS {
                self.wake_at(self.tools.clock.now());
                break;
            }
            let steps = self.run_on(id).await?;
            if steps > 0 {
                (self.ran, taken) = (Some(team), taken + steps);
            }
        }
        Ok(())
    }

    /// Brings one run as far as it goes now, and says in how many steps.
    async fn run_on(&mut self, id: RunId) -> Result<usize, LogError> {
        for taken in 0..STEPS_A_TURN {
            if !self.run_once(id).await? {
                return Ok(taken);
            }
        }
        Ok(STEPS_A_TURN)
    }

    /// One look at one run; answers whether another may find more.
    async fn run_once(&mut self, id: RunId) -> Result<bool, LogError> {
        let now = self.tools.clock.now();
        let looked = self.remembered(|response| {
            let run = Arc::clone(response.runs.get(&id)?);
            let known = |id: &AlertId| Some((id.clone(), Arc::clone(response.alerts.get(id)?)));
            let alerts: BTreeMap<_, _> = run.alerts.iter().filter_map(known).collect();
            let still = |run: &Run| self.kept_still(run, response, now).is_some();
            let judged = judged(&run, response, now, &still);
            Some((run, alerts, judged))
        });
        let Some((run, alerts, judged)) = looked else { return Ok(false) };
        if let Some(judged) = judged {
            return self.judge(&run, judged).await.map(|()| true);
        }
        match next(&run, &self.facts(&run, &alerts, now)) {
            Next::Record(events) => self.record(&run, events).await.map(|()| true),
            Next::Begin { step, attempt, deadline, order } => self.begin(&run, step, attempt, deadline, *order).await,
            Next::Ask(alerts) => {
                self.ask(&run, &alerts);
                Ok(false)
            }
            Next::Wait { until, .. } => {
                if let Some(until) = until {
                    self.wake_at(until);
                }
                Ok(false)
            }
            Next::Over => Ok(false),
        }
    }

    /// Writes events of a run down, with what follows from its end: the step that called it ends, and a cancelled run whose
    /// alert still fires calls a person.
    pub(super) async fn record(&mut self, run: &Run, events: Vec<RunEvent>) -> Result<(), LogError> {
        let mut records = Vec::new();
        let mut page = None;
        for event in events {
            if let RunEvent::Ended { state, why } = &event {
                records.extend(self.with_memory(|memory| callers_end(memory, run, *state, why)));
                page = self.calls_for_a_person(run, *state, why);
                self.log_end(run, *state, why, page.is_some());
            }
            let resource = matches!(event, RunEvent::Ended { .. }).then(|| run.target.clone()).flatten();
            records.push(Record::Run { run: run.id, resource, event });
        }
        match page {
            Some(page) => self.tools.journal.open_page(page, |_| records).await.map(|_| ()),
            None => self.tools.journal.record(records).await.map(|_| ()),
        }
    }

    /// Logs a run's end: where its alert fires on and nobody is called, that is for somebody to read.
    pub(super) fn log_end(&self, run: &Run, state: RunState, why: &str, calls: bool) {
        let label = |name: &str| run.alert.pointer(&format!("/labels/{name}")).and_then(serde_json::Value::as_str);
        let named = || ["app", "service"].iter().find_map(|kind| Some(format!("{kind}/{}", label(kind)?)));
        let resource = run.target.as_ref().map(ToString::to_string).or_else(named);
        let (alert, playbook) = (label("alertname"), run.playbook.name.as_str());
        // Whoever called it says what comes of that.
        let called = matches!(run.cause, RunCause::Call { .. });
        if !matches!(state, RunState::Failed | RunState::Cancelled) {
            tracing::info!(run = %run.id, playbook, alert, resource, %state, why, "a run has ended");
        } else if calls
            || called
            || !self.pages_out(run.id).is_empty()
            || !self.remembered(|response| still_fires(run, &response.alerts))
        {
            tracing::warn!(run = %run.id, playbook, alert, resource, %state, why, "a run has ended");
        } else {
            tracing::error!(run = %run.id, playbook, alert, resource, %state, why, "an alert fires, and nobody is called");
        }
    }

    /// Whom a run calls that ends with its alert firing and nobody called. One that another called leaves that to its caller, and
    /// one whose page is out to that.
    pub(super) fn calls_of(&self, run: &Run, state: RunState) -> Option<Name> {
        let called = matches!(run.cause, RunCause::Call { .. });
        let unheard = matches!(state, RunState::Cancelled | RunState::Failed) && !called;
        let told = || !self.pages_out(run.id).is_empty();
        if !unheard || told() || !self.remembered(|response| still_fires(run, &response.alerts)) {
            return None;
        }
        // Where there is nobody, a page would only stay open for ever: the run's end says so.
        self.who_is_told(run, None)
    }

    fn calls_for_a_person(&self, run: &Run, state: RunState, why: &str) -> Option<PageOpened> {
        let policy = Some(self.calls_of(run, state)?);
        let first = format!("{}Run {} {state}: {why}.\n", self.latch_of(run), run.id);
        let (title, body) = self.evidence(run, None, &first);
        Some(PageOpened { run: Some(run.id), policy, title, body, ..PageOpened::default() })
    }

    /// The title and the text of a run's page, after `first`; `at` is the step that pages, where one does.
    pub(super) fn evidence(&self, run: &Run, at: Option<StepRef>, first: &str) -> (String, String) {
        let first = format!("{first}{}", self.worst_of(run));
        let (title, body) = evidence(&self.as_shown(run), at, &first, &self.changes(run), &self.others(run));
        (self.said_by(run, &title), self.said_by(run, &body))
    }

    /// What its page says of the latch on what a run is about; nothing where there is none.
    pub(super) fn latch_of(&self, run: &Run) -> String {
        let words = |response: &ResponseMemory| latched_words(run, response.ledger.get(&run.subject())?);
        self.remembered(words).unwrap_or_default()
    }

    /// All alerts of a run that has more than the one it was opened for, as far as its page can hold them.
    pub(super) fn others(&self, run: &Run) -> String {
        if run.alerts.len() < 2 {
            return String::new();
        }
        let known: Vec<_> =
            self.remembered(|response| run.alerts.iter().filter_map(|id| response.alerts.get(id).cloned()).collect());
        format!("\nIts {} alerts:\n{}", run.alerts.len(), self.first_shown(&known, &known))
    }

    /// What its page begins with where another of its alerts says more than the one that opened it, whose labels it shows.
    fn worst_of(&self, run: &Run) -> String {
        let own = run.alert.pointer("/labels/severity").and_then(serde_json::Value::as_str).unwrap_or_default();
        let said = self.remembered(|response| {
            let known = run.alerts.iter().filter_map(|id| response.alerts.get(id));
            let fires = known.filter(|it| it.state != AlertState::Resolved);
            worst(fires.map(|it| severity(&it.alert.labels))).map(str::to_owned)
        });
        let more = said.filter(|said| !covers(own, said));
        more.map(|said| format!("The highest severity of its {} alerts is {said}.\n", run.alerts.len()))
            .unwrap_or_default()
    }

    /// What changed lately on what a run is about, a line each, for its page.
    pub(super) fn changes(&self, run: &Run) -> Vec<String> {
        let Some(view) = run.target.as_ref().and_then(|id| self.board.resources.get(id)) else { return Vec::new() };
        let mut lines: Vec<String> = view.why.iter().map(|why| format!("{}: {why}", view.id)).collect();
        lines.extend(view.last_good.iter().map(|good| {
            let revision = good.revision.as_ref().map_or("an unknown revision", |revision| revision.short());
            format!("last good since {}: {revision}", second(good.at))
        }));
        lines.extend(self.board.revision.iter().map(|it| {
            format!(
                "revision in force since {}: {} {} ({})",
                second(it.accepted_at),
                it.id.short(),
                it.subject,
                it.author
            )
        }));
        lines.extend(view.differences.iter().take(20).map(|difference| format!("differs: {}", difference.field)));
        lines
    }

    /// An effect has come back.
    pub(super) async fn performed(
        &mut self,
        id: RunId,
        step: StepRef,
        attempt: u32,
        result: Result<Performed, EffectError>,
    ) -> Result<(), LogError> {
        self.afoot.in_hand.remove(&(id, step));
        let (outcome, evidence) = match result {
            Ok(done) => (StepOutcome::Done { output: bounded(done.output) }, done.evidence),
            Err(EffectError::Failed { error, evidence }) => (StepOutcome::Failed { error }, evidence),
            Err(EffectError::Unknown { error, evidence }) => (StepOutcome::Unknown { error }, evidence),
        };
        let run = self.remembered(|response| response.runs.get(&id).cloned());
        // A run that was ended meanwhile keeps its end.
        let Some(run) = run else { return Ok(()) };
        let redact = |text: &str| self.said_by(&run, text);
        let outcome = clean(outcome, &redact);
        let evidence = cut(redact(&evidence), EVIDENCE);
        self.record(&run, vec![RunEvent::StepEnded { step, attempt, outcome, evidence }]).await
    }

    /// Begins an attempt; answers whether another look may find more at once.
    async fn begin(
        &mut self,
        run: &Run,
        step: StepRef,
        attempt: u32,
        deadline: Timestamp,
        order: codeops_core::playbook::Order,
    ) -> Result<bool, LogError> {
        // An effect that may be told twice from once has one key for all attempts; any other attempt is another deed.
        let idempotent = run.step(step).is_some_and(|step| step.idempotent);
        let part = match step.part {
            codeops_core::model::Part::Steps => "s",
            codeops_core::model::Part::Otherwise => "o",
        };
        let nth = if idempotent { 0 } else { attempt };
        let key = self.tools.journal.key_of_run(run, &format!("{part}{}:{nth}", step.index));
        let begun = RunEvent::StepBegun { step, attempt, key, deadline };
        self.carry_out(run, step, attempt, begun, order).await
    }
}

/// These alerts, as far as a page can hold them, told apart from those `among` which they are.
pub(super) fn first_of(alerts: &[Arc<AlertMemory>], among: &[Arc<AlertMemory>]) -> String {
    let texts = told(alerts, among, OTHERS);
    let rest = if texts.len() > 1 { "… the rest is on the page, at /alerts\n" } else { "" };
    format!("{}{rest}", texts.first().map_or("", |(text, _)| text.as_str()))
}

/// Whether an alert waits for a run: one that it began or joined, or one that such a run called.
fn answers_alert(run: &Run, response: &ResponseMemory) -> bool {
    let mut at = run;
    while at.alerts.is_empty()
        && let RunCause::Call { run, .. } = &at.cause
        && let Some(caller) = response.runs.get(run).filter(|caller| caller.id < at.id)
    {
        at = caller;
    }
    !at.alerts.is_empty() || matches!(at.cause, RunCause::Alert { .. })
}

/// The end of the step that called a run, when that is over.
fn callers_end(memory: &Memory, run: &Run, state: RunState, why: &str) -> Option<Record> {
    let RunCause::Call { run: caller, step } = &run.cause else { return None };
    let caller = memory.response.runs.get(caller)?;
    let on = caller.steps.iter().find(|record| record.step == *step && record.on.is_some())?;
    let outcome = match state {
        RunState::Resolved | RunState::Replaced => {
            StepOutcome::Done { output: serde_json::json!({ "run": run.id, "state": state }) }
        }
        _ => StepOutcome::Failed { error: format!("run {} of playbook {} {state}: {why}", run.id, run.playbook.name) },
    };
    let event = RunEvent::StepEnded { step: *step, attempt: on.attempts, outcome, evidence: String::new() };
    Some(Record::Run { run: caller.id, resource: None, event })
}

/// The end of a run's page step, when somebody has it or nobody ever will.
pub(super) fn page_ends(memory: &Memory, page: &Page, outcome: StepOutcome) -> Option<Record> {
    let run = memory.response.runs.get(&page.run?)?;
    let is_page = |step: StepRef| run.step(step).is_some_and(|step| matches!(step.does, Does::Page { .. }));
    let on = run.steps.iter().find(|record| record.on.is_some() && is_page(record.step))?;
    let event = RunEvent::StepEnded { step: on.step, attempt: on.attempts, outcome, evidence: String::new() };
    Some(Record::Run { run: run.id, resource: None, event })
}

/// A time as pages tell it.
fn second(at: Timestamp) -> impl std::fmt::Display {
    at.strftime("%Y-%m-%d %H:%M:%S UTC")
}

fn bounded(output: serde_json::Value) -> serde_json::Value {
    let text = output.to_string();
    if text.len() <= OUTPUT { output } else { serde_json::Value::String(cut(text, OUTPUT)) }
}

fn cut(mut text: String, most: usize) -> String {
    if text.len() > most {
        let end = (0..=most).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
    text
}

/// What a run's step came to, without secrets.
fn clean(outcome: StepOutcome, redact: &dyn Fn(&str) -> String) -> StepOutcome {
    let clean = |text: &str| cut(redact(text), EVIDENCE);
    match outcome {
        StepOutcome::Done { output } => {
            let said = output.to_string();
            let text = redact(&said);
            // Most hold no secret, and need not be read again.
            let output = if text == said { output } else { serde_json::from_str(&text).unwrap_or(text.into()) };
            StepOutcome::Done { output }
        }
        StepOutcome::Failed { error } => StepOutcome::Failed { error: clean(&error) },
        StepOutcome::Unknown { error } => StepOutcome::Unknown { error: clean(&error) },
    }
}
