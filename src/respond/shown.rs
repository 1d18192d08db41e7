//! What others may see of what alerts carry: an alert is masked with the secrets of the one team whose receiver brought it, with
//! everybody's where that is for all, and with nobody's where several teams may have sent it, wherever it stands. What a run's steps say of it is masked with those that it carries and no others: a
//! team that could have others' values masked would find them by guessing.

use std::collections::BTreeMap;
use std::sync::Arc;

use codeops_core::model::{AlertMemory, AlertState, Name, Page, Run, RunCause, TeamName, degree, severity};
use serde_json::Value;

use super::Flow;
use super::runs::first_of;
use crate::port::{ToldAlert, Whose};

impl Flow {
    /// Who sends by this receiver.
    fn sender_by(&self, receiver: Option<&Name>) -> Whose<'_> {
        receiver.map_or(Whose::Everybody, |name| Whose::sent_by(&self.tools.rules.senders, name))
    }

    /// Whose secrets the alert of a run may carry.
    fn sender(&self, run: &Run) -> Whose<'_> {
        let receiver = run.alert.get("receiver").and_then(Value::as_str).and_then(|name| Name::new(name).ok());
        self.sender_by(receiver.as_ref())
    }

    /// A run with its alert as others may see it.
    pub(super) fn as_shown(&self, run: &Run) -> Run {
        let (vault, sender) = (&self.tools.vault, self.sender(run));
        let mut run = run.clone();
        veil(&mut run.alert, &|text: &str| vault.redact(sender, text));
        run
    }

    /// What a run says, without its team's secrets and those that its alert carries.
    pub(super) fn said_by(&self, run: &Run, text: &str) -> String {
        let (vault, carried) = (&self.tools.vault, plain(&run.alert));
        vault.redact_read(self.sender(run), &carried, &vault.redact_of(&run.authority, text))
    }

    /// The alert that a run's page tells of first: the one that opened the run, or of its own that began first. `team` is whom it is
    /// sent to.
    pub(super) fn told_first(&self, page: &Page, team: &TeamName) -> Option<ToldAlert> {
        let (alert, authority, severity) = self.remembered(|response| {
            let run = response.runs.get(&page.run?);
            let opened = run.and_then(|run| match &run.cause {
                RunCause::Alert { alert } => response.alerts.get(alert),
                RunCause::Schedule { .. } | RunCause::Call { .. } => None,
            });
            let own = || page.alerts.iter().filter_map(|id| response.alerts.get(id));
            let alert = opened.or_else(|| own().min_by_key(|it| it.alert.id.starts_at))?;
            let all = run.into_iter().flat_map(|run| &run.alerts).chain(&page.alerts);
            let open = all.filter_map(|id| response.alerts.get(id)).filter(|it| it.state != AlertState::Resolved);
            let open: Vec<&str> = open.map(|it| severity(&it.alert.labels)).collect();
            let own = [severity(&alert.alert.labels)];
            let severity = degree(if open.is_empty() { &own[..] } else { &open }.iter().copied());
            Some((Arc::clone(&alert.alert), run.map(|run| run.authority.clone()), severity))
        })?;
        let (vault, sender) = (&self.tools.vault, self.sender_by(Some(&alert.receiver)));
        let shown = |url: &String| {
            let masked = vault.redact(sender, &vault.redact_of(authority.as_ref().unwrap_or(team), url));
            // One with a mask in it leads nowhere.
            (masked == *url).then_some(masked)
        };
        let (source, receiver) = (alert.id.source.clone(), alert.receiver.clone());
        let url = alert.url.as_ref().and_then(shown);
        Some(ToldAlert { starts_at: alert.id.starts_at, source, receiver, url, severity })
    }

    /// These alerts, as far as a page can hold them, each without the secrets that it may carry; told apart from those `among` which
    /// they are.
    pub(super) fn first_shown(&self, alerts: &[Arc<AlertMemory>], among: &[Arc<AlertMemory>]) -> String {
        let mut by_sender: BTreeMap<Whose<'_>, Vec<Arc<AlertMemory>>> = BTreeMap::new();
        for alert in alerts {
            by_sender.entry(self.sender_by(Some(&alert.alert.receiver))).or_default().push(Arc::clone(alert));
        }
        let text = first_of(alerts, among);
        by_sender
            .into_iter()
            .fold(text, |text, (sender, own)| self.tools.vault.redact_read(sender, &first_of(&own, among), &text))
    }
}

/// All texts of it, a line each.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => format!("{text}\n"),
        Value::Array(items) => items.iter().map(plain).collect(),
        Value::Object(fields) => fields.values().map(plain).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) => String::new(),
    }
}

fn veil(value: &mut Value, redact: &impl Fn(&str) -> String) {
    match value {
        Value::String(text) => *text = redact(text),
        Value::Array(items) => items.iter_mut().for_each(|item| veil(item, redact)),
        Value::Object(fields) => fields.values_mut().for_each(|field| veil(field, redact)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
