//! Which processes are an instance's: below its first one, in its control group or session, or orphaned by it and so the
//! keeper's own children. It finds them, and ends the orphans.

use std::convert::Infallible;
use std::fs;
use std::io;
use std::iter::once_with;

use codeops_core::model::InstanceId;
use rustix::process::{Signal, WaitOptions};
use tokio::signal::unix::{SignalKind, signal};

use super::process::{is_known, raw, stat_field};
use crate::launch::cgroup::Group;

/// Deeper trees of processes are not followed.
const MOST: usize = 1024;
/// How often what is left is looked for when it is killed.
const ROUNDS: usize = 3;

/// What the processes of one instance are known by.
#[derive(Debug, Clone)]
pub(super) struct Family {
    /// Its first process.
    pub(super) first: u32,
    /// What it is called in its environment.
    pub(super) id: InstanceId,
    /// Its control groups.
    pub(super) group: Group,
}

impl Family {
    /// All that can be found, the first process first; found only as far as it is asked.
    pub(super) fn members(&self) -> impl Iterator<Item = u32> {
        let below = once_with(|| tree(self.first));
        let grouped = once_with(|| self.group.members());
        let orphaned = once_with(|| orphans(&self.id).into_iter().flat_map(tree).collect());
        let session = once_with(|| in_session(self.first));
        below.chain(grouped).chain(orphaned).chain(session).flatten()
    }
}

/// The process and its children's children.
pub(super) fn tree(root: u32) -> Vec<u32> {
    let mut all = vec![root];
    let mut next = 0;
    while let Some(pid) = all.get(next).copied().filter(|_| all.len() < MOST) {
        next += 1;
        all.extend(children(pid));
    }
    all
}

fn children(pid: u32) -> Vec<u32> {
    // A process has a list of children a thread.
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let lists = threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    lists.flat_map(|list| numbers(&list)).collect()
}

fn numbers(text: &str) -> Vec<u32> {
    text.split_ascii_whitespace().filter_map(|number| number.parse().ok()).collect()
}

/// Processes whose session the launcher of an instance made.
fn in_session(first: u32) -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| {
        let line = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat_field(&line, 6) == Some(u64::from(first))
    })
    .collect()
}

/// The keeper's own children that were started as a part of `id`, among them its first process.
fn orphans(id: &InstanceId) -> Vec<u32> {
    let variable = format!("INSTANCE={id}");
    let is_its = |pid: &u32| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|entry| entry == variable.as_bytes())
    };
    children(std::process::id()).into_iter().filter(is_its).collect()
}

/// Takes what instances orphan as the keeper's own children, instead of process 1: so it can be found and ended.
pub(super) fn take_orphans() {
    // Without it orphans are only found in their control group.
    let _ = rustix::process::set_child_subreaper(rustix::process::Pid::from_raw(1));
}

/// Waits for orphans that ended, but those that `is_awaited` elsewhere. Never returns.
///
/// # Errors
/// When the machine does not tell of children that end.
pub(super) async fn reap_orphans(is_awaited: impl Fn(u32) -> bool) -> io::Result<Infallible> {
    let mut ended = signal(SignalKind::child())?;
    loop {
        for pid in own_orphans().into_iter().filter(|pid| !is_awaited(*pid)) {
            let _ = rustix::process::waitpid(raw(pid), WaitOptions::NOHANG);
        }
        ended.recv().await;
    }
}

/// Kills what an instance orphaned, or with `None` all that any did, and what is below it.
pub(super) fn kill_orphans(of: Option<&InstanceId>) {
    // What is killed orphans its own children in turn.
    for _ in 0..ROUNDS {
        let left: Vec<u32> = match of {
            Some(id) => orphans(id).into_iter().filter(|pid| !is_known(*pid)).collect(),
            None => own_orphans(),
        };
        for pid in left.into_iter().flat_map(tree).filter_map(raw) {
            let _ = rustix::process::kill_process(pid, Signal::KILL);
        }
    }
}

fn own_orphans() -> Vec<u32> {
    children(std::process::id()).into_iter().filter(|pid| !is_known(*pid)).collect()
}
