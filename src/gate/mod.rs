//! The gate: one task, and the only holder of the write half of providers.
//!
//! In one turn it gathers the facts of this very moment, asks the pure policy, takes the resource's claim, journals the
//! intent together with the budget it spends, and lets the step go. Everything that changes live state passes here, one
//! step at a time, so no two flows can fight. It never waits for health and holds no claim while something waits.

mod backoff;
mod passage;

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use codeops_core::config::Freeze;
use codeops_core::desired::Desired;
use codeops_core::model::{HoldId, Op, ProviderName, ResourceId, Revision, Snapshot, Step, Verb};
use codeops_core::policy::{self, Facts};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::journal::{Journal, Record, Started};
use crate::port::{Actuator, Clock, Vault};

pub use passage::Passage;

/// Steps of one provider that run at the same time; measured on container engines, more gains nothing.
const STEPS_AT_ONCE: usize = 8;
/// How long a step that is not a release command may take before its outcome counts as unknown.
const STEP_DEADLINE: Duration = Duration::from_secs(120);
/// How long running steps get to finish when the daemon ends; what remains is in doubt and looked at by the next one.
const DRAIN_DEADLINE: Duration = Duration::from_secs(10);

/// What the asker knew when it asked; the gate judges with it and with what is remembered now.
#[derive(Debug, Clone)]
pub struct Picture {
    /// The revision's resources.
    pub desired: Arc<Desired>,
    /// What was observed.
    pub snapshot: Arc<Snapshot>,
    /// The revision.
    pub revision: Revision,
    /// A freeze from the settings.
    pub freeze: Option<Freeze>,
}

/// A removal that a step carries out, to be counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removing {
    /// What is done.
    pub verb: Verb,
    /// The hold whose release allows it, if one does.
    pub hold: Option<HoldId>,
}

struct Ask {
    step: Step,
    picture: Arc<Picture>,
    removing: Option<Removing>,
    answer: oneshot::Sender<Passage>,
}

/// What the gate is made of.
pub struct Parts {
    /// Where intents and results are written first.
    pub journal: Journal,
    /// The write halves. Nobody else keeps one.
    pub actuators: BTreeMap<ProviderName, Arc<dyn Actuator>>,
    /// Secrets that steps need.
    pub vault: Arc<dyn Vault>,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

/// A handle to the gate. Cheap to clone.
#[derive(Clone)]
pub struct Gate {
    asks: mpsc::Sender<Ask>,
}

impl Gate {
    /// Starts the gate's task in `tasks`. It drains and ends when `cancel` fires.
    pub fn start(parts: Parts, tasks: &mut JoinSet<()>, cancel: CancellationToken) -> Self {
        let (asks, inbox) = mpsc::channel(256);
        let limits = parts.actuators.keys().map(|name| (name.clone(), Arc::new(Semaphore::new(STEPS_AT_ONCE))));
        let turns =
            Turns { limits: limits.collect(), parts: Arc::new(parts), claims: HashSet::new(), running: JoinSet::new() };
        tasks.spawn(turns.run(inbox, cancel));
        Self { asks }
    }

    /// Takes one step through the gate and waits until it is settled.
    pub async fn pass(&self, step: Step, picture: Arc<Picture>, removing: Option<Removing>) -> Passage {
        let (answer, settled) = oneshot::channel();
        if self.asks.send(Ask { step, picture, removing, answer }).await.is_err() {
            return Passage::Closed("the gate is closed".to_owned());
        }
        settled.await.unwrap_or_else(|_| Passage::Closed("the gate closed before the step was settled".to_owned()))
    }
}

/// The gate's task: whose turn it is, and which resources are claimed.
struct Turns {
    parts: Arc<Parts>,
    limits: BTreeMap<ProviderName, Arc<Semaphore>>,
    claims: HashSet<ResourceId>,
    running: JoinSet<ResourceId>,
}

impl Turns {
    async fn run(mut self, mut inbox: mpsc::Receiver<Ask>, cancel: CancellationToken) {
        loop {
            tokio::select! {
                biased;
                () = cancel.cancelled() => break,
                Some(done) = self.running.join_next() => self.release(done),
                ask = inbox.recv() => match ask {
                    Some(ask) => self.turn(ask).await,
                    None => break,
                },
            }
        }
        inbox.close();
        let drained = async { while self.running.join_next().await.is_some() {} };
        if tokio::time::timeout(DRAIN_DEADLINE, drained).await.is_err() {
            tracing::warn!("some steps did not finish in time; the next daemon looks at what they did");
        }
    }

    fn release(&mut self, done: Result<ResourceId, tokio::task::JoinError>) {
        match done {
            Ok(id) => {
                self.claims.remove(&id);
            }
            Err(error) => tracing::error!(%error, "a step's task ended abnormally; its claim stays until a restart"),
        }
    }

    async fn turn(&mut self, ask: Ask) {
        // Claims of steps that have just settled are free now, not one turn later.
        while let Some(done) = self.running.try_join_next() {
            self.release(done);
        }
        let Ask { step, picture, removing, answer } = ask;
        if let Err(why) = self.judge(&step, &picture) {
            let _ = answer.send(Passage::Refused(why));
            return;
        }
        let Some(limit) = self.limits.get(&step.provider).cloned() else {
            let _ = answer.send(Passage::Refused(format!("provider {} is not in the settings", step.provider)));
            return;
        };
        let id = step.resource.clone();
        self.claims.insert(id.clone());
        let parts = Arc::clone(&self.parts);
        if let Some(removing) = removing {
            // The budget must be spent before the next turn looks at it, so this intent is awaited here.
            let record = Record::Removal { verb: removing.verb, resource: id.clone(), hold: removing.hold };
            match parts.journal.intend(step, vec![record]).await {
                Ok(started) => self.go(parts, started, limit, answer, id),
                Err(error) => {
                    self.claims.remove(&id);
                    let _ = answer.send(Passage::Closed(error.to_string()));
                }
            }
            return;
        }
        self.running.spawn(async move {
            let passage = match parts.journal.intend(step, Vec::new()).await {
                Ok(started) => passage::carry_out(&parts, started, &limit).await,
                Err(error) => Passage::Closed(error.to_string()),
            };
            let _ = answer.send(passage);
            id
        });
    }

    fn go(
        &mut self,
        parts: Arc<Parts>,
        started: Started,
        limit: Arc<Semaphore>,
        answer: oneshot::Sender<Passage>,
        id: ResourceId,
    ) {
        self.running.spawn(async move {
            let passage = passage::carry_out(&parts, started, &limit).await;
            let _ = answer.send(passage);
            id
        });
    }

    fn judge(&self, step: &Step, picture: &Picture) -> Result<(), String> {
        if self.claims.contains(&step.resource) {
            return Err(format!("another step on {} is under way", step.resource));
        }
        if let Op::Rename { from, .. } = &step.op
            && self.claims.contains(from)
        {
            return Err(format!("another step on {from} is under way"));
        }
        let memory = self.parts.journal.memory();
        let memory = memory.read().unwrap_or_else(PoisonError::into_inner);
        let facts = Facts {
            now: self.parts.clock.now(),
            memory: &memory,
            snapshot: &picture.snapshot,
            revision: &picture.revision,
            freeze: picture.freeze.as_ref(),
        };
        policy::permit(step, &picture.desired, &facts)
    }
}
