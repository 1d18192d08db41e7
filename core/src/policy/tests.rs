//! Promises about what may go, each in the simulator as a user would meet it.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Decision, Facts, Judged, judge, permit, render};
use crate::config::{BlastRadius, Freeze, FreezeWhat};
use crate::desired::Desired;
use crate::model::{HoldId, InstanceHealth, Op, Resource, ResourceId, SystemId, Verb};
use crate::plan::sim::{Passed, World, app, desired, digested, name, owner, resource, revision};
use crate::plan::{Plan, plan};

fn ids(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("app-{n:02}")).collect()
}

fn apps(count: usize, log: &str) -> Vec<Arc<Resource>> {
    ids(count).iter().map(|id| versioned(id, log)).collect()
}

fn versioned(id: &str, log: &str) -> Arc<Resource> {
    resource(id, |spec| {
        spec.env.insert("LOG".to_owned(), log.to_owned());
    })
}

fn deployed(resources: &[Arc<Resource>]) -> World {
    let mut world = World::new();
    world.settle(&want(resources.iter().cloned()), &revision(1));
    world.history.clear();
    world.memory.revision.blast_percent = Some(25);
    world
}

fn want(resources: impl IntoIterator<Item = Arc<Resource>>) -> Desired {
    desired(resources)
}

fn judged(world: &World, desired: &Desired, freeze: Option<&Freeze>) -> (Plan, Judged) {
    let (snapshot, revision) = (world.snapshot(), revision(2));
    let facts = Facts { now: world.now, memory: &world.memory, snapshot: &snapshot, revision: &revision, freeze };
    let plan = plan(desired, &revision, &owner(), &snapshot, &world.memory);
    let judged = judge(&plan, desired, &facts);
    (plan, judged)
}

fn held(passed: &Passed) -> usize {
    passed.judged.decisions.values().filter(|d| matches!(d, Decision::Held { .. })).count()
}

fn allow(world: &mut World, hold: &HoldId) {
    world.memory.allowed.insert(hold.clone(), world.now);
}

#[test]
fn what_was_removed_and_came_back_is_removed_no_more_easily_than_anything_else() {
    let all = apps(2, "info");
    for restored in [all[0].clone(), versioned("app-00", "debug")] {
        let mut world = deployed(&all);
        world.settle(&want([all[1].clone()]), &revision(2));
        assert_eq!(world.essence().len(), 1, "one removal may go");
        world.settle(&want([restored, all[1].clone()]), &revision(3));
        let passed = world.settle(&want([]), &revision(4));
        assert_eq!((held(&passed), world.essence().len()), (2, 2), "nothing at all is declared");
    }
}

#[test]
fn blast_radius_lets_two_go_and_holds_three_of_eight() {
    let all = apps(8, "info");
    for (kept, expected) in [(6, 0), (5, 3)] {
        let mut world = deployed(&all);
        let passed = world.settle(&want(all[..kept].iter().cloned()), &revision(2));
        assert_eq!((held(&passed), world.essence().len()), (expected, if expected == 0 { kept } else { 8 }));
        assert_eq!(passed.judged.holds.len(), usize::from(expected > 0));
    }
}

fn of_team(team: &str, count: usize) -> Vec<Arc<Resource>> {
    let one = |n| {
        let mut app = Resource::clone(&versioned(&format!("{team}-{n:02}"), "info"));
        app.team = name(team);
        Arc::new(app)
    };
    (0..count).map(one).collect()
}

/// Where the settings name these teams.
fn want_of(teams: &[&str], resources: impl IntoIterator<Item = Arc<Resource>>) -> Desired {
    Desired { reach: teams.iter().map(|team| (name(team), BTreeSet::new())).collect(), ..want(resources) }
}

