//! `codeops launch`: the last step before a program of the user's. One thread; it reads its orders as JSON from standard
//! input, becomes what they say, and is replaced by the program. No shell, no inherited environment or descriptor.
//!
//! The keeper writes down the process id before it sends the orders: a launcher whose keeper died gets none and exits, so
//! no program ever runs that nobody knows of.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};

use rustix::fs::Mode;
use rustix::process::{Gid, Resource, Rlimit, Uid};
use serde::{Deserialize, Serialize};

use super::cgroup::ITSELF;
use super::wire::User;

/// The exit code of a launcher that could not start its program; the reason went to the keeper and to standard error.
pub(super) const CANNOT_START: u8 = 127;

/// Most processes and threads of an instance that has its own group, or of an app that has its own user.
pub(super) const PROCESSES: u64 = 4096;

/// What to become. It holds secrets: it goes through a pipe and is written nowhere.
#[derive(Serialize, Deserialize)]
pub(super) struct Orders {
    /// Program and arguments, expanded.
    pub(super) command: Vec<String>,
    /// Working directory.
    pub(super) dir: PathBuf,
    /// The whole environment.
    pub(super) env: BTreeMap<String, String>,
    /// The user to become.
    pub(super) user: Option<User>,
    /// Open files allowed.
    pub(super) files: Option<u64>,
    /// Without that: the soft limit, as it was before the keeper raised its own.
    pub(super) soft_files: Option<u64>,
    /// Files of control groups to join.
    pub(super) cgroups: Vec<PathBuf>,
}

/// Runs the launcher; returns only when the program could not be started.
pub(super) fn main() -> ExitCode {
    let mut text = Vec::new();
    let read = io::stdin().read_to_end(&mut text);
    // No orders: the keeper is gone, and so is the wish.
    let (Ok(_), Ok(orders)) = (read, serde_json::from_slice::<Orders>(&text)) else {
        return ExitCode::from(CANNOT_START);
    };
    // The orders came over a socket that also takes the answer, and is closed by the program's start.
    let report = io::stdin().as_fd().try_clone_to_owned();
    let error = launch(&orders);
    let why = format!("cannot start {}: {error}", orders.command.first().map_or("nothing", String::as_str));
    eprintln!("codeops: {why}");
    // Without a keeper nobody asks.
    drop(report.and_then(|report| File::from(report).write_all(why.as_bytes())));
    ExitCode::from(CANNOT_START)
}

fn launch(orders: &Orders) -> io::Error {
    match become_it(orders) {
        Ok(mut command) => command.exec(),
        Err(error) => error,
    }
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
    rustix::process::umask(Mode::from_raw_mode(0o022));
    if let Some(user) = &orders.user {
        become_user(user).map_err(|error| {
            io::Error::new(error.kind(), format!("becoming user {} of group {}: {error}", user.uid, user.gid))
        })?;
    }
    rustix::thread::set_no_new_privs(true)?;
    close_on_exec();
    std::env::set_current_dir(&orders.dir)
        .map_err(|error| io::Error::new(error.kind(), format!("entering {}: {error}", orders.dir.display())))?;
    if orders.env.iter().any(|(name, value)| CString::new(format!("{name}{value}")).is_err()) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "a variable holds a zero byte"));
    }
    #[expect(clippy::disallowed_methods, reason = "this is where programs are started")]
    let mut command = Command::new(program);
    command.args(arguments).env_clear().envs(&orders.env).stdin(Stdio::null());
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

/// Whatever the daemon was started with: only the three standard streams pass to a program.
pub(super) fn close_on_exec() {
    close_fds::set_fds_cloexec(3, &[]);
}

/// Groups first: without privilege they can no longer be set.
fn become_user(user: &User) -> io::Result<()> {
    let groups: Vec<Gid> = user.groups.iter().copied().map(Gid::from_raw).collect();
    let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
    if !rustix::process::geteuid().is_root() && uid == rustix::process::geteuid() {
        return Ok(());
    }
    let most = rustix::process::getrlimit(Resource::Nproc).maximum.map_or(PROCESSES, |most| most.min(PROCESSES));
    let processes = Rlimit { current: Some(most), maximum: Some(most) };
    rustix::process::setrlimit(Resource::Nproc, processes)?;
    rustix::thread::set_thread_groups(&groups)?;
    rustix::thread::set_thread_res_gid(gid, gid, gid)?;
    rustix::thread::set_thread_res_uid(uid, uid, uid)?;
    Ok(())
}
