//! Alertmanager's webhook, version 4. The status above the list says that any of it fires: each alert's own counts.

use codeops_core::model::Labels;
use serde::Deserialize;

use super::wire::WireAlert;
use super::{Element, Malformed, Parsed, Truncated, shape};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Webhook {
    version: String,
    alerts: Vec<Element<WireAlert>>,
    #[serde(default)]
    truncated_alerts: u64,
    #[serde(default)]
    receiver: String,
    #[serde(default)]
    group_labels: Labels,
}

pub(super) fn parse(body: &[u8]) -> Result<Parsed, Malformed> {
    parse_version(body, "4", "the body is not an Alertmanager webhook of version 4")
}

/// Reads the webhook of this version; Grafana's is another of the same shape.
pub(super) fn parse_version(body: &[u8], version: &str, otherwise: &'static str) -> Result<Parsed, Malformed> {
    let webhook: Webhook = serde_json::from_slice(body).map_err(|error| shape(&error, otherwise))?;
    if webhook.version != version {
        return Err(Malformed(otherwise));
    }
    let mut parsed = Parsed::of(webhook.alerts, |alert| {
        if alert.status.is_none() {
            return Err("it has no status");
        }
        alert.tell_by_status()
    });
    let (count, route, group) = (webhook.truncated_alerts, webhook.receiver, webhook.group_labels);
    parsed.truncated = (count > 0).then_some(Truncated { count, route, group });
    Ok(parsed)
}
