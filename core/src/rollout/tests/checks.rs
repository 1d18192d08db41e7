//! What judges instances changes under them, with no new instance: in the simulator, what a user would notice.

use std::sync::Arc;

use jiff::SignedDuration;
use serde_json::json;

use crate::model::{AppSpec, Health, InstanceHealth, OnFailure, Port, Protocol, Resource, Sync};
use crate::plan::sim::{World, app, desired, resource, revision, status};
use crate::rollout::{Finding, Next};

const WRONG: &str = "/wrong";

/// Two instances, checked at this path.
fn checked(path: &str) -> Arc<Resource> {
    checked_with(path, |_| ())
}

fn checked_with(path: &str, change: impl FnOnce(&mut AppSpec)) -> Arc<Resource> {
    resource("shop", |spec| {
        spec.replicas = 2;
        let check =
            json!({"probe": {"http": path}, "interval": "1s", "timeout": "1s", "startTimeout": "9s", "failures": 3});
        spec.health = Some(serde_json::from_value(check).unwrap());
        change(spec);
    })
}

/// A world in which this is deployed and baked.
fn deployed(shop: &Arc<Resource>) -> World {
    let mut world = World::new();
    world.bad_paths.insert(WRONG.to_owned());
    world.settle(&desired([Arc::clone(shop)]), &revision(1));
    world.history.clear();
    world.least.clear();
    world
}

fn words(world: &World) -> Vec<&'static str> {
    world.history.iter().map(|(_, word)| *word).collect()
}

fn last_good(world: &World) -> Arc<Resource> {
    Arc::clone(&world.memory.resources[&app("shop")].last_good.as_ref().unwrap().resource)
}

fn pins(world: &World) -> usize {
    world.memory.resources[&app("shop")].pins.len()
}

#[test]
fn a_new_check_is_the_last_good_one_after_its_bake_and_not_before() {
    let (old, new) = (checked("/healthz"), checked("/ready"));
    assert_eq!(old.template_digest, new.template_digest);
    let mut world = deployed(&old);
    let want = desired([Arc::clone(&new)]);
    let told = world.pass(&want, &revision(2));
    let (sync, _, why) = status(&told, "shop");
    assert_eq!(sync, Sync::OutOfSync);
    assert!(why.contains("its instances stay as they are"), "{why}");
    let asked = world.pass(&want, &revision(2));
    let (_, health, why) = status(&asked, "shop");
    assert_eq!(health, Health::Progressing, "nobody has passed it yet");
    assert!(why.starts_with("on trial under its new check: 0 of 2 instances have passed it by "), "{why}");
    let late = world.now.checked_add(SignedDuration::from_secs(9)).unwrap();
    assert_eq!(asked.looks[&app("shop")].wake, Some(late), "the new check has its whole start timeout");
    world.tick(1);
    let passed = world.pass(&want, &revision(2));
    let (sync, health, why) = status(&passed, "shop");
    assert_eq!((sync, health, last_good(&world)), (Sync::Synced, Health::Healthy, old));
    assert!(why.starts_with("baking until ") && why.ends_with(" under its new check"), "{why}");
    world.settle(&want, &revision(2));
    assert_eq!((words(&world), last_good(&world)), (vec!["configure"], new));
    assert_eq!(world.least[&app("shop")], 2);
}

