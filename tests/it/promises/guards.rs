//! What holds a change back, and what lets it go again: blast radius, waves, freeze, suspend, dependencies.

use codeops_core::config::{Freeze, FreezeWhat};
use codeops_core::model::{Health, Period, Sync, Verb};

use codeops::journal::Record;

use crate::support::flow::{Flow, REPOSITORY, app, app_with, id, path};
use crate::support::memory_provider::{Fault, Script};

/// `n` apps called `a00`, `a01`, …
fn many(n: usize, version: &str) -> Vec<(String, String)> {
    (0..n).map(|i| (format!("a{i:02}"), version.to_owned())).collect()
}

fn borrowed(apps: &[(String, String)]) -> Vec<(&str, &str)> {
    apps.iter().map(|(name, version)| (name.as_str(), version.as_str())).collect()
}

async fn with_apps(n: usize) -> Flow {
    let mut flow = Flow::new().await;
    flow.begin(&borrowed(&many(n, "v1"))).await;
    flow.settle().await;
    assert_eq!(flow.revision_state(), "applied");
    flow
}

fn lives(flow: &Flow, n: usize) -> Vec<String> {
    many(n, "").into_iter().map(|(name, _)| name).filter(|name| flow.live(name).is_some()).collect()
}

#[tokio::test(start_paused = true)]
async fn blast_radius_an_empty_path_is_held() {
    let mut flow = with_apps(1).await;
    flow.change(&[("a00", "")]).await;
    flow.settle().await;
    assert_eq!(flow.status("a00").0, Sync::Held, "{}", flow.why("a00"));
    assert_eq!(flow.serving("a00"), ["v1"]);
    let hold = flow.hold();
    assert!(flow.why("a00").contains(&format!("Codeops-Allow: {hold}")), "{}", flow.why("a00"));
    flow.commit_with(&[("README.md", "x")], &[("Codeops-Allow", &hold)]).await;
    flow.settle().await;
    assert_eq!(flow.live("a00"), None);
    assert_eq!(flow.board().holds.len(), 0);
    flow.check();
}

/// What was held waits for a commit: not for what this one, or another after it, adds, nor for a clock or a daemon.
#[tokio::test(start_paused = true)]
async fn blast_radius_what_was_held_is_let_go_by_nothing_that_is_added() {
    let mut flow = with_apps(7).await;
    let new: Vec<String> = (0..13).map(|n| format!("new{n:02}")).collect();
    let gone = ["a03", "a04", "a05", "a06"];
    let changes = |from: usize, to: usize| -> Vec<(&str, &str)> {
        gone.iter().map(|name| (*name, "")).chain(new[from..to].iter().map(|name| (name.as_str(), "v1"))).collect()
    };
    flow.change(&changes(0, 6)).await;
    flow.settle().await;
    let hold = flow.hold();
    flow.change(&changes(6, 13)).await;
    flow.settle().await;
    flow.restart().await;
    flow.settle().await;
    flow.elapse(2 * 3_600).await;
    flow.settle().await;
    assert_eq!((lives(&flow, 7).len(), flow.hold()), (7, hold.clone()), "{}", flow.why("a03"));
    assert!(new.iter().all(|name| flow.live(name).is_some()), "all else goes on");
    flow.change_with(&[("a00", "v2")], &[("Codeops-Allow", &hold)]).await;
    flow.settle().await;
    assert_eq!((lives(&flow, 7).len(), flow.board().holds.len()), (3, 0));
    flow.check();
}

#[tokio::test(start_paused = true)]
async fn blast_radius_what_was_held_and_is_declared_again_is_asked_for_anew() {
    let mut flow = with_apps(8).await;
    flow.change(&[("a05", ""), ("a06", ""), ("a07", "")]).await;
    flow.settle().await;
    flow.change(&[("a05", "v1"), ("a06", "v1"), ("a07", "v1")]).await;
    flow.settle().await;
    assert_eq!(flow.board().holds.len(), 0);
    let back = flow.records(|record| matches!(record, Record::TakenBack { .. }).then_some(()));
    assert_eq!(back.len(), 3);
    flow.change(&[("a07", "")]).await;
    flow.settle().await;
    assert_eq!(flow.live("a07"), None, "one may always go");
    flow.check();
}

