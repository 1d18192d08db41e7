//! The one thread that writes. It takes all that waits, commits it in one transaction, and only then shows and
//! acknowledges it, so that nobody ever acts on what a power cut could undo.
//!
//! A thread and not a task, the only one of this process: SQLite blocks, and the commits of one connection have an order.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use codeops_core::model::Memory;
use jiff::{SignedDuration, Timestamp};
use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio::time::Instant;

use super::StoreError;
use super::folder::Lock;
use super::history::{self, Rows};
use super::large::Large;
use super::projection;
use super::retention::{Keep, prune, prune_histories};
use super::table::{self, Mark, Prepared, Sql};
use crate::journal::{
    Came, Change, Deliveries, Entry, InDoubt, LogError, Record, Seq, SharedMemory, fold, fold_doubts, fold_epoch,
};
use crate::port::{Clock, Pulse};

/// How many waiting requests share one commit at most; bounds how long the first of them waits.
const GROUP: usize = 512;

/// A commit costs many times what it costs to wait a little for what is on its way, and is the same for one as for many: while
/// others write too, the first of a group waits this long for the rest. PostgreSQL's `commit_delay`, with its `commit_siblings`.
const GATHERED: Duration = Duration::from_micros(50);
const SIBLINGS: usize = 3;

/// How often the histories are looked through for what need not be kept.
const LOOKED: SignedDuration = SignedDuration::from_mins(1);

/// Records to append together, and where the answer goes.
pub(super) struct Job {
    pub(super) records: Vec<Prepared>,
    /// Whether they are left out when their delivery was taken before.
    pub(super) once: bool,
    /// Held until what it brings is shown: the caller's giving up takes nothing back.
    pub(super) waits: Waits,
    pub(super) reply: oneshot::Sender<Answer>,
}

/// Counts a job from before it is sent until what it brings is shown, or refused.
pub(super) struct Waits(Arc<AtomicUsize>);

impl Waits {
    pub(super) fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(count))
    }
}

impl Drop for Waits {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The entries appended; `None` for a delivery that was taken before.
pub(super) type Answer = Result<Option<Vec<Entry>>, LogError>;

/// What others see of the store; changed by the writer alone, after each commit.
pub(super) struct Shared {
    pub(super) memory: Arc<SharedMemory>,
    pub(super) doubts: Mutex<BTreeMap<Seq, InDoubt>>,
    pub(super) epoch: AtomicU64,
    pub(super) poison: OnceLock<String>,
    pub(super) tail: broadcast::Sender<Arc<Entry>>,
}

/// The writer's own state.
pub(super) struct Writer {
    pub(super) db: Connection,
    pub(super) file: PathBuf,
    pub(super) head: Mark,
    /// The memory with what is being committed; shown once it is.
    pub(super) memory: Memory,
    pub(super) doubts: BTreeMap<Seq, InDoubt>,
    pub(super) rows: Rows,
    pub(super) large: Large,
    pub(super) deliveries: Deliveries,
    pub(super) keep: Keep,
    /// When the histories were last looked through for what need not be kept.
    pub(super) looked: Option<Timestamp>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) pulse: Pulse,
    pub(super) shared: Arc<Shared>,
    /// Let go of last, when the connection is closed.
    pub(super) lock: Lock,
}

impl Writer {
    /// Works until every sender is gone and all that was sent is committed.
    pub(super) fn run(mut self, mut jobs: mpsc::Receiver<Job>) {
        self.pulse.works();
        let mut more = self.prune();
        let mut siblings = 1;
        loop {
            self.pulse.works();
            let first = match jobs.try_recv() {
                Ok(job) => job,
                Err(mpsc::error::TryRecvError::Empty) if more => {
                    more = self.prune();
                    continue;
                }
                Err(_) => {
                    self.pulse.rests();
                    match jobs.blocking_recv() {
                        Some(job) => job,
                        None => break,
                    }
                }
            };
            self.pulse.works();
            let group = gather(first, &mut jobs, siblings);
            siblings = group.len();
            self.turn(group);
            more = true;
        }
        let Self { db, lock, .. } = self;
        drop(db);
        drop(lock);
    }

    /// Commits a group and answers each of it; once a commit has failed, refuses each.
    fn turn(&mut self, group: Vec<Job>) {
        if self.shared.poison.get().is_none() {
            match self.commit(&group) {
                Ok(committed) => {
                    self.publish(&committed);
                    return acknowledge(group, committed);
                }
                Err(error) => self.poison(&error),
            }
        }
        refuse(group, self.shared.poison.get().map_or("a commit failed", String::as_str));
    }

