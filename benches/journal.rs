//! How many appends a second 16 concurrent callers get, each waiting for its own to be durable, against the least that
//! durability costs: the same bytes appended to a plain file by one thread, one `fdatasync` for all that wait.
//!
//! Run with `cargo bench --profile perf --bench journal`.
#![expect(clippy::unwrap_used, reason = "a bench fails by panicking")]

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use codeops::journal::{Log as _, Outcome, Record, Seq};
use codeops::port::SystemClock;
use codeops::store::Sqlite;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;

const CALLERS: usize = 16;
const LASTS: Duration = Duration::from_secs(3);

#[tokio::main]
async fn main() {
    // Beside the build and not in the temporary folder, which often is memory and syncs for nothing.
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let started = Instant::now();
    let store = Arc::new(Sqlite::open(&folder.path().join("state"), Arc::new(SystemClock)).unwrap());
    let opened = started.elapsed();
    let (sqlite, raw) = (journal(store).await, plain(&folder.path().join("plain")).await);
    let started = Instant::now();
    let again = Sqlite::open(&folder.path().join("state"), Arc::new(SystemClock)).unwrap();
    println!("{:<44}{:>9.1} ms", "open, fresh", opened.as_secs_f64() * 1e3);
    println!("{:<44}{:>9.1} ms", format!("open, {sqlite} entries"), started.elapsed().as_secs_f64() * 1e3);
    drop(again);
    let second = |count: usize| count as f64 / LASTS.as_secs_f64();
    println!("{:<44}{:>9.0} /s", format!("journal appends, {CALLERS} callers"), second(sqlite));
    println!("{:<44}{:>9.0} /s", format!("plain file and fdatasync, {CALLERS} callers"), second(raw));
    println!("{:<44}{:>9.0} %", "journal of plain", 100.0 * sqlite as f64 / raw as f64);
}

fn record() -> Record {
    let outcome = Outcome::Done { note: Some("pid 4711, listening on 127.0.0.1:40123".to_owned()) };
    Record::Result { intent: Seq(1), resource: "app/shop".parse().unwrap(), what: None, aim: None, outcome }
}

/// Appends made in the time given.
async fn journal(store: Arc<Sqlite>) -> usize {
    let mut callers = JoinSet::new();
    let end = Instant::now() + LASTS;
    for _ in 0..CALLERS {
        let store = Arc::clone(&store);
        callers.spawn(async move {
            let mut done = 0;
            while Instant::now() < end {
                store.append(vec![record()]).await.unwrap();
                done += 1;
            }
            done
        });
    }
    callers.join_all().await.into_iter().sum()
}

/// The same from the same number of callers, with a plain file below.
async fn plain(path: &Path) -> usize {
    let mut file = File::create(path).unwrap();
    let (lines, mut queue) = mpsc::channel::<(Vec<u8>, oneshot::Sender<()>)>(1024);
    let writer = std::thread::spawn(move || {
        while let Some(first) = queue.blocking_recv() {
            let mut group = vec![first];
            while let Ok(next) = queue.try_recv() {
                group.push(next);
            }
            let bytes: Vec<u8> = group.iter().flat_map(|(line, _)| line).copied().collect();
            file.write_all(&bytes).unwrap();
            file.sync_data().unwrap();
            for (_, reply) in group {
                let _ = reply.send(());
            }
        }
    });
    let mut callers = JoinSet::new();
    let end = Instant::now() + LASTS;
    for _ in 0..CALLERS {
        let lines = lines.clone();
        callers.spawn(async move {
            let mut done = 0;
            while Instant::now() < end {
                let (reply, answer) = oneshot::channel();
                lines.send((serde_json::to_vec(&record()).unwrap(), reply)).await.unwrap();
                answer.await.unwrap();
                done += 1;
            }
            done
        });
    }
    drop(lines);
    let done = callers.join_all().await.into_iter().sum();
    writer.join().unwrap();
    done
}
