//! What a run waits for, and what it takes for proven.

use super::*;

#[test]
fn proof_is_the_sources_word_held_for_the_quiet_time() {
    let spec = format!("{ON}  steps: [{{name: proof, wait: resolved, quiet: 1m, timeout: 3m}}]");
    let mut live = Live::answering(&spec, Rung::Steps);
    live.begins();
    live.waits();
    live.pass(170);
    live.alert(AlertState::Resolved);
    assert!(live.waits().1.contains("quiet"));
    // The deadline passes in the quiet time: what is over by then is proven by staying so.
    live.pass(59);
    live.waits();
    live.pass(1);
    assert_eq!(live.over().0, RunState::Resolved);
    let mut live = Live::answering(&spec, Rung::Steps);
    live.begins();
    live.alert(AlertState::Resolved);
    live.pass(30);
    live.alert(AlertState::Firing);
    assert!(live.waits().1.contains("0 of 1"), "it came back in the quiet time");
}

#[test]
fn before_it_calls_an_alert_unproven_it_asks_the_source() {
    let spec = format!("{ON}  steps: [{{name: proof, wait: resolved, timeout: 3m}}]");
    for (said, state) in [
        (AlertState::Resolved, Some(RunState::Resolved)),
        (AlertState::Silenced, Some(RunState::Cancelled)),
        (AlertState::Firing, None),
        (AlertState::Unknown, None),
    ] {
        let mut live = Live::answering(&spec, Rung::Steps);
        live.asks = true;
        live.begins();
        live.pass(180);
        let Next::Ask(alerts) = live.settle() else { panic!("it does not ask") };
        live.take(RunEvent::Asked { alert: alerts[0].clone(), state: said });
        match state {
            Some(state) => assert_eq!(live.over().0, state),
            None => assert_eq!(live.begins().0, "replace", "{said}"),
        }
    }
    // Expired is no proof: nobody said that it is over.
    let mut live = Live::answering(&spec, Rung::Steps);
    live.begins();
    live.alert(AlertState::Expired);
    live.pass(180);
    assert_eq!(live.begins().0, "replace");
    assert!(live.run.turned.as_ref().expect("turned").0.contains("no word from the source"));
}

/// Its steps have failed, and no proof is waited for: a silence that was set meanwhile is found before anybody is called.
#[test]
fn before_a_person_is_called_the_source_is_asked_whether_it_holds_it_back() {
    let spec =
        format!("{ON}  steps: [{{name: restart, action: app.restart}}]\n  otherwise: [{{name: call, page: {{}}}}]");
    for (rung, said, state) in [
        (Rung::Steps, AlertState::Silenced, Some(RunState::Cancelled)),
        (Rung::Page, AlertState::Silenced, Some(RunState::Cancelled)),
        (Rung::Page, AlertState::Firing, None),
        (Rung::Page, AlertState::Unknown, None),
    ] {
        let mut live = Live::answering(&spec, rung);
        live.asks = true;
        if rung == Rung::Steps {
            assert_eq!(live.begins().0, "restart");
            live.ends(failed());
        }
        let Next::Ask(alerts) = live.settle() else { panic!("it does not ask") };
        live.take(RunEvent::Asked { alert: alerts[0].clone(), state: said });
        match state {
            Some(state) => assert_eq!(live.over().0, state),
            None => assert_eq!(live.begins().0, "call", "{said}"),
        }
    }
}

#[test]
fn nothing_is_done_to_what_works_again() {
    let spec = format!("{ON}  steps: [{{name: restart, action: app.restart}}, {{name: proof, wait: resolved}}]");
    let mut live = Live::answering(&spec, Rung::Steps);
    live.alert(AlertState::Resolved);
    assert_eq!(live.begins().0, "proof");
    assert_eq!(live.over().0, RunState::Resolved);
    assert!(live.run.steps[0].skipped.as_ref().expect("skipped").contains("resolved"));
}

#[test]
fn no_wait_is_longer_than_all_steps_together() {
    let spec = format!("{ON}  limits: {{timeout: 1m}}\n  steps: [{{name: idle, wait: {{for: 20h}}}}]");
    let mut live = Live::answering(&spec, Rung::Steps);
    live.begins();
    live.waits();
    live.pass(61);
    assert_eq!(live.begins().0, "replace", "a person is not kept waiting for a day");
}

#[test]
fn waits_for_health_for_a_time_and_until_something_is_so() {
    let spec = format!(
        "{ON}  steps:\n    - {{name: health, wait: healthy, quiet: 10s, timeout: 1m}}\n    - {{name: some, wait: {{for: 5s}}}}\n    - {{name: whole, wait: {{until: target.healthy == target.replicas}}, timeout: 20s}}"
    );
    let mut live = Live::answering(&spec, Rung::Steps);
    live.begins();
    assert!(live.waits().1.contains("Degraded"));
    live.pass(7);
    let target = live.target.as_mut().expect("a target");
    (target.health, target.since) = (Health::Healthy, live.now);
    assert!(live.waits().1.contains("for 10s"));
    live.pass(10);
    assert_eq!(live.begins().0, "some");
    live.pass(5);
    assert_eq!(live.begins().0, "whole");
    assert!(live.waits().1.contains("not true yet"));
    live.pass(20);
    assert_eq!(live.begins().0, "proof", "what works is not replaced");
}

