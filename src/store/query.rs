//! Reads of the histories: page by page, newest first, and the deliveries of a period, oldest first.

use std::sync::Arc;

use codeops_core::model::{Page, PageId, Run, RunId};
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension as _, params, params_from_iter};
use serde::de::DeserializeOwned;

use super::history::{number, signed};
use super::table::{Sql, entry, int, json};
use crate::journal::{
    self, AlertCursor, AlertPage, AlertQuery, Listed, PageList, PageQuery, Record, RunPage, RunQuery, SignalQuery,
};

/// Those of the memory, and those that are over.
const ALERTS: &str = "(SELECT row, source, name, state, run, body FROM active_alerts
    UNION ALL SELECT row, source, name, state, run, body FROM alerts)";

/// Runs, the last opened first.
pub(super) fn runs(db: &Connection, query: &RunQuery) -> Sql<RunPage> {
    let mut filter = Filter::default();
    filter.with("playbook = ?", query.playbook.as_ref().map(ToString::to_string));
    filter.with("target = ?", query.target.as_ref().map(ToString::to_string));
    filter.with("state = ?", query.state.map(|state| state.word().to_owned()));
    filter.with("number < ?", query.before.map(number));
    filter.list(db, "runs", "number", query.limit, |number| RunId(number.unsigned_abs()))
}

/// One run.
pub(super) fn run(db: &Connection, id: RunId) -> Sql<Option<Arc<Run>>> {
    let mut statement = db.prepare_cached("SELECT body FROM runs WHERE number = ?")?;
    statement.query_row([number(id)], |row| json(0, row).map(Arc::new)).optional()
}

/// Alerts, the last that came in first.
pub(super) fn alerts(db: &Connection, query: &AlertQuery) -> Sql<AlertPage> {
    let mut filter = Filter::default();
    filter.with("source = ?", query.source.as_ref().map(ToString::to_string));
    filter.with("name = ?", query.name.clone());
    filter.with("state = ?", query.state.map(|state| state.word().to_owned()));
    filter.with("run IN (SELECT number FROM runs WHERE target = ?)", query.target.as_ref().map(ToString::to_string));
    filter.with("row < ?", query.before.map(|cursor| signed(cursor.0)));
    filter.list(db, ALERTS, "row", query.limit, |row| AlertCursor(row.unsigned_abs()))
}

/// Pages, the last opened first.
pub(super) fn pages(db: &Connection, query: &PageQuery) -> Sql<PageList> {
    let mut filter = Filter::default();
    filter.with("run = ?", query.run.map(number));
    filter.with("number < ?", query.before.map(|page| signed(page.0)));
    filter.list(db, "pages", "number", query.limit, |number| PageId(number.unsigned_abs()))
}

/// One page.
pub(super) fn page(db: &Connection, id: PageId) -> Sql<Option<Arc<Page>>> {
    let mut statement = db.prepare_cached("SELECT body FROM pages WHERE number = ?")?;
    statement.query_row([signed(id.0)], |row| json(0, row).map(Arc::new)).optional()
}

/// Deliveries of a period, oldest first.
pub(super) fn signals(db: &Connection, query: &SignalQuery) -> Sql<journal::Page> {
    let limit = query.limit.clamp(1, 1000);
    // The text is looked at first: reading what is no delivery costs more than telling that it is none.
    let mut statement = db.prepare_cached(
        "SELECT seq, at, body FROM entries WHERE category = 'alert' AND seq > ? AND at >= ? AND at < ?
         AND instr(body, '\"type\":\"alerts\"') > 0 ORDER BY seq",
    )?;
    let mut rows =
        statement.query(params![query.after.map_or(0, int), query.from.as_microsecond(), query.to.as_microsecond()])?;
    let mut items = Vec::new();
    while let Some(row) = rows.next()? {
        let entry = entry(row)?;
        if !matches!(entry.record, Record::Alerts { .. }) {
            continue;
        }
        if items.len() == limit {
            let next = items.last().map(|last: &journal::Entry| last.seq);
            return Ok(journal::Page { items, next });
        }
        items.push(entry);
    }
    Ok(journal::Page { items, next: None })
}

/// The conditions of a query, with their values.
#[derive(Default)]
struct Filter {
    conditions: Vec<&'static str>,
    values: Vec<Value>,
}

impl Filter {
    fn with(&mut self, condition: &'static str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            self.conditions.push(condition);
            self.values.push(value.into());
        }
    }

    /// The bodies of a table's rows for which all conditions hold, those with the highest keys first.
    fn list<T: DeserializeOwned, C>(
        mut self,
        db: &Connection,
        table: &str,
        key: &str,
        limit: usize,
        cursor: impl Fn(i64) -> C,
    ) -> Sql<Listed<Arc<T>, C>> {
        let limit = limit.clamp(1, 1000);
        let filter = if self.conditions.is_empty() { "1".to_owned() } else { self.conditions.join(" AND ") };
        self.values.push(Value::Integer(i64::try_from(limit + 1).unwrap_or(i64::MAX)));
        let mut statement =
            db.prepare_cached(&format!("SELECT {key}, body FROM {table} WHERE {filter} ORDER BY {key} DESC LIMIT ?"))?;
        let rows = statement.query_map(params_from_iter(self.values), |row| {
            Ok((row.get::<_, i64>(0)?, Arc::new(json::<T>(1, row)?)))
        })?;
        let mut found: Vec<(i64, Arc<T>)> = rows.collect::<Result<_, _>>()?;
        let more = found.len() > limit;
        found.truncate(limit);
        let next = more.then(|| found.last().map(|(key, _)| cursor(*key))).flatten();
        Ok(Listed { items: found.into_iter().map(|(_, item)| item).collect(), next })
    }
}
