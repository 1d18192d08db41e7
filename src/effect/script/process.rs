//! The processes of one script: started below a warden, read to their end, and ended all of them by it, also when whoever
//! waits for them is gone.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use codeops_core::model::{Bytes, Resources, TeamName};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::uids::{self, TeamUids};
use crate::base::remove_folder;
use crate::effect::text::{Kept, Last};
use crate::launch::cgroup::{self, Group};
use crate::launch::{Orders, warden};

/// Memory in use, in bytes, where there are control groups.
pub(super) const MEMORY: u64 = 512 << 20;
/// The longest report of a launcher, in bytes.
const REPORT: u64 = 1_024;
/// What was printed is still read for this long once its process has ended and all others were.
const LATE: Duration = Duration::from_secs(2);
/// After so many bytes of output there is a rest: 4 MiB a second are read.
const BURST: usize = 256 << 10;
const REST: Duration = Duration::from_millis(62);
/// A warden has this long to end what a script left: only what the kernel does not let end takes longer.
const ENDING: Duration = Duration::from_secs(10);

/// How a script ended.
pub(super) struct Ended {
    pub(super) stdout: Kept,
    pub(super) stderr: Last,
    pub(super) status: Option<ExitStatus>,
    pub(super) timed_out: bool,
    /// Why its launcher could not become it.
    pub(super) not_started: Option<String>,
}

/// What one run of a script has of its own. Dropped, nothing of it is left.
pub(super) struct Running {
    uids: Arc<TeamUids>,
    uid: Option<u32>,
    tmp: PathBuf,
    group: Group,
}

impl Running {
    /// A user, a folder and control groups for a script of this team. It may wait for the end of what runs under that user.
    pub(super) async fn prepare(uids: &Arc<TeamUids>, team: &TeamName, folder: &Path) -> io::Result<Self> {
        let (uids, team, folder) = (Arc::clone(uids), team.clone(), folder.to_owned());
        let prepared = tokio::task::spawn_blocking(move || Self::prepared(uids, &team, &folder));
        prepared.await.unwrap_or_else(|error| Err(io::Error::other(error)))
    }

    fn prepared(uids: Arc<TeamUids>, team: &TeamName, folder: &Path) -> io::Result<Self> {
        let tmp = tempfile::Builder::new().prefix("run-").tempdir_in(folder)?.keep();
        let uid = rustix::process::geteuid().is_root().then(|| uids.begin(team)).transpose()?;
        let limits = Resources { cpu: None, memory: Some(Bytes(MEMORY)) };
        let name = tmp.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let name = uid.map_or_else(|| name.clone(), |uid| uids::group_of(uid) + &name);
        // What control groups cannot hold here, the other limits do.
        let (group, _) = cgroup::prepare(Some(&format!("{}/{name}", uids::GROUPS)), &limits, uid.is_some());
        let running = Self { uids, uid, tmp, group };
        chown(running.tmp(), uid, uid)?;
        Ok(running)
    }

    /// The folder it may write in.
    pub(super) fn tmp(&self) -> &Path {
        &self.tmp
    }

    /// The user it runs as; the daemon's own without.
    pub(super) fn uid(&self) -> Option<u32> {
        self.uid
    }

    /// The groups it joins.
    pub(super) fn cgroups(&self) -> Vec<PathBuf> {
        self.group.joins()
    }

