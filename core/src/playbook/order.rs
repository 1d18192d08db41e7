//! A step as it is written, filled in with the facts of this moment. Each template is one value, never evaluated twice.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Facts, Order, facts};
use crate::expression::{Budget, evaluate, fill};
use crate::model::{Action, Does, GitChange, HttpCall, PlaybookStep, ResourceId, Run, StepRef, Template};

/// What the step does, filled in.
///
/// # Errors
/// In one sentence, which part has no value, or one that must not stand there.
pub(super) fn order(run: &Run, step: &PlaybookStep, known: &Facts<'_>) -> Result<Order, String> {
    let filling = Filling::of(facts(run, known));
    let plain = |template: &Template| filling.fill(template, str::to_owned);
    Ok(match &step.does {
        Does::Wait { .. } => Order::Wait,
        Does::Page { policy } => Order::Page { policy: policy.clone() },
        Does::Playbook(name) => Order::Call { playbook: name.clone() },
        Does::Action { action, target, with } => {
            let target = filling.own_or_named(run, target.as_ref())?;
            Order::Act { action: *action, target, with: filling.arguments(*action, with)? }
        }
        Does::Script { file } => Order::Script { file: file.clone(), input: filling.seen },
        Does::Http(call) => filling.http(call)?,
        Does::Notify { channel, title, body } => {
            Order::Notify { channel: channel.clone(), title: one_line(&plain(title)?), body: plain(body)? }
        }
        Does::Git(GitChange::RevertLast) => Order::Revert { target: filling.own_or_named(run, None)?, within: None },
        Does::Git(GitChange::RevertRecent { within }) => {
            Order::Revert { target: filling.own_or_named(run, None)?, within: Some(*within) }
        }
        Does::Git(GitChange::Set { file, document, path, value }) => Order::Set {
            file: file.clone(),
            document: document.clone(),
            path: path.clone(),
            value: filling.in_texts(value)?,
        },
    })
}

/// The resource that a step acts on: its own target, or the run's.
///
/// # Errors
/// When it names none.
pub fn target_of(run: &Run, at: StepRef, known: &Facts<'_>) -> Result<ResourceId, String> {
    match run.step(at).map(|step| &step.does) {
        Some(Does::Action { target: Some(template), .. }) => Filling::of(facts(run, known)).named(template),
        _ => run.target.clone().ok_or_else(|| "the run has no target".to_owned()),
    }
}

/// The resource that a playbook's `target` names for an alert with these labels and annotations.
///
/// # Errors
/// When the template has no value, or not one that can be an id.
pub fn target_for(template: &Template, alert: &Value) -> Result<ResourceId, String> {
    Filling::of(serde_json::json!({ "alert": alert })).named(template)
}

/// What one step is filled in with: all its templates share one budget.
struct Filling {
    seen: Value,
    budget: Budget,
}

impl Filling {
    fn of(seen: Value) -> Self {
        Self { seen, budget: Budget::of_a_look() }
    }

    fn fill(&self, template: &Template, escape: impl Fn(&str) -> String) -> Result<String, String> {
        fill(template, &self.seen, &self.budget, escape)
    }

    /// The resource a template names, or the run's own target.
    fn own_or_named(&self, run: &Run, template: Option<&Template>) -> Result<ResourceId, String> {
        let Some(template) = template else {
            return run.target.clone().ok_or_else(|| "the run has no target".to_owned());
        };
        self.named(template)
    }

    /// The resource a template names.
    ///
    /// # Errors
    /// When it has no value, or not one that can be an id.
    fn named(&self, template: &Template) -> Result<ResourceId, String> {
        let text = self.fill(template, str::to_owned)?;
        text.parse().map_err(|error| format!("`{template}` names no resource: {error}"))
    }

    fn http(&self, call: &HttpCall) -> Result<Order, String> {
        let url = self.url(&call.url)?;
        let mut headers = BTreeMap::new();
        for (name, value) in &call.headers {
            let value = self.fill(value, str::to_owned)?;
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
        let body = call.body.as_ref().map(|body| self.fill(body, escape)).transpose()?;
        Ok(Order::Http { call: call.clone(), url, headers, body })
    }

    /// The address of a request.
    ///
    /// # Errors
    /// When a value would choose another place than the one that is written: as `..`, which also counts when encoded
    /// (WHATWG URL, 4.3), or as nothing, with which `/hosts/{{ id }}` is all hosts.
    fn url(&self, template: &Template) -> Result<String, String> {
        let url = self.fill(template, percent)?;
        let meant = self.fill(template, |_| "x".to_owned())?;
        if elsewhere(&url) > elsewhere(&meant) {
            return Err(format!("a value in `{template}` is empty, or a folder such as `..`: the URL would be {url}"));
        }
        Ok(url)
    }

    /// What an action is given: what it counts with is a number, also where a label tells it as text.
    fn arguments(&self, action: Action, with: &BTreeMap<String, Value>) -> Result<BTreeMap<String, Value>, String> {
        let filled = |(name, value): (&String, &Value)| {
            let value = self.in_texts(value)?;
            let value = if action == Action::AppScale { number(action, name, &value)? } else { value };
            Ok((name.clone(), value))
        };
        with.iter().map(filled).collect()
    }

    /// A value with the templates in its texts filled in. A text that is one expression and nothing else keeps its value's
    /// type.
    fn in_texts(&self, value: &Value) -> Result<Value, String> {
        Ok(match value {
            Value::String(text) => {
                let template = Template::try_from(text.clone())?;
                match &template.parts[..] {
                    [crate::model::TemplatePart::Value(only)] => evaluate(only, &self.seen, &self.budget)?,
                    _ => Value::from(self.fill(&template, str::to_owned)?),
                }
            }
            Value::Array(items) => {
                Value::Array(items.iter().map(|item| self.in_texts(item)).collect::<Result<_, _>>()?)
            }
            Value::Object(fields) => {
                let pairs = fields.iter().map(|(name, value)| Ok((name.clone(), self.in_texts(value)?)));
                Value::Object(pairs.collect::<Result<_, String>>()?)
            }
            other => other.clone(),
        })
    }
}

/// A whole number, or one in decimal text: all that a label can be.
fn number(action: Action, name: &str, value: &Value) -> Result<Value, String> {
    let number = value.as_i64().or_else(|| value.as_str()?.trim().parse().ok());
    number.map(Value::from).ok_or_else(|| {
        let read: String = value.to_string().chars().take(60).collect();
        format!("`{name}` of {action} is to be a whole number, and its template gives {read}: nothing was done")
    })
}

/// A value as it stands within a JSON text, whose own marks it has none of: what it may end with is escaped.
fn in_json(value: &str) -> String {
    let text = Value::from(value).to_string();
    text.get(1..text.len() - 1).unwrap_or_default().to_owned()
}

/// Everything but RFC 3986's unreserved characters, encoded: a value can be no separator.
fn percent(value: &str) -> String {
    let encode = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    value.bytes().map(encode).collect()
}

/// How many parts of a URL's path are nothing, or move to another folder.
fn elsewhere(url: &str) -> usize {
    let path = url.split(['?', '#']).next().unwrap_or_default();
    let path = path.to_ascii_lowercase().replace("%2e", ".").replace("%2f", "%5c");
    // Many servers decode before they look where a path leads: within a part, too, a value is no way up, nor nothing at all.
    let moves =
        |part: &str| part.split("%5c").any(|inner| matches!(inner, "." | "..")) || part.split("%5c").all(str::is_empty);
    path.split(['/', '\\']).filter(|part| moves(part)).count()
}

fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(200).collect()
}
