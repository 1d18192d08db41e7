//! The schema and the readers say the same: its examples compile, and both know the same fields.

use serde_json::{Value, json};

use super::checked::violation;
use super::*;
use crate::desired::kinds::texts;
use crate::desired::text::yaml;

const APP: &str = r#"{"apiVersion": "codeops/v1", "kind": "App",
  "metadata": {"name": "shop", "team": "payments", "was": ["old-name"], "adopt": true},
  "spec": {"provider": "local",
    "run": {"command": ["./shop", "--port", "$PORT"], "artifact": {"url": "https://builds.example/shop-1.4.2.tar.gz",
      "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"}},
    "release": {"command": ["./shop", "migrate"], "timeout": "5m"}, "replicas": 2,
    "port": {"number": 8080, "protocol": "http"}, "bind": "127.0.0.1", "env": {"LOG": "info", "N": 1.5},
    "secrets": {"API_KEY": "shop-api-key"}, "after": ["app/auth"],
    "resources": {"cpu": "0.5", "memory": "256MiB"},
    "health": {"http": "/healthz", "interval": "2s", "timeout": "1s", "startTimeout": "60s", "failures": 3},
    "rollout": {"strategy": "rolling", "surge": 1, "unavailable": 0, "bake": "2m", "onFailure": "rollback"},
    "stop": {"signal": "TERM", "grace": "10s"}, "suspend": false}}"#;
const WHOLE_REPOSITORY: &str = r#"{"apiVersion": "codeops/v1", "kind": "Repository", "metadata": {"name": "acme-ops"},
  "spec": {"defaults": {"provider": "local"}, "resolveDelay": "30s", "blastRadius": {"percent": 25},
    "freeze": {"what": "all", "reason": "bad night", "until": "2026-11-21T08:00:00Z"}}}"#;
const WHOLE_TEAM: &str = r#"{"apiVersion": "codeops/v1", "kind": "Team", "metadata": {"name": "payments"},
  "spec": {"members": ["payments@acme.example"], "escalation": "payments-oncall"}}"#;

