//! Alerts beside runs that answer none, after a page, and after whoever was to be told is gone: none is lost, and each is heard.

use codeops_core::model::{RunCause, RunState};

use super::alerts::{APP_DOWN, PEOPLE, begin_with, firing};
use crate::support::flow::{Flow, REPOSITORY};
use crate::support::scripted_effects::Fare;

/// Run on another app by the one that answers Leak; it looks for a minute.
const CALLS: &str = "---
apiVersion: codeops/v1
kind: Playbook
metadata: {name: leak, team: core}
spec:
  on: {alert: {alertname: Leak}}
  target: app/{{ alert.labels.app }}
  steps: [{name: sub, playbook: drain}]
---
apiVersion: codeops/v1
kind: Playbook
metadata: {name: drain, team: core}
spec:
  target: app/auth
  steps: [{name: look, script: scripts/look.sh, timeout: 2m}]
";

/// Due every five minutes; it waits for an hour.
const DRILL: &str = "---
apiVersion: codeops/v1
kind: Playbook
metadata: {name: drill, team: core}
spec:
  on: {schedule: \"*/5 * * * *\"}
  target: app/shop
  limits: {timeout: 2h}
  steps: [{name: rest, wait: {for: 1h}}]
";

#[tokio::test(start_paused = true)]
async fn an_alert_on_what_a_called_run_acts_on_is_answered_after_it() {
    let mut flow = Flow::new().await;
    begin_with(&mut flow, &["shop", "auth"], &format!("{APP_DOWN}{CALLS}")).await;
    flow.outside.fares("scripts/look.sh", Fare::Slow(60));
    flow.tell(vec![firing(&flow, "Leak", "shop")]).await;
    flow.elapse(5).await;
    flow.tell(vec![firing(&flow, "AppDown", "auth")]).await;
    flow.elapse(5).await;
    let runs = flow.runs().await;
    assert_eq!((runs.len(), flow.outside.count("scripts/look.sh")), (3, 1), "its own waits its turn: {runs:#?}");
    assert!(matches!(runs[1].cause, RunCause::Call { .. }) && runs[2].playbook.name.as_str() == "app-down");
    flow.elapse(75).await;
    assert_eq!(flow.outside.count("scripts/look.sh"), 2, "its own playbook looks, too");
    flow.elapse(1_800).await;
    assert!(flow.outside.bodies().iter().any(|body| body.contains("AppDown")), "{:?}", flow.outside.bodies());
}

#[tokio::test(start_paused = true)]
async fn an_alert_behind_a_scheduled_run_calls_a_person_after_two_minutes_and_at_once_in_a_freeze() {
    let freeze = REPOSITORY.replace("spec: {", "spec: {resolveDelay: 30s, freeze: {what: all, reason: night}, ");
    for frozen in [false, true] {
        let mut flow = Flow::new().await;
        begin_with(&mut flow, &["shop"], &format!("{APP_DOWN}{DRILL}")).await;
        flow.elapse(305).await;
        assert_eq!(flow.runs().await.len(), 1, "the drill is on");
        flow.tell(vec![firing(&flow, "AppDown", "shop")]).await;
        flow.elapse(if frozen { 20 } else { 100 }).await;
        assert_eq!((flow.runs().await.len(), flow.outside.count("webhook")), (2, 0), "it waits its turn");
        if frozen {
            flow.commit(&[("codeops.yaml", &freeze)]).await;
            flow.elapse(5).await;
        } else {
            flow.elapse(40).await;
        }
        assert_eq!(flow.outside.count("webhook"), 1, "frozen {frozen}");
        let bodies = flow.outside.bodies();
        assert!(bodies[0].contains("alertname: AppDown") && bodies[0].contains("app: shop"), "{bodies:?}");
        assert_eq!(flow.runs().await[1].state(), RunState::Paged);
    }
}

#[tokio::test(start_paused = true)]
async fn what_comes_while_nobody_has_accepted_a_page_is_in_one_itself() {
    let other = APP_DOWN.replace("app-down", "app-slow").replace("AppDown", "AppSlow");
    let mut flow = Flow::new().await;
    begin_with(&mut flow, &["shop"], &format!("{APP_DOWN}---\n{other}")).await;
    flow.outside.fares("webhook", Fare::Failed);
    flow.outside.fares("scripts/look.sh", Fare::Failed);
    flow.tell(vec![firing(&flow, "AppDown", "shop")]).await;
    flow.elapse(400).await;
    assert_eq!(flow.response().pages.len(), 1);
    flow.tell(vec![firing(&flow, "AppSlow", "shop")]).await;
    flow.elapse(5).await;
    flow.outside.fares("webhook", Fare::Done(serde_json::Value::Null));
    flow.elapse(900).await;
    assert!(flow.response().pages.is_empty() && flow.response().runs.is_empty());
    assert!(flow.outside.bodies().iter().any(|body| body.contains("AppSlow")), "{:?}", flow.outside.bodies());
}

#[tokio::test(start_paused = true)]
async fn a_page_whose_policy_is_deleted_goes_on_by_whoever_answers_now() {
    let own = "---\napiVersion: codeops/v1\nkind: Receiver\nmetadata: {name: chat, team: core}\n\
               spec: {slack: {url: https://chat.example/own}}\n---\n\
               apiVersion: codeops/v1\nkind: EscalationPolicy\nmetadata: {name: own, team: core}\n\
               spec: {levels: [{notify: [receiver/chat]}]}\n";
    let mut flow = Flow::new().await;
    begin_with(&mut flow, &["shop"], APP_DOWN).await;
    flow.outside.fares("webhook", Fare::Failed);
    flow.tell(vec![firing(&flow, "DiskFull", "shop")]).await;
    flow.elapse(10).await;
    assert_eq!(flow.response().pages.len(), 1);
    let route = PEOPLE.split("---\n").last().expect("a route").replace("people", "own");
    flow.commit(&[("people.yaml", &(route + own))]).await;
    flow.elapse(60).await;
    assert_eq!(flow.outside.count("slack"), 1);
    assert_eq!(flow.runs().await[0].state(), RunState::Paged, "{:#?}", flow.runs().await);
}
