//! What keeps an alert quiet: mute times, maintenance, and other alerts.

use std::cell::{OnceCell, RefCell};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use jiff::Timestamp;
use jiff::civil::Weekday;
use jiff::tz::TimeZone;

use super::index::Index;
use super::{Routed, Router};
use crate::model::{
    Alert, AlertId, AlertMemory, AlertRouteSpec, AlertState, Disposition, Inhibition, Labels, MatchOperator, Matcher,
    Name, TeamName, TimeSpan,
};

/// How the reasons begin for which a rule keeps an alert quiet.
const MUTED: &str = "muted by the mute time";
const INHIBITED: &str = "inhibited by alert";
const MAINTAINED: &str = "in maintenance until";

/// Firing alerts by the values of the labels on which source and target must agree, and by whom their receivers may reach.
type Sources<'a> = HashMap<Vec<String>, BTreeMap<Option<&'a BTreeSet<TeamName>>, HashMap<AlertId, Arc<Alert>>>>;

/// What keeps alerts quiet at one moment: the rules of a revision, and the alerts that fire. What a team's manifest says counts
/// only for its own alerts, and those of teams that let it; and only once it is asked of one of those is it looked up among
/// what fires.
#[derive(Debug)]
pub struct Quiet<'a> {
    pub(super) router: &'a Router,
    inhibitions: Vec<Rule<'a>>,
    /// The inhibitions by what their targets ask for.
    by_target: Index,
    /// What may inhibit others.
    firing: Vec<Arc<AlertMemory>>,
    /// Places in [`Self::firing`] by the values of those labels that inhibitions ask for.
    by_label: RefCell<HashMap<&'a str, HashMap<String, Vec<usize>>>>,
    pub(super) receivers: &'a BTreeMap<Name, BTreeSet<TeamName>>,
}

/// One inhibition.
#[derive(Debug)]
struct Rule<'a> {
    team: &'a TeamName,
    says: &'a Inhibition,
    /// The values that its firing sources have of the labels on which both must agree, and whose they are.
    sources: OnceCell<Sources<'a>>,
}

impl<'a> Quiet<'a> {
    /// Notes what fires, so that many alerts can be asked about: little is done here, as the memory may be locked meanwhile.
    /// `receivers` are those that are for some teams alone.
    pub fn new(
        router: &'a Router,
        alerts: &BTreeMap<AlertId, Arc<AlertMemory>>,
        receivers: &'a BTreeMap<Name, BTreeSet<TeamName>>,
    ) -> Self {
        let mut of_team: HashMap<&TeamName, (usize, usize)> = HashMap::new();
        let routes = router.response().routes.values();
        let rules = routes.flat_map(|route| route.spec.inhibit.iter().map(|says| (&route.team, says)));
        // What stays in force beside a mistake may be more than the compiler lets by at once.
        let rules = rules.filter(|(team, says)| {
            let (count, matchers) = of_team.entry(*team).or_default();
            (*count, *matchers) = (*count + 1, *matchers + says.source.len() + says.target.len());
            *count <= AlertRouteSpec::MOST_INHIBITIONS && *matchers <= AlertRouteSpec::MOST_MATCHERS
        });
        let inhibitions: Vec<Rule<'a>> =
            rules.map(|(team, says)| Rule { team, says, sources: OnceCell::new() }).collect();
        let targets: Vec<&[Matcher]> = inhibitions.iter().map(|rule| rule.says.target.as_slice()).collect();
        let by_target = Index::new(&targets);
        let firing = alerts.values().filter(|memory| !inhibitions.is_empty() && inhibits(memory)).cloned().collect();
        Self { router, inhibitions, by_target, firing, by_label: RefCell::default(), receivers }
    }

