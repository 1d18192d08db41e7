//! `apply`: the same flow as the daemon's, without the edges, until nothing more happens without a commit.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{Assembly, Options, drain};
use crate::port::{Board, Publisher, Watcher};
use crate::reconcile;

/// How a pass ended.
#[derive(Debug, Clone)]
pub struct Applied {
    /// The last board.
    pub board: Arc<Board>,
}

impl Applied {
    /// Whether everything is as the revision says.
    pub fn is_applied(&self) -> bool {
        self.board.revision.as_ref().is_some_and(|revision| revision.state == "applied")
    }

    /// Whether what is missing waits only for a commit.
    pub fn is_held(&self) -> bool {
        let overall = self.board.overall();
        overall.held > 0 && overall.degraded == 0 && overall.unknown == 0 && overall.progressing == 0
    }
}

/// Applies the newest revision and waits until it has settled. `watching` is called once with the board, for progress.
///
/// # Errors
/// Anything that keeps it from starting, a running daemon among them, and a journal that takes nothing more.
pub async fn apply(
    options: Options,
    cancel: CancellationToken,
    watching: impl FnOnce(Watcher, &mut JoinSet<()>),
) -> anyhow::Result<Applied> {
    let assembly = Assembly::open(&options).await?;
    let mut tasks = JoinSet::new();
    let mut watchers = JoinSet::new();
    let (publisher, watcher) = Publisher::new();
    watching(watcher.clone(), &mut watchers);
    let (_never, fetch) = mpsc::channel(1);
    let gate = cancel.child_token();
    let parts = assembly.reconcile(&options, publisher, fetch, true, &mut tasks, gate.clone());
    let ended = reconcile::run(parts, cancel).await;
    gate.cancel();
    drain(tasks).await;
    watchers.shutdown().await;
    ended?;
    Ok(Applied { board: watcher.board() })
}
