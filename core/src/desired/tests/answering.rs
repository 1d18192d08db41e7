//! Every kind of mistake in how alerts are answered, as it is shown; what stays in force; who may reach whom.

mod reach;

use std::fmt::Write as _;

use crate::config::TeamSettings;
use crate::model::{Does, GitChange};

use super::response::{CHANNELS, PLAYBOOK, ROUTE, TEST, answered, compile_answered};
use super::*;

/// The playbook with one of its lines changed.
fn playbook(from: &str, to: &str) -> String {
    assert!(PLAYBOOK.contains(from), "{from}");
    PLAYBOOK.replace(from, to)
}

/// The playbook with a step in place of its first.
pub(super) fn step(step: &str) -> String {
    playbook("{name: look, script: scripts/diagnose.sh, timeout: 30s}", &format!("{{name: look, {step}}}"))
}

fn route(from: &str, to: &str) -> String {
    assert!(ROUTE.contains(from), "{from}");
    ROUTE.replace(from, to)
}

fn channels(from: &str, to: &str) -> String {
    assert!(CHANNELS.contains(from), "{from}");
    CHANNELS.replace(from, to)
}

const TARGET: &str = "app/{{ alert.labels.app }}";
const ON: &str = "{alert: {alertname: AppDown, app: shop}}";

#[test]
fn mistakes_in_one_playbook_are_shown_where_they_stand() {
    let cases = [
        ("unknown action", step("action: app.restrat")),
        ("an action's arguments", step("action: app.replace, with: {instance: all}")),
        ("an argument's value", step("action: app.replace, with: {instances: some}")),
        ("scale without a number", step("action: app.scale, with: {by: 1}")),
        ("arguments of none", step("action: app.restart, with: {fast: true}")),
        ("two things in a step", step("action: app.restart, script: scripts/diagnose.sh")),
        ("nothing in a step", step("timeout: 1s")),
        ("beside the wrong thing", step("script: scripts/diagnose.sh, quiet: 1m, with: {a: b}")),
        ("a wait tried again", step("wait: healthy, retry: {attempts: 3}")),
        ("too many attempts", step("action: app.restart, retry: {attempts: 11, backof: 1s}")),
        ("not an expression", playbook("steps.look.output.free > 5", "steps.look.output >")),
        ("an output that no earlier step gives", playbook("steps.look.output.free", "steps.lok.output.free")),
        ("an output of a later step", playbook("steps.look.output.free > 5", "steps.proof.state == 'done'")),
        ("a step's field", playbook("steps.look.output.free > 5", "steps.look.outptu == 1")),
        ("unknown variable", playbook("steps.look.output.free > 5", "alrt.labels.app == 'x' || target.helth == 'y'")),
        ("a name with a hyphen", playbook("steps.look.output.free > 5", "steps.look-here.output == 1")),
        ("not a template", step("notify: {slack: 'https://c.example/x', title: 'a {{ b'}")),
        ("two targets", playbook(TARGET, "'{{ alert.labels.kind }}/x'")),
        ("unknown kind of target", playbook(TARGET, "apps/{{ alert.labels.app }}")),
        ("a target that cannot be", playbook(TARGET, "app/x_{{ alert.labels.app }}")),
        ("an unknown target", playbook(TARGET, "app/shpo")),
        ("a target from a step", playbook(TARGET, "app/{{ steps.look.output }}")),
        ("no target", playbook("  target: app/{{ alert.labels.app }}\n", "")),
        ("a script that is not there", step("script: scripts/diagnos.sh")),
        ("a script outside", step("script: ../../etc/x.sh")),
        ("a script from a template", step("script: 'scripts/{{ alert.labels.app }}'")),
        ("a scheme from a value", step("http: {url: '{{ alert.labels.u }}://x/'}")),
        ("a host from a value", step("http: {url: 'https://{{ alert.labels.h }}/x'}")),
        ("a port from a value", step("http: {url: 'https://h:{{ alert.labels.p }}/x'}")),
        ("another scheme", step("http: {url: 'file:///etc/passwd', method: FETCH}")),
        ("a user in a URL", step("http: {url: 'https://u:secret@h/x'}")),
        ("headers", step("http: {url: 'https://h/', headers: {'a b': x, Host: y, '{{ x }}': z}, expect: [99]}")),
        ("a header twice", step("http: {url: 'https://h/', headers: {A: x}, secretHeaders: {a: api-key}}")),
        ("nowhere to tell", step("notify: {title: x}")),
        ("two channels", step("notify: {slack: 'https://h/', webhook: 'https://h/'}")),
        ("pages are no messages", step("notify: {pagerduty: {routingKey: k}}")),
        ("unknown policy", playbook("policy: payments-oncall", "policy: payments-onkall")),
        ("unknown playbook", step("playbook: shop-don")),
        ("itself", step("playbook: shop-down")),
        ("git", step("git: {revert: first}")),
        ("git both", step("git: {revert: last, set: {}}")),
        ("git set", step("git: {set: {file: apps/shpo.yaml, path: metadata.team, value: x}}")),
        ("git set without a value", step("git: {set: {file: 'apps/{{ x }}.yaml', path: 'spec.a..b'}}")),
        ("a wait too short", playbook("quiet: 1m, timeout: 3m", "quiet: 1m, timeout: 1m")),
        ("a playbook too short for its wait", playbook("timeout: 10m", "timeout: 1m")),
        ("not a wait", step("wait: {for: 1s, until: 'true'}")),
        ("a wait for a word", step("wait: resovled")),
        ("no alert to be resolved", playbook(ON, "{schedule: '0 4 * * 0'}")),
        ("bad cron", playbook(ON, "{schedule: '0 25 * * 0', timezone: Europe/Berln}")),
        ("a time that never comes", playbook(ON, "{schedule: '0 0 30 2 *', catchUp: all}")),
        ("both", playbook(ON, "{alert: {a: b}, schedule: '0 4 * * 0'}")),
        ("neither", playbook(ON, "{timezone: UTC}")),
        ("no labels", playbook(ON, "{alert: {}}")),
        ("bad labels", playbook(ON, "{alert: {9a: x, b: [], matchers: ['c=~\"[\"']}}")),
        ("limits", playbook("runs: 3 per 1h", "runs: 3 per 2h, time: 1m")),
        ("concurrency", playbook("whenBusy: join", "whenBusy: wait")),
        ("no steps", PLAYBOOK.split("  steps:").next().unwrap_or_default().to_owned() + "  steps: []\n"),
        ("a name twice", playbook("name: restart", "name: look")),
        ("no team", playbook(", team: payments", "")),
        ("unknown team", playbook("team: payments", "team: paymnets")),
        ("unknown field", playbook("  target:", "  targt:")),
    ];
    let mut text = String::new();
    for (what, manifest) in cases {
        let compiled = compile_answered(&[("playbooks/shop-down.yaml", &manifest)], &Context::default());
        assert!(compiled.has_errors(), "{what} is not found");
        let response = &compiled.desired.response;
        assert!(response.playbooks.is_empty(), "{what} is used all the same");
        assert!(response.broken.contains_key("Playbook/shop-down"), "{what}: {:?}", response.broken);
        assert!(compiled.desired.resources.contains_key(&id("shop")), "{what} touches the app");
        writeln!(text, "## {what}\n\n{}\n", rendered(&compiled)).expect("writes");
    }
    insta::assert_snapshot!(text);
}

