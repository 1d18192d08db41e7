//! The flow of the daemon in one process, without its edges: reconcile and gate over providers in memory, a log that
//! crashes where it is told to, and a scripted repository. Time is tokio's paused time, so hours pass in a moment.
//!
//! An app's version, its second word of command, is also its fate: see [`fate`]. The release command of one that is `barren` fails.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use codeops::gate::{self, Gate};
use codeops::journal::{Entry, Journal, Log as _, LogError, Record};
use codeops::port::{Actuator, Board, Clock, Observer, Publisher, ResourceView, Vault, Vitals, Watcher};
use codeops::reconcile::{self, Rules};
use codeops::respond;
use codeops::secret::SettingsVault;
use codeops_core::config::SecretSettings;
use codeops_core::desired::{Compiler, Context, ProviderFacts};
use codeops_core::model::{
    Digest, Health, Live, Period, ProviderName, Resource, ResourceId, ResponseMemory, Revision, Run, RunSpec,
    SecretName, Signal, Sync,
};
use jiff::{SignedDuration, Timestamp};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::fault_log::{Crash, FaultLog};
use super::memory_provider::{MemoryProvider, Script};
use super::scripted_effects::ScriptedEffects;
use super::scripted_source::ScriptedSource;

/// What every config repository here begins with.
pub(crate) const REPOSITORY: &str =
    "apiVersion: codeops/v1\nkind: Repository\nmetadata: {name: acme-ops}\nspec: {defaults: {provider: local}}\n";
/// The one team.
pub(crate) const TEAM: &str = "apiVersion: codeops/v1\nkind: Team\nmetadata: {name: core}\nspec: {}\n";

/// A manifest of an app with one instance, at this version.
pub(crate) fn app(name: &str, version: &str) -> String {
    app_with(name, version, "", "")
}

/// The same with more lines in `metadata` and `spec`, each as `key: value, `.
pub(crate) fn app_with(name: &str, version: &str, metadata: &str, spec: &str) -> String {
    format!(
        "apiVersion: codeops/v1\nkind: App\nmetadata: {{{metadata}name: {name}, team: core}}\n\
         spec: {{{spec}run: {{command: [./{name}, {version}]}}, rollout: {{bake: 10s}}}}\n"
    )
}

/// `app/NAME`.
pub(crate) fn id(name: &str) -> ResourceId {
    format!("app/{name}").parse().expect("a name")
}

/// How instances of a version fare.
fn fate(version: &str) -> Option<Script> {
    match version.split('-').next()? {
        "bad" => Some(Script::CrashLoop),
        "slow" => Some(Script::HealthyAfter(Period::from_secs(30))),
        "sick" => Some(Script::HealthyFor(Period::from_secs(5))),
        "never" => Some(Script::Starting),
        _ => None,
    }
}

/// Tells tokio's time as a timestamp.
struct PausedClock(tokio::time::Instant);

impl Clock for PausedClock {
    fn now(&self) -> Timestamp {
        let since = SignedDuration::try_from(self.0.elapsed()).expect("within range");
        Timestamp::from_second(1_700_000_000).expect("within range") + since
    }
}

/// The clock that goes with paused time.
pub(crate) fn paused_clock() -> Arc<dyn Clock> {
    Arc::new(PausedClock(tokio::time::Instant::now()))
}

/// The vault of settings that name no secret.
pub(crate) fn no_secrets() -> Arc<SettingsVault> {
    secrets(BTreeMap::new(), BTreeMap::new())
}

/// One of settings that name these, whose values are in this environment.
pub(crate) fn secrets(
    settings: BTreeMap<SecretName, SecretSettings>,
    environment: BTreeMap<String, String>,
) -> Arc<SettingsVault> {
    Arc::new(SettingsVault::new(settings, [7; 32], environment))
}

