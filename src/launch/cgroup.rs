//! Control groups, version 2 or 1: made for an instance, limited, joined by its launcher, emptied, removed. They are made
//! below the group the keeper itself is in, which may be one that was delegated to it, or below the root where that cannot
//! be. Where the machine does not let us, a note says what is not enforced; nothing fails for it.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use codeops_core::model::Resources;
use rustix::process::{Pid, Signal};
use serde::{Deserialize, Serialize};

use super::PROCESSES;

const ROOT: &str = "/sys/fs/cgroup";
/// The keeper's own groups.
const OWN: &str = "/proc/self/cgroup";
/// A leaf for the daemon and its keepers: in version 2 a group that has processes can have no limited groups below it, so
/// a service manager puts them here (`DelegateSubgroup=`) and instances get groups beside it.
const LEAF: &str = "supervisor";
/// Microseconds in which a processor share is counted.
const PERIOD: u64 = 100_000;

/// How often a group that is swept is looked at, and how long what was killed in it has between two looks.
const SWEEPS: usize = 50;
const ENDING: Duration = Duration::from_millis(2);

/// What a process writes to one of [`Group::joins`].
pub(super) const ITSELF: &str = "0";

/// The groups of one instance, one a hierarchy.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Group {
    folders: Vec<PathBuf>,
}

/// A limit: what it is called, the file that sets it, and what it is set to.
type Limit<'a> = (&'a str, &'a str, Option<String>);

/// What the limit on processes is called in notes.
const PROCESS_LIMIT: &str = "process limit";

/// Makes the groups for an instance at `path` below the keeper's own and limits them. The notes say what could not be
/// enforced; `own_user` says that a user of its own limits its processes anyway.
pub fn prepare(path: Option<&str>, limits: &Resources, own_user: bool) -> (Group, Vec<String>) {
    let own = fs::read_to_string(OWN).unwrap_or_default();
    let (group, mut notes) = prepare_in(Path::new(ROOT), &own, path, limits);
    notes.retain(|note| !own_user || !note.starts_with(PROCESS_LIMIT));
    (group, notes)
}

/// Kills and removes what is left of groups right below `path` whose names begin with `prefix`, wherever [`prepare`] may
/// have made them. Whoever calls it knows that nobody alive has them.
pub fn sweep(path: &str, prefix: &str) {
    let own = fs::read_to_string(OWN).unwrap_or_default();
    sweep_in(Path::new(ROOT), &own, path, prefix);
}

fn sweep_in(root: &Path, own: &str, path: &str, prefix: &str) {
    let unified = root.join("cgroup.controllers").exists();
    for hierarchy in if unified { &[""][..] } else { &["memory", "cpu", "pids"] } {
        for base in bases(root, own, hierarchy) {
            let entries = fs::read_dir(base.join(path)).into_iter().flatten().flatten();
            for entry in entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix)) {
                let left = Group { folders: vec![entry.path()] };
                for _ in 0..SWEEPS {
                    left.kill();
                    if left.members().is_empty() {
                        break;
                    }
                    std::thread::sleep(ENDING);
                }
                left.remove();
            }
        }
    }
}

