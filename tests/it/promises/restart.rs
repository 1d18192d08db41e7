//! The daemon is killed, its store restored from a backup or lost.

use codeops::journal::Record;
use codeops_core::model::{Health, PageEvent, PageOpened, RunState, Sync};

use super::alerts::{PEOPLE, begin, firing, resolved};
use crate::support::flow::{Flow, app_with, path};

async fn running() -> Flow {
    let mut flow = Flow::new().await;
    flow.begin(&[("a", "v1"), ("b", "v1"), ("c", "v1")]).await;
    flow.settle().await;
    flow
}

#[tokio::test(start_paused = true)]
async fn a_restart_changes_nothing() {
    let mut flow = running().await;
    let (effects, instances) = (flow.effects(), flow.instances("a"));
    for _ in 0..3 {
        flow.restart().await;
        flow.settle().await;
    }
    assert_eq!((flow.effects(), flow.instances("a")), (effects, instances));
    assert_eq!(flow.revision_state(), "applied");
    flow.check();
}

#[tokio::test(start_paused = true)]
async fn an_older_store_observes_only_until_a_commit() {
    let mut flow = running().await;
    let backup = flow.log.entries().len();
    // What the backup does not know: later daemons, a new version, a new app, one removed.
    flow.restart().await;
    flow.change(&[("a", "v2"), ("c", ""), ("d", "v1")]).await;
    flow.settle().await;
    flow.restart().await;
    flow.change(&[("a", "v3")]).await;
    flow.settle().await;
    let (effects, before) = (flow.effects(), flow.instances("a"));
    flow.source.set_unreachable(Some("down"));
    flow.restore_backup(backup).await;
    flow.elapse(300).await;
    assert!(flow.board().observe_only.as_ref().is_some_and(|why| why.contains("backup")), "{:?}", flow.board());
    assert_eq!(flow.effects(), effects, "nothing is deleted or changed by the old revision");

    // The commits that later daemons had already applied are not new ones, though this store has not seen them.
    flow.source.set_unreachable(None);
    flow.look();
    flow.elapse(300).await;
    assert_eq!(flow.effects(), effects);
    assert!(flow.board().observe_only.is_some());

    flow.change(&[("b", "v2")]).await;
    flow.settle().await;
    assert_eq!(flow.board().observe_only, None);
    assert_eq!((flow.serving("b"), flow.instances("a")), (vec!["v2".to_owned()], before), "and nothing is restarted");
    assert_eq!(flow.revision_state(), "applied");
    flow.restart().await;
    flow.settle().await;
    assert_eq!(flow.board().observe_only, None, "it is over for good");
    flow.check();
}

#[tokio::test(start_paused = true)]
async fn an_older_store_that_sees_the_newest_commit_first_observes_only_too() {
    let mut flow = running().await;
    let backup = flow.log.entries().len();
    flow.restart().await;
    flow.change(&[("a", "v2"), ("d", "v1")]).await;
    flow.settle().await;
    let effects = flow.effects();
    flow.restore_backup(backup).await;
    flow.elapse(300).await;
    assert!(flow.board().observe_only.is_some());
    assert_eq!(flow.effects(), effects);
    flow.change(&[("a", "v3")]).await;
    flow.settle().await;
    assert_eq!(flow.serving("a"), ["v3"]);
    flow.check();
}

#[tokio::test(start_paused = true)]
async fn an_older_store_says_so_in_one_page_and_its_alerts_call_people_alone() {
    let mut flow = Flow::new().await;
    begin(&mut flow, &["shop", "auth"]).await;
    let backup = flow.log.entries().len();
    flow.restart().await;
    flow.change(&[("extra", "v1")]).await;
    flow.settle().await;
    let effects = flow.effects();
    flow.restore_backup(backup).await;
    flow.elapse(600).await;
    assert!(flow.board().observe_only.is_some());
    let told = |flow: &Flow| {
        flow.records(|record| match record {
            Record::Page { event: PageEvent::Opened(PageOpened { title, run: None, .. }), .. } => Some(title.clone()),
            _ => None,
        })
    };
    assert_eq!(told(&flow), ["codeops only observes until a commit"], "though no run was on");
    assert_eq!(flow.outside.count("webhook"), 1);
    // It stays so, and is told once, also by the next daemon.
    flow.restart().await;
    flow.elapse(600).await;
    assert!(flow.board().observe_only.is_some());
    assert_eq!((told(&flow).len(), flow.outside.count("webhook")), (1, 1));

    flow.tell(vec![firing(&flow, "AppDown", "shop")]).await;
    flow.elapse(600).await;
    let runs = flow.runs().await;
    assert_eq!(runs.iter().map(|run| run.state()).collect::<Vec<_>>(), [RunState::Paged], "{runs:#?}");
    assert_eq!((flow.outside.count("webhook"), flow.outside.count("scripts/look.sh")), (2, 0));
    assert_eq!(flow.effects(), effects, "nothing is changed");

    // A commit ends it, and playbooks answer again.
    flow.change(&[("extra", "v2")]).await;
    flow.settle().await;
    assert_eq!(flow.board().observe_only, None);
    flow.tell(vec![firing(&flow, "AppDown", "auth")]).await;
    flow.elapse(60).await;
    assert_eq!(flow.outside.count("scripts/look.sh"), 1);
    assert_eq!(
        (told(&flow).len(), flow.outside.count("webhook over")),
        (1, 1),
        "who was told of it knows that it is over"
    );
    flow.check();
}

