//! A tiny init for containers: as process 1 it runs codeops as its child, passes signals on and reaps whatever is orphaned.

use std::ffi::OsString;
use std::io;
use std::process::{Command, ExitCode};

use rustix::process::{Pid, Signal, WaitOptions};
use tokio::signal::unix::{SignalKind, signal};

/// When this is process 1: runs the same command line as a child until it ends, and gives its exit code. `None` elsewhere;
/// the caller then goes on as usual.
pub fn run_if_pid1(arguments: &[OsString]) -> Option<ExitCode> {
    if std::process::id() != 1 {
        return None;
    }
    Some(run(arguments).unwrap_or_else(|error| {
        eprintln!("codeops: the init around the daemon failed: {error}");
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
