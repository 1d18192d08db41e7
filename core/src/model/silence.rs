//! Whose silence somebody was called for: receivers that wait for their Watchdog.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{Name, ResponseMemory};

impl ResponseMemory {
    /// Whether a receiver has heard its Watchdog since that time.
    pub fn heard_since(&self, receiver: &Name, at: Timestamp) -> bool {
        self.watchdogs.get(receiver).is_some_and(|heard| *heard > at)
    }

    /// The receivers that are silent and whom a page tells of; and since when it does.
    pub fn silent(&self) -> BTreeMap<&Name, Timestamp> {
        let open = self.pages.values().map(|page| (page.silent.as_ref(), Some(page.opened_at)));
        let calls = self.calls.values().map(|call| (call.silent.as_ref(), call.opened_at));
        let told = open.chain(calls).filter_map(|(receiver, at)| Some((receiver?, at?)));
        told.filter(|(receiver, at)| !self.heard_since(receiver, *at)).collect()
    }
}
