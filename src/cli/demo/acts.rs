//! The acts: each does one thing a user would do, or one thing that goes wrong at night, and proves what follows.

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use anyhow::{Context, ensure};
use rustix::process::{Signal, kill_process};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use super::alerts;
use super::api::{self, see, until};
use super::narrator::{Narrator, took};
use super::processes;
use super::stage::Stage;

/// A port that is away for longer proves that something is wrong, on however busy a machine. What it takes is measured by
/// `benches/budgets`.
const PORT_AWAY: Duration = Duration::from_secs(1);

type Playing<'a> = Pin<Box<dyn Future<Output = anyhow::Result<()>> + 'a>>;

/// One act.
pub(super) struct Act {
    pub(super) title: &'static str,
    pub(super) play: for<'a> fn(&'a mut Stage, &'a mut Narrator) -> Playing<'a>,
}

/// All of them, in order.
pub(super) const ALL: &[Act] = &[
    Act { title: "A first commit deploys two apps", play: |s, n| Box::pin(first_commit(s, n)) },
    Act { title: "A commit changes one of them, and no request fails", play: |s, n| Box::pin(change(s, n)) },
    Act { title: "An instance is killed, and comes back", play: |s, n| Box::pin(killed_instance(s, n)) },
    Act { title: "A bad commit is rolled back, and not tried again", play: |s, n| Box::pin(bad_commit(s, n)) },
    Act { title: "A commit that deletes everything is held", play: |s, n| Box::pin(deletes_all(s, n)) },
    Act { title: "kill -9 of the daemon drops no request", play: |s, n| Box::pin(killed_daemon(s, n)) },
    Act { title: "kill -9 of a keeper: its instances live on", play: |s, n| Box::pin(killed_keeper(s, n)) },
    Act { title: "An alert is answered by a playbook, and proven over", play: |s, n| Box::pin(alerts::answered(s, n)) },
    Act { title: "Nothing helps: replaced, then a person is called", play: |s, n| Box::pin(alerts::paged(s, n)) },
];

/// Commits what the work tree holds, and says so.
pub(super) async fn commit(stage: &Stage, narrator: &mut Narrator, message: &str) -> anyhow::Result<Instant> {
    let subject = message.lines().next().unwrap_or_default().to_owned();
    let revision = stage.git.commit(message).await?;
    narrator.does(format!("git commit -m \"{subject}\"   {}", revision.get(..7).unwrap_or(&revision)));
    Ok(Instant::now())
}

pub(super) fn unbroken(tally: &super::prober::Tally) -> anyhow::Result<String> {
    ensure!(tally.failed() == 0, "the prober saw {}", tally.told());
    ensure!(tally.requests > 0, "the prober saw no answer at all");
    Ok(format!("the prober saw {}", tally.told()))
}

async fn first_commit(stage: &mut Stage, narrator: &mut Narrator) -> anyhow::Result<()> {
    commit(stage, narrator, "Deploy front and shop").await?;
    narrator.does("codeops run --repo . &");
    let begun = Instant::now();
    stage.start_daemon().await?;
    narrator.sees(format!("the daemon is ready after {}", took(begun.elapsed())));
    for app in ["shop", "front"] {
        let seen = until(&stage.client, app, "in sync and healthy", api::Seen::is_fine).await?;
        ensure!(seen.instances.len() == 2, "app/{app} has {} instances, not 2", seen.instances.len());
        narrator.sees(format!("app/{app} is in sync and healthy, two instances, {}", took(begun.elapsed())));
    }
    stage.probe()?;
    sleep(Duration::from_millis(500)).await;
    let told = unbroken(&stage.probe()?.take())?;
    narrator.sees(told);
    // What went well for its bake time is what a bad version is rolled back to.
    for app in ["shop", "front"] {
        until(&stage.client, app, "baked", |seen| seen.last_good).await?;
    }
    narrator.sees("both have baked: they are what a bad version would be rolled back to");
    Ok(())
}

