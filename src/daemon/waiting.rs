//! What a daemon does that cannot begin yet: it tries again, and meanwhile both addresses say that it lives, and the page why
//! nothing is done.

use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::Options;
use super::life::{Kept, Life};
use super::listen::Listeners;
use crate::{hooks, web};

/// Between two tries.
const AGAIN: Duration = Duration::from_secs(2);
/// What a disk says that is full or fails, as the system and SQLite put it: adapters pass it on as a sentence.
const OF_A_DISK: [&str; 4] =
    ["No space left on device", "Disk quota exceeded", "database or disk is full", "disk I/O error"];

/// Whether a daemon could begin once there is room on the disk. All else that keeps it from starting is told to who started it.
pub(super) fn passes(error: &anyhow::Error) -> bool {
    let told = format!("{error:#}");
    OF_A_DISK.iter().any(|said| told.contains(said))
}

/// Begins as soon as that can be: at the start where the disk was full, and later under settings that were lived by before, for
/// what keeps them from working passes. `None` at the daemon's end.
pub(super) async fn begin(
    options: &Options,
    listeners: &Listeners,
    kept: &Kept,
    cancel: &CancellationToken,
) -> Option<Life> {
    let mut waiting: Option<Waiting> = None;
    loop {
        let why = match Life::begin(options, listeners, kept, false).await {
            Ok(life) => {
                if let Some(waiting) = waiting {
                    waiting.end().await;
                }
                return Some(life);
            }
            Err(error) => format!("{error:#}"),
        };
        match &waiting {
            Some(waiting) => waiting.tell(&why),
            None => waiting = Waiting::open(listeners, why),
        }
        tokio::select! {
            () = cancel.cancelled() => break,
            () = tokio::time::sleep(AGAIN) => {}
        }
    }
    if let Some(waiting) = waiting {
        waiting.end().await;
    }
    None
}

/// Both addresses, answered.
struct Waiting {
    why: watch::Sender<String>,
    end: CancellationToken,
    tasks: JoinSet<()>,
}

impl Waiting {
    /// `None` where the listeners cannot be had, such as for want of descriptors: the next try may.
    fn open(listeners: &Listeners, why: String) -> Option<Self> {
        told(&why);
        let (page, hooks) = (listeners.page().ok()?, listeners.hooks().ok()?);
        let (why, reader) = watch::channel(why);
        let (mut tasks, end) = (JoinSet::new(), CancellationToken::new());
        let (of_page, of_hooks) = (end.clone(), end.clone());
        tasks.spawn(async move { web::wait(page, reader, &of_page).await });
        tasks.spawn(async move { hooks::wait(hooks, &of_hooks).await });
        Some(Self { why, end, tasks })
    }

    /// The same again is no news: a disk may be full for days.
    fn tell(&self, why: &str) {
        if self.why.send_if_modified(|before| {
            before != why && {
                why.clone_into(before);
                true
            }
        }) {
            told(why);
        }
    }

    async fn end(mut self) {
        self.end.cancel();
        super::drain(&mut self.tasks).await;
    }
}

fn told(why: &str) {
    tracing::error!(error = why, "the daemon cannot go on yet: it waits and tries again");
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    #[test]
    fn a_full_disk_passes_and_what_somebody_got_wrong_does_not() {
        let of = |kind: rustix::io::Errno| {
            Err::<(), _>(std::io::Error::from(kind)).context("the state folder cannot be used").expect_err("an error")
        };
        assert!(passes(&of(rustix::io::Errno::NOSPC)) && passes(&of(rustix::io::Errno::DQUOT)));
        assert!(!passes(&of(rustix::io::Errno::ACCESS)) && !passes(&of(rustix::io::Errno::ADDRINUSE)));
    }
}
