//! Playbooks that call playbooks, several runs of one playbook, and who is called when monitoring or people are not there.

use std::sync::Arc;

use codeops::journal::Record;
use codeops_core::model::{
    Alert, AlertId, Fingerprint, Labels, PageEvent, PageId, PageOpened, RunCause, RunState, Signal, StepOutcome,
};

use super::alerts::{PEOPLE, begin, begin_with, begun, firing, labels, only_run, resolved};
use crate::support::flow::{Flow, app_with, path};
use crate::support::scripted_effects::Fare;

/// Answers AppDown by calling another, which has its own target, or its caller's.
fn calling(target: &str, called: &str) -> String {
    format!(
        "apiVersion: codeops/v1
kind: Playbook
metadata: {{name: app-down, team: core}}
spec:
  on: {{alert: {{alertname: AppDown}}}}
  {target}
  steps: [{{name: sub, playbook: sub}}, {{name: proof, wait: resolved, timeout: 3m}}]
  otherwise: [{{name: call, page: {{}}}}]
---
apiVersion: codeops/v1
kind: Playbook
metadata: {{name: sub, team: core}}
spec:
  {called}
  steps: [{{name: look, script: scripts/look.sh}}]
"
    )
}

const TARGET: &str = "target: app/{{ alert.labels.app }}";
const NO_TARGET: &str = "limits: {timeout: 10m}";

#[tokio::test(start_paused = true)]
async fn a_called_playbook_ends_with_its_steps_while_the_alert_fires_and_its_caller_proves() {
    for (target, called) in [(TARGET, NO_TARGET), (TARGET, TARGET), (NO_TARGET, NO_TARGET)] {
        let mut flow = Flow::new().await;
        begin_with(&mut flow, &["shop"], &calling(target, called)).await;
        flow.tell(vec![firing(&flow, "AppDown", "shop")]).await;
        flow.elapse(60).await;
        let runs = flow.runs().await;
        let (caller, child) = (&runs[0], &runs[1]);
        assert!(matches!(child.cause, RunCause::Call { run, .. } if run == caller.id));
        assert_eq!((child.state(), begun(child)), (RunState::Resolved, vec!["look".to_owned()]), "{child:#?}");
        assert_eq!((caller.state(), begun(caller)), (RunState::Waiting, vec!["sub".into(), "proof".into()]));
        flow.tell(vec![resolved(&flow, "AppDown", "shop")]).await;
        flow.elapse(30).await;
        assert_eq!(flow.runs().await[0].state(), RunState::Resolved);
        assert_eq!(flow.outside.count("webhook"), 0, "nobody is called");
    }
}

#[tokio::test(start_paused = true)]
async fn a_called_playbook_that_fails_leaves_the_call_to_its_caller() {
    let mut flow = Flow::new().await;
    begin_with(&mut flow, &["shop"], &calling(TARGET, NO_TARGET)).await;
    flow.outside.fares("scripts/look.sh", Fare::Failed);
    flow.tell(vec![firing(&flow, "AppDown", "shop")]).await;
    flow.elapse(60).await;
    let states: Vec<RunState> = flow.runs().await.iter().map(|run| run.state()).collect();
    assert_eq!(states, [RunState::Paged, RunState::Failed]);
    assert_eq!(flow.outside.count("webhook"), 1, "once, by the caller");
}

