//! The rows of alerts, runs and pages: those that matter, from which the memory is read at opening, and for as long as
//! entries are kept those that are over. And the ids of the deliveries of a day.

use std::collections::HashMap;
use std::sync::Arc;

use codeops_core::model::{AlertId, AlertMemory, Disposition, Memory, Name, Page, ResponseMemory, Run, RunId};
use jiff::Timestamp;
use rusqlite::{Connection, params};
use serde::Serialize;

use super::table::{Sql, json, time};
use crate::journal::{Came, Change, Deliveries, Delivery, Folded, Over};

/// Where the alerts of the memory stand. Rows are numbered as alerts come in, so that what is written together lies
/// together, which an order by identity would not give.
#[derive(Debug, Default)]
pub(super) struct Rows {
    of: HashMap<AlertId, i64>,
    last: i64,
}

impl Rows {
    /// Gives new alerts their rows, in the order in which they came, and takes those of what is over. To be told of each
    /// entry; answers what is to be written of what is over.
    pub(super) fn follow(&mut self, folded: &Folded, memory: &Memory) -> Vec<Ended> {
        let row = |over: &Over| match over {
            Over::Alert(alert) => self.of.remove(&alert.alert.id).unwrap_or_else(|| next(&mut self.last)),
            Over::Run(_) | Over::Page(_) => 0,
        };
        let ended: Vec<i64> = folded.over.iter().map(row).collect();
        for change in &folded.changes {
            if let Change::Alert(id) = change
                && memory.response.alerts.contains_key(id)
            {
                self.of.entry(id.clone()).or_insert_with(|| next(&mut self.last));
            }
        }
        folded.over.iter().cloned().zip(ended).map(|(over, row)| Ended { over, row }).collect()
    }

    /// Where an alert of the memory stands.
    pub(super) fn of(&self, id: &AlertId) -> i64 {
        *self.of.get(id).expect("each alert of the memory was followed")
    }
}

fn next(last: &mut i64) -> i64 {
    *last += 1;
    *last
}

/// Something that the memory has let go of, and the row of an alert.
pub(super) struct Ended {
    over: Over,
    row: i64,
}

/// Writes what the memory has let go of, as it last was.
pub(super) fn put_ended(db: &Connection, ended: &Ended) -> Sql<()> {
    match &ended.over {
        Over::Alert(alert) => {
            db.prepare_cached("DELETE FROM active_alerts WHERE row = ?")?.execute([ended.row])?;
            put_alert(db, "alerts", ended.row, alert)
        }
        Over::Run(run) => put_run(db, run),
        Over::Page(page) => put_page(db, page),
    }
}

/// Writes one alert of the memory.
pub(super) fn put_active(db: &Connection, row: i64, alert: &AlertMemory) -> Sql<()> {
    put_alert(db, "active_alerts", row, alert)
}

fn put_alert(db: &Connection, table: &str, row: i64, alert: &AlertMemory) -> Sql<()> {
    let id = &alert.alert.id;
    let run = match &alert.disposition {
        Disposition::Run { run } => Some(number(*run)),
        Disposition::Received | Disposition::Waits { .. } | Disposition::Quiet { .. } | Disposition::Left { .. } => {
            None
        }
    };
    db.prepare_cached(&format!(
        "INSERT INTO {table} (row, source, name, state, since, run, body) VALUES (?, ?, ?, ?, ?, ?, ?)
         ON CONFLICT (row) DO UPDATE SET state = excluded.state, since = excluded.since, run = excluded.run,
             body = excluded.body"
    ))?
    .execute(params![
        row,
        id.source.as_str(),
        alert.alert.name(),
        alert.state.word(),
        alert.since.as_microsecond(),
        run,
        text(alert)
    ])?;
    Ok(())
}

