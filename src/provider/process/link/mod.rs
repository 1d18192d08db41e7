//! The tie between the provider and one keeper: connects, starts the next keeper when one dies, keeps the state it pushes,
//! carries requests. One task an app; it decides nothing about what should run.

mod judged;
mod removal;
mod secrets;
mod told;

use std::collections::BTreeMap;
use std::fs::File;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use codeops_core::model::ResourceId;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep, timeout};

use super::home::AppRecord;
use super::reach::{LOOK, START, reach};
use super::{Shared, off_thread};
use secrets::Kept;
use told::too_long;

use crate::keeper::client::{Reader, Writer};
use crate::keeper::frame::FrameError;
use crate::keeper::wire::{Done, Failure, FromKeeper, Request, State, Welcome};
use crate::port::Hint;

/// How long a keeper may take to answer.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// A keeper that lived this long did not fail at once.
const LASTED: Duration = Duration::from_millis(200);
/// How many keepers in a row that failed at once are followed without a pause: the port must be back within a moment.
const AT_ONCE: u32 = 3;
/// A keeper heard within this time needs no asking whether it lives.
const FRESH: Duration = Duration::from_secs(5);

/// What is known of one app.
#[derive(Debug, Clone)]
pub(super) enum View {
    /// No keeper is connected; one is being looked for or started.
    Looking,
    /// Its keeper is connected and said this.
    Known(Arc<State>),
    /// No keeper answers; in one sentence.
    Unknown(String),
    /// Everything of it is removed.
    Gone,
}

/// Why a request has no good answer.
#[derive(Debug)]
pub(super) enum CallError {
    /// The keeper says no.
    Failed(Failure),
    /// It may have happened.
    Lost(String),
}

struct Command {
    request: Request,
    reply: Option<oneshot::Sender<Result<Done, Failure>>>,
}

