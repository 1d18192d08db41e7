//! A commit that empties the repository: what it removes is held, and who would be called about it is still there.

use codeops_core::model::{Health, RunState, Sync};

use codeops_core::config::TeamSettings;

use super::alerts::{APP_DOWN, PEOPLE, begin, firing, only_run, resolved};
use crate::support::flow::{Flow, REPOSITORY, TEAM, app, id, path};
use crate::support::memory_provider::Fault;

/// All but `codeops.yaml`, removed.
fn everything() -> Vec<(String, String)> {
    let own = ["team.yaml", "people.yaml", "playbook.yaml", "scripts/look.sh"].map(str::to_owned);
    own.into_iter().chain([path("shop"), path("other")]).map(|path| (path, String::new())).collect()
}

async fn emptied(flow: &mut Flow) {
    begin(flow, &["shop", "other"]).await;
    let files = everything();
    let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    flow.commit(&files).await;
    flow.settle().await;
    assert_eq!(flow.status("shop"), (Sync::Held, Health::Healthy));
}

#[tokio::test(start_paused = true)]
async fn who_is_called_stays_until_the_removals_are_released() {
    for restarts in [false, true] {
        let mut flow = Flow::new().await;
        emptied(&mut flow).await;
        let hold = flow.board().holds[0].clone();
        assert!(hold.why.contains("stays until then: AlertRoute/routing, EscalationPolicy/people"), "{}", hold.why);
        if restarts {
            for _ in 0..2 {
                flow.restart().await;
                flow.settle().await;
            }
        }
        flow.tell(vec![firing(&flow, "DiskFull", "elsewhere")]).await;
        flow.elapse(30).await;
        assert_eq!(flow.outside.count("webhook"), 1, "paging goes on, {restarts}");
        assert_eq!(only_run(&flow).await.state(), RunState::Paged);

        flow.commit_with(&[("README.md", "x")], &[("Codeops-Allow", hold.id.as_str())]).await;
        flow.settle().await;
        assert_eq!((flow.live("shop"), flow.board().holds.len()), (None, 0));
        let response = flow.board().desired.as_ref().expect("a revision").response.clone();
        assert_eq!((response.policies.len(), response.playbooks.len()), (0, 0), "with them it went");
        flow.restart().await;
        flow.settle().await;
        assert!(flow.board().desired.as_ref().expect("a revision").response.receivers.is_empty());
        flow.check();
    }
}

/// The Team is taken away with all else; whom it names is called until what it owns is let go.
#[tokio::test(start_paused = true)]
async fn a_teams_escalation_stays_with_what_it_owns() {
    let mut flow = Flow::new().await;
    begin(&mut flow, &["shop", "other"]).await;
    let core = TEAM.replace("spec: {", "spec: {escalation: people");
    flow.commit(&[("team.yaml", core.as_str())]).await;
    flow.settle().await;
    let files = everything();
    let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    flow.commit(&files).await;
    flow.settle().await;
    let escalation = |flow: &Flow| {
        let desired = flow.board().desired.clone().expect("a revision");
        desired.teams.get(&"core".parse().expect("a name")).and_then(|team| team.escalation.clone())
    };
    for restarts in [false, true] {
        if restarts {
            flow.restart().await;
            flow.settle().await;
        }
        assert_eq!(flow.status("shop"), (Sync::Held, Health::Healthy));
        assert_eq!(escalation(&flow).as_ref().map(|name| name.as_str()), Some("people"), "{restarts}");
    }
    let hold = flow.hold();
    flow.commit_with(&[("README.md", "x")], &[("Codeops-Allow", &hold)]).await;
    flow.settle().await;
    assert_eq!((flow.live("shop"), escalation(&flow)), (None, None), "and goes with it");
    flow.check();
}

#[tokio::test(start_paused = true)]
async fn the_fallback_of_the_settings_stays_whatever_is_released() {
    let mut flow = Flow::stopped(&["local"]);
    flow.rules.fallback = "people".parse().ok();
    flow.start().await;
    emptied(&mut flow).await;
    let hold = flow.hold();
    flow.commit_with(&[("README.md", "x")], &[("Codeops-Allow", &hold)]).await;
    flow.settle().await;
    flow.restart().await;
    flow.settle().await;
    assert_eq!(flow.live("shop"), None);
    let told = |it: &codeops_core::desired::Diagnostic| it.message.contains("`people` is deleted and stays as it was");
    assert!(flow.board().diagnostics.iter().any(told), "{:?}", flow.board().diagnostics);
    flow.tell(vec![firing(&flow, "DiskFull", "elsewhere")]).await;
    flow.elapse(30).await;
    assert_eq!((only_run(&flow).await.state(), flow.outside.count("webhook")), (RunState::Paged, 1));
}

