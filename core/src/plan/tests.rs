//! Plans of single moments, and the laws that hold for all of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::{
    Just, ProptestConfig, TestCaseError, any, prop, prop_assert, prop_assert_eq, prop_oneof, proptest,
};
use proptest::strategy::Strategy as Wishes;
use serde_json::json;

use super::sim::{World, app, desired, digested, empty, name, owner, resource, revision, status};
use super::{Plan, plan};
use crate::desired::Desired;
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
    broken.deletes_nothing = Some("apps/x.yaml cannot be read".to_owned());
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

/// Five apps that may be declared, each with what matters to a rollout.
#[derive(Debug, Clone)]
struct Wish {
    declared: bool,
    log: u8,
    replicas: u32,
    strategy: Strategy,
    surge: u32,
    unavailable: u32,
    after: bool,
    edge: bool,
    check: u8,
}

/// A check at this path.
fn check(path: &str) -> HealthCheck {
    let check =
        json!({"probe": {"http": path}, "interval": "1s", "timeout": "1s", "startTimeout": "9s", "failures": 3});
    serde_json::from_value(check).unwrap()
}

fn wish() -> impl Wishes<Value = Wish> {
    let strategy = prop_oneof![3 => Just(Strategy::Rolling), 1 => Just(Strategy::Recreate)];
    let numbers = (0..3_u8, 0..4_u32, 0..3_u32, 0..2_u32, 0..3_u8);
    (any::<bool>(), numbers, strategy, any::<bool>(), prop::bool::weighted(0.2)).prop_map(
        |(declared, (log, replicas, surge, unavailable, check), strategy, after, edge)| Wish {
            declared,
            log,
            replicas,
            strategy,
            surge,
            unavailable,
            after,
            edge,
            check,
        },
    )
}

fn wishes() -> impl Wishes<Value = Desired> {
    prop::collection::vec(wish(), 5).prop_map(|wishes| {
        let mut all = vec![plain("always")];
        for (n, wish) in wishes.iter().enumerate().filter(|(_, wish)| wish.declared) {
            all.push(resource(&format!("app-{n}"), |spec| {
                spec.env.insert("LOG".to_owned(), wish.log.to_string());
                spec.replicas = wish.replicas;
                spec.rollout.strategy = wish.strategy;
                spec.health = (wish.check > 0).then(|| check(&format!("/{}", wish.check)));
                (spec.rollout.surge, spec.rollout.unavailable) = (wish.surge, wish.unavailable);
                if wish.edge {
                    spec.provider = name("edge");
                }
                // On an app before it, so that there is no circle; it may also be one that is not declared.
                let before = n.checked_sub(1).filter(|n| wish.after && wishes[*n].declared);
                spec.after = before.map(|n| app(&format!("app-{n}"))).into_iter().collect();
            }));
        }
        unguarded(desired(all))
    })
}

/// With a blast radius that lets everything go, where something else is tested.
fn unguarded(mut desired: Desired) -> Desired {
    desired.repository.blast_radius.percent = 100;
    desired
}

fn as_declared(world: &World, want: &Desired) -> Result<(), TestCaseError> {
    let all: usize = world.live.values().map(BTreeMap::len).sum();
    prop_assert_eq!(all, want.resources.len());
    for (id, declared) in &want.resources {
        let live = &world.live[&declared.spec.provider][id];
        prop_assert_eq!(&live.stamp.as_ref().unwrap().spec, &declared.spec_digest);
        prop_assert_eq!(live.instances.len(), declared.spec.replicas as usize);
        prop_assert!(live.instances.iter().all(|i| i.template == declared.template_digest));
    }
    Ok(())
}

