//! Runs that wait for their turn, and what was ahead of them.

use std::sync::Arc;

use codeops_core::model::{Alert, AlertId, Disposition, Fingerprint, Run, RunState, Signal};

use super::alerts::{PEOPLE, begin_with, begun, firing, labels, resolved};
use crate::support::flow::Flow;
use crate::support::scripted_effects::Fare;

const QUEUES: &str = "apiVersion: codeops/v1
kind: Playbook
metadata: {name: slow, team: core}
spec:
  on: {alert: {alertname: Slow}}
  concurrency: {whenBusy: queue}
  steps: [{name: look, script: scripts/look.sh, timeout: 2m}, {name: proof, wait: resolved, timeout: 2m}]
";

/// Slow of app t5, and one of the same group with a label more; the first takes half a minute to look.
async fn two_of_a_group(flow: &mut Flow, look: Fare) -> Signal {
    begin_with(flow, &["shop"], QUEUES).await;
    let people = PEOPLE.replace("route: {policy: people}", "route: {policy: people, groupBy: [alertname, app]}");
    flow.commit(&[("people.yaml", &people)]).await;
    flow.elapse(5).await;
    flow.outside.fares("scripts/look.sh", look);
    flow.tell(vec![firing(flow, "Slow", "t5")]).await;
    flow.elapse(5).await;
    let Signal::Firing(alert) = firing(flow, "Slow", "t5") else { unreachable!() };
    let mut more = labels("Slow", "t5");
    more.insert("x".to_owned(), "2".to_owned());
    let id = AlertId { fingerprint: Fingerprint::of(&more), ..alert.id.clone() };
    let second = Signal::Firing(Arc::new(Alert { id, labels: more, ..(*alert).clone() }));
    flow.tell(vec![second.clone()]).await;
    flow.elapse(5).await;
    let runs = flow.runs().await;
    assert_eq!((runs.len(), runs[1].state(), begun(&runs[1]).len()), (2, RunState::Waiting, 0), "it is queued");
    second
}

fn over(flow: &Flow, signal: &Signal) -> Signal {
    let Signal::Firing(alert) = signal else { unreachable!() };
    let (source, fingerprint) = (alert.id.source.clone(), alert.id.fingerprint.clone());
    Signal::Resolved { source, fingerprint, starts_at: None, ended_at: flow.clock.now(), name: None }
}

async fn run_of(flow: &Flow, nth: usize) -> Arc<Run> {
    Arc::clone(&flow.runs().await[nth])
}

#[tokio::test(start_paused = true)]
async fn what_is_queued_joins_the_page_of_what_was_ahead_of_it_and_nothing_is_tried_behind_their_back() {
    let mut flow = Flow::new().await;
    let second = two_of_a_group(&mut flow, Fare::Slow(30)).await;
    flow.elapse(300).await;
    let (first, queued) = (run_of(&flow, 0).await, run_of(&flow, 1).await);
    assert_eq!((first.state(), queued.state()), (RunState::Paged, RunState::Skipped), "{queued:#?}");
    assert_eq!(flow.outside.count("webhook"), 1, "one page for the group");
    assert_eq!(flow.outside.count("scripts/look.sh"), 1, "a person has it");
    let (_, why, _) = queued.ended.as_ref().expect("over");
    assert!(why.contains(&format!("of run {}", first.id)), "{why}");
    let receipts = || flow.response().alerts.values().map(|it| it.disposition.clone()).collect::<Vec<_>>();
    assert_eq!(receipts(), vec![Disposition::Run { run: first.id }; 2], "none is lost");
    // The page is over when both are, and what comes after that is tried again.
    flow.tell(vec![resolved(&flow, "Slow", "t5")]).await;
    flow.restart().await;
    flow.elapse(30).await;
    assert_eq!(flow.outside.count("webhook over"), 0, "one still fires");
    flow.tell(vec![over(&flow, &second)]).await;
    flow.elapse(30).await;
    assert_eq!((flow.outside.count("webhook over"), flow.response().alerts.len()), (1, 2));
    flow.check();
}

#[tokio::test(start_paused = true)]
async fn what_is_queued_begins_a_rung_higher_where_what_was_ahead_of_it_did_not_help_it() {
    let mut flow = Flow::new().await;
    two_of_a_group(&mut flow, Fare::Slow(30)).await;
    flow.tell(vec![resolved(&flow, "Slow", "t5")]).await;
    flow.elapse(60).await;
    let (first, queued) = (run_of(&flow, 0).await, run_of(&flow, 1).await);
    assert_eq!((first.state(), queued.state()), (RunState::Resolved, RunState::Paged), "{queued:#?}");
    assert_eq!((begun(&queued), flow.outside.count("scripts/look.sh")), (vec!["call".to_owned()], 1));
    assert_eq!(flow.outside.count("webhook"), 1);
    flow.check();
}

#[tokio::test(start_paused = true)]
async fn what_is_over_before_its_turn_ends_without_a_word() {
    let mut flow = Flow::new().await;
    let second = two_of_a_group(&mut flow, Fare::Slow(30)).await;
    flow.tell(vec![over(&flow, &second)]).await;
    flow.elapse(300).await;
    assert_eq!(run_of(&flow, 1).await.state(), RunState::Resolved);
    assert_eq!((flow.outside.count("webhook"), flow.outside.count("scripts/look.sh")), (1, 1), "the first alone calls");
    flow.check();
}

/// Three at once of a playbook that runs one at a time, and does nothing but wait.
#[tokio::test(start_paused = true)]
async fn one_at_a_time_waits_too() {
    let playbook = "apiVersion: codeops/v1
kind: Playbook
metadata: {name: slow, team: core}
spec:
  on: {alert: {alertname: Slow}}
  concurrency: {per: playbook, whenBusy: queue}
  steps: [{name: w, wait: {for: 30s}}, {name: proof, wait: resolved, timeout: 1m}]
";
    let mut flow = Flow::new().await;
    begin_with(&mut flow, &["shop"], playbook).await;
    for name in ["a", "b", "c"] {
        flow.tell(vec![firing(&flow, "Slow", name)]).await;
        flow.elapse(1).await;
    }
    flow.elapse(60).await;
    let runs = flow.runs().await;
    let steps: Vec<Vec<String>> = runs.iter().map(|run| begun(run)).collect();
    assert_eq!(steps, [vec!["w".to_owned(), "proof".to_owned()], vec![], vec![]]);
    assert!(runs[1].paused.as_ref().is_some_and(|why| why.contains(&format!("{} is ahead", runs[0].id))));
    flow.tell(vec![resolved(&flow, "Slow", "a"), resolved(&flow, "Slow", "c")]).await;
    flow.elapse(50).await;
    let second = run_of(&flow, 1).await;
    assert_eq!(begun(&second), ["w", "proof"], "its turn came");
    flow.elapse(120).await;
    let states: Vec<RunState> = flow.runs().await.iter().map(|run| run.state()).collect();
    assert_eq!(states, [RunState::Resolved, RunState::Paged, RunState::Resolved]);
    assert_eq!(flow.outside.count("webhook"), 1);
    flow.check();
}
