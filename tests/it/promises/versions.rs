//! A new version goes bad, or is overtaken; names change; objects are in the way.

use std::time::Duration;

use codeops_core::config::{SecretSettings, SecretSource};
use codeops_core::model::{Health, Revision, Sync};

use codeops::journal::{Outcome, Record};

use crate::support::flow::{Flow, app_with, id, path, secrets};
use crate::support::memory_provider::Fault;

async fn running(version: &str) -> Flow {
    let mut flow = Flow::new().await;
    flow.begin(&[("a", version), ("b", "v1"), ("c", "v1")]).await;
    flow.settle().await;
    flow
}

#[tokio::test(start_paused = true)]
async fn a_version_is_told_to_be_the_last_good_once_however_it_is_scaled() {
    let mut flow = running("v1").await;
    for replicas in 2..=3 {
        let scaled = app_with("a", "v1", "", &format!("replicas: {replicas}, "));
        flow.commit(&[(&path("a"), &scaled)]).await;
        flow.settle().await;
        assert_eq!(flow.serving("a").len(), replicas);
    }
    let told = flow.records(|record| match record {
        Record::Baked { resource, again, .. } if *resource == id("a") => Some(*again),
        _ => None,
    });
    assert_eq!(told, [false, true, true], "what a rollback returns to is as it is declared now");
}

#[tokio::test(start_paused = true)]
async fn new_version_bad_goes_back_to_the_last_good_and_is_pinned() {
    for bad in ["bad-2", "sick-2"] {
        let mut flow = running("v1").await;
        flow.change(&[("a", bad)]).await;
        flow.settle().await;
        assert_eq!(flow.serving("a"), ["v1"], "{bad}");
        assert_eq!(flow.status("a"), (Sync::Held, Health::Healthy), "{bad}");
        assert!(flow.why("a").contains("Codeops-Retry: app/a"), "{}", flow.why("a"));
        assert_eq!(flow.view("a").pins.len(), 1);
        let tried = flow.effects().len();

        // Neither an unrelated commit, nor time, nor a restart tries it again.
        flow.commit(&[("README.md", "x")]).await;
        flow.settle().await;
        flow.elapse(3_600).await;
        flow.restart().await;
        flow.settle().await;
        assert_eq!((flow.effects().len(), flow.serving("a")), (tried, vec!["v1".to_owned()]));
        assert_eq!(flow.revision_state(), "partial");

        // The trailer does, once.
        flow.commit_with(&[("README.md", "y")], &[("Codeops-Retry", "app/a")]).await;
        flow.settle().await;
        assert!(flow.effects().len() > tried, "tried again");
        assert_eq!((flow.serving("a"), flow.view("a").pins.len()), (vec!["v1".to_owned()], 1));

        flow.change(&[("a", "v3")]).await;
        flow.settle().await;
        assert_eq!(flow.serving("a"), ["v3"]);
        assert_eq!(flow.revision_state(), "applied");
        flow.check();
    }
}

/// The states of a revision as they were written down, and the one on the board.
fn states(flow: &Flow, revision: &Revision) -> (Vec<&'static str>, &'static str) {
    let written = flow.records(|record| match record {
        Record::RevisionState { revision: of, state, .. } if of == revision => Some(state.word()),
        _ => None,
    });
    (written, flow.revision_state())
}

#[tokio::test(start_paused = true)]
async fn a_revision_that_removes_one_app_and_fails_with_the_only_other_one_is_partial_everywhere() {
    let mut flow = Flow::new().await;
    flow.begin(&[("a", "v1"), ("b", "v1")]).await;
    flow.settle().await;
    flow.local().set_lingers();
    let revision = flow.change(&[("a", "bad-2"), ("b", "")]).await;
    flow.settle().await;
    assert_eq!(flow.status("a").0, Sync::Held);
    assert_eq!(flow.revision_state(), "applying", "one is still on its way out");
    flow.local().remove(&id("b"));
    flow.settle().await;
    let (written, told) = states(&flow, &revision);
    assert_eq!((written.last(), told), (Some(&"partial"), "partial"), "what was removed is a part of it that was done");
    flow.restart().await;
    flow.settle().await;
    assert_eq!(flow.revision_state(), "partial");

    // Of a revision that removes nothing and fails with all there is, nothing is as it says.
    let revision = flow.change(&[("a", "bad-3")]).await;
    flow.settle().await;
    let (written, told) = states(&flow, &revision);
    assert_eq!((written.last(), told), (Some(&"failed"), "failed"));
    flow.check();
}

