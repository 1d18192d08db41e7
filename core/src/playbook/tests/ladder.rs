//! From the steps to `otherwise` to a person: where a run begins, turns and ends.

use super::*;

#[test]
fn the_ladder_begins_at_otherwise_and_then_only_pages() {
    let spec = format!("{ON}  steps: [{{name: restart, action: app.restart}}]");
    let mut live = Live::answering(&spec, Rung::Otherwise);
    live.does("replace", done());
    assert_eq!(live.begins().0, "proof");
    live.alert(AlertState::Resolved);
    assert_eq!(live.over().0, RunState::Replaced);
    let mut live = Live::answering(&spec, Rung::Page);
    live.accept_page();
    assert_eq!(live.over(), (RunState::Paged, "a person was called".to_owned()));
}

#[test]
fn the_default_replaces_only_what_is_unhealthy_for_a_reason_of_its_own() {
    let spec = format!("{ON}  steps: [{{name: look, script: scripts/look.sh}}]");
    for (health, dependencies) in [(Health::Healthy, true), (Health::Degraded, false)] {
        let mut live = Live::answering(&spec, Rung::Otherwise);
        let target = live.target.as_mut().expect("a target");
        (target.health, target.dependencies_healthy) = (health, dependencies);
        assert_eq!(live.begins().0, "call", "nothing was done that a proof could prove");
    }
}

#[test]
fn a_page_ends_only_when_somebody_has_it() {
    let spec = format!("{ON}  steps: [{{name: call, page: {{}}}}]");
    let mut live = Live::answering(&spec, Rung::Page);
    live.begins();
    // Nothing was written down of it: it is begun again under the same number.
    assert!(matches!(live.settle(), Next::Begin { attempt: 1, .. }));
    live.page = Some(PageFacts { page: PageId(1), accepted: false, nobody: false });
    live.pass(1_000_000);
    assert!(live.waits().1.contains("no channel"));
    live.page = Some(PageFacts { page: PageId(1), accepted: false, nobody: true });
    assert_eq!(live.over().0, RunState::Failed);
}

#[test]
fn a_call_ends_as_the_called_run_does() {
    for (state, word) in [(RunState::Resolved, "proof"), (RunState::Failed, "replace"), (RunState::Paged, "replace")] {
        let desired = format!("{ON}  steps: [{{name: sub, playbook: sub}}]");
        let mut live = Live::answering(&desired, Rung::Steps);
        live.begins();
        live.called = Some(RunState::Waiting);
        live.waits();
        live.called = Some(state);
        assert_eq!(live.begins().0, word, "{state}");
    }
}

#[test]
fn a_cancelled_run_ends_before_its_next_step_and_not_in_the_middle_of_one() {
    let spec =
        format!("{ON}  steps: [{{name: look, script: scripts/look.sh}}, {{name: more, script: scripts/look.sh}}]");
    let mut live = Live::answering(&spec, Rung::Steps);
    live.begins();
    live.cancelled = Some("playbook p is gone".to_owned());
    live.waits();
    live.ends(done());
    assert_eq!(live.over(), (RunState::Cancelled, "playbook p is gone".to_owned()));
    // A wait holds nothing: it is broken off at once.
    let mut live = Live::answering(&format!("{ON}  steps: [{{name: idle, wait: {{for: 5m}}}}]"), Rung::Steps);
    live.begins();
    live.cancelled = Some("playbook p is gone".to_owned());
    assert_eq!(live.over(), (RunState::Cancelled, "playbook p is gone".to_owned()));
    // A person has it: nobody is called anew.
    let spec = format!("{ON}  steps: [{{name: call, page: {{}}}}, {{name: idle, wait: {{for: 5m}}}}]");
    let mut live = Live::answering(&spec, Rung::Steps);
    live.accept_page();
    live.begins();
    live.cancelled = Some("playbook p is gone".to_owned());
    assert_eq!(live.over(), (RunState::Paged, "a person was called, and playbook p is gone".to_owned()));
}

#[test]
fn time_that_is_up_ends_the_steps_and_not_the_paging() {
    let spec = format!(
        "{ON}  limits: {{timeout: 1m}}\n  steps: [{{name: look, script: scripts/look.sh}}, {{name: more, script: scripts/look.sh}}]"
    );
    let mut live = Live::answering(&spec, Rung::Steps);
    live.begins();
    live.pass(60);
    live.ends(done());
    assert_eq!(live.begins().0, "replace");
    assert!(live.run.turned.as_ref().expect("turned").0.contains("its time of 1m is up"));
}

#[test]
fn a_scheduled_run_has_no_alert_to_prove_and_pages_when_it_fails() {
    let spec = "  on: {schedule: \"0 3 * * *\"}\n  steps: [{name: look, script: scripts/look.sh}]";
    let mut live = Live::scheduled(spec);
    live.does("look", done());
    assert_eq!(live.over().0, RunState::Resolved);
    let mut live = Live::scheduled(spec);
    live.does("look", failed());
    live.accept_page();
    assert_eq!(live.over().0, RunState::Paged);
}
