//! `kind: Playbook` as it is written: what starts it, on what it acts, its limits. Its steps are [`super::playbook_steps`]'s.

use std::str::FromStr;

use jiff::Timestamp;

use crate::model::{
    CatchUp, Concurrency, Limits, MatchOperator, Matcher, Name, Per, Period, Playbook, ResourceId, Schedule, Template,
    TemplatePart, Trigger, WhenBusy,
};
use crate::schedule::next_time;

use super::app_parts::positive;
use super::playbook_steps::{self, Around};
use super::response::{Body, Refers};
use super::texts::{Scope, template};
use crate::desired::text::tree::{At, Node, Value, cut};

/// How long a playbook may take when it does not say.
const TIMEOUT: Period = Period::from_secs(15 * 60);
/// The longest time within which its runs are counted: ends are remembered so long.
const LONGEST_COUNT: Period = Period::from_secs(3_600);
/// The longest time that steps may take until the next list is done, or a person is called; schedules may take longer.
pub(crate) const LONGEST: Period = Period::from_secs(24 * 3_600);
/// The most keys, items and texts of one.
const MOST_VALUES: usize = 4_000;
/// And bytes of them.
const MOST_BYTES: usize = 128 << 10;
/// The most labels that one trigger asks for.
const MOST_MATCHERS: usize = 100;

/// Reads the spec. Name, team and folder are the caller's to fill in.
pub(crate) fn read(node: &Node, body: &mut Body<'_, '_>) -> Option<Playbook> {
    let (values, bytes) = node.size();
    if values > MOST_VALUES || bytes > MOST_BYTES {
        let message = format!(
            "this playbook has {values} values with {bytes} bytes: {MOST_VALUES} with {MOST_BYTES} are the most, for each run keeps it whole"
        );
        let help =
            "put what is long into a script beside it, and what is done often into a playbook that it calls".to_owned();
        body.reader.error(node.span, message, Some(help));
        return None;
    }
    let mut fields = body.reader.fields(node, "spec of a Playbook")?;
    let on = fields.get("on").map(|node| trigger(node, body));
    let target = fields.get("target").map(|node| target(node, on.as_ref(), body));
    let concurrency = fields.get("concurrency").map(|node| concurrency(node, body)).unwrap_or_default();
    let limits_node = fields.get("limits");
    let limits = limits_node.map(|node| limits(node, body));
    let limits = limits.unwrap_or(Limits { timeout: TIMEOUT, runs: None });
    let steps = fields.require(body.reader, "steps");
    let otherwise = fields.get("otherwise");
    fields.finish(body.reader, &[]);
    let on = match on {
        Some(on) => on?,
        None => Trigger::Called,
    };
    let around = Around {
        // A called playbook without a target has its caller's.
        target: target.is_some() || on == Trigger::Called,
        scheduled: matches!(on, Trigger::Schedule(_)),
        timeout: limits.timeout,
    };
    if let Some(node) = limits_node.filter(|_| !around.scheduled && limits.timeout > LONGEST) {
        let help = Some("nobody is called before it is up".to_owned());
        body.reader.error(node.span, format!("steps that answer an alert have at most {LONGEST}"), help);
    }
    let (steps_node, otherwise_node) = (steps?, otherwise);
    let (steps, otherwise) = playbook_steps::read(steps_node, otherwise_node, &around, body);
    let lists = [(Some(steps_node), Some(&steps)), (otherwise_node, otherwise.as_ref())];
    for (node, steps) in lists.into_iter().filter_map(|(node, steps)| node.zip(steps)) {
        let longest = playbook_steps::longest(steps);
        if !around.scheduled && longest > LONGEST {
            let message = format!("these steps may take {longest} together; where an alert waits, at most {LONGEST}");
            body.reader.error(node.span, message, Some("give their `timeout`s less, or fewer attempts".to_owned()));
        }
    }
    let placeholder = Name::new("unnamed").expect("a literal name");
    Some(Playbook {
        name: placeholder.clone(),
        team: placeholder,
        folder: String::new(),
        on,
        target: match target {
            Some(target) => Some(target?),
            None => None,
        },
        concurrency,
        limits,
        steps,
        otherwise,
    })
}

