//! How alerts are answered, as manifests say it.

use super::*;

pub(super) const PLAYBOOK: &str = "apiVersion: codeops/v1
kind: Playbook
metadata: {name: shop-down, team: payments}
spec:
  on: {alert: {alertname: AppDown, app: shop}}
  target: app/{{ alert.labels.app }}
  concurrency: {per: target, whenBusy: join}
  limits: {timeout: 10m, runs: 3 per 1h}
  steps:
    - {name: look, script: scripts/diagnose.sh, timeout: 30s}
    - {name: restart, action: app.restart, retry: {attempts: 2, backoff: 5s}, if: steps.look.output.free > 5}
    - {name: proof, wait: resolved, quiet: 1m, timeout: 3m}
  otherwise:
    - {name: replace, action: app.replace}
    - {name: proof, wait: resolved, timeout: 3m}
    - {name: call, page: {policy: payments-oncall}}
";

pub(super) const CHANNELS: &str = "apiVersion: codeops/v1
kind: EscalationPolicy
metadata: {name: payments-oncall, team: payments}
spec: {levels: [{notify: [oncall/first, receiver/chat]}, {notify: [receiver/mail]}]}
---
apiVersion: codeops/v1
kind: OnCall
metadata: {name: first, team: payments}
spec: {members: [pager, mail], start: 2026-01-05T08:00:00Z, every: 7d, timezone: Europe/Berlin, overrides: [{member: mail, from: 2026-02-01T00:00:00Z, until: 2026-02-02T00:00:00Z}]}
---
apiVersion: codeops/v1
kind: Receiver
metadata: {name: pager, team: payments}
spec: {pagerduty: {routingKey: pager-key}}
---
apiVersion: codeops/v1
kind: Receiver
metadata: {name: chat, team: payments}
spec: {slack: {urlSecret: chat-url}}
---
apiVersion: codeops/v1
kind: Receiver
metadata: {name: mail, team: payments}
spec: {email: {to: [a@acme.example], from: b@acme.example, server: smtps://mail.acme.example:465, login: {user: b, password: mail-password}}}
";

pub(super) const ROUTE: &str = "apiVersion: codeops/v1
kind: AlertRoute
metadata: {name: main, team: payments}
spec:
  route:
    policy: payments-oncall
    groupBy: [alertname]
    routes:
      - {match: ['severity=~\"info|none\"'], mute: [nights], continue: true}
      - {match: [app=shop], playbook: shop-down}
  inhibit: [{source: [alertname=HostDown], target: ['alertname!=HostDown'], equal: [host]}]
  muteTimes:
    nights: [{times: [{from: \"22:00\", to: \"24:00\"}, {from: 00:00, to: 06:00}], weekdays: [mon:fri], months: [1:3, dec], daysOfMonth: [1:7, -1], timezone: Europe/Berlin}]
  maintenance: [{match: [app=shop], from: 2026-11-21T08:00:00Z, until: 2026-11-21T09:00:00Z, reason: new disks}]
";

pub(super) const TEST: &str = "apiVersion: codeops/v1
kind: PlaybookTest
metadata: {name: shop-down, team: payments}
spec:
  playbook: shop-down
  cases:
    - name: a restart helps
      given: {alert: {labels: {alertname: AppDown, app: shop}}, steps: {look: {output: {free: 9}}}, resolvedAfter: restart}
      expect: {steps: [look, restart, proof], state: resolved}
";

/// A repository in which all of this is good, with these files in place of its own.
pub(super) fn answered(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    let shop = app("shop", "  run: {command: [./shop]}\n");
    let repository = REPOSITORY.replace("local}", "local}, resolveDelay: 30s");
    let mut all: Vec<(String, String)> = [
        ("codeops.yaml", repository.as_str()),
        ("teams/payments.yaml", &TEAM.replace("spec: {", "spec: {escalation: payments-oncall, ")),
        ("apps/shop.yaml", &shop),
        ("alerts/people.yaml", CHANNELS),
        ("alerts/routing.yaml", ROUTE),
        ("playbooks/shop-down.yaml", PLAYBOOK),
        ("playbooks/shop-down-test.yaml", TEST),
        ("playbooks/scripts/diagnose.sh", "#!/bin/sh\n"),
    ]
    .map(|(path, text)| (path.to_owned(), text.to_owned()))
    .into();
    all.retain(|(path, _)| !pairs.iter().any(|(other, _)| other == path));
    all.extend(pairs.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())));
    all
}

pub(super) fn compile_answered(pairs: &[(&str, &str)], context: &Context) -> Compiled {
    let all = answered(pairs);
    let pairs: Vec<(&str, &str)> = all.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    Compiler::default().compile(&files(&pairs), context)
}

#[test]
fn all_kinds_are_lowered() {
    let compiled = compile_answered(&[], &Context::default());
    assert!(compiled.diagnostics.is_empty(), "{}", rendered(&compiled));
    let response = &compiled.desired.response;
    let playbook = &response.playbooks[&name("shop-down")];
    insta::assert_snapshot!(serde_json::to_string_pretty(&**playbook).expect("JSON"));
    assert_eq!((response.receivers.len(), response.policies.len(), response.on_calls.len()), (3, 1, 1));
    insta::assert_snapshot!(serde_json::to_string_pretty(&response.routes[&name("main")].spec).expect("JSON"));
    assert_eq!(response.tests[&name("shop-down")].spec.cases.len(), 1);
    assert!(response.broken.is_empty());
}

/// The YAML examples of the manual, from the first of these kinds on.
#[test]
fn the_manuals_examples_are_good() {
    let manual = include_str!("../../../../docs/manifests.md");
    let (_, manual) = manual.split_once("## Playbook\n").expect("the section");
    let blocks = manual.split("```yaml\n").skip(1).filter_map(|block| block.split("```").next());
    let files: Vec<(String, &str)> =
        blocks.enumerate().map(|(at, block)| (format!("manual/{at}.yaml"), block)).collect();
    assert_eq!(files.len(), 7, "one block for each kind, and one for when it comes back");
    let repository = REPOSITORY.replace("local}", "local}, resolveDelay: 30s");
    let platform = TEAM.replace("payments", "platform");
    let policy = "apiVersion: codeops/v1\nkind: EscalationPolicy\nmetadata: {name: platform-oncall, team: platform}\nspec: {levels: [{notify: [receiver/payments-mail, receiver/payments-pager]}]}\n";
    let mut pairs = vec![
        ("codeops.yaml", repository.as_str()),
        ("teams/platform.yaml", &platform),
        ("alerts/policy.yaml", policy),
        ("manual/scripts/diagnose.sh", "#!/bin/sh\n"),
    ];
    pairs.extend(files.iter().map(|(path, text)| (path.as_str(), *text)));
    let compiled = compile(&pairs);
    assert!(compiled.diagnostics.is_empty(), "{}", rendered(&compiled));
    assert!(compiled.desired.response.broken.is_empty());
}

#[test]
fn a_step_that_cannot_come_to_its_end_within_all_steps_is_told_of() {
    let of = |steps: &str| {
        let text = "apiVersion: codeops/v1\nkind: Playbook\nmetadata: {name: p, team: payments}\nspec:\n  limits: {timeout: 5s}\n  steps:\n";
        rendered(&compile(&[("p.yaml", &format!("{text}{steps}")), ("scripts/look.sh", "#!/bin/sh\n")]))
    };
    let shown = of("    - {name: idle, wait: {for: 1h}}\n    - {name: look, script: scripts/look.sh, timeout: 40s}\n");
    assert!(shown.contains("this may take 1h, and all `steps` together have 5s: then it is broken off"), "{shown}");
    assert!(shown.contains("this may take 40s") && shown.contains("p.yaml:7:"), "{shown}");
    let shown = of("    - {name: a, wait: {for: 3s}}\n    - {name: b, wait: {for: 3s}}\n");
    assert!(shown.contains("this may take 6s"), "together: {shown}");
    let shown = of("    - {name: a, wait: {for: 3s}}\n    - {name: look, script: scripts/look.sh, timeout: 5s}\n");
    assert_eq!(shown, "");
}