#[test]
fn mistakes_in_routes_and_people_are_shown_where_they_stand() {
    let routes = "alerts/routing.yaml";
    let people = "alerts/people.yaml";
    let test = "playbooks/shop-down-test.yaml";
    let cases = [
        ("a matcher", routes, route("app=shop]", "'app==', 'b', '9=x', 'c=~\"(\"']")),
        ("an unknown mute time", routes, route("mute: [nights]", "mute: [nihgts]")),
        ("an unknown policy", routes, route("policy: payments-oncall", "policy: payments-oncal")),
        ("an unknown playbook", routes, route("playbook: shop-down", "playbook: shop-dwn")),
        ("a time of day", routes, route("to: 06:00", "to: 6:0")),
        ("a time past midnight", routes, route("{from: 00:00, to: 06:00}", "{from: 22:00, to: 06:00}")),
        ("days", routes, route("[1:7, -1]", "[0, 32, 7:1, -1:1]")),
        ("days of the week", routes, route("[mon:fri]", "[monday, 1, 5:6]")),
        ("a time zone", routes, route("Europe/Berlin", "Berlin")),
        ("maintenance", routes, route("until: 2026-11-21T09:00:00Z, reason: new disks", "until: 2026-11-21")),
        ("maintenance backwards", routes, route("T09:00", "T07:00")),
        ("inhibition", routes, route("target: ['alertname!=HostDown'], equal: [host]", "target: [], equal: [a-b]")),
        (
            "no route",
            routes,
            "apiVersion: codeops/v1\nkind: AlertRoute\nmetadata: {name: main, team: payments}\nspec: {routes: []}\n"
                .into(),
        ),
        ("nobody to tell", people, channels("receiver/chat", "person/chat")),
        ("an unknown receiver", people, channels("receiver/mail", "receiver/mial")),
        ("an unknown person on call", people, channels("oncall/first", "oncall/frist")),
        (
            "no levels",
            people,
            channels("{levels: [{notify: [oncall/first, receiver/chat]}, {notify: [receiver/mail]}]}", "{levels: []}"),
        ),
        ("members", people, channels("members: [pager, mail]", "members: [pagr, Mail]")),
        ("turns", people, channels("every: 7d, timezone: Europe/Berlin", "every: 1s, timezone: X")),
        ("start", people, channels("start: 2026-01-05T08:00:00Z", "start: monday")),
        ("turns taken over", people, channels("until: 2026-02-02T00:00:00Z", "until: 2026-01-02T00:00:00Z")),
        (
            "two channels",
            people,
            channels("{pagerduty: {routingKey: pager-key}}", "{pagerduty: {routingKey: k}, slack: x}"),
        ),
        ("no channel", people, channels("{pagerduty: {routingKey: pager-key}}", "{pagrduty: {}}")),
        (
            "a channel's address",
            people,
            channels("{slack: {urlSecret: chat-url}}", "{slack: {url: 'ftp://x', urlSecret: y}}"),
        ),
        (
            "a channel's address from a value",
            people,
            channels("{slack: {urlSecret: chat-url}}", "{webhook: 'https://h/{{ x }}'}"),
        ),
        (
            "mail",
            people,
            channels(
                "to: [a@acme.example], from: b@acme.example, server: smtps://mail.acme.example:465",
                "to: [], from: 'B <b@x>', server: mail",
            ),
        ),
        ("a test's playbook", test, TEST.replace("playbook: shop-down", "playbook: shop-up")),
        ("a test's steps", test, TEST.replace("[look, restart, proof]", "[look, restrat, proof]")),
        ("a test's outcome", test, TEST.replace("{output: {free: 9}}", "{output: 1, error: x}")),
        ("a test's end", test, TEST.replace("state: resolved", "state: running")),
        ("a team's policy", "teams/payments.yaml", TEAM.replace("spec: {", "spec: {escalation: payments-onkall, ")),
    ];
    let mut text = String::new();
    for (what, path, manifest) in cases {
        let compiled = compile_answered(&[(path, &manifest)], &Context::default());
        assert!(!compiled.diagnostics.is_empty(), "{what} is not found");
        assert_eq!(compiled.has_errors(), !compiled.desired.response.broken.is_empty(), "{what}");
        writeln!(text, "## {what}\n\n{}\n", rendered(&compiled)).expect("writes");
    }
    insta::assert_snapshot!(text);
}

