//! `codeops launch`: the last step before a program of the user's. One thread; it reads its orders as JSON from standard
//! input, becomes what they say, and is replaced by the program. No shell, no inherited environment or descriptor.
//!
//! Keepers start instances through it, and effects their scripts, these below a [`warden`]. Whoever does knows the process
//! before it sends the orders: a launcher whose starter died gets none and exits, so no program ever runs that nobody knows of.

pub mod calls;
pub mod cgroup;
pub mod confine;
pub mod stand_in;
pub mod warden;

use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs::{self, File};
use std::io::{self, Seek as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use rustix::fs::{MemfdFlags, Mode};
use rustix::process::{Gid, Resource, Rlimit, Signal, Uid};
use serde::{Deserialize, Serialize};

use self::cgroup::ITSELF;
pub use self::confine::Walls;
use crate::base::complain;

/// The exit code of a launcher that could not start its program; the reason went to whoever started it and to standard error.
pub const CANNOT_START: u8 = 127;

/// Most processes and threads of an instance that has its own group, or of an app that has its own user.
pub const PROCESSES: u64 = 4096;

/// A user to run as.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Further groups.
    #[serde(default)]
    pub groups: Vec<u32>,
}

/// What to become. It holds secrets: it goes through a pipe and is written nowhere.
#[derive(Default, Serialize, Deserialize)]
pub struct Orders {
    /// Program and arguments, expanded.
    pub command: Vec<String>,
    /// Working directory.
    pub dir: PathBuf,
    /// The whole environment.
    pub env: BTreeMap<String, String>,
    /// The user to become.
    pub user: Option<User>,
    /// Open files allowed.
    pub files: Option<u64>,
    /// Without that: the soft limit, as it was before a keeper raised its own.
    #[serde(default)]
    pub soft_files: Option<u64>,
    /// Files of control groups to join.
    pub cgroups: Vec<PathBuf>,
    /// What it reads on its standard input; nothing without.
    #[serde(default)]
    pub input: Option<String>,
    /// Further limits.
    #[serde(default)]
    pub limits: Limits,
    /// Walls around it.
    #[serde(default)]
    pub walls: Option<Walls>,
    /// Whether its system calls are filtered.
    #[serde(default)]
    pub filtered: bool,
    /// Whether it ends with whoever started it.
    #[serde(default)]
    pub bound: bool,
}

/// What one process may use; nothing is limited where there is no number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Bytes of address space.
    pub memory: Option<u64>,
    /// Seconds of processor time.
    pub cpu: Option<u64>,
    /// Bytes of one file.
    pub file: Option<u64>,
    /// Processes and threads of its user.
    pub processes: Option<u64>,
}

/// Runs the launcher; returns only when the program could not be started.
pub fn main() -> ExitCode {
    // To their own end, not the socket's: whoever sends them may keep that open. No orders: whoever started it is gone, and
    // so is the wish.
    let Ok(orders) = Orders::deserialize(&mut serde_json::Deserializer::from_reader(io::stdin().lock())) else {
        return ExitCode::from(CANNOT_START);
    };
    // The orders came over a socket that also takes the answer, and is closed by the program's start.
    let report = io::stdin().as_fd().try_clone_to_owned();
    let error = launch(&orders);
    let why = format!("cannot start {}: {error}", orders.command.first().map_or("nothing", String::as_str));
    complain(format_args!("codeops: {why}"));
    // Without a starter nobody asks.
    drop(report.and_then(|report| File::from(report).write_all(why.as_bytes())));
    ExitCode::from(CANNOT_START)
}

fn launch(orders: &Orders) -> io::Error {
    match become_it(orders) {
        Ok(mut command) => told_apart(command.exec(), orders),
        Err(error) => error,
    }
}

/// A program that lies behind a closed folder is as forbidden as one that is no program: which of the two, the error says.
fn told_apart(error: io::Error, orders: &Orders) -> io::Error {
    let Some(closed) = orders.command.first().and_then(|program| closed_on_the_way(&error, Path::new(program))) else {
        return error;
    };
    let why = format!("{error}: {closed}; put the program where every user may go, such as /usr/local/bin");
    io::Error::new(io::ErrorKind::PermissionDenied, why)
}

/// The same of the folder that a program begins in, which lies in the daemon's state.
fn not_entered(error: &io::Error, dir: &Path) -> io::Error {
    let mut why = format!("entering {}: {error}", dir.display());
    if let Some(closed) = closed_on_the_way(error, dir) {
        why += &format!(": {closed}; let every user pass there (`chmod o+x`), or keep the daemon's state elsewhere");
    }
    io::Error::new(error.kind(), why)
}

/// Which folder on the way to a path keeps this user from it, if that is what the error is.
fn closed_on_the_way(error: &io::Error, path: &Path) -> Option<String> {
    let may_enter = |folder: &Path| match fs::metadata(folder.join(".")) {
        Err(error) => error.kind() != io::ErrorKind::PermissionDenied,
        Ok(_) => true,
    };
    let folder = closed(path, may_enter).filter(|_| error.kind() == io::ErrorKind::PermissionDenied)?;
    let mode =
        fs::metadata(folder).map_or(String::new(), |it| format!(" (mode {:04o})", it.permissions().mode() & 0o7777));
    Some(format!("user {} may not enter {}{mode}", rustix::process::geteuid().as_raw(), folder.display()))
}