#[tokio::test(start_paused = true)]
async fn what_one_revision_began_to_remove_is_a_part_of_the_next_that_was_done() {
    let mut flow = Flow::new().await;
    flow.begin(&[("a", "v1"), ("b", "v1")]).await;
    flow.settle().await;
    flow.local().set_lingers();
    flow.change(&[("b", "")]).await;
    flow.elapse(2).await;
    let revision = flow.change(&[("a", "bad-2")]).await;
    flow.settle().await;
    assert_eq!((flow.status("a").0, flow.revision_state()), (Sync::Held, "applying"), "one is still on its way out");
    flow.local().remove(&id("b"));
    flow.settle().await;
    let (written, told) = states(&flow, &revision);
    assert_eq!((written.last(), told), (Some(&"partial"), "partial"));
    flow.restart().await;
    flow.settle().await;
    assert_eq!(flow.revision_state(), "partial");
    flow.check();
}

#[tokio::test(start_paused = true)]
async fn what_an_app_said_when_it_ended_tells_no_secret_of_its_team() {
    let mut flow = Flow::stopped(&["local"]);
    let granted =
        SecretSettings { source: SecretSource::Env("OWN".to_owned()), teams: vec!["core".parse().expect("a name")] };
    let settings = [("own".parse().expect("a name"), granted)].into();
    flow.vault = secrets(settings, [("OWN".to_owned(), "scripted".to_owned())].into());
    flow.start().await;
    flow.begin(&[("a", "bad-1")]).await;
    flow.settle().await;
    let why = flow.why("a");
    assert!(why.contains("*** to fail"), "{why}");
    let told: Vec<String> = flow.log.entries().iter().map(|entry| format!("{:?}", entry.record)).collect();
    assert!(told.iter().all(|told| !told.contains("scripted to fail")), "{told:#?}");
    assert!(told.iter().any(|told| told.contains("*** to fail")), "{told:#?}");
}

#[tokio::test(start_paused = true)]
async fn new_version_bad_without_a_last_good_is_degraded_and_nothing_is_deleted() {
    let mut flow = running("bad-1").await;
    assert_eq!(flow.status("a").1, Health::Degraded, "{}", flow.why("a"));
    assert_eq!(flow.serving("a"), ["bad-1"], "it is left as it is");
    let told = flow.records(|record| match record {
        Record::RevisionState { why, .. } => why.clone(),
        _ => None,
    });
    assert_eq!(told, ["0 mistakes in manifests, 1 not in sync, 1 not healthy"], "held, and ill all the same");
    let there = flow.live("a").expect("it lives");
    flow.local().edit(&id("a"), |live| live.instances.clear());
    flow.elapse(120).await;
    let apart: Vec<String> = flow.view("a").differences.iter().map(|it| it.field.clone()).collect();
    assert_eq!(apart, ["instances"], "with none there it is not as declared, though nothing is to be done");
    flow.local().put(&id("a"), there);
    flow.elapse(120).await;
    let before = flow.instances("a");
    flow.elapse(3_600).await;
    assert_eq!(flow.instances("a"), before);
    assert_eq!(flow.serving("b"), ["v1"], "others are not touched by it");
    flow.change(&[("a", "v2")]).await;
    flow.settle().await;
    assert_eq!((flow.serving("a"), flow.status("a").1), (vec!["v2".to_owned()], Health::Healthy));
    flow.check();
}

#[tokio::test(start_paused = true)]
async fn a_version_whose_start_is_refused_is_pinned_too() {
    let mut flow = running("v1").await;
    flow.commit(&[(&path("a"), &app_with("a", "v2", "", "env: {X: y}, "))]).await;
    // The step that stamps goes first, then the start.
    flow.local().fail_next(Fault::Retry);
    flow.settle().await;
    assert_eq!(flow.serving("a"), ["v2"], "what fails for now is tried again");
    flow.check();
}

