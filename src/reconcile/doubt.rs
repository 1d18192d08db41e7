//! After a crash or a restored backup: what an earlier daemon began is settled by looking, and a store that is older than
//! what it observes changes nothing until a commit.

use codeops_core::model::Owner;

use super::Flow;
use crate::journal::{LogError, Outcome, Record};

impl Flow {
    /// Settles intents of an earlier daemon once their providers have answered. What the pass begins again keeps its key;
    /// the rest has either taken effect, which the observation shows, or no longer matters.
    pub(super) async fn settle_doubts(&mut self) -> Result<(), LogError> {
        if self.world.doubts.is_empty() {
            return Ok(());
        }
        let (settled, open): (Vec<_>, Vec<_>) = std::mem::take(&mut self.world.doubts)
            .into_iter()
            .partition(|doubt| !self.world.busy.contains_key(&doubt.resource) && self.is_observed(&doubt.resource));
        self.world.doubts = open;
        let still: Vec<_> = self.tools.journal.in_doubt().into_iter().map(|doubt| doubt.seq).collect();
        let records = settled.into_iter().filter(|doubt| still.contains(&doubt.seq)).map(|doubt| Record::Result {
            intent: doubt.seq,
            resource: doubt.resource,
            outcome: Outcome::Superseded,
        });
        self.tools.journal.record(records.collect()).await?;
        self.world.doubts.retain(|doubt| still.contains(&doubt.seq));
        Ok(())
    }

    fn is_observed(&self, id: &codeops_core::model::ResourceId) -> bool {
        let provider = self.world.current.as_ref().and_then(|c| c.desired.resources.get(id)).map(|r| &r.spec.provider);
        match provider {
            Some(provider) => matches!(self.world.snapshot.providers.get(provider), Some(Ok(_))),
            None => self.world.snapshot.providers.values().all(Result::is_ok),
        }
    }

    /// A live object stamped by a later daemon of this very store means that the store was restored from a backup.
    pub(super) fn notice_older_store(&mut self, owner: &Owner) {
        if self.world.observe_only.is_some() {
            return;
        }
        let (store, epoch) = self.tools.journal.identity();
        let newest = self.newest_epoch(owner, &store);
        if newest > epoch {
            tracing::error!(newest, epoch, "the store is older than what it observes; observing only until a commit");
            self.world.observe_only = Some(format!(
                "this store is older than what it observes (daemon {epoch} against {newest}): it was restored from a \
                 backup, or another daemon ran; nothing is changed until a new commit"
            ));
        }
    }

    /// A new commit ends it: from here on this daemon counts as the newest.
    pub(super) async fn end_observe_only(&mut self) -> Result<(), LogError> {
        let Some(owner) = self.owner() else { return Ok(()) };
        let (store, epoch) = self.tools.journal.identity();
        let epoch = self.newest_epoch(&owner, &store).max(epoch) + 1;
        let version = env!("CARGO_PKG_VERSION").to_owned();
        self.tools.journal.record(vec![Record::DaemonStarted { version, epoch }]).await?;
        self.world.observe_only = None;
        Ok(())
    }

    /// The newest daemon of this store that stamped a live object of ours.
    fn newest_epoch(&self, owner: &Owner, store: &str) -> u64 {
        let stamps = self.world.snapshot.objects().filter_map(|(_, _, live)| live.ours(owner));
        let epochs = stamps.filter_map(|ours| {
            let mut parts = ours.stamp().key.0.split(':');
            (parts.next() == Some(store)).then(|| parts.next()?.parse::<u64>().ok()).flatten()
        });
        epochs.max().unwrap_or_default()
    }
}
