//! Each action on live objects as they are met: what it comes to, and how it is getting on.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::{Lowered, Situation, lower, progress};
use crate::model::{
    Action, Instance, InstanceHealth, InstanceId, InstanceState, LastGood, Live, Memory, Name, OnFailure, Pin,
    Progress, Renewal, Resource, ResourceMemory, RunId, Strategy,
};
use crate::plan::sim::{World, app, desired, empty, name, resource, revision, status};

const RUN: RunId = RunId(7);

fn now() -> Timestamp {
    "2026-11-20T10:00:00Z".parse().unwrap()
}

fn ago(seconds: i64) -> Timestamp {
    now().checked_sub(SignedDuration::from_secs(seconds)).unwrap()
}

fn shop(strategy: Strategy, log: &str) -> Arc<Resource> {
    resource("shop", |spec| {
        spec.replicas = 3;
        spec.rollout.strategy = strategy;
        spec.env.insert("LOG".to_owned(), log.to_owned());
    })
}

fn id(resource: &Resource, ordinal: u32) -> InstanceId {
    InstanceId::new(&resource.template_digest, ordinal).unwrap()
}

/// A live object with an instance for each of these, made an hour ago.
fn live(resource: &Resource, healths: &[InstanceHealth]) -> Live {
    let mut live = empty(None, resource.spec.clone());
    live.instances = (1..).zip(healths).map(|(ordinal, health)| instance(resource, ordinal, *health)).collect();
    live
}

fn instance(resource: &Resource, ordinal: u32, health: InstanceHealth) -> Instance {
    Instance {
        id: id(resource, ordinal),
        template: resource.template_digest.clone(),
        state: InstanceState::Running,
        health,
        created_at: ago(3_600),
        health_since: ago(3_600),
        on_trial: false,
        started_at: Some(ago(3_600)),
        restarts: 0,
        losses: 0,
        pid: None,
        port: None,
        why: None,
    }
}

fn good(resource: &Arc<Resource>) -> Option<LastGood> {
    Some(LastGood { resource: Arc::clone(resource), revision: None, at: ago(3_600) })
}

/// A target and what is known of it.
struct Case {
    declared: Arc<Resource>,
    live: Option<Live>,
    memory: ResourceMemory,
    playbook: Name,
}

impl Case {
    fn of(declared: Arc<Resource>, healths: &[InstanceHealth]) -> Self {
        let live = Some(live(&declared, healths));
        Self { declared, live, memory: ResourceMemory::default(), playbook: name("shop-down") }
    }

    fn situation(&self) -> Situation<'_> {
        let Self { declared, live, memory, playbook } = self;
        Situation { declared, live: live.as_ref(), memory, run: RUN, playbook, now: now() }
    }

    fn lower(&self, action: Action, with: Value) -> Result<Lowered, String> {
        let with: BTreeMap<String, Value> = serde_json::from_value(with).unwrap();
        lower(action, &with, &self.situation())
    }

    /// The ordinals of the instances that make way, and whether any of them works.
    fn renewed(&self, action: Action, with: Value) -> (Vec<u32>, bool) {
        let lowered = self.lower(action, with);
        let Ok(Lowered::Renew { renewal, healthy }) = lowered else { panic!("{lowered:?}") };
        assert_eq!((renewal.at, renewal.run, &renewal.playbook), (now(), RUN, &self.playbook));
        ((1..10).filter(|ordinal| renewal.instances.contains(&id(&self.declared, *ordinal))).collect(), healthy)
    }

    fn progress(&self, action: Action) -> Progress {
        progress(action, &self.situation())
    }
}

const HEALTHY: InstanceHealth = InstanceHealth::Healthy;
const ILL: InstanceHealth = InstanceHealth::Unhealthy;

#[test]
fn a_restart_concerns_every_instance_but_one_that_stops() {
    let mut case = Case::of(shop(Strategy::Rolling, "info"), &[HEALTHY, ILL, HEALTHY]);
    assert_eq!(case.renewed(Action::AppRestart, json!({})), (vec![1, 2, 3], true));
    case.live.as_mut().unwrap().instances[0].state = InstanceState::Stopping;
    assert_eq!(case.renewed(Action::AppRestart, json!({})), (vec![2, 3], true));
    case.live.as_mut().unwrap().instances.clear();
    let lowered = case.lower(Action::AppRestart, json!({}));
    assert_eq!(lowered, Ok(Lowered::Nothing("app/shop has no instance that it concerns".to_owned())));
}

