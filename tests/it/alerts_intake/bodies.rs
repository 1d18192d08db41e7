//! Deliveries as monitoring systems send them, each with its proof.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use codeops_core::config::{ReceiverSettings, Settings};
use codeops_core::desired::parse_settings;
use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::Timestamp;
use sha2::Sha256;

use super::edge::bearer;

const GRAFANA: &str = "secret-of-grafana";
const PAGERDUTY: &str = "secret-of-pagerduty";
const GENERIC: &str = "secret-of-generic";

/// All the receivers of the tests. The values of secrets stand where the names of variables would.
const RECEIVERS: &str = r#"
receivers:
  am: {format: alertmanager, source: main, api: "http://127.0.0.1:9093", auth: {bearer: {env: AM}}, watchdog: {within: 5m}}
  am2: {format: alertmanager, auth: {bearer: {env: AM2}}}
  prometheus: {format: prometheus, source: main, auth: {bearer: {env: PROMETHEUS}}}
  grafana: {format: grafana, auth: {hmac: {secret: {env: GRAFANA}}}}
  graf-basic: {format: grafana, auth: {basic: {user: grafana, password: {env: GRAF_BASIC}}}}
  pd: {format: pagerduty, auth: {hmac: {secret: {env: PAGERDUTY}}}}
  pd-bearer: {format: pagerduty, auth: {bearer: {env: PD_BEARER}}}
  events: {format: cloudevents, auth: {bearer: {env: EVENTS}}}
  binary: {format: cloudevents, auth: {bearer: {env: BINARY}}}
  signed-events: {format: cloudevents, auth: {hmac: {secret: {env: GENERIC}}}}
  datadog: {format: datadog, auth: {bearer: {env: DATADOG}}}
  datadog-default: {format: datadog, auth: {bearer: {env: DATADOG_DEFAULT}}}
  alerts: {format: generic, auth: {bearer: {env: ALERTS}}}
  signed: {format: generic, auth: {hmac: {secret: {env: GENERIC}}}}
  mapped:
    format: generic
    auth: {bearer: {env: MAPPED}}
    mapping:
      items: body.checks
      labels: {alertname: item.name, host: item.host, site: body.site}
      annotations: {text: item.text}
      resolved: item.ok
      startsAt: item.since
      id: body.delivery
"#;

/// The receivers, as the settings' own reader reads them.
pub(super) fn receivers() -> BTreeMap<String, ReceiverSettings> {
    let settings: Settings = parse_settings("daemon.yaml", RECEIVERS).expect("they read");
    settings.receivers.into_iter().map(|(name, receiver)| (name.to_string(), filled(name.as_str(), receiver))).collect()
}

fn filled(name: &str, mut settings: ReceiverSettings) -> ReceiverSettings {
    use codeops_core::config::{AuthSettings, SecretSource};
    let (AuthSettings::Bearer(source)
    | AuthSettings::Basic { password: source, .. }
    | AuthSettings::Hmac { secret: source }) = &mut settings.auth;
    let SecretSource::Env(value) = source else { return settings };
    *value = match value.as_str() {
        "GRAFANA" => GRAFANA.to_owned(),
        "PAGERDUTY" => PAGERDUTY.to_owned(),
        "GENERIC" => GENERIC.to_owned(),
        "GRAF_BASIC" => "pass of graf-basic".to_owned(),
        _ => format!("token of {name}"),
    };
    settings
}

pub(super) fn fixture(name: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/alerts").join(name)).expect("a fixture")
}

pub(super) fn sign(key: &str, parts: &[&[u8]]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).expect("any length");
    parts.iter().for_each(|part| mac.update(part));
    hex::encode(mac.finalize().into_bytes())
}

/// One delivery.
pub(super) struct Sent {
    pub(super) path: String,
    pub(super) receiver: &'static str,
    pub(super) headers: Vec<(String, String)>,
    /// The headers that prove it.
    pub(super) proofs: Vec<&'static str>,
    pub(super) body: Vec<u8>,
    pub(super) signed: bool,
    /// An alert that fires by it.
    pub(super) alertname: &'static str,
}

impl Sent {
    pub(super) fn headers(&self) -> Vec<(&str, &str)> {
        self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
    }

