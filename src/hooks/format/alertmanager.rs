//! Alertmanager's webhook, version 4. The status above the list says that any of it fires: each alert's own counts.

use codeops_core::model::Labels;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::wire::WireAlert;
use super::{ELEMENT, Malformed, Parsed, Truncated, shape};
use crate::base::pieces;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Webhook {
    version: String,
    #[serde(rename = "alerts")]
    _alerts: IgnoredAny,
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
    let mut parts = pieces(body).map_err(|error| shape(&error, otherwise))?;
    let is_alerts = |name: &&[u8]| serde_json::from_slice::<String>(name).is_ok_and(|name| name == "alerts");
    let alerts = std::iter::from_fn(|| parts.next().zip(parts.next())).find(|(name, _)| is_alerts(name));
    let alerts = alerts.map(|(_, alerts)| alerts).filter(|alerts| alerts.starts_with(b"["));
    let alerts = alerts.ok_or(Malformed(otherwise))?;
    if body.len() - alerts.len() > ELEMENT {
        return Err(Malformed("what stands beside its alerts is longer than 1 MiB"));
    }
    let webhook: Webhook = serde_json::from_slice(body).map_err(|error| shape(&error, otherwise))?;
    if webhook.version != version {
        return Err(Malformed(otherwise));
    }
    let mut parsed = Parsed::of_list(alerts, |alert: WireAlert| {
        if alert.status.is_none() {
            return Err("it has no status");
        }
        alert.tell_by_status()
    })?;
    let (route, group) = (webhook.receiver, webhook.group_labels);
    // What is too much is asked for like what was left out.
    let count = webhook.truncated_alerts.saturating_add(parsed.beyond);
    parsed.truncated = (count > 0).then_some(Truncated { count, route, group });
    Ok(parsed)
}
