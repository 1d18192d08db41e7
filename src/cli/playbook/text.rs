//! Orders as people read them.

use codeops_core::model::{Channel, Does, HttpCall, Name, PlaybookStep, WaitFor};
use codeops_core::playbook::Order;

/// What an order does, in one line; `policy` is the run's own.
pub(super) fn order(order: &Order, step: &PlaybookStep, policy: Option<&Name>) -> String {
    match order {
        Order::Wait => waits(step),
        Order::Act { action, target, with } => {
            let with = serde_json::to_string(with).unwrap_or_default();
            format!("{action} on {target}{}", if with == "{}" { String::new() } else { format!(" with {with}") })
        }
        Order::Script { file, .. } => format!("script {file}"),
        Order::Http { call, url, body, .. } => http(call, url, body.as_deref()),
        Order::Notify { channel, title, .. } => format!("notify by {}: {title}", channel.word()),
        Order::Page { policy: own } => {
            format!("page {}", own.as_ref().or(policy).map_or("nobody: no escalation policy applies", Name::as_str))
        }
        Order::Revert { target, within } => {
            let within = within.map(|within| format!(", if it is younger than {within}")).unwrap_or_default();
            format!("git revert of the newest commit on {target}{within}")
        }
        Order::Set { file, document, path, value } => {
            let of = document.as_ref().map(|document| format!(" of {document}")).unwrap_or_default();
            format!("git commit: {path}{of} = {value} in {file}")
        }
        Order::Call { playbook } => format!("playbook {playbook}"),
    }
}

fn waits(step: &PlaybookStep) -> String {
    let within = step.timeout.map(|timeout| format!(", within {timeout}")).unwrap_or_default();
    let Does::Wait { what, quiet } = &step.does else { return "wait".to_owned() };
    let quiet = if quiet.as_millis() == 0 { String::new() } else { format!(", quiet for {quiet}") };
    match what {
        WaitFor::Resolved => format!("wait until the alert is resolved{quiet}{within}"),
        WaitFor::Healthy => format!("wait until the target is healthy{quiet}{within}"),
        WaitFor::For(time) => format!("wait for {time}"),
        WaitFor::Until(expression) => format!("wait until `{}`{within}", expression.source()),
    }
}

fn http(call: &HttpCall, url: &str, body: Option<&str>) -> String {
    let body = body.map(|body| format!(" with {} bytes", body.len())).unwrap_or_default();
    format!("http {} {url}{body}", call.method)
}

/// What a channel is, and where it leads; never a secret's value, which is not known here.
pub(super) fn channel(channel: &Channel) -> String {
    channel.word().to_owned()
}
