//! Whether a new version is good: what its instances come to within its bake, and what follows.

use super::*;

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

#[test]
fn what_starts_says_what_its_check_last_answered() {
    let (mut world, want, _) = baking();
    let instance = &mut world.object("local", "shop").instances[0];
    instance.health = InstanceHealth::Starting;
    instance.why = Some("GET /healthz answered 503".to_owned());
    let id = instance.id.clone();
    let passed = world.pass(&want, &revision(2));
    let (_, health, why) = status(&passed, "shop");
    assert_eq!(health, Health::Progressing);
    assert_eq!(why, format!("0 of 1 instances healthy, waiting for the rest; {id}: GET /healthz answered 503"));
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
    let ends =
        [(InstanceHealth::CrashLoop, "signal 9; it is started again in 4 s"), (InstanceHealth::Unhealthy, "signal 9")];
    for (health, why) in ends {
        let instance = &mut world.object("local", "shop").instances[0];
        (instance.health, instance.restarts, instance.why) = (health, 9, Some(why.to_owned()));
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
