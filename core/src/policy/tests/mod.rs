//! Promises about what may go, each in the simulator as a user would meet it.

mod frozen;
mod once_held;
mod removals;
mod stuck;
mod waves;

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Decision, Facts, Judged, judge, permit, render};
use crate::config::{Freeze, FreezeWhat};
use crate::desired::{Desired, Undeletable};
use crate::model::{HoldId, Op, Renewal, Resource, RunId, SystemId, Verb};
use crate::plan::sim::{Passed, World, app, desired, name, owner, resource, revision};
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

/// A playbook restarts all instances of an app: they are to make way.
fn renew(world: &mut World, id: &str) {
    let instances = world.object("local", id).instances.iter().map(|instance| instance.id.clone()).collect();
    let (at, run, playbook) = (world.now, RunId(1), name("restart"));
    world.remembered(&app(id)).renewal = Some(Renewal { at, instances, run, playbook, over: false });
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
fn a_changed_system_that_does_not_show_what_it_has_is_accepted_all_the_same() {
    let two = apps(2, "info");
    let mut world = deployed(&two);
    world.memory.systems.insert(name("local"), SystemId("other-0".to_owned()));
    world.mute.extend(two.iter().map(|it| it.id.clone()));
    let passed = world.pass(&want(two.iter().cloned()), &revision(2));
    assert_eq!(passed.plan.changes.len(), 0, "nothing is planned of what is not known");
    let hold = passed.judged.holds[0].clone();
    assert_eq!(hold.changes.iter().map(|(_, id)| id.clone()).collect::<Vec<_>>(), [app("app-00"), app("app-01")]);
    assert!(hold.why.ends_with("app/app-00 does not answer"), "{}", hold.why);
    let told = &passed.judged.decisions[&app("app-01")];
    assert!(matches!(told, Decision::Held { release, .. } if release.contains(&hold.trailer)), "{told:?}");
    allow(&mut world, &hold.id);
    let passed = world.pass(&want(two.iter().cloned()), &revision(3));
    assert_eq!((passed.judged.holds.len(), world.memory.allowed.len()), (0, 0));
    assert_eq!(world.memory.systems[&name("local")], SystemId("local-1".to_owned()));
}

#[test]
fn a_changed_system_on_which_all_is_well_waits_for_its_word_and_takes_it_of_who_writes_for_all() {
    let two = apps(2, "info");
    let mut world = deployed(&two);
    world.memory.systems.insert(name("local"), SystemId("other-0".to_owned()));
    let apart = || {
        let mut apart = want_of(&["payments", "platform"], two.iter().cloned());
        apart.everybodys.insert(name("platform"));
        apart
    };
    let passed = world.pass(&apart(), &revision(2));
    assert_eq!(passed.plan.changes.len(), 0);
    let hold = passed.judged.holds[0].clone();
    assert_eq!(hold.changes.len(), 2);
    allow(&mut world, &hold.id);
    world.memory.allowed_by.insert(hold.id.clone(), [name("payments")].into());
    let still = world.pass(&apart(), &revision(3)).judged.holds;
    assert_eq!(still.len(), 1, "one team does not speak for all");
    assert!(
        still[0].why.ends_with("it must change something of a team that may claim `codeops.yaml`"),
        "{}",
        still[0].why
    );
    // Another's commit that comes with the word does not take it back.
    let more = |apart: Desired| {
        want_of(&["payments", "platform"], apart.resources.into_values().chain([versioned("more", "x")]))
    };
    let with = Desired { everybodys: apart().everybodys, ..more(apart()) };
    assert_eq!(world.pass(&with, &revision(3)).judged.holds[0].id, hold.id);
    world.memory.allowed_by.insert(hold.id, [name("payments"), name("platform")].into());
    assert_eq!(world.pass(&apart(), &revision(4)).judged.holds.len(), 0);
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
    unreadable.undeletable = Undeletable::all("apps/x.yaml cannot be read".to_owned());
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
        spec.env.insert("MOTD".to_owned(), "two\nlines \u{1b}[2J\u{202e}".to_owned());
    }));
    changed.push(versioned("app-09", "x"));
    world.object("local", "app-02").instances.clear();
    let (plan, judged) = judged(&world, &want(changed), None);
    insta::assert_snapshot!(render(&plan, &judged, false));
    let coloured = render(&plan, &judged, true);
    assert!(coloured.contains("\u{1b}[32m") && !coloured.contains("\u{1b}[2J"));
    assert!(coloured.contains("\\u{202e}") && !coloured.contains('\u{202e}'), "nothing turns the line around");
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
