//! A group that is larger than what a real Alertmanager sends of it: all of it comes in, and its end is not acknowledged until it is sure.

use codeops_core::model::AlertState;

use super::world::{Daemon, REPOSITORY, installed, people, request, run_alertmanager, settings, until};
use crate::support::flow::TEAM;
use crate::support::git::TempRepo;
use crate::support::port::free_port;
use crate::support::sink::{HttpSink, Reply};

/// Ten times what the Alertmanager of these tests sends at once.
const ALERTS: usize = 500;

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_alertmanager_cuts_short_comes_in_whole() {
    if !installed("prometheus-alertmanager") {
        println!("skipped: prometheus-alertmanager is missing; install it to hear of alerts from a real one");
        return;
    }
    let sink = HttpSink::serve(|_| Reply::status(200, "{}")).await;
    let repo = TempRepo::new();
    repo.write("codeops.yaml", REPOSITORY);
    repo.write("team.yaml", TEAM);
    repo.write("people.yaml", &people(&sink.url("/page")));
    repo.commit("First");
    let (folder, port) = (tempfile::tempdir().expect("a temporary folder"), free_port());
    let daemon = Daemon::start(repo, &settings(&format!("http://127.0.0.1:{port}"))).await;
    let _alertmanager = run_alertmanager(folder.path(), port, daemon.hooks);
    tell(&daemon, port, "firing");
    let firing = || daemon.memory().response.alerts.values().filter(|it| it.state == AlertState::Firing).count();
    until("all of them are known", || (firing() == ALERTS).then_some(()), || daemon.log());
    tell(&daemon, port, "over");
    until("what was sent is over", || (firing() < ALERTS).then_some(()), || daemon.log());
    // So it is told to come again, and does, until it has run for long enough to say what became of the others.
    let again = || (daemon.log().matches("was started lately").count() > 1).then_some(());
    until("it comes again", again, || daemon.log());
    assert!(firing() > 0, "nothing is called over that may only not be known yet");
}

fn tell(daemon: &Daemon, port: u16, what: &str) {
    let end = if what == "over" { r#","endsAt":"2026-01-01T00:00:01Z""# } else { "" };
    let alert = |n: usize| {
        format!(r#"{{"labels":{{"alertname":"Many","host":"h{n}"}},"startsAt":"2026-01-01T00:00:00Z"{end}}}"#)
    };
    let body = format!("[{}]", (0..ALERTS).map(alert).collect::<Vec<_>>().join(","));
    let post = || {
        let answer = request(port, "POST /api/v2/alerts", "Content-Type: application/json\r\n", &body);
        answer.filter(|(status, _)| *status == 200).map(drop)
    };
    until("Alertmanager takes them", post, || daemon.log());
}
