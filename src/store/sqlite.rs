//! The store as the daemon has it: [`Log`] on top of the writer's thread and a few connections that read.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;

use async_trait::async_trait;
use codeops_core::model::{PageId, Run, RunId, Secret};
use jiff::Timestamp;
use rusqlite::Connection;
use tokio::sync::{Semaphore, broadcast, mpsc, oneshot};

use super::audit::Head;
use super::audit_chain::genesis;
use super::folder::{claim, database, keep_tag_key};
use super::projection::Recalled;
use super::retention::Keep;
use super::schema::{open_reader, open_writer};
use super::table::{self, Mark, Prepared, Sql};
use super::writer::{Answer, Job, Shared, Waits, Writer, now};
use super::{Archive, StoreError, history, projection, query};
use crate::journal::{
    AlertPage, AlertQuery, Entry, InDoubt, Log, LogError, Page, PageList, PageQuery, Query, Record, RunPage, RunQuery,
    Seq, SharedMemory, SignalQuery,
};
use crate::port::{Clock, Pulse};

/// How many requests may wait for the writer; those beyond wait for room.
const QUEUE: usize = 1024;
/// How much of that is for the daemon's own: what comes in from outside is refused sooner, and never waits for room.
const OWN: usize = QUEUE / 4;
/// How far a reader of the tail may fall behind before it misses entries.
const TAIL: usize = 1024;
/// How many reads go on at once; a page waits rather than take threads without end.
const READERS: usize = 4;

/// The journal's log in a state folder. Dropping it commits what is queued, closes the file, and lets go of the folder.
pub struct Sqlite {
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    /// How many jobs are on their way.
    waiting: Arc<AtomicUsize>,
    shared: Arc<Shared>,
    clock: Arc<dyn Clock>,
    pulse: Pulse,
    store: String,
    /// See [`Log::opening`].
    opening: String,
    tag_key: Secret<[u8; 32]>,
    readers: Arc<Readers>,
}

/// Connections that read, made when first needed.
struct Readers {
    file: PathBuf,
    idle: Mutex<Vec<Connection>>,
    permits: Arc<Semaphore>,
}

impl Sqlite {
    /// Opens the store in this folder, making both if need be, and counts one more daemon on it.
    ///
    /// # Errors
    /// The folder cannot be used, another daemon has it, a newer codeops wrote it, it is damaged, the disk is full.
    pub fn open(state_dir: &Path, clock: Arc<dyn Clock>) -> Result<Self, StoreError> {
        Self::open_keeping(state_dir, clock, Keep::default())
    }

    /// As [`Sqlite::open`], with other bounds on what is kept.
    pub fn open_keeping(state_dir: &Path, clock: Arc<dyn Clock>, keep: Keep) -> Result<Self, StoreError> {
        let lock = claim(state_dir)?;
        let file = database(state_dir);
        let mut db = open_writer(&file)?;
        let fail = |error: rusqlite::Error| StoreError::sqlite(&file, &error);
        let facts = begin(&mut db).map_err(fail)?;
        let tag_key = keep_tag_key(state_dir, facts.tag_key)?;
        let Recalled { memory, doubts, rows, large } = projection::recall(&db).map_err(fail)?;
        let deliveries = history::recall_deliveries(&db).map_err(fail)?;
        let shared = Arc::new(Shared {
            memory: Arc::new(SharedMemory::new(memory.clone())),
            doubts: Mutex::new(doubts.clone()),
            epoch: AtomicU64::new(facts.epoch),
            poison: OnceLock::new(),
            tail: broadcast::Sender::new(TAIL),
        });
        let (jobs, queue) = mpsc::channel(QUEUE);
        let pulse = Pulse::default();
        let head = facts.head;
        let writer = Writer {
            db,
            file: file.clone(),
            head,
            memory,
            doubts,
            rows,
            large,
            deliveries,
            keep,
            looked: None,
            clock: Arc::clone(&clock),
            pulse: pulse.clone(),
            shared: Arc::clone(&shared),
            lock,
        };
        let thread = std::thread::Builder::new()
            .name("journal".to_owned())
            .spawn(move || watched(writer, queue))
            .map_err(|source| StoreError::Folder { path: file.clone(), source })?;
        let readers = Readers { file, idle: Mutex::default(), permits: Arc::new(Semaphore::new(READERS)) };
        Ok(Self {
            jobs: Some(jobs),
            thread: Some(thread),
            waiting: Arc::default(),
            shared,
            clock,
            pulse,
            store: facts.store,
            opening: hex::encode(random::<6>()),
            tag_key: Secret::new(tag_key),
            readers: Arc::new(readers),
        })
    }

