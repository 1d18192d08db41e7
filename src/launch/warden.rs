//! `codeops launch --warden`: a launcher with a parent that stays until all is over. Whatever the program starts, and
//! wherever that hides, becomes a child of the warden's once its own parents are gone, so nothing gets away: when the
//! program ends, or whoever started the warden is gone, the warden ends and reaps the rest, and then ends as the program did.
//!
//! To its starter it is what a launcher is: orders go in, why the program did not begin comes out, and silence is closed by
//! its beginning. Only that the starter's end of the socket stays open while it lives: that is how its death is seen, which
//! no signal would tell for sure.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode, Stdio};

use rustix::io::Errno;
use rustix::process::{DumpableBehavior, Pid, Signal, WaitOptions, WaitStatus};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::signal::unix::{SignalKind, signal};

use super::CANNOT_START;
use crate::base::complain;

/// The word after `launch` that asks for it.
pub const WORD: &str = "--warden";

/// Bytes that are passed on at once.
const PIECE: usize = 4 << 10;

/// Watches over one program to its end.
pub fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime.and_then(|runtime| runtime.block_on(watch())) {
        Ok((launcher, ended)) => end_as(end_all(launcher).or(ended)),
        Err(error) => {
            let why = format!("cannot start its warden: {error}");
            complain(format_args!("codeops: {why}"));
            // Without a starter nobody asks.
            drop(starter().and_then(|starter| File::from(starter).write_all(why.as_bytes())));
            ExitCode::from(CANNOT_START)
        }
    }
}

/// Starts the launcher and stays until it, by then the program, has ended or nobody waits for it; how it ended, if it did.
async fn watch() -> io::Result<(Pid, Option<WaitStatus>)> {
    // What is typed at the daemon's terminal is not for it.
    rustix::process::setsid()?;
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    // Where it has no user of its own, programs of the same user look into it no more than elsewhere.
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    let mut children = signal(SignalKind::child())?;
    let (mut orders, mut answer) = stream(UnixStream::from(starter()?))?.into_split();
    let (ours, theirs) = UnixStream::pair()?;
    let (mut report, mut passed) = stream(ours)?.into_split();
    let launcher = start(theirs)?;

    // Nobody says more than the orders: their end is the starter's.
    let left = pass_on(&mut orders, &mut passed);
    let told = async {
        pass_on(&mut report, &mut answer).await;
        // Nobody reads it where the starter is gone, which is seen elsewhere.
        drop(answer.shutdown().await);
    };
    let ended = async {
        loop {
            children.recv().await;
            if let Some(status) = reap(launcher).1 {
                return status;
            }
        }
    };
    let over = async { tokio::join!(told, ended).1 };
    let ended = tokio::select! {
        status = over => Some(status),
        () = left => None,
    };
    Ok((launcher, ended))
}

/// The socket to whoever started it.
fn starter() -> io::Result<OwnedFd> {
    io::stdin().as_fd().try_clone_to_owned()
}

fn stream(stream: UnixStream) -> io::Result<tokio::net::UnixStream> {
    stream.set_nonblocking(true)?;
    tokio::net::UnixStream::from_std(stream)
}

fn start(orders: UnixStream) -> io::Result<Pid> {
    #[expect(clippy::disallowed_methods, reason = "the launcher is started below its warden here")]
    let mut command = Command::new("/proc/self/exe");
    command.arg0("codeops").arg("launch").env_clear().stdin(Stdio::from(OwnedFd::from(orders)));
    let child = command.spawn()?;
    i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// Passes on what comes, until nothing comes any more.
async fn pass_on(from: &mut (impl AsyncRead + Unpin), to: &mut (impl AsyncWrite + Unpin)) {
    let mut piece = vec![0; PIECE];
    while let Ok(count @ 1..) = from.read(&mut piece).await {
        // Who is gone takes nothing, and is missed by others.
        drop(to.write_all(&piece[..count]).await);
        // It may be secret, and the warden stays long.
        piece[..count].fill(0);
    }
}

/// Reaps all that ended: whether there are children left, and how `launcher` ended if it is among them.
fn reap(launcher: Pid) -> (bool, Option<WaitStatus>) {
    let mut ended = None;
    loop {
        match rustix::process::wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) if pid == launcher => ended = Some(status),
            Ok(Some(_)) | Err(Errno::INTR) => {}
            Ok(None) => return (true, ended),
            Err(_) => return (false, ended),
        }
    }
}

/// Kills and reaps until nobody is left; how `launcher` ended if that had not been seen. Whoever forks meanwhile leaves its
/// child to the next round, and who is reaped has none.
fn end_all(launcher: Pid) -> Option<WaitStatus> {
    let mut ended = None;
    loop {
        let (left, seen) = reap(launcher);
        ended = ended.or(seen);
        if !left {
            return ended;
        }
        let found = children();
        for pid in &found {
            // It may have ended by itself.
            let _ = rustix::process::kill_process(*pid, Signal::KILL);
        }
        // Each of these ends now, so that this does not wait for others.
        for _ in 0..found.len().max(1) {
            match rustix::process::wait(WaitOptions::empty()) {
                Ok(Some((pid, status))) if pid == launcher => ended = Some(status),
                Ok(_) | Err(Errno::INTR) => {}
                Err(_) => return ended,
            }
        }
    }
}

/// The children of this process, also those that were left to it.
fn children() -> Vec<Pid> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let ours = rustix::process::getpid().as_raw_nonzero().to_string();
    let of = |entry: fs::DirEntry| {
        let pid = entry.file_name().to_str()?.parse().ok().and_then(Pid::from_raw)?;
        let stat = fs::read(entry.path().join("stat")).ok()?;
        (parent(&String::from_utf8_lossy(&stat))? == ours).then_some(pid)
    };
    entries.filter_map(of).collect()
}

/// Whose child a process is, from its `stat`. Its name, which stands in brackets, may hold brackets and spaces.
fn parent(stat: &str) -> Option<&str> {
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(1)
}

/// Ends this process as the program ended.
fn end_as(status: Option<WaitStatus>) -> ExitCode {
    let Some(status) = status else { return ExitCode::FAILURE };
    if let Some(signal) = status.terminating_signal().and_then(Signal::from_named_raw) {
        // Twice: the runtime takes the first of those that tell of an overflowing stack, and then steps aside.
        for _ in 0..2 {
            let _ = rustix::process::kill_process(rustix::process::getpid(), signal);
        }
    }
    // What is left are signals that this process ignores: said as shells say it.
    let code = status.exit_status().or_else(|| Some(128 + status.terminating_signal()?));
    ExitCode::from(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parent_is_read_whatever_the_program_is_called() {
        assert_eq!(parent("7 (sh) S 5 7 7 0"), Some("5"));
        assert_eq!(parent("7 (a) R 1 (b) S 5 7 7 0"), Some("5"));
        assert_eq!(parent("7 (sh"), None);
    }
}
