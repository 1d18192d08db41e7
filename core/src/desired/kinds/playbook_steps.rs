//! The steps of a playbook as they are written: a name, exactly one thing to do, and what stands beside it.

use crate::model::{Does, Name, OnError, Period, PlaybookStep, Retry, WaitFor};

use super::app_parts::positive;
use super::playbook_does;
use super::response::{Body, Refers};
use super::texts::{Scope, expression};
use crate::desired::text::read::{Fields, list};
use crate::desired::text::tree::{At, Node, Span, Value};

/// The most steps of one list.
const MOST_STEPS: usize = 64;
/// The most attempts at one step.
const MOST_ATTEMPTS: u32 = 10;
/// The wait before the second attempt, where nothing says.
const BACKOFF: Period = Period::from_secs(5);

/// What a step can do.
const WORDS: [&str; 8] = ["action", "script", "wait", "http", "notify", "page", "git", "playbook"];

/// What is known of the playbook around a step.
pub(crate) struct Around {
    /// Whether its runs have a target.
    pub target: bool,
    /// Whether it is started by a time.
    pub scheduled: bool,
    /// How long its `steps` may take together.
    pub timeout: Period,
}

/// Reads `steps` and `otherwise`.
pub(crate) fn read(
    steps: &Node,
    otherwise: Option<&Node>,
    around: &Around,
    body: &mut Body<'_, '_>,
) -> (Vec<PlaybookStep>, Option<Vec<PlaybookStep>>) {
    let first = part(steps, &[], Some(around.timeout), around, body);
    let waits = first.iter().filter(|step| step.when.is_none()).filter_map(|step| match &step.does {
        Does::Wait { what: WaitFor::For(time), .. } => Some(*time),
        _ => None,
    });
    let (waits, within): (Vec<Period>, _) = (waits.collect(), around.timeout);
    let time = Period::from_millis(waits.iter().map(|time| time.as_millis()).fold(0, u64::saturating_add));
    // One that is too long by itself is told of by itself.
    if time > within && waits.iter().all(|time| *time <= within) {
        body.names.push(At { value: Refers::Longer { time, within }, span: steps.span });
    }
    let names: Vec<Name> = names(steps);
    let second = otherwise.map(|node| part(node, &names, None, around, body));
    (first, second)
}

/// The longest that these can take together by what they say: each with all its attempts. Paging and other playbooks have
/// their own time.
pub(crate) fn longest(steps: &[PlaybookStep]) -> Period {
    let of = |step: &PlaybookStep| {
        let time = match &step.does {
            Does::Wait { what: WaitFor::For(time), .. } => Some(*time),
            Does::Page { .. } | Does::Playbook(_) => None,
            _ => step.timeout,
        };
        let attempts = step.retry.map_or(1, |retry| u64::from(retry.attempts));
        time.map_or(0, Period::as_millis).saturating_mul(attempts)
    };
    Period::from_millis(steps.iter().map(of).fold(0, u64::saturating_add))
}

/// The names that a list's steps have, as far as they are names.
fn names(node: &Node) -> Vec<Name> {
    let Value::List(items) = &node.value else { return Vec::new() };
    items.iter().filter_map(|item| item.get("name")?.text()?.parse().ok()).collect()
}

/// One list of steps; `before` are those of the other list, all of which may have ended.
fn part(
    node: &Node,
    before: &[Name],
    within: Option<Period>,
    around: &Around,
    body: &mut Body<'_, '_>,
) -> Vec<PlaybookStep> {
    let items = body.reader.items(node, "steps");
    if matches!(node.value, Value::List(_)) && (items.is_empty() || items.len() > MOST_STEPS) {
        let message = format!("expected 1 to {MOST_STEPS} steps, found {}", items.len());
        body.reader.error(node.span, message, None);
        return Vec::new();
    }
    let mut scope = Scope { steps: before.to_vec(), later: names(node), only_alert: false };
    let mut out: Vec<PlaybookStep> = Vec::with_capacity(items.len());
    for item in items {
        let step = step(item, &scope, within, around, body);
        if let Some(name) = item.get("name").and_then(|node| node.text()?.parse::<Name>().ok()) {
            if out.iter().any(|other| other.name == name) {
                body.reader.error(item.span, format!("a second step `{name}` in the same list"), None);
            }
            scope.later.retain(|later| *later != name);
            scope.steps.push(name);
        }
        out.extend(step);
    }
    out
}

