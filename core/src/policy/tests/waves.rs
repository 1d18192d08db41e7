//! Promises about wide updates: in waves, each team's own by themselves, and none waits for ever.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::{ProptestConfig, any, prop, prop_assert, proptest};

use crate::desired::Desired;
use crate::model::{Aim, ChangedBy, InstanceHealth, Port, Protocol, Resource, ResourceId};
use crate::plan::Plan;
use crate::plan::sim::{World, app, digested, name, resource, revision};
use crate::policy::{Decision, Facts, Judged, as_before};

use super::{apps, deployed, held, ids, judged, of_team, renew, versioned, want, want_of};

#[test]
fn wide_update_goes_one_then_a_tenth_then_the_rest() {
    let mut world = deployed(&apps(30, "info"));
    let wide = want(apps(30, "debug"));
    let mut sizes: Vec<usize> = Vec::new();
    let mut seen: BTreeSet<ResourceId> = BTreeSet::new();
    for _ in 0..500 {
        let passed = world.pass(&wide, &revision(2));
        let begun: BTreeSet<ResourceId> = passed.applied.iter().map(|step| step.resource.clone()).collect();
        let fresh = begun.difference(&seen).count();
        if fresh > 0 {
            sizes.push(fresh);
        }
        seen.extend(begun);
        if world.memory.waves.is_none() {
            break;
        }
        assert_eq!(world.memory.waves.as_ref().unwrap().members.len(), 30);
        world.tick(1);
    }
    assert_eq!((sizes, world.memory.waves.as_ref()), (vec![1, 3, 26], None));
}

/// What waits its turn is kept up as it was, and a playbook acts on that: it carries nothing past its wave.
#[test]
fn what_waits_its_turn_stands_as_it_was_and_is_renewed_as_that() {
    let mut world = deployed(&apps(12, "info"));
    let (wide, id) = (want(apps(12, "debug")), app("app-05"));
    world.pass(&wide, &revision(2));
    world.tick(1);
    renew(&mut world, "app-05");
    let passed = world.pass(&wide, &revision(2));
    assert!(matches!(passed.judged.decisions[&id], Decision::Waiting { .. }), "{:?}", passed.judged.decisions[&id]);
    assert!(passed.applied.iter().all(|step| step.resource != id), "{:?}", passed.applied);
    let (plan, judged) = judged(&world, &wide, None);
    let before = stand_as_before(&world, &plan, &judged, &wide);
    let old = versioned("app-05", "info");
    assert_eq!(before[&id].spec_digest, old.spec_digest);
    assert!(before.len() == 11 && !before.contains_key(&app("app-00")), "what has its turn does not: {before:?}");
    let mut standing = wide.clone();
    standing.resources.insert(id.clone(), old.clone());
    let renewed_at = world.remembered(&id).renewal.as_ref().unwrap().at;
    for _ in 0..6 {
        world.pass(&standing, &revision(2));
        world.tick(1);
    }
    let live = world.object("local", "app-05");
    assert!(live.instances.len() == 1 && live.instances[0].template == old.template_digest);
    assert!(live.instances[0].created_at >= renewed_at, "it was renewed: {live:?}");
}

/// A version that stopped its wide update comes to no other app by way of a playbook that restarts that.
#[test]
fn a_restart_carries_no_version_past_the_failure_that_stopped_its_waves() {
    let mut world = deployed(&apps(12, "info"));
    let broken = apps(12, "broken");
    world.bad.insert(broken[0].template_digest.clone(), InstanceHealth::CrashLoop);
    let wide = want(broken.iter().cloned());
    world.settle(&wide, &revision(2));
    renew(&mut world, "app-05");
    let passed = world.pass(&wide, &revision(2));
    assert!(matches!(passed.judged.decisions[&app("app-05")], Decision::Held { .. }));
    assert!(passed.applied.is_empty(), "{:?}", passed.applied);
    let before = stand_as_before(&world, &passed.plan, &passed.judged, &wide);
    assert_eq!(before.len(), 11, "what went back is no such");
}