/// An app whose port the old one still has reads who that is, and what to do.
#[tokio::test(start_paused = true)]
async fn a_new_name_without_was_reads_who_has_its_port() {
    let mut flow = Flow::new().await;
    let with_port = |name: &str, version: &str| app_with(name, version, "", "port: 22105, ");
    let old = path("old");
    flow.begin(&[("other", "v1"), ("third", "v1")]).await;
    flow.commit(&[(&old, &with_port("old", "v1"))]).await;
    flow.settle().await;
    let (other, third) = (path("other"), path("third"));
    flow.commit(&[(&other, ""), (&third, ""), (&old, ""), (&path("new"), &with_port("new", "never"))]).await;
    flow.elapse(60).await;
    let hold = flow.hold();
    let why = flow.why("new");
    assert!(why.contains("port 22105 is still that of app/old, whose removal is held"), "{why}");
    assert!(why.contains(&format!("Codeops-Allow: {hold}")) && why.contains("say `was: [old]`"), "{why}");
}

#[tokio::test(start_paused = true)]
async fn blast_radius_more_than_a_quarter_is_held_and_released_exactly_once() {
    let mut flow = with_apps(8).await;
    flow.change(&[("a00", ""), ("a01", ""), ("a02", "")]).await;
    flow.settle().await;
    assert_eq!(lives(&flow, 8).len(), 8, "three of eight are more than max(2, 25 %)");
    let hold = flow.hold();

    // The set changes: what was allowed for three is not allowed for four.
    flow.change_with(&[("a03", "")], &[("Codeops-Allow", &hold)]).await;
    flow.settle().await;
    assert_eq!(lives(&flow, 8).len(), 8, "another set is held again");
    let wider = flow.hold();
    assert_ne!(wider, hold);
    flow.restart().await;
    flow.settle().await;
    assert_eq!(flow.hold(), wider, "also after a restart");
    flow.commit_with(&[("README.md", "x")], &[("Codeops-Allow", &wider)]).await;
    flow.settle().await;
    assert_eq!(lives(&flow, 8), ["a04", "a05", "a06", "a07"]);
    assert_eq!(flow.revision_state(), "applied");
    let spent = flow.records(|record| match record {
        Record::HoldSpent { hold } => Some(hold.as_str().to_owned()),
        _ => None,
    });
    assert_eq!(spent, [hold, wider.clone()], "the first released nothing: another set was there when it came");

    // They come back and are removed again, hours later: the release is spent.
    flow.change(&[("a00", "v1"), ("a01", "v1"), ("a02", "v1"), ("a03", "v1")]).await;
    flow.settle().await;
    flow.elapse(2 * 3_600).await;
    flow.change(&[("a00", ""), ("a01", ""), ("a02", ""), ("a03", "")]).await;
    flow.settle().await;
    assert_eq!(lives(&flow, 8).len(), 8);
    assert_eq!(flow.hold(), wider, "the same set has the same id, and is held");
    flow.check();
}

#[tokio::test(start_paused = true)]
async fn blast_radius_a_release_before_the_deed_releases_nothing() {
    let mut flow = with_apps(8).await;
    let gone = [("a00", ""), ("a01", ""), ("a02", "")];
    flow.change(&gone).await;
    flow.settle().await;
    let hold = flow.hold();
    flow.change(&[("a00", "v1"), ("a01", "v1"), ("a02", "v1")]).await;
    flow.settle().await;
    assert_eq!(flow.board().holds.len(), 0, "reverted");
    flow.commit_with(&[("README.md", "x")], &[("Codeops-Allow", &hold)]).await;
    flow.settle().await;
    flow.change(&gone).await;
    flow.settle().await;
    assert_eq!(lives(&flow, 8).len(), 8, "nobody has released this one");
    assert_eq!(flow.hold(), hold);
    // In the commit of the deed itself it counts, though the hold only arises from it.
    flow.change(&[("a00", "v1"), ("a01", "v1"), ("a02", "v1")]).await;
    flow.settle().await;
    flow.change_with(&gone, &[("Codeops-Allow", &hold)]).await;
    flow.settle().await;
    assert_eq!(lives(&flow, 8).len(), 5);
    flow.check();
}

