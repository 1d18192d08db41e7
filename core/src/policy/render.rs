//! The text of a judged plan: something people want to paste into a review. One summary line, then one block a change.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde_json::Value;

use super::{Decision, Judged};
use crate::model::{ResourceId, Verb, steers};
use crate::plan::{Change, Difference, Plan};

const RED: &str = "31";
const GREEN: &str = "32";
const YELLOW: &str = "33";
const BOLD: &str = "1";
const DIM: &str = "2";

/// Values longer than this are cut in the middle of the text, never in the plan itself.
const VALUE_WIDTH: usize = 72;

/// The text of a plan with its decisions, ending in a newline; with ANSI colours if `colour`.
pub fn render(plan: &Plan, judged: &Judged, colour: bool) -> String {
    let paint = Paint(colour);
    let mut out = format!("{}\n", paint.with(BOLD, &summary(plan, judged)));
    for change in &plan.changes {
        block(&mut out, change, judged.decisions.get(&change.id), paint);
    }
    section(&mut out, paint, "Unknown, and left alone:", plan.unknown.iter().map(|(id, why)| (id, why.0.as_str())));
    section(&mut out, paint, "Kept as they are:", plan.kept.iter().map(|(id, why)| (id, why.as_str())));
    holds(&mut out, judged, paint);
    out
}

fn summary(plan: &Plan, judged: &Judged) -> String {
    let verbs: [(Verb, &str); 9] = [
        (Verb::Create, "to create"),
        (Verb::Adopt, "to adopt"),
        (Verb::Rename, "to rename"),
        (Verb::Update, "to update"),
        (Verb::Replace, "to replace"),
        (Verb::Repair, "to repair"),
        (Verb::ScaleToZero, "to scale to zero"),
        (Verb::Move, "to move"),
        (Verb::Delete, "to delete"),
    ];
    // Each change counts once: what is suspended as that, all else by its verb.
    let mut counts: BTreeMap<Verb, Count> = BTreeMap::new();
    let mut suspended = 0;
    for change in &plan.changes {
        let decision = judged.decisions.get(&change.id);
        if matches!(decision, Some(Decision::Suspended)) {
            suspended += 1;
            continue;
        }
        let count = counts.entry(change.verb).or_default();
        count.all += 1;
        count.held += usize::from(matches!(decision, Some(Decision::Held { .. })));
        count.waiting += usize::from(matches!(decision, Some(Decision::Waiting { .. })));
    }
    // What is kept counts as that only where nothing else is said of it.
    let unknown = plan.unknown.iter().map(|(id, _)| id);
    let told: BTreeSet<&ResourceId> = plan.changes.iter().map(|change| &change.id).chain(unknown).collect();
    let kept = plan.kept.keys().filter(|id| !told.contains(id)).count();
    let unchanged = plan.unchanged.iter().filter(|id| !plan.kept.contains_key(id)).count();
    let states = [(suspended, "suspended"), (plan.unknown.len(), "unknown"), (kept, "kept"), (unchanged, "unchanged")];
    let verbs = verbs.iter().filter_map(|(verb, word)| Some(counts.get(verb)?.told(word)));
    let states = states.iter().filter(|(count, _)| *count > 0).map(|(count, word)| format!("{count} {word}"));
    let parts: Vec<String> = verbs.chain(states).collect();
    match (plan.changes.is_empty(), parts.is_empty()) {
        (true, true) => "Plan: nothing is declared and nothing is live.".to_owned(),
        (true, false) => format!("Plan: no changes, {}.", parts.join(", ")),
        _ => format!("Plan: {}.", parts.join(", ")),
    }
}

/// Changes of one verb, and how many of them do not go now.
#[derive(Default)]
struct Count {
    all: usize,
    held: usize,
    waiting: usize,
}

impl Count {
    fn told(&self, word: &str) -> String {
        let stopped = [(self.held, "held"), (self.waiting, "waiting")];
        let told = stopped.iter().filter(|(count, _)| *count > 0).map(|(count, state)| match *count == self.all {
            true => (*state).to_owned(),
            false => format!("{count} {state}"),
        });
        let told: Vec<String> = told.collect();
        let told = if told.is_empty() { String::new() } else { format!(" ({})", told.join(", ")) };
        format!("{} {word}{told}", self.all)
    }
}

