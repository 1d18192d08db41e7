//! One running process group, held by pidfd: started by us or adopted from a keeper that is gone. It waits, signals and
//! reaps; what follows from an end is decided elsewhere.

use std::fmt;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::Shutdown;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions};
use serde::{Deserialize, Serialize};
use tokio::io::unix::AsyncFd;
use tokio::time::timeout;

use super::tasks::Tasks;
use crate::launch::Orders;

/// The longest report of a launcher that is read, in bytes.
const REPORT: u64 = 1024;

/// What a process is known by across keepers: no other process ever has the same three.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Identity {
    /// Its process id, which is also its group's and its session's.
    pub(super) pid: u32,
    /// Clock ticks from boot to its start.
    pub(super) start: u64,
    /// The boot it lives in.
    pub(super) boot: String,
}

impl Identity {
    pub(super) fn of(pid: u32) -> io::Result<Self> {
        Ok(Self { pid, start: start_time(pid)?, boot: boot_id()? })
    }

    /// Whether it runs; what has ended and was not waited for does not.
    pub(super) fn runs(&self) -> bool {
        let line = fs::read_to_string(format!("/proc/{}/stat", self.pid)).unwrap_or_default();
        let state = line.rsplit_once(')').and_then(|(_, rest)| rest.split_ascii_whitespace().next());
        let lives = state.is_some_and(|state| !matches!(state, "Z" | "X"));
        lives && stat_field(&line, 22) == Some(self.start) && self.is_of_this_boot()
    }

    /// Whether it may still run: no process outlives its machine's boot.
    pub(super) fn is_of_this_boot(&self) -> bool {
        boot_id().is_ok_and(|boot| boot == self.boot)
    }
}

/// A live process.
#[derive(Debug)]
pub(super) struct Process {
    identity: Identity,
    pidfd: AsyncFd<OwnedFd>,
    _known: Known,
    /// Where its launcher says why it could not start the program; closed when the program begins.
    report: Option<UnixStream>,
}

/// Processes that are waited for here. A process has children once, whoever asks: hence one list.
static KNOWN: Mutex<Vec<u32>> = Mutex::new(Vec::new());

/// One of [`KNOWN`].
#[derive(Debug)]
struct Known(u32);

impl Known {
    fn new(pid: u32) -> Self {
        KNOWN.lock().unwrap_or_else(PoisonError::into_inner).push(pid);
        Self(pid)
    }
}

impl Drop for Known {
    fn drop(&mut self) {
        let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = known.iter().position(|pid| *pid == self.0) {
            known.swap_remove(at);
        }
    }
}

/// Whether somebody waits for the process here, and so nobody else may.
pub(super) fn is_known(pid: u32) -> bool {
    KNOWN.lock().unwrap_or_else(PoisonError::into_inner).contains(&pid)
}

/// How a process ended. Shown as the end of a sentence that begins with its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Exit {
    /// By itself, with this code.
    Code(i32),
    /// By a signal of this number.
    Signal(i32),
    /// Its launcher could not start it; says why.
    NotStarted(String),
    /// Its exit went to the keeper that started it.
    Unknown,
}

impl Exit {
    /// Whether it did what it should.
    pub(super) fn is_success(&self) -> bool {
        *self == Self::Code(0)
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(out, "exited with code {code}"),
            Self::Signal(number) => write!(out, "was ended by signal {}", signal_name(*number)),
            Self::NotStarted(why) => out.write_str(why),
            Self::Unknown => out.write_str("ended; its exit code went to the keeper that started it"),
        }
    }
}

/// A process that does not outlive this value: dropped, it kills the whole group and has it reaped.
pub(super) struct Bound {
    process: Option<Process>,
    reapers: Arc<Tasks>,
}

impl Bound {
    /// Lets it live on by itself.
    pub(super) fn unbind(mut self) -> Process {
        self.process.take().expect("only a process that ended is taken, and then this value is used up")
    }

    /// Waits until it ends, at most `limit`; then it is killed. `None` when it had to be.
    pub(super) async fn within(mut self, limit: Duration) -> Option<Exit> {
        let exit = self.process.as_ref()?.within(limit).await;
        self.process = None;
        exit
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        let Some(process) = self.process.take() else { return };
        process.signal(Signal::KILL);
        self.reapers.spawn(async move {
            process.ended().await;
        });
    }
}

/// A launcher that waits for its orders. Dropped, it is gone.
pub(super) struct Launching {
    process: Bound,
    identity: Identity,
    orders: UnixStream,
}

impl Launching {
    /// Starts a launcher whose output goes to the two given files. `reapers` wait for what is killed on the way.
    ///
    /// # Errors
    /// When no process can be made.
    pub(super) fn new(stdout: fs::File, stderr: fs::File, reapers: &Arc<Tasks>) -> io::Result<Self> {
        #[expect(clippy::disallowed_methods, reason = "the launcher is started here")]
        let mut command = Command::new("/proc/self/exe");
        let (orders, theirs) = UnixStream::pair()?;
        let stdin = Stdio::from(OwnedFd::from(theirs));
        command.arg("launch").env_clear().current_dir("/").stdin(stdin).stdout(stdout).stderr(stderr);
        let mut child = command.spawn()?;
        let identity = Identity::of(child.id());
        let held = identity.and_then(|identity| Ok((Process::hold(identity.clone())?, identity)));
        let (process, identity) = held.inspect_err(|_| abandon(&mut child))?;
        Ok(Self { process: Bound { process: Some(process), reapers: reapers.clone() }, identity, orders })
    }

