//! What has been said, and since when it is listened, and does not begin anew when settings are taken over: that makes no receiver silent anew, and what is only
//! observed is observed still. What is on goes on.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use codeops_core::model::Name;
use jiff::Timestamp;

use super::afoot::Handed;

/// It lives as long as the process, through all that begins anew in it.
#[derive(Debug, Clone, Default)]
pub struct Said(Arc<Mutex<Sayings>>);

#[derive(Debug, Default)]
pub(super) struct Sayings {
    /// When the first flow of this process began to look.
    pub(super) looks_since: Option<Timestamp>,
    /// Since when each receiver with a Watchdog is listened to.
    pub(super) listened: BTreeMap<Name, Timestamp>,
    /// When they were last looked at.
    pub(super) listened_at: Option<Timestamp>,
    /// Receivers whose silence has been told of.
    pub(super) silent: BTreeSet<Name>,
    /// Why it only observes, once a page has said so.
    pub(super) observing: Option<String>,
    /// What the last flow left that is on.
    pub(super) afoot: Option<Handed>,
    /// Whether no other flow follows.
    pub(super) ends: bool,
}

impl Said {
    /// The process ends with the flow that runs now.
    pub fn ends(&self) {
        self.with(|said| said.ends = true);
    }

    /// Reads or changes it; never held across an await.
    pub(super) fn with<T>(&self, with: impl FnOnce(&mut Sayings) -> T) -> T {
        with(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
