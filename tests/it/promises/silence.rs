//! Codeops or monitoring itself goes silent: that is told, and a sign of life leaves only while everything goes on.

use codeops::journal::Record;
use codeops::port::Watchdog;
use codeops_core::model::{AlertState, CatchUp, Kept, PageEvent, PageOpened, Period, Schedule};

use super::alerts::{begin, firing, resolved};
use crate::support::flow::{Flow, app_with, path};
use crate::support::scripted_effects::Fare;

/// A daemon that sends a sign of life every minute, with one app.
async fn beating() -> Flow {
    let mut flow = Flow::stopped(&["local"]);
    flow.responds.heartbeat = Some(Period::from_secs(60));
    flow.start().await;
    begin(&mut flow, &["shop"]).await;
    flow
}

/// How many signs of life leave within so many seconds.
async fn beats(flow: &Flow, seconds: u64) -> usize {
    let before = flow.outside.count("beat");
    flow.elapse(seconds).await;
    flow.outside.count("beat") - before
}

/// The titles of all pages that were opened.
fn pages(flow: &Flow) -> Vec<String> {
    flow.records(|record| match record {
        Record::Page { event: PageEvent::Opened(PageOpened { title, .. }), .. } => Some(title.clone()),
        _ => None,
    })
}

/// Their texts.
fn bodies(flow: &Flow) -> Vec<String> {
    flow.records(|record| match record {
        Record::Page { event: PageEvent::Opened(PageOpened { body, .. }), .. } => Some(body.clone()),
        _ => None,
    })
}

#[tokio::test(start_paused = true)]
async fn a_watchdog_that_was_never_heard_is_not_told_as_heard() {
    let mut flow = Flow::stopped(&["local"]);
    flow.responds.watchdogs.insert("main".parse().unwrap(), Period::from_secs(300));
    flow.start().await;
    begin(&mut flow, &["shop"]).await;
    flow.elapse(600).await;
    assert!(bodies(&flow)[0].contains("It has never been heard"), "{:?}", bodies(&flow));
}

#[tokio::test(start_paused = true)]
async fn a_sign_of_life_leaves_only_while_a_page_is_accepted() {
    let flow = beating().await;
    assert!((9..=11).contains(&beats(&flow, 600).await));
    flow.outside.fares("webhook", Fare::Failed);
    flow.tell(vec![firing(&flow, "DiskFull", "shop")]).await;
    flow.elapse(660).await;
    assert_eq!(beats(&flow, 600).await, 0, "nobody has heard of it for ten minutes");
    flow.outside.fares("webhook", Fare::Done(serde_json::Value::Null));
    flow.elapse(120).await;
    assert!((9..=11).contains(&beats(&flow, 600).await));
}

