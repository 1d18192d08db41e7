//! The keeper's own life: takes its folder, adopts what lives, serves, and ends in one of three ways: it leaves its
//! instances running, it goes on as another binary, or it has removed all.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::net::TcpListener as StdListener;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use codeops_core::model::{Digest, InstanceId, InstanceState};
use rustix::fs::{MemfdFlags, Mode};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::client::SOCKET;
use super::forward::{Rotation, Stable, own};
use super::lock::{self, LOCK};
use super::logs::{self, LogFiles, LogLimits};
use super::release::Left;
use super::slots;
use super::table::Table;
use super::tasks::Tasks;
use super::wire::Confidential;
use super::{descriptors, family, server, supervise, twins};
use crate::base::complain;
use crate::launch;

const ERRORS: &str = "keeper.log";
/// The folder of the pipes that instances write to.
pub(super) const FIFOS: &str = "fifo";
/// The hidden argument of a keeper that goes on from another binary.
const CONTINUE: &str = "--continue";
/// The hidden argument before the folder that its own was before it was moved.
pub(super) const FROM: &str = "--from";
/// Polls of tasks before sockets are looked at again: one that always has something to do holds nobody up.
const EVENTS: u32 = 8;
/// How long requests in flight are waited for before a handover.
/// New connections wait meanwhile, so it is short.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long killed processes are waited for at the end.
const REAPED: Duration = Duration::from_secs(1);

/// How a keeper ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum End {
    /// It leaves all running.
    Shutdown,
    /// It goes on as this binary.
    Handover(PathBuf),
    /// All is removed.
    Deleted,
}

/// What the parts of a keeper share.
pub(super) struct Keeper {
    pub(super) table: Arc<Table>,
    pub(super) rotation: Arc<Rotation>,
    pub(super) logs: Arc<LogFiles>,
    /// Supervisors, release commands, and who reaps what they killed.
    pub(super) tasks: Arc<Tasks>,
    pub(super) port: watch::Sender<Option<Stable>>,
    pub(super) end: watch::Sender<Option<End>>,
    stops: Mutex<BTreeMap<InstanceId, CancellationToken>>,
}

impl Keeper {
    /// Begins to supervise an instance that is in the table.
    pub(super) fn supervise(self: &Arc<Self>, id: InstanceId) {
        let stop = CancellationToken::new();
        self.stops.lock().unwrap_or_else(PoisonError::into_inner).insert(id.clone(), stop.clone());
        self.tasks.spawn(supervise::live(self.clone(), id, stop));
    }

    /// Whether it is about to leave all as it is.
    pub(super) fn leaves(&self) -> bool {
        *self.end.borrow() == Some(End::Shutdown)
    }

    /// Asks an instance's supervisor to stop it.
    pub(super) fn stop(&self, id: &InstanceId) {
        if let Some(stop) = self.stops.lock().unwrap_or_else(PoisonError::into_inner).get(id) {
            stop.cancel();
        }
    }

    /// Asks all.
    pub(super) fn stop_all(&self) {
        for stop in self.stops.lock().unwrap_or_else(PoisonError::into_inner).values() {
            stop.cancel();
        }
    }

    /// An instance is gone for good.
    pub(super) async fn forget(&self, id: &InstanceId) {
        self.rotation.remove(id);
        self.stops.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
        let gone = self.table.read(|all| Some(all.durable.instances.get(id)?.instance.template.clone()));
        self.table.note(|volatile| volatile.notes.remove(id.as_str()));
        self.table.update(|durable| drop(durable.instances.remove(id))).await;
        let Some(gone) = gone else { return };
        if self.table.read(|all| all.durable.instances.is_empty() && all.durable.release_process.is_none()) {
            family::kill_orphans(None);
        }
        self.forget_secrets(&gone);
    }

    /// Nothing that runs needs the secrets of this template, unless something does.
    pub(super) fn forget_secrets(&self, template: &Digest) {
        if !self.table.read(|all| all.durable.uses(template)) {
            self.table.note(|volatile| volatile.secrets.remove(template));
        }
    }
}

/// What a keeper has when it begins.
struct Inheritance {
    lock: File,
    listener: Option<StdListener>,
    secrets: BTreeMap<Digest, Confidential>,
}

/// `codeops keeper DIR`.
pub(super) fn main(arguments: &[OsString]) -> ExitCode {
    let (dir, goes_on, from) = match arguments {
        [dir] => (Path::new(dir), false, None),
        [dir, flag] if flag == CONTINUE => (Path::new(dir), true, None),
        [dir, flag, from] if flag == FROM => (Path::new(dir), false, Some(Path::new(from))),
        _ => {
            complain(format_args!("codeops keeper: expected the app's folder"));
            return ExitCode::FAILURE;
        }
    };
    match keep(dir, goes_on, from) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(format_args!("codeops keeper {}: {error}", dir.display()));
            ExitCode::FAILURE
        }
    }
}

