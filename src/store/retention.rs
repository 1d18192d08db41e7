//! How long entries are kept, and as long the histories beside them, and how much all of it takes. Old ones go in small batches when nothing waits; the
//! chain keeps an anchor, the number and hash of the last one that went, so that it still can be verified. The memory
//! stays whole, and so do the alerts, runs and pages in it.

use jiff::{SignedDuration, Timestamp};
use rusqlite::{Connection, OptionalExtension as _};

use super::audit_chain::Hash;
use super::table::{Mark, Sql, fact, put_fact, put_mark};

/// How many entries go in one transaction.
const BATCH: i64 = 1000;

/// Not so many bytes of them much exceed.
const BATCH_BYTES: i64 = 16 << 20;

/// So many of the newest stay, however much they take.
const NEWEST: i64 = 1000;

/// When the last of those went that were too much, in microseconds: what was over by then goes with them.
const SIZED: &str = "sized";

/// An hour in microseconds.
const HOUR: i64 = 3_600_000_000;

/// What is kept: entries that are within all bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    /// No longer than so many days.
    pub days: u32,
    /// Not more than so many entries, give or take a thousand.
    pub records: u64,
    /// Not while all that is stored takes more than so many bytes: then the oldest go first, until the newest thousand.
    pub bytes: u64,
}

impl Default for Keep {
    /// 90 days, at most 1,000,000 entries, 4 GiB.
    fn default() -> Self {
        Self { days: 90, records: 1_000_000, bytes: 4 << 30 }
    }
}

impl Keep {
    fn oldest(self, now: Timestamp) -> Timestamp {
        let days = SignedDuration::from_hours(24 * i64::from(self.days));
        now.saturating_sub(days).unwrap_or(Timestamp::MIN)
    }
}

/// Takes one batch of entries away that need not be kept. Answers whether there may be more.
pub(super) fn prune(db: &mut Connection, head: &Mark, keep: Keep, now: Timestamp) -> Sql<bool> {
    let by_age = keep.oldest(now).as_microsecond();
    let by_count = head.seq.saturating_sub(i64::try_from(keep.records).unwrap_or(i64::MAX));
    let by_size = if takes(db)? > keep.bytes { head.seq.saturating_sub(NEWEST) } else { 0 };
    let by_number = by_count.max(by_size);
    if !worthwhile(db, by_number, by_age)? {
        return Ok(false);
    }
    let transaction = db.transaction()?;
    let Some((anchor, at, full)) = last_to_go(&transaction, by_number, by_age)? else {
        return Ok(false);
    };
    transaction.execute("DELETE FROM entries WHERE seq <= ?", [anchor.seq])?;
    put_mark(&transaction, "anchor", &anchor)?;
    if by_size > 0 {
        put_fact(&transaction, SIZED, at)?;
    }
    transaction.commit()?;
    if by_size > 0 {
        prune_histories(db, keep, now)?;
    }
    Ok(full)
}

/// How many bytes all that is stored takes: what is free in the file is written to again.
fn takes(db: &Connection) -> Sql<u64> {
    let pages = "SELECT (count.page_count - free.freelist_count) * size.page_size
        FROM pragma_page_count AS count, pragma_freelist_count AS free, pragma_page_size AS size";
    db.prepare_cached(pages)?.query_row([], |row| row.get::<_, i64>(0)).map(i64::unsigned_abs)
}

/// Takes one batch of alerts, runs or pages away that need not be kept. Answers whether there may be more.
pub(super) fn prune_histories(db: &Connection, keep: Keep, now: Timestamp) -> Sql<bool> {
    let sized = fact::<i64>(db, SIZED)?.unwrap_or(i64::MIN);
    let by_age = keep.oldest(now).as_microsecond().max(sized);
    for history in HISTORIES {
        if history.prune(db, keep, by_age)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// A table of what was, and is not in the memory any more.
struct History {
    table: &'static str,
    /// Its key, which counts up.
    key: &'static str,
    /// When it ended; there is an index of it over those that are over.
    ended: &'static str,
    /// Whether a row is over, in the words of that index.
    over: &'static str,
}

const HISTORIES: [History; 3] = [
    History { table: "alerts", key: "row", ended: "since", over: "1" },
    History { table: "runs", key: "number", ended: "ended_at", over: "ended_at IS NOT NULL" },
    History { table: "pages", key: "number", ended: "ended_at", over: "ended_at IS NOT NULL" },
];

impl History {
    /// Takes a batch away, those that ended first; by age, as with entries, only once there is an hour of them.
    fn prune(&self, db: &Connection, keep: Keep, by_age: i64) -> Sql<bool> {
        let Self { table, key, ended, over } = self;
        let last: i64 = db
            .prepare_cached(&format!("SELECT ifnull(max({key}), 0) FROM {table}"))?
            .query_row([], |row| row.get(0))?;
        let by_count = last.saturating_sub(i64::try_from(keep.records).unwrap_or(i64::MAX));
        let oldest: Option<(i64, i64)> = db
            .prepare_cached(&format!("SELECT {key}, {ended} FROM {table} WHERE {over} ORDER BY {ended} LIMIT 1"))?
            .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        let Some((first, at)) = oldest else { return Ok(false) };
        if first.saturating_add(BATCH) > by_count && at.saturating_add(HOUR) >= by_age {
            return Ok(false);
        }
        let gone = db
            .prepare_cached(&format!(
                "DELETE FROM {table} WHERE {key} IN (SELECT {key} FROM {table} WHERE {over} ORDER BY {ended} LIMIT ?)
                 AND ({ended} < ? OR {key} <= ?)"
            ))?
            .execute([BATCH, by_age, by_count])?;
        Ok(gone > 0)
    }
}

/// A transaction for each entry that comes of age would cost a sync each: it waits for a batch by number, or, by age,
/// for a whole hour.
fn worthwhile(db: &Connection, by_number: i64, by_age: i64) -> Sql<bool> {
    let mut statement = db.prepare_cached("SELECT seq, at FROM entries ORDER BY seq LIMIT 1")?;
    let mut rows = statement.query([])?;
    let Some(row) = rows.next()? else { return Ok(false) };
    let (seq, at): (i64, i64) = (row.get(0)?, row.get(1)?);
    Ok(seq.saturating_add(BATCH) <= by_number || at.saturating_add(HOUR) < by_age)
}

/// The last of the oldest entries, a batch at most, of which none need be kept; when it was; and whether the batch is full.
fn last_to_go(db: &Connection, by_number: i64, by_age: i64) -> Sql<Option<(Mark, i64, bool)>> {
    let mut statement =
        db.prepare_cached("SELECT seq, at, hash, octet_length(body) FROM entries ORDER BY seq LIMIT ?")?;
    let mut rows = statement.query([BATCH])?;
    let (mut last, mut entries, mut bytes) = (None, 0, 0);
    while let Some(row) = rows.next()? {
        let (seq, at, hash): (i64, i64, Hash) = (row.get(0)?, row.get(1)?, row.get(2)?);
        if seq > by_number && at >= by_age {
            break;
        }
        entries += 1;
        bytes += row.get::<_, i64>(3)?;
        last = Some((Mark { seq, hash }, at, entries == BATCH || bytes >= BATCH_BYTES));
        if bytes >= BATCH_BYTES {
            break;
        }
    }
    Ok(last)
}
