//! The journal on SQLite: crashes, full disks, failing disks, damage, audit; and the logs in memory that other tests use.
#![expect(clippy::unwrap_used, reason = "a test, and what helps it, fails by panicking")]

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Seek as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use codeops::journal::{Category, Journal, Log, LogError, Outcome, Query, Record, Seq};
use codeops::port::{Clock, SystemClock};
use codeops::store::audit::{self, AuditError, Head};
use codeops::store::{Keep, Sqlite, StoreError};
use codeops_core::model::{Cause, Op, ResourceId, Step};
use jiff::Timestamp;
use proptest::prelude::*;
use rusqlite::Connection;
use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::support::fault_log::{Crash, FaultLog, MemoryLog};
use crate::support::skip::skip;
use crate::support::small_disk::{SmallDisk, run};

/// Where a child of these tests finds its store.
const CHILD: &str = "CODEOPS_TEST_STORE";

fn open(folder: &Path) -> Result<Sqlite, StoreError> {
    Sqlite::open(folder, Arc::new(SystemClock))
}

fn golden() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/records");
    let mut files: Vec<(String, String)> = std::fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().path())
        .map(|path| (path.file_stem().unwrap().to_str().unwrap().to_owned(), std::fs::read_to_string(&path).unwrap()))
        .collect();
    files.sort();
    files
}

fn records() -> Vec<Record> {
    golden().iter().map(|(_, text)| serde_json::from_str(text).unwrap()).collect()
}

fn note(text: &str) -> Record {
    Record::Note { resource: None, text: text.to_owned() }
}

fn database(folder: &Path) -> PathBuf {
    folder.join("journal.db")
}

fn all(limit: usize) -> Query {
    Query { limit, ..Query::default() }
}

/// A store with these records in it, closed again.
async fn written(records: Vec<Record>) -> TempDir {
    let folder = TempDir::new().unwrap();
    let store = open(folder.path()).unwrap();
    store.append(records).await.unwrap();
    folder
}

/// This very test binary, running one test as a child that is told of a store.
fn child(test: &str, folder: &Path) -> Command {
    #[expect(clippy::disallowed_methods, reason = "a test starts itself, to be killed")]
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture", "--test-threads=1"]).env(CHILD, folder);
    command
}

#[expect(clippy::disallowed_methods, reason = "how a child of this test is told what to do")]
fn told(variable: &str) -> Option<PathBuf> {
    std::env::var_os(variable).map(PathBuf::from)
}

#[test]
fn every_kind_of_record_that_was_ever_written_is_read_for_ever() {
    let mut kinds = BTreeSet::new();
    for (name, text) in golden() {
        let record: Record = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        let before: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(serde_json::to_value(&record).unwrap(), before, "{name} is written as it was");
        // A new kind does not compile here until it is counted, and then it wants its file.
        kinds.insert(match record {
            Record::DaemonStarted { .. } => 0,
            Record::RevisionAccepted { .. } => 1,
            Record::RevisionState { .. } => 2,
            Record::Source { .. } => 3,
            Record::Intent { .. } => 4,
            Record::Result { outcome: Outcome::Done { .. }, .. } => 5,
            Record::Result { outcome: Outcome::Retry { .. }, .. } => 6,
            Record::Result { outcome: Outcome::UnderWay { .. }, .. } => 6,
            Record::Result { outcome: Outcome::Rejected { .. }, .. } => 7,
            Record::Result { outcome: Outcome::Unknown { .. }, .. } => 8,
            Record::Result { outcome: Outcome::Superseded, .. } => 9,
            Record::Status { .. } => 10,
            Record::Instance { .. } => 11,
            Record::Drift { .. } => 12,
            Record::Baked { .. } => 13,
            Record::Released { .. } => 14,
            Record::Pinned { .. } => 15,
            Record::Unpinned { .. } => 16,
            Record::Held { .. } => 17,
            Record::Allowed { .. } => 18,
            Record::Removal { .. } => 19,
            Record::HoldSpent { .. } => 20,
            Record::Forgotten { .. } => 21,
            Record::Renamed { .. } => 22,
            Record::System { .. } => 23,
            Record::Waves { .. } => 24,
            Record::Note { .. } => 25,
            Record::Alerts { .. } => 26,
            Record::AlertState { .. } => 27,
            Record::Disposed { .. } => 28,
            Record::Run { .. } => 29,
            Record::Page { .. } => 30,
            Record::Scheduled { .. } => 31,
            Record::Watchdog { .. } => 32,
            Record::Latched { .. } => 33,
            Record::Unlatched { .. } => 34,
            Record::Renewed { .. } => 35,
            Record::Kept { .. } => 36,
            Record::Stays { .. } => 37,
            Record::Result { outcome: Outcome::TakenUp, .. } => 38,
            Record::TakenBack { .. } => 39,
            Record::Ports { .. } => 40,
        });
    }
    assert_eq!(kinds, (0..41).collect(), "each kind has a golden file");
}

