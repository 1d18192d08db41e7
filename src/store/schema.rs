//! Connections, the tables, and their migrations, which only go forward.

use std::path::Path;
use std::time::Duration;

use rusqlite::backup::Backup;
use rusqlite::{Connection, OpenFlags, OptionalExtension as _};

use super::StoreError;

/// Statements that bring the format from its place in this list to the next. Never edited once released.
const MIGRATIONS: &[&str] = &[
    "
    CREATE TABLE entries (
        seq      INTEGER PRIMARY KEY,
        at       INTEGER NOT NULL,
        v        INTEGER NOT NULL,
        category TEXT    NOT NULL,
        resource TEXT,
        body     TEXT    NOT NULL,
        hash     BLOB    NOT NULL CHECK (length(hash) = 32)
    ) STRICT;
    CREATE INDEX entries_by_resource ON entries (resource, seq) WHERE resource IS NOT NULL;
    CREATE INDEX entries_by_category ON entries (category, seq);
    CREATE TABLE projection (part TEXT PRIMARY KEY, body TEXT NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE meta (key TEXT PRIMARY KEY, value ANY NOT NULL) STRICT, WITHOUT ROWID;
",
    "
    ALTER TABLE entries ADD COLUMN run INTEGER;
    CREATE INDEX entries_by_run ON entries (run, seq) WHERE run IS NOT NULL;
    CREATE TABLE alerts (
        row    INTEGER PRIMARY KEY,
        source TEXT    NOT NULL,
        name   TEXT    NOT NULL,
        state  TEXT    NOT NULL,
        since  INTEGER NOT NULL,
        run    INTEGER,
        active INTEGER NOT NULL,
        body   TEXT    NOT NULL
    ) STRICT;
    CREATE INDEX alerts_by_name ON alerts (name, row);
    CREATE INDEX alerts_by_run ON alerts (run, row) WHERE run IS NOT NULL;
    CREATE INDEX alerts_active ON alerts (row) WHERE active = 1;
    CREATE INDEX alerts_over ON alerts (since) WHERE active = 0;
    CREATE TABLE runs (
        number   INTEGER PRIMARY KEY,
        playbook TEXT    NOT NULL,
        target   TEXT,
        state    TEXT    NOT NULL,
        ended_at INTEGER,
        body     TEXT    NOT NULL
    ) STRICT;
    CREATE INDEX runs_by_playbook ON runs (playbook, number);
    CREATE INDEX runs_by_target ON runs (target, number) WHERE target IS NOT NULL;
    CREATE INDEX runs_by_state ON runs (state, number);
    CREATE INDEX runs_active ON runs (number) WHERE ended_at IS NULL;
    CREATE INDEX runs_over ON runs (ended_at) WHERE ended_at IS NOT NULL;
    CREATE TABLE pages (number INTEGER PRIMARY KEY, run INTEGER, ended_at INTEGER, body TEXT NOT NULL) STRICT;
    CREATE INDEX pages_by_run ON pages (run, number) WHERE run IS NOT NULL;
    CREATE INDEX pages_active ON pages (number) WHERE ended_at IS NULL;
    CREATE INDEX pages_over ON pages (ended_at) WHERE ended_at IS NOT NULL;
    CREATE TABLE deliveries (
        number INTEGER PRIMARY KEY,
        hash   BLOB    NOT NULL CHECK (length(hash) = 16),
        at     INTEGER NOT NULL
    ) STRICT;
",
    "ALTER TABLE deliveries ADD COLUMN receiver TEXT;",
    // What comes in touches as few trees as can be: those of an alert are for when it is over, and entries of alerts, of which
    // there are most, are found by their numbers.
    "
    CREATE TABLE active_alerts (
        row    INTEGER PRIMARY KEY,
        source TEXT    NOT NULL,
        name   TEXT    NOT NULL,
        state  TEXT    NOT NULL,
        since  INTEGER NOT NULL,
        run    INTEGER,
        body   TEXT    NOT NULL
    ) STRICT;
    INSERT INTO active_alerts SELECT row, source, name, state, since, run, body FROM alerts WHERE active = 1;
    DELETE FROM alerts WHERE active = 1;
    DROP INDEX alerts_active;
    DROP INDEX alerts_over;
    ALTER TABLE alerts DROP COLUMN active;
    CREATE INDEX alerts_over ON alerts (since);
    DROP INDEX entries_by_category;
    CREATE INDEX entries_by_category ON entries (category, seq) WHERE category <> 'alert';
    INSERT OR REPLACE INTO meta SELECT part, body FROM projection WHERE part = 'swept';
    DELETE FROM projection WHERE part = 'swept';
",
    // What is removed was counted once and has names now: what has been begun and was not gone when the revision came. The words
    // stand so in the text of no value, where quotes are escaped.
    r#"
    UPDATE projection SET body = json_set(json_remove(body, '$.removed'), '$.removes', json((
        SELECT json_group_array(DISTINCT resource) FROM entries AS begun
        WHERE resource IS NOT NULL AND category = 'step' AND instr(body, '"type":"intent"') AND instr(body, '"word":"delete"')
          AND NOT EXISTS (
            SELECT 1 FROM entries AS gone
            WHERE gone.resource = begun.resource AND gone.seq > begun.seq
              AND (instr(gone.body, '"type":"forgotten"') OR instr(gone.body, '"outcome":{"done"'))
              AND gone.seq < (
                SELECT max(seq) FROM entries WHERE category = 'commit' AND instr(body, '"type":"revisionAccepted"')
              )
          )
    ))) WHERE part = 'revision' AND json_type(body, '$.removes') IS NULL;
"#,
    // What was held to be removed stays held. What has been taken back or released since is told apart by the next look.
    r#"
    UPDATE projection SET body = json_set(body, '$.removal_held', json('true')) WHERE part IN (
        SELECT 'resource/' || json_extract(change.value, '$[1]')
        FROM entries AS held, json_each(held.body, '$.changes') AS change
        WHERE held.category = 'guard' AND instr(held.body, '"type":"held"')
          AND NOT instr(held.body, 'now points at another system')
          AND json_extract(change.value, '$[0]') IN ('delete', 'move', 'scale-to-zero')
          AND held.seq > (
            SELECT coalesce(max(seq), 0) FROM entries
            WHERE category = 'commit' AND instr(body, '"type":"revisionState"') AND instr(body, '"state":"applied"')
          )
    );
"#,
    // What is large of a resource is moved into rows of its own when the resource changes: an older codeops would not find it there.
    "SELECT 1;",
];

/// Files up to this size are checked whole at every opening; beyond it, that would make the start slow, and only what
/// is read is checked. `codeops audit verify` always checks all.
const CHECKED_AT_OPEN: u64 = 1024 * 1024;

/// How long a statement waits for another process, such as a backup, before it fails.
const BUSY: Duration = Duration::from_secs(5);

/// The same for the copying of the log at opening, which the next one can make up for.
const BUSY_AT_OPEN: Duration = Duration::from_millis(50);

/// How many pages of 4 KiB the log has before it is copied into the database: what many commits write again, such as the ends of
/// tables and indexes, is then copied once.
const COPIED_AFTER: i64 = 8_000;

/// The writer's connection: migrated, checked, and as durable as SQLite can be.
pub(super) fn open_writer(file: &Path) -> Result<Connection, StoreError> {
    let attempt = || -> Result<Connection, rusqlite::Error> {
        let db =
            Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        db.busy_timeout(BUSY)?;
        db.pragma_update(None, "journal_mode", "WAL")?;
        db.pragma_update(None, "synchronous", "FULL")?;
        db.pragma_update(None, "foreign_keys", true)?;
        db.pragma_update(None, "wal_autocheckpoint", COPIED_AFTER)?;
        db.pragma_update(None, "journal_size_limit", 64 * 1024 * 1024)?;
        db.set_prepared_statement_cache_capacity(64);
        Ok(db)
    };
    let mut db = attempt().map_err(|error| StoreError::sqlite(file, &error))?;
    refuse_newer(&db, file)?;
    check_small(&db, file)?;
    migrate(&mut db).map_err(|error| StoreError::sqlite(file, &error))?;
    settle(&db).map_err(|error| StoreError::sqlite(file, &error))?;
    Ok(db)
}

/// After a failed sync the log's tail may be in memory only, though it reads well; copied into the database and synced
/// there, nothing that is appended from now on stands on it. A reader that has the log open delays the start but little.
fn settle(db: &Connection) -> Result<(), rusqlite::Error> {
    db.busy_timeout(BUSY_AT_OPEN)?;
    db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
    db.busy_timeout(BUSY)
}

/// How many pages of a store are copied at a time.
const COPIED_AT_A_TIME: std::ffi::c_int = 1_000;

/// A connection that only reads, beside a writer in this or another process. What an older codeops wrote is read from a copy
/// in memory that is brought to this format: the file itself is, once a daemon opens it.
pub(super) fn open_reader(file: &Path) -> Result<Connection, StoreError> {
    let attempt = || -> Result<Connection, rusqlite::Error> {
        let db = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        db.busy_timeout(BUSY)?;
        db.pragma_update(None, "query_only", true)?;
        Ok(db)
    };
    let db = attempt().map_err(|error| StoreError::sqlite(file, &error))?;
    refuse_newer(&db, file)?;
    let is_older = version(&db).map(|found| found < known());
    let read = is_older.and_then(|is_older| if is_older { copy(&db) } else { Ok(db) });
    read.map_err(|error| StoreError::sqlite(file, &error))
}

/// A store as this format has it, in memory.
fn copy(db: &Connection) -> Result<Connection, rusqlite::Error> {
    let mut copy = Connection::open_in_memory()?;
    Backup::new(db, &mut copy)?.run_to_completion(COPIED_AT_A_TIME, Duration::ZERO, None)?;
    migrate(&mut copy)?;
    copy.pragma_update(None, "query_only", true)?;
    Ok(copy)
}

/// SQLite's own check of the whole file; answers the first thing that is wrong.
pub(super) fn quick_check(db: &Connection) -> Result<Option<String>, rusqlite::Error> {
    let first: Option<String> = db.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).optional()?;
    Ok(first.filter(|said| said != "ok"))
}

