//! After a crash or a restored backup: what an earlier daemon began is settled by looking, and a store that is older than
//! what it observes changes nothing until a commit.

use std::collections::BTreeSet;
use std::sync::PoisonError;

use codeops_core::model::{Key, Listing, Observed, Owner, ResourceId, Revision};
use codeops_core::plan::UnderWay;
use jiff::Timestamp;

use super::Flow;
use crate::journal::{Category, InDoubt, Journal, LogError, Outcome, Query, Record};
use crate::port::Clock;

/// The next steps of all resources, whether they may go or not: the resource, the op's word, and its subject.
pub(super) type Pending = BTreeSet<(ResourceId, String, String)>;

impl Flow {
    /// Settles intents of which it is not known how they ended, an earlier daemon's or this one's, once their providers
    /// have answered since. What is begun again keeps its key, and so does what is to be begun again once it may go; the
    /// rest has either taken effect, which the observation shows, or no longer matters.
    pub(super) async fn settle_doubts(&mut self, pending: &Pending) -> Result<(), LogError> {
        // Before steps go, the revision in force may be overtaken: what its next steps are is not known yet.
        if !self.world.acts {
            return Ok(());
        }
        let now = self.tools.clock.now();
        let doubts = self.tools.journal.in_doubt().into_iter();
        let over = |doubt: &InDoubt| {
            let again = (doubt.resource.clone(), doubt.word.clone(), doubt.subject.clone());
            self.is_seen(&doubt.resource) && !pending.contains(&again) && !self.pauses(&doubt.resource, now)
        };
        let records = doubts.filter(over).map(|doubt| result(doubt, Outcome::Superseded));
        self.tools.journal.record(records.collect()).await.map(|_| ())
    }

    /// Whether no steps are thought of for a resource now, which says nothing of whether they will be: it waits after a
    /// failure, or its manifest suspends it.
    fn pauses(&self, id: &ResourceId, now: Timestamp) -> bool {
        let declared = self.world.current.as_ref().and_then(|current| current.desired.resources.get(id));
        let memory = self.tools.journal.memory();
        let memory = memory.read().unwrap_or_else(PoisonError::into_inner);
        let retry_at = memory.resources.get(id).and_then(|remembered| remembered.waits_until(now));
        declared.is_some_and(|resource| resource.spec.suspend)
            || self.world.cooling.get(id).copied().max(retry_at).is_some_and(|until| until > now)
    }

    /// The renames of which it is not known how they ended, whether their steps are under way or were cut off.
    pub(super) fn under_way(&self) -> UnderWay {
        let doubts = self.tools.journal.in_doubt();
        UnderWay::new(doubts.iter().filter_map(|doubt| Some((doubt.former()?, doubt.resource.clone()))))
    }

    /// A rename that took effect before its result was written: what is remembered moves with it, before a pass would
    /// take the old id for gone and the new one for a stranger.
    pub(super) async fn settle_renames(&mut self) -> Result<(), LogError> {
        let renames = self.tools.journal.in_doubt().into_iter();
        let mut records = Vec::new();
        for doubt in renames.filter(|doubt| self.is_seen(&doubt.resource)) {
            let Some(from) = doubt.former().filter(|from| self.is_seen(from)) else { continue };
            if self.lives(&doubt.resource) && !self.lives(&from) {
                let resource = doubt.resource.clone();
                records.push(result(doubt, Outcome::Done { note: None }));
                records.push(Record::Renamed { from, resource });
            }
        }
        self.tools.journal.record(records).await.map(|_| ())
    }

    fn lives(&self, id: &ResourceId) -> bool {
        self.world.snapshot.objects().any(|(_, live, _)| live == id)
    }

    /// Whether nothing is under way on a resource and it is known how it is, wherever it may be.
    fn is_seen(&self, id: &ResourceId) -> bool {
        let known = |provider| !matches!(self.world.snapshot.observed(provider, id), Observed::Unknown(_));
        let declared = self.world.current.as_ref().and_then(|current| current.desired.resources.get(id));
        !self.world.busy.contains_key(id)
            && match declared.map(|resource| &resource.spec.provider) {
                Some(provider) if self.world.providers.contains_key(provider) => known(provider),
                _ => self.world.providers.keys().all(known),
            }
    }

    /// Finds the number of the daemon before this one on the store. It numbers itself by the clock, which says nothing of
    /// what the store knows.
    pub(super) async fn recall_daemon_before(&mut self) -> Result<(), LogError> {
        let query = Query { categories: vec![Category::Daemon], limit: 1_000, ..Query::default() };
        let started = self.tools.journal.read(query).await?;
        let mut numbers = started.items.iter().filter_map(|entry| match entry.record {
            Record::DaemonStarted { epoch, .. } => Some(epoch),
            _ => None,
        });
        self.world.daemon_before = numbers.nth(1);
        Ok(())
    }

    /// Finds the newest key that this store has minted, before this daemon mints any.
    pub(super) async fn recall_newest_key(&mut self) -> Result<(), LogError> {
        let (store, epoch) = self.tools.journal.identity();
        let query = Query { categories: vec![Category::Step], limit: 1_000, ..Query::default() };
        let steps = self.tools.journal.read(query).await?;
        let minted = steps.items.iter().filter_map(|entry| match &entry.record {
            Record::Intent { key, .. } => Minted::read(key).filter(|minted| minted.store == store),
            _ => None,
        });
        // What is older than all that is kept may have been minted by any daemon before this one.
        let before = (epoch.saturating_sub(1), u64::MAX);
        self.world.newest_key = minted.map(|minted| (minted.epoch, minted.count)).max().unwrap_or(before);
        Ok(())
    }

