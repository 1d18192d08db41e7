//! The daemon's side of a keeper's socket: start one, connect, send requests, read what it pushes. It keeps no state and
//! runs no task: the provider that uses it does.

use std::fs;
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

use super::frame::{self, FrameError};
use super::run::FROM;
use super::wire::{FromKeeper, Hello, Request, SPOKEN, ToKeeper, Welcome};

/// The name of the socket in an app's folder.
pub const SOCKET: &str = "keeper.sock";

/// Why no conversation with a keeper began.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// No keeper listens on this folder, or one that is just ending hung up: [`start`] one (where one still lives it is
    /// refused and harmless) and connect again. Instances may live.
    #[error("no keeper listens in {0}")]
    Absent(String),
    /// It answered and does not want this daemon.
    #[error("the keeper refused this daemon: {0}")]
    Refused(String),
    /// It answers with what is not this wire.
    #[error(transparent)]
    Frame(#[from] FrameError),
}

/// Sends requests.
#[derive(Debug)]
pub struct Writer(OwnedWriteHalf);

/// Reads replies and states.
#[derive(Debug)]
pub struct Reader(OwnedReadHalf);

impl Writer {
    /// Sends one request of the daemon of `epoch` under a number of the caller's choice.
    ///
    /// # Errors
    /// [`FrameError`]; whether the keeper got it is then not known, and the same key may be sent again.
    pub async fn send(&mut self, id: u64, epoch: u64, request: Request) -> Result<(), FrameError> {
        frame::write(&mut self.0, &ToKeeper::Request { id, epoch, request: Box::new(request) }).await
    }
}

impl Reader {
    /// The next reply or state; `None` when the keeper hung up. Give it a loop of its own: it must not be cancelled halfway.
    ///
    /// # Errors
    /// [`FrameError`].
    pub async fn next(&mut self) -> Result<Option<FromKeeper>, FrameError> {
        frame::read(&mut self.0).await
    }
}

/// Connects to the keeper of the app folder `dir` as the daemon of `epoch`.
///
/// # Errors
/// [`ConnectError`]; only `Absent` calls for [`start`].
pub async fn connect(dir: &Path, epoch: u64) -> Result<(Writer, Reader, Welcome), ConnectError> {
    let absent = |_| ConnectError::Absent(dir.display().to_string());
    // A socket's address has room for 107 bytes; through the open folder it is short however deep the folder lies.
    let folder = fs::File::open(dir).map_err(absent)?;
    let path = format!("/proc/self/fd/{}/{SOCKET}", folder.as_raw_fd());
    let (read, write) = UnixStream::connect(path).await.map_err(absent)?.into_split();
    let (mut reader, mut writer) = (Reader(read), Writer(write));
    let hello = ToKeeper::Hello(Hello { versions: SPOKEN.to_vec(), epoch });
    let greeted = frame::write(&mut writer.0, &hello).await;
    let answer = match greeted {
        Ok(()) => reader.next().await,
        Err(error) => Err(error),
    };
    let answer = match answer {
        Err(FrameError::Io(error)) => return Err(absent(error)),
        other => other?,
    };
    match answer {
        Some(FromKeeper::Welcome(welcome)) => Ok((writer, reader, *welcome)),
        Some(FromKeeper::Refused { why }) => Err(ConnectError::Refused(why)),
        Some(_) => Err(FrameError::Malformed { line: 0, column: 0 }.into()),
        None => Err(absent(io::ErrorKind::UnexpectedEof.into())),
    }
}

/// Starts a keeper on the app folder `dir` (made by the caller, 0700) with the codeops binary `program`. The socket
/// appears within milliseconds; try [`connect`] again until it does. The child outlives its parent; to leave no zombie,
/// wait for it when it ends. `from`: what the folder was before it was moved.
///
/// # Errors
/// When the program cannot be started.
pub fn start(program: &Path, dir: &Path, from: Option<&Path>) -> io::Result<Child> {
    let log = fs::OpenOptions::new().create(true).append(true).open(dir.join("keeper.log"))?;
    // What this process was started with, such as a shell's redirection, is not for what outlives it.
    close_fds::set_fds_cloexec_threadsafe(3, &[]);
    #[expect(clippy::disallowed_methods, reason = "this is where keepers are started")]
    let mut command = Command::new(program);
    command.arg("keeper").arg(dir).env_clear();
    if let Some(from) = from {
        command.arg(FROM).arg(from);
    }
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn()
}

/// Identity of a binary file on this machine: it changes when the file is replaced. `/proc/self/exe` is one's own.
///
/// # Errors
/// When the file cannot be looked at.
pub fn binary_id(program: &Path) -> io::Result<String> {
    let meta = fs::metadata(program)?;
    Ok(format!("{:x}-{:x}-{:x}-{:x}", meta.dev(), meta.ino(), meta.len(), meta.mtime_nsec() ^ (meta.mtime() << 30)))
}