async fn change(stage: &mut Stage, narrator: &mut Narrator) -> anyhow::Result<()> {
    let before = see(&stage.client, "front").await?;
    stage.probe()?.take();
    stage.edit("apps/front.yaml", &[("\"1.0\"", "\"1.1\""), ("steelblue", "rebeccapurple")])?;
    let begun = commit(stage, narrator, "Paint front purple").await?;
    let replaced = |seen: &api::Seen| {
        seen.is_fine()
            && seen.instances.len() == 2
            && seen.instances.keys().all(|id| !before.instances.contains_key(id))
    };
    until(&stage.client, "front", "on its new version", replaced).await?;
    narrator.sees(format!("both instances are new and healthy after {}", took(begun.elapsed())));
    sleep(Duration::from_millis(300)).await;
    let tally = stage.probe()?.take();
    let versions = tally.versions.get("front").cloned().unwrap_or_default();
    ensure!(versions.contains("1.1"), "clients never saw version 1.1, only {versions:?}");
    narrator.sees(unbroken(&tally)?);
    Ok(())
}

async fn killed_instance(stage: &mut Stage, narrator: &mut Narrator) -> anyhow::Result<()> {
    let before = see(&stage.client, "shop").await?;
    let victim = before.a_process().context("the page shows no process id of shop's instances")?;
    stage.probe()?.take();
    narrator.does(format!("kill -9 {victim}"));
    kill_process(victim, Signal::KILL).context("kill")?;
    let begun = Instant::now();
    let victim = victim.as_raw_pid();
    let back = |seen: &api::Seen| {
        seen.is_fine() && seen.healthy == 2 && seen.instances.values().flatten().all(|pid| *pid != victim)
    };
    until(&stage.client, "shop", "whole again", back).await?;
    narrator.sees(format!("two healthy instances again after {}", took(begun.elapsed())));
    narrator.notes(format!("meanwhile: {}", stage.probe()?.take().told()));
    Ok(())
}

async fn bad_commit(stage: &mut Stage, narrator: &mut Narrator) -> anyhow::Result<()> {
    let before = see(&stage.client, "shop").await?;
    stage.probe()?.take();
    stage.edit("apps/shop.yaml", &[("VERSION: \"1.0\"", "VERSION: \"2.0\"\n    FAIL: health")])?;
    let begun = commit(stage, narrator, "Release shop 2.0").await?;
    let pinned = |seen: &api::Seen| seen.pins > 0 && seen.instances == before.instances && seen.healthy == 2;
    let seen = until(&stage.client, "shop", "rolled back and pinned", pinned).await?;
    narrator.sees(format!("back on 1.0 after {}; {}", took(begun.elapsed()), seen.why));
    let tally = stage.probe()?.take();
    let versions = tally.versions.get("shop").cloned().unwrap_or_default();
    ensure!(versions == BTreeSet::from(["1.0".to_owned()]), "clients of shop saw {versions:?}, not only 1.0");
    narrator.sees(unbroken(&tally)? + ", all from 1.0");

    let front = see(&stage.client, "front").await?;
    stage.edit("apps/front.yaml", &[("\"1.1\"", "\"1.2\"")])?;
    commit(stage, narrator, "Say 1.2 on front").await?;
    let mut tried = false;
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        tried |= see(&stage.client, "shop").await?.instances != before.instances;
        let now = see(&stage.client, "front").await?;
        if now.is_fine() && now.instances.keys().all(|id| !front.instances.contains_key(id)) {
            break;
        }
        ensure!(Instant::now() < deadline, "the unrelated commit was not applied within 60 s");
        sleep(Duration::from_millis(50)).await;
    }
    ensure!(!tried, "the unrelated commit tried the bad version again");
    narrator.sees("an unrelated commit went out, and left the pinned version alone");

    stage.edit("apps/shop.yaml", &[("VERSION: \"2.0\"\n    FAIL: health", "VERSION: \"1.0\"")])?;
    commit(stage, narrator, "Take shop 2.0 back").await?;
    let seen = until(&stage.client, "shop", "in sync again", api::Seen::is_fine).await?;
    ensure!(seen.instances == before.instances, "taking the bad version back restarted the good one");
    narrator.sees("taking it back needs no restart: the good version never went away");
    Ok(())
}