/// What was tried and failed is on its way: it is not what it was before.
#[test]
fn what_is_tried_again_does_not_stand_as_it_was() {
    let mut world = deployed(&apps(2, "info"));
    let new = want(apps(2, "debug"));
    let missed = new.resources[&app("app-01")].spec_digest.clone();
    let now = world.now;
    let memory = world.remembered(&app("app-01"));
    (memory.failures, memory.missed, memory.failed_at) = (1, Some(Aim::Spec(missed)), Some(now));
    memory.retry_at = now.checked_add(jiff::SignedDuration::from_secs(30)).ok();
    let (plan, judged) = judged(&world, &new, None);
    assert!(matches!(judged.decisions[&app("app-01")], Decision::Waiting { .. }));
    assert!(stand_as_before(&world, &plan, &judged, &new).is_empty());
}

/// The value that a secret had is nobody's any more: no action brings the new one before its turn.
#[test]
fn what_waits_for_another_value_of_a_secret_does_not_stand_as_it_was() {
    let rotated = |value: &str| {
        let one = |it: &Arc<Resource>| {
            let mut it = it.as_ref().clone();
            it.secret_tags.insert("TOKEN".to_owned(), value.to_owned());
            digested(it)
        };
        want(apps(12, "info").iter().map(one))
    };
    let mut world = World::new();
    world.settle(&rotated("one"), &revision(1));
    let passed = world.pass(&rotated("two"), &revision(2));
    assert!(matches!(passed.judged.decisions[&app("app-05")], Decision::Waiting { .. }));
    assert!(stand_as_before(&world, &passed.plan, &passed.judged, &rotated("two")).is_empty());
}

fn stand_as_before(
    world: &World,
    plan: &Plan,
    judged: &Judged,
    desired: &Desired,
) -> BTreeMap<ResourceId, Arc<Resource>> {
    let (snapshot, revision) = (world.snapshot(), revision(2));
    let facts = Facts { now: world.now, memory: &world.memory, snapshot: &snapshot, revision: &revision, freeze: None };
    as_before(plan, judged, desired, &facts)
}

#[test]
fn what_others_made_makes_no_update_of_ours_less_wide() {
    let mut world = deployed(&apps(8, "info"));
    let theirs = world.object("local", "app-00").clone();
    for n in 0..60 {
        let mut other = theirs.clone();
        if let Some(stamp) = &mut other.stamp {
            stamp.owner = "others/prod".parse().unwrap();
        }
        world.live.get_mut(&name("local")).unwrap().insert(app(&format!("other{n:02}")), other);
    }
    let passed = world.pass(&want(apps(8, "debug")), &revision(2));
    let going = passed.judged.decisions.values().filter(|d| matches!(d, Decision::Go)).count();
    assert_eq!(going, 1, "one first");
}

#[test]
fn wide_update_stops_at_the_first_failure_even_across_an_unrelated_commit() {
    let mut world = deployed(&apps(12, "info"));
    let before = world.essence();
    let broken = apps(12, "broken");
    world.bad.insert(broken[0].template_digest.clone(), InstanceHealth::CrashLoop);
    for revision in [revision(2), revision(3)] {
        let passed = world.settle(&want(broken.iter().cloned()), &revision);
        assert_eq!((held(&passed), world.essence()), (11, before.clone()));
        assert!(world.history.iter().all(|(id, _)| *id == app("app-00")));
        let Decision::Held { why, release, .. } = &passed.judged.decisions[&app("app-05")] else { panic!() };
        assert!(why.starts_with("stopped: app/app-00 failed"), "{why}");
        assert!(release.ends_with("`Codeops-Retry: app/app-00`"));
    }
    world.settle(&want(apps(12, "fixed")), &revision(4));
    let newest: Vec<_> = apps(12, "fixed").iter().map(|r| r.spec_digest.clone()).collect();
    assert!(
        ids(12).iter().zip(newest).all(|(id, spec)| world.object("local", id).stamp.as_ref().unwrap().spec == spec)
    );
}

