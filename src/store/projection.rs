//! The memory as it is kept: written part by part in the transaction of the entries that changed it, read whole at
//! opening. What stands in a history, alerts, runs and pages, is kept there and not here.

use std::collections::BTreeMap;

use codeops_core::model::{Memory, Name, PageId, ResourceId, Subject};
use rusqlite::{Connection, OptionalExtension as _};
use serde::Serialize;

use super::history::{self, Rows};
use super::large::{self, Large};
use super::table::{Sql, damage, json, put_fact};
use crate::journal::{Change, InDoubt, Seq};

const DOUBT: &str = "doubt/";
const RESOURCE: &str = "resource/";
const LEDGER: &str = "ledger/";
const CALL: &str = "call/";
const SCHEDULE: &str = "schedule/";
const WATCHDOG: &str = "watchdog/";
/// Not a part but a fact.
const SWEPT: &str = "swept";
/// As well.
const SPENT: &str = "spent";

/// What is found at opening.
pub(super) struct Recalled {
    pub(super) memory: Memory,
    pub(super) doubts: BTreeMap<Seq, InDoubt>,
    /// Where the alerts of the memory stand.
    pub(super) rows: Rows,
    /// What is written apart of resources.
    pub(super) large: Large,
}

/// Writes a part of the memory that changed.
pub(super) fn project(db: &Connection, memory: &Memory, change: &Change, rows: &Rows, large: &mut Large) -> Sql<()> {
    let response = &memory.response;
    match change {
        Change::Revision => put_part(db, "revision", Some(&memory.revision)),
        Change::Resource(id) => match memory.resources.get(id) {
            Some(resource) => {
                let row = large.put(db, id, resource)?;
                put_part(db, &format!("{RESOURCE}{id}"), Some(&row))
            }
            None => {
                large.drop(db, id)?;
                put_part::<()>(db, &format!("{RESOURCE}{id}"), None)
            }
        },
        Change::Systems => put_part(db, "systems", Some(&memory.systems)),
        Change::Removals => put_part(db, "removals", Some(&memory.removals)),
        Change::Allowed => {
            put_part(db, "allowedBy", Some(&memory.allowed_by))?;
            put_part(db, "overtaken", Some(&memory.overtaken).filter(|overtaken| !overtaken.is_empty()))?;
            put_part(db, "allowed", Some(&memory.allowed))
        }
        Change::Waves => put_part(db, "waves", Some(&memory.waves)),
        Change::Ledger(subject) => {
            put_part(db, &format!("{LEDGER}{}", String::from(subject.clone())), response.ledger.get(subject))
        }
        Change::Call(id) => put_part(db, &format!("{CALL}{id}"), response.calls.get(id)),
        Change::Schedule(playbook) => put_part(db, &format!("{SCHEDULE}{playbook}"), response.schedules.get(playbook)),
        Change::Watchdog(receiver) => put_part(db, &format!("{WATCHDOG}{receiver}"), response.watchdogs.get(receiver)),
        Change::Counted => put_part(db, "counted", Some(&response.counted)),
        Change::Stormed => put_part(db, "stormedAt", Some(&response.stormed_at)),
        // With what every commit writes, since every delivery moves it.
        Change::Swept => put_fact(db, SWEPT, json_text(&response.swept)),
        Change::Spent => put_fact(db, SPENT, json_text(&response.spent)),
        Change::Alert(id) => response.alerts.get(id).map_or(Ok(()), |it| history::put_active(db, rows.of(id), it)),
        Change::Run(id) => response.runs.get(id).map_or(Ok(()), |it| history::put_run(db, it)),
        Change::Page(id) => response.pages.get(id).map_or(Ok(()), |it| history::put_page(db, it)),
    }
}

/// Writes that an intent is in doubt, or no longer.
pub(super) fn project_doubt(db: &Connection, seq: Seq, doubt: Option<&InDoubt>) -> Sql<()> {
    put_part(db, &format!("{DOUBT}{}", seq.0), doubt)
}

pub(super) fn put_part<T: Serialize>(db: &Connection, part: &str, value: Option<&T>) -> Sql<()> {
    match value {
        Some(value) => db
            .prepare_cached("INSERT OR REPLACE INTO projection (part, body) VALUES (?, ?)")?
            .execute([part, &json_text(value)])?,
        None => db.prepare_cached("DELETE FROM projection WHERE part = ?")?.execute([part])?,
    };
    Ok(())
}

fn json_text(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("the memory is plain data, and that is always JSON")
}

/// Reads the whole memory, and the intents in doubt.
pub(super) fn recall(db: &Connection) -> Sql<Recalled> {
    let (mut memory, mut doubts) = (Memory::default(), BTreeMap::new());
    let mut large = large::Found::default();
    let response = &mut memory.response;
    let mut statement = db.prepare("SELECT part, body FROM projection")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let part: String = row.get(0)?;
        let name = |text: &str| text.parse::<Name>().map_err(|error| damage(0, error));
        match part.as_str() {
            "revision" => memory.revision = json(1, row)?,
            "systems" => memory.systems = json(1, row)?,
            "removals" => memory.removals = json(1, row)?,
            "allowed" => memory.allowed = json(1, row)?,
            "allowedBy" => memory.allowed_by = json(1, row)?,
            "overtaken" => memory.overtaken = json(1, row)?,
            "waves" => memory.waves = json(1, row)?,
            "counted" => response.counted = json(1, row)?,
            "stormedAt" => response.stormed_at = json(1, row)?,
            part => match part.split_once('/').map_or((RESOURCE, part), |(kind, rest)| (&part[..=kind.len()], rest)) {
                (DOUBT, _) => {
                    let doubt: InDoubt = json(1, row)?;
                    doubts.insert(doubt.seq, doubt);
                }
                (LEDGER, subject) => {
                    let subject = Subject::try_from(subject.to_owned()).map_err(|error| damage(0, error))?;
                    response.ledger.insert(subject, json(1, row)?);
                }
                (CALL, page) => {
                    let page: PageId = page.parse().map_err(|error| damage(0, error))?;
                    response.calls.insert(page, json(1, row)?);
                }
                (SCHEDULE, playbook) => drop(response.schedules.insert(name(playbook)?, json(1, row)?)),
                (WATCHDOG, receiver) => drop(response.watchdogs.insert(name(receiver)?, json(1, row)?)),
                (large::DECLARED, id) => large.declared(id, row)?,
                (large::FILE, number) => large.file(number, row)?,
                (_, id) => {
                    let id: ResourceId = id.parse().map_err(|error| damage(0, error))?;
                    large.resource(&id, row)?;
                    memory.resources.insert(id, json(1, row)?);
                }
            },
        }
    }
    let swept = "SELECT value FROM meta WHERE key = ?";
    response.swept = db.query_row(swept, [SWEPT], |row| json(0, row)).optional()?.flatten();
    let spent = "SELECT value FROM meta WHERE key = ?";
    response.spent = db.query_row(spent, [SPENT], |row| json(0, row)).optional()?.unwrap_or_default();
    let rows = history::recall(db, response)?;
    let large = large.complete(&mut memory);
    Ok(Recalled { memory, doubts, rows, large })
}