/// One of each kind of how alerts are answered, with every field.
const ANSWERING: [(&str, &str); 8] = [
    (
        "Playbook",
        r#"{"apiVersion": "codeops/v1", "kind": "Playbook", "metadata": {"name": "shop-down", "team": "payments"},
  "spec": {"on": {"alert": {"alertname": "AppDown", "matchers": ["severity=~\"critical|page\""]}},
    "target": "app/{{ alert.labels.app }}", "concurrency": {"per": "target", "whenBusy": "queue"},
    "limits": {"timeout": "10m", "runs": "3 per 1h"},
    "steps": [
      {"name": "look", "script": "scripts/diagnose.sh", "timeout": "30s", "idempotent": true},
      {"name": "restart", "action": "app.restart", "target": "app/shop", "retry": {"attempts": 2, "backoff": "5s"}, "if": "steps.look.output.free > 5", "onError": "continue"},
      {"name": "more", "action": "app.scale", "with": {"by": 1, "max": 4}},
      {"name": "ask", "http": {"method": "POST", "url": "https://api.acme.example/x/{{ run.id }}", "headers": {"Accept": "a/b"}, "secretHeaders": {"Authorization": "api-key"}, "body": "{{ target.name }}", "expect": [200, 204]}},
      {"name": "tell", "notify": {"slack": {"urlSecret": "chat-url"}, "title": "Down", "body": "{{ alert.labels.app }}"}},
      {"name": "pause", "wait": {"for": "30s"}},
      {"name": "set", "git": {"set": {"file": "a.yaml", "path": "spec.replicas", "value": 3}}},
      {"name": "sub", "playbook": "clean-up"},
      {"name": "proof", "wait": "resolved", "quiet": "1m", "timeout": "3m"}],
    "otherwise": [{"name": "back", "git": {"revert": "last"}}, {"name": "well", "wait": {"until": "target.healthy > 0"}}, {"name": "call", "page": {"policy": "payments-oncall"}}]}}"#,
    ),
    (
        "Playbook",
        r#"{"apiVersion": "codeops/v1", "kind": "Playbook", "metadata": {"name": "clean-up", "team": "payments"},
  "spec": {"on": {"schedule": "0 4 * * 0", "timezone": "Europe/Berlin", "catchUp": "none"},
    "steps": [{"name": "tell", "notify": {"webhook": {"url": "https://chat.acme.example/x", "secret": "api-key"}}},
      {"name": "mail", "notify": {"email": {"to": ["a@acme.example"], "from": "b@acme.example", "server": "smtp://mail:25", "login": {"user": "b", "password": "api-key"}}}}]}}"#,
    ),
    (
        "PlaybookTest",
        r#"{"apiVersion": "codeops/v1", "kind": "PlaybookTest", "metadata": {"name": "shop-down", "team": "payments"},
  "spec": {"playbook": "shop-down", "cases": [{"name": "a restart helps",
    "given": {"alert": {"labels": {"app": "shop"}, "annotations": {"a": "b"}},
      "target": {"health": "Degraded", "replicas": 2, "healthy": 1, "dependenciesHealthy": true, "canRollBack": true, "unproven": false, "checkOnly": false},
      "steps": {"look": {"output": {"free": 9}}}, "resolvedAfter": "restart"},
    "expect": {"steps": ["look", "restart", "proof"], "state": "resolved"}}]}}"#,
    ),
    (
        "AlertRoute",
        r#"{"apiVersion": "codeops/v1", "kind": "AlertRoute", "metadata": {"name": "main", "team": "payments"},
  "spec": {"route": {"match": [], "policy": "payments-oncall", "playbook": "clean-up", "groupBy": ["alertname"],
      "mute": ["nights"], "continue": false, "routes": [{"match": ["app=shop"]}]},
    "inhibit": [{"source": ["alertname=HostDown"], "target": ["app=shop"], "equal": ["host"]}],
    "muteTimes": {"nights": [{"times": [{"from": "00:00", "to": "06:00"}], "weekdays": ["mon:fri"], "daysOfMonth": [1, "-2:-1"], "months": ["jan", 2], "timezone": "Europe/Berlin"}]},
    "maintenance": [{"match": ["app=shop"], "from": "2026-11-21T08:00:00Z", "until": "2026-11-21T09:00:00Z", "reason": "new disks"}]}}"#,
    ),
    (
        "Receiver",
        r#"{"apiVersion": "codeops/v1", "kind": "Receiver", "metadata": {"name": "pager", "team": "payments"},
  "spec": {"pagerduty": {"routingKey": "pager-key", "url": "https://events.eu.pagerduty.com/v2/enqueue"}}}"#,
    ),
    (
        "Receiver",
        r#"{"apiVersion": "codeops/v1", "kind": "Receiver", "metadata": {"name": "chat", "team": "payments"},
  "spec": {"slack": "https://chat.acme.example/hook"}}"#,
    ),
    (
        "EscalationPolicy",
        r#"{"apiVersion": "codeops/v1", "kind": "EscalationPolicy", "metadata": {"name": "payments-oncall", "team": "payments"},
  "spec": {"levels": [{"notify": ["oncall/first"]}, {"notify": ["receiver/chat"], "after": "2m"}]}}"#,
    ),
    (
        "OnCall",
        r#"{"apiVersion": "codeops/v1", "kind": "OnCall", "metadata": {"name": "first", "team": "payments"},
  "spec": {"members": ["pager"], "start": "2026-01-05T08:00:00Z", "every": "7d", "timezone": "Europe/Berlin",
    "overrides": [{"member": "chat", "from": "2026-02-01T00:00:00Z", "until": "2026-02-02T00:00:00Z"}]}}"#,
    ),
];