#[test]
fn an_unrelated_commit_in_the_middle_of_a_wide_update_hurries_nothing() {
    let mut world = deployed(&apps(12, "info"));
    let mut resources = apps(12, "debug");
    world.pass(&want(resources.iter().cloned()), &revision(2));
    world.tick(1);
    resources.push(versioned("unrelated", "x"));
    let passed = world.pass(&want(resources.iter().cloned()), &revision(3));
    let waiting = passed.judged.decisions.values().filter(|d| matches!(d, Decision::Waiting { .. })).count();
    let touched: BTreeSet<_> = world.history.iter().map(|(id, _)| id.clone()).collect();
    assert_eq!((waiting, touched), (11, BTreeSet::from([app("app-00"), app("unrelated")])));
    world.settle(&want(resources), &revision(3));
    assert!(world.memory.waves.is_none() && world.essence().len() == 13);
}

#[test]
fn a_wide_update_follows_dependencies_so_that_no_wave_waits_for_a_later_one() {
    let chain = |n: usize, replicas: u32| {
        resource(&format!("app-{n}"), |spec| {
            spec.replicas = replicas;
            spec.after = (n < 5).then(|| app(&format!("app-{}", n + 1))).into_iter().collect();
        })
    };
    let mut world = deployed(&(0..6).map(|n| chain(n, 0)).collect::<Vec<_>>());
    world.settle(&want((0..6).map(|n| chain(n, 1))), &revision(2));
    assert!(world.memory.waves.is_none());
    assert!((0..6).all(|n| world.object("local", &format!("app-{n}")).instances.len() == 1));
}

#[test]
fn a_member_that_the_next_revision_makes_wait_for_another_does_not_go_before_it() {
    let one = |id: &str, log: &str, replicas: u32, after: &[&str]| {
        resource(id, |spec| {
            spec.env.insert("LOG".to_owned(), log.to_owned());
            spec.replicas = replicas;
            spec.after = after.iter().map(|id| app(id)).collect();
        })
    };
    let three = |log: &str| [one("app-1", log, 0, &[]), one("app-2", log, 1, &[]), one("app-3", log, 1, &[])];
    let mut world = deployed(&three("info"));
    let wide = three("debug");
    world.fuse = Some(0);
    world.pass(&want(wide), &revision(2));
    assert!(world.memory.waves.is_some(), "a wide update that has not begun");
    world.fuse = None;
    // Of its members one is now to be gone, after the one that is no longer the first.
    let next = [one("app-1", "debug", 1, &[]), one("app-2", "info", 0, &["app-1"]), one("app-3", "info", 1, &[])];
    world.settle(&want(next), &revision(3));
    assert!(world.memory.waves.is_none());
    assert_eq!(["app-1", "app-2", "app-3"].map(|id| world.object("local", id).instances.len()), [1, 0, 1]);
}

#[test]
fn a_silent_provider_holds_up_no_wave_of_the_others_and_comes_after_them() {
    let on = |n: usize, provider: &str, log: &str| {
        resource(&format!("app-{n:02}"), |spec| {
            spec.provider = name(provider);
            spec.env.insert("LOG".to_owned(), log.to_owned());
        })
    };
    // The first of all, and with it the whole first wave, is on the provider that falls silent halfway.
    let all = |log: &str| (0..12).map(|n| on(n, if n < 4 { "edge" } else { "local" }, log)).collect::<Vec<_>>();
    let mut world = deployed(&all("info"));
    let wide = want(all("debug"));
    world.pass(&wide, &revision(2));
    assert!(world.history.iter().all(|(id, _)| *id == app("app-00")), "one first");
    world.history.clear();
    world.down.insert(name("edge"));
    world.tick(1);
    let passed = world.pass(&wide, &revision(2));
    let going = passed.judged.decisions.values().filter(|decision| matches!(decision, Decision::Go)).count();
    assert_eq!((going, passed.judged.decisions.len()), (1, 8), "the others go on, and one of them is first again");
    let Decision::Waiting { why, .. } = &passed.judged.decisions[&app("app-11")] else { panic!() };
    assert_eq!(why, "its wave comes later: 1 of 8 may change now, waiting for app/app-04 to finish the bake");
    world.settle(&wide, &revision(2));
    let newest = |world: &mut World, n: usize, provider: &str| {
        world.object(provider, &format!("app-{n:02}")).stamp.as_ref().map(|stamp| stamp.spec.clone())
            == Some(on(n, provider, "debug").spec_digest.clone())
    };
    assert!((4..12).all(|n| newest(&mut world, n, "local")));
    assert!((1..4).all(|n| !newest(&mut world, n, "edge")), "nothing is done to what is silent");
    world.down.clear();
    world.settle(&wide, &revision(2));
    assert!((0..4).all(|n| newest(&mut world, n, "edge")) && world.memory.waves.is_none());
}

