//! What a step's order comes to: a mark through the gate, an effect beside the flow, a page, or another run.

use std::sync::Arc;
use std::time::Duration;

use codeops_core::action::{self, Lowered, Situation};
use codeops_core::model::{
    Action, DocumentName, Failing, PageId, PageOpened, Part, ResourceId, ResourceMemory, ResponseMemory, Run, RunCause,
    RunEvent, StepOutcome, StepRef,
};
use codeops_core::playbook::{NOTHING, Order, pin};
use serde_json::{Value, json};

use super::perform::perform;
use super::{Event, Flow};
use crate::gate::{Mark, Passage};
use crate::journal::{LogError, Record};
use crate::port::{Effect, GitOrder, GitOrderChange, HttpRequest, ScriptCall, Send};

/// How much longer than its own time an effect is waited for before its outcome counts as unknown.
const GRACE: Duration = Duration::from_secs(10);

impl Flow {
    /// Writes an attempt's beginning down and carries it out; answers whether another look may find more at once.
    pub(super) async fn carry_out(
        &mut self,
        run: &Run,
        step: StepRef,
        attempt: u32,
        begun: RunEvent,
        order: Order,
    ) -> Result<bool, LogError> {
        match order {
            Order::Wait => self.record(run, vec![begun]).await.map(|()| true),
            Order::Act { action, target, with } if !action.is_commit() => {
                self.act(run, step, attempt, begun, (action, target, with)).await
            }
            Order::Page { policy } => self.call_people(run, step, attempt, begun, policy).await.map(|()| true),
            Order::Call { playbook } => self.call(run, step, attempt, begun, &playbook).await.map(|()| true),
            order => match self.effect(run, step, order, &begun) {
                Ok(effect) => self.perform(run, step, attempt, begun, effect).await.map(|()| false),
                Err(error) => self.refuse(run, step, attempt, begun, error).await.map(|()| true),
            },
        }
    }

    /// An attempt that cannot even be made: begun and failed in one, so that the log has it.
    async fn refuse(
        &mut self,
        run: &Run,
        step: StepRef,
        attempt: u32,
        begun: RunEvent,
        error: String,
    ) -> Result<(), LogError> {
        let outcome = StepOutcome::Failed { error: self.said_by(run, &error) };
        let ended = RunEvent::StepEnded { step, attempt, outcome, evidence: String::new() };
        self.record(run, vec![begun, ended]).await
    }

    async fn act(
        &mut self,
        run: &Run,
        step: StepRef,
        attempt: u32,
        begun: RunEvent,
        (action, target, with): (Action, ResourceId, std::collections::BTreeMap<String, Value>),
    ) -> Result<bool, LogError> {
        let (lowered, picture) = match self.lower(run, action, &target, &with) {
            Ok(lowered) => lowered,
            Err(error) => return self.refuse(run, step, attempt, begun, error).await.map(|()| true),
        };
        let event = |event| Record::Run { run: run.id, resource: None, event };
        let mut records = vec![event(begun.clone())];
        let disturbs = match lowered {
            Lowered::Nothing(why) => {
                let outcome = StepOutcome::Done { output: json!({ NOTHING: why }) };
                let ended = RunEvent::StepEnded { step, attempt, outcome, evidence: why };
                return self.record(run, vec![begun, ended]).await.map(|()| true);
            }
            Lowered::Renew { renewal, healthy } => {
                records.push(Record::Renewed { resource: target.clone(), renewal });
                healthy.then_some(action)
            }
            Lowered::Pin { template, pin } => {
                records.push(Record::Pinned { resource: target.clone(), template, pin });
                None
            }
        };
        tracing::info!(run = %run.id, %action, resource = %target, "a playbook acts");
        match self.tools.gate.mark(Mark { resource: target, records, disturbs }, picture).await {
            Passage::Applied => Ok(true),
            Passage::Closed(why) => Err(LogError::Poisoned(why)),
            Passage::Refused(why)
            | Passage::Retry(why)
            | Passage::UnderWay(why)
            | Passage::Rejected(why)
            | Passage::InDoubt(why) => {
                self.refuse(run, step, attempt, begun, format!("not let through: {why}")).await.map(|()| true)
            }
        }
    }

    fn lower(
        &self,
        run: &Run,
        action: Action,
        target: &ResourceId,
        with: &std::collections::BTreeMap<String, Value>,
    ) -> Result<(Lowered, Arc<crate::gate::Picture>), String> {
        let picture = self.picture().ok_or("no revision is in force yet")?;
        let declared = self.declared(target).ok_or_else(|| format!("{target} is not declared"))?;
        if !self.may_act(&run.authority, target) {
            return Err(format!("team {} may not act on {target}: it is team {}'s", run.authority, declared.team));
        }
        let lowered = self.with_memory(|memory| {
            let nothing = ResourceMemory::default();
            let remembered = memory.resources.get(target).unwrap_or(&nothing);
            let (live, now) = (self.live(declared, Some(remembered)), self.tools.clock.now());
            let playbook = &run.playbook.name;
            action::lower(action, with, &Situation { declared, live, memory: remembered, run: run.id, playbook, now })
        });
        Ok((lowered?, picture))
    }

