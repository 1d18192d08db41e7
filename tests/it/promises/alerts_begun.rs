//! What a run finds that begins while its target is just being made, or that goes on after the daemon was killed.

use codeops_core::model::{RunState, StepOutcome};
use serde_json::json;

use super::alerts::{APP_DOWN, begin_with, begun, firing, only_run};
use crate::support::flow::{Flow, app, app_with, path};
use crate::support::scripted_effects::Fare;

/// `app/shop` is made once `app/db` is healthy.
async fn bring(flow: &mut Flow, db: &str) {
    begin_with(flow, &[], APP_DOWN).await;
    let shop = app_with("shop", "v1", "", "after: [app/db], ");
    flow.commit(&[(&path("shop"), &shop), (&path("db"), &app("db", db))]).await;
    flow.elapse(2).await;
    flow.tell(vec![firing(flow, "AppDown", "shop")]).await;
}

#[tokio::test(start_paused = true)]
async fn an_alert_on_what_is_just_being_brought_up_waits_for_that_before_anybody_is_called() {
    let mut flow = Flow::new().await;
    bring(&mut flow, "slow-1").await;
    flow.elapse(20).await;
    let run = only_run(&flow).await;
    assert!(run.paused.as_ref().is_some_and(|why| why.contains("app/shop is not there yet")), "{run:#?}");
    flow.elapse(60).await;
    let run = only_run(&flow).await;
    assert_eq!(
        (begun(&run), flow.outside.count("webhook")),
        (vec!["look".into(), "restart".into(), "proof".into()], 0)
    );
    // It does not come: that is a person's.
    let mut flow = Flow::new().await;
    bring(&mut flow, "never-1").await;
    flow.elapse(100).await;
    assert_eq!(flow.outside.count("webhook"), 0);
    flow.elapse(400).await;
    assert_eq!((only_run(&flow).await.state(), flow.outside.count("webhook")), (RunState::Paged, 1));
}

#[tokio::test(start_paused = true)]
async fn a_commit_that_the_daemons_end_cut_off_is_told_by_its_key_and_not_called_unknown() {
    let scales = APP_DOWN.replace("action: app.restart", "action: app.scale, with: {by: 1, max: 5}");
    let mut flow = Flow::new().await;
    begin_with(&mut flow, &["shop"], &scales).await;
    flow.outside.fares("git", Fare::Slow(1_000));
    flow.tell(vec![firing(&flow, "AppDown", "shop")]).await;
    flow.elapse(5).await;
    flow.kill().await;
    flow.outside.fares("git", Fare::Done(json!({ "revision": "b".repeat(40) })));
    flow.restart().await;
    flow.elapse(30).await;
    let git: Vec<String> = flow.outside.done().into_iter().filter(|it| it.0 == "git").map(|(_, key)| key).collect();
    assert!(git.len() == 2 && git[0] == git[1], "it is found by one key: {git:?}");
    let run = only_run(&flow).await;
    assert_eq!(begun(&run), ["look", "restart", "proof"], "{run:#?}");
    assert!(matches!(&run.steps[1].outcome, Some(StepOutcome::Done { .. })), "{:?}", run.steps[1]);
    assert_eq!(flow.outside.count("webhook"), 0);
}
