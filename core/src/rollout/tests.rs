//! Rollouts in the simulator: what a user would notice of each.

use std::sync::Arc;

use serde_json::json;

use crate::model::{
    AppSpec, Cause, FieldDrift, Health, InstanceHealth, InstanceState, OnFailure, Period, Release, Resource, Strategy,
    Sync, Verb, due,
};
use crate::plan::sim::{World, app, desired, digested, name, resource, revision, status};

fn version(id: &str, log: &str, replicas: u32) -> Arc<Resource> {
    resource(id, |spec| {
        spec.replicas = replicas;
        spec.env.insert("LOG".to_owned(), log.to_owned());
    })
}

/// A world in which this is deployed and baked.
fn deployed(resources: &[Arc<Resource>]) -> World {
    let mut world = World::new();
    world.settle(&desired(resources.iter().cloned()), &revision(1));
    world.history.clear();
    world.least.clear();
    world
}

fn words(world: &World) -> Vec<&'static str> {
    world.history.iter().map(|(_, word)| *word).collect()
}

#[test]
fn a_first_deploy_is_made_whole_at_once_and_becomes_the_last_good_after_its_bake() {
    let mut world = World::new();
    let shop = version("shop", "info", 2);
    let want = desired([Arc::clone(&shop)]);
    world.pass(&want, &revision(1));
    assert_eq!(words(&world), ["create", "start", "start"]);
    world.tick(1);
    let passed = world.pass(&want, &revision(1));
    assert_eq!(status(&passed, "shop"), (Sync::Synced, Health::Healthy, "baking until 10:00:31 UTC".to_owned()));
    assert!(passed.plan.changes.is_empty() && world.memory.resources.is_empty());
    let passed = world.settle(&want, &revision(1));
    assert_eq!(status(&passed, "shop"), (Sync::Synced, Health::Healthy, String::new()));
    assert_eq!(world.memory.resources[&app("shop")].last_good.as_ref().unwrap().resource, shop);
}

#[test]
fn rolling_never_has_fewer_than_declared() {
    let mut world = deployed(&[version("shop", "info", 3)]);
    world.settle(&desired([version("shop", "debug", 3)]), &revision(2));
    assert_eq!(world.least[&app("shop")], 3);
    assert_eq!(words(&world), ["configure", "start", "stop", "start", "stop", "start", "stop"]);
}

#[test]
fn without_surge_unavailable_makes_the_room() {
    let spec = |log: &str| {
        resource("shop", |spec| {
            spec.replicas = 3;
            spec.env.insert("LOG".to_owned(), log.to_owned());
            (spec.rollout.surge, spec.rollout.unavailable) = (0, 1);
        })
    };
    let mut world = deployed(&[spec("info")]);
    world.settle(&desired([spec("debug")]), &revision(2));
    assert_eq!(world.least[&app("shop")], 2);
    assert_eq!(words(&world), ["configure", "stop", "start", "stop", "start", "stop", "start"]);
}

#[test]
fn recreate_starts_nothing_before_the_old_are_gone() {
    let spec = |log: &str| {
        resource("shop", |spec| {
            spec.replicas = 2;
            spec.env.insert("LOG".to_owned(), log.to_owned());
            spec.rollout.strategy = Strategy::Recreate;
        })
    };
    let mut world = deployed(&[spec("info")]);
    let want = desired([spec("debug")]);
    world.pass(&want, &revision(2));
    world.pass(&want, &revision(2));
    assert_eq!(words(&world), ["configure", "stop", "stop"], "old ones are still ending");
    world.settle(&want, &revision(2));
    assert_eq!(words(&world)[3..], ["start", "start"]);
}

#[test]
fn new_version_bad_goes_back_to_last_good_and_is_pinned_until_a_fix() {
    for kind in [InstanceHealth::CrashLoop, InstanceHealth::Unhealthy] {
        let (good, bad) = (version("shop", "info", 2), version("shop", "broken", 2));
        let mut world = deployed(&[Arc::clone(&good)]);
        let before = world.essence();
        world.bad.insert(bad.template_digest.clone(), kind);
        let passed = world.settle(&desired([Arc::clone(&bad)]), &revision(2));
        let (sync, health, why) = status(&passed, "shop");
        assert_eq!((sync, health), (Sync::Held, Health::Healthy));
        assert!(
            why.starts_with("rolled back to ") && why.ends_with("commit a fix or `Codeops-Retry: app/shop`"),
            "{why}"
        );
        assert!(why.contains("exited with status 1"), "{why}");
        assert_eq!((world.essence(), world.least[&app("shop")]), (before, 2));
        assert!(passed.plan.changes.is_empty() && passed.plan.kept.contains_key(&app("shop")));
        // An unrelated commit does not try it again; a fix does.
        let steps = world.history.len();
        world.settle(&desired([bad, version("other", "x", 1)]), &revision(3));
        assert!(world.history[steps..].iter().all(|(id, _)| *id == app("other")));
        let passed = world.settle(&desired([version("shop", "fixed", 2)]), &revision(4));
        assert_eq!(status(&passed, "shop").0, Sync::Synced);
    }
}

