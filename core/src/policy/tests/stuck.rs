//! Promises about wide updates of which something is stuck: what cannot be applied lets the rest wait, and keeps no fix waiting.

use std::collections::BTreeSet;

use jiff::SignedDuration;

use crate::desired::Desired;
use crate::model::{Aim, InstanceHealth, Revision};
use crate::plan::sim::{World, app, resource, revision};
use crate::policy::Decision;

use super::waves::is_newest;
use super::{apps, deployed, held, ids, want};

/// Its steps at `aim` have failed for more than a minute.
fn stick(world: &mut World, id: &str, aim: Option<Aim>) {
    let now = world.now;
    let stuck = world.remembered(&app(id));
    (stuck.failures, stuck.missed, stuck.error) = (7, aim, Some("its artifact is not there".to_owned()));
    (stuck.failing_since, stuck.failed_at) = (Some(now - SignedDuration::from_secs(63)), Some(now));
}

/// Looks at a wide update and lets none of it begin.
fn look_at(world: &mut World, wide: &Desired, revision: &Revision) {
    world.fuse = Some(0);
    world.pass(wide, revision);
    world.fuse = None;
}

#[test]
fn what_cannot_be_applied_lets_a_wide_update_wait_which_goes_on_with_it_once_it_can() {
    let mut world = deployed(&apps(8, "info"));
    let wide = want(apps(8, "debug"));
    look_at(&mut world, &wide, &revision(2));
    stick(&mut world, "app-00", None);
    let passed = world.pass(&wide, &revision(2));
    let Decision::Waiting { why, until: None } = &passed.judged.decisions[&app("app-05")] else { panic!() };
    assert!(why.contains("goes on by itself once app/app-00 can be applied") && why.contains("commit"), "{why}");
    assert!(why.ends_with("its artifact is not there"), "{why}");
    assert_eq!(passed.judged.decisions[&app("app-00")], Decision::Go, "it is tried again");
    assert_eq!((held(&passed), passed.judged.stuck), (0, BTreeSet::from([app("app-00")])));
    world.settle(&wide, &revision(2));
    assert!(is_newest(&mut world, &apps(8, "debug")));
}

#[test]
fn three_quick_failures_stop_nothing() {
    let mut world = deployed(&apps(8, "info"));
    let wide = want(apps(8, "debug"));
    look_at(&mut world, &wide, &revision(2));
    stick(&mut world, "app-00", None);
    let failing = world.remembered(&app("app-00"));
    (failing.failures, failing.failing_since) = (3, failing.failed_at);
    let passed = world.pass(&wide, &revision(2));
    let Decision::Waiting { why, .. } = &passed.judged.decisions[&app("app-05")] else { panic!() };
    assert!(why.ends_with("waiting for app/app-00 to finish the bake"), "{why}");
    assert!(passed.judged.stuck.is_empty());
}

#[test]
fn several_that_are_stuck_go_in_waves_like_any_others() {
    let mut world = deployed(&apps(8, "info"));
    look_at(&mut world, &want(apps(8, "debug")), &revision(2));
    ids(8).iter().for_each(|id| stick(&mut world, id, None));
    for wide in [want(apps(8, "debug")), want(apps(8, "fixed"))] {
        let passed = world.clone().pass(&wide, &revision(3));
        let going = passed.judged.decisions.values().filter(|d| matches!(d, Decision::Go)).count();
        assert_eq!((going, passed.applied.iter().all(|step| step.resource == app("app-00"))), (1, true));
    }
}

#[test]
fn what_failed_of_another_version_or_waits_for_the_fix_keeps_no_fix_waiting() {
    let eight = |log: &str| {
        let one = |id: &String| {
            resource(id, |spec| {
                spec.env.insert("LOG".to_owned(), log.to_owned());
                spec.after = (id == "app-01").then(|| app("app-00")).into_iter().collect();
            })
        };
        ids(8).iter().map(one).collect::<Vec<_>>()
    };
    let mut world = deployed(&eight("info"));
    look_at(&mut world, &want(eight("debug")), &revision(2));
    stick(&mut world, "app-01", Some(Aim::Spec(eight("debug")[1].spec_digest.clone())));
    for instance in &mut world.object("local", "app-00").instances {
        instance.health = InstanceHealth::Unhealthy;
    }
    // What it waits for alone, while it would fail again as it is; and all of it.
    let mut one = eight("debug");
    one.splice(..1, eight("fixed").into_iter().take(1));
    for fix in [one, eight("fixed")] {
        let mut world = world.clone();
        let first = world.pass(&want(fix.iter().cloned()), &revision(3));
        assert_eq!(first.judged.decisions[&app("app-00")], Decision::Go);
        world.settle(&want(fix.iter().cloned()), &revision(3));
        assert!(is_newest(&mut world, &fix));
    }
}
