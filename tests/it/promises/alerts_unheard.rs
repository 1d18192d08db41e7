//! Alerts that nobody would hear of, or hear of twice: what comes back while a page is out, and what changes under it.

use codeops::journal::Record;
use codeops_core::model::{PageEvent, RunState};
use serde_json::Value;

use super::alerts::{APP_DOWN, PEOPLE, begin, begin_with, firing, only_run, resolved};
use crate::support::flow::Flow;
use crate::support::scripted_effects::Fare;

/// What a page begins with whose alerts are over.
const LATE: &str = "are over by now";

/// Answers AppDown with these steps, on its app where `target` says so.
fn with(steps: &str, target: bool) -> String {
    let target = if target { "  target: app/{{ alert.labels.app }}\n" } else { "" };
    format!(
        "apiVersion: codeops/v1\nkind: Playbook\nmetadata: {{name: app-down, team: core}}\nspec:\n  \
         on: {{alert: {{alertname: AppDown}}}}\n{target}  steps:\n{steps}"
    )
}

/// How many pages were opened.
fn opened(flow: &Flow) -> usize {
    flow.records(|record| matches!(record, Record::Page { event: PageEvent::Opened(_), .. }).then_some(())).len()
}

/// What was sent last is what its channel took.
#[tokio::test(start_paused = true)]
async fn who_was_told_that_it_is_over_is_called_when_it_came_back_before_they_accepted() {
    let mut flow = Flow::new().await;
    let steps = "    - {name: call, page: {}}\n    - {name: proof, wait: resolved, timeout: 30m}\n";
    begin_with(&mut flow, &["shop"], &with(steps, true)).await;
    flow.outside.fares("webhook", Fare::Failed);
    flow.tell(vec![firing(&flow, "AppDown", "shop")]).await;
    flow.elapse(20).await;
    flow.tell(vec![resolved(&flow, "AppDown", "shop")]).await;
    flow.outside.fares("webhook", Fare::Slow(6));
    let is_late = |flow: &Flow| flow.outside.bodies().last().is_some_and(|body| body.contains(LATE));
    for _ in 0..60 {
        if is_late(&flow) {
            break;
        }
        flow.elapse(1).await;
    }
    assert!(is_late(&flow), "{:#?}", flow.outside.bodies());
    flow.tell(vec![firing(&flow, "AppDown", "shop")]).await;
    flow.elapse(2).await;
    flow.outside.fares("webhook", Fare::Done(Value::Null));
    flow.elapse(8).await;
    assert!(!is_late(&flow), "nobody knows that it fires: {:#?}", flow.outside.bodies());
    assert_eq!((flow.response().pages.len(), flow.response().calls.len(), opened(&flow)), (0, 1, 1));
}

/// Nobody can be told, so that each run waits in its call: what it tried did not hold all the same.
#[tokio::test(start_paused = true)]
async fn what_comes_and_goes_without_a_target_is_not_tried_each_time_while_its_calls_wait() {
    let mut flow = Flow::new().await;
    let steps = "    - {name: look, script: scripts/look.sh, timeout: 30s}\n    - {name: proof, wait: resolved, timeout: 45s}\n";
    begin_with(&mut flow, &["shop"], &with(steps, false)).await;
    flow.outside.fares("webhook", Fare::Failed);
    for _ in 0..6 {
        flow.tell(vec![firing(&flow, "AppDown", "shop")]).await;
        flow.elapse(60).await;
        flow.tell(vec![resolved(&flow, "AppDown", "shop")]).await;
        flow.elapse(30).await;
    }
    assert_eq!(flow.outside.count("scripts/look.sh"), 1);
    assert_eq!(opened(&flow), 3, "the third latches, and tells of what comes back");
}

#[tokio::test(start_paused = true)]
async fn a_playbook_that_goes_while_its_page_is_out_calls_nobody_anew() {
    for accepted in [true, false] {
        let mut flow = Flow::new().await;
        let wait = "    - {name: call, page: {}}\n    - {name: settle, wait: {for: 10m}}\n";
        begin_with(&mut flow, &["shop"], &with(wait, true)).await;
        if !accepted {
            flow.outside.fares("webhook", Fare::Failed);
        }
        flow.tell(vec![firing(&flow, "AppDown", "shop")]).await;
        flow.elapse(20).await;
        let renamed = APP_DOWN.replace("app-down", "renamed").replace("AppDown", "Else");
        flow.commit(&[("playbook.yaml", &renamed)]).await;
        flow.elapse(20).await;
        flow.outside.fares("webhook", Fare::Done(Value::Null));
        flow.elapse(400).await;
        assert_eq!(opened(&flow), 1, "accepted: {accepted}");
        let run = only_run(&flow).await;
        assert_eq!(run.state(), RunState::Paged, "{run:#?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_reached_nobody_is_answered_anew_once_somebody_can_be_told() {
    let mut flow = Flow::stopped(&["local"]);
    flow.responds.fallback = None;
    flow.start().await;
    begin(&mut flow, &["shop"]).await;
    let route = |groups: &str| {
        let (_, route) = PEOPLE.rsplit_once("---\n").expect("a route");
        route.replace("{policy: people}", &format!("{{groupBy: [{groups}]}}"))
    };
    flow.commit(&[("people.yaml", &route("app"))]).await;
    flow.elapse(5).await;
    flow.tell(vec![firing(&flow, "DiskFull", "shop")]).await;
    flow.elapse(30).await;
    assert_eq!(only_run(&flow).await.state(), RunState::Failed);
    // What tells nobody either is no reason to try again.
    flow.commit(&[("people.yaml", &route("alertname"))]).await;
    flow.elapse(30).await;
    assert_eq!((flow.runs().await.len(), flow.outside.count("webhook")), (1, 0));
    for groups in ["", "groupBy: [app], "] {
        let people = PEOPLE.replace("{policy: people}", &format!("{{{groups}policy: people}}"));
        flow.commit(&[("people.yaml", &people)]).await;
        flow.elapse(30).await;
        assert_eq!((flow.runs().await.len(), flow.outside.count("webhook")), (2, 1), "once");
    }
}

/// Which teams it was for is not known any more.
#[tokio::test(start_paused = true)]
async fn what_a_receiver_brought_that_is_gone_starts_no_playbook() {
    let mut flow = Flow::stopped(&["local"]);
    flow.start().await;
    begin(&mut flow, &["shop"]).await;
    let maintained = PEOPLE.replace(
        "{route: {policy: people}}",
        "{route: {policy: people}, maintenance: [{match: ['app=\"shop\"'], from: 2023-11-14T00:00:00Z, \
         until: 2023-11-30T00:00:00Z, reason: new disks}]}",
    );
    flow.commit(&[("people.yaml", &maintained)]).await;
    flow.elapse(5).await;
    flow.tell(vec![firing(&flow, "AppDown", "shop")]).await;
    flow.elapse(5).await;
    flow.responds.senders.clear();
    flow.reload().await;
    flow.elapse(20).await;
    flow.commit(&[("people.yaml", PEOPLE)]).await;
    flow.elapse(30).await;
    assert_eq!((flow.outside.count("scripts/look.sh"), flow.outside.count("webhook")), (0, 1));
    assert_eq!(only_run(&flow).await.playbook.name.as_str(), "codeops-barred");
}