#[tokio::test(start_paused = true)]
async fn blast_radius_counts_over_a_rolling_hour() {
    let mut flow = with_apps(8).await;
    flow.change(&[("a00", ""), ("a01", "")]).await;
    flow.settle().await;
    assert_eq!(lives(&flow, 8).len(), 6, "two always go");
    flow.change(&[("a02", "")]).await;
    flow.settle().await;
    assert_eq!(lives(&flow, 8).len(), 6, "a third within the hour does not");
    flow.elapse(3_700).await;
    flow.settle().await;
    assert_eq!(lives(&flow, 8).len(), 6, "nor after it: what was held waits for a commit");
    flow.change(&[("a02", "v1")]).await;
    flow.settle().await;
    flow.change(&[("a02", "")]).await;
    flow.settle().await;
    assert_eq!(lives(&flow, 8).len(), 5, "asked for after the hour it goes");
    flow.check();
}

#[tokio::test(start_paused = true)]
async fn blast_radius_a_commit_that_raises_it_does_not_release_its_own_deletes_with_the_next_one() {
    let mut flow = with_apps(8).await;
    let raised = REPOSITORY.replace("spec: {", "spec: {blastRadius: {percent: 100}, ");
    let gone: Vec<String> = ["a00", "a01", "a02"].map(path).into();
    let mut files: Vec<(&str, &str)> = gone.iter().map(|file| (file.as_str(), "")).collect();
    files.push(("codeops.yaml", &raised));
    flow.commit(&files).await;
    flow.settle().await;
    let hold = flow.hold();
    for text in ["x", "y"] {
        flow.commit(&[("README.md", text)]).await;
        flow.settle().await;
        assert_eq!((flow.hold(), lives(&flow, 8).len()), (hold.clone(), 8), "no unrelated commit releases it");
    }
    flow.restart().await;
    flow.settle().await;
    flow.commit(&[("README.md", "z")]).await;
    flow.settle().await;
    assert_eq!((flow.hold(), lives(&flow, 8).len()), (hold.clone(), 8), "nor one after a restart");
    flow.commit_with(&[("README.md", "w")], &[("Codeops-Allow", &hold)]).await;
    flow.settle().await;
    assert_eq!((lives(&flow, 8).len(), flow.revision_state()), (5, "applied"));

    // Once all is applied the raised limit counts.
    flow.change(&[("a03", ""), ("a04", ""), ("a05", "")]).await;
    flow.settle().await;
    assert_eq!(lives(&flow, 8), ["a06", "a07"]);
    flow.check();
}

#[tokio::test(start_paused = true)]
async fn blast_radius_the_last_of_a_kind_and_scaling_to_zero_are_held() {
    let mut flow = with_apps(2).await;
    let none = |name: &str| app_with(name, "v1", "", "replicas: 0, ");
    flow.commit(&[(&path("a00"), &none("a00"))]).await;
    flow.settle().await;
    assert!(flow.serving("a00").is_empty(), "one of two may go");
    flow.commit(&[(&path("a01"), &none("a01"))]).await;
    flow.settle().await;
    assert_eq!(flow.serving("a01"), ["v1"], "the last may not: {}", flow.why("a01"));
    let hold = flow.hold();
    flow.commit_with(&[("README.md", "x")], &[("Codeops-Allow", &hold)]).await;
    flow.settle().await;
    assert!(flow.serving("a01").is_empty());
    assert!(flow.live("a01").is_some(), "its port is kept");
    flow.check();
}

#[tokio::test(start_paused = true)]
async fn a_wide_update_goes_in_waves() {
    let mut flow = with_apps(12).await;
    let env = REPOSITORY.to_owned();
    assert!(env.contains("defaults"));
    flow.change(&borrowed(&many(12, "v2"))).await;
    flow.elapse(5).await;
    let updated = |flow: &Flow| many(12, "").iter().filter(|(name, _)| flow.serving(name) == ["v2"]).count();
    assert_eq!(updated(&flow), 1, "one first");
    flow.elapse(12).await;
    assert_eq!(updated(&flow), 2, "then a tenth, and at least one");
    flow.settle().await;
    assert_eq!(updated(&flow), 12, "then the rest");
    assert_eq!(flow.revision_state(), "applied");
    let waves = flow.records(|record| match record {
        Record::Waves { waves } => Some(waves.is_some()),
        _ => None,
    });
    assert_eq!(waves, [true, false], "written down when it begins and ends");
    flow.check();
}