    /// Runs it to its end, at most `limit`.
    pub(super) async fn run(&mut self, launcher: &Path, orders: &Orders, limit: Duration) -> io::Result<Ended> {
        let (mut ours, theirs) = std::os::unix::net::UnixStream::pair().and_then(|(ours, theirs)| {
            ours.set_nonblocking(true)?;
            Ok((UnixStream::from_std(ours)?, theirs))
        })?;
        let mut command = Command::new(launcher);
        // Dropped it is not killed: it sees that by itself, and takes all with it.
        command.args(["launch", warden::WORD]).env_clear().current_dir("/");
        command.stdin(Stdio::from(OwnedFd::from(theirs))).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn()?;
        // It holds the launcher's end of the orders: their end would not be seen.
        drop(command);
        let (mut stdout, mut stderr) = (Kept::default(), Last::default());
        let (out, err) = (child.stdout.take(), child.stderr.take());
        let over = CancellationToken::new();
        let lived = async {
            let lived = tokio::time::timeout(limit, live(&mut child, &mut ours, orders)).await;
            // Which its warden takes as the wish to end all.
            drop(ours);
            if !matches!(lived, Ok(Ok(_))) {
                reap(&mut child).await;
            }
            // It panics nowhere, and nothing waits for how it went.
            let _ = tokio::task::spawn_blocking(self.end()).await;
            over.cancel();
            lived
        };
        let read = async {
            tokio::select! {
                _ = async { tokio::join!(read(out, |piece| stdout.take(piece)), read(err, |piece| stderr.take(piece))) } => {}
                // Who still holds the streams got away: what else it prints is not waited for.
                () = async { over.cancelled().await; tokio::time::sleep(LATE).await } => {}
            }
        };
        let (lived, ()) = tokio::join!(lived, read);
        match lived {
            Ok(lived) => {
                let (not_started, status) = lived?;
                Ok(Ended { stdout, stderr, status: Some(status), timed_out: false, not_started })
            }
            Err(_) => Ok(Ended { stdout, stderr, status: None, timed_out: true, not_started: None }),
        }
    }

    /// Ends it, and removes what it wrote beside the tasks that answer others: it may be any number of files.
    pub(super) async fn clear(mut self) {
        if let Some(remove) = self.leave() {
            // It panics nowhere, and nothing waits for how it went.
            let _ = tokio::task::spawn_blocking(remove).await;
        }
    }

    /// What ends it and removes what it wrote, once.
    fn leave(&mut self) -> Option<impl FnOnce() + Send + use<>> {
        let tmp = std::mem::take(&mut self.tmp);
        if tmp.as_os_str().is_empty() {
            return None;
        }
        let (end, group) = (self.end(), self.group.clone());
        Some(move || {
            end();
            group.remove();
            if let Err(error) = remove_folder(&tmp) {
                tracing::warn!(path = %tmp.display(), %error, "what a script wrote cannot be removed");
            }
        })
    }

    /// What ends every process of it that can be found without its warden: whose they are is asked of each on the machine.
    fn end(&mut self) -> impl FnOnce() + Send + use<> {
        let (group, uid, uids) = (self.group.clone(), self.uid.take(), Arc::clone(&self.uids));
        move || {
            for _ in 0..20 {
                group.kill();
                if group.members().is_empty() {
                    break;
                }
            }
            if let Some(uid) = uid {
                uids.ended(uid);
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(remove) = self.leave() {
            match Handle::try_current() {
                Ok(runtime) => drop(runtime.spawn_blocking(remove)),
                Err(_) => remove(),
            }
        }
    }
}

/// Gives the orders and waits for the end: what kept the program from beginning, if it did not, and how it ended.
async fn live(child: &mut Child, ours: &mut UnixStream, orders: &Orders) -> io::Result<(Option<String>, ExitStatus)> {
    ours.write_all(&serde_json::to_vec(orders)?).await?;
    let mut report = Vec::new();
    // Ends when the program begins.
    ours.take(REPORT).read_to_end(&mut report).await?;
    let report = String::from_utf8_lossy(&report).into_owned();
    Ok((Some(report).filter(|report| !report.is_empty()), child.wait().await?))
}

async fn reap(child: &mut Child) {
    if tokio::time::timeout(ENDING, child.wait()).await.is_ok() {
        return;
    }
    let _ = child.start_kill();
    let _ = child.wait().await;
}

async fn read(stream: Option<impl AsyncRead + Unpin>, mut take: impl FnMut(&[u8])) {
    let Some(mut stream) = stream else { return };
    let (mut buffer, mut taken) = (vec![0; 16 << 10], 0);
    while let Ok(count @ 1..) = stream.read(&mut buffer).await {
        take(&buffer[..count]);
        taken += count;
        // Whoever prints more than is kept waits on its own pipe, and the daemon's processors are for others.
        if taken >= BURST {
            taken = 0;
            tokio::time::sleep(REST).await;
        }
    }
}
