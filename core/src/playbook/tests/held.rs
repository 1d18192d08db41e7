//! What stands against a step: holds, time that is up, an alert that is over; before each attempt, not only the first.

use proptest::prelude::*;

use super::super::{Hold, Next, Order, PageFacts};
use super::{Live, ON, done, failed};
use crate::model::{AlertState, Health, PageId, RunEvent, RunState, Rung};

fn frozen() -> Hold {
    Hold::Frozen("frozen: bad night".to_owned())
}

fn suspended() -> Hold {
    Hold::Suspended("app/shop is suspended by its manifest".to_owned())
}

fn still() -> Hold {
    Hold::Still("in maintenance until tomorrow: new disks".to_owned())
}

fn turn() -> Hold {
    Hold::Turn("app/shop is on its way to revision abc".to_owned())
}

fn queued() -> Hold {
    Hold::Queued("run r0 is ahead of it".to_owned())
}

fn skipped(live: &Live, step: &str) -> String {
    let named = |record: &&crate::model::StepRecord| {
        live.run.step(record.step).is_some_and(|it| it.name.as_str() == step) && record.skipped.is_some()
    };
    let record = live.run.steps.iter().rfind(named).unwrap_or_else(|| panic!("`{step}` was not skipped"));
    record.skipped.clone().unwrap_or_default()
}

const PAUSED: &str = "  steps: [{name: pause, wait: {for: 5s}}, {name: look, script: scripts/look.sh}]";
const LOOK: &str = "  steps: [{name: look, script: scripts/look.sh}]";

#[test]
fn a_turn_or_what_is_kept_still_stops_what_acts_and_lets_waits_go_on() {
    for hold in [turn(), still()] {
        let mut live = Live::answering(&format!("{ON}{PAUSED}"), Rung::Steps);
        live.hold = Some(hold.clone());
        live.begins();
        live.pass(5);
        assert_eq!(live.waits(), (None, hold.why().to_owned()));
        assert_eq!(live.run.paused.as_deref(), Some(hold.why()));
        assert_eq!(live.run.state(), RunState::Waiting);
        live.hold = None;
        assert_eq!(live.begins().0, "look");
        assert_eq!(live.run.paused, None);
    }
}

#[test]
fn what_has_not_had_its_turn_does_not_even_wait_but_calls() {
    let tells = "{name: tell, notify: {webhook: https://chat.example/, title: t, body: b}}";
    for first in ["{name: pause, wait: {for: 5s}}", "{name: proof, wait: resolved}", tells] {
        let mut live = Live::answering(&format!("{ON}  steps: [{first}]"), Rung::Steps);
        live.hold = Some(queued());
        assert_eq!(live.waits(), (None, "run r0 is ahead of it".to_owned()), "{first}");
        assert!(live.run.steps.is_empty() && live.run.paused.is_some(), "{first}");
        live.pass(3_600);
        live.hold = None;
        live.begins();
    }
    // Paging is never limited.
    for (spec, rung) in [(PAUSED, Rung::Page), ("  steps: [{name: call, page: {}}]", Rung::Steps)] {
        let mut live = Live::answering(&format!("{ON}{spec}"), rung);
        live.hold = Some(queued());
        live.accept_page();
    }
}

#[test]
fn a_wait_is_broken_off_when_its_run_is_raised() {
    let mut live = Live::answering(&format!("{ON}  steps: [{{name: pause, wait: {{for: 10m}}}}]"), Rung::Steps);
    live.begins();
    live.take(RunEvent::Raised { rung: Rung::Page, because: None });
    live.accept_page();
    assert_eq!(live.now, super::at(0), "a person is called at once");
    assert_eq!(live.over().0, RunState::Paged);
    let mut live = Live::answering(&format!("{ON}  steps: [{{name: pause, wait: {{for: 10m}}}}]"), Rung::Steps);
    live.begins();
    live.take(RunEvent::Raised { rung: Rung::Otherwise, because: None });
    assert_eq!(live.begins().0, "replace");
}