    /// The page and the step that waits for it, in one transaction.
    async fn call_people(
        &mut self,
        run: &Run,
        step: StepRef,
        attempt: u32,
        begun: RunEvent,
        policy: Option<codeops_core::model::Name>,
    ) -> Result<(), LogError> {
        if let Some(page) = self.told_of_failure(run, step) {
            let why = format!("page {page} told of the same failure, and it has not succeeded since");
            return self.record(run, vec![RunEvent::StepSkipped { step, why }]).await;
        }
        let Some(policy) = self.who_is_told(run, policy.clone()) else {
            let error = match policy.or_else(|| run.policy.clone()) {
                Some(policy) => format!("there is no escalation policy {policy}: nobody can be called"),
                None => "no escalation policy applies: name one in the route, the Team, or `fallback`".to_owned(),
            };
            return self.refuse(run, step, attempt, begun, error).await;
        };
        let mut first = self.latch_of(run);
        if step.part == Part::Otherwise && run.failure().is_some() {
            let failing = |response: &ResponseMemory| response.schedules.get(&run.playbook.name)?.failing.clone();
            if let Some(Failing { since, times, .. }) = self.remembered(failing) {
                let times = if times == 1 { "1 run".to_owned() } else { format!("{times} runs") };
                let since = since.strftime("%Y-%m-%d %H:%M:%S UTC");
                first += &format!("It fails since {since}: {times} before this one.\n");
            }
            first +=
                "Nobody is called for the same failure again within a day, unless a run has succeeded in between.\n";
        }
        let (title, body) = self.evidence(run, Some(step), &first);
        let begun = Record::Run { run: run.id, resource: None, event: begun };
        let opened = PageOpened { run: Some(run.id), policy: Some(policy), title, body, ..PageOpened::default() };
        self.tools.journal.open_page(opened, |_| vec![begun]).await.map(|_| ())
    }

    /// The page of an earlier run that told of what a scheduled one has failed of, lately.
    fn told_of_failure(&self, run: &Run, step: StepRef) -> Option<PageId> {
        let failure = run.failure().filter(|_| step.part == Part::Otherwise)?;
        let told = self.remembered(|response| response.schedules.get(&run.playbook.name)?.told.clone())?;
        let known = told.of == failure && told.run != run.id && told.is_told(self.tools.clock.now());
        known.then_some(told.page)
    }

    /// Another playbook, with the caller's authority and alerts.
    async fn call(
        &mut self,
        run: &Run,
        step: StepRef,
        attempt: u32,
        begun: RunEvent,
        name: &codeops_core::model::Name,
    ) -> Result<(), LogError> {
        let Some(called) = self.router.response().playbooks.get(name).cloned() else {
            return self.refuse(run, step, attempt, begun, format!("there is no playbook {name}")).await;
        };
        let cause = RunCause::Call { run: run.id, step };
        let target = match &called.target {
            None => Ok(run.target.clone()),
            Some(template) => codeops_core::playbook::target_for(template, &run.alert).map(Some),
        };
        let target = match target {
            Ok(target) => target,
            Err(error) => return self.refuse(run, step, attempt, begun, error).await,
        };
        // Its program is the one in force, and so are its scripts: the caller's may be another revision's.
        let revision = self.board.revision.as_ref().map_or_else(|| run.revision.clone(), |it| it.id.clone());
        let event = RunEvent::Opened {
            playbook: pin(&called, &cause, target.as_ref(), self.resolve_delay()),
            authority: run.authority.clone(),
            revision,
            target,
            cause,
            rung: codeops_core::model::Rung::Steps,
            policy: run.policy.clone(),
            alert: run.alert.clone(),
            group: None,
            because: None,
            owner: None,
            mark: None,
        };
        let begun = Record::Run { run: run.id, resource: None, event: begun };
        let alerts = run.alerts.clone();
        let beside = |child| {
            let joined = |alert| Record::Run { run: child, resource: None, event: RunEvent::Joined { alert } };
            std::iter::once(begun).chain(alerts.into_iter().map(joined)).collect()
        };
        self.tools.journal.open_run(event, beside).await.map(|_| ())
    }

