//! Logs in memory: one that works, and one that crashes where it is told to, so that a test can cut a flow at each
//! boundary and go on with what was durable.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use codeops::journal::{
    AlertPage, AlertQuery, Entry, InDoubt, Log, LogError, Page, PageList, PageQuery, Query, Record, RunPage, RunQuery,
    Seq, SharedMemory, SignalQuery, fold, fold_doubts, fold_epoch,
};
use codeops::port::Clock;
use codeops_core::model::{Memory, PageId, Run, RunId};
use jiff::Timestamp;
use tokio::sync::broadcast;

use super::memory_history::MemoryHistory;

/// Where a [`FaultLog`] crashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Crash {
    /// At the append after so many, before anything of it is durable.
    Before(usize),
    /// At the append after so many, once it is durable, but before anybody hears of it.
    After(usize),
}

/// A log in memory that never fails.
pub(crate) struct MemoryLog(FaultLog);

impl MemoryLog {
    /// An empty one.
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self(FaultLog::build("memory", clock, None, Vec::new(), 1)))
    }

    /// All entries, oldest first.
    pub(crate) fn entries(&self) -> Vec<Entry> {
        self.0.entries()
    }
}

/// A log in memory that crashes once: from then on every append fails, as it does when a daemon is killed.
pub(crate) struct FaultLog {
    store: String,
    /// How often it is of a backup.
    copy: u32,
    clock: Arc<dyn Clock>,
    crash: Option<Crash>,
    hangs: AtomicBool,
    /// Whether it crashes at the next append, whichever that is.
    breaks: AtomicBool,
    state: Mutex<State>,
    memory: Arc<SharedMemory>,
    tail: broadcast::Sender<Arc<Entry>>,
    /// Whether others come to their turn during an append, as they do while a disk is waited for.
    slow: AtomicBool,
}

#[derive(Default)]
struct State {
    /// What is durable.
    entries: Vec<Entry>,
    /// What has been shown; behind `entries` after a crash.
    doubts: BTreeMap<Seq, InDoubt>,
    history: MemoryHistory,
    epoch: u64,
    appends: usize,
    poison: Option<String>,
}

impl FaultLog {
    /// An empty log that crashes as told, or never.
    pub(crate) fn new(clock: Arc<dyn Clock>, crash: Option<Crash>) -> Arc<Self> {
        Arc::new(Self::build("memory", clock, crash, Vec::new(), 1))
    }

    /// An empty log of a store with this id, that never crashes.
    pub(crate) fn named(clock: Arc<dyn Clock>, store: &str) -> Arc<Self> {
        Arc::new(Self::build(store, clock, None, Vec::new(), 1))
    }

    /// The log as it was after so many entries: a backup of the store, restored.
    pub(crate) fn restored(&self, entries: usize) -> Arc<Self> {
        let kept = self.entries().into_iter().take(entries).collect();
        let mut restored = Self::build(&self.store, Arc::clone(&self.clock), None, kept, 1);
        restored.copy = self.copy + 1;
        Arc::new(restored)
    }

    /// The log as the next daemon finds it: with all that was durable, and the next epoch.
    pub(crate) fn reopen(&self, crash: Option<Crash>) -> Arc<Self> {
        let epoch = self.state().epoch + 1;
        let mut next = Self::build(&self.store, Arc::clone(&self.clock), crash, self.entries(), epoch);
        next.copy = self.copy;
        Arc::new(next)
    }

    /// From now on others come to their turn during an append, as they do while a disk is waited for.
    pub(crate) fn set_slow(&self) {
        self.slow.store(true, Ordering::Relaxed);
    }

    /// All durable entries, oldest first.
    pub(crate) fn entries(&self) -> Vec<Entry> {
        self.state().entries.clone()
    }

    /// How many appends were asked for.
    pub(crate) fn appends(&self) -> usize {
        self.state().appends
    }

    /// Whether it has crashed.
    pub(crate) fn crashed(&self) -> bool {
        self.state().poison.is_some()
    }