/// As few as may be healthy between two healthy states, if the rollout promises a number.
fn promised(from: &Desired, to: &Desired) -> BTreeMap<crate::model::ResourceId, usize> {
    let pairs = to.resources.iter().filter_map(|(id, to)| from.resources.get(id).map(|from| (id, from, to)));
    let rolling = pairs.filter(|(_, _, to)| to.spec.rollout.strategy == Strategy::Rolling);
    rolling
        .map(|(id, from, to)| {
            let floor = from.spec.replicas.min(to.spec.replicas);
            (id.clone(), floor.saturating_sub(to.spec.rollout.unavailable) as usize)
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn checks_that_are_wrong_change_nothing_that_runs_and_are_pinned(first in wishes()) {
        let mut world = World::new();
        world.bad_paths.insert("/wrong".to_owned());
        world.settle(&first, &revision(1));
        let before = world.essence();
        world.history.clear();
        let mut second = first.clone();
        for shop in second.resources.values_mut() {
            let mut wrong = shop.as_ref().clone();
            wrong.spec.health = Some(check("/wrong"));
            *shop = digested(wrong);
        }
        world.settle(&second, &revision(2));
        prop_assert!(world.history.iter().all(|(_, word)| *word == "configure"), "{:?}", world.history);
        // What runs nothing has nothing to show for or against its check.
        let runs = |text: &&String| !text.ends_with("[]");
        let (after, before) = (world.essence(), before.iter().filter(runs).cloned().collect::<Vec<_>>());
        prop_assert_eq!(after.iter().filter(runs).cloned().collect::<Vec<_>>(), before);
        let goods = world.memory.resources.values().filter_map(|memory| memory.last_good.as_ref());
        prop_assert!(goods.into_iter().all(|good| good.resource.spec.health != Some(check("/wrong"))));
    }

    #[test]
    fn applying_a_plan_gives_what_is_desired_and_a_second_plan_is_empty(first in wishes(), second in wishes()) {
        let mut world = World::new();
        world.settle(&first, &revision(1));
        as_declared(&world, &first)?;
        world.least.clear();
        world.settle(&second, &revision(2));
        as_declared(&world, &second)?;
        let again = planned(&world, &second);
        prop_assert!(again.changes.is_empty() && again.unknown.is_empty() && again.kept.is_empty());
        prop_assert_eq!(again.unchanged.len(), second.resources.len());
        for (id, floor) in promised(&first, &second) {
            let least = world.least.get(&id).copied().unwrap_or(usize::MAX);
            prop_assert!(least >= floor, "{} had {} healthy, promised {}", id, least, floor);
        }
    }

    #[test]
    fn cut_off_anywhere_and_resumed_the_end_is_the_same(
        first in wishes(), second in wishes(), third in wishes(), cuts in prop::collection::vec(0..5_usize, 6),
    ) {
        let mut smooth = World::new();
        let mut rough = World::new();
        for (n, want) in [first, second, third].into_iter().enumerate() {
            let revision = revision(u8::try_from(n).unwrap() + 1);
            for cut in &cuts {
                rough.fuse = Some(*cut);
                rough.pass(&want, &revision);
                rough.tick(1);
            }
            rough.fuse = None;
            if n == 1 {
                continue; // Overtaken by the third before it came to rest.
            }
            rough.settle(&want, &revision);
            smooth.settle(&want, &revision);
            prop_assert_eq!(smooth.essence(), rough.essence());
        }
    }

    #[test]
    fn a_bad_template_always_ends_at_the_last_good_with_a_pin(
        replicas in 1..4_u32, surge in 0..3_u32, unavailable in 0..2_u32, recreate in any::<bool>(), crash in any::<bool>(),
    ) {
        let shop = |log: &str| resource("shop", |spec| {
            spec.env.insert("LOG".to_owned(), log.to_owned());
            spec.replicas = replicas;
            (spec.rollout.surge, spec.rollout.unavailable) = (surge, unavailable);
            if recreate {
                spec.rollout.strategy = Strategy::Recreate;
            }
        });
        let mut world = deployed(&[shop("good")]);
        let (before, bad) = (world.essence(), shop("bad"));
        let how = if crash { InstanceHealth::CrashLoop } else { InstanceHealth::Unhealthy };
        world.bad.insert(bad.template_digest.clone(), how);
        world.least.clear();
        let passed = world.settle(&desired([Arc::clone(&bad)]), &revision(2));
        prop_assert_eq!(world.essence(), before);
        prop_assert!(world.memory.resources[&app("shop")].pins.contains_key(&bad.template_digest));
        prop_assert_eq!((status(&passed, "shop").0, status(&passed, "shop").1), (Sync::Held, Health::Healthy));
        if !recreate {
            prop_assert!(world.least[&app("shop")] >= (replicas - unavailable.min(replicas)) as usize);
        }
    }

    #[test]
    fn no_removal_beyond_its_budget(count in 3..24_usize, left in 1..24_usize, percent in 0..101_u8) {
        let all: Vec<_> = (0..count).map(|n| plain(&format!("app-{n:02}"))).collect();
        let left = left.min(count);
        let mut world = deployed(&all);
        world.memory.revision.blast_percent = Some(percent);
        world.settle(&unguarded(desired(all[..left].iter().cloned())), &revision(2));
        let gone = count - world.essence().len();
        let allowed = 2.max(count * usize::from(percent) / 100);
        prop_assert_eq!(gone, if count - left <= allowed { count - left } else { 0 });
    }
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
        assert_eq!((plan.changes.len(), plan.unchanged.len()), (1, 0));
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
