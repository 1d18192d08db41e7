//! Plans of single moments.

mod gone;
mod properties;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::json;

use super::sim::{World, app, desired, digested, empty, name, owner, resource, revision, status};
use super::{Plan, plan};
use crate::desired::{Desired, Undeletable};
use crate::model::{
    Digest, FieldDrift, Health, HealthCheck, InstanceHealth, Name, Resource, ResourceMemory, Scope, Snapshot, Strategy,
    Sync, Verb,
};
use crate::policy::Decision;

fn planned(world: &World, desired: &Desired) -> Plan {
    plan(desired, &revision(9), &owner(), &world.snapshot(), &world.memory)
}

fn deployed(resources: &[Arc<Resource>]) -> World {
    let mut world = World::new();
    world.settle(&desired(resources.iter().cloned()), &revision(1));
    world.history.clear();
    world
}

fn plain(id: &str) -> Arc<Resource> {
    resource(id, |_| ())
}

fn fields(plan: &Plan) -> Vec<String> {
    let text = |v: &Option<serde_json::Value>| v.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string);
    let all = plan.changes.iter().flat_map(|c| &c.differences);
    all.map(|d| format!("{}: {} → {}", d.field, text(&d.from), text(&d.to))).collect()
}

/// With a blast radius that lets everything go, where something else is tested.
fn unguarded(mut desired: Desired) -> Desired {
    desired.repository.blast_radius.percent = 100;
    desired
}

#[test]
fn differences_are_told_in_the_words_of_the_manifest_with_defaults_filled_in() {
    let world = deployed(&[plain("shop")]);
    let changed = resource("shop", |spec| {
        let health = json!({"probe": {"http": "/healthz"}, "interval": "2s", "timeout": "1s", "startTimeout": "60s",
            "failures": 3});
        spec.health = Some(serde_json::from_value(health).unwrap());
        spec.run = serde_json::from_value(json!({"command": {"command": ["./app", "--fast"]}})).unwrap();
        spec.replicas = 2;
        spec.rollout.surge = 2;
        spec.stop.grace = crate::model::Period::from_secs(30);
    });
    let plan = planned(&world, &desired([changed]));
    assert_eq!(plan.changes[0].verb, Verb::Replace);
    let expected = [
        "health.failures: - → 3",
        "health.http: - → \"/healthz\"",
        "health.interval: - → \"2s\"",
        "health.startTimeout: - → \"1m\"",
        "health.timeout: - → \"1s\"",
        "replicas: 1 → 2",
        "rollout.surge: 1 → 2",
        "run.command[1]: - → \"--fast\"",
        "stop.grace: \"10s\" → \"30s\"",
    ];
    assert_eq!(fields(&plan), expected);
}

#[test]
fn a_secret_shows_only_that_it_changed() {
    let with = |tag: &str| {
        let mut r = plain("shop").as_ref().clone();
        r.spec.secrets.insert("API_KEY".to_owned(), name("shop-api-key"));
        r.secret_tags.insert("API_KEY".to_owned(), tag.to_owned());
        digested(r)
    };
    let mut world = deployed(&[with("old-tag")]);
    let want = desired([with("new-tag")]);
    assert_eq!(fields(&planned(&world, &want)), ["secrets.API_KEY: - → \"changed\""]);
    world.memory.resources.clear();
    assert_eq!(fields(&planned(&world, &want)), ["secrets: - → \"changed\""]);
}

#[test]
fn unknown_is_never_a_change() {
    let mut world = deployed(&[plain("shop")]);
    world.down.insert(name("local"));
    let plan = planned(&world, &desired([plain("shop"), plain("new")]));
    assert!(plan.changes.is_empty());
    assert_eq!(plan.unknown.len(), 2);
    // Nor what a partial listing did not cover, nor a provider that is in no settings.
    let mut snapshot = World::new().snapshot();
    snapshot.providers.get_mut(&name("local")).unwrap().as_mut().unwrap().scope = Scope::Ids([app("other")].into());
    let lonely = resource("lonely", |spec| spec.provider = name("gone"));
    let plan = super::plan(&desired([plain("shop"), lonely]), &revision(1), &owner(), &snapshot, &world.memory);
    assert_eq!((plan.changes.len(), plan.unknown.len()), (0, 2));
}

