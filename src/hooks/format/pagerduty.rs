//! PagerDuty's webhooks, version 3: an incident that was triggered or reopened fires, a resolved one is over. One that was merged
//! into another is held back: that proves no recovery. All other events change nothing here.

use axum::http::HeaderMap;
use codeops_core::model::{Labels, bounded_annotations, bounded_labels, web_url};
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

use super::told::{State, Told};
use super::wire::time;
use super::{Element, Malformed, Parsed, header, shape};

/// The annotation for what an incident was opened with.
pub(in crate::hooks) const INCIDENT_KEY: &str = "incident_key";
/// Its signature has no time, and deliveries are known for a day: what is older may be a replay.
const KNOWN: SignedDuration = SignedDuration::from_hours(23);

#[derive(Deserialize)]
struct Webhook {
    event: Event,
}

#[derive(Deserialize)]
struct Event {
    id: String,
    event_type: String,
    #[serde(default)]
    occurred_at: Option<String>,
    #[serde(default)]
    data: Option<Element<Incident>>,
}

#[derive(Deserialize)]
struct Incident {
    id: String,
    title: String,
    #[serde(default)]
    html_url: Option<String>,
    #[serde(default)]
    created_at: Option<String>,
    #[serde(default)]
    incident_key: Option<String>,
    #[serde(default)]
    urgency: Option<String>,
    #[serde(default)]
    service: Option<Reference>,
    #[serde(default)]
    priority: Option<Reference>,
    #[serde(default)]
    resolve_reason: Option<Reason>,
}

#[derive(Deserialize)]
struct Reference {
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    summary: Option<String>,
}

#[derive(Deserialize)]
struct Reason {
    #[serde(default, rename = "type")]
    kind: Option<String>,
}

pub(super) fn parse(headers: &HeaderMap, body: &[u8], now: Timestamp) -> Result<Parsed, Malformed> {
    let otherwise = "the body is not a PagerDuty webhook of version 3";
    let Webhook { event } = serde_json::from_slice(body).map_err(|error| shape(&error, otherwise))?;
    let at = event.occurred_at.as_deref().map_or(Ok(None), time).map_err(Malformed)?;
    if at.is_some_and(|at| now.duration_since(at) > KNOWN) {
        return Err(Malformed("the event is so old that it cannot be told from one that was sent before"));
    }
    let mut parsed = Parsed::default();
    // The header names the delivery; the event's own id comes again where it is sent again.
    parsed.ids.push(header(headers, "x-webhook-id").map_or_else(|| format!("event:{}", event.id), str::to_owned));
    if ["incident.triggered", "incident.reopened", "incident.resolved"].contains(&event.event_type.as_str()) {
        parsed.take(match event.data {
            Some(Element::Good(incident)) => tell(incident, &event.event_type, event.occurred_at.as_deref()),
            _ => Err("it is no incident"),
        });
    }
    Ok(parsed)
}

fn tell(incident: Incident, event: &str, occurred_at: Option<&str>) -> Result<Told, &'static str> {
    let at = |text: Option<&str>| text.map_or(Ok(None), time);
    let merged = incident.resolve_reason.and_then(|reason| reason.kind).is_some_and(|kind| kind.starts_with("merge"));
    let (starts_at, state) = match event {
        "incident.triggered" => (at(incident.created_at.as_deref())?, State::Firing { expires_at: None }),
        "incident.reopened" => (at(occurred_at)?, State::Firing { expires_at: None }),
        _ if merged => (None, State::Silenced),
        _ => (at(incident.created_at.as_deref())?, State::Resolved { ended_at: at(occurred_at)? }),
    };
    let id = ("incident".to_owned(), incident.id);
    // Its title, urgency and service may change while it is open; its id does not.
    let identity = Some(bounded_labels([id.clone()])?);
    let service = incident.service.unwrap_or(Reference { id: None, summary: None });
    let labels = [
        ("alertname", Some(incident.title)),
        ("service", service.summary),
        ("service_id", service.id),
        ("urgency", incident.urgency),
        ("priority", incident.priority.and_then(|priority| priority.summary)),
    ];
    let labels = labels.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    let key = incident.incident_key.map(|key| (INCIDENT_KEY.to_owned(), key));
    Ok(Told {
        labels: bounded_labels(labels.chain([id]))?,
        annotations: key.map_or_else(Labels::new, |key| bounded_annotations([key])),
        url: incident.html_url.as_deref().and_then(web_url),
        identity,
        starts_at,
        state,
        said_at: at(occurred_at)?,
    })
}
