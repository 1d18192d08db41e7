//! A step as it is written, filled in with the facts of this moment. Each template is one value, never evaluated twice.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Facts, Order, facts};
use crate::expression::fill;
use crate::model::{Does, GitChange, HttpCall, PlaybookStep, ResourceId, Run, StepRef, Template};

/// What the step does, filled in.
///
/// # Errors
/// In one sentence, which part has no value, or one that must not stand there.
pub(super) fn order(run: &Run, step: &PlaybookStep, known: &Facts<'_>) -> Result<Order, String> {
    let seen = facts(run, known);
    let plain = |template: &Template| fill(template, &seen, str::to_owned);
    Ok(match &step.does {
        Does::Wait { .. } => Order::Wait,
        Does::Page { policy } => Order::Page { policy: policy.clone() },
        Does::Playbook(name) => Order::Call { playbook: name.clone() },
        Does::Action { action, target, with } => {
            let target = own_or_named(run, target.as_ref(), &seen)?;
            Order::Act { action: *action, target, with: filled(with, &seen)? }
        }
        Does::Script { file } => Order::Script { file: file.clone(), input: seen },
        Does::Http(call) => http(call, &seen)?,
        Does::Notify { channel, title, body } => {
            Order::Notify { channel: channel.clone(), title: one_line(&plain(title)?), body: plain(body)? }
        }
        Does::Git(GitChange::RevertLast) => Order::Revert { target: own_or_named(run, None, &seen)? },
        Does::Git(GitChange::Set { file, path, value }) => {
            Order::Set { file: file.clone(), path: path.clone(), value: in_texts(value, &seen)? }
        }
    })
}

/// The resource that a step acts on: its own target, or the run's.
///
/// # Errors
/// When it names none.
pub fn target_of(run: &Run, at: StepRef, known: &Facts<'_>) -> Result<ResourceId, String> {
    match run.step(at).map(|step| &step.does) {
        Some(Does::Action { target: Some(template), .. }) => named(template, &facts(run, known)),
        _ => run.target.clone().ok_or_else(|| "the run has no target".to_owned()),
    }
}

/// The resource that a playbook's `target` names for an alert with these labels and annotations.
///
/// # Errors
/// When the template has no value, or not one that can be an id.
pub fn target_for(template: &Template, alert: &Value) -> Result<ResourceId, String> {
    named(template, &serde_json::json!({ "alert": alert }))
}

/// The resource a template names, or the run's own target.
fn own_or_named(run: &Run, template: Option<&Template>, seen: &Value) -> Result<ResourceId, String> {
    let Some(template) = template else {
        return run.target.clone().ok_or_else(|| "the run has no target".to_owned());
    };
    named(template, seen)
}

/// The resource a template names.
///
/// # Errors
/// When it has no value, or not one that can be an id.
fn named(template: &Template, seen: &Value) -> Result<ResourceId, String> {
    let text = fill(template, seen, str::to_owned)?;
    text.parse().map_err(|error| format!("`{template}` names no resource: {error}"))
}

fn http(call: &HttpCall, seen: &Value) -> Result<Order, String> {
    let url = fill(&call.url, seen, percent)?;
    let mut headers = BTreeMap::new();
    for (name, value) in &call.headers {
        let value = fill(value, seen, str::to_owned)?;
        if value.chars().any(char::is_control) {
            return Err(format!("the header {name} would hold a control character"));
        }
        headers.insert(name.clone(), value);
    }
    let kind = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("content-type")).map(|(_, kind)| kind);
    let is_json = kind.is_none_or(|kind| kind.to_ascii_lowercase().contains("json"));
    // In JSON a value stands inside a text and must not end it.
    let escape = |value: &str| match is_json {
        true => in_json(value),
        false => value.to_owned(),
    };
    let body = call.body.as_ref().map(|body| fill(body, seen, escape)).transpose()?;
    Ok(Order::Http { call: call.clone(), url, headers, body })
}

/// A value as it stands within a JSON text, whose own marks it has none of: what it may end with is escaped.
fn in_json(value: &str) -> String {
    let text = Value::from(value).to_string();
    text.get(1..text.len() - 1).unwrap_or_default().to_owned()
}

/// Everything but RFC 3986's unreserved characters, encoded: a value can be no separator.
fn percent(value: &str) -> String {
    let encode = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'~' => char::from(byte).to_string(),
        // A dot between others is harmless; alone or in pairs it would name a folder above.
        b'.' if value.bytes().any(|other| other != b'.') => ".".to_owned(),
        byte => format!("%{byte:02X}"),
    };
    value.bytes().map(encode).collect()
}

fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(200).collect()
}

fn filled(with: &BTreeMap<String, Value>, seen: &Value) -> Result<BTreeMap<String, Value>, String> {
    with.iter().map(|(name, value)| Ok((name.clone(), in_texts(value, seen)?))).collect()
}

/// A value with the templates in its texts filled in. A text that is one expression and nothing else keeps its value's type.
fn in_texts(value: &Value, seen: &Value) -> Result<Value, String> {
    Ok(match value {
        Value::String(text) => {
            let template = Template::try_from(text.clone())?;
            match &template.parts[..] {
                [crate::model::TemplatePart::Value(only)] => crate::expression::evaluate(only, seen)?,
                _ => Value::from(fill(&template, seen, str::to_owned)?),
            }
        }
        Value::Array(items) => Value::Array(items.iter().map(|item| in_texts(item, seen)).collect::<Result<_, _>>()?),
        Value::Object(fields) => {
            let pairs = fields.iter().map(|(name, value)| Ok((name.clone(), in_texts(value, seen)?)));
            Value::Object(pairs.collect::<Result<_, String>>()?)
        }
        other => other.clone(),
    })
}