/// Whoever waits for them has called a person by then: what nobody waits for does nothing more, however deep, whoever forgot it.
#[tokio::test(start_paused = true)]
async fn what_was_called_does_nothing_more_once_no_caller_waits_for_it() {
    let called = |name: &str, on: &str, limit: &str, steps: &str| {
        format!(
            "---\napiVersion: codeops/v1\nkind: Playbook\nmetadata: {{name: {name}, team: core}}\nspec:\n  {on}\n  \
             {limit}\n  steps: [{steps}]\n"
        )
    };
    let on = "on: {alert: {alertname: AppDown}}\n  target: app/{{ alert.labels.app }}\n  otherwise: [{name: call, page: {}}]";
    let inner = "{name: look, script: scripts/look.sh}, {name: restart, action: app.restart}";
    let sub = |name: &str| format!("{{name: sub, playbook: {name}}}");
    let (short, long) = ("limits: {timeout: 6s}", "limits: {timeout: 10m}");
    let one = called("app-down", on, short, &sub("inner")) + &called("inner", "", long, inner);
    let three = called("app-down", on, short, &sub("mid"))
        + &called("mid", "", long, &sub("mid2"))
        + &called("mid2", "", long, &sub("inner"))
        + &called("inner", "", long, inner);
    for (playbooks, restarts) in [(&one, false), (&three, false), (&three, true)] {
        let mut flow = Flow::new().await;
        begin_with(&mut flow, &["shop"], playbooks).await;
        flow.outside.fares("scripts/look.sh", Fare::Slow(9));
        let before = flow.serving("shop");
        let made = flow.effects().len();
        flow.tell(vec![firing(&flow, "AppDown", "shop")]).await;
        flow.elapse(8).await;
        assert_eq!(flow.runs().await[0].state(), RunState::Paged);
        if restarts {
            flow.restart().await;
        }
        flow.elapse(120).await;
        let runs = flow.runs().await;
        let inner = runs.last().expect("a run");
        assert_eq!((begun(inner), flow.serving("shop")), (vec!["look".to_owned()], before), "{inner:#?}");
        assert_eq!(flow.effects().len(), made, "nothing is done behind the back of who was called");
        assert!(runs[1..].iter().all(|run| run.state().is_over()), "{runs:#?}");
        assert_eq!(flow.outside.count("webhook"), 1);
    }
}

fn one_at_a_time(target: &str, concurrency: &str) -> String {
    format!(
        "apiVersion: codeops/v1
kind: Playbook
metadata: {{name: app-down, team: core}}
spec:
  on: {{alert: {{alertname: AppDown}}}}
  {target}
  concurrency: {{{concurrency}}}
  steps: [{{name: look, script: scripts/look.sh, timeout: 2m}}, {{name: proof, wait: resolved, timeout: 3m}}]
"
    )
}

/// Nor once its caller's playbook is gone from the repository.
#[tokio::test(start_paused = true)]
async fn what_was_called_ends_with_the_playbook_that_called_it() {
    let acts = "{name: look, script: scripts/look.sh}, {name: restart, action: app.restart}";
    let both = calling(TARGET, NO_TARGET).replace("{name: look, script: scripts/look.sh}", acts);
    let mut flow = Flow::new().await;
    begin_with(&mut flow, &["shop"], &both).await;
    flow.outside.fares("scripts/look.sh", Fare::Slow(20));
    let made = flow.effects().len();
    flow.tell(vec![firing(&flow, "AppDown", "shop")]).await;
    flow.elapse(5).await;
    let only_called = both.split_once("---\n").expect("two manifests").1;
    flow.commit(&[("playbook.yaml", only_called)]).await;
    flow.elapse(120).await;
    let runs = flow.runs().await;
    assert!(runs.iter().all(|run| run.state() == RunState::Cancelled), "{runs:#?}");
    assert_eq!((begun(&runs[1]), flow.effects().len()), (vec!["look".to_owned()], made));
    assert_eq!(flow.outside.count("webhook"), 1, "and a person is called");
}

#[tokio::test(start_paused = true)]
async fn a_playbook_that_runs_once_at_a_time_does_so_across_targets_and_without_one() {
    for playbook in [one_at_a_time(TARGET, "per: playbook"), one_at_a_time(NO_TARGET, "whenBusy: queue")] {
        let mut flow = Flow::new().await;
        begin_with(&mut flow, &["shop", "auth"], &playbook).await;
        flow.outside.fares("scripts/look.sh", Fare::Slow(30));
        flow.tell(vec![firing(&flow, "AppDown", "shop"), firing(&flow, "AppDown", "auth")]).await;
        flow.elapse(20).await;
        assert_eq!((flow.runs().await.len(), flow.outside.count("scripts/look.sh")), (2, 1), "{playbook}");
        let first = flow.runs().await[0].alert.pointer("/labels/app").and_then(|app| app.as_str()).map(str::to_owned);
        flow.tell(vec![resolved(&flow, "AppDown", &first.unwrap())]).await;
        flow.elapse(120).await;
        assert_eq!(flow.outside.count("scripts/look.sh"), 2, "its turn comes");
    }
}

