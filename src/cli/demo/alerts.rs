//! The acts in which something is wrong that health checks do not see: monitoring tells of it, as Alertmanager would, and a
//! playbook answers.

use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::acts::{commit, unbroken};
use super::api::{self, see, until};
use super::narrator::{Narrator, took};
use super::stage::Stage;

/// The playbook of the act in which nothing helps: it waits for proof a few seconds only, where a real one waits minutes.
const NOTHING_HELPS: &str = "\
apiVersion: codeops/v1
kind: Playbook
metadata: {name: nothing-helps, team: payments}
spec:
  on: {alert: {alertname: OrdersLost, app: shop}}
  target: app/{{ alert.labels.app }}
  steps:
    - {name: restart, action: app.restart}
    - {name: proof, wait: resolved, timeout: 3s}
  otherwise:
    - {name: replace, action: app.replace, with: {instances: all}}
    - {name: proof, wait: resolved, timeout: 3s}
    - {name: call, page: {}}
";

/// An alert → its playbook → proof → resolved.
pub(super) async fn answered(stage: &mut Stage, narrator: &mut Narrator) -> anyhow::Result<()> {
    let before = see(&stage.client, "front").await?;
    stage.probe()?.take();
    let since = stamp();
    narrator.does("curl -d '{alertname: AppDown, app: front}' HOOKS/hooks/alerts/alertmanager");
    post(stage, "AppDown", "front", &since, true).await?;
    let begun = Instant::now();
    let run = api::until_run(&stage.client, "app-down", &["running", "waiting"]).await?;
    narrator.sees(format!(
        "durable and answered after {}: run {} of playbook app-down",
        took(begun.elapsed()),
        id(&run)
    ));
    let renewed = |seen: &api::Seen| {
        seen.is_fine()
            && seen.healthy == 2
            && seen.instances.len() == 2
            && seen.instances.keys().all(|id| !before.instances.contains_key(id))
    };
    until(&stage.client, "front", "restarted", renewed).await?;
    narrator.sees(format!(
        "restarted one by one after {}; {}",
        took(begun.elapsed()),
        unbroken(&stage.probe()?.take())?
    ));
    let run = api::until_run(&stage.client, "app-down", &["waiting", "running"]).await?;
    ensure!(run.get("ended_at").is_some_and(Value::is_null), "the run ended without proof");
    narrator.sees("the run goes on: that an action succeeded is no proof");
    narrator.does("curl -d '{alertname: AppDown, app: front, status: resolved}' HOOKS/hooks/alerts/alertmanager");
    post(stage, "AppDown", "front", &since, false).await?;
    let run = api::until_run(&stage.client, "app-down", &["resolved"]).await?;
    narrator.sees(format!("resolved, by monitoring's own word: {}", steps(&run)));
    ensure!(stage.sink.pages().is_empty(), "a person was called though the playbook helped");
    narrator.sees("nobody was called");
    Ok(())
}

/// One that cannot be fixed → replaced → a person is called.
pub(super) async fn paged(stage: &mut Stage, narrator: &mut Narrator) -> anyhow::Result<()> {
    stage.add("playbooks/nothing-helps.yaml", NOTHING_HELPS)?;
    stage.edit("codeops.yaml", &[("resolveDelay: 30s", "resolveDelay: 1s")])?;
    let committed = commit(stage, narrator, "Answer OrdersLost with a playbook").await?;
    api::until_revision(&stage.client, &stage.git.head().await?).await?;
    narrator.sees(format!("the playbook is in force after {}", took(committed.elapsed())));
    let before = see(&stage.client, "shop").await?;
    stage.probe()?.take();
    let since = stamp();
    narrator.does("curl -d '{alertname: OrdersLost, app: shop}' HOOKS/hooks/alerts/alertmanager");
    post(stage, "OrdersLost", "shop", &since, true).await?;
    let begun = Instant::now();
    let run = api::until_run(&stage.client, "nothing-helps", &["paged"]).await?;
    narrator.sees(format!("ended after {}: {}", took(begun.elapsed()), steps(&run)));
    let done = |name: &str, part: &str| {
        let found = run.get("steps").and_then(Value::as_array).into_iter().flatten();
        let is = |step: &&Value| word(step, "name") == name && word(step, "part") == part;
        found.filter(is).any(|step| word(step, "state") == "done")
    };
    ensure!(done("restart", "steps"), "the restart was not done");
    ensure!(done("replace", "otherwise"), "its instances were not replaced");
    let after = see(&stage.client, "shop").await?;
    ensure!(after.instances.keys().all(|id| !before.instances.contains_key(id)), "shop has instances from before");
    narrator.sees(unbroken(&stage.probe()?.take())? + ", while it was restarted and replaced");
    let page = stage.sink.pages().into_iter().next_back().context("the sink was sent no page")?;
    ensure!(word(&page, "body").contains("restart"), "the page does not tell what was done");
    narrator.sees(format!("a person was called once nothing helped: \"{}\", with what was done", word(&page, "title")));
    post(stage, "OrdersLost", "shop", &since, false).await
}

/// Posts one alert as Alertmanager's webhook, version 4.
async fn post(stage: &Stage, name: &str, app: &str, since: &str, fires: bool) -> anyhow::Result<()> {
    let labels = json!({ "alertname": name, "app": app, "severity": "critical" });
    let ends_at = if fires { "0001-01-01T00:00:00Z".to_owned() } else { stamp() };
    let status = if fires { "firing" } else { "resolved" };
    let body = json!({
        "version": "4",
        "groupKey": format!("{{}}:{{alertname=\"{name}\"}}"),
        "truncatedAlerts": 0,
        "status": status,
        "receiver": "codeops",
        "groupLabels": { "alertname": name },
        "commonLabels": labels,
        "commonAnnotations": {},
        "externalURL": "http://alertmanager.example",
        "alerts": [{
            "status": status,
            "labels": labels,
            "annotations": { "summary": format!("{app} does not do what it should") },
            "startsAt": since,
            "endsAt": ends_at,
            "generatorURL": "http://prometheus.example/graph",
        }],
    });
    let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(10)).build()?;
    for attempt in 0.. {
        let sent = client.post(stage.alerts_url()).bearer_auth(stage.alert_token()).body(body.to_string());
        let answer = sent.header("content-type", "application/json").send().await.context("the hooks address")?;
        match answer.status() {
            status if status.is_success() => return Ok(()),
            // As Alertmanager does: what is not taken now is sent again.
            status if status.is_server_error() && attempt < 20 => sleep(Duration::from_millis(200)).await,
            status => anyhow::bail!("the hooks address answers {status}: {}", answer.text().await.unwrap_or_default()),
        }
    }
    Ok(())
}

fn stamp() -> String {
    use crate::port::{Clock, SystemClock};
    SystemClock.now().to_string()
}

fn word<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn id(run: &Value) -> &str {
    word(run, "id")
}

/// `look done, restart done, proof done`.
fn steps(run: &Value) -> String {
    let steps = run.get("steps").and_then(Value::as_array).into_iter().flatten();
    let told = steps.filter(|step| word(step, "state") != "pending");
    let told: Vec<String> = told.map(|step| format!("{} {}", word(step, "name"), word(step, "state"))).collect();
    told.join(", ")
}
