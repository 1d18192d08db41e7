//! What is a team's stays its own where the settings keep teams apart, over moves and restarts; and what speaks for everybody is
//! nobody's to take.

use codeops_core::config::TeamSettings;
use codeops_core::desired::Severity;
use codeops_core::model::{Health, Sync};

use super::alerts::{LOOK, PEOPLE, firing};
use crate::support::flow::{Flow, REPOSITORY, app, id};

const PLAYBOOK: &str = "apiVersion: codeops/v1
kind: Playbook
metadata: {name: web-down, team: a}
spec:
  on: {alert: {alertname: AppDown}}
  limits: {timeout: 10m}
  steps: [{name: look, script: scripts/look.sh}]
";

pub(super) fn of(team: &str, text: &str) -> String {
    text.replace("team: core", &format!("team: {team}")).replace("team: a}", &format!("team: {team}}}"))
}

/// The teams `a` and `b`, and `platform`, which writes for everybody and gives the fallback.
pub(super) async fn teams() -> Flow {
    let mut flow = Flow::stopped(&["local"]);
    let own = |(team, paths): (&str, &[&str])| {
        let paths = paths.iter().map(|path| (*path).to_owned()).collect();
        (team.parse().expect("a name"), TeamSettings { paths, ..TeamSettings::default() })
    };
    let all: [(&str, &[&str]); 3] = [("a", &["a/"]), ("b", &["b/"]), ("platform", &["codeops.yaml", "plat/"])];
    flow.rules.teams = all.into_iter().map(own).collect();
    flow.rules.fallback = "people".parse().ok();
    flow.start().await;
    let team = |name| format!("---\napiVersion: codeops/v1\nkind: Team\nmetadata: {{name: {name}}}\nspec: {{}}\n");
    let top = REPOSITORY.to_owned() + &["a", "b", "platform"].map(team).concat();
    flow.commit(&[
        ("codeops.yaml", top.as_str()),
        ("plat/people.yaml", &of("platform", PEOPLE)),
        ("a/web.yaml", &of("a", &app("web", "v1"))),
        ("a/down.yaml", PLAYBOOK),
        ("a/scripts/look.sh", LOOK),
    ])
    .await;
    flow.settle().await;
    assert_eq!((flow.revision_state(), wrong(&flow)), ("applied", Vec::new()));
    flow
}

/// Where something is wrong in the revision in force.
pub(super) fn wrong(flow: &Flow) -> Vec<String> {
    let board = flow.board();
    let errors = board.diagnostics.iter().filter(|it| it.severity == Severity::Error);
    errors.map(|it| format!("{}: {}", it.place.file, it.message)).collect()
}

#[tokio::test(start_paused = true)]
async fn what_a_team_moves_to_another_file_is_not_held_by_another_teams_file_of_that_name() {
    for restarts in [false, true] {
        let mut flow = teams().await;
        let (app_of_b, playbook_of_b) = (of("b", &app("web", "theirs")), of("b", PLAYBOOK));
        let theirs = [("b/web.yaml", app_of_b.as_str()), ("b/down.yaml", &playbook_of_b), ("b/scripts/look.sh", LOOK)];
        flow.commit(&theirs).await;
        flow.settle().await;
        assert_eq!(wrong(&flow).len(), 2, "{:?}", wrong(&flow));
        if restarts {
            for _ in 0..2 {
                flow.restart().await;
                flow.settle().await;
            }
            assert_eq!(wrong(&flow).len(), 2, "{:?}", wrong(&flow));
        }
        let moved = PLAYBOOK.replace("10m", "12m");
        flow.commit(&[
            ("a/web.yaml", ""),
            ("a/apps/web.yaml", &of("a", &app("web", "v2"))),
            ("a/down.yaml", ""),
            ("a/answers.yaml", &moved),
        ])
        .await;
        flow.settle().await;
        assert_eq!(flow.status("web"), (Sync::Synced, Health::Healthy));
        assert!(wrong(&flow).iter().all(|it| it.starts_with("b/")), "{:?}", wrong(&flow));
        let desired = flow.board().desired.clone().expect("a revision");
        let run = format!("{:?}", desired.resources[&id("web")].spec.run);
        assert!(run.contains("v2"), "its own manifest counts: {run}");
        let playbook = &desired.response.playbooks[&"web-down".parse().expect("a name")];
        assert_eq!((playbook.team.as_str(), playbook.limits.timeout.to_string().as_str()), ("a", "12m"));
        flow.check();
    }
}

#[tokio::test(start_paused = true)]
async fn the_fallback_that_the_platform_deletes_is_not_another_teams() {
    for restarts in [false, true] {
        let mut flow = teams().await;
        let theirs = of("b", PEOPLE).replace("sink.example", "theirs.example");
        let route = theirs.find("---\napiVersion: codeops/v1\nkind: AlertRoute").expect("a route");
        flow.commit(&[("plat/people.yaml", ""), ("b/people.yaml", &theirs[..route])]).await;
        flow.settle().await;
        if restarts {
            flow.restart().await;
            flow.settle().await;
        }
        assert!(wrong(&flow).iter().any(|it| it.starts_with("b/people.yaml: EscalationPolicy")), "{:?}", wrong(&flow));
        flow.tell(vec![firing(&flow, "DiskFull", "elsewhere")]).await;
        flow.elapse(30).await;
        assert_eq!(flow.outside.count("webhook"), 1, "somebody is called");
        let response = flow.board().desired.as_ref().expect("a revision").response.clone();
        let [policy, receiver] = ["people", "sink"].map(|name| name.parse().expect("a name"));
        let whose = [response.policies[&policy].team.as_str(), response.receivers[&receiver].team.as_str()];
        assert_eq!(whose, ["platform", "platform"], "restart: {restarts}");
    }
}