#[tokio::test]
async fn what_was_appended_is_found_again_with_its_fold_and_pages() {
    let folder = TempDir::new().unwrap();
    let store = open(folder.path()).unwrap();
    let mut tail = store.tail();
    let entries = store.append(records()).await.unwrap();
    assert_eq!(tail.recv().await.unwrap().seq, Seq(1));
    let (memory, doubts) = (store.memory().read().unwrap().clone(), store.in_doubt());
    let (id, epoch) = store.identity();
    drop(store);

    let store = open(folder.path()).unwrap();
    assert_eq!(*store.memory().read().unwrap(), memory);
    assert_eq!(store.in_doubt(), doubts);
    assert_eq!(store.identity(), (id, epoch + 1));

    let page = store.read(all(10)).await.unwrap();
    assert_eq!(page.items.len(), 10);
    assert_eq!(page.items.first(), entries.last());
    let rest = store.read(Query { before: page.next, ..all(1000) }).await.unwrap();
    assert_eq!(page.items.len() + rest.items.len(), entries.len());
    assert_eq!(rest.next, None);
    let categories = vec![Category::Drift, Category::Commit];
    let asked = entries.iter().filter(|entry| categories.contains(&entry.record.category())).rev();
    let some = store.read(Query { categories: categories.clone(), ..all(1000) }).await.unwrap().items;
    assert!(some.len() > 5 && some.iter().eq(asked), "{some:?}");
    let shop: ResourceId = "app/shop".parse().unwrap();
    let of_shop = store.read(Query { resource: Some(shop.clone()), ..all(1000) }).await.unwrap().items;
    assert!(of_shop.len() > 5 && of_shop.iter().all(|entry| entry.record.resource() == Some(&shop)));
}

#[tokio::test]
async fn many_callers_get_numbers_without_gaps_and_a_chain_that_holds() {
    let folder = TempDir::new().unwrap();
    let store = Arc::new(open(folder.path()).unwrap());
    let mut callers = JoinSet::new();
    for caller in 0..16 {
        let store = Arc::clone(&store);
        callers.spawn(async move {
            let mut seqs = Vec::new();
            for n in 0..20 {
                let entries = store.append(vec![note(&format!("{caller} {n}")), note("and one more")]).await.unwrap();
                assert_eq!(entries[0].seq.0 + 1, entries[1].seq.0, "what is appended together stays together");
                seqs.extend(entries.iter().map(|entry| entry.seq.0));
            }
            seqs
        });
    }
    let seqs: BTreeSet<u64> = callers.join_all().await.into_iter().flatten().collect();
    assert_eq!(seqs, (1..=640).collect());
    let verified = audit::verify(folder.path(), None).unwrap();
    assert_eq!((verified.entries, verified.head), (640, store.head().await.unwrap()));
}

#[tokio::test]
async fn a_second_daemon_is_refused_with_the_first_ones_pid_while_reading_goes_on() {
    let folder = TempDir::new().unwrap();
    let store = open(folder.path()).unwrap();
    let said = open(folder.path()).err().unwrap().to_string();
    assert!(said.contains(&std::process::id().to_string()), "{said}");
    assert!(said.contains(folder.path().to_str().unwrap()), "{said}");

    store.append(records()).await.unwrap();
    let archive = Sqlite::open_read(folder.path()).unwrap();
    assert_eq!(archive.read(&all(1000)).unwrap().items.len(), golden().len());
    assert_eq!(archive.memory().unwrap().0, *store.memory().read().unwrap());
    assert_eq!(archive.identity().unwrap(), store.identity());
    assert_eq!(archive.tag_key().unwrap().unwrap().reveal(), store.tag_key().reveal());
    drop(store);
    open(folder.path()).unwrap();
}

#[tokio::test]
async fn everything_in_the_state_folder_is_private() {
    let parent = TempDir::new().unwrap();
    let folder = parent.path().join("new/state");
    let store = open(&folder).unwrap();
    store.append(vec![note("one")]).await.unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&folder), 0o711);
    for file in std::fs::read_dir(&folder).unwrap() {
        let path = file.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
}

#[test]
fn a_tag_key_that_cannot_be_read_is_not_taken_for_none() {
    let folder = TempDir::new().unwrap();
    let key = folder.path().join("secret-tags.key");
    drop(open(folder.path()).unwrap());
    let before = std::fs::read(&key).unwrap();
    for broken in [&before[1..], b"\xff", b""] {
        std::fs::write(&key, broken).unwrap();
        let error = open(folder.path()).err().unwrap().to_string();
        assert!(error.contains("secret-tags.key"), "{error}");
        assert_eq!(std::fs::read(&key).unwrap(), broken, "it is not written over");
    }
    std::fs::write(&key, &before).unwrap();
    open(folder.path()).unwrap();
}

