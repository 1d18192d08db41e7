//! Alerts of others: what one sender or team does keeps nobody else's alert from a person.

use std::collections::BTreeSet;
use std::sync::Arc;

use codeops::secret::SettingsVault;
use codeops_core::config::{SecretSettings, SecretSource};
use codeops_core::model::{Alert, AlertId, Fingerprint, Labels, Revision, RunState, Signal};

use super::alerts::{APP_DOWN, PEOPLE, begin, begun, firing, labels, only_run, resolved};
use crate::support::flow::Flow;
use crate::support::scripted_effects::Fare;

/// The same alert with one more label, told of by another system.
fn from_elsewhere(flow: &Flow, name: &str, app: &str) -> Signal {
    let Signal::Firing(alert) = firing(flow, name, app) else { unreachable!() };
    let labels = Labels::from_iter(labels(name, app).into_iter().chain([("zone".to_owned(), "b".to_owned())]));
    let source = "elsewhere".parse().expect("a name");
    let id = AlertId { source, fingerprint: Fingerprint::of(&labels), ..alert.id.clone() };
    Signal::Firing(Arc::new(Alert { id, labels, ..(*alert).clone() }))
}

#[tokio::test(start_paused = true)]
async fn what_is_new_on_a_latched_target_calls_a_person_once() {
    let mut flow = Flow::new().await;
    begin(&mut flow, &["shop"]).await;
    for _ in 0..3 {
        flow.tell(vec![firing(&flow, "AppDown", "shop")]).await;
        flow.elapse(60).await;
        flow.tell(vec![resolved(&flow, "AppDown", "shop")]).await;
        flow.elapse(240).await;
    }
    assert_eq!(flow.outside.count("webhook"), 2, "the third time latched it; the second had called, too");
    flow.tell(vec![from_elsewhere(&flow, "AppDown", "shop")]).await;
    flow.elapse(60).await;
    assert_eq!(flow.outside.count("webhook"), 3, "nobody knew of this one");
    let runs = flow.runs().await;
    let last = runs.last().expect("a run");
    assert_eq!((last.state(), begun(last)), (RunState::Paged, vec!["call".to_owned()]), "nothing is tried");
    flow.tell(vec![firing(&flow, "AppDown", "shop")]).await;
    flow.elapse(60).await;
    assert_eq!(flow.outside.count("webhook"), 3, "the one that latched it is known");
}

/// Who may only reach one team's keeps nobody else's alert from a person: a page for what is refused is no page for the real one.
#[tokio::test(start_paused = true)]
async fn what_a_receiver_may_not_reach_opens_no_page_that_a_real_alert_joins() {
    let mut flow = Flow::stopped(&["local"]);
    let theirs = "theirs".parse().expect("a name");
    flow.responds.receivers.insert(theirs, ["theirs".parse().expect("a team")].into());
    flow.start().await;
    begin(&mut flow, &["shop"]).await;
    let Signal::Firing(alert) = firing(&flow, "DiskFull", "shop") else { unreachable!() };
    let through = |receiver: &str, source: &str| {
        let id = AlertId { source: source.parse().expect("a name"), ..alert.id.clone() };
        let receiver = receiver.parse().expect("a name");
        Signal::Firing(Arc::new(Alert { id, receiver, ..(*alert).clone() }))
    };
    flow.tell(vec![through("theirs", "a")]).await;
    flow.elapse(30).await;
    assert_eq!(flow.outside.count("webhook"), 1, "the fallback is told of what is barred");
    flow.tell(vec![through("theirs", "b")]).await;
    flow.elapse(30).await;
    assert_eq!(flow.outside.count("webhook"), 1, "more of the same are told of there");
    flow.tell(vec![through("main", "c")]).await;
    flow.elapse(30).await;
    assert_eq!(flow.outside.count("webhook"), 2, "the real one calls");
    // In one delivery, too.
    flow.tell(vec![through("theirs", "d"), through("main", "e")]).await;
    flow.elapse(30).await;
    assert_eq!((flow.outside.count("webhook"), flow.runs().await.len()), (2, 2), "each joins its own");
}

