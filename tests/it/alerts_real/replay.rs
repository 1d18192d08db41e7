//! What a real daemon decided is decided again by `playbook replay`, from its own journal, by the tree it had and by others.

use std::path::Path;
use std::process::Command;

use codeops_core::model::Disposition;
use serde_json::{Value, json};

use super::world::{Daemon, REPOSITORY, TOKEN, people, request, until};
use crate::support::flow::TEAM;
use crate::support::git::TempRepo;
use crate::support::process_harness::binary;
use crate::support::sink::{HttpSink, Reply};

const SETTINGS: &str = "fallback: oncall\nreceivers: {main: {format: generic, auth: {bearer: {file: TOKEN}}}}\n";

/// A playbook for `Slow`; what says `zone: NAME` is in maintenance, and `Power` inhibits `Dark`.
fn answers(page: &str, zone: &str) -> String {
    format!(
        "apiVersion: codeops/v1\nkind: Playbook\nmetadata: {{name: slow, team: core}}\nspec:\n  \
         on: {{alert: {{alertname: Slow}}}}\n  concurrency: {{per: playbook, whenBusy: queue}}\n  \
         steps: [{{name: breathe, wait: {{for: 1s}}}}, {{name: proof, wait: resolved, timeout: 8s}}]\n---\n\
         apiVersion: codeops/v1\nkind: AlertRoute\nmetadata: {{name: main, team: core}}\nspec:\n  \
         route: {{policy: oncall}}\n  inhibit: [{{source: [alertname=Power], target: [alertname=Dark]}}]\n  \
         maintenance: [{{match: [zone={zone}], from: 2020-01-01T00:00:00Z, until: 2099-01-01T00:00:00Z, reason: moving}}]\n\
         ---\n{}",
        people(page)
    )
}

