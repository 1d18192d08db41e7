//! What its source holds back is neither forgotten nor answered, and is judged anew when that ends.

use std::sync::Arc;

use codeops_core::model::{Alert, AlertId, AlertState, Disposition, Fingerprint, RunState, Signal};

use super::alerts::{begin, firing, labels, resolved};
use crate::support::flow::Flow;
use crate::support::scripted_effects::Fare;

/// A flow whose source can be asked.
async fn asking() -> Flow {
    let mut flow = Flow::stopped(&["local"]);
    flow.responds.askable.insert("main".parse().expect("a name"));
    flow.start().await;
    begin(&mut flow, &["shop"]).await;
    flow
}

/// A flow that has found out, when it asked, that the alert it answers is silenced.
async fn silenced() -> Flow {
    let flow = asking().await;
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
    flow.tell(vec![Signal::Firing(again)]).await;
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

/// A silence that somebody makes once he is called holds back the end, too.
#[tokio::test(start_paused = true)]
async fn whoever_was_called_is_told_that_it_is_over_though_the_source_tells_nobody() {
    let flow = asking().await;
    answers(&flow, AlertState::Firing);
    flow.tell(vec![firing(&flow, "AppDown", "shop")]).await;
    flow.elapse(1_200).await;
    assert_eq!(flow.runs().await.iter().map(|run| run.state()).collect::<Vec<_>>(), [RunState::Paged]);
    assert_eq!((state(&flow), flow.outside.count("webhook")), (AlertState::Firing, 1));
    answers(&flow, AlertState::Resolved);
    flow.elapse(60).await;
    assert_eq!((state(&flow), flow.outside.count("webhook over")), (AlertState::Resolved, 1));
    answers(&flow, AlertState::Firing);
    flow.elapse(60).await;
    assert_eq!((state(&flow), flow.runs().await.len()), (AlertState::Firing, 2), "it is back, and answered");
}

/// What another way tells of it is let in once nobody can say any more that it is held back.
#[tokio::test(start_paused = true)]
async fn a_source_that_does_not_answer_is_not_believed_to_hold_anything_back_for_long() {
    let flow = silenced().await;
    let id = flow.response().alerts.keys().next().cloned().expect("an alert");
    let held = || flow.journal.as_ref().is_some_and(|journal| journal.is_silenced(&id));
    assert!(held());
    answers(&flow, AlertState::Unknown);
    flow.elapse(120).await;
    assert!(held(), "it may be back at once");
    flow.elapse(300).await;
    assert!(!held());
    answers(&flow, AlertState::Silenced);
    flow.elapse(30).await;
    assert!(held(), "it says so again");
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

#[tokio::test(start_paused = true)]
async fn a_source_that_hangs_keeps_no_other_sources_alerts_waiting() {
    let mut flow = silenced().await;
    for hanging in ["h1", "h2", "h3", "h4"] {
        let Signal::Firing(alert) = firing(&flow, "AppDown", "shop") else { unreachable!() };
        let id = AlertId { source: hanging.parse().unwrap(), ..alert.id.clone() };
        flow.responds.askable.insert(id.source.clone());
        let alert = Alert { id, receiver: hanging.parse().unwrap(), ..(*alert).clone() };
        let held =
            Signal::Silenced { source: alert.id.source.clone(), fingerprint: alert.id.fingerprint.clone(), name: None };
        flow.tell(vec![Signal::Firing(Arc::new(alert)), held]).await;
        flow.outside.fares(&format!("ask {hanging}"), Fare::Slow(3_600));
    }
    flow.restart().await;
    flow.elapse(60).await;
    answers(&flow, AlertState::Firing);
    flow.elapse(20).await;
    let of_main = flow.response().alerts.values().find(|it| it.alert.id.source.as_str() == "main").cloned();
    assert_eq!((of_main.map(|it| it.state), flow.runs().await.len()), (Some(AlertState::Firing), 2));
}

/// A flow whose run asked the source at its end, which said that the alert is over: nothing was told of that.
async fn found_over() -> Flow {
    let flow = asking().await;
    answers(&flow, AlertState::Resolved);
    flow.tell(vec![firing(&flow, "AppDown", "shop")]).await;
    flow.elapse(600).await;
    assert_eq!(flow.runs().await[0].state(), RunState::Resolved);
    flow
}

#[tokio::test(start_paused = true)]
async fn what_a_run_proves_by_asking_is_how_the_alert_is() {
    let flow = found_over().await;
    assert_eq!(state(&flow), AlertState::Resolved, "its run is proven, and it is said to fire");
    assert_eq!(flow.outside.count("webhook"), 0);
}

#[tokio::test(start_paused = true)]
async fn what_was_found_over_by_asking_is_answered_when_its_source_has_it_again_and_does_not_tell() {
    let mut flow = found_over().await;
    flow.restart().await;
    flow.elapse(600).await;
    let again = firing(&flow, "AppDown", "shop");
    let Signal::Firing(alert) = &again else { unreachable!() };
    flow.outside.began(&alert.id.fingerprint, alert.id.starts_at);
    answers(&flow, AlertState::Silenced);
    flow.elapse(60).await;
    assert_eq!(flow.runs().await.len(), 1, "held back there");
    answers(&flow, AlertState::Firing);
    flow.elapse(20).await;
    let response = flow.response();
    let known = response.alerts.get(&alert.id).expect("it is known as it began anew");
    assert_eq!((known.state, flow.runs().await.len()), (AlertState::Firing, 2));
    // What its source tells of it at last is not another.
    flow.tell(vec![again.clone()]).await;
    flow.elapse(60).await;
    assert_eq!((flow.response().alerts.len(), flow.runs().await.len()), (2, 2));
    flow.tell(vec![resolved(&flow, "AppDown", "shop")]).await;
    flow.elapse(60).await;
    assert!(flow.response().alerts.values().all(|it| it.state == AlertState::Resolved));
}

#[tokio::test(start_paused = true)]
async fn what_its_source_itself_says_is_over_is_not_asked_about() {
    let flow = found_over().await;
    flow.tell(vec![resolved(&flow, "AppDown", "shop")]).await;
    answers(&flow, AlertState::Firing);
    flow.elapse(60).await;
    assert_eq!((state(&flow), flow.runs().await.len()), (AlertState::Resolved, 1));

    // Nor for longer than it is remembered.
    let flow = found_over().await;
    flow.elapse(3_700).await;
    answers(&flow, AlertState::Firing);
    flow.elapse(60).await;
    assert_eq!(flow.runs().await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_was_silenced_since_it_came_calls_nobody_though_all_that_was_tried_failed() {
    for name in ["AppDown", "DiskFull"] {
        let flow = asking().await;
        flow.outside.answers(&Fingerprint::of(&labels(name, "shop")), AlertState::Silenced);
        flow.outside.fares("scripts/look.sh", Fare::Failed);
        let Signal::Firing(alert) = firing(&flow, name, "shop") else { unreachable!() };
        // It came another way than the one by which the source can be asked.
        let alert = Alert { receiver: "prometheus".parse().expect("a name"), ..(*alert).clone() };
        flow.tell(vec![Signal::Firing(Arc::new(alert))]).await;
        flow.elapse(1_200).await;
        let states: Vec<RunState> = flow.runs().await.iter().map(|run| run.state()).collect();
        assert_eq!((states, state(&flow)), (vec![RunState::Cancelled], AlertState::Silenced), "{name}");
        assert_eq!(flow.outside.count("webhook"), 0, "{name}");
    }
}