    /// Opens the store only to read it, beside a running daemon or without one.
    pub fn open_read(state_dir: &Path) -> Result<Archive, StoreError> {
        Archive::open(state_dir)
    }

    /// The key under which secrets' values are tagged for digests; made once, kept beside the journal.
    pub fn tag_key(&self) -> &Secret<[u8; 32]> {
        &self.tag_key
    }

    /// The writer's sign of progress.
    pub fn pulse(&self) -> &Pulse {
        &self.pulse
    }

    /// How many daemons have opened this store, this one included, or what a `DaemonStarted` raised it to.
    pub fn epoch(&self) -> u64 {
        self.shared.epoch.load(Ordering::Acquire)
    }

    /// The end of the audit chain, to be kept elsewhere.
    pub async fn head(&self) -> Result<Head, LogError> {
        self.reading(|db| Ok(table::mark(db, "head")?.map_or(Head { seq: Seq(0), hash: [0; 32] }, Head::from))).await
    }

    /// A job for the writer, its records' text made here and not in the writer's turn, and where its answer comes.
    fn job(&self, records: Vec<Record>, once: bool) -> Result<(Job, oneshot::Receiver<Answer>), LogError> {
        if let Some(why) = self.poisoned() {
            return Err(LogError::Poisoned(why));
        }
        let (reply, answer) = oneshot::channel();
        let waits = Waits::new(&self.waiting);
        Ok((Job { records: records.into_iter().map(Prepared::new).collect(), once, waits, reply }, answer))
    }

    fn ended(&self) -> LogError {
        LogError::Poisoned(self.poisoned().unwrap_or_else(|| "the writer has ended".to_owned()))
    }

    /// Runs a read on a connection of its own, off the threads that tasks run on.
    async fn reading<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> Sql<T> + Send + 'static,
    ) -> Result<T, LogError> {
        let readers = Arc::clone(&self.readers);
        let permit = Arc::clone(&readers.permits).acquire_owned().await.map_err(|_| LogError::Closed)?;
        let work = move || {
            let _permit = permit;
            let db = readers.take().map_err(|error| LogError::Read(error.to_string()))?;
            let answer = read(&db);
            readers.give(db);
            answer.map_err(|error| LogError::Read(StoreError::sqlite(&readers.file, &error).to_string()))
        };
        tokio::task::spawn_blocking(work).await.map_err(|error| LogError::Read(error.to_string()))?
    }
}

impl Readers {
    fn take(&self) -> Result<Connection, StoreError> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        idle.map_or_else(|| open_reader(&self.file), Ok)
    }

    fn give(&self, db: Connection) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(db);
    }
}

#[async_trait]
impl Log for Sqlite {
    async fn append(&self, records: Vec<Record>) -> Result<Vec<Entry>, LogError> {
        let (job, answer) = self.job(records, false)?;
        self.jobs.as_ref().ok_or(LogError::Closed)?.send(job).await.map_err(|_| self.ended())?;
        Ok(answer.await.map_err(|_| self.ended())??.unwrap_or_default())
    }