fn step(
    node: &Node,
    scope: &Scope,
    within: Option<Period>,
    around: &Around,
    body: &mut Body<'_, '_>,
) -> Option<PlaybookStep> {
    let mut fields = body.reader.fields(node, "a step")?;
    let name = fields.require(body.reader, "name").and_then(|node| body.reader.parse::<Name>(node));
    let timeout_node = fields.get("timeout");
    let timeout = timeout_node.and_then(|node| positive(node, body.reader));
    let when = fields.get("if").map(|node| expression(node, scope, body.reader));
    let retry_node = fields.get("retry");
    let retry = retry_node.map(|node| retry(node, body));
    let words = [("otherwise", OnError::Otherwise), ("continue", OnError::Continue)];
    let on_error = fields.get("onError").and_then(|node| body.reader.word(node, &words)).unwrap_or_default();
    let idempotent = fields.get("idempotent").and_then(|node| body.reader.boolean(node)).unwrap_or_default();
    let does = does(&mut fields, scope, around, body);
    let span = fields.span;
    fields.finish(body.reader, &[]);
    let does = does?;
    if let (Does::Wait { .. } | Does::Page { .. } | Does::Playbook(_), Some(node)) = (&does, retry_node) {
        body.reader.error(node.span, format!("a {} is not tried again", does.word()), None);
    }
    if let Does::Wait { what: WaitFor::Resolved, quiet } = &does {
        proof(node.get("wait").map_or(span, |node| node.span), timeout, within, *quiet, around, body);
    }
    longer(&does, timeout.and(timeout_node).or(node.get("wait")), timeout, within, body);
    let (when, retry) = (when.map_or(Some(None), |when| when.map(Some))?, retry.map_or(Some(None), |r| r.map(Some))?);
    Some(PlaybookStep { name: name?.value, does, when, timeout, retry, on_error, idempotent })
}

/// Notes a step that cannot come to its end within the time that all of them have. A proof is told of by itself.
fn longer(does: &Does, at: Option<&Node>, timeout: Option<Period>, within: Option<Period>, body: &mut Body<'_, '_>) {
    let time = match does {
        Does::Wait { what: WaitFor::For(time), .. } => Some(*time),
        Does::Wait { what: WaitFor::Resolved, .. } | Does::Page { .. } | Does::Playbook(_) => None,
        _ => timeout,
    };
    if let (Some(time), Some(within), Some(node)) = (time, within, at)
        && time > within
    {
        body.names.push(At { value: Refers::Longer { time, within }, span: node.span });
    }
}

/// A wait for the source to say that it is over: it needs an alert, and time enough.
fn proof(
    span: Span,
    timeout: Option<Period>,
    within: Option<Period>,
    quiet: Period,
    around: &Around,
    body: &mut Body<'_, '_>,
) {
    if around.scheduled {
        let help = "wait for `healthy`, or `{until: …}`".to_owned();
        body.reader.error(span, "a scheduled playbook has no alert that could be resolved", Some(help));
        return;
    }
    body.names.push(At { value: Refers::Proof { timeout, within, quiet }, span });
}

/// The one thing a step does.
fn does(fields: &mut Fields<'_>, scope: &Scope, around: &Around, body: &mut Body<'_, '_>) -> Option<Does> {
    let mut written = Vec::new();
    for word in WORDS {
        if let Some(entry) = fields.entry(word) {
            written.push((word, entry));
        }
    }
    let beside: Vec<_> = ["target", "with", "quiet"].into_iter().map(|name| (name, fields.get(name))).collect();
    let [(word, entry)] = &written[..] else {
        let help = format!("a step does exactly one of {}", list(&WORDS));
        match written.get(1) {
            Some((second, entry)) => {
                let message = format!("a step with `{}` has no `{second}`", written[0].0);
                body.reader.error(entry.key_span, message, Some(help));
            }
            None => body.reader.error(fields.span, "this step does nothing", Some(help)),
        }
        return None;
    };
    for (name, node) in &beside {
        let belongs = if *name == "quiet" { "wait" } else { "action" };
        if let Some(node) = node.filter(|_| belongs != *word) {
            body.reader.error(node.span, format!("`{name}` stands beside `{belongs}` only"), None);
        }
    }
    let get = |wanted: &str| beside.iter().find(|(name, _)| *name == wanted).and_then(|(_, node)| *node);
    playbook_does::read(word, &entry.value, &get, scope, around, body)
}

fn retry(node: &Node, body: &mut Body<'_, '_>) -> Option<Retry> {
    let mut fields = body.reader.fields(node, "retry")?;
    let attempts = fields.require(body.reader, "attempts").and_then(|n| body.reader.number(n, 1, MOST_ATTEMPTS));
    let backoff = fields.get("backoff").map(|node| body.reader.parse::<Period>(node));
    fields.finish(body.reader, &[]);
    let backoff = match backoff {
        Some(backoff) => backoff?.value,
        None => BACKOFF,
    };
    Some(Retry { attempts: attempts?, backoff })
}