#[test]
fn a_wrong_check_goes_back_and_is_pinned_and_no_instance_is_ended() {
    let (good, wrong) = (checked("/healthz"), checked(WRONG));
    let mut world = deployed(&good);
    let before = world.object("local", "shop").instances.iter().map(|i| i.id.clone()).collect::<Vec<_>>();
    let want = desired([Arc::clone(&wrong)]);
    let passed = world.settle(&want, &revision(2));
    let (sync, health, why) = status(&passed, "shop");
    assert_eq!((sync, health), (Sync::Held, Health::Healthy));
    assert!(
        why.starts_with("rolled back to its last good manifest") && why.contains("; check pinned: instance "),
        "{why}"
    );
    assert!(why.ends_with("commit a fix or `Codeops-Retry: app/shop`"), "{why}");
    assert!(passed.plan.changes.is_empty() && passed.plan.kept.contains_key(&app("shop")));
    assert_eq!((words(&world), last_good(&world), pins(&world)), (vec!["configure", "configure"], good, 1));
    let live = world.object("local", "shop");
    assert_eq!(live.instances.iter().map(|i| i.id.clone()).collect::<Vec<_>>(), before);
    assert_eq!(world.least[&app("shop")], 2);

    // Neither time nor another commit tries it again; a retry does, once, and then again it goes back.
    world.tick(3_600);
    world.settle(&desired([Arc::clone(&wrong), resource("other", |_| ())]), &revision(3));
    assert_eq!(world.history.iter().filter(|(id, _)| *id == app("shop")).count(), 2);
    let now = world.now;
    let memory = world.remembered(&app("shop"));
    memory.pins.clear();
    memory.retried_at = Some(now);
    world.tick(1);
    world.history.clear();
    let passed = world.settle(&want_with_other(&wrong), &revision(4));
    assert_eq!(status(&passed, "shop").0, Sync::Held);
    assert_eq!((words(&world), pins(&world)), (vec!["configure", "configure"], 1));

    // A fix is tried at once, also one that does not fix it, and restarts nothing.
    for (path, sync) in [("/wrong-too", Sync::Held), ("/ready", Sync::Synced)] {
        world.bad_paths.insert("/wrong-too".to_owned());
        world.tick(1);
        let passed = world.settle(&want_with_other(&checked(path)), &revision(5));
        assert_eq!(status(&passed, "shop").0, sync, "{path}");
    }
    assert!(words(&world).iter().all(|word| *word == "configure"), "{:?}", words(&world));
    assert_eq!((last_good(&world), world.least[&app("shop")]), (checked("/ready"), 2));
}

fn want_with_other(shop: &Arc<Resource>) -> crate::desired::Desired {
    desired([Arc::clone(shop), resource("other", |_| ())])
}

#[test]
fn what_was_wrong_before_a_new_check_does_not_condemn_it() {
    let mut world = deployed(&checked("/healthz"));
    for instance in &mut world.object("local", "shop").instances {
        (instance.health, instance.restarts) = (InstanceHealth::Unhealthy, 9);
    }
    let mended = checked("/ready");
    let passed = world.settle(&desired([Arc::clone(&mended)]), &revision(2));
    assert_eq!((status(&passed, "shop").0, status(&passed, "shop").1), (Sync::Synced, Health::Healthy));
    assert_eq!((words(&world), last_good(&world), pins(&world)), (vec!["configure"], mended, 0));

    // An end is not the check's doing: it is not baked while that lasts, and nothing is pinned.
    world.object("local", "shop").instances[0].health = InstanceHealth::CrashLoop;
    let passed = world.settle(&desired([checked("/healthz")]), &revision(3));
    assert_eq!((status(&passed, "shop").0, status(&passed, "shop").1), (Sync::Synced, Health::Degraded));
    assert_eq!((last_good(&world), pins(&world)), (checked("/ready"), 0));
}

#[test]
fn a_wrong_check_within_another_bake_goes_back_to_what_was_good_before_both() {
    let version = |log: &str, path: &str| checked_with(path, |spec| drop(spec.env.insert("LOG".into(), log.into())));
    let good = version("info", "/healthz");
    let mut world = deployed(&good);
    let before = world.essence();
    let first = desired([version("debug", "/healthz")]);
    for _ in 0..8 {
        world.pass(&first, &revision(2));
        world.tick(1);
    }
    assert!(world.object("local", "shop").instances.iter().all(|i| i.template != good.template_digest));
    let passed = world.settle(&desired([version("debug", WRONG)]), &revision(3));
    assert_eq!((status(&passed, "shop").0, status(&passed, "shop").1), (Sync::Held, Health::Healthy));
    assert_eq!((world.essence(), last_good(&world)), (before, good.clone()));
    assert_eq!(world.least[&app("shop")], 2);

    // And the other way round: the next version comes while a wrong check is still being tried.
    let next = version("trace", "/healthz");
    world.pass(&desired([version("info", WRONG)]), &revision(4));
    world.tick(1);
    assert!(world.object("local", "shop").instances.iter().all(|i| i.on_trial));
    let passed = world.settle(&desired([Arc::clone(&next)]), &revision(5));
    assert_eq!((status(&passed, "shop").0, status(&passed, "shop").1), (Sync::Synced, Health::Healthy));
    assert_eq!((last_good(&world), world.least[&app("shop")]), (next, 2));
}

