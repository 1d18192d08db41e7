//! Runs a release command once, such as a database migration, to its end or its time. Its output goes to the app's logs
//! under the name `release-DIGITS`.

use std::io;
use std::sync::Arc;

use codeops_core::model::{Digest, InstanceId, Resource};
use futures_util::StreamExt as _;
use jiff::Timestamp;
use rustix::process::Signal;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::family;
use super::instance::{environment, orders};
use super::logs::{self, Capture, Veil, capture};
use super::process::{Launching, Process};
use super::run::{FIFOS, Keeper};
use super::table::Durable;
use super::wire::{Confidential, ReleaseOutcome, Setting};
use crate::port::{Clock as _, LogLine, LogQuery, SystemClock};

/// How far back its last line is looked for, in lines.
const TAIL: usize = 100;
/// As much of its last line as is told, in characters.
const TOLD: usize = 300;

/// The name its lines carry in the logs.
fn log_name(template: &Digest) -> Result<InstanceId, String> {
    InstanceId::try_from(format!("release-{}", template.short())).map_err(|error| error.to_string())
}

/// Runs the command and puts its end in the table.
pub(super) async fn run(keeper: Arc<Keeper>, resource: Resource, setting: Setting, secrets: Confidential) {
    let outcome = match attempt(&keeper, &resource, &setting, &secrets).await {
        Ok(()) => ReleaseOutcome::Succeeded,
        Err(why) => ReleaseOutcome::Failed { why },
    };
    let ended = |durable: &mut Durable| {
        durable.release_process = None;
        if outcome == ReleaseOutcome::Succeeded {
            durable.released = Some(resource.template_digest.clone());
        }
        if let Some(release) = &mut durable.release {
            release.outcome = outcome;
        }
    };
    keeper.table.update(ended).await;
}

async fn attempt(
    keeper: &Keeper,
    resource: &Resource,
    setting: &Setting,
    secrets: &Confidential,
) -> Result<(), String> {
    let release = resource.spec.release.as_ref().ok_or("the app has no release command")?;
    let name = log_name(&resource.template_digest)?;
    // It serves nothing: the port it may speak of is the stable one.
    let env = environment(&name, resource, setting, resource.spec.port.map(|port| port.number))?;
    let orders = orders(&release.command, env, secrets, setting)?;
    let failed = |error: io::Error| format!("the release command cannot be started: {error}");
    let user = setting.user.as_ref().map(|user| user.uid);
    let pipes = Capture::new(FIFOS.as_ref(), &name, user).map_err(failed)?;
    let (mut captures, done) = (JoinSet::new(), CancellationToken::new());
    let begun = SystemClock.now();
    let exit = async {
        let veil = Veil::of(secrets);
        captures.spawn(capture(pipes.receivers()?, name.clone(), veil, keeper.logs.clone(), done.clone()));
        let [out, err] = pipes.ends()?;
        let launching = Launching::new(out, err, &keeper.tasks)?;
        // Written before it is let go: whatever happens to this keeper, the next one knows of it.
        keeper.table.record(|durable| durable.release_process = Some(launching.identity().clone())).await?;
        io::Result::Ok(launching.go(&orders)?.within(release.timeout.as_duration()).await)
    };
    let exit = exit.await;
    done.cancel();
    while captures.join_next().await.is_some() {}
    pipes.remove();
    family::kill_orphans(Some(&name));
    let failed = match exit.map_err(failed)? {
        Some(exit) if exit.is_success() => return Ok(()),
        Some(exit) => format!("the release command {exit}"),
        None => format!("the release command did not end within {} and was killed", release.timeout),
    };
    Err(match last_line(name, begun, secrets).await {
        Some(line) => format!("{failed}: {line}"),
        None => failed,
    })
}

/// The last line it wrote since `begun`, without its secrets. Its errors come first: how they and the rest of its output
/// mixed is not known.
async fn last_line(name: InstanceId, begun: Timestamp, secrets: &Confidential) -> Option<String> {
    let query = LogQuery { instance: Some(name), tail: TAIL, follow: false };
    let lines: Vec<LogLine> = logs::read(".".as_ref(), query).collect().await;
    let told = |line: &&LogLine| line.at >= begun && !line.line.trim().is_empty();
    let errors = lines.iter().rfind(|line| told(line) && line.stream == "stderr");
    let last = errors.or_else(|| lines.iter().rfind(told))?;
    let known = secrets.0.values().map(|secret| secret.reveal()).filter(|secret| !secret.is_empty());
    let clean = known.fold(last.line.clone(), |line, secret| line.replace(secret.as_str(), "***"));
    Some(clean.trim().chars().take(TOLD).collect())
}

/// Settles a release that an earlier keeper left: its exit code is lost, so it is ended and counts as failed.
pub(super) async fn settle(keeper: &Keeper) {
    let left = keeper.table.read(|all| match &all.durable.release {
        Some(release) if matches!(release.outcome, ReleaseOutcome::Running { .. }) => {
            Some((release.template.clone(), all.durable.release_process.clone()))
        }
        _ => None,
    });
    let Some((template, identity)) = left else { return };
    if let Some(process) = identity.as_ref().and_then(Process::adopt) {
        process.signal(Signal::KILL);
        process.ended().await;
    }
    if let Ok(pipes) =
        log_name(&template).and_then(|name| Capture::new(FIFOS.as_ref(), &name, None).map_err(|e| e.to_string()))
    {
        pipes.remove();
    }
    let settled = |durable: &mut Durable| {
        durable.release_process = None;
        if let Some(release) = &mut durable.release {
            let why = "the keeper was killed while the release command ran; how far it came is not known".to_owned();
            release.outcome = ReleaseOutcome::Failed { why };
        }
    };
    keeper.table.update(settled).await;
}
