//! `run`: starts the daemon, turns signals into its end, and waits until it has drained.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::args::RunArgs;
use super::environment::Variables;
use super::exit::Exit;
use super::options;
use crate::daemon;

/// More threads than this only hold memory: the work is waiting.
const MOST_THREADS: usize = 4;

/// Runs until a signal, or until the daemon cannot go on.
pub(crate) fn run(args: &RunArgs, variables: &Variables) -> anyhow::Result<Exit> {
    let options = options::daemon(args, variables)?;
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(MOST_THREADS);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()?;
    let ended = runtime.block_on(interruptible(|cancel| daemon::run(options, cancel)));
    // What is still read of a mirror is of no use to anybody any more; dropping the runtime would wait for it.
    runtime.shutdown_background();
    ended.map(|()| Exit::Fine)
}

/// Runs what can be cancelled until it ends; SIGINT and SIGTERM cancel it, and it drains. Told so again, it ends at once, as it
/// would if it were killed.
pub(crate) async fn interruptible<T, F: Future<Output = anyhow::Result<T>>>(
    work: impl FnOnce(CancellationToken) -> F,
) -> anyhow::Result<T> {
    let cancel = CancellationToken::new();
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let work = work(cancel.clone());
    tokio::pin!(work);
    loop {
        tokio::select! {
            ended = &mut work => return ended,
            _ = interrupt.recv() => tracing::info!("interrupted: draining, then ending; apps keep running"),
            _ = terminate.recv() => tracing::info!("asked to end: draining, then ending; apps keep running"),
        }
        if cancel.is_cancelled() {
            anyhow::bail!("told to end twice: it did not drain, and the next start looks at what was on");
        }
        cancel.cancel();
    }
}