#[test]
fn a_replace_concerns_the_unhealthy_unless_it_says_all() {
    let starting = InstanceHealth::Starting;
    let case = Case::of(shop(Strategy::Rolling, "info"), &[HEALTHY, ILL, starting, InstanceHealth::CrashLoop]);
    assert_eq!(case.renewed(Action::AppReplace, json!({})), (vec![2, 3, 4], false), "nothing that works is disturbed");
    assert_eq!(case.renewed(Action::AppReplace, json!({"instances": "unhealthy"})), (vec![2, 3, 4], false));
    assert_eq!(case.renewed(Action::AppReplace, json!({"instances": "all"})), (vec![1, 2, 3, 4], true));
    let error = case.lower(Action::AppReplace, json!({"instances": "some"})).unwrap_err();
    assert_eq!(error, "`instances` is `unhealthy`, `one` or `all`, not `some`");
    let well = Case::of(shop(Strategy::Rolling, "info"), &[HEALTHY, HEALTHY]);
    assert!(matches!(well.lower(Action::AppReplace, json!({})), Ok(Lowered::Nothing(_))));
}

#[test]
fn recreate_never_takes_the_last_healthy_instance_away() {
    let case = Case::of(shop(Strategy::Recreate, "info"), &[HEALTHY, ILL, ILL]);
    let all = json!({"instances": "all"});
    for lowered in [case.lower(Action::AppRestart, json!({})), case.lower(Action::AppReplace, all)] {
        assert!(lowered.unwrap_err().contains("the last healthy instance is never taken away"));
    }
    assert_eq!(case.renewed(Action::AppReplace, json!({})), (vec![2, 3], false), "the ill ones may go");
    let down = Case::of(shop(Strategy::Recreate, "info"), &[ILL, ILL, ILL]);
    assert_eq!(down.renewed(Action::AppRestart, json!({})), (vec![1, 2, 3], false), "there is nothing to lose");
}

#[test]
fn the_only_instance_that_nothing_may_run_beside_is_not_taken_away_while_healthy() {
    let alone = |healths| {
        let declared = resource("shop", |spec| (spec.rollout.surge, spec.rollout.unavailable) = (0, 1));
        Case::of(declared, healths)
    };
    let all = json!({"instances": "all"});
    for lowered in [
        alone(&[HEALTHY]).lower(Action::AppRestart, json!({})),
        alone(&[HEALTHY]).lower(Action::AppReplace, all.clone()),
    ] {
        let error = lowered.unwrap_err();
        assert!(
            error.contains("`surge: 0`") && error.contains("the last healthy instance is never taken away"),
            "{error}"
        );
    }
    assert_eq!(alone(&[ILL]).renewed(Action::AppRestart, json!({})), (vec![1], false), "an ill one may always go");
    assert_eq!(alone(&[ILL]).renewed(Action::AppReplace, json!({})), (vec![1], false));
}