/// See the module.
pub(crate) struct Flow {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) source: Arc<ScriptedSource>,
    pub(crate) providers: BTreeMap<ProviderName, Arc<MemoryProvider>>,
    pub(crate) log: Arc<FaultLog>,
    /// What the settings say to the next daemon.
    pub(crate) rules: Rules,
    /// The secrets that they grant.
    pub(crate) vault: Arc<SettingsVault>,
    /// The same for the answer to alerts.
    pub(crate) responds: respond::Rules,
    /// Who of the daemon shows that it goes on.
    pub(crate) vitals: Vitals,
    /// Effects of playbooks.
    pub(crate) outside: Arc<ScriptedEffects>,
    /// The present daemon's, as its hooks have it.
    pub(crate) journal: Option<Journal>,
    /// What one process has said.
    said: respond::Said,
    /// Template digests of every version ever committed.
    versions: BTreeMap<Digest, String>,
    daemon: Option<Daemon>,
}

/// One daemon's life.
struct Daemon {
    cancel: CancellationToken,
    fetch: mpsc::Sender<()>,
    watcher: Watcher,
    tasks: JoinSet<()>,
    flow: JoinSet<Result<(), LogError>>,
}

impl Flow {
    /// An empty repository, one empty provider called `local`, and a daemon that follows.
    pub(crate) async fn new() -> Self {
        Self::on(&["local"]).await
    }

    /// The same with these providers.
    pub(crate) async fn on(providers: &[&str]) -> Self {
        let mut flow = Self::stopped(providers);
        flow.start().await;
        flow
    }

    /// The same with no daemon yet.
    pub(crate) fn stopped(providers: &[&str]) -> Self {
        let clock = paused_clock();
        let provider = |name: &&str| (name.parse().expect("a name"), MemoryProvider::new(Arc::clone(&clock)));
        let rules = Rules {
            url: "scripted".to_owned(),
            branch: "main".to_owned(),
            environment: None,
            teams: BTreeMap::new(),
            reserved: Vec::new(),
            freeze: None,
            fallback: None,
            fallback_team: None,
            may_freeze: BTreeSet::new(),
            observe: false,
            resync: Duration::from_secs(60),
            until_settled: false,
        };
        Self {
            providers: providers.iter().map(provider).collect(),
            source: ScriptedSource::new(Arc::clone(&clock)),
            log: FaultLog::new(Arc::clone(&clock), None),
            clock,
            rules,
            vault: no_secrets(),
            responds: respond::Rules {
                fallback: "people".parse().ok(),
                senders: ["main", "prometheus"].map(|name| (name.parse().expect("a name"), None)).into(),
                ..respond::Rules::default()
            },
            vitals: Vitals::default(),
            outside: ScriptedEffects::new(),
            journal: None,
            said: respond::Said::default(),
            versions: BTreeMap::new(),
            daemon: None,
        }
    }

    /// Starts a daemon on what there is. A journal that crashes at once makes one that does nothing.
    pub(crate) async fn start(&mut self) {
        self.vitals = Vitals::default();
        let journal = Journal::new(Arc::clone(&self.log) as Arc<dyn codeops::journal::Log>);
        let _ = reconcile::count_daemon(&journal, &*self.clock, false).await;
        let cancel = CancellationToken::new();
        let (mut tasks, mut flow) = (JoinSet::new(), JoinSet::new());
        let vault = Arc::clone(&self.vault) as Arc<dyn Vault>;
        let actuators = self.providers.iter().map(|(n, p)| (n.clone(), Arc::clone(p) as Arc<dyn Actuator>)).collect();
        let observers = self.providers.iter().map(|(n, p)| (n.clone(), Arc::clone(p) as Arc<dyn Observer>)).collect();
        let parts = gate::Parts {
            journal: journal.clone(),
            actuators,
            vault: Arc::clone(&vault),
            clock: Arc::clone(&self.clock),
            vitals: self.vitals.clone(),
        };
        let gate = Gate::start(parts, &mut tasks, cancel.child_token());
        self.journal = Some(journal.clone());
        let (publisher, watcher) = Publisher::new();
        let (fetch, wants_fetch) = mpsc::channel(1);
        if !self.rules.until_settled {
            let parts = respond::Parts {
                journal: journal.clone(),
                watcher: watcher.clone(),
                gate: gate.clone(),
                effects: Arc::clone(&self.outside) as Arc<dyn codeops::port::Effects>,
                sources: Arc::clone(&self.outside) as Arc<dyn codeops::port::AlertSources>,
                heartbeat: Some(Arc::clone(&self.outside) as Arc<dyn codeops::port::Heartbeat>),
                vitals: self.vitals.clone(),
                vault: Arc::clone(&vault),
                clock: Arc::clone(&self.clock),
                rules: self.responds.clone(),
                said: self.said.clone(),
            };
            flow.spawn(respond::run(parts, cancel.clone()));
        }
        let parts = reconcile::Parts {
            source: Arc::clone(&self.source) as Arc<dyn codeops::port::Source>,
            observers,
            gate,
            journal,
            vault,
            clock: Arc::clone(&self.clock),
            publisher,
            vitals: self.vitals.clone(),
            fetch: wants_fetch,
            rules: self.rules.clone(),
        };
        flow.spawn(reconcile::run(parts, cancel.clone()));
        self.daemon = Some(Daemon { cancel, fetch, watcher, tasks, flow });
    }