fn prepare_in(root: &Path, own: &str, path: Option<&str>, limits: &Resources) -> (Group, Vec<String>) {
    let mut group = Group::default();
    let mut notes = Vec::new();
    let memory = limits.memory.map(|memory| memory.0.to_string());
    let cpu = limits.cpu.map(|cpu| (u64::from(cpu.0) * PERIOD / 1000).max(1000));
    let Some(path) = path.filter(|path| is_plain(path)) else {
        not_enforced(&mut notes, limits, "its provider uses no control groups here");
        return (group, notes);
    };
    let processes = (PROCESS_LIMIT, "pids.max", Some(PROCESSES.to_string()));
    let mut add = |hierarchy: &str, limits: &[Limit<'_>]| {
        let (folder, missing) = make_limited(root, own, hierarchy, path, limits);
        group.folders.extend(folder);
        notes.extend(missing);
    };
    if root.join("cgroup.controllers").exists() {
        let cpu = cpu.map(|quota| format!("{quota} {PERIOD}"));
        add("", &[("memory limit", "memory.max", memory), ("cpu limit", "cpu.max", cpu)]);
        // Where it cannot be is no reason to make the group elsewhere.
        match group.folders.first() {
            Some(folder) => notes.extend(limit(folder, &[processes])),
            None => notes.extend(not_held(&processes, "its control group cannot be made")),
        }
    } else {
        add("memory", &[("memory limit", "memory.limit_in_bytes", memory)]);
        add("cpu", &[("cpu limit", "cpu.cfs_quota_us", cpu.map(|quota| quota.to_string()))]);
        add("pids", &[processes]);
    }
    (group, notes)
}