/// The mark alone says nothing of the order: the rollout that carries it out does.
#[test]
fn a_renewed_app_always_has_a_healthy_instance() {
    for (strategy, replicas, surge, unavailable, is_refused) in [
        (Strategy::Rolling, 1, 1, 0, false),
        (Strategy::Rolling, 1, 1, 1, false),
        (Strategy::Rolling, 1, 0, 1, true),
        (Strategy::Rolling, 2, 0, 2, false),
        (Strategy::Rolling, 3, 0, 7, false),
        (Strategy::Recreate, 1, 0, 0, true),
        (Strategy::Recreate, 2, 0, 0, true),
    ] {
        let told = format!("{strategy:?}, {replicas}, surge {surge}, unavailable {unavailable}");
        let declared = resource("shop", |spec| {
            spec.replicas = replicas;
            (spec.rollout.strategy, spec.rollout.surge, spec.rollout.unavailable) = (strategy, surge, unavailable);
        });
        let wanted = desired([Arc::clone(&declared)]);
        let mut world = World::new();
        world.settle(&wanted, &revision(1));
        // An id is given again once its instance is gone.
        let ids = |world: &mut World| -> Vec<(InstanceId, Timestamp)> {
            world.object("local", "shop").instances.iter().map(|i| (i.id.clone(), i.created_at)).collect()
        };
        let before = ids(&mut world);
        world.tick(60);
        let mut case = Case::of(Arc::clone(&declared), &[]);
        case.memory = Memory::clone(&world.memory).resources[&app("shop")].clone();
        case.live = Some(world.object("local", "shop").clone());
        let renewal =
            match lower(Action::AppRestart, &BTreeMap::new(), &Situation { now: world.now, ..case.situation() }) {
                Ok(Lowered::Renew { renewal, healthy: true }) if !is_refused => renewal,
                // They were ill when the run said so, and have come round before they were ended.
                Err(_) if is_refused => {
                    let (instances, playbook) =
                        (before.iter().map(|(id, _)| id.clone()).collect(), case.playbook.clone());
                    Renewal { at: world.now, instances, run: RUN, playbook, over: false }
                }
                lowered => panic!("{told}: {lowered:?}"),
            };
        world.memory.resources.get_mut(&app("shop")).unwrap().renewal = Some(renewal);
        world.least.clear();
        let passed = world.settle(&wanted, &revision(1));
        assert!(
            world.least.get(&app("shop")).is_none_or(|least| *least >= 1),
            "{told}: a new one was healthy before the last healthy one went"
        );
        let after = ids(&mut world);
        assert_eq!(after.len(), before.len(), "{told}: {after:?}");
        case.memory = Memory::clone(&world.memory).resources[&app("shop")].clone();
        case.live = Some(world.object("local", "shop").clone());
        let progress = case.progress(Action::AppRestart);
        if is_refused && replicas == 1 {
            assert_eq!(after, before, "{told}");
            let Progress::Failed(error) = progress else { panic!("{told}: {progress:?}") };
            assert!(error.contains("the last healthy instance is never taken away"), "{told}: {error}");
            // With its run it is over, and the instance stays.
            let shop = world.memory.resources.get_mut(&app("shop")).unwrap();
            shop.renewal.as_mut().unwrap().over = true;
            let passed = world.settle(&wanted, &revision(1));
            assert_eq!((status(&passed, "shop").2, ids(&mut world)), (String::new(), before), "{told}");
        } else {
            assert!(after.iter().all(|id| !before.contains(id)), "{told}: {after:?}");
            assert!(matches!(progress, Progress::Done(_)), "{told}: {progress:?}");
            assert_eq!(status(&passed, "shop").2, "", "{told}");
        }
    }
}

#[test]
fn a_commit_may_still_take_the_only_instance_away_as_its_rollout_says() {
    let alone = |log: &str| {
        resource("shop", |spec| {
            (spec.rollout.surge, spec.rollout.unavailable) = (0, 1);
            spec.env.insert("LOG".to_owned(), log.to_owned());
        })
    };
    let mut world = World::new();
    world.settle(&desired([alone("info")]), &revision(1));
    world.tick(60);
    let instances = world.object("local", "shop").instances.iter().map(|i| i.id.clone()).collect();
    let renewal = Renewal { at: world.now, instances, run: RUN, playbook: name("shop-down"), over: false };
    world.memory.resources.get_mut(&app("shop")).unwrap().renewal = Some(renewal);
    let passed = world.settle(&desired([alone("debug")]), &revision(2));
    assert_eq!(status(&passed, "shop").2, "", "a run that says so as well keeps it from nothing");
    assert_eq!(world.object("local", "shop").instances[0].template, alone("debug").template_digest);
}

#[test]
fn a_renewal_goes_on_until_all_have_made_way_and_the_new_ones_are_healthy() {
    let mut case = Case::of(shop(Strategy::Rolling, "info"), &[HEALTHY, HEALTHY, HEALTHY]);
    let Ok(Lowered::Renew { renewal, .. }) = case.lower(Action::AppRestart, json!({})) else { panic!() };
    let told = json!({ "instances": renewal.instances });
    case.memory.renewal = Some(renewal);
    let going = |text: &str| Progress::Going(text.to_owned());
    assert_eq!(case.progress(Action::AppRestart), going("3 of 3 instances still to make way"));
    // New ones have the same ids here; what counts is when they were made.
    for (nth, left) in [(0, "2 of 3 instances still to make way"), (1, "1 of 3 instances still to make way")] {
        case.live.as_mut().unwrap().instances[nth].created_at = now();
        assert_eq!(case.progress(Action::AppRestart), going(left));
    }
    let last = &mut case.live.as_mut().unwrap().instances[2];
    (last.created_at, last.health) = (now(), InstanceHealth::Starting);
    assert_eq!(case.progress(Action::AppRestart), going("the new instances of app/shop are Progressing"));
    case.live.as_mut().unwrap().instances[2].health = HEALTHY;
    assert_eq!(case.progress(Action::AppRestart), Progress::Done(told));
    let live = case.live.take();
    assert_eq!(case.progress(Action::AppRestart), going("what lives of app/shop is not known"));
    // Another run has marked it since: that one is its owner now.
    case.live = live;
    case.memory.renewal.as_mut().unwrap().run = RunId(8);
    assert_eq!(case.progress(Action::AppRestart), Progress::Done(json!({"instances": []})));
}

