//! `kind: AlertRoute` as it is written: the tree, inhibitions, mute times, maintenance.

use std::collections::{BTreeMap, BTreeSet};

use jiff::civil::Time;

use crate::model::{
    AlertRouteSpec, Inhibition, MOST_LABELS, Maintenance, MatchOperator, Matcher, Name, Route, TimeSpan,
};
use crate::schedule::zone;

use super::people::timestamp;
use super::response::{Body, Refers};
use crate::desired::text::read::Fields;
use crate::desired::text::tree::{At, Node, Value, cut};

/// The most nodes of one tree, and the most regular expressions in one manifest: each takes memory for good.
const MOST_ROUTES: usize = 2_000;
const MOST_REGEXES: usize = 2_000;

/// Reads the spec of an AlertRoute.
pub(crate) fn read(node: &Node, body: &mut Body<'_, '_>) -> Option<AlertRouteSpec> {
    let mut fields = body.reader.fields(node, "spec of an AlertRoute")?;
    let mute_times: BTreeMap<Name, Vec<TimeSpan>> =
        fields.get("muteTimes").map(|node| mute_times(node, body)).unwrap_or_default();
    let mut tree = Tree { known: mute_times.keys().cloned().collect(), routes: 0, regexes: 0 };
    let route = fields.require(body.reader, "route").and_then(|node| tree.route(node, body));
    let inhibit = all(fields.get("inhibit"), "inhibitions", body, inhibition);
    let maintenance = all(fields.get("maintenance"), "times of maintenance", body, maintenance);
    fields.finish(body.reader, &[]);
    let route = route?;
    let of_routes = tree.regexes + inhibit.iter().map(|one| regexes(&one.source) + regexes(&one.target)).sum::<usize>();
    if tree.routes > MOST_ROUTES || of_routes > MOST_REGEXES {
        let message = format!("one manifest has at most {MOST_ROUTES} routes and {MOST_REGEXES} regular expressions");
        body.reader.error(node.span, message, Some("split it".to_owned()));
    }
    Some(AlertRouteSpec { route, inhibit, mute_times, maintenance })
}

/// The tree while it is read.
struct Tree {
    /// Mute times by name.
    known: BTreeSet<Name>,
    routes: usize,
    regexes: usize,
}

impl Tree {
    /// One node. Documents are at most [`crate::desired::text::yaml::MAX_DEPTH`] deep.
    fn route(&mut self, node: &Node, body: &mut Body<'_, '_>) -> Option<Route> {
        self.routes += 1;
        if self.routes > MOST_ROUTES || self.regexes > MOST_REGEXES {
            return None;
        }
        let mut fields = body.reader.fields(node, "a route")?;
        let matchers = fields.get("match").map(|node| matchers(node, body).0).unwrap_or_default();
        self.regexes += regexes(&matchers);
        let route = Route {
            matchers,
            policy: fields.get("policy").and_then(|node| body.name(node, Refers::Policy)),
            playbook: fields.get("playbook").and_then(|node| body.name(node, Refers::Playbook)),
            group_by: fields.get("groupBy").map(|node| labels(node, body)),
            mute: fields.get("mute").map(|node| self.mute(node, body)).unwrap_or_default(),
            go_on: fields.get("continue").and_then(|node| body.reader.boolean(node)).unwrap_or_default(),
            routes: all(fields.get("routes"), "routes", body, |node, body| self.route(node, body)),
        };
        fields.finish(body.reader, &[]);
        Some(route)
    }

    fn mute(&self, node: &Node, body: &mut Body<'_, '_>) -> Vec<Name> {
        let names = body.reader.list::<Name>(node, "names of mute times");
        for At { value, span } in names.iter().filter(|name| !self.known.contains(&name.value)) {
            let help = match body.reader.near(value.as_str(), self.known.iter().map(Name::as_str)) {
                Some(near) => format!("did you mean `{near}`?"),
                None => "give it under `muteTimes` of this manifest".to_owned(),
            };
            body.reader.error(*span, format!("there is no mute time `{value}`"), Some(help));
        }
        names.into_iter().map(|name| name.value).collect()
    }
}

/// The items of a list that may be left out.
fn all<T>(
    node: Option<&Node>,
    what: &str,
    body: &mut Body<'_, '_>,
    mut read: impl FnMut(&Node, &mut Body<'_, '_>) -> Option<T>,
) -> Vec<T> {
    let Some(node) = node else { return Vec::new() };
    body.reader.items(node, what).iter().filter_map(|item| read(item, body)).collect()
}

