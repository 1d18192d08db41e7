//! Promises about the blast radius: what may be taken away, and what releases the rest.

use std::sync::Arc;

use crate::config::BlastRadius;
use crate::desired::Desired;
use crate::model::{Action, Removal, Resource, Verb};
use crate::plan::sim::{World, app, digested, name, revision};
use crate::policy::{Decision, Facts, permit_mark};

use super::{allow, apps, deployed, held, judged, of_team, versioned, want, want_of};

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

/// What an action takes away comes back: no reader is to take it for a delete.
#[test]
fn an_action_that_the_budget_refuses_says_what_it_would_do() {
    let all = apps(8, "info");
    let mut world = deployed(&all);
    let spent = |id: &str, at| Removal { at, verb: Verb::Replace, id: app(id), hold: None, team: None };
    world.memory.removals = vec![spent("app-00", world.now), spent("app-01", world.now)];
    let (snapshot, revision) = (world.snapshot(), revision(1));
    let facts = Facts { now: world.now, memory: &world.memory, snapshot: &snapshot, revision: &revision, freeze: None };
    let desired = want(all);
    let permitted = |action| permit_mark(&app("app-02"), action, &desired, &facts);
    assert_eq!(permitted(None), Ok(()), "what does not work may always be replaced");
    let why = permitted(Some(Action::AppRestart)).expect_err("the third within the hour");
    let told = "app.restart takes 1 of 8 apps out of service for a while, after 2 taken out of service by playbooks within the hour; at most 2";
    assert!(why.contains(told), "{why}");
}