#[test]
fn no_second_copy_is_made_while_the_first_may_live_out_of_reach() {
    let mut world = deployed(&[plain("shop")]);
    world.down.insert(name("local"));
    let moved = desired([resource("shop", |spec| spec.provider = name("edge"))]);
    let plan = planned(&world, &moved);
    assert_eq!((plan.changes.len(), plan.unknown.len()), (0, 1));
    assert!(plan.unknown[0].1.0.contains("it may still live on provider local"));
    world.down.clear();
    let change = &planned(&world, &moved).changes[0];
    assert_eq!((change.verb, change.from_provider.as_ref()), (Verb::Move, Some(&name("local"))));
}

#[test]
fn no_second_one_is_made_under_a_new_name_while_the_old_one_is_silent() {
    let mut world = deployed(&[plain("shop")]);
    let mut renamed = Resource::clone(&plain("store"));
    renamed.was = vec![app("shop")];
    let renamed = desired([digested(renamed)]);
    world.mute.insert(app("shop"));
    let plan = planned(&world, &renamed);
    assert_eq!((plan.changes.len(), plan.unknown.len()), (0, 1), "{plan:?}");
    assert!(plan.unknown[0].1.0.contains("it may still live as app/shop"), "{plan:?}");
    let passed = world.settle(&renamed, &revision(2));
    assert_eq!(status(&passed, "store").0, Sync::Unknown);
    assert!(!world.live[&name("local")].contains_key(&app("store")), "nothing is made from Unknown");
    world.mute.clear();
    world.settle(&renamed, &revision(2));
    assert_eq!(world.live[&name("local")].keys().collect::<Vec<_>>(), [&app("store")]);
}

#[test]
fn what_lives_under_the_old_name_beside_the_new_one_is_held_until_a_commit_lets_it_go() {
    let mut world = deployed(&[plain("shop")]);
    let late = world.object("local", "shop").clone();
    let mut renamed = Resource::clone(&plain("store"));
    renamed.was = vec![app("shop")];
    let renamed = unguarded(desired([digested(renamed)]));
    world.settle(&renamed, &revision(2));
    // A step of the revision before was still on its way.
    world.live.get_mut(&name("local")).unwrap().insert(app("shop"), late);
    let passed = world.settle(&renamed, &revision(2));
    let Decision::Held { why, .. } = &passed.judged.decisions[&app("shop")] else { panic!() };
    assert!(why.contains("take app/shop out of its `was`"), "{why}");
    assert!(world.live[&name("local")].contains_key(&app("shop")), "it may be what was to be kept");
    // What is leaving is in nobody's way.
    world.object("local", "store").leaves = true;
    assert!(!planned(&world, &renamed).changes.iter().any(|change| change.id == app("shop")));
    world.object("local", "store").leaves = false;
    world.settle(&unguarded(desired([plain("store")])), &revision(3));
    assert_eq!(world.live[&name("local")].keys().collect::<Vec<_>>(), [&app("store")]);
}

