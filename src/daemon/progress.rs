//! What one pass is doing, told as it happens: out of the journal's own entries, so that it says what is written down and
//! nothing else. It prints nothing.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use codeops_core::model::{Health, ResourceId, Sync};
use jiff::Timestamp;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio_util::sync::CancellationToken;

use crate::journal::{Entry, Outcome, Record, Seq};

/// Who is told.
pub type Listener = Box<dyn FnMut(&Progress) + Send>;

/// One thing that a pass does or sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// A step is about to be done.
    Begun(Doing),
    /// It has ended.
    Ended {
        /// The step.
        step: Doing,
        /// How it ended.
        outcome: Outcome,
        /// How long it took.
        took: Duration,
    },
    /// A resource stands differently than before.
    Stands {
        /// The resource.
        resource: ResourceId,
        /// Its sync now.
        sync: Sync,
        /// Its health now.
        health: Health,
    },
}

/// A step as people name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Doing {
    /// Such as `start`.
    pub verb: String,
    /// The resource.
    pub resource: ResourceId,
    /// The instance, where it is about one.
    pub instance: Option<String>,
}

/// Tells of entries until the end, and then of those that have already come.
pub(super) async fn tell(mut entries: Receiver<Arc<Entry>>, mut listener: Listener, end: CancellationToken) {
    let mut begun = Begun::default();
    let mut tell = |entry: &Entry| {
        if let Some(progress) = begun.of(entry) {
            listener(&progress);
        }
    };
    loop {
        let entry = tokio::select! {
            entry = entries.recv() => entry,
            () = end.cancelled() => break,
        };
        match entry {
            Ok(entry) => tell(&entry),
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return,
        }
    }
    loop {
        match entries.try_recv() {
            Ok(entry) => tell(&entry),
            Err(TryRecvError::Lagged(_)) => {}
            Err(TryRecvError::Empty | TryRecvError::Closed) => return,
        }
    }
}

/// Steps that have begun and not ended.
#[derive(Default)]
struct Begun(HashMap<Seq, (Timestamp, Doing)>);

impl Begun {
    fn of(&mut self, entry: &Entry) -> Option<Progress> {
        match &entry.record {
            Record::Intent { resource, word, subject, .. } => {
                let instance = matches!(word.as_str(), "start" | "stop").then(|| subject.clone());
                let step = Doing { verb: word.clone(), resource: resource.clone(), instance };
                self.0.insert(entry.seq, (entry.at, step.clone()));
                Some(Progress::Begun(step))
            }
            Record::Result { intent, outcome, .. } => {
                let (at, step) = self.0.remove(intent)?;
                let took = Duration::try_from(entry.at.duration_since(at)).unwrap_or_default();
                Some(Progress::Ended { step, outcome: outcome.clone(), took })
            }
            Record::Status { resource, sync, health, .. } => {
                Some(Progress::Stands { resource: resource.clone(), sync: *sync, health: *health })
            }
            _ => None,
        }
    }
}
