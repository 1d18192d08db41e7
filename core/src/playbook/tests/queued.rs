//! What waits for its turn is judged again until it begins.

use std::sync::Arc;

use super::super::{Judged, judged};
use super::open::{asks, declared, ended, paged, shop};
use super::{at, firing};
use crate::model::{
    AlertId, AlertMemory, AlertState, Disposition, Key, PageId, Part, Playbook, ResponseMemory, Run, RunEvent, RunId,
    RunState, Rung, StepRef, Subject,
};

fn queues(more: &str) -> Arc<Playbook> {
    declared(&format!("  concurrency: {{whenBusy: queue}}\n{more}"))
}

/// Run 9 for an alert of this app and severity, opened when nothing was known yet, waits in this memory.
fn queued(p: &Arc<Playbook>, app: &str, severity: &str, memory: &mut ResponseMemory) -> Run {
    let id = firing(app, at(0)).alert.id.clone();
    let opening = asks(p, &id, severity, false, &ResponseMemory::default(), at(0));
    let super::Opening::Open { event, .. } = opening else { panic!("{opening:?}") };
    let run = Run::open(RunId(9), at(0), &event).expect("a run");
    known(app, severity, memory);
    run
}

/// An alert that run 9 has.
fn known(app: &str, severity: &str, memory: &mut ResponseMemory) -> AlertId {
    let mut alert = AlertMemory::clone(&firing(app, at(0)));
    Arc::make_mut(&mut alert.alert).labels.insert("severity".to_owned(), severity.to_owned());
    alert.disposition = Disposition::Run { run: RunId(9) };
    let id = alert.alert.id.clone();
    memory.alerts.insert(id.clone(), Arc::new(alert));
    id
}

const FIRES: [(&str, &str, AlertState); 1] = [("a", "warning", AlertState::Firing)];

#[test]
fn its_alerts_go_to_the_page_that_a_person_got_before_its_turn() {
    let p = queues("");
    let mut memory = paged(&p, &FIRES, true);
    let mut run = queued(&p, "b", "info", &mut memory);
    let told = |alerts: Vec<AlertId>| Some(Judged::Told([((PageId(1), RunId(1)), alerts)].into()));
    let b = run.alerts.first().expect("an alert").clone();
    assert_eq!(judged(&run, &memory, at(60), &|_| false), told(vec![b.clone()]));
    // All that joined it, unless one of them is worse than what a person was told of.
    let c = known("c", "info", &mut memory);
    run.take(at(1), &RunEvent::Joined { alert: c.clone() });
    let mut both = vec![b, c];
    both.sort();
    assert_eq!(judged(&run, &memory, at(60), &|_| false), told(both));
    run.take(at(1), &RunEvent::Joined { alert: known("d", "critical", &mut memory) });
    let because = "a person was called for others of its alerts before its turn".to_owned();
    let calls = Some(Judged::Higher { rung: Rung::Page, latches: None, because });
    assert_eq!(judged(&run, &memory, at(60), &|_| false), calls);
    // Nor is anything tried when it is too late to join that page.
    let late = queued(&p, "b", "info", &mut memory);
    let because = "page p1 of run r1 calls a person for it, and what that tells of still fires".to_owned();
    let calls = Some(Judged::Higher { rung: Rung::Page, latches: None, because });
    assert_eq!(judged(&late, &memory, at(900), &|_| false), calls);
}

#[test]
fn it_begins_where_the_ladder_the_limits_and_the_latch_say_when_its_turn_comes() {
    let (p, now) = (queues(""), at(1_000));
    let of = |p: &Arc<Playbook>, ends: &[(i64, RunState, Rung)]| {
        let mut memory = ended(p, ends, now);
        let run = queued(p, "b", "info", &mut memory);
        match judged(&run, &memory, now, &|_| false)? {
            Judged::Higher { rung, latches, because } => Some((rung, latches, because)),
            told => panic!("{told:?}"),
        }
    };
    let higher = |rung, latches, why: &str| Some((rung, latches, why.to_owned()));
    let steps = (60, RunState::Resolved, Rung::Steps);
    assert_eq!(of(&p, &[]), None);
    assert_eq!(
        of(&p, &[steps]),
        higher(Rung::Otherwise, None, "run r1 ended resolved 1m before, after its steps, and that did not hold")
    );
    let called = [(60, RunState::Paged, Rung::Page)];
    assert_eq!(of(&p, &called), higher(Rung::Page, None, "run r1 called a person 1m before"));
    let (latched, often) = (Some(Subject::Resource(shop())), "it came back for the third time within an hour");
    assert_eq!(of(&p, &[steps, steps]), higher(Rung::Page, latched, often));
    let limited = queues("  limits: {timeout: 10m, runs: 1 per 1h}\n");
    assert_eq!(of(&limited, &[steps]), higher(Rung::Page, None, "its `limits.runs` are used up: 1 within 1h"));
    // While another is ahead of it, nothing is decided but that a person is called.
    let mut memory = ended(&p, &[steps], now);
    let run = queued(&p, "b", "info", &mut memory);
    memory.runs.insert(RunId(8), Arc::new(Run { id: RunId(8), ..run.clone() }));
    assert_eq!(judged(&run, &memory, now, &|_| false), None);
}

#[test]
fn what_has_begun_or_is_over_is_not_judged_again() {
    let p = queues("");
    let mut memory = paged(&p, &FIRES, true);
    let mut run = queued(&p, "b", "info", &mut memory);
    let id = run.alerts.first().expect("an alert").clone();
    let over = |memory: &mut ResponseMemory, state| {
        Arc::make_mut(memory.alerts.get_mut(&id).expect("known")).state = state;
    };
    over(&mut memory, AlertState::Resolved);
    assert_eq!(judged(&run, &memory, at(60), &|_| false), None);
    over(&mut memory, AlertState::Firing);
    let mut raised = run.clone();
    raised.take(at(1), &RunEvent::Raised { rung: Rung::Page, because: Some("r1 called".to_owned()) });
    assert_eq!(raised.turned.as_ref().map(|(why, _)| why.as_str()), Some("r1 called"), "its steps are left out");
    assert_eq!(judged(&raised, &memory, at(60), &|_| false), None);
    let step = StepRef { part: Part::Steps, index: 0 };
    run.take(at(1), &RunEvent::StepBegun { step, attempt: 1, key: Key("k".to_owned()), deadline: at(60) });
    assert_eq!(judged(&run, &memory, at(60), &|_| false), None);
}
