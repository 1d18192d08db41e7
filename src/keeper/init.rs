//! A tiny init for containers: as process 1 it runs codeops as its child, passes signals on and reaps whatever is orphaned.
//! When codeops has ended it asks all else to end, since with process 1 the kernel kills what is left.

use std::ffi::OsString;
use std::process::{Command, ExitCode};
use std::time::Duration;
use std::{fs, io};

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions};
use tokio::signal::unix::{Signal as Signals, SignalKind, signal};

use crate::base::complain;

/// How long apps may take to end; a container that is stopped is killed after 10 s.
const GRACE: Duration = Duration::from_secs(8);

/// When this is process 1: runs the same command line as a child until it ends, and gives its exit code. `None` elsewhere;
/// the caller then goes on as usual.
pub fn run_if_pid1(arguments: &[OsString]) -> Option<ExitCode> {
    if std::process::id() != 1 {
        return None;
    }
    Some(run(arguments).unwrap_or_else(|error| {
        complain(format_args!("codeops: the init around the daemon failed: {error}"));
        ExitCode::FAILURE
    }))
}

fn run(arguments: &[OsString]) -> io::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(watch(arguments))
}

async fn watch(arguments: &[OsString]) -> io::Result<ExitCode> {
    let mut children = signal(SignalKind::child())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    #[expect(clippy::disallowed_methods, reason = "the daemon is started below its init here")]
    let child = Command::new("/proc/self/exe").args(arguments).spawn()?;
    let child = i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidData)?;
    loop {
        let pass_on = tokio::select! {
            _ = children.recv() => {
                if let Some(code) = reap(child) {
                    end_others(&mut children).await;
                    return Ok(code);
                }
                continue;
            }
            _ = terminate.recv() => Signal::TERM,
            _ = interrupt.recv() => Signal::INT,
            _ = hangup.recv() => Signal::HUP,
        };
        // It may just have ended; then the next child signal says so.
        let _ = rustix::process::kill_process(child, pass_on);
    }
}

/// Reaps all that ended; the exit code of `child` if it is among them.
fn reap(child: Pid) -> Option<ExitCode> {
    let mut code = None;
    while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
        if pid == child {
            let number = status.exit_status().or_else(|| status.terminating_signal().map(|signal| 128 + signal));
            code = Some(ExitCode::from(number.and_then(|number| u8::try_from(number).ok()).unwrap_or(1)));
        }
    }
    code
}

/// Asks every other process to end and waits for it. A keeper that ends leaves its instances, which then are children of
/// this process.
async fn end_others(children: &mut Signals) {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    for pid in numbers.filter(|number| *number != 1).filter_map(Pid::from_raw) {
        // It may be gone by now.
        let _ = rustix::process::kill_process(pid, Signal::TERM);
    }
    let ended = async {
        loop {
            match rustix::process::wait(WaitOptions::NOHANG) {
                Ok(Some(_)) | Err(Errno::INTR) => {}
                Ok(None) => drop(children.recv().await),
                Err(_) => return,
            }
        }
    };
    // What does not end in time is killed by the kernel, with this process.
    let _ = tokio::time::timeout(GRACE, ended).await;
}
