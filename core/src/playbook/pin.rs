//! A playbook completed to the program that a run keeps for its life: what its manifest left out is filled in.

use std::sync::Arc;

use serde_json::Value;

use crate::model::{
    Action, Does, Expression, Kind, Name, OnError, Part, Period, Playbook, PlaybookStep, ResourceId, RunCause, WaitFor,
};

/// How long one attempt of a step may take when nothing says so.
pub(super) const DEFAULT_TIMEOUT: Period = Period::from_secs(60);
/// The same for an action, which waits for instances to become healthy.
const ACTION_TIMEOUT: Period = Period::from_secs(300);
/// How long a proof waits beyond the latest time that a resolved signal may come.
const PROOF_MARGIN: Period = Period::from_secs(180);

/// What `otherwise` is asked before it replaces: replacing what works, or what fails because something else does, helps nobody.
const REPLACE_IF: &str = "target.health != 'Healthy' && target.dependenciesHealthy";

/// The program of one run.
///
/// A run that answers an alert gets a proof at the end of its steps if it has none, and an `otherwise` that ends in a page:
/// for an app, destroy and replace comes before. A called run has no more than is written: its caller goes on from its end.
/// A scheduled run whose manifest has no `otherwise` pages when it fails.
pub fn pin(playbook: &Playbook, cause: &RunCause, target: Option<&ResourceId>, resolve_delay: Period) -> Arc<Playbook> {
    let mut program = playbook.clone();
    let proof_time = Period::from_millis(resolve_delay.as_millis() + PROOF_MARGIN.as_millis());
    match cause {
        RunCause::Call { .. } => {}
        RunCause::Schedule { .. } => {
            let otherwise = program.otherwise.get_or_insert_with(Vec::new);
            end_in_page(otherwise);
        }
        RunCause::Alert { .. } => {
            if !program.steps.iter().any(is_proof) {
                let name = free_name("proof", &program.steps);
                program.steps.push(proof(name, proof_time));
            }
            let is_app = target.is_some_and(|target| target.kind == Kind::App);
            let otherwise =
                program.otherwise.get_or_insert_with(|| if is_app { replace(proof_time) } else { Vec::new() });
            end_in_page(otherwise);
        }
    }
    for (part, step) in [
        (Part::Steps, program.steps.iter_mut().collect::<Vec<_>>()),
        (Part::Otherwise, program.otherwise.iter_mut().flatten().collect()),
    ]
    .into_iter()
    .flat_map(|(part, steps)| steps.into_iter().map(move |step| (part, step)))
    {
        let default = match step.does {
            Does::Action { action, .. } if !action.is_commit() => ACTION_TIMEOUT,
            Does::Wait { what: WaitFor::Resolved, .. } => proof_time,
            Does::Wait { .. } => ACTION_TIMEOUT,
            _ => DEFAULT_TIMEOUT,
        };
        step.timeout.get_or_insert(default);
        if part == Part::Otherwise {
            // There is nothing after it to go to: the next step is always tried.
            step.on_error = OnError::Continue;
        }
    }
    Arc::new(program)
}

/// What is done for an app whose alert no step could prove over.
fn replace(proof_time: Period) -> Vec<PlaybookStep> {
    let condition = Expression::try_from(REPLACE_IF.to_owned()).ok();
    let with = std::collections::BTreeMap::from([("instances".to_owned(), Value::from("unhealthy"))]);
    let does = Does::Action { action: Action::AppReplace, target: None, with };
    vec![PlaybookStep { when: condition, ..step(name("replace"), does) }, proof(name("proof"), proof_time)]
}

fn end_in_page(steps: &mut Vec<PlaybookStep>) {
    if !steps.iter().any(|step| matches!(step.does, Does::Page { .. })) {
        let name = free_name("call", steps);
        steps.push(step(name, Does::Page { policy: None }));
    }
}

fn proof(name: Name, timeout: Period) -> PlaybookStep {
    let does = Does::Wait { what: WaitFor::Resolved, quiet: Period::default() };
    PlaybookStep { timeout: Some(timeout), ..step(name, does) }
}

fn is_proof(step: &PlaybookStep) -> bool {
    matches!(step.does, Does::Wait { what: WaitFor::Resolved, .. })
}

fn step(name: Name, does: Does) -> PlaybookStep {
    PlaybookStep { name, does, when: None, timeout: None, retry: None, on_error: OnError::Otherwise, idempotent: false }
}

fn name(text: &str) -> Name {
    Name::new(text).expect("a literal name")
}

/// `wanted`, or with a number after it where a step has that name.
fn free_name(wanted: &str, steps: &[PlaybookStep]) -> Name {
    let free = |text: &String| steps.iter().all(|step| step.name.as_str() != text);
    let first = std::iter::once(wanted.to_owned()).chain((2..).map(|n| format!("{wanted}-{n}"))).find(free);
    name(&first.unwrap_or_else(|| wanted.to_owned()))
}
