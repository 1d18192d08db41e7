//! The flow: follows revisions, observes, plans, and takes the steps to the gate, again and again, until live state is what
//! the revision says; then keeps it so.
//!
//! One task owns the [`World`]; what takes time (fetching, observing, steps) runs beside it and comes back as an event.
//! So a slow provider, an unreachable repository or a waiting rollout blocks nothing else, and a newer commit is
//! looked at while an older one still rolls. It decides nothing itself: `codeops-core` does.

pub mod acceptance;
mod asked;
mod before;
mod deleted;
mod doubt;
mod events;
mod flaps;
mod intake;
mod pass;
mod records;
mod repeats;
mod standing;
mod steps;
mod told;
mod trailers;
mod view;
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use codeops_core::config::{Freeze, TeamSettings};
use codeops_core::model::{Environment, Name, ProviderName, TeamName};
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::gate::Gate;
use crate::journal::{Entry, Journal, LogError, Record};
use crate::port::{Clock, Observer, Publisher, Pulse, Source, Vault, Vitals};

pub use doubt::count_daemon;
use events::Event;
use world::World;

/// The time between two full observations when nothing hints at a change.
pub const RESYNC: Duration = Duration::from_secs(60);

/// What reconcile is made of.
pub struct Parts {
    /// The config repository.
    pub source: Arc<dyn Source>,
    /// Read halves of providers.
    pub observers: BTreeMap<ProviderName, Arc<dyn Observer>>,
    /// The way to change anything.
    pub gate: Gate,
    /// What is remembered, and where decisions are written.
    pub journal: Journal,
    /// Who may use which secret.
    pub vault: Arc<dyn Vault>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Where the picture of everything goes.
    pub publisher: Publisher,
    /// Where the flow shows that it goes on.
    pub vitals: Vitals,
    /// "Fetch now", from polls, hooks and watches; coalesced.
    pub fetch: mpsc::Receiver<()>,
    /// What does not change while the daemon runs.
    pub rules: Rules,
}

