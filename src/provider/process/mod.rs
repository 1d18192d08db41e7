//! Local processes: each app lives under a keeper of its own, and this provider tells the keepers what to do.
//!
//! It owns no instance and no port: keepers do, and outlive it. A keeper that dies is replaced at once. Bound to its
//! machine: the system's identity is made of the machine's and of the provider's folder.

mod apply;
pub mod artifact;
mod claims;
mod elsewhere;
mod fetches;
mod home;
mod kept;
mod link;
mod observe;
mod pruning;
mod reach;
pub mod releases;
mod setting;
mod settled;
mod turns;
mod twins;
mod users;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError};

use async_trait::async_trait;
use codeops_core::config::{ProcessSettings, TeamSettings};
use codeops_core::model::{Kind, Listing, Owner, ProviderName, ResourceId, Scope, SystemId, TeamName};
use futures_util::future::join_all;
use futures_util::stream::{BoxStream, StreamExt as _, unfold};
use tokio::sync::{RwLock, Semaphore, broadcast};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::Environment;
use crate::journal::Started;
use crate::keeper::binary_id;
use crate::port::{
    Abilities, Actuator, Applied, ApplyError, Clock, Hint, LogQuery, LogStream, Observer, Secrets, Stat, Unreachable,
    Vault,
};
use claims::Claims;
use elsewhere::Elsewhere;
use home::{AppRecord, Found, Home};
use link::{App, View};
use releases::Releases;
use settled::CHOOSING;
use twins::Twins;
use users::Users;

const ABILITIES: Abilities =
    Abilities { word: "process", kinds: &[Kind::App], commands: true, images: false, host_ports: true };
/// Hints that wait for a slow listener; beyond it the listener is told to observe everything.
const HINTS: usize = 1_024;

/// Keepers that are started at once, after a reboot say: more would only make each of them slower.
const STARTING: usize = 8;

/// A provider of local processes. Dropping it ends its tasks; keepers and apps go on.
pub struct Process {
    shared: Arc<Shared>,
    cancel: CancellationToken,
}