#[test]
fn a_freeze_or_a_suspension_stops_what_acts_and_a_person_is_called_for_what_fires() {
    for hold in [frozen(), suspended()] {
        let mut live = Live::answering(&format!("{ON}{PAUSED}"), Rung::Steps);
        live.begins();
        live.hold = Some(hold.clone());
        live.pass(5);
        live.accept_page();
        assert_eq!(live.over().0, RunState::Paged);
        assert_eq!(skipped(&live, "replace"), hold.why());
        assert!(live.run.turned.as_ref().is_some_and(|(why, _)| why == hold.why()));
    }
    // What comes in begins at its page.
    let mut live = Live::answering(&format!("{ON}{PAUSED}"), Rung::Page);
    live.hold = Some(frozen());
    live.accept_page();
    assert_eq!(live.over().0, RunState::Paged);
    // No alert fires: it is done when the freeze is over.
    let mut live = Live::scheduled("  on: {schedule: \"0 3 * * *\"}\n  steps: [{name: look, script: scripts/look.sh}]");
    live.hold = Some(frozen());
    live.waits();
    live.hold = None;
    assert_eq!(live.begins().0, "look");
    // Nor is anything done to what is over.
    let mut live = Live::answering(&format!("{ON}{LOOK}"), Rung::Steps);
    live.hold = Some(frozen());
    live.alert(AlertState::Resolved);
    assert_eq!(live.begins().0, "proof");
    assert_eq!(live.over().0, RunState::Resolved);
}

/// A wait that is on is ended; but none is begun before a call, by what had to wait for its turn until then.
#[test]
fn what_had_not_begun_when_a_freeze_or_a_suspension_came_calls_a_person_at_once() {
    let tells = "{name: tell, notify: {webhook: https://chat.example/, title: t, body: b}}";
    for hold in [frozen(), suspended()] {
        let mut live = Live::answering(&format!("{ON}{PAUSED}"), Rung::Steps);
        live.hold = Some(queued());
        live.waits();
        live.hold = Hold::first_of(&live.run, Some(hold.clone()), Some(queued()));
        assert_eq!(live.hold.as_ref(), Some(&hold), "nobody's turn is waited for");
        live.accept_page();
        assert_eq!((live.now, live.over().0), (super::at(0), RunState::Paged));
        let mut live =
            Live::answering(&format!("{ON}  steps: [{tells}, {{name: pause, wait: {{for: 5s}}}}]"), Rung::Steps);
        live.hold = Some(hold);
        live.does("tell", done());
        live.accept_page();
        assert_eq!(live.now, super::at(0));
    }
    // What fires for nobody, or is in maintenance, waits for its turn before anything else, the waits among its steps too.
    let spec = "  on: {schedule: \"0 3 * * *\"}\n  steps: [{name: pause, wait: {for: 5s}}]";
    let mut live = Live::scheduled(spec);
    live.hold = Hold::first_of(&live.run, Some(frozen()), Some(queued()));
    assert_eq!(live.waits().1, queued().why());
    assert_eq!(Hold::first_of(&live.run, Some(frozen()), None), Some(frozen()));
    let live = Live::answering(&format!("{ON}{PAUSED}"), Rung::Steps);
    assert_eq!(Hold::first_of(&live.run, Some(still()), Some(queued())), Some(queued()));
}

#[test]
fn a_run_in_otherwise_passes_on_to_its_page_where_nothing_may_be_done() {
    for hold in [frozen(), suspended(), still()] {
        for rung in [Rung::Steps, Rung::Otherwise] {
            let mut live = Live::answering(&format!("{ON}{LOOK}"), rung);
            if rung == Rung::Steps {
                live.does("look", failed());
            }
            live.hold = Some(hold.clone());
            live.accept_page();
            assert_eq!(live.over().0, RunState::Paged);
            assert_eq!(skipped(&live, "replace"), hold.why());
        }
    }
    let mut live = Live::answering(&format!("{ON}{LOOK}"), Rung::Otherwise);
    live.hold = Some(turn());
    assert_eq!(live.waits().1, turn().why());
}

#[test]
fn a_further_attempt_is_asked_the_same_as_the_first() {
    let spec = format!(
        "{ON}  limits: {{timeout: 1m}}\n  steps: [{{name: look, script: scripts/look.sh, retry: {{attempts: 5, backoff: 10s}}}}]"
    );
    let once = || {
        let mut live = Live::answering(&spec, Rung::Steps);
        live.does("look", failed());
        live.pass(10);
        live
    };
    let mut over = once();
    over.alert(AlertState::Resolved);
    assert_eq!(over.begins().0, "proof", "nothing more is done to what works again");
    assert!(skipped(&over, "look").contains("resolved"));
    assert_eq!(over.over().0, RunState::Resolved);
    let mut late = once();
    late.pass(50);
    assert_eq!(late.begins().0, "replace");
    let mut rolls = once();
    rolls.target.as_mut().expect("a target").rolling_back = true;
    assert_eq!(rolls.begins().0, "proof");
    let mut held = once();
    held.hold = Some(turn());
    held.waits();
    held.hold = None;
    assert_eq!(held.begins(), ("look".to_owned(), 2));
}

