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

pub use mapping::Mapping;
pub(super) use pagerduty::INCIDENT_KEY;
pub use told::{State, Told};

/// What a body said.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Parsed {
    /// What it told of, in its order.
    pub told: Vec<Told>,
    /// How many of its elements could not be read.
    pub spoiled: u32,
    /// Why the first of those could not.
    pub why: Option<&'static str>,
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
    /// All that are not over: silenced ones too, and those that it tells others of.
    pub open: BTreeSet<Fingerprint>,
    /// How many could not be read.
    pub spoiled: u32,
}

/// Reads an Alertmanager's answer to a question for its alerts. `route` is the name that codeops has in its routing; empty:
/// it tells codeops of all.
///
/// # Errors
/// [`Malformed`] when it is none.
pub fn parse_listing(body: &[u8], route: &str) -> Result<Listed, Malformed> {
    prometheus::parse_listing(body, route)
}

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
                Element::Bad(_) => Err("it has not the shape that its format says"),
            };
            parsed.take(told);
        }
        parsed
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