/// The outermost folder on the way that may not be entered.
fn closed(path: &Path, may_enter: impl Fn(&Path) -> bool) -> Option<&Path> {
    let mut folders: Vec<&Path> = path.ancestors().skip(1).filter(|folder| folder.is_absolute()).collect();
    folders.reverse();
    folders.into_iter().find(|folder| !may_enter(folder))
}

fn become_it(orders: &Orders) -> io::Result<Command> {
    let (program, arguments) =
        orders.command.split_first().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "an empty command"))?;
    rustix::process::setsid()?;
    give_up_protection();
    for file in &orders.cgroups {
        // What could not be joined was noted when the group was prepared; a limit is no reason not to run.
        drop(fs::write(file, ITSELF));
    }
    let soft = || Some(Rlimit { current: Some(orders.soft_files?), ..rustix::process::getrlimit(Resource::Nofile) });
    if let Some(limit) = orders.files.map(|files| Rlimit { current: Some(files), maximum: Some(files) }).or_else(soft) {
        rustix::process::setrlimit(Resource::Nofile, limit)?;
    }
    orders.limits.set()?;
    rustix::process::umask(Mode::from_raw_mode(0o022));
    if let Some(user) = &orders.user {
        become_user(user, &orders.limits).map_err(|error| {
            io::Error::new(error.kind(), format!("becoming user {} of group {}: {error}", user.uid, user.gid))
        })?;
    }
    if orders.bound {
        // After the user: becoming another forgets it.
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    }
    rustix::thread::set_no_new_privs(true)?;
    close_on_exec();
    std::env::set_current_dir(&orders.dir).map_err(|error| not_entered(&error, &orders.dir))?;
    if orders.env.iter().any(|(name, value)| CString::new(format!("{name}{value}")).is_err()) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "a variable holds a zero byte"));
    }
    #[expect(clippy::disallowed_methods, reason = "this is where programs are started")]
    let mut command = Command::new(program);
    command.args(arguments).env_clear().envs(&orders.env).stdin(orders.stdin()?);
    if let Some(walls) = &orders.walls {
        walls.raise()?;
    }
    if orders.filtered {
        // Last: the launcher itself is done with all that is refused.
        calls::raise()?;
    }
    Ok(command)
}

/// The service protects the daemon and its keepers from the kernel when memory runs out; an app that ate it inherits none of that.
fn give_up_protection() {
    let score = "/proc/self/oom_score_adj";
    if fs::read_to_string(score).is_ok_and(|text| text.starts_with('-')) {
        // Without /proc there is nothing to be protected by; a program runs all the same.
        drop(fs::write(score, "0"));
    }
}

impl Orders {
    /// Its standard input: a file in memory, so that nobody has to feed a pipe.
    fn stdin(&self) -> io::Result<Stdio> {
        let Some(input) = &self.input else { return Ok(Stdio::null()) };
        let mut file = File::from(rustix::fs::memfd_create("input", MemfdFlags::CLOEXEC)?);
        file.write_all(input.as_bytes())?;
        file.rewind()?;
        Ok(Stdio::from(file))
    }
}

impl Limits {
    fn set(&self) -> io::Result<()> {
        let both = |value: u64| Rlimit { current: Some(value), maximum: Some(value) };
        let limits = [(Resource::As, self.memory), (Resource::Cpu, self.cpu), (Resource::Fsize, self.file)];
        for (resource, value) in limits {
            if let Some(value) = value {
                rustix::process::setrlimit(resource, both(value))?;
            }
        }
        if self.memory.is_some() {
            rustix::process::setrlimit(Resource::Core, both(0))?;
        }
        Ok(())
    }
}

/// Whatever the daemon was started with: only the three standard streams pass to a program.
pub fn close_on_exec() {
    close_fds::set_fds_cloexec(3, &[]);
}

/// Groups first: without privilege they can no longer be set.
fn become_user(user: &User, limits: &Limits) -> io::Result<()> {
    let groups: Vec<Gid> = user.groups.iter().copied().map(Gid::from_raw).collect();
    let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
    if !rustix::process::geteuid().is_root() && uid == rustix::process::geteuid() {
        return Ok(());
    }
    let wanted = limits.processes.unwrap_or(PROCESSES);
    let most = rustix::process::getrlimit(Resource::Nproc).maximum.map_or(wanted, |most| most.min(wanted));
    let processes = Rlimit { current: Some(most), maximum: Some(most) };
    rustix::process::setrlimit(Resource::Nproc, processes)?;
    rustix::thread::set_thread_groups(&groups)?;
    rustix::thread::set_thread_res_gid(gid, gid, gid)?;
    rustix::thread::set_thread_res_uid(uid, uid, uid)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_outermost_closed_folder_is_named() {
        let program = Path::new("/root/.cargo/bin/codeops");
        assert_eq!(closed(program, |folder| !folder.starts_with("/root")), Some(Path::new("/root")));
        assert_eq!(closed(program, |_| true), None);
        assert_eq!(closed(Path::new("./codeops"), |_| false), None, "where that is, only its folder says");
    }
}
