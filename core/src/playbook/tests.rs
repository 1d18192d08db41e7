//! Runs, driven one look at a time over facts that each test gives.

mod answers;
mod held;
mod latch;
mod open;
mod people;
mod random;
mod simulated;

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::{Answer, Asked, Facts, Hold, Next, Opening, Order, PageFacts, TargetFacts, World, next};
use crate::desired::{Compiler, Context, Desired, File, Files};
use crate::model::{
    Alert, AlertId, AlertMemory, AlertState, Disposition, Fingerprint, Health, Key, Labels, Name, PageId, Part, Period,
    Progress, ResponseMemory, Run, RunCause, RunEvent, RunId, RunState, Rung, StepOutcome, StepRef, Sync,
};

/// A repository with two apps and these playbooks, each its name and the rest of its spec.
pub(super) fn compiled(manifests: &str) -> Desired {
    let text = format!(
        "apiVersion: codeops/v1\nkind: Repository\nmetadata: {{name: acme}}\nspec: {{resolveDelay: 1m}}\n---\n\
         apiVersion: codeops/v1\nkind: Team\nmetadata: {{name: shop}}\nspec: {{}}\n---\n\
         apiVersion: codeops/v1\nkind: App\nmetadata: {{name: shop, team: shop}}\nspec: {{provider: local, run: {{command: [/bin/shop]}}}}\n---\n{manifests}"
    );
    let file = File { content: "1".into(), bytes: Arc::from(text.into_bytes()) };
    let script = File { content: "2".into(), bytes: Arc::from(b"#!/bin/sh\n".to_vec()) };
    let files: Files = [("codeops.yaml".into(), file), ("scripts/look.sh".into(), script)].into_iter().collect();
    let compiled = Compiler::default().compile(&files, &Context::default());
    let errors: Vec<String> = compiled.diagnostics.iter().map(|it| it.render(false)).collect();
    assert!(!compiled.has_errors(), "{}", errors.join("\n"));
    compiled.desired
}

pub(super) fn playbook(name: &str, spec: &str) -> String {
    format!("apiVersion: codeops/v1\nkind: Playbook\nmetadata: {{name: {name}, team: shop}}\nspec:\n{spec}\n---\n")
}

pub(super) fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

pub(super) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_767_585_600 + second).expect("a time")
}

pub(super) fn firing(app: &str, now: Timestamp) -> Arc<AlertMemory> {
    let labels: Labels = [("alertname", "AppDown"), ("app", app)].map(|(k, v)| (k.to_owned(), v.to_owned())).into();
    let id = AlertId { source: name("main"), fingerprint: Fingerprint::of(&labels), starts_at: now };
    let alert = Alert { id, receiver: name("main"), labels, annotations: Labels::new(), url: None, expires_at: None };
    Arc::new(AlertMemory {
        alert: Arc::new(alert),
        state: AlertState::Firing,
        since: now,
        received_at: now,
        disposition: Disposition::Received,
    })
}

/// What begins a run.
#[derive(Clone, Copy)]
enum Begins {
    Alert,
    Schedule,
    Call,
}

/// One run and all that its next step rests on.
pub(super) struct Live {
    pub(super) run: Run,
    pub(super) first: RunEvent,
    pub(super) log: Vec<(Timestamp, RunEvent)>,
    pub(super) alerts: BTreeMap<AlertId, Arc<AlertMemory>>,
    pub(super) now: Timestamp,
    pub(super) target: Option<TargetFacts>,
    pub(super) hold: Option<Hold>,
    pub(super) cancelled: Option<String>,
    pub(super) in_hand: bool,
    pub(super) progress: Option<Progress>,
    pub(super) called: Option<RunState>,
    pub(super) page: Option<PageFacts>,
    pub(super) asks: bool,
    pub(super) revision: Option<(crate::model::Revision, Timestamp)>,
}

impl Live {
    /// A run of the playbook `p` on an alert of app/shop, begun at this rung.
    pub(super) fn answering(spec: &str, rung: Rung) -> Self {
        Self::of(spec, Begins::Alert, rung)
    }

    /// A run of the playbook `p` that no alert began.
    pub(super) fn scheduled(spec: &str) -> Self {
        Self::of(spec, Begins::Schedule, Rung::Steps)
    }