    /// Its identity, to be written down before [`Launching::go`].
    pub(super) fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Sends the orders. From here on the process is the program.
    ///
    /// # Errors
    /// When they cannot be sent; the launcher is gone then.
    pub(super) fn go(mut self, orders: &Orders) -> io::Result<Bound> {
        self.orders.write_all(&serde_json::to_vec(orders)?)?;
        self.orders.shutdown(Shutdown::Write)?;
        self.orders.set_nonblocking(true)?;
        if let Some(process) = &mut self.process.process {
            process.report = Some(self.orders);
        }
        Ok(self.process)
    }
}

/// A launcher that cannot be held has no orders and does nothing: it is gone at once.
fn abandon(child: &mut Child) {
    drop(child.kill());
    drop(child.wait());
}

impl Process {
    fn hold(identity: Identity) -> io::Result<Self> {
        let pidfd = rustix::process::pidfd_open(pid(&identity)?, PidfdFlags::NONBLOCK)?;
        #[expect(
            deprecated,
            reason = "its replacement is unsafe; an OwnedFd keeps its descriptor, which is all it is about"
        )]
        let pidfd = AsyncFd::with_interest(pidfd, tokio::io::Interest::READABLE)?;
        let known = Known::new(identity.pid);
        Ok(Self { identity, pidfd, _known: known, report: None })
    }

    /// The process that `identity` names, if it still runs.
    pub(super) fn adopt(identity: &Identity) -> Option<Self> {
        let process = Self::hold(identity.clone()).ok()?;
        // Compared after the pidfd is held: the id cannot pass to another process any more.
        let same = Identity::of(identity.pid).is_ok_and(|now| now == *identity);
        same.then_some(process)
    }

    /// Waits until it ends, ends what is left of its group, and says how it ended. May be cancelled and called again.
    pub(super) async fn ended(&self) -> Exit {
        // An error means that it cannot be watched: then it is as good as gone, and the group is killed to make it so.
        drop(self.pidfd.readable().await);
        self.signal(Signal::KILL);
        match rustix::process::waitid(WaitId::PidFd(self.pidfd.as_fd()), WaitIdOptions::EXITED) {
            Ok(Some(status)) => match (status.exit_status(), status.terminating_signal()) {
                (Some(code), _) => self.reported().map_or(Exit::Code(code), Exit::NotStarted),
                (_, Some(signal)) => Exit::Signal(signal),
                _ => Exit::Unknown,
            },
            _ => Exit::Unknown,
        }
    }

    /// Waits until it ends, at most `limit`; then it is killed. `None` when it had to be.
    pub(super) async fn within(&self, limit: Duration) -> Option<Exit> {
        let exit = timeout(limit, self.ended()).await.ok();
        if exit.is_none() {
            self.signal(Signal::KILL);
            self.ended().await;
        }
        exit
    }

    /// What its launcher reported, if the program was never begun.
    fn reported(&self) -> Option<String> {
        let mut text = Vec::new();
        // Nobody holds the other end any more: what was written is there, and then the end.
        drop(self.report.as_ref()?.take(REPORT).read_to_end(&mut text));
        Some(String::from_utf8_lossy(&text).into_owned()).filter(|text| !text.is_empty())
    }

    /// Sends a signal to its whole group.
    pub(super) fn signal(&self, signal: Signal) {
        let Ok(pid) = pid(&self.identity) else { return };
        // A launcher that is still young has no group of its own yet. A group that is gone is what was wanted.
        if rustix::process::kill_process_group(pid, signal).is_err() {
            let _ = rustix::process::pidfd_send_signal(self.pidfd.as_fd(), signal);
        }
    }
}

fn pid(identity: &Identity) -> io::Result<Pid> {
    raw(identity.pid).ok_or_else(|| io::ErrorKind::InvalidInput.into())
}

/// The number as the kernel takes it.
pub(super) fn raw(pid: u32) -> Option<Pid> {
    i32::try_from(pid).ok().and_then(Pid::from_raw)
}

fn boot_id() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

/// Field 22 of `/proc/PID/stat`; the second may hold blanks and brackets, so it is counted from the last bracket.
fn start_time(pid: u32) -> io::Result<u64> {
    stat_field(&fs::read_to_string(format!("/proc/{pid}/stat"))?, 22).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// A numeric field of a `stat` line, counted from 1 as proc(5) does; 4 or above.
pub(super) fn stat_field(line: &str, number: usize) -> Option<u64> {
    line.rsplit_once(')')?.1.split_ascii_whitespace().nth(number.checked_sub(3)?)?.parse().ok()
}

const SIGNALS: [(&str, Signal); 14] = [
    ("TERM", Signal::TERM),
    ("INT", Signal::INT),
    ("QUIT", Signal::QUIT),
    ("HUP", Signal::HUP),
    ("USR1", Signal::USR1),
    ("USR2", Signal::USR2),
    ("KILL", Signal::KILL),
    ("SEGV", Signal::SEGV),
    ("ABRT", Signal::ABORT),
    ("BUS", Signal::BUS),
    ("ILL", Signal::ILL),
    ("FPE", Signal::FPE),
    ("PIPE", Signal::PIPE),
    ("ALRM", Signal::ALARM),
];

fn signal_name(number: i32) -> String {
    SIGNALS
        .iter()
        .find(|(_, signal)| signal.as_raw() == number)
        .map_or_else(|| number.to_string(), |(name, _)| (*name).to_owned())
}

/// The signal of a stop policy; `TERM` for a name that is none.
pub(super) fn signal_named(name: &str) -> Signal {
    SIGNALS.iter().find(|(known, _)| *known == name).map_or(Signal::TERM, |(_, signal)| *signal)
}
