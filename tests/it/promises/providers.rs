//! Providers go down, vanish from the settings, or turn out to be another system.

use std::time::Duration;

use codeops::journal::{Outcome, Record};
use codeops_core::model::{FieldDrift, Health, ResourceId, Sync};
use serde_json::Value;

use crate::support::flow::{Flow, REPOSITORY, TEAM, app, app_with, id, path};
use crate::support::memory_provider::Fault;

fn forgotten(flow: &Flow) -> Vec<ResourceId> {
    flow.records(|record| match record {
        Record::Forgotten { resource } => Some(resource.clone()),
        _ => None,
    })
}

async fn two_places() -> Flow {
    let mut flow = Flow::on(&["local", "edge"]).await;
    flow.begin(&[("a", "v1")]).await;
    flow.commit(&[(&path("e"), &app_with("e", "v1", "", "provider: edge, "))]).await;
    flow.settle().await;
    assert_eq!(flow.status("e"), (Sync::Synced, Health::Healthy));
    flow
}

#[tokio::test(start_paused = true)]
async fn what_befalls_a_resource_and_leaves_no_trace_on_it_is_told() {
    let flow = two_places().await;
    flow.local().befall(&id("a"), "its keeper had ended");
    flow.settle().await;
    let told = flow.records(|record| match record {
        Record::Note { resource, text } => Some((resource.clone(), text.clone())),
        _ => None,
    });
    assert_eq!(told, [(Some(id("a")), "its keeper had ended".to_owned())]);
}