#[tokio::test]
async fn a_lost_store_is_a_fresh_one_whose_epoch_can_be_brought_above_what_keepers_saw() {
    let (first, second) = (written(vec![note("one")]).await, TempDir::new().unwrap());
    let (first, store) = (open(first.path()).unwrap(), open(second.path()).unwrap());
    assert_ne!(first.identity().0, store.identity().0);
    assert_ne!(first.tag_key().reveal(), store.tag_key().reveal());
    let started = |epoch| vec![Record::DaemonStarted { version: "0.1.0".to_owned(), epoch, reloaded: false }];
    for said in [58, 3] {
        store.append(started(said)).await.unwrap();
        assert_eq!(store.epoch(), 58);
    }
    drop(store);
    assert_eq!(open(second.path()).unwrap().epoch(), 59);
}

#[tokio::test]
async fn a_store_of_a_newer_codeops_is_refused_and_left_alone() {
    let folder = written(vec![note("one")]).await;
    Connection::open(database(folder.path())).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let error = open(folder.path()).err().unwrap();
    assert!(matches!(error, StoreError::Newer { found: 99, .. }), "{error}");
    assert!(error.to_string().contains("newer codeops"), "{error}");
}

/// An older codeops counted what a revision removes, and the newer says of it by name whether something of it is done.
#[tokio::test]
async fn what_an_older_codeops_began_to_remove_is_still_known() {
    let golden: std::collections::BTreeMap<_, _> = golden().into_iter().collect();
    let record = |name: &str, with: serde_json::Value| -> Record {
        let mut record: serde_json::Value = serde_json::from_str(&golden[name]).unwrap();
        record.as_object_mut().unwrap().extend(with.as_object().unwrap().clone());
        serde_json::from_value(record).unwrap()
    };
    let accepted = |files: &[&str], gone: &[&str]| {
        let files: serde_json::Map<_, _> = files.iter().map(|id| ((*id).to_owned(), "apps.yaml".into())).collect();
        record("revisionAccepted", serde_json::json!({"files": files, "gone": gone}))
    };
    let begins = |id: &str, word: &str| record("intent", serde_json::json!({"resource": id, "word": word}));
    let gone = |id: &str| record("forgotten", serde_json::json!({"resource": id}));
    let done = |intent: u64, id: &str| record("result-done", serde_json::json!({"resource": id, "intent": intent}));
    let folder = written(vec![
        accepted(&["app/shop", "app/web", "app/api", "app/docs", "app/old"], &[]),
        begins("app/docs", "create"),
        accepted(&["app/shop", "app/old"], &["app/web", "app/api", "app/docs"]),
        begins("app/web", "delete"),
        gone("app/web"),
        begins("app/api", "delete"),
        done(6, "app/api"),
        begins("app/docs", "delete"),
        accepted(&["app/shop"], &["app/old"]),
        begins("app/old", "delete"),
        done(10, "app/old"),
    ])
    .await;
    let memory = || open(folder.path()).unwrap().memory().read().unwrap().clone();
    let before = memory();
    let names: Vec<String> = before.revision.removes.iter().map(ToString::to_string).collect();
    assert_eq!(names, ["app/docs", "app/old"], "what was stuck goes under the newer");
    let db = Connection::open(database(folder.path())).unwrap();
    let older = "UPDATE projection SET body = json_set(json_remove(body, '$.removes'), '$.removed', 1) \
                 WHERE part = 'revision'; PRAGMA user_version = 4;";
    db.execute_batch(older).unwrap();
    drop(db);
    assert_eq!(memory(), before);
}

#[tokio::test]
async fn a_damaged_file_is_named_with_what_to_do() {
    for (place, text) in [(0, "not a database at all"), (4096, "torn pages, torn pages, torn pages")] {
        let folder = written(records()).await;
        let path = database(folder.path());
        let mut file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
        file.seek(std::io::SeekFrom::Start(place)).unwrap();
        file.write_all(text.repeat(20).as_bytes()).unwrap();
        let error = open(folder.path()).err().unwrap();
        assert!(matches!(error, StoreError::Damaged { .. }), "{error:?}");
        let said = error.to_string();
        assert!(said.contains(path.to_str().unwrap()) && said.contains("move") && said.contains("stamps"), "{said}");
        // What the message says helps.
        std::fs::remove_file(path).unwrap();
        open(folder.path()).unwrap();
    }
}