#[tokio::test(start_paused = true)]
async fn a_wide_update_stops_at_the_first_failure_and_goes_on_with_a_fix() {
    let mut flow = with_apps(12).await;
    flow.change(&borrowed(&many(12, "bad-2"))).await;
    flow.settle().await;
    for (name, _) in many(12, "") {
        assert_eq!(flow.serving(&name), ["v1"], "{name}");
        assert_eq!(flow.status(&name).0, Sync::Held, "{name}: {}", flow.why(&name));
    }
    let touched = flow.effects().iter().filter(|effect| effect.starts_with("start")).count();
    assert!(touched <= 12 + 3, "only the first was tried: {:?}", flow.effects());

    // An unrelated commit carries the failure to nobody, nor does a restart.
    flow.commit(&[("README.md", "x")]).await;
    flow.settle().await;
    flow.restart().await;
    flow.settle().await;
    assert!(many(12, "").iter().all(|(name, _)| flow.serving(name) == ["v1"]));

    flow.change(&borrowed(&many(12, "v3"))).await;
    flow.settle().await;
    assert!(many(12, "").iter().all(|(name, _)| flow.serving(name) == ["v3"]));
    assert_eq!(flow.revision_state(), "applied");
    flow.check();
}

#[tokio::test(start_paused = true)]
async fn waves_go_on_where_they_were_after_a_restart() {
    let mut flow = with_apps(12).await;
    flow.change(&borrowed(&many(12, "v2"))).await;
    flow.elapse(5).await;
    flow.restart().await;
    flow.elapse(2).await;
    let updated = |flow: &Flow| many(12, "").iter().filter(|(name, _)| flow.serving(name) == ["v2"]).count();
    assert_eq!(updated(&flow), 1);
    flow.settle().await;
    assert_eq!(updated(&flow), 12);
    flow.check();
}

#[tokio::test(start_paused = true)]
async fn a_freeze_stops_all_but_looking_until_it_ends() {
    let mut flow = with_apps(2).await;
    let until = Period::from_secs(600).after(flow.clock.now());
    let frozen = format!(
        "apiVersion: codeops/v1\nkind: Repository\nmetadata: {{name: acme-ops}}\n\
         spec: {{defaults: {{provider: local}}, freeze: {{what: all, reason: bad night, until: {until}}}}}\n"
    );
    flow.commit(&[("codeops.yaml", &frozen), (&path("a00"), &app("a00", "v2"))]).await;
    flow.elapse(120).await;
    assert_eq!(flow.serving("a00"), ["v1"]);
    assert!(flow.board().freeze.as_ref().is_some_and(|freeze| freeze.contains("bad night")));
    assert!(flow.why("a00").contains("bad night"), "{}", flow.why("a00"));
    flow.local().kill(&id("a01"), &flow.live("a01").expect("it lives").instances[0].id);
    flow.elapse(120).await;
    assert!(flow.serving("a01").is_empty(), "drift is seen and not repaired");
    assert_eq!(flow.status("a01").0, Sync::OutOfSync);
    flow.elapse(600).await;
    flow.settle().await;
    assert_eq!((flow.serving("a00"), flow.serving("a01")), (vec!["v2".to_owned()], vec!["v1".to_owned()]));
    assert_eq!(flow.board().freeze, None);
    flow.check();
}

#[tokio::test(start_paused = true)]
async fn of_two_freezes_the_page_names_the_one_that_stops_the_most() {
    let mut flow = with_apps(1).await;
    flow.rules.freeze = Some(Freeze { what: FreezeWhat::Playbooks, reason: "few hands".to_owned(), until: None });
    flow.restart().await;
    flow.settle().await;
    assert_eq!(flow.board().freeze.as_deref(), Some("playbooks are frozen until lifted: few hands"));
    let frozen = REPOSITORY.replace("spec: {", "spec: {freeze: {what: all, reason: bad night}, ");
    flow.commit(&[("codeops.yaml", &frozen), (&path("a00"), &app("a00", "v2"))]).await;
    flow.elapse(120).await;
    assert_eq!(flow.board().freeze.as_deref(), Some("frozen until lifted: bad night"));
    assert_eq!(
        (flow.serving("a00"), flow.why("a00")),
        (vec!["v1".to_owned()], "frozen until lifted: bad night".to_owned())
    );
    flow.commit(&[("codeops.yaml", REPOSITORY)]).await;
    flow.settle().await;
    assert_eq!(flow.serving("a00"), ["v2"], "playbooks frozen freezes no commit");
    flow.check();
}

