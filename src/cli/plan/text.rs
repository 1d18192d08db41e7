//! What `plan` and `apply` print: a heading, mistakes and notes, then the plan as `codeops-core` words it.

use codeops_core::policy::{self, Hold};

use super::super::compile;
use super::super::output::{Output, Style, printable};
use crate::daemon::outcome::{ApplyOutcome, PlanOutcome, Verdict};

/// The whole plan.
pub(super) fn plan(outcome: &PlanOutcome, output: &Output) -> String {
    let mut text = heading(outcome, output);
    for diagnostic in &outcome.diagnostics {
        text += &format!("{}\n\n", diagnostic.render(output.colour()));
    }
    for note in &outcome.notes {
        text += &format!("{} {}\n\n", output.paint(Style::Busy, "note:"), printable(note));
    }
    text + &policy::render(&outcome.plan, &outcome.judged, output.colour())
}

fn heading(outcome: &PlanOutcome, output: &Output) -> String {
    let owner = outcome.owner.as_ref().map_or_else(String::new, |owner| format!("{owner} at "));
    let revision = &outcome.revision;
    let short = output.paint(Style::Accent, revision.revision.short());
    format!("Plan for {owner}{short} {}, {}\n\n", printable(&revision.subject), printable(&revision.author))
}

fn held(hold: &Hold, output: &Output) -> String {
    let changes: Vec<String> = hold.changes.iter().map(|(verb, id)| format!("{verb} {id}")).collect();
    format!(
        "\n{} {}\n  {}\n  To let exactly this happen once, write into a commit message:\n\n      {}\n",
        output.paint(Style::Bad, "Held:"),
        printable(&hold.why),
        changes.join(", "),
        output.paint(Style::Bold, &hold.trailer)
    )
}

/// What one pass did.
pub(super) fn applied(outcome: &ApplyOutcome, output: &Output) -> String {
    let done = if outcome.verdict == Verdict::Applied { "Applied" } else { "Apply of" };
    let mut text = heading(&outcome.planned, output).replacen("Plan for", done, 1);
    for diagnostic in &outcome.planned.diagnostics {
        text += &format!("{}\n\n", diagnostic.render(output.colour()));
    }
    for result in &outcome.resources {
        let verdict = word(result.verdict, output);
        let note = result.note.as_deref().map_or_else(String::new, |note| format!(": {}", printable(note)));
        text += &format!("{} {} {verdict}{note}\n", output.paint(Style::Bold, &result.id), result.verb);
    }
    for hold in &outcome.planned.judged.holds {
        text += &held(hold, output);
    }
    let total = outcome.resources.len() + outcome.planned.plan.unchanged.len();
    text + &format!("\n{}, {}\n", word(outcome.verdict, output), compile::number(total, "resource"))
}

fn word(verdict: Verdict, output: &Output) -> String {
    match verdict {
        Verdict::Applied => output.paint(Style::Good, "applied"),
        Verdict::Partial => output.paint(Style::Busy, "partly applied"),
        Verdict::Failed => output.paint(Style::Bad, "failed"),
        Verdict::Held => output.paint(Style::Bad, "held"),
        Verdict::Suspended => output.paint(Style::Dim, "suspended"),
    }
}
