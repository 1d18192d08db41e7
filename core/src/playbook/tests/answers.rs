//! Whose an alert is, and that nobody else's playbook answers it instead.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::super::{Answer, World, seen};
use super::{at, compiled, firing, name};
use crate::alert::{Routed, Router};
use crate::desired::Desired;
use crate::model::{Alert, Fingerprint, Labels, TeamName};

/// Two teams, each with an app, and one that writes for everybody.
const TEAMS: &str = "\
apiVersion: codeops/v1
kind: Team
metadata: {name: evil}
spec: {}
---
apiVersion: codeops/v1
kind: Team
metadata: {name: platform}
spec: {}
---
apiVersion: codeops/v1
kind: App
metadata: {name: evil, team: evil}
spec: {provider: local, run: {command: [/bin/evil]}}
---
apiVersion: codeops/v1
kind: AlertRoute
metadata: {name: all, team: platform}
spec: {route: {policy: everybody}}
---
apiVersion: codeops/v1
kind: EscalationPolicy
metadata: {name: everybody, team: platform}
spec: {levels: [{notify: [receiver/one]}, {notify: [receiver/two]}]}
---
apiVersion: codeops/v1
kind: Receiver
metadata: {name: one, team: platform}
spec: {webhook: \"https://one.example/\"}
---
apiVersion: codeops/v1
kind: Receiver
metadata: {name: two, team: platform}
spec: {webhook: \"https://two.example/\"}
---
";

fn playbook(called: &str, team: &str, on: &str, target: Option<&str>) -> String {
    let target = target.map(|target| format!("  target: {target}\n")).unwrap_or_default();
    format!(
        "apiVersion: codeops/v1\nkind: Playbook\nmetadata: {{name: {called}, team: {team}}}\nspec:\n  on: {{alert: {{matchers: ['{on}']}}}}\n{target}  steps: [{{name: idle, wait: {{for: 1m}}}}]\n---\n"
    )
}

/// The settings of both teams; `shop` lets these.
fn guarded(manifests: &str, lets: &[&str]) -> Desired {
    let mut desired = compiled(&format!("{TEAMS}{manifests}"));
    let none = || BTreeSet::new();
    desired.reach = BTreeMap::from([(name("evil"), none()), (name("platform"), none())]);
    desired.reach.insert(name("shop"), lets.iter().map(|team| name(team)).collect());
    desired.everybodys = [name("platform")].into();
    desired
}

fn labelled(pairs: &[(&str, &str)]) -> Arc<Alert> {
    let labels: Labels = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let mut alert = Alert::clone(&firing("shop", at(0)).alert);
    alert.id.fingerprint = Fingerprint::of(&labels);
    Arc::new(Alert { labels, ..alert })
}

fn with_world<T>(desired: &Desired, alert: &Alert, what: impl FnOnce(&World<'_>, &Routed, Answer) -> T) -> T {
    let response = Arc::new(desired.response.clone());
    let routed = Router::new(&response, Some(&name("everybody")), desired.whose()).route(&alert.labels);
    let fallback = name("everybody");
    let world = World {
        response: &response,
        resources: &desired.resources,
        reach: &desired.reach,
        teams: &desired.teams,
        fallback: Some(&fallback),
        resolve_delay: desired.repository.resolve_delay(),
    };
    let answer = world.answer(&routed, &seen(alert), None);
    what(&world, &routed, answer)
}

/// The playbook that answers, or why only a person does.
fn answered(desired: &Desired, alert: &Alert) -> Result<String, String> {
    with_world(desired, alert, |_, _, answer| match answer {
        Answer::Runs { playbook, .. } => Ok(playbook.name.to_string()),
        Answer::Pages { why, .. } => Err(why),
        Answer::Held { why, .. } => panic!("held: {why}"),
    })
}

#[test]
fn a_playbook_of_another_team_never_answers_instead() {
    let theirs =
        playbook("aaa", "evil", "app=\"shop\"", None) + &playbook("aab", "evil", "app=\"shop\"", Some("app/evil"));
    let own = playbook("shop-down", "shop", "alertname=\"AppDown\"", Some("app/{{ alert.labels.app }}"));
    let alert = labelled(&[("alertname", "AppDown"), ("app", "shop")]);
    let both = format!("{theirs}{own}");
    assert_eq!(answered(&guarded(&both, &[]), &alert), Ok("shop-down".to_owned()));
    assert_eq!(answered(&guarded(&both, &["evil"]), &alert), Ok("shop-down".to_owned()), "the owner's own comes first");
    let why = answered(&guarded(&theirs, &[]), &alert).unwrap_err();
    assert!(why.contains("it is team shop's"), "{why}");
    assert_eq!(answered(&guarded(&theirs, &["evil"]), &alert), Ok("aaa".to_owned()), "shop lets it");
    assert_eq!(answered(&compiled(&format!("{TEAMS}{both}")), &alert), Ok("aaa".to_owned()), "no teams, no question");
}

#[test]
fn an_alert_that_names_its_team_is_not_taken_by_who_declares_its_app() {
    let own = playbook("shop-db", "shop", "alertname=\"DbDown\"", None);
    let platforms = playbook("restart", "platform", "alertname=\"DbDown\"", Some("app/{{ alert.labels.app }}"));
    let theirs = playbook("aaa", "evil", "app=\"evil\"", None);
    let alert = labelled(&[("alertname", "DbDown"), ("app", "evil"), ("team", "shop")]);
    let mut desired = guarded(&format!("{own}{theirs}"), &[]);
    assert_eq!(answered(&desired, &alert), Ok("shop-db".to_owned()));
    assert_eq!(with_world(&desired, &alert, |_, routed, _| routed.owner.clone()), Some(name("shop")));
    // It is that team's without a manifest of it, too.
    desired.teams.remove(&name("shop"));
    assert_eq!(with_world(&desired, &alert, |_, routed, _| routed.owner.clone()), Some(name("shop")));
    let mut desired = guarded(&format!("{platforms}{theirs}"), &["platform"]);
    desired.reach.insert(name("evil"), [name("platform")].into());
    let why = answered(&desired, &alert).unwrap_err();
    assert!(why.contains("app/evil is team evil's, and the alert team shop's"), "{why}");
    // Without such a label, or with one that names no team, its app tells.
    for team in [&[][..], &[("team", "nobody")]] {
        let pairs = [&[("alertname", "DbDown"), ("app", "evil")][..], team].concat();
        assert_eq!(answered(&desired, &labelled(&pairs)), Ok("aaa".to_owned()));
    }
    let own = labelled(&[("alertname", "DbDown"), ("app", "shop"), ("team", "platform")]);
    assert_eq!(answered(&desired, &own), Ok("restart".to_owned()), "shop lets the platform act");
}

#[test]
fn what_names_nobody_is_the_platforms_and_no_teams_catch_all_takes_it() {
    let fixed = playbook("shop-disk", "shop", "alertname=\"DiskFull\"", Some("app/shop"));
    let theirs = playbook("aaa", "evil", "alertname=~\".+\"", None);
    let named = playbook("shop-job", "shop", "alertname=\"DiskFull\"", Some("app/{{ alert.labels.job }}"));
    let alert = labelled(&[("alertname", "DiskFull"), ("host", "db1"), ("job", "node"), ("severity", "page")]);
    for only in [&theirs, &fixed, &named] {
        let why = answered(&guarded(only, &[]), &alert).unwrap_err();
        assert!(why.contains("names no team") && why.contains("label `team`"), "{why}");
    }
    let all = format!("{theirs}{fixed}{named}");
    let of = |pairs: &[(&str, &str)]| {
        let pairs: Vec<_> = [("alertname", "DiskFull")].iter().chain(pairs).copied().collect();
        answered(&guarded(&all, &[]), &labelled(&pairs))
    };
    assert_eq!(of(&[("team", "shop")]), Ok("shop-disk".to_owned()), "its label names the team");
    assert_eq!(of(&[("app", "shop")]), Ok("shop-disk".to_owned()), "or its app");
    assert_eq!(of(&[("job", "evil"), ("team", "shop")]), Ok("shop-disk".to_owned()));
    // Any team may name an app as a label's value happens to be, and a target after it.
    assert!(of(&[("job", "shop")]).is_err() && of(&[("env", "shop")]).is_err());
    // The platform's own answers, and whatever playbook its route names.
    let everybodys = playbook("disk", "platform", "alertname=\"DiskFull\"", None);
    assert_eq!(answered(&guarded(&format!("{all}{everybodys}"), &[]), &alert), Ok("disk".to_owned()));
    let routes = TEAMS.replace("{policy: everybody}", "{policy: everybody, playbook: shop-disk}");
    let mut desired = guarded("", &[]);
    desired.response = compiled(&format!("{routes}{all}")).response;
    assert_eq!(answered(&desired, &alert), Ok("shop-disk".to_owned()), "its route names it");
    // A receiver that is for one team says whose it is.
    let desired = guarded(&all, &[]);
    let by = |teams: &[&str]| {
        let teams: BTreeSet<TeamName> = teams.iter().map(|team| name(team)).collect();
        with_world(&desired, &alert, |world, routed, _| world.answer(routed, &seen(&alert), Some(&teams)))
    };
    assert!(matches!(by(&["evil"]), Answer::Runs { playbook, .. } if playbook.name == name("aaa")));
    assert!(matches!(by(&["evil", "shop"]), Answer::Pages { .. }));
}

#[test]
fn why_a_playbook_is_not_taken_is_said_of_each() {
    let theirs = playbook("aaa", "evil", "alertname=~\".+\"", None);
    let own = playbook("disk", "platform", "alertname=\"DiskFull\"", None);
    let of = |pairs: &[(&str, &str)]| {
        let desired = guarded(&format!("{theirs}{own}"), &[]);
        let alert = labelled(pairs);
        with_world(&desired, &alert, |world, routed, _| {
            let answering = world.may_answer(routed, None);
            answering.not.iter().map(|(playbook, why)| format!("{}: {why}", playbook.name)).collect::<Vec<_>>()
        })
    };
    let nobodys = of(&[("alertname", "DiskFull")]);
    assert!(nobodys.len() == 1 && nobodys[0].starts_with("aaa: the alert names no team"), "{nobodys:?}");
    let shops = of(&[("alertname", "DiskFull"), ("app", "shop")]);
    assert!(shops.len() == 2 && shops[0].contains("is team shop's, which does not `allow`"), "{shops:?}");
}

#[test]
fn a_receiver_of_some_teams_reaches_no_others() {
    let both = playbook("evil-down", "evil", "app=\"evil\"", Some("app/evil"))
        + &playbook("shop-down", "shop", "app=\"shop\"", Some("app/shop"));
    let desired = guarded(&both, &[]);
    let teams: BTreeSet<TeamName> = [name("evil")].into();
    let within = |app: &str| {
        let alert = labelled(&[("alertname", "AppDown"), ("app", app)]);
        with_world(&desired, &alert, |world, routed, answer| world.within(answer, &teams, routed))
    };
    assert!(matches!(within("evil"), Answer::Runs { .. }));
    let Answer::Pages { policy, why, .. } = within("shop") else { panic!("it reaches the shop") };
    assert_eq!(policy, Some(name("everybody")));
    assert!(why.contains("may not reach app/shop"), "{why}");
}
