//! A plan as text that reads well in a terminal and in a review: a sign at the line's beginning, then what and why.

use std::collections::BTreeMap;

use codeops_core::model::Verb;
use codeops_core::plan::{Change, Difference};
use codeops_core::policy::{Decision, Hold};
use serde_json::Value;

use super::super::compile;
use super::super::output::{Output, Style, printable};
use super::decision;
use crate::daemon::outcome::{ApplyOutcome, PlanOutcome, Verdict};

/// The most characters of one value that are shown.
const SHOWN: usize = 100;

/// The whole plan.
pub(super) fn plan(outcome: &PlanOutcome, output: &Output) -> String {
    let mut text = heading(outcome, output);
    for diagnostic in &outcome.diagnostics {
        text += &format!("{}\n\n", diagnostic.render(output.colour()));
    }
    for note in &outcome.notes {
        text += &format!("{} {}\n\n", output.paint(Style::Busy, "note:"), printable(note));
    }
    for change in &outcome.plan.changes {
        text += &block(change, decision(outcome, &change.id), output);
        text += "\n";
    }
    for (id, why) in &outcome.plan.unknown {
        text += &format!("? {}: unknown, so nothing is done: {}\n", output.paint(Style::Bold, id), printable(&why.0));
    }
    for hold in &outcome.judged.holds {
        text += &held(hold, output);
    }
    text + &summary(outcome, output)
}

fn heading(outcome: &PlanOutcome, output: &Output) -> String {
    let owner = outcome.owner.as_ref().map_or_else(String::new, |owner| format!("{owner} at "));
    let revision = &outcome.revision;
    let short = output.paint(Style::Accent, revision.revision.short());
    format!("Plan for {owner}{short} {}, {}\n\n", printable(&revision.subject), printable(&revision.author))
}

/// The sign at a line's beginning: a review's `diff` block colours the first three.
fn sign(verb: Verb) -> (&'static str, Style) {
    match verb {
        Verb::Create | Verb::Adopt | Verb::Repair => ("+", Style::Good),
        Verb::Delete | Verb::ScaleToZero => ("-", Style::Bad),
        Verb::Rename | Verb::Update | Verb::Replace | Verb::Move => ("~", Style::Busy),
    }
}

fn block(change: &Change, decision: &Decision, output: &Output) -> String {
    let (sign, style) = sign(change.verb);
    let mut line = format!("{sign} {} {}", output.paint(Style::Bold, &change.id), change.verb);
    if let Some(from) = &change.from_id {
        line += &format!(" from {from}");
    }
    line += &match &change.from_provider {
        Some(from) => format!(" from {from} to {}", change.provider),
        None => format!(" on {}", change.provider),
    };
    if let Some(team) = &change.team {
        line += &format!(", {team}");
    }
    if let Some(place) = &change.place {
        line += &format!("  {}", output.paint(Style::Dim, format!("{}:{}", place.file, place.line)));
    }
    let mut text = format!("{}\n", if line.contains('\u{1b}') { line } else { output.paint(style, line) });
    if change.verb != Verb::Delete {
        for difference in &change.differences {
            text += &field(difference, output);
        }
    }
    if !change.after.is_empty() {
        let after: Vec<String> = change.after.iter().map(ToString::to_string).collect();
        text += &format!("    after {}\n", after.join(", "));
    }
    text + &verdict(decision, change.held.as_deref(), output)
}

fn verdict(decision: &Decision, held: Option<&str>, output: &Output) -> String {
    match (decision, held) {
        (Decision::Held { why, release, .. }, _) => {
            format!("    {} {}\n    {}\n", output.paint(Style::Bad, "held:"), printable(why), printable(release))
        }
        (_, Some(why)) => format!("    {} {}\n", output.paint(Style::Bad, "held:"), printable(why)),
        (Decision::Waiting { why, .. }, None) => {
            format!("    {} {}\n", output.paint(Style::Busy, "waits:"), printable(why))
        }
        (Decision::Suspended, None) => format!("    {} as its manifest says\n", output.paint(Style::Busy, "suspended")),
        (Decision::Go, None) => String::new(),
    }
}

