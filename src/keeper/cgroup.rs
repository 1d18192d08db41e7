//! Control groups, version 2 or 1: made for an instance, limited, joined by its launcher, emptied, removed. Where the
//! machine does not let us, a note says what is not enforced; nothing fails for it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use codeops_core::model::Resources;
use rustix::process::{Pid, Signal};

const ROOT: &str = "/sys/fs/cgroup";
/// Microseconds in which a processor share is counted.
const PERIOD: u64 = 100_000;

/// The groups of one instance, one a hierarchy.
#[derive(Debug, Clone, Default)]
pub(super) struct Group {
    folders: Vec<PathBuf>,
}

/// Makes the groups for an instance at `path` below each hierarchy's root and limits them. The notes say what could not be
/// enforced.
pub(super) fn prepare(path: Option<&str>, limits: &Resources) -> (Group, Vec<String>) {
    let mut group = Group::default();
    let mut notes = Vec::new();
    let memory = limits.memory.map(|memory| memory.0.to_string());
    let cpu = limits.cpu.map(|cpu| (u64::from(cpu.0) * PERIOD / 1000).max(1000));
    let Some(path) = path.filter(|path| is_plain(path)) else {
        not_enforced(&mut notes, limits, "its provider uses no control groups here");
        return (group, notes);
    };
    if Path::new(ROOT).join("cgroup.controllers").exists() {
        let settings = [
            ("memory limit", "memory.max", memory),
            ("cpu limit", "cpu.max", cpu.map(|quota| format!("{quota} {PERIOD}"))),
        ];
        match make(Path::new(ROOT), path, true) {
            Ok(folder) => {
                limit(&folder, settings, &mut notes);
                group.folders.push(folder);
            }
            Err(error) => not_enforced(&mut notes, limits, &error.to_string()),
        }
        return (group, notes);
    }
    let v1 = [
        ("memory limit", "memory", "memory.limit_in_bytes", memory),
        ("cpu limit", "cpu", "cpu.cfs_quota_us", cpu.map(|quota| quota.to_string())),
    ];
    for (what, hierarchy, file, value) in v1 {
        match make(&Path::new(ROOT).join(hierarchy), path, false) {
            Ok(folder) => {
                limit(&folder, [(what, file, value)], &mut notes);
                group.folders.push(folder);
            }
            Err(error) if value.is_some() => notes.push(format!("{what} not enforced: {error}")),
            Err(_) => {}
        }
    }
    (group, notes)
}

fn not_enforced(notes: &mut Vec<String>, limits: &Resources, why: &str) {
    if limits.memory.is_some() {
        notes.push(format!("memory limit not enforced: {why}"));
    }
    if limits.cpu.is_some() {
        notes.push(format!("cpu limit not enforced: {why}"));
    }
}

/// A path that stays below the root, whatever the sender meant.
fn is_plain(path: &str) -> bool {
    !path.is_empty() && path.split('/').all(|part| !part.is_empty() && part != "." && part != "..")
}

fn make(root: &Path, path: &str, unified: bool) -> io::Result<PathBuf> {
    let named = |error: io::Error, at: &Path| io::Error::new(error.kind(), format!("{}: {error}", at.display()));
    let mut folder = root.to_owned();
    if !folder.exists() {
        return Err(io::Error::new(io::ErrorKind::NotFound, format!("there is no {}", folder.display())));
    }
    for part in path.split('/') {
        if unified {
            // A controller that is not there shows when its limit is written.
            for controller in ["+memory", "+cpu"] {
                drop(fs::write(folder.join("cgroup.subtree_control"), controller));
            }
        }
        folder.push(part);
        match fs::create_dir(&folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(named(error, &folder)),
            _ => {}
        }
    }
    Ok(folder)
}

fn limit<const N: usize>(folder: &Path, settings: [(&str, &str, Option<String>); N], notes: &mut Vec<String>) {
    for (what, file, value) in settings {
        let Some(value) = value else { continue };
        if let Err(error) = fs::write(folder.join(file), value) {
            notes.push(format!("{what} not enforced: writing {}: {error}", folder.join(file).display()));
        }
    }
}

impl Group {
    /// The groups that `path` would have, for an instance that an earlier keeper started.
    pub(super) fn existing(path: Option<&str>) -> Self {
        let Some(path) = path.filter(|path| is_plain(path)) else { return Self::default() };
        let roots = ["", "memory", "cpu"].map(|hierarchy| Path::new(ROOT).join(hierarchy).join(path));
        Self { folders: roots.into_iter().filter(|folder| folder.join("cgroup.procs").exists()).collect() }
    }

    /// The files a process joins by writing its id.
    pub(super) fn procs(&self) -> Vec<PathBuf> {
        self.folders.iter().map(|folder| folder.join("cgroup.procs")).collect()
    }

    /// Kills all that is in it, also what left its process group.
    pub(super) fn kill(&self) {
        for folder in &self.folders {
            if fs::write(folder.join("cgroup.kill"), "1").is_ok() {
                continue;
            }
            for pid in fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default().lines() {
                if let Some(pid) = pid.parse().ok().and_then(Pid::from_raw) {
                    let _ = rustix::process::kill_process(pid, Signal::KILL);
                }
            }
        }
    }

    /// Removes it; what is not empty yet stays for the next time.
    pub(super) fn remove(&self) {
        for folder in &self.folders {
            // The app's own group, above, goes with its last instance.
            if fs::remove_dir(folder).is_ok()
                && let Some(app) = folder.parent()
            {
                drop(fs::remove_dir(app));
            }
        }
    }

    /// Memory held now, in bytes.
    pub(super) fn memory(&self) -> Option<u64> {
        self.number("memory.current").or_else(|| self.number("memory.usage_in_bytes"))
    }

    /// Processor time used since it was made, in microseconds; version 2 only.
    pub(super) fn cpu_micros(&self) -> Option<u64> {
        let text = self.folders.iter().find_map(|folder| fs::read_to_string(folder.join("cpu.stat")).ok())?;
        text.lines().find_map(|line| line.strip_prefix("usage_usec ")?.trim().parse().ok())
    }

    fn number(&self, file: &str) -> Option<u64> {
        self.folders.iter().find_map(|folder| fs::read_to_string(folder.join(file)).ok()?.trim().parse().ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_cannot_leave_the_hierarchy() {
        assert!(is_plain("codeops/acme/shop"));
        assert!(!["", "/etc", "a/../../b", "a//b", "./a"].into_iter().any(is_plain));
    }

    #[test]
    fn a_limit_that_cannot_be_set_is_noted() {
        let limits = Resources { cpu: "0.5".parse().ok(), memory: "64MiB".parse().ok() };
        let (_, notes) = prepare(None, &limits);
        assert_eq!(notes.len(), 2, "{notes:?}");
        assert!(notes.iter().all(|note| note.contains("not enforced")), "{notes:?}");
    }
}
