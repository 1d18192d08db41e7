//! Where an app lives: another id, another provider, a port that is not to be had, and on its way out.

use super::*;

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
fn what_is_on_its_way_out_is_no_failure_though_little_of_it_is_left() {
    let mut world = World::new();
    let (going, staying) = (resource("going", |spec| spec.replicas = 2), resource("staying", |_| {}));
    world.settle(&desired([going, Arc::clone(&staying)]), &revision(1));
    let live = world.object("local", "going");
    live.leaves = true;
    live.instances.truncate(1);
    let passed = world.pass(&desired([staying]), &revision(2));
    let look = &passed.looks[&app("going")];
    assert_eq!((look.sync, look.health), (Sync::OutOfSync, Health::Progressing), "{:?}", look.why);
}
