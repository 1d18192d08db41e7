//! What comes back in spite of what is tried: a person is called once, told so, and keeps the page until it has been quiet for an
//! hour.

use codeops::journal::{Log, Record};
use codeops_core::model::{Disposition, PageEvent, RunState, Signal, Subject};

use super::alerts::{APP_DOWN, begin, begin_with, begun, firing, resolved};
use crate::support::flow::{Flow, id};
use crate::support::scripted_effects::Fare;

/// Answers Heat by a script, on nothing that is declared.
const HEAT: &str = "apiVersion: codeops/v1
kind: Playbook
metadata: {name: heat, team: core}
spec:
  on: {alert: {alertname: Heat}}
  steps:
    - {name: look, script: scripts/look.sh, timeout: 30s}
    - {name: proof, wait: resolved, quiet: 10s, timeout: 3m}
";

/// One outage of a minute, and four minutes after it.
async fn outage(flow: &Flow, name: &str) {
    flow.tell(vec![firing(flow, name, "shop")]).await;
    flow.elapse(60).await;
    flow.tell(vec![resolved(flow, name, "shop")]).await;
    flow.elapse(240).await;
}

fn latched(flow: &Flow) -> Vec<Subject> {
    let ledger = flow.response().ledger.into_iter();
    ledger.filter_map(|(subject, ledger)| ledger.latched_at.map(|_| subject)).collect()
}

/// How often a person was called, and told that it is over.
fn calls(flow: &Flow) -> (usize, usize) {
    (flow.outside.count("webhook"), flow.outside.count("webhook over"))
}

#[tokio::test(start_paused = true)]
async fn the_page_that_latches_says_so_and_stays_open_until_nothing_has_fired_for_an_hour() {
    // Nothing is to be replaced, for it is healthy or there is no target: the second time calls already, and is told resolved.
    for (playbook, name, words) in
        [(APP_DOWN, "AppDown", "Codeops-Retry: app/shop"), (HEAT, "Heat", "until nothing of it has fired for an hour")]
    {
        let (on, over) = ((2, 1), (2, 2));
        let mut flow = Flow::new().await;
        begin_with(&mut flow, &["shop"], playbook).await;
        for _ in 0..3 {
            outage(&flow, name).await;
        }
        assert_eq!((latched(&flow).len(), calls(&flow)), (1, on), "{name}: not told resolved while it is latched");
        let bodies = flow.outside.bodies();
        let page = bodies.last().expect("a page");
        assert!(page.contains("Latched since") && page.contains(words), "{page}");
        assert!(page.contains("before: run r1 of playbook") && page.contains("before: run r2 of"), "{page}");
        assert!(!page.contains("this came back"), "what did is named: {page}");
        // The fourth: the page that is open tells of it, for as long as it fires and an hour on.
        let runs = flow.runs().await.len();
        flow.tell(vec![firing(&flow, name, "shop")]).await;
        flow.elapse(2 * 3_600).await;
        assert_eq!((flow.runs().await.len(), latched(&flow).len(), calls(&flow)), (runs, 1, on), "{name}");
        flow.restart().await;
        flow.tell(vec![resolved(&flow, name, "shop")]).await;
        flow.elapse(3_000).await;
        assert_eq!((latched(&flow).len(), calls(&flow)), (1, on), "{name}: an hour from its end");
        flow.elapse(700).await;
        assert_eq!((latched(&flow).len(), calls(&flow)), (0, over), "{name}");
        outage(&flow, name).await;
        let runs = flow.runs().await;
        let last = runs.last().expect("a run");
        assert_eq!((last.state(), begun(last)[0].as_str()), (RunState::Resolved, "look"), "it is tried again");
        flow.check();
    }
}

#[tokio::test(start_paused = true)]
async fn what_joins_a_page_while_its_end_is_being_told_keeps_it_open() {
    let mut flow = Flow::new().await;
    begin(&mut flow, &["shop"]).await;
    flow.tell(vec![firing(&flow, "DiskFull", "shop")]).await;
    flow.elapse(30).await;
    flow.outside.fares("webhook over", Fare::Slow(20));
    flow.tell(vec![resolved(&flow, "DiskFull", "shop")]).await;
    flow.elapse(5).await;
    assert_eq!(calls(&flow), (1, 1), "on its way");
    let (page, call) = flow.response().calls.pop_first().expect("a call");
    let more = firing(&flow, "DiskFull", "auth");
    let Signal::Firing(alert) = &more else { unreachable!() };
    let (alerts, disposition) = (vec![alert.id.clone()], Disposition::Run { run: call.run.expect("a run") });
    let joined = Record::Page { page, event: PageEvent::Joined { alerts: alerts.clone() } };
    let receiver = alert.receiver.clone();
    let told = Record::Alerts { receiver, delivery: Vec::new(), signals: vec![more.clone()], spoiled: 0 };
    let records = vec![told, Record::Disposed { alerts, disposition }, joined];
    Log::append(&*flow.log, records).await.expect("taken");
    flow.elapse(120).await;
    assert_eq!((calls(&flow), flow.response().calls.len()), ((1, 1), 1), "it fires");
    flow.tell(vec![resolved(&flow, "DiskFull", "auth")]).await;
    flow.elapse(120).await;
    assert_eq!((calls(&flow), flow.response().calls.len()), ((1, 2), 0), "and its end is told");
}

#[tokio::test(start_paused = true)]
async fn a_commit_that_says_retry_ends_a_latch() {
    let mut flow = Flow::new().await;
    begin(&mut flow, &["shop"]).await;
    for _ in 0..3 {
        outage(&flow, "AppDown").await;
    }
    assert_eq!(latched(&flow), [Subject::Resource(id("shop"))]);
    flow.commit_with(&[], &[("Codeops-Retry", "app/shop")]).await;
    flow.elapse(30).await;
    assert_eq!((latched(&flow), calls(&flow)), (Vec::new(), (2, 2)));
    outage(&flow, "AppDown").await;
    let runs = flow.runs().await;
    assert_eq!(begun(runs.last().expect("a run"))[0], "look");
}

/// Its only action was passed over: what comes back is not said to have been in spite of it.
#[tokio::test(start_paused = true)]
async fn what_was_over_before_its_only_action_begins_at_its_steps_when_it_comes_back() {
    let playbook =
        APP_DOWN.replace("{name: look, script: scripts/look.sh, timeout: 30s}", "{name: look, wait: {for: 30s}}");
    let mut flow = Flow::new().await;
    begin_with(&mut flow, &["shop"], &playbook).await;
    flow.tell(vec![firing(&flow, "AppDown", "shop")]).await;
    flow.elapse(10).await;
    flow.tell(vec![resolved(&flow, "AppDown", "shop")]).await;
    flow.elapse(60).await;
    flow.tell(vec![firing(&flow, "AppDown", "shop")]).await;
    flow.elapse(60).await;
    let runs = flow.runs().await;
    let begun: Vec<Vec<String>> = runs.iter().map(|run| begun(run)).collect();
    assert_eq!(begun[1][..2], ["look".to_owned(), "restart".to_owned()], "{begun:?}");
}
