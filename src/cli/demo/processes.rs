//! The processes that run from one binary: found by it, so that only what the demo started is ever ended.

use std::fs;
use std::path::Path;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::time::Instant;

/// Every process that runs from `binary`.
pub(super) fn running(binary: &Path) -> Vec<Pid> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok().and_then(Pid::from_raw))
        .filter(|pid| runs_from(*pid, binary))
        .collect()
}

/// Whether a process runs from `binary`, also after the file was removed.
pub(super) fn runs_from(pid: Pid, binary: &Path) -> bool {
    let Ok(file) = fs::read_link(format!("/proc/{pid}/exe")) else { return false };
    let file = file.to_string_lossy();
    file.strip_suffix(" (deleted)").unwrap_or(&file) == binary.to_string_lossy()
}

/// The words a process was started with.
fn words(pid: Pid) -> Vec<String> {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    bytes.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect()
}

/// The keeper that holds an app's port: the parent of its instances, or the keeper whose words name the app.
pub(super) fn keeper_of(instance: Pid, app: &str, binary: &Path) -> Option<Pid> {
    let is_keeper = |pid: Pid| runs_from(pid, binary) && words(pid).get(1).is_some_and(|word| word == "keeper");
    let parent = parent(instance).filter(|pid| is_keeper(*pid));
    parent.or_else(|| {
        running(binary).into_iter().find(|pid| is_keeper(*pid) && words(*pid).iter().any(|word| word.contains(app)))
    })
}

fn parent(pid: Pid) -> Option<Pid> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything; what follows the last one are numbers.
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok().and_then(Pid::from_raw)
}

/// Ends everything that runs from `binary`; gives how many there were, and how many would not go.
pub(super) async fn sweep(binary: &Path, patience: Duration) -> (usize, usize) {
    let found = running(binary).len();
    let deadline = Instant::now() + patience;
    loop {
        let left = running(binary);
        if left.is_empty() || Instant::now() > deadline {
            return (found, left.len());
        }
        for pid in left {
            let _ = kill_process(pid, Signal::KILL);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