#[test]
fn a_step_says_which_of_several_documents_it_sets() {
    let two = format!("{}---\n{}", app("till", "  run: {command: [./till]}\n"), app("shelf", "  suspend: true\n"));
    let setting = |more: &str| {
        let playbook = step(&format!("git: {{set: {{file: apps/two.yaml, path: spec.replicas, value: 2{more}}}}}"));
        compile_answered(&[("apps/two.yaml", &two), ("playbooks/shop-down.yaml", &playbook)], &Context::default())
    };
    let refused = [
        ("", "`apps/two.yaml` holds 2 documents", "add `document: App/till`"),
        (", document: App/tlil", "`apps/two.yaml` holds no `App/tlil`", "did you mean `App/till`?"),
        (", document: Playbook/tax", "`apps/two.yaml` holds no `Playbook/tax`", "it holds App/till, App/shelf"),
        (", document: Ap/till", "`Ap/till` is not a document", "did you mean `App/till`?"),
        (", document: till", "`till` is not a document", "its kind and its name, such as `App/shop`"),
    ];
    for (more, message, help) in refused {
        let text = rendered(&setting(more));
        assert!(text.contains(message) && text.contains(help), "{more}: {text}");
    }
    let compiled = setting(", document: App/shelf");
    let steps = &compiled.desired.response.playbooks[&name("shop-down")].steps;
    let Does::Git(GitChange::Set { document: Some(document), .. }) = &steps[0].does else { panic!("{steps:?}") };
    assert_eq!(document.to_string(), "App/shelf");
    // A step that a run of before has pinned says nothing of it.
    let before = r#"{"set": {"file": "a.yaml", "path": "spec.replicas", "value": 2}}"#;
    let before: GitChange = serde_json::from_str(before).expect("it is read");
    assert!(matches!(before, GitChange::Set { document: None, .. }));
}

