//! What keeps an alert quiet: mute times, maintenance, and other alerts.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use jiff::Timestamp;
use jiff::civil::Weekday;
use jiff::tz::TimeZone;

use super::{Routed, all_routes};
use crate::model::{Alert, AlertId, AlertMemory, AlertState, Inhibition, Labels, Matcher, Response, TimeSpan};

/// Firing alerts by the values of the labels on which source and target must agree.
type Sources = HashMap<Vec<String>, HashSet<AlertId>>;

/// What keeps alerts quiet at one moment: the rules of a revision, and the alerts that fire.
#[derive(Debug)]
pub struct Quiet<'a> {
    pub(super) response: &'a Response,
    /// Each rule with the values that its firing sources have of the labels on which both must agree, and whose they are.
    inhibitions: Vec<(&'a Inhibition, Sources)>,
}

impl<'a> Quiet<'a> {
    /// Looks at what fires once, so that many alerts can be asked about.
    pub fn new(response: &'a Response, alerts: &BTreeMap<AlertId, Arc<AlertMemory>>) -> Self {
        let rules: Vec<&Inhibition> = all_routes(response).flat_map(|route| &route.spec.inhibit).collect();
        let mut inhibitions: Vec<(&Inhibition, Sources)> =
            rules.into_iter().map(|rule| (rule, Sources::new())).collect();
        for memory in alerts.values().filter(|memory| memory.state == AlertState::Firing) {
            for (rule, sources) in &mut inhibitions {
                if all_hold(&rule.source, &memory.alert.labels) {
                    let values = agreed(rule, &memory.alert.labels);
                    sources.entry(values).or_default().insert(memory.alert.id.clone());
                }
            }
        }
        Self { response, inhibitions }
    }

    /// Why a mute time of its routes keeps it quiet, if one does.
    pub(super) fn muted(&self, routed: &Routed, now: Timestamp) -> Option<String> {
        let name = routed.mute.iter().find(|name| {
            let spans = all_routes(self.response).filter_map(|route| route.spec.mute_times.get(*name));
            spans.flatten().any(|span| contains(span, now))
        })?;
        Some(format!("muted by the mute time {name}"))
    }

    /// Why another alert keeps it quiet, if one does. An alert that is source and target of one rule does not inhibit
    /// itself, as in Alertmanager.
    pub(super) fn inhibited(&self, alert: &Alert) -> Option<String> {
        let labels = &alert.labels;
        for (rule, sources) in &self.inhibitions {
            if !all_hold(&rule.target, labels) || all_hold(&rule.source, labels) {
                continue;
            }
            let source = sources.get(&agreed(rule, labels)).and_then(|ids| ids.iter().find(|id| **id != alert.id));
            if let Some(source) = source {
                return Some(format!("inhibited by alert {}, which fires", source.fingerprint));
            }
        }
        None
    }
}

/// Why maintenance keeps what has these labels still, if it does.
pub fn maintained(response: &Response, labels: &Labels, now: Timestamp) -> Option<String> {
    let found = all_routes(response).flat_map(|route| &route.spec.maintenance).find(|maintenance| {
        maintenance.from <= now && now < maintenance.until && all_hold(&maintenance.matchers, labels)
    })?;
    Some(format!("in maintenance until {}: {}", found.until, found.reason))
}

fn all_hold(matchers: &[Matcher], labels: &Labels) -> bool {
    matchers.iter().all(|matcher| matcher.holds(labels))
}

fn agreed(rule: &Inhibition, labels: &Labels) -> Vec<String> {
    rule.equal.iter().map(|name| labels.get(name).cloned().unwrap_or_default()).collect()
}

/// Whether a time lies in a recurring span.
fn contains(span: &TimeSpan, now: Timestamp) -> bool {
    let zone = span.timezone.as_deref().and_then(|name| jiff::tz::TimeZoneDatabase::bundled().get(name).ok());
    let local = now.to_zoned(zone.unwrap_or(TimeZone::UTC));
    let (date, time) = (local.date(), local.time());
    let weekday = Weekday::to_monday_one_offset(date.weekday());
    let in_day =
        |(from, to): &(jiff::civil::Time, Option<jiff::civil::Time>)| *from <= time && to.is_none_or(|to| time < to);
    let last = date.days_in_month();
    let from_end = |day: i8| if day < 0 { last + day + 1 } else { day };
    let in_month = |(from, to): &(i8, i8)| from_end(*from) <= date.day() && date.day() <= from_end(*to).min(last);
    (span.times.is_empty() || span.times.iter().any(in_day))
        && (span.weekdays.is_empty() || span.weekdays.contains(&weekday))
        && (span.days_of_month.is_empty() || span.days_of_month.iter().any(in_month))
        && (span.months.is_empty() || span.months.contains(&date.month()))
}
