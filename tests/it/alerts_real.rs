//! A real Prometheus and a real Alertmanager tell a real daemon of an app that is really down, and what follows is looked at in
//! the daemon's own journal. And a storm over real connections, of which nothing may be lost; and
//! a daemon that is killed while a script runs.

mod docs;
mod large;
mod replay;
mod scripts;
mod storm;
mod unheard;
mod world;

use codeops_core::model::{AlertState, Disposition, RunState};
use world::{Monitoring, World};

/// Restarts, and waits for the source's own word.
const RESTART: &str = "[{name: restart, action: app.restart}, {name: proof, wait: resolved, timeout: 30s}]";
/// The same, with no patience, and with nothing after it but a person.
const IN_VAIN: &str = "[{name: restart, action: app.restart}, {name: proof, wait: resolved, timeout: 8s}]
  otherwise: [{name: call, page: {}}]";

#[tokio::test(flavor = "multi_thread")]
async fn an_app_that_is_really_down_is_restarted_and_the_resolved_signal_ends_the_run() {
    let Some(world) = World::start(RESTART, Monitoring::Alertmanager).await else { return };
    let before = world.pid().await;
    world.fault(&before.to_string());
    let run = world.run_ends().await;
    assert_eq!(run.state(), RunState::Resolved, "{run:#?}");
    assert_ne!(world.pid().await, before, "the app was not restarted");
    assert_eq!(world.pages(), 0, "nobody had to be called");
    let alerts = world.alerts();
    assert_eq!(alerts.len(), 1, "{alerts:#?}");
    assert_eq!(alerts[0].disposition, Disposition::Run { run: run.id });
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_that_comes_from_prometheus_and_through_alertmanager_is_one_alert_with_one_run() {
    let Some(world) = World::start(RESTART, Monitoring::Both).await else { return };
    world.fault(&world.pid().await.to_string());
    let run = world.run_ends().await;
    assert_eq!(run.state(), RunState::Resolved, "{run:#?}");
    world.told_by_both().await;
    assert_eq!(world.alerts().len(), 1, "{:#?}", world.alerts());
    assert_eq!(world.runs().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fix_that_does_not_help_ends_in_a_page_with_what_was_done() {
    let Some(world) = World::start(IN_VAIN, Monitoring::Alertmanager).await else { return };
    world.fault("all");
    let run = world.run_ends().await;
    assert_eq!(run.state(), RunState::Paged, "{run:#?}");
    let page = world.page().await;
    for evidence in ["AppDown", "app/web", "restart (action): done", "still fire", "severity: critical"] {
        assert!(page.to_string().contains(evidence), "no `{evidence}` in {page:#}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_that_a_person_silences_at_its_source_ends_its_run_and_pages_nobody() {
    let Some(world) = World::start(IN_VAIN, Monitoring::Alertmanager).await else { return };
    world.fault("all");
    world.run_begins().await;
    world.silence().await;
    let run = world.run_ends().await;
    assert_eq!(run.state(), RunState::Cancelled, "{run:#?}");
    let why = run.ended.as_ref().map(|end| format!("{end:?}")).unwrap_or_default();
    assert!(why.contains("muted"), "{why}");
    assert_eq!(world.pages(), 0, "it is silenced, and somebody was called");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_that_was_silenced_at_its_source_is_answered_again_when_the_silence_ends() {
    let Some(world) = World::start(IN_VAIN, Monitoring::Both).await else { return };
    world.fault("all");
    world.run_begins().await;
    world.silence().await;
    assert_eq!(world.run_ends().await.state(), RunState::Cancelled);
    let held = world.alert_is(AlertState::Silenced).await;
    assert!(matches!(held.disposition, Disposition::Run { .. } | Disposition::Quiet { .. }), "{held:#?}");
    world.speak().await;
    let run = world.second_run().await;
    assert_eq!(run.alerts.iter().next(), Some(&held.alert.id), "{run:#?}");
    world.page().await;
    assert_eq!((world.alerts().len(), world.runs().len()), (1, 2));
}
