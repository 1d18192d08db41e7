//! What is on beside the flow, and how much longer it gets when the flow ends. Where settings are taken over it goes on, with all
//! that it was begun with, and comes back to the next flow.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use codeops_core::model::{Notified, PageId, RunId, StepRef};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::{Event, Flow};
use crate::journal::LogError;

/// How long what is on gets to come to its end.
const DRAIN: Duration = Duration::from_secs(10);

/// Effects and sends that are on.
#[derive(Debug)]
pub(super) struct Afoot {
    /// How they come back.
    pub(super) sender: mpsc::Sender<Event>,
    pub(super) tasks: JoinSet<()>,
    /// Commits apart: they work at the mirror, and the next flow's work at the same.
    pub(super) commits: JoinSet<()>,
    /// Steps whose effects are on, by whether they commit.
    pub(super) in_hand: BTreeMap<(RunId, StepRef), bool>,
    pub(super) sending: BTreeSet<(PageId, Notified)>,
    /// Pages whose end is being told.
    pub(super) closing: BTreeSet<PageId>,
}

/// The same, and where it comes back.
pub(super) type Handed = (Afoot, mpsc::Receiver<Event>);

/// Nothing is on.
pub(super) fn nothing() -> Handed {
    let (sender, events) = mpsc::channel(1_024);
    let afoot = Afoot {
        sender,
        tasks: JoinSet::new(),
        commits: JoinSet::new(),
        in_hand: BTreeMap::new(),
        sending: BTreeSet::new(),
        closing: BTreeSet::new(),
    };
    (afoot, events)
}

impl Afoot {
    /// Whether something is on that is waited for: where another flow follows, only what cannot go on beside that.
    fn is_awaited(&self, for_good: bool) -> bool {
        !self.commits.is_empty() || (for_good && !self.tasks.is_empty())
    }

    /// Breaks off what cannot go on, which counts as on no more.
    async fn break_off(&mut self, for_good: bool) {
        self.commits.shutdown().await;
        self.in_hand.retain(|_, commits| !*commits);
        if for_good {
            self.tasks.shutdown().await;
        }
    }
}

impl Flow {
    /// Begins nothing more, and gives what is on its time; what comes of it is written down.
    pub(super) async fn drain(&mut self, events: &mut mpsc::Receiver<Event>, for_good: bool) -> Result<(), LogError> {
        let written = self.await_ends(events, for_good).await;
        self.afoot.break_off(for_good).await;
        written
    }

    async fn await_ends(&mut self, events: &mut mpsc::Receiver<Event>, for_good: bool) -> Result<(), LogError> {
        let late = tokio::time::sleep(DRAIN);
        tokio::pin!(late);
        while self.afoot.is_awaited(for_good) {
            tokio::select! {
                Some(event) = events.recv() => self.take_in(event).await?,
                Some(_) = self.afoot.commits.join_next() => {}
                Some(_) = self.afoot.tasks.join_next() => {}
                () = &mut late => {
                    let on = self.afoot.commits.len() + self.afoot.tasks.len();
                    tracing::warn!(on, "steps and messages did not come to their end within {} s", DRAIN.as_secs());
                    break;
                }
            }
        }
        while let Ok(event) = events.try_recv() {
            self.take_in(event).await?;
        }
        Ok(())
    }
}
