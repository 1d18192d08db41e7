//! The gate: one task, and the only holder of the write half of providers.
//!
//! In one turn it gathers the facts of this very moment, asks the pure policy, takes the resource's claim, journals the
//! intent together with the budget it spends, and lets the step go. Everything that changes live state passes here, one
//! step at a time, so no two flows can fight. It never waits for health and holds no claim while something waits.

mod backoff;
mod mark;
mod passage;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use codeops_core::config::Freeze;
use codeops_core::desired::Desired;
use codeops_core::model::{HoldId, Memory, Op, ProviderName, ResourceId, Revision, Snapshot, Step, Verb};
use codeops_core::policy::{self, Facts};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::journal::{Journal, LogError, Record, Started};
use crate::port::{Actuator, Clock, Vault, Vitals};

pub(crate) use backoff::spread;
pub use mark::Mark;
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

/// Who asks for what.
enum Ask {
    Step(Box<StepAsk>),
    Mark(Box<mark::MarkAsk>),
}

struct StepAsk {
    step: Step,
    picture: Arc<Picture>,
    removing: Option<Removing>,
    answer: oneshot::Sender<Passage>,
    /// Its place among the steps of its provider.
    place: Option<OwnedSemaphorePermit>,
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
    /// Where the gate's task shows that it goes on.
    pub vitals: Vitals,
}

/// A handle to the gate. Cheap to clone.
#[derive(Clone)]
pub struct Gate {
    asks: mpsc::Sender<Ask>,
    places: Arc<BTreeMap<ProviderName, Arc<Semaphore>>>,
}

impl Gate {
    /// Starts the gate's task in `tasks`. It drains and ends when `cancel` fires.
    pub fn start(parts: Parts, tasks: &mut JoinSet<()>, cancel: CancellationToken) -> Self {
        let (asks, inbox) = mpsc::channel(256);
        let place = |name: &ProviderName| (name.clone(), Arc::new(Semaphore::new(STEPS_AT_ONCE)));
        let places = Arc::new(parts.actuators.keys().map(place).collect());
        let turns = Turns {
            parts: Arc::new(parts),
            claims: HashSet::new(),
            running: JoinSet::new(),
            under_way: HashMap::new(),
        };
        tasks.spawn(turns.run(inbox, cancel));
        Self { asks, places }
    }

    /// Takes one step through the gate and waits until it is settled. It waits for a place among its provider's steps
    /// first: what is judged, claimed and journaled goes at once.
    pub async fn pass(&self, step: Step, picture: Arc<Picture>, removing: Option<Removing>) -> Passage {
        let Some(places) = self.places.get(&step.provider).cloned() else {
            return Passage::Refused(format!("provider {} is not in the settings", step.provider));
        };
        // A release command may run for minutes: it must not keep others from starting.
        let place = match step.op {
            Op::Release { .. } => None,
            _ => places.acquire_owned().await.ok(),
        };
        let (answer, settled) = oneshot::channel();
        let ask = Ask::Step(Box::new(StepAsk { step, picture, removing, answer, place }));
        if self.asks.send(ask).await.is_err() {
            return Passage::Closed("the gate is closed".to_owned());
        }
        settled.await.unwrap_or_else(|_| Passage::InDoubt("the gate did not see how the step ended".to_owned()))
    }
}

/// The gate's task: whose turn it is, and which resources are claimed.
struct Turns {
    parts: Arc<Parts>,
    claims: HashSet<ResourceId>,
    running: JoinSet<Passage>,
    /// What each running task has claimed and who waits for it, so that one that ends abnormally frees it too.
    under_way: HashMap<tokio::task::Id, UnderWay>,
}

struct UnderWay {
    claims: Vec<ResourceId>,
    answer: oneshot::Sender<Passage>,
}

/// How a step's task ended.
type Ended = Result<(tokio::task::Id, Passage), tokio::task::JoinError>;

impl Turns {
    async fn run(mut self, mut inbox: mpsc::Receiver<Ask>, cancel: CancellationToken) {
        let pulse = self.parts.vitals.gate.clone();
        loop {
            pulse.rests();
            let ask = tokio::select! {
                biased;
                () = cancel.cancelled() => break,
                Some(ended) = self.running.join_next_with_id() => {
                    self.release(ended);
                    continue;
                }
                ask = inbox.recv() => ask,
            };
            pulse.works();
            match ask {
                Some(Ask::Step(ask)) => self.turn(*ask).await,
                Some(Ask::Mark(ask)) => self.mark(*ask).await,
                None => break,
            }
        }
        pulse.rests();
        inbox.close();
        let drained = async {
            while let Some(ended) = self.running.join_next_with_id().await {
                self.release(ended);
            }
        };
        if tokio::time::timeout(DRAIN_DEADLINE, drained).await.is_err() {
            tracing::warn!("some steps did not finish in time; the next daemon looks at what they did");
            self.running.shutdown().await;
        }
    }