#[test]
fn whole_examples_match_their_schema_and_compile() {
    for (kind, text) in [("App", APP), ("Repository", WHOLE_REPOSITORY), ("Team", WHOLE_TEAM)] {
        let value: Value = serde_json::from_str(text).expect("JSON");
        assert_eq!(violation(&schema(Some(kind)), &value, ""), None, "{kind}");
        assert_eq!(violation(&schema(None), &value, ""), None, "{kind}");
    }
    for (kind, text) in ANSWERING {
        let value: Value = serde_json::from_str(text).expect(text);
        assert_eq!(violation(&schema(Some(kind)), &value, ""), None, "{kind}");
        assert_eq!(violation(&schema(None), &value, ""), None, "{kind}");
    }
    let auth = app("auth", "  run: {command: [x]}\n");
    let answering = ANSWERING.map(|(_, text)| text).join("\n---\n");
    let compiled = compile(&[
        ("codeops.yaml", WHOLE_REPOSITORY),
        ("teams/payments.yaml", WHOLE_TEAM),
        ("a.yaml", APP),
        ("b.yaml", &auth),
        ("c.yaml", &answering),
        ("scripts/diagnose.sh", "#!/bin/sh\n"),
    ]);
    assert!(!compiled.has_errors(), "{}", rendered(&compiled));
    let mut wrong: Value = serde_json::from_str(APP).expect("JSON");
    wrong["spec"]["replicsa"] = json!(1);
    assert!(violation(&schema(Some("App")), &wrong, "").is_some());
    assert_eq!(schema(Some("Nothing")), Value::Null);
}

#[test]
fn names_are_in_the_schema_what_the_readers_take() {
    for kind in schema_kinds() {
        let name = &schema(Some(kind))["properties"]["metadata"]["properties"]["name"];
        assert_eq!((&name["minLength"], &name["maxLength"]), (&json!(1), &json!(63)), "{kind}");
        let pattern = regex::Regex::new(name["pattern"].as_str().expect("a pattern")).expect("a regex");
        for text in ["a", "a-1", "1", "Shop_1", "-a", "a-", "a b", ""] {
            assert_eq!(pattern.is_match(text), Name::new(text).is_ok(), "{kind}: {text}");
        }
    }
}

#[test]
fn readers_know_exactly_the_fields_of_the_schema() {
    /// Adds an unknown field to every object of fixed fields, and collects what the schema says its fields are.
    fn spoil(schema: &Value, value: &mut Value, known: &mut Vec<Vec<String>>) {
        let closed = choices(schema).find(|one| one["additionalProperties"] == json!(false));
        if let (Some(open), Value::Object(map)) =
            (schema.get("additionalProperties").filter(|_| closed.is_none()), &mut *value)
        {
            map.values_mut().for_each(|inner| spoil(open, inner, known));
        }
        if let (Some(items), Value::Array(list)) = (schema.get("items"), &mut *value) {
            list.iter_mut().for_each(|inner| spoil(items, inner, known));
        }
        if let (Some(closed), Value::Object(map)) = (closed, value) {
            let properties = closed["properties"].as_object().expect("properties");
            for (name, inner) in map.iter_mut() {
                spoil(&properties[name], inner, known);
            }
            let mut names: Vec<String> = properties.keys().cloned().collect();
            names.sort();
            known.push(names);
            map.insert("zzzzzzzzzzzz".to_owned(), json!(1));
        }
    }
    fn choices(schema: &Value) -> impl Iterator<Item = &Value> {
        std::iter::once(schema).chain(schema["anyOf"].as_array().into_iter().flatten())
    }
    let answering = ANSWERING.map(|(kind, text)| (kind, "c.yaml", text));
    let others = [
        ("App", "a.yaml", APP),
        ("Repository", "codeops.yaml", WHOLE_REPOSITORY),
        ("Team", "teams/payments.yaml", WHOLE_TEAM),
    ];
    for (kind, path, text) in answering.into_iter().chain(others) {
        let mut value: Value = serde_json::from_str(text).expect("JSON");
        let mut from_schema = Vec::new();
        spoil(&schema(Some(kind)), &mut value, &mut from_schema);
        let compiled = compile(&[(path, &value.to_string())]);
        let mut from_reader: Vec<Vec<String>> = compiled
            .diagnostics
            .iter()
            .filter(|diagnostic| diagnostic.message.contains("zzzzzzzzzzzz"))
            .map(|diagnostic| {
                let help = diagnostic.help.as_deref().unwrap_or_default();
                let mut names: Vec<String> = help.split('`').skip(1).step_by(2).map(str::to_owned).collect();
                names.sort();
                names
            })
            .collect();
        from_reader.sort();
        from_schema.sort();
        assert_eq!(from_reader, from_schema, "{kind}: {}", rendered(&compiled));
    }
}

