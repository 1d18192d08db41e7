//! Alerts on what a run is on already: whom they are told to, and what a page says of them.

use std::sync::Arc;

use codeops_core::model::{Alert, AlertId, Fingerprint, RunState, Signal};

use super::alerts::{APP_DOWN, PEOPLE, begin_with, firing, labels, resolved};
use crate::support::flow::Flow;

/// Beside the chat of all, a pager for what is critical, which no step names.
const PAGER: &str = "---
apiVersion: codeops/v1
kind: Receiver
metadata: {name: pager, team: core}
spec: {pagerduty: {routingKey: pager-key}}
---
apiVersion: codeops/v1
kind: EscalationPolicy
metadata: {name: pagers, team: core}
spec: {levels: [{notify: [receiver/pager]}]}
";

/// Where what is critical goes.
const ROUTES: &str = "route: {policy: people, routes: [{match: ['severity=\"critical\"'], policy: pagers}]}";

/// A second playbook on the same apps, whose own steps page this policy.
fn answers_too(policy: &str) -> String {
    let steps = format!("  otherwise: [{{name: call, page: {{policy: {policy}}}}}]\n");
    format!("{}{steps}", APP_DOWN.replace("app-down", "app-slow").replace("AppDown", "AppSlow"))
}

async fn paging(routes: &str, playbooks: &str) -> Flow {
    let mut flow = Flow::new().await;
    let secret = codeops_core::config::SecretSettings {
        source: codeops_core::config::SecretSource::Env("PAGER".to_owned()),
        teams: vec!["core".parse().expect("a name")],
    };
    flow.vault = crate::support::flow::secrets(
        [("pager-key".parse().expect("a name"), secret)].into(),
        [("PAGER".to_owned(), "key".to_owned())].into(),
    );
    flow.restart().await;
    begin_with(&mut flow, &["shop"], APP_DOWN).await;
    let people = format!("{}{PAGER}", PEOPLE.replace("route: {policy: people}", routes));
    flow.commit(&[("people.yaml", &people), ("playbook.yaml", playbooks)]).await;
    flow.elapse(5).await;
    flow
}

/// The alert with this severity.
fn told(flow: &Flow, name: &str, severity: &str) -> Signal {
    let Signal::Firing(alert) = firing(flow, name, "shop") else { unreachable!() };
    let mut labels = labels(name, "shop");
    labels.insert("severity".to_owned(), severity.to_owned());
    let id = AlertId { fingerprint: Fingerprint::of(&labels), ..alert.id.clone() };
    Signal::Firing(Arc::new(Alert { id, labels, ..(*alert).clone() }))
}

/// The same alert, over.
fn over(flow: &Flow, signal: &Signal) -> Signal {
    let Signal::Firing(alert) = signal else { unreachable!() };
    let (source, fingerprint) = (alert.id.source.clone(), alert.id.fingerprint.clone());
    Signal::Resolved { source, fingerprint, starts_at: None, ended_at: flow.clock.now(), name: None }
}

#[tokio::test(start_paused = true)]
async fn what_comes_while_a_run_is_on_is_told_to_those_whom_its_own_route_names() {
    let mut flow = paging(ROUTES, APP_DOWN).await;
    flow.tell(vec![told(&flow, "AppDown", "warning")]).await;
    flow.elapse(2).await;
    flow.tell(vec![told(&flow, "AppDown", "critical")]).await;
    flow.restart().await;
    flow.elapse(1_200).await;
    assert_eq!((flow.outside.count("webhook"), flow.outside.count("pagerduty")), (1, 1), "a page for each policy");
    assert_eq!(flow.outside.count("scripts/look.sh"), 1, "and nothing is tried twice");
    let pager = flow.outside.bodies().into_iter().find(|body| body.contains("severity: critical"));
    assert!(pager.is_some(), "{:?}", flow.outside.bodies());
    flow.check();
}

#[tokio::test(start_paused = true)]
async fn what_is_over_with_the_run_before_it_is_told_to_nobody() {
    let flow = paging(ROUTES, APP_DOWN).await;
    let both = [told(&flow, "AppDown", "warning"), told(&flow, "AppDown", "critical")];
    for signal in &both {
        flow.tell(vec![signal.clone()]).await;
        flow.elapse(2).await;
    }
    flow.elapse(30).await;
    flow.tell(both.iter().map(|signal| over(&flow, signal)).collect()).await;
    flow.elapse(1_200).await;
    let states: Vec<RunState> = flow.runs().await.iter().map(|run| run.state()).collect();
    assert_eq!(states, [RunState::Resolved, RunState::Resolved]);
    assert_eq!((flow.outside.count("webhook"), flow.outside.count("pagerduty")), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn another_playbook_that_pages_others_has_its_own_say_and_one_that_pages_the_same_joins() {
    for (policy, pagers) in [("pagers", 1), ("people", 0)] {
        let playbooks = format!("{APP_DOWN}---\n{}", answers_too(policy));
        let flow = paging("route: {policy: people}", &playbooks).await;
        flow.tell(vec![firing(&flow, "AppDown", "shop")]).await;
        flow.elapse(2).await;
        flow.tell(vec![firing(&flow, "AppSlow", "shop")]).await;
        flow.elapse(1_200).await;
        assert_eq!((flow.outside.count("webhook"), flow.outside.count("pagerduty")), (1, pagers), "{policy}");
        flow.tell(vec![resolved(&flow, "AppDown", "shop"), resolved(&flow, "AppSlow", "shop")]).await;
        flow.elapse(60).await;
        assert_eq!(flow.outside.count("pagerduty over"), pagers);
    }
}

#[tokio::test(start_paused = true)]
async fn a_page_of_several_shows_the_highest_severity_and_what_they_differ_by() {
    let flow = paging("route: {policy: people}", APP_DOWN).await;
    flow.tell(vec![told(&flow, "AppDown", "warning")]).await;
    flow.elapse(2).await;
    flow.tell(vec![told(&flow, "AppDown", "critical")]).await;
    flow.elapse(1_200).await;
    let bodies = flow.outside.bodies();
    assert_eq!(bodies.len(), 1, "{bodies:?}");
    assert!(bodies[0].starts_with("The highest severity of its 2 alerts is critical.\n"), "{}", bodies[0]);
    assert!(bodies[0].contains("app: shop (x2: severity=critical; severity=warning)"), "{}", bodies[0]);
}

#[tokio::test(start_paused = true)]
async fn what_is_worse_than_what_a_person_was_called_for_calls_though_the_run_goes_on() {
    let playbook = "apiVersion: codeops/v1
kind: Playbook
metadata: {name: app-down, team: core}
spec:
  on: {alert: {alertname: AppDown}}
  target: app/{{ alert.labels.app }}
  steps:
    - {name: early, page: {policy: people}}
    - {name: proof, wait: resolved, timeout: 5m}
";
    let flow = paging("route: {policy: people}", playbook).await;
    for (severity, pages) in [("warning", 1), ("info", 1), ("critical", 2)] {
        flow.tell(vec![told(&flow, "AppDown", severity)]).await;
        flow.elapse(5).await;
        assert_eq!(flow.outside.count("webhook"), pages, "{severity}");
    }
}
