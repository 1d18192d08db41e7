//! A commit changes only what judges an app's instances. It bakes like a new version, and a wrong one goes back.

use codeops_core::model::{Health, RevisionState, Sync};

use codeops::journal::Record;

use crate::support::flow::{Flow, app_with, id, path};

/// `app/a` at this version with its check at this path.
fn checked(version: &str, at: &str) -> String {
    app_with("a", version, "", &format!("port: 8080, health: {{http: {at}}}, "))
}

async fn running() -> Flow {
    let mut flow = Flow::new().await;
    flow.begin(&[("b", "v1")]).await;
    flow.commit(&[(&path("a"), &checked("v1", "/healthz"))]).await;
    flow.settle().await;
    flow
}

/// The paths that became the last good ones, oldest first.
fn baked(flow: &Flow) -> Vec<String> {
    flow.records(|record| match record {
        Record::Baked { resource, good, .. } if *resource == id("a") => {
            let check = serde_json::to_value(&good.resource.spec.health).expect("a check");
            check["probe"]["http"].as_str().map(str::to_owned)
        }
        _ => None,
    })
}

/// The path that is asked for now.
fn asked(flow: &Flow) -> String {
    let spec = flow.live("a").and_then(|live| live.spec).expect("it lives");
    let check = serde_json::to_value(&spec.health).expect("a check");
    check["probe"]["http"].as_str().expect("a path").to_owned()
}

#[tokio::test(start_paused = true)]
async fn a_new_check_is_good_only_after_its_bake() {
    let mut flow = running().await;
    flow.commit(&[(&path("a"), &checked("v1", "/ready"))]).await;
    flow.elapse(5).await;
    assert_eq!((asked(&flow).as_str(), baked(&flow)), ("/ready", vec!["/healthz".to_owned()]));
    assert!(flow.why("a").starts_with("baking until "), "{}", flow.why("a"));
    assert_eq!(flow.revision_state(), RevisionState::Applying.word());
    flow.settle().await;
    assert_eq!((baked(&flow), flow.revision_state()), (vec!["/healthz".to_owned(), "/ready".to_owned()], "applied"));
    flow.check();
}

#[tokio::test(start_paused = true)]
async fn a_wrong_check_goes_back_once_and_is_pinned_and_nothing_restarts() {
    let mut flow = running().await;
    let before = flow.instances("a");
    flow.commit(&[(&path("a"), &checked("v1", "/wrong"))]).await;
    flow.settle().await;
    assert_eq!((flow.status("a"), asked(&flow).as_str()), ((Sync::Held, Health::Healthy), "/healthz"));
    let why = flow.why("a");
    assert!(why.contains("new check: it answered 404") && why.contains("Codeops-Retry: app/a"), "{why}");
    assert!(why.contains("check pinned: "), "{why}");
    assert_eq!((flow.view("a").pins.len(), flow.revision_state()), (1, "partial"));
    assert!(flow.view("a").pins.values().all(|pin| pin.check_only));
    let tried = flow.effects().len();

    // Neither time, nor a restart, nor another commit tries it again; the trailer does, once.
    flow.elapse(3_600).await;
    flow.restart().await;
    flow.change(&[("b", "v2")]).await;
    flow.settle().await;
    let of_a = |flow: &Flow| flow.effects().iter().filter(|effect| effect.ends_with(" a")).count();
    assert_eq!(of_a(&flow), 4, "created, started, configured twice: {:?}", flow.effects());
    assert!(flow.effects().len() > tried);
    flow.commit_with(&[("README.md", "y")], &[("Codeops-Retry", "app/a")]).await;
    flow.settle().await;
    assert_eq!((of_a(&flow), flow.view("a").pins.len()), (6, 1));
    assert_eq!((asked(&flow).as_str(), flow.status("a")), ("/healthz", (Sync::Held, Health::Healthy)));

    // A fix goes through, and all the while it is the same instance.
    flow.commit(&[(&path("a"), &checked("v1", "/ready"))]).await;
    flow.settle().await;
    assert_eq!((flow.status("a"), flow.revision_state()), ((Sync::Synced, Health::Healthy), "applied"));
    assert_eq!((baked(&flow), flow.instances("a")), (vec!["/healthz".to_owned(), "/ready".to_owned()], before));
    flow.check();
}

