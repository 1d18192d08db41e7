//! Datadog's webhook: its payload is written by its user, so it is the one that docs/settings.md gives, or Datadog's own default,
//! whose title says how the alert is. A monitor and its scope are what an alert is; its title and level change.

use std::collections::BTreeMap;

use codeops_core::model::{Labels, bounded_annotations, bounded_labels, web_url};
use serde::Deserialize;
use serde_json::Value;

use super::told::{State, Told};
use super::{Malformed, Parsed, shape};

#[derive(Deserialize)]
struct Webhook {
    title: String,
    /// Datadog's variables are texts, but for some that are numbers where nobody puts quotes around them.
    #[serde(flatten)]
    rest: BTreeMap<String, Value>,
}

pub(super) fn parse(body: &[u8]) -> Result<Parsed, Malformed> {
    let otherwise = "the body is no Datadog webhook: it has no `title`";
    let webhook: Webhook = serde_json::from_slice(body).map_err(|error| shape(&error, otherwise))?;
    let mut parsed = Parsed::default();
    parsed.ids.extend(webhook.text("id"));
    let (mark, name) = split(&webhook.title);
    let transition = webhook.text("transition").or_else(|| mark.map(str::to_owned)).unwrap_or_default();
    match state(&transition) {
        Some((state, severity)) => parsed.take(webhook.tell(name, mark, state, severity)),
        None => parsed.take(Err("it does not say whether it was triggered or has recovered")),
    }
    Ok(parsed)
}

impl Webhook {
    /// A variable that was filled in.
    fn text(&self, name: &str) -> Option<String> {
        let text = match self.rest.get(name)? {
            Value::String(text) => text.trim().to_owned(),
            Value::Number(number) => number.to_string(),
            _ => return None,
        };
        (!text.is_empty() && text != "null" && !text.starts_with('$')).then_some(text)
    }

    fn tell(&self, name: &str, mark: Option<&str>, state: State, severity: &str) -> Result<Told, &'static str> {
        let scope = self.text("scope").or_else(|| scope_of(mark?)).unwrap_or_default();
        let monitor = self.text("alert_id");
        let of_scope = scope.split(',').filter_map(|tag| tag.trim().split_once(':'));
        let mut labels: Vec<(String, String)> =
            of_scope.filter(|(name, _)| !name.is_empty()).map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
        let own = [
            ("alertname", Some(name.to_owned())),
            ("monitor", monitor.clone()),
            ("severity", Some(severity.to_owned())),
            ("priority", self.text("priority")),
        ];
        labels.extend(own.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
        let prose = [("description", self.text("message").or(self.text("body"))), ("query", self.text("query"))];
        let prose = prose.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
        Ok(Told {
            labels: bounded_labels(labels)?,
            annotations: bounded_annotations(prose),
            url: self.text("link").as_deref().and_then(web_url),
            identity: Some(identity(monitor, name, scope)?),
            said_at: None,
            starts_at: None,
            state,
        })
    }
}

fn identity(monitor: Option<String>, name: &str, scope: String) -> Result<Labels, &'static str> {
    let of = monitor.map_or(("alertname".to_owned(), name.to_owned()), |monitor| ("monitor".to_owned(), monitor));
    bounded_labels([of, ("scope".to_owned(), scope)])
}

/// `[P2] [Triggered on {host:a}] Disk is full` is the mark `Triggered on {host:a}`, and the name.
fn split(title: &str) -> (Option<&str>, &str) {
    let (mut mark, mut name) = (None, title.trim());
    while let Some((word, rest)) = name.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        let priority = word.strip_prefix('P').is_some_and(|digit| digit.parse::<u8>().is_ok());
        if mark.is_some() || !priority && state(word).is_none() {
            break;
        }
        mark = (!priority).then_some(word);
        name = rest.trim();
    }
    (mark, name)
}

fn scope_of(mark: &str) -> Option<String> {
    let (_, rest) = mark.split_once('{')?;
    Some(rest.split_once('}')?.0.to_owned())
}

/// What a transition means, and how bad it is. No data is no recovery: it fires.
fn state(transition: &str) -> Option<(State, &'static str)> {
    let word = transition.to_ascii_lowercase();
    let fires = State::Firing { expires_at: None };
    let is = |words: &[&str]| words.iter().any(|known| word.starts_with(known));
    match () {
        () if is(&["recovered", "resolved"]) => Some((State::Resolved { ended_at: None }, "ok")),
        () if is(&["warn", "re-warn"]) => Some((fires, "warning")),
        () if is(&["triggered", "re-triggered", "renotify", "no data", "re-no data", "alert"]) => {
            Some((fires, "critical"))
        }
        () => None,
    }
}