#[test]
fn what_one_team_removes_is_not_put_in_anothers_hold() {
    let (a, b) = (of_team("a", 8), of_team("b", 8));
    let all: Vec<_> = a.iter().chain(&b).cloned().collect();
    let left = || a[..3].iter().chain(&b[1..]).cloned();
    let mut world = deployed(&all);
    let passed = world.settle(&want(left()), &revision(2));
    assert_eq!((held(&passed), world.essence().len()), (6, 16), "without teams all count together");

    let mut world = deployed(&all);
    let without = want_of(&["a", "b"], left());
    let passed = world.settle(&without, &revision(2));
    let hold = passed.judged.holds[0].clone();
    assert_eq!((passed.judged.holds.len(), world.essence().len()), (1, 15), "b's one goes");
    assert_eq!(hold.changes, a[3..].iter().map(|r| (Verb::Delete, r.id.clone())).collect());
    assert!(hold.why.contains("removes 5 of 8 apps of the team `a`; at most 2"), "{}", hold.why);
    allow(&mut world, &hold.id);
    let passed = world.settle(&without, &revision(3));
    assert_eq!((held(&passed), world.essence().len()), (0, 10));
    assert_eq!(passed.judged.spent, [hold.id]);
}

#[test]
fn only_a_commit_with_a_right_to_its_files_releases_a_teams_hold() {
    let (a, b) = (of_team("a", 8), of_team("b", 8));
    let all: Vec<_> = a.iter().chain(&b).cloned().collect();
    let without = || want_of(&["a", "b"], a[..3].iter().chain(&b).cloned());
    let mut world = deployed(&all);
    let hold = world.settle(&without(), &revision(2)).judged.holds[0].clone();
    allow(&mut world, &hold.id);
    for (by, says) in [(vec![], "changes no file, and"), (vec!["b"], "changes only files of `b`, and")] {
        world.memory.allowed_by.insert(hold.id.clone(), by.into_iter().map(name).collect());
        let passed = world.settle(&without(), &revision(3));
        assert_eq!((held(&passed), world.essence().len()), (5, 16));
        let Decision::Held { release, .. } = &passed.judged.decisions[&a[7].id] else { panic!("not held") };
        assert!(release.contains(says), "{release}");
    }
    let mut allowing = without();
    allowing.reach.insert(name("a"), [name("b")].into());
    let mut other = world.clone();
    assert_eq!(held(&other.settle(&allowing, &revision(4))), 0, "whom a's settings allow");
    world.memory.allowed_by.insert(hold.id, [name("a")].into());
    assert_eq!(held(&world.settle(&without(), &revision(4))), 0);
    assert_eq!(world.essence().len(), 11);
}

#[test]
fn all_teams_together_remove_no_more_than_may_go_of_a_kind_and_those_that_remove_least_come_first() {
    let teams = ["a", "b", "c", "d", "e"];
    let all: Vec<_> = teams.iter().flat_map(|team| of_team(team, 4)).collect();
    let gone = [app("a-00"), app("a-01"), app("b-00"), app("c-00"), app("d-00"), app("d-01"), app("e-00")];
    let mut world = deployed(&all);
    let passed = world.settle(&want_of(&teams, all.iter().filter(|it| !gone.contains(&it.id)).cloned()), &revision(2));
    let held: Vec<_> = passed.judged.holds.iter().flat_map(|hold| &hold.changes).map(|(_, id)| id.clone()).collect();
    assert_eq!(held, [app("d-00"), app("d-01")], "{:?}", passed.judged.holds);
    assert!(passed.judged.holds[0].why.starts_with("together with what other teams remove this removes 7 of 20 apps"));
    assert_eq!(world.essence().len(), 15);
}

#[test]
fn blast_radius_counts_what_went_within_the_hour_and_forgets_it_after() {
    let all = apps(8, "info");
    let mut world = deployed(&all);
    world.settle(&want(all[..6].iter().cloned()), &revision(2));
    let passed = world.settle(&want(all[..5].iter().cloned()), &revision(3));
    assert_eq!((held(&passed), world.essence().len()), (1, 6));
    assert!(passed.judged.holds[0].why.contains("2 of them earlier"), "{}", passed.judged.holds[0].why);
    world.tick(3_601);
    world.settle(&want(all[..5].iter().cloned()), &revision(3));
    assert_eq!(world.essence().len(), 5);
}