#[test]
fn a_wrong_check_that_says_pause_stays_and_everything_serves() {
    let pause = |path: &str| checked_with(path, |spec| spec.rollout.on_failure = OnFailure::Pause);
    let mut world = deployed(&pause("/healthz"));
    let passed = world.settle(&desired([pause(WRONG)]), &revision(2));
    assert_eq!((status(&passed, "shop").0, status(&passed, "shop").1), (Sync::Held, Health::Degraded));
    assert_eq!((words(&world), world.least[&app("shop")]), (vec!["configure"], 2));
    let why = status(&passed, "shop").2;
    assert!(why.starts_with("check pinned, and its manifest says pause: instance "), "{why}");
    // A right one is told, and that is all that is done.
    world.tick(1);
    let passed = world.settle(&desired([pause("/ready")]), &revision(3));
    assert_eq!((status(&passed, "shop").0, status(&passed, "shop").1), (Sync::Synced, Health::Healthy));
    assert_eq!((words(&world), world.least[&app("shop")]), (vec!["configure", "configure"], 2));
}

#[test]
fn a_changed_protocol_bakes_too_and_what_only_moves_the_app_does_not() {
    let at = |number, protocol| checked_with("/healthz", |spec| spec.port = Some(Port { number, protocol }));
    let old = at(80, Protocol::Http);
    let mut world = deployed(&old);
    let look = |world: &mut World, shop: &Arc<Resource>| -> Next {
        let want = desired([Arc::clone(shop)]);
        world.pass(&want, &revision(2));
        world.tick(1);
        world.pass(&want, &revision(2)).looks[&app("shop")].clone()
    };
    let moved = at(81, Protocol::Http);
    assert_eq!(look(&mut world, &moved).finding, Some(Finding::Baked(moved)));
    let bakes = look(&mut world, &at(81, Protocol::Tcp));
    assert!(bakes.finding.is_none() && bakes.why.is_some_and(|why| why.starts_with("baking until ")));
}

#[test]
fn of_what_is_too_much_the_one_that_serves_on_trial_stays() {
    let mut world = deployed(&checked("/healthz"));
    let one = checked_with("/healthz", |spec| spec.replicas = 1);
    let instances = &mut world.object("local", "shop").instances;
    (instances[0].health, instances[0].on_trial) = (InstanceHealth::Unhealthy, true);
    instances[1].health = InstanceHealth::Starting;
    let serves = instances[0].id.clone();
    world.pass(&desired([one]), &revision(2));
    world.tick(1);
    let left: Vec<_> = world.object("local", "shop").instances.iter().map(|i| i.id.clone()).collect();
    assert_eq!((words(&world), left), (vec!["configure", "stop"], vec![serves]));
}

#[test]
fn a_version_that_ends_is_taken_back_though_a_newer_change_in_place_is_yet_to_be_told() {
    let version = |log: &str, path: &str| checked_with(path, |spec| drop(spec.env.insert("LOG".into(), log.into())));
    let ends = [(InstanceHealth::CrashLoop, 0), (InstanceHealth::Starting, 1), (InstanceHealth::Unhealthy, 1)];
    for (health, restarts) in ends.into_iter().chain([(InstanceHealth::Unhealthy, 0)]) {
        let mut world = deployed(&version("info", "/healthz"));
        world.pass(&desired([version("debug", "/healthz")]), &revision(2));
        let new = world.object("local", "shop").instances.iter_mut().max_by_key(|i| i.created_at).unwrap();
        (new.health, new.restarts) = (health, restarts);
        let passed = world.pass(&desired([version("debug", "/ready")]), &revision(3));
        let failed = matches!(passed.looks[&app("shop")].finding, Some(Finding::Failed { .. }));
        // What the check before found says nothing of the next.
        assert_eq!(failed, health == InstanceHealth::CrashLoop || restarts > 0, "{health:?} after {restarts}");
    }
}