    /// A run that one which answers an alert of app/shop called.
    pub(super) fn called(spec: &str) -> Self {
        let mut live = Self::of(spec, Begins::Call, Rung::Steps);
        let alert = live.alerts.keys().next().expect("an alert").clone();
        live.take(RunEvent::Joined { alert });
        live
    }

    fn of(spec: &str, begins: Begins, rung: Rung) -> Self {
        let alert = !matches!(begins, Begins::Schedule);
        let desired =
            compiled(&(playbook("p", spec) + &playbook("sub", "  steps: [{name: look, script: scripts/look.sh}]")));
        let playbook = &desired.response.playbooks[&name("p")];
        let memory = firing("shop", at(0));
        let (id, seen) = (memory.alert.id.clone(), super::seen(&memory.alert));
        let cause = match begins {
            Begins::Alert => RunCause::Alert { alert: id.clone() },
            Begins::Schedule => RunCause::Schedule { due: at(0) },
            Begins::Call => RunCause::Call { run: RunId(0), step: StepRef { part: Part::Steps, index: 0 } },
        };
        let (teams, reach) = (BTreeMap::new(), BTreeMap::new());
        let world = World {
            response: &desired.response,
            resources: &desired.resources,
            reach: &reach,
            teams: &teams,
            fallback: None,
            resolve_delay: Period::from_secs(60),
        };
        let Answer::Runs { target, .. } = world.answered_by(playbook, None, &seen) else { panic!("nothing runs") };
        let asked = Asked {
            playbook,
            authority: &playbook.team,
            cause,
            target: target.clone(),
            policy: None,
            alert: if alert { seen } else { Value::Null },
            revision: &"a".repeat(40).parse().expect("a revision"),
            resolve_delay: world.resolve_delay,
            group: Labels::new(),
            only_pages: false,
        };
        let Opening::Open { mut event, .. } = super::open(&asked, &ResponseMemory::default(), at(0)) else {
            panic!("no run")
        };
        if let RunEvent::Opened { rung: begins, .. } = &mut *event {
            *begins = rung;
        }
        let run = Run::open(RunId(1), at(0), &event).expect("a run");
        let target = target.map(|id| TargetFacts {
            id,
            health: Health::Degraded,
            sync: Sync::Synced,
            since: at(0),
            replicas: 2,
            healthy: 1,
            dependencies_healthy: true,
            can_roll_back: false,
            unproven: false,
            rolling_back: false,
        });
        let alerts = if alert { BTreeMap::from([(id, memory)]) } else { BTreeMap::new() };
        Self {
            run,
            first: *event,
            log: Vec::new(),
            alerts,
            now: at(0),
            target,
            hold: None,
            cancelled: None,
            in_hand: true,
            progress: None,
            called: None,
            page: None,
            asks: false,
            revision: None,
        }
    }

    pub(super) fn next(&self) -> Next {
        let facts = Facts {
            now: self.now,
            alerts: &self.alerts,
            target: self.target.clone(),
            hold: self.hold.clone(),
            cancelled: self.cancelled.clone(),
            in_hand: self.in_hand,
            progress: self.progress.clone(),
            called: self.called,
            page: self.page,
            asks: self.asks,
            revision: self.revision.clone(),
        };
        next(&self.run, &facts)
    }

    pub(super) fn take(&mut self, event: RunEvent) {
        self.run.take(self.now, &event);
        self.log.push((self.now, event));
    }

    /// Writes down what is to be, until something is to be done or waited for.
    pub(super) fn settle(&mut self) -> Next {
        for _ in 0..1_000 {
            match self.next() {
                Next::Record(events) => events.into_iter().for_each(|event| self.take(event)),
                other => return other,
            }
        }
        panic!("it never settles")
    }

    /// The next attempt, begun: its step's name and which.
    pub(super) fn begins(&mut self) -> (String, u32) {
        match self.settle() {
            Next::Begin { step, attempt, deadline, .. } => {
                let key = Key(format!("{step:?}{attempt}"));
                self.take(RunEvent::StepBegun { step, attempt, key, deadline });
                (self.run.step(step).expect("a step").name.to_string(), attempt)
            }
            other => panic!("nothing begins: {other:?}"),
        }
    }

    pub(super) fn on(&self) -> Option<(StepRef, u32)> {
        self.run.steps.iter().find(|record| record.on.is_some()).map(|record| (record.step, record.attempts))
    }

    pub(super) fn ends(&mut self, outcome: StepOutcome) {
        let (step, attempt) = self.on().expect("a step is on");
        self.take(RunEvent::StepEnded { step, attempt, outcome, evidence: String::new() });
    }