#[test]
fn a_run_in_a_rollback_only_proves() {
    let spec = format!("{ON}  steps: [{{name: restart, action: app.restart}}]");
    let mut live = Live::answering(&spec, Rung::Steps);
    live.target.as_mut().expect("a target").rolling_back = true;
    assert_eq!(live.begins().0, "proof");
    assert!(live.run.steps[0].skipped.as_ref().expect("skipped").contains("rolled back"));
}

#[test]
fn a_rollback_is_given_the_time_of_a_proof_on_a_later_rung_too() {
    let spec = format!("{ON}  steps: [{{name: restart, action: app.restart}}]");
    let mut live = Live::answering(&spec, Rung::Otherwise);
    live.target.as_mut().expect("a target").rolling_back = true;
    assert_eq!(live.begins().0, "proof", "not replaced, and nobody called before it is back");
    assert!(live.run.steps[0].skipped.as_ref().expect("skipped").contains("rolled back"));
    live.ends(failed());
    assert_eq!(live.begins().0, "call");
    // Where it may not go back either, a person is called at once.
    let mut live = Live::answering(&spec, Rung::Otherwise);
    live.target.as_mut().expect("a target").rolling_back = true;
    live.hold = Some(Hold::Frozen("frozen".to_owned()));
    assert_eq!(live.begins().0, "call");
    // One that turns because the rollback did not help replaces.
    let mut live = Live::answering(&spec, Rung::Steps);
    live.target.as_mut().expect("a target").rolling_back = true;
    live.does("proof", failed());
    assert_eq!(live.begins().0, "replace");
}

/// Without a `wait` of its own the steps end before their proof: what one of them may have done is proven, but nothing else.
#[test]
fn where_nothing_was_done_a_person_is_called_at_once() {
    let revert = "{name: undo, git: {revert: last}}";
    let look = "{name: undo, script: scripts/look.sh}";
    for (step, seconds, outcome, follows) in [
        (revert, 5, failed(), "call"),
        (revert, 5, unknown(), "proof"),
        (look, 0, failed(), "call"),
        (look, 5, failed(), "proof"),
        ("{name: undo, action: app.restart}", 5, failed(), "proof"),
        ("{name: undo, action: app.scale, with: {replicas: 3}}", 5, failed(), "call"),
    ] {
        let mut live = Live::answering(&format!("{ON}  steps: [{step}]"), Rung::Steps);
        live.target.as_mut().expect("a target").health = Health::Healthy;
        live.begins();
        live.pass(seconds);
        live.ends(outcome);
        assert_eq!(live.begins().0, follows, "{step} {seconds}");
    }
    let mut live = Live::answering(&format!("{ON}  steps: [{revert}]"), Rung::Steps);
    live.does("undo", failed());
    live.does("replace", done());
    assert_eq!(live.begins().0, "proof", "what was replaced is proven");
}

/// Each attempt counts: none that failed the moment it began did anything, and one whose end nobody knows may have.
#[test]
fn where_no_attempt_did_anything_a_person_is_called_at_once() {
    let look = "{name: undo, script: scripts/look.sh, retry: {attempts: 2, backoff: 5s}}";
    let revert = "{name: undo, git: {revert: last}, idempotent: true}";
    let scale = "{name: undo, action: app.scale, with: {replicas: 3}, idempotent: true}";
    for (step, first, follows) in [
        (look, (0, failed()), "call"),
        (look, (3, failed()), "proof"),
        (revert, (3, unknown()), "proof"),
        (scale, (3, unknown()), "proof"),
    ] {
        let mut live = Live::answering(&format!("{ON}  steps: [{step}]"), Rung::Steps);
        live.target.as_mut().expect("a target").health = Health::Healthy;
        live.begins();
        live.pass(first.0);
        live.ends(first.1);
        live.waits();
        live.pass(5);
        live.does("undo", failed());
        assert_eq!(live.begins().0, follows, "{step}");
    }
}

