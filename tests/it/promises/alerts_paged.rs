//! Who is called when, for how many alerts, and who is told of the end.

use std::collections::BTreeSet;
use std::sync::Arc;

use codeops::journal::Record;
use codeops_core::model::{Alert, AlertId, Disposition, Fingerprint, Labels, PageEvent, PageOpened, RunState, Signal};
use codeops_core::playbook::{STORM_ALL, STORM_RUNS};

use super::alerts::{PEOPLE, begin, begin_with, firing, labels, only_run, resolved};
use crate::support::flow::Flow;
use crate::support::scripted_effects::Fare;

/// The alert of an app with more labels, as a source tells of it.
fn alert(flow: &Flow, source: &str, name: &str, app: &str, more: &[(&str, &str)]) -> Signal {
    let Signal::Firing(alert) = firing(flow, name, app) else { unreachable!() };
    let more = more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let labels: Labels = labels(name, app).into_iter().chain(more).collect();
    let source = source.parse().expect("a name");
    let id = AlertId { source, fingerprint: Fingerprint::of(&labels), ..alert.id.clone() };
    Signal::Firing(Arc::new(Alert { id, labels, ..(*alert).clone() }))
}

/// The same alert, over.
fn over(flow: &Flow, signal: &Signal) -> Signal {
    let Signal::Firing(alert) = signal else { unreachable!() };
    let (source, fingerprint) = (alert.id.source.clone(), alert.id.fingerprint.clone());
    Signal::Resolved { source, fingerprint, starts_at: None, ended_at: flow.clock.now(), name: None }
}

/// A repository whose alerts share a page by their names.
async fn grouped(flow: &mut Flow) {
    begin(flow, &["shop"]).await;
    let people = PEOPLE.replace("route: {policy: people}", "route: {policy: people, groupBy: [alertname]}");
    flow.commit(&[("people.yaml", &people)]).await;
    flow.elapse(5).await;
}

#[tokio::test(start_paused = true)]
async fn alerts_of_one_group_call_a_person_once_until_all_of_them_are_over() {
    let mut flow = Flow::new().await;
    grouped(&mut flow).await;
    let hosts: Vec<String> = (0..16).map(|n| format!("host-{n}")).collect();
    for host in &hosts {
        flow.tell(vec![firing(&flow, "DiskFull", host)]).await;
        flow.elapse(1).await;
    }
    assert_eq!(flow.outside.count("webhook"), 1, "one page for the group");
    let run = only_run(&flow).await;
    let answered = |it: &Disposition| *it == Disposition::Run { run: run.id };
    assert!(flow.response().alerts.values().all(|it| answered(&it.disposition)), "each receipt names its run");
    flow.restart().await;
    flow.tell(vec![firing(&flow, "DiskFull", "one-more")]).await;
    flow.elapse(5).await;
    assert_eq!(flow.outside.count("webhook"), 1, "nor does the next daemon call again");
    for host in &hosts {
        flow.tell(vec![resolved(&flow, "DiskFull", host)]).await;
    }
    flow.elapse(30).await;
    assert_eq!(flow.outside.count("webhook over"), 0, "one still fires");
    flow.tell(vec![resolved(&flow, "DiskFull", "one-more")]).await;
    flow.elapse(30).await;
    assert_eq!(flow.outside.count("webhook over"), 1);
    flow.tell(vec![firing(&flow, "DiskFull", "host-0")]).await;
    flow.elapse(30).await;
    assert_eq!(flow.outside.count("webhook"), 2, "that page is over");
}

#[tokio::test(start_paused = true)]
async fn what_is_worse_or_of_another_group_calls_a_person_though_one_was_called() {
    let mut flow = Flow::new().await;
    grouped(&mut flow).await;
    let tells =
        |flow: &Flow, name: &str, app: &str, severity: &str| alert(flow, "main", name, app, &[("severity", severity)]);
    for (name, app, severity, pages) in [
        ("DiskFull", "a", "warning", 1),
        ("DiskFull", "b", "warning", 1),
        ("DiskFull", "c", "critical", 2),
        ("DiskFull", "d", "critical", 2),
        ("DiskFull", "e", "info", 2),
        ("Heat", "a", "info", 3),
        ("DiskFull", "f", "who-knows", 4),
    ] {
        flow.tell(vec![tells(&flow, name, app, severity)]).await;
        flow.elapse(5).await;
        assert_eq!(flow.outside.count("webhook"), pages, "{name} {app} {severity}");
    }
}