fn version(db: &Connection) -> Result<i64, rusqlite::Error> {
    db.query_row("PRAGMA user_version", [], |row| row.get(0))
}

fn known() -> i64 {
    i64::try_from(MIGRATIONS.len()).expect("a handful of migrations")
}

fn refuse_newer(db: &Connection, file: &Path) -> Result<(), StoreError> {
    let found = version(db).map_err(|error| StoreError::sqlite(file, &error))?;
    if found > known() {
        return Err(StoreError::Newer { file: file.to_owned(), found, known: known() });
    }
    Ok(())
}

fn check_small(db: &Connection, file: &Path) -> Result<(), StoreError> {
    if std::fs::metadata(file).is_ok_and(|meta| meta.len() > CHECKED_AT_OPEN) {
        return Ok(());
    }
    match quick_check(db) {
        Ok(None) => Ok(()),
        Ok(Some(what)) => Err(StoreError::Damaged { file: file.to_owned(), what }),
        Err(error) => Err(StoreError::sqlite(file, &error)),
    }
}

/// Runs what is missing, each step in a transaction together with the format's number.
fn migrate(db: &mut Connection) -> Result<(), rusqlite::Error> {
    let done = usize::try_from(version(db)?).unwrap_or(0);
    for (step, statements) in MIGRATIONS.iter().enumerate().skip(done) {
        let transaction = db.transaction()?;
        transaction.execute_batch(statements)?;
        transaction.pragma_update(None, "user_version", i64::try_from(step + 1).expect("a handful of migrations"))?;
        transaction.commit()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A store as a codeops wrote it that knew so many migrations.
    fn older(file: &Path, format: usize) {
        let db = Connection::open(file).expect("made");
        db.pragma_update(None, "journal_mode", "WAL").expect("as a daemon's");
        for statements in MIGRATIONS.iter().take(format) {
            db.execute_batch(statements).expect("migrated");
        }
        db.pragma_update(None, "user_version", i64::try_from(format).expect("few")).expect("numbered");
        let kept = "INSERT INTO projection VALUES ('revision', '{\"owner\": \"acme-ops/prod\"}')";
        db.execute_batch(kept).expect("written");
    }

    #[test]
    fn what_was_held_to_be_removed_is_so_after_an_upgrade() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = super::super::folder::database(folder.path());
        older(&file, 5);
        let db = Connection::open(&file).expect("it opens");
        let held = |seq: u32, id: &str| {
            let body =
                format!(r#"{{"type":"held","hold":"9f86d081884c","changes":[["delete","{id}"]],"why":"too many"}}"#);
            format!("INSERT INTO entries VALUES ({seq}, 0, 1, 'guard', NULL, '{body}', zeroblob(32), NULL);")
        };
        let part = |id: &str| format!("INSERT INTO projection VALUES ('resource/{id}', '{{}}');");
        let applied = r#"{"type":"revisionState","revision":"x","state":"applied","why":null}"#;
        let applied = format!("INSERT INTO entries VALUES (2, 0, 1, 'commit', NULL, '{applied}', zeroblob(32), NULL);");
        let all = [held(1, "app/old"), applied, held(3, "app/now"), part("app/old"), part("app/now")];
        all.iter().for_each(|statement| db.execute_batch(statement).expect("written"));
        drop(db);
        let (memory, _) = super::super::Archive::open(folder.path()).and_then(|it| it.memory()).expect("read");
        let held: Vec<_> =
            memory.resources.iter().filter(|(_, it)| it.removal_held).map(|(id, _)| id.to_string()).collect();
        assert_eq!(held, ["app/now"]);
    }

    #[test]
    fn what_an_older_codeops_wrote_is_read_and_left_as_it_is() {
        for format in 1..=MIGRATIONS.len() {
            let folder = tempfile::tempdir().expect("a folder");
            let file = super::super::folder::database(folder.path());
            older(&file, format);
            let archive = super::super::Archive::open(folder.path()).expect("it opens");
            let (memory, _) = archive.memory().unwrap_or_else(|error| panic!("format {format}: {error}"));
            assert_eq!(memory.revision.owner.map(|owner| owner.to_string()).as_deref(), Some("acme-ops/prod"));
            archive.read(&crate::journal::Query { limit: 10, ..Default::default() }).expect("its events, too");
            let left = Connection::open(&file).and_then(|db| version(&db)).expect("it opens");
            assert_eq!(left, i64::try_from(format).expect("few"), "its daemon may still run");
        }
    }
}
