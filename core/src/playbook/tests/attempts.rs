//! Attempts at a step: how each ends, and whether another follows.

use super::*;

#[test]
fn an_error_is_tried_again_with_a_doubled_wait_and_then_goes_to_otherwise() {
    let spec = format!("{ON}  steps: [{{name: look, script: scripts/look.sh, retry: {{attempts: 3, backoff: 5s}}}}]");
    let mut live = Live::answering(&spec, Rung::Steps);
    for (attempt, wait) in [(1, 5), (2, 10)] {
        assert_eq!(live.begins(), ("look".to_owned(), attempt));
        live.ends(failed());
        assert!(live.waits().1.contains("tried again"));
        live.pass(wait - 1);
        live.waits();
        live.pass(1);
    }
    assert_eq!(live.begins(), ("look".to_owned(), 3));
    live.ends(failed());
    assert_eq!(live.begins().0, "replace", "the default for an app");
    assert!(live.run.turned.as_ref().expect("turned").0.contains("it broke"));
}

#[test]
fn on_error_continue_goes_on_and_a_false_condition_passes_over() {
    let spec = format!(
        "{ON}  steps:\n    - {{name: look, script: scripts/look.sh, onError: continue}}\n    - {{name: never, script: scripts/look.sh, if: steps.look.state == 'done'}}\n    - {{name: blind, script: scripts/look.sh, if: steps.look.output.missing > 1, onError: continue}}\n    - {{name: last, script: scripts/look.sh}}"
    );
    let mut live = Live::answering(&spec, Rung::Steps);
    live.does("look", failed());
    assert_eq!(live.begins().0, "last");
    let records: Vec<bool> = live.run.steps.iter().map(|record| record.skipped.is_some()).collect();
    assert_eq!(records, [false, true, false, false]);
    assert!(matches!(&live.run.steps[2].outcome, Some(StepOutcome::Failed { error }) if error.contains("no value")));
}

#[test]
fn an_unknown_outcome_goes_to_otherwise_and_is_never_begun_again_unless_idempotent() {
    let step = |more: &str| {
        format!("{ON}  steps: [{{name: look, script: scripts/look.sh, retry: {{attempts: 5, backoff: 1s}}{more}}}]")
    };
    let mut live = Live::answering(&step(""), Rung::Steps);
    live.does("look", unknown());
    assert_eq!(live.begins().0, "replace");
    let mut live = Live::answering(&step(", idempotent: true"), Rung::Steps);
    live.does("look", unknown());
    live.waits();
    live.pass(1);
    assert_eq!(live.begins(), ("look".to_owned(), 2));
    // Being idempotent is worth one more attempt even without `retry`.
    let alone = format!("{ON}  steps: [{{name: look, script: scripts/look.sh, idempotent: true}}]");
    let mut live = Live::answering(&alone, Rung::Steps);
    live.does("look", unknown());
    live.pass(1);
    assert_eq!(live.begins(), ("look".to_owned(), 2));
    live.ends(unknown());
    assert_eq!(live.begins().0, "replace");
}

#[test]
fn what_a_dead_daemon_had_begun_is_of_unknown_outcome() {
    let mut live = Live::answering(&format!("{ON}  steps: [{{name: look, script: scripts/look.sh}}]"), Rung::Steps);
    live.begins();
    live.in_hand = false;
    assert_eq!(live.begins().0, "replace");
    assert!(matches!(&live.run.steps[0].outcome, Some(StepOutcome::Unknown { error }) if error.contains("ended")));
}

/// Its commit is there or not, and is told by its key.
#[test]
fn a_commit_that_a_dead_daemon_had_begun_is_settled_by_what_is_there() {
    for step in
        ["action: app.scale, with: {by: 1, max: 5}", "git: {revert: last}", "action: app.suspend, onError: continue"]
    {
        let spec = format!("{ON}  steps: [{{name: more, {step}, timeout: 30s}}]");
        let mut live = Live::answering(&spec, Rung::Steps);
        live.begins();
        live.in_hand = false;
        live.pass(60);
        let Next::Begin { attempt, deadline, .. } = live.settle() else { panic!("it is not looked for: {step}") };
        assert_eq!((attempt, deadline), (1, at(90)), "the same attempt, so the same key, and its time anew");
    }
}