#[test]
fn a_removal_under_way_does_not_shrink_its_own_allowance() {
    let all = apps(40, "info");
    let mut world = deployed(&all);
    for _ in 0..10 {
        world.fuse = Some(1);
        world.pass(&want(all[..30].iter().cloned()), &revision(2));
    }
    world.fuse = None;
    world.settle(&want(all[..30].iter().cloned()), &revision(2));
    assert_eq!(world.essence().len(), 30);
}

#[test]
fn codeops_allow_releases_exactly_that_set_once() {
    let all = apps(8, "info");
    let mut world = deployed(&all);
    let four = want(all[..4].iter().cloned());
    let passed = world.settle(&four, &revision(2));
    let hold = passed.judged.holds[0].clone();
    assert_eq!(hold.trailer, format!("Codeops-Allow: {}", hold.id));
    assert_eq!(hold.changes, all[4..].iter().map(|r| (Verb::Delete, r.id.clone())).collect());

    // Another set is another hold.
    allow(&mut world, &hold.id);
    let passed = world.settle(&want(all[..3].iter().cloned()), &revision(3));
    assert_eq!((held(&passed), world.essence().len()), (5, 8));

    // Cut off halfway, it is still that set; gone, its release is spent.
    world.fuse = Some(2);
    world.pass(&four, &revision(4));
    assert_eq!(world.essence().len(), 6);
    world.fuse = None;
    world.settle(&four, &revision(4));
    world.pass(&four, &revision(4));
    assert_eq!((world.essence().len(), world.memory.allowed.len()), (4, 0));

    // Brought back and removed again within the hour, it is held again.
    world.settle(&want(all.iter().cloned()), &revision(5));
    let passed = world.settle(&four, &revision(6));
    assert_eq!((held(&passed), world.essence().len()), (4, 8));
}

#[test]
fn a_release_outlasts_an_outage_and_is_then_spent() {
    let all = apps(8, "info");
    let mut world = deployed(&all);
    let four = want(all[..4].iter().cloned());
    let hold = world.settle(&four, &revision(2)).judged.holds[0].id.clone();
    allow(&mut world, &hold);
    world.fuse = Some(2);
    world.pass(&four, &revision(3));
    world.down.insert(name("local"));
    world.pass(&four, &revision(3));
    // Longer than removals count against the budget.
    world.tick(3 * 3_600);
    world.pass(&four, &revision(3));
    world.down.clear();
    world.fuse = None;
    let passed = world.settle(&four, &revision(3));
    assert_eq!((held(&passed), world.essence().len()), (0, 4));
    world.pass(&four, &revision(3));
    assert!(world.memory.allowed.is_empty(), "spent");
}

#[test]
fn a_release_that_nothing_uses_lapses_after_a_day() {
    let all = apps(8, "info");
    let mut world = deployed(&all);
    let four = want(all[..4].iter().cloned());
    let hold = world.settle(&four, &revision(2)).judged.holds[0].id.clone();
    // The removal is taken back by the commit that would have released it.
    allow(&mut world, &hold);
    let everything = want(all.iter().cloned());
    world.settle(&everything, &revision(3));
    world.tick(86_399);
    world.pass(&everything, &revision(3));
    assert_eq!(world.memory.allowed.len(), 1, "a later commit may still bring what it releases");
    world.tick(1);
    let passed = world.pass(&four, &revision(4));
    assert_eq!((held(&passed), world.essence().len()), (4, 8), "not even a pass that finds it late lets it through");
    assert!(world.memory.allowed.is_empty());
}

#[test]
fn the_last_of_a_kind_and_an_empty_path_are_held() {
    let two = apps(2, "info");
    let zero = |r: &Arc<Resource>| {
        let mut r = r.as_ref().clone();
        r.spec.replicas = 0;
        digested(r)
    };
    let mut world = deployed(&two);
    let passed = world.settle(&want(two.iter().map(zero)), &revision(2));
    assert!(passed.judged.holds[0].why.contains("the last of 2 apps"), "{}", passed.judged.holds[0].why);
    // One after the other is no way round it.
    world.settle(&want([zero(&two[0]), Arc::clone(&two[1])]), &revision(3));
    let passed = world.settle(&want(two.iter().map(zero)), &revision(4));
    assert_eq!((held(&passed), world.object("local", "app-01").instances.len()), (1, 1));

    let mut world = deployed(&two[..1]);
    let passed = world.settle(&want([]), &revision(2));
    assert!(passed.judged.holds[0].why.contains("nothing at all"));
    assert_eq!(world.essence().len(), 1);
    allow(&mut world, &passed.judged.holds[0].id);
    world.settle(&want([]), &revision(3));
    assert!(world.essence().is_empty());
}

