//! Whom alerts reach, and what a team may reach to answer them.

use super::*;

#[test]
fn every_alert_reaches_somebody() {
    let said = |pairs: &[(&str, &str)], context: &Context| {
        let compiled = compile_answered(pairs, context);
        (compiled.has_errors(), rendered(&compiled))
    };
    let none = Context::default();
    let (errors, text) = said(&[("alerts/routing.yaml", "# none\n")], &none);
    assert!(!errors && text.contains("no AlertRoute takes the alerts that no playbook is on"), "{text}");
    let second = ROUTE.replace("name: main", "name: other");
    let (errors, text) = said(&[("alerts/second.yaml", &second)], &none);
    assert!(errors && text.contains("a second AlertRoute without `match` at its top, `other`"), "{text}");
    let matched = second.replace("  route:\n", "  route:\n    match: [app=shop]\n");
    assert_eq!(said(&[("alerts/second.yaml", &matched)], &none), (false, String::new()));
    let nobody = ROUTE.replace("    policy: payments-oncall\n", "");
    let (errors, text) = said(&[("alerts/routing.yaml", &nobody)], &none);
    assert!(!errors && text.contains("reaches nobody unless a playbook is on it"), "{text}");
    let fallback = Context { fallback: Some(name("payments-oncall")), ..Context::default() };
    assert_eq!(said(&[("alerts/routing.yaml", &nobody)], &fallback), (false, String::new()));
    let missing = Context { fallback: Some(name("payments-onkall")), ..Context::default() };
    let (errors, text) = said(&[], &missing);
    assert!(!errors && text.contains("the `fallback` of the daemon's settings"), "{text}");
    assert!(text.contains("did you mean `payments-oncall`?"), "{text}");
    let one = CHANNELS.replace("[oncall/first, receiver/chat]", "[receiver/mail]");
    let (errors, text) = said(&[("alerts/people.yaml", &one)], &none);
    assert!(!errors && text.contains("has one channel"), "{text}");
}

#[test]
fn an_address_that_a_team_may_not_reach_is_told_where_it_stands() {
    let here = CHANNELS.replace("{slack: {urlSecret: chat-url}}", "{slack: 'http://127.0.0.1:9/in'}");
    let step = step("notify: {webhook: 'http://localhost/x', title: t}");
    let said = |egress: &[&str]| {
        let egress = egress.iter().map(|entry| (*entry).to_owned()).collect();
        let own = TeamSettings { paths: vec!["**".to_owned()], egress, ..TeamSettings::default() };
        let context = Context { teams: BTreeMap::from([(name("payments"), own)]), ..Context::default() };
        let pairs = [("alerts/people.yaml", here.as_str()), ("playbooks/shop-down.yaml", &step)];
        let compiled = compile_answered(&pairs, &context);
        (compiled.has_errors(), rendered(&compiled))
    };
    let (errors, text) = said(&[]);
    assert!(!errors && text.contains("the team `payments` may not reach `127.0.0.1`, so that this fails"), "{text}");
    assert!(text.contains("--> alerts/people.yaml:19:15") && text.contains("`teams.payments.egress`"), "{text}");
    assert!(text.contains("may not reach `localhost`") && text.contains("--> playbooks/shop-down.yaml:10:"), "{text}");
    assert_eq!(said(&["127.0.0.0/8", "localhost"]).1, "");
}

#[test]
fn teams_reach_only_what_they_are_allowed_to() {
    let team = |paths: &[&str], allow: &[&str]| TeamSettings {
        paths: paths.iter().map(|path| (*path).to_owned()).collect(),
        allow: allow.iter().map(|team| name(team)).collect(),
        ..TeamSettings::default()
    };
    let context = |platform: &[&str], allow: &[&str]| Context {
        teams: BTreeMap::from([
            (name("payments"), team(&["apps/", "alerts/", "playbooks/**", "teams/"], allow)),
            (name("platform"), team(&[platform, &["teams/platform.yaml"]].concat(), &[])),
        ]),
        ..Context::default()
    };
    let other = TEAM.replace("payments", "platform");
    let foreign = "apiVersion: codeops/v1\nkind: Playbook\nmetadata: {name: theirs, team: platform}\nspec:\n  target: app/shop\n  steps:\n    - {name: a, action: app.restart, target: app/shop}\n    - {name: b, page: {policy: payments-oncall}}\n    - {name: c, script: scripts/own.sh}\n    - {name: d, git: {set: {file: apps/shop.yaml, path: spec.replicas, value: 3}}}\n";
    let pairs =
        [("teams/platform.yaml", other.as_str()), ("plat/p.yaml", foreign), ("plat/scripts/own.sh", "#!/bin/sh\n")];
    let compiled = compile_answered(&pairs, &context(&["plat/"], &[]));
    assert_eq!(compiled.desired.response.broken.len(), 1, "{}", rendered(&compiled));
    insta::assert_snapshot!(rendered(&compiled));
    let compiled = compile_answered(&pairs, &context(&["plat/", "apps/shop.yaml"], &["platform"]));
    assert!(!compiled.has_errors(), "{}", rendered(&compiled));

    // A file that its team may not claim neither counts nor takes anything away.
    let stolen = PLAYBOOK.replace("app.restart", "app.replace");
    for text in [stolen.clone(), stolen.replace("team: payments", "team: platform")] {
        let compiled = compile_answered(
            &[pairs[0], ("elsewhere/p.yaml", &text), ("elsewhere/scripts/diagnose.sh", "#!")],
            &context(&["plat/"], &[]),
        );
        assert!(compiled.has_errors() && compiled.desired.response.broken.is_empty(), "{}", rendered(&compiled));
        assert_eq!(compiled.desired.response.playbooks[&name("shop-down")].folder, "playbooks");
    }
    // Secrets are granted, or not there at all.
    let granted = |team: &str| SecretFacts { teams: BTreeSet::from([name(team)]), tag: Ok("t".to_owned()) };
    let keys = ["pager-key", "chat-url", "mail-password"];
    let mut secrets: BTreeMap<_, _> = keys.map(|key| (name(key), granted("payments"))).into();
    let with = |secrets: &BTreeMap<_, _>| Context { secrets: Some(secrets.clone()), ..Context::default() };
    assert!(!compile_answered(&[], &with(&secrets)).has_errors());
    secrets.insert(name("chat-url"), granted("platform"));
    let compiled = compile_answered(&[], &with(&secrets));
    assert!(rendered(&compiled).contains("the secret `chat-url` is not granted to the team `payments`"));
    assert_eq!(compiled.desired.response.broken.keys().collect::<Vec<_>>(), ["Receiver/chat"]);
}
