//! The repository vanishes, is rewritten, or is broken in part.

use std::time::Duration;

use codeops_core::config::TeamSettings;
use codeops_core::model::{Health, Sync};

use crate::support::flow::{Flow, REPOSITORY, TEAM, app, app_with, id, path};

#[tokio::test(start_paused = true)]
async fn a_commit_becomes_running_software() {
    let mut flow = Flow::new().await;
    flow.begin(&[("a", "v1"), ("b", "v1")]).await;
    flow.settle().await;
    assert_eq!(flow.status("a"), (Sync::Synced, Health::Healthy));
    assert_eq!(flow.serving("b"), ["v1"]);
    assert_eq!(flow.revision_state(), "applied");
    flow.change(&[("a", "v2")]).await;
    flow.settle().await;
    assert_eq!((flow.serving("a"), flow.serving("b")), (vec!["v2".to_owned()], vec!["v1".to_owned()]));
    assert_eq!(flow.revision_state(), "applied");
    flow.check();
}

#[tokio::test(start_paused = true)]
async fn repository_unreachable_keeps_the_last_revision_in_force() {
    let mut flow = Flow::new().await;
    flow.begin(&[("a", "v1")]).await;
    flow.settle().await;
    flow.source.set_unreachable(Some("connection refused"));
    flow.look();
    flow.elapse(1).await;
    assert_eq!(flow.board().source.error.as_deref(), Some("connection refused"), "the page says so");

    flow.local().kill(&id("a"), &flow.live("a").expect("it lives").instances[0].id);
    flow.settle().await;
    assert_eq!(flow.serving("a"), ["v1"], "drift is repaired all the same");

    flow.restart().await;
    flow.settle().await;
    assert!(flow.board().ready && flow.board().source.error.is_some());
    assert_eq!(flow.status("a"), (Sync::Synced, Health::Healthy), "also after a reboot");
    let before = flow.instances("a");
    flow.local().kill(&id("a"), &flow.live("a").expect("it lives").instances[0].id);
    flow.settle().await;
    assert_eq!(flow.serving("a"), ["v1"]);
    assert_ne!(flow.instances("a"), Vec::<String>::new(), "{before:?} came back");

    flow.source.set_unreachable(None);
    flow.change(&[("a", "v2")]).await;
    flow.settle().await;
    assert_eq!((flow.board().source.error.clone(), flow.serving("a")), (None, vec!["v2".to_owned()]));
    flow.check();
}

/// An app that ends again and again on a busy machine: each look finds something new, and asks for the next look. Time
/// stands still meanwhile, so what is due is done because it is its turn, not because the flow came to rest.
#[tokio::test(start_paused = true)]
async fn a_commit_is_taken_up_while_events_come_without_end() {
    let mut flow = Flow::new().await;
    flow.begin(&[("a", "v1")]).await;
    flow.settle().await;
    flow.log.set_slow();
    flow.local().set_restless(true);
    turns_until("the events begin", || flow.local().observed() > 50).await;
    let revision = flow.change(&[("b", "v1")]).await;
    turns_until("the commit is in force", || flow.board().revision.as_ref().is_some_and(|r| r.id == revision)).await;
    turns_until("it runs", || flow.serving("b") == ["v1"]).await;
    let whole = flow.local().observed_whole();
    tokio::time::advance(flow.rules.resync).await;
    turns_until("everything is looked at again", || flow.local().observed_whole() > whole).await;
    tokio::time::advance(Duration::from_secs(10)).await;
    turns_until("the end of a bake is seen", || flow.revision_state() == "applied").await;
    flow.local().set_restless(false);
    flow.settle().await;
    flow.check();
}

