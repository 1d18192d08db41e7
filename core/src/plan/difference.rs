//! Field-level differences between two specs, in the words of the manifest: `run.command[2]`, `env.LOG`, `health.http`.
//!
//! Only made for what does change: nothing here is on the path of a resource that is as it should be.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::{Map, Value};

use super::Difference;
use crate::model::{AppSpec, FieldDrift, Resource, Rollout, StopPolicy};

/// The fields of one spec by dotted path.
type Fields = BTreeMap<String, Value>;

/// What is declared, field by field, where nothing is yet.
pub(super) fn created(to: &Resource) -> Vec<Difference> {
    let fields = fields(&to.spec).into_iter();
    fields.map(|(field, value)| Difference { field, from: None, to: Some(value) }).collect()
}

/// The fields in which two specs differ; a field left out stands at its default.
pub(super) fn between(from: &AppSpec, to: &AppSpec) -> Vec<Difference> {
    let (defaults, from, to) = (defaults(), fields(from), fields(to));
    let names: BTreeSet<&String> = from.keys().chain(to.keys()).collect();
    names
        .into_iter()
        .filter_map(|name| {
            let side = |fields: &Fields| fields.get(name).or_else(|| defaults.get(name)).cloned();
            let (from, to) = (side(&from), side(&to));
            (from != to).then(|| Difference { field: name.clone(), from, to })
        })
        .collect()
}

/// Secrets whose value changed: told by their tags, which are never shown.
pub(super) fn secrets(from: &BTreeMap<String, String>, to: &BTreeMap<String, String>) -> Vec<Difference> {
    let changed = to.iter().filter(|(name, tag)| from.get(*name).is_some_and(|old| old != *tag));
    changed.map(|(name, _)| hidden(format!("secrets.{name}"))).collect()
}

/// A difference of which nothing may or can be shown.
pub(super) fn hidden(field: String) -> Difference {
    Difference { field, from: None, to: Some(Value::from("changed")) }
}

/// What a provider found moved, as the way back.
pub(super) fn drifted(drift: &[FieldDrift]) -> Vec<Difference> {
    let back = |d: &FieldDrift| Difference {
        field: d.field.clone(),
        from: Some(d.found.clone()),
        to: Some(d.expected.clone()),
    };
    drift.iter().map(back).collect()
}

fn fields(spec: &AppSpec) -> Fields {
    let mut out = Fields::new();
    if let Value::Object(mut spec) = json(spec) {
        lift(&mut spec, "run", "command");
        if let Some(Value::Object(health)) = spec.get_mut("health") {
            if health.get("probe").is_some_and(Value::is_string) {
                health.remove("probe");
                health.insert("tcp".to_owned(), Value::Bool(true));
            }
            lift_into(health, "probe");
        }
        flatten("", Value::Object(spec), &mut out);
    }
    out
}

/// `{run: {command: {…}}}` is written `{run: {…}}` by people.
fn lift(object: &mut Map<String, Value>, field: &str, variant: &str) {
    let inner =
        object.get_mut(field).and_then(|value| value.get_mut(variant)).filter(|v| v.is_object()).map(Value::take);
    if let Some(inner) = inner {
        object.insert(field.to_owned(), inner);
    }
}

fn lift_into(object: &mut Map<String, Value>, field: &str) {
    if let Some(Value::Object(inner)) = object.remove(field) {
        object.extend(inner);
    }
}

fn defaults() -> Fields {
    let mut out = Fields::new();
    flatten("rollout", json(&Rollout::default()), &mut out);
    flatten("stop", json(&StopPolicy::default()), &mut out);
    out.insert("replicas".to_owned(), Value::from(1));
    out.insert("bind".to_owned(), Value::from("127.0.0.1"));
    out.insert("suspend".to_owned(), Value::from(false));
    out
}

fn json(value: &impl Serialize) -> Value {
    serde_json::to_value(value).expect("specs have only text keys")
}

fn flatten(path: &str, value: Value, out: &mut Fields) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (key, value) in map {
                let path = if path.is_empty() { key } else { format!("{path}.{key}") };
                flatten(&path, value, out);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for (i, item) in items.into_iter().enumerate() {
                flatten(&format!("{path}[{i}]"), item, out);
            }
        }
        leaf => {
            out.insert(path.to_owned(), leaf);
        }
    }
}