#[test]
fn scaling_many_to_zero_is_a_removal() {
    let all = apps(6, "info");
    let mut world = deployed(&all);
    let none = |r: &Arc<Resource>| {
        let mut r = r.as_ref().clone();
        r.spec.replicas = 0;
        digested(r)
    };
    let passed = world.settle(&want(all.iter().map(none)), &revision(2));
    assert_eq!((held(&passed), world.history.len()), (6, 0));
}

#[test]
fn the_stricter_of_two_percents_applies() {
    let all = apps(20, "info");
    let mut world = deployed(&all);
    let mut most = want(all[..16].iter().cloned());
    most.repository.blast_radius = BlastRadius { percent: 100 };
    world.memory.revision.blast_percent = Some(10);
    assert_eq!(held(&world.pass(&most, &revision(2))), 4);
    world.memory.revision.blast_percent = Some(100);
    most.repository.blast_radius = BlastRadius { percent: 10 };
    assert_eq!(held(&world.pass(&most, &revision(2))), 4);
    world.memory.revision.blast_percent = None;
    most.repository.blast_radius = BlastRadius { percent: 20 };
    assert_eq!(held(&world.pass(&most, &revision(2))), 0);
}

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

#[test]
fn bad_night_nothing_starts_until_it_ends() {
    let mut world = World::new();
    let mut frozen = want(apps(1, "info"));
    let until = "2026-11-20T11:00:00Z".parse().unwrap();
    let freeze = |what| Freeze { what, reason: "bad night".to_owned(), until: Some(until) };
    frozen.repository.freeze = Some(freeze(FreezeWhat::All));
    let passed = world.pass(&frozen, &revision(1));
    let Decision::Waiting { why, until: Some(at) } = &passed.judged.decisions[&app("app-00")] else { panic!() };
    assert_eq!((why.as_str(), *at), ("frozen until 2026-11-20T11:00:00Z: bad night", until));
    world.tick(3_601);
    world.settle(&frozen, &revision(1));
    assert_eq!(world.essence().len(), 1);
    // From the settings too; and playbooks frozen freezes no commit.
    let plain = want(apps(2, "info"));
    world.tick(-3_601);
    let all = judged(&world, &plain, Some(&freeze(FreezeWhat::All))).1;
    let playbooks = judged(&world, &plain, Some(&freeze(FreezeWhat::Playbooks))).1;
    assert!(matches!(all.decisions[&app("app-01")], Decision::Waiting { .. }));
    assert_eq!(playbooks.decisions[&app("app-01")], Decision::Go);
}

#[test]
fn a_dependency_is_healthy_first_and_removed_last() {
    let web = resource("a-web", |spec| spec.after = vec![app("z-db")]);
    let both = want([web, versioned("z-db", "x"), versioned("other", "x")]);
    let mut world = World::new();
    let passed = world.pass(&both, &revision(1));
    let Decision::Waiting { why, .. } = &passed.judged.decisions[&app("a-web")] else { panic!() };
    assert_eq!(why, "waits for app/z-db to be healthy (it is Missing)");
    world.settle(&both, &revision(1));
    let made: Vec<_> = world.history.iter().filter(|(_, word)| *word == "start").map(|(id, _)| id.clone()).collect();
    assert!(made.iter().position(|id| *id == app("z-db")) < made.iter().position(|id| *id == app("a-web")));
    world.settle(&want([versioned("other", "x")]), &revision(2));
    let gone: Vec<_> = world.history.iter().filter(|(_, word)| *word == "delete").map(|(id, _)| id.clone()).collect();
    assert_eq!(gone, [app("a-web"), app("z-db")]);
}