#[test]
fn an_exit_inside_the_bake_goes_back() {
    let (mut world, want, next) = baking();
    world.object("local", "shop").instances[0].restarts = 1;
    let passed = world.settle(&want, &revision(2));
    assert_eq!(status(&passed, "shop").0, Sync::Held);
    assert!(world.memory.resources[&app("shop")].pins.contains_key(&next.template_digest));
}

/// An app whose next version has begun its bake.
fn baking() -> (World, crate::desired::Desired, Arc<Resource>) {
    let (good, next) = (version("shop", "info", 1), version("shop", "debug", 1));
    let mut world = deployed(&[good]);
    let want = desired([Arc::clone(&next)]);
    while world.object("local", "shop").instances.iter().any(|i| i.template != next.template_digest) {
        world.pass(&want, &revision(2));
        world.tick(1);
    }
    (world, want, next)
}

#[test]
fn an_end_that_is_not_its_own_begins_the_bake_again_and_pins_nothing() {
    let (mut world, want, next) = baking();
    world.tick(20);
    let instance = &mut world.object("local", "shop").instances[0];
    (instance.losses, instance.health) = (1, InstanceHealth::Starting);
    world.tick(1);
    let passed = world.pass(&want, &revision(2));
    assert_eq!(
        status(&passed, "shop").2,
        format!("baking until {}", due(world.now, Period::from_secs(30).after(world.now)))
    );
    let passed = world.settle(&want, &revision(2));
    assert_eq!(status(&passed, "shop").0, Sync::Synced);
    let memory = &world.memory.resources[&app("shop")];
    assert_eq!((memory.pins.len(), &memory.last_good.as_ref().unwrap().resource), (0, &next));
}

#[test]
fn what_waits_for_its_secrets_too_long_is_degraded_and_pins_nothing() {
    let (mut world, want, _) = baking();
    let instance = &mut world.object("local", "shop").instances[0];
    (instance.health, instance.state) = (InstanceHealth::Unhealthy, InstanceState::Backoff);
    instance.why = Some("waits for its secrets".to_owned());
    let passed = world.settle(&want, &revision(2));
    let (sync, health, why) = status(&passed, "shop");
    assert_eq!((sync, health), (Sync::Synced, Health::Degraded));
    assert!(why.ends_with("does not run: it waits for its secrets"), "{why}");
    assert!(world.memory.resources[&app("shop")].pins.is_empty());
}

#[test]
fn without_a_last_good_nothing_is_deleted_and_it_is_degraded() {
    let bad = version("shop", "broken", 2);
    let mut world = World::new();
    world.bad.insert(bad.template_digest.clone(), InstanceHealth::CrashLoop);
    let want = desired([bad]);
    let passed = world.settle(&want, &revision(1));
    let (sync, health, why) = status(&passed, "shop");
    assert_eq!((sync, health), (Sync::Held, Health::Degraded));
    assert!(why.contains("no last good"), "{why}");
    assert_eq!(words(&world), ["create", "start", "start"]);
    // What failed is not tried again, not even where an instance of it vanishes.
    world.object("local", "shop").instances.pop();
    let passed = world.pass(&want, &revision(1));
    assert_eq!((passed.plan.changes.len(), words(&world).len()), (0, 3));
}