/// Where nothing is held what is deleted goes at once, and nothing is said of it.
#[tokio::test(start_paused = true)]
async fn what_is_deleted_alone_goes_at_once() {
    let mut flow = Flow::new().await;
    begin(&mut flow, &["shop", "other"]).await;
    flow.commit(&[("playbook.yaml", "")]).await;
    flow.settle().await;
    assert!(flow.board().desired.as_ref().expect("a revision").response.playbooks.is_empty());
    let kept = |record: &codeops::journal::Record| matches!(record, codeops::journal::Record::Kept { .. });
    assert!(!flow.log.entries().iter().any(|entry| kept(&entry.record)));
}

/// What is held is there as it was declared: its playbook answers for it, and restarts it.
#[tokio::test(start_paused = true)]
async fn a_held_app_is_answered_for_by_its_playbook() {
    for restarts in [false, true] {
        let mut flow = Flow::new().await;
        emptied(&mut flow).await;
        if restarts {
            flow.restart().await;
            flow.settle().await;
        }
        let before: Vec<String> = flow.instances("shop");
        flow.tell(vec![firing(&flow, "AppDown", "shop")]).await;
        flow.elapse(60).await;
        assert_eq!((only_run(&flow).await.state(), flow.outside.count("webhook")), (RunState::Waiting, 0));
        let after = flow.instances("shop");
        assert!(after.len() == 2 && after.iter().all(|it| !before.contains(it)), "{before:?}, {after:?}");
        flow.tell(vec![resolved(&flow, "AppDown", "shop")]).await;
        flow.elapse(60).await;
        assert_eq!(only_run(&flow).await.state(), RunState::Resolved);
        assert_eq!(flow.status("shop"), (Sync::Held, Health::Healthy), "{restarts}");
        flow.check();
    }
}

/// A run that is on when the commit comes goes on.
#[tokio::test(start_paused = true)]
async fn a_run_on_a_held_app_goes_on() {
    let mut flow = Flow::new().await;
    begin(&mut flow, &["shop", "other"]).await;
    flow.tell(vec![firing(&flow, "AppDown", "shop")]).await;
    flow.elapse(40).await;
    assert_eq!(only_run(&flow).await.state(), RunState::Waiting);
    let files = everything();
    let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    flow.commit(&files).await;
    flow.settle().await;
    flow.tell(vec![resolved(&flow, "AppDown", "shop")]).await;
    flow.elapse(60).await;
    assert_eq!((only_run(&flow).await.state(), flow.outside.count("webhook")), (RunState::Resolved, 0));
}

/// Two teams that are kept apart: `a` with four apps, `b` with one and a playbook of its own.
async fn two_teams() -> Flow {
    let mut flow = Flow::stopped(&["local", "edge"]);
    let own = |name: &str| {
        let team = TeamSettings { paths: vec![format!("{name}/**")], ..TeamSettings::default() };
        (name.parse().expect("a name"), team)
    };
    flow.rules.teams = ["a", "b"].map(own).into();
    flow.start().await;
    let team =
        |name: &str| format!("---\napiVersion: codeops/v1\nkind: Team\nmetadata: {{name: {name}}}\nspec: {{}}\n");
    let repository = REPOSITORY.replace("spec: {", "spec: {resolveDelay: 30s, ");
    let of = |name: &str, text: &str| text.replace("team: core", &format!("team: {name}"));
    let mut files = vec![
        ("codeops.yaml".to_owned(), format!("{repository}{}{}", team("a"), team("b"))),
        ("b/people.yaml".to_owned(), of("b", PEOPLE)),
        ("b/playbook.yaml".to_owned(), of("b", APP_DOWN)),
        ("b/scripts/look.sh".to_owned(), "#!/bin/sh\necho {}\n".to_owned()),
        ("b/b1.yaml".to_owned(), of("b", &app("b1", "v1"))),
    ];
    files.extend((1..=4).map(|n| (format!("a/a{n}.yaml"), of("a", &app(&format!("a{n}"), "v1")))));
    let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    flow.commit(&files).await;
    flow.settle().await;
    assert_eq!(flow.revision_state(), "applied", "{:?}", flow.board().diagnostics);
    flow
}

/// Whether b's playbook would answer.
fn answers(flow: &Flow) -> bool {
    !flow.board().desired.as_ref().expect("a revision").response.playbooks.is_empty()
}