/// What a channel or a script was told under a key that is given again, it would take for told.
#[tokio::test(start_paused = true)]
async fn a_restored_store_gives_no_key_that_was_given_in_the_lost_time() {
    let mut flow = Flow::new().await;
    begin(&mut flow, &["shop", "auth"]).await;
    let backup = flow.log.entries().len();
    flow.tell(vec![firing(&flow, "AppDown", "shop"), firing(&flow, "Odd", "shop")]).await;
    flow.elapse(600).await;
    flow.restart().await;
    flow.change(&[("extra", "v1")]).await;
    flow.settle().await;
    let keys = |flow: &Flow, from: usize| {
        let done = flow.outside.done().into_iter().skip(from).filter(|(word, _)| word != "beat");
        done.collect::<std::collections::BTreeSet<_>>()
    };
    let (lost, from) = (keys(&flow, 0), flow.outside.done().len());
    assert!(lost.iter().any(|(word, _)| word == "webhook") && lost.iter().any(|(word, _)| word == "scripts/look.sh"));
    flow.restore_backup(backup).await;
    flow.elapse(60).await;
    flow.change(&[("extra", "v2")]).await;
    flow.settle().await;
    flow.tell(vec![firing(&flow, "AppDown", "auth"), firing(&flow, "Odd", "auth")]).await;
    flow.elapse(600).await;
    let new = keys(&flow, from);
    assert!(new.iter().any(|(word, _)| word == "webhook") && new.iter().any(|(word, _)| word == "scripts/look.sh"));
    assert!(new.is_disjoint(&lost), "{new:#?} {lost:#?}");
    // The next daemon gives the same: the end of a page is told under the key of its beginning.
    flow.restart().await;
    flow.tell(vec![resolved(&flow, "Odd", "auth")]).await;
    flow.elapse(60).await;
    let over: Vec<String> =
        keys(&flow, from).into_iter().filter(|(word, _)| word == "webhook over").map(|it| it.1).collect();
    assert!(!over.is_empty() && over.iter().all(|key| new.contains(&("webhook".to_owned(), key.clone()))), "{over:?}");
}