#[test]
fn a_changed_system_holds_everything_on_it_until_a_commit_accepts_it() {
    let mut world = World::new();
    world.memory.systems.insert(name("local"), SystemId("other-0".to_owned()));
    let two = want(apps(2, "info"));
    let passed = world.settle(&two, &revision(1));
    assert_eq!((held(&passed), world.history.len()), (2, 0));
    let hold = passed.judged.holds[0].clone();
    assert!(hold.why.contains("provider local now points at another system (local-1; it was other-0)"));
    allow(&mut world, &hold.id);
    world.settle(&two, &revision(2));
    assert_eq!((world.essence().len(), world.memory.allowed.len()), (2, 0));
    assert_eq!(world.memory.systems[&name("local")], SystemId("local-1".to_owned()));
}

#[test]
fn the_gates_last_look_sees_what_changed_since() {
    let all = apps(4, "info");
    let mut world = deployed(&all);
    let three = want(all[..3].iter().cloned());
    let snapshot = world.snapshot();
    let revision = revision(2);
    let steps = {
        let mut probe = world.clone();
        probe.pass(&three, &revision).applied
    };
    let [step] = steps.as_slice() else { panic!("one delete") };
    assert!(matches!(step.op, Op::Delete { .. }));
    let try_with = |world: &World, desired: &Desired| {
        let snapshot = world.snapshot();
        let facts =
            Facts { now: world.now, memory: &world.memory, snapshot: &snapshot, revision: &revision, freeze: None };
        permit(step, desired, &facts)
    };
    assert_eq!(try_with(&world, &three), Ok(()));
    assert!(try_with(&world, &want(all.iter().cloned())).unwrap_err().contains("is declared on local"));
    let mut unreadable = three.clone();
    unreadable.deletes_nothing = Some("apps/x.yaml cannot be read".to_owned());
    assert!(try_with(&world, &unreadable).unwrap_err().contains("cannot be read"));
    let spent = |id: &str| crate::model::Removal {
        at: snapshot.providers.values().next().unwrap().as_ref().unwrap().at,
        verb: Verb::Delete,
        id: app(id),
        hold: None,
        team: None,
    };
    world.memory.removals = vec![spent("gone-1"), spent("gone-2")];
    assert!(try_with(&world, &three).unwrap_err().contains("at most 2 may go"));
    world.memory.removals.clear();
    world.object("local", "app-03").stamp.as_mut().unwrap().owner = "else".parse().unwrap();
    assert!(try_with(&world, &three).unwrap_err().contains("does not carry our stamp"));
    world.live.get_mut(&name("local")).unwrap().remove(&app("app-03"));
    assert!(try_with(&world, &three).unwrap_err().contains("not seen"));
}

#[test]
fn a_plan_reads_like_a_review() {
    let all = apps(8, "info");
    let mut world = deployed(&all);
    let mut changed: Vec<Arc<Resource>> = all[..4].to_vec();
    changed[0] = versioned("app-00", "debug");
    changed[1] = resource("app-01", |spec| {
        spec.env.insert("LOG".to_owned(), "info".to_owned());
        spec.replicas = 2;
    });
    changed.push(resource("shop", |spec| {
        spec.after = vec![app("app-09")];
        spec.env.insert("MOTD".to_owned(), "two\nlines \u{1b}[2J".to_owned());
    }));
    changed.push(versioned("app-09", "x"));
    world.object("local", "app-02").instances.clear();
    let (plan, judged) = judged(&world, &want(changed), None);
    insta::assert_snapshot!(render(&plan, &judged, false));
    let coloured = render(&plan, &judged, true);
    assert!(coloured.contains("\u{1b}[32m") && !coloured.contains("\u{1b}[2J"));
}

#[test]
fn a_plan_of_nothing_says_so() {
    let world = deployed(&apps(2, "info"));
    let (plan, judged) = judged(&world, &want(apps(2, "info")), None);
    insta::assert_snapshot!(render(&plan, &judged, false), @"Plan: no changes, 2 unchanged.");
    // What is kept is not counted as unchanged as well.
    let mut plan = plan;
    let id = plan.unchanged.first().cloned().unwrap();
    plan.kept.insert(id, "it is wrong".to_owned());
    assert!(render(&plan, &judged, false).starts_with("Plan: no changes, 1 kept, 1 unchanged.\n"));
}