    /// Frees what a step's task has claimed, and only then answers: whoever asks for the next step must not meet this one.
    fn release(&mut self, ended: Ended) {
        let (task, passage) = match ended {
            Ok((task, passage)) => (task, Some(passage)),
            Err(error) => {
                let resource = self.under_way.get(&error.id()).and_then(|step| step.claims.first());
                let resource = resource.map(tracing::field::display);
                tracing::error!(resource, %error, "a step's task ended abnormally; what it did is looked at");
                (error.id(), None)
            }
        };
        let Some(UnderWay { claims, answer }) = self.under_way.remove(&task) else { return };
        for id in &claims {
            self.claims.remove(id);
        }
        if let Some(passage) = passage {
            let _ = answer.send(passage);
        }
    }

    async fn turn(&mut self, ask: StepAsk) {
        // Claims of steps that have just settled are free now, not one turn later.
        while let Some(ended) = self.running.try_join_next_with_id() {
            self.release(ended);
        }
        let StepAsk { step, picture, removing, answer, place } = ask;
        if let Err(why) = self.judge(&step, &picture) {
            let _ = answer.send(Passage::Refused(why));
            return;
        }
        let id = step.resource.clone();
        let claims = claims_of(&step);
        self.claims.extend(claims.iter().cloned());
        let parts = Arc::clone(&self.parts);
        // What was counted and has not come to its end is counted and told once, however often it is tried.
        let removing = removing.filter(|removing| !self.is_counted(removing, &step, &picture));
        let task = match removing {
            None => self.running.spawn(async move {
                let started = parts.journal.intend(step, Vec::new()).await;
                finish(&parts, started, place).await
            }),
            Some(Removing { verb, hold }) => {
                // The budget must be spent before the next turn looks at it, so this intent is awaited here.
                let counted = Record::Removal { verb, resource: id.clone(), hold, team: Some(step.team.clone()) };
                let started = parts.journal.intend(step, vec![counted]).await;
                self.running.spawn(async move { finish(&parts, started, place).await })
            }
        };
        self.under_way.insert(task.id(), UnderWay { claims, answer });
    }

    fn judge(&self, step: &Step, picture: &Picture) -> Result<(), String> {
        if let Some(id) = claims_of(step).iter().find(|id| self.claims.contains(*id)) {
            return Err(format!("another step on {id} is under way"));
        }
        let memory = self.parts.journal.memory();
        let memory = memory.read().unwrap_or_else(PoisonError::into_inner);
        if memory.revision.accepted.as_ref().is_some_and(|accepted| *accepted != picture.revision) {
            return Err(format!("revision {} is no longer the one in force", picture.revision.short()));
        }
        policy::permit(step, &picture.desired, &self.facts(picture, &memory))
    }

    fn is_counted(&self, removing: &Removing, step: &Step, picture: &Picture) -> bool {
        let memory = self.parts.journal.memory();
        let memory = memory.read().unwrap_or_else(PoisonError::into_inner);
        policy::is_counted(removing.verb, step, removing.hold.as_ref(), &self.facts(picture, &memory))
    }

    /// What is known at this very moment.
    fn facts<'a>(&self, picture: &'a Picture, memory: &'a Memory) -> Facts<'a> {
        Facts {
            now: self.parts.clock.now(),
            memory,
            snapshot: &picture.snapshot,
            revision: &picture.revision,
            freeze: picture.freeze.as_ref(),
        }
    }
}

/// The resources that a step is about: a rename is about both its names.
fn claims_of(step: &Step) -> Vec<ResourceId> {
    [&step.resource].into_iter().chain(step.op.former()).cloned().collect()
}

/// Applies and settles a step whose intent is durable; its place is free once it has ended.
async fn finish(parts: &Parts, started: Result<Started, LogError>, place: Option<OwnedSemaphorePermit>) -> Passage {
    let passage = match started {
        Ok(started) => passage::carry_out(parts, started).await,
        Err(error) => Passage::Closed(error.to_string()),
    };
    drop(place);
    passage
}
