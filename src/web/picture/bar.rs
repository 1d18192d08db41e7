//! When one step of a run was on, as a bar over the time of the whole run.

use codeops_core::model::RunState;
use jiff::{SignedDuration, Timestamp};

use crate::web::escape::html;
use crate::web::response::{RunItem, StepItem};
use crate::web::words::took;

const WIDTH: f64 = 1_000.0;
/// A step of no time at all is still seen.
const LEAST: f64 = 4.0;

/// The bar of a step that was begun.
pub(in crate::web) fn bar(run: &RunItem, step: &StepItem, now: Timestamp) -> Option<String> {
    let begun = step.begun_at.filter(|_| step.attempts > 0)?;
    let until = run.ended_at.unwrap_or(now).max(begun);
    let whole = until.duration_since(run.started_at).max(SignedDuration::from_millis(1)).as_secs_f64();
    let share = |at: Timestamp| (at.duration_since(run.started_at).as_secs_f64() / whole).clamp(0.0, 1.0) * WIDTH;
    let (from, to) = (share(begun), share(step.ended_at.unwrap_or(until)));
    let wide = (to - from).max(LEAST);
    let after = took(begun.duration_since(run.started_at).max(SignedDuration::ZERO));
    let length = step.took(run, now).map_or_else(String::new, |took| format!(", {took} long"));
    let open = if step.ended_at.is_none() && matches!(run.state, RunState::Running | RunState::Waiting) {
        ", still on"
    } else {
        ""
    };
    let label = html(&format!("{}: begun after {after}{length}{open}", step.name));
    Some(format!(
        "<svg class=\"bar {}\" viewBox=\"0 0 {WIDTH} 8\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"{label}\">\
         <title>{label}</title><rect class=\"rail\" width=\"{WIDTH}\" height=\"8\"/>\
         <rect class=\"fill\" x=\"{:.1}\" width=\"{wide:.1}\" height=\"8\"/></svg>",
        step.mark().class(),
        from.min(WIDTH - wide),
    ))
}