    fn build(store: &str, clock: Arc<dyn Clock>, crash: Option<Crash>, entries: Vec<Entry>, mut epoch: u64) -> Self {
        let (mut memory, mut doubts, mut history) = (Memory::default(), BTreeMap::new(), MemoryHistory::default());
        for entry in &entries {
            let folded = fold(&mut memory, entry);
            history.take(&memory, entry, &folded);
            fold_doubts(&mut doubts, entry);
            epoch = epoch.max(fold_epoch(0, entry) + 1);
        }
        let state = Mutex::new(State { entries, doubts, history, epoch, ..State::default() });
        let store = store.to_owned();
        let (memory, tail) = (Arc::new(SharedMemory::new(memory)), broadcast::Sender::new(1024));
        let [slow, hangs, breaks] = std::array::from_fn(|_| AtomicBool::new(false));
        Self { store, copy: 0, clock, crash, state, memory, tail, slow, hangs, breaks }
    }

    /// From now on every append fails.
    pub(crate) fn break_down(&self) {
        self.state().poison = Some("told to break down".to_owned());
    }

    /// Crashes at the next append: until then nobody can know.
    pub(crate) fn crash_at_next(&self) {
        self.breaks.store(true, Ordering::Relaxed);
    }

    /// From now on nothing that is appended is answered.
    pub(crate) fn hang(&self) {
        self.hangs.store(true, Ordering::Relaxed);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Log for FaultLog {
    async fn append(&self, records: Vec<Record>) -> Result<Vec<Entry>, LogError> {
        if self.slow.load(Ordering::Relaxed) {
            tokio::task::yield_now().await;
        }
        if self.hangs.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        let mut state = self.state();
        let nth = state.appends;
        state.appends += 1;
        if let Some(why) = &state.poison {
            return Err(LogError::Poisoned(why.clone()));
        }
        let crash = |state: &mut State| {
            let why = "told to crash".to_owned();
            state.poison = Some(why.clone());
            Err(LogError::Poisoned(why))
        };
        if self.crash == Some(Crash::Before(nth)) || self.breaks.load(Ordering::Relaxed) {
            return crash(&mut state);
        }
        let at = self.clock.now();
        let first = state.entries.len() as u64 + 1;
        let entries: Vec<Entry> =
            (first..).zip(records).map(|(seq, record)| Entry { seq: Seq(seq), at, record }).collect();
        state.entries.extend(entries.iter().cloned());
        if self.crash == Some(Crash::After(nth)) {
            return crash(&mut state);
        }
        let mut memory = self.memory.write().unwrap_or_else(PoisonError::into_inner);
        for entry in &entries {
            let folded = fold(&mut memory, entry);
            state.history.take(&memory, entry, &folded);
            fold_doubts(&mut state.doubts, entry);
            state.epoch = fold_epoch(state.epoch, entry);
            let _ = self.tail.send(Arc::new(entry.clone()));
        }
        Ok(entries)
    }

    async fn offer(&self, records: Vec<Record>) -> Result<Option<Vec<Entry>>, LogError> {
        let known = records.iter().any(|record| match record {
            Record::Alerts { delivery, .. } => self.state().history.deliveries.knows(delivery, self.clock.now()),
            _ => false,
        });
        if known { Ok(None) } else { self.append(records).await.map(Some) }
    }

    async fn read(&self, query: Query) -> Result<Page, LogError> {
        let state = self.state();
        let wanted = |entry: &&Entry| {
            query.resource.as_ref().is_none_or(|id| entry.record.resource() == Some(id))
                && query.run.is_none_or(|run| entry.record.run() == Some(run))
                && (query.categories.is_empty() || query.categories.contains(&entry.record.category()))
                && query.before.is_none_or(|before| entry.seq < before)
                && query.since.is_none_or(|since| entry.seq > since)
        };
        let limit = query.limit.clamp(1, 1000);
        let mut items: Vec<Entry> = state.entries.iter().rev().filter(wanted).take(limit + 1).cloned().collect();
        let more = items.len() > limit;
        items.truncate(limit);
        let next = more.then(|| items.last().map(|last| last.seq)).flatten();
        Ok(Page { items, next })
    }

    async fn signals_between(&self, query: SignalQuery) -> Result<Page, LogError> {
        let state = self.state();
        let wanted = |entry: &&Entry| {
            matches!(entry.record, Record::Alerts { .. })
                && (query.from..query.to).contains(&entry.at)
                && Some(entry.seq) > query.after
        };
        let limit = query.limit.clamp(1, 1000);
        let mut items: Vec<Entry> = state.entries.iter().filter(wanted).take(limit + 1).cloned().collect();
        let more = items.len() > limit;
        items.truncate(limit);
        let next = more.then(|| items.last().map(|last| last.seq)).flatten();
        Ok(Page { items, next })
    }

    async fn runs(&self, query: RunQuery) -> Result<RunPage, LogError> {
        Ok(self.state().history.runs(&query))
    }

    async fn run(&self, id: RunId) -> Result<Option<Arc<Run>>, LogError> {
        Ok(self.state().history.run(id))
    }

    async fn alerts(&self, query: AlertQuery) -> Result<AlertPage, LogError> {
        Ok(self.state().history.alerts(&query))
    }

    async fn pages(&self, query: PageQuery) -> Result<PageList, LogError> {
        Ok(self.state().history.pages(&query))
    }

    async fn page(&self, id: PageId) -> Result<Option<Arc<codeops_core::model::Page>>, LogError> {
        Ok(self.state().history.page(id))
    }

    fn memory(&self) -> Arc<SharedMemory> {
        Arc::clone(&self.memory)
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn in_doubt(&self) -> Vec<InDoubt> {
        self.state().doubts.values().cloned().collect()
    }

    fn identity(&self) -> (String, u64) {
        (self.store.clone(), self.state().epoch)
    }

    fn opening(&self) -> Option<String> {
        (self.copy > 0).then(|| format!("c{}", self.copy))
    }

    fn poisoned(&self) -> Option<String> {
        self.state().poison.clone()
    }

    fn tail(&self) -> broadcast::Receiver<Arc<Entry>> {
        self.tail.subscribe()
    }
}

#[async_trait]
impl Log for MemoryLog {
    async fn append(&self, records: Vec<Record>) -> Result<Vec<Entry>, LogError> {
        self.0.append(records).await
    }
    async fn offer(&self, records: Vec<Record>) -> Result<Option<Vec<Entry>>, LogError> {
        self.0.offer(records).await
    }
    async fn signals_between(&self, query: SignalQuery) -> Result<Page, LogError> {
        self.0.signals_between(query).await
    }
    async fn runs(&self, query: RunQuery) -> Result<RunPage, LogError> {
        self.0.runs(query).await
    }
    async fn run(&self, id: RunId) -> Result<Option<Arc<Run>>, LogError> {
        self.0.run(id).await
    }
    async fn alerts(&self, query: AlertQuery) -> Result<AlertPage, LogError> {
        self.0.alerts(query).await
    }
    async fn pages(&self, query: PageQuery) -> Result<PageList, LogError> {
        self.0.pages(query).await
    }
    async fn page(&self, id: PageId) -> Result<Option<Arc<codeops_core::model::Page>>, LogError> {
        self.0.page(id).await
    }
    fn now(&self) -> Timestamp {
        self.0.now()
    }
    async fn read(&self, query: Query) -> Result<Page, LogError> {
        self.0.read(query).await
    }
    fn memory(&self) -> Arc<SharedMemory> {
        self.0.memory()
    }
    fn in_doubt(&self) -> Vec<InDoubt> {
        self.0.in_doubt()
    }
    fn identity(&self) -> (String, u64) {
        self.0.identity()
    }
    fn poisoned(&self) -> Option<String> {
        self.0.poisoned()
    }
    fn tail(&self) -> broadcast::Receiver<Arc<Entry>> {
        self.0.tail()
    }
}