#[test]
fn what_failed_is_tried_again_when_its_check_or_release_is_mended_and_not_for_anything_else() {
    type Mend = fn(&mut AppSpec);
    let release: Mend = |spec| {
        spec.release = Some(Release { command: vec!["true".to_owned()], timeout: Period::from_secs(1) });
    };
    let check: Mend = |spec| {
        let health = json!({"probe": {"command": ["true"]}, "interval": "1s", "timeout": "1s", "startTimeout": "1s", "failures": 1});
        spec.health = Some(serde_json::from_value(health).unwrap());
    };
    let other: Mend = |spec| spec.rollout.surge = 2;
    for has_good in [true, false] {
        for (mend, again) in [(release, true), (check, true), (other, false)] {
            let bad = version("shop", "broken", 2);
            let mut world = if has_good { deployed(&[version("shop", "info", 2)]) } else { World::new() };
            world.bad.insert(bad.template_digest.clone(), InstanceHealth::Unhealthy);
            let passed = world.settle(&desired([Arc::clone(&bad)]), &revision(2));
            assert_eq!(status(&passed, "shop").0, Sync::Held);
            let mut mended = Resource::clone(&bad);
            mend(&mut mended.spec);
            let mended = digested(mended);
            assert_eq!(mended.template_digest, bad.template_digest);
            world.bad.clear();
            let passed = world.settle(&desired([Arc::clone(&mended)]), &revision(3));
            let expected = if again { (Sync::Synced, Health::Healthy) } else { (Sync::Held, Health::Degraded) };
            let (sync, health, why) = status(&passed, "shop");
            assert!(sync == expected.0 && (health == expected.1 || has_good), "{sync:?} {health:?} {why}");
        }
    }
}

#[test]
fn pause_leaves_it_as_it_is() {
    let paused = |log: &str| {
        let mut spec = version("shop", log, 2).as_ref().clone();
        spec.spec.rollout.on_failure = OnFailure::Pause;
        digested(spec)
    };
    let bad = paused("broken");
    let mut world = deployed(&[paused("info")]);
    world.bad.insert(bad.template_digest.clone(), InstanceHealth::CrashLoop);
    let passed = world.settle(&desired([bad]), &revision(2));
    assert_eq!((status(&passed, "shop").0, status(&passed, "shop").1), (Sync::Held, Health::Degraded));
    assert_eq!((words(&world), world.least[&app("shop")]), (vec!["configure", "start"], 2));
}

#[test]
fn a_crash_long_after_the_bake_pins_nothing() {
    let shop = version("shop", "info", 2);
    let mut world = deployed(&[Arc::clone(&shop)]);
    let mut told = Vec::new();
    for health in [InstanceHealth::CrashLoop, InstanceHealth::Unhealthy] {
        let instance = &mut world.object("local", "shop").instances[0];
        (instance.health, instance.restarts, instance.why) = (health, 9, Some("signal 9".to_owned()));
        let passed = world.settle(&desired([Arc::clone(&shop)]), &revision(1));
        let (sync, health, why) = status(&passed, "shop");
        assert_eq!((sync, health), (Sync::Synced, Health::Degraded));
        told.push(why);
    }
    assert!(told[0].ends_with("signal 9; it is started again with a growing delay"), "{told:?}");
    assert!(!told[1].contains("started again") && told[1].contains("only a playbook or a commit"), "{told:?}");
    assert!(world.memory.resources[&app("shop")].pins.is_empty() && world.history.is_empty());
}

#[test]
fn a_newer_commit_overtakes_and_the_superseded_one_never_becomes_last_good() {
    let (first, newest) = (version("shop", "debug", 3), version("shop", "trace", 3));
    let mut world = deployed(&[version("shop", "info", 3)]);
    world.pass(&desired([Arc::clone(&first)]), &revision(2));
    world.tick(1);
    world.pass(&desired([first]), &revision(2));
    world.settle(&desired([Arc::clone(&newest)]), &revision(3));
    let memory = &world.memory.resources[&app("shop")];
    assert_eq!(memory.last_good.as_ref().unwrap().resource, newest);
    assert_eq!((memory.pins.len(), world.least[&app("shop")]), (0, 3));
}

#[test]
fn an_in_place_change_restarts_nothing_and_refreshes_the_last_good() {
    let mut world = deployed(&[version("shop", "info", 2)]);
    let more = version("shop", "info", 3);
    world.settle(&desired([Arc::clone(&more)]), &revision(2));
    assert_eq!(words(&world), ["configure", "start"]);
    assert_eq!(world.memory.resources[&app("shop")].last_good.as_ref().unwrap().resource, more);
    world.settle(&desired([version("shop", "info", 1)]), &revision(3));
    assert_eq!(words(&world)[2..], ["configure", "stop", "stop"]);
    let left: Vec<u32> = world.object("local", "shop").instances.iter().map(|i| i.id.ordinal()).collect();
    assert_eq!(left, [1], "the newest go first");
}