    /// The effect that an order asks for, every name looked up.
    fn effect(&self, run: &Run, step: StepRef, order: Order, begun: &RunEvent) -> Result<Effect, String> {
        let team = run.authority.clone();
        let again = run.steps.iter().any(|record| record.step == step && record.on.is_some());
        let timeout_ms = match begun {
            RunEvent::StepBegun { deadline, .. } => {
                u64::try_from(deadline.duration_since(self.tools.clock.now()).as_millis()).unwrap_or(0)
            }
            _ => 0,
        };
        let commit =
            |change, subject| Effect::Git(GitOrder { team: team.clone(), run: run.id, change, subject, again });
        Ok(match order {
            Order::Script { file, input } => {
                let folder = run.playbook.folder.trim_matches('/');
                let file = if folder.is_empty() { file } else { format!("{folder}/{file}") };
                Effect::Script(ScriptCall { team, revision: run.revision.clone(), file, input, timeout_ms })
            }
            Order::Http { call, url, headers, body } => Effect::Http(HttpRequest {
                team,
                method: call.method,
                url,
                headers,
                secret_headers: call.secret_headers,
                body,
                expect: call.expect,
                timeout_ms,
            }),
            Order::Notify { channel, title, body } => Effect::Send(Send {
                team,
                channel,
                title: self.said_by(run, &title),
                body: self.said_by(run, &body),
                page: None,
                over: false,
                late: false,
                test: false,
                path: Some(format!("/runs/{}", run.id)),
                alert: None,
            }),
            Order::Revert { target, within } => {
                let file = self.file_of(&target)?;
                let subject = format!("Revert the newest change of {target}");
                commit(GitOrderChange::RevertLast { target, file, within }, subject)
            }
            Order::Set { file, document, path, value } => {
                let of = document.as_ref().map(|document| format!(" of {document}")).unwrap_or_default();
                let subject = format!("Set {path}{of} in {file}");
                commit(GitOrderChange::Set { file, document, path, value }, subject)
            }
            Order::Act { action, target, with } => {
                let (path, value) = match self.set_by(action, &target, &with) {
                    Ok(set) => set,
                    // What stands against it now may be that very commit.
                    Err(why) if again => {
                        let file = self.file_of(&target)?;
                        return Ok(commit(GitOrderChange::Known { file, why }, format!("{action} {target}")));
                    }
                    Err(why) => return Err(why),
                };
                let document = Some(DocumentName { kind: "App".to_owned(), name: target.name.clone() });
                let file = self.file_of(&target)?;
                let subject = format!("{action} {target}: {path} = {value}");
                commit(GitOrderChange::Set { file, document, path, value }, subject)
            }
            Order::Wait | Order::Page { .. } | Order::Call { .. } => return Err("it is no effect".to_owned()),
        })
    }

    fn file_of(&self, target: &ResourceId) -> Result<String, String> {
        let declared = self.declared(target).ok_or_else(|| format!("{target} is not declared"))?;
        Ok(declared.place.file.to_string())
    }

    /// The field and the value that an action which is a commit sets.
    fn set_by(
        &self,
        action: Action,
        target: &ResourceId,
        with: &std::collections::BTreeMap<String, Value>,
    ) -> Result<(String, Value), String> {
        let declared = self.declared(target).ok_or_else(|| format!("{target} is not declared"))?;
        let number = |name: &str| with.get(name).map(|value| value.as_i64().ok_or(format!("`{name}` is no number")));
        match action {
            Action::AppSuspend => Ok(("spec.suspend".to_owned(), Value::from(true))),
            Action::AppResume => Ok(("spec.suspend".to_owned(), Value::from(false))),
            Action::AppScale => {
                let now = i64::from(declared.spec.replicas);
                let wanted = match (number("replicas").transpose()?, number("by").transpose()?) {
                    (Some(replicas), None) => replicas,
                    (None, Some(by)) => now.saturating_add(by),
                    _ => return Err("app.scale takes `replicas`, or `by` with `max`".to_owned()),
                };
                let most = number("max").transpose()?.unwrap_or(i64::MAX);
                let wanted = wanted.min(most);
                if !(1..=1_000).contains(&wanted) {
                    return Err(format!("app.scale gives an app 1 to 1000 replicas, and {target} would have {wanted}"));
                }
                if wanted == now {
                    return Err(format!("{target} has {now} replicas already, and may have at most {most}"));
                }
                Ok(("spec.replicas".to_owned(), Value::from(wanted)))
            }
            _ => Err(format!("{action} is no commit")),
        }
    }

    /// Does an effect beside the flow.
    async fn perform(
        &mut self,
        run: &Run,
        step: StepRef,
        attempt: u32,
        begun: RunEvent,
        effect: Effect,
    ) -> Result<(), LogError> {
        let deadline = match &begun {
            RunEvent::StepBegun { deadline, .. } => super::until(*deadline, self.tools.clock.now()) + GRACE,
            _ => GRACE,
        };
        let started = self.tools.journal.begin(run.id, begun).await?;
        let commits = matches!(effect, Effect::Git(_));
        self.afoot.in_hand.insert((run.id, step), commits);
        let (effects, sender, run) = (Arc::clone(&self.tools.effects), self.afoot.sender.clone(), run.id);
        let tasks = if commits { &mut self.afoot.commits } else { &mut self.afoot.tasks };
        tasks.spawn(async move {
            let late = "it did not come back in its time".to_owned();
            let result = perform(&effects, started, effect, deadline, late).await;
            let _ = sender.send(Event::Performed { run, step, attempt, result }).await;
        });
        Ok(())
    }
}
