//! `codeops launch --as UID:GID[,GID…] PROGRAM…`: gives up the daemon's rights for another user's and is replaced by the
//! program. Its streams and its environment pass: whoever asks for it says what is in them.
//!
//! `git` starts it where a repository on this machine belongs to somebody: what that repository says is then done with its
//! owner's rights, not with the daemon's.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};

use super::{CANNOT_START, Limits, User, become_user, close_on_exec};
use crate::base::complain;

/// The arguments that make a launcher become `user` and then the program whose words follow.
pub fn arguments(user: &User) -> Vec<String> {
    let gids = std::iter::once(user.gid).chain(user.groups.iter().copied());
    let gids: Vec<String> = gids.map(|gid| gid.to_string()).collect();
    vec!["launch".to_owned(), "--as".to_owned(), format!("{}:{}", user.uid, gids.join(","))]
}

/// Becomes the user that `user` names and the program that follows; returns only when it cannot.
pub fn main(user: &OsString, command: &[OsString]) -> ExitCode {
    let error = match (user.to_str().and_then(read), command) {
        (Some(user), [program, arguments @ ..]) => become_it(&user, program, arguments),
        _ => io::Error::new(io::ErrorKind::InvalidInput, "`launch --as` takes UID:GID and a program"),
    };
    complain(format_args!("codeops: cannot become user {}: {error}", user.display()));
    ExitCode::from(CANNOT_START)
}

fn become_it(user: &User, program: &OsString, arguments: &[OsString]) -> io::Error {
    let ready = || {
        become_user(user, &Limits::default())?;
        rustix::thread::set_no_new_privs(true)?;
        close_on_exec();
        // The daemon's own folder is none that the user may be in.
        std::env::set_current_dir("/")
    };
    #[expect(clippy::disallowed_methods, reason = "this is where programs are started")]
    ready().err().unwrap_or_else(|| Command::new(program).args(arguments).exec())
}

fn read(text: &str) -> Option<User> {
    let (uid, gids) = text.split_once(':')?;
    let gids: Option<Vec<u32>> = gids.split(',').map(|gid| gid.parse().ok()).collect();
    let (gid, groups) = gids?.split_first().map(|(gid, groups)| (*gid, groups.to_vec()))?;
    Some(User { uid: uid.parse().ok()?, gid, groups })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_read_as_it_is_written() {
        for groups in [vec![], vec![33, 44]] {
            let user = User { uid: 1001, gid: 1002, groups };
            assert_eq!(arguments(&user).last().and_then(|text| read(text)), Some(user));
        }
        for text in ["", "1001", "1001:", ":1002", "root:root", "1001:1002,", "-1:0"] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
