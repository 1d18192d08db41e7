//! What its source holds back is neither forgotten nor answered, and is judged anew when that ends.

use codeops_core::model::{AlertState, Disposition, Fingerprint, RunState};

use super::alerts::{begin, firing, labels, resolved};
use crate::support::flow::Flow;

/// A flow that has found out, when it asked, that the alert it answers is silenced.
async fn silenced() -> Flow {
    let mut flow = Flow::stopped(&["local"]);
    flow.responds.askable.insert("main".parse().expect("a name"));
    flow.start().await;
    begin(&mut flow, &["shop"]).await;
    answers(&flow, AlertState::Silenced);
    flow.tell(vec![firing(&flow, "AppDown", "shop")]).await;
    flow.elapse(1_200).await;
    assert_eq!(flow.runs().await.iter().map(|run| run.state()).collect::<Vec<_>>(), [RunState::Cancelled]);
    assert_eq!(state(&flow), AlertState::Silenced, "as its source says");
    flow
}

fn answers(flow: &Flow, state: AlertState) {
    flow.outside.answers(&Fingerprint::of(&labels("AppDown", "shop")), state);
}

fn state(flow: &Flow) -> AlertState {
    flow.response().alerts.values().next().expect("the alert is remembered").state
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_silence_at_the_source_starts_the_run_that_the_silence_ended() {
    let mut flow = silenced().await;
    // Longer than what is over is remembered.
    flow.elapse(3 * 3_600).await;
    flow.restart().await;
    flow.elapse(60).await;
    assert_eq!((state(&flow), flow.runs().await.len()), (AlertState::Silenced, 1));
    assert_eq!(flow.outside.count("webhook"), 0, "nobody is called for what is silenced");
    answers(&flow, AlertState::Firing);
    flow.elapse(20).await;
    assert_eq!((state(&flow), flow.runs().await.len()), (AlertState::Firing, 2));
    flow.elapse(1_200).await;
    assert_eq!(flow.outside.count("webhook"), 1, "it fires on, and a person is called");
}

#[tokio::test(start_paused = true)]
async fn what_its_source_tells_of_again_or_says_is_over_is_not_silenced_any_more() {
    let flow = silenced().await;
    let again = flow.response().alerts.values().next().map(|it| it.alert.clone()).expect("an alert");
    flow.tell(vec![codeops_core::model::Signal::Firing(again)]).await;
    flow.elapse(20).await;
    assert_eq!((state(&flow), flow.runs().await.len()), (AlertState::Firing, 2));

    let flow = silenced().await;
    answers(&flow, AlertState::Resolved);
    flow.elapse(20).await;
    assert_eq!((state(&flow), flow.runs().await.len()), (AlertState::Resolved, 1));

    let flow = silenced().await;
    flow.tell(vec![resolved(&flow, "AppDown", "shop")]).await;
    flow.elapse(20).await;
    assert_eq!((state(&flow), flow.runs().await.len()), (AlertState::Resolved, 1));
}

#[tokio::test(start_paused = true)]
async fn a_source_that_can_be_asked_no_more_keeps_no_alert_for_ever() {
    let mut flow = silenced().await;
    flow.responds.askable.clear();
    flow.restart().await;
    flow.elapse(20).await;
    let response = flow.response();
    let left = response.alerts.values().next().map(|it| it.disposition.clone());
    assert!(matches!(left, Some(Disposition::Left { .. })), "{left:?}");
}