#[tokio::test(start_paused = true)]
async fn a_refusal_that_says_nothing_of_the_template_pins_nothing() {
    let mut flow = running("v1").await;
    // The step that stamps is barred, then the start.
    for _ in 0..2 {
        flow.local().fail_next(Fault::Barred);
    }
    flow.change(&[("a", "v2")]).await;
    flow.elapse(120).await;
    assert!(flow.why("a").contains("told to bar it"), "{}", flow.why("a"));
    flow.elapse(900).await;
    flow.settle().await;
    assert_eq!((flow.serving("a"), flow.status("a")), (vec!["v2".to_owned()], (Sync::Synced, Health::Healthy)));
    assert!(flow.records(|record| matches!(record, Record::Pinned { .. }).then_some(())).is_empty());
    flow.check();
}

#[tokio::test(start_paused = true)]
async fn a_repair_that_is_refused_never_pins_the_last_good() {
    let flow = running("v1").await;
    flow.local().fail_next(Fault::Reject);
    flow.local().edit(&id("a"), |live| live.instances.clear());
    flow.elapse(120).await;
    assert!(flow.why("a").contains("told to refuse"), "{}", flow.why("a"));
    flow.elapse(900).await;
    flow.settle().await;
    assert_eq!((flow.serving("a"), flow.status("a")), (vec!["v1".to_owned()], (Sync::Synced, Health::Healthy)));
    let pinned = flow.records(|record| matches!(record, Record::Pinned { .. }).then_some(()));
    assert!(pinned.is_empty());
    flow.check();
}

#[tokio::test(start_paused = true)]
async fn two_commits_the_newer_one_wins_and_a_wait_never_blocks_the_fix() {
    let mut flow = running("v1").await;
    flow.change(&[("a", "never-2")]).await;
    flow.elapse(20).await;
    assert!(flow.serving("a").contains(&"never-2".to_owned()), "{:?}", flow.serving("a"));
    flow.change(&[("a", "v3")]).await;
    flow.elapse(3).await;
    assert_eq!(flow.serving("a"), ["v3"], "at once, with the old rollout still waiting");
    flow.settle().await;
    assert_eq!(flow.status("a"), (Sync::Synced, Health::Healthy));
    flow.check();
}

#[tokio::test(start_paused = true)]
async fn a_commit_that_mends_or_removes_what_failed_never_waits_out_its_backoff() {
    // Barred waits the longest; each is mended seconds after it failed.
    let mut flow = running("v1").await;
    flow.local().fail_next(Fault::Barred);
    flow.change(&[("a", "v2")]).await;
    flow.elapse(3).await;
    assert!(flow.why("a").contains("retry at"), "{}", flow.why("a"));
    flow.change(&[("a", "v3")]).await;
    flow.elapse(3).await;
    assert_eq!(flow.serving("a"), ["v3"], "{}", flow.why("a"));

    flow.local().fail_next(Fault::Barred);
    flow.change(&[("a", "v4")]).await;
    flow.elapse(3).await;
    let effects = flow.effects().len();
    flow.commit(&[("README.md", "says nothing of it")]).await;
    flow.elapse(3).await;
    assert_eq!(flow.effects().len(), effects, "what failed itself waits still");
    flow.change(&[("a", "")]).await;
    flow.elapse(3).await;
    assert_eq!(flow.live("a").map(|live| live.instances.len()), None, "a removal waits for no start");
    flow.check();
}

#[tokio::test(start_paused = true)]
async fn what_is_under_way_is_no_failure_and_its_step_goes_on_at_the_hint_that_it_has_ended() {
    let mut flow = running("v1").await;
    for _ in 0..9 {
        flow.local().fail_next(Fault::UnderWay);
    }
    flow.change(&[("n", "v1")]).await;
    flow.elapse(21).await;
    let view = flow.view("n");
    assert_eq!((view.sync, view.health, view.stuck), (Sync::OutOfSync, Health::Progressing, false));
    assert_eq!((flow.why("n").as_str(), flow.revision_state()), ("fetching it: 57 %", "applying"));
    let under_way = flow.records(|record| match record {
        Record::Result { outcome: Outcome::UnderWay { note }, .. } => Some(note.clone()),
        _ => None,
    });
    assert_eq!(under_way.len(), 9, "{under_way:?}");
    flow.local().changed(&id("n"));
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(flow.serving("n"), ["v1"], "at once");
    flow.settle().await;
    assert_eq!((flow.status("n"), flow.revision_state()), ((Sync::Synced, Health::Healthy), "applied"));
    flow.check();
}