    pub(super) fn does(&mut self, step: &str, outcome: StepOutcome) {
        assert_eq!(self.begins().0, step);
        self.ends(outcome);
    }

    pub(super) fn waits(&mut self) -> (Option<Timestamp>, String) {
        match self.settle() {
            Next::Wait { until, why } => (until, why),
            other => panic!("it does not wait: {other:?}"),
        }
    }

    pub(super) fn alert(&mut self, state: AlertState) {
        for memory in self.alerts.values_mut() {
            let memory = Arc::make_mut(memory);
            (memory.state, memory.since) = (state, self.now);
        }
    }

    pub(super) fn over(&mut self) -> (RunState, String) {
        assert_eq!(self.settle(), Next::Over);
        let (state, why, _) = self.run.ended.clone().expect("it is over");
        (state, why)
    }

    pub(super) fn accept_page(&mut self) {
        assert_eq!(self.begins().0, "call");
        self.page = Some(PageFacts { page: PageId(1), accepted: true, nobody: false });
    }

    pub(super) fn pass(&mut self, seconds: i64) {
        self.now = self.now.checked_add(SignedDuration::from_secs(seconds)).expect("a time");
    }
}

pub(super) fn done() -> StepOutcome {
    StepOutcome::Done { output: Value::Null }
}

pub(super) fn failed() -> StepOutcome {
    StepOutcome::Failed { error: "it broke".to_owned() }
}

fn unknown() -> StepOutcome {
    StepOutcome::Unknown { error: "the line was cut".to_owned() }
}

const ON: &str = "  on: {alert: {alertname: AppDown}}\n  target: app/{{ alert.labels.app }}\n";

#[test]
fn an_error_is_tried_again_with_a_doubled_wait_and_then_goes_to_otherwise() {
    let spec = format!("{ON}  steps: [{{name: look, script: scripts/look.sh, retry: {{attempts: 3, backoff: 5s}}}}]");
    let mut live = Live::answering(&spec, Rung::Steps);
    for (attempt, wait) in [(1, 5), (2, 10)] {
        assert_eq!(live.begins(), ("look".to_owned(), attempt));
        live.ends(failed());
        assert!(live.waits().1.contains("tried again"));
        live.pass(wait - 1);
        live.waits();
        live.pass(1);
    }
    assert_eq!(live.begins(), ("look".to_owned(), 3));
    live.ends(failed());
    assert_eq!(live.begins().0, "replace", "the default for an app");
    assert!(live.run.turned.as_ref().expect("turned").0.contains("it broke"));
}

#[test]
fn on_error_continue_goes_on_and_a_false_condition_passes_over() {
    let spec = format!(
        "{ON}  steps:\n    - {{name: look, script: scripts/look.sh, onError: continue}}\n    - {{name: never, script: scripts/look.sh, if: steps.look.state == 'done'}}\n    - {{name: blind, script: scripts/look.sh, if: steps.look.output.missing > 1, onError: continue}}\n    - {{name: last, script: scripts/look.sh}}"
    );
    let mut live = Live::answering(&spec, Rung::Steps);
    live.does("look", failed());
    assert_eq!(live.begins().0, "last");
    let records: Vec<bool> = live.run.steps.iter().map(|record| record.skipped.is_some()).collect();
    assert_eq!(records, [false, true, false, false]);
    assert!(matches!(&live.run.steps[2].outcome, Some(StepOutcome::Failed { error }) if error.contains("no value")));
}

#[test]
fn an_unknown_outcome_goes_to_otherwise_and_is_never_begun_again_unless_idempotent() {
    let step = |more: &str| {
        format!("{ON}  steps: [{{name: look, script: scripts/look.sh, retry: {{attempts: 5, backoff: 1s}}{more}}}]")
    };
    let mut live = Live::answering(&step(""), Rung::Steps);
    live.does("look", unknown());
    assert_eq!(live.begins().0, "replace");
    let mut live = Live::answering(&step(", idempotent: true"), Rung::Steps);
    live.does("look", unknown());
    live.waits();
    live.pass(1);
    assert_eq!(live.begins(), ("look".to_owned(), 2));
    // Being idempotent is worth one more attempt even without `retry`.
    let alone = format!("{ON}  steps: [{{name: look, script: scripts/look.sh, idempotent: true}}]");
    let mut live = Live::answering(&alone, Rung::Steps);
    live.does("look", unknown());
    live.pass(1);
    assert_eq!(live.begins(), ("look".to_owned(), 2));
    live.ends(unknown());
    assert_eq!(live.begins().0, "replace");
}