#[test]
fn a_script_says_what_runs_it() {
    let compiled = compile_answered(&[("playbooks/scripts/diagnose.sh", "echo\n")], &Context::default());
    assert!(
        rendered(&compiled).contains("`playbooks/scripts/diagnose.sh` does not begin with `#!`"),
        "{}",
        rendered(&compiled)
    );
    // It is looked at again though no manifest changed.
    let good = answered(&[]);
    let of = |all: &[(String, String)]| files(&all.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect::<Vec<_>>());
    let mut compiler = Compiler::default();
    assert!(!compiler.compile(&of(&good), &Context::default()).has_errors());
    let mut gone = good.clone();
    gone.retain(|(path, _)| !path.contains("/scripts/"));
    let compiled = compiler.compile(&of(&gone), &Context::default());
    assert!(rendered(&compiled).contains("there is no script"), "{}", rendered(&compiled));
}

#[test]
fn the_last_good_version_stays_in_force() {
    let of = |pairs: &[(&str, &str)]| {
        let all = answered(pairs);
        files(&all.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect::<Vec<_>>())
    };
    let mut compiler = Compiler::default();
    let good = compiler.compile(&of(&[]), &Context::default()).desired.response;
    let path = "playbooks/shop-down.yaml";
    // A mistake in it, a file that cannot be read, one that was cut off.
    let cut = &PLAYBOOK[..PLAYBOOK.len() / 2 + 40];
    for broken in [step("action: app.restrat").as_str(), "- nonsense\n", "a: [", cut, &step("action: [")] {
        let compiled = compiler.compile(&of(&[(path, broken)]), &Context::default());
        assert!(compiled.has_errors(), "{broken}");
        let response = compiled.desired.response;
        assert_eq!(response.playbooks, good.playbooks, "{broken}");
        assert!(response.broken.contains_key("Playbook/shop-down"), "{broken}: {:?}", response.broken);
        assert_eq!(response.policies, good.policies, "{broken}: others move on");
    }
    // What is removed is gone, and what changed is what is in force; the rest is the same, not made again.
    let changed = step("action: app.rollback");
    let response = compiler.compile(&of(&[(path, &changed)]), &Context::default()).desired.response;
    assert_ne!(response.playbooks, good.playbooks);
    assert!(Arc::ptr_eq(&response.routes[&name("main")], &good.routes[&name("main")]));
    let response = compiler.compile(&of(&[(path, "# nothing\n")]), &Context::default()).desired.response;
    assert!(response.playbooks.is_empty());
    // A new compiler has seen nothing good.
    let compiled = compile_answered(&[(path, &step("action: app.restrat"))], &Context::default());
    assert!(compiled.desired.response.playbooks.is_empty());
}

#[test]
fn what_an_alert_has_is_known() {
    for (reads, near) in
        [("alert.labels.app == 'x'", None), ("alert.startsAt == ''", None), ("alert.lables.app == 'x'", Some("labels"))]
    {
        let manifest = playbook("steps.look.output.free > 5", reads);
        let compiled = compile_answered(&[("playbooks/shop-down.yaml", &manifest)], &Context::default());
        assert_eq!(compiled.has_errors(), near.is_some(), "{reads}: {}", rendered(&compiled));
        assert!(near.is_none_or(|near| rendered(&compiled).contains(&format!("did you mean `{near}`?"))));
    }
}