#[test]
fn an_object_that_is_not_ours_is_held_until_adopted() {
    let mut world = World::new();
    let shop = plain("shop");
    world.live.get_mut(&name("local")).unwrap().insert(app("shop"), empty(None, shop.spec.clone()));
    let plan = planned(&world, &desired([Arc::clone(&shop)]));
    assert!(plan.changes[0].held.as_ref().unwrap().contains("is not ours"));
    let mut adopted = shop.as_ref().clone();
    adopted.adopt = true;
    let adopted = desired([Arc::new(adopted)]);
    assert_eq!(
        (planned(&world, &adopted).changes[0].verb, &planned(&world, &adopted).changes[0].held),
        (Verb::Adopt, &None)
    );
    let passed = world.settle(&adopted, &revision(1));
    assert_eq!(status(&passed, "shop").0, Sync::Synced);
    // A stranger's object is neither adopted nor, undeclared, deleted.
    world.object("local", "shop").stamp.as_mut().unwrap().owner = "else/prod".parse().unwrap();
    assert!(planned(&world, &adopted).changes[0].held.as_ref().unwrap().contains("belongs to else/prod"));
    assert!(planned(&world, &desired([])).changes.is_empty());
}

#[test]
fn what_another_environment_of_this_repository_made_is_held_and_can_be_taken_over() {
    let mut world = deployed(&[plain("shop")]);
    world.object("local", "shop").stamp.as_mut().unwrap().owner = "acme-ops".parse().unwrap();
    let held = planned(&world, &desired([plain("shop")])).changes[0].held.clone().unwrap();
    assert!(held.contains("put the environment back, or say `adopt: true`"), "{held}");
    let passed = world.settle(&desired([plain("shop")]), &revision(1));
    assert_eq!(status(&passed, "shop").1, Health::Healthy, "somebody else's, and well");
    world.history.clear();
    let mut adopted = plain("shop").as_ref().clone();
    adopted.adopt = true;
    let passed = world.settle(&desired([Arc::new(adopted)]), &revision(1));
    assert_eq!(world.history.iter().map(|(_, word)| *word).collect::<Vec<_>>(), ["adopt"], "and nothing restarts");
    assert_eq!(status(&passed, "shop").0, Sync::Synced);
}

#[test]
fn an_unreadable_file_deletes_nothing_and_holds_what_it_declared() {
    let world = deployed(&[plain("shop"), plain("store")]);
    let mut broken = desired([]);
    broken.held.insert(app("shop"), "apps/shop.yaml cannot be read".to_owned());
    let plan = planned(&world, &broken);
    assert_eq!((plan.changes.len(), plan.changes[0].id.clone()), (1, app("store")));
    broken.undeletable = Undeletable::all("apps/x.yaml cannot be read".to_owned());
    let plan = planned(&world, &broken);
    assert_eq!((plan.changes.len(), plan.kept.len()), (0, 2));
}

#[test]
fn drift_is_repaired_in_place() {
    let mut world = deployed(&[plain("shop")]);
    let drift = FieldDrift { field: "port.number".to_owned(), expected: json!(8080), found: json!(8081), waits: None };
    world.object("local", "shop").drift = vec![drift];
    let plan = planned(&world, &desired([plain("shop")]));
    assert_eq!((plan.changes[0].verb, fields(&plan)), (Verb::Repair, vec!["port.number: 8081 → 8080".to_owned()]));
    assert_eq!(plan.changes[0].cause.to_string(), "drift: port.number is 8081 where 8080 was applied");
    world.settle(&desired([plain("shop")]), &revision(1));
    assert_eq!(world.history.len(), 1);
}

#[test]
fn a_digest_of_another_version_restarts_nothing() {
    let mut world = deployed(&[plain("shop")]);
    let other = |digest: &Digest| digest.as_str().replace("v1:", "v7:").replace('a', "b").parse::<Digest>().unwrap();
    let live = world.object("local", "shop");
    let stamp = live.stamp.as_mut().unwrap();
    (stamp.spec, stamp.template) = (other(&stamp.spec), other(&stamp.template));
    live.instances[0].template = other(&live.instances[0].template);
    assert!(planned(&world, &desired([plain("shop")])).changes.is_empty());
    let changed = resource("shop", |spec| spec.replicas = 2);
    assert_eq!(planned(&world, &desired([changed])).changes[0].verb, Verb::Update);
    let changed = resource("shop", |spec| drop(spec.env.insert("A".to_owned(), "b".to_owned())));
    assert_eq!(planned(&world, &desired([changed])).changes[0].verb, Verb::Replace);
}