#[test]
fn scaling_to_zero_keeps_the_object_and_comes_back() {
    let mut world = deployed(&[version("shop", "info", 2), version("other", "x", 1)]);
    let other = version("other", "x", 1);
    let passed = world.settle(&desired([version("shop", "info", 0), Arc::clone(&other)]), &revision(2));
    assert_eq!(status(&passed, "shop"), (Sync::Synced, Health::Healthy, String::new()));
    assert!(world.object("local", "shop").instances.is_empty());
    world.settle(&desired([version("shop", "info", 2), other]), &revision(3));
    assert_eq!(world.object("local", "shop").instances.len(), 2);
}

#[test]
fn a_release_runs_once_per_template_before_its_first_instance_and_not_on_the_way_back() {
    let released = |log: &str| {
        let mut spec = version("shop", log, 2).as_ref().clone();
        let release = serde_json::json!({"command": ["./app", "migrate"], "timeout": "5m"});
        spec.spec.release = Some(serde_json::from_value(release).unwrap());
        digested(spec)
    };
    let mut world = World::new();
    world.settle(&desired([released("info")]), &revision(1));
    assert_eq!(words(&world), ["create", "release", "start", "start"]);
    world.history.clear();
    let bad = released("broken");
    world.bad.insert(bad.template_digest.clone(), InstanceHealth::CrashLoop);
    world.settle(&desired([bad]), &revision(2));
    assert_eq!(words(&world), ["configure", "release", "start", "configure", "stop"]);
}

#[test]
fn a_killed_instance_that_vanished_is_repaired_as_drift() {
    let shop = version("shop", "info", 2);
    let mut world = deployed(&[Arc::clone(&shop)]);
    world.object("local", "shop").instances.pop();
    let passed = world.pass(&desired([shop]), &revision(1));
    assert_eq!(passed.plan.changes[0].verb, Verb::Repair);
    assert!(matches!(&passed.plan.changes[0].cause, Cause::Drift { what } if what == "1 of 2 instances are there"));
    assert_eq!(words(&world), ["start"]);
}

#[test]
fn a_rename_keeps_instances_and_memory() {
    let mut world = deployed(&[version("shop", "info", 2)]);
    let mut store = version("store", "info", 2).as_ref().clone();
    store.was = vec![app("shop")];
    let passed = world.settle(&desired([Arc::new(store)]), &revision(2));
    assert_eq!(words(&world), ["rename"]);
    assert_eq!(status(&passed, "store").0, Sync::Synced);
    assert!(world.memory.resources[&app("store")].last_good.is_some());
}

#[test]
fn a_move_works_there_before_it_ends_here() {
    let moved = |log: &str| {
        resource("shop", |spec| {
            spec.provider = name("edge");
            spec.env.insert("LOG".to_owned(), log.to_owned());
        })
    };
    let mut world = deployed(&[version("shop", "info", 1), version("other", "x", 1)]);
    let other = version("other", "x", 1);
    world.settle(&desired([moved("info"), Arc::clone(&other)]), &revision(2));
    assert_eq!((words(&world), world.least[&app("shop")]), (vec!["create", "start", "delete"], 1));

    // A bad one there: what is here was never touched, and what was made there is taken away.
    let mut world = deployed(&[version("shop", "info", 1), Arc::clone(&other)]);
    world.bad.insert(moved("broken").template_digest.clone(), InstanceHealth::CrashLoop);
    let before = world.essence();
    let passed = world.settle(&desired([moved("broken"), other]), &revision(2));
    assert_eq!(status(&passed, "shop").0, Sync::Held);
    assert_eq!((world.essence(), world.least[&app("shop")]), (before, 1));
}

/// A port of 8080 that the provider cannot have and waits for.
fn port_held() -> FieldDrift {
    let (expected, found) = (8080.into(), serde_json::Value::Null);
    let waits = Some("port 8080 is held by another process".to_owned());
    FieldDrift { field: "port.number".to_owned(), expected, found, waits }
}

#[test]
fn what_the_provider_waits_for_is_told_and_no_step_is_repeated_for_it() {
    let shop = version("shop", "info", 1);
    let mut world = deployed(&[Arc::clone(&shop)]);
    world.object("local", "shop").drift = vec![port_held()];
    let passed = world.settle(&desired([Arc::clone(&shop)]), &revision(1));
    let (sync, health, why) = status(&passed, "shop");
    assert_eq!((sync, health, words(&world)), (Sync::OutOfSync, Health::Degraded, vec![]));
    assert!(why.starts_with("port 8080 is held by another process"), "{why}");
    assert!(passed.plan.changes[0].cause.to_string().ends_with("port 8080 is held by another process"));
    // The rest of it goes on.
    let passed = world.settle(&desired([version("shop", "debug", 1)]), &revision(2));
    assert_eq!(words(&world), ["configure", "start", "stop"]);
    assert_eq!(status(&passed, "shop").1, Health::Healthy, "the simulator's configure puts it right");
}