#[test]
fn a_narrow_update_goes_at_once() {
    let mut world = deployed(&apps(12, "info"));
    let mut some = apps(12, "info");
    some.splice(..3, apps(3, "debug"));
    world.pass(&want(some), &revision(2));
    assert_eq!(world.history.iter().map(|(id, _)| id).collect::<BTreeSet<_>>().len(), 3);
}

/// The same apps with another value of `LOG`.
fn logging(apps: &[Arc<Resource>], log: &str) -> Vec<Arc<Resource>> {
    let one = |app: &Arc<Resource>| {
        let mut app = Resource::clone(app);
        app.spec.env.insert("LOG".to_owned(), log.to_owned());
        digested(app)
    };
    apps.iter().map(one).collect()
}

/// The same apps with another value of this secret, changed by no manifest.
fn keyed(apps: &[Arc<Resource>], secret: &str, value: &str) -> Vec<Arc<Resource>> {
    let one = |app: &Arc<Resource>| {
        let mut app = Resource::clone(app);
        app.spec.secrets.insert("API_KEY".to_owned(), secret.parse().unwrap());
        let tag = format!("{value} of {}", app.id); // Or all would be of one template, and fail together.
        app.secret_tags.insert("API_KEY".to_owned(), tag);
        digested(app)
    };
    apps.iter().map(one).collect()
}

pub(super) fn is_newest(world: &mut World, apps: &[Arc<Resource>]) -> bool {
    apps.iter().all(|app| {
        let live = world.object("local", app.id.name.as_str());
        live.stamp.as_ref().is_some_and(|stamp| stamp.spec == app.spec_digest)
    })
}

fn of_both(a: &[Arc<Resource>], b: &[Arc<Resource>]) -> Desired {
    want_of(&["a", "b"], a.iter().chain(b).cloned())
}

#[test]
fn what_one_team_changes_holds_up_no_other_whether_it_fails_or_bakes() {
    let (a, b) = (logging(&of_team("a", 8), "info"), logging(&of_team("b", 8), "info"));
    let mut world = deployed(&a.iter().chain(&b).cloned().collect::<Vec<_>>());
    let broken = logging(&b, "broken");
    for app in &broken {
        world.bad.insert(app.template_digest.clone(), InstanceHealth::CrashLoop);
    }
    // In one revision with a single change of the other's: that one goes at once.
    let mut one = a.clone();
    one.splice(..1, logging(&a[..1], "debug"));
    world.pass(&of_both(&one, &broken), &revision(2));
    let touched: BTreeSet<_> = world.history.iter().map(|(id, _)| id.clone()).collect();
    assert_eq!(touched, BTreeSet::from([app("a-00"), app("b-00")]), "a's own one, and the first of b's");
    let passed = world.settle(&of_both(&one, &broken), &revision(2));
    assert_eq!(held(&passed), 7, "b's, after the first");
    assert!(is_newest(&mut world, &one) && world.memory.waves.as_ref().is_some_and(|waves| waves.own.len() == 1));
    // A wide one of its own, while the other's stands still.
    let all = logging(&a, "trace");
    world.history.clear();
    world.pass(&of_both(&all, &broken), &revision(3));
    assert_eq!(
        world.history.iter().map(|(id, _)| id.clone()).collect::<BTreeSet<_>>(),
        [app("a-00")].into(),
        "in waves"
    );
    let passed = world.settle(&of_both(&all, &broken), &revision(3));
    assert!(is_newest(&mut world, &all) && held(&passed) == 7);
}

