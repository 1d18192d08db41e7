//! As whom apps run: a uid of their own under root, or the user that `runAs` names. Reads the user database; changes
//! nothing.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;

use rustix::process::{Pid, Signal, kill_process};

use crate::keeper::wire::User;

/// The uids that are given to apps. They have no entry in the user database and belong to nobody else.
pub(super) const RANGE: (u32, u32) = (64_000, 65_500);

/// How often what runs under a uid is looked for before it counts as ended.
const ROUNDS: usize = 8;

/// How the provider chooses users.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Users {
    /// Each app has a uid of its own.
    Own,
    /// All apps run as this user.
    As(User),
    /// The daemon is not root: all apps run as it does.
    Shared,
}

impl Users {
    /// What `runAs` and the daemon's own rights allow.
    ///
    /// # Errors
    /// One sentence when the user does not exist or the daemon may not become it.
    pub(super) fn new(run_as: Option<&str>) -> Result<Self, String> {
        let me = rustix::process::geteuid();
        match run_as {
            None if me.is_root() => Ok(Users::Own),
            None => Ok(Users::Shared),
            Some(name) => {
                let user = look_up(
                    name,
                    &fs::read_to_string("/etc/passwd").unwrap_or_default(),
                    &fs::read_to_string("/etc/group").unwrap_or_default(),
                )?;
                if me.is_root() {
                    Ok(Users::As(user))
                } else if user.uid == me.as_raw() {
                    Ok(Users::Shared)
                } else {
                    Err(format!(
                        "`runAs: {name}` needs a daemon that runs as root: leave it out, or start it as {name}"
                    ))
                }
            }
        }
    }

    /// The user of an app whose own uid is `own`.
    pub(super) fn user(&self, own: Option<u32>) -> Option<User> {
        match self {
            Users::Own => own.map(|uid| User { uid, gid: uid, groups: Vec::new() }),
            Users::As(user) => Some(user.clone()),
            Users::Shared => None,
        }
    }

    /// The first and the last uid that an instance may have; `None`: the daemon's own.
    pub(super) fn range(&self) -> Option<(u32, u32)> {
        match self {
            Users::Own => Some(RANGE),
            Users::As(user) => Some((user.uid, user.uid)),
            Users::Shared => None,
        }
    }

    /// Whether an instance that runs as `user` runs as one of an app whose own uid is `own` would be started now.
    pub(super) fn fits(&self, user: Option<&User>, own: Option<u32>) -> bool {
        let of = |user: &User| (user.uid, user.gid);
        match (self, self.user(own)) {
            // It is given one with its next instance.
            (Users::Own, None) => false,
            (_, wanted) => user.map(of) == wanted.as_ref().map(of),
        }
    }

    /// What people should know of it.
    pub(super) fn note(&self) -> Option<&'static str> {
        match self {
            Users::Shared => {
                Some("not isolated: it runs as the daemon's own user; a daemon under root gives each app its own")
            }
            Users::As(_) => Some("not isolated from other apps: the settings' `runAs` gives all of them the same user"),
            Users::Own => None,
        }
    }
}

/// The uids that the user database gives to somebody.
pub(super) fn taken() -> BTreeSet<u32> {
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    passwd.lines().filter_map(|line| line.split(':').nth(2)?.parse().ok()).collect()
}

/// The uids that some process runs under.
pub(super) fn running() -> BTreeSet<u32> {
    processes().map(|(_, uid)| uid).collect()
}

/// Ends what runs under `uid`, if that is one that is given to apps.
pub(super) fn end(uid: u32) {
    if !(RANGE.0..=RANGE.1).contains(&uid) {
        return;
    }
    // What is killed may have started another meanwhile.
    for _ in 0..ROUNDS {
        let left: Vec<u32> = processes().filter(|(_, of)| *of == uid).map(|(pid, _)| pid).collect();
        for pid in left.into_iter().filter_map(|pid| Pid::from_raw(pid.cast_signed())) {
            // Gone already is as good.
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

/// Every process and the uid it runs under.
fn processes() -> impl Iterator<Item = (u32, u32)> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    processes.filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.metadata().ok()?.uid())))
}

fn look_up(name: &str, passwd: &str, group: &str) -> Result<User, String> {
    let line =
        passwd.lines().map(|line| line.split(':').collect::<Vec<_>>()).find(|fields| fields.first() == Some(&name));
    let Some(fields) = line else {
        return Err(format!("`runAs: {name}`: no user of this name in /etc/passwd"));
    };
    let number = |index: usize| fields.get(index).and_then(|text| text.parse().ok());
    let (Some(uid), Some(gid)) = (number(2), number(3)) else {
        return Err(format!("`runAs: {name}`: its line in /etc/passwd has no uid and gid"));
    };
    let groups = group
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(':');
            let gid = fields.nth(2)?.parse().ok()?;
            fields.next()?.split(',').any(|member| member == name).then_some(gid)
        })
        .collect();
    Ok(User { uid, gid, groups })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uid_under_which_something_runs_is_seen() {
        assert!(running().contains(&rustix::process::geteuid().as_raw()));
    }

    #[test]
    fn who_runs_as_another_than_the_settings_say_is_told_from_who_does_not() {
        let user = |uid| User { uid, gid: uid, groups: Vec::new() };
        assert!(Users::Own.fits(Some(&user(64_001)), Some(64_001)));
        for (users, runs, own) in [
            (Users::Own, Some(user(0)), Some(64_001)),
            (Users::Own, Some(user(64_002)), Some(64_001)),
            // Made while all apps ran as one user, root say.
            (Users::Own, None, None),
            (Users::As(user(33)), Some(user(0)), None),
        ] {
            assert!(!users.fits(runs.as_ref(), own), "{users:?} {runs:?} {own:?}");
        }
        let grouped = User { groups: vec![7], ..user(33) };
        assert!(Users::As(user(33)).fits(Some(&grouped), Some(64_001)), "its other groups make no other user");
        assert!(Users::Shared.fits(None, None));
    }

    #[test]
    fn a_user_comes_with_its_groups() {
        let passwd = "root:x:0:0::/root:/bin/sh\napps:x:1001:1002::/srv:/bin/false\nbroken:x\n";
        let group = "root:x:0:\nweb:x:33:www,apps\nlogs:x:44:apps2\n";
        assert_eq!(look_up("apps", passwd, group).unwrap(), User { uid: 1001, gid: 1002, groups: vec![33] });
        assert!(look_up("nobody-here", passwd, group).unwrap_err().contains("no user of this name"));
        assert!(look_up("broken", passwd, group).is_err());
    }
}
