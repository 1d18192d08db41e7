//! Local processes: each app lives under a keeper of its own, and this provider tells the keepers what to do.
//!
//! It owns no instance and no port: keepers do, and outlive it. A keeper that dies is replaced at once. Bound to its
//! machine: the system's identity is made of the machine's and of the provider's folder.

mod apply;
pub mod artifact;
mod home;
mod link;
mod observe;
mod reach;
pub mod releases;
mod setting;
mod users;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::Child;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError};

use async_trait::async_trait;
use codeops_core::config::{ProcessSettings, TeamSettings};
use codeops_core::model::{Kind, Listing, ProviderName, ResourceId, Scope, SystemId, TeamName};
use futures_util::future::join_all;
use futures_util::stream::{BoxStream, StreamExt as _, unfold};
use tokio::sync::broadcast;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::Environment;
use crate::journal::Started;
use crate::keeper::binary_id;
use crate::port::{
    Abilities, Actuator, Applied, ApplyError, Clock, Hint, LogQuery, LogStream, Observer, Secrets, Stat, Unreachable,
};
use home::{AppRecord, Found, Home};
use link::App;
use releases::Releases;
use users::Users;

const ABILITIES: Abilities = Abilities { word: "process", kinds: &[Kind::App], commands: true, images: false };
/// Hints that wait for a slow listener; beyond it the listener is told to observe everything.
const HINTS: usize = 1_024;

/// A provider of local processes. Dropping it ends its tasks; keepers and apps go on.
pub struct Process {
    shared: Arc<Shared>,
    cancel: CancellationToken,
}

/// What the provider and the tasks that tend its apps share.
struct Shared {
    home: Home,
    releases: Arc<Releases>,
    system: SystemId,
    users: Users,
    teams: BTreeMap<TeamName, TeamSettings>,
    binary: PathBuf,
    binary_id: String,
    clock: Arc<dyn Clock>,
    epoch: AtomicU64,
    hints: broadcast::Sender<Hint>,
    /// By folder.
    apps: Mutex<BTreeMap<String, Arc<App>>>,
    foreign: Mutex<BTreeSet<String>>,
    children: Mutex<Vec<Child>>,
    tasks: Mutex<JoinSet<()>>,
    cancel: CancellationToken,
    tidied: Once,
    /// Whether keepers that are not there are started: by the daemon, not by a mere look.
    starts: bool,
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Process {
    /// Opens the provider `name` in the daemon's state folder. Keepers are looked for at the first observation.
    ///
    /// # Errors
    /// One sentence: a folder that cannot be made, a `runAs` that cannot be, a binary that is not there.
    pub fn open(name: &ProviderName, settings: &ProcessSettings, environment: &Environment) -> Result<Self, String> {
        Self::new(name, settings, environment, true)
    }

    /// The same for somebody who only looks, beside a daemon or without one: an app whose keeper does not run is `Unknown`,
    /// and nothing is started.
    ///
    /// # Errors
    /// As [`Process::open`].
    pub fn look(
        name: &ProviderName,
        settings: &ProcessSettings,
        environment: &Environment,
    ) -> Result<impl Observer + use<>, String> {
        Self::new(name, settings, environment, false)
    }

    fn new(
        name: &ProviderName,
        settings: &ProcessSettings,
        environment: &Environment,
        starts: bool,
    ) -> Result<Self, String> {
        let folder = environment.state.join(name.as_str());
        let trouble = |error: std::io::Error| format!("cannot use {}: {error}", folder.display());
        let users = Users::new(settings.run_as.as_deref())?;
        let home = Home::open(&environment.state, name.as_str()).map_err(trouble)?;
        let cancel = CancellationToken::new();
        let shared = Shared {
            releases: Arc::new(Releases::open(home.releases()).map_err(trouble)?),
            system: home.system().map_err(trouble)?,
            users,
            teams: environment.teams.clone(),
            binary: environment.binary.clone(),
            binary_id: binary_id(&environment.binary)
                .map_err(|error| format!("cannot start keepers from {}: {error}", environment.binary.display()))?,
            clock: Arc::clone(&environment.clock),
            epoch: AtomicU64::new(environment.epoch),
            hints: broadcast::channel(HINTS).0,
            apps: Mutex::default(),
            foreign: Mutex::default(),
            children: Mutex::default(),
            tasks: Mutex::default(),
            cancel: cancel.clone(),
            tidied: Once::new(),
            starts,
            home,
        };
        Ok(Self { shared: Arc::new(shared), cancel })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.cancel.cancel();
        held(&self.shared.tasks).abort_all();
    }
}

impl Shared {
    /// Looks at the folders and begins to tend apps that are new to it.
    fn refresh(self: &Arc<Self>) -> Result<(), Unreachable> {
        let found = self
            .home
            .list()
            .map_err(|error| Unreachable(format!("cannot list {}: {error}", self.home.apps().display())))?;
        let mut foreign = BTreeSet::new();
        for entry in found {
            match entry {
                Found::App(folder, record) => {
                    self.tend(folder, record);
                }
                Found::Foreign(folder) => {
                    foreign.insert(folder);
                }
            }
        }
        // The record of an app that is just being removed goes last: its folder is not somebody else's.
        foreign.retain(|folder| !held(&self.apps).contains_key(folder));
        *held(&self.foreign) = foreign;
        Ok(())
    }

