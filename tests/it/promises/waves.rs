//! Wide updates where the settings keep teams apart: whose waves a commit's changes go in.

use std::collections::BTreeSet;

use codeops_core::config::TeamSettings;
use codeops_core::model::{Health, Sync};

use crate::support::flow::{Flow, app_with};

const TEAMS: [&str; 6] = ["a", "b", "c", "d", "e", "f"];
const REPOSITORY: &str =
    "apiVersion: codeops/v1\nkind: Repository\nmetadata: {name: acme-ops}\nspec: {defaults: {PROVIDER}}\n";

fn top(defaults: &str) -> String {
    let team =
        |name: &&str| format!("---\napiVersion: codeops/v1\nkind: Team\nmetadata: {{name: {name}}}\nspec: {{}}\n");
    REPOSITORY.replace("PROVIDER", defaults) + &TEAMS.iter().map(team).collect::<String>()
}

/// Both apps of a team at this version: where their manifests are, and their text.
fn of(team: &str, version: &str) -> Vec<(String, String)> {
    let one = |n: usize| {
        let text = app_with(&format!("{team}{n}"), version, "", "").replace("team: core", &format!("team: {team}"));
        (format!("{team}/{n}.yaml"), text)
    };
    (1..=2).map(one).collect()
}

async fn commit(flow: &mut Flow, files: &[(String, String)]) {
    let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    flow.commit(&files).await;
    flow.settle().await;
}

fn all(version: &str) -> Vec<(String, String)> {
    TEAMS.iter().flat_map(|team| of(team, version)).collect()
}

/// Six teams, each with two apps, all well.
async fn six_teams() -> Flow {
    let mut flow = Flow::stopped(&["local"]);
    let own = |team: &&str| {
        let settings = TeamSettings { paths: vec![format!("{team}/**")], ..TeamSettings::default() };
        (team.parse().expect("a name"), settings)
    };
    flow.rules.teams = TEAMS.iter().map(own).collect();
    flow.start().await;
    let mut files = all("v1");
    files.push(("codeops.yaml".to_owned(), top("provider: local")));
    commit(&mut flow, &files).await;
    assert_eq!(flow.revision_state(), "applied");
    flow
}

fn started(flow: &Flow, since: usize) -> BTreeSet<String> {
    flow.effects().split_off(since).iter().filter_map(|it| it.strip_prefix("start ")).map(str::to_owned).collect()
}

#[tokio::test(start_paused = true)]
async fn one_commit_over_many_teams_goes_in_waves_over_all_of_them_and_a_teams_own_goes_without_it() {
    let mut flow = six_teams().await;
    let before = flow.effects().len();
    commit(&mut flow, &all("bad-2")).await;
    assert_eq!(started(&flow, before).len(), 1, "{:?}", started(&flow, before));
    assert_eq!((flow.serving("a1"), flow.status("f2")), (vec!["v1".to_owned()], (Sync::Held, Health::Healthy)));
    // Also after a restart, and a commit that says nothing of them.
    flow.restart().await;
    commit(&mut flow, &[("notes.txt".to_owned(), "nothing".to_owned())]).await;
    assert_eq!(started(&flow, before).len(), 1);
    // A team's own commit takes its apps out, and no others.
    commit(&mut flow, &of("b", "v3")).await;
    assert_eq!((flow.serving("b1"), flow.serving("b2")), (vec!["v3".to_owned()], vec!["v3".to_owned()]));
    assert_eq!(flow.status("c1").0, Sync::Held);
    // What fails of a team's own stops nothing of what somebody then changes for all the others.
    commit(&mut flow, &of("d", "bad-4")).await;
    let others: Vec<_> = ["a", "c", "e", "f"].into_iter().flat_map(|team| of(team, "v5")).collect();
    commit(&mut flow, &others).await;
    for name in ["a1", "a2", "c1", "c2", "e1", "e2", "f1", "f2"] {
        assert_eq!(flow.serving(name), ["v5"], "{name}");
    }
    assert_eq!(flow.serving("d1"), ["v1"]);
    flow.check();
}