#[tokio::test]
async fn the_audit_finds_what_was_tampered_with() {
    fn tampered(folder: &Path, sql: &str, exported: Option<Head>) -> AuditError {
        Connection::open(database(folder)).unwrap().execute_batch(sql).unwrap();
        audit::verify(folder, exported).unwrap_err()
    }
    let folder = written(records()).await;
    let head = audit::head(folder.path()).unwrap();
    let verified = audit::verify(folder.path(), Some(head.to_string().parse().unwrap())).unwrap();
    assert!(verified.against_export && verified.head == head, "{verified:?}");

    let edit =
        tampered(folder.path(), "UPDATE entries SET body = replace(body, 'Ann', 'Eve') WHERE body LIKE '%Ann%'", None);
    assert!(matches!(edit, AuditError::Changed(_)), "{edit}");

    let cases = [
        ("UPDATE entries SET at = at + 1 WHERE seq = 3", "entry 3 was changed"),
        ("UPDATE entries SET resource = 'app/other' WHERE seq = 2", "entry 2 was changed"),
        ("DELETE FROM entries WHERE seq BETWEEN 4 AND 5", "entries 4 to 5 are missing"),
        (
            "UPDATE entries SET seq = -1 WHERE seq = 6; UPDATE entries SET seq = 6 WHERE seq = 7; \
             UPDATE entries SET seq = 7 WHERE seq = -1",
            "entry 6 was changed",
        ),
        ("DELETE FROM entries WHERE seq > 20", "entries 21 to"),
        (
            "DELETE FROM entries WHERE seq > 20; UPDATE meta SET value = 20 WHERE key = 'head.seq'; \
             UPDATE meta SET value = (SELECT hash FROM entries WHERE seq = 20) WHERE key = 'head.hash'",
            "cut short or written anew",
        ),
    ];
    for (sql, expected) in cases {
        let folder = written(records()).await;
        let head = audit::head(folder.path()).unwrap();
        let said = tampered(folder.path(), sql, Some(head)).to_string();
        assert!(said.contains(expected), "{sql}: {said}");
    }
}

#[tokio::test]
async fn old_entries_go_and_the_chain_still_verifies_from_where_it_begins() {
    let folder = TempDir::new().unwrap();
    let keep = Keep { records: 500, ..Keep::default() };
    let store = Sqlite::open_keeping(folder.path(), Arc::new(SystemClock), keep).unwrap();
    let early = {
        store.append(records()).await.unwrap();
        store.head().await.unwrap()
    };
    let memory = store.memory().read().unwrap().clone();
    for _ in 0..30 {
        store.append(vec![note("filler"); 100]).await.unwrap();
    }
    drop(store);
    let store = Sqlite::open_keeping(folder.path(), Arc::new(SystemClock), keep).unwrap();
    store.append(vec![note("last")]).await.unwrap();
    drop(store);
    let verified = audit::verify(folder.path(), Some(audit::head(folder.path()).unwrap())).unwrap();
    assert!(verified.against_export && verified.entries < 1600, "{verified:?}");
    assert!(verified.first > Some(Seq(1000)), "{verified:?}");
    let error = audit::verify(folder.path(), Some(early)).unwrap_err();
    assert!(matches!(error, AuditError::TooOld { .. }), "{error}");
    assert_eq!(*open(folder.path()).unwrap().memory().read().unwrap(), memory, "the memory stays whole");
}

/// How many bytes the database takes, free ones left out.
fn takes(folder: &Path) -> u64 {
    let db = Connection::open(database(folder)).unwrap();
    let pages =
        |of: &str| db.query_row(&format!("PRAGMA {of}"), [], |row| row.get::<_, i64>(0)).unwrap().unsigned_abs();
    (pages("page_count") - pages("freelist_count")) * pages("page_size")
}

#[tokio::test]
async fn beyond_its_bytes_the_oldest_entries_go_and_what_is_remembered_stays() {
    const BOUND: u64 = 24 << 20;
    let folder = TempDir::new().unwrap();
    let keep = Keep { bytes: BOUND, ..Keep::default() };
    let open = || Sqlite::open_keeping(folder.path(), Arc::new(SystemClock), keep).unwrap();
    let store = open();
    store.append(records()).await.unwrap();
    let memory = store.memory().read().unwrap().clone();
    let large = note(&"x".repeat(10_000));
    for _ in 0..60 {
        store.append(vec![large.clone(); 100]).await.unwrap();
    }
    drop(store);
    let store = open();
    store.append(vec![note("last")]).await.unwrap();
    drop(store);
    assert!(takes(folder.path()) <= BOUND + (1 << 20), "of 60 MB: {}", takes(folder.path()));
    let verified = audit::verify(folder.path(), Some(audit::head(folder.path()).unwrap())).unwrap();
    assert!(verified.against_export && verified.entries > 1_000, "no more go than need be: {verified:?}");
    assert_eq!(*open().memory().read().unwrap(), memory, "the memory stays whole");
}

