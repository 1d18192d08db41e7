//! What monitoring systems send, each format in a file of its own: headers and an authentic body in, what was told out. Pure:
//! no clock, no journal; fields that are not known are passed over, and an element that cannot be read spoils only itself.

mod alertmanager;
mod cloudevents;
mod datadog;
mod generic;
mod grafana;
mod mapping;
mod pagerduty;
mod prometheus;
mod told;
mod wire;

use std::collections::BTreeSet;

use axum::http::HeaderMap;
use codeops_core::config::ReceiverFormat;
use codeops_core::model::{Fingerprint, Labels};
use jiff::Timestamp;
use serde::de::DeserializeOwned;

use crate::base::pieces;

pub use mapping::Mapping;
pub(super) use pagerduty::INCIDENT_KEY;
pub use told::{State, Told};

/// How many alerts of one delivery are taken: senders send far fewer.
const MOST: usize = 10_000;
/// The longest alert that is read, in bytes.
const ELEMENT: usize = 1 << 20;
/// How many alerts of a listing are taken, and what their labels and annotations may take in memory, in bytes, about.
const LISTED: (usize, usize) = (100_000, 128 << 20);

/// What a body said.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Parsed {
    /// What it told of, in its order.
    pub told: Vec<Told>,
    /// How many of its elements could not be read.
    pub spoiled: u32,
    /// Why the first of those could not.
    pub why: Option<&'static str>,
    /// How many more were in it than are read of one delivery.
    pub beyond: u64,
    /// What the delivery is known by.
    pub ids: Vec<String>,
    /// The body was cut short by its sender.
    pub truncated: Option<Truncated>,
}

/// A sender that left some of its alerts out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Truncated {
    /// How many are missing.
    pub count: u64,
    /// The name that codeops has in the sender's own routing.
    pub route: String,
    /// The labels that all of them have.
    pub group: Labels,
}

/// A body that is not of its format at all; one sentence for its sender, which shows nothing of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

/// What reading a body needs to know of its receiver.
#[derive(Debug)]
pub struct Reading {
    /// The format.
    pub format: ReceiverFormat,
    /// For formats without a shape of their own.
    pub mapping: Option<Mapping>,
}

/// Reads an authentic body.
///
/// # Errors
/// [`Malformed`] when nothing in it can be read.
pub fn parse(headers: &HeaderMap, body: &[u8], receiver: &Reading, now: Timestamp) -> Result<Parsed, Malformed> {
    match receiver.format {
        ReceiverFormat::Alertmanager => alertmanager::parse(body),
        ReceiverFormat::Prometheus => prometheus::parse(body, now),
        ReceiverFormat::Grafana => grafana::parse(body),
        ReceiverFormat::PagerDuty => pagerduty::parse(headers, body, now),
        ReceiverFormat::CloudEvents => cloudevents::parse(headers, body, receiver.mapping.as_ref(), now),
        ReceiverFormat::Datadog => datadog::parse(body),
        ReceiverFormat::Generic => generic::parse(headers, body, receiver.mapping.as_ref()),
    }
}

/// What an Alertmanager answers when it is asked for its alerts.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Listed {
    /// Those that fire and that it tells codeops of.
    pub firing: Vec<Told>,
    /// Of those that were asked about, the ones that are not over: silenced ones too, and those that it tells others of.
    pub open: BTreeSet<Fingerprint>,
    /// How many could not be read.
    pub spoiled: u32,
}

/// Reads an Alertmanager's answer to a question for its alerts. `route` is the name that codeops has in its routing; empty:
/// it tells codeops of all. Of those that may be over, only the `known` are of interest.
///
/// # Errors
/// [`Malformed`] when it is none, or too much to be kept in memory.
pub fn parse_listing(body: &[u8], route: &str, known: &BTreeSet<Fingerprint>) -> Result<Listed, Malformed> {
    prometheus::parse_listing(body, route, known)
}

const NO_SHAPE: &str = "it has not the shape that its format says";

/// One element of a list: what cannot be read spoils only itself.
#[derive(serde::Deserialize)]
#[serde(untagged)]
enum Element<T> {
    Good(T),
    Bad(serde::de::IgnoredAny),
}

impl Parsed {
    /// Takes elements in, each as `tell` understands it.
    fn of<T>(elements: Vec<Element<T>>, tell: impl Fn(T) -> Result<Told, &'static str>) -> Self {
        let mut parsed = Self::default();
        for element in elements {
            let told = match element {
                Element::Good(element) => tell(element),
                Element::Bad(_) => Err(NO_SHAPE),
            };
            parsed.take(told);
        }
        parsed
    }