#[test]
fn what_a_dead_daemon_had_begun_is_of_unknown_outcome() {
    let mut live = Live::answering(&format!("{ON}  steps: [{{name: look, script: scripts/look.sh}}]"), Rung::Steps);
    live.begins();
    live.in_hand = false;
    assert_eq!(live.begins().0, "replace");
    assert!(matches!(&live.run.steps[0].outcome, Some(StepOutcome::Unknown { error }) if error.contains("ended")));
}

#[test]
fn an_action_ends_as_it_gets_on_and_at_its_deadline() {
    let spec = format!("{ON}  steps: [{{name: restart, action: app.restart, timeout: 30s}}]");
    let mut live = Live::answering(&spec, Rung::Steps);
    live.begins();
    live.in_hand = false;
    live.progress = Some(Progress::Going("1 of 2".to_owned()));
    assert_eq!(live.waits().1, "1 of 2");
    live.pass(30);
    live.settle();
    assert!(matches!(&live.run.steps[0].outcome, Some(StepOutcome::Failed { error }) if error.contains("within 30s")));
    for (progress, word) in
        [(Progress::Done(json!({"n": 1})), "proof"), (Progress::Failed("overtaken".to_owned()), "replace")]
    {
        let mut live = Live::answering(&spec, Rung::Steps);
        live.begins();
        live.progress = Some(progress);
        assert_eq!(live.begins().0, word);
    }
}

#[test]
fn proof_is_the_sources_word_held_for_the_quiet_time() {
    let spec = format!("{ON}  steps: [{{name: proof, wait: resolved, quiet: 1m, timeout: 3m}}]");
    let mut live = Live::answering(&spec, Rung::Steps);
    live.begins();
    live.waits();
    live.pass(170);
    live.alert(AlertState::Resolved);
    assert!(live.waits().1.contains("quiet"));
    // The deadline passes in the quiet time: what is over by then is proven by staying so.
    live.pass(59);
    live.waits();
    live.pass(1);
    assert_eq!(live.over().0, RunState::Resolved);
    let mut live = Live::answering(&spec, Rung::Steps);
    live.begins();
    live.alert(AlertState::Resolved);
    live.pass(30);
    live.alert(AlertState::Firing);
    assert!(live.waits().1.contains("0 of 1"), "it came back in the quiet time");
}

#[test]
fn before_it_calls_an_alert_unproven_it_asks_the_source() {
    let spec = format!("{ON}  steps: [{{name: proof, wait: resolved, timeout: 3m}}]");
    for (said, state) in [
        (AlertState::Resolved, Some(RunState::Resolved)),
        (AlertState::Silenced, Some(RunState::Cancelled)),
        (AlertState::Firing, None),
        (AlertState::Unknown, None),
    ] {
        let mut live = Live::answering(&spec, Rung::Steps);
        live.asks = true;
        live.begins();
        live.pass(180);
        let Next::Ask(alerts) = live.settle() else { panic!("it does not ask") };
        live.take(RunEvent::Asked { alert: alerts[0].clone(), state: said });
        match state {
            Some(state) => assert_eq!(live.over().0, state),
            None => assert_eq!(live.begins().0, "replace", "{said}"),
        }
    }
    // Expired is no proof: nobody said that it is over.
    let mut live = Live::answering(&spec, Rung::Steps);
    live.begins();
    live.alert(AlertState::Expired);
    live.pass(180);
    assert_eq!(live.begins().0, "replace");
    assert!(live.run.turned.as_ref().expect("turned").0.contains("no word from the source"));
}

#[test]
fn nothing_is_done_to_what_works_again() {
    let spec = format!("{ON}  steps: [{{name: restart, action: app.restart}}, {{name: proof, wait: resolved}}]");
    let mut live = Live::answering(&spec, Rung::Steps);
    live.alert(AlertState::Resolved);
    assert_eq!(live.begins().0, "proof");
    assert_eq!(live.over().0, RunState::Resolved);
    assert!(live.run.steps[0].skipped.as_ref().expect("skipped").contains("resolved"));
}

