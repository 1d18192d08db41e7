//! The schema and the readers say the same: its examples compile, and both know the same fields.

use serde_json::{Value, json};

use super::*;

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
      "target": {"health": "Degraded", "replicas": 2, "healthy": 1, "dependenciesHealthy": true, "canRollBack": true, "unproven": false},
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

/// The part of JSON Schema that is used: says where a value breaks it.
fn violation(schema: &Value, value: &Value, at: &str) -> Option<String> {
    let types: Vec<&str> = match &schema["type"] {
        Value::String(one) => vec![one],
        Value::Array(many) => many.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let is = |kind: &&str| match *kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        _ => value.is_null(),
    };
    if !types.is_empty() && !types.iter().any(is) {
        return Some(format!("{at}: not {types:?}"));
    }
    if schema.get("const").is_some_and(|constant| constant != value) {
        return Some(format!("{at}: another constant"));
    }
    if schema["enum"].as_array().is_some_and(|words| !words.contains(value)) {
        return Some(format!("{at}: none of the words"));
    }
    for key in ["anyOf", "oneOf"] {
        let choices = schema[key].as_array();
        if choices.is_some_and(|all| !all.iter().any(|one| violation(one, value, at).is_none())) {
            return Some(format!("{at}: matches no choice"));
        }
    }
    let missing = |name: &&Value| value.is_object() && value.get(name.as_str().unwrap_or_default()).is_none();
    if let Some(name) = schema["required"].as_array().into_iter().flatten().find(missing) {
        return Some(format!("{at}: {name} is missing"));
    }
    for (name, inner) in value.as_object().into_iter().flatten() {
        let place = format!("{at}/{name}");
        let found = match (&schema["properties"][name], &schema["additionalProperties"]) {
            (Value::Null, Value::Bool(false)) => Some(format!("{place}: unknown")),
            (Value::Null, additional) => violation(additional, inner, &place),
            (known, _) => violation(known, inner, &place),
        };
        if found.is_some() {
            return found;
        }
    }
    value.as_array().into_iter().flatten().find_map(|item| violation(&schema["items"], item, &format!("{at}/-")))
}

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
