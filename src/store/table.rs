//! Rows: entries, and the few facts about the store itself. SQL stands here and in `projection`, `history`, `query`,
//! `schema` and `retention` only.

use codeops_core::model::{ResourceId, canonical};
use jiff::Timestamp;
use rusqlite::types::{FromSql, ToSql, Value};
use rusqlite::{Connection, OptionalExtension as _, Row, params, params_from_iter};
use serde::de::DeserializeOwned;

use super::audit_chain::{Hash, Link, next};
use super::history::number;
use crate::journal::{Category, Entry, Page, Query, Record, Seq};

/// The version that records are written with; it goes up when one changes in a way that old readers would misread.
pub(super) const RECORD_VERSION: i64 = 1;

/// Of which entries there is an index by category, word by word as the schema has it.
const NO_ALERT: &str = "category <> 'alert'";

/// How many former ids of one resource are followed.
const NAMES: usize = 16;

/// Where the chain ends, or where it begins: a number and the hash there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) seq: i64,
    pub(super) hash: Hash,
}

/// A record ready to be written: its text is made before the writer's turn.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) record: Record,
    body: String,
}

impl Prepared {
    pub(super) fn new(record: Record) -> Self {
        let body = canonical(&serde_json::to_value(&record).expect("records are plain data, and that is always JSON"));
        Self { record, body }
    }
}

/// What reading a row may run into; text that cannot be understood counts as damage.
pub(super) type Sql<T> = Result<T, rusqlite::Error>;

/// Writes one entry after `head` and moves the head on.
pub(super) fn insert(db: &Connection, head: &mut Mark, at: Timestamp, prepared: &Prepared) -> Sql<()> {
    let link = Link { seq: head.seq + 1, at: at.as_microsecond(), v: RECORD_VERSION, body: &prepared.body };
    let hash = next(&head.hash, &link);
    db.prepare_cached(
        "INSERT INTO entries (seq, at, v, category, resource, run, body, hash) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
    )?
    .execute(params![
        link.seq,
        link.at,
        link.v,
        prepared.record.category().word(),
        prepared.record.resource().map(ToString::to_string),
        prepared.record.run().map(number),
        link.body,
        hash
    ])?;
    *head = Mark { seq: link.seq, hash };
    Ok(())
}

/// How many entries one answer looks at, where no index leads to those that are asked for: an index of entries about alerts would
/// cost every delivery.
const LOOKED_AT: i64 = 20_000;

/// From which entry on one answer looks, where that is bounded and there are earlier ones: the next goes on before it.
fn floor(db: &Connection, query: &Query) -> Sql<Option<i64>> {
    if !query.categories.contains(&Category::Alert) || query.resource.is_some() || query.run.is_some() {
        return Ok(None);
    }
    let ends = |row: &Row<'_>| Ok((row.get::<_, Option<i64>>(0)?, row.get::<_, Option<i64>>(1)?));
    let ends = db
        .prepare_cached("SELECT (SELECT min(seq) FROM entries), (SELECT max(seq) FROM entries)")?
        .query_row([], ends)?;
    let (Some(first), Some(last)) = ends else { return Ok(None) };
    let before = query.before.map_or(last + 1, |seq| int(seq).min(last + 1));
    let first = first.max(query.since.map_or(0, |seq| int(seq) + 1));
    Ok(Some(before - LOOKED_AT).filter(|floor| *floor > first))
}

/// One page, newest first. It may have fewer than asked for and go on all the same.
pub(super) fn page(db: &Connection, query: &Query) -> Sql<Page> {
    let limit = query.limit.clamp(1, 1000);
    let (mut conditions, mut values) = (Vec::new(), Vec::new());
    if let Some(resource) = &query.resource {
        let mut names = Vec::new();
        for (id, until) in names_of(db, resource)? {
            names.push("(resource = ? AND seq < ?)");
            values.extend([Value::Text(id.to_string()), Value::Integer(until)]);
        }
        conditions.push(format!("({})", names.join(" OR ")));
    }
    if !query.categories.is_empty() {
        conditions.push(format!("category IN ({})", vec!["?"; query.categories.len()].join(", ")));
        if !query.categories.contains(&Category::Alert) {
            conditions.push(NO_ALERT.to_owned()); // Which is what their index is of.
        }
        values.extend(query.categories.iter().map(|it| Value::Text(it.word().to_owned())));
    }
    if let Some(run) = query.run {
        conditions.push("run = ?".to_owned());
        values.push(Value::Integer(number(run)));
    }
    for (bound, condition) in [(query.before, "seq < ?"), (query.since, "seq > ?")] {
        if let Some(seq) = bound {
            conditions.push(condition.to_owned());
            values.push(Value::Integer(int(seq)));
        }
    }
    let floor = floor(db, query)?;
    if let Some(floor) = floor {
        conditions.push("seq >= ?".to_owned());
        values.push(Value::Integer(floor));
    }
    let filter = if conditions.is_empty() { "1".to_owned() } else { conditions.join(" AND ") };
    values.push(Value::Integer(i64::try_from(limit + 1).unwrap_or(i64::MAX)));
    let mut items: Vec<Entry> = db
        .prepare_cached(&format!("SELECT seq, at, body FROM entries WHERE {filter} ORDER BY seq DESC LIMIT ?"))?
        .query_map(params_from_iter(values), entry)?
        .collect::<Result<_, _>>()?;
    let more = items.len() > limit;
    items.truncate(limit);
    let last = more.then(|| items.last().map(|last| last.seq)).flatten();
    let next = last.or_else(|| floor.map(|floor| Seq(floor.unsigned_abs())));
    Ok(Page { items, next })
}