#[test]
fn the_ladder_begins_at_otherwise_and_then_only_pages() {
    let spec = format!("{ON}  steps: [{{name: restart, action: app.restart}}]");
    let mut live = Live::answering(&spec, Rung::Otherwise);
    live.does("replace", done());
    assert_eq!(live.begins().0, "proof");
    live.alert(AlertState::Resolved);
    assert_eq!(live.over().0, RunState::Replaced);
    let mut live = Live::answering(&spec, Rung::Page);
    live.accept_page();
    assert_eq!(live.over(), (RunState::Paged, "a person was called".to_owned()));
}

#[test]
fn expressions_know_where_a_run_began_and_that_it_turned() {
    let when = |rung: &str, turned: bool| format!("if: \"run.rung == '{rung}' && run.turned == {turned}\"");
    for (rung, word) in [(Rung::Steps, "steps"), (Rung::Otherwise, "otherwise")] {
        let spec = format!(
            "{ON}  steps: [{{name: first, script: scripts/look.sh, {}}}]\n  otherwise: [{{name: then, script: scripts/look.sh, {}}}]",
            when("steps", false),
            when(word, true),
        );
        let mut live = Live::answering(&spec, rung);
        if rung == Rung::Steps {
            live.does("first", StepOutcome::Failed { error: "it broke".to_owned() });
        }
        assert_eq!(live.begins().0, "then", "{word}");
    }
}

#[test]
fn the_default_replaces_only_what_is_unhealthy_for_a_reason_of_its_own() {
    let spec = format!("{ON}  steps: [{{name: look, script: scripts/look.sh}}]");
    for (health, dependencies) in [(Health::Healthy, true), (Health::Degraded, false)] {
        let mut live = Live::answering(&spec, Rung::Otherwise);
        let target = live.target.as_mut().expect("a target");
        (target.health, target.dependencies_healthy) = (health, dependencies);
        assert_eq!(live.begins().0, "proof");
    }
}

#[test]
fn a_page_ends_only_when_somebody_has_it() {
    let spec = format!("{ON}  steps: [{{name: call, page: {{}}}}]");
    let mut live = Live::answering(&spec, Rung::Page);
    live.begins();
    // Nothing was written down of it: it is begun again under the same number.
    assert!(matches!(live.settle(), Next::Begin { attempt: 1, .. }));
    live.page = Some(PageFacts { page: PageId(1), accepted: false, nobody: false });
    live.pass(1_000_000);
    assert!(live.waits().1.contains("no channel"));
    live.page = Some(PageFacts { page: PageId(1), accepted: false, nobody: true });
    assert_eq!(live.over().0, RunState::Failed);
}

#[test]
fn a_call_ends_as_the_called_run_does() {
    for (state, word) in [(RunState::Resolved, "proof"), (RunState::Failed, "replace"), (RunState::Paged, "replace")] {
        let desired = format!("{ON}  steps: [{{name: sub, playbook: sub}}]");
        let mut live = Live::answering(&desired, Rung::Steps);
        live.begins();
        live.called = Some(RunState::Waiting);
        live.waits();
        live.called = Some(state);
        assert_eq!(live.begins().0, word, "{state}");
    }
}

#[test]
fn a_cancelled_run_ends_before_its_next_step_and_not_in_the_middle_of_one() {
    let spec =
        format!("{ON}  steps: [{{name: look, script: scripts/look.sh}}, {{name: more, script: scripts/look.sh}}]");
    let mut live = Live::answering(&spec, Rung::Steps);
    live.begins();
    live.cancelled = Some("playbook p is gone".to_owned());
    live.waits();
    live.ends(done());
    assert_eq!(live.over(), (RunState::Cancelled, "playbook p is gone".to_owned()));
    // A wait holds nothing: it is broken off at once.
    let mut live = Live::answering(&format!("{ON}  steps: [{{name: idle, wait: {{for: 5m}}}}]"), Rung::Steps);
    live.begins();
    live.cancelled = Some("playbook p is gone".to_owned());
    assert_eq!(live.over(), (RunState::Cancelled, "playbook p is gone".to_owned()));
}

#[test]
fn a_condition_that_is_too_much_work_fails_its_step_and_freezes_nothing() {
    let sum = ["steps.look.output.o"; 4].join(" + ");
    let spec = format!(
        "{ON}  steps:\n    - {{name: look, script: scripts/look.sh}}\n    - {{name: more, script: scripts/look.sh, if: \"({sum}).all(x, ({sum}).all(y, x == y))\"}}"
    );
    let mut live = Live::answering(&spec, Rung::Steps);
    live.begins();
    live.ends(StepOutcome::Done { output: json!({ "o": vec![0; 1_000] }) });
    assert_eq!(live.begins().0, "replace");
    assert!(live.run.turned.as_ref().expect("turned").0.contains("too much work"), "{:?}", live.run.turned);
}

