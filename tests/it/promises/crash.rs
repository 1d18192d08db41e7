//! The daemon is killed at every single boundary of its journal, and the end is the same.

use std::collections::BTreeMap;
use std::time::Duration;

use codeops_core::config::{Freeze, FreezeWhat};
use codeops_core::model::Sync;

use crate::support::fault_log::Crash;
use crate::support::flow::{Flow, app_with, path};
use crate::support::memory_provider::Fault;

/// Deploys two apps, renames one, changes one, removes one, and rolls a bad version back.
async fn scenario(flow: &mut Flow) {
    flow.begin(&[("a", "v1"), ("b", "v1"), ("c", "v1")]).await;
    go_on(flow).await;
    flow.change(&[("a", "v2")]).await;
    go_on(flow).await;
    let renamed = app_with("z", "v1", "was: [b], ", "replicas: 2, ").replace("./z", "./b");
    flow.commit(&[(&path("b"), ""), (&path("z"), &renamed), (&path("c"), "")]).await;
    go_on(flow).await;
    flow.change(&[("a", "bad-3")]).await;
    go_on(flow).await;
}

/// Deploys an app with a release command, then a version whose release command fails.
async fn releases(flow: &mut Flow) {
    flow.begin(&[]).await;
    for version in ["v1", "barren-2"] {
        let release = app_with("r", version, "", "release: {command: [./r, migrate], timeout: 1m}, ");
        flow.commit(&[(&path("r"), &release)]).await;
        go_on(flow).await;
    }
}

/// Lets it settle; a daemon that was killed on the way is followed by another.
async fn go_on(flow: &mut Flow) {
    flow.settle().await;
    if flow.log.crashed() {
        flow.restart().await;
        flow.look();
        flow.settle().await;
    }
}

/// What must not depend on when the daemon was killed.
fn end(flow: &Flow) -> (BTreeMap<String, (Vec<String>, String)>, &'static str) {
    let resources = flow.board().resources.keys().map(|id| id.name.as_str().to_owned()).collect::<Vec<_>>();
    let state = |name: String| {
        let status = format!("{:?} {}", flow.status(&name), flow.view(&name).last_good.is_some());
        (name.clone(), (flow.serving(&name), status))
    };
    (resources.into_iter().map(state).collect(), flow.revision_state())
}

#[tokio::test(start_paused = true)]
async fn killed_at_every_boundary_of_the_journal_the_end_is_the_same() {
    let mut whole = Flow::new().await;
    scenario(&mut whole).await;
    whole.check();
    let (expected, appends, effects) = (end(&whole), whole.log.appends(), whole.effects());
    assert_eq!(expected.0["a"].0, ["v2"]);
    assert_eq!(expected.0["z"].0.len(), 2);
    assert!(whole.live("b").is_none() && whole.live("c").is_none() && appends > 30);

    for at in 0..appends {
        for crash in [Crash::Before(at), Crash::After(at)] {
            let mut flow = Flow::stopped(&["local"]);
            flow.restart_with(Some(crash)).await;
            scenario(&mut flow).await;
            assert_eq!(end(&flow), expected, "{crash:?}: {:?}", flow.effects());
            // As many effects as without a crash: nothing was done twice, whatever its key.
            assert_eq!(sorted(flow.effects()), sorted(effects.clone()), "{crash:?}");
            flow.check();
        }
    }
}

/// Renames an app while its new version is bad, by a provider that tells of what it did long before it answers.
async fn renames(flow: &mut Flow) {
    flow.begin(&[("a", "v1")]).await;
    go_on(flow).await;
    flow.local().set_answers_after(Duration::from_secs(2));
    let renamed = app_with("z", "bad-2", "was: [a], ", "");
    flow.commit(&[(&path("a"), ""), (&path("z"), &renamed)]).await;
    go_on(flow).await;
}

#[tokio::test(start_paused = true)]
async fn killed_at_every_boundary_of_a_rename_what_was_good_comes_back() {
    let mut whole = Flow::new().await;
    renames(&mut whole).await;
    let (expected, appends) = (end(&whole), whole.log.appends());
    assert_eq!(expected.0["z"].0, ["v1"]);
    for crash in (0..appends).flat_map(|at| [Crash::Before(at), Crash::After(at)]) {
        let mut flow = Flow::stopped(&["local"]);
        flow.restart_with(Some(crash)).await;
        renames(&mut flow).await;
        assert_eq!(end(&flow), expected, "{crash:?}: {:?}", flow.effects());
        flow.check();
    }
}

#[tokio::test(start_paused = true)]
async fn a_release_command_runs_once_whenever_the_daemon_is_killed_and_the_repository_answers() {
    let mut whole = Flow::new().await;
    releases(&mut whole).await;
    let (expected, appends, effects) = (end(&whole), whole.log.appends(), whole.effects());
    assert_eq!(expected.0["r"].0, ["v1"]);
    assert_eq!(effects.iter().filter(|effect| *effect == "release r").count(), 2, "{effects:?}");
    // At once, late, and after the steps have gone on without it.
    for late in [0, 3, 8].map(Duration::from_secs) {
        for crash in (0..appends).flat_map(|at| [Crash::Before(at), Crash::After(at)]) {
            let mut flow = Flow::stopped(&["local"]);
            flow.source.set_late(late);
            flow.restart_with(Some(crash)).await;
            releases(&mut flow).await;
            let case = format!("{crash:?}, {late:?} late: {:?}", flow.effects());
            assert_eq!(end(&flow), expected, "{case}");
            assert_eq!(sorted(flow.effects()), sorted(effects.clone()), "{case}");
            flow.check();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_release_whose_answer_is_lost_runs_once_however_long_nothing_may_be_done() {
    let mut flow = Flow::new().await;
    flow.begin(&[]).await;
    flow.settle().await;
    let release = app_with("r", "barren-1", "", "release: {command: [./r, migrate], timeout: 1m}, ");
    flow.local().fail_next_of("release", Fault::LostAfter);
    flow.commit(&[(&path("r"), &release)]).await;
    while !flow.effects().contains(&"release r".to_owned()) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // Cut off while it is looked at, and found by a daemon that may not act, then by one that may.
    flow.kill().await;
    let frozen = Freeze { what: FreezeWhat::All, reason: "bad night".to_owned(), until: None };
    for freeze in [Some(frozen), None] {
        flow.rules.freeze = freeze;
        flow.restart().await;
        flow.look();
        flow.settle().await;
    }
    assert_eq!(flow.effects(), ["create r", "release r"]);
    assert_eq!(flow.status("r").0, Sync::Held, "{}", flow.why("r"));
    flow.check();
}

fn sorted(mut effects: Vec<String>) -> Vec<String> {
    effects.sort();
    effects
}