#[tokio::test(start_paused = true)]
async fn a_freeze_in_the_settings_stops_all_too() {
    let mut flow = with_apps(2).await;
    flow.rules.freeze = Some(Freeze { what: FreezeWhat::All, reason: "moving house".to_owned(), until: None });
    flow.restart().await;
    flow.change(&[("a00", "v2")]).await;
    flow.elapse(3_600).await;
    assert_eq!(flow.serving("a00"), ["v1"]);
    assert!(flow.why("a00").contains("moving house"));
    flow.rules.freeze = None;
    flow.restart().await;
    flow.settle().await;
    assert_eq!(flow.serving("a00"), ["v2"]);
    flow.check();
}

#[tokio::test(start_paused = true)]
async fn suspend_leaves_a_resource_as_it_is() {
    let mut flow = with_apps(2).await;
    flow.commit(&[(&path("a00"), &app_with("a00", "v2", "", "suspend: true, "))]).await;
    flow.settle().await;
    assert_eq!(flow.serving("a00"), ["v1"]);
    assert_eq!(flow.status("a00"), (Sync::Suspended, Health::Healthy));
    flow.commit(&[(&path("a00"), &app_with("a00", "v2", "", "replicas: 3, suspend: true, "))]).await;
    flow.settle().await;
    assert_eq!(flow.status("a00"), (Sync::Suspended, Health::Healthy), "nothing is on its way to what is declared");
    assert_eq!(flow.revision_state(), "applied");
    flow.local().kill(&id("a00"), &flow.live("a00").expect("it lives").instances[0].id);
    flow.settle().await;
    assert!(flow.serving("a00").is_empty(), "no repair of drift either");
    assert_eq!((flow.status("a00"), flow.revision_state()), ((Sync::Suspended, Health::Degraded), "applied"));
    flow.change(&[("a00", "v2")]).await;
    flow.settle().await;
    assert_eq!(flow.serving("a00"), ["v2"]);
    flow.check();
}

#[tokio::test(start_paused = true)]
async fn mode_observe_changes_nothing_and_shows_everything() {
    let mut flow = Flow::stopped(&["local"]);
    flow.rules.observe = true;
    flow.start().await;
    flow.begin(&[("a", "v1")]).await;
    flow.elapse(600).await;
    assert!(flow.effects().is_empty());
    assert_eq!(flow.status("a"), (Sync::OutOfSync, Health::Missing));
    assert!(!flow.view("a").differences.is_empty(), "what would change is shown");
    assert!(flow.board().observe_only.is_some() && flow.board().ready);
    flow.change(&[("a", "v2")]).await;
    flow.elapse(600).await;
    assert!(flow.effects().is_empty(), "a commit does not end it");
    flow.rules.observe = false;
    flow.restart().await;
    flow.settle().await;
    assert_eq!(flow.serving("a"), ["v2"]);
    flow.check();
}

#[tokio::test(start_paused = true)]
async fn mode_observe_writes_down_nothing_that_is_decided() {
    let mut flow = Flow::new().await;
    flow.begin(&[("a", "never-1"), ("b", "v1"), ("c", "v1")]).await;
    flow.settle().await;
    let template = flow.view("a").desired.as_ref().expect("declared").template_digest.clone();
    let decided = |flow: &Flow| {
        flow.records(|record| match record {
            Record::Forgotten { .. } => Some("forgotten"),
            Record::Pinned { .. } => Some("pinned"),
            Record::HoldSpent { .. } => Some("hold spent"),
            _ => None,
        })
    };
    flow.rules.observe = true;
    flow.restart().await;
    flow.change_with(&[("b", "")], &[("Codeops-Allow", "0123456789ab")]).await;
    flow.local().remove(&id("b"));
    flow.local().set_health(&template, Script::CrashLoop);
    flow.elapse(600).await;
    assert_eq!(decided(&flow), [""; 0]);
    assert_eq!(flow.status("a").1, Health::Degraded, "it is seen");
    flow.rules.observe = false;
    flow.restart().await;
    flow.settle().await;
    let mut now = decided(&flow);
    now.sort_unstable();
    assert_eq!(now, ["forgotten", "hold spent", "pinned"]);
    flow.check();
}

