//! What the runs that are on mean for an alert that comes: none is lost in a run that does not answer it.

use std::sync::Arc;

use super::super::{Asked, Judged, Opening, ahead, judged, open};
use super::open::{asks, cause, declared, going, opened, opening, opening_beside, paged, told, untargeted};
use super::{at, firing, name};
use crate::model::{
    AlertState, Disposition, Does, Key, Part, Playbook, PlaybookStep, ResponseMemory, Run, RunCause, RunEvent, RunId,
    Rung, StepRef, Subject,
};

fn with(when: &str) -> Arc<Playbook> {
    declared(&format!("  concurrency: {{per: target, whenBusy: {when}}}\n"))
}

/// Run 3 on app/shop, which no alert opened.
fn others() -> [Arc<Run>; 2] {
    let step = StepRef { part: Part::Steps, index: 0 };
    let causes = [RunCause::Schedule { due: at(0) }, RunCause::Call { run: RunId(2), step }];
    causes.map(|cause| {
        let mut run = going(&declared(""), 3, at(0));
        let it = Arc::make_mut(&mut run);
        if let RunCause::Schedule { .. } = cause {
            it.alerts.clear();
        }
        it.cause = cause;
        run
    })
}

/// What has begun to call a person.
fn calls(run: &mut Run) {
    run.take(at(1), &RunEvent::Turned { why: "it did not help".to_owned() });
    let is_page = |step: &PlaybookStep| matches!(step.does, Does::Page { .. });
    let index = run.playbook.otherwise.iter().flatten().position(is_page).expect("it pages");
    let step = StepRef { part: Part::Otherwise, index: u32::try_from(index).expect("a few steps") };
    let begun = RunEvent::StepBegun { step, attempt: 1, key: Key("k".to_owned()), deadline: jiff::Timestamp::MAX };
    run.take(at(1), &begun);
}

#[test]
fn an_alert_joins_only_a_run_that_answers_alerts_and_has_its_own_behind_any_other() {
    for other in others() {
        let memory = ResponseMemory { runs: [(RunId(3), other)].into(), ..ResponseMemory::default() };
        for when in ["join", "queue", "skip"] {
            let own = opening(&with(when), cause(), false, &memory, at(1));
            assert_eq!(opened(own), (Rung::Steps, None), "{when}");
        }
        // One acts on it at a time.
        let own = going(&declared(""), 7, at(1));
        assert_eq!(ahead(&own, &memory, &|_| false).map(|run| run.id), Some(RunId(3)));
        // But the next alert joins that, whatever else is on.
        let mut memory = memory;
        memory.runs.insert(RunId(7), own);
        assert_eq!(opening(&with("join"), cause(), false, &memory, at(2)), Opening::Join(RunId(7)));
    }
}

#[test]
fn an_alert_waits_two_minutes_at_most_for_what_answers_none_and_then_a_person_is_called() {
    let fires = |memory: &mut ResponseMemory| {
        let mut alert = firing("shop", at(0));
        Arc::make_mut(&mut alert).disposition = Disposition::Run { run: RunId(7) };
        memory.alerts.insert(alert.alert.id.clone(), alert);
    };
    let own = going(&declared(""), 7, at(0));
    let of = |other: Arc<Run>, now: i64, still: bool| {
        let mut memory = ResponseMemory { runs: [(RunId(3), other)].into(), ..ResponseMemory::default() };
        fires(&mut memory);
        judged(&own, &memory, at(now), &|_| still)
    };
    for other in others() {
        assert_eq!(of(Arc::clone(&other), 119, false), None);
        let because = "run r3 of playbook p is on, and did not end within 2m".to_owned();
        let calls = Judged::Higher { rung: Rung::Page, latches: None, because };
        assert_eq!(of(Arc::clone(&other), 120, false), Some(calls));
        assert_eq!(of(other, 120, true), None, "in maintenance nobody is called");
    }
    // What answers an alert ends by its own limits; but not while it waits for a person.
    let mut other = going(&declared(""), 3, at(0));
    assert_eq!(of(Arc::clone(&other), 3_600, false), None);
    // Nor while people keep still what it is about, which is not what this one is about.
    let mut memory = ResponseMemory { runs: [(RunId(3), Arc::clone(&other))].into(), ..ResponseMemory::default() };
    fires(&mut memory);
    let other_is_still = |run: &Run| run.id == RunId(3);
    assert_eq!(judged(&own, &memory, at(119), &other_is_still), None);
    assert!(matches!(judged(&own, &memory, at(120), &other_is_still), Some(Judged::Higher { rung: Rung::Page, .. })));
    calls(Arc::make_mut(&mut other));
    assert!(matches!(of(other, 120, false), Some(Judged::Higher { rung: Rung::Page, .. })));
}

#[test]
fn what_skips_a_run_waits_two_minutes_at_most_for_one_whose_end_nobody_knows() {
    let mut other = going(&declared(""), 3, at(0));
    let of = |other: &Arc<Run>, still: bool| {
        let memory = ResponseMemory { runs: [(RunId(3), Arc::clone(other))].into(), ..ResponseMemory::default() };
        opening_beside(&with("skip"), cause(), false, &memory, at(1), &|_| still)
    };
    assert!(matches!(of(&other, false), Opening::Later(_)));
    assert_eq!(opened(of(&other, true)), (Rung::Steps, None), "people keep it still");
    calls(Arc::make_mut(&mut other));
    assert_eq!(opened(of(&other, false)), (Rung::Page, None), "it has called a person");
}