#[test]
fn a_move_ends_though_both_places_want_one_port() {
    let moved = resource("shop", |spec| {
        spec.provider = name("edge");
        spec.env.insert("LOG".to_owned(), "info".to_owned());
    });
    let other = version("other", "x", 1);
    let mut world = deployed(&[version("shop", "info", 1), Arc::clone(&other)]);
    let want = desired([moved, other]);
    world.pass(&want, &revision(2));
    world.object("edge", "shop").drift = vec![port_held()];
    world.settle(&want, &revision(2));
    assert_eq!((words(&world), world.least[&app("shop")]), (vec!["create", "start", "delete"], 1));
}

#[test]
fn what_is_being_removed_is_as_well_as_it_is() {
    let (shop, other) = (version("shop", "info", 1), version("other", "x", 1));
    let mut world = deployed(&[shop, Arc::clone(&other)]);
    for health in [InstanceHealth::Healthy, InstanceHealth::CrashLoop] {
        world.object("local", "shop").instances[0].health = health;
        let look = world.clone().pass(&desired([Arc::clone(&other)]), &revision(2)).looks[&app("shop")].health;
        assert_eq!(look == Health::Healthy, health == InstanceHealth::Healthy, "{look}");
    }
    world.object("local", "shop").instances.clear();
    let look = world.pass(&desired([other]), &revision(2)).looks[&app("shop")].health;
    assert_eq!(look, Health::Degraded, "wanted and not there");
}

#[test]
fn nothing_is_tried_before_its_time() {
    let mut world = World::new();
    let want = desired([version("shop", "info", 1)]);
    let at = "2026-11-20T10:00:40Z".parse().unwrap();
    let memory = world.remembered(&app("shop"));
    (memory.retry_at, memory.error) = (Some(at), Some("no such file".to_owned()));
    let passed = world.pass(&want, &revision(1));
    let look = &passed.looks[&app("shop")];
    assert_eq!((look.steps.len(), look.wake), (0, Some(at)));
    assert_eq!(look.why.as_deref(), Some("no such file; tried again at 10:00:40 UTC"));
    world.settle(&want, &revision(1));
    assert_eq!(words(&world), ["create", "start"]);
}

#[test]
fn suspended_means_nothing_is_done() {
    let mut world = deployed(&[version("shop", "info", 2)]);
    let mut off = version("shop", "debug", 2).as_ref().clone();
    off.spec.suspend = true;
    world.object("local", "shop").instances.pop();
    let passed = world.settle(&desired([digested(off)]), &revision(2));
    assert_eq!(status(&passed, "shop").0, Sync::Suspended);
    assert!(world.history.is_empty());
}

#[test]
fn a_retry_starts_another_instance_than_the_one_that_failed() {
    let shop = version("shop", "info", 1);
    let mut world = World::new();
    world.bad.insert(shop.template_digest.clone(), InstanceHealth::CrashLoop);
    let want = desired([shop]);
    world.settle(&want, &revision(1));
    world.bad.clear();
    world.tick(1);
    let now = world.now;
    let memory = world.remembered(&app("shop"));
    memory.pins.clear();
    memory.retried_at = Some(now);
    let passed = world.settle(&want, &revision(2));
    assert_eq!((status(&passed, "shop").0, status(&passed, "shop").1), (Sync::Synced, Health::Healthy));
    assert_eq!(words(&world), ["create", "start", "stop", "start"]);
    assert!(world.memory.resources[&app("shop")].last_good.is_some());
}

#[test]
fn a_crashing_app_can_be_scaled_to_nothing() {
    for before in [vec![], vec![version("shop", "info", 2)]] {
        let mut world = deployed(&before);
        let bad = version("shop", "broken", 2);
        world.bad.insert(bad.template_digest.clone(), InstanceHealth::CrashLoop);
        let want = desired([bad]);
        world.pass(&want, &revision(2));
        world.tick(1);
        // The commit comes before anything was judged.
        let passed = world.settle(&desired([version("shop", "broken", 0)]), &revision(3));
        assert_eq!(status(&passed, "shop").0, Sync::Synced);
        assert!(world.object("local", "shop").instances.is_empty());
        assert!(passed.looks.values().all(|look| look.finding.is_none() && look.steps.is_empty()));
    }
}