    /// Looks for stamps that this store cannot have made, in the first listing of a provider: this daemon has done
    /// nothing there yet.
    pub(super) fn look_for_later_stamps(&mut self, listing: &Listing) {
        let (store, _) = self.tools.journal.identity();
        let stamps = listing.objects.values().filter_map(|live| live.stamp.as_ref());
        let minted = stamps.filter_map(|stamp| Minted::read(&stamp.key)).filter(|minted| minted.store == store);
        let newest = minted.map(|minted| (minted.epoch, minted.count)).max();
        if newest.is_some_and(|newest| newest > self.world.newest_key) {
            self.world.is_older = true;
        }
    }

    /// A live object stamped with a key of this very store that the store does not know means that the store was restored
    /// from a backup. A newer daemon of another store means that this store was lost, when it was new at the start.
    pub(super) async fn notice_older_store(&mut self, owner: &Owner) -> Result<(), LogError> {
        if self.world.observe_only.is_some() {
            return Ok(());
        }
        let (store, epoch) = self.tools.journal.identity();
        let ours = self.newest_epoch(owner, |stamped| stamped == store);
        let others = self.newest_epoch(owner, |stamped| stamped != store);
        let obeyed = self.obeyed_epoch();
        if self.world.is_older || ours > epoch {
            self.observe_only("it was restored from a backup, or a second daemon ran on a copy of it");
        } else if (others >= epoch || obeyed > epoch) && self.world.fresh_store {
            tracing::warn!("the store is new and what lives is not: taken over by its stamps");
            self.become_newest(others.max(obeyed)).await?;
        } else if others > self.world.daemon_before.unwrap_or(epoch) {
            self.observe_only("a newer daemon with another store has changed what lives");
        } else if obeyed > epoch {
            self.observe_only("what lives has obeyed a newer daemon");
        }
        Ok(())
    }

    fn observe_only(&mut self, why: &str) {
        let why = format!("the store is older than what it observes: {why}; nothing is changed until a new commit");
        tracing::error!(why, "observing only");
        self.world.observe_only = Some(why);
    }

    /// Ends it when `revision` is a new commit: not the one that the repository was at when this daemon started, for an
    /// older store has not seen that one either.
    pub(super) async fn end_observe_only(&mut self, revision: &Revision) -> Result<(), LogError> {
        let is_new = self.world.first_tip.as_ref().is_some_and(|first| first != revision);
        if self.rules.observe || self.world.observe_only.is_none() || !is_new {
            return Ok(());
        }
        let Some(owner) = self.owner() else { return Ok(()) };
        self.become_newest(self.newest_epoch(&owner, |_| true).max(self.obeyed_epoch())).await?;
        self.world.is_older = false;
        self.world.observe_only = None;
        Ok(())
    }

    /// From here on this daemon counts as the newest.
    async fn become_newest(&mut self, stamped: u64) -> Result<(), LogError> {
        let epoch = stamped.max(self.tools.journal.epoch()).saturating_add(1);
        self.tools.journal.record(vec![started(epoch, self.tools.clock.now(), false)]).await?;
        self.world.daemon_before = Some(epoch);
        Ok(())
    }

    /// The newest daemon that stamped a live object of ours, among those of the stores that `of` picks.
    fn newest_epoch(&self, owner: &Owner, of: impl Fn(&str) -> bool) -> u64 {
        let stamps = self.world.snapshot.objects().filter_map(|(_, _, live)| live.ours(owner));
        let minted = stamps.filter_map(|ours| Minted::read(&ours.stamp().key).filter(|minted| of(&minted.store)));
        minted.map(|minted| minted.epoch).max().unwrap_or_default()
    }

    /// The newest daemon that any system remembers to have obeyed: it refuses older ones.
    fn obeyed_epoch(&self) -> u64 {
        let listings = self.world.snapshot.providers.values().filter_map(|listing| listing.as_ref().ok());
        listings.map(|listing| listing.epoch).max().unwrap_or_default()
    }
}

/// Counts one more daemon on the store, before anything else is done with it, and answers its number; `reloaded`: it is the
/// same process under settings that it has taken over. The time is the
/// least it may be: so a store that was lost and begins anew, or one restored from a backup, still numbers its daemons
/// above all before, and what lives answers to it.
///
/// # Errors
/// The journal takes nothing.
pub async fn count_daemon(journal: &Journal, clock: &dyn Clock, reloaded: bool) -> Result<u64, LogError> {
    journal.record(vec![started(journal.epoch(), clock.now(), reloaded)]).await?;
    Ok(journal.epoch())
}

fn started(epoch: u64, now: Timestamp, reloaded: bool) -> Record {
    let time = u64::try_from(now.as_second()).unwrap_or_default();
    Record::DaemonStarted { version: env!("CARGO_PKG_VERSION").to_owned(), epoch: epoch.max(time), reloaded }
}

/// What a key tells of who minted it.
struct Minted {
    store: String,
    epoch: u64,
    count: u64,
}

impl Minted {
    fn read(key: &Key) -> Option<Self> {
        let mut parts = key.0.split(':');
        let store = parts.next()?.to_owned();
        Some(Self { store, epoch: parts.next()?.parse().ok()?, count: parts.next()?.parse().ok()? })
    }
}

fn result(doubt: InDoubt, outcome: Outcome) -> Record {
    Record::Result { intent: doubt.seq, what: Some(doubt.what()), resource: doubt.resource, aim: None, outcome }
}