/// `on`: an alert or a time.
fn trigger(node: &Node, body: &mut Body<'_, '_>) -> Option<Trigger> {
    let mut fields = body.reader.fields(node, "on")?;
    let span = fields.span;
    let alert = fields.get("alert");
    let schedule = fields.get("schedule");
    let timezone = fields.get("timezone");
    let catch_up = fields.get("catchUp");
    fields.finish(body.reader, &[]);
    match (alert, schedule) {
        (Some(alert), None) => {
            for beside in [timezone, catch_up].into_iter().flatten() {
                body.reader.error(beside.span, "this belongs to a `schedule`", None);
            }
            alert_matchers(alert, body).map(Trigger::Alert)
        }
        (None, Some(cron)) => self::schedule(cron, timezone, catch_up, body).map(Trigger::Schedule),
        (Some(_), Some(schedule)) => {
            let help = "let two playbooks call a third".to_owned();
            body.reader.error(schedule.span, "a playbook is started by alerts or by times, not by both", Some(help));
            None
        }
        (None, None) => {
            let help = "leave `on` out for a playbook that others call".to_owned();
            body.reader.error(span, "on needs `alert` or `schedule`", Some(help));
            None
        }
    }
}

/// Labels by name, which must be equal; and under `matchers` a list of any matchers.
fn alert_matchers(node: &Node, body: &mut Body<'_, '_>) -> Option<Vec<Matcher>> {
    let entries = body.reader.pairs(node, "labels");
    let mut matchers = Vec::new();
    let mut whole = matches!(node.value, Value::Map(_));
    for entry in entries {
        if &*entry.key == "matchers" && matches!(entry.value.value, Value::List(_)) {
            let (listed, all) = super::routing::matchers(&entry.value, body);
            whole &= all;
            matchers.extend(listed);
            continue;
        }
        let Some(text) = body.reader.text(&entry.value) else {
            whole = false;
            continue;
        };
        // The matcher's own reader knows what a label may be called.
        match Matcher::from_str(&format!("{}=x", entry.key)).map(|matcher| matcher.label) {
            Ok(label) if label == *entry.key => {
                matchers.extend(Matcher::new(&label, MatchOperator::Equal, &text.value));
            }
            _ => {
                whole = false;
                let help = "letters, digits and `_`, not beginning with a digit".to_owned();
                let message = format!("`{}` cannot name a label", cut(&entry.key, 60));
                body.reader.error(entry.key_span, message, Some(help));
            }
        }
    }
    if whole && (matchers.is_empty() || matchers.len() > MOST_MATCHERS) {
        let message = format!("expected 1 to {MOST_MATCHERS} labels or matchers, found {}", matchers.len());
        let help = "such as `alert: {alertname: AppDown, app: shop}`".to_owned();
        body.reader.error(node.span, message, Some(help));
        whole = false;
    }
    whole.then_some(matchers)
}

fn schedule(
    cron: &Node,
    timezone: Option<&Node>,
    catch_up: Option<&Node>,
    body: &mut Body<'_, '_>,
) -> Option<Schedule> {
    let words = [("last", CatchUp::Last), ("none", CatchUp::None)];
    let catch_up = catch_up.map(|node| body.reader.word(node, &words));
    let timezone = timezone.map(|node| super::routing::timezone(node, body));
    let cron_text = body.reader.text(cron)?.value;
    let schedule = Schedule { cron: cron_text, timezone: None, catch_up: CatchUp::default() };
    // Whether it ever comes does not depend on the zone.
    let wrong = match next_time(&schedule, Timestamp::UNIX_EPOCH) {
        Ok(Some(_)) => None,
        Ok(None) => Some(format!("`{}` never comes", cut(&schedule.cron, 60))),
        Err(why) => Some(cut(&why, 200)),
    };
    if let Some(wrong) = wrong {
        let help = "such as \"0 4 * * 0\": at four on Sundays".to_owned();
        body.reader.error(cron.span, wrong, Some(help));
        return None;
    }
    Some(Schedule {
        timezone: match timezone {
            Some(timezone) => Some(timezone?),
            None => None,
        },
        catch_up: match catch_up {
            Some(catch_up) => catch_up?,
            None => CatchUp::default(),
        },
        ..schedule
    })
}

