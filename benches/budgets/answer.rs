//! How soon an alert is answered: from the moment it is sent to the beginning of its playbook's first step, over a real
//! connection, with the real store and the flow as the daemon runs it. And how long routing takes where there are many routes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use codeops::gate::{self, Gate};
use codeops::journal::{Journal, StartedEffect};
use codeops::port::{
    AlertAnswer, AlertSources, Board, Clock, Effect, EffectError, Effects, Performed, Publisher, RevisionView,
    SystemClock, Vault, Vitals,
};
use codeops::respond;
use codeops::secret::SettingsVault;
use codeops::store::Sqlite;
use codeops_core::alert::Router;
use codeops_core::desired::{Compiler, Context, Desired, File, Files};
use codeops_core::model::{Alert, AlertState, Labels, Name, RevisionState, Whose};
use jiff::{SignedDuration, Timestamp};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::alerts::{serve_intake, tell};
use super::daemon::HEAD;
use super::table::Row;

const ALERTS: usize = 200;
const ROUTES: usize = 500;
const ROUTED: usize = 10_000;
const TURNS: usize = 20;

/// Who is told, and a playbook whose first step is an effect.
const ANSWERS: &str = "---\napiVersion: codeops/v1\nkind: Receiver\nmetadata: {name: chat, team: payments}\nspec: {webhook: \"http://127.0.0.1:1/\"}\n---\napiVersion: codeops/v1\nkind: EscalationPolicy\nmetadata: {name: people, team: payments}\nspec: {levels: [{notify: [receiver/chat]}]}\n---\napiVersion: codeops/v1\nkind: Playbook\nmetadata: {name: look, team: payments}\nspec:\n  on: {alert: {alertname: AppDown}}\n  steps:\n    - {name: look, http: {url: \"http://127.0.0.1:1/\"}}\n    - {name: proof, wait: resolved, timeout: 30m}\n";

pub(crate) fn measure() -> Vec<Row> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let first = runtime.block_on(first_steps());
    let what = format!("{ROUTED} alerts routed over {ROUTES} routes");
    vec![
        Row::p99("answer", "alert sent → its first step begins", Duration::from_millis(50), &first),
        Row::time("answer", &what, Duration::from_millis(50), &routing()),
    ]
}

/// The machine's clock, and what was added to it: hours between two alerts, so that they are no storm.
#[derive(Default)]
struct Ahead(AtomicI64);

impl Clock for Ahead {
    fn now(&self) -> Timestamp {
        SystemClock.now() + SignedDuration::from_hours(self.0.load(Ordering::Relaxed))
    }
}

/// Notes when a step is begun; does nothing.
struct Noted(mpsc::UnboundedSender<Instant>);

#[async_trait]
impl Effects for Noted {
    async fn perform(&self, _: &StartedEffect, _: &Effect) -> Result<Performed, EffectError> {
        let _ = self.0.send(Instant::now());
        Ok(Performed::default())
    }
}

#[async_trait]
impl AlertSources for Noted {
    async fn ask(&self, _: &Alert) -> AlertState {
        AlertState::Unknown
    }

    fn asked_by(&self, _: &Alert) -> Option<Name> {
        None
    }

    async fn ask_all(&self, _: &Name, _: &[Arc<Alert>]) -> Vec<AlertAnswer> {
        Vec::new()
    }
}