#[tokio::test(start_paused = true)]
async fn what_fails_for_a_minute_is_stuck_and_no_further_try_makes_its_revision_another() {
    let mut flow = running("v1").await;
    for _ in 0..12 {
        flow.local().fail_next(Fault::Retry);
    }
    let revision = flow.change(&[("a", "v2")]).await;
    flow.elapse(20).await;
    assert_eq!((flow.view("a").stuck, flow.revision_state()), (false, "applying"), "a few quick tries");
    let states = |flow: &Flow| {
        flow.records(|record| match record {
            Record::RevisionState { revision: of, state, .. } if *of == revision => Some(state.word()),
            _ => None,
        })
    };
    flow.elapse(1_100).await;
    assert_eq!((flow.view("a").stuck, flow.revision_state()), (true, "partial"));
    assert_eq!(states(&flow), ["partial"], "once, however often it is tried");
    flow.elapse(1_500).await;
    assert_eq!((flow.view("a").stuck, states(&flow)), (false, vec!["partial", "applying", "applied"]));
    flow.check();
}

#[tokio::test(start_paused = true)]
async fn a_superseded_rollout_never_becomes_last_good() {
    let mut flow = running("v1").await;
    flow.change(&[("a", "v2")]).await;
    flow.elapse(5).await;
    assert_eq!(flow.serving("a"), ["v2"], "half through its bake");
    flow.change(&[("a", "bad-3")]).await;
    flow.settle().await;
    assert_eq!(flow.serving("a"), ["v1"], "back to what was good, not to what was only new");
    flow.change(&[("a", "v4")]).await;
    flow.change(&[("a", "v5")]).await;
    flow.settle().await;
    assert_eq!(flow.serving("a"), ["v5"]);
    let baked = flow.records(|record| match record {
        Record::Baked { resource, good, .. } if *resource == id("a") => Some(good.resource.spec_digest.clone()),
        _ => None,
    });
    assert_eq!(baked.len(), 2, "v1 and v5");
    flow.check();
}

#[tokio::test(start_paused = true)]
async fn a_rename_keeps_instances_and_history() {
    let mut flow = running("v1").await;
    let before = flow.instances("a");
    let renamed = app_with("z", "v1", "was: [a], ", "").replace("./z", "./a");
    flow.commit(&[(&path("a"), ""), (&path("z"), &renamed)]).await;
    flow.settle().await;
    assert_eq!((flow.live("a"), flow.instances("z")), (None, before.clone()));
    assert!(flow.view("z").last_good.is_some(), "what was good comes along");
    assert!(!flow.effects().contains(&"delete a".to_owned()));

    // So a bad version of it has something to go back to.
    flow.commit(&[(&path("z"), &renamed.replace("v1", "bad-2"))]).await;
    flow.settle().await;
    assert_eq!(flow.serving("z"), ["v1"]);
    flow.restart().await;
    flow.settle().await;
    assert_eq!(flow.serving("z"), ["v1"]);
    flow.check();
}

/// What is written of a rename: what is forgotten, what is said of the two ids, and what is handed on.
fn written(flow: &Flow) -> Vec<String> {
    flow.records(|record| match record {
        Record::Forgotten { resource } => Some(format!("forgotten {resource}")),
        Record::Status { resource, health, why, .. } if *health == Health::Missing => {
            Some(format!("missing {resource}: {why:?}"))
        }
        Record::Renamed { from, resource } => Some(format!("{resource} was {from}")),
        _ => None,
    })
}