fn field(difference: &Difference, output: &Output) -> String {
    let (from, to) = (difference.from.as_ref().map(value), difference.to.as_ref().map(value));
    let name = printable(&difference.field);
    match (from, to) {
        (None, Some(to)) => format!("    {name}: {}\n", output.paint(Style::Good, to)),
        (Some(from), None) => format!("    {name}: {} → nothing\n", output.paint(Style::Bad, from)),
        (from, to) => format!(
            "    {name}: {} → {}\n",
            output.paint(Style::Bad, from.unwrap_or_default()),
            output.paint(Style::Good, to.unwrap_or_default())
        ),
    }
}

fn value(value: &Value) -> String {
    let text = match value {
        Value::String(text) if text.chars().all(|c| c.is_ascii_alphanumeric() || "./:-_%".contains(c)) => text.clone(),
        other => other.to_string(),
    };
    let shown: String = printable(&text).chars().take(SHOWN).collect();
    if shown.chars().count() < text.chars().count() { shown + "…" } else { shown }
}

fn held(hold: &Hold, output: &Output) -> String {
    let changes: Vec<String> = hold.changes.iter().map(|(verb, id)| format!("{verb} {id}")).collect();
    format!(
        "{} {}\n  {}\n  To let exactly this happen once, write into a commit message:\n\n      {}\n\n",
        output.paint(Style::Bad, "Held:"),
        printable(&hold.why),
        changes.join(", "),
        output.paint(Style::Bold, &hold.trailer)
    )
}

fn summary(outcome: &PlanOutcome, output: &Output) -> String {
    let plan = &outcome.plan;
    let mut verbs: BTreeMap<Verb, usize> = BTreeMap::new();
    let (mut held, mut waiting) = (0, 0);
    for change in &plan.changes {
        *verbs.entry(change.verb).or_default() += 1;
        match decision(outcome, &change.id) {
            Decision::Held { .. } => held += 1,
            _ if change.held.is_some() => held += 1,
            Decision::Waiting { .. } => waiting += 1,
            Decision::Go | Decision::Suspended => {}
        }
    }
    let mut parts: Vec<String> = verbs.iter().map(|(verb, count)| format!("{count} to {verb}")).collect();
    if parts.is_empty() {
        parts.push("no changes".to_owned());
    }
    for (count, word) in
        [(held, "held"), (waiting, "waiting"), (plan.unknown.len(), "unknown"), (plan.unchanged.len(), "as declared")]
    {
        if count > 0 {
            parts.push(format!("{count} {word}"));
        }
    }
    if !outcome.diagnostics.is_empty() {
        parts.push(compile::count(&outcome.diagnostics));
    }
    format!("{}\n", output.paint(Style::Bold, parts.join(", ")))
}

/// What one pass did.
pub(super) fn applied(outcome: &ApplyOutcome, output: &Output) -> String {
    let mut text = heading(&outcome.planned, output).replacen("Plan for", "Applied", 1);
    for diagnostic in &outcome.planned.diagnostics {
        text += &format!("{}\n\n", diagnostic.render(output.colour()));
    }
    for result in &outcome.resources {
        let verdict = word(result.verdict, output);
        let note = result.note.as_deref().map_or_else(String::new, |note| format!(": {}", printable(note)));
        text += &format!("{} {} {verdict}{note}\n\n", output.paint(Style::Bold, &result.id), result.verb);
    }
    for hold in &outcome.planned.judged.holds {
        text += &held(hold, output);
    }
    let total = outcome.resources.len() + outcome.planned.plan.unchanged.len();
    text + &format!("{}, {}\n", word(outcome.verdict, output), compile::number(total, "resource"))
}

fn word(verdict: Verdict, output: &Output) -> String {
    match verdict {
        Verdict::Applied => output.paint(Style::Good, "applied"),
        Verdict::Partial => output.paint(Style::Busy, "partly applied"),
        Verdict::Failed => output.paint(Style::Bad, "failed"),
        Verdict::Held => output.paint(Style::Bad, "held"),
    }
}