#[test]
fn an_action_ends_as_it_gets_on_and_at_its_deadline() {
    let spec = format!("{ON}  steps: [{{name: restart, action: app.restart, timeout: 30s}}]");
    let mut live = Live::answering(&spec, Rung::Steps);
    live.begins();
    live.in_hand = false;
    live.progress = Some(Progress::Going("1 of 2".to_owned()));
    assert_eq!(live.waits().1, "1 of 2");
    live.pass(30);
    live.settle();
    assert!(matches!(&live.run.steps[0].outcome, Some(StepOutcome::Failed { error }) if error.contains("within 30s")));
    for (progress, word) in
        [(Progress::Done(json!({"n": 1})), "proof"), (Progress::Failed("overtaken".to_owned()), "replace")]
    {
        let mut live = Live::answering(&spec, Rung::Steps);
        live.begins();
        live.progress = Some(progress);
        assert_eq!(live.begins().0, word);
    }
}

#[test]
fn a_condition_that_is_too_much_work_fails_its_step_and_freezes_nothing() {
    let sum = ["steps.look.output.o"; 4].join(" + ");
    let spec = format!(
        "{ON}  steps:\n    - {{name: look, script: scripts/look.sh}}\n    - {{name: more, script: scripts/look.sh, if: \"({sum}).all(x, ({sum}).all(y, x == y))\"}}"
    );
    let mut live = Live::answering(&spec, Rung::Steps);
    live.begins();
    live.ends(StepOutcome::Done { output: json!({ "o": vec![0; 1_000] }) });
    assert_eq!(live.begins().0, "replace");
    assert!(live.run.turned.as_ref().expect("turned").0.contains("too much work"), "{:?}", live.run.turned);
}

#[test]
fn nothing_takes_longer_than_all_steps_together() {
    let spec = |step: &str| format!("{ON}  limits: {{timeout: 8s}}\n  steps: [{{name: hang, {step}}}]");
    let deadline = |live: &Live| {
        let on = live.run.steps.iter().find_map(|record| record.on.clone());
        on.map(|(_, deadline)| deadline.duration_since(live.now).as_secs())
    };
    for step in [
        "script: scripts/look.sh, timeout: 40s",
        "http: {url: \"http://127.0.0.1:1/\"}, timeout: 40s",
        "git: {revert: last}",
        "action: app.restart",
        "page: {}",
        "playbook: sub",
    ] {
        let mut live = Live::answering(&spec(step), Rung::Steps);
        live.begins();
        assert_eq!(deadline(&live), Some(8), "{step}");
    }
    // What is on by itself is not waited for any longer.
    let going = |live: &mut Live, step: &str| match step {
        "page: {}" => live.page = Some(PageFacts { page: PageId(1), accepted: false, nobody: false }),
        "playbook: sub" => live.called = Some(RunState::Running),
        _ => live.progress = Some(Progress::Going("1 of 2".to_owned())),
    };
    for step in ["action: app.restart", "page: {}", "playbook: sub"] {
        let mut live = Live::answering(&spec(step), Rung::Steps);
        live.begins();
        going(&mut live, step);
        live.waits();
        live.pass(9);
        assert_eq!(live.begins().0, "replace", "{step}");
        let why = &live.run.turned.as_ref().expect("turned").0;
        assert!(why.contains("all steps together have only 8s"), "{why}");
    }
}

#[test]
fn a_run_waits_for_no_clock_that_was_set_back_to_catch_up() {
    let spec = format!(
        "{ON}  steps: [{{name: pause, wait: {{for: 5s}}}}, {{name: look, script: scripts/look.sh, retry: {{attempts: 3, backoff: 5s}}}}]"
    );
    let mut live = Live::answering(&spec, Rung::Steps);
    assert_eq!(live.begins().0, "pause");
    live.pass(-7_200);
    assert_eq!(live.begins(), ("look".to_owned(), 1), "its pause counts as over");
    live.ends(failed());
    live.pass(-7_200);
    assert_eq!(live.begins(), ("look".to_owned(), 2), "and the wait before another attempt");
}

/// A clock is put right by seconds now and then, and a proof takes its time however the clock goes.
#[test]
fn a_clock_that_is_put_right_fails_no_step_and_proves_nothing() {
    let spec = format!("{ON}  steps: [{{name: proof, wait: resolved, quiet: 1m, timeout: 10m}}]");
    let mut live = Live::answering(&spec, Rung::Steps);
    assert_eq!(live.begins().0, "proof");
    live.pass(-30);
    live.waits();
    live.pass(60);
    live.alert(AlertState::Resolved);
    live.pass(-30);
    live.waits();
    live.pass(89);
    live.waits();
    live.pass(1);
    assert_eq!(live.settle(), Next::Over);
    assert_eq!(live.run.state(), RunState::Resolved, "after its quiet time");
    let mut live = Live::answering(&spec, Rung::Steps);
    assert_eq!(live.begins().0, "proof");
    live.alert(AlertState::Resolved);
    live.pass(-7_200);
    live.settle();
    assert_ne!(live.run.state(), RunState::Resolved);
}