fn keep(dir: &Path, goes_on: bool, from: Option<&Path>) -> io::Result<()> {
    std::env::set_current_dir(dir)?;
    rustix::process::umask(Mode::from_raw_mode(0o077));
    launch::close_on_exec();
    descriptors::raise();
    family::take_orphans();
    // A keeper that goes on leads its session already.
    let _ = rustix::process::setsid();
    let inherited = inherit(goes_on)?;
    let lock = inherited.lock.try_clone()?;
    let runtime = tokio::runtime::Builder::new_current_thread().event_interval(EVENTS).enable_all().build()?;
    let (end, listener, secrets) = runtime.block_on(serve(inherited, from))?;
    drop(runtime);
    match end {
        End::Shutdown => Ok(()),
        End::Deleted => remove_all(),
        End::Handover(binary) => Err(go_on(&binary, &lock, listener.as_ref(), &secrets)),
    }
}

fn inherit(goes_on: bool) -> io::Result<Inheritance> {
    if !goes_on {
        let lock = lock::open()?;
        lock::take(&lock)?;
        // Looked for once the folder is taken: of two that begin at once each sees the other, and never do both go on.
        if let Some(twin) = twins::of(&std::env::current_dir()?) {
            let why = format!("the keeper in {}, process {}, runs the same app", twin.folder.display(), twin.pid);
            return Err(io::Error::new(io::ErrorKind::ResourceBusy, why));
        }
        sign(&lock);
        return Ok(Inheritance { lock, listener: None, secrets: BTreeMap::new() });
    }
    // The earlier binary left the listener, the secrets and the lock where standard streams are.
    let (stdin, stdout, stderr) = (io::stdin(), io::stdout(), io::stderr());
    let listener = StdListener::from(stdin.as_fd().try_clone_to_owned()?);
    let mut memory = File::from(stdout.as_fd().try_clone_to_owned()?);
    let lock = File::from(stderr.as_fd().try_clone_to_owned()?);
    let errors = OpenOptions::new().create(true).append(true).mode(0o600).open(ERRORS)?;
    let null = OpenOptions::new().read(true).write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    rustix::stdio::dup2_stderr(&errors)?;
    lock::take(&lock)?;
    sign(&lock);
    let mut text = Vec::new();
    memory.rewind()?;
    memory.read_to_end(&mut text)?;
    let secrets: Vec<(Digest, Confidential)> = serde_json::from_slice(&text)?;
    let listener = listener.local_addr().is_ok().then_some(listener);
    Ok(Inheritance { lock, listener, secrets: secrets.into_iter().collect() })
}

/// Who cannot say who it is holds its folder all the same.
fn sign(lock: &File) {
    if let Err(error) = lock::sign(lock) {
        complain(format_args!("codeops keeper: {LOCK} cannot be written: {error}"));
    }
}

type Ended = (End, Option<TcpListener>, BTreeMap<Digest, Confidential>);

async fn serve(
    inherited: Inheritance,
    from: Option<&Path>,
) -> io::Result<(End, Option<StdListener>, BTreeMap<Digest, Confidential>)> {
    for folder in [FIFOS, logs::FOLDER] {
        fs::create_dir_all(folder)?;
    }
    let table = Arc::new(Table::load(Path::new("."))?);
    table.lies_in(from, &std::env::current_dir()?);
    table.note(|volatile| volatile.secrets = inherited.secrets);
    let wish = table.read(|all| {
        let resource = all.durable.resource.as_ref().filter(|_| !all.durable.deleting)?;
        Stable::of(resource.id.name.as_str(), &resource.spec)
    });
    let keeper = Arc::new(Keeper {
        table,
        rotation: Arc::default(),
        logs: Arc::new(LogFiles::new(logs::FOLDER.as_ref(), LogLimits::default())),
        tasks: Arc::default(),
        port: watch::Sender::new(wish),
        end: watch::Sender::new(None),
        stops: Mutex::default(),
    });
    let listener = inherited.listener.map(TcpListener::from_std).transpose()?;
    let (end, listener, secrets) = run(&keeper, listener).await?;
    let listener = listener.map(TcpListener::into_std).transpose()?;
    Ok((end, listener, secrets))
}

