//! `playbook test`: every case of every PlaybookTest of a working tree.

use codeops_core::desired::condition_at;
use codeops_core::model::{Name, Playbook, RunState, Rung, StepOutcome, TestCase};
use codeops_core::playbook::{Begun, NO_VALUE, Scene, Simulated, simulate};
use jiff::Timestamp;
use serde::Serialize;

use super::Tree;
use crate::cli::compile::number;
use crate::cli::exit::Exit;
use crate::cli::output::{Output, Style};

/// The moment at which every case begins: a Monday morning, the same on every machine.
const BEGINS: Timestamp = Timestamp::constant(1_767_585_600, 0);

/// The answer as JSON and YAML.
#[derive(Serialize)]
struct Report {
    passed: usize,
    failed: usize,
    untested: Vec<Name>,
    cases: Vec<Tried>,
}

/// One case that was tried.
#[derive(Serialize)]
struct Tried {
    test: Name,
    playbook: Name,
    case: String,
    passed: bool,
    expected: Outcome,
    got: Outcome,
    why: String,
    /// What was passed over, and why.
    skipped: Vec<String>,
    /// Steps that could not even begin, and why: nothing that the case gives.
    unable: Vec<String>,
}

#[derive(PartialEq, Eq, Serialize)]
struct Outcome {
    steps: Vec<Name>,
    state: RunState,
}

/// Tries every case; ends with 1 where one does not come out as expected.
pub(super) fn test(tree: &Tree, output: &Output) -> anyhow::Result<Exit> {
    let mut cases = Vec::new();
    for (name, test) in &tree.response.tests {
        let Some(playbook) = tree.response.playbooks.get(&test.spec.playbook) else { continue };
        cases.extend(test.spec.cases.iter().map(|case| tried(tree, name, playbook, case)));
    }
    let failed = cases.iter().filter(|case| !case.passed).count();
    let tested = |name: &&Name| tree.response.tests.values().any(|test| test.spec.playbook == **name);
    let untested = tree.response.playbooks.keys().filter(|name| !tested(name)).cloned().collect();
    let report = Report { passed: cases.len() - failed, failed, untested, cases };
    output.value(&report, || text(&report, output))?;
    Ok(if failed == 0 { Exit::Fine } else { Exit::Failed })
}

fn tried(tree: &Tree, test: &Name, playbook: &std::sync::Arc<Playbook>, case: &TestCase) -> Tried {
    let world = tree.world();
    let scene = Scene { world: &world, playbook, policy: None, given: &case.given, now: BEGINS, rung: Rung::default() };
    let simulated = simulate(&scene);
    let expected = Outcome { steps: case.expect.steps.clone(), state: case.expect.state };
    let got = Outcome { steps: simulated.steps(), state: simulated.state };
    Tried {
        test: test.clone(),
        playbook: playbook.name.clone(),
        case: case.name.clone(),
        passed: expected == got,
        expected,
        skipped: skipped(&simulated),
        unable: unable(tree, &simulated),
        why: simulated.why,
        got,
    }
}

fn skipped(simulated: &Simulated) -> Vec<String> {
    simulated.skipped.iter().map(|(name, why)| format!("{name}: {why}")).collect()
}

/// The steps that had no value for what they are written with, an `if` with its place.
fn unable(tree: &Tree, simulated: &Simulated) -> Vec<String> {
    let of = |begun: &Begun| {
        let run = simulated.run.as_ref()?;
        let record = run.steps.iter().find(|record| record.step == begun.step)?;
        let Some(StepOutcome::Failed { error }) = &record.outcome else { return None };
        let index = usize::try_from(begun.step.index).ok()?;
        let environment = tree.desired.owner.as_ref().and_then(|owner| owner.environment.as_ref());
        let place = || condition_at(&tree.files, environment, &run.playbook.name, begun.step.part, index);
        let place = error.starts_with(NO_VALUE).then(place).flatten().map(|place| format!(", at {place}"));
        Some(format!("{}: {error}{}", begun.name, place.unwrap_or_default()))
    };
    simulated.begun.iter().filter(|begun| begun.order.is_none()).filter_map(of).collect()
}

fn text(report: &Report, output: &Output) -> String {
    let mut text = String::new();
    for case in &report.cases {
        let word = if case.passed { output.paint(Style::Good, "ok") } else { output.paint(Style::Bad, "FAILED") };
        text += &format!("{word}  {}: {}\n", case.playbook, case.case);
        if !case.passed {
            text += &format!("    expected  {}\n    got       {}\n", told(&case.expected), told(&case.got));
            text += &format!("    why       {}\n", case.why);
            text.extend(case.skipped.iter().map(|skipped| format!("    skipped   {skipped}\n")));
        }
        // Also of one that passed: what is expected may have come about for another reason than is meant.
        text.extend(case.unable.iter().map(|unable| format!("    failed    {unable}\n")));
    }
    if !report.untested.is_empty() {
        let names: Vec<&str> = report.untested.iter().map(Name::as_str).collect();
        text += &format!("no PlaybookTest is there for {}\n", names.join(", "));
    }
    let all = report.passed + report.failed;
    let verdict = match report.failed {
        0 => output.paint(Style::Good, format!("{} passed", number(all, "case"))),
        failed => output.paint(Style::Bad, format!("{failed} of {} failed", number(all, "case"))),
    };
    text + &verdict + "\n"
}

fn told(outcome: &Outcome) -> String {
    let steps: Vec<&str> = outcome.steps.iter().map(Name::as_str).collect();
    format!("{} → {}", if steps.is_empty() { "no step".to_owned() } else { steps.join(", ") }, outcome.state)
}
