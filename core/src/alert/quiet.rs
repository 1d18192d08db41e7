//! What keeps an alert quiet: mute times, maintenance, and other alerts.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use jiff::Timestamp;
use jiff::civil::Weekday;
use jiff::tz::TimeZone;

use super::{Routed, Router};
use crate::model::{
    Alert, AlertId, AlertMemory, AlertState, Disposition, Inhibition, Labels, Matcher, Name, TeamName, TimeSpan,
};

/// How the reasons begin for which a rule keeps an alert quiet.
const MUTED: &str = "muted by the mute time";
const INHIBITED: &str = "inhibited by alert";
const MAINTAINED: &str = "in maintenance until";

/// Firing alerts by the values of the labels on which source and target must agree, and by whom their receivers may reach.
type Sources<'a> = HashMap<Vec<String>, BTreeMap<Option<&'a BTreeSet<TeamName>>, HashSet<AlertId>>>;

/// What keeps alerts quiet at one moment: the rules of a revision, and the alerts that fire. What a team's manifest says counts
/// only for its own alerts, and those of teams that let it.
#[derive(Debug)]
pub struct Quiet<'a> {
    pub(super) router: &'a Router,
    inhibitions: Vec<Rule<'a>>,
}

/// One inhibition.
#[derive(Debug)]
struct Rule<'a> {
    team: &'a TeamName,
    says: &'a Inhibition,
    /// The values that its firing sources have of the labels on which both must agree, and whose they are.
    sources: Sources<'a>,
}

impl<'a> Quiet<'a> {
    /// Looks at what fires once, so that many alerts can be asked about. `receivers` are those that are for some teams alone.
    pub fn new(
        router: &'a Router,
        alerts: &BTreeMap<AlertId, Arc<AlertMemory>>,
        receivers: &'a BTreeMap<Name, BTreeSet<TeamName>>,
    ) -> Self {
        let routes = router.response().routes.values();
        let rules = routes.flat_map(|route| route.spec.inhibit.iter().map(|says| (&route.team, says)));
        let mut inhibitions: Vec<Rule<'a>> =
            rules.map(|(team, says)| Rule { team, says, sources: Sources::new() }).collect();
        for memory in alerts.values().filter(|memory| inhibits(memory)) {
            for rule in &mut inhibitions {
                if all_hold(&rule.says.source, &memory.alert.labels) {
                    let values = agreed(rule.says, &memory.alert.labels);
                    let limit = receivers.get(&memory.alert.receiver);
                    let sources = rule.sources.entry(values).or_default().entry(limit).or_default();
                    sources.insert(memory.alert.id.clone());
                }
            }
        }
        Self { router, inhibitions }
    }

    /// Why a mute time of its routes keeps it quiet, if one does. A name is one of the route's own manifest.
    pub(super) fn muted(&self, routed: &Routed, now: Timestamp) -> Option<String> {
        let routes = &self.router.response().routes;
        let (_, name) = routed.mute.iter().find(|(manifest, name)| {
            let spans = routes.get(manifest).and_then(|route| route.spec.mute_times.get(name));
            spans.into_iter().flatten().any(|span| contains(span, now))
        })?;
        Some(format!("{MUTED} {name}"))
    }

    /// Why another alert keeps it quiet, if one does. An alert that is source and target of one rule does not inhibit
    /// itself, as in Alertmanager; and one whose receiver is for some teams alone inhibits what is theirs alone.
    pub(super) fn inhibited(&self, alert: &Alert, owner: Option<&TeamName>) -> Option<String> {
        let labels = &alert.labels;
        for Rule { team, says, sources } in &self.inhibitions {
            if !all_hold(&says.target, labels) || all_hold(&says.source, labels) || !self.router.counts(team, owner) {
                continue;
            }
            let reaches = |limit: &Option<&BTreeSet<TeamName>>| {
                limit.is_none_or(|teams| owner.is_some_and(|owner| teams.contains(owner)))
            };
            let agreeing = sources.get(&agreed(says, labels)).into_iter().flatten();
            let reaching = agreeing.filter(|(limit, _)| reaches(limit));
            if let Some(source) = reaching.flat_map(|(_, ids)| ids).find(|id| **id != alert.id) {
                return Some(format!("{INHIBITED} {}, which fires", source.fingerprint));
            }
        }
        None
    }
}

/// Why maintenance keeps what has these labels still, if it does: of manifests that count for `owner`.
pub fn maintained(router: &Router, labels: &Labels, owner: Option<&TeamName>, now: Timestamp) -> Option<String> {
    let mut routes = router.response().routes.values();
    let (until, reason) = routes.find_map(|route| {
        let found = route.spec.maintenance.iter().find(|maintenance| {
            maintenance.from <= now && now < maintenance.until && all_hold(&maintenance.matchers, labels)
        })?;
        router.counts(&route.team, owner).then_some((found.until, &found.reason))
    })?;
    Some(format!("{MAINTAINED} {until}: {reason}"))
}

/// The rules by which another alert may keep what has these labels quiet, whatever fires: of manifests that count for `owner`.
pub fn inhibitions<'a>(router: &'a Router, labels: &Labels, owner: Option<&TeamName>) -> Vec<&'a Inhibition> {
    let routes = router.response().routes.values().filter(|route| router.counts(&route.team, owner));
    let rules = routes.flat_map(|route| route.spec.inhibit.iter());
    rules.filter(|says| all_hold(&says.target, labels) && !all_hold(&says.source, labels)).collect()
}

/// Whether it was the rules of a revision that kept an alert quiet, by what its receipt says of why: not another run, or that
/// there was no revision yet.
pub fn is_by_rule(why: &str) -> bool {
    [MUTED, INHIBITED, MAINTAINED].iter().any(|begin| why.starts_with(begin))
}

/// Whether an alert is there for others to be quiet for: also one that its source silences, as in Alertmanager.
fn inhibits(memory: &AlertMemory) -> bool {
    let left = matches!(memory.disposition, Disposition::Left { .. });
    memory.state == AlertState::Firing || (memory.state == AlertState::Silenced && !left)
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