#[test]
fn nobody_is_called_for_what_is_over() {
    let spec =
        format!("{ON}{LOOK}\n  otherwise: [{{name: more, script: scripts/look.sh}}, {{name: call, page: {{}}}}]");
    let mut live = Live::answering(&spec, Rung::Steps);
    live.does("look", failed());
    live.begins();
    live.alert(AlertState::Resolved);
    live.ends(failed());
    assert_eq!(live.over().0, RunState::Resolved);
    assert!(skipped(&live, "call").contains("resolved"));
    // The third time in an hour people shall know, also when it is over again.
    let mut live = Live::answering(&spec, Rung::Page);
    live.alert(AlertState::Resolved);
    live.accept_page();
}

#[test]
fn the_time_of_the_steps_is_theirs_alone() {
    let spec = format!(
        "{ON}  limits: {{timeout: 1m}}\n  steps: [{{name: look, script: scripts/look.sh}}, {{name: more, script: scripts/look.sh}}]"
    );
    let mut live = Live::answering(&spec, Rung::Steps);
    live.hold = Some(turn());
    live.waits();
    live.pass(3_600);
    live.hold = None;
    assert_eq!(live.begins().0, "look", "an hour in a queue is none of its time");
    live.pass(30);
    live.ends(done());
    live.hold = Some(still());
    live.waits();
    live.pass(3_600);
    live.hold = Some(turn());
    live.waits();
    live.pass(3_600);
    live.hold = None;
    live.pass(29);
    assert_eq!(live.begins().0, "more", "nor is what came between its steps");
    let mut late = Live::answering(&spec, Rung::Steps);
    late.begins();
    late.pass(30);
    late.ends(done());
    late.hold = Some(still());
    late.waits();
    late.pass(3_600);
    late.hold = None;
    late.settle();
    late.pass(30);
    assert_eq!(late.begins().0, "replace", "but its own time ends");
}

#[test]
fn a_called_run_is_done_with_its_steps_and_leaves_the_proof_to_its_caller() {
    let mut live = Live::called(LOOK);
    live.does("look", done());
    assert_eq!(live.over(), (RunState::Resolved, "its steps are done".to_owned()));
    let mut live = Live::called(LOOK);
    live.does("look", failed());
    assert_eq!(live.over().0, RunState::Failed);
    let mut live = Live::called(LOOK);
    live.hold = Some(frozen());
    assert_eq!(live.over().0, RunState::Failed, "its caller calls a person");
    let otherwise = format!("{LOOK}\n  otherwise: [{{name: more, script: scripts/look.sh}}]");
    for (outcome, state) in [(done(), RunState::Resolved), (failed(), RunState::Failed)] {
        let mut live = Live::called(&otherwise);
        live.does("look", failed());
        live.does("more", outcome);
        assert_eq!(live.over().0, state);
    }
}

#[test]
fn where_nothing_was_done_in_otherwise_nobody_waits_for_its_proof() {
    let mut live = Live::answering(&format!("{ON}{LOOK}"), Rung::Steps);
    live.target.as_mut().expect("a target").health = Health::Healthy;
    live.does("look", done());
    assert_eq!(live.begins().0, "proof");
    live.pass(240);
    live.accept_page();
    assert!(skipped(&live, "replace").contains("if") && skipped(&live, "proof").contains("nothing was done"));
    // A wait that comes before anything that acts was meant.
    let spec =
        format!("{ON}{LOOK}\n  otherwise: [{{name: last, wait: resolved, timeout: 5m}}, {{name: call, page: {{}}}}]");
    let mut live = Live::answering(&spec, Rung::Steps);
    live.does("look", failed());
    assert_eq!(live.begins().0, "last");
    live.pass(300);
    live.begins();
    live.page = Some(PageFacts { page: PageId(1), accepted: true, nobody: false });
    assert_eq!(live.over().0, RunState::Paged);
}

proptest! {
    #[test]
    fn no_value_ends_the_json_text_that_it_stands_in(value in any::<String>()) {
        let spec = format!(
            "{ON}  steps:\n    - {{name: ask, http: {{method: POST, url: \"http://127.0.0.1:1/\", body: '{{\"a\": \"{{{{ alert.labels.said }}}}\"}}'}}}}"
        );
        for value in [value.clone(), format!("he said \"{value}\"")] {
            let mut live = Live::answering(&spec, Rung::Steps);
            live.run.alert["labels"]["said"] = value.as_str().into();
            let Next::Begin { order, .. } = live.settle() else { panic!("nothing begins") };
            let Order::Http { body: Some(body), .. } = *order else { panic!("no request") };
            let body: serde_json::Value = serde_json::from_str(&body).expect("JSON still");
            prop_assert_eq!(&body["a"], &value);
        }
    }
}

