//! `PagerDuty` Events v2: one `trigger` a page, told apart by its key, so that a page sent twice is shown once; and under the
//! same key a `resolve` once its alerts are over.

use jiff::Timestamp;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::Message;
use crate::effect::text;

/// Where events go unless the receiver says otherwise.
pub(super) const PUBLIC: &str = "https://events.pagerduty.com/v2/enqueue";
/// The longest summary, in characters.
const SUMMARY: usize = 1_024;
/// The longest key, in characters.
const KEY: usize = 255;
/// The largest event, in bytes.
const EVENT: usize = 512_000;

/// The event, as JSON; `over` and `test` say whether it tells of an end, and whether it is only tried whether it comes in.
pub(super) fn event(
    routing_key: &str,
    key: &str,
    message: &Message,
    (over, test): (bool, bool),
    now: Timestamp,
) -> String {
    let key = if key.len() > KEY { hex::encode(Sha256::digest(key)) } else { key.to_owned() };
    let mut most = message.body.len();
    loop {
        let text = json(routing_key, &key, message, (over, test), &text::cut(&message.body, most), now).to_string();
        if text.len() <= EVENT || most == 0 {
            return text;
        }
        most /= 2;
    }
}

fn json(
    routing_key: &str,
    key: &str,
    message: &Message,
    (over, test): (bool, bool),
    details: &str,
    now: Timestamp,
) -> Value {
    let of_alerts = message.alert.as_ref().map_or("critical", |alert| alert.severity);
    let severity = if test { "info" } else { of_alerts };
    let mut event = json!({
        "routing_key": routing_key,
        "event_action": if over { "resolve" } else { "trigger" },
        "dedup_key": key,
        "client": "codeops",
        "payload": {
            "summary": text::line(&message.title, SUMMARY),
            "source": "codeops",
            "severity": severity,
            "timestamp": now.to_string(),
            "custom_details": {"details": details},
        },
    });
    let mut links = Vec::new();
    if let Some(link) = &message.link {
        event["client_url"] = json!(link);
        links.push(json!({"href": link, "text": "The run"}));
    }
    if let Some(alert) = &message.alert {
        let details = &mut event["payload"]["custom_details"];
        details["began"] = json!(alert.starts_at.to_string());
        details["source"] = json!(alert.source.as_str());
        details["receiver"] = json!(alert.receiver.as_str());
        links.extend(alert.url.iter().map(|url| json!({"href": url, "text": "The alert"})));
    }
    if !links.is_empty() {
        event["links"] = Value::Array(links);
    }
    event
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_stays_within_the_bounds() {
        let message = Message { title: "é".repeat(3_000), body: "\u{1}".repeat(300_000), link: None, alert: None };
        let text = event("R", &"k".repeat(400), &message, (false, false), Timestamp::UNIX_EPOCH);
        assert!(text.len() <= EVENT, "{}", text.len());
        let event: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(event["payload"]["summary"].as_str().unwrap().chars().count(), SUMMARY);
        assert_eq!(event["dedup_key"].as_str().unwrap().len(), 64);
        assert_eq!(event["payload"]["severity"], "critical");
        let text = super::event("R", "k", &message, (false, true), Timestamp::UNIX_EPOCH);
        let event: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(event["payload"]["severity"], "info", "a test wakes nobody");
    }
}