#[tokio::test(start_paused = true)]
async fn provider_down_halfway_makes_its_resources_unknown_and_the_rest_go_on() {
    let mut flow = two_places().await;
    flow.provider("edge").set_unreachable(Some("connection refused"));
    flow.commit(&[(&path("e"), &app_with("e", "v2", "", "provider: edge, ")), (&path("a"), &app("a", "v2"))]).await;
    flow.elapse(120).await;
    assert_eq!(flow.status("e"), (Sync::Unknown, Health::Unknown), "{}", flow.why("e"));
    assert_eq!(flow.serving("a"), ["v2"]);
    let observed = flow.provider("edge").observed();
    flow.elapse(600).await;
    let asked = flow.provider("edge").observed() - observed;
    assert!((10..=60).contains(&asked), "asked now and then, with a delay: {asked}");
    flow.provider("edge").set_unreachable(None);
    flow.settle().await;
    assert_eq!(flow.status("e"), (Sync::Synced, Health::Healthy));
    assert_eq!(flow.revision_state(), "applied");
    flow.check();
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_lost_is_looked_at_and_never_repeated_blindly() {
    for fault in [Fault::LostBefore, Fault::LostAfter, Fault::Retry] {
        for at in 0..4 {
            let mut flow = Flow::new().await;
            flow.begin(&[("a", "v1")]).await;
            flow.settle().await;
            let provider = flow.local().clone();
            for _ in 0..at {
                provider.fail_next(Fault::Retry);
            }
            provider.fail_next(fault);
            flow.change(&[("a", "v2"), ("b", "v1")]).await;
            flow.settle().await;
            flow.elapse(300).await;
            flow.settle().await;
            assert_eq!((flow.serving("a"), flow.serving("b")), (vec!["v2".to_owned()], vec!["v1".to_owned()]));
            assert_eq!(flow.revision_state(), "applied", "{fault:?} at {at}");
            if matches!(fault, Fault::LostBefore) {
                let taken_up = |record: &Record| matches!(record, Record::Result { outcome: Outcome::TakenUp, .. });
                let told = flow.records(|record| taken_up(record).then_some(()));
                assert!(!told.is_empty(), "it matters still, and goes on under its key: at {at}");
            }
            flow.check();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn one_object_that_does_not_answer_makes_no_other_one_unknown() {
    let mut flow = Flow::new().await;
    flow.begin(&[("a", "v1"), ("b", "v1")]).await;
    flow.settle().await;
    flow.local().mute(&id("a"), Some("its keeper is stopped"));
    flow.change(&[("a", "v2"), ("b", "v2")]).await;
    flow.elapse(90).await;
    assert_eq!(flow.status("a"), (Sync::Unknown, Health::Unknown));
    assert_eq!(flow.serving("b"), ["v2"]);
    flow.local().mute(&id("a"), None);
    flow.settle().await;
    assert_eq!(flow.serving("a"), ["v2"]);
    flow.check();
}

#[tokio::test(start_paused = true)]
async fn a_provider_removed_from_the_settings_deletes_nothing() {
    let mut flow = two_places().await;
    let edge = flow.providers.remove(&"edge".parse().expect("a name")).expect("it was there");
    flow.restart().await;
    flow.look();
    flow.settle().await;
    assert_eq!(flow.status("e").0, Sync::Unknown, "{}", flow.why("e"));
    assert!(flow.why("e").contains("until `providers.edge` is there again"), "{}", flow.why("e"));
    flow.change(&[("a", "v2")]).await;
    flow.settle().await;
    assert_eq!(flow.serving("a"), ["v2"], "the rest go on");
    // Even undeclared, it is not deleted anywhere, and is found again when the provider is back and it is declared again.
    let before = edge.live(&id("e"));
    assert!(before.is_some());
    flow.change(&[("e", "")]).await;
    flow.settle().await;
    assert!(!flow.board().resources.contains_key(&id("e")), "undeclared");
    assert_eq!(edge.live(&id("e")), before);
    flow.kill().await;
    flow.providers.insert("edge".parse().expect("a name"), edge.clone());
    flow.commit(&[(&path("e"), &app_with("e", "v1", "", "provider: edge, "))]).await;
    flow.restart().await;
    flow.look();
    flow.settle().await;
    assert_eq!(edge.live(&id("e")).map(|l| l.instances), before.map(|l| l.instances), "nothing was restarted");
    assert_eq!(flow.status("e"), (Sync::Synced, Health::Healthy));
    flow.check();
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_points_at_another_system_holds_everything_on_it() {
    let mut flow = two_places().await;
    let edge = flow.provider("edge").clone();
    let there = edge.live(&id("e")).expect("it lives");
    edge.set_system("memory:2");
    edge.remove(&id("e"));
    flow.settle().await;
    flow.elapse(600).await;
    assert_eq!(edge.live(&id("e")), None, "not made a second time");
    assert_eq!(flow.status("e").0, Sync::Held, "{}", flow.why("e"));
    flow.restart().await;
    flow.settle().await;
    assert_eq!(edge.live(&id("e")), None, "nor after a restart");
    // Back at the old system all is well again.
    edge.set_system("memory:1");
    edge.put(&id("e"), there);
    flow.settle().await;
    assert_eq!(flow.status("e"), (Sync::Synced, Health::Healthy));

    // Or a commit accepts the new one.
    edge.set_system("memory:3");
    edge.remove(&id("e"));
    flow.settle().await;
    let hold = flow.hold();
    flow.commit_with(&[("README.md", "x")], &[("Codeops-Allow", &hold)]).await;
    flow.settle().await;
    assert_eq!(flow.status("e"), (Sync::Synced, Health::Healthy));
    flow.check();
}

#[tokio::test(start_paused = true)]
async fn a_move_empties_the_old_place_only_once_the_new_one_works() {
    let mut flow = two_places().await;
    flow.commit(&[(&path("a"), &app_with("a", "bad-2", "", "provider: edge, "))]).await;
    flow.settle().await;
    assert_eq!(flow.serving("a"), ["v1"], "the old place still serves");
    flow.commit(&[(&path("a"), &app_with("a", "v3", "", "provider: edge, "))]).await;
    flow.settle().await;
    assert_eq!(flow.live("a"), None, "{}", flow.why("a"));
    assert!(flow.provider("edge").live(&id("a")).is_some());
    flow.check();
}

#[tokio::test(start_paused = true)]
async fn a_move_bakes_before_the_old_place_is_emptied_and_loses_no_data() {
    let mut flow = two_places().await;
    flow.local().write(&id("a"), "orders");
    let there = |flow: &Flow| flow.provider("edge").live(&id("a")).is_some();
    let revision = flow.commit(&[(&path("a"), &app_with("a", "v1", "", "provider: edge, "))]).await;
    flow.elapse(8).await;
    assert!(there(&flow) && flow.live("a").is_some(), "both serve through its bake of 10 s: {}", flow.why("a"));
    // What it waits for until the old place is empty is no drift.
    let waits = Some("port 8080 is held by another process".to_owned());
    let drift = FieldDrift { field: "port.number".to_owned(), expected: 8080.into(), found: Value::Null, waits };
    flow.provider("edge").edit(&id("a"), |live| live.drift.push(drift));
    flow.settle().await;
    assert!(there(&flow) && flow.live("a").is_none(), "{}", flow.why("a"));
    let deletes = flow.records(|record| match record {
        Record::Intent { word, cause, .. } if word == "delete" => Some(cause.clone()),
        Record::Drift { what, .. } => Some(what.clone()),
        _ => None,
    });
    assert_eq!(deletes[0], format!("revision {}", revision.short()), "{deletes:?}");
    flow.change(&[("a", "v1")]).await;
    flow.settle().await;
    assert!(!there(&flow));
    assert_eq!(flow.local().written(&id("a")).as_deref(), Some("orders"), "found on the way back");
    flow.change(&[("a", "")]).await;
    flow.settle().await;
    flow.change(&[("a", "v1")]).await;
    flow.settle().await;
    assert_eq!((flow.serving("a"), flow.local().written(&id("a"))), (vec!["v1".to_owned()], None));
    flow.check();
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_told_from_one_sick_instance_and_flaps_are_told_in_sums() {
    let mut flow = Flow::new().await;
    flow.commit(&[
        ("codeops.yaml", REPOSITORY),
        ("team.yaml", TEAM),
        (&path("a"), &app_with("a", "v1", "", "replicas: 2, ")),
    ])
    .await;
    flow.settle().await;
    let fail = |flow: &Flow, which: usize, is_sick: bool| {
        let instance = flow.live("a").expect("it lives").instances[which].id.clone();
        flow.local().set_sick(&id("a"), &instance, is_sick);
    };
    let told = |flow: &Flow| {
        flow.records(|record| match record {
            Record::Status { health, why, .. } => Some((*health, why.clone().unwrap_or_default())),
            _ => None,
        })
    };
    let before = told(&flow).len();
    for (which, is_sick) in [(0, true), (1, true), (0, false), (1, false)] {
        fail(&flow, which, is_sick);
        flow.elapse(2).await;
    }
    let events = told(&flow).split_off(before);
    let [one, none, again, well] = events.as_slice() else { panic!("{events:#?}") };
    assert!(one.1.starts_with("1 of its 2 instances healthy: "), "{one:?}");
    assert!(none.1.starts_with("none of its 2 instances is healthy: "), "{none:?}");
    assert!(again.1.starts_with("1 of its 2 instances healthy: "), "{again:?}");
    assert_eq!(well.0, Health::Healthy);

    flow.elapse(120).await;
    let before = told(&flow).len();
    for turn in 0..200 {
        fail(&flow, 0, turn % 2 == 0);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    fail(&flow, 0, true);
    flow.elapse(60).await;
    let events = told(&flow).split_off(before);
    assert!((2..=14).contains(&events.len()), "{}", events.len());
    assert_eq!(events.last().map(|event| event.0), Some(Health::Degraded), "how it stands is told in the end");
    let sums = flow.records(|record| match record {
        Record::Note { resource: Some(_), text } if text.contains("more times within a minute") => Some(text.clone()),
        _ => None,
    });
    assert_eq!(sums.len(), 1, "{sums:?}");
}

#[tokio::test(start_paused = true)]
async fn what_is_held_on_its_way_to_another_place_is_as_well_as_it_is_where_it_lives() {
    let mut flow = Flow::on(&["local", "edge"]).await;
    flow.begin(&[("a", "v1"), ("b", "v1"), ("c", "v1")]).await;
    flow.settle().await;
    let moved = ["a", "b", "c"].map(|name| (path(name), app_with(name, "v1", "", "provider: edge, ")));
    let moved: Vec<(&str, &str)> = moved.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    flow.commit(&moved).await;
    flow.settle().await;
    for name in ["a", "b", "c"] {
        assert_eq!(flow.status(name), (Sync::Held, Health::Healthy), "{}", flow.why(name));
        assert_eq!(flow.view(name).live.as_ref().map(|live| live.instances.len()), Some(1), "shown where it lives");
    }
    flow.check();
}

#[tokio::test(start_paused = true)]
async fn a_step_that_changes_nothing_is_repeated_ever_more_rarely() {
    let mut flow = Flow::new().await;
    flow.begin(&[("a", "v1"), ("b", "v1")]).await;
    flow.settle().await;
    let configured = |flow: &Flow| flow.local().applied().iter().filter(|(_, word)| word == "configure").count();
    let before = configured(&flow);
    flow.local().drift_for_good(&id("a"), "port.number");
    flow.elapse(60).await;
    let often = configured(&flow) - before;
    assert!((5..=15).contains(&often), "tried, and not in a loop: {often}");
    flow.elapse(600).await;
    assert!((1..=6).contains(&(configured(&flow) - before - often)), "ever more rarely");
    flow.change(&[("b", "v2")]).await;
    flow.settle().await;
    assert_eq!(flow.serving("b"), ["v2"], "all else goes on");
}

#[tokio::test(start_paused = true)]
async fn drift_is_repaired_when_it_is_hinted_at_and_when_it_is_not() {
    let mut flow = Flow::new().await;
    flow.begin(&[("a", "v1")]).await;
    flow.settle().await;
    flow.local().drift(&id("a"), "port.number");
    flow.elapse(2).await;
    assert!(flow.live("a").is_some_and(|live| live.drift.is_empty()), "at once on a hint");
    flow.local().remove(&id("a"));
    flow.elapse(2).await;
    assert_eq!(flow.serving("a"), ["v1"]);
    flow.settle().await;
    assert_eq!(flow.status("a"), (Sync::Synced, Health::Healthy));
    flow.check();
}

#[tokio::test(start_paused = true)]
async fn what_may_run_on_a_provider_that_left_the_settings_is_not_forgotten() {
    let mut flow = two_places().await;
    let (name, edge) = flow.providers.remove_entry(&"edge".parse().expect("a name")).expect("one of two");
    flow.restart().await;
    flow.change(&[("e", "")]).await;
    flow.settle().await;
    assert_eq!(forgotten(&flow), [], "it still runs there");
    flow.providers.insert(name, edge);
    flow.restart().await;
    flow.settle().await;
    assert!(flow.provider("edge").live(&id("e")).is_none(), "gone as soon as it can be asked for");
    assert_eq!(forgotten(&flow), [id("e")]);
}

#[tokio::test(start_paused = true)]
async fn what_does_not_answer_is_not_forgotten() {
    let mut flow = Flow::new().await;
    flow.begin(&[("a", "v1"), ("b", "v1"), ("c", "v1")]).await;
    flow.settle().await;
    flow.local().mute(&id("a"), Some("its keeper is stopped"));
    flow.change(&[("a", "")]).await;
    flow.elapse(300).await;
    assert_eq!(forgotten(&flow), [], "it may still run");
    flow.local().mute(&id("a"), None);
    flow.settle().await;
    assert_eq!((flow.live("a"), forgotten(&flow)), (None, vec![id("a")]));
    flow.check();
}

#[tokio::test(start_paused = true)]
async fn after_an_outage_nothing_counts_until_everything_is_listed() {
    let mut flow = Flow::new().await;
    flow.begin(&[("a", "v1"), ("b", "v1"), ("c", "v1")]).await;
    flow.settle().await;
    flow.local().set_lists_nothing(true);
    flow.elapse(90).await;
    assert_eq!(flow.status("a"), (Sync::Unknown, Health::Unknown));
    // One object is looked at on a hint, which says nothing of the rest.
    flow.change_with(&[("b", "")], &[("Codeops-Allow", "0123456789ab")]).await;
    for _ in 0..5 {
        flow.local().edit(&id("a"), |_| {});
        flow.elapse(1).await;
        assert_eq!(flow.status("a"), (Sync::Unknown, Health::Unknown), "{}", flow.why("a"));
    }
    let acted = flow.records(|record| {
        matches!(record, Record::Forgotten { .. } | Record::HoldSpent { .. } | Record::Removal { .. }).then_some(())
    });
    assert_eq!(acted, [], "nothing rests on a part");
    flow.local().set_lists_nothing(false);
    flow.settle().await;
    assert_eq!((flow.status("a"), flow.live("b")), ((Sync::Synced, Health::Healthy), None));
    flow.check();
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_is_down_for_long_is_not_asked_ever_more_often() {
    let flow = two_places().await;
    flow.provider("edge").set_unreachable(Some("connection refused"));
    // Whatever asks for it meanwhile.
    for _ in 0..40 {
        tokio::time::sleep(Duration::from_millis(1_037)).await;
        flow.provider("edge").edit(&id("e"), |_| {});
    }
    flow.elapse(300).await;
    let observed = flow.provider("edge").observed();
    flow.elapse(600).await;
    let asked = flow.provider("edge").observed() - observed;
    assert!((10..=60).contains(&asked), "asked now and then: {asked}");
    flow.provider("edge").set_unreachable(None);
    flow.elapse(31).await;
    assert_eq!(flow.status("e"), (Sync::Synced, Health::Healthy), "and found again at the next look");
}

#[tokio::test(start_paused = true)]
async fn a_move_waits_while_the_old_place_does_not_answer_and_makes_no_second_one() {
    // Baked, and inside its first bake.
    for version in ["v1", "never-1"] {
        let mut flow = Flow::on(&["local", "edge", "far"]).await;
        flow.begin(&[("a", "v1"), ("b", "v1")]).await;
        flow.commit(&[(&path("e"), &app_with("e", version, "", "provider: edge, "))]).await;
        flow.elapse(30).await;
        flow.provider("edge").set_unreachable(Some("connection refused"));
        flow.elapse(70).await;
        flow.commit(&[(&path("e"), &app_with("e", "v2", "", "provider: local, "))]).await;
        flow.elapse(180).await;
        assert_eq!(flow.live("e"), None, "{version}: {}", flow.why("e"));
        assert_eq!(flow.status("e"), (Sync::Unknown, Health::Unknown), "{version}");
        flow.restart().await;
        flow.elapse(180).await;
        assert_eq!(flow.live("e"), None, "{version}: nor after a restart");
        flow.provider("edge").set_unreachable(None);
        flow.settle().await;
        assert_eq!((flow.serving("e"), flow.provider("edge").live(&id("e"))), (vec!["v2".to_owned()], None));

        // What has left a place is not looked for there any more.
        flow.provider("edge").set_unreachable(Some("connection refused"));
        flow.elapse(70).await;
        flow.commit(&[(&path("e"), &app_with("e", "v2", "", "provider: far, "))]).await;
        flow.elapse(180).await;
        assert!(flow.provider("far").live(&id("e")).is_some(), "{version}: {}", flow.why("e"));
        flow.provider("edge").set_unreachable(None);
        flow.settle().await;
        flow.check();
    }
}

#[tokio::test(start_paused = true)]
async fn what_can_never_be_applied_is_told_as_stuck_and_is_tried_again_all_the_same() {
    let mut flow = Flow::new().await;
    flow.begin(&[("a", "v1")]).await;
    flow.settle().await;
    flow.local().fail_next(Fault::Barred);
    flow.commit(&[(&path("new"), &app("new", "v1"))]).await;
    let mut stuck = false;
    for _ in 0..600 {
        flow.elapse(1).await;
        if flow.view("new").stuck {
            stuck = true;
            assert_ne!(flow.revision_state(), "applying", "{}", flow.why("new"));
        }
    }
    assert!(stuck, "{}", flow.why("new"));
    assert_eq!((flow.status("new"), flow.view("new").stuck), ((Sync::Synced, Health::Healthy), false));
    assert_eq!(flow.revision_state(), "applied");
    flow.check();
}
