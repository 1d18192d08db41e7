//! An app as written to an app as it should be: defaults filled in, then both digests taken.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::model::{
    AppSpec, Digest, HealthCheck, Period, Port, Probe, Protocol, ProviderName, Release, Rollout, RunSpec, StopPolicy,
    Strategy,
};

use crate::desired::kinds::app::AppManifest;
use crate::desired::kinds::app_parts::HealthText;

const INTERVAL: Period = Period::from_secs(2);
const TIMEOUT: Period = Period::from_secs(1);
const START_TIMEOUT: Period = Period::from_secs(60);
const FAILURES: u32 = 3;
const RELEASE_TIMEOUT: Period = Period::from_secs(300);

/// The spec with every default filled in. `run` is given apart, as only whole manifests come here.
pub(crate) fn spec(app: &AppManifest, provider: ProviderName, run: RunSpec) -> AppSpec {
    let http = matches!(app.health, Some(HealthText { probe: Some(Probe::Http(_)), .. }));
    let protocol = if http { Protocol::Http } else { Protocol::Tcp };
    let port = app
        .port
        .as_ref()
        .map(|port| Port { number: port.value.number, protocol: port.value.protocol.unwrap_or(protocol) });
    AppSpec {
        provider,
        run,
        release: app.release.as_ref().map(|release| Release {
            command: release.command.clone(),
            timeout: release.timeout.unwrap_or(RELEASE_TIMEOUT),
        }),
        replicas: app.replicas.unwrap_or(1),
        health: health(app.health.as_ref(), port.is_some()),
        port,
        bind: app.bind.unwrap_or(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST)),
        env: app.env.iter().map(|(name, at)| (name.clone(), at.value.clone())).collect(),
        secrets: app.secrets.iter().map(|(name, at)| (name.clone(), at.value.clone())).collect(),
        uses: Vec::new(),
        after: app.after.iter().map(|at| at.value.clone()).collect(),
        resources: app.resources.clone(),
        rollout: rollout(app),
        stop: StopPolicy {
            signal: app.stop.signal.clone().unwrap_or_else(|| StopPolicy::default().signal),
            grace: app.stop.grace.unwrap_or(StopPolicy::default().grace),
        },
        suspend: app.suspend,
    }
}

fn health(written: Option<&HealthText>, has_port: bool) -> Option<HealthCheck> {
    let probe = match written.and_then(|health| health.probe.clone()) {
        Some(probe) => probe,
        None if has_port => Probe::Tcp,
        None => return None,
    };
    Some(HealthCheck {
        probe,
        interval: written.and_then(|health| health.interval).unwrap_or(INTERVAL),
        timeout: written.and_then(|health| health.timeout).unwrap_or(TIMEOUT),
        start_timeout: written.and_then(|health| health.start_timeout).unwrap_or(START_TIMEOUT),
        failures: written.and_then(|health| health.failures).unwrap_or(FAILURES),
    })
}

fn rollout(app: &AppManifest) -> Rollout {
    let written = &app.rollout;
    let default = Rollout::default();
    let strategy = written.strategy.unwrap_or(default.strategy);
    let recreate = strategy == Strategy::Recreate;
    Rollout {
        strategy,
        surge: written.surge.unwrap_or(if recreate { 0 } else { default.surge }),
        unavailable: written.unavailable.unwrap_or(default.unavailable),
        bake: written.bake.unwrap_or(default.bake),
        on_failure: written.on_failure.unwrap_or(default.on_failure),
    }
}

/// The digest of all that is declared and is live: a difference is drift or a change. `suspend` stays out, since it says
/// what codeops does, not what the app is.
pub(crate) fn spec_digest(spec: &AppSpec, tags: &BTreeMap<String, String>) -> Digest {
    let mut value = serde_json::to_value(spec).unwrap_or_default();
    if let Value::Object(map) = &mut value {
        map.remove("suspend");
        without_defaults(map, spec);
        if !tags.is_empty() {
            map.insert("secretTags".to_owned(), json!(tags));
        }
    }
    Digest::of(&value)
}

/// The digest of what makes a new instance: run, environment, secrets' values, limits, and whether it is given a port.
pub(crate) fn template_digest(spec: &AppSpec, tags: &BTreeMap<String, String>) -> Digest {
    let secrets: BTreeMap<&String, &str> = spec
        .secrets
        .iter()
        .map(|(variable, name)| (variable, tags.get(variable).map_or(name.as_str(), String::as_str)))
        .collect();
    let mut map = Map::new();
    map.insert("run".to_owned(), json!(spec.run));
    for (name, value) in [("env", json!(spec.env)), ("secrets", json!(secrets)), ("resources", json!(spec.resources))] {
        if value.as_object().is_some_and(|object| !object.is_empty()) {
            map.insert(name.to_owned(), value);
        }
    }
    if spec.port.is_some() {
        map.insert("listens".to_owned(), json!(true));
    }
    Digest::of(&Value::Object(map))
}

/// Leaves out what the nested parts have by default, so that a field added later with a default changes no digest.
fn without_defaults(map: &mut Map<String, Value>, spec: &AppSpec) {
    let probe = spec.health.as_ref().map_or(Probe::Tcp, |health| health.probe.clone());
    let default_health = HealthCheck {
        probe: Probe::Tcp,
        interval: INTERVAL,
        timeout: TIMEOUT,
        start_timeout: START_TIMEOUT,
        failures: FAILURES,
    };
    let protocol = if matches!(probe, Probe::Http(_)) { Protocol::Http } else { Protocol::Tcp };
    prune(map, "health", &json!(default_health));
    prune(map, "port", &json!({"protocol": protocol}));
    prune(map, "release", &json!({"timeout": RELEASE_TIMEOUT}));
    prune(map, "rollout", &json!(Rollout::default()));
    prune(map, "stop", &json!(StopPolicy::default()));
}

/// Removes from the object `map[name]` each field that equals the default's.
fn prune(map: &mut Map<String, Value>, name: &str, defaults: &Value) {
    if let (Some(Value::Object(object)), Value::Object(defaults)) = (map.get_mut(name), defaults) {
        object.retain(|field, value| defaults.get(field) != Some(value));
    }
}
