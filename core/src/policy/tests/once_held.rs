//! Promises about removals that were held: only a commit that says so lets them go, or one that declares them again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;

use super::{allow, apps, deployed, held, of_team, versioned, want, want_of};
use crate::desired::Desired;
use crate::model::{Asked, Resource, ResourceId, Verb};
use crate::plan::sim::{Passed, World, app, digested, name, resource, revision};

#[test]
fn what_a_commit_adds_makes_no_room_for_what_it_or_one_before_it_removes() {
    let (all, more) = (apps(7, "info"), of_team("new", 13));
    let with = |kept: usize| want(all[..kept].iter().chain(&more).cloned());
    let mut world = deployed(&all);
    let passed = world.settle(&with(3), &revision(2));
    assert_eq!((held(&passed), world.essence().len()), (4, 20), "at once");
    assert!(passed.judged.holds[0].why.contains("removes 4 of 7 apps; at most 2"), "{}", passed.judged.holds[0].why);

    let mut world = deployed(&all);
    world.settle(&want(all[..3].iter().cloned()), &revision(2));
    let passed = world.settle(&with(3), &revision(3));
    assert_eq!((held(&passed), world.essence().len()), (4, 20), "by another commit");
    // What it is by then is what may go of what is asked for from then on, and what is held counts with that.
    let passed = world.settle(&with(2), &revision(4));
    assert_eq!((held(&passed), world.essence().len()), (4, 19));
    let hold = passed.judged.holds[0].id.clone();
    allow(&mut world, &hold);
    world.settle(&with(2), &revision(5));
    assert_eq!(world.essence().len(), 15, "its trailer still releases just that");
}

#[test]
fn nor_does_it_where_the_provider_was_silent_when_it_was_asked_for() {
    let there: Vec<_> = (0..7).map(|n| resource(&format!("edge-{n}"), |spec| spec.provider = name("edge"))).collect();
    let more = apps(13, "info");
    let mut world = deployed(&there);
    world.down.insert(name("edge"));
    let without = want(there[..3].iter().chain(&more).cloned());
    world.settle(&without, &revision(2));
    world.down.clear();
    let passed = world.settle(&without, &revision(2));
    assert_eq!((held(&passed), world.essence().len()), (4, 20), "{:?}", passed.judged.holds);
}

#[test]
fn what_one_team_adds_lets_nothing_go_that_is_held_of_another_or_of_itself() {
    let (a, b) = (of_team("a", 8), of_team("b", 8));
    let mut world = deployed(&a.iter().chain(&b).cloned().collect::<Vec<_>>());
    let more: Vec<_> = (50..90)
        .map(|n| {
            let mut app = Resource::clone(&versioned(&format!("a-{n}"), "info"));
            app.team = name("a");
            Arc::new(app)
        })
        .collect();
    let left = |more: &[Arc<Resource>]| want_of(&["a", "b"], a[..3].iter().chain(&b[..4]).chain(more).cloned());
    let first = world.settle(&left(&[]), &revision(2));
    assert_eq!((held(&first), first.judged.holds.len()), (9, 2));
    let ids = |passed: &Passed| -> BTreeSet<_> { passed.judged.holds.iter().map(|hold| hold.id.clone()).collect() };
    let passed = world.settle(&left(&more), &revision(3));
    assert_eq!((held(&passed), ids(&passed), world.essence().len()), (9, ids(&first), 56));
}

#[test]
fn what_was_held_as_scaled_away_is_not_let_go_as_deleted() {
    let (all, more) = (apps(7, "info"), of_team("new", 13));
    let zero = |it: &Arc<Resource>| {
        let mut it = Resource::clone(it);
        it.spec.replicas = 0;
        digested(it)
    };
    let mut world = deployed(&all);
    let scaled = || all[..3].iter().cloned().chain(all[3..].iter().map(zero));
    assert_eq!(held(&world.settle(&want(scaled()), &revision(2))), 4);
    assert_eq!(held(&world.settle(&want(scaled().chain(more.iter().cloned())), &revision(3))), 4);
    let passed = world.settle(&want(all[..3].iter().chain(&more).cloned()), &revision(4));
    assert_eq!((held(&passed), world.essence().len()), (4, 20));
    // Wanted again as they are they are nobody's to release.
    let passed = world.settle(&want(all.iter().chain(&more).cloned()), &revision(5));
    assert_eq!((held(&passed), passed.judged.holds.len()), (0, 0));
    world.pass(&want(all.iter().chain(&more).cloned()), &revision(5));
    assert!(world.memory.resources.values().all(|it| !it.removal_held));
    let passed = world.settle(&want(all[..3].iter().chain(&more).cloned()), &revision(6));
    assert_eq!((held(&passed), world.essence().len()), (0, 16), "four of twenty, asked for anew");
}

/// What another team's manifests ask for, as the compiler says it.
fn wanted(mut desired: Desired, id: &str, team: &str) -> Desired {
    desired.wanted.ask(app(id), &name(team), false, || format!("{team}/squat.yaml:1:1"));
    desired
}

#[test]
fn what_another_team_begins_to_ask_for_goes_only_by_its_own_teams_word() {
    let a = of_team("a", 8);
    let mut world = deployed(&a);
    let left = || want_of(&["a", "b"], a[1..].iter().cloned());
    let passed = world.settle(&wanted(left(), "a-00", "b"), &revision(2));
    assert_eq!((held(&passed), world.essence().len()), (1, 8));
    let hold = passed.judged.holds[0].clone();
    let why = &hold.why;
    assert!(why.contains("b/squat.yaml:1:1 asks for its name for the team b"), "{why}");
    assert!(why.contains("add b to `teams.a.allow`") && why.contains("this would delete it"), "{why}");
    allow(&mut world, &hold.id);
    world.memory.allowed_by.insert(hold.id.clone(), [name("b")].into());
    assert_eq!(held(&world.settle(&wanted(left(), "a-00", "b"), &revision(3))), 1, "not by who asks for it");
    world.memory.allowed_by.insert(hold.id, [name("a")].into());
    world.settle(&wanted(left(), "a-00", "b"), &revision(4));
    assert_eq!(world.essence().len(), 7);
}

