//! The journal itself: mints intents and results on top of a [`Log`].

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};

use codeops_core::model::{
    Counted, Key, Name, Notified, PageEvent, PageId, PageOpened, ResourceId, Run, RunEvent, RunId, Step,
};
use serde::{Deserialize, Serialize};

use super::history::{AlertPage, AlertQuery, PageList, PageQuery, RunPage, RunQuery, SignalQuery};
use super::intake::Incoming;
use super::log::{Entry, Log, LogError, Page, Query, Seq};
use super::outcome::Outcome;
use super::record::Record;
use super::shared::SharedMemory;

/// A step whose intent is durable. Only the journal makes one, and none is ever read back.
#[derive(Debug)]
#[must_use = "a started step must be applied and settled"]
pub struct Started {
    seq: Seq,
    key: Key,
    epoch: u64,
    step: Step,
    again: bool,
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

    /// Whether its key is that of an intent that was in doubt: what was begun then may have taken effect, whatever becomes
    /// of this try.
    pub fn is_again(&self) -> bool {
        self.again
    }

    /// What to do.
    pub fn step(&self) -> &Step {
        &self.step
    }
}

/// An effect of a run or a page whose beginning is durable. Only the journal makes one, and none is ever read back.
#[derive(Debug)]
#[must_use = "a started effect must be done and its end written down"]
pub struct StartedEffect {
    key: Key,
}