/// Writes one run.
pub(super) fn put_run(db: &Connection, run: &Run) -> Sql<()> {
    let ended = run.ended.as_ref().map(|(_, _, at)| at.as_microsecond());
    db.prepare_cached(
        "INSERT INTO runs (number, playbook, target, state, ended_at, body) VALUES (?, ?, ?, ?, ?, ?)
         ON CONFLICT (number) DO UPDATE SET state = excluded.state, ended_at = excluded.ended_at, body = excluded.body",
    )?
    .execute(params![
        number(run.id),
        run.playbook.name.as_str(),
        run.target.as_ref().map(ToString::to_string),
        run.state().word(),
        ended,
        text(run)
    ])?;
    Ok(())
}

/// Writes one page.
pub(super) fn put_page(db: &Connection, page: &Page) -> Sql<()> {
    let last = page.accepted.as_ref().map_or(page.opened_at, |(_, at)| *at);
    let ended = page.is_over().then(|| last.as_microsecond());
    db.prepare_cached(
        "INSERT INTO pages (number, run, ended_at, body) VALUES (?, ?, ?, ?)
         ON CONFLICT (number) DO UPDATE SET ended_at = excluded.ended_at, body = excluded.body",
    )?
    .execute(params![signed(page.id.0), page.run.map(number), ended, text(page)])?;
    Ok(())
}

/// Reads the alerts, runs and pages that matter into the memory.
pub(super) fn recall(db: &Connection, memory: &mut ResponseMemory) -> Sql<Rows> {
    let last = "SELECT max(ifnull((SELECT max(row) FROM alerts), 0), ifnull((SELECT max(row) FROM active_alerts), 0))";
    let last = db.query_row(last, [], |row| row.get(0))?;
    let mut found = Rows { of: HashMap::new(), last };
    let mut statement = db.prepare("SELECT row, body FROM active_alerts")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let alert: AlertMemory = json(1, row)?;
        found.of.insert(alert.alert.id.clone(), row.get(0)?);
        memory.put_alert(Arc::new(alert));
    }
    let mut statement = db.prepare("SELECT body FROM runs WHERE ended_at IS NULL")?;
    for run in statement.query_map([], |row| json::<Run>(0, row))? {
        let run = run?;
        memory.runs.insert(run.id, Arc::new(run));
    }
    let mut statement = db.prepare("SELECT body FROM pages WHERE ended_at IS NULL")?;
    for page in statement.query_map([], |row| json::<Page>(0, row))? {
        let page = page?;
        memory.pages.insert(page.id, Arc::new(page));
    }
    Ok(found)
}

/// Writes the deliveries that came, and takes those away that are not known any more.
pub(super) fn put_deliveries(db: &Connection, Came { new, gone }: &Came) -> Sql<()> {
    let mut insert = db.prepare_cached("INSERT INTO deliveries (number, hash, at, receiver) VALUES (?, ?, ?, ?)")?;
    for Delivery { number, receiver, hash, at } in new {
        let receiver = receiver.as_ref().map(Name::as_str);
        insert.execute(params![signed(*number), hash, at.as_microsecond(), receiver])?;
    }
    let mut delete = db.prepare_cached("DELETE FROM deliveries WHERE number = ?")?;
    for number in gone {
        delete.execute([signed(*number)])?;
    }
    Ok(())
}

/// Reads the deliveries that are known.
pub(super) fn recall_deliveries(db: &Connection) -> Sql<Deliveries> {
    let mut known = Deliveries::default();
    let mut statement = db.prepare("SELECT number, hash, at, receiver FROM deliveries ORDER BY number")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (number, hash): (i64, [u8; 16]) = (row.get(0)?, row.get(1)?);
        let (at, receiver): (Timestamp, Option<String>) = (time(2, row)?, row.get(3)?);
        let receiver = receiver.and_then(|name| Name::new(&name).ok());
        known.restore(Delivery { number: number.unsigned_abs(), receiver, hash, at });
    }
    Ok(known)
}

/// A run's number as SQLite has it.
pub(super) fn number(run: RunId) -> i64 {
    signed(run.0)
}

/// SQLite's numbers are signed; what is counted does not reach the other half.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn text(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("the memory is plain data, and that is always JSON")
}
