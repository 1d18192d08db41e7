//! A tiny init: as process 1 of a container, the daemon runs as a child, so that keepers and instances whose parent is
//! gone, and which the kernel hands to process 1, are waited for when they end.

use std::path::Path;

use anyhow::Context;
use rustix::process::{Pid, Signal, WaitOptions};
use tokio::signal::unix::{SignalKind, signal};

use super::exit::{Coded, Exit};

/// Runs this same command as a child, passes signals on to it, reaps everything, and ends as the child does.
pub(crate) fn around(program: &Path) -> anyhow::Result<Exit> {
    super::block_on(async {
        let mut ended = signal(SignalKind::child())?;
        let mut passed = [
            (signal(SignalKind::terminate())?, Signal::TERM),
            (signal(SignalKind::interrupt())?, Signal::INT),
            (signal(SignalKind::hangup())?, Signal::HUP),
        ];
        let daemon = start(program)?;
        loop {
            let [(terminate, _), (interrupt, _), (hangup, _)] = &mut passed;
            let to_pass = tokio::select! {
                _ = ended.recv() => None,
                _ = terminate.recv() => Some(Signal::TERM),
                _ = interrupt.recv() => Some(Signal::INT),
                _ = hangup.recv() => Some(Signal::HUP),
            };
            if let Some(signal) = to_pass {
                let _ = rustix::process::kill_process(daemon, signal);
            }
            if let Some(code) = reap(daemon)? {
                return if code == 0 { Ok(Exit::Fine) } else { Err(ended_with(code)) };
            }
        }
    })
}

fn ended_with(code: i32) -> anyhow::Error {
    Coded { message: format!("the daemon ended with {code}"), code: u8::try_from(code).unwrap_or(1).max(1) }.into()
}

#[expect(clippy::disallowed_methods, reason = "as process 1 this starts the daemon itself, with its own arguments")]
fn start(program: &Path) -> anyhow::Result<Pid> {
    let child = std::process::Command::new(program)
        .args(std::env::args_os().skip(1))
        .spawn()
        .with_context(|| format!("{} cannot be started", program.display()))?;
    Ok(Pid::from_child(&child))
}

/// Waits for every child that has ended; gives the daemon's code once it is among them.
fn reap(daemon: Pid) -> anyhow::Result<Option<i32>> {
    let mut code = None;
    loop {
        match rustix::process::wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) if pid == daemon => {
                code = status.exit_status().or_else(|| status.terminating_signal().map(|signal| 128 + signal));
            }
            Ok(Some(_)) => {}
            Ok(None) | Err(rustix::io::Errno::CHILD) => return Ok(code),
            Err(error) => return Err(error).context("waiting for children"),
        }
    }
}
