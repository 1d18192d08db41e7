//! What each format says, read exactly; and whatever else is sent, by the fuzz targets' own rule.

use std::fs;
use std::path::Path;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use codeops::hooks::format::{Malformed, Mapping, Parsed, Reading, State, Told, parse};
use codeops_core::config::{MappingSettings, ReceiverFormat};
use codeops_core::model::Signal;
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use super::bodies::fixture;

#[path = "../../../fuzz/fuzz_targets/alert_body.rs"]
mod alert_body;

const FORMATS: [(&str, ReceiverFormat); 7] = [
    ("alertmanager", ReceiverFormat::Alertmanager),
    ("prometheus", ReceiverFormat::Prometheus),
    ("grafana", ReceiverFormat::Grafana),
    ("pagerduty", ReceiverFormat::PagerDuty),
    ("cloudevents", ReceiverFormat::CloudEvents),
    ("datadog", ReceiverFormat::Datadog),
    ("generic", ReceiverFormat::Generic),
];

fn now() -> Timestamp {
    Timestamp::from_second(1_795_205_000).expect("a time")
}

fn read(format: ReceiverFormat, headers: &[(&'static str, &str)], body: &[u8]) -> Result<Parsed, Malformed> {
    let pair = |(name, value): &(&'static str, &str)| {
        (HeaderName::from_static(name), HeaderValue::from_str(value).expect("a value"))
    };
    let headers: HeaderMap = headers.iter().map(pair).collect();
    parse(&headers, body, &Reading { format, mapping: None }, now())
}

/// An alert in one line: state, beginning, labels.
fn line(told: &Told) -> String {
    let labels: Vec<_> = told.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let state = match told.state {
        State::Firing { expires_at: None } => "fires".to_owned(),
        State::Firing { expires_at: Some(at) } => format!("fires until {at}"),
        State::Resolved { ended_at: None } => "over".to_owned(),
        State::Resolved { ended_at: Some(at) } => format!("over at {at}"),
        State::Silenced => "silenced".to_owned(),
    };
    let since = told.starts_at.map_or(String::new(), |at| format!(" since {at}"));
    format!("{state}{since}: {}", labels.join(" "))
}

fn lines(format: ReceiverFormat, headers: &[(&'static str, &str)], body: &[u8]) -> String {
    match read(format, headers, body) {
        Ok(parsed) => {
            let told: Vec<_> = parsed.told.iter().map(line).collect();
            format!("{}\nspoiled {} ids {:?}", told.join("\n"), parsed.spoiled, parsed.ids)
        }
        Err(Malformed(why)) => why.to_owned(),
    }
}

#[test]
fn what_monitoring_systems_send_is_read_exactly() {
    let structured = [("content-type", "application/cloudevents+json")];
    let binary = [("ce-specversion", "1.0"), ("ce-id", "B"), ("ce-source", "/s"), ("ce-type", "x.recovered")];
    let webhook = [("x-webhook-id", "1d8ec6f1")];
    let pagerduty = |event: &str, reason: &str| {
        let text = String::from_utf8(fixture("pagerduty.json")).expect("text");
        text.replace("incident.triggered", event).replace("\"resolve_reason\":null", reason).into_bytes()
    };
    let merged = "\"resolve_reason\":{\"type\":\"merge_resolve_reason\"}";
    let all = [
        lines(ReceiverFormat::Alertmanager, &[], &fixture("alertmanager.json")),
        lines(ReceiverFormat::Prometheus, &[], &fixture("prometheus.json")),
        lines(ReceiverFormat::Prometheus, &[], b"[{\"labels\":{\"a\":\"b\"}}]"),
        lines(ReceiverFormat::Grafana, &[], &fixture("grafana.json")),
        lines(ReceiverFormat::PagerDuty, &webhook, &fixture("pagerduty.json")),
        lines(ReceiverFormat::PagerDuty, &webhook, &pagerduty("incident.resolved", "\"resolve_reason\":null")),
        lines(ReceiverFormat::PagerDuty, &webhook, &pagerduty("incident.resolved", merged)),
        lines(ReceiverFormat::PagerDuty, &[], &pagerduty("incident.acknowledged", merged)),
        lines(ReceiverFormat::CloudEvents, &structured, &fixture("cloudevent.json")),
        lines(ReceiverFormat::CloudEvents, &binary, b"not json"),
        lines(ReceiverFormat::CloudEvents, &binary, &fixture("generic.json")),
        lines(ReceiverFormat::Datadog, &[], &fixture("datadog.json")),
        lines(ReceiverFormat::Datadog, &[], &fixture("datadog-default.json")),
        lines(ReceiverFormat::Generic, &[("x-codeops-delivery", "17")], &fixture("generic.json")),
        lines(ReceiverFormat::Alertmanager, &[], &fixture("grafana.json")),
        lines(ReceiverFormat::Grafana, &[], &fixture("alertmanager.json")),
    ];
    insta::assert_snapshot!(all.join("\n\n"));
}

#[test]
fn the_time_of_a_cloud_event_is_when_its_alert_began_within_bounds() {
    let headers = [("content-type", "application/cloudevents+json")];
    let began = |time: &str, known: Option<Timestamp>| {
        let body = format!(r#"{{"specversion":"1.0","type":"x.firing","source":"/s","id":"1","time":"{time}"}}"#);
        let told = read(ReceiverFormat::CloudEvents, &headers, body.as_bytes()).ok()?.told.remove(0);
        let name = "main".parse().expect("a name");
        match told.signal(&name, &name, now(), |_| known) {
            Signal::Firing(alert) => Some(alert.id.starts_at),
            other => panic!("{other:?}"),
        }
    };
    let earlier = now() - SignedDuration::from_mins(5);
    assert_eq!(began(&earlier.to_string(), None), Some(earlier));
    assert_eq!(began(&now().to_string(), Some(earlier)), Some(earlier), "one that fires already is told of again");
    assert_eq!(began("2031-01-01T00:00:00Z", None), Some(now()), "nothing has begun that is yet to come");
    assert_eq!(began("2016-01-01T00:00:00Z", None), Some(now()), "nor by a clock that is years off");
    assert_eq!(began("yesterday", None), None, "as in other formats");
}

#[test]
fn datadogs_recovery_closes_what_its_trigger_opened() {
    let identity = |body: &str| {
        let parsed = read(ReceiverFormat::Datadog, &[], body.as_bytes()).expect("it reads");
        parsed.told[0].identity.clone().expect("an identity")
    };
    for name in ["datadog.json", "datadog-default.json"] {
        let triggered = String::from_utf8(fixture(name)).expect("text");
        let recovered = triggered.replace("Triggered", "Recovered").replace("P2", "P1");
        assert_eq!(identity(&triggered), identity(&recovered));
    }
}

#[test]
fn an_alert_is_not_lost_for_what_need_not_be_there() {
    let whole = r#""labels":{"alertname":"A","app":null,"n":1}"#;
    for more in [
        "",
        r#","annotations":{"a":null,"b":["x"],"c":true}"#,
        r#","annotations":null"#,
        r#","annotations":"none","status":null,"generatorURL":5"#,
        r#","startsAt":"yesterday","endsAt":17,"generatorURL":null"#,
    ] {
        for body in [format!("{{{whole}{more}}}"), format!(r#"{{"alerts":[{{{whole}{more}}}]}}"#)] {
            let read = lines(ReceiverFormat::Generic, &[], body.as_bytes());
            assert_eq!(read, "fires: alertname=A n=1\nspoiled 0 ids []", "{body}");
        }
    }
    // A label that is no text is part of what the alert is: it spoils it, and the log says why.
    let parsed = read(ReceiverFormat::Generic, &[], br#"{"alerts":[{"labels":{"a":["x"]}},{"labels":{"a":"b"}}]}"#);
    let parsed = parsed.expect("one is good");
    assert_eq!((parsed.told.len(), parsed.spoiled), (1, 1));
    assert_eq!(parsed.why, Some("it has not the shape that its format says"));
}

#[test]
fn a_mapping_takes_what_is_not_there_for_none() {
    let text = |text: &str| Some(text.to_owned());
    let label = |name: &str, source: &str| (name.to_owned(), source.to_owned());
    let settings = MappingSettings {
        items: text("body.items"),
        labels: [label("alertname", "item.name"), label("app", "item.of.app"), label("n", "item.n + '!'")].into(),
        annotations: [label("text", "item.text")].into(),
        resolved: text("item.state == 'ok'"),
        starts_at: text("item.since"),
        id: text("body.id"),
    };
    let reading =
        Reading { format: ReceiverFormat::Generic, mapping: Some(Mapping::new(&settings).expect("a mapping")) };
    let of = |item: &str| {
        let body = format!(r#"{{"items":[{item}]}}"#);
        let parsed = parse(&HeaderMap::new(), body.as_bytes(), &reading, now()).expect("it reads");
        (parsed.told.first().map(line), parsed.why)
    };
    let fires = |labels: &str| (Some(format!("fires: {labels}")), None);
    assert_eq!(of(r#"{"name":"A"}"#), fires("alertname=A"));
    assert_eq!(of(r#"{"name":"A","of":null,"since":"yesterday","state":null}"#), fires("alertname=A"));
    assert_eq!(of(r#"{"name":"A","of":{"app":"t5"},"n":"2"}"#), fires("alertname=A app=t5 n=2!"));
    assert_eq!(of(r#"{"name":"A","state":"ok"}"#).0.as_deref(), Some("over: alertname=A"));
    // What is there and is no value of a label says that the mapping is not meant for it.
    assert_eq!(of(r#"{"name":"A","n":["x"]}"#), (None, Some("a label of the mapping has no value in it")));
    assert_eq!(of(r#"{"text":"x"}"#), (None, Some("there are no labels")));
}

#[test]
fn a_mapping_takes_a_wrong_type_for_none_beside_no_field_that_is_not_there() {
    let settings = |label: &str, resolved: &str| MappingSettings {
        items: None,
        labels: [("alertname".to_owned(), "body.name".to_owned()), ("code".to_owned(), label.to_owned())].into(),
        annotations: [].into(),
        resolved: Some(resolved.to_owned()),
        starts_at: None,
        id: None,
    };
    let of = |label: &str, resolved: &str, body: &str| {
        let mapping = Mapping::new(&settings(label, resolved)).expect("a mapping");
        let reading = Reading { format: ReceiverFormat::Generic, mapping: Some(mapping) };
        let parsed = parse(&HeaderMap::new(), body.as_bytes(), &reading, now()).expect("it reads");
        (parsed.told.first().map(line), parsed.why)
    };
    let guarded = "has(body.recovered) ? body.recovered : body.code < 400";
    let fires = |line: &str| (Some(line.to_owned()), None);
    assert_eq!(of("'x'", guarded, r#"{"name":"B","code":500}"#), fires("fires: alertname=B code=x"));
    assert_eq!(of("'x'", guarded, r#"{"name":"B","code":200}"#).0.as_deref(), Some("over: alertname=B code=x"));
    // Neither is there: nothing says that it is over.
    assert_eq!(of("'x'", guarded, r#"{"name":"B"}"#), fires("fires: alertname=B code=x"));
    let no_value = "the mapping's `resolved` has no value in it";
    assert_eq!(of("'x'", guarded, r#"{"name":"B","code":"200"}"#), (None, Some(no_value)));
    let label = "has(body.short) ? body.short : body.code + '!'";
    assert_eq!(of(label, "false", r#"{"name":"B"}"#), fires("fires: alertname=B"));
    let no_label = "a label of the mapping has no value in it";
    assert_eq!(of(label, "false", r#"{"name":"B","code":["x"]}"#), (None, Some(no_label)));
}

#[test]
fn the_fuzz_corpora_hold() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    for (name, format) in FORMATS {
        let inputs: Vec<_> = fs::read_dir(corpus.join(format!("alert_{name}"))).expect("a corpus").flatten().collect();
        assert!(inputs.len() > 5, "{name}");
        for input in inputs {
            let bytes = fs::read(input.path()).expect("readable");
            alert_body::holds(format, &bytes);
            (0..bytes.len()).step_by(37).for_each(|end| alert_body::holds(format, &bytes[..end]));
        }
    }
}

fn json() -> impl Strategy<Value = serde_json::Value> {
    let text = prop_oneof![
        "(firing|resolved|4|1|1\\.0|2026-11-20T20:00:00Z|0001-01-01T00:00:00Z|incident\\.resolved|Triggered)",
        "\\PC{0,8}",
        any::<String>(),
    ];
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
        text.prop_map(Into::into),
    ];
    let name = "(version|alerts|labels|annotations|status|startsAt|endsAt|generatorURL|event|data|id|event_type|title|type|source|specversion|transition|scope|items|name|since|ok|[a-z]{0,3})";
    leaf.prop_recursive(5, 48, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Into::into),
            prop::collection::btree_map(name, inner, 0..8)
                .prop_map(|fields| serde_json::Value::Object(fields.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_is_sent_is_within_bounds_or_refused(body in json(), at in 0..FORMATS.len()) {
        let (name, format) = FORMATS[at];
        alert_body::holds(format, body.to_string().as_bytes());
        let wrapped = match name {
            "prometheus" => serde_json::json!([body]),
            "pagerduty" => serde_json::json!({"event": {"id": "1", "event_type": "incident.triggered", "data": body}}),
            "grafana" => serde_json::json!({"version": "1", "alerts": [body]}),
            "alertmanager" => serde_json::json!({"version": "4", "alerts": [body]}),
            _ => serde_json::json!({"specversion": "1.0", "id": "1", "source": "s", "type": "t", "title": "x", "data": body, "labels": body, "items": [body]}),
        };
        alert_body::holds(format, wrapped.to_string().as_bytes());
    }
}