#[test]
fn a_number_may_come_as_a_labels_text_and_what_is_none_fails_its_step() {
    let steps = "  steps: [{name: more, action: app.scale, with: {replicas: '{{ alert.labels.n }}'}}]\n\
                 \x20 otherwise: [{name: call, page: {}}]";
    let mut live = Live::answering(&format!("{ON}{steps}"), Rung::Steps);
    live.run.alert["labels"]["n"] = "5".into();
    let Next::Begin { order, .. } = live.settle() else { panic!("nothing begins") };
    let Order::Act { with, .. } = *order else { panic!("no action") };
    assert_eq!(with["replicas"], 5);
    for text in ["many", "", "5.5", "0x5"] {
        let mut live = Live::answering(&format!("{ON}{steps}"), Rung::Steps);
        live.run.alert["labels"]["n"] = text.into();
        assert_eq!(live.begins().0, "call", "nothing is done for {text:?}");
        let Some(crate::model::StepOutcome::Failed { error }) = &live.run.steps[0].outcome else { panic!("{text:?}") };
        assert!(error.contains("`replicas`") && error.contains(&format!("{text:?}")), "{error}");
    }
}

#[test]
fn what_ends_a_suspension_is_not_stopped_by_it() {
    let mut live = Live::answering(&format!("{ON}  steps: [{{name: go, action: app.resume}}]"), Rung::Steps);
    live.hold = Some(suspended());
    assert_eq!(live.begins().0, "go");
    let mut live = Live::answering(&format!("{ON}  steps: [{{name: go, action: app.resume}}]"), Rung::Steps);
    live.hold = Some(turn());
    assert_eq!(live.waits().1, turn().why(), "an earlier run's turn holds it like any other");
}

#[test]
fn health_counts_from_when_the_runs_own_commit_is_in_force_and_applied() {
    let steps =
        "  steps: [{name: more, action: app.scale, with: {replicas: 3}}, {name: proof, wait: healthy, timeout: 1m}]";
    let mut live = Live::answering(&format!("{ON}{steps}"), Rung::Steps);
    let (before, made) = ("a".repeat(40), "b".repeat(40));
    live.revision = Some((before.parse().expect("a revision"), live.now));
    live.begins();
    live.pass(2);
    live.ends(crate::model::StepOutcome::Done { output: serde_json::json!({ "revision": made }) });
    live.begins();
    assert!(live.waits().1.contains("not in force yet"), "the target is healthy, as it was before");
    live.pass(2);
    live.revision = Some((made.parse().expect("a revision"), live.now));
    let target = live.target.as_mut().expect("a target");
    (target.sync, target.health) = (crate::model::Sync::OutOfSync, Health::Healthy);
    assert!(matches!(live.next(), Next::Wait { .. }), "it is not as the commit says yet");
    live.target.as_mut().expect("a target").sync = crate::model::Sync::Synced;
    assert!(matches!(live.next(), Next::Record(_)), "now it is");
}

#[test]
fn a_wait_whose_beginning_was_written_down_a_moment_late_is_done_all_the_same() {
    let mut live = Live::answering(&format!("{ON}{PAUSED}"), Rung::Steps);
    let Next::Begin { step, attempt, deadline, .. } = live.next() else { panic!("it begins") };
    live.now = live.now.checked_add(jiff::SignedDuration::from_millis(20)).expect("a time");
    let key = crate::model::Key("memory:r1".to_owned());
    live.take(RunEvent::StepBegun { step, attempt, key, deadline });
    live.pass(5);
    assert_eq!(live.begins().0, "look");
}

#[test]
fn a_wait_after_a_hold_has_all_its_time() {
    let steps = "  limits: {timeout: 15m}\n  steps: [{name: look, script: scripts/look.sh}, {name: proof, wait: resolved, timeout: 5m}]";
    let mut live = Live::answering(&format!("{ON}{steps}"), Rung::Steps);
    live.hold = Some(turn());
    live.waits();
    live.pass(16 * 60);
    live.hold = None;
    live.does("look", done());
    assert_eq!(live.begins().0, "proof");
    assert!(live.waits().0 >= Some(super::at(21 * 60)), "held for longer than its limit, and waited out in full");
}
