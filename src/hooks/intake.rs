//! What alerts are given to once they are understood: the journal, seen as far as this room needs it.

use std::sync::{Arc, PoisonError};

use async_trait::async_trait;
use codeops_core::model::{AlertId, AlertMemory, AlertState, Fingerprint, Labels, Name, Signal};
use jiff::Timestamp;

use crate::journal::{Journal, LogError, Receipt, Record};

/// Takes alerts in durably.
#[async_trait]
pub trait Intake: Send + Sync {
    /// Takes one delivery, as [`Journal::receive`] does: durable when it returns.
    async fn receive(
        &self,
        receiver: &Name,
        ids: &[String],
        signals: Vec<Signal>,
        spoiled: u32,
    ) -> Result<Receipt, LogError>;

    /// Notes that a receiver's Watchdog was heard.
    async fn heard(&self, receiver: &Name) -> Result<(), LogError>;

    /// Since when an alert fires that its source tells of without a time; `None` where it does not fire.
    fn began(&self, source: &Name, fingerprint: &Fingerprint) -> Option<Timestamp>;

    /// Whether the source of an alert holds it back.
    fn is_silenced(&self, alert: &AlertId) -> bool;

    /// The alerts with these labels that a receiver told of and that are not over.
    fn open(&self, receiver: &Name, group: &Labels) -> Vec<AlertId>;

    /// Whether a page was sent under this key.
    fn is_own_page(&self, key: &str) -> bool;
}

#[async_trait]
impl Intake for Journal {
    async fn receive(
        &self,
        receiver: &Name,
        ids: &[String],
        signals: Vec<Signal>,
        spoiled: u32,
    ) -> Result<Receipt, LogError> {
        Journal::receive(self, receiver, ids, signals, spoiled).await
    }

    async fn heard(&self, receiver: &Name) -> Result<(), LogError> {
        self.record(vec![Record::Watchdog { receiver: receiver.clone() }]).await.map(drop)
    }

    fn began(&self, source: &Name, fingerprint: &Fingerprint) -> Option<Timestamp> {
        let at = |starts_at| AlertId { source: source.clone(), fingerprint: fingerprint.clone(), starts_at };
        let memory = self.memory();
        let memory = memory.read().unwrap_or_else(PoisonError::into_inner);
        let mut known = memory.response.alerts.range(at(Timestamp::MIN)..=at(Timestamp::MAX)).rev();
        known.find(|(_, alert)| alert.state != AlertState::Resolved).map(|(id, _)| id.starts_at)
    }

    fn is_silenced(&self, alert: &AlertId) -> bool {
        Journal::is_silenced(self, alert)
    }

    fn open(&self, receiver: &Name, group: &Labels) -> Vec<AlertId> {
        let memory = self.memory();
        let memory = memory.read().unwrap_or_else(PoisonError::into_inner);
        let is = |it: &&Arc<AlertMemory>| {
            it.state != AlertState::Resolved
                && it.alert.receiver == *receiver
                && group.iter().all(|(name, value)| it.alert.labels.get(name) == Some(value))
        };
        memory.response.alerts.values().filter(is).map(|it| it.alert.id.clone()).collect()
    }

    fn is_own_page(&self, key: &str) -> bool {
        self.page_of_key(key).is_some()
    }
}