/// The app is down, and what was to bring it back is known to have failed.
#[test]
fn where_the_last_remedy_has_failed_a_person_is_called_at_once() {
    let restart = format!("{ON}  steps: [{{name: restart, action: app.restart}}]");
    let of = |outcome: StepOutcome, resolved: bool| {
        let mut live = Live::answering(&restart, Rung::Steps);
        live.does("restart", failed());
        live.begins();
        live.pass(60);
        live.ends(outcome);
        if resolved {
            live.alert(AlertState::Resolved);
        }
        live.begins().0
    };
    assert_eq!(of(failed(), false), "call");
    assert_eq!(of(done(), false), "proof");
    assert_eq!(of(unknown(), false), "proof", "it may have helped");
    assert_eq!(of(failed(), true), "proof", "it is over, and stays so for its quiet time");
    let otherwise =
        "  otherwise: [{name: mend, script: scripts/look.sh}, {name: proof, wait: resolved}, {name: call, page: {}}]";
    let mut live = Live::answering(&format!("{restart}\n{otherwise}"), Rung::Otherwise);
    live.begins();
    live.pass(5);
    live.ends(failed());
    assert_eq!(live.begins().0, "proof", "a script that failed may have done a part");
}

/// On the second rung nothing of this run came before: whoever is waited for has only the page.
#[test]
fn where_otherwise_only_looked_a_person_is_called_at_once() {
    let replace = "{name: replace, action: app.replace, if: target.health != 'Healthy'}";
    let ask = |method: &str| format!("{{name: ask, http: {{method: {method}, url: 'http://127.0.0.1:1/state'}}}}");
    let run = |first: &str, rung: Rung| {
        let otherwise = format!("[{first}, {replace}, {{name: proof, wait: resolved}}, {{name: call, page: {{}}}}]");
        let spec = format!("{ON}  steps: [{{name: mend, script: scripts/look.sh}}]\n  otherwise: {otherwise}");
        let mut live = Live::answering(&spec, rung);
        live.target.as_mut().expect("a target").health = Health::Healthy;
        live
    };
    for (first, follows) in [(ask("GET"), "call"), (ask("POST"), "proof")] {
        let mut live = run(&first, Rung::Otherwise);
        live.does("ask", done());
        assert_eq!(live.begins().0, follows, "{first}");
        let proof = live.run.steps.iter().filter_map(|record| record.skipped.as_deref()).next_back();
        assert_eq!(proof == Some("nothing was done that it could prove"), follows == "call", "{proof:?}");
    }
    let mut live = run(&ask("GET"), Rung::Steps);
    live.begins();
    live.pass(5);
    live.ends(failed());
    live.does("ask", done());
    assert_eq!(live.begins().0, "proof", "what the steps may have done is not proven yet");
    let mut live = run("{name: renew, action: app.restart}", Rung::Otherwise);
    live.does("renew", StepOutcome::Done { output: json!({ crate::playbook::NOTHING: "it has no instance" }) });
    assert_eq!(live.begins().0, "call");
}

#[test]
fn what_is_waited_for_is_so_for_the_quiet_time_as_it_was_seen() {
    let wait = "{name: whole, wait: {until: target.healthy == target.replicas}, quiet: 10s, timeout: 1m}";
    let begun = || {
        let mut live = Live::answering(&format!("{ON}  steps: [{wait}]"), Rung::Steps);
        live.begins();
        live
    };
    let healthy = |live: &mut Live, many: u32| live.target.as_mut().expect("a target").healthy = many;
    let mut live = begun();
    healthy(&mut live, 2);
    assert!(live.waits().1.contains("for 10s"), "it is so, and was not seen for 10s");
    live.pass(9);
    live.waits();
    healthy(&mut live, 1);
    live.waits();
    healthy(&mut live, 2);
    live.pass(9);
    live.waits();
    live.pass(9);
    assert!(live.waits().1.contains("for 10s"), "it was not so in between");
    live.pass(1);
    assert_eq!(live.begins().0, "proof");
    // The daemon was away in between: nobody saw that it stayed so.
    let mut live = begun();
    healthy(&mut live, 2);
    live.waits();
    live.pass(30);
    live.looks_since = live.now;
    assert!(live.waits().1.contains("for 10s"), "what was not looked at does not count");
    live.pass(10);
    assert_eq!(live.begins().0, "proof");
    let mut live = begun();
    live.pass(55);
    healthy(&mut live, 2);
    live.waits();
    live.pass(5);
    assert_eq!(live.begins().0, "replace", "it was so, and not for long enough");
    assert!(matches!(&live.run.steps[0].outcome, Some(StepOutcome::Failed { error }) if error.contains("for 10s")));
}

#[test]
fn what_replaced_nothing_does_not_end_as_replaced() {
    let spec = format!("{ON}  steps: [{{name: restart, action: app.restart}}]");
    for (output, state) in [
        (serde_json::json!({"nothing": "no instance that it concerns"}), RunState::Resolved),
        (Value::Null, RunState::Replaced),
    ] {
        let mut live = Live::answering(&spec, Rung::Steps);
        live.does("restart", failed());
        live.does("replace", StepOutcome::Done { output });
        live.alert(AlertState::Resolved);
        assert_eq!(live.begins().0, "proof");
        assert_eq!(live.over().0, state);
    }
}
