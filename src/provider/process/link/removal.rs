//! Deletes: asked for through the gate alone, and seen through to their end by whoever tends the app then. A keeper that
//! took one goes on with it by itself; one that did not is never asked again but by the next step.

use std::fs::File;
use std::time::Duration;

use codeops_core::model::Key;
use tokio::time::sleep;

use super::{App, CallError, held};
use crate::keeper::lock::{LOCK, is_locked};
use crate::keeper::wire::{Done, Failure, Request};
use crate::provider::process::Shared;
use crate::provider::process::home::{AppRecord, KEEPER_STATE};
use crate::provider::process::kept::Going;

impl App {
    /// Writes down that it is being deleted, then asks for it: so that, whoever ends meanwhile, what its keeper leaves is
    /// removed. A keeper that refuses has begun nothing.
    pub(in super::super) async fn delete(&self, shared: &Shared, key: &Key, going: Going) -> Result<Done, CallError> {
        self.goes(shared, key, &going).await?;
        *held(&self.lock) = self.open_lock(shared);
        let asked = self.call(Request::Delete { key: key.clone() }).await;
        match &asked {
            Err(CallError::Failed(_)) => self.stays(shared).await,
            // A keeper that greeted meanwhile did not know of it yet.
            Ok(_) => self.goes(shared, key, &going).await?,
            Err(CallError::Lost(_)) => {}
        }
        asked
    }

    async fn goes(&self, shared: &Shared, key: &Key, going: &Going) -> Result<(), CallError> {
        let goes = |record: &mut AppRecord| {
            record.deleting = Some(key.clone());
            record.going = Some(Box::new(going.clone()));
        };
        self.change_record(shared, goes)
            .await
            .map_err(|error| CallError::Failed(Failure::Retry(format!("cannot write its record: {error}"))))
    }

    /// It is not being deleted, whatever was written down of it: a delete comes again through the gate or not at all.
    pub(super) async fn stays(&self, shared: &Shared) {
        let stays = |record: &mut AppRecord| (record.deleting, record.going) = (None, None);
        if let Err(error) = self.change_record(shared, stays).await {
            tracing::warn!(resource = %self.id(), %error, "its record cannot be written; it says that a delete is under way");
        }
    }

    /// A keeper that deletes hangs up first, removes its files next, and its lock last; it holds that until it has ended. What
    /// is said to be removed has no process left.
    pub(super) async fn removal(&self, shared: &Shared) {
        let state = shared.home.app(&self.folder).join(KEEPER_STATE);
        // An earlier daemon may have asked for it.
        let lock = held(&self.lock).take().or_else(|| self.open_lock(shared));
        for _ in 0..400 {
            let ended = || lock.as_ref().is_none_or(|lock| !is_locked(lock));
            if held(&self.record).deleting.is_none() || (!state.exists() && ended()) {
                return;
            }
            sleep(Duration::from_millis(5)).await;
        }
    }

    fn open_lock(&self, shared: &Shared) -> Option<File> {
        File::open(shared.home.app(&self.folder).join(LOCK)).ok()
    }

    /// Whether it was to be deleted and is: its keeper has gone and left no state behind. An error in one sentence where what is
    /// left of it cannot be removed: then nothing runs of it, and it is not gone.
    pub(super) async fn is_removed(&self, shared: &Shared) -> Result<bool, String> {
        if held(&self.record).deleting.is_none() || !shared.may_start() {
            return Ok(false);
        }
        let folder = shared.home.app(&self.folder);
        if folder.join(KEEPER_STATE).exists() {
            return Ok(false);
        }
        let going = held(&self.record).going.clone();
        let cleared = shared.clear(&self.folder, self.uid(), going).await;
        let told = |error| format!("it is deleted and has ended, and what is left of it cannot be removed: {error}");
        cleared.map(|()| true).map_err(told)
    }
}
