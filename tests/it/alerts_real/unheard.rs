//! What a person sees of a call that reaches nobody: in the log, at the step that calls, and in `codeops status`.

use std::process::Command;

use super::world::{Daemon, REPOSITORY, TOKEN, get, people, request, until};
use crate::support::flow::TEAM;
use crate::support::git::TempRepo;
use crate::support::process_harness::binary;
use crate::support::sink::{HttpSink, Reply};

const RECEIVERS: &str = "receivers: {main: {format: generic, auth: {bearer: {file: TOKEN}}}}\n";

fn tells(daemon: &Daemon, status: &str) {
    let labels = r#"{"alertname":"AppDown","app":"shop"}"#;
    let body = format!(r#"{{"alerts":[{{"labels":{labels},"status":"{status}","startsAt":"2026-11-20T10:00:00Z"}}]}}"#);
    let headers = format!("Authorization: Bearer {TOKEN}\r\n");
    let taken = || request(daemon.hooks, "POST /hooks/alerts/main", &headers, &body).filter(|it| it.0 == 200);
    until("the alert is taken", taken, || daemon.log());
}

/// What a command that reads this daemon says, and how it ends.
fn asks(daemon: &Daemon, words: &[&str]) -> (Option<i32>, String) {
    #[expect(clippy::disallowed_methods, reason = "the program is under test")]
    let mut command = Command::new(binary());
    let server = format!("http://127.0.0.1:{}", daemon.page);
    let output = command.args(words).args(["--server", &server]).output().expect("it runs");
    (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_that_reaches_nobody_is_an_error_in_the_log_with_its_name_and_its_apps() {
    let repo = TempRepo::new();
    repo.write("codeops.yaml", REPOSITORY);
    repo.commit("First");
    let daemon = Daemon::start(repo, RECEIVERS).await;
    tells(&daemon, "firing");
    let line = || {
        let log = daemon.log();
        let found = log.lines().find(|line| line.contains("an alert fires, and nobody is called"))?;
        Some(found.to_owned())
    };
    let line = until("it is told", line, || daemon.log());
    for part in ["ERROR", "AppDown", "shop", "nobody could be called"] {
        assert!(line.contains(part), "{part} is not in {line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_no_channel_accepts_says_why_at_its_step_and_in_status() {
    let sink = HttpSink::serve(|_| Reply::status(500, "{}")).await;
    let repo = TempRepo::new();
    repo.write("codeops.yaml", REPOSITORY);
    repo.write("team.yaml", TEAM);
    repo.write("people.yaml", &people(&sink.url("/page")));
    repo.commit("First");
    let daemon = Daemon::start(repo, &format!("fallback: oncall\n{RECEIVERS}")).await;
    let fine = || (asks(&daemon, &["status"]).0 == Some(0)).then_some(());
    until("all is well", fine, || asks(&daemon, &["status"]).1);

    // A broken manifest of the newest revision is something to look at, too.
    daemon
        .repo
        .write("extra.yaml", "apiVersion: codeops/v1\nkind: App\nmetadata: {name: x, team: core}\nspec: {rum: 1}\n");
    daemon.repo.commit("Break it");
    let broken = || {
        let (code, out) = asks(&daemon, &["status"]);
        (code == Some(1) && out.contains("manifest: extra.yaml:4:")).then_some(())
    };
    until("a broken manifest is told", broken, || asks(&daemon, &["status"]).1);
    daemon.repo.write("extra.yaml", "# mended\n");
    daemon.repo.commit("Mend it");
    until("all is well again", fine, || asks(&daemon, &["status"]).1);

    tells(&daemon, "firing");
    let refused = || {
        let (_, out) = asks(&daemon, &["runs", "r1"]);
        out.contains("has failed").then_some(out)
    };
    let out = until("the step says why", refused, || asks(&daemon, &["runs", "r1"]).1);
    assert!(out.contains("not accepted yet: receiver/") && out.contains("500"), "{out}");
    let (code, out) = asks(&daemon, &["status"]);
    assert_eq!(code, Some(1), "{out}");
    assert!(out.contains("1 page not accepted yet") && out.contains("not accepted: page p1, AppDown"), "{out}");
    assert!(out.contains("500"), "{out}");
    let page = get(daemon.page, "/runs/r1").expect("the run's page");
    assert!(page.contains("not accepted yet: receiver/"), "{page}");

    // The timeline names the step.
    let (_, events) = asks(&daemon, &["events"]);
    assert!(events.contains("run r1 otherwise step call begun"), "{events}");
    tells(&daemon, "resolved");
    let over = || asks(&daemon, &["events"]).1.contains("AppDown is over").then_some(());
    until("the alert's end is told by its name", over, || asks(&daemon, &["events"]).1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_that_is_refused_is_told_with_its_receiver_and_whoever_sent_it() {
    let repo = TempRepo::new();
    repo.write("codeops.yaml", REPOSITORY);
    repo.commit("First");
    let daemon = Daemon::start(repo, RECEIVERS).await;
    let told = |address: &str, headers: &str, parts: &[&str]| {
        let refused = || request(daemon.hooks, &format!("POST {address}"), headers, "{}").filter(|it| it.0 == 401);
        until("it is refused", refused, || daemon.log());
        let line = || {
            let log = daemon.log();
            let mut lines = log.lines().filter(|line| line.contains("an alert is refused"));
            lines.find(|line| parts.iter().all(|part| line.contains(part))).map(str::to_owned)
        };
        until("it is told", line, || daemon.log())
    };
    let line = told("/hooks/alerts/main", "Authorization: Bearer wrong\r\n", &["main", "127.0.0.1"]);
    assert!(line.contains("WARN"), "{line}");
    // What can be no receiver's name is not repeated.
    let line = told("/hooks/alerts/ma%0Ain", "X-Codeops-Signature: sha256=00\r\n", &["no name of one"]);
    assert!(!line.contains("ma\\n"), "{line}");
}