/// Each is called what it is: restarts are no removals, and what stays declared is not removed.
#[test]
fn a_hold_says_what_was_done_before_and_what_it_holds() {
    let all = apps(8, "info");
    let spent = |id: &str, at, verb| Removal { at, verb, id: app(id), hold: None, team: None };
    let mut world = deployed(&all);
    let now = world.now;
    world.memory.removals = vec![
        spent("app-00", now, Verb::Replace),
        spent("app-01", now, Verb::ScaleToZero),
        spent("gone", now, Verb::Replace),
        spent("gone", now, Verb::Delete),
        spent("app-07", now, Verb::Replace),
    ];
    let why = |world: &World, desired: &Desired| judged(world, desired, None).1.holds[0].why.clone();
    let told = "removes 1 of 9 apps, after 1 removed, 1 scaled to zero and 1 taken out of service by playbooks within the hour; at most 2";
    let found = why(&world, &want(all[..7].iter().cloned()));
    assert!(found.starts_with(told), "{found}");
    world.memory.removals.clear();
    let zero = |it: &Arc<Resource>| {
        let mut it = it.as_ref().clone();
        it.spec.replicas = 0;
        digested(it)
    };
    let some =
        |zeroed: usize, kept: usize| want(all[..zeroed].iter().map(zero).chain(all[zeroed..kept].iter().cloned()));
    let (zeroed, mixed) = (why(&world, &some(3, 8)), why(&world, &some(2, 7)));
    assert!(zeroed.starts_with("scales to zero 3 of 8 apps; at most 2"), "{zeroed}");
    assert!(mixed.starts_with("removes or scales to zero 3 of 8 apps; at most 2"), "{mixed}");
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
fn a_word_from_before_what_it_releases_was_declared_again_releases_nothing() {
    let all = apps(8, "info");
    let mut world = deployed(&all);
    let left = || want(all[..3].iter().cloned());
    let hold = world.settle(&left(), &revision(2)).judged.holds[0].clone();
    allow(&mut world, &hold.id);
    world.memory.overtaken.insert(hold.id.clone(), [all[5].id.clone()].into());
    let passed = world.settle(&left(), &revision(3));
    assert_eq!((held(&passed), world.essence().len()), (5, 8));
    let Decision::Held { release, .. } = &passed.judged.decisions[&all[7].id] else { panic!("not held") };
    assert!(release.contains(&format!("changed how `{}` is declared", all[5].id)), "{release}");
    world.memory.overtaken.insert(hold.id, [all[1].id.clone()].into());
    assert_eq!(held(&world.settle(&left(), &revision(3))), 0, "what is another's business");
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
    let told = "together with what other teams remove this removes 2 of 20 apps, after 5 removed within the hour";
    assert!(passed.judged.holds[0].why.starts_with(told), "{}", passed.judged.holds[0].why);
    assert_eq!(world.essence().len(), 15);
}

#[test]
fn what_one_team_had_released_takes_nothing_of_anothers_share() {
    let (a, b) = (of_team("a", 3), of_team("b", 11));
    let mut world = deployed(&a.iter().chain(&b).cloned().collect::<Vec<_>>());
    let left = |a_has: usize| want_of(&["a", "b"], a[..a_has].iter().chain(&b[..4]).cloned());
    let hold = world.settle(&left(3), &revision(2)).judged.holds[0].id.clone();
    allow(&mut world, &hold);
    world.settle(&left(3), &revision(3));
    assert_eq!(world.essence().len(), 7, "seven went by b's own word");
    let snapshot = world.snapshot();
    let (revision_now, want) = (revision(3), left(3));
    let memory = world.memory.clone();
    let facts = Facts { now: world.now, memory: &memory, snapshot: &snapshot, revision: &revision_now, freeze: None };
    assert_eq!(permit_mark(&a[0].id, Some(Action::AppRestart), &want, &facts), Ok(()), "a's playbook may restart");
    assert!(
        permit_mark(&b[0].id, Some(Action::AppRestart), &want, &facts).unwrap_err().contains("blast radius is spent")
    );
    let passed = world.settle(&left(2), &revision(4));
    assert_eq!((held(&passed), world.essence().len()), (0, 6), "{:?}", passed.judged.holds);
}

#[test]
fn the_only_one_of_a_team_is_not_the_last_of_what_others_removed() {
    let (a, b) = (of_team("a", 1), of_team("b", 4));
    let mut world = deployed(&a.iter().chain(&b).cloned().collect::<Vec<_>>());
    let hold = world.settle(&want_of(&["a", "b"], a.iter().cloned()), &revision(2)).judged.holds[0].id.clone();
    allow(&mut world, &hold);
    let want = want_of(&["a", "b"], a.iter().cloned());
    world.settle(&want, &revision(3));
    assert_eq!(world.essence().len(), 1);
    let snapshot = world.snapshot();
    let revision_now = revision(3);
    let facts =
        Facts { now: world.now, memory: &world.memory, snapshot: &snapshot, revision: &revision_now, freeze: None };
    assert_eq!(permit_mark(&a[0].id, Some(Action::AppRestart), &want, &facts), Ok(()));
}

#[test]
fn blast_radius_counts_what_went_within_the_hour_and_forgets_it_after() {
    let all = apps(8, "info");
    let mut world = deployed(&all);
    world.settle(&want(all[..6].iter().cloned()), &revision(2));
    let passed = world.settle(&want(all[..5].iter().cloned()), &revision(3));
    assert_eq!((held(&passed), world.essence().len()), (1, 6));
    assert!(passed.judged.holds[0].why.contains("after 2 removed within the hour"), "{}", passed.judged.holds[0].why);
    world.tick(3_601);
    let passed = world.settle(&want(all[..5].iter().cloned()), &revision(3));
    assert_eq!((held(&passed), world.essence().len()), (1, 6), "what was held waits for a commit and for no clock");
    let passed = world.settle(&want(all[..4].iter().cloned()), &revision(4));
    assert_eq!((held(&passed), world.essence().len()), (1, 5), "what is asked for after the hour may go beside it");
    world.settle(&want(all[..6].iter().cloned()), &revision(5));
    world.tick(3_601);
    world.settle(&want(all[..5].iter().cloned()), &revision(6));
    assert_eq!(world.essence().len(), 5, "declared again and removed again it is asked for anew");
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

/// All of it was begun when the daemon died: the next one has not seen yet what of it lives, or cannot see one.
#[test]
fn a_release_outlasts_a_death_in_the_midst_of_it() {
    let all = apps(8, "info");
    let mut world = deployed(&all);
    let four = want(all[..4].iter().cloned());
    let hold = world.settle(&four, &revision(2)).judged.holds[0].id.clone();
    allow(&mut world, &hold);
    let begun = |it: &Arc<Resource>| Removal {
        at: world.now,
        verb: Verb::Delete,
        id: it.id.clone(),
        hold: Some(hold.clone()),
        team: Some(it.team.clone()),
    };
    let begun: Vec<Removal> = all[4..].iter().map(begun).collect();
    world.memory.removals.extend(begun);
    world.down.insert(name("local"));
    world.pass(&four, &revision(3));
    assert_eq!(world.memory.allowed.len(), 1, "nothing was seen yet");
    world.down.clear();
    world.mute.insert(all[7].id.clone());
    world.settle(&four, &revision(3));
    assert_eq!((world.essence().len(), world.memory.allowed.len()), (5, 1), "one does not answer");
    world.mute.clear();
    // Of what never was elsewhere nobody else is asked.
    world.down.insert(name("edge"));
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
    // One after the other is no way round it: what was held stays so, and what comes after it is held as well.
    let passed = world.settle(&want([zero(&two[0]), Arc::clone(&two[1])]), &revision(3));
    assert_eq!((held(&passed), world.object("local", "app-00").instances.len()), (1, 1));
    world.settle(&want(two.iter().cloned()), &revision(3));
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
    let held_of = |world: &World, most: &Desired| held(&world.clone().pass(most, &revision(2)));
    assert_eq!(held_of(&world, &most), 4);
    world.memory.revision.blast_percent = Some(100);
    most.repository.blast_radius = BlastRadius { percent: 10 };
    assert_eq!(held_of(&world, &most), 4);
    world.memory.revision.blast_percent = None;
    most.repository.blast_radius = BlastRadius { percent: 20 };
    assert_eq!(held_of(&world, &most), 0);
}
