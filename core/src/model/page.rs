//! Pages: calls to people, each the fold of its own log. When one is sent is decided by [`crate::playbook`].

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{AlertId, Name, Notified, PageId, RunId};

/// A call to people, durable until a channel has accepted it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    /// Its id; channels that deduplicate are given it.
    pub id: PageId,
    /// The run it comes from; none for a storm, a silence, a latch, a self-test.
    pub run: Option<RunId>,
    /// Who is told.
    pub policy: Option<Name>,
    /// At most 200 characters.
    pub title: String,
    /// The evidence: steps run, their outputs, what changed since the last healthy revision. At most 32 KiB, redacted.
    pub body: String,
    /// When it was opened.
    pub opened_at: Timestamp,
    /// Sends that were tried: who, how often, when last, and the last error.
    #[serde(with = "pairs")]
    pub tries: BTreeMap<Notified, PageTry>,
    /// Who accepted it, and when.
    pub accepted: Option<(Notified, Timestamp)>,
    /// Why it needs nobody any more, if it was taken back before anyone accepted it.
    pub withdrawn: Option<String>,
}

/// A map whose keys are no texts, as a list of pairs: JSON has no other place for them.
mod pairs {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<K: Serialize, V: Serialize, S: Serializer>(
        map: &BTreeMap<K, V>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.collect_seq(map)
    }

    pub(super) fn deserialize<'de, K: Deserialize<'de> + Ord, V: Deserialize<'de>, D: Deserializer<'de>>(
        from: D,
    ) -> Result<BTreeMap<K, V>, D::Error> {
        Vec::<(K, V)>::deserialize(from).map(|pairs| pairs.into_iter().collect())
    }
}

/// Sends to one of those told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PageTry {
    /// How many ended without being accepted.
    pub failures: u32,
    /// When the last one began or ended.
    pub at: Timestamp,
    /// The last error, redacted.
    pub error: Option<String>,
}

/// An accepted page whose alerts are not over yet: whoever was told of it is told of its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// The run it comes from.
    pub run: RunId,
    /// By which it was told.
    pub policy: Option<Name>,
    /// In one line.
    pub title: String,
    /// Whom it was sent to.
    pub told: BTreeSet<Notified>,
    /// What it is about: its alerts that are not known to have been over for long.
    pub alerts: BTreeSet<AlertId>,
}

/// One thing that happened to a page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum PageEvent {
    /// It was opened.
    Opened {
        /// The run it comes from.
        run: Option<RunId>,
        /// Who is told.
        policy: Option<Name>,
        /// In one line.
        title: String,
        /// The evidence.
        body: String,
    },
    /// A send is about to be made.
    Begun {
        /// To whom.
        notified: Notified,
    },
    /// A send was not accepted; it is tried again.
    Failed {
        /// To whom.
        notified: Notified,
        /// Why, redacted.
        error: String,
    },
    /// A channel accepted it.
    Accepted {
        /// To whom.
        notified: Notified,
    },
    /// It needs nobody any more.
    Withdrawn {
        /// Why.
        why: String,
    },
    /// It was accepted, and nothing more is to be told of it.
    Closed {
        /// Why.
        why: String,
    },
}

impl Page {
    /// A page from the first event of its log.
    pub fn open(id: PageId, at: Timestamp, event: &PageEvent) -> Option<Self> {
        let PageEvent::Opened { run, policy, title, body } = event else { return None };
        Some(Self {
            id,
            run: *run,
            policy: policy.clone(),
            title: title.clone(),
            body: body.clone(),
            opened_at: at,
            tries: BTreeMap::new(),
            accepted: None,
            withdrawn: None,
        })
    }

    /// Takes in one event of its log.
    pub fn take(&mut self, at: Timestamp, event: &PageEvent) {
        let (notified, error) = match event {
            PageEvent::Opened { .. } | PageEvent::Closed { .. } => return,
            PageEvent::Withdrawn { why } => return self.withdrawn = Some(why.clone()),
            PageEvent::Accepted { notified } => return self.accepted = Some((notified.clone(), at)),
            PageEvent::Begun { notified } => (notified, None),
            PageEvent::Failed { notified, error } => (notified, Some(error)),
        };
        let before = self.tries.entry(notified.clone()).or_insert(PageTry { failures: 0, at, error: None });
        before.at = at;
        if let Some(error) = error {
            before.failures += 1;
            before.error = Some(error.clone());
        }
    }

    /// What is left to be told once it is accepted, of these alerts: of a page that is no run's, nothing.
    pub fn call(&self, alerts: BTreeSet<AlertId>) -> Option<Call> {
        self.accepted.as_ref()?;
        let told = self.tries.keys().cloned().collect();
        let (policy, title) = (self.policy.clone(), self.title.clone());
        (!alerts.is_empty()).then_some(Call { run: self.run?, policy, title, told, alerts })
    }

    /// Whether nothing more is sent.
    pub fn is_over(&self) -> bool {
        self.accepted.is_some() || self.withdrawn.is_some()
    }
}