/// Gives the flow its turns, and no time, until something is so.
async fn turns_until(what: &str, mut is: impl FnMut() -> bool) {
    for _ in 0..20_000 {
        if is() {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("not within 20,000 turns: {what}");
}

#[tokio::test(start_paused = true)]
async fn history_rewritten_is_held_until_a_commit_that_descends() {
    let mut flow = Flow::new().await;
    let first = flow.begin(&[("a", "v1")]).await;
    let second = flow.change(&[("a", "v2")]).await;
    flow.settle().await;
    let rewritten = flow.source.commit_on(Some(&first), &[("apps/a.yaml", &app("a", "v3"))], &[]);
    flow.learn(&rewritten);
    flow.look();
    flow.settle().await;
    assert!(flow.board().source.held.as_ref().is_some_and(|held| held.contains("rewritten")));
    assert_eq!(flow.serving("a"), ["v2"]);
    flow.restart().await;
    flow.look();
    flow.settle().await;
    assert_eq!(flow.serving("a"), ["v2"], "nor after a restart");

    let back = flow.source.commit_on(Some(&second), &[("apps/a.yaml", &app("a", "v4"))], &[]);
    flow.learn(&back);
    flow.look();
    flow.settle().await;
    assert_eq!((flow.board().source.held.clone(), flow.serving("a")), (None, vec!["v4".to_owned()]));
    flow.check();
}

#[tokio::test(start_paused = true)]
async fn one_bad_manifest_among_many_stays_at_its_last_good() {
    let mut flow = Flow::new().await;
    flow.begin(&[("a", "v1"), ("b", "v1"), ("c", "v1")]).await;
    flow.settle().await;
    let broken = "apiVersion: codeops/v1\nkind: App\nmetadata: {name: a, team: core}\nspec: {runn: [x]}\n";
    let fresh = "apiVersion: codeops/v1\nkind: App\nmetadata: {name: new, team: core}\nspec: {runn: [x]}\n";
    flow.commit(&[("apps/a.yaml", broken), ("apps/b.yaml", &app("b", "v2")), ("apps/new.yaml", fresh)]).await;
    flow.settle().await;
    assert_eq!(flow.serving("b"), ["v2"], "all others move on");
    assert_eq!(flow.status("a"), (Sync::Held, Health::Healthy));
    assert_eq!(flow.status("new"), (Sync::Held, Health::Missing), "without a last good: nothing");
    assert_eq!(flow.revision_state(), "partial");
    flow.local().kill(&id("a"), &flow.live("a").expect("it lives").instances[0].id);
    flow.settle().await;
    assert_eq!(flow.serving("a"), ["v1"], "the last good is kept up");

    flow.restart().await;
    flow.settle().await;
    assert_eq!(flow.serving("a"), ["v1"]);
    flow.commit(&[("apps/a.yaml", &app("a", "v2")), ("apps/new.yaml", &app("new", "v1"))]).await;
    flow.settle().await;
    assert_eq!((flow.serving("a"), flow.serving("new")), (vec!["v2".to_owned()], vec!["v1".to_owned()]));
    assert_eq!(flow.revision_state(), "applied");
    flow.check();
}

/// A file of three bytes that cannot be read holds what may be in it: that is no reason to write all of it down each time.
#[tokio::test(start_paused = true)]
async fn a_mistake_that_comes_and_goes_writes_nothing_large() {
    let large = app_with("a", "v1", "", &format!("env: {{BIG: {}}}, ", "x".repeat(100_000)));
    let broken = "apiVersion: codeops/v1\nkind: App\nmetadata: {name: a, team: core}\nspec: {runn: [x]}\n";
    let mut flow = Flow::new().await;
    flow.begin(&[("a", "v0")]).await;
    flow.settle().await;
    flow.commit(&[("apps/a.yaml", &large)]).await;
    flow.settle().await;
    let written = |flow: &Flow| -> usize {
        flow.log.entries().iter().map(|entry| serde_json::to_string(&entry.record).map_or(0, |text| text.len())).sum()
    };
    let before = written(&flow);
    for restarts in [false, true, false] {
        flow.commit(&[("apps/a.yaml", broken)]).await;
        flow.settle().await;
        assert_eq!((flow.status("a"), flow.serving("a")), ((Sync::Held, Health::Healthy), vec!["v1".to_owned()]));
        if restarts {
            flow.restart().await;
            flow.settle().await;
            assert_eq!((flow.status("a"), flow.serving("a")), ((Sync::Held, Health::Healthy), vec!["v1".to_owned()]));
        }
        flow.commit(&[("apps/a.yaml", &large)]).await;
        flow.settle().await;
        assert_eq!((flow.status("a"), flow.revision_state()), ((Sync::Synced, Health::Healthy), "applied"));
    }
    assert!(written(&flow) - before < 50_000, "{}", written(&flow) - before);
    flow.check();
}

/// A mistake that comes while a version bakes, wherever it stands, takes nothing back: the version bakes on and is good then.
#[tokio::test(start_paused = true)]
async fn what_still_bakes_under_a_mistake_bakes_on() {
    let app_typo = "apiVersion: codeops/v1\nkind: App\nmetadata: {name: a, team: core}\nspec: {runn: [x]}\n";
    let team_typo = "apiVersion: codeops/v1\nkind: Team\nmetadata: {name: core}\nspec: {memberz: []}\n";
    let repository_typo = REPOSITORY.replace("spec: {", "spec: {freez: 7, ");
    for (file, text) in [("apps/a.yaml", app_typo), ("team.yaml", team_typo), ("codeops.yaml", &*repository_typo)] {
        for restarts in [false, true] {
            let mut flow = Flow::new().await;
            flow.begin(&[("a", "v1")]).await;
            flow.settle().await;
            let declared = flow.change(&[("a", "v2")]).await;
            flow.elapse(5).await;
            assert_eq!(flow.serving("a"), ["v2"], "half through its bake");
            flow.commit(&[(file, text)]).await;
            if restarts {
                flow.elapse(1).await;
                flow.restart().await;
            }
            flow.settle().await;
            assert_eq!((flow.serving("a"), flow.status("a")), (vec!["v2".to_owned()], (Sync::Held, Health::Healthy)));
            let good = flow.view("a").last_good.clone().expect("it has baked");
            assert_eq!(good.revision, Some(declared), "{file}: what declared it");
            // What is mended counts at once.
            flow.commit(&[("codeops.yaml", REPOSITORY), ("team.yaml", TEAM), ("apps/a.yaml", &app("a", "v3"))]).await;
            flow.settle().await;
            assert_eq!((flow.serving("a"), flow.revision_state()), (vec!["v3".to_owned()], "applied"), "{file}");
            flow.check();
        }
    }
}

/// A limit that was never accepted is nobody's: neither while it is there nor once it is mended.
#[tokio::test(start_paused = true)]
async fn a_limit_with_a_mistake_counts_for_nothing() {
    let mut flow = Flow::new().await;
    let apps: Vec<String> = (0..16).map(|n| format!("a{n:02}")).collect();
    let all: Vec<(&str, &str)> = apps.iter().map(|name| (name.as_str(), "v1")).collect();
    flow.begin(&all).await;
    flow.settle().await;
    let limited =
        |percent: u32| REPOSITORY.replace("spec: {", &format!("spec: {{blastRadius: {{percent: {percent}}}, "));
    flow.commit(&[("codeops.yaml", &limited(25))]).await;
    flow.settle().await;
    let paths: Vec<String> = apps[..6].iter().map(|name| path(name)).collect();
    let removed: Vec<(&str, &str)> = paths.iter().map(|path| (path.as_str(), "")).collect();
    flow.commit(&removed).await;
    flow.settle().await;
    let held = |flow: &Flow| flow.board().holds.iter().map(|hold| hold.why.clone()).collect::<Vec<_>>();
    let before = held(&flow);
    assert!(before.len() == 1 && before[0].contains("25 %"), "{before:?}");
    for percent in [250, 25] {
        flow.commit(&[("codeops.yaml", &limited(percent))]).await;
        flow.settle().await;
        assert_eq!(held(&flow), before, "{percent}");
    }
    flow.check();
}

#[tokio::test(start_paused = true)]
async fn one_bad_manifest_of_an_app_that_never_was_good_leaves_the_live_object_alone() {
    let mut flow = Flow::new().await;
    flow.begin(&[("a", "bad-1"), ("b", "v1")]).await;
    flow.settle().await;
    let before = flow.live("a").expect("it lives");
    let broken = "apiVersion: codeops/v1\nkind: App\nmetadata: {name: a, team: core}\nspec: {runn: [x]}\n";
    flow.commit(&[("apps/a.yaml", broken)]).await;
    flow.settle().await;
    assert_eq!(flow.live("a").map(|live| live.stamp), Some(before.stamp));
    assert_eq!(flow.status("a").0, Sync::Held);
    assert_ne!(flow.status("a").1, Health::Missing, "it lives, and the page says how it does");
    flow.check();
}

#[tokio::test(start_paused = true)]
async fn a_file_that_cannot_be_read_deletes_nothing() {
    let mut flow = Flow::new().await;
    flow.begin(&[("a", "v1"), ("b", "v1"), ("c", "v1")]).await;
    flow.settle().await;
    // `b` is gone, and an unreadable file came: it may be where `b` went.
    flow.commit(&[("apps/b.yaml", ""), ("apps/moved.yaml", "{{{ not yaml")]).await;
    flow.settle().await;
    assert_eq!(flow.serving("b"), ["v1"]);
    assert_eq!(flow.serving("a"), ["v1"]);
    // Whoever looks sees it, and what to do.
    assert_eq!(flow.status("b"), (Sync::Held, Health::Healthy));
    let why = flow.why("b");
    assert!(why.contains("no longer declared, and not deleted") && why.contains("apps/moved.yaml:1:"), "{why}");
    assert_eq!((flow.board().overall().held, flow.revision_state()), (1, "partial"));
    flow.commit(&[("apps/moved.yaml", "")]).await;
    flow.settle().await;
    assert_eq!(flow.live("b"), None, "once all is readable, what is gone goes");
    flow.check();
}

#[tokio::test(start_paused = true)]
async fn a_rename_with_a_mistake_deletes_nothing_also_after_a_restart() {
    let mut flow = Flow::new().await;
    flow.begin(&[("a", "v1"), ("b", "v1"), ("c", "v1")]).await;
    flow.settle().await;
    let (taken, mistyped) = (app_with("a", "v1", "was: [b], ", ""), app_with("d", "v1", "wass: [b], ", ""));
    let in_spec = app_with("d", "v1", "", "was: [b], ");
    for (version, changes) in [
        ("v2", [("apps/b.yaml", &*taken), ("apps/d.yaml", "")]),
        ("v3", [("apps/b.yaml", ""), ("apps/d.yaml", &mistyped)]),
        ("v4", [("apps/b.yaml", ""), ("apps/d.yaml", &in_spec)]),
    ] {
        flow.commit(&changes).await;
        flow.settle().await;
        flow.restart().await;
        flow.settle().await;
        flow.change(&[("c", version)]).await;
        flow.settle().await;
        assert_eq!((flow.serving("b"), flow.status("b").0), (vec!["v1".to_owned()], Sync::Held), "{changes:?}");
        let why = flow.why("b");
        assert!(why.contains("apps/b.yaml:") || why.contains("apps/d.yaml:"), "{why}");
    }
    // Mended, it is renamed.
    flow.commit(&[("apps/d.yaml", &app_with("d", "v1", "was: [b], ", ""))]).await;
    flow.settle().await;
    assert_eq!((flow.serving("d"), flow.live("b")), (vec!["v1".to_owned()], None));
    flow.check();
}

#[tokio::test(start_paused = true)]
async fn a_file_that_cannot_be_read_keeps_nothing_of_a_team_that_may_not_write_there() {
    let paths = |own: &[&str]| TeamSettings {
        paths: own.iter().map(|path| (*path).to_owned()).collect(),
        ..TeamSettings::default()
    };
    let teams = [("core", paths(&["apps/", "team.yaml"])), ("other", paths(&["other/"]))];
    let mut flow = Flow::stopped(&["local"]);
    flow.rules.teams = teams.map(|(name, own)| (name.parse().expect("a name"), own)).into();
    flow.start().await;
    flow.begin(&[("a", "v1"), ("b", "v1"), ("c", "v1")]).await;
    let theirs = |name: &str| app(name, "v1").replace("team: core", "team: other");
    let team = TEAM.replace("core", "other");
    flow.commit(&[("teams/other.yaml", &team), ("other/x.yaml", &theirs("x")), ("other/y.yaml", &theirs("y"))]).await;
    flow.settle().await;
    assert_eq!(flow.serving("y"), ["v1"]);
    flow.commit(&[("other/junk.yaml", "{{{ not yaml")]).await;
    flow.commit(&[("apps/b.yaml", ""), ("other/y.yaml", "")]).await;
    flow.settle().await;
    assert_eq!(flow.live("b"), None, "its team may not write in other/");
    assert_eq!((flow.serving("y"), flow.status("y").0), (vec!["v1".to_owned()], Sync::Held));
    flow.commit(&[("other/junk.yaml", "")]).await;
    flow.settle().await;
    assert_eq!(flow.live("y"), None);
    flow.check();
}

#[tokio::test(start_paused = true)]
async fn a_broken_team_or_repository_holds_what_resolves_through_it() {
    let mut flow = Flow::new().await;
    flow.begin(&[("a", "v1"), ("b", "v1")]).await;
    flow.settle().await;
    let instances = (flow.instances("a"), flow.instances("b"));
    flow.commit(&[("team.yaml", "apiVersion: codeops/v1\nkind: Team\nmetadata: {name: core}\nspec: {memberz: []}\n")])
        .await;
    flow.settle().await;
    assert_eq!(flow.status("a").0, Sync::Held);
    flow.commit(&[("codeops.yaml", "apiVersion: codeops/v1\nkind: Repository\nmetadata: {name: acme-ops}\nspec: 7\n")])
        .await;
    flow.change(&[("a", "v2")]).await;
    flow.settle().await;
    assert_eq!((flow.instances("a"), flow.instances("b")), instances, "nothing moved");
    flow.commit(&[("team.yaml", TEAM), ("codeops.yaml", REPOSITORY)]).await;
    flow.settle().await;
    assert_eq!(flow.serving("a"), ["v2"]);
    assert_eq!(flow.revision_state(), "applied");
    flow.check();
}