/// What the settings say.
#[derive(Debug, Clone)]
pub struct Rules {
    /// The repository's URL without credentials, for people.
    pub url: String,
    /// The branch.
    pub branch: String,
    /// The environment whose overlays apply.
    pub environment: Option<Environment>,
    /// What each team may claim and reach.
    pub teams: BTreeMap<TeamName, TeamSettings>,
    /// Where the daemon itself listens, which no app may: what, and `host:port`.
    pub reserved: Vec<(&'static str, String)>,
    /// The escalation policy that is paged where nothing else says.
    pub fallback: Option<Name>,
    /// Whose policy that is; `None`: of whoever may claim the Repository's file.
    pub fallback_team: Option<TeamName>,
    /// A freeze from the settings.
    pub freeze: Option<Freeze>,
    /// Receivers whose alert `CodeopsFreeze` freezes everything while it fires.
    pub may_freeze: BTreeSet<Name>,
    /// Plan and show everything, change nothing.
    pub observe: bool,
    /// The time between two full observations.
    pub resync: Duration,
    /// End by itself once nothing more happens without a commit: what `apply` does.
    pub until_settled: bool,
}

/// Runs until `cancel` fires, or, with [`Rules::until_settled`], until nothing more happens by itself.
///
/// # Errors
/// Only when the journal takes nothing more: nothing can be done safely then.
pub async fn run(parts: Parts, cancel: CancellationToken) -> Result<(), LogError> {
    let (sender, events) = mpsc::channel(1024);
    let Parts { source, observers, gate, journal, vault, clock, publisher, vitals, fetch, rules } = parts;
    let world = World::new(&rules, &observers, &journal);
    let mut flow = Flow {
        tools: Tools { source, observers, gate, journal, vault, clock },
        rules,
        publisher,
        world,
        sender,
        tasks: JoinSet::new(),
        cancel: cancel.clone(),
    };
    let ended = flow.follow(fetch, events, &vitals.reconcile).await;
    vitals.reconcile.rests();
    if let Err(error) = &ended {
        flow.break_down(&error.to_string());
    }
    if ended.is_err() && !flow.rules.until_settled {
        // The page goes on saying what is wrong; restarting is a decision for whoever supervises the daemon.
        cancel.cancelled().await;
    }
    flow.tasks.shutdown().await;
    ended
}

/// What the flow works with; none of it changes.
struct Tools {
    source: Arc<dyn Source>,
    observers: BTreeMap<ProviderName, Arc<dyn Observer>>,
    gate: Gate,
    journal: Journal,
    vault: Arc<dyn Vault>,
    clock: Arc<dyn Clock>,
}

/// The one task and what it owns.
struct Flow {
    tools: Tools,
    rules: Rules,
    publisher: Publisher,
    world: World,
    sender: mpsc::Sender<Event>,
    tasks: JoinSet<()>,
    cancel: CancellationToken,
}

impl Flow {
    async fn follow(
        &mut self,
        mut fetch: mpsc::Receiver<()>,
        mut events: mpsc::Receiver<Event>,
        pulse: &Pulse,
    ) -> Result<(), LogError> {
        pulse.works();
        self.begin().await?;
        let mut resync = tokio::time::interval(self.rules.resync);
        resync.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        resync.reset();
        let cancel = self.cancel.clone();
        let mut tail = self.tools.journal.tail();
        loop {
            let wake = self.world.wake_after(&*self.tools.clock);
            // What comes without end stands last: a busy app must not keep a commit, a look at everything or a time that
            // is due from its turn.
            pulse.rests();
            let event = tokio::select! {
                biased;
                () = cancel.cancelled() => return Ok(()),
                Some(()) = fetch.recv() => { self.fetch(); None }
                _ = resync.tick() => { self.observe_everything(); None }
                Some(event) = events.recv() => Some(event),
                entry = tail.recv() => { self.world.dirty |= self.concerns(entry); None }
                () = tokio::time::sleep(wake) => None,
                Some(_) = self.tasks.join_next() => None,
            };
            pulse.works();
            if let Some(event) = event {
                self.take_in(event).await?;
            }
            self.world.dirty |= self.world.is_due(&*self.tools.clock);
            // What has already arrived belongs to the same pass, a thousand hints make one plan; what comes meanwhile does not.
            for _ in 0..events.len() {
                let Ok(event) = events.try_recv() else { break };
                self.take_in(event).await?;
            }
            for _ in 0..tail.len() {
                match tail.try_recv() {
                    Ok(entry) => self.world.dirty |= self.concerns(Ok(entry)),
                    Err(TryRecvError::Lagged(_)) => self.world.dirty = true,
                    Err(TryRecvError::Empty | TryRecvError::Closed) => break,
                }
            }
            while self.tasks.try_join_next().is_some() {}
            if self.world.dirty {
                self.pass().await?;
            }
            if self.rules.until_settled && self.world.settled() {
                return Ok(());
            }
        }
    }

    /// Whether an entry that somebody else may have written changes what is to be done: a mark of a playbook, or an alert
    /// that may freeze.
    fn concerns(&self, entry: Result<Arc<Entry>, RecvError>) -> bool {
        match entry {
            Ok(entry) => match &entry.record {
                Record::Renewed { .. } | Record::Pinned { .. } => true,
                Record::Alerts { .. } | Record::AlertState { .. } => !self.rules.may_freeze.is_empty(),
                _ => false,
            },
            Err(RecvError::Lagged(_)) => true,
            Err(RecvError::Closed) => false,
        }
    }

    /// Starts listening to hints, observing, loading the revision in force and fetching a newer one.
    async fn begin(&mut self) -> Result<(), LogError> {
        for (name, observer) in &self.tools.observers {
            self.tasks.spawn(events::forward_hints(name.clone(), observer.hints(), self.sender.clone()));
        }
        self.recall_newest_key().await?;
        self.recall_daemon_before().await?;
        self.recall_standing().await?;
        self.observe_everything();
        self.resume();
        self.fetch();
        self.publish();
        Ok(())
    }

    fn break_down(&mut self, why: &str) {
        self.world.broken = Some(why.to_owned());
        self.publish();
    }
}