#[test]
fn what_comes_after_a_person_was_called_is_told_of_or_calls_by_itself() {
    let p = declared("");
    let another = Arc::new(Playbook { name: name("another"), ..(*p).clone() });
    let (b, again) = (firing("b", at(60)).alert.id.clone(), firing("shop", at(60)).alert.id.clone());
    for accepted in [false, true] {
        let mut memory = paged(&p, &[("shop", "", AlertState::Firing)], accepted);
        let mut run = going(&p, 1, at(0));
        memory.runs.insert(RunId(1), Arc::clone(&run));
        assert_eq!(asks(&another, &b, "", false, &memory, at(60)), Opening::Join(RunId(1)), "nobody was called yet");
        calls(Arc::make_mut(&mut run));
        memory.runs.insert(RunId(1), run);
        // Of its group: what is sent tells of it. Anything else has a page of its own.
        assert_eq!(asks(&p, &b, "", false, &memory, at(60)), told());
        assert_eq!(opened(asks(&another, &b, "", false, &memory, at(60))).0, Rung::Page, "{accepted}");
        // What only comes back is known, for as long as that page is out.
        assert_eq!(asks(&p, &again, "", false, &memory, at(60)), Opening::Join(RunId(1)));
        // From when the first of those called is told of its end, nobody knows what comes back.
        memory.calls.values_mut().for_each(|call| {
            call.ends(at(59));
        });
        let calls_anew = matches!(asks(&p, &again, "", false, &memory, at(60)), Opening::Open { .. });
        assert_eq!(calls_anew, accepted);
        memory.pages.clear();
        memory.calls.clear();
        assert!(matches!(asks(&p, &again, "", false, &memory, at(60)), Opening::Open { .. }), "{accepted}");
    }
}

/// What comes and goes while nobody can be called, or while its runs go on after their call, is not tried anew each time.
#[test]
fn a_run_that_is_on_and_has_called_counts_as_one_that_ended_with_a_call() {
    let p = declared("  limits: {runs: 3 per 1h}\n");
    let revision = "a".repeat(40).parse().expect("a revision");
    let alert = serde_json::json!({ "alertname": "HostDown" });
    for target in [None, Some("app/shop".parse().expect("an id"))] {
        let asked = Asked { target: target.clone(), ..untargeted(&p, &revision, &alert) };
        let subject =
            Subject::of(&p.name, target.as_ref(), Some(&[("alertname".to_owned(), "HostDown".to_owned())].into()));
        let mut memory = ResponseMemory::default();
        let mut runs = Vec::new();
        for id in 1..=4 {
            let Opening::Open { event, latches } = open(&asked, &memory, at(60 * id), &|_| false) else {
                panic!("a run of its own")
            };
            let RunEvent::Opened { rung, because, .. } = &*event else { panic!("another event") };
            runs.push((*rung, latches, because.clone().unwrap_or_default()));
            let mut run = Run::open(RunId(id as u64), at(60 * id), &event).expect("a run");
            calls(&mut run);
            memory.runs.insert(run.id, Arc::new(run));
        }
        let page = |because: &str| (Rung::Page, None, because.to_owned());
        assert_eq!(runs[0], (Rung::Steps, None, String::new()));
        assert_eq!(runs[1], page("run r1 has called a person, and is on"));
        let latches = Some(subject);
        assert_eq!(runs[2], (Rung::Page, latches.clone(), "it came back for the third time within an hour".to_owned()));
        // Where nothing latches, as many as its limits let by.
        let mut only = Playbook::clone(&p);
        memory.runs.retain(|id, _| id.0 < 3);
        memory.ledger.clear();
        let mut first = memory.runs[&RunId(1)].as_ref().clone();
        first.cause = RunCause::Schedule { due: at(0) };
        memory.runs.insert(RunId(1), Arc::new(first));
        only.limits.runs = Some((1, "1h".parse().expect("a time")));
        let only = Arc::new(only);
        let asked = Asked { playbook: &only, ..asked };
        let Opening::Open { event, .. } = open(&asked, &memory, at(300), &|_| false) else { panic!("no run") };
        let RunEvent::Opened { because, .. } = *event else { panic!("another event") };
        assert_eq!(because.as_deref(), Some("its `limits.runs` are used up: 1 within 1h"));
    }
}

#[test]
fn what_only_calls_a_person_waits_for_no_run_that_waits() {
    let mut memory = ResponseMemory::default();
    let mut run = going(&declared(""), 7, at(0));
    memory.runs.insert(RunId(7), Arc::clone(&run));
    for when in ["join", "queue", "skip"] {
        assert_eq!(opened(opening(&with(when), cause(), true, &memory, at(1))).0, Rung::Page, "{when}");
    }
    // One that is about to call tells of it, too.
    Arc::make_mut(&mut run).take(at(1), &RunEvent::Raised { rung: Rung::Page, because: None });
    memory.runs.insert(RunId(7), run);
    assert_eq!(opening(&with("join"), cause(), true, &memory, at(1)), Opening::Join(RunId(7)));
}