/// The target of a playbook, found before its run begins.
fn target(node: &Node, on: Option<&Option<Trigger>>, body: &mut Body<'_, '_>) -> Option<Template> {
    let scope = Scope { only_alert: true, ..Scope::default() };
    let found = resource(node, &scope, body)?;
    let of_alert = found.parts.iter().any(|part| matches!(part, TemplatePart::Value(_)));
    if of_alert && matches!(on, Some(Some(Trigger::Schedule(_)))) {
        let help = "name the resource".to_owned();
        body.reader.error(node.span, "a scheduled playbook has no alert that its target could come from", Some(help));
    }
    Some(found)
}

/// A resource id, or a template of one: its kind stands as written.
pub(crate) fn resource(node: &Node, scope: &Scope, body: &mut Body<'_, '_>) -> Option<Template> {
    let At { value: found, span } = template(node, scope, body.reader)?;
    let help = || Some("such as `app/{{ alert.labels.app }}`".to_owned());
    match &found.parts[..] {
        [] => body.reader.error(span, "expected a resource, found nothing", help()),
        [TemplatePart::Text(text)] => match text.parse::<ResourceId>() {
            Ok(id) => body.names.push(At { value: Refers::Target(id), span }),
            Err(error) => body.reader.error(span, error.to_string(), help()),
        },
        [TemplatePart::Text(text), ..] if text.contains('/') => {
            // Any name will do to see whether the kind is one.
            let kind = text.split('/').next().unwrap_or_default();
            let rest = text.get(kind.len() + 1..).unwrap_or_default();
            if let Err(error) = format!("{kind}/x").parse::<ResourceId>() {
                body.reader.error(span, error.to_string(), help());
            } else if rest.contains('/') || format!("{rest}x").parse::<Name>().is_err() {
                body.reader.error(span, format!("`{}` can never be a resource", cut(&found.source, 80)), help());
            }
        }
        _ => body.reader.error(span, "a target begins with its kind as it is, not with a value", help()),
    }
    Some(found)
}

fn concurrency(node: &Node, body: &mut Body<'_, '_>) -> Concurrency {
    let Some(mut fields) = body.reader.fields(node, "concurrency") else { return Concurrency::default() };
    let per = [("target", Per::Target), ("playbook", Per::Playbook)];
    let busy = [("join", WhenBusy::Join), ("queue", WhenBusy::Queue), ("skip", WhenBusy::Skip)];
    let per = fields.get("per").and_then(|node| body.reader.word(node, &per));
    let when_busy = fields.get("whenBusy").and_then(|node| body.reader.word(node, &busy));
    fields.finish(body.reader, &[]);
    Concurrency { per: per.unwrap_or_default(), when_busy: when_busy.unwrap_or_default() }
}

fn limits(node: &Node, body: &mut Body<'_, '_>) -> Limits {
    let none = Limits { timeout: TIMEOUT, runs: None };
    let Some(mut fields) = body.reader.fields(node, "limits") else { return none };
    let timeout = fields.get("timeout").and_then(|node| positive(node, body.reader));
    let runs = fields.get("runs").and_then(|node| runs(node, body));
    fields.finish(body.reader, &[]);
    Limits { timeout: timeout.unwrap_or(TIMEOUT), runs }
}

/// `3 per 1h`.
fn runs(node: &Node, body: &mut Body<'_, '_>) -> Option<(u32, Period)> {
    let text = body.reader.text(node)?;
    let words: Vec<&str> = text.value.split_whitespace().collect();
    let parsed = match &words[..] {
        [count, "per", time] => count.parse::<u32>().ok().zip(time.parse::<Period>().ok()),
        _ => None,
    };
    let good = |(count, time): &(u32, Period)| *count > 0 && time.as_millis() > 0 && *time <= LONGEST_COUNT;
    if parsed.as_ref().is_none_or(|parsed| !good(parsed)) {
        let message = format!("`{}` is not how often: expected N per DURATION, at most 1h", cut(&text.value, 60));
        body.reader.error(node.span, message, Some("such as `runs: 3 per 1h`".to_owned()));
        return None;
    }
    parsed
}