#[tokio::test(start_paused = true)]
async fn a_dependency_that_is_not_healthy_is_waited_for_and_a_held_one_is_named() {
    let mut flow = Flow::new().await;
    let shop = app_with("shop", "v1", "", "after: [app/auth], ");
    flow.begin(&[("auth", "slow-1"), ("other", "v1")]).await;
    flow.commit(&[(&path("shop"), &shop)]).await;
    flow.elapse(20).await;
    assert_eq!(flow.live("shop"), None);
    assert!(flow.why("shop").contains("waits for app/auth"), "{}", flow.why("shop"));
    assert_eq!(flow.serving("other"), ["v1"], "others do not wait");
    flow.settle().await;
    assert_eq!(flow.serving("shop"), ["v1"], "it goes on by itself");

    // Removed the other way round.
    flow.change(&[("shop", ""), ("auth", "")]).await;
    flow.settle().await;
    let deletes: Vec<String> = flow.effects().into_iter().filter(|effect| effect.starts_with("delete")).collect();
    assert_eq!(deletes, ["delete shop", "delete auth"]);
    let removals = flow.records(|record| match record {
        Record::Removal { verb: Verb::Delete, resource, .. } => Some(resource.clone()),
        _ => None,
    });
    assert_eq!(removals, [id("shop"), id("auth")]);
    flow.check();
}

#[tokio::test(start_paused = true)]
async fn a_removal_that_takes_long_is_asked_for_and_told_once() {
    let mut flow = with_apps(3).await;
    flow.local().set_lingers();
    (0..3).for_each(|_| flow.local().fail_next(Fault::Retry));
    flow.change(&[("a00", "")]).await;
    flow.elapse(900).await;
    let removals = || flow.records(|record| matches!(record, Record::Removal { .. }).then_some(()));
    assert_eq!(removals().len(), 1, "one that fails at first");
    let deletes = || flow.effects().into_iter().filter(|effect| effect == "delete a00").count();
    assert_eq!(deletes(), 1);
    flow.elapse(900).await;
    assert_eq!((removals().len(), deletes()), (1, 1), "one whose instances take their time");
    assert_eq!(flow.why("a00"), "it is no longer declared and is being removed");
    flow.local().remove(&id("a00"));
    flow.settle().await;
    assert!(!flow.board().resources.contains_key(&id("a00")));
    flow.check();
}

#[tokio::test(start_paused = true)]
async fn a_release_that_names_no_open_hold_is_told_with_those_that_are_open() {
    let mut flow = Flow::new().await;
    flow.begin(&[("a", "v1"), ("b", "v1"), ("c", "v1"), ("d", "v1")]).await;
    flow.settle().await;
    flow.change(&[("a", ""), ("b", ""), ("c", ""), ("d", "")]).await;
    flow.settle().await;
    let open = flow.hold();
    flow.commit_with(&[("README.md", "x")], &[("Codeops-Allow", "000000000000")]).await;
    flow.settle().await;
    let notes = flow.records(|record| match record {
        Record::Note { text, .. } => Some(text.clone()),
        _ => None,
    });
    let told =
        format!("`Codeops-Allow: 000000000000` names no open hold and releases nothing; open: Codeops-Allow: {open}");
    assert!(notes.contains(&told), "{notes:?}");
    assert_eq!(flow.hold(), open);
}

#[tokio::test(start_paused = true)]
async fn a_retry_of_nothing_that_is_there_is_told_with_what_may_be_meant() {
    let mut flow = Flow::new().await;
    flow.begin(&[("till", "v1"), ("b", "v1")]).await;
    flow.settle().await;
    flow.change(&[("till", "bad-2")]).await;
    flow.settle().await;
    flow.commit_with(&[("README.md", "x")], &[("Codeops-Retry", "app/tlil")]).await;
    flow.settle().await;
    flow.commit_with(&[("README.md", "y")], &[("Codeops-Retry", "till")]).await;
    flow.settle().await;
    let notes = flow.records(|record| match record {
        Record::Note { text, .. } => Some(text.clone()),
        _ => None,
    });
    for (value, told) in [("app/tlil", "did you mean app/till?"), ("till", "a resource is such as app/shop")] {
        let is_told = |note: &String| {
            note.starts_with(&format!("`Codeops-Retry: {value}` of commit "))
                && note.ends_with(&format!("names no resource and retries nothing; {told}"))
        };
        assert!(notes.iter().any(is_told), "{notes:?}");
    }
    assert_eq!(flow.view("till").pins.len(), 1, "still pinned");
}
