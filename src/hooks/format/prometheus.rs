//! The Alertmanager API that Prometheus posts to, and what an Alertmanager answers on it. An alert whose end lies before now is
//! over; any other fires until its end, and an end that comes without a word is no proof that it is over.

use codeops_core::model::Fingerprint;
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

use super::told::State;
use super::wire::WireAlert;
use super::{Element, Listed, Malformed, Parsed, shape};

/// How long an alert without an end fires.
const ENDS_AFTER: SignedDuration = SignedDuration::from_mins(5);

pub(super) fn parse(body: &[u8], now: Timestamp) -> Result<Parsed, Malformed> {
    let alerts: Vec<Element<WireAlert>> = list(body)?;
    Ok(Parsed::of(alerts, |alert| {
        let ends_at = alert.ends_at()?;
        let told = alert.tell(match ends_at {
            Some(at) if at <= now => State::Resolved { ended_at: Some(at) },
            _ => State::Firing { expires_at: ends_at.or(now.checked_add(ENDS_AFTER).ok()) },
        })?;
        match (told.starts_at, ends_at) {
            (Some(begins), Some(ends)) if ends < begins => Err("it ends before it begins"),
            _ => Ok(told),
        }
    }))
}

#[derive(Deserialize)]
struct Status {
    state: String,
}

#[derive(Deserialize)]
struct Route {
    name: String,
}

/// One alert of an Alertmanager's answer.
#[derive(Deserialize)]
struct Entry {
    #[serde(default)]
    receivers: Vec<Route>,
    #[serde(flatten)]
    alert: WireAlert<Status>,
}

/// The alerts of an Alertmanager's answer. Its own times of expiry are its own affair: it will tell.
pub(super) fn parse_listing(body: &[u8], route: &str) -> Result<Listed, Malformed> {
    let all: Vec<Element<Entry>> = list(body)?;
    let mut listed = Listed::default();
    for element in all {
        let Element::Good(Entry { receivers, mut alert }) = element else {
            listed.spoiled = listed.spoiled.saturating_add(1);
            continue;
        };
        let active = alert.status.take().is_some_and(|status| status.state == "active");
        let ours = route.is_empty() || receivers.iter().any(|receiver| receiver.name == route);
        match alert.tell(State::Firing { expires_at: None }) {
            Ok(told) => {
                listed.open.insert(Fingerprint::of(&told.labels));
                listed.firing.extend((active && ours).then_some(told));
            }
            Err(_) => listed.spoiled = listed.spoiled.saturating_add(1),
        }
    }
    Ok(listed)
}

fn list<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<Vec<T>, Malformed> {
    serde_json::from_slice(body).map_err(|error| shape(&error, "the body is not a list of alerts"))
}
