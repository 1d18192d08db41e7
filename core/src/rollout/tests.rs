//! Rollouts in the simulator: what a user would notice of each.

mod checks;
mod places;
mod ports;
mod versions;

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
    assert!(passed.plan.changes.is_empty() && world.memory.resources[&app("shop")].last_good.is_none());
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
fn what_is_scaled_down_is_told_to_end_and_not_to_follow() {
    let mut world = deployed(&[version("shop", "info", 4), version("other", "x", 1)]);
    let passed = world.pass(&desired([version("shop", "info", 1), version("other", "x", 1)]), &revision(2));
    assert_eq!(status(&passed, "shop").2, "4 instances run instead of 1; the others end");
    let passed = world.settle(&desired([version("shop", "info", 3), version("other", "x", 1)]), &revision(3));
    assert_eq!(status(&passed, "shop").2, "");
    let passed = world.pass(&desired([version("shop", "info", 4), version("other", "x", 1)]), &revision(4));
    assert_eq!(status(&passed, "shop").2, "3 of 4 instances are as declared; the rest follow");
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
fn a_failure_of_the_future_keeps_nothing_from_being_tried() {
    let mut world = World::new();
    let want = desired([version("shop", "info", 1)]);
    let memory = world.remembered(&app("shop"));
    // The clock was two hours ahead, and was set right.
    (memory.failures, memory.error) = (1, Some("no such file".to_owned()));
    memory.failed_at = Some("2026-11-20T12:00:00Z".parse().unwrap());
    memory.retry_at = Some("2026-11-20T12:00:01Z".parse().unwrap());
    assert!(!world.pass(&want, &revision(1)).looks[&app("shop")].steps.is_empty());
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
