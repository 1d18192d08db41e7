//! Storms: more alerts than can be answered one by one are told of in one page.

use std::collections::BTreeMap;
use std::sync::Arc;

use codeops_core::model::{AlertId, AlertMemory, Disposition, Name, PageEvent};
use jiff::{SignedDuration, Timestamp};

use super::Flow;
use super::alerts::disposed;
use super::targets::told;
use crate::journal::LogError;

/// At most one storm page in this time.
const STORM_PAGE: SignedDuration = SignedDuration::from_secs(60);
/// So long a storm page waits for others of its storm: they seldom come all at once.
const GATHER: SignedDuration = SignedDuration::from_secs(5);
/// The most of a storm page's text, in bytes.
const STORM_TEXT: usize = 30 << 10;
const STORM: &str = "No playbook is run for these; each alert has this page as its receipt.\n";

/// The alerts of a storm, by whom each would have been told to.
pub(super) type Storm = BTreeMap<Option<Name>, Vec<Arc<AlertMemory>>>;

impl Flow {
    /// More alerts than can be answered one by one: one page tells each policy of all that are its own, at most one a minute.
    pub(super) async fn storm(&mut self, alerts: &Storm, now: Timestamp) -> Result<(), LogError> {
        if alerts.is_empty() {
            return Ok(());
        }
        // Durable: settings that are taken over, or a daemon that begins anew, are no reason to call again.
        // One of the future is of a clock that was wrong.
        let last = self.remembered(|response| response.stormed_at).filter(|at| *at <= now);
        let came = alerts.values().flatten().map(|it| it.received_at).filter(|at| *at <= now).min();
        let due = [(last, STORM_PAGE), (came, GATHER)].map(|(at, wait)| at.and_then(|at| at.checked_add(wait).ok()));
        if let Some(next) = due.into_iter().flatten().max().filter(|next| *next > now) {
            // They stay as received, and are in the next one.
            self.wake_at(next);
            return Ok(());
        }
        let known = |policy: &&Name| self.router.response().policies.contains_key(*policy);
        let mut by_policy: Storm = Storm::new();
        for (policy, alerts) in alerts {
            let fallback = self.tools.rules.fallback.as_ref();
            let policy = policy.as_ref().filter(known).or(fallback).filter(known).cloned();
            by_policy.entry(policy).or_default().extend(alerts.iter().cloned());
        }
        let all: usize = by_policy.values().map(Vec::len).sum();
        for (policy, alerts) in by_policy {
            match policy {
                Some(policy) => self.storm_pages(policy, &alerts, all - alerts.len()).await?,
                None => self.nobody_to_tell(&alerts).await?,
            }
        }
        Ok(())
    }

    /// Where one page cannot hold them all, the receipts name the last: only then has every target been told of. Each is about
    /// those that it tells of, and over with them.
    async fn storm_pages(&mut self, policy: Name, alerts: &[Arc<AlertMemory>], others: usize) -> Result<(), LogError> {
        let beside = if others == 0 { String::new() } else { format!("{others} more are told of to others.\n") };
        let texts = told(alerts, STORM_TEXT);
        let parts = texts.len();
        let mut ids: Option<Vec<AlertId>> = Some(alerts.iter().map(|it| it.alert.id.clone()).collect());
        for (nth, (text, about)) in (1..).zip(texts) {
            let part = if parts > 1 { format!(" ({nth} of {parts})") } else { String::new() };
            let title = format!("alert storm: {} alerts at once{part}", alerts.len());
            let (policy, body) = (Some(policy.clone()), format!("{STORM}{beside}\n{text}"));
            let receipts = if nth == parts { ids.take() } else { None };
            let left = |page| {
                let receipt = |ids: Vec<AlertId>| {
                    let others = ids.len().saturating_sub(1);
                    let why = format!("a storm: page {page} tells of it and of {others} others");
                    disposed(ids, Disposition::Left { why })
                };
                receipts.map(receipt).into_iter().collect()
            };
            let event = PageEvent::Opened { run: None, policy, title, body, alerts: about };
            self.tools.journal.open_page(event, left).await?;
        }
        Ok(())
    }

    /// No receipt may say that somebody was told.
    async fn nobody_to_tell(&self, alerts: &[Arc<AlertMemory>]) -> Result<(), LogError> {
        tracing::error!(alerts = alerts.len(), "a storm, and there is nobody to page");
        let ids = alerts.iter().map(|it| it.alert.id.clone()).collect();
        let why = "a storm, and there is nobody to page: name a policy in a route, or `fallback` in the settings";
        let left = disposed(ids, Disposition::Left { why: why.to_owned() });
        self.tools.journal.record(vec![left]).await.map(|_| ())
    }
}