#[tokio::test]
async fn what_is_remembered_may_take_more_than_the_bound_and_the_newest_entries_stay() {
    let folder = TempDir::new().unwrap();
    let keep = Keep { bytes: 1, ..Keep::default() };
    let open = || Sqlite::open_keeping(folder.path(), Arc::new(SystemClock), keep).unwrap();
    let store = open();
    for _ in 0..30 {
        store.append(vec![note("filler"); 100]).await.unwrap();
    }
    drop(store);
    drop(open());
    let verified = audit::verify(folder.path(), None).unwrap();
    assert!((1_000..=2_000).contains(&verified.entries), "{verified:?}");
}

/// The bytes of the rows that this statement selects.
fn bytes_of(folder: &Path, rows: &str) -> u64 {
    let db = Connection::open(database(folder)).unwrap();
    let sum = format!("SELECT ifnull(sum(octet_length(body)), 0) FROM {rows}");
    db.query_row(&sum, [], |row| row.get::<_, i64>(0)).unwrap().unsigned_abs()
}

#[tokio::test]
async fn the_path_of_a_file_is_written_once_however_much_it_declares() {
    let folder = TempDir::new().unwrap();
    let accepted = |file: &str| -> Record {
        let ids: Vec<String> = (0..1_000).map(|n| format!("app/q{n}")).collect();
        let record = serde_json::json!({"type": "revisionAccepted", "revision": "9".repeat(40), "owner": "acme-ops/prod",
            "commits": [], "blastPercent": 25, "files": {}, "byFile": {file: ids}});
        serde_json::from_value(record).unwrap()
    };
    let path = |n: u32| format!("b/{n}/{}.yaml", "p".repeat(3_000));
    let store = open(folder.path()).unwrap();
    for n in 0..3 {
        store.append(vec![accepted(&path(n))]).await.unwrap();
    }
    drop(store);
    assert!(bytes_of(folder.path(), "entries") < 3 * 20_000, "{}", bytes_of(folder.path(), "entries"));
    assert!(bytes_of(folder.path(), "projection") < 400_000, "{}", bytes_of(folder.path(), "projection"));
    assert_eq!(bytes_of(folder.path(), "projection WHERE part LIKE 'file/%'"), 3_000 + 11, "the former paths are gone");

    let store = open(folder.path()).unwrap();
    let files: Vec<Arc<str>> = {
        let memory = store.memory();
        let memory = memory.read().unwrap();
        memory.resources.values().filter_map(|it| it.file.clone()).collect()
    };
    assert_eq!((files.len(), &*files[0]), (1_000, &*path(2)));
    assert!(files.iter().all(|file| Arc::ptr_eq(file, &files[0])), "nor is it remembered more than once");
    store.append(vec![accepted("short.yaml")]).await.unwrap();
    drop(store);
    assert_eq!(bytes_of(folder.path(), "projection WHERE part LIKE 'file/%'"), 0);
    let store = open(folder.path()).unwrap();
    let memory = store.memory();
    let file = memory.read().unwrap().resources[&"app/q7".parse().unwrap()].file.clone();
    assert_eq!(file.as_deref(), Some("short.yaml"));
}

#[tokio::test]
async fn what_a_resource_is_declared_as_is_written_when_it_changes_and_not_with_the_resource() {
    let folder = TempDir::new().unwrap();
    let mut baked: serde_json::Value = serde_json::to_value(named("baked")).unwrap();
    baked["good"]["resource"]["spec"]["env"] = serde_json::json!({"BIG": "x".repeat(200_000)});
    let baked: Record = serde_json::from_value(baked).unwrap();
    let store = open(folder.path()).unwrap();
    store.append(vec![baked, named("stays-good")]).await.unwrap();
    let memory = store.memory().read().unwrap().clone();
    drop(store);
    let small = || bytes_of(folder.path(), "projection WHERE part LIKE 'resource/%'");
    assert!(small() < 2_000, "{}", small());
    let again = open(folder.path()).unwrap();
    assert_eq!(*again.memory().read().unwrap(), memory, "it is put together again");
    again.append(vec![named("result-retry"), named("stays-over")]).await.unwrap();
    again.append(vec![Record::Forgotten { resource: "app/shop".parse().unwrap() }]).await.unwrap();
    drop(again);
    assert_eq!(bytes_of(folder.path(), "projection WHERE part LIKE 'declared/%' OR part LIKE 'resource/%'"), 0);
}

#[test]
fn how_much_is_kept_is_a_setting_with_a_floor() {
    let read = |text: &str| codeops_core::desired::parse_settings("daemon.yaml", text);
    let kept = |text: &str| {
        let journal = read(text).unwrap().journal;
        (journal.days, journal.entries, journal.size.0)
    };
    let Keep { days, records, bytes } = Keep::default();
    let default = kept("mode: apply");
    assert_eq!((default.0, u64::from(default.1), default.2), (days, records, bytes), "both defaults are one");
    assert_eq!(kept("journal: {days: 30, size: 1GiB}"), (30, 1_000_000, 1 << 30));
    for bad in ["{days: 0}", "{entries: 10}", "{size: 1MiB}", "{size: much}", "{bytes: 1GiB}"] {
        assert_eq!(read(&format!("journal: {bad}")).unwrap_err().len(), 1, "{bad}");
    }
}