    /// The headers with another value of one.
    pub(super) fn with<'s>(&'s self, name: &str, value: &'s str) -> Vec<(&'s str, &'s str)> {
        self.headers().into_iter().map(|(n, v)| if n == name { (n, value) } else { (n, v) }).collect()
    }

    /// The headers with a signature over another body.
    pub(super) fn signed_anew(&self, body: &[u8], now: Timestamp) -> Vec<(String, String)> {
        let proof = proof(self.receiver, body, now);
        let others = self.headers.iter().filter(|(name, _)| !self.proofs.contains(&name.as_str())).cloned();
        proof.into_iter().map(|(name, value)| (name.to_owned(), value)).chain(others).collect()
    }

    /// Whether both are proven by one secret in one way.
    pub(super) fn same_secret(&self, other: &Self) -> bool {
        let of = |sent: &Self| ["signed", "signed-events"].contains(&sent.receiver);
        self.receiver == other.receiver || of(self) && of(other)
    }
}

/// What proves a body to come from a sender of this receiver.
pub(super) fn proof(receiver: &str, body: &[u8], now: Timestamp) -> Vec<(&'static str, String)> {
    let seconds = now.as_second().to_string();
    match receiver {
        "grafana" => vec![
            ("X-Grafana-Alerting-Timestamp", seconds.clone()),
            ("X-Grafana-Alerting-Signature", sign(GRAFANA, &[seconds.as_bytes(), b":", body])),
        ],
        "pd" => vec![("X-PagerDuty-Signature", format!("v1={},v1={}", sign("old", &[body]), sign(PAGERDUTY, &[body])))],
        "signed" | "signed-events" => vec![
            ("X-Codeops-Timestamp", seconds.clone()),
            ("X-Codeops-Signature", format!("sha256={}", sign(GENERIC, &[seconds.as_bytes(), b".", body]))),
        ],
        "binary" => vec![("Authorization", "Bearer token of binary".to_owned())],
        "datadog-default" => vec![("Authorization", "Bearer token of datadog-default".to_owned())],
        other => vec![("Authorization", bearer(other).1.to_owned())],
    }
}

/// Every format by every kind of proof.
pub(super) fn sent(now: Timestamp) -> Vec<Sent> {
    let json = ("Content-Type", "application/json");
    let structured = ("Content-Type", "application/cloudevents+json; charset=UTF-8");
    let binary = [
        json,
        ("ce-specversion", "1.0"),
        ("ce-id", "B234"),
        ("ce-source", "/storage/eu-1"),
        ("ce-type", "com.acme.disk.full"),
        ("ce-subject", "Euro%20%E2%82%AC%20%F0%9F%98%80"),
    ];
    let of = |receiver: &'static str, name: &str, extra: &[(&str, &str)], alertname: &'static str| {
        let body = fixture(name);
        let proof = proof(receiver, &body, now);
        let path =
            if receiver == "prometheus" { "/api/v2/alerts".to_owned() } else { format!("/hooks/alerts/{receiver}") };
        let proofs: Vec<_> = proof.iter().map(|(name, _)| *name).collect();
        let extra = extra.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let headers = proof.into_iter().map(|(name, value)| (name.to_owned(), value)).chain(extra).collect();
        Sent { path, receiver, headers, signed: !proofs.contains(&"Authorization"), proofs, body, alertname }
    };
    let webhook =
        [json, ("X-Webhook-Id", "1d8ec6f1-c2a1-4d3c-bd85-21a2d6a5a6b1"), ("User-Agent", "PagerDuty-Webhook/V3.0")];
    vec![
        of("am", "alertmanager.json", &[json, ("User-Agent", "Alertmanager/0.25.0")], "AppDown"),
        of("am2", "alertmanager.json", &[json], "AppDown"),
        of("prometheus", "prometheus.json", &[json, ("User-Agent", "Prometheus/2.42.0")], "AppDown"),
        of("grafana", "grafana.json", &[json], "High memory usage"),
        of("graf-basic", "grafana.json", &[json], "High CPU usage"),
        of("pd", "pagerduty.json", &webhook, "A little bump in the road"),
        of("pd-bearer", "pagerduty.json", &webhook, "A little bump in the road"),
        of("events", "cloudevent.json", &[structured], "com.acme.disk.full"),
        of("signed-events", "cloudevent.json", &[structured], "com.acme.disk.full"),
        of("binary", "generic.json", &binary, "BackupLate"),
        of("datadog", "datadog.json", &[json], "Disk is full"),
        of("datadog-default", "datadog-default.json", &[json], "Disk is full"),
        of("alerts", "generic.json", &[json, ("X-Codeops-Delivery", "17")], "BackupLate"),
        of("signed", "generic.json", &[json, ("X-Codeops-Delivery", "17")], "BackupLate"),
    ]
}