/// Makes the group of one hierarchy in the first place where all of its limits hold, or in the first where it can be made
/// at all. The notes say what does not hold there.
fn make_limited(
    root: &Path,
    own: &str,
    hierarchy: &str,
    path: &str,
    limits: &[Limit<'_>],
) -> (Option<PathBuf>, Vec<String>) {
    let mut best: Option<(Option<PathBuf>, Vec<String>)> = None;
    for base in bases(root, own, hierarchy) {
        let (folder, notes) = match make(&base, path, hierarchy.is_empty()) {
            Ok(folder) => {
                let notes = limit(&folder, limits);
                (Some(folder), notes)
            }
            Err(error) => (None, limits.iter().filter_map(|limit| not_held(limit, &error.to_string())).collect()),
        };
        if folder.is_some() && notes.is_empty() {
            remove(best.and_then(|(folder, _)| folder).as_deref());
            return (folder, notes);
        }
        match &best {
            Some((Some(_), _)) => remove(folder.as_deref()),
            _ => best = Some((folder, notes)),
        }
    }
    best.unwrap_or_default()
}

/// Where groups may be made, best first: in the keeper's own group, in the root of the hierarchy.
fn bases(root: &Path, own: &str, hierarchy: &str) -> Vec<PathBuf> {
    let root = root.join(hierarchy);
    let of_line = |line: &str| {
        let mut fields = line.splitn(3, ':').skip(1);
        let named = fields.next()?.split(',').any(|controller| controller == hierarchy);
        let path = fields.next()?.strip_prefix('/')?;
        let path = match path.rsplit_once('/') {
            Some((above, LEAF)) => above,
            _ => path,
        };
        (named && is_plain(path)).then(|| root.join(path))
    };
    let mut bases: Vec<PathBuf> = own.lines().find_map(of_line).into_iter().collect();
    bases.push(root);
    bases
}

fn not_enforced(notes: &mut Vec<String>, limits: &Resources, why: &str) {
    if limits.memory.is_some() {
        notes.push(format!("memory limit not enforced: {why}"));
    }
    if limits.cpu.is_some() {
        notes.push(format!("cpu limit not enforced: {why}"));
    }
    notes.push(format!("{PROCESS_LIMIT} not enforced: {why}"));
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
            for controller in ["+memory", "+cpu", "+pids"] {
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

fn limit(folder: &Path, limits: &[Limit<'_>]) -> Vec<String> {
    let set = |limit: &Limit<'_>| {
        let file = folder.join(limit.1);
        // Not made where it is not there: a controller that is missing must show.
        let open = fs::OpenOptions::new().write(true).open(&file);
        let written =
            open.and_then(|mut open| open.write_all(limit.2.as_ref().map_or(&[][..], |value| value.as_bytes())));
        not_held(limit, &format!("writing {}: {}", file.display(), written.err()?))
    };
    limits.iter().filter(|limit| limit.2.is_some()).filter_map(set).collect()
}

/// The note about a limit that is asked for and does not hold.
fn not_held((what, _, value): &Limit<'_>, why: &str) -> Option<String> {
    value.is_some().then(|| format!("{what} not enforced: {why}"))
}

fn remove(folder: Option<&Path>) {
    // The app's own group, above, goes with its last instance.
    if let Some(folder) = folder
        && fs::remove_dir(folder).is_ok()
        && let Some(app) = folder.parent()
    {
        drop(fs::remove_dir(app));
    }
}

impl Group {
    /// The files that a process of one thread joins by writing [`ITSELF`]. In version 1 that is the list of threads: to
    /// move the writer alone the kernel need not hold up every other process, which takes it 5 to 20 ms.
    pub fn joins(&self) -> Vec<PathBuf> {
        let file = |folder: &PathBuf| Some(folder.join("tasks")).filter(|tasks| tasks.exists());
        self.folders.iter().map(|folder| file(folder).unwrap_or_else(|| folder.join("cgroup.procs"))).collect()
    }

    /// Kills all that is in it, also what left its process group.
    pub fn kill(&self) {
        for folder in &self.folders {
            // Not made where it is not there, as in version 1.
            let kill = fs::OpenOptions::new().write(true).open(folder.join("cgroup.kill"));
            if kill.and_then(|mut kill| kill.write_all(b"1")).is_ok() {
                continue;
            }
            for pid in fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default().lines() {
                if let Some(pid) = pid.parse().ok().and_then(Pid::from_raw) {
                    let _ = rustix::process::kill_process(pid, Signal::KILL);
                }
            }
        }
    }

    /// The processes in it.
    pub fn members(&self) -> Vec<u32> {
        let lists = self.folders.iter().filter_map(|folder| fs::read_to_string(folder.join("cgroup.procs")).ok());
        lists.flat_map(|list| list.lines().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>()).collect()
    }

    /// Removes it; what is not empty yet stays for the next time.
    pub fn remove(&self) {
        for folder in &self.folders {
            remove(Some(folder));
        }
    }

    /// Memory held now, in bytes.
    pub fn memory(&self) -> Option<u64> {
        self.number("memory.current").or_else(|| self.number("memory.usage_in_bytes"))
    }

    /// How often the kernel has killed something in it because its memory was used up.
    pub fn memory_kills(&self) -> u64 {
        let files = ["memory.events", "memory.oom_control"];
        let texts = self.folders.iter().flat_map(|folder| files.map(|file| fs::read_to_string(folder.join(file))));
        let count = |text: String| text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok());
        texts.flatten().find_map(count).unwrap_or_default()
    }

    /// Processor time used since it was made, in microseconds; version 2 only.
    pub fn cpu_micros(&self) -> Option<u64> {
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
        let (_, notes) = prepare(None, &limits, true);
        assert_eq!(notes.len(), 2, "{notes:?}");
        let (_, notes) = prepare(None, &limits, false);
        assert!(notes.len() == 3 && notes[2].starts_with("process limit not enforced: "), "{notes:?}");
        assert!(notes.iter().all(|note| note.contains("not enforced")), "{notes:?}");
    }

    /// A hierarchy as the kernel shows it, with a group that is the keeper's own.
    fn machine(own: &str, files: &[&str]) -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("a folder");
        fs::create_dir_all(root.path().join(own)).expect("made");
        for file in files {
            let file = root.path().join(file);
            fs::create_dir_all(file.parent().expect("it has one")).expect("made");
            fs::write(file, "").expect("made");
        }
        root
    }

    fn limits() -> Resources {
        Resources { cpu: None, memory: "64MiB".parse().ok() }
    }

    #[test]
    fn a_group_is_made_below_the_keepers_own_beside_the_leaf_it_is_in() {
        let unit = "system.slice/codeops.service";
        let [limit, processes] = ["memory", "pids"].map(|of| format!("{unit}/codeops/acme/shop/{of}.max"));
        let root = machine(unit, &["cgroup.controllers", &limit, &processes]);
        for own in [format!("1:name=systemd:/else\n0::/{unit}/supervisor\n"), format!("0::/{unit}\n")] {
            let (group, notes) = prepare_in(root.path(), &own, Some("codeops/acme/shop"), &limits());
            assert_eq!(group.folders, [root.path().join(unit).join("codeops/acme/shop")]);
            assert_eq!(notes, [""; 0]);
        }
        assert_eq!(fs::read_to_string(root.path().join(limit)).ok().as_deref(), Some("67108864"));
        assert_eq!(fs::read_to_string(root.path().join(processes)).ok().as_deref(), Some("4096"));
    }

    #[test]
    fn in_version_1_each_controller_has_a_group_of_its_own_for_a_base() {
        let files = ["memory/a/codeops/shop/memory.limit_in_bytes", "pids/c/codeops/shop/pids.max"];
        let root = machine("cpu/b", &files);
        let own = "3:cpu,cpuacct:/b\n4:memory:/a\n5:pids:/c\n0::/\n";
        let (group, notes) = prepare_in(root.path(), own, Some("codeops/shop"), &limits());
        assert_eq!(
            group.folders,
            ["memory/a", "cpu/b", "pids/c"].map(|base| root.path().join(base).join("codeops/shop"))
        );
        assert_eq!(notes, [""; 0]);
    }

    #[test]
    fn the_root_is_taken_where_the_keepers_own_group_does_not_do_and_a_note_where_neither_does() {
        let pids = ["codeops/shop/pids.max", "own/codeops/shop/pids.max"];
        let root = machine("own", &["cgroup.controllers", "codeops/shop/memory.max", pids[0]]);
        for own in ["0::/own\n", "0::/gone\n", "0::/../above\n", "0::/\n", "", "junk"] {
            let (group, notes) = prepare_in(root.path(), own, Some("codeops/shop"), &limits());
            assert_eq!(group.folders, [root.path().join("codeops/shop")], "{own}");
            assert_eq!(notes, [""; 0], "{own}");
        }
        assert!(!root.path().join("own/codeops/shop").exists(), "what did not do is not left behind");
        fs::remove_file(root.path().join("codeops/shop/memory.max")).expect("removed");
        fs::create_dir_all(root.path().join("own/codeops/shop")).expect("made");
        fs::write(root.path().join(pids[1]), "").expect("made");
        let (group, notes) = prepare_in(root.path(), "0::/own\n", Some("codeops/shop"), &limits());
        assert_eq!(group.folders, [root.path().join("own/codeops/shop")]);
        assert!(notes.len() == 1 && notes[0].starts_with("memory limit not enforced: writing "), "{notes:?}");
    }

    #[test]
    fn what_is_left_of_one_users_groups_goes_and_nothing_else() {
        let root = machine("cpu", &[]);
        let group = |name: &str| root.path().join("pids/codeops-scripts").join(name);
        for name in ["63000-run-a", "63001-run-b", "630-run-c"] {
            fs::create_dir_all(group(name)).expect("made");
        }
        sweep_in(root.path(), "", "codeops-scripts", "63000-");
        let left = ["63000-run-a", "63001-run-b", "630-run-c"].map(|name| group(name).exists());
        assert_eq!(left, [false, true, true]);
    }

    #[test]
    fn a_kill_for_memory_is_counted_in_either_version() {
        let version_2 = "low 0\nhigh 0\nmax 17\noom 2\noom_kill 2\noom_group_kill 0\n";
        let version_1 = "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n";
        for (file, text, expected) in [("memory.events", version_2, 2), ("memory.oom_control", version_1, 1)] {
            let root = machine("cpu", &[]);
            fs::write(root.path().join(file), text).expect("written");
            let group = Group { folders: vec![root.path().join("cpu"), root.path().to_owned()] };
            assert_eq!(group.memory_kills(), expected, "{file}");
        }
        assert_eq!(Group::default().memory_kills(), 0);
    }
}
