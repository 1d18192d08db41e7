//! The Alertmanager API that Prometheus posts to, and what an Alertmanager answers on it. An alert whose end lies before now is
//! over; any other fires until its end, and an end that comes without a word is no proof that it is over.

use std::collections::BTreeSet;

use codeops_core::model::Fingerprint;
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

use super::told::State;
use super::wire::WireAlert;
use super::{LISTED, Listed, Malformed, Parsed, element, elements};

/// How long an alert without an end fires.
const ENDS_AFTER: SignedDuration = SignedDuration::from_mins(5);

pub(super) fn parse(body: &[u8], now: Timestamp) -> Result<Parsed, Malformed> {
    Parsed::of_list(body, |alert: WireAlert| {
        let ends_at = alert.ends_at()?;
        let told = alert.tell(match ends_at {
            Some(at) if at <= now => State::Resolved { ended_at: Some(at) },
            _ => State::Firing { expires_at: ends_at.or(now.checked_add(ENDS_AFTER).ok()) },
        })?;
        match (told.starts_at, ends_at) {
            (Some(begins), Some(ends)) if ends < begins => Err("it ends before it begins"),
            _ => Ok(told),
        }
    })
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
pub(super) fn parse_listing(body: &[u8], route: &str, known: &BTreeSet<Fingerprint>) -> Result<Listed, Malformed> {
    let (mut listed, mut weight) = (Listed::default(), 0);
    for piece in elements(body)? {
        let Ok(Entry { receivers, mut alert }) = element::<Entry>(piece) else {
            listed.spoiled = listed.spoiled.saturating_add(1);
            continue;
        };
        let active = alert.status.take().is_some_and(|status| status.state == "active");
        let ours = route.is_empty() || receivers.iter().any(|receiver| receiver.name == route);
        let Ok(told) = alert.tell(State::Firing { expires_at: None }) else {
            listed.spoiled = listed.spoiled.saturating_add(1);
            continue;
        };
        listed.open.extend(Some(told.fingerprint()).filter(|fingerprint| known.contains(fingerprint)));
        if active && ours {
            // A text in a map takes some 64 bytes beside itself.
            let texts = told.labels.iter().chain(&told.annotations);
            weight += texts.map(|(name, value)| name.len() + value.len() + 64).sum::<usize>();
            listed.firing.push(told);
        }
        if listed.firing.len() > LISTED.0 || weight > LISTED.1 {
            return Err(Malformed("it lists more alerts than are read of one answer"));
        }
    }
    Ok(listed)
}