async fn deletes_all(stage: &mut Stage, narrator: &mut Narrator) -> anyhow::Result<()> {
    let before = [see(&stage.client, "shop").await?.instances, see(&stage.client, "front").await?.instances];
    stage.probe()?.take();
    stage.git.run(&["rm", "--quiet", "-r", "apps"]).await?;
    narrator.does("git rm -r apps");
    commit(stage, narrator, "Clean up").await?;
    let holds = api::until_held(&stage.client, true).await?;
    let (_, why, trailer) = holds.first().context("a hold")?;
    narrator.sees(format!("held: {why}"));
    narrator.notes(format!("a commit that says this lets exactly these two deletions through, once: {trailer}"));
    stage.trailer = Some(trailer.clone());
    sleep(Duration::from_millis(500)).await;
    let after = [see(&stage.client, "shop").await?.instances, see(&stage.client, "front").await?.instances];
    ensure!(before == after, "instances changed though the deletion is held");
    narrator.sees(unbroken(&stage.probe()?.take())?);
    stage.git.run(&["checkout", "--quiet", "HEAD~1", "--", "apps"]).await?;
    narrator.does("git checkout HEAD~1 -- apps");
    commit(stage, narrator, "Bring front and shop back").await?;
    api::until_held(&stage.client, false).await?;
    for app in ["shop", "front"] {
        until(&stage.client, app, "in sync again", api::Seen::is_fine).await?;
    }
    narrator.sees("the commit that brings them back releases the hold");
    Ok(())
}

async fn killed_daemon(stage: &mut Stage, narrator: &mut Narrator) -> anyhow::Result<()> {
    let before = [see(&stage.client, "shop").await?, see(&stage.client, "front").await?];
    stage.probe()?.take();
    let mut daemon = stage.daemon.take().context("the daemon")?;
    narrator.does(format!("kill -9 {}", daemon.id().unwrap_or_default()));
    daemon.kill().await.context("kill")?;
    sleep(Duration::from_secs(2)).await;
    narrator.sees(unbroken(&stage.probe()?.take())? + ", two seconds without a daemon");
    narrator.does("codeops run --repo . &");
    stage.start_daemon().await?;
    for (app, before) in ["shop", "front"].into_iter().zip(&before) {
        let seen = until(&stage.client, app, "in sync and healthy", api::Seen::is_fine).await?;
        ensure!(seen.instances == before.instances, "app/{app} has other instances than before the kill");
    }
    narrator.sees("the next daemon finds everything as it was: the same instances, the same processes");
    narrator.sees(unbroken(&stage.probe()?.take())? + ", while it started");
    Ok(())
}

async fn killed_keeper(stage: &mut Stage, narrator: &mut Narrator) -> anyhow::Result<()> {
    let before = see(&stage.client, "front").await?;
    let instance = before.a_process().context("the page shows no process id of front's instances")?;
    let keeper = processes::keeper_of(instance, "front", &stage.binary).context("front's keeper is not found")?;
    stage.probe()?.take();
    narrator.does(format!("kill -9 {}   the keeper that holds front's port", keeper.as_raw_pid()));
    kill_process(keeper, Signal::KILL).context("kill")?;
    let away = port_away(stage.front_port()).await?;
    ensure!(away <= PORT_AWAY, "front's port was away for {}, and a new keeper needs a fraction of that", took(away));
    narrator.sees(format!("the port was back {} after the kill; connections in between were refused", took(away)));
    let same = |seen: &api::Seen| seen.is_fine() && seen.healthy == 2;
    let after = until(&stage.client, "front", "in sync and healthy", same).await?;
    ensure!(after.instances == before.instances, "front has other instances than before the kill");
    narrator.sees("the next keeper holds the same instances: no process was started anew");
    sleep(Duration::from_millis(300)).await;
    narrator.notes(format!("meanwhile: {}", stage.probe()?.take().told()));
    let again = stage.probe()?;
    sleep(Duration::from_millis(500)).await;
    let told = unbroken(&again.take())? + ", since";
    narrator.sees(told);
    Ok(())
}

/// How long a port takes no connection, from now on. Zero where no attempt of this one fails at all: another process
/// took it over before the first.
async fn port_away(port: u16) -> anyhow::Result<Duration> {
    let begun = Instant::now();
    // Long enough for the kernel to have closed what the killed process held, and for whoever comes next to fail.
    let settled = Duration::from_millis(250);
    let (mut last_failure, mut deadline) = (Duration::ZERO, begun + Duration::from_secs(10));
    while Instant::now() < deadline {
        let attempt = timeout(Duration::from_secs(1), TcpStream::connect(("127.0.0.1", port))).await;
        if matches!(attempt, Ok(Ok(_))) {
            if begun.elapsed() > last_failure + settled {
                return Ok(last_failure);
            }
            deadline = deadline.max(Instant::now() + settled * 2);
        } else {
            last_failure = begun.elapsed();
        }
        sleep(Duration::from_millis(2)).await;
    }
    anyhow::bail!("the port is not back after 10 s")
}