fn named(name: &str) -> Record {
    let text = golden().into_iter().find(|(known, _)| known == name).unwrap().1;
    serde_json::from_str(&text).unwrap()
}

/// A clock that stands still.
struct At(&'static str);

impl Clock for At {
    fn now(&self) -> Timestamp {
        self.0.parse().unwrap()
    }
}

#[tokio::test]
async fn entries_older_than_ninety_days_go_and_those_in_doubt_are_still_known() {
    let folder = TempDir::new().unwrap();
    for (now, kept) in [("2026-01-01T00:00:00Z", 28), ("2026-03-31T00:00:00Z", 56), ("2026-04-02T00:00:00Z", 56)] {
        let store = Sqlite::open(folder.path(), Arc::new(At(now))).unwrap();
        let mut all_records = records();
        all_records.retain(|record| !matches!(record, Record::Result { .. }));
        all_records.resize(28, note("filler"));
        store.append(all_records).await.unwrap();
        drop(store);
        let verified = audit::verify(folder.path(), None).unwrap();
        assert_eq!(verified.entries, kept, "{now}");
    }
    assert_eq!(open(folder.path()).unwrap().in_doubt().len(), 3);
}

#[tokio::test]
async fn a_renamed_resource_keeps_its_history_and_not_that_of_a_later_namesake() {
    let folder = TempDir::new().unwrap();
    let store = open(folder.path()).unwrap();
    let id = |name: &str| name.parse::<ResourceId>().unwrap();
    let about = |name: &str| Record::Drift { resource: id(name), what: "it moved".to_owned() };
    let renamed = |from: &str, to: &str| Record::Renamed { from: id(from), resource: id(to) };
    let history = vec![
        about("app/a"),
        renamed("app/a", "app/b"),
        about("app/b"),
        renamed("app/b", "app/c"),
        about("app/a"),
        about("app/c"),
    ];
    store.append(history).await.unwrap();
    let page = store.read(Query { resource: Some(id("app/c")), ..all(100) }).await.unwrap();
    assert_eq!(page.items.iter().map(|entry| entry.seq.0).collect::<Vec<_>>(), [6, 4, 3, 2, 1]);
}

/// Not a test by itself: appends for ever, and prints each number that was acknowledged.
#[tokio::test]
async fn child_that_appends() {
    let Some(folder) = told(CHILD) else { return };
    let store = Arc::new(open(&folder).unwrap());
    let mut callers = JoinSet::new();
    for caller in 0..4 {
        let store = Arc::clone(&store);
        callers.spawn(async move {
            for n in 0_u64.. {
                let text = format!("{caller} {n} {}", "x".repeat(2000));
                match store.append(vec![note(&text)]).await {
                    Ok(entries) => println!("\nack {}", entries[0].seq.0),
                    Err(LogError::Poisoned(why)) => return println!("\npoisoned {why}"),
                    Err(error) => panic!("{error}"),
                }
            }
        });
    }
    callers.join_all().await;
    assert!(store.poisoned().is_some());
    let error = store.append(vec![note("after")]).await.unwrap_err();
    println!("\nrefused {error}");
    assert!(store.read(all(5)).await.is_ok(), "reading goes on");
}

struct Told {
    acknowledged: BTreeSet<u64>,
    poisoned: Option<String>,
    refused: bool,
}

/// Reads what a child prints until it ends; `seen` is called after each acknowledgement.
fn listen(child: &mut Child, mut seen: impl FnMut(&mut Child, usize)) -> Told {
    let output = BufReader::new(child.stdout.take().unwrap());
    let mut told = Told { acknowledged: BTreeSet::new(), poisoned: None, refused: false };
    for line in output.lines().map_while(Result::ok) {
        if let Some(seq) = line.strip_prefix("ack ") {
            told.acknowledged.insert(seq.parse().unwrap());
            seen(child, told.acknowledged.len());
        } else if let Some(why) = line.strip_prefix("poisoned ") {
            told.poisoned = Some(why.to_owned());
        }
        told.refused |= line.starts_with("refused the journal is poisoned");
    }
    child.wait().unwrap();
    told
}

fn nothing_acknowledged_is_lost(folder: &Path, acknowledged: &BTreeSet<u64>) {
    let store = open(folder).unwrap();
    let verified = audit::verify(folder, None).unwrap();
    let last = acknowledged.last().copied().unwrap();
    assert!(verified.head.seq.0 >= last, "{verified:?} has entry {last}");
    assert_eq!(verified.entries, verified.head.seq.0, "and all before it");
    drop(store);
}

#[test]
fn a_daemon_killed_at_any_point_loses_nothing_it_acknowledged() {
    let folder = TempDir::new().unwrap();
    for cut in [1, 7, 40, 111] {
        let mut killed = child("store::child_that_appends", folder.path()).stdout(Stdio::piped()).spawn().unwrap();
        let told = listen(&mut killed, |child, count| {
            if count == cut {
                child.kill().unwrap();
            }
        });
        assert!(told.acknowledged.len() >= cut);
        nothing_acknowledged_is_lost(folder.path(), &told.acknowledged);
    }
}

#[test]
fn a_full_disk_poisons_and_once_there_is_room_all_acknowledged_is_there() {
    let parent = TempDir::new().unwrap();
    let disk = parent.path().join("disk");
    std::fs::create_dir(&disk).unwrap();
    let Some(_mounted) = SmallDisk::new(&disk, "4m") else {
        // The same, less really, is proven by `a_disk_that_fails_poisons_and_nothing_acknowledged_is_lost`.
        return skip("no file system can be mounted here");
    };
    let folder = disk.join("state");
    let mut appending = child("store::child_that_appends", &folder).stdout(Stdio::piped()).spawn().unwrap();
    let told = listen(&mut appending, |_, _| {});
    let why = told.poisoned.unwrap();
    assert!(why.contains("full") && why.contains("free disk space"), "{why}");
    assert!(why.contains("begins anew by itself") && !why.contains("start codeops again"), "{why}");
    assert!(told.refused && told.acknowledged.len() > 10);

    SmallDisk::resize(&disk, "64m");
    nothing_acknowledged_is_lost(&folder, &told.acknowledged);
}

/// A child that appends until its disk goes bad after 25 acknowledgements: writes fail, or syncs. `None` if the shim
/// that does it cannot be built here.
fn on_a_bad_disk(folder: &Path, how: &str) -> Option<Told> {
    let parent = TempDir::new().unwrap();
    let (library, trigger) = (parent.path().join("bad_disk.so"), parent.path().join("bad"));
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/bad_disk.c");
    if !run("cc", &["-shared", "-fPIC", "-o", library.to_str().unwrap(), source, "-ldl"]) {
        return None;
    }
    let mut appending = child("store::child_that_appends", folder)
        .env("LD_PRELOAD", &library)
        .env("BAD_DISK", &trigger)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    Some(listen(&mut appending, |_, count| {
        if count == 25 {
            std::fs::write(&trigger, how).unwrap();
        }
    }))
}

#[test]
fn a_disk_that_fails_poisons_and_nothing_acknowledged_is_lost() {
    for (how, says) in [("sync", "I/O"), ("full", "free disk space")] {
        let parent = TempDir::new().unwrap();
        let folder = parent.path().join("state");
        let Some(told) = on_a_bad_disk(&folder, how) else { return skip("there is no C compiler") };
        let why = told.poisoned.unwrap();
        assert!(why.contains(says) && told.refused, "{how}: {why}");
        assert!(why.contains("begins anew by itself") && !why.contains("start codeops again"), "{how}: {why}");
        nothing_acknowledged_is_lost(&folder, &told.acknowledged);
    }
}

#[tokio::test]
async fn a_log_in_memory_crashes_where_told_and_reopens_with_what_was_durable() {
    for (crash, durable) in [(Crash::Before(1), 1), (Crash::After(1), 2)] {
        let log = FaultLog::new(Arc::new(SystemClock), Some(crash));
        log.append(vec![note("one")]).await.unwrap();
        let intent: Record = records().into_iter().find(|it| matches!(it, Record::Intent { .. })).unwrap();
        assert!(matches!(log.append(vec![intent.clone()]).await, Err(LogError::Poisoned(_))));
        assert!(matches!(log.append(vec![intent]).await, Err(LogError::Poisoned(_))));
        assert!(log.crashed() && log.in_doubt().is_empty() && log.appends() == 3);
        let log = log.reopen(None);
        assert_eq!((log.entries().len(), log.in_doubt().len()), (durable, durable - 1));
        assert_eq!(log.identity().1, 2);
        log.append(vec![note("more")]).await.unwrap();
    }
    let log = MemoryLog::new(Arc::new(SystemClock));
    let journal = Journal::new(log.clone());
    journal.record(records()).await.unwrap();
    assert_eq!(log.entries().len(), golden().len());
    assert_eq!(journal.read(all(3)).await.unwrap().next, Some(Seq(golden().len() as u64 - 2)));
}

fn stop() -> Step {
    Step {
        resource: "app/shop".parse().unwrap(),
        owner: "acme-ops/prod".parse().unwrap(),
        team: "payments".parse().unwrap(),
        provider: "local".parse().unwrap(),
        op: Op::Stop { instance: "9f86d081-1".to_owned().try_into().unwrap() },
        cause: Cause::Drift { what: "one too many".to_owned() },
    }
}

#[tokio::test]
async fn what_is_begun_again_after_a_crash_keeps_its_key_wherever_it_was_cut() {
    let done = || Outcome::Done { note: None };
    for crash in (0..3).flat_map(|n| [Crash::Before(n), Crash::After(n)]) {
        let log = FaultLog::new(Arc::new(SystemClock), Some(crash));
        let journal = Journal::new(log.clone());
        let mut keys = Vec::new();
        // Cut at the note, at the intent or at the result.
        if journal.record(vec![note("first")]).await.is_ok()
            && let Ok(started) = journal.intend(stop(), Vec::new()).await
        {
            keys.push(started.key().clone());
            assert!(journal.settle(&started, done(), Vec::new()).await.is_err(), "{crash:?}");
        }
        assert!(log.crashed() && journal.poisoned().is_some());

        let log = log.reopen(None);
        let journal = Journal::new(log.clone());
        let began = journal.in_doubt();
        assert_eq!(began.len(), usize::from(matches!(crash, Crash::After(1) | Crash::Before(2))), "{crash:?}");
        let started = journal.intend(stop(), Vec::new()).await.unwrap();
        assert!(began.iter().all(|doubt| doubt.key == *started.key()), "{crash:?}");
        assert!(began.is_empty() || keys.iter().all(|key| key == started.key()), "{crash:?}");
        journal.settle(&started, done(), Vec::new()).await.unwrap();
        assert!(journal.in_doubt().is_empty());
    }
}

#[tokio::test]
async fn an_intent_without_a_result_is_in_doubt_for_the_next_daemon_and_keeps_its_key() {
    let folder = TempDir::new().unwrap();
    let journal = Journal::new(Arc::new(open(folder.path()).unwrap()));
    let key = journal.intend(stop(), Vec::new()).await.unwrap().key().clone();
    drop(journal);
    let journal = Journal::new(Arc::new(open(folder.path()).unwrap()));
    assert_eq!(journal.in_doubt().len(), 1);
    let started = journal.intend(stop(), Vec::new()).await.unwrap();
    assert_eq!((started.key(), started.epoch()), (&key, 2));
    journal.settle(&started, Outcome::Done { note: None }, Vec::new()).await.unwrap();
    drop(journal);
    let store = open(folder.path()).unwrap();
    assert!(store.in_doubt().is_empty());
}

/// Any record there is, about one of three apps, ending one of the first few intents.
fn any_record() -> impl Strategy<Value = Record> {
    (prop::sample::select(records()), prop::sample::select(vec!["shop", "auth", "store"]), 1..40_u64).prop_map(
        |(record, app, intent)| {
            let text = serde_json::to_string(&record).unwrap().replace("app/shop", &format!("app/{app}"));
            let text = text.replace("\"intent\":6", &format!("\"intent\":{intent}"));
            serde_json::from_str(&text).unwrap()
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn the_fold_while_running_and_after_reopening_are_equal(
        groups in prop::collection::vec(prop::collection::vec(any_record(), 1..6), 1..12)
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let folder = TempDir::new().unwrap();
            let (store, plain) = (open(folder.path()).unwrap(), MemoryLog::new(Arc::new(SystemClock)));
            for group in groups {
                store.append(group.clone()).await.unwrap();
                plain.append(group).await.unwrap();
            }
            let (memory, doubts) = (store.memory().read().unwrap().clone(), store.in_doubt());
            drop(store);
            let store = open(folder.path()).unwrap();
            prop_assert_eq!(store.memory().read().unwrap().clone(), memory);
            prop_assert_eq!(store.in_doubt(), doubts.clone());
            prop_assert_eq!(plain.in_doubt(), doubts);
            audit::verify(folder.path(), None).unwrap();
            Ok(())
        })?;
    }
}

/// How much one look for events about alerts costs does not grow with the journal, and all of them are found.
#[tokio::test]
async fn a_look_for_what_no_index_leads_to_is_bounded_and_goes_on_where_it_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).unwrap();
    let heard = Record::Watchdog { receiver: "main".parse().unwrap() };
    store.append(vec![heard.clone()]).await.unwrap();
    for _ in 0..9 {
        store.append((0..2_500).map(|_| note("much else")).collect()).await.unwrap();
    }
    store.append(vec![heard]).await.unwrap();
    let query = |before| Query { categories: vec![Category::Alert], before, limit: 10, ..Query::default() };
    let first = store.read(query(None)).await.unwrap();
    assert_eq!(first.items.iter().map(|entry| entry.seq).collect::<Vec<_>>(), [Seq(22_502)]);
    let second = store.read(query(first.next)).await.unwrap();
    assert_eq!((second.items.iter().map(|entry| entry.seq).collect::<Vec<_>>(), second.next), (vec![Seq(1)], None));
}
