//! After a crash or a restored backup: what an earlier daemon began is settled by looking, and a store that is older than
//! what it observes changes nothing until a commit.

use codeops_core::model::{Observed, Owner, ResourceId, Revision};

use super::Flow;
use crate::journal::{InDoubt, LogError, Outcome, Record};

impl Flow {
    /// Settles intents of which it is not known how they ended, an earlier daemon's or this one's, once their providers
    /// have answered since. What the pass begins again keeps its key; the rest has either taken effect, which the
    /// observation shows, or no longer matters.
    pub(super) async fn settle_doubts(&mut self) -> Result<(), LogError> {
        let doubts = self.tools.journal.in_doubt().into_iter();
        let settled = doubts.filter(|doubt| self.is_seen(&doubt.resource));
        let records = settled.map(|doubt| result(doubt, Outcome::Superseded));
        self.tools.journal.record(records.collect()).await.map(|_| ())
    }

    /// A rename that took effect before its result was written: what is remembered moves with it, before a pass would
    /// take the old id for gone and the new one for a stranger.
    pub(super) async fn settle_renames(&mut self) -> Result<(), LogError> {
        let renames = self.tools.journal.in_doubt().into_iter().filter(|doubt| doubt.word == "rename");
        let mut records = Vec::new();
        for doubt in renames.filter(|doubt| self.is_seen(&doubt.resource)) {
            let from = doubt.subject.split(' ').next().and_then(|from| from.parse::<ResourceId>().ok());
            let Some(from) = from.filter(|from| self.is_seen(from)) else { continue };
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

    /// A live object stamped by a later daemon of this very store means that the store was restored from a backup. One
    /// stamped by a daemon of another store means that this store was lost, when it was new at the start. The same goes
    /// for a later daemon that a system remembers, whatever it stamped: it would refuse this one.
    pub(super) async fn notice_older_store(&mut self, owner: &Owner) -> Result<(), LogError> {
        if self.world.observe_only.is_some() {
            return Ok(());
        }
        let (store, epoch) = self.tools.journal.identity();
        let newest = |ours: bool| self.newest_epoch(owner, |stamped| (stamped == store) == ours);
        let (ours, others, obeyed) = (newest(true), newest(false), self.obeyed_epoch());
        let elsewhere = others.max(obeyed);
        if ours > epoch || (elsewhere > epoch && !self.world.fresh_store) {
            let (newest, which) = match ours > epoch {
                true => (ours, "this store"),
                false => (elsewhere, "another store or a later state of this one"),
            };
            tracing::error!(newest, epoch, "the store is older than what it observes; observing only until a commit");
            self.world.observe_only = Some(format!(
                "this store is older than what it observes (daemon {epoch} against {newest} of {which}): it was restored \
                 from a backup, or another daemon ran; nothing is changed until a new commit"
            ));
        } else if others >= epoch || obeyed > epoch {
            tracing::warn!(elsewhere, "the store is new and what lives is not: taken over by its stamps");
            self.become_newest(elsewhere).await?;
        }
        Ok(())
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
        self.world.observe_only = None;
        Ok(())
    }

    /// From here on this daemon counts as the newest. A store that was new began to count at its time, so the time is
    /// above every count there was, stamped or not.
    async fn become_newest(&mut self, stamped: u64) -> Result<(), LogError> {
        let (_, epoch) = self.tools.journal.identity();
        let time = u64::try_from(self.tools.clock.now().as_second()).unwrap_or_default();
        let epoch = stamped.max(epoch).saturating_add(1).max(time);
        let version = env!("CARGO_PKG_VERSION").to_owned();
        self.tools.journal.record(vec![Record::DaemonStarted { version, epoch }]).await.map(|_| ())
    }

    /// The newest daemon that stamped a live object of ours, among those of the stores that `of` picks.
    fn newest_epoch(&self, owner: &Owner, of: impl Fn(&str) -> bool) -> u64 {
        let stamps = self.world.snapshot.objects().filter_map(|(_, _, live)| live.ours(owner));
        let epochs = stamps.filter_map(|ours| {
            let mut parts = ours.stamp().key.0.split(':');
            parts.next().is_some_and(&of).then(|| parts.next()?.parse::<u64>().ok()).flatten()
        });
        epochs.max().unwrap_or_default()
    }

    /// The newest daemon that any system remembers.
    fn obeyed_epoch(&self) -> u64 {
        let listings = self.world.snapshot.providers.values().filter_map(|listing| listing.as_ref().ok());
        listings.map(|listing| listing.epoch).max().unwrap_or_default()
    }
}

fn result(doubt: InDoubt, outcome: Outcome) -> Record {
    Record::Result { intent: doubt.seq, resource: doubt.resource, outcome }
}
