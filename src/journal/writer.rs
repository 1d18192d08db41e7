//! The journal itself: mints intents and results on top of a [`Log`].

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, RwLock};

use codeops_core::model::{Key, Memory, ResourceId, Step};
use serde::{Deserialize, Serialize};

use super::log::{Entry, Log, LogError, Page, Query, Seq};
use super::record::{Outcome, Record};

/// A step whose intent is durable. Only the journal makes one, and none is ever read back.
#[derive(Debug)]
#[must_use = "a started step must be applied and settled"]
pub struct Started {
    seq: Seq,
    key: Key,
    epoch: u64,
    step: Step,
}

impl Started {
    /// The intent's number.
    pub fn seq(&self) -> Seq {
        self.seq
    }

    /// The idempotency key.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// Counts daemons on this store; a provider's own guard against a second, older daemon.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// What to do.
    pub fn step(&self) -> &Step {
        &self.step
    }
}

/// An intent without a result: the daemon ended, or the provider did not say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InDoubt {
    /// The intent's number.
    pub seq: Seq,
    /// Its key, used again when the same is done again.
    pub key: Key,
    /// The resource.
    pub resource: ResourceId,
    /// The op's word.
    pub word: String,
    /// What the op was about.
    pub subject: String,
}

impl InDoubt {
    /// The intent's word and subject, as a [`Record::Result`] has them.
    pub fn what(&self) -> String {
        what(&self.word, &self.subject)
    }
}

fn what(word: &str, subject: &str) -> String {
    format!("{word} {subject}")
}

/// The journal. Cheap to clone.
#[derive(Clone)]
pub struct Journal {
    log: Arc<dyn Log>,
    minted: Arc<AtomicU64>,
}

impl Journal {
    /// A journal over a log.
    pub fn new(log: Arc<dyn Log>) -> Self {
        Self { log, minted: Arc::default() }
    }

    /// Writes down what happened. Durable when it returns.
    pub async fn record(&self, records: Vec<Record>) -> Result<Vec<Entry>, LogError> {
        if records.is_empty() {
            return Ok(Vec::new());
        }
        self.log.append(records).await
    }

    /// Writes down that `step` is about to be done, with the key of an intent in doubt that meant the same, if there is
    /// one, else with a new key. `beside` are records that belong to the same decision, in the same transaction.
    pub async fn intend(&self, step: Step, mut beside: Vec<Record>) -> Result<Started, LogError> {
        let (store, epoch) = self.log.identity();
        let same = self.log.in_doubt().into_iter().find(|doubt| {
            doubt.resource == step.resource && doubt.word == step.op.word() && doubt.subject == step.op.subject()
        });
        if let Some(doubt) = &same {
            // The old intent is closed in the transaction that opens the new one under the same key.
            beside.push(Record::Result {
                intent: doubt.seq,
                resource: doubt.resource.clone(),
                what: Some(doubt.what()),
                outcome: Outcome::Superseded,
            });
        }
        let key = same.map_or_else(|| self.mint(&store, epoch), |doubt| doubt.key);
        beside.push(Record::Intent {
            key: key.clone(),
            resource: step.resource.clone(),
            team: step.team.clone(),
            provider: step.provider.clone(),
            word: step.op.word().to_owned(),
            subject: step.op.subject(),
            cause: step.cause.to_string(),
            cause_kind: Some(step.cause.kind()),
        });
        let entries = self.log.append(beside).await?;
        let seq = entries.last().map_or(Seq(0), |entry| entry.seq);
        Ok(Started { seq, key, epoch, step })
    }

    /// Writes down how a started step ended. `beside` are records that follow from it, in the same transaction.
    pub async fn settle(&self, started: &Started, outcome: Outcome, mut beside: Vec<Record>) -> Result<(), LogError> {
        let Step { resource, op, .. } = &started.step;
        let what = Some(what(op.word(), &op.subject()));
        beside.insert(0, Record::Result { intent: started.seq, resource: resource.clone(), what, outcome });
        self.log.append(beside).await.map(|_| ())
    }

    /// Intents without a result.
    pub fn in_doubt(&self) -> Vec<InDoubt> {
        self.log.in_doubt()
    }

    /// The fold of everything. Never hold a guard across an await.
    pub fn memory(&self) -> Arc<RwLock<Memory>> {
        self.log.memory()
    }

    /// One page of entries.
    pub async fn read(&self, query: Query) -> Result<Page, LogError> {
        self.log.read(query).await
    }

    /// Why nothing more is taken, if so.
    pub fn poisoned(&self) -> Option<String> {
        self.log.poisoned()
    }

    /// How many daemons have opened the store, this one included.
    pub fn epoch(&self) -> u64 {
        self.log.identity().1
    }

    /// The store's durable random id and [`Journal::epoch`].
    pub fn identity(&self) -> (String, u64) {
        self.log.identity()
    }

    /// Unique within one daemon by the count, over daemons on one store by the epoch, over stores by the store's id.
    fn mint(&self, store: &str, epoch: u64) -> Key {
        Key(format!("{store}:{epoch}:{}", self.minted.fetch_add(1, Ordering::Relaxed)))
    }
}

/// The reading half of the journal: what the edges are given.
#[derive(Clone)]
pub struct Reader {
    log: Arc<dyn Log>,
}

impl Reader {
    /// A reader of a log.
    pub fn new(log: Arc<dyn Log>) -> Self {
        Self { log }
    }

    /// One page of entries.
    pub async fn read(&self, query: Query) -> Result<Page, LogError> {
        self.log.read(query).await
    }

    /// Entries as they are appended.
    pub fn tail(&self) -> tokio::sync::broadcast::Receiver<Arc<Entry>> {
        self.log.tail()
    }

    /// Why nothing more is taken, if so.
    pub fn poisoned(&self) -> Option<String> {
        self.log.poisoned()
    }
}