#[tokio::test(start_paused = true)]
async fn a_bad_version_that_comes_with_a_rename_goes_back_and_a_pin_comes_along() {
    for strategy in ["rolling", "recreate"] {
        let mut flow = Flow::new().await;
        let version = |name: &str, version: &str, metadata: &str| {
            let rollout = format!("rollout: {{strategy: {strategy}, bake: 10s}}");
            app_with(name, version, metadata, "").replace("rollout: {bake: 10s}", &rollout)
        };
        flow.begin(&[]).await;
        flow.commit(&[(&path("a"), &version("a", "v1", ""))]).await;
        flow.settle().await;
        let before = written(&flow).len();
        // The provider tells of what it did before it answers.
        flow.local().set_answers_after(Duration::from_secs(3));
        let renamed = version("y", "bad-2", "was: [a], ");
        flow.commit(&[(&path("a"), ""), (&path("y"), &renamed)]).await;
        flow.settle().await;
        assert_eq!(flow.serving("y"), ["v1"], "{strategy}: {}", flow.why("y"));
        assert_eq!(flow.view("y").pins.len(), 1);
        assert_eq!(written(&flow)[before..], ["app/y was app/a"], "{strategy}");

        let (starts, before) = (starts(&flow), written(&flow).len());
        let renamed = version("z", "bad-2", "was: [y], ").replace("./z", "./y");
        flow.commit(&[(&path("y"), ""), (&path("z"), &renamed)]).await;
        flow.settle().await;
        assert_eq!((flow.serving("z"), self::starts(&flow)), (vec!["v1".to_owned()], starts), "{strategy}: pinned");
        assert_eq!(written(&flow)[before..], ["app/z was app/y"], "{strategy}");
        flow.check();
    }
}

fn starts(flow: &Flow) -> usize {
    flow.effects().iter().filter(|effect| effect.starts_with("start ")).count()
}

#[tokio::test(start_paused = true)]
async fn what_is_made_anew_under_another_name_has_the_history_of_the_old_one() {
    let mut flow = running("v1").await;
    flow.rules.observe = true;
    flow.restart().await;
    flow.local().remove(&id("a"));
    flow.rules.observe = false;
    let renamed = app_with("z", "bad-2", "was: [a], ", "");
    flow.commit(&[(&path("a"), ""), (&path("z"), &renamed)]).await;
    flow.restart().await;
    flow.settle().await;
    assert_eq!(flow.serving("z"), ["v1"], "{}", flow.why("z"));
    flow.check();
}

#[tokio::test(start_paused = true)]
async fn a_rename_waits_while_the_old_name_does_not_answer_and_makes_no_second_one() {
    let mut flow = running("v1").await;
    let before = flow.instances("a");
    flow.local().mute(&id("a"), Some("its keeper is stopped"));
    flow.elapse(70).await;
    let renamed = app_with("z", "v1", "was: [a], ", "").replace("./z", "./a");
    flow.commit(&[(&path("a"), ""), (&path("z"), &renamed)]).await;
    flow.elapse(180).await;
    assert_eq!(flow.live("z"), None, "{}", flow.why("z"));
    assert_eq!(flow.status("z"), (Sync::Unknown, Health::Unknown));
    assert!(flow.why("z").contains("app/a") && flow.why("z").contains("its keeper is stopped"), "{}", flow.why("z"));
    flow.restart().await;
    flow.look();
    flow.elapse(180).await;
    assert_eq!(flow.live("z"), None, "nor after a restart");

    flow.local().mute(&id("a"), None);
    flow.settle().await;
    assert_eq!((flow.live("a"), flow.instances("z")), (None, before));
    assert!(flow.view("z").last_good.is_some(), "what was good comes along");
    assert_eq!(flow.status("z"), (Sync::Synced, Health::Healthy));
    flow.check();
}

#[tokio::test(start_paused = true)]
async fn an_object_that_is_not_ours_is_held_until_adopted() {
    let mut flow = Flow::new().await;
    flow.local().put_foreign(&id("a"));
    flow.begin(&[("a", "v1"), ("b", "v1")]).await;
    flow.settle().await;
    assert_eq!(flow.status("a").0, Sync::Held);
    assert!(flow.why("a").contains("adopt: true"), "{}", flow.why("a"));
    assert!(flow.live("a").is_some_and(|live| live.stamp.is_none()), "untouched");
    assert_eq!(flow.serving("b"), ["v1"]);
    flow.commit(&[(&path("a"), &app_with("a", "v1", "adopt: true, ", ""))]).await;
    flow.settle().await;
    assert_eq!((flow.serving("a"), flow.status("a")), (vec!["v1".to_owned()], (Sync::Synced, Health::Healthy)));
    flow.check();
}

#[tokio::test(start_paused = true)]
async fn a_foreign_object_that_nobody_declares_is_never_deleted() {
    let mut flow = running("v1").await;
    flow.local().put_foreign(&id("stranger"));
    flow.change(&[("a", "")]).await;
    flow.settle().await;
    assert!(flow.live("stranger").is_some() && flow.live("a").is_none());
    flow.check();
}