/// The ids a resource has had, each with the number of the entry that gave it the next: a rename keeps the history.
fn names_of(db: &Connection, id: &ResourceId) -> Sql<Vec<(ResourceId, i64)>> {
    let mut names = vec![(id.clone(), i64::MAX)];
    // Renames are few and in a group with few others; the resource's own entries may be many.
    let mut statement = db.prepare_cached(&format!(
        "SELECT seq, at, body FROM entries INDEXED BY entries_by_category
         WHERE category = 'daemon' AND {NO_ALERT} AND +resource = ? AND seq < ? ORDER BY seq DESC"
    ))?;
    while names.len() <= NAMES {
        let Some((id, until)) = names.last() else { break };
        let mut renamed = None;
        for entry in statement.query_map(params![id.to_string(), until], entry)? {
            if let Entry { seq, record: Record::Renamed { from, .. }, .. } = entry? {
                renamed = Some((from, int(seq)));
                break;
            }
        }
        names.extend(renamed.clone());
        if renamed.is_none() {
            break;
        }
    }
    Ok(names)
}

/// An entry from its number, time and body.
pub(super) fn entry(row: &Row<'_>) -> Sql<Entry> {
    let seq: i64 = row.get(0)?;
    Ok(Entry { seq: Seq(seq.unsigned_abs()), at: time(1, row)?, record: json(2, row)? })
}

/// A time from its microseconds.
pub(super) fn time(column: usize, row: &Row<'_>) -> Sql<Timestamp> {
    Timestamp::from_microsecond(row.get(column)?).map_err(|error| damage(column, error))
}

/// Reads a fact about the store.
pub(super) fn fact<T: FromSql>(db: &Connection, key: &str) -> Sql<Option<T>> {
    db.prepare_cached("SELECT value FROM meta WHERE key = ?")?.query_row([key], |row| row.get(0)).optional()
}

/// Writes a fact about the store.
pub(super) fn put_fact(db: &Connection, key: &str, value: impl ToSql) -> Sql<()> {
    db.prepare_cached("INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)")?.execute(params![key, value])?;
    Ok(())
}

/// Reads a mark, `head` or `anchor`, if it is there.
pub(super) fn mark(db: &Connection, name: &str) -> Sql<Option<Mark>> {
    let (seq, hash) = (fact(db, &format!("{name}.seq"))?, fact(db, &format!("{name}.hash"))?);
    Ok(seq.zip(hash).map(|(seq, hash)| Mark { seq, hash }))
}

/// Writes a mark.
pub(super) fn put_mark(db: &Connection, name: &str, mark: &Mark) -> Sql<()> {
    db.prepare_cached(
        "INSERT INTO meta (key, value) VALUES (? || '.seq', ?), (? || '.hash', ?)
         ON CONFLICT (key) DO UPDATE SET value = excluded.value",
    )?
    .execute(params![name, mark.seq, name, mark.hash])?;
    Ok(())
}

/// Writes how many daemons have opened the store.
pub(super) fn put_epoch(db: &Connection, epoch: u64) -> Sql<()> {
    put_fact(db, "epoch", int(Seq(epoch)))
}

/// Reads how many daemons have opened the store.
pub(super) fn epoch(db: &Connection) -> Sql<u64> {
    Ok(fact::<i64>(db, "epoch")?.unwrap_or(0).unsigned_abs())
}

/// SQLite's numbers are signed; a journal does not reach the other half.
pub(super) fn int(seq: Seq) -> i64 {
    i64::try_from(seq.0).unwrap_or(i64::MAX)
}

/// A value from its JSON.
pub(super) fn json<T: DeserializeOwned>(column: usize, row: &Row<'_>) -> Sql<T> {
    let text = row.get_ref(column)?.as_str()?;
    serde_json::from_str(text).map_err(|error| damage(column, error))
}

/// A row that cannot be understood.
pub(super) fn damage(column: usize, error: impl std::error::Error + Send + Sync + 'static) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, Box::new(error))
}