#[tokio::test(start_paused = true)]
async fn monitoring_that_does_not_answer_delays_the_page_of_many_alerts_by_seconds() {
    for fare in [Fare::Slow(5), Fare::Slow(600), Fare::Panics] {
        let mut flow = Flow::stopped(&["local"]);
        flow.responds.askable.insert("main".parse().unwrap());
        flow.start().await;
        begin_with(&mut flow, &["shop"], &calling(TARGET, NO_TARGET)).await;
        flow.outside.fares("ask", fare.clone());
        let Signal::Firing(alert) = firing(&flow, "AppDown", "shop") else { unreachable!() };
        let many = (0..200).map(|n| {
            let mut labels: Labels = labels("AppDown", "shop");
            labels.insert("zone".to_owned(), n.to_string());
            let id = AlertId { fingerprint: Fingerprint::of(&labels), ..alert.id.clone() };
            Signal::Firing(Arc::new(Alert { id, labels, ..(*alert).clone() }))
        });
        flow.tell(many.collect()).await;
        flow.elapse(180 + 30).await;
        let runs = flow.runs().await;
        assert_eq!(runs[0].alerts.len(), 200);
        assert_eq!(runs[0].state(), RunState::Paged, "{fare:?}: {:#?}", runs[0].steps);
    }
}

