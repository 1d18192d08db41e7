//! Runs, driven one look at a time over facts that each test gives.

mod answers;
mod attempts;
mod busy;
mod held;
mod ladder;
mod latch;
mod open;
mod people;
mod proof;
mod queued;
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
    let file = File::new("1", text.into_bytes());
    let script = File::new("2", b"#!/bin/sh\n".to_vec());
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
        asked: false,
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
    pub(super) looks_since: Timestamp,
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
        let Answer::Runs { target, .. } = world.answered_by(playbook, None, None, &seen) else {
            panic!("nothing runs")
        };
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
            owner: None,
            only_pages: false,
        };
        let Opening::Open { mut event, .. } = super::open(&asked, &ResponseMemory::default(), at(0), &|_| false) else {
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
            looks_since: at(0),
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
            looks_since: self.looks_since,
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
fn templates_are_filled_in_once_and_never_reach_where_they_must_not() {
    let spec = format!(
        "{ON}  steps:\n    - {{name: ask, http: {{method: POST, url: \"http://127.0.0.1:1/a/{{{{ alert.labels.evil }}}}\", body: '{{\"a\": \"{{{{ alert.labels.evil }}}}\"}}'}}}}"
    );
    let mut live = Live::answering(&spec, Rung::Steps);
    live.run.alert["labels"]["evil"] = "a/x?y=\"1\"{{ 1 }}\n".into();
    let Next::Begin { order, .. } = live.settle() else { panic!("nothing begins") };
    let Order::Http { url, body, .. } = *order else { panic!("no request") };
    assert_eq!(url, "http://127.0.0.1:1/a/a%2Fx%3Fy%3D%221%22%7B%7B%201%20%7D%7D%0A");
    let body: Value = serde_json::from_str(&body.expect("a body")).expect("JSON still");
    assert_eq!(body["a"], "a/x?y=\"1\"{{ 1 }}\n");
}

#[test]
fn no_value_chooses_another_place_in_a_url() {
    let spec = |path: &str| {
        format!("{ON}  steps:\n    - {{name: ask, http: {{method: DELETE, url: \"http://127.0.0.1:1{path}\"}}}}")
    };
    let asked = |path: &str, host: &str| {
        let mut live = Live::answering(&spec(path), Rung::Steps);
        live.run.alert["labels"]["host"] = host.into();
        match live.settle() {
            Next::Begin { order, .. } => match *order {
                Order::Http { url, .. } => Some(url),
                _ => None,
            },
            _ => None,
        }
    };
    let (inside, last) = ("/hosts/{{ alert.labels.host }}/cache", "/hosts/{{ alert.labels.host }}");
    for (path, host) in
        [(inside, ".."), (inside, "."), (inside, ""), (last, ".."), (last, ""), ("/a/.{{ alert.labels.host }}", ".")]
    {
        assert_eq!(asked(path, host), None, "{path} with `{host}`");
    }
    // Servers decode before they normalise.
    for host in ["../../admin/users", "..\\x", "a/../b", "x/.", "/", "//"] {
        for path in [inside, last] {
            assert_eq!(asked(path, host), None, "{path} with `{host}`");
        }
    }
    assert_eq!(asked("/a/.{{ alert.labels.host }}", "./b"), None);
    assert_eq!(asked("/a%2f.{{ alert.labels.host }}", "."), None);
    for (path, host, url) in [
        (inside, "a.b", "/hosts/a.b/cache"),
        (inside, "a/b", "/hosts/a%2Fb/cache"),
        (inside, "/var/lib/..x", "/hosts/%2Fvar%2Flib%2F..x/cache"),
        ("/hosts?of={{ alert.labels.host }}", "..", "/hosts?of=.."),
        ("/a//b/../{{ alert.labels.host }}", "c", "/a//b/../c"),
    ] {
        assert_eq!(asked(path, host).as_deref(), Some(format!("http://127.0.0.1:1{url}").as_str()));
    }
}
