//! What comes between a playbook and its target: a wave that has not come yet, a freeze, a suspension. An action acts on what
//! runs; what has begun comes to its end or says at once that it does not.

use std::collections::BTreeSet;

use codeops_core::model::{Health, Period, RunState, StepOutcome, Sync};

use super::alerts::{begin, begun, firing, only_run, resolved};
use super::alerts_held::{freezable, freeze};
use crate::support::flow::{Flow, app_with, path};
use crate::support::memory_provider::Script;

/// An app that is restarted because of an alert, whose new instances take their time.
async fn restarting(flow: &mut Flow) -> BTreeSet<String> {
    begin(flow, &["shop"]).await;
    flow.elapse(60).await;
    let template = flow.live("shop").expect("it lives").instances[0].template.clone();
    flow.local().set_health(&template, Script::HealthyAfter(Period::from_secs(30)));
    let before: BTreeSet<String> = flow.instances("shop").into_iter().collect();
    flow.tell(vec![firing(flow, "AppDown", "shop")]).await;
    flow.elapse(10).await;
    assert_eq!(flow.instances("shop").len(), 3, "one begins beside the two");
    before
}

#[tokio::test(start_paused = true)]
async fn an_app_whose_wave_comes_later_is_answered_as_it_was() {
    let mut flow = Flow::new().await;
    let all = ["a1", "a2", "a3", "a4", "shop"];
    begin(&mut flow, &all).await;
    flow.elapse(60).await;
    let wide: Vec<(String, String)> =
        all.iter().map(|it| (path(it), app_with(it, "v2", "", "replicas: 2, ").replace("10s", "10m"))).collect();
    let wide: Vec<(&str, &str)> = wide.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    flow.commit(&wide).await;
    flow.elapse(60).await;
    assert_eq!(
        (flow.serving("shop"), flow.status("shop")),
        (vec!["v1".into(), "v1".into()], (Sync::OutOfSync, Health::Healthy))
    );
    assert!(flow.why("shop").starts_with("its wave comes later"), "{}", flow.why("shop"));
    let before: BTreeSet<String> = flow.instances("shop").into_iter().collect();
    flow.tell(vec![firing(&flow, "AppDown", "shop")]).await;
    flow.elapse(60).await;
    let run = only_run(&flow).await;
    assert_eq!(begun(&run), ["look", "restart", "proof"], "{run:#?}");
    let now: BTreeSet<String> = flow.instances("shop").into_iter().collect();
    assert!(now.len() == 2 && now.is_disjoint(&before), "{before:?} {now:?}");
    assert_eq!((flow.serving("shop"), flow.status("shop").0), (vec!["v1".into(), "v1".into()], Sync::OutOfSync));
    flow.tell(vec![resolved(&flow, "AppDown", "shop")]).await;
    flow.elapse(60).await;
    assert_eq!(only_run(&flow).await.state(), RunState::Resolved);
    // Nor is a version taken back that was not tried on it, and its turn comes.
    flow.elapse(7_200).await;
    assert_eq!((flow.serving("shop"), flow.revision_state()), (vec!["v2".into(), "v2".into()], "applied"));
    flow.check();
}

#[tokio::test(start_paused = true)]
async fn a_restart_that_has_begun_comes_to_its_end_in_a_freeze() {
    let mut flow = freezable().await;
    let before = restarting(&mut flow).await;
    freeze(&flow).await;
    flow.elapse(120).await;
    let now: BTreeSet<String> = flow.instances("shop").into_iter().collect();
    assert!(now.len() == 2 && now.is_disjoint(&before), "{before:?} {now:?}");
    let run = only_run(&flow).await;
    assert!(matches!(run.steps[1].outcome, Some(StepOutcome::Done { .. })), "{run:#?}");
    flow.elapse(600).await;
    let run = only_run(&flow).await;
    assert_eq!(
        (run.state(), begun(&run)),
        (RunState::Paged, vec!["look".into(), "restart".into(), "proof".into(), "call".into()])
    );
    assert_eq!(flow.instances("shop").into_iter().collect::<BTreeSet<_>>(), now, "and nothing else begins");
    flow.check();
}

#[tokio::test(start_paused = true)]
async fn a_suspension_breaks_a_restart_off_and_a_person_is_called_at_once() {
    let mut flow = Flow::new().await;
    restarting(&mut flow).await;
    flow.commit(&[(&path("shop"), &app_with("shop", "v1", "", "replicas: 2, suspend: true, "))]).await;
    flow.elapse(15).await;
    let run = only_run(&flow).await;
    assert_eq!((run.state(), flow.outside.count("webhook")), (RunState::Paged, 1), "{run:#?}");
    let Some(StepOutcome::Failed { error }) = &run.steps[1].outcome else { panic!("{run:#?}") };
    assert!(error.starts_with("app/shop is suspended by its manifest: 2 of 2 instances"), "{error}");
    flow.elapse(600).await;
    assert_eq!(flow.instances("shop").len(), 3, "nothing of it is changed");
    flow.commit(&[(&path("shop"), &app_with("shop", "v1", "", "replicas: 2, "))]).await;
    flow.elapse(120).await;
    assert_eq!((flow.instances("shop").len(), flow.status("shop")), (2, (Sync::Synced, Health::Healthy)));
    flow.check();
}
