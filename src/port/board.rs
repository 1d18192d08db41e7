//! The board: the last picture of everything, published by `reconcile` after each pass and read by `web` and `cli`.
//!
//! A board is immutable and shared; readers never wait for a pass and a pass never waits for readers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use codeops_core::desired::{Desired, Diagnostic};
use codeops_core::model::{
    Digest, Health, LastGood, Live, Pin, ProviderName, Resource, ResourceId, Revision, RevisionState, Snapshot, Sync,
    SystemId, TeamName,
};
use codeops_core::plan::Difference;
use codeops_core::policy::Hold;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use tokio::sync::watch;

/// How long a repository may not answer before that counts: a fetch that fails once is no news.
const SILENT: SignedDuration = SignedDuration::from_mins(5);

/// Everything as of one moment.
#[derive(Debug, Clone, Default)]
pub struct Board {
    /// `name/environment`, once known.
    pub owner: Option<String>,
    /// Whether a first pass has finished; `/readyz` says so.
    pub ready: bool,
    /// Why the daemon is not ready though it once was: a poisoned journal, say.
    pub broken: Option<String>,
    /// Whether changes are made or only shown.
    pub observe_only: Option<String>,
    /// The repository.
    pub source: SourceView,
    /// The revision in force.
    pub revision: Option<RevisionView>,
    /// When live state was last observed.
    pub fresh_at: Option<Timestamp>,
    /// How long the last full pass took, in microseconds.
    pub pass_micros: u64,
    /// Providers by name.
    pub providers: BTreeMap<ProviderName, ProviderView>,
    /// Resources by id: all that are declared or live and ours.
    pub resources: BTreeMap<ResourceId, Arc<ResourceView>>,
    /// What only a commit releases by trailer.
    pub holds: Vec<Hold>,
    /// Mistakes in the revision in force.
    pub diagnostics: Vec<Diagnostic>,
    /// The freeze in force, in one sentence.
    pub freeze: Option<String>,
    /// What the revision in force wants, as it was compiled.
    pub desired: Option<Arc<Desired>>,
    /// What was observed.
    pub snapshot: Arc<Snapshot>,
}

/// The repository as last seen.
#[derive(Debug, Clone, Default, Serialize)]
pub struct SourceView {
    /// Its URL without credentials.
    pub url: String,
    /// The branch followed.
    pub branch: String,
    /// When it last answered.
    pub fetched_at: Option<Timestamp>,
    /// Why the last look failed, if it did.
    pub error: Option<String>,
    /// Why the newest tip is not followed, if so.
    pub held: Option<String>,
}

/// How far a revision is.
#[derive(Debug, Clone, Serialize)]
pub struct RevisionView {
    /// Its id.
    pub id: Revision,
    /// Its first line.
    pub subject: String,
    /// `Name <address>`.
    pub author: String,
    /// The teams whose files it changes.
    #[serde(skip)]
    pub teams: BTreeSet<TeamName>,
    /// How far it is.
    pub state: RevisionState,
    /// When this daemon accepted it.
    pub accepted_at: Timestamp,
}

/// One provider as last seen.
#[derive(Debug, Clone, Serialize)]
pub struct ProviderView {
    /// The kind of provider.
    pub word: &'static str,
    /// The system it is bound to.
    pub system: Option<SystemId>,
    /// When it last answered.
    pub answered_at: Option<Timestamp>,
    /// Why it does not answer, if so.
    pub error: Option<String>,
}