#[test]
fn no_wait_is_longer_than_all_steps_together() {
    let spec = format!("{ON}  limits: {{timeout: 1m}}\n  steps: [{{name: idle, wait: {{for: 20h}}}}]");
    let mut live = Live::answering(&spec, Rung::Steps);
    live.begins();
    live.waits();
    live.pass(61);
    assert_eq!(live.begins().0, "replace", "a person is not kept waiting for a day");
}

#[test]
fn time_that_is_up_ends_the_steps_and_not_the_paging() {
    let spec = format!(
        "{ON}  limits: {{timeout: 1m}}\n  steps: [{{name: look, script: scripts/look.sh}}, {{name: more, script: scripts/look.sh}}]"
    );
    let mut live = Live::answering(&spec, Rung::Steps);
    live.begins();
    live.pass(60);
    live.ends(done());
    assert_eq!(live.begins().0, "replace");
    assert!(live.run.turned.as_ref().expect("turned").0.contains("its time of 1m is up"));
}

#[test]
fn waits_for_health_for_a_time_and_until_something_is_so() {
    let spec = format!(
        "{ON}  steps:\n    - {{name: health, wait: healthy, quiet: 10s, timeout: 1m}}\n    - {{name: some, wait: {{for: 5s}}}}\n    - {{name: whole, wait: {{until: target.healthy == target.replicas}}, timeout: 20s}}"
    );
    let mut live = Live::answering(&spec, Rung::Steps);
    live.begins();
    assert!(live.waits().1.contains("Degraded"));
    live.pass(7);
    let target = live.target.as_mut().expect("a target");
    (target.health, target.since) = (Health::Healthy, live.now);
    assert!(live.waits().1.contains("for 10s"));
    live.pass(10);
    assert_eq!(live.begins().0, "some");
    live.pass(5);
    assert_eq!(live.begins().0, "whole");
    assert!(live.waits().1.contains("not true yet"));
    live.pass(20);
    assert_eq!(live.begins().0, "proof", "what works is not replaced");
}

#[test]
fn a_scheduled_run_has_no_alert_to_prove_and_pages_when_it_fails() {
    let spec = "  on: {schedule: \"0 3 * * *\"}\n  steps: [{name: look, script: scripts/look.sh}]";
    let mut live = Live::scheduled(spec);
    live.does("look", done());
    assert_eq!(live.over().0, RunState::Resolved);
    let mut live = Live::scheduled(spec);
    live.does("look", failed());
    live.accept_page();
    assert_eq!(live.over().0, RunState::Paged);
}

#[test]
fn a_run_in_a_rollback_only_proves() {
    let spec = format!("{ON}  steps: [{{name: restart, action: app.restart}}]");
    let mut live = Live::answering(&spec, Rung::Steps);
    live.target.as_mut().expect("a target").rolling_back = true;
    assert_eq!(live.begins().0, "proof");
    assert!(live.run.steps[0].skipped.as_ref().expect("skipped").contains("rolled back"));
}

#[test]
fn templates_are_filled_in_once_and_never_reach_where_they_must_not() {
    let spec = format!(
        "{ON}  steps:\n    - {{name: ask, http: {{method: POST, url: \"http://127.0.0.1:1/a/{{{{ alert.labels.evil }}}}\", body: '{{\"a\": \"{{{{ alert.labels.evil }}}}\"}}'}}}}"
    );
    let mut live = Live::answering(&spec, Rung::Steps);
    live.run.alert["labels"]["evil"] = "../x?y=\"1\"{{ 1 }}\n".into();
    let Next::Begin { order, .. } = live.settle() else { panic!("nothing begins") };
    let Order::Http { url, body, .. } = *order else { panic!("no request") };
    assert_eq!(url, "http://127.0.0.1:1/a/..%2Fx%3Fy%3D%221%22%7B%7B%201%20%7D%7D%0A");
    let body: Value = serde_json::from_str(&body.expect("a body")).expect("JSON still");
    assert_eq!(body["a"], "../x?y=\"1\"{{ 1 }}\n");
}