#[tokio::test(start_paused = true)]
async fn where_only_a_call_is_left_each_outage_calls() {
    for group in [true, false] {
        let mut flow = Flow::new().await;
        begin(&mut flow, &["shop"]).await;
        if group {
            grouped(&mut flow).await;
        }
        for round in 1..=5 {
            flow.tell(vec![firing(&flow, "DiskFull", "a")]).await;
            flow.elapse(60).await;
            assert_eq!(flow.outside.count("webhook"), round, "outage {round} of one hour, {group}");
            flow.tell(vec![resolved(&flow, "DiskFull", "a")]).await;
            flow.elapse(60).await;
            assert_eq!(flow.outside.count("webhook over"), round, "and its end is told, {group}");
        }
        assert!(flow.response().ledger.values().all(|ledger| ledger.latched_at.is_none()));
    }
}

#[tokio::test(start_paused = true)]
async fn who_was_called_about_a_storm_is_told_when_all_of_it_is_over() {
    let mut flow = Flow::new().await;
    let names: Vec<String> = (0..30).map(|n| format!("app-{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    begin(&mut flow, &names).await;
    flow.tell(names.iter().map(|name| firing(&flow, "AppDown", name)).collect()).await;
    flow.elapse(10).await;
    assert_eq!(flow.outside.count("webhook"), 1, "the storm");
    let (last, first) = names.split_last().expect("some");
    flow.tell(first.iter().map(|name| resolved(&flow, "AppDown", name)).collect()).await;
    flow.restart().await;
    flow.elapse(10).await;
    let left = flow.response().alerts.into_values().filter(|it| matches!(it.disposition, Disposition::Left { .. }));
    let open: BTreeSet<&str> = BTreeSet::from([*last]);
    assert!(left.count() >= 1 && flow.outside.count("webhook over") <= 1, "{open:?}");
    flow.tell(vec![resolved(&flow, "AppDown", last)]).await;
    flow.elapse(60).await;
    assert_eq!(flow.outside.count("webhook over"), 1, "told once, to the one who was called");
    assert!(flow.response().calls.is_empty());
}

#[tokio::test(start_paused = true)]
async fn another_daemon_or_taken_over_settings_do_not_call_again_for_a_storm_within_the_minute() {
    let mut flow = Flow::new().await;
    let names: Vec<String> = (0..40).map(|n| format!("app-{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    begin(&mut flow, &names).await;
    let (early, late) = names.split_at(30);
    flow.tell(early.iter().map(|name| firing(&flow, "AppDown", name)).collect()).await;
    flow.elapse(10).await;
    assert_eq!(flow.outside.count("webhook"), 1);
    flow.restart().await;
    flow.elapse(1).await;
    flow.tell(late.iter().map(|name| firing(&flow, "AppDown", name)).collect()).await;
    flow.elapse(20).await;
    assert_eq!(flow.outside.count("webhook"), 1, "they wait for the next page");
    flow.elapse(60).await;
    let waits = |it: &Disposition| matches!(it, Disposition::Received | Disposition::Waits { .. });
    assert!(!flow.response().alerts.values().any(|it| waits(&it.disposition)));
}

#[tokio::test(start_paused = true)]
async fn what_waits_in_a_storm_says_so_and_is_on_its_next_page_and_on_no_other() {
    let mut flow = Flow::new().await;
    let names: Vec<String> = (0..STORM_RUNS + 40).map(|n| format!("app-{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    begin_with(&mut flow, &names, "").await;
    let grouped = "route: {policy: people, groupBy: [alertname]}";
    flow.commit(&[("people.yaml", &PEOPLE.replace("route: {policy: people}", grouped))]).await;
    flow.elapse(5).await;
    let tell = async |flow: &Flow, names: &[&str]| {
        // Each of a group of its own: none joins the page of another.
        let told = names.iter().map(|name| firing(flow, &format!("Down-{name}"), name)).collect();
        flow.tell(told).await;
    };
    tell(&flow, &names[..=STORM_RUNS]).await;
    flow.elapse(10).await;
    assert_eq!(flow.outside.count("webhook"), STORM_RUNS + 1, "one each, and the storm");
    let body = flow.outside.bodies().into_iter().find(|body| body.contains("In a storm")).expect("a storm");
    assert!(body.contains("In a storm: main. What else comes of it is on the next page, at "), "{body}");
    let titles = |flow: &Flow| {
        flow.records(|record| match record {
            Record::Page { event: PageEvent::Opened(PageOpened { title, .. }), .. } if title.contains("storm") => {
                Some(title.clone())
            }
            _ => None,
        })
    };
    assert_eq!(titles(&flow), ["alert storm: 1 alert at once"]);

    tell(&flow, &names[STORM_RUNS + 1..]).await;
    flow.elapse(10).await;
    let waits: Vec<String> = flow
        .response()
        .alerts
        .into_values()
        .filter_map(|it| match &it.disposition {
            Disposition::Waits { why } => Some(why.clone()),
            _ => None,
        })
        .collect();
    assert_eq!(waits.len(), 39);
    assert!(waits.iter().all(|why| why.starts_with("in a storm of main: the page at ")), "{waits:?}");
    flow.restart().await;
    flow.tell(vec![resolved(&flow, &format!("Down-{}", names[STORM_RUNS + 1]), names[STORM_RUNS + 1])]).await;
    flow.elapse(90).await;
    assert_eq!(flow.outside.count("webhook"), STORM_RUNS + 2, "one page for all that waited");
    assert_eq!(titles(&flow).last().map(String::as_str), Some("alert storm: 38 alerts at once"));
    assert_eq!(flow.runs().await.len(), STORM_RUNS);
    let left = flow.response().alerts.into_values().filter(|it| matches!(it.disposition, Disposition::Left { .. }));
    assert_eq!(left.count(), 40, "each has its receipt");
}

#[tokio::test(start_paused = true)]
async fn one_source_in_a_storm_leaves_the_alerts_of_others_to_their_playbooks() {
    let mut flow = Flow::new().await;
    let names: Vec<String> = (0..100).map(|n| format!("app-{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    begin(&mut flow, &names).await;
    flow.tell(names[..40].iter().map(|name| alert(&flow, "main", "AppDown", name, &[])).collect()).await;
    flow.elapse(2).await;
    assert_eq!(flow.runs().await.len(), STORM_RUNS);
    flow.tell(vec![alert(&flow, "other", "AppDown", names[50], &[])]).await;
    flow.elapse(2).await;
    assert_eq!(flow.runs().await.len(), STORM_RUNS + 1, "the other source's has its run");
    let many =
        names[40..].iter().enumerate().map(|(n, name)| alert(&flow, &format!("s{}", n % 5), "AppDown", name, &[]));
    flow.tell(many.collect()).await;
    flow.elapse(2).await;
    assert_eq!(flow.runs().await.len(), STORM_ALL, "and the machine has its bound");
}

/// Two who take turns of an hour.
const TURNS: &str = "apiVersion: codeops/v1
kind: Receiver
metadata: {name: ada, team: core}
spec: {webhook: {url: https://sink.example/ada}}
---
apiVersion: codeops/v1
kind: Receiver
metadata: {name: ben, team: core}
spec: {slack: {url: https://sink.example/ben}}
---
apiVersion: codeops/v1
kind: OnCall
metadata: {name: turns, team: core}
spec: {members: [ada, ben], start: 2023-11-14T22:00:00Z, every: 1h}
---
apiVersion: codeops/v1
kind: EscalationPolicy
metadata: {name: people, team: core}
spec: {levels: [{notify: [oncall/turns]}]}
---
apiVersion: codeops/v1
kind: AlertRoute
metadata: {name: routing, team: core}
spec: {route: {policy: people}}
";

#[tokio::test(start_paused = true)]
async fn who_was_called_is_told_of_the_end_though_another_is_on_call_by_then() {
    let mut flow = Flow::new().await;
    begin(&mut flow, &["shop"]).await;
    flow.commit(&[("people.yaml", TURNS)]).await;
    flow.elapse(5).await;
    flow.tell(vec![firing(&flow, "DiskFull", "shop")]).await;
    flow.elapse(30).await;
    let called = ["webhook", "slack"].map(|word| flow.outside.count(word));
    assert_eq!(called.iter().sum::<usize>(), 1, "{called:?}");
    flow.elapse(3_600).await;
    flow.restart().await;
    flow.tell(vec![resolved(&flow, "DiskFull", "shop")]).await;
    flow.elapse(30).await;
    assert_eq!(["webhook over", "slack over"].map(|word| flow.outside.count(word)), called);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_only_called_a_person_ends_paged_though_its_alert_was_over_by_then() {
    let mut flow = Flow::new().await;
    begin(&mut flow, &["shop"]).await;
    flow.outside.fares("webhook", Fare::Failed);
    let fires = firing(&flow, "DiskFull", "shop");
    flow.tell(vec![fires.clone()]).await;
    flow.elapse(30).await;
    flow.tell(vec![over(&flow, &fires)]).await;
    flow.outside.fares("webhook", Fare::Done(serde_json::Value::Null));
    flow.elapse(600).await;
    assert_eq!(only_run(&flow).await.state(), RunState::Paged);
}

#[tokio::test(start_paused = true)]
async fn what_joins_a_page_that_nobody_has_accepted_is_told_of_in_what_is_sent() {
    let mut flow = Flow::new().await;
    grouped(&mut flow).await;
    flow.outside.fares("webhook", Fare::Failed);
    flow.tell(vec![firing(&flow, "DiskFull", "host-a")]).await;
    flow.elapse(5).await;
    flow.tell(vec![firing(&flow, "DiskFull", "host-b")]).await;
    flow.elapse(5).await;
    flow.outside.fares("webhook", Fare::Done(serde_json::Value::Null));
    flow.elapse(600).await;
    assert_eq!(flow.runs().await.len(), 1);
    let bodies = flow.outside.bodies();
    let (first, last) = (bodies.first().expect("sent"), bodies.last().expect("sent"));
    assert!(!first.contains("host-b") && !first.contains("more alerts"), "{first}");
    assert!(last.contains("host-a") && last.contains("host-b"), "{last}");
    flow.tell(vec![firing(&flow, "DiskFull", "host-c")]).await;
    flow.elapse(5).await;
    assert_eq!(flow.runs().await.len(), 2, "that page was accepted, and opened long ago");
}

#[tokio::test(start_paused = true)]
async fn a_page_without_a_policy_goes_to_the_routes_then_to_the_teams_own() {
    let team = "apiVersion: codeops/v1\nkind: Team\nmetadata: {name: core}\nspec: {escalation: own}\n";
    let own = "---\napiVersion: codeops/v1\nkind: Receiver\nmetadata: {name: chat, team: core}\n\
               spec: {slack: {url: https://chat.example/own}}\n---\n\
               apiVersion: codeops/v1\nkind: EscalationPolicy\nmetadata: {name: own, team: core}\n\
               spec: {levels: [{notify: [receiver/chat]}]}\n";
    let playbook = "apiVersion: codeops/v1\nkind: Playbook\nmetadata: {name: calls, team: core}\n\
                    spec: {on: {alert: {alertname: Odd}}, steps: [{name: call, page: {}}]}\n";
    for (route, told) in [(PEOPLE.to_owned(), (1, 0)), (PEOPLE.replace("policy: people", ""), (0, 1))] {
        let mut flow = Flow::new().await;
        begin_with(&mut flow, &[], playbook).await;
        flow.commit(&[("team.yaml", team), ("people.yaml", &(route + own))]).await;
        flow.elapse(5).await;
        flow.tell(vec![firing(&flow, "Odd", "shop")]).await;
        flow.elapse(10).await;
        assert_eq!((flow.outside.count("webhook"), flow.outside.count("slack")), told);
    }
}