async fn first_steps() -> Vec<Duration> {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let ahead = Arc::new(Ahead::default());
    let clock: Arc<dyn Clock> = ahead.clone();
    let journal = Journal::new(Arc::new(Sqlite::open(folder.path(), Arc::clone(&clock)).unwrap()));
    let vault: Arc<dyn Vault> = Arc::new(SettingsVault::new(BTreeMap::new(), [0; 32], BTreeMap::new()));
    let (cancel, mut tasks) = (CancellationToken::new(), JoinSet::new());
    let (actuators, vault_of_gate) = (BTreeMap::new(), Arc::clone(&vault));
    let parts = gate::Parts {
        journal: journal.clone(),
        actuators,
        vault: vault_of_gate,
        clock: Arc::clone(&clock),
        vitals: Vitals::default(),
    };
    let gate = Gate::start(parts, &mut tasks, cancel.clone());
    let (publisher, watcher) = Publisher::new();
    publisher.publish(board(&*clock));
    let (begun, mut first) = mpsc::unbounded_channel();
    let noted = Arc::new(Noted(begun));
    let parts = respond::Parts {
        journal: journal.clone(),
        watcher,
        gate,
        effects: noted.clone(),
        sources: noted,
        heartbeat: None,
        vault,
        clock: Arc::clone(&clock),
        rules: respond::Rules { senders: [("bench".parse().unwrap(), None)].into(), ..respond::Rules::default() },
        vitals: Vitals::default(),
        said: respond::Said::default(),
    };
    let ended = cancel.clone();
    tasks.spawn(async move { respond::run(parts, ended).await.unwrap() });
    let address = serve_intake(journal.clone(), clock, &cancel, &mut tasks).await;
    let mut times = Vec::new();
    for number in 0..ALERTS {
        let app = format!("a{number}");
        let begun = Instant::now();
        tell(address, &app, "firing").await;
        times.push(first.recv().await.unwrap().duration_since(begun));
        tell(address, &app, "resolved").await;
        while !journal.memory().read().unwrap().response.runs.is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        ahead.0.fetch_add(3, Ordering::Relaxed);
    }
    cancel.cancel();
    tasks.shutdown().await;
    times
}

/// A revision is in force, and everything has been looked at.
fn board(clock: &dyn Clock) -> Board {
    let revision = RevisionView {
        id: "a".repeat(40).parse().unwrap(),
        subject: "bench".to_owned(),
        author: "bench".to_owned(),
        teams: Default::default(),
        state: RevisionState::Applied,
        accepted_at: clock.now(),
    };
    let desired = Some(Arc::new(compiled(&format!("{HEAD}{ANSWERS}"))));
    Board { ready: true, revision: Some(revision), desired, fresh_at: Some(clock.now()), ..Board::default() }
}

fn compiled(text: &str) -> Desired {
    let file = File::new(text, text.as_bytes());
    let files: Files = [("codeops.yaml".into(), file)].into();
    let compiled = Compiler::default().compile(&files, &Context::default());
    let mistakes: Vec<String> = compiled.diagnostics.iter().map(|it| it.render(false)).collect();
    assert!(!compiled.has_errors(), "{}", mistakes.join("\n"));
    compiled.desired
}

fn routing() -> Vec<Duration> {
    let mut text = format!(
        "{HEAD}{ANSWERS}---\napiVersion: codeops/v1\nkind: AlertRoute\nmetadata: {{name: main, team: payments}}\nspec:\n  route:\n    policy: people\n    routes:\n"
    );
    for route in 0..ROUTES {
        let _ = writeln!(text, "      - {{match: ['app=\"a{route}\"', 'severity=~\"page|warning\"'], policy: people}}");
    }
    let router = Router::new(&Arc::new(compiled(&text).response), None, Whose::default());
    let alerts: Vec<Labels> = (0..ROUTED).map(labels).collect();
    let mut taken = BTreeSet::new();
    let times = (0..TURNS).map(|_| {
        let begun = Instant::now();
        let routed: Vec<_> = alerts.iter().map(|labels| router.route(labels)).collect();
        let took = begun.elapsed();
        taken.extend(routed.into_iter().flat_map(|routed| routed.taken));
        took
    });
    let times = times.collect();
    assert_eq!(taken.len(), ROUTES, "each route is taken");
    times
}

fn labels(number: usize) -> Labels {
    let label = |(name, value): (&str, String)| (name.to_owned(), value);
    let severity = if number.is_multiple_of(2) { "page" } else { "warning" };
    [
        ("alertname", "AppSlow".to_owned()),
        ("app", format!("a{}", number % ROUTES)),
        ("instance", format!("10.1.{}.{}:9100", number / 250, number % 250)),
        ("severity", severity.to_owned()),
    ]
    .map(label)
    .into()
}
