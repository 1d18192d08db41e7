//! The daemon's own parts put together in this process, so that one provider can be a memory one and each step be timed:
//! a real repository, mirror, store, journal, gate and flow.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::Arc;
use std::time::Duration;

use codeops::gate::{self, Gate};
use codeops::journal::{Journal, Log};
use codeops::port::{Actuator, Observer, Publisher, SystemClock, Vault, Vitals, Watcher};
use codeops::reconcile::{self, Rules};
use codeops::secret::SettingsVault;
use codeops::source::Mirror;
use codeops::store::Sqlite;
use codeops_core::config::RepositorySettings;
use codeops_core::model::{Health, ProviderName, Sync};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::daemon::Place;

/// A daemon in this process; it ends when dropped.
pub(crate) struct House {
    pub(crate) fetch: mpsc::Sender<()>,
    pub(crate) watcher: Watcher,
    _tasks: JoinSet<()>,
}

/// The mirror of a place's repository, by a file URL.
pub(crate) async fn mirror(place: &Place) -> Mirror {
    let url = Some(format!("file://{}", place.repository().canonicalize().unwrap().display()));
    let settings = RepositorySettings { url, ..RepositorySettings::default() };
    Mirror::open(&settings, &place.state(), &variables(), &BTreeMap::new()).await.unwrap()
}

fn variables() -> BTreeMap<String, String> {
    let path = std::env::vars_os().find(|(name, _)| name == "PATH").map(|(_, path)| path.into_string().unwrap());
    path.into_iter().map(|path| ("PATH".to_owned(), path)).collect()
}

impl House {
    /// Starts on a place with the providers that `build` makes for this epoch.
    pub(crate) async fn start(
        place: &Place,
        resync: Duration,
        build: impl FnOnce(u64) -> BTreeMap<ProviderName, Arc<dyn Actuator>>,
    ) -> Self {
        fs::create_dir_all(place.state()).unwrap();
        let clock = Arc::new(SystemClock);
        let store = Sqlite::open(&place.state(), clock.clone()).unwrap();
        let epoch = store.epoch();
        let vault: Arc<dyn Vault> =
            Arc::new(SettingsVault::new(BTreeMap::new(), *store.tag_key().reveal(), BTreeMap::new()));
        let log: Arc<dyn Log> = Arc::new(store);
        let journal = Journal::new(log);
        let mirror = mirror(place).await;
        let rules = Rules {
            url: mirror.url(),
            branch: mirror.branch().to_owned(),
            environment: None,
            teams: BTreeMap::new(),
            freeze: None,
            fallback: None,
            fallback_team: None,
            may_freeze: BTreeSet::new(),
            observe: false,
            resync,
            reserved: Vec::new(),
            until_settled: false,
        };
        let actuators = build(epoch);
        let observers =
            actuators.iter().map(|(name, it)| (name.clone(), Arc::clone(it) as Arc<dyn Observer>)).collect();
        let cancel = CancellationToken::new();
        let mut tasks = JoinSet::new();
        let (vault_of_gate, journal_of_gate) = (Arc::clone(&vault), journal.clone());
        let parts = gate::Parts {
            journal: journal_of_gate,
            actuators,
            vault: vault_of_gate,
            clock: clock.clone(),
            vitals: Vitals::default(),
        };
        let gate = Gate::start(parts, &mut tasks, cancel.clone());
        let (publisher, watcher) = Publisher::new();
        let (fetch, wants) = mpsc::channel(1);
        let source = Arc::new(mirror);
        let parts = reconcile::Parts {
            source,
            observers,
            gate,
            journal,
            vault,
            clock,
            publisher,
            vitals: Vitals::default(),
            fetch: wants,
            rules,
        };
        tasks.spawn(async move { reconcile::run(parts, cancel).await.unwrap() });
        Self { fetch, watcher, _tasks: tasks }
    }

    /// Waits until so many resources are synced and healthy.
    pub(crate) async fn until_fine(&mut self, count: usize) {
        let begun = Instant::now();
        loop {
            let board = self.watcher.board();
            let fine = |sync, health| sync == Sync::Synced && health == Health::Healthy;
            if board.resources.values().filter(|view| fine(view.sync, view.health)).count() == count {
                return;
            }
            assert!(begun.elapsed() < Duration::from_secs(300), "{count} are not fine: {:?}", board.overall());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Processor time that all threads of this process have used.
pub(crate) fn processor_time() -> Duration {
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    let nanos = tasks.filter_map(|task| {
        let text = fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(nanos.sum())
}

/// Processor time of this process since it began, threads that have ended included, or of its children that have; in steps
/// of 10 ms.
pub(crate) fn spent(by_children: bool) -> Duration {
    let text = fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = text.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let at = if by_children { 13 } else { 11 };
    let ticks: u64 = fields[at..at + 2].iter().map(|field| field.parse::<u64>().unwrap()).sum();
    Duration::from_millis(ticks * 10)
}
