//! A script of a playbook under a real daemon that is really killed.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;

use codeops::effect::confinement;

use super::world::{Daemon, REPOSITORY, TOKEN, people, request, until};
use crate::support::flow::TEAM;
use crate::support::git::TempRepo;
use crate::support::process_harness::processes;

/// How the processes of the script are found.
const MARKER: &str = "86396.75";

#[tokio::test(flavor = "multi_thread")]
async fn all_that_a_script_started_ends_with_a_killed_daemon_and_waits_for_no_other() {
    let playbook = "apiVersion: codeops/v1\nkind: Playbook\nmetadata: {name: stay, team: core}\nspec:\n  \
        on: {alert: {alertname: Stay}}\n  steps: [{name: stay, script: scripts/stay.sh, timeout: 10m}]\n---\n";
    let repo = TempRepo::new();
    repo.write("codeops.yaml", REPOSITORY);
    repo.write("team.yaml", TEAM);
    repo.write("stay.yaml", &format!("{playbook}{}", people("http://127.0.0.1:9/page")));
    repo.write("scripts/stay.sh", &format!("#!/bin/sh\nsetsid -f sleep {MARKER}\nsleep {MARKER}\n"));
    repo.commit("First");
    // What must hold wherever scripts run at all.
    let scripts = if confinement().is_ok() { "confined" } else { "unconfined" };
    let settings = format!(
        "fallback: oncall\nscripts: {scripts}\nreceivers: {{any: {{format: generic, auth: {{bearer: {{file: TOKEN}}}}}}}}\n"
    );
    let mut daemon = Daemon::start(repo, &settings).await;
    // Its team has a user of its own, who has to get through.
    let folder = daemon.state_folder();
    fs::set_permissions(folder.parent().expect("its own"), Permissions::from_mode(0o711)).expect("set");
    let alert = r#"{"alerts":[{"labels":{"alertname":"Stay"},"startsAt":"2026-11-20T10:00:00Z"}]}"#;
    let headers = format!("Authorization: Bearer {TOKEN}\r\nContent-Type: application/json\r\n");
    let told = || request(daemon.hooks, "POST /hooks/alerts/any", &headers, alert).filter(|(status, _)| *status == 200);
    until("the alert is taken", told, || daemon.log());
    until("the script runs", || (running() == 2).then_some(()), || format!("{:#?}\n{}", daemon.runs(), daemon.log()));
    daemon.kill();
    until("all of it has ended", || (running() == 0).then_some(()), || format!("{} live on", running()));
}

fn running() -> usize {
    let marked = |line: Vec<u8>| line.split(|byte| *byte == 0).any(|word| word == MARKER.as_bytes());
    processes().into_iter().filter(|(_, path)| fs::read(path.join("cmdline")).is_ok_and(marked)).count()
}
