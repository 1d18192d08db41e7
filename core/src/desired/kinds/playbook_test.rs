//! `kind: PlaybookTest` as it is written: cases of what is given and what must follow.

use crate::model::{
    Expected, Given, GivenAlert, GivenTarget, Health, Labels, Name, PlaybookTest, RunState, StepOutcome, TestCase,
};

use super::response::{Body, Refers};
use crate::desired::text::read::{Fields, Reader};
use crate::desired::text::tree::{Node, Value};

/// The most cases of one manifest.
const MOST_CASES: usize = 1_000;

const ENDS: [(&str, RunState); 6] = [
    ("resolved", RunState::Resolved),
    ("replaced", RunState::Replaced),
    ("paged", RunState::Paged),
    ("failed", RunState::Failed),
    ("skipped", RunState::Skipped),
    ("cancelled", RunState::Cancelled),
];
const HEALTH: [(&str, Health); 5] = [
    ("Healthy", Health::Healthy),
    ("Progressing", Health::Progressing),
    ("Degraded", Health::Degraded),
    ("Missing", Health::Missing),
    ("Unknown", Health::Unknown),
];

/// Reads the spec of a PlaybookTest.
pub(crate) fn read(node: &Node, body: &mut Body<'_, '_>) -> Option<PlaybookTest> {
    let mut fields = body.reader.fields(node, "spec of a PlaybookTest")?;
    let playbook = fields.require(body.reader, "playbook").and_then(|node| body.name(node, Refers::Playbook));
    let cases = fields.require(body.reader, "cases");
    fields.finish(body.reader, &[]);
    let cases = cases?;
    let items = body.reader.items(cases, "cases");
    if matches!(cases.value, Value::List(_)) && !(1..=MOST_CASES).contains(&items.len()) {
        let message = format!("expected 1 to {MOST_CASES} cases, found {}", items.len());
        body.reader.error(cases.span, message, None);
    }
    let cases = items.iter().filter_map(|item| case(item, body)).collect();
    Some(PlaybookTest { playbook: playbook?, cases })
}

fn case(node: &Node, body: &mut Body<'_, '_>) -> Option<TestCase> {
    let mut fields = body.reader.fields(node, "a case")?;
    let name = fields.require(body.reader, "name").and_then(|node| body.reader.text(node));
    let given = fields.get("given").map(|node| given(node, body)).unwrap_or_default();
    let expect = fields.require(body.reader, "expect").and_then(|node| expected(node, body));
    fields.finish(body.reader, &[]);
    Some(TestCase { name: name?.value, given, expect: expect? })
}

fn given(node: &Node, body: &mut Body<'_, '_>) -> Given {
    let Some(mut fields) = body.reader.fields(node, "given") else { return Given::default() };
    let given = Given {
        alert: fields.get("alert").map(|node| alert(node, body.reader)),
        target: fields.get("target").map(|node| target(node, body.reader)).unwrap_or_default(),
        steps: fields.get("steps").map(|node| outcomes(node, body)).unwrap_or_default(),
        resolved_after: fields.get("resolvedAfter").and_then(|node| body.name(node, Refers::Step)),
        ..Given::default()
    };
    fields.finish(body.reader, &[]);
    given
}

fn alert(node: &Node, reader: &mut Reader<'_>) -> GivenAlert {
    let Some(mut fields) = reader.fields(node, "alert") else { return GivenAlert::default() };
    let labels = labels(&mut fields, "labels", reader);
    let annotations = self::labels(&mut fields, "annotations", reader);
    fields.finish(reader, &[]);
    GivenAlert { labels, annotations }
}

fn labels(fields: &mut Fields<'_>, name: &'static str, reader: &mut Reader<'_>) -> Labels {
    let Some(node) = fields.get(name) else { return Labels::new() };
    let entries = reader.pairs(node, name);
    entries.iter().filter_map(|entry| Some((entry.key.to_string(), reader.text(&entry.value)?.value))).collect()
}

fn target(node: &Node, reader: &mut Reader<'_>) -> GivenTarget {
    let default = GivenTarget::default();
    let Some(mut fields) = reader.fields(node, "target") else { return default };
    let mut number = |name, otherwise: u32, reader: &mut Reader<'_>| {
        fields.get(name).and_then(|node| reader.number(node, 0, super::app::MAX_REPLICAS)).unwrap_or(otherwise)
    };
    let replicas = number("replicas", default.replicas, reader);
    let healthy = number("healthy", default.healthy, reader);
    let mut truth = |name, otherwise: bool, reader: &mut Reader<'_>| {
        fields.get(name).and_then(|node| reader.boolean(node)).unwrap_or(otherwise)
    };
    let dependencies_healthy = truth("dependenciesHealthy", default.dependencies_healthy, reader);
    let can_roll_back = truth("canRollBack", default.can_roll_back, reader);
    let unproven = truth("unproven", default.unproven, reader);
    let check_only = truth("checkOnly", default.check_only, reader);
    let health = fields.get("health").and_then(|node| reader.word(node, &HEALTH)).unwrap_or(default.health);
    fields.finish(reader, &[]);
    GivenTarget { health, replicas, healthy, dependencies_healthy, can_roll_back, unproven, check_only }
}

fn outcomes(node: &Node, body: &mut Body<'_, '_>) -> std::collections::BTreeMap<Name, StepOutcome> {
    let mut out = std::collections::BTreeMap::new();
    for entry in body.reader.pairs(node, "steps") {
        let outcome = outcome(&entry.value, body.reader);
        match entry.key.parse::<Name>() {
            Ok(name) => {
                let place = Node { span: entry.key_span, value: Value::Null };
                body.refer(&place, Refers::Step(name.clone()));
                out.extend(outcome.map(|outcome| (name, outcome)));
            }
            Err(error) => body.reader.error(entry.key_span, error.to_string(), None),
        }
    }
    out
}

/// `{output: …}`, `{error: …}` or `{unknown: …}`.
fn outcome(node: &Node, reader: &mut Reader<'_>) -> Option<StepOutcome> {
    let mut fields = reader.fields(node, "how a step ends")?;
    let output = fields.entry("output").map(|entry| &entry.value);
    let error = fields.get("error").map(|node| reader.text(node));
    let unknown = fields.get("unknown").map(|node| reader.text(node));
    let span = fields.span;
    fields.finish(reader, &[]);
    match (output, error, unknown) {
        // What a step gives is data: nothing in it is a template.
        (Some(output), None, None) => Some(StepOutcome::Done { output: super::texts::data(output) }),
        (None, Some(error), None) => Some(StepOutcome::Failed { error: error?.value }),
        (None, None, Some(error)) => Some(StepOutcome::Unknown { error: error?.value }),
        _ => {
            reader.error(span, "a step ends with one of `output`, `error` and `unknown`", None);
            None
        }
    }
}

fn expected(node: &Node, body: &mut Body<'_, '_>) -> Option<Expected> {
    let mut fields = body.reader.fields(node, "expect")?;
    let steps = fields.require(body.reader, "steps").map(|node| {
        let items = body.reader.items(node, "names of steps");
        items.iter().filter_map(|item| body.name(item, Refers::Step)).collect()
    });
    let state = fields.require(body.reader, "state").and_then(|node| body.reader.word(node, &ENDS));
    fields.finish(body.reader, &[]);
    Some(Expected { steps: steps?, state: state? })
}