#[tokio::test(start_paused = true)]
async fn a_daemon_that_is_restarted_in_the_bake_of_a_check_takes_it_back_too() {
    for wrong in [true, false] {
        let mut flow = running().await;
        let before = flow.instances("a");
        let at = if wrong { "/wrong" } else { "/ready" };
        flow.commit(&[(&path("a"), &checked("v1", at))]).await;
        flow.elapse(2).await;
        assert_eq!(asked(&flow), at);
        flow.restart().await;
        flow.elapse(3).await;
        assert_eq!(baked(&flow), ["/healthz"], "the bake goes on");
        flow.settle().await;
        let expected = if wrong { (Sync::Held, "/healthz") } else { (Sync::Synced, "/ready") };
        assert_eq!((flow.status("a").0, asked(&flow).as_str(), flow.instances("a")), (expected.0, expected.1, before));
        flow.check();
    }
}

#[tokio::test(start_paused = true)]
async fn a_wrong_check_within_the_bake_of_a_new_version_goes_back_to_the_version_before() {
    let mut flow = running().await;
    flow.commit(&[(&path("a"), &checked("v2", "/healthz"))]).await;
    flow.elapse(4).await;
    assert_eq!(flow.serving("a"), ["v2"], "half through its bake");
    flow.commit(&[(&path("a"), &checked("v2", "/wrong"))]).await;
    flow.settle().await;
    assert_eq!((flow.serving("a"), asked(&flow).as_str()), (vec!["v1".to_owned()], "/healthz"));
    assert_eq!((flow.status("a"), baked(&flow).len()), ((Sync::Held, Health::Healthy), 1));
    flow.check();
}

#[tokio::test(start_paused = true)]
async fn who_only_observes_takes_no_check_back_until_it_may_act_again() {
    let mut flow = running().await;
    flow.commit(&[(&path("a"), &checked("v1", "/wrong"))]).await;
    flow.elapse(2).await;
    flow.rules.observe = true;
    flow.restart().await;
    flow.settle().await;
    let effects = flow.effects();
    assert_eq!((asked(&flow).as_str(), flow.status("a").1), ("/wrong", Health::Degraded));
    assert!(flow.why("a").contains("does not pass its new check"), "{}", flow.why("a"));
    assert!(flow.records(|record| matches!(record, Record::Pinned { .. }).then_some(())).is_empty());
    assert_eq!(flow.effects(), effects);
    flow.rules.observe = false;
    flow.restart().await;
    flow.settle().await;
    assert_eq!((asked(&flow).as_str(), flow.status("a")), ("/healthz", (Sync::Held, Health::Healthy)));
    flow.check();
}

#[tokio::test(start_paused = true)]
async fn a_changed_default_check_goes_in_waves_and_stops_at_the_first_app_it_is_wrong_for() {
    let names: Vec<String> = (1..=8).map(|n| format!("a{n}")).collect();
    let all = |at: &str| -> Vec<(String, String)> {
        let app = |(n, name): (u16, &String)| {
            let spec = format!("port: {}, health: {{http: {at}}}, ", 8_000 + n);
            (path(name), app_with(name, "v1", "", &spec))
        };
        (1..).zip(&names).map(app).collect()
    };
    let mut flow = Flow::new().await;
    flow.begin(&[]).await;
    for at in ["/healthz", "/wrong"] {
        let all = all(at);
        let all: Vec<(&str, &str)> = all.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
        flow.commit(&all).await;
        flow.settle().await;
    }
    let tried = flow.effects().iter().filter(|effect| effect.starts_with("configure")).count();
    assert_eq!(tried, 2, "one app, there and back: {:?}", flow.effects());
    for name in &names {
        assert_eq!((name, flow.status(name)), (name, (Sync::Held, Health::Healthy)), "{}", flow.why(name));
    }
    let pinned = names.iter().filter(|name| !flow.view(name).pins.is_empty()).count();
    assert_eq!(pinned, 1, "the others are not tried");
    flow.check();
}