#[test]
fn who_asked_for_a_name_in_vain_keeps_nobody_from_giving_it_up() {
    let a = of_team("a", 8);
    let mut world = deployed(&a);
    let known = world.memory.resources.get_mut(&app("a-00")).expect("it lives");
    known.claims.asked = Some(Asked::Before);
    let left = want_of(&["a", "b"], a[1..].iter().cloned());
    let passed = world.settle(&wanted(left, "a-00", "b"), &revision(2));
    assert_eq!((held(&passed), world.essence().len()), (0, 7), "{:?}", passed.judged.holds);
}

#[test]
fn what_is_held_is_not_taken_back_by_who_may_not_have_it() {
    let a = of_team("a", 5);
    let mut world = deployed(&a);
    let left = || want_of(&["a", "b"], a[..1].iter().cloned());
    let first = world.settle(&left(), &revision(2));
    assert_eq!(held(&first), 4);
    let theirs = a[1..].iter().map(|it| {
        let mut it = Resource::clone(it);
        it.team = name("b");
        Arc::new(it)
    });
    world.settle(&want_of(&["a", "b"], a[..1].iter().cloned().chain(theirs)), &revision(3));
    assert!(world.memory.resources.iter().filter(|(_, it)| it.removal_held).count() == 4);
    let passed = world.settle(&left(), &revision(4));
    assert_eq!((held(&passed), world.essence().len()), (4, 5));
    assert_eq!(passed.judged.holds[0].id, first.judged.holds[0].id, "and its trailer stays the same");
}

/// What one commit declares, and what happens after it.
#[derive(Debug, Clone)]
struct Commit {
    /// Of the first eight, which; of the others, how many.
    old: [bool; 8],
    new: usize,
    /// Scaled to zero.
    zero: [bool; 8],
    minutes: i64,
    down: bool,
}

fn commits() -> impl Strategy<Value = Vec<Commit>> {
    let some = || prop::array::uniform8(prop::bool::weighted(0.6));
    let one =
        (some(), 0_usize..30, prop::array::uniform8(prop::bool::weighted(0.2)), 0_i64..90, prop::bool::weighted(0.2));
    let one = one.prop_map(|(old, new, zero, minutes, down)| Commit { old, new, zero, minutes, down });
    prop::collection::vec(one, 1..7)
}

/// The ids in a hold, and what is declared, each with how many instances.
fn held_of(world: &mut World, commit: &Commit, number: u8) -> (BTreeSet<ResourceId>, BTreeMap<ResourceId, usize>) {
    let all = apps(8, "info");
    let old = all.iter().zip(commit.old).zip(commit.zero).filter(|((_, is), _)| *is).map(|((it, _), zero)| {
        let mut it = Resource::clone(it);
        it.spec.replicas = if zero { 0 } else { 1 };
        digested(it)
    });
    let new = (0..commit.new).map(|n| versioned(&format!("new-{n:02}"), "info"));
    let all: Vec<_> = old.chain(new).collect();
    let wanted = all.iter().map(|it| (it.id.clone(), it.spec.replicas as usize)).collect();
    if commit.down {
        world.down.insert(name("local"));
    }
    world.settle(&want(all.iter().cloned()), &revision(number));
    world.down.clear();
    let passed = world.settle(&want(all), &revision(number));
    let holds = passed.judged.holds.iter().flat_map(|hold| &hold.changes);
    (holds.filter(|(verb, _)| verb.is_removal()).map(|(_, id)| id.clone()).collect(), wanted)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever is added, in whatever time, by however many commits.
    #[test]
    fn without_a_trailer_what_was_held_never_goes(commits in commits()) {
        let mut world = deployed(&apps(8, "info"));
        let mut kept: BTreeMap<ResourceId, usize> = BTreeMap::new();
        for (number, commit) in (2..).zip(&commits) {
            let (held, wanted) = held_of(&mut world, commit, number);
            // Declared again, so that nothing of it is to go.
            kept.retain(|id, had| wanted.get(id).is_none_or(|wanted| wanted < had));
            let lives = |id: &ResourceId| world.live[&name("local")].get(id).map(|it| it.instances.len());
            for (id, had) in &kept {
                prop_assert!(held.contains(id) && lives(id) == Some(*had), "{id} had {had}, of {held:?}");
            }
            kept.extend(held.into_iter().filter_map(|id| Some((id.clone(), lives(&id)?))));
            world.tick(commit.minutes * 60);
        }
    }
}

#[test]
fn a_release_that_lapses_leaves_held_what_was() {
    let (all, more) = (apps(8, "info"), of_team("new", 20));
    let with = || want(all[..4].iter().chain(&more).cloned());
    let mut world = deployed(&all);
    let hold = world.settle(&with(), &revision(2)).judged.holds[0].clone();
    assert!(hold.changes.contains(&(Verb::Delete, app("app-07"))));
    allow(&mut world, &hold.id);
    world.fuse = Some(1);
    world.pass(&with(), &revision(3));
    world.fuse = None;
    world.down.insert(name("local"));
    world.tick(25 * 3_600);
    world.pass(&with(), &revision(3));
    world.down.clear();
    let passed = world.settle(&with(), &revision(3));
    assert_eq!((held(&passed), world.essence().len()), (3, 27), "{:?}", passed.judged.holds);
}