/// One app, as the provider holds it.
pub(super) struct App {
    pub(super) folder: String,
    record: Mutex<AppRecord>,
    /// Held while the record is written, so that the record itself is never locked for as long as a disk takes.
    writing: tokio::sync::Mutex<()>,
    view: watch::Sender<View>,
    binary: watch::Sender<String>,
    commands: mpsc::Sender<Command>,
    heard: Mutex<Instant>,
    secrets: Mutex<Kept>,
    /// Set while its keeper has been asked whether it lives and has not answered in time.
    silent: AtomicBool,
    /// The lock of a keeper that was asked to delete it all: its name goes before its keeper does.
    lock: Mutex<Option<File>>,
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl App {
    /// An app and the task that tends it.
    pub(super) fn new(folder: String, record: AppRecord, shared: Arc<Shared>) -> (Arc<Self>, impl Future<Output = ()>) {
        let (commands, inbox) = mpsc::channel(64);
        let app = Arc::new(Self {
            folder,
            record: Mutex::new(record),
            writing: tokio::sync::Mutex::default(),
            view: watch::channel(View::Looking).0,
            binary: watch::channel(String::new()).0,
            commands,
            heard: Mutex::new(Instant::now()),
            secrets: Mutex::default(),
            silent: AtomicBool::new(false),
            lock: Mutex::default(),
        });
        let tended = Arc::clone(&app);
        (app, async move { tended.tend(shared, inbox).await })
    }

    /// What is known, as it is.
    pub(super) fn view(&self) -> View {
        self.view.borrow().clone()
    }

    /// What is known, after waiting a little for a keeper that is being looked for. `again` asks a connected keeper
    /// whether it still answers, whenever it last did.
    pub(super) async fn look(&self, again: bool) -> View {
        let silence =
            || View::Unknown(format!("the keeper of {} has not answered for {} s", self.folder, LOOK.as_secs()));
        // Waited for once: whoever looks at all must not wait for it each time. Its answer hints at it.
        if self.silent.load(Ordering::Acquire) {
            return silence();
        }
        let mut view = self.view.subscribe();
        let settled = timeout(LOOK, view.wait_for(|view| !matches!(view, View::Looking))).await.is_ok();
        if !settled {
            return silence();
        }
        let fresh = held(&self.heard).elapsed() < FRESH;
        if matches!(self.view(), View::Known(_)) && (again || !fresh) {
            match timeout(LOOK, self.call(Request::Stats)).await {
                Ok(Ok(_) | Err(CallError::Failed(_))) => {}
                Ok(Err(CallError::Lost(why))) => return View::Unknown(why),
                Err(_) => {
                    self.silent.store(true, Ordering::Release);
                    return silence();
                }
            }
        }
        self.view()
    }

    /// Sends one request and waits for its answer.
    pub(super) async fn call(&self, request: Request) -> Result<Done, CallError> {
        let (reply, answer) = oneshot::channel();
        let lost = |what: &str| CallError::Lost(format!("the keeper of {} {what}", self.folder));
        if self.commands.send(Command { request, reply: Some(reply) }).await.is_err() {
            return Err(lost("is gone"));
        }
        match timeout(PATIENCE, answer).await {
            Ok(Ok(Ok(done))) => Ok(done),
            Ok(Ok(Err(failure))) => Err(CallError::Failed(failure)),
            Ok(Err(_)) => Err(lost("hung up before it answered")),
            Err(_) => Err(lost(&format!("has not answered for {} s", PATIENCE.as_secs()))),
        }
    }

    /// Waits until the state satisfies `seen`; whether it did in time.
    pub(super) async fn until(&self, limit: Duration, seen: impl Fn(&View) -> bool) -> bool {
        let mut view = self.view.subscribe();
        timeout(limit, view.wait_for(|view| seen(view))).await.is_ok_and(|seen| seen.is_ok())
    }

    /// Makes the keeper go on as `binary` if it is of another one; the port and the instances stay. Once an upgrade has
    /// replaced the file, keepers are started from what is newer than this daemon, and stay as they are.
    pub(super) async fn hand_over(&self, shared: &Shared) {
        let mut running = self.binary.subscribe();
        if *running.borrow() == shared.binary_id || shared.is_replaced() {
            return;
        }
        let asked = self.call(Request::Handover { binary: shared.binary.clone() }).await;
        if matches!(asked, Err(CallError::Failed(_))) {
            tracing::warn!(resource = %self.id(), ?asked, "the keeper does not go on as this daemon's binary");
            return;
        }
        let same = timeout(START, running.wait_for(|running| *running == shared.binary_id)).await;
        if !same.is_ok_and(|same| same.is_ok()) {
            tracing::warn!(resource = %self.id(), ?asked, "the keeper did not go on as this daemon's binary; it stays as it is");
        }
    }

    /// The id it is stamped with; while no keeper says it, the newest that it may bear.
    pub(super) fn id(&self) -> ResourceId {
        self.stamped().or_else(|| held(&self.record).ids().last().cloned()).unwrap_or_else(|| self.made_as())
    }

    /// The ids it may bear: the one that its keeper says, or all that its record leaves open.
    pub(super) fn ids(&self) -> Vec<ResourceId> {
        self.stamped().map_or_else(|| held(&self.record).ids().to_vec(), |id| vec![id])
    }

    /// Whether its id is known without its keeper. Only records of earlier versions do not tell.
    pub(super) fn tells_its_id(&self) -> bool {
        !held(&self.record).ids.is_empty()
    }

    fn stamped(&self) -> Option<ResourceId> {
        match &*self.view.borrow() {
            View::Known(state) => state.stamp.as_ref().map(|stamp| stamp.id.clone()),
            View::Looking | View::Unknown(_) | View::Gone => None,
        }
    }

    fn made_as(&self) -> ResourceId {
        held(&self.record).made_as.clone()
    }

    /// The uid of its own that it was given.
    pub(super) fn uid(&self) -> Option<u32> {
        held(&self.record).uid
    }

    /// What is written down of it.
    pub(super) fn recorded(&self) -> AppRecord {
        held(&self.record).clone()
    }

    /// Waits a little until something is known of it.
    pub(super) async fn answers(&self) {
        self.until(LOOK, |view| !matches!(view, View::Looking)).await;
    }

    /// Changes the record and writes it down.
    pub(super) async fn change_record(
        &self,
        shared: &Shared,
        change: impl FnOnce(&mut AppRecord),
    ) -> std::io::Result<()> {
        let _turn = self.writing.lock().await;
        let before = held(&self.record).clone();
        let mut next = before.clone();
        change(&mut next);
        if next != before {
            let (home, folder, written) = (shared.home.clone(), self.folder.clone(), next.clone());
            off_thread(move || home.write_record(&folder, &written)).await?;
            *held(&self.record) = next;
        }
        Ok(())
    }

    /// Goes on until everything of it is removed.
    async fn tend(&self, shared: Arc<Shared>, mut inbox: mpsc::Receiver<Command>) {
        let (mut failures, mut keeper) = (0_u32, None);
        loop {
            let reached = match self.is_removed(&shared).await {
                Ok(true) => break,
                Ok(false) => reach(&shared, &self.folder).await,
                Err(why) => {
                    // Nobody declares it any more, and it has no other place to say so.
                    if self.is_news(&why) {
                        shared.tell(Hint::Befell(self.id(), why.clone()));
                    }
                    Err(why)
                }
            };
            match reached {
                Ok((writer, reader, welcome)) => {
                    let connected = Instant::now();
                    let before = keeper.replace(welcome.pid).filter(|before| *before != welcome.pid);
                    self.welcome(*welcome, &shared).await;
                    if let Some(before) = before {
                        shared.tell(Hint::Befell(self.id(), self.befell(before)));
                    }
                    self.note_id(&shared).await;
                    let why = self.converse(writer, reader, &mut inbox, &shared).await;
                    tracing::info!(resource = %self.id(), why, "the keeper is no longer connected");
                    failures = if connected.elapsed() > LASTED { 0 } else { failures + 1 };
                    self.view.send_replace(View::Looking);
                    self.removal(&shared).await;
                }
                Err(why) => {
                    failures += 1;
                    // Told once, however often it is tried.
                    if self.is_news(&why) {
                        tracing::warn!(resource = %self.id(), why, "nothing is known of it");
                        self.view.send_replace(View::Unknown(why));
                        shared.hint(self.id());
                    }
                }
            }
            shared.reap();
            if failures > AT_ONCE {
                // What waits for a person is not in a hurry.
                let most = if shared.may_start() { 4 } else { 6 };
                sleep(Duration::from_millis(50 << (failures - AT_ONCE).min(most))).await;
            }
        }
        let id = self.id();
        shared.forget(&self.folder);
        self.view.send_replace(View::Gone);
        shared.hint(id);
        shared.prune().await;
    }

    async fn welcome(&self, welcome: Welcome, shared: &Shared) {
        self.binary.send_replace(welcome.binary);
        if held(&self.record).deleting.is_some() && !welcome.state.deleting && shared.may_start() {
            self.stays(shared).await;
        }
        self.learn(welcome.state, shared);
    }

    /// Brings the record up to what the stamp says, where an earlier version or another daemon left it behind.
    async fn note_id(&self, shared: &Shared) {
        let Some(id) = self.stamped().filter(|id| !held(&self.record).ids.contains(id)) else { return };
        if shared.may_start()
            && let Err(error) = self.change_record(shared, |record| record.may_become(&id)).await
        {
            tracing::warn!(resource = %self.id(), %error, "its record cannot be written");
        }
    }

    /// Its keeper has said something.
    fn hear(&self, shared: &Shared) {
        *held(&self.heard) = Instant::now();
        if self.silent.swap(false, Ordering::AcqRel) {
            shared.hint(self.id());
        }
    }

    /// Takes in a state and says that it changed, if it did.
    fn learn(&self, state: State, shared: &Shared) {
        self.hear(shared);
        self.give_secrets(&state);
        let before = self.view.send_replace(View::Known(Arc::new(state.clone())));
        let changed = match &before {
            View::Known(old) => {
                if let (Some(old), Some(new)) = (&old.stamp, &state.stamp)
                    && old.id != new.id
                {
                    shared.hint(old.id.clone());
                }
                State { serial: 0, ..state } != State { serial: 0, ..State::clone(old) }
            }
            _ => true,
        };
        if changed {
            shared.hint(self.id());
        }
    }

    /// Sends a request whose answer shows in the state. A full queue loses it; the next state asks again.
    fn post(&self, request: Request) {
        let _ = self.commands.try_send(Command { request, reply: None });
    }

    /// Carries requests and states until the keeper is gone; says why it ended.
    async fn converse(
        &self,
        mut writer: Writer,
        mut reader: Reader,
        inbox: &mut mpsc::Receiver<Command>,
        shared: &Shared,
    ) -> String {
        let waiting: Mutex<BTreeMap<u64, oneshot::Sender<Result<Done, Failure>>>> = Mutex::default();
        let read = pin!(async {
            loop {
                match reader.next().await {
                    Ok(Some(FromKeeper::Reply { id, result })) => {
                        self.hear(shared);
                        let reply = held(&waiting).remove(&id);
                        if let Some(reply) = reply {
                            // Nobody waits any more when the caller's patience has ended.
                            let _ = reply.send(result);
                        }
                    }
                    Ok(Some(FromKeeper::State(state))) => self.learn(*state, shared),
                    Ok(Some(FromKeeper::Refused { why })) => break why,
                    Ok(Some(FromKeeper::Welcome(_))) => break "it greets twice".to_owned(),
                    Ok(None) => break "it hung up".to_owned(),
                    Err(error) => break error.to_string(),
                }
            }
        });
        let write = pin!(async {
            let mut number = 0;
            while let Some(Command { request, reply }) = inbox.recv().await {
                if reply.as_ref().is_some_and(oneshot::Sender::is_closed) {
                    continue;
                }
                number += 1;
                if let Some(reply) = reply {
                    held(&waiting).insert(number, reply);
                }
                match writer.send(number, shared.epoch(), request).await {
                    Ok(()) => {}
                    // Nothing of it was said, and nothing of it ever can be.
                    Err(error @ FrameError::TooLong(_)) => {
                        if let Some(reply) = held(&waiting).remove(&number) {
                            let _ = reply.send(Err(too_long(&error)));
                        }
                    }
                    Err(error) => return error.to_string(),
                }
            }
            "nobody asks any more".to_owned()
        });
        tokio::select! { why = read => why, why = write => why, why = self.restore(shared) => why }
    }
}
