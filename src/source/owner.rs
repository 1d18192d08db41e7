//! With whose rights the far side of a repository on this machine works. What serves it, `git-upload-pack` and above all
//! `git-receive-pack`, does what that repository says: hooks, filters, commands in its configuration. So it is never done
//! with the daemon's rights where somebody else could say it.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use super::SourceError;
use super::watch::Places;
use crate::launch::{User, stand_in};

/// The group of a user that the user database does not know.
const NO_GROUP: u32 = 65_534;

/// What is asked of a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Service {
    /// It gives objects away. Git takes care that this runs nothing of the repository's, whoever it belongs to.
    Upload,
    /// It takes a commit, and runs what it has for that.
    Receive,
}

/// Who could say what the far side does.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Owner {
    /// Nobody but the daemon's own user.
    Us,
    /// One other user.
    Other(u32),
    /// Several, or everybody: these places show it.
    Many(PathBuf),
}

/// The program that serves the repository in `folder`, as `--upload-pack` and `--receive-pack` take it; `None` for git's
/// own. `launcher` is this binary.
///
/// # Errors
/// The repository is not to be served with any rights that the daemon has.
pub(super) fn served(folder: &Path, service: Service, launcher: &Path) -> Result<Option<String>, SourceError> {
    let root = rustix::process::geteuid().is_root();
    let refused = |why: String| {
        Err(SourceError(format!(
            "the repository `{}` takes no commit of the daemon's: {why}, and its hooks and settings would run with the \
             daemon's rights; let the daemon's user alone have it, or name it by ssh:// or https://",
            folder.display()
        )))
    };
    match (owner(folder, root), service) {
        (Owner::Us, _) => Ok(None),
        (Owner::Other(uid), service) if root => {
            let user = user(uid);
            match (is_within_reach(folder, &user), service) {
                (true, _) => Ok(Some(command(folder, service, launcher, &user))),
                (false, Service::Upload) => Ok(Some(git(folder, service))),
                (false, Service::Receive) => refused(format!("it belongs to user {uid}, who cannot reach it")),
            }
        }
        (_, Service::Upload) => Ok(root.then(|| git(folder, service))),
        (Owner::Other(uid), Service::Receive) => refused(format!("it belongs to user {uid}")),
        (Owner::Many(place), Service::Receive) => refused(format!("others may write `{}`", place.display())),
    }
}

/// Whether a user may enter all folders on the way.
fn is_within_reach(folder: &Path, user: &User) -> bool {
    let open = |path: &Path| {
        let Ok(found) = path.metadata() else { return false };
        let bit = if found.uid() == user.uid {
            0o100
        } else if found.gid() == user.gid || user.groups.contains(&found.gid()) {
            0o010
        } else {
            0o001
        };
        found.permissions().mode() & bit != 0
    };
    folder.ancestors().all(open)
}

/// Who owns whatever decides what runs: the folder, its repository, its configuration and its hooks.
fn owner(folder: &Path, root: bool) -> Owner {
    let mut places = vec![folder.to_owned(), folder.join(".git")];
    if let Some(Places { own, common }) = Places::of(folder) {
        for place in [own, common] {
            let hooks = place.join("hooks");
            let each = fs::read_dir(&hooks).into_iter().flatten().flatten().map(|entry| entry.path());
            places.extend(each.chain([place.join("config"), place.join("config.worktree"), hooks, place]));
        }
    }
    let us = rustix::process::geteuid().as_raw();
    let (mut others, mut last) = (BTreeSet::new(), None);
    for place in places {
        // Of a link both: whoever has it may lead it elsewhere. What is not there says nothing.
        for found in [place.symlink_metadata(), place.metadata()].into_iter().flatten() {
            if found.uid() != us {
                others.insert(found.uid());
                last = Some(place.clone());
            }
            // Root's own repository that others may write: they would write what root does.
            let mode = found.permissions().mode();
            if root && found.uid() == us && !found.is_symlink() && mode & 0o022 != 0 {
                return Owner::Many(place);
            }
        }
    }
    match (others.len(), others.first(), last) {
        (1, Some(uid), _) => Owner::Other(*uid),
        (_, _, Some(place)) => Owner::Many(place),
        (_, _, None) => Owner::Us,
    }
}

/// A user with its own groups, as far as the files of the user database know them.
fn user(uid: u32) -> User {
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let group = fs::read_to_string("/etc/group").unwrap_or_default();
    let line = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>()).find(|fields| {
        // A name that root shares is still that uid's.
        fields.get(2).and_then(|text| text.parse().ok()) == Some(uid)
    });
    let name = line.as_ref().and_then(|fields| fields.first()).copied();
    let gid = line.as_ref().and_then(|fields| fields.get(3)?.parse().ok()).unwrap_or(NO_GROUP);
    let of = |line: &str| {
        let mut fields = line.split(':').skip(2);
        let gid: u32 = fields.next()?.parse().ok()?;
        fields.next()?.split(',').any(|member| Some(member) == name).then_some(gid)
    };
    User { uid, gid, groups: group.lines().filter_map(of).collect() }
}

/// Nothing of the daemon's goes along but the way to programs and the version that both sides speak.
fn command(folder: &Path, service: Service, launcher: &Path, user: &User) -> String {
    let words = [quoted(&launcher.display().to_string())].into_iter().chain(stand_in::arguments(user));
    let environment = [
        "env -i \"PATH=$PATH\" \"GIT_PROTOCOL=$GIT_PROTOCOL\"",
        "LC_ALL=C GIT_CONFIG_NOSYSTEM=1 GIT_CONFIG_GLOBAL=/dev/null GIT_NO_LAZY_FETCH=1",
    ];
    words.chain(environment.map(str::to_owned)).chain([git(folder, service)]).collect::<Vec<_>>().join(" ")
}

/// Git's own program, which takes this folder whoever owns it.
fn git(folder: &Path, service: Service) -> String {
    let program = match service {
        Service::Upload => "upload-pack",
        Service::Receive => "receive-pack",
    };
    let places = super::address::safe_folders(folder).into_iter();
    let safe: String =
        places.map(|place| format!("-c {} ", quoted(&format!("safe.directory={}", place.display())))).collect();
    format!("git {safe}{program}")
}

/// One word of a shell's.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_stays_one_word() {
        assert_eq!(quoted("/a b/it's $(x)"), r"'/a b/it'\''s $(x)'");
    }

    #[test]
    fn a_user_that_nobody_knows_has_no_group_of_anybodys() {
        assert_eq!(user(4_000_000_123), User { uid: 4_000_000_123, gid: NO_GROUP, groups: Vec::new() });
    }

    #[test]
    fn a_user_reaches_what_is_open_to_it_all_the_way() {
        let folder = tempfile::tempdir().expect("a folder");
        let inner = folder.path().join("inner");
        fs::create_dir(&inner).expect("made");
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).expect("changed");
        let us = rustix::process::geteuid().as_raw();
        let user = |uid| User { uid, gid: NO_GROUP, groups: Vec::new() };
        assert!(is_within_reach(&inner, &user(us)));
        assert!(!is_within_reach(&inner, &user(us + 1)), "it is open to its owner alone");
    }

    #[test]
    fn what_we_alone_may_write_is_ours() {
        let folder = tempfile::tempdir().expect("a folder");
        assert_eq!(owner(folder.path(), true), Owner::Us);
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o775)).expect("changed");
        assert_eq!(owner(folder.path(), true), Owner::Many(folder.path().to_owned()));
        assert_eq!(owner(folder.path(), false), Owner::Us);
    }
}
