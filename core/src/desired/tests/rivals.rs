//! What people are told who write two playbooks for one alert, or a test of steps that are another's.

use super::response::{PLAYBOOK, TEST, answered, compile_answered};
use super::*;
use crate::config::TeamSettings;

/// What is said of a second playbook, in a file of its own.
fn beside(from: &[(&str, &str)], context: &Context) -> String {
    let mut second = PLAYBOOK.replace("name: shop-down", "name: again");
    for (from, to) in from {
        assert!(second.contains(from), "{from}");
        second = second.replace(from, to);
    }
    let compiled = compile_answered(&[("playbooks/again.yaml", &second)], context);
    assert!(!compiled.has_errors(), "{}", rendered(&compiled));
    rendered(&compiled)
}

#[test]
fn two_playbooks_on_the_same_alerts_and_target_are_told_of_with_both_places() {
    let none = Context::default();
    let text = beside(&[], &none);
    assert!(text.contains("warning: `shop-down` and `again` answer the same alerts on the same target"), "{text}");
    assert!(text.contains("`again` takes, the first by name"), "{text}");
    assert!(text.contains("--> playbooks/shop-down.yaml:3:18"), "{text}");
    assert!(text.contains("`again` is at playbooks/again.yaml:3:18"), "{text}");
    // It is on more alerts, and what both are on acts on the same app.
    let text = beside(&[("{alertname: AppDown, app: shop}", "{alertname: AppDown}")], &none);
    assert!(text.contains("`shop-down` and `again` answer the same alerts"), "{text}");
    let text = beside(&[("app/{{ alert.labels.app }}", "app/shop")], &none);
    assert!(text.contains("`shop-down` and `again` answer the same alerts"), "{text}");
    assert_eq!(beside(&[("alertname: AppDown", "alertname: AppSlow")], &none), "", "other alerts");
}

#[test]
fn what_another_team_answers_for_itself_is_no_ambiguity() {
    let team = |path: &str| TeamSettings { paths: vec![path.to_owned()], ..TeamSettings::default() };
    let (payments, other) = (team("**"), TeamSettings { allow: vec![], ..team("other/") });
    let teams = BTreeMap::from([(name("payments"), payments), (name("other"), other)]);
    let second = PLAYBOOK
        .replace("name: shop-down, team: payments", "name: again, team: other")
        .replace("  target: app/{{ alert.labels.app }}\n", "");
    let first = PLAYBOOK.replace("  target: app/{{ alert.labels.app }}\n", "");
    let rest = TEAM.replace("payments", "other");
    let mut pairs = answered(&[("playbooks/shop-down.yaml", &first)]);
    pairs.push(("other/again.yaml".to_owned(), second));
    pairs.push(("other/team.yaml".to_owned(), rest));
    let pairs: Vec<(&str, &str)> = pairs.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    let told = |context: &Context| rendered(&Compiler::default().compile(&files(&pairs), context));
    assert!(!told(&Context { teams, ..Context::default() }).contains("answer the same alerts"));
}

#[test]
fn a_test_of_steps_that_are_not_there_is_told_which_there_are() {
    let said = |from: &str, to: &str, playbook: &str| {
        assert!(TEST.contains(from), "{from}");
        let test = TEST.replace(from, to);
        let called = PLAYBOOK.replace("name: shop-down", "name: mend").replace("name: restart", "name: inner");
        let called = called.replace("  on: {alert: {alertname: AppDown, app: shop}}\n", "");
        let pairs = [
            ("playbooks/mend.yaml", &*called),
            ("playbooks/shop-down.yaml", playbook),
            ("playbooks/shop-down-test.yaml", &test),
        ];
        let compiled = compile_answered(&pairs, &Context::default());
        assert!(compiled.has_errors());
        rendered(&compiled)
    };
    let text = said("[look, restart, proof]", "[look, restrat, proof]", PLAYBOOK);
    assert!(text.contains("the playbook `shop-down` has no step `restrat`"), "{text}");
    assert!(text.contains("--> playbooks/shop-down-test.yaml:9:30"), "{text}");
    assert!(text.contains("did you mean `restart`? its steps are call, look, proof"), "{text}");
    // A step of a called playbook is none of the caller's.
    let caller = PLAYBOOK.replace("script: scripts/diagnose.sh, timeout: 30s", "playbook: mend");
    let text = said("steps: {look:", "steps: {inner:", &caller);
    assert!(text.contains("the playbook `shop-down` has no step `inner`"), "{text}");
    assert!(
        text.contains("it is a step of `mend`, which `look` calls: say how `look` ends, and test `mend` by itself"),
        "{text}"
    );
    assert!(text.contains("--> playbooks/shop-down-test.yaml:8:"), "{text}");
}