#[test]
fn dependencies_come_first_and_deletes_last_in_reverse() {
    let after = |id: &str, on: &[&str]| resource(id, |spec| spec.after = on.iter().map(|on| app(on)).collect());
    let old = [plain("old-a"), after("old-b", &["old-a"])];
    let world = deployed(&old);
    let plan = planned(&world, &desired([after("a", &["c"]), after("b", &["a"]), plain("c"), plain("d")]));
    let order: Vec<&str> = plan.changes.iter().map(|c| c.id.name.as_str()).collect();
    assert_eq!(order, ["c", "a", "b", "d", "old-b", "old-a"]);
}

/// Ten thousand apps as they should be, for the measurement below.
fn many(count: usize) -> (Desired, Snapshot, crate::model::Memory) {
    let template = plain("x");
    let all = (0..count).map(|n| {
        let mut r = template.as_ref().clone();
        r.id = app(&format!("app-{n:05}"));
        Arc::new(r)
    });
    let want = desired(all);
    let mut world = deployed(std::slice::from_ref(&template));
    let one = world.object("local", "x").clone();
    let memory = world.memory.resources[&app("x")].clone();
    world.live.get_mut(&name("local") as &Name).unwrap().clear();
    world.memory.resources.clear();
    for (id, resource) in &want.resources {
        let mut memory: ResourceMemory = memory.clone();
        memory.last_good.as_mut().unwrap().resource = Arc::clone(resource);
        world.memory.resources.insert(id.clone(), memory);
        world.live.get_mut(&name("local")).unwrap().insert(id.clone(), one.clone());
    }
    (want, world.snapshot(), world.memory)
}

#[test]
fn ten_thousand_unchanged_are_planned_and_judged() {
    let (want, snapshot, memory) = many(10_000);
    let facts = crate::policy::Facts {
        now: "2026-11-20T10:00:00Z".parse().unwrap(),
        memory: &memory,
        snapshot: &snapshot,
        revision: &revision(1),
        freeze: None,
    };
    let plan = plan(&want, &revision(1), &owner(), &snapshot, &memory);
    let judged = crate::policy::judge(&plan, &want, &facts);
    assert_eq!((plan.unchanged.len(), plan.changes.len(), judged.decisions.len()), (10_000, 0, 0));
}

#[test]
fn what_lives_as_another_teams_is_taken_over_only_where_that_team_allows_it() {
    let of = |id: &str, was: &[&str], team: &str| {
        let mut resource = plain(id).as_ref().clone();
        resource.team = name(team);
        resource.was = was.iter().map(|was| app(was)).collect();
        Arc::new(resource)
    };
    let world = deployed(&[plain("shop")]);
    let granted = |resource: Arc<Resource>, allow: &[&str]| {
        let mut desired = desired([resource]);
        desired.reach = [(name("payments"), allow.iter().map(|team| name(team)).collect())].into();
        desired.reach.insert(name("platform"), Default::default());
        planned(&world, &desired)
    };
    let takeovers = [of("steal", &["shop"], "platform"), of("shop", &[], "platform")];
    for resource in takeovers {
        let plan = granted(Arc::clone(&resource), &[]);
        assert!(plan.unchanged.is_empty());
        let held = plan.changes[0].held.as_ref().unwrap();
        assert!(held.contains("belongs to the team payments"), "{held}");
        assert!(held.contains("`teams.payments.allow`"), "{held}");
        // Neither another team's word nor its own counts.
        assert!(granted(Arc::clone(&resource), &["audit"]).changes[0].held.is_some());
        assert!(granted(Arc::clone(&resource), &["platform"]).changes.iter().all(|change| change.held.is_none()));
        // Without teams in the settings whoever writes may do all.
        assert!(planned(&world, &desired([resource])).changes.iter().all(|change| change.held.is_none()));
    }
    assert!(granted(of("renamed", &["shop"], "payments"), &[]).changes[0].held.is_none());
    let moved = resource("shop", |spec| spec.provider = name("edge"));
    let theirs = Resource { team: name("platform"), ..moved.as_ref().clone() };
    assert!(granted(Arc::new(theirs), &[]).changes[0].held.is_some());
    assert!(granted(moved, &[]).changes[0].held.is_none());
}