    /// Everything of the group, its fold, its hashes and the chain's head, in one transaction.
    fn commit(&mut self, group: &[Job]) -> Sql<Committed> {
        let (mut head, mut epoch) = (self.head, self.shared.epoch.load(Ordering::Acquire));
        let (mut changes, mut doubted) = (BTreeSet::new(), BTreeSet::new());
        let (mut over, mut came) = (Vec::new(), Came::default());
        if group.iter().all(|job| job.records.is_empty()) {
            // They only wait for what was before them.
            return Ok(Committed { appended: vec![Some(Vec::new()); group.len()], changes, epoch });
        }
        let mut appended = Vec::with_capacity(group.len());
        let transaction = self.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for job in group {
            let at = now(&*self.clock);
            if job.once && taken(&self.deliveries, &job.records, at) {
                appended.push(None);
                continue;
            }
            let mut entries = Vec::with_capacity(job.records.len());
            for prepared in &job.records {
                table::insert(&transaction, &mut head, at, prepared)?;
                let entry = Entry { seq: Seq(head.seq.unsigned_abs()), at, record: prepared.record.clone() };
                let folded = fold(&mut self.memory, &entry);
                over.extend(self.rows.follow(&folded, &self.memory));
                changes.extend(folded.changes);
                let Came { new, gone } = self.deliveries.fold(&entry);
                came.new.extend(new);
                came.gone.extend(gone);
                doubted.extend(fold_doubts(&mut self.doubts, &entry));
                epoch = fold_epoch(epoch, &entry);
                entries.push(entry);
            }
            appended.push(Some(entries));
        }
        for ended in &over {
            history::put_ended(&transaction, ended)?;
        }
        for change in &changes {
            projection::project(&transaction, &self.memory, change, &self.rows, &mut self.large)?;
        }
        for seq in doubted {
            projection::project_doubt(&transaction, seq, self.doubts.get(&seq))?;
        }
        history::put_deliveries(&transaction, &came)?;
        table::put_mark(&transaction, "head", &head)?;
        if epoch != self.shared.epoch.load(Ordering::Acquire) {
            table::put_epoch(&transaction, epoch)?;
        }
        transaction.commit()?;
        self.head = head;
        Ok(Committed { appended, changes, epoch })
    }

    /// Shows what is durable now: of the memory the parts that changed, so that the two share what is large.
    fn publish(&self, committed: &Committed) {
        self.shared.epoch.store(committed.epoch, Ordering::Release);
        let mut memory = self.shared.memory.write().unwrap_or_else(PoisonError::into_inner);
        let mut doubts = self.shared.doubts.lock().unwrap_or_else(PoisonError::into_inner);
        for change in &committed.changes {
            change.carry(&self.memory, &mut memory);
        }
        for entry in committed.appended.iter().flatten().flatten() {
            fold_doubts(&mut doubts, entry);
            if self.shared.tail.receiver_count() > 0 {
                let _ = self.shared.tail.send(Arc::new(entry.clone()));
            }
        }
    }

    /// One batch of what need not be kept any more; answers whether there is more.
    fn prune(&mut self) -> bool {
        if self.shared.poison.get().is_some() {
            return false;
        }
        let now = now(&*self.clock);
        self.prune_at(now).unwrap_or_else(|error| {
            self.poison(&error);
            false
        })
    }

    /// What is over fills up slowly: it is not looked at after each commit.
    fn prune_at(&mut self, now: Timestamp) -> Sql<bool> {
        if prune(&mut self.db, &self.head, self.keep, now)? {
            return Ok(true);
        }
        if self.looked.is_some_and(|looked| now.duration_since(looked) < LOOKED) {
            return Ok(false);
        }
        let more = prune_histories(&self.db, self.keep, now)?;
        self.looked = (!more).then_some(now);
        Ok(more)
    }

    fn poison(&self, error: &rusqlite::Error) {
        let why = StoreError::sqlite(&self.file, error).while_running();
        tracing::error!(%why, "the journal is poisoned");
        let _ = self.shared.poison.set(why);
    }
}

/// What one transaction brought: the entries of each job, the parts of the memory that changed, and the epoch now.
struct Committed {
    appended: Vec<Option<Vec<Entry>>>,
    changes: BTreeSet<Change>,
    epoch: u64,
}

/// What commits together: all that waits, and what comes soon where the group before had that many siblings.
fn gather(first: Job, jobs: &mut mpsc::Receiver<Job>, before: usize) -> Vec<Job> {
    let mut group = vec![first];
    let begun = Instant::now();
    loop {
        while group.len() < GROUP
            && let Ok(job) = jobs.try_recv()
        {
            group.push(job);
        }
        if before < SIBLINGS || group.len() == GROUP || begun.elapsed() >= GATHERED {
            return group;
        }
        std::thread::yield_now();
    }
}

/// Whether this is a delivery that was taken before.
fn taken(known: &Deliveries, records: &[Prepared], at: Timestamp) -> bool {
    records.iter().any(|prepared| match &prepared.record {
        Record::Alerts { delivery, .. } => known.knows(delivery, at),
        _ => false,
    })
}

/// An answer that nobody waits for any more is dropped: what it tells is durable all the same.
fn acknowledge(group: Vec<Job>, committed: Committed) {
    for (Job { waits, reply, .. }, entries) in group.into_iter().zip(committed.appended) {
        // Whoever has the answer finds that nothing of it is on its way any more.
        drop(waits);
        let _ = reply.send(Ok(entries));
    }
}

fn refuse(group: Vec<Job>, why: &str) {
    for job in group {
        let _ = job.reply.send(Err(LogError::Poisoned(why.to_owned())));
    }
}

/// As finely as it is stored, so that what was shown live and what is read back are equal.
pub(super) fn now(clock: &dyn Clock) -> Timestamp {
    let now = clock.now();
    Timestamp::from_microsecond(now.as_microsecond()).unwrap_or(now)
}