    /// The app in `folder`, tended from now on.
    fn tend(self: &Arc<Self>, folder: String, record: AppRecord) -> Arc<App> {
        let mut apps = held(&self.apps);
        if let Some(app) = apps.get(&folder) {
            return Arc::clone(app);
        }
        let (app, work) = App::new(folder.clone(), record, Arc::clone(self));
        apps.insert(folder, Arc::clone(&app));
        let cancel = self.cancel.clone();
        let mut tasks = held(&self.tasks);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(async move {
            cancel.run_until_cancelled(work).await;
        });
        app
    }

    fn apps(&self) -> Vec<Arc<App>> {
        held(&self.apps).values().cloned().collect()
    }

    fn app(&self, id: &ResourceId) -> Option<Arc<App>> {
        held(&self.apps).values().find(|app| app.id() == *id).cloned()
    }

    /// Waits a little until something is known of every app.
    async fn all_answer(&self) {
        join_all(self.apps().iter().map(|app| app.answers())).await;
    }

    /// Whether a folder of somebody else's stands where `id` would.
    fn is_foreign(&self, id: &ResourceId) -> bool {
        held(&self.foreign).contains(id.name.as_str())
    }

    fn forget(&self, folder: &str) {
        held(&self.apps).remove(folder);
    }

    fn hint(&self, id: ResourceId) {
        // Nobody may be listening.
        let _ = self.hints.send(Hint::Changed(id));
    }

    fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Relaxed)
    }

    fn saw_epoch(&self, epoch: u64) {
        self.epoch.fetch_max(epoch, Ordering::Relaxed);
    }

    /// Clears up after an earlier daemon, once, before the first step of this one makes anything.
    fn tidy(&self) {
        self.tidied.call_once(|| {
            if let Err(error) = self.home.tidy().and_then(|()| self.releases.tidy()) {
                tracing::warn!(%error, "what an earlier daemon left half made cannot be removed");
            }
        });
    }

    /// Keeps a started keeper until it ends, so that none is left a zombie.
    fn adopt_child(&self, child: Child) {
        held(&self.children).push(child);
    }

    fn reap(&self) {
        held(&self.children).retain_mut(|child| matches!(child.try_wait(), Ok(None)));
    }

    fn short_system(&self) -> String {
        self.system.0.trim_start_matches("process:").chars().take(8).collect()
    }
}

#[async_trait]
impl Observer for Process {
    fn abilities(&self) -> &'static Abilities {
        &ABILITIES
    }

    async fn observe(&self, scope: &Scope) -> Result<Listing, Unreachable> {
        observe::observe(&self.shared, scope).await
    }

    fn hints(&self) -> BoxStream<'static, Hint> {
        unfold(self.shared.hints.subscribe(), |mut hints| async move {
            match hints.recv().await {
                Ok(hint) => Some((hint, hints)),
                Err(broadcast::error::RecvError::Lagged(_)) => Some((Hint::Lost, hints)),
                Err(broadcast::error::RecvError::Closed) => None,
            }
        })
        .boxed()
    }

    async fn logs(&self, id: &ResourceId, query: LogQuery) -> Result<LogStream, Unreachable> {
        observe::logs(&self.shared, id, query).await
    }

    async fn stats(&self, scope: &Scope) -> Result<Vec<Stat>, Unreachable> {
        observe::stats(&self.shared, scope).await
    }
}

#[async_trait]
impl Actuator for Process {
    async fn apply(&self, step: &Started, secrets: &Secrets) -> Result<Applied, ApplyError> {
        apply::apply(&self.shared, step, secrets).await
    }
}