#[test]
fn calls_never_go_in_a_circle_nor_too_deep() {
    let calls = |name: &str, next: &str| {
        format!(
            "apiVersion: codeops/v1\nkind: Playbook\nmetadata: {{name: {name}, team: payments}}\nspec: {{steps: [{{name: go, {next}}}]}}\n---\n"
        )
    };
    let circle = calls("a", "playbook: b")
        + &calls("b", "playbook: c")
        + &calls("c", "playbook: a")
        + &calls("d", "playbook: a");
    let compiled = compile(&[("p.yaml", &circle)]);
    let broken: Vec<&str> = compiled.desired.response.broken.keys().map(String::as_str).collect();
    assert_eq!(broken, ["Playbook/a", "Playbook/b", "Playbook/c"], "{}", rendered(&compiled));
    assert!(rendered(&compiled).contains("these playbooks call each other: a → b → c → a"), "{}", rendered(&compiled));
    let chain: String = (0..6).map(|i| calls(&format!("p{i}"), &format!("playbook: p{}", i + 1))).collect();
    let compiled = compile(&[("p.yaml", &(chain + &calls("p6", "wait: {for: 1s}")))]);
    let broken: Vec<&str> = compiled.desired.response.broken.keys().map(String::as_str).collect();
    assert_eq!(broken, ["Playbook/p0", "Playbook/p1"], "{}", rendered(&compiled));
}

#[test]
fn steps_that_an_alert_waits_for_take_a_day_at_most() {
    let said = |from: &str, to: &str| {
        let compiled = compile_answered(&[("playbooks/shop-down.yaml", &playbook(from, to))], &Context::default());
        (compiled.has_errors(), rendered(&compiled))
    };
    let (errors, text) = said("timeout: 10m", "timeout: 29d");
    assert!(errors && text.contains("steps that answer an alert have at most 1d"), "{text}");
    for (from, to) in [
        ("script: scripts/diagnose.sh, timeout: 30s", "wait: {for: 25h}"),
        (
            "{name: replace, action: app.replace}",
            "{name: replace, action: app.replace, timeout: 9h, retry: {attempts: 3, backoff: 1s}}",
        ),
    ] {
        let (errors, text) = said(from, to);
        assert!(errors && text.contains("together; where an alert waits, at most 1d"), "{text}");
    }
    let (_, text) = said(ON, "{schedule: '0 3 * * *'}");
    assert!(!text.contains("at most 1d"), "{text}");
}

#[test]
fn overlays_change_how_alerts_are_answered() {
    let patch = "apiVersion: codeops/v1\nkind: Playbook\nmetadata: {name: shop-down}\nspec: {limits: {timeout: 20m}, concurrency: null}\n";
    let context = Context { environment: Some(name("prod")), ..Context::default() };
    let compiled = compile_answered(&[("environments/prod/p.yaml", patch)], &context);
    assert!(compiled.diagnostics.is_empty(), "{}", rendered(&compiled));
    let playbook = &compiled.desired.response.playbooks[&name("shop-down")];
    assert_eq!(playbook.limits.timeout.to_string(), "20m");
    assert_eq!((playbook.folder.as_str(), playbook.steps.len()), ("playbooks", 3));
    let compiled = compile_answered(&[("environments/prod/p.yaml", &patch.replace("20m", "1s"))], &context);
    assert!(&*compiled.diagnostics[0].place.file == "playbooks/shop-down.yaml" || compiled.has_errors());
}

#[test]
fn a_scheduled_playbook_calls_none_that_waits_for_an_alert_to_be_over() {
    let called = |name: &str, on: &str, step: &str| {
        format!(
            "apiVersion: codeops/v1\nkind: Playbook\nmetadata: {{name: {name}, team: payments}}\nspec: {{{on}steps: [{{name: go, {step}}}]}}\n---\n"
        )
    };
    let nightly = called("nightly", "on: {schedule: \"0 3 * * *\"}, ", "playbook: middle");
    let text = |last: &str| format!("{nightly}{}{}", called("middle", "", "playbook: last"), called("last", "", last));
    let compiled = compile(&[("p.yaml", &text("wait: resolved, timeout: 8m"))]);
    let broken: Vec<&str> = compiled.desired.response.broken.keys().map(String::as_str).collect();
    assert_eq!(broken, ["Playbook/nightly"], "{}", rendered(&compiled));
    assert!(rendered(&compiled).contains("`last` waits for it to be resolved"), "{}", rendered(&compiled));
    let compiled = compile(&[("p.yaml", &text("wait: {for: 1m}"))]);
    assert!(compiled.desired.response.broken.is_empty(), "{}", rendered(&compiled));
}

#[test]
fn an_app_is_not_scaled_to_nothing() {
    let path = "playbooks/shop-down.yaml";
    let text = step("action: app.scale, with: {replicas: 0}");
    let compiled = compile_answered(&[(path, &text)], &Context::default());
    assert!(rendered(&compiled).contains("leaves at least one replica"), "{}", rendered(&compiled));
}
