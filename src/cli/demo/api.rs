//! The page's JSON as the demo reads it.

use std::collections::BTreeMap;
use std::time::Duration;

use rustix::process::Pid;
use serde_json::Value;
use tokio::time::Instant;

use crate::cli::client::Client;

/// The longest that any one thing may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

const GLANCE: Duration = Duration::from_millis(50);

/// One resource as the page shows it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) sync: String,
    pub(super) health: String,
    pub(super) why: String,
    /// Process ids by instance.
    pub(super) instances: BTreeMap<String, Option<i32>>,
    /// Instances that say they are healthy.
    pub(super) healthy: usize,
    /// Whether a last good template is known.
    pub(super) last_good: bool,
    /// How many templates are pinned.
    pub(super) pins: usize,
}

impl Seen {
    pub(super) fn is_fine(&self) -> bool {
        self.sync == "Synced" && self.health == "Healthy"
    }

    /// One instance's process.
    pub(super) fn a_process(&self) -> Option<Pid> {
        self.instances.values().flatten().next().and_then(|pid| Pid::from_raw(*pid))
    }

    fn told(&self) -> String {
        format!("{} {} {}", self.sync, self.health, self.why)
    }
}

/// Looks at one app.
pub(super) async fn see(client: &Client, app: &str) -> anyhow::Result<Seen> {
    let found = client.json(&format!("api/v1/resources/app/{app}"), &[]).await?;
    let word = |key: &str| found.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let instances = found.get("instances").and_then(Value::as_array).map_or(&[] as &[Value], Vec::as_slice);
    let count =
        |value: &Value| value.as_array().map(Vec::len).or(value.as_object().map(serde_json::Map::len)).unwrap_or(0);
    let process = |instance: &Value| {
        let id = instance.get("id").and_then(Value::as_str)?.to_owned();
        Some((id, instance.get("pid").and_then(Value::as_i64).and_then(|pid| i32::try_from(pid).ok())))
    };
    Ok(Seen {
        sync: word("sync"),
        health: word("health"),
        why: word("why"),
        instances: instances.iter().filter_map(process).collect(),
        healthy: instances.iter().filter(|i| i.get("health").and_then(Value::as_str) == Some("healthy")).count(),
        last_good: found.get("last_good").is_some_and(|good| !good.is_null()),
        pins: found.get("pins").map_or(0, count),
    })
}

/// Waits until an app looks as wanted.
pub(super) async fn until(
    client: &Client,
    app: &str,
    what: &str,
    wanted: impl Fn(&Seen) -> bool,
) -> anyhow::Result<Seen> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let seen = see(client, app).await;
        match &seen {
            Ok(seen) if wanted(seen) => return Ok(seen.clone()),
            _ if Instant::now() < deadline => tokio::time::sleep(GLANCE).await,
            Ok(seen) => {
                anyhow::bail!("app/{app} was not {what} within {} s; it is {}", PATIENCE.as_secs(), seen.told())
            }
            Err(error) => anyhow::bail!("app/{app} was not {what} within {} s: {error:#}", PATIENCE.as_secs()),
        }
    }
}

/// Waits until the daemon is ready.
pub(super) async fn ready(client: &Client) -> anyhow::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match client.answers("readyz").await {
            Ok(()) => return Ok(()),
            Err(_) if Instant::now() < deadline => tokio::time::sleep(GLANCE).await,
            Err(error) => {
                return Err(error.context(format!("the daemon was not ready within {} s", PATIENCE.as_secs())));
            }
        }
    }
}

/// The holds: (id, why, trailer).
pub(super) async fn holds(client: &Client) -> anyhow::Result<Vec<(String, String, String)>> {
    let found = client.json("api/v1/holds", &[]).await?;
    let items = found.get("items").and_then(Value::as_array).cloned().unwrap_or_default();
    let word = |hold: &Value, key: &str| hold.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    Ok(items.iter().map(|hold| (word(hold, "id"), word(hold, "why"), word(hold, "trailer"))).collect())
}

/// Waits until there are holds, or none.
pub(super) async fn until_held(client: &Client, any: bool) -> anyhow::Result<Vec<(String, String, String)>> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let holds = holds(client).await?;
        if holds.is_empty() != any {
            return Ok(holds);
        }
        anyhow::ensure!(Instant::now() < deadline, "after {} s there are {} holds", PATIENCE.as_secs(), holds.len());
        tokio::time::sleep(GLANCE).await;
    }
}

/// Waits until the newest run of a playbook is in one of these states, and gives it whole.
pub(super) async fn until_run(client: &Client, playbook: &str, states: &[&str]) -> anyhow::Result<Value> {
    let deadline = Instant::now() + PATIENCE;
    let asked = [("playbook", playbook.to_owned()), ("limit", "1".to_owned())];
    loop {
        let found = client.json("api/v1/runs", &asked).await?;
        let run = found.pointer("/items/0").cloned().unwrap_or_default();
        let state = run.get("state").and_then(Value::as_str).unwrap_or("not opened").to_owned();
        if states.contains(&state.as_str()) {
            return Ok(run);
        }
        let (wanted, why) = (states.join(" or "), run.get("why").and_then(Value::as_str).unwrap_or_default());
        anyhow::ensure!(
            Instant::now() < deadline,
            "after {} s the run of {playbook} is {state}, not {wanted}; {why}",
            PATIENCE.as_secs()
        );
        tokio::time::sleep(GLANCE).await;
    }
}

/// Waits until a revision is in force.
pub(super) async fn until_revision(client: &Client, revision: &str) -> anyhow::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let found = client.json("api/v1/resources", &[]).await?;
        if found.get("revision").and_then(Value::as_str) == Some(revision) {
            return Ok(());
        }
        anyhow::ensure!(Instant::now() < deadline, "{revision} was not in force within {} s", PATIENCE.as_secs());
        tokio::time::sleep(GLANCE).await;
    }
}

/// Waits until nothing is listed any more.
pub(super) async fn until_nothing(client: &Client) -> anyhow::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let found = client.json("api/v1/resources", &[]).await?;
        let left = found.get("resources").and_then(Value::as_array).map_or(0, Vec::len);
        if left == 0 {
            return Ok(());
        }
        anyhow::ensure!(Instant::now() < deadline, "after {} s {left} resources are left", PATIENCE.as_secs());
        tokio::time::sleep(GLANCE).await;
    }
}