#[tokio::test(start_paused = true)]
async fn what_is_held_of_one_team_keeps_no_playbook_of_another() {
    let mut flow = two_teams().await;
    flow.commit(&[("a/a1.yaml", ""), ("a/a2.yaml", ""), ("a/a3.yaml", "")]).await;
    flow.settle().await;
    let hold = flow.board().holds[0].clone();
    assert_eq!((hold.changes.len(), answers(&flow)), (3, true));
    flow.commit(&[("b/playbook.yaml", "")]).await;
    flow.settle().await;
    assert!(!answers(&flow), "it is b's own to take away");
    assert!(!flow.board().holds[0].why.contains("Playbook"), "{}", flow.board().holds[0].why);
    flow.restart().await;
    flow.settle().await;
    assert!(!answers(&flow));
}

/// What had gone before something of its team was held does not come back with the next daemon.
#[tokio::test(start_paused = true)]
async fn a_restart_brings_back_nothing_that_had_gone() {
    let mut flow = two_teams().await;
    let other = APP_DOWN.replace("team: core", "team: a").replace("app-down", "gone").replace("AppDown", "Gone");
    let broken = APP_DOWN.replace("team: core", "team: a").replace("app-down", "broken").replace("AppDown", "Broken");
    let script = ("a/scripts/look.sh", "#!/bin/sh\necho {}\n");
    flow.commit(&[("a/gone.yaml", &other), ("a/broken.yaml", &broken), script]).await;
    flow.settle().await;
    let playbooks = |flow: &Flow| {
        let desired = flow.board().desired.clone().expect("a revision");
        desired.response.playbooks.keys().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(playbooks(&flow), ["app-down", "broken", "gone"]);
    flow.commit(&[("a/gone.yaml", ""), ("a/broken.yaml", &broken.replace("steps:", "stpes:"))]).await;
    flow.settle().await;
    flow.commit(&[("a/a1.yaml", ""), ("a/a2.yaml", ""), ("a/a3.yaml", "")]).await;
    flow.settle().await;
    assert_eq!(flow.board().holds.len(), 1);
    for _ in 0..2 {
        assert_eq!(playbooks(&flow), ["app-down", "broken"]);
        flow.restart().await;
        flow.settle().await;
    }
    assert_eq!(playbooks(&flow), ["app-down", "broken"]);
}

#[tokio::test(start_paused = true)]
async fn a_silent_provider_keeps_no_playbook_of_a_team_that_has_nothing_there() {
    let mut flow = two_teams().await;
    flow.provider("edge").set_unreachable(Some("it is down"));
    flow.elapse(90).await;
    flow.commit(&[("b/playbook.yaml", "")]).await;
    flow.elapse(30).await;
    assert!(!answers(&flow), "{:?}", flow.board().providers);
}

#[tokio::test(start_paused = true)]
async fn what_is_held_of_a_team_keeps_its_own_playbook() {
    let mut flow = two_teams().await;
    let all: Vec<String> = (1..=4).map(|n| format!("a/a{n}.yaml")).collect();
    let mut files: Vec<(&str, &str)> = all.iter().map(|path| (path.as_str(), "")).collect();
    files.extend([("b/b1.yaml", ""), ("b/playbook.yaml", ""), ("b/people.yaml", "")]);
    flow.commit(&files).await;
    flow.settle().await;
    assert!(answers(&flow) && flow.board().holds[0].why.contains("Playbook/app-down"), "{}", flow.board().holds[0].why);
}

/// What never came to run is on its way nowhere: what is left of the revision is for a commit to say.
#[tokio::test(start_paused = true)]
async fn a_held_removal_of_what_does_not_start_leaves_the_revision_partial() {
    let mut flow = Flow::new().await;
    let names = ["a", "b", "c", "d"];
    flow.begin(&[("a", "v1"), ("b", "v1"), ("c", "v1"), ("d", "v1"), ("stays", "v1")]).await;
    flow.settle().await;
    (0..1_000).for_each(|_| flow.local().fail_next(Fault::Retry));
    names.iter().for_each(|name| flow.local().edit(&id(name), |live| live.instances.clear()));
    let gone: Vec<String> = names.iter().map(|name| path(name)).collect();
    flow.commit(&gone.iter().map(|path| (path.as_str(), "")).collect::<Vec<_>>()).await;
    flow.elapse(5).await;
    assert_eq!(flow.status("a"), (Sync::Held, Health::Progressing));
    assert_eq!(flow.revision_state(), "partial");
}
