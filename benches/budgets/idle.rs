//! What the daemon and its keepers hold in memory when nothing happens.

use std::time::Duration;

use super::daemon::{Daemon, Place, private, resident};
use super::start::sleeper;
use super::table::Row;

/// After the last change, so that what the start needed is given back.
const SETTLE: Duration = Duration::from_secs(15);

pub(crate) fn fifty() -> Vec<Row> {
    let (place, daemon) = with(50);
    let keepers: Vec<u64> = daemon.keepers().into_iter().map(private).collect();
    let rows = vec![
        Row::memory("idle", "daemon idle, 50 apps, resident", 30, &[resident(daemon.pid())]),
        Row::memory("idle", "a keeper's private memory", 4, &keepers),
    ];
    drop((daemon, place));
    rows
}

pub(crate) fn thousand() -> Vec<Row> {
    let (place, daemon) = with(1_000);
    let rows = vec![Row::memory("thousand", "daemon idle, 1,000 apps, resident", 64, &[resident(daemon.pid())])];
    drop((daemon, place));
    rows
}

fn with(count: usize) -> (Place, Daemon) {
    let apps = (0..count).map(|i| (format!("apps/a{i}.yaml"), sleeper(&format!("a{i}"))));
    let place = Place::with(&apps.collect::<Vec<_>>());
    let daemon = place.start();
    daemon.until_fine(count);
    std::thread::sleep(SETTLE);
    (place, daemon)
}
