//! A freeze that comes while a playbook acts: what has begun comes to its end, and nothing else starts.

use std::sync::Arc;

use crate::config::{Freeze, FreezeWhat};
use crate::desired::Desired;
use crate::model::{InstanceHealth, Resource};
use crate::plan::sim::{World, app, resource, revision};
use crate::policy::Decision;

use super::{deployed, renew, want};

fn frozen(resources: impl IntoIterator<Item = Arc<Resource>>) -> Desired {
    let mut desired = want(resources);
    desired.repository.freeze = Some(Freeze { what: FreezeWhat::All, reason: "bad night".to_owned(), until: None });
    desired
}

fn of(replicas: u32) -> Arc<Resource> {
    resource("app-00", |spec| spec.replicas = replicas)
}

fn passes(world: &mut World, desired: &Desired, count: usize) {
    for _ in 0..count {
        world.pass(desired, &revision(2));
        world.tick(1);
    }
}

#[test]
fn a_restart_that_has_begun_comes_to_its_end_in_a_freeze() {
    let mut world = deployed(&[of(3)]);
    renew(&mut world, "app-00");
    let at = world.now;
    passes(&mut world, &want([of(3)]), 1);
    assert_eq!(world.object("local", "app-00").instances.len(), 4, "one has begun beside the three");
    passes(&mut world, &frozen([of(3)]), 12);
    let live = world.object("local", "app-00");
    assert!(live.instances.len() == 3 && live.instances.iter().all(|it| it.created_at >= at), "{live:?}");
}

/// What does not work makes way first: what was taken away is brought back, frozen or not, until the run is over.
#[test]
fn what_an_action_took_away_is_brought_back_in_a_freeze_and_nothing_else_is() {
    let mut world = deployed(&[of(1)]);
    let now = world.now;
    world.object("local", "app-00").instances[0].fail("down".to_owned(), false, now);
    assert_eq!(world.object("local", "app-00").instances[0].health, InstanceHealth::Unhealthy);
    renew(&mut world, "app-00");
    let at = world.now;
    world.object("local", "app-00").instances.clear();
    passes(&mut world, &frozen([of(1)]), 3);
    let live = world.object("local", "app-00");
    assert!(live.instances.len() == 1 && live.instances[0].created_at >= at, "{live:?}");
    live.instances.clear();
    world.remembered(&app("app-00")).renewal.as_mut().unwrap().over = true;
    passes(&mut world, &frozen([of(1)]), 3);
    assert!(world.object("local", "app-00").instances.is_empty());
}

/// What a commit brings is no part of an action, whatever that has begun.
#[test]
fn a_commit_goes_no_further_in_a_freeze_for_an_action_that_is_on() {
    let mut world = deployed(&[of(3)]);
    let new = || {
        resource("app-00", |spec| {
            spec.replicas = 3;
            spec.env.insert("LOG".to_owned(), "debug".to_owned());
        })
    };
    renew(&mut world, "app-00");
    for mixed in [false, true] {
        if mixed {
            passes(&mut world, &want([new()]), 1);
        }
        let before = world.history.len();
        let passed = world.pass(&frozen([new()]), &revision(3));
        assert!(matches!(passed.judged.decisions[&app("app-00")], Decision::Waiting { .. }));
        assert_eq!(world.history.len(), before, "nothing goes on, though it has begun: {mixed}");
    }
}
