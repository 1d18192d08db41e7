//! What is on while the daemon is told to end, or to take over other settings; and who was told of an end by then.

use std::sync::Arc;

use codeops_core::model::{Run, RunState, StepOutcome};

use super::alerts::{begin, begin_with, begun, firing, resolved};
use crate::support::flow::Flow;
use crate::support::scripted_effects::Fare;

const LOOK: &str = "scripts/look.sh";

/// A playbook whose one step that matters is this.
fn playbook(step: &str) -> String {
    format!(
        "apiVersion: codeops/v1\nkind: Playbook\nmetadata: {{name: app-down, team: core}}\nspec:\n  \
         on: {{alert: {{alertname: AppDown}}}}\n  target: app/{{{{ alert.labels.app }}}}\n  steps:\n    \
         - {{name: it, {step}, timeout: 60s}}\n    - {{name: proof, wait: resolved, timeout: 3m}}\n"
    )
}

/// The run that answers AppDown; another alert only calls people.
async fn answer(flow: &Flow) -> Arc<Run> {
    let runs = flow.runs().await;
    let answers = |run: &&Arc<Run>| run.playbook.name.as_str() == "app-down";
    Arc::clone(runs.iter().find(answers).expect("it is answered"))
}

/// How its first step ended.
async fn first(flow: &Flow) -> Option<StepOutcome> {
    answer(flow).await.steps.first().and_then(|record| record.outcome.clone())
}

#[tokio::test(start_paused = true)]
async fn told_to_end_it_gives_steps_and_messages_their_time_and_begins_none() {
    let mut flow = Flow::new().await;
    begin(&mut flow, &["shop"]).await;
    flow.outside.fares(LOOK, Fare::Slow(5));
    flow.outside.fares("webhook", Fare::Slow(9));
    flow.tell(vec![firing(&flow, "AppDown", "shop"), firing(&flow, "Odd", "else")]).await;
    flow.elapse(1).await;
    flow.stop().await;
    assert!(matches!(first(&flow).await, Some(StepOutcome::Done { .. })), "{:#?}", answer(&flow).await);
    assert_eq!(begun(&*answer(&flow).await), ["look"], "nothing more is begun");
    assert!(flow.response().pages.is_empty(), "its acceptance is written down: {:?}", flow.response().pages);
    flow.start().await;
    flow.elapse(30).await;
    assert_eq!((flow.outside.count(LOOK), flow.outside.count("webhook")), (1, 1));
    assert_eq!(begun(&*answer(&flow).await), ["look", "restart", "proof"]);
    flow.tell(vec![resolved(&flow, "AppDown", "shop")]).await;
    flow.elapse(60).await;
    assert_eq!(answer(&flow).await.state(), RunState::Resolved);
    flow.check();
}

#[tokio::test(start_paused = true)]
async fn told_to_end_it_breaks_off_what_takes_longer_than_ten_seconds() {
    let mut flow = Flow::new().await;
    begin(&mut flow, &["shop"]).await;
    flow.outside.fares(LOOK, Fare::Slow(20));
    flow.tell(vec![firing(&flow, "AppDown", "shop")]).await;
    flow.elapse(1).await;
    let told = flow.clock.now();
    flow.stop().await;
    let took = flow.clock.now().duration_since(told).as_secs();
    assert!((10..=12).contains(&took), "{took} s");
    flow.start().await;
    flow.elapse(5).await;
    assert!(matches!(first(&flow).await, Some(StepOutcome::Unknown { .. })), "{:#?}", answer(&flow).await);
    assert_eq!(flow.outside.count(LOOK), 1);
}

#[tokio::test(start_paused = true)]
async fn taking_over_settings_breaks_off_no_step_and_no_message() {
    let mut flow = Flow::new().await;
    begin(&mut flow, &["shop"]).await;
    flow.outside.fares(LOOK, Fare::Slow(25));
    flow.outside.fares("webhook", Fare::Slow(25));
    flow.tell(vec![firing(&flow, "AppDown", "shop"), firing(&flow, "Odd", "else")]).await;
    for _ in 0..2 {
        flow.elapse(5).await;
        let told = flow.clock.now();
        flow.reload().await;
        assert!(flow.clock.now().duration_since(told).as_secs() < 2, "what is on holds up nothing");
    }
    flow.elapse(30).await;
    assert!(matches!(first(&flow).await, Some(StepOutcome::Done { .. })), "{:#?}", answer(&flow).await);
    assert_eq!((flow.outside.count(LOOK), flow.outside.count("webhook")), (1, 1));
    assert!(flow.response().pages.is_empty());
    flow.check();
}