async fn run(keeper: &Arc<Keeper>, listener: Option<TcpListener>) -> io::Result<Ended> {
    let closing = CancellationToken::new();
    let wish = keeper.port.subscribe();
    let port = own(keeper.table.clone(), keeper.rotation.clone(), wish, listener, closing.clone(), PATIENCE);
    let socket = server::bind()?;
    adopt(keeper);
    if let Some(left) = Left::in_table(keeper) {
        keeper.tasks.spawn(left.go_on(keeper.clone()));
    }
    let waiting = async {
        let end = ending(keeper).await;
        closing.cancel();
        end
    };
    let served = async { tokio::join!(port, server::serve(keeper.clone(), socket, closing.clone()), waiting) };
    let (listener, (), end) = tokio::select! {
        served = served => served,
        Err(error) = family::reap_orphans(|pid| keeper.table.read(|all| all.durable.is_own(pid))) => return Err(error),
    };
    // Supervisors are dropped where they stand; their processes know nothing of it.
    keeper.tasks.drain(Duration::ZERO).await;
    // What they had killed on the way out is reaped: no zombie passes to a next binary.
    keeper.tasks.drain(REAPED).await;
    if matches!(end, Ok(End::Deleted)) {
        if let Some(left) = Left::in_table(keeper) {
            left.end(keeper).await;
        }
        family::kill_orphans(None);
    }
    let secrets = keeper.table.note(|volatile| std::mem::take(&mut volatile.secrets));
    Ok((end?, listener, secrets))
}

/// Goes on with every instance of the table.
fn adopt(keeper: &Arc<Keeper>) {
    let known: Vec<(InstanceId, InstanceState)> = keeper
        .table
        .read(|all| all.durable.instances.iter().map(|(id, record)| (id.clone(), record.instance.state)).collect());
    for (id, state) in known {
        keeper.supervise(id.clone());
        if state == InstanceState::Stopping {
            keeper.stop(&id);
        }
    }
}

/// Waits for the end: asked for, by signal, or because all that was to be deleted is gone.
async fn ending(keeper: &Keeper) -> io::Result<End> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (mut asked, mut changes) = (keeper.end.subscribe(), keeper.table.watch());
    loop {
        if keeper.table.read(|all| all.durable.deleting && all.durable.instances.is_empty()) {
            return Ok(End::Deleted);
        }
        if let Some(end) = asked.borrow_and_update().clone() {
            return Ok(end);
        }
        tokio::select! {
            _ = terminate.recv() => drop(keeper.end.send_replace(Some(End::Shutdown))),
            _ = interrupt.recv() => drop(keeper.end.send_replace(Some(End::Shutdown))),
            _ = asked.changed() => {}
            _ = changes.changed() => {}
        }
    }
}

/// Becomes the new binary, under the same process id: instances stay children and the port stays open. Returns only when
/// that could not be done.
fn go_on(
    binary: &Path,
    lock: &File,
    listener: Option<&StdListener>,
    secrets: &BTreeMap<Digest, Confidential>,
) -> io::Error {
    let become_it = |program: &Path| -> io::Result<io::Error> {
        let mut memory = File::from(rustix::fs::memfd_create("codeops-secrets", MemfdFlags::CLOEXEC)?);
        memory.write_all(&serde_json::to_vec(&secrets.iter().collect::<Vec<_>>())?)?;
        let stdin = match listener {
            Some(listener) => Stdio::from(OwnedFd::from(listener.try_clone()?)),
            None => Stdio::null(),
        };
        #[expect(clippy::disallowed_methods, reason = "the keeper goes on as its own next release")]
        let mut command = Command::new(program);
        command.arg("keeper").arg(std::env::current_dir()?).arg(CONTINUE).env_clear();
        Ok(command.stdin(stdin).stdout(memory).stderr(lock.try_clone()?).exec())
    };
    descriptors::give_back();
    let failed = become_it(binary);
    // The new one cannot be run: better the old one than none.
    let again = become_it("/proc/self/exe".as_ref());
    failed.and(again).unwrap_or_else(|error| error)
}

/// Removes what is the keeper's from its folder, and the folder if nothing else is in it.
fn remove_all() -> io::Result<()> {
    let here = std::env::current_dir()?;
    fs::remove_dir_all(logs::FOLDER)?;
    fs::remove_dir_all(FIFOS)?;
    for file in [SOCKET, ERRORS].iter().chain(&slots::FILES).chain(&[LOCK]) {
        match fs::remove_file(file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    match fs::remove_dir(here) {
        Err(error) if error.kind() != io::ErrorKind::DirectoryNotEmpty => Err(error),
        _ => Ok(()),
    }
}