/// Whom nobody calls any more once they are gone.
const OTHERS: &str = "apiVersion: codeops/v1
kind: Receiver
metadata: {name: sunk, team: core}
spec: {webhook: {url: https://sunk.example/page}}
---
apiVersion: codeops/v1
kind: EscalationPolicy
metadata: {name: others, team: core}
spec: {levels: [{notify: [receiver/sunk]}]}
";

/// Nobody waits for the backoff of a way that is not there any more; and what is over by then is not said to fire.
#[tokio::test(start_paused = true)]
async fn a_channel_that_was_changed_is_tried_at_once_and_a_late_page_says_that_it_is_over() {
    for restart in [false, true] {
        let mut flow = Flow::new().await;
        begin_with(&mut flow, &["shop"], &calling(TARGET, NO_TARGET)).await;
        flow.outside.fares("webhook", Fare::Failed);
        flow.tell(vec![firing(&flow, "DiskFull", "shop")]).await;
        flow.elapse(1_300).await;
        flow.outside.fares("webhook", Fare::Done(serde_json::Value::Null));
        flow.tell(vec![resolved(&flow, "DiskFull", "shop")]).await;
        flow.elapse(5).await;
        let before = flow.outside.count("webhook");
        match restart {
            true => flow.restart().await,
            false => drop(flow.commit(&[("people.yaml", &PEOPLE.replace("example/page", "example/mended"))]).await),
        }
        flow.elapse(10).await;
        assert_eq!(flow.outside.count("webhook"), before + 1, "restart: {restart}");
        let page = flow.outside.bodies().into_iter().find(|body| body.contains("are over by now"));
        assert!(page.is_some(), "{:#?}", flow.outside.bodies());
    }
}

#[tokio::test(start_paused = true)]
async fn a_page_whose_policy_is_gone_goes_to_the_fallback_and_is_withdrawn_where_there_is_none() {
    let both = format!("{}---\n{OTHERS}", PEOPLE.replace("policy: people", "policy: others"));
    for fallback in [true, false] {
        let mut flow = Flow::stopped(&["local"]);
        if !fallback {
            flow.responds.fallback = None;
        }
        flow.start().await;
        begin_with(&mut flow, &["shop"], &calling(TARGET, NO_TARGET)).await;
        flow.commit(&[("people.yaml", &both)]).await;
        flow.elapse(5).await;
        flow.outside.fares("webhook", Fare::Failed);
        flow.tell(vec![firing(&flow, "DiskFull", "shop")]).await;
        flow.elapse(30).await;
        assert_eq!(flow.response().pages.len(), 1, "nobody has it yet");
        // Only the fallback's policy is left, and no route leads to it.
        let (people, _route) = PEOPLE.rsplit_once("---\n").expect("a route");
        flow.commit(&[("people.yaml", people)]).await;
        flow.elapse(30).await;
        let run = only_run(&flow).await;
        assert_eq!((flow.response().pages.len(), run.state().is_over()), (usize::from(fallback), !fallback));
        flow.outside.fares("webhook", Fare::Done(serde_json::Value::Null));
        flow.elapse(600).await;
        let expected = if fallback { RunState::Paged } else { RunState::Failed };
        assert_eq!(only_run(&flow).await.state(), expected);
        assert!(flow.response().pages.is_empty(), "none stays open for ever");
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_is_first_told_of_an_alert_when_it_is_over_gets_no_second_message() {
    let mut flow = Flow::new().await;
    begin_with(&mut flow, &["shop"], "").await;
    let Signal::Firing(alert) = firing(&flow, "DiskFull", "shop") else { unreachable!() };
    flow.tell(vec![Signal::Firing(Arc::clone(&alert))]).await;
    flow.tell(vec![resolved(&flow, "DiskFull", "shop")]).await;
    flow.elapse(20).await;
    assert_eq!(flow.outside.count("webhook"), 0, "it was over before its turn");
    // A page that was opened just before its alert was over.
    let event = PageEvent::Opened(PageOpened {
        policy: "people".parse().ok(),
        title: "DiskFull".to_owned(),
        body: "It is full.".to_owned(),
        alerts: vec![alert.id.clone()],
        ..PageOpened::default()
    });
    let page = Record::Page { page: PageId(1), event };
    codeops::journal::Log::append(&*flow.log, vec![page]).await.expect("it is taken");
    flow.elapse(600).await;
    assert_eq!((flow.outside.count("webhook"), flow.outside.count("webhook over")), (1, 0));
    assert!(flow.response().calls.is_empty(), "and nothing is left to tell");
}

/// People may keep a target still for weeks; what is about others must not wait for them, and nobody would be told.
#[tokio::test(start_paused = true)]
async fn a_run_whose_target_was_suspended_holds_up_no_other_of_its_playbook() {
    for busy in ["join", "skip", "queue"] {
        let playbook = one_at_a_time(TARGET, &format!("per: playbook, whenBusy: {busy}"));
        let mut flow = Flow::new().await;
        begin_with(&mut flow, &["shop", "auth"], &playbook).await;
        flow.outside.fares("scripts/look.sh", Fare::Slow(30));
        flow.tell(vec![firing(&flow, "AppDown", "shop")]).await;
        flow.elapse(5).await;
        flow.commit(&[(&path("shop"), &app_with("shop", "v1", "", "replicas: 2, suspend: true, "))]).await;
        flow.elapse(5).await;
        flow.tell(vec![firing(&flow, "AppDown", "auth")]).await;
        flow.elapse(60).await;
        let looks = flow.runs().await.iter().filter(|run| begun(run).contains(&"look".to_owned())).count();
        assert_eq!(looks, 2, "{busy}: {:#?}", flow.runs().await);
    }
}

/// A defect of ours in one effect is that effect's end, and not the run's or the page's.
#[tokio::test(start_paused = true)]
async fn an_effect_that_panics_ends_its_step_and_a_page_is_sent_again() {
    let mut flow = Flow::new().await;
    begin_with(&mut flow, &["shop"], &one_at_a_time(TARGET, "per: target")).await;
    flow.outside.fares("scripts/look.sh", Fare::Panics);
    flow.outside.fares("webhook", Fare::Panics);
    flow.tell(vec![firing(&flow, "AppDown", "shop")]).await;
    flow.elapse(600).await;
    let run = only_run(&flow).await;
    assert!(matches!(run.steps[0].outcome, Some(StepOutcome::Unknown { .. })), "{run:#?}");
    flow.outside.fares("webhook", Fare::Done(serde_json::Value::Null));
    flow.elapse(900).await;
    assert_eq!(only_run(&flow).await.state(), RunState::Paged, "{:#?}", only_run(&flow).await);
    assert!(flow.outside.count("webhook") >= 2, "what panicked is not taken for accepted");
}

/// Each has failed so often that its own next try is minutes away.
#[tokio::test(start_paused = true)]
async fn once_a_channel_accepts_a_page_the_others_that_wait_for_it_are_sent_at_once() {
    let mut flow = Flow::new().await;
    begin(&mut flow, &["shop"]).await;
    flow.outside.fares("webhook", Fare::Failed);
    for app in ["a", "b", "c"] {
        flow.tell(vec![firing(&flow, "DiskFull", app)]).await;
        flow.elapse(45).await;
    }
    flow.elapse(3_000).await;
    assert_eq!(flow.response().pages.len(), 3);
    flow.outside.fares("webhook", Fare::Done(serde_json::Value::Null));
    let mut waited = 0;
    while flow.response().pages.len() == 3 {
        flow.elapse(1).await;
        waited += 1;
        assert!(waited < 400, "the next try comes");
    }
    flow.elapse(3).await;
    assert_eq!(flow.response().pages.len(), 0, "none waits for its own");
}