/// Manifests that `validate` refuses for what is written in one place, as a merge patch on a whole example.
const WRONG: [(&str, &str); 47] = [
    (APP, r#"{"spec": {"uses": [{"service": "shop-db", "as": "DATABASE"}]}}"#),
    (APP, r#"{"spec": {"rollout": {"bake": "2 minutes"}}}"#),
    (APP, r#"{"spec": {"rollout": {"bake": "30"}}}"#),
    (APP, r#"{"spec": {"rollout": {"bake": "30s1m"}}}"#),
    (APP, r#"{"spec": {"rollout": {"bake": ""}}}"#),
    (APP, r#"{"spec": {"rollout": {"strategy": "recreate"}}}"#),
    (APP, r#"{"spec": {"health": {"tcp": true}}}"#),
    (APP, r#"{"spec": {"health": {"command": ["x"]}}}"#),
    (APP, r#"{"spec": {"health": {"http": null, "tcp": false}}}"#),
    (APP, r#"{"spec": {"resources": {"memory": "256M"}}}"#),
    (APP, r#"{"spec": {"resources": {"cpu": "fast"}}}"#),
    (APP, r#"{"spec": {"resources": {"cpu": 0}}}"#),
    (APP, r#"{"spec": {"port": {"number": 0}}}"#),
    (APP, r#"{"spec": {"bind": "localhost"}}"#),
    (APP, r#"{"spec": {"after": ["shop"]}}"#),
    (APP, r#"{"spec": {"after": ["service/shop-db"]}}"#),
    (APP, r#"{"spec": {"run": {"image": "x/y:1"}}}"#),
    (APP, r#"{"spec": {"run": {"command": null}}}"#),
    (APP, r#"{"spec": {"run": {"command": []}}}"#),
    (APP, r#"{"spec": {"run": {"artifact": {"url": "ftp://x/y"}}}}"#),
    (APP, r#"{"spec": {"replicas": 1001}}"#),
    (WHOLE_REPOSITORY, r#"{"spec": {"blastRadius": {"percent": 101}}}"#),
    (WHOLE_REPOSITORY, r#"{"spec": {"resolveDelay": "soon"}}"#),
    (WHOLE_REPOSITORY, r#"{"spec": {"freeze": {"until": "tomorrow"}}}"#),
    (ANSWERING[0].1, r#"{"spec": {"steps": [{"name": "a"}]}}"#),
    (ANSWERING[0].1, r#"{"spec": {"steps": [{"name": "a", "script": "scripts/diagnose.sh", "page": {}}]}}"#),
    (ANSWERING[0].1, r#"{"spec": {"steps": [{"name": "a", "page": {}, "retry": {"attempts": 2}}]}}"#),
    (ANSWERING[0].1, r#"{"spec": {"steps": [{"name": "a", "page": {}, "quiet": "1m"}]}}"#),
    (ANSWERING[0].1, r#"{"spec": {"steps": [{"name": "a", "wait": {"for": "1m", "until": "true"}}]}}"#),
    (ANSWERING[0].1, r#"{"spec": {"steps": [{"name": "a", "git": {}}]}}"#),
    (
        ANSWERING[0].1,
        r#"{"spec": {"steps": [{"name": "a", "git": {"set": {"file": "a.yaml", "path": "metadata.name", "value": 1}}}]}}"#,
    ),
    (ANSWERING[0].1, r#"{"spec": {"steps": [{"name": "a", "http": {"url": "ftp://x"}}]}}"#),
    (ANSWERING[0].1, r#"{"spec": {"steps": [{"name": "a", "notify": {"title": "x"}}]}}"#),
    (ANSWERING[0].1, r#"{"spec": {"steps": []}}"#),
    (ANSWERING[0].1, r#"{"spec": {"limits": {"runs": "3 an hour"}}}"#),
    (ANSWERING[0].1, r#"{"spec": {"on": {"schedule": "0 4 * * 0"}}}"#),
    (ANSWERING[0].1, r#"{"spec": {"on": {"catchUp": "none"}}}"#),
    (ANSWERING[1].1, r#"{"spec": {"on": {"schedule": "0 4 * *"}}}"#),
    (ANSWERING[2].1, r#"{"spec": {"cases": []}}"#),
    (ANSWERING[3].1, r#"{"spec": {"route": {"match": ["app"]}}}"#),
    (ANSWERING[3].1, r#"{"spec": {"muteTimes": {"nights": [{"times": [{"from": "24:00", "to": "24:00"}]}]}}}"#),
    (ANSWERING[3].1, r#"{"spec": {"muteTimes": {"nights": [{"weekdays": ["monday"]}]}}}"#),
    (ANSWERING[4].1, r#"{"spec": {"slack": "https://chat.acme.example/hook"}}"#),
    (ANSWERING[5].1, r#"{"spec": {"slack": {"url": "https://chat.acme.example/hook", "urlSecret": "chat-url"}}}"#),
    (ANSWERING[6].1, r#"{"spec": {"levels": [{"notify": ["chat"]}]}}"#),
    (ANSWERING[7].1, r#"{"spec": {"start": "monday"}}"#),
    (ANSWERING[7].1, r#"{"spec": {"members": []}}"#),
];

fn merge(value: &mut Value, patch: Value) {
    match patch {
        Value::Object(patch) => {
            if !value.is_object() {
                *value = json!({});
            }
            for (key, inner) in patch {
                match inner {
                    Value::Null => drop(value.as_object_mut().expect("a mapping").remove(&key)),
                    inner => merge(&mut value[&key], inner),
                }
            }
        }
        patch => *value = patch,
    }
}

#[test]
fn what_validate_refuses_by_itself_the_schema_refuses() {
    for (whole, patch) in WRONG {
        let mut value: Value = serde_json::from_str(whole).expect("JSON");
        merge(&mut value, serde_json::from_str(patch).expect(patch));
        let text = value.to_string();
        let path = if value["kind"] == "Repository" { "codeops.yaml" } else { "a.yaml" };
        let compiled = compile(&[(path, &text), ("scripts/diagnose.sh", "#!/bin/sh\n")]);
        assert!(compiled.has_errors(), "{patch}: validate takes it");
        let kind = value["kind"].as_str().expect("a kind");
        assert!(violation(&schema(Some(kind)), &value, "").is_some(), "{patch}: the schema takes it");
        assert!(violation(&schema(None), &value, "").is_some(), "{patch}: the schema of all takes it");
    }
}

#[test]
fn what_may_be_left_out_may_be_null_in_both() {
    let app: Value = serde_json::from_str(APP).expect("JSON");
    let fields = app["spec"].as_object().expect("a mapping").keys();
    for field in fields.filter(|field| *field != "run") {
        let mut value = app.clone();
        value["spec"][field.as_str()] = Value::Null;
        // The probe and the command would miss it.
        if field == "port" {
            value["spec"]["health"] = Value::Null;
            value["spec"]["run"]["command"] = json!(["./shop"]);
        }
        let auth = super::app("auth", "  run: {command: [x]}\n");
        let compiled = compile(&[("a.yaml", &value.to_string()), ("auth.yaml", &auth)]);
        assert!(!compiled.has_errors(), "{field}: {}", rendered(&compiled));
        assert_eq!(violation(&schema(Some("App")), &value, ""), None, "{field}");
        assert_eq!(violation(&schema(None), &value, ""), None, "{field}");
    }
}

/// An overlay of this manifest.
fn overlay(kind: &str, name: &str, spec: &Value) -> Value {
    json!({"apiVersion": "codeops/v1", "kind": kind, "metadata": {"name": name}, "spec": spec})
}

#[test]
fn an_overlay_says_some_of_it_and_the_schema_of_overlays_takes_that() {
    let wholes = [("App", APP), ("Repository", WHOLE_REPOSITORY), ("Team", WHOLE_TEAM)];
    for (kind, text) in wholes.into_iter().chain(ANSWERING) {
        let whole: Value = serde_json::from_str(text).expect("JSON");
        let name = whole["metadata"]["name"].as_str().expect("a name");
        let fields = whole["spec"].as_object().expect("a mapping");
        let some = fields.iter().map(|(field, value)| json!({field.as_str(): value}));
        let none = fields.keys().map(|field| json!({field.as_str(): null}));
        let schema = overlay_schema(Some(kind));
        for spec in some.chain(none).chain([json!({}), whole["spec"].clone()]) {
            assert_eq!(violation(&schema, &overlay(kind, name, &spec), ""), None, "{kind}: {spec}");
        }
    }
    let route = json!({"route": {"policy": "other"}, "muteTimes": {"nights": null}});
    assert_eq!(violation(&overlay_schema(None), &overlay("AlertRoute", "main", &route), ""), None);
}

#[test]
fn what_no_overlay_may_say_the_schema_of_overlays_refuses() {
    let auth = app("auth", "  run: {command: [x]}\n");
    for spec in [
        json!({"replicsa": 1}),
        json!({"replicas": "two"}),
        json!({"run": {"comand": ["x"]}}),
        json!({"rollout": {"bake": "2 minutes"}}),
        json!({"port": {"number": 0}}),
        json!({"health": {"interval": "soon"}}),
        json!(null),
    ] {
        let patch = overlay("App", "shop", &spec);
        let files = [("a.yaml", APP), ("b.yaml", &auth), ("environments/prod/a.yaml", &patch.to_string())];
        assert!(compile(&files).has_errors(), "{spec}: validate takes it");
        for schema in [overlay_schema(Some("App")), overlay_schema(None)] {
            assert!(violation(&schema, &patch, "").is_some(), "{spec}: the schema takes it");
        }
    }
    assert_eq!(overlay_schema(Some("Nothing")), Value::Null);
}

#[test]
fn every_manifest_of_the_repository_matches_the_schema() {
    let top = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut folders = ["examples", "playbooks"].map(|name| top.join(name)).to_vec();
    let (all, overlays, mut seen) = (schema(None), overlay_schema(None), 0);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
            let path = entry.path();
            let is_overlay = path.components().any(|part| part.as_os_str() == "environments");
            let all = if is_overlay { &overlays } else { &all };
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "yaml") {
                let text = std::fs::read_to_string(&path).expect("a text");
                for document in yaml::documents(&text) {
                    let value = texts::data(&document.root.expect("a manifest"));
                    assert_eq!(violation(all, &value, ""), None, "{}", path.display());
                    seen += 1;
                }
            }
        }
    }
    assert!(seen > 30, "{seen}");
}

#[test]
fn descriptions_are_for_who_writes_manifests() {
    fn each(schema: &Value, found: &mut Vec<String>) {
        match schema {
            Value::Object(fields) => {
                found.extend(fields.get("description").and_then(Value::as_str).map(str::to_owned));
                fields.values().for_each(|inner| each(inner, found));
            }
            Value::Array(items) => items.iter().for_each(|inner| each(inner, found)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    each(&schema(None), &mut found);
    for description in found {
        for ours in ["clone", "journal", "[`", "::", "digest", "`PagerDuty`", "claim"] {
            assert!(!description.contains(ours), "{description}");
        }
    }
}