/// The mirror has one hand at a time: a commit that is on is waited for.
#[tokio::test(start_paused = true)]
async fn taking_over_settings_waits_for_a_commit_that_is_on() {
    for (takes, done) in [(4, 1), (20, 2)] {
        let mut flow = Flow::new().await;
        begin_with(&mut flow, &["shop"], &playbook("git: {revert: last}")).await;
        flow.outside.fares("git", Fare::Slow(takes));
        flow.tell(vec![firing(&flow, "AppDown", "shop")]).await;
        flow.elapse(1).await;
        let told = flow.clock.now();
        flow.reload().await;
        let took = flow.clock.now().duration_since(told).as_secs();
        assert!((3..=12).contains(&took), "{took} s");
        flow.elapse(40).await;
        assert!(matches!(first(&flow).await, Some(StepOutcome::Done { .. })), "{:#?}", answer(&flow).await);
        assert_eq!(flow.outside.count("git"), done, "one that was broken off is looked for under its key");
    }
}

const CHANNELS: &str = "apiVersion: codeops/v1
kind: Receiver
metadata: {name: sink, team: core}
spec: {webhook: {url: https://sink.example/page}}
---
apiVersion: codeops/v1
kind: Receiver
metadata: {name: chat, team: core}
spec: {slack: {url: https://chat.example/page}}
---
apiVersion: codeops/v1
kind: EscalationPolicy
metadata: {name: people, team: core}
spec: {levels: [{notify: [receiver/sink, receiver/chat]}]}
---
apiVersion: codeops/v1
kind: AlertRoute
metadata: {name: routing, team: core}
spec: {route: {policy: people}}
";

/// A page of which both channels have accepted the beginning.
async fn called(flow: &mut Flow) {
    begin(flow, &["shop"]).await;
    flow.commit(&[("people.yaml", CHANNELS)]).await;
    flow.elapse(5).await;
    flow.tell(vec![firing(flow, "Odd", "else")]).await;
    flow.elapse(60).await;
    assert_eq!(["webhook", "slack"].map(|word| flow.outside.count(word)), [1, 1]);
}

#[tokio::test(start_paused = true)]
async fn who_knows_of_an_end_is_told_once_whoever_refuses_to_be_told_and_whatever_begins_anew() {
    let mut flow = Flow::new().await;
    called(&mut flow).await;
    flow.outside.fares("slack over", Fare::Failed);
    flow.tell(vec![resolved(&flow, "Odd", "else")]).await;
    for again in 0..6 {
        flow.elapse(20).await;
        if again % 2 == 0 { flow.reload().await } else { flow.restart().await }
    }
    assert_eq!(flow.outside.count("webhook over"), 1);
    flow.elapse(900).await;
    assert_eq!((flow.outside.count("webhook over"), flow.outside.count("slack over")), (1, 5), "and then let go");
    assert!(flow.response().calls.is_empty());
    flow.check();
}

#[tokio::test(start_paused = true)]
async fn ends_are_told_to_all_at_once_and_who_accepted_is_written_down_while_others_are_silent() {
    let mut flow = Flow::new().await;
    called(&mut flow).await;
    flow.outside.fares("slack over", Fare::Slow(25));
    flow.tell(vec![resolved(&flow, "Odd", "else")]).await;
    flow.elapse(2).await;
    assert_eq!(["webhook over", "slack over"].map(|word| flow.outside.count(word)), [1, 1], "side by side");
    flow.restart().await;
    flow.elapse(120).await;
    assert_eq!(["webhook over", "slack over"].map(|word| flow.outside.count(word)), [1, 2]);
    assert!(flow.response().calls.is_empty());
}

#[tokio::test(start_paused = true)]
async fn who_never_accepted_a_page_is_not_told_of_its_end() {
    for late in [false, true] {
        let mut flow = Flow::new().await;
        begin(&mut flow, &["shop"]).await;
        flow.commit(&[("people.yaml", CHANNELS)]).await;
        flow.elapse(5).await;
        flow.outside.fares("slack", Fare::Failed);
        // Accepted before or after the other has refused it.
        flow.outside.fares("webhook", Fare::Slow(if late { 5 } else { 0 }));
        flow.tell(vec![firing(&flow, "Odd", "else")]).await;
        flow.elapse(60).await;
        flow.tell(vec![resolved(&flow, "Odd", "else")]).await;
        flow.elapse(60).await;
        assert_eq!(["webhook over", "slack over"].map(|word| flow.outside.count(word)), [1, 0], "{late}");
        assert!(flow.response().calls.is_empty());
    }
}