fn block(out: &mut String, change: &Change, decision: Option<&Decision>, paint: Paint) {
    let (sign, code) = sign(change.verb);
    let mut head = format!("{} {} {}", paint.with(code, sign), paint.with(BOLD, &change.id.to_string()), change.verb);
    if let Some(from) = &change.from_id {
        let _ = write!(head, " from {from}");
    }
    if let Some(from) = &change.from_provider {
        let _ = write!(head, " from {from}");
    }
    let mut facts = vec![format!("provider {}", change.provider)];
    facts.extend(change.team.as_ref().map(|team| format!("team {team}")));
    facts.extend(change.place.as_ref().map(|place| format!("{}:{}", place.file, place.line)));
    facts.push(change.cause.to_string());
    if change.begun {
        facts.push("under way".to_owned());
    }
    let _ = writeln!(out, "\n{head}  {}", paint.with(DIM, &visible(&facts.join(" · "))));
    for difference in &change.differences {
        let _ = writeln!(out, "    {}", line(difference, paint));
    }
    if let (Verb::Move, Some(from)) = (change.verb, &change.from_provider) {
        let note = format!("what it wrote on {from} is kept there, and not taken along");
        let _ = writeln!(out, "    {} {note}", paint.with(YELLOW, "note:"));
    }
    if change.verb == Verb::Delete {
        let note = format!(
            "what it wrote (STATE_DIRECTORY) is deleted with it; to keep that under another name, say `was: [{}]` there",
            change.id.name
        );
        let _ = writeln!(out, "    {} {note}", paint.with(YELLOW, "note:"));
    }
    match decision {
        Some(Decision::Held { why, release, .. }) => {
            let _ = writeln!(out, "    {} {}", paint.with(YELLOW, "held:"), visible(why));
            let _ = writeln!(out, "    {} {}", paint.with(YELLOW, "release:"), visible(release));
        }
        Some(Decision::Waiting { why, until }) => {
            let until = until.map(|until| format!(" (until {until})")).unwrap_or_default();
            let _ = writeln!(out, "    {} {}{until}", paint.with(YELLOW, "waiting:"), visible(why));
        }
        Some(Decision::Suspended) => {
            let _ = writeln!(out, "    {} its manifest says `suspend: true`", paint.with(YELLOW, "suspended:"));
        }
        Some(Decision::Go) | None => {}
    }
}

fn line(difference: &Difference, paint: Paint) -> String {
    let field = visible(&difference.field);
    match (&difference.from, &difference.to) {
        (None, Some(to)) => format!("{field}: {}", paint.with(GREEN, &value(to))),
        (Some(from), None) => format!("{field}: {} → {}", paint.with(RED, &value(from)), paint.with(DIM, "none")),
        (Some(from), Some(to)) => {
            format!("{field}: {} → {}", paint.with(RED, &value(from)), paint.with(GREEN, &value(to)))
        }
        (None, None) => field,
    }
}

fn section<'a>(out: &mut String, paint: Paint, title: &str, lines: impl Iterator<Item = (&'a ResourceId, &'a str)>) {
    let mut lines = lines.peekable();
    if lines.peek().is_some() {
        let _ = writeln!(out, "\n{}", paint.with(BOLD, title));
    }
    for (id, why) in lines {
        let _ = writeln!(out, "  {} {id}: {}", paint.with(YELLOW, "!"), visible(why));
    }
}

fn holds(out: &mut String, judged: &Judged, paint: Paint) {
    if judged.holds.is_empty() {
        return;
    }
    let _ = writeln!(out, "\n{}", paint.with(BOLD, "Held; a commit with the trailer below releases exactly its set:"));
    for hold in &judged.holds {
        let (trailer, count) = (paint.with(YELLOW, &hold.trailer), hold.changes.len());
        let changes = if count == 1 { "change" } else { "changes" };
        let _ = writeln!(out, "  {trailer}  {count} {changes}: {}", visible(&hold.why));
    }
}

fn sign(verb: Verb) -> (&'static str, &'static str) {
    match verb {
        Verb::Create | Verb::Adopt => ("+", GREEN),
        Verb::Update | Verb::Rename | Verb::Move => ("~", YELLOW),
        Verb::Replace => ("±", YELLOW),
        Verb::Repair => ("↻", YELLOW),
        Verb::ScaleToZero | Verb::Delete => ("-", RED),
    }
}

fn value(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().count() <= VALUE_WIDTH {
        return visible(&text);
    }
    let (head, tail) = (VALUE_WIDTH * 2 / 3, VALUE_WIDTH / 3 - 1);
    let skip = text.chars().count() - tail;
    visible(&text.chars().take(head).chain(['…']).chain(text.chars().skip(skip)).collect::<String>())
}

/// Control characters made visible, so that no manifest can write to a terminal what it does not say.
fn visible(text: &str) -> String {
    text.chars().flat_map(|c| if steers(c) { c.escape_default().collect::<Vec<_>>() } else { vec![c] }).collect()
}

#[derive(Clone, Copy)]
struct Paint(bool);

impl Paint {
    fn with(self, code: &str, text: &str) -> String {
        if self.0 { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}
