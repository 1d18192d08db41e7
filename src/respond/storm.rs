//! Storms: more alerts than can be answered one by one are told of in one page.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use codeops_core::model::{AlertId, AlertMemory, Disposition, Name, PageOpened, ResponseMemory, TeamName};
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

/// The storms that are on, each of what one source tells of one team, and since when alerts wait for their page.
pub(super) type Stormy = BTreeMap<(Name, Option<TeamName>), Timestamp>;

fn time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

impl Flow {
    /// The storms of which alerts wait for their page: since they came this time, for one that comes back was received long ago.
    pub(super) fn storms(&self, response: &ResponseMemory) -> Stormy {
        let mut since = Stormy::new();
        for it in response.alerts.values().filter(|it| matches!(it.disposition, Disposition::Waits { .. })) {
            let receiver = self.tools.rules.reach_of(&it.alert.receiver);
            let owner = self.router.whose().owner_of(&it.alert.labels, receiver).cloned();
            let first = since.entry((it.alert.id.source.clone(), owner)).or_insert(it.since);
            *first = it.since.min(*first);
        }
        since
    }

    /// More alerts than can be answered one by one: one page tells each policy of all that are its own, at most one a minute.
    /// `since` is when the first of those came that wait for it already.
    pub(super) async fn storm(
        &mut self,
        alerts: &Storm,
        since: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<(), LogError> {
        if alerts.is_empty() {
            return Ok(());
        }
        let came = alerts.values().flatten().map(|it| it.since).chain(since).min();
        if let Some(next) = self.next_storm_page(came, now) {
            self.wake_at(next);
            return self.wait_for_page(alerts, next).await;
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
                Some(policy) => self.storm_pages(policy, &alerts, all - alerts.len(), now).await?,
                None => self.nobody_to_tell(&alerts).await?,
            }
        }
        Ok(())
    }

    /// When the next page of a storm may leave; `None`: now. Durable: settings that are taken over, or a daemon that begins anew,
    /// are no reason to call again. It gathers since the first of it `came`. One of the future is of a clock that was wrong.
    pub(super) fn next_storm_page(&self, came: Option<Timestamp>, now: Timestamp) -> Option<Timestamp> {
        let last = self.remembered(|response| response.stormed_at);
        let after = |at: Option<Timestamp>, wait| at.filter(|at| *at <= now).and_then(|at| at.checked_add(wait).ok());
        after(last, STORM_PAGE).max(after(came, GATHER)).filter(|next| *next > now)
    }

    /// Says of each what it waits for; they are on the next page.
    async fn wait_for_page(&self, alerts: &Storm, next: Timestamp) -> Result<(), LogError> {
        let mut waits: BTreeMap<&Name, Vec<AlertId>> = BTreeMap::new();
        for alert in alerts.values().flatten().filter(|it| !matches!(it.disposition, Disposition::Waits { .. })) {
            waits.entry(&alert.alert.id.source).or_default().push(alert.alert.id.clone());
        }
        let records = waits.into_iter().map(|(source, ids)| {
            let why = format!("in a storm of {source}: the page at {} tells of it", time(next));
            disposed(ids, Disposition::Waits { why })
        });
        self.tools.journal.record(records.collect()).await.map(|_| ())
    }

    /// Where one page cannot hold them all, the receipts name the last: only then has every target been told of. Each is about
    /// those that it tells of, and over with them.
    async fn storm_pages(
        &mut self,
        policy: Name,
        alerts: &[Arc<AlertMemory>],
        others: usize,
        now: Timestamp,
    ) -> Result<(), LogError> {
        let beside = if others == 0 { String::new() } else { format!("{others} more are told of to others.\n") };
        let sources: BTreeSet<&str> = alerts.iter().map(|it| it.alert.id.source.as_str()).collect();
        let sources = sources.into_iter().collect::<Vec<_>>().join(", ");
        let next = now.checked_add(STORM_PAGE).map_or_else(|_| "a minute later".to_owned(), time);
        let more = format!("In a storm: {sources}. What else comes of it is on the next page, at {next} or later.\n");
        let texts = told(alerts, alerts, STORM_TEXT);
        let parts = texts.len();
        let mut ids: Option<Vec<AlertId>> = Some(alerts.iter().map(|it| it.alert.id.clone()).collect());
        for (nth, (text, about)) in (1..).zip(texts) {
            let part = if parts > 1 { format!(" ({nth} of {parts})") } else { String::new() };
            let plural = if alerts.len() == 1 { "" } else { "s" };
            let title = format!("alert storm: {} alert{plural} at once{part}", alerts.len());
            let (policy, body) = (Some(policy.clone()), format!("{STORM}{more}{beside}\n{text}"));
            let receipts = if nth == parts { ids.take() } else { None };
            let left = |page| {
                let receipt = |ids: Vec<AlertId>| {
                    let others = ids.len().saturating_sub(1);
                    let why = match others {
                        0 => format!("a storm: page {page} tells of it"),
                        1 => format!("a storm: page {page} tells of it and of one other"),
                        _ => format!("a storm: page {page} tells of it and of {others} others"),
                    };
                    disposed(ids, Disposition::Left { why })
                };
                receipts.map(receipt).into_iter().collect()
            };
            let opened = PageOpened { policy, title, body, alerts: about, ..PageOpened::default() };
            self.tools.journal.open_page(opened, left).await?;
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