    /// What fires that an inhibition names as its source.
    fn sources(&self, says: &'a Inhibition) -> Sources<'a> {
        let mut sources = Sources::new();
        for at in self.may_be(&says.source) {
            let alert = &self.firing[at].alert;
            if all_hold(&says.source, &alert.labels) {
                let limit = self.receivers.get(&alert.receiver);
                let of_limit = sources.entry(agreed(says, &alert.labels)).or_default().entry(limit).or_default();
                of_limit.insert(alert.id.clone(), Arc::clone(alert));
            }
        }
        sources
    }

    /// The places of what may match: of what has the rarest value that is asked for, where one is; else all.
    fn may_be(&self, matchers: &'a [Matcher]) -> Vec<usize> {
        let exact = matchers.iter().filter(|it| it.operator == MatchOperator::Equal && !it.value.is_empty());
        let with = |matcher: &'a Matcher| {
            let mut by_label = self.by_label.borrow_mut();
            let by_value = by_label.entry(&matcher.label).or_insert_with(|| {
                let mut by_value: HashMap<String, Vec<usize>> = HashMap::new();
                for (at, memory) in self.firing.iter().enumerate() {
                    if let Some(value) = memory.alert.labels.get(&matcher.label) {
                        by_value.entry(value.clone()).or_default().push(at);
                    }
                }
                by_value
            });
            by_value.get(&matcher.value).cloned().unwrap_or_default()
        };
        exact.map(with).min_by_key(Vec::len).unwrap_or_else(|| (0..self.firing.len()).collect())
    }

    /// Why a mute time of its routes keeps it quiet, if one does. A name is one of the route's own manifest.
    pub(super) fn muted(&self, routed: &Routed, owner: Option<&TeamName>, now: Timestamp) -> Option<String> {
        let routes = &self.router.response().routes;
        // Each once: a tree may name one at every route.
        let named: BTreeSet<&(Name, Name)> = routed.mute.iter().collect();
        let (_, name) = named.into_iter().find(|(manifest, name)| {
            let route = routes.get(manifest).filter(|route| self.router.counts(&route.team, owner));
            let spans = route.and_then(|route| route.spec.mute_times.get(name));
            spans.into_iter().flatten().any(|span| contains(span, now))
        })?;
        Some(format!("{MUTED} {name}"))
    }

    /// Why another alert keeps it quiet, if one does. An alert that is source and target of one rule does not inhibit
    /// itself, as in Alertmanager; and one whose receiver is for some teams alone inhibits what is theirs alone.
    pub(super) fn inhibited(&self, alert: &Alert, owner: Option<&TeamName>) -> Option<String> {
        let labels = &alert.labels;
        for at in self.by_target.candidates(labels) {
            let &Rule { team, says, ref sources } = &self.inhibitions[at];
            if !self.router.counts(team, owner) || !all_hold(&says.target, labels) || all_hold(&says.source, labels) {
                continue;
            }
            let sources = sources.get_or_init(|| self.sources(says));
            let reaches = |limit: &Option<&BTreeSet<TeamName>>| {
                limit.is_none_or(|teams| owner.is_some_and(|owner| teams.contains(owner)))
            };
            let agreeing = sources.get(&agreed(says, labels)).into_iter().flatten();
            let reaching = agreeing.filter(|(limit, _)| reaches(limit));
            let mut sources = reaching.flat_map(|(_, sources)| sources);
            if let Some((_, source)) = sources.find(|(id, _)| **id != alert.id) {
                let agreed: Vec<String> =
                    says.equal.iter().filter_map(|name| Some(format!("{name}={}", labels.get(name)?))).collect();
                let on = if agreed.is_empty() { String::new() } else { format!(" ({})", agreed.join(" ")) };
                return Some(format!("{INHIBITED} {}{on}, which fires", source.name()));
            }
        }
        None
    }
}

/// Why maintenance keeps what has these labels still, if it does: of manifests that count for `owner`.
pub fn maintained(router: &Router, labels: &Labels, owner: Option<&TeamName>, now: Timestamp) -> Option<String> {
    let mut routes = router.response().routes.values();
    let (until, reason) = routes.find_map(|route| {
        let mut counting = route.spec.maintenance.iter().filter(|_| router.counts(&route.team, owner));
        let found = counting.find(|maintenance| {
            maintenance.from <= now && now < maintenance.until && all_hold(&maintenance.matchers, labels)
        })?;
        Some((found.until, &found.reason))
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