    async fn offer(&self, records: Vec<Record>) -> Result<Option<Vec<Entry>>, LogError> {
        let jobs = self.jobs.as_ref().ok_or(LogError::Closed)?;
        if jobs.capacity() <= OWN {
            return Err(self.poisoned().map_or(LogError::Overloaded, LogError::Poisoned));
        }
        let (job, answer) = self.job(records, true)?;
        jobs.try_send(job).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => LogError::Overloaded,
            mpsc::error::TrySendError::Closed(_) => self.ended(),
        })?;
        answer.await.map_err(|_| self.ended())?
    }

    fn is_behind(&self) -> bool {
        self.waiting.load(Ordering::Acquire) > 0
    }

    async fn read(&self, query: Query) -> Result<Page, LogError> {
        self.reading(move |db| table::page(db, &query)).await
    }

    async fn signals_between(&self, asked: SignalQuery) -> Result<Page, LogError> {
        self.reading(move |db| query::signals(db, &asked)).await
    }

    async fn runs(&self, asked: RunQuery) -> Result<RunPage, LogError> {
        self.reading(move |db| query::runs(db, &asked)).await
    }

    async fn run(&self, id: RunId) -> Result<Option<Arc<Run>>, LogError> {
        self.reading(move |db| query::run(db, id)).await
    }

    async fn alerts(&self, asked: AlertQuery) -> Result<AlertPage, LogError> {
        self.reading(move |db| query::alerts(db, &asked)).await
    }

    async fn pages(&self, asked: PageQuery) -> Result<PageList, LogError> {
        self.reading(move |db| query::pages(db, &asked)).await
    }

    async fn page(&self, id: PageId) -> Result<Option<Arc<codeops_core::model::Page>>, LogError> {
        self.reading(move |db| query::page(db, id)).await
    }

    fn memory(&self) -> Arc<SharedMemory> {
        Arc::clone(&self.shared.memory)
    }

    fn now(&self) -> Timestamp {
        now(&*self.clock)
    }

    fn in_doubt(&self) -> Vec<InDoubt> {
        let doubts: &BTreeMap<Seq, InDoubt> = &self.shared.doubts.lock().unwrap_or_else(PoisonError::into_inner);
        doubts.values().cloned().collect()
    }

    fn identity(&self) -> (String, u64) {
        (self.store.clone(), self.epoch())
    }

    fn opening(&self) -> Option<String> {
        Some(self.opening.clone())
    }

    fn poisoned(&self) -> Option<String> {
        self.shared.poison.get().cloned()
    }

    fn tail(&self) -> broadcast::Receiver<Arc<Entry>> {
        self.shared.tail.subscribe()
    }
}

impl Drop for Sqlite {
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A writer that panics poisons the store like one whose commit fails: nobody may go on waiting for it, unaware.
fn watched(writer: Writer, queue: mpsc::Receiver<Job>) {
    let shared = Arc::clone(&writer.shared);
    if catch_unwind(AssertUnwindSafe(|| writer.run(queue))).is_err() {
        let _ = shared.poison.set("the writer panicked, which is a defect; its message is in the log".to_owned());
    }
}

/// What a store knows of itself.
struct Facts {
    store: String,
    tag_key: [u8; 32],
    epoch: u64,
    head: Mark,
}

/// Counts this opening, and makes the id and the key of a fresh store.
fn begin(db: &mut Connection) -> Sql<Facts> {
    let transaction = db.transaction()?;
    let store = match table::fact(&transaction, "store")? {
        Some(store) => store,
        None => {
            let store = hex::encode(random::<8>());
            table::put_fact(&transaction, "store", &store)?;
            table::put_fact(&transaction, "tag_key", random::<32>())?;
            let start = Mark { seq: 0, hash: genesis(&store) };
            table::put_mark(&transaction, "anchor", &start)?;
            table::put_mark(&transaction, "head", &start)?;
            store
        }
    };
    let lost = rusqlite::Error::QueryReturnedNoRows;
    let tag_key = table::fact(&transaction, "tag_key")?.ok_or(lost)?;
    let head = table::mark(&transaction, "head")?.ok_or(rusqlite::Error::QueryReturnedNoRows)?;
    let epoch = table::epoch(&transaction)?.saturating_add(1);
    table::put_epoch(&transaction, epoch)?;
    transaction.commit()?;
    Ok(Facts { store, tag_key, epoch, head })
}

fn random<const N: usize>() -> [u8; N] {
    crate::base::random().expect("the kernel gives random bytes")
}