#[test]
fn a_renewal_whose_new_instances_fail_is_not_waited_out() {
    for (failing, why, told) in
        [(InstanceHealth::CrashLoop, Some("exit code 1"), "exit code 1"), (ILL, None, "its health check fails")]
    {
        let mut case = Case::of(shop(Strategy::Rolling, "info"), &[HEALTHY, HEALTHY, HEALTHY]);
        let Ok(Lowered::Renew { renewal, .. }) = case.lower(Action::AppRestart, json!({})) else { panic!() };
        case.memory.renewal = Some(renewal);
        let first = &mut case.live.as_mut().unwrap().instances[0];
        (first.created_at, first.health, first.why) = (now(), InstanceHealth::Starting, why.map(str::to_owned));
        assert!(matches!(case.progress(Action::AppRestart), Progress::Going(_)), "it may come up yet");
        case.live.as_mut().unwrap().instances[0].health = failing;
        let progress = case.progress(Action::AppRestart);
        let Progress::Failed(error) = progress else { panic!("{progress:?}") };
        assert!(error.contains("of app/shop") && error.ends_with(told), "{error}");
        // One that was ill before is what the action is for.
        case.live.as_mut().unwrap().instances[0].created_at = ago(3_600);
        assert!(matches!(case.progress(Action::AppRestart), Progress::Going(_)));
    }
}

#[test]
fn a_rollback_pins_the_declared_template_and_is_done_when_the_last_good_one_is_healthy() {
    let (old, new) = (shop(Strategy::Rolling, "info"), shop(Strategy::Rolling, "debug"));
    let mut case = Case::of(Arc::clone(&new), &[HEALTHY, HEALTHY, HEALTHY]);
    let nowhere = "app/shop has no other last good version to go back to";
    assert_eq!(case.lower(Action::AppRollback, json!({})).unwrap_err(), nowhere);
    case.memory.last_good = good(&new);
    assert_eq!(
        case.lower(Action::AppRollback, json!({})).unwrap_err(),
        nowhere,
        "the declared one is the last good one"
    );
    case.memory.last_good = good(&old);
    let failed = Pin { at: ago(60), revision: None, why: "it crashed".to_owned(), tried: None, check_only: false };
    case.memory.pins.insert(old.template_digest.clone(), failed);
    assert_eq!(
        case.lower(Action::AppRollback, json!({})).unwrap_err(),
        nowhere,
        "what failed since is not gone back to"
    );
    case.memory.pins.clear();
    let Ok(Lowered::Pin { template, pin }) = case.lower(Action::AppRollback, json!({})) else { panic!() };
    assert_eq!((&template, pin.why.as_str()), (&new.template_digest, "rolled back by playbook shop-down, run r7"));
    assert!(
        matches!(case.progress(Action::AppRollback), Progress::Failed(_)),
        "before it is written down, or overtaken"
    );
    case.memory.pins.insert(template, pin);
    assert!(matches!(case.lower(Action::AppRollback, json!({})), Ok(Lowered::Nothing(_))), "once is enough");

    let short = old.template_digest.short();
    let going = Progress::Going(format!("app/shop is going back to {short}"));
    assert_eq!(case.progress(Action::AppRollback), going);
    case.live = Some(live(&old, &[HEALTHY, HEALTHY, InstanceHealth::Starting]));
    assert_eq!(case.progress(Action::AppRollback), going, "not all are healthy");
    case.live = Some(live(&old, &[HEALTHY, HEALTHY, HEALTHY]));
    assert_eq!(case.progress(Action::AppRollback), Progress::Done(json!({ "template": short })));
}