    /// Ends the daemon as `kill -9` does: between two of its awaits, with nothing tidied.
    pub(crate) async fn kill(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            daemon.flow.shutdown().await;
            daemon.tasks.shutdown().await;
        }
        self.said = respond::Said::default();
    }

    /// Ends the daemon as it ends by itself; what is on gets its time where nothing follows in this process.
    async fn end(&mut self) {
        let Some(mut daemon) = self.daemon.take() else { return };
        daemon.cancel.cancel();
        while let Some(ended) = daemon.flow.join_next().await {
            // A journal that takes nothing more is what some tests are about.
            let _ = ended.expect("no panic");
        }
        while daemon.tasks.join_next().await.is_some() {}
    }

    /// Ends the daemon as SIGTERM does.
    pub(crate) async fn stop(&mut self) {
        self.said.ends();
        self.end().await;
        self.said = respond::Said::default();
        self.log = self.log.reopen(None);
    }

    /// Takes over settings: all begins anew, in the same process.
    pub(crate) async fn reload(&mut self) {
        self.end().await;
        self.log = self.log.reopen(None);
        self.start().await;
    }

    /// Kills the daemon and starts the next one on what was durable.
    pub(crate) async fn restart(&mut self) {
        self.restart_with(None).await;
    }

    /// The same with a journal that crashes.
    pub(crate) async fn restart_with(&mut self, crash: Option<Crash>) {
        self.kill().await;
        self.log = self.log.reopen(crash);
        self.start().await;
    }

    /// Kills the daemon and starts one on a copy of the store as it was after `entries` entries.
    pub(crate) async fn restore_backup(&mut self, entries: usize) {
        self.kill().await;
        self.log = self.log.restored(entries);
        self.start().await;
    }

    /// Takes over a copy of the store as it was after `entries` entries, in the same process.
    pub(crate) async fn reload_backup(&mut self, entries: usize) {
        let said = self.said.clone();
        self.kill().await;
        self.said = said;
        self.log = self.log.restored(entries);
        self.start().await;
    }

    /// Kills the daemon and starts one on a new, empty store.
    pub(crate) async fn lose_store(&mut self) {
        self.kill().await;
        self.log = FaultLog::named(Arc::clone(&self.clock), "another");
        self.start().await;
    }

    /// Runs one `apply`: a daemon that ends by itself, within six hours or the test fails.
    pub(crate) async fn apply(&mut self) -> Arc<Board> {
        self.kill().await;
        self.log = self.log.reopen(None);
        self.rules.until_settled = true;
        self.start().await;
        let mut daemon = self.daemon.take().expect("just started");
        let ended = tokio::time::timeout(Duration::from_secs(6 * 3_600), daemon.flow.join_next()).await;
        self.rules.until_settled = false;
        let ended =
            ended.unwrap_or_else(|_| panic!("apply does not end; the board says {:#?}", daemon.watcher.board()));
        ended.expect("one flow").expect("no panic").expect("a journal that takes everything");
        daemon.cancel.cancel();
        while daemon.tasks.join_next().await.is_some() {}
        daemon.watcher.board()
    }

    /// Commits these files on top of the tip and says so to the daemon. An empty text removes the file.
    pub(crate) async fn commit(&mut self, files: &[(&str, &str)]) -> Revision {
        self.commit_with(files, &[]).await
    }

    /// The same with trailers.
    pub(crate) async fn commit_with(&mut self, files: &[(&str, &str)], trailers: &[(&str, &str)]) -> Revision {
        let revision = self.source.commit(files, trailers);
        self.learn(&revision);
        self.look();
        revision
    }

    /// The first commit: a repository, a team and these apps, each in `apps/NAME.yaml`.
    pub(crate) async fn begin(&mut self, apps: &[(&str, &str)]) -> Revision {
        let mut files = vec![("codeops.yaml".to_owned(), REPOSITORY.to_owned()), ("team.yaml".into(), TEAM.into())];
        files.extend(apps.iter().map(|(name, version)| (path(name), app(name, version))));
        let files: Vec<(&str, &str)> = files.iter().map(|(p, t)| (p.as_str(), t.as_str())).collect();
        self.commit(&files).await
    }

    /// A commit that changes these apps to these versions; an empty version removes the manifest.
    pub(crate) async fn change(&mut self, apps: &[(&str, &str)]) -> Revision {
        self.change_with(apps, &[]).await
    }

    /// The same with trailers.
    pub(crate) async fn change_with(&mut self, apps: &[(&str, &str)], trailers: &[(&str, &str)]) -> Revision {
        let text = |name: &str, version: &str| if version.is_empty() { String::new() } else { app(name, version) };
        let files: Vec<_> = apps.iter().map(|(name, version)| (path(name), text(name, version))).collect();
        let files: Vec<(&str, &str)> = files.iter().map(|(p, t)| (p.as_str(), t.as_str())).collect();
        self.commit_with(&files, trailers).await
    }

    /// A receiver has these signals to tell, which are durable when this returns.
    pub(crate) async fn tell(&self, signals: Vec<Signal>) {
        let journal = Journal::new(Arc::clone(&self.log) as Arc<dyn codeops::journal::Log>);
        // A log that crashes takes nothing; the sender would try again.
        let _ = journal.receive(&"main".parse().expect("a name"), &[], signals, 0).await;
    }

    /// What is remembered of alerts, runs and pages.
    pub(crate) fn response(&self) -> ResponseMemory {
        self.log.memory().read().expect("no panic").response.clone()
    }

    /// Runs in the order in which they were opened, also those that are over.
    pub(crate) async fn runs(&self) -> Vec<Arc<Run>> {
        let query = codeops::journal::RunQuery { limit: 1_000, ..Default::default() };
        let mut runs = self.log.runs(query).await.expect("a page of runs").items;
        runs.sort_by_key(|run| run.id);
        runs
    }

    /// "Fetch now".
    pub(crate) fn look(&self) {
        if let Some(daemon) = &self.daemon {
            let _ = daemon.fetch.try_send(());
        }
    }

    /// Learns the templates of a revision's versions, and gives each its fate.
    pub(crate) fn learn(&mut self, revision: &Revision) {
        let facts = ProviderFacts { word: "memory", commands: true, images: true, host_ports: false };
        let context = Context {
            providers: Some(self.providers.keys().map(|name| (name.clone(), facts)).collect()),
            environment: self.rules.environment.clone(),
            ..Context::default()
        };
        let compiled = Compiler::default().compile(&self.source.tree(revision), &context);
        for resource in compiled.desired.resources.values() {
            let version = version_of(resource);
            if let Some(script) = fate(&version) {
                self.providers.values().for_each(|provider| provider.set_health(&resource.template_digest, script));
            }
            if version.starts_with("barren") {
                self.providers.values().for_each(|provider| provider.fail_release(&resource.template_digest));
            }
            self.versions.insert(resource.template_digest.clone(), version);
        }
    }

    /// Lets time pass.
    pub(crate) async fn elapse(&self, seconds: u64) {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
    }

    /// Lets time pass until nothing has been written for a while: longer than a bake, shorter than the long backoffs.
    pub(crate) async fn settle(&self) {
        let (mut quiet, mut before) = (0, self.log.entries().len());
        for _ in 0..2_000 {
            self.elapse(5).await;
            let now = self.log.entries().len();
            quiet = if now == before { quiet + 5 } else { 0 };
            before = now;
            if quiet >= 65 {
                return;
            }
        }
        let tail: Vec<Entry> = self.log.entries().into_iter().rev().take(30).collect();
        panic!("the flow does not come to rest: {tail:#?}");
    }

    /// The daemon's board.
    pub(crate) fn board(&self) -> Arc<Board> {
        self.daemon.as_ref().expect("a daemon runs").watcher.board()
    }

    /// The state of the revision in force.
    pub(crate) fn revision_state(&self) -> &'static str {
        self.board().revision.as_ref().map_or("none", |revision| revision.state.word())
    }

    /// One resource on the board.
    pub(crate) fn view(&self, name: &str) -> Arc<ResourceView> {
        let board = self.board();
        let view = board.resources.get(&id(name)).cloned();
        view.unwrap_or_else(|| panic!("app/{name} is not on the board: {:?}", board.resources.keys()))
    }

    /// Its sync and health.
    pub(crate) fn status(&self, name: &str) -> (Sync, Health) {
        let view = self.view(name);
        (view.sync, view.health)
    }

    /// Why it is as it is.
    pub(crate) fn why(&self, name: &str) -> String {
        self.view(name).why.clone().unwrap_or_default()
    }

    /// The provider called `local`.
    pub(crate) fn local(&self) -> &Arc<MemoryProvider> {
        self.provider("local")
    }

    /// A provider.
    pub(crate) fn provider(&self, name: &str) -> &Arc<MemoryProvider> {
        &self.providers[&name.parse().expect("a name")]
    }

    /// What lives on `local`.
    pub(crate) fn live(&self, name: &str) -> Option<Live> {
        self.local().live(&id(name))
    }

    /// The versions that instances of an app on `local` run, one an instance; empty when it does not live.
    pub(crate) fn serving(&self, name: &str) -> Vec<String> {
        let live = self.live(name);
        let instances = live.iter().flat_map(|live| &live.instances);
        instances.map(|i| self.versions.get(&i.template).cloned().unwrap_or_else(|| "?".to_owned())).collect()
    }

    /// The instances of an app on `local`.
    pub(crate) fn instances(&self, name: &str) -> Vec<String> {
        self.live(name).iter().flat_map(|live| &live.instances).map(|i| i.id.to_string()).collect()
    }

    /// Everything that had an effect anywhere, as `WORD NAME`, one provider after the other.
    pub(crate) fn effects(&self) -> Vec<String> {
        let all = self.providers.values().flat_map(|provider| provider.applied());
        all.map(|(id, word)| format!("{word} {}", id.name)).collect()
    }

    /// Records written so far that `pick` picks.
    pub(crate) fn records<T>(&self, pick: impl Fn(&Record) -> Option<T>) -> Vec<T> {
        self.log.entries().iter().filter_map(|entry| pick(&entry.record)).collect()
    }

    /// The trailer of the one hold there is.
    pub(crate) fn hold(&self) -> String {
        let board = self.board();
        let [hold] = board.holds.as_slice() else { panic!("one hold, not {:?}", board.holds) };
        hold.id.as_str().to_owned()
    }

    /// What must hold at the end of every test: each key had one effect, and no intent is open.
    pub(crate) fn check(&self) {
        for (name, provider) in &self.providers {
            for (key, effects) in provider.effects() {
                assert_eq!(effects, 1, "key {key} had {effects} effects on {name}");
            }
        }
        let doubts = self.log.in_doubt();
        assert!(doubts.is_empty(), "no intent is open: {doubts:#?}");
    }
}

fn version_of(resource: &Resource) -> String {
    match &resource.spec.run {
        RunSpec::Command { command, .. } => command.get(1).cloned().unwrap_or_default(),
        RunSpec::Image(image) => image.clone(),
    }
}

/// Where the manifest of an app stands.
pub(crate) fn path(name: &str) -> String {
    format!("apps/{name}.yaml")
}
