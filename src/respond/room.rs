//! Room for alerts: what is over for long is let go of also where nothing comes in, and where a receiver has brought all that it
//! may, somebody is told.

use std::collections::BTreeSet;

use codeops_core::model::{Kept, Name, PageOpened, Spent};
use jiff::{SignedDuration, Timestamp};

use super::{Flow, is_due};
use crate::journal::LogError;

/// How often it is looked for.
const LOOK: SignedDuration = SignedDuration::from_secs(15);
/// How many entries one turn writes for it at most: others have theirs.
const AT_ONCE: usize = 20;

impl Flow {
    /// Makes room, and tells of receivers that have none left.
    pub(super) async fn room(&mut self) -> Result<(), LogError> {
        let now = self.tools.clock.now();
        if !is_due(self.room_looked_at, LOOK, now) {
            return Ok(());
        }
        for _ in 0..AT_ONCE {
            if !self.tools.journal.sweep().await? {
                self.room_looked_at = Some(now);
                return self.full(now).await;
            }
        }
        self.wake_at(now);
        Ok(())
    }

    /// A receiver that is full pages, once until it has room again.
    async fn full(&mut self, now: Timestamp) -> Result<(), LogError> {
        let full: Vec<(Name, Kept, u64)> = self.remembered(|response| {
            let told: BTreeSet<&Name> = response.told_full().collect();
            let full = response.full(now).into_iter().filter(|name| !told.contains(*name));
            full.map(|name| (name.clone(), response.kept_of(name), response.spent_of(name, now))).collect()
        });
        for (receiver, kept, spent) in full {
            let title = format!("receiver {receiver} is full: no new alert of it is taken");
            let remembered = format!(
                "{} of its alerts fire or have been over for less than an hour, with {} MiB of labels and annotations; \
                 its sender is told 503 for every new one until some are over. Look at what it sends. Where it does not say \
                 that its alerts are over, `expire` in the settings of the receiver says after what time they count as such.",
                kept.alerts,
                kept.bytes >> 20
            );
            let written = format!(
                "What it told of late took {} MiB of the journal; its sender is told 503 for every alert that fires anew, and \
                 {} KiB a second are taken meanwhile. Look at what it sends: an alert that comes and goes, or whose labels or \
                 annotations change with each delivery, is written down each time.",
                spent >> 20,
                Spent::PER_SECOND >> 10
            );
            let body = if kept.is_full() { remembered } else { written };
            let policy = self.tools.rules.fallback.clone();
            let full = Some(receiver);
            let opened = PageOpened { policy, title, body, full, ..PageOpened::default() };
            self.tools.journal.open_page(opened, |_| Vec::new()).await?;
        }
        Ok(())
    }
}