/// Nothing would ever come of it: the rollout leaves what has failed as it is, and people would wait for the step's timeout.
#[test]
fn what_is_left_as_it_is_is_not_renewed() {
    let spec = |pauses: bool, log: &str| {
        resource("shop", |spec| {
            spec.replicas = 2;
            spec.rollout.on_failure = if pauses { OnFailure::Pause } else { OnFailure::Rollback };
            spec.env.insert("LOG".to_owned(), log.to_owned());
        })
    };
    for (pauses, has_good) in [(true, true), (false, false)] {
        let mut case = Case::of(spec(pauses, "debug"), &[InstanceHealth::Unhealthy, HEALTHY]);
        case.memory.last_good = has_good.then(|| good(&spec(pauses, "info"))).flatten();
        if pauses {
            let why = case.lower(Action::AppRollback, json!({})).unwrap_err();
            assert!(why.ends_with("says `onFailure: pause`"), "{why}");
        }
        let Ok(Lowered::Renew { renewal, .. }) = case.lower(Action::AppRestart, json!({})) else {
            panic!("not failed yet")
        };
        case.memory.renewal = Some(renewal);
        assert!(matches!(case.progress(Action::AppRestart), Progress::Going(_)));
        let failed = Pin { at: ago(60), revision: None, why: "it crashed".to_owned(), tried: None, check_only: false };
        case.memory.pins.insert(case.declared.template_digest.clone(), failed);
        for action in [Action::AppRestart, Action::AppReplace] {
            let why = case.lower(action, json!({})).unwrap_err();
            assert!(why.starts_with("none of its instances is replaced") && why.contains("it crashed"), "{why}");
        }
        let Progress::Failed(why) = case.progress(Action::AppRestart) else { panic!("it never comes to an end") };
        assert!(why.contains("it crashed"), "{why}");
    }
}

/// Nothing of what is suspended is changed: who waits for that would wait for the step's timeout.
#[test]
fn a_suspension_breaks_off_what_is_left_of_an_action() {
    let shop = |suspend| {
        resource("shop", |spec| {
            spec.replicas = 2;
            spec.suspend = suspend;
        })
    };
    let mut case = Case::of(shop(false), &[HEALTHY, HEALTHY]);
    let Ok(Lowered::Renew { renewal, .. }) = case.lower(Action::AppRestart, json!({})) else { panic!() };
    case.memory.renewal = Some(renewal);
    assert!(matches!(case.progress(Action::AppRestart), Progress::Going(_)));
    case.declared = shop(true);
    let why = "app/shop is suspended by its manifest: 2 of 2 instances still to make way";
    assert_eq!(case.progress(Action::AppRestart), Progress::Failed(why.to_owned()));
    // What is begun comes up by itself; what is missing is not begun.
    let new = |health| Instance { created_at: now(), ..instance(&case.declared, 3, health) };
    let (mut up, mut one) = (live(&case.declared, &[]), live(&case.declared, &[]));
    up.instances = vec![new(InstanceHealth::Starting), new(HEALTHY)];
    one.instances = vec![new(HEALTHY)];
    case.live = Some(up);
    assert!(matches!(case.progress(Action::AppRestart), Progress::Going(_)));
    case.live = Some(one);
    assert!(matches!(case.progress(Action::AppRestart), Progress::Failed(_)));
}

#[test]
fn a_version_that_waits_its_turn_is_not_pinned_for_what_the_one_before_does() {
    let (old, new) = (shop(Strategy::Rolling, "info"), shop(Strategy::Rolling, "debug"));
    let mut case = Case::of(new, &[]);
    (case.memory.last_good, case.live) = (good(&old), Some(live(&old, &[HEALTHY, InstanceHealth::Unhealthy])));
    let Ok(Lowered::Nothing(why)) = case.lower(Action::AppRollback, json!({})) else { panic!("it is pinned") };
    assert!(why.ends_with("was not tried yet"), "{why}");
}

#[test]
fn what_is_suspended_unknown_or_a_commit_is_refused() {
    let mut case = Case::of(shop(Strategy::Rolling, "info"), &[HEALTHY]);
    for action in [Action::AppScale, Action::AppSuspend, Action::AppResume] {
        assert!(case.lower(action, json!({})).unwrap_err().ends_with("is a commit by the bot"));
    }
    case.live = None;
    assert_eq!(case.lower(Action::AppRestart, json!({})).unwrap_err(), "what lives of app/shop is not known");
    case.declared = resource("shop", |spec| spec.suspend = true);
    assert_eq!(case.lower(Action::AppRestart, json!({})).unwrap_err(), "app/shop is suspended by its manifest");
}