impl StartedEffect {
    /// The idempotency key.
    pub fn key(&self) -> &Key {
        &self.key
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

    /// For a rename: the id it had.
    pub fn former(&self) -> Option<ResourceId> {
        let from = (self.word == "rename").then(|| self.subject.split(' ').next()).flatten();
        from.and_then(|from| from.parse().ok())
    }
}

fn what(word: &str, subject: &str) -> String {
    format!("{word} {subject}")
}

/// The journal. Cheap to clone.
#[derive(Clone)]
pub struct Journal {
    pub(super) log: Arc<dyn Log>,
    minted: Arc<AtomicU64>,
    runs: Arc<AtomicU64>,
    pages: Arc<AtomicU64>,
    pub(super) incoming: Arc<Incoming>,
}

impl Journal {
    /// A journal over a log.
    pub fn new(log: Arc<dyn Log>) -> Self {
        Self { log, minted: Arc::default(), runs: Arc::default(), pages: Arc::default(), incoming: Arc::default() }
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
                aim: None,
                outcome: Outcome::TakenUp,
            });
        }
        let again = same.is_some();
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
        Ok(Started { seq, key, epoch, step, again })
    }

    /// Writes down how a started step ended. `beside` are records that follow from it, in the same transaction.
    pub async fn settle(&self, started: &Started, outcome: Outcome, mut beside: Vec<Record>) -> Result<(), LogError> {
        let Step { resource, op, .. } = &started.step;
        let what = Some(what(op.word(), &op.subject()));
        let aim = matches!(outcome, Outcome::Retry { .. }).then(|| op.aim());
        beside.insert(0, Record::Result { intent: started.seq, resource: resource.clone(), what, aim, outcome });
        self.log.append(beside).await.map(|_| ())
    }

    /// The id of a run that is about to be opened: no other will ever have it, unless its record does not become durable.
    pub fn mint_run(&self) -> RunId {
        RunId(number(&self.runs, self.counted().runs))
    }

    /// The id of a page that is about to be opened.
    pub fn mint_page(&self) -> PageId {
        PageId(number(&self.pages, self.counted().pages))
    }

    fn counted(&self) -> Counted {
        self.log.memory().read().unwrap_or_else(PoisonError::into_inner).response.counted
    }

    /// Opens a run: `event` is a [`RunEvent::Opened`]. `beside` gives the records that belong to the same decision, such
    /// as what became of the alert, in the same transaction.
    pub async fn open_run(
        &self,
        mut event: RunEvent,
        beside: impl FnOnce(RunId) -> Vec<Record> + Send,
    ) -> Result<(RunId, Vec<Entry>), LogError> {
        let resource = match &mut event {
            RunEvent::Opened { target, mark, .. } => {
                *mark = self.log.opening();
                target.clone()
            }
            _ => None,
        };
        let run = self.mint_run();
        let mut records = vec![Record::Run { run, resource, event }];
        records.extend(beside(run));
        Ok((run, self.log.append(records).await?))
    }

    /// The record that opens a page beside others, and its id.
    pub fn opened_page(&self, opened: PageOpened) -> (PageId, Record) {
        let (page, mark) = (self.mint_page(), self.log.opening());
        (page, Record::Page { page, event: PageEvent::Opened(PageOpened { mark, ..opened }) })
    }

    /// Opens a page. `beside` as for [`Journal::open_run`].
    pub async fn open_page(
        &self,
        opened: PageOpened,
        beside: impl FnOnce(PageId) -> Vec<Record> + Send,
    ) -> Result<(PageId, Vec<Entry>), LogError> {
        let (page, record) = self.opened_page(opened);
        let mut records = vec![record];
        records.extend(beside(page));
        Ok((page, self.log.append(records).await?))
    }

    /// Writes down that an attempt of a run's step is about to be made: `event` is a [`RunEvent::StepBegun`] with the key
    /// of [`Journal::key_of_run`].
    pub async fn begin(&self, run: RunId, event: RunEvent) -> Result<StartedEffect, LogError> {
        let key = match &event {
            RunEvent::StepBegun { key, .. } => key.clone(),
            _ => self.key_of(&format!("{run}:none")),
        };
        self.log.append(vec![Record::Run { run, resource: None, event }]).await?;
        Ok(StartedEffect { key })
    }

    /// Writes down that a page, or that it is `over`, is about to be sent to this receiver, which `notified` leads to now.
    pub async fn begin_send(
        &self,
        page: PageId,
        notified: Notified,
        receiver: Name,
        over: bool,
    ) -> Result<StartedEffect, LogError> {
        // One key for all sends of a page: whoever deduplicates shows it once.
        let key = self.key_of_page(page);
        let event = PageEvent::Begun { notified, receiver: Some(receiver), over };
        self.log.append(vec![Record::Page { page, event }]).await?;
        Ok(StartedEffect { key })
    }

    /// A send of which nothing can be written down, since the journal takes nothing more; and why it does not. `None` while
    /// it does: then a page is opened.
    pub fn unwritten_send(&self) -> Option<(StartedEffect, String)> {
        let why = self.log.poisoned()?;
        // One key a daemon: however often it is sent, it is one call.
        let (store, epoch) = self.log.identity();
        Some((
            StartedEffect {
                key: Key(format!("{store}:{epoch}:{}", marked("unwritable", self.log.opening().as_deref()))),
            },
            why,
        ))
    }

    /// The key of something named within this store: the same name gives the same key, also after a restart.
    pub fn key_of(&self, name: &str) -> Key {
        Key(format!("{}:{name}", self.log.identity().0))
    }

    /// The key of something of this run, which no run has that has its number in a copy of the store.
    pub fn key_of_run(&self, run: &Run, what: &str) -> Key {
        self.key_of(&format!("{}:{what}", marked(run.id, run.mark.as_deref())))
    }

    /// The same of a page that is not closed.
    fn key_of_page(&self, page: PageId) -> Key {
        let memory = self.log.memory();
        let memory = memory.read().unwrap_or_else(PoisonError::into_inner);
        let (pages, calls) = (&memory.response.pages, &memory.response.calls);
        let open = pages.get(&page).map(|page| &page.mark);
        let mark = open.or_else(|| calls.get(&page).map(|call| &call.mark));
        self.key_of(&marked(page, mark.and_then(Option::as_deref)))
    }

    /// The page that was sent under this key, if one was.
    pub fn page_of_key(&self, key: &str) -> Option<PageId> {
        let name = key.strip_prefix(&self.key_of("").0)?;
        name.split_once('-').map_or(name, |(page, _)| page).parse().ok()
    }

    /// Intents without a result.
    pub fn in_doubt(&self) -> Vec<InDoubt> {
        self.log.in_doubt()
    }

    /// The fold of everything. Never hold a guard across an await.
    pub fn memory(&self) -> Arc<SharedMemory> {
        self.log.memory()
    }

    /// One page of entries.
    pub async fn read(&self, query: Query) -> Result<Page, LogError> {
        self.log.read(query).await
    }

    /// The journaled deliveries of a period, oldest first.
    pub async fn signals_between(&self, query: SignalQuery) -> Result<Page, LogError> {
        self.log.signals_between(query).await
    }

    /// Runs, newest first, those that are over too.
    pub async fn runs(&self, query: RunQuery) -> Result<RunPage, LogError> {
        self.log.runs(query).await
    }

    /// One run.
    pub async fn run(&self, id: RunId) -> Result<Option<Arc<Run>>, LogError> {
        self.log.run(id).await
    }

    /// Alerts, newest first, those that are over too.
    pub async fn alerts(&self, query: AlertQuery) -> Result<AlertPage, LogError> {
        self.log.alerts(query).await
    }

    /// Pages, newest first, those that are over too.
    pub async fn pages(&self, query: PageQuery) -> Result<PageList, LogError> {
        self.log.pages(query).await
    }

    /// One page.
    pub async fn page(&self, id: PageId) -> Result<Option<Arc<codeops_core::model::Page>>, LogError> {
        self.log.page(id).await
    }

    /// Entries as they are appended.
    pub fn tail(&self) -> tokio::sync::broadcast::Receiver<Arc<Entry>> {
        self.log.tail()
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

fn marked(name: impl std::fmt::Display, mark: Option<&str>) -> String {
    mark.map_or_else(|| name.to_string(), |mark| format!("{name}-{mark}"))
}

/// One more than all numbers given and all that are remembered.
fn number(given: &AtomicU64, counted: u64) -> u64 {
    given.fetch_max(counted, Ordering::AcqRel);
    given.fetch_add(1, Ordering::AcqRel) + 1
}