/// Tells a daemon of one alert and waits until it is decided what becomes of it.
fn tell(daemon: &Daemon, labels: &str, status: &str) {
    let status = if status.is_empty() { "firing" } else { status };
    let body = format!(r#"{{"alerts":[{{"labels":{labels},"status":"{status}","startsAt":"2026-11-20T10:00:00Z"}}]}}"#);
    let headers = format!("Authorization: Bearer {TOKEN}\r\n");
    let taken = || request(daemon.hooks, "POST /hooks/alerts/main", &headers, &body).filter(|it| it.0 == 200);
    until("an alert is taken", taken, || daemon.log());
    let decided = || {
        let memory = daemon.memory();
        let open = memory.response.alerts.values().any(|it| it.disposition == Disposition::Received);
        (!open && !memory.response.alerts.is_empty()).then_some(())
    };
    until("it is decided", decided, || daemon.log());
}

/// What `playbook replay` says of a daemon's journal by a working tree, and how it ends.
fn replay(daemon: &Daemon, tree: &Path) -> (Option<i32>, Value) {
    #[expect(clippy::disallowed_methods, reason = "the program is under test")]
    let mut command = Command::new(binary());
    command.args(["playbook", "replay", "--detailed-exitcode", "-o", "json", "--since", "1h"]);
    command.arg("--state").arg(daemon.state_folder()).arg("--settings").arg(daemon.settings_file()).arg(tree);
    let output = command.output().expect("it runs");
    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    (output.status.code(), report)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_decided_is_decided_again_from_the_journal_of_a_real_daemon() {
    let sink = HttpSink::serve(|_| Reply::status(200, "{}")).await;
    let repo = TempRepo::new();
    let tree = repo.path().to_owned();
    repo.write("codeops.yaml", REPOSITORY);
    repo.write("team.yaml", TEAM);
    repo.write("answers.yaml", &answers(&sink.url("/page"), "b"));
    repo.commit("First");
    let daemon = Daemon::start(repo, SETTINGS).await;
    let alerts =
        [("Slow", "a", ""), ("Slow", "b", ""), ("Power", "a", ""), ("Dark", "a", ""), ("Slow", "a", "resolved")];
    for (name, zone, status) in alerts {
        tell(&daemon, &format!(r#"{{"alertname":"{name}","zone":"{zone}"}}"#), status);
    }
    let ended = || (daemon.runs().len() == 2 && daemon.runs().iter().all(|run| run.state().is_over())).then_some(());
    until("both runs are over", ended, || daemon.log());

    let replay = || replay(&daemon, &tree);
    let (code, report) = replay();
    assert_eq!((code, &report["alerts"], &report["same"]), (Some(0), &Value::from(4), &Value::from(4)), "{report:#}");

    // Maintenance moves to the other zone: what was answered is quiet, and what was quiet is answered.
    std::fs::write(tree.join("answers.yaml"), answers(&sink.url("/page"), "a")).expect("our own folder");
    let (code, report) = replay();
    assert_eq!((code, &report["different"]), (Some(2), &Value::from(3)), "{report:#}");
    let quiet = |of: &str| {
        report["differences"].as_array().expect("a list").iter().filter(|it| it[of]["quiet"] == true).count()
    };
    assert_eq!((quiet("was"), quiet("now")), (1, 2), "{report:#}");

    // Another step is another decision too.
    let other = answers(&sink.url("/page"), "b").replace("{name: breathe, wait: {for: 1s}}, ", "");
    std::fs::write(tree.join("answers.yaml"), other).expect("our own folder");
    let (code, report) = replay();
    assert_eq!(
        (code, &report["same"], &report["different"]),
        (Some(2), &Value::from(3), &Value::from(1)),
        "{report:#}"
    );
}

/// An app that works, and three playbooks on it: one that proves nothing, one that would do the same, one that waits for no turn.
fn on_one_app(page: &str, slow: &str, otherwise: &str) -> String {
    let playbook = |name: &str, alert: &str, more: &str| {
        format!(
            "apiVersion: codeops/v1\nkind: Playbook\nmetadata: {{name: {name}, team: core}}\nspec:\n  \
             on: {{alert: {{alertname: {alert}}}}}\n{more}  steps: [{{name: proof, wait: resolved, timeout: 8s}}]\n"
        )
    };
    let target = "  target: app/{{ alert.labels.app }}\n";
    format!(
        "apiVersion: codeops/v1\nkind: App\nmetadata: {{name: web, team: core}}\n\
         spec: {{run: {{command: [/bin/sleep, \"600\"]}}, rollout: {{bake: 1s}}}}\n---\n\
         {}{otherwise}---\n{}---\n{}---\n\
         apiVersion: codeops/v1\nkind: AlertRoute\nmetadata: {{name: main, team: core}}\nspec: {{route: {{policy: oncall}}}}\n---\n{}",
        playbook("down", "AppDown", target),
        playbook("slow", "AppSlow", slow),
        playbook("lazy", "AppLazy", &format!("{target}  concurrency: {{whenBusy: skip}}\n")),
        people(page)
    )
}

/// What joined another's run, froze everything, was kept quiet by a run, or rested on a target that works: none of it differs.
#[tokio::test(flavor = "multi_thread")]
async fn an_unchanged_tree_decides_nothing_differently() {
    let sink = HttpSink::serve(|_| Reply::status(200, "{}")).await;
    let repo = TempRepo::new();
    let tree = repo.path().to_owned();
    let target = "  target: app/{{ alert.labels.app }}\n";
    repo.write("codeops.yaml", REPOSITORY);
    repo.write("team.yaml", TEAM);
    repo.write("answers.yaml", &on_one_app(&sink.url("/page"), target, ""));
    repo.commit("First");
    let settings = SETTINGS.replace("format: generic,", "format: generic, mayFreeze: true,");
    let daemon = Daemon::start(repo, &settings).await;
    let healthy = |answer: &Value| answer["resources"][0]["health"] == "Healthy";
    daemon.wait("the app is healthy", healthy).await;
    for (name, status) in [("AppDown", ""), ("AppSlow", ""), ("AppLazy", ""), ("AppLazy", "resolved")] {
        tell(&daemon, &format!(r#"{{"alertname":"{name}","app":"web"}}"#), status);
    }
    let ended = || {
        let runs = daemon.runs();
        (runs.len() == 1 && runs[0].alerts.len() == 2 && runs[0].state().is_over()).then_some(())
    };
    until("the run that both share is over", ended, || daemon.log());
    tell(&daemon, r#"{"alertname":"CodeopsFreeze"}"#, "");

    let (code, report) = replay(&daemon, &tree);
    let counted = |report: &Value| {
        ["alerts", "same", "different", "not_compared", "assumed"].map(|key| report[key].as_u64().expect("a number"))
    };
    assert_eq!((code, counted(&report)), (Some(0), [4, 3, 0, 1, 0]), "{report:#}");
    assert_eq!(report["not_compared_why"], json!({"another run was on, or no revision in force": 1}), "{report:#}");

    // Of other steps that rest on the target's health nobody knows offline which were begun: that is no difference.
    let otherwise = "  otherwise: [{name: replace, action: app.replace, if: target.health != 'Healthy'}]\n";
    std::fs::write(tree.join("answers.yaml"), on_one_app(&sink.url("/page"), target, otherwise))
        .expect("our own folder");
    let (code, report) = replay(&daemon, &tree);
    assert_eq!((code, counted(&report)), (Some(0), [4, 2, 0, 1, 1]), "{report:#}");

    // But whom a step pages that was begun then is known.
    let others = "  otherwise: [{name: call, page: {policy: others}}]\n";
    let people = "---\napiVersion: codeops/v1\nkind: EscalationPolicy\nmetadata: {name: others, team: core}\n\
                  spec: {levels: [{notify: [receiver/desk]}]}\n";
    let pages = format!("{}{people}", on_one_app(&sink.url("/page"), target, others));
    std::fs::write(tree.join("answers.yaml"), pages).expect("our own folder");
    let (code, report) = replay(&daemon, &tree);
    assert_eq!((code, counted(&report)), (Some(2), [4, 2, 1, 1, 0]), "{report:#}");
    let calls = |of: &str| report["differences"][0][of]["does"].as_array().and_then(|does| does.last().cloned());
    assert_eq!((calls("was"), calls("now")), (Some(json!("page oncall")), Some(json!("page others"))), "{report:#}");

    // What would join no more is told.
    std::fs::write(tree.join("answers.yaml"), on_one_app(&sink.url("/page"), "", "")).expect("our own folder");
    let (code, report) = replay(&daemon, &tree);
    assert_eq!((code, counted(&report)), (Some(2), [4, 2, 1, 1, 0]), "{report:#}");
    assert_eq!(report["differences"][0]["now"]["playbook"], "slow", "{report:#}");

    // On what is suspended a person is called and nothing tried.
    let suspended = on_one_app(&sink.url("/page"), target, "").replace("{bake: 1s}", "{bake: 1s}, suspend: true");
    std::fs::write(tree.join("answers.yaml"), suspended).expect("our own folder");
    let (code, report) = replay(&daemon, &tree);
    assert_eq!((code, counted(&report)), (Some(2), [4, 2, 1, 1, 0]), "{report:#}");
    assert_eq!(report["differences"][0]["now"]["steps"], json!(["call"]), "{report:#}");
}