/// A run of one team says nothing of another's secrets that its alert carries, and confirms no guess of its own team's.
#[tokio::test(start_paused = true)]
async fn what_an_alert_carries_is_masked_in_the_run_that_answers_it_and_in_its_page() {
    const THEIRS: &str = "hunter2-of-search";
    for (receiver, tells) in [("main", false), ("own", true)] {
        let mut flow = Flow::stopped(&["local"]);
        let source = SecretSource::Env("KEY".to_owned());
        let granted = SecretSettings { source, teams: vec!["search".parse().expect("a team")] };
        let settings = [("key".parse().expect("a name"), granted)].into();
        let environment = [("KEY".to_owned(), THEIRS.to_owned())].into();
        flow.vault = Arc::new(SettingsVault::new(settings, [7; 32], environment).with_teams_apart(true));
        flow.responds.receivers.insert("own".parse().expect("a name"), ["core".parse().expect("a team")].into());
        flow.start().await;
        begin(&mut flow, &["shop"]).await;
        flow.outside.fares("scripts/look.sh", Fare::Done(serde_json::json!({"said": THEIRS, "other": "kept"})));
        let Signal::Firing(alert) = firing(&flow, "AppDown", "shop") else { unreachable!() };
        let mut alert = Alert { receiver: receiver.parse().expect("a name"), ..(*alert).clone() };
        alert.annotations.insert("summary".to_owned(), format!("login with {THEIRS} failed"));
        flow.tell(vec![Signal::Firing(Arc::new(alert))]).await;
        flow.elapse(900).await;
        let run = only_run(&flow).await;
        let steps = format!("{:?}", run.steps);
        let page = flow.outside.bodies().concat();
        assert!(steps.contains("kept") && page.contains("login with"), "{steps} {page}");
        assert_eq!((steps.contains(THEIRS), page.contains(THEIRS)), (tells, tells), "{receiver}: {steps} {page}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_storm_is_told_to_everybody_whose_alerts_are_in_it() {
    let mut flow = Flow::new().await;
    let names: Vec<String> = (0..60).map(|n| format!("app-{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    begin(&mut flow, &names).await;
    let others = "route: {policy: people, routes: [{match: ['app=~\"app-.*[02468]\"'], policy: others}]}";
    let policy = "---\napiVersion: codeops/v1\nkind: EscalationPolicy\nmetadata: {name: others, team: core}\nspec: {levels: [{notify: [receiver/sink]}]}\n";
    flow.commit(&[("people.yaml", &(PEOPLE.replace("route: {policy: people}", others) + policy))]).await;
    flow.elapse(5).await;
    let signals = names.iter().map(|name| firing(&flow, "AppDown", name)).collect();
    flow.tell(signals).await;
    flow.elapse(120).await;
    let response = flow.response();
    let pages: BTreeSet<_> = response
        .alerts
        .values()
        .filter_map(|it| match &it.disposition {
            codeops_core::model::Disposition::Left { why } if why.contains("storm") => Some(why.clone()),
            _ => None,
        })
        .collect();
    assert_eq!(pages.len(), 2, "{pages:?}");
}

#[tokio::test(start_paused = true)]
async fn a_wait_ends_with_its_playbook_and_calls_a_person() {
    let mut flow = Flow::new().await;
    let (head, _) = APP_DOWN.split_once("    - {name: look").expect("its first step");
    begin(&mut flow, &["shop"]).await;
    flow.commit(&[("playbook.yaml", &format!("{head}    - {{name: idle, wait: {{for: 10m}}}}\n"))]).await;
    flow.elapse(5).await;
    flow.tell(vec![firing(&flow, "AppDown", "shop")]).await;
    flow.elapse(5).await;
    flow.commit(&[("playbook.yaml", "")]).await;
    flow.elapse(30).await;
    let run = only_run(&flow).await;
    assert_eq!((run.state(), begun(&run)), (RunState::Cancelled, vec!["idle".to_owned()]));
    assert_eq!(flow.outside.count("webhook"), 1, "the alert still fires");
}

/// A manifest with a mistake keeps what it said last in force, also with the next daemon.
#[tokio::test(start_paused = true)]
async fn a_broken_playbook_answers_as_it_last_did_after_a_restart() {
    let mut flow = Flow::new().await;
    begin(&mut flow, &["shop"]).await;
    flow.commit(&[("playbook.yaml", &APP_DOWN.replace("app.restart", "app.restrat"))]).await;
    flow.settle().await;
    assert!(flow.board().diagnostics.iter().any(|it| it.message.contains("restrat")), "it is broken");
    flow.restart().await;
    flow.settle().await;
    flow.tell(vec![firing(&flow, "AppDown", "shop")]).await;
    flow.elapse(60).await;
    let run = only_run(&flow).await;
    assert_eq!(begun(&run)[..2], ["look".to_owned(), "restart".to_owned()], "{run:#?}");
}

/// Where what is broken was good last is known from the journal: a start that had to look for it would answer alerts late.
#[tokio::test(start_paused = true)]
async fn a_start_reads_no_more_revisions_than_it_needs_for_what_is_broken() {
    let mut flow = Flow::new().await;
    begin(&mut flow, &["shop"]).await;
    let bad = APP_DOWN.replace("app.restart", "app.restrat");
    let never = bad.replace("name: app-down", "name: never-good").replace("alertname: AppDown", "alertname: Other");
    for number in 0..8 {
        flow.commit(&[("never.yaml", &format!("{never}# {number}\n"))]).await;
        flow.settle().await;
    }
    let only = |read: Vec<Revision>| read.into_iter().collect::<BTreeSet<_>>();
    let newest = flow.change(&[("shop", "v2")]).await;
    flow.settle().await;
    flow.source.take_read();
    flow.restart().await;
    flow.settle().await;
    assert_eq!(only(flow.source.take_read()), [newest.clone()].into(), "it never was good");

    let broken = flow.commit(&[("playbook.yaml", &bad)]).await;
    flow.settle().await;
    let last = flow.change(&[("shop", "v3")]).await;
    flow.settle().await;
    for _ in 0..2 {
        flow.source.take_read();
        flow.restart().await;
        flow.settle().await;
        assert_eq!(only(flow.source.take_read()), [newest.clone(), last.clone()].into(), "not {broken}");
    }
    flow.tell(vec![firing(&flow, "AppDown", "shop")]).await;
    flow.elapse(60).await;
    let run = only_run(&flow).await;
    assert_eq!(begun(&run)[..2], ["look".to_owned(), "restart".to_owned()], "{run:#?}");
}