/// Who is told of a run whose alert fires on is called, also where nobody else is.
#[tokio::test(start_paused = true)]
async fn an_older_store_calls_those_whose_runs_it_cancels_while_their_alerts_fire() {
    let own = "---\napiVersion: codeops/v1\nkind: EscalationPolicy\nmetadata: {name: others, team: core}\nspec: {levels: [{notify: [receiver/sink]}]}\n";
    for (fallback, route) in [(Some("people"), "others"), (Some("people"), "people"), (None, "others")] {
        let mut flow = Flow::stopped(&["local"]);
        flow.responds.fallback = fallback.map(|name| name.parse().expect("a name"));
        flow.start().await;
        begin(&mut flow, &["shop", "auth"]).await;
        let people = PEOPLE.replace("{policy: people}", &format!("{{policy: {route}}}"));
        flow.commit(&[("people.yaml", &format!("{people}{own}"))]).await;
        flow.elapse(5).await;
        flow.tell(vec![firing(&flow, "AppDown", "shop"), firing(&flow, "AppDown", "auth")]).await;
        flow.elapse(20).await;
        assert_eq!(flow.runs().await.iter().filter(|run| !run.state().is_over()).count(), 2);
        let backup = flow.log.entries().len();
        flow.restart().await;
        flow.change(&[("extra", "v1")]).await;
        flow.settle().await;
        flow.restore_backup(backup).await;
        flow.elapse(60).await;
        assert!(flow.board().observe_only.is_some());
        let told = flow.records(|record| match record {
            Record::Page { event: PageEvent::Opened(PageOpened { policy, body, alerts, .. }), .. } => {
                let policy = policy.as_ref().map(ToString::to_string);
                Some((policy, body.contains("shop") && body.contains("auth"), alerts.len()))
            }
            _ => None,
        });
        let own = |policy: &str, alerts| (Some(policy.to_owned()), true, alerts);
        let daemon = (fallback.map(ToOwned::to_owned), false, 0);
        let expected = if route == "people" { vec![own("people", 0)] } else { vec![own("others", 2), daemon] };
        let sorted = |mut all: Vec<_>| {
            all.sort();
            all
        };
        assert_eq!(sorted(told), sorted(expected), "one page for each policy, of {fallback:?} and {route}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_store_is_rebuilt_from_stamps_and_restarts_nothing() {
    let mut flow = running().await;
    for _ in 0..3 {
        flow.restart().await;
    }
    flow.change(&[("a", "v2")]).await;
    flow.settle().await;
    flow.commit(&[(&path("b"), &app_with("b", "v1", "", "replicas: 2, "))]).await;
    flow.settle().await;
    let (effects, before) = (flow.effects(), (flow.instances("a"), flow.instances("b")));
    flow.lose_store().await;
    flow.settle().await;
    assert_eq!(flow.board().observe_only, None);
    assert_eq!(flow.effects(), effects, "taken over as it is");
    assert_eq!((flow.instances("a"), flow.instances("b")), before);
    assert_eq!((flow.status("a"), flow.revision_state()), ((Sync::Synced, Health::Healthy), "applied"));

    // And it goes on: changes, removals and rollbacks as ever.
    flow.change(&[("a", "bad-3"), ("c", "")]).await;
    flow.settle().await;
    assert_eq!((flow.serving("a"), flow.live("c")), (vec!["v2".to_owned()], None));
    flow.restart().await;
    flow.settle().await;
    assert_eq!(flow.board().observe_only, None);
    flow.check();
}

#[tokio::test(start_paused = true)]
async fn a_restored_store_observes_only_when_another_store_was_in_between() {
    let mut flow = running().await;
    let old = std::sync::Arc::clone(&flow.log);
    flow.lose_store().await;
    flow.settle().await;
    flow.change(&[("a", "v2"), ("c", ""), ("d", "v1")]).await;
    flow.settle().await;
    assert_eq!(flow.serving("a"), ["v2"]);
    let effects = flow.effects();
    flow.kill().await;
    // It numbers its daemon by the clock, above all before; what it remembers is older all the same.
    flow.log = old.reopen(None);
    flow.start().await;
    flow.elapse(300).await;
    assert!(
        flow.board().observe_only.as_ref().is_some_and(|why| why.contains("another store")),
        "{:?}",
        flow.board().observe_only
    );
    assert_eq!(flow.effects(), effects, "nothing is deleted or changed by what the old store knows");

    flow.change(&[("b", "v2")]).await;
    flow.settle().await;
    assert_eq!((flow.board().observe_only.clone(), flow.serving("b")), (None, vec!["v2".to_owned()]));
    flow.restart().await;
    flow.settle().await;
    assert_eq!(flow.board().observe_only, None, "it is over for good");
    flow.check();
}

#[tokio::test(start_paused = true)]
async fn a_restart_does_not_look_like_a_change() {
    let mut flow = running().await;
    let before = flow.view("a").since;
    flow.elapse(600).await;
    flow.restart().await;
    flow.settle().await;
    assert_eq!(flow.view("a").since, before, "it stands as it stood");
    flow.change(&[("a", "v2")]).await;
    flow.settle().await;
    assert!(flow.view("a").since > before);
    flow.check();
}

#[tokio::test(start_paused = true)]
async fn the_numbers_of_daemons_never_fall() {
    let mut flow = running().await;
    flow.restart().await;
    flow.lose_store().await;
    flow.settle().await;
    flow.restart().await;
    flow.settle().await;
    let epochs = flow.records(|record| match record {
        Record::DaemonStarted { epoch, .. } => Some(*epoch),
        _ => None,
    });
    assert!(epochs.is_sorted() && epochs.len() >= 2, "{epochs:?}");
    flow.check();
}

#[tokio::test(start_paused = true)]
async fn after_a_restart_the_newest_commit_counts_not_the_last_known_one() {
    let mut flow = running().await;
    let (effects, app) = (flow.effects().len(), crate::support::flow::app("a", "v2"));
    flow.change(&[("a", "bad-2")]).await;
    flow.kill().await;
    flow.local().kill(&crate::support::flow::id("b"), &flow.live("b").expect("it lives").instances[0].id);
    let frozen =
        crate::support::flow::REPOSITORY.replace("spec: {", "spec: {freeze: {what: all, reason: a bad night}, ");
    flow.commit(&[(&path("a"), &app), ("codeops.yaml", &frozen)]).await;
    flow.restart().await;
    flow.elapse(300).await;
    assert_eq!(flow.effects().len(), effects, "the freeze is read before anything is done");
}