/// One resource as last seen.
#[derive(Debug, Clone, PartialEq)]
pub struct ResourceView {
    /// Its id.
    pub id: ResourceId,
    /// Its team, if it is declared or stamped.
    pub team: Option<TeamName>,
    /// Its provider.
    pub provider: ProviderName,
    /// Whether it is what it should be.
    pub sync: Sync,
    /// Whether it works.
    pub health: Health,
    /// In one sentence, when not simply synced and healthy: what is wrong and what happens next.
    pub why: Option<String>,
    /// When sync or health last changed.
    pub since: Timestamp,
    /// The revision whose declaration is live.
    pub revision: Option<Revision>,
    /// The spec digest declared.
    pub digest: Option<Digest>,
    /// What is declared; `None`: it should not exist.
    pub desired: Option<Arc<Resource>>,
    /// What lives, if it does and is known.
    pub live: Option<Arc<Live>>,
    /// Live against declared, field by field.
    pub differences: Vec<Difference>,
    /// What it waits for or is bound to.
    pub depends_on: Vec<ResourceId>,
    /// What waits for it or is bound to it.
    pub used_by: Vec<ResourceId>,
    /// The template that last finished its bake.
    pub last_good: Option<LastGood>,
    /// Templates that failed.
    pub pins: BTreeMap<Digest, Pin>,
    /// When something happens next by itself, if known.
    pub next_at: Option<Timestamp>,
    /// Whether its steps fail again and again: somebody has to look.
    pub stuck: bool,
}

/// The answer to "is everything fine?".
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Overall {
    /// All resources.
    pub total: usize,
    /// Synced and healthy.
    pub fine: usize,
    /// Sync is `Held`.
    pub held: usize,
    /// Health is `Degraded`.
    pub degraded: usize,
    /// Its steps fail again and again, and it is not degraded.
    pub stuck: usize,
    /// Sync is `OutOfSync` or health is `Progressing`, and neither degraded nor stuck.
    pub progressing: usize,
    /// Sync or health is `Unknown`.
    pub unknown: usize,
    /// Suspended, and neither degraded nor unknown: nothing is done about it, and somebody has to look all the same.
    pub suspended: usize,
}

impl Board {
    /// What keeps new commits, or all changes, from taking effect, a few words each; whatever runs may be well meanwhile.
    pub fn blocks(&self) -> Vec<&'static str> {
        let source = &self.source;
        let since = self.fresh_at.zip(source.fetched_at).map(|(now, at)| now.duration_since(at));
        let silent = source.error.is_some() && self.ready && since.is_none_or(|since| since > SILENT);
        let blocks = [
            (source.held.is_some(), "new commits are not followed"),
            (silent, "the repository does not answer"),
            (self.freeze.is_some(), "frozen"),
            (self.observe_only.is_some(), "only observing"),
        ];
        blocks.into_iter().filter(|(is, _)| *is).map(|(_, what)| what).collect()
    }

    /// Counts resources by how they do; the counts but `total` do not overlap.
    pub fn overall(&self) -> Overall {
        let mut overall = Overall { total: self.resources.len(), ..Overall::default() };
        for view in self.resources.values() {
            let counter = match (view.sync, view.health) {
                (Sync::Held, _) => &mut overall.held,
                (_, Health::Degraded) => &mut overall.degraded,
                (Sync::Suspended, Health::Unknown) => &mut overall.unknown,
                (Sync::Suspended, _) => &mut overall.suspended,
                _ if view.stuck => &mut overall.stuck,
                (Sync::Unknown, _) | (_, Health::Unknown) => &mut overall.unknown,
                (Sync::Synced, Health::Healthy) => &mut overall.fine,
                _ => &mut overall.progressing,
            };
            *counter += 1;
        }
        overall
    }
}

/// The writing end of the board; one exists.
#[derive(Debug)]
pub struct Publisher(watch::Sender<Arc<Board>>);

/// A reading end of the board.
#[derive(Debug, Clone)]
pub struct Watcher(watch::Receiver<Arc<Board>>);

impl Publisher {
    /// A new, empty board.
    pub fn new() -> (Self, Watcher) {
        let (sender, receiver) = watch::channel(Arc::default());
        (Self(sender), Watcher(receiver))
    }

    /// Replaces the board.
    pub fn publish(&self, board: Board) {
        self.0.send_replace(Arc::new(board));
    }
}

impl Watcher {
    /// The board as it is.
    pub fn board(&self) -> Arc<Board> {
        Arc::clone(&self.0.borrow())
    }

    /// Waits for the next board. `Err` when the daemon is ending.
    pub async fn changed(&mut self) -> Result<Arc<Board>, watch::error::RecvError> {
        self.0.changed().await?;
        Ok(Arc::clone(&self.0.borrow_and_update()))
    }
}