#[test]
fn who_may_not_have_what_lives_keeps_nobody_from_removing_it_by_having_been_called_so() {
    let heir =
        |team: &str| Arc::new(Resource { team: name(team), was: vec![app("shop")], ..plain("heir").as_ref().clone() });
    let removed = |heir: Arc<Resource>, lives: bool, allow: Option<&[&str]>| {
        let world = if lives { deployed(&[plain("shop"), Arc::clone(&heir)]) } else { deployed(&[plain("shop")]) };
        let mut desired = desired([heir]);
        if let Some(allow) = allow {
            desired.reach = [(name("payments"), allow.iter().map(|team| name(team)).collect())].into();
            desired.reach.insert(name("platform"), Default::default());
        }
        let plan = planned(&world, &desired);
        plan.changes.into_iter().find(|change| change.id == app("shop")).map(|change| (change.verb, change.held))
    };
    for lives in [false, true] {
        assert_eq!(removed(heir("platform"), lives, Some(&[])), Some((Verb::Delete, None)));
    }
    let rightful: [(_, Option<&[&str]>); 3] =
        [(heir("platform"), Some(&["platform"])), (heir("payments"), Some(&[])), (heir("platform"), None)];
    for (heir, allow) in rightful {
        let (verb, held) = removed(Arc::clone(&heir), true, allow).expect("both live");
        assert!(verb == Verb::Delete && held.is_some_and(|why| why.contains("both live")), "{allow:?}");
        assert_eq!(removed(heir, false, allow), None, "it is to be renamed");
    }
}

#[test]
fn a_move_to_another_team_ends_with_its_stamp_and_restarts_nothing() {
    let theirs = || Arc::new(Resource { team: name("platform"), ..plain("shop").as_ref().clone() });
    let granting = |resource: Arc<Resource>, allow: &[&str]| {
        let mut desired = desired([resource]);
        desired.reach = [(name("payments"), allow.iter().map(|team| name(team)).collect())].into();
        desired.reach.insert(name("platform"), Default::default());
        desired
    };
    let mut world = deployed(&[plain("shop")]);
    let want = granting(theirs(), &["platform"]);
    let plan = planned(&world, &want);
    assert_eq!(
        (plan.changes[0].verb, fields(&plan)),
        (Verb::Update, vec![r#"metadata.team: "payments" → "platform""#.to_owned()])
    );
    world.settle(&want, &revision(2));
    assert_eq!(world.history, [(app("shop"), "configure")]);
    assert_eq!(world.memory.resources[&app("shop")].last_good.as_ref().unwrap().resource.team, name("platform"));
    // What was taken over stays, whatever becomes of the grant.
    let plan = planned(&world, &granting(theirs(), &[]));
    assert_eq!((plan.changes.len(), plan.unchanged.len()), (0, 1));
    let back = planned(&world, &granting(plain("shop"), &["platform"]));
    assert!(back.changes[0].held.as_ref().unwrap().contains("belongs to the team platform"));
    let world = deployed(&[plain("shop")]);
    let rendered = crate::policy::render(&planned(&world, &want), &crate::policy::Judged::default(), false);
    insta::assert_snapshot!(rendered, @r#"
    Plan: 1 to update.

    ~ app/shop update  provider local · team platform · apps/shop.yaml:1 · revision 0000000
        metadata.team: "payments" → "platform"
    "#);
}
