//! Runs a release command once, such as a database migration, to its end or its time, also when its keeper is killed. Its
//! output goes to the app's logs under the name `release-DIGITS`.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use codeops_core::model::{Digest, InstanceId, Period, Resource};
use futures_util::StreamExt as _;
use jiff::Timestamp;
use rustix::process::Signal;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::family;
use super::instance::{environment, orders};
use super::logs::{self, Capture, Ends, LastLines, Veil, capture};
use super::process::{Identity, Launching, Process};
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
        Err(failed) => failed,
    };
    settle(&keeper, &resource.template_digest, outcome).await;
}

async fn attempt(
    keeper: &Keeper,
    resource: &Resource,
    setting: &Setting,
    secrets: &Confidential,
) -> Result<(), ReleaseOutcome> {
    let release = resource.spec.release.as_ref().ok_or_else(|| fails("the app has no release command".to_owned()))?;
    let name = log_name(&resource.template_digest).map_err(fails)?;
    // It serves nothing: the port it may speak of is the stable one.
    let env = environment(&name, resource, setting, resource.spec.port.map(|port| port.number)).map_err(fails)?;
    let orders = orders(&release.command, env, secrets, setting).map_err(fails)?;
    // Up to its start all is the machine's affair.
    let refused = |error: io::Error| ReleaseOutcome::Failed {
        why: format!("the release command cannot be started: {error}"),
        refused: true,
    };
    let user = setting.user.as_ref().map(|user| user.uid);
    let pipes = Capture::new(FIFOS.as_ref(), &name, user).map_err(refused)?;
    let (mut captures, done) = (JoinSet::new(), CancellationToken::new());
    let begun = SystemClock.now();
    let exit = async {
        let veil = Veil::of(secrets);
        captures.spawn(capture(
            pipes.receivers()?,
            name.clone(),
            veil,
            keeper.logs.clone(),
            LastLines::default(),
            Ends::new().1,
            done.clone(),
        ));
        let [out, err] = pipes.ends()?;
        let launching = Launching::new(out, err, &keeper.tasks)?;
        // Written before it is let go: whatever happens to this keeper, the next one knows of it.
        keeper.table.record(|durable| durable.release_process = Some(launching.identity().clone())).await?;
        // Unbound: a keeper that ends leaves it running, as it does its instances.
        let process = launching.go(&orders)?.unbind();
        io::Result::Ok(process.within(release.timeout.as_duration()).await)
    };
    let exit = exit.await;
    done.cancel();
    while captures.join_next().await.is_some() {}
    pipes.remove();
    family::kill_orphans(Some(&name));
    let failed = match exit.map_err(refused)? {
        Some(exit) if exit.is_success() => return Ok(()),
        Some(exit) => format!("the release command {exit}"),
        None => out_of_time(release.timeout),
    };
    Err(fails(match last_line(name, begun, secrets).await {
        Some(line) => format!("{failed}: {line}"),
        None => failed,
    }))
}

/// By its own doing.
fn fails(why: String) -> ReleaseOutcome {
    ReleaseOutcome::Failed { why, refused: false }
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

fn lost() -> ReleaseOutcome {
    let why = "the keeper that ran the release command was killed before it ended, so how it ended is not known: see what it \
               did before it is run again";
    ReleaseOutcome::Lost { why: why.to_owned() }
}

fn out_of_time(timeout: Period) -> String {
    format!("the release command did not end within {timeout} and was killed")
}

/// A release that an earlier keeper left, as the table tells of it.
pub(super) struct Left {
    template: Digest,
    at: Timestamp,
    timeout: Period,
    identity: Option<Identity>,
    is_confidential: bool,
}

impl Left {
    /// The one that runs, if one does.
    pub(super) fn in_table(keeper: &Keeper) -> Option<Self> {
        keeper.table.read(|all| {
            let release = all.durable.release.as_ref()?;
            let ReleaseOutcome::Running { timeout } = release.outcome else { return None };
            Some(Self {
                template: release.template.clone(),
                at: release.at,
                timeout,
                identity: all.durable.release_process.clone(),
                is_confidential: all
                    .durable
                    .releasing
                    .as_ref()
                    .is_some_and(|resource| !resource.spec.secrets.is_empty()),
            })
        })
    }

    /// Goes on with it: it runs to its end or its time. Its exit code went to the keeper that started it, so how it ended is
    /// not known.
    pub(super) async fn go_on(self, keeper: Arc<Keeper>) {
        let process = self.identity.as_ref().and_then(Process::adopt);
        let Some(process) = process else { return self.settle(&keeper, lost()).await };
        let (mut captures, done) = (JoinSet::new(), CancellationToken::new());
        if let Some((name, pipes)) = self.pipes()
            && let Ok(receivers) = pipes.receivers()
        {
            let veil = Veil::following(&keeper.table, &self.template, self.is_confidential);
            let logs = keeper.logs.clone();
            captures.spawn(capture(receivers, name, veil, logs, LastLines::default(), Ends::new().1, done.clone()));
        }
        let exit = process.within(self.rest()).await;
        done.cancel();
        while captures.join_next().await.is_some() {}
        let outcome = match exit {
            Some(_) => lost(),
            None => fails(out_of_time(self.timeout)),
        };
        self.settle(&keeper, outcome).await;
    }

    /// Ends it, because all goes.
    pub(super) async fn end(self, keeper: &Keeper) {
        if let Some(process) = self.identity.as_ref().and_then(Process::adopt) {
            process.signal(Signal::KILL);
            process.ended().await;
        }
        self.settle(keeper, lost()).await;
    }

    /// What is left of its time.
    fn rest(&self) -> Duration {
        let ran = Duration::try_from(SystemClock.now().duration_since(self.at)).unwrap_or_default();
        self.timeout.as_duration().saturating_sub(ran)
    }

    fn pipes(&self) -> Option<(InstanceId, Capture)> {
        let name = log_name(&self.template).ok()?;
        let pipes = Capture::new(FIFOS.as_ref(), &name, None).ok()?;
        Some((name, pipes))
    }

    /// Nothing of it runs any more.
    async fn settle(&self, keeper: &Keeper, outcome: ReleaseOutcome) {
        if let Some((name, pipes)) = self.pipes() {
            family::kill_orphans(Some(&name));
            pipes.remove();
        }
        settle(keeper, &self.template, outcome).await;
    }
}

/// Puts the end of the release of `template` in the table.
async fn settle(keeper: &Keeper, template: &Digest, outcome: ReleaseOutcome) {
    let ended = |durable: &mut Durable| {
        (durable.release_process, durable.releasing) = (None, None);
        if outcome == ReleaseOutcome::Succeeded {
            durable.released = Some(template.clone());
        }
        if let Some(release) = &mut durable.release {
            // What never began may be asked for again under the same key.
            if matches!(outcome, ReleaseOutcome::Failed { refused: true, .. }) {
                durable.keys.retain(|(key, _)| *key != release.key);
            }
            release.outcome = outcome;
        }
    };
    keeper.table.update(ended).await;
    keeper.forget_secrets(template);
}
