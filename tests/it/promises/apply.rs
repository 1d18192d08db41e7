//! `apply`, which is the daemon's flow until nothing more happens without a commit, ends whatever it finds.

use codeops_core::model::{Health, Sync};

use crate::support::flow::{Flow, REPOSITORY, TEAM, app, app_with, id, path};
use crate::support::memory_provider::Fault;

/// A repository that no daemon has looked at yet.
async fn untouched(files: &[(&str, &str)]) -> Flow {
    let mut flow = Flow::stopped(&["local", "edge"]);
    let mut all = vec![("codeops.yaml", REPOSITORY), ("team.yaml", TEAM)];
    all.extend(files);
    flow.commit(&all).await;
    flow
}

#[tokio::test(start_paused = true)]
async fn apply_ends_when_all_is_applied() {
    let mut flow = untouched(&[("a.yaml", &app("a", "v1")), ("b.yaml", &app("b", "slow-1"))]).await;
    let board = flow.apply().await;
    assert_eq!(board.revision.as_ref().map(|r| r.state.word()), Some("applied"));
    assert_eq!((flow.serving("a"), flow.serving("b")), (vec!["v1".to_owned()], vec!["slow-1".to_owned()]));
    let effects = flow.effects();
    flow.apply().await;
    assert_eq!(flow.effects(), effects, "a second one has nothing to do");
    flow.check();
}

#[tokio::test(start_paused = true)]
async fn apply_ends_when_something_is_held() {
    let mut flow = untouched(&[("a.yaml", &app("a", "v1")), ("b.yaml", &app("b", "v1"))]).await;
    flow.apply().await;
    flow.commit(&[("a.yaml", ""), ("b.yaml", "")]).await;
    let board = flow.apply().await;
    assert_eq!(board.holds.len(), 1);
    assert_ne!(board.revision.as_ref().map(|r| r.state.word()), Some("applying"));
    flow.check();
}

#[tokio::test(start_paused = true)]
async fn apply_ends_when_something_fails_or_does_not_come_up() {
    for version in ["bad-1", "never-1"] {
        let after = app_with("b", "v1", "", "after: [app/a], ");
        let mut flow = untouched(&[("a.yaml", &app("a", version)), ("b.yaml", &after)]).await;
        let board = flow.apply().await;
        assert!(matches!(board.revision.as_ref().map(|r| r.state.word()), Some("partial" | "failed")), "{version}");
        assert_eq!(flow.live("b"), None, "{version}: it still waits");
    }
}

#[tokio::test(start_paused = true)]
async fn apply_ends_when_a_provider_is_unreachable_from_the_start_or_halfway() {
    let mut flow = untouched(&[("a.yaml", &app("a", "v1"))]).await;
    flow.local().set_unreachable(Some("down"));
    let board = flow.apply().await;
    assert_eq!(board.resources[&id("a")].sync, Sync::Unknown);
    flow.local().set_unreachable(None);
    flow.local().fail_next(Fault::LostAfter);
    flow.apply().await;
    assert_eq!(flow.serving("a"), ["v1"]);
    flow.check();
}

#[tokio::test(start_paused = true)]
async fn apply_ends_when_every_step_fails() {
    for fault in [Fault::Retry, Fault::Reject, Fault::LostBefore] {
        let mut flow = untouched(&[("a.yaml", &app("a", "v1"))]).await;
        for _ in 0..1_000 {
            flow.local().fail_next(fault);
        }
        let board = flow.apply().await;
        assert_ne!(board.revision.as_ref().map(|r| r.state.word()), Some("applied"), "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn apply_waits_for_what_is_under_way_as_long_as_that_takes() {
    let mut flow = untouched(&[("a.yaml", &app("a", "v1"))]).await;
    flow.apply().await;
    // An artifact that takes half an hour, with the instance before it serving.
    flow.commit(&[("a.yaml", &app("a", "v2"))]).await;
    for _ in 0..80 {
        flow.local().fail_next(Fault::UnderWay);
    }
    let began = flow.clock.now();
    let board = flow.apply().await;
    assert_eq!(board.revision.as_ref().map(|r| r.state.word()), Some("applied"));
    assert_eq!(flow.serving("a"), ["v2"]);
    let took = flow.clock.now().duration_since(began).as_secs();
    assert!((1_200..2_700).contains(&took), "{took} s: asked less often the longer it takes");
    flow.check();
}

#[tokio::test(start_paused = true)]
async fn apply_ends_when_the_repository_is_unreachable_or_empty_or_broken() {
    let mut flow = untouched(&[("a.yaml", &app("a", "v1"))]).await;
    flow.source.set_unreachable(Some("down"));
    assert!(flow.apply().await.revision.is_none());
    flow.source.set_unreachable(None);
    flow.apply().await;
    flow.source.set_unreachable(Some("down"));
    flow.apply().await;
    assert_eq!(flow.serving("a"), ["v1"]);

    let mut empty = Flow::stopped(&["local"]);
    empty.apply().await;
    let mut broken = Flow::stopped(&["local"]);
    broken.commit(&[("codeops.yaml", "nonsense: ["), ("a.yaml", &app("a", "v1"))]).await;
    let board = broken.apply().await;
    assert!(board.ready && !board.diagnostics.is_empty());
    assert_eq!(board.revision.as_ref().map(|r| r.state.word()), Some("failed"));
    assert!(broken.effects().is_empty());
    // Mended, it goes on from there.
    broken.commit(&[("codeops.yaml", REPOSITORY), ("team.yaml", TEAM)]).await;
    broken.apply().await;
    assert_eq!(broken.serving("a"), ["v1"]);
}

#[tokio::test(start_paused = true)]
async fn apply_ends_in_observe_mode_and_under_a_freeze() {
    let mut flow = untouched(&[("a.yaml", &app("a", "v1"))]).await;
    flow.rules.observe = true;
    let board = flow.apply().await;
    assert_eq!((board.resources[&id("a")].health, flow.effects().len()), (Health::Missing, 0));
    flow.rules.observe = false;
    let frozen = REPOSITORY.replace("spec: {", "spec: {freeze: {what: all, reason: a bad night}, ");
    flow.commit(&[("codeops.yaml", &frozen)]).await;
    let board = flow.apply().await;
    assert!(
        board.freeze.is_some() && flow.effects().is_empty(),
        "{:?} {:?} {:?}",
        board.freeze,
        flow.effects(),
        board.diagnostics
    );
}

#[tokio::test(start_paused = true)]
async fn apply_waits_for_all_waves_of_a_wide_update() {
    let apps = |version: &str| -> Vec<(String, String)> {
        (0..12).map(|i| format!("a{i}")).map(|name| (path(&name), app(&name, version))).collect()
    };
    let (v1, v2) = (apps("v1"), apps("v2"));
    let lend = |apps: &[(String, String)]| apps.iter().map(|(p, t)| (p.clone(), t.clone())).collect::<Vec<_>>();
    let mut flow = untouched(&lend(&v1).iter().map(|(p, t)| (p.as_str(), t.as_str())).collect::<Vec<_>>()).await;
    flow.apply().await;
    // The bakes of the first are not waited for by an apply; those that later waves need are.
    flow.elapse(60).await;
    flow.apply().await;
    flow.commit(&lend(&v2).iter().map(|(p, t)| (p.as_str(), t.as_str())).collect::<Vec<_>>()).await;
    let board = flow.apply().await;
    assert_eq!(board.revision.as_ref().map(|r| r.state.word()), Some("applied"));
    assert!((0..12).all(|i| flow.serving(&format!("a{i}")) == ["v2"]));
    flow.check();
}
