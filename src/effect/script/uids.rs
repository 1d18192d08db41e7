//! As whom scripts run: a uid for each team, out of a range that nobody else has. A team keeps its uid for good, so that
//! what one team's script left can never be another's; another daemon on this machine has other uids.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use codeops_core::model::TeamName;
use rustix::process::{Pid, Signal};

use crate::base::write_private;
use crate::launch::cgroup;

/// The uids that are given to teams' scripts; apps have 64,000 to 65,500.
pub const RANGE: std::ops::RangeInclusive<u32> = 63_000..=63_999;

/// Below which control groups those of scripts are.
pub(super) const GROUPS: &str = "codeops-scripts";

/// Where the daemons of a machine say which uids are theirs: a folder that none but root can reach into.
const CLAIMS: &str = "/run/codeops/uids";

/// How the names of control groups begin that processes of this uid are in.
pub(super) fn group_of(uid: u32) -> String {
    format!("{uid}-")
}

/// Which team has which uid, and how many scripts of each run now.
pub(super) struct TeamUids {
    file: PathBuf,
    state: Mutex<State>,
    claims: PathBuf,
}

#[derive(Default)]
struct State {
    given: BTreeMap<TeamName, u32>,
    /// Uids that are this daemon's while it lives: nobody else ends their processes. The locks of their files.
    claims: BTreeMap<u32, File>,
    running: BTreeMap<u32, usize>,
}

impl TeamUids {
    /// Reads what was given out, and ends what still runs under it: it is left of a daemon that was killed.
    pub(super) fn open(folder: &Path) -> io::Result<Self> {
        let file = folder.join("uids.json");
        let given = match fs::read(&file) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(io::Error::from)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => return Err(error),
        };
        let claims = claims_in(folder)?;
        let mut state = State { given, ..State::default() };
        if rustix::process::geteuid().is_root() {
            for uid in state.given.values().copied().collect::<Vec<_>>() {
                if !state.claim(&claims, uid) {
                    tracing::warn!(uid, "another daemon has the uid of a team; the team gets another one");
                }
            }
        }
        Ok(Self { file, state: Mutex::new(state), claims })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The team's uid; it counts as running from now on, until [`TeamUids::ended`].
    pub(super) fn begin(&self, team: &TeamName) -> io::Result<u32> {
        let mut state = self.state();
        let known = state.given.get(team).copied();
        let uid = match known.filter(|uid| state.claim(&self.claims, *uid)) {
            Some(uid) => uid,
            None => {
                let taken: BTreeSet<u32> = state.given.values().copied().chain(in_database()).collect();
                let free = RANGE.clone().find(|uid| !taken.contains(uid) && state.claim(&self.claims, *uid));
                let uid = free.ok_or_else(|| io::Error::other("all uids that scripts may have are given out"))?;
                state.given.insert(team.clone(), uid);
                write_private(&self.file, &serde_json::to_vec(&state.given)?)?;
                uid
            }
        };
        *state.running.entry(uid).or_default() += 1;
        Ok(uid)
    }

    /// A script of this uid has ended. Its warden ended what it left; should that have been killed, all goes with the last one.
    pub(super) fn ended(&self, uid: u32) {
        let mut state = self.state();
        let left = state.running.get(&uid).map_or(0, |count| count.saturating_sub(1));
        state.running.insert(uid, left);
        if left == 0 {
            // Under the lock: the team's next script does not begin before.
            sweep(&BTreeSet::from([uid]));
        }
    }
}

impl State {
    /// Whether the uid is this daemon's. A lock says so that only root can take, and that goes with whoever has it. What
    /// still runs under a uid that becomes this daemon's is nobody's, and ends.
    fn claim(&mut self, claims: &Path, uid: u32) -> bool {
        if self.claims.contains_key(&uid) {
            return true;
        }
        let Ok(claim) = take(&claims.join(uid.to_string())) else { return false };
        self.claims.insert(uid, claim);
        if rustix::process::geteuid().is_root() {
            cgroup::sweep(GROUPS, &group_of(uid));
            sweep(&BTreeSet::from([uid]));
        }
        true
    }
}

/// The folder of claims: one for the machine, else, where that cannot be or nobody has users of his own, this daemon's.
fn claims_in(folder: &Path) -> io::Result<PathBuf> {
    if rustix::process::geteuid().is_root() {
        match private(Path::new(CLAIMS)) {
            Ok(()) => return Ok(CLAIMS.into()),
            Err(error) => {
                let path = CLAIMS;
                tracing::warn!(path, %error, "another daemon on this machine may give teams the same uids");
            }
        }
    }
    let own = folder.join("claims");
    private(&own).map(|()| own)
}

/// Makes a folder that is its owner's alone.
fn private(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    fs::set_permissions(folder, Permissions::from_mode(0o700))
}

/// The lock of a file, while the answer lives.
fn take(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
    file.try_lock()?;
    Ok(file)
}

/// The uids that the user database gives to somebody.
fn in_database() -> Vec<u32> {
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    passwd.lines().filter_map(|line| line.split(':').nth(2)?.parse().ok()).collect()
}

/// Ends every process of these users. What forks while it is looked for is found in the next round.
fn sweep(uids: &BTreeSet<u32>) {
    for _ in 0..50 {
        let found: Vec<Pid> = processes(uids);
        if found.is_empty() {
            return;
        }
        for pid in found {
            let _ = rustix::process::kill_process(pid, Signal::KILL);
        }
    }
    tracing::warn!(?uids, "processes that scripts left behind do not end");
}

/// Their processes that live.
fn processes(uids: &BTreeSet<u32>) -> Vec<Pid> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let of = |entry: fs::DirEntry| {
        let pid = entry.file_name().to_str()?.parse().ok().and_then(Pid::from_raw)?;
        let status = fs::read_to_string(entry.path().join("status")).ok()?;
        let line = |name: &str| status.lines().find_map(|line| line.strip_prefix(name));
        let uid = line("Uid:")?.split_ascii_whitespace().next()?.parse().ok()?;
        let dead = line("State:")?.trim_start().starts_with(['Z', 'X']);
        (uids.contains(&uid) && !dead).then_some(pid)
    };
    entries.filter_map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_team_keeps_its_uid_for_good() {
        let home = tempfile::tempdir().unwrap();
        let team = |name: &str| TeamName::new(name).unwrap();
        let uids = TeamUids::open(home.path()).unwrap();
        let (a, b) = (uids.begin(&team("a")).unwrap(), uids.begin(&team("b")).unwrap());
        assert!(a != b && RANGE.contains(&a) && RANGE.contains(&b));
        assert_eq!(uids.begin(&team("a")).unwrap(), a);
        let next = TeamUids::open(home.path()).unwrap();
        assert_eq!(next.state().given, BTreeMap::from([(team("a"), a), (team("b"), b)]));
        assert!(![a, b].contains(&next.begin(&team("a")).unwrap()), "while another daemon has it");
    }
}