#[test]
fn what_changes_all_teams_from_outside_goes_in_waves_over_all_and_a_teams_own_change_goes_without_it() {
    let (a, b) = (keyed(&of_team("a", 8), "shared", "one"), keyed(&of_team("b", 8), "shared", "one"));
    let mut world = deployed(&a.iter().chain(&b).cloned().collect::<Vec<_>>());
    let (mut a, b) = (keyed(&a, "shared", "two"), keyed(&b, "shared", "two"));
    world.bad.insert(a[0].template_digest.clone(), InstanceHealth::CrashLoop);
    let passed = world.settle(&of_both(&a, &b), &revision(2));
    assert_eq!(held(&passed), 15, "all but the first");
    let Decision::Held { release, .. } = &passed.judged.decisions[&app("b-03")] else { panic!() };
    assert_eq!(
        release,
        "a change of its own manifest goes without it; or the team `a` commits a fix, or tries again with \
         `Codeops-Retry: app/a-00`"
    );
    let mut fixed = b.clone();
    fixed.splice(3..4, logging(&b[3..4], "debug"));
    world.settle(&of_both(&a, &fixed), &revision(3));
    assert!(is_newest(&mut world, &fixed[3..4]) && !is_newest(&mut world, &fixed[4..5]));
    a.splice(..1, logging(&a[..1], "fixed"));
    world.settle(&of_both(&a, &fixed), &revision(4));
    assert!(is_newest(&mut world, &a) && is_newest(&mut world, &fixed) && world.memory.waves.is_none());
}

#[test]
fn what_one_commit_changes_of_several_teams_goes_in_waves_over_all_until_a_teams_own_commit_takes_it_out() {
    let names = ["a", "b", "c", "d", "e", "f"];
    let all = |log: &str| names.iter().flat_map(|team| logging(&of_team(team, 2), log)).collect::<Vec<_>>();
    let mut world = deployed(&all("info"));
    let broken = all("broken");
    for app in &broken {
        world.remembered(&app.id).changed_by = Some(ChangedBy::Several);
    }
    world.bad.insert(broken[0].template_digest.clone(), InstanceHealth::CrashLoop);
    let passed = world.settle(&want_of(&names, broken.iter().cloned()), &revision(2));
    assert_eq!(held(&passed), 11, "all but the first");
    assert!(world.history.iter().all(|(id, _)| *id == app("a-00")));
    // Its own commit takes one team's out, and nothing else.
    let mut own = broken.clone();
    own.splice(2..4, logging(&of_team("b", 2), "own"));
    for app in &own[2..4] {
        world.remembered(&app.id).changed_by = Some(ChangedBy::Team);
    }
    let passed = world.settle(&want_of(&names, own.iter().cloned()), &revision(3));
    assert_eq!(held(&passed), 9);
    assert!(is_newest(&mut world, &own[2..4]));
}

#[test]
fn a_new_value_of_a_secret_that_one_team_has_alone_waits_for_no_other_team() {
    let (a, b) = (keyed(&of_team("a", 8), "of-a", "one"), keyed(&of_team("b", 8), "of-b", "one"));
    let mut world = deployed(&a.iter().chain(&b).cloned().collect::<Vec<_>>());
    let a = keyed(&a, "of-a", "two");
    world.bad.insert(a[0].template_digest.clone(), InstanceHealth::CrashLoop);
    assert_eq!(held(&world.settle(&of_both(&a, &b), &revision(2))), 7);
    let mut one = b.clone();
    one.splice(..1, keyed(&b[..1], "of-b", "leaked"));
    world.settle(&of_both(&a, &one), &revision(3));
    assert!(is_newest(&mut world, &one));
}