/// What the provider and the tasks that tend its apps share.
struct Shared {
    home: Home,
    claims: Claims,
    releases: Arc<Releases>,
    /// Written while releases are removed, read from a release's being found until its use is written down.
    pruning: RwLock<()>,
    system: SystemId,
    users: Users,
    teams: BTreeMap<TeamName, TeamSettings>,
    binary: PathBuf,
    binary_id: String,
    clock: Arc<dyn Clock>,
    /// For keepers that lost their secrets; not for a mere look.
    vault: Option<Arc<dyn Vault>>,
    epoch: AtomicU64,
    hints: broadcast::Sender<Hint>,
    /// By folder.
    apps: Mutex<BTreeMap<String, Arc<App>>>,
    foreign: Mutex<BTreeSet<String>>,
    /// Whether all folders were listed once.
    listed: AtomicBool,
    /// The epoch under which keepers were told what the settings allow.
    told: tokio::sync::Mutex<Option<u64>>,
    /// How many keepers may be starting at once.
    starting: Semaphore,
    children: Mutex<Vec<Child>>,
    tasks: Mutex<JoinSet<()>>,
    cancel: CancellationToken,
    tidied: Once,
    /// Whether keepers that are not there are started: by the daemon, not by a mere look. See [`Shared::may_start`].
    starts: bool,
    elsewhere: Option<Elsewhere>,
    twins: Mutex<Twins>,
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Does what waits for the disk where no other task waits for it.
async fn off_thread<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
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
        let trouble = |error: io::Error| format!("cannot use {}: {error}", folder.display());
        let users = Users::new(settings.run_as.as_deref())?;
        let home = Home::open(&environment.state, name.as_str()).map_err(trouble)?;
        let cancel = CancellationToken::new();
        let hints = broadcast::channel(HINTS).0;
        let shared = Shared {
            releases: Arc::new(Releases::open(home.releases(), hints.clone()).map_err(trouble)?),
            pruning: RwLock::default(),
            system: home.system().map_err(trouble)?,
            users,
            teams: environment.teams.clone(),
            binary: environment.binary.clone(),
            binary_id: binary_id(&environment.binary)
                .map_err(|error| format!("cannot start keepers from {}: {error}", environment.binary.display()))?,
            clock: Arc::clone(&environment.clock),
            vault: environment.vault.clone().filter(|_| starts),
            epoch: AtomicU64::new(environment.epoch),
            hints,
            apps: Mutex::default(),
            foreign: Mutex::default(),
            listed: AtomicBool::new(false),
            told: tokio::sync::Mutex::default(),
            starting: Semaphore::new(STARTING),
            children: Mutex::default(),
            tasks: Mutex::default(),
            cancel: cancel.clone(),
            tidied: Once::new(),
            starts,
            elsewhere: home.made_in().map_err(trouble)?.map(|from| Elsewhere::new(from, name, environment)),
            twins: Mutex::default(),
            claims: Claims::of(&folder, Path::new(claims::CLAIMS)),
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
    /// Looks for folders that are new to it in `scope`, and begins to tend the apps in them. All folders are listed for
    /// `All` and at the first look; a look at some ids costs as much as these ids, however many apps there are.
    async fn refresh(self: &Arc<Self>, scope: &Scope) -> Result<(), Unreachable> {
        self.tell_allowed().await;
        let ids = match scope {
            Scope::Ids(ids) if self.listed.load(Ordering::Acquire) => Some(ids.clone()),
            Scope::Ids(_) | Scope::All => None,
        };
        let shared = Arc::clone(self);
        let looked = off_thread(move || match ids {
            Some(ids) => ids.iter().try_for_each(|id| shared.look_at(id.name.as_str())),
            None => shared.list(),
        });
        looked.await.map_err(|error| Unreachable(format!("cannot list {}: {error}", self.home.apps().display())))
    }

    fn list(self: &Arc<Self>) -> io::Result<()> {
        let known = held(&self.apps).keys().cloned().collect();
        let mut foreign = BTreeSet::new();
        for entry in self.home.list(&known)? {
            match entry {
                Found::App(folder, record) => {
                    self.tend(folder, record);
                }
                Found::Foreign(folder) => {
                    foreign.insert(folder);
                }
            }
        }
        // One that was taken over or made meanwhile is ours.
        foreign.retain(|folder| !held(&self.apps).contains_key(folder));
        *held(&self.foreign) = foreign;
        self.listed.store(true, Ordering::Release);
        Ok(())
    }

    fn look_at(self: &Arc<Self>, folder: &str) -> io::Result<()> {
        if held(&self.apps).contains_key(folder) {
            return Ok(());
        }
        match self.home.find(folder.to_owned())? {
            Some(Found::App(folder, record)) => {
                self.tend(folder, record);
            }
            Some(Found::Foreign(folder)) => {
                held(&self.foreign).insert(folder);
                return Ok(());
            }
            None => {}
        }
        held(&self.foreign).remove(folder);
        Ok(())
    }

    /// Makes a folder for a new app, or takes one over that has no record, with a uid that no other has: that of what is kept of it.
    fn make(self: &Arc<Self>, id: &ResourceId, owner: &Owner, over: bool) -> io::Result<Arc<App>> {
        let _choosing = held(&CHOOSING);
        let had = || self.home.kept_of(id, owner).and_then(|kept| kept.uid()).filter(|uid| self.claims.claim(*uid));
        let uid = match self.users == Users::Own {
            true => Some(had().map_or_else(|| self.new_uid(), Ok)?),
            false => None,
        };
        let record = AppRecord::new(id.clone(), uid);
        let folder = if over {
            let folder = id.name.as_str().to_owned();
            self.home.write_record(&folder, &record)?;
            held(&self.foreign).remove(&folder);
            folder
        } else {
            self.home.make(&record)?
        };
        Ok(self.tend(folder, record))
    }

    /// The app in `folder`, tended from now on.
    fn tend(self: &Arc<Self>, folder: String, record: AppRecord) -> Arc<App> {
        let mut apps = held(&self.apps);
        if let Some(app) = apps.get(&folder) {
            return Arc::clone(app);
        }
        if let Some(uid) = record.uid.filter(|uid| self.may_start() && !self.claims.claim(*uid)) {
            tracing::warn!(
                resource = %record.made_as,
                uid,
                "an app of another daemon on this machine has the same uid: create one of them anew"
            );
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

    /// The app that bears `id`, as its keeper says; else one that may bear it.
    fn app(&self, id: &ResourceId) -> Option<Arc<App>> {
        let mut found: Vec<_> = self.apps().into_iter().filter(|app| app.ids().contains(id)).collect();
        let known = found.iter().position(|app| matches!(app.view(), View::Known(_)));
        (!found.is_empty()).then(|| found.swap_remove(known.unwrap_or_default()))
    }

    /// Waits a little until the id of every app is known.
    async fn all_tell_their_ids(&self) {
        join_all(self.apps().iter().filter(|app| !app.tells_its_id()).map(|app| app.answers())).await;
    }

    /// Whether a folder of somebody else's stands where `id` would.
    fn is_foreign(&self, id: &ResourceId) -> bool {
        held(&self.foreign).contains(id.name.as_str())
    }

    fn forget(&self, folder: &str) {
        held(&self.apps).remove(folder);
    }

    fn hint(&self, id: ResourceId) {
        self.tell(Hint::Changed(id));
    }

    fn tell(&self, hint: Hint) {
        // Nobody may be listening.
        let _ = self.hints.send(hint);
    }

    fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Relaxed)
    }

    fn saw_epoch(&self, epoch: u64) {
        self.epoch.fetch_max(epoch, Ordering::Relaxed);
    }

    /// Clears up after an earlier daemon, once, before the first step of this one makes anything.
    async fn tidy(self: &Arc<Self>) {
        if self.tidied.is_completed() {
            return;
        }
        let shared = Arc::clone(self);
        let tidied = off_thread(move || {
            let mut result = Ok(());
            shared.tidied.call_once(|| result = shared.home.tidy().and_then(|()| shared.releases.tidy()));
            result
        });
        if let Err(error) = tidied.await {
            tracing::warn!(%error, "what an earlier daemon left half made cannot be removed");
        }
        self.prune().await;
    }

    /// Keeps a started keeper until it ends, so that none is left a zombie.
    fn adopt_child(&self, child: Child) {
        held(&self.children).push(child);
    }

    fn reap(&self) {
        held(&self.children).retain_mut(|child| matches!(child.try_wait(), Ok(None)));
    }

    /// Whether the file that keepers are started from is not this daemon's any more.
    fn is_replaced(&self) -> bool {
        binary_id(&self.binary).map_or(true, |now| now != self.binary_id)
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

#[cfg(test)]
mod tests;