fn regexes(matchers: &[Matcher]) -> usize {
    let is = |matcher: &&Matcher| matches!(matcher.operator, MatchOperator::Matches | MatchOperator::NotMatches);
    matchers.iter().filter(is).count()
}

/// A list of matchers; and whether all of them are good.
pub(crate) fn matchers(node: &Node, body: &mut Body<'_, '_>) -> (Vec<Matcher>, bool) {
    let items = body.reader.items(node, "matchers, such as severity=\"critical\"");
    let good: Vec<Matcher> = items.iter().filter_map(|item| matcher(item, body)).collect();
    let all = good.len() == items.len() && matches!(node.value, Value::List(_));
    (good, all)
}

fn matcher(node: &Node, body: &mut Body<'_, '_>) -> Option<Matcher> {
    let text = body.reader.text(node)?;
    let pattern = ["=~", "!~"].iter().find_map(|sign| text.value.split_once(sign)).map(|(_, pattern)| pattern);
    if pattern.is_some_and(|pattern| !body.reader.allowance.takes_pattern(&pattern.replace("\\\\", "\\"))) {
        body.reader.refuse(node.span);
        return None;
    }
    match text.value.parse() {
        Ok(matcher) => Some(matcher),
        Err(why) => {
            let first: &str = why.lines().next().unwrap_or_default();
            let why: &str =
                if first.len() < why.len() { &why.split_whitespace().collect::<Vec<_>>().join(" ") } else { first };
            body.reader.error(node.span, cut(why, 300), None);
            None
        }
    }
}

/// A list of matchers of which there must be one.
fn needed(fields: &mut Fields<'_>, name: &'static str, body: &mut Body<'_, '_>) -> Option<Vec<Matcher>> {
    let node = fields.require(body.reader, name)?;
    let (matchers, all) = matchers(node, body);
    if all && matchers.is_empty() {
        body.reader.error(node.span, format!("`{name}` needs at least one matcher"), None);
    }
    (all && !matchers.is_empty()).then_some(matchers)
}

fn labels(node: &Node, body: &mut Body<'_, '_>) -> Vec<String> {
    let items = body.reader.items(node, "labels");
    let texts: Vec<At<String>> = items.iter().filter_map(|item| body.reader.text(item)).collect();
    let named = |text: &At<String>| format!("{}=x", text.value).parse::<Matcher>().is_ok_and(|m| m.label == text.value);
    for text in texts.iter().filter(|text| !named(text)) {
        body.reader.error(text.span, format!("`{}` cannot name a label", cut(&text.value, 60)), None);
    }
    if texts.len() > MOST_LABELS {
        let message = format!("{} labels are named, and an alert has at most {MOST_LABELS}", texts.len());
        body.reader.error(node.span, message, None);
    }
    texts.into_iter().map(|text| text.value).collect()
}

fn inhibition(node: &Node, body: &mut Body<'_, '_>) -> Option<Inhibition> {
    let mut fields = body.reader.fields(node, "an inhibition")?;
    let source = needed(&mut fields, "source", body);
    let target = needed(&mut fields, "target", body);
    let equal = fields.get("equal").map(|node| labels(node, body)).unwrap_or_default();
    fields.finish(body.reader, &[]);
    Some(Inhibition { source: source?, target: target?, equal })
}

fn maintenance(node: &Node, body: &mut Body<'_, '_>) -> Option<Maintenance> {
    let mut fields = body.reader.fields(node, "maintenance")?;
    let matchers = needed(&mut fields, "match", body);
    let from = fields.require(body.reader, "from").and_then(|node| timestamp(node, body.reader));
    let until_node = fields.require(body.reader, "until");
    let until = until_node.and_then(|node| timestamp(node, body.reader));
    let reason = fields.require(body.reader, "reason").and_then(|node| body.reader.text(node));
    fields.finish(body.reader, &[]);
    let (from, until) = (from?, until?);
    if let Some(node) = until_node.filter(|_| from >= until) {
        body.reader.error(node.span, "it ends before it begins", None);
    }
    Some(Maintenance { matchers: matchers?, from, until, reason: reason?.value })
}

fn mute_times(node: &Node, body: &mut Body<'_, '_>) -> BTreeMap<Name, Vec<TimeSpan>> {
    let mut out = BTreeMap::new();
    for entry in body.reader.pairs(node, "mute times") {
        let items = body.reader.items(&entry.value, "times");
        let spans = items.iter().filter_map(|item| time_span(item, body)).collect();
        match entry.key.parse::<Name>() {
            Ok(name) => drop(out.insert(name, spans)),
            Err(error) => body.reader.error(entry.key_span, error.to_string(), None),
        }
    }
    out
}

const WEEKDAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];

fn time_span(node: &Node, body: &mut Body<'_, '_>) -> Option<TimeSpan> {
    let mut fields = body.reader.fields(node, "a mute time")?;
    let times = all(fields.get("times"), "times of day", body, times);
    let weekdays = ranges(fields.get("weekdays"), "a day of the week, mon to sun", &WEEKDAYS, (1, 7), body);
    let days = ranges(fields.get("daysOfMonth"), "a day of the month, 1 to 31 or -1 to -31", &[], (-31, 31), body);
    let months = ranges(fields.get("months"), "a month, jan to dec or 1 to 12", &MONTHS, (1, 12), body);
    let timezone = fields.get("timezone").map(|node| timezone(node, body));
    let span = fields.span;
    fields.finish(body.reader, &[]);
    if times.is_empty() && weekdays.is_empty() && days.is_empty() && months.is_empty() && !body.reader.full() {
        let help = "give `times`, `weekdays`, `daysOfMonth` or `months`".to_owned();
        body.reader.error(span, "this mute time names no time", Some(help));
    }
    let each = |pairs: Vec<(i8, i8)>| pairs.into_iter().flat_map(|(from, to)| from..=to).collect::<BTreeSet<i8>>();
    Some(TimeSpan {
        times,
        weekdays: each(weekdays),
        days_of_month: days,
        months: each(months),
        timezone: match timezone {
            Some(timezone) => Some(timezone?),
            None => None,
        },
    })
}

/// `{from: 22:00, to: 24:00}`.
fn times(node: &Node, body: &mut Body<'_, '_>) -> Option<(Time, Option<Time>)> {
    let mut fields = body.reader.fields(node, "a time of day")?;
    let from = fields.require(body.reader, "from").and_then(|node| clock(node, body));
    let to_node = fields.require(body.reader, "to");
    let to = to_node.and_then(|node| match node.text() {
        Some("24:00") => Some(None),
        _ => clock(node, body).map(Some),
    });
    fields.finish(body.reader, &[]);
    let (from, to) = (from?, to?);
    if let Some(node) = to_node.filter(|_| to.is_some_and(|to| to <= from)) {
        let help = "one that goes past midnight is two: to 24:00, and from 00:00".to_owned();
        body.reader.error(node.span, "it ends before it begins", Some(help));
    }
    Some((from, to))
}

fn clock(node: &Node, body: &mut Body<'_, '_>) -> Option<Time> {
    let text = body.reader.text(node)?;
    let time = text.value.split_once(':').and_then(|(hour, minute)| {
        let two = |part: &str| (part.len() == 2).then(|| part.parse::<i8>().ok()).flatten();
        Time::new(two(hour)?, two(minute)?, 0, 0).ok()
    });
    if time.is_none() {
        let message = format!("`{}` is not a time of day", cut(&text.value, 40));
        body.reader.error(node.span, message, Some("HH:MM, from 00:00 to 24:00".to_owned()));
    }
    time
}

/// A list of values or ranges `A:B`; values are numbers within bounds, or the words that stand for them from 1 on.
fn ranges(
    node: Option<&Node>,
    what: &str,
    words: &[&str],
    (least, most): (i8, i8),
    body: &mut Body<'_, '_>,
) -> Vec<(i8, i8)> {
    let value = |text: &str| {
        let word = words.iter().position(|word| *word == text).and_then(|at| i8::try_from(at + 1).ok());
        // Weekdays are words only: which day is the first is a matter of taste.
        let number = text.parse::<i8>().ok().filter(|n| (least..=most).contains(n) && *n != 0 && words.len() != 7);
        word.or(number)
    };
    all(node, what, body, |item, body| {
        let text = body.reader.text(item)?;
        let range = match text.value.split_once(':') {
            Some((from, to)) => value(from).zip(value(to)),
            None => value(&text.value).map(|one| (one, one)),
        };
        let range = range.filter(|(from, to)| from <= to && (*from < 0) == (*to < 0));
        if range.is_none() {
            let message = format!("`{}` is not {what}", cut(&text.value, 40));
            body.reader.error(item.span, message, Some("a range is written FIRST:LAST".to_owned()));
        }
        range
    })
}

/// An IANA time zone.
pub(crate) fn timezone(node: &Node, body: &mut Body<'_, '_>) -> Option<String> {
    let text = body.reader.text(node)?;
    match zone(Some(&text.value)) {
        Ok(_) => Some(text.value),
        Err(why) => {
            body.reader.error(node.span, cut(&why, 200), None);
            None
        }
    }
}