#[test]
fn who_waits_for_another_keeps_no_wave_waiting_and_comes_after_it() {
    let (base, mut a) = (of_team("b", 1), of_team("a", 8));
    let mut first = Resource::clone(&a[0]);
    first.spec.after = vec![base[0].id.clone()];
    a[0] = digested(first);
    let mut world = deployed(&a.iter().chain(&base).cloned().collect::<Vec<_>>());
    for instance in &mut world.object("local", "b-00").instances {
        instance.health = InstanceHealth::Unhealthy;
    }
    world.bad.insert(base[0].template_digest.clone(), InstanceHealth::Unhealthy);
    let all = logging(&a, "debug");
    let passed = world.settle(&of_both(&all, &base), &revision(2));
    let Decision::Waiting { why, .. } = &passed.judged.decisions[&app("a-00")] else { panic!() };
    assert_eq!(why, "waits for app/b-00 to be healthy (it is Degraded)");
    assert!(is_newest(&mut world, &all[1..]), "the others");
    world.bad.clear();
    for instance in &mut world.object("local", "b-00").instances {
        instance.health = InstanceHealth::Healthy;
    }
    world.settle(&of_both(&all, &base), &revision(2));
    assert!(is_newest(&mut world, &all) && world.memory.waves.is_none());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn no_wide_update_waits_for_ever(
        teams in prop::collection::vec(0..3_u8, 12), after in prop::collection::vec((0..12_usize, 0..12_usize), 0..20),
        first in prop::collection::vec(0..2_u32, 12), second in prop::collection::vec(0..2_u32, 12), apart in any::<bool>(),
        passes in 0..8_usize, own in prop::collection::vec(any::<bool>(), 12),
    ) {
        let all = |replicas: &[u32], log: &str, tag: &str| {
            let one = |n: usize| {
                let mut one = Resource::clone(&resource(&format!("app-{n:02}"), |spec| {
                    spec.replicas = replicas[n];
                    spec.env.insert("LOG".to_owned(), if own[n] { log.to_owned() } else { "same".to_owned() });
                    let of = |(dependent, on): &(usize, usize)| (*dependent == n && on < dependent).then_some(*on);
                    let on: BTreeSet<_> = after.iter().filter_map(of).collect();
                    spec.after = on.into_iter().map(|on| app(&format!("app-{on:02}"))).collect();
                }));
                one.team = name(&format!("team-{}", teams[n]));
                one.spec.secrets.insert("API_KEY".to_owned(), "shared".parse().unwrap());
                one.secret_tags.insert("API_KEY".to_owned(), tag.to_owned());
                digested(one)
            };
            let teams: &[&str] = if apart { &["team-0", "team-1", "team-2"] } else { &[] };
            want_of(teams, (0..12).map(one))
        };
        // None is scaled away: that would be a removal.
        let second: Vec<u32> = first.iter().zip(&second).map(|(first, second)| *first.max(second)).collect();
        let mut world = World::new();
        world.settle(&all(&first, "one", "one"), &revision(1));
        // Overtaken on its way.
        for _ in 0..passes {
            world.pass(&all(&second, "two", "one"), &revision(2));
            world.tick(1);
        }
        let last = all(&second, "two", "two");
        world.settle(&last, &revision(3));
        let newest = |app: &Arc<Resource>, world: &mut World| is_newest(world, std::slice::from_ref(app));
        prop_assert!(last.resources.values().all(|app| newest(app, &mut world)), "{:?}", world.memory.waves);
        prop_assert!(world.memory.waves.is_none());
    }
}

#[test]
fn what_leaves_a_port_to_one_that_goes_now_goes_with_it() {
    let at = |ports: [u16; 3]| {
        let ported = |(n, port): (usize, u16)| {
            resource(&format!("app-{n:02}"), |spec| spec.port = Some(Port { number: port, protocol: Protocol::Tcp }))
        };
        let others = (3..9).map(|n| versioned(&format!("app-{n:02}"), if ports[0] == 1 { "info" } else { "debug" }));
        ports.into_iter().enumerate().map(ported).chain(others).collect::<Vec<_>>()
    };
    let mut world = deployed(&at([1, 2, 3]));
    let passed = world.pass(&want(at([2, 3, 1])), &revision(2));
    let goes = |n: usize| matches!(passed.judged.decisions[&app(&format!("app-{n:02}"))], Decision::Go);
    assert!((0..3).all(goes) && !(3..9).any(goes), "{:?}", passed.judged.decisions);
}
