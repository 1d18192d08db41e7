//! What holds for any two wishes, wherever what leads from one to the other is cut off.

use proptest::prelude::{
    Just, ProptestConfig, TestCaseError, any, prop, prop_assert, prop_assert_eq, prop_oneof, proptest,
};
use proptest::strategy::Strategy as Wishes;

use super::*;

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
                // Overtaken by the third before it came to rest. What of it was held would stay so, and what it asked for would be
                // judged by what there was then.
                rough.memory.resources.values_mut().for_each(|it| (it.removal_held, it.dropped_at) = (false, None));
                continue;
            }
            smooth.settle(&want, &revision);
            // What the overtaken one left behind may be too much to go unasked.
            let asks = rough.settle(&want, &revision).judged.holds;
            if !asks.is_empty() {
                let now = rough.now;
                rough.memory.allowed.extend(asks.into_iter().map(|hold| (hold.id, now)));
                rough.settle(&want, &revision);
            }
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