#[tokio::test(start_paused = true)]
async fn a_sign_of_life_leaves_only_while_every_provider_is_observed() {
    let mut flow = Flow::stopped(&["edge", "local"]);
    flow.responds.heartbeat = Some(Period::from_secs(60));
    flow.start().await;
    begin(&mut flow, &["shop"]).await;
    assert!(beats(&flow, 600).await > 0);
    // The other goes on answering: that is not enough.
    flow.provider("edge").set_unreachable(Some("down"));
    flow.elapse(300).await;
    assert_eq!(beats(&flow, 600).await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_journal_that_takes_nothing_and_a_flow_that_stands_still_are_seen_and_no_sign_of_life_leaves() {
    let mut flow = beating().await;
    let mut dog = Watchdog::new(flow.vitals.clone());
    for _ in 0..100 {
        flow.elapse(5).await;
        assert_eq!(dog.look(), None, "all goes on");
    }
    flow.log.hang();
    flow.outside.fares("webhook", Fare::Failed);
    let shop = app_with("shop", "v2", "", "replicas: 2, ");
    flow.commit(&[(&path("shop"), &shop)]).await;
    let mut seen = Vec::new();
    for _ in 0..40 {
        flow.elapse(5).await;
        seen.extend(dog.look().map(|stuck| stuck.worker));
    }
    assert!(seen.contains(&"reconcile"), "{seen:?}");
    assert_eq!(beats(&flow, 600).await, 0, "one part stands still");

    let poisoned = beating().await;
    poisoned.log.break_down();
    poisoned.tell(vec![firing(&poisoned, "DiskFull", "shop")]).await;
    poisoned.elapse(120).await;
    assert_eq!(beats(&poisoned, 600).await, 0, "nothing can be taken in");
}

/// An app, and a receiver that is to hear its Watchdog every five minutes.
async fn watched() -> Flow {
    let mut flow = Flow::stopped(&["local"]);
    flow.responds.watchdogs.insert("main".parse().expect("a name"), Period::from_secs(300));
    flow.start().await;
    begin(&mut flow, &["shop"]).await;
    flow
}

/// That receiver hears it.
async fn heard(flow: &Flow) {
    let record = Record::Watchdog { receiver: "main".parse().expect("a name") };
    codeops::journal::Log::append(&*flow.log, vec![record]).await.expect("it is taken");
}

#[tokio::test(start_paused = true)]
async fn an_absent_watchdog_pages_once_until_it_is_heard_again() {
    let mut flow = watched().await;
    for _ in 0..10 {
        heard(&flow).await;
        flow.elapse(100).await;
    }
    assert_eq!(pages(&flow), [""; 0]);
    flow.elapse(3_600).await;
    assert_eq!(pages(&flow).len(), 1, "{:?}", pages(&flow));
    assert!(pages(&flow)[0].contains("receiver main has not heard its Watchdog"), "{:?}", pages(&flow));
    assert!(bodies(&flow)[0].contains("last heard at"), "{:?}", bodies(&flow));
    assert_eq!(flow.outside.count("webhook"), 1);
    // Settings that are taken over make nobody silent anew.
    flow.reload().await;
    flow.elapse(3_600).await;
    assert_eq!(pages(&flow).len(), 1, "{:?}", pages(&flow));
    heard(&flow).await;
    flow.elapse(3_600).await;
    assert_eq!(pages(&flow).len(), 2, "it went silent again");
}

#[tokio::test(start_paused = true)]
async fn whoever_was_called_for_a_silence_is_told_when_it_is_heard_again() {
    let mut flow = watched().await;
    flow.elapse(600).await;
    assert_eq!((flow.outside.count("webhook"), flow.outside.count("webhook over")), (1, 0));
    let body = flow.outside.bodies().concat();
    assert!(body.contains("never been heard") && !body.contains("last heard"), "{body}");
    assert_eq!(flow.response().silent().len(), 1);
    // Another daemon knows that somebody was called, and has the end to tell.
    flow.restart().await;
    flow.elapse(1_200).await;
    assert_eq!((flow.outside.count("webhook"), flow.outside.count("webhook over")), (1, 0));
    heard(&flow).await;
    flow.elapse(60).await;
    assert_eq!((flow.outside.count("webhook"), flow.outside.count("webhook over")), (1, 1));
    assert!(flow.response().silent().is_empty() && flow.response().calls.is_empty());
    flow.elapse(600).await;
    let body = flow.outside.bodies().pop().unwrap_or_default();
    assert!(body.contains("It was last heard at"), "it went silent again: {body}");

    // One that is heard before anybody could be called is told of as over.
    let mut late = Flow::stopped(&["local"]);
    late.responds.watchdogs.insert("main".parse().unwrap(), Period::from_secs(300));
    late.start().await;
    begin(&mut late, &["shop"]).await;
    late.outside.fares("webhook", Fare::Failed);
    late.elapse(400).await;
    heard(&late).await;
    late.outside.fares("webhook", Fare::Done(serde_json::Value::Null));
    late.elapse(100).await;
    let bodies = late.outside.bodies();
    assert!(bodies.iter().any(|body| body.starts_with("It is heard again by now")), "{bodies:#?}");
}

#[tokio::test(start_paused = true)]
async fn a_page_about_silence_that_could_not_be_written_down_is_opened_by_what_begins_anew() {
    let mut flow = Flow::stopped(&["local"]);
    flow.responds.watchdogs.insert("main".parse().unwrap(), Period::from_secs(3_600));
    flow.start().await;
    begin(&mut flow, &["shop"]).await;
    flow.elapse(1_800).await;
    flow.log.crash_at_next();
    flow.elapse(3_600).await;
    assert_eq!((flow.log.crashed(), pages(&flow).len()), (true, 0));
    flow.reload().await;
    flow.elapse(60).await;
    assert_eq!((pages(&flow).len(), flow.outside.count("webhook")), (1, 2), "once from memory, once by its page");
}

#[tokio::test(start_paused = true)]
async fn paging_is_tried_as_often_as_the_settings_say() {
    let mut flow = Flow::stopped(&["local"]);
    let daily = Schedule { cron: "0 9 * * *".to_owned(), timezone: None, catch_up: CatchUp::Last };
    flow.responds.self_test = Some(daily);
    flow.start().await;
    begin(&mut flow, &["shop"]).await;
    flow.elapse(3 * 86_400).await;
    assert_eq!(flow.outside.count("webhook"), 3);
    assert!(pages(&flow).iter().all(|title| title.contains("self-test")), "{:?}", pages(&flow));
    assert_eq!(flow.outside.count("webhook over"), 3, "no test leaves an incident open");
}

#[tokio::test(start_paused = true)]
async fn silence_is_told_also_where_a_daemon_only_observes() {
    let mut flow = beating().await;
    let backup = flow.log.entries().len();
    flow.restart().await;
    flow.change(&[("auth", "v1")]).await;
    flow.settle().await;
    flow.responds.watchdogs.insert("main".parse().unwrap(), Period::from_secs(300));
    flow.restore_backup(backup).await;
    flow.elapse(60).await;
    assert!(flow.board().observe_only.is_some());
    assert!((9..=11).contains(&beats(&flow, 600).await), "it goes on, and says so");
    assert!(pages(&flow).iter().any(|title| title.contains("has not heard its Watchdog")), "{:?}", pages(&flow));
    let told = pages(&flow).len();
    flow.reload().await;
    flow.elapse(600).await;
    assert!(flow.board().observe_only.is_some());
    assert_eq!(pages(&flow).len(), told, "settings were taken over, nothing else: {:?}", pages(&flow));

    // A commit ends it. Whatever has it observe again, in this very process, is told again.
    flow.change(&[("auth", "v2")]).await;
    flow.settle().await;
    assert_eq!(flow.board().observe_only, None);
    flow.reload_backup(backup).await;
    flow.elapse(60).await;
    assert!(flow.board().observe_only.is_some());
    assert!(pages(&flow).iter().any(|title| title.contains("only observes")), "{:?}", pages(&flow));
}

#[tokio::test(start_paused = true)]
async fn a_watchdog_that_is_missed_is_shown_also_where_nobody_can_be_called() {
    let mut flow = Flow::stopped(&["local"]);
    flow.responds.watchdogs.insert("main".parse().expect("a name"), Period::from_secs(300));
    flow.responds.heartbeat = Some(Period::from_secs(60));
    flow.responds.fallback = None;
    flow.start().await;
    begin(&mut flow, &["shop"]).await;
    flow.elapse(1_200).await;
    let silent = |flow: &Flow| flow.response().silent().into_keys().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!((silent(&flow), pages(&flow).len()), (vec!["main".to_owned()], 1));
    assert!(beats(&flow, 600).await > 0, "paging stands still for nobody");
    heard(&flow).await;
    flow.elapse(20).await;
    assert_eq!((silent(&flow), flow.response().pages.len()), (vec![], 0));
}

/// As if a receiver had brought all that it may, or less.
fn fill(flow: &Flow, alerts: usize) {
    let memory = codeops::journal::Log::memory(&*flow.log);
    let mut memory = memory.write().expect("no panic");
    memory.response.kept.insert("main".parse().expect("a name"), Kept { alerts, bytes: 0 });
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_is_full_is_told_of_once_and_so_is_its_end() {
    let mut flow = Flow::new().await;
    begin(&mut flow, &["shop"]).await;
    fill(&flow, Kept::MOST_ALERTS);
    flow.elapse(600).await;
    assert_eq!(pages(&flow), ["receiver main is full: no new alert of it is taken"]);
    fill(&flow, Kept::MOST_ALERTS - 1);
    flow.elapse(600).await;
    assert_eq!(flow.outside.count("webhook over"), 0, "the next would fill it");
    fill(&flow, 10);
    flow.elapse(600).await;
    assert_eq!((flow.outside.count("webhook"), flow.outside.count("webhook over")), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn what_was_over_long_ago_keeps_no_room_where_nothing_comes_in() {
    let mut flow = Flow::new().await;
    begin(&mut flow, &["shop"]).await;
    let of = |n: usize| format!("Noise{n}");
    flow.tell((0..150).map(|n| firing(&flow, &of(n), "none")).collect()).await;
    flow.elapse(5).await;
    flow.tell((0..150).map(|n| resolved(&flow, &of(n), "none")).collect()).await;
    flow.elapse(300).await;
    assert_eq!(flow.response().alerts.len(), 150);
    flow.elapse(3_700).await;
    assert_eq!((flow.response().alerts.len(), flow.response().kept.len()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn what_came_before_its_receiver_had_an_expiry_expires_as_well() {
    let mut flow = Flow::new().await;
    begin(&mut flow, &["shop"]).await;
    flow.tell(vec![firing(&flow, "DiskFull", "shop")]).await;
    flow.elapse(7_200).await;
    flow.responds.expire.insert("main".parse().expect("a name"), Period::from_secs(600));
    flow.restart().await;
    let state = |flow: &Flow| flow.response().alerts.values().next().map(|it| it.state);
    flow.elapse(500).await;
    assert_eq!(state(&flow), Some(AlertState::Firing), "it may be told of again");
    flow.elapse(200).await;
    assert_eq!(state(&flow), Some(AlertState::Expired));
}

#[tokio::test(start_paused = true)]
async fn a_watchdog_that_is_heard_as_its_time_is_up_is_not_missed() {
    let flow = watched().await;
    for _ in 0..5 {
        heard(&flow).await;
        // What it tells now takes a moment until it is written down.
        flow.elapse(301).await;
    }
    assert_eq!(pages(&flow), [""; 0]);
}
