//! A set of tasks that their owner ends: work that comes with connections, probes and timers.

use std::future::Future;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;

/// Tasks under one owner.
#[derive(Debug, Default)]
pub(super) struct Tasks(Mutex<JoinSet<()>>);

impl Tasks {
    /// Adds one.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut set = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while set.try_join_next().is_some() {}
        set.spawn(task);
    }

    fn take(&self) -> JoinSet<()> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits until all have ended, at most `patience`, and ends the rest. `true` when none had to be ended.
    pub(super) async fn drain(&self, patience: Duration) -> bool {
        let mut set = self.take();
        let all = async { while set.join_next().await.is_some() {} };
        let in_time = tokio::time::timeout(patience, all).await.is_ok();
        set.shutdown().await;
        in_time
    }
}