    /// The same of a list as it stands in a body, one in memory at a time.
    fn of_list<T: DeserializeOwned>(
        list: &[u8],
        tell: impl Fn(T) -> Result<Told, &'static str>,
    ) -> Result<Self, Malformed> {
        let mut parsed = Self::default();
        for (at, piece) in elements(list)?.enumerate() {
            match at < MOST {
                true => parsed.take(element(piece).and_then(&tell)),
                false => parsed.beyond += 1,
            }
        }
        Ok(parsed)
    }

    /// Takes one in, or counts it as spoiled.
    fn take(&mut self, told: Result<Told, &'static str>) {
        match told {
            Ok(told) => self.told.push(told),
            Err(why) => {
                self.why.get_or_insert(why);
                self.spoiled = self.spoiled.saturating_add(1);
            }
        }
    }
}

/// The elements of a list as they stand in it.
fn elements(list: &[u8]) -> Result<impl Iterator<Item = &[u8]>, Malformed> {
    let otherwise = "the body is not a list of alerts";
    let all = pieces(list).map_err(|error| shape(&error, otherwise))?;
    if list.trim_ascii_start().starts_with(b"[") { Ok(all) } else { Err(Malformed(otherwise)) }
}

/// One of them.
fn element<T: DeserializeOwned>(piece: &[u8]) -> Result<T, &'static str> {
    if piece.len() > ELEMENT {
        return Err("it is longer than 1 MiB");
    }
    serde_json::from_slice(piece).map_err(|_| NO_SHAPE)
}

/// The value of a header that stands once and is short plain text.
fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next().filter(|_| values.next().is_none())?.to_str().ok()?.trim();
    (!value.is_empty() && value.len() <= 1_024).then_some(value)
}

/// Whether a body is JSON at all, for the sentence that says what is wrong with it.
fn shape(error: &serde_json::Error, otherwise: &'static str) -> Malformed {
    match error.classify() {
        serde_json::error::Category::Data => Malformed(otherwise),
        serde_json::error::Category::Eof => Malformed("the JSON ends early"),
        serde_json::error::Category::Syntax | serde_json::error::Category::Io => Malformed("the body is not JSON"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_flood_of_alerts_no_more_than_the_bound_are_kept() {
        let reading = Reading { format: ReceiverFormat::Alertmanager, mapping: None };
        let read = |body: &str| parse(&HeaderMap::new(), body.as_bytes(), &reading, Timestamp::UNIX_EPOCH);
        let alert = "{\"status\":\"firing\",\"labels\":{\"a\":\"b\"}}";
        let hook = |alerts: &[&str], beside: &str| {
            format!("{{\"version\":\"4\"{beside},\"\\u0061lerts\" :[{}]}}", alerts.join(","))
        };
        let parsed = read(&hook(&vec![alert; MOST + 3], "")).expect("a delivery");
        assert_eq!((parsed.told.len(), parsed.spoiled, parsed.beyond), (MOST, 0, 3));
        assert_eq!(parsed.truncated.map(|truncated| truncated.count), Some(3));
        // What is too long spoils only itself, and nothing is hidden beside the alerts.
        let long =
            format!("{{\"status\":\"firing\",\"labels\":{{\"a\":\"b\"}},\"x\":[{}0]}}", "0,".repeat(ELEMENT / 2));
        let parsed = read(&hook(&[&long, alert, "7"], "")).expect("a delivery");
        assert_eq!((parsed.told.len(), parsed.spoiled, parsed.why), (1, 2, Some("it is longer than 1 MiB")));
        let labels = format!(",\"groupLabels\":{{\"a\":\"{}\"}}", "x".repeat(ELEMENT));
        assert!(read(&hook(&[alert], &labels)).is_err());
        for wrong in
            ["{}", "[]", "{\"version\":\"4\",\"alerts\":{}}", "{\"version\":\"4\",\"alerts\":[],\"alerts\":[]}"]
        {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn of_a_listing_what_is_not_asked_about_is_not_kept() {
        let entry = |name: &str, state: &str| {
            format!(
                "{{\"labels\":{{\"a\":\"{name}\"}},\"status\":{{\"state\":\"{state}\"}},\"receivers\":[{{\"name\":\"r\"}}]}}"
            )
        };
        let of = |name: &str| Fingerprint::of(&[("a".to_owned(), name.to_owned())].into());
        let body = format!("[{},{},1]", entry("x", "active"), entry("y", "suppressed"));
        let listed = parse_listing(body.as_bytes(), "r", &[of("y"), of("z")].into()).expect("a listing");
        assert_eq!((listed.firing.len(), listed.spoiled, listed.open), (1, 1, [of("y")].into()));
        let body = format!("[{}]", vec![entry("x", "active"); LISTED.0 + 1].join(","));
        assert!(parse_listing(body.as_bytes(), "r", &BTreeSet::new()).is_err());
        assert!(parse_listing(b"{}", "r", &BTreeSet::new()).is_err());
    }
}
