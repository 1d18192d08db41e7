//! Storms: more alerts than can be answered one by one are told of in one page.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use codeops_core::model::{AlertId, AlertMemory, Disposition, PageEvent};
use jiff::{SignedDuration, Timestamp};

use super::Flow;
use super::alerts::disposed;
use super::targets::told;
use crate::journal::LogError;

/// At most one storm page in this time.
const STORM_PAGE: SignedDuration = SignedDuration::from_secs(60);
/// The most of a storm page's text, in bytes.
const STORM_TEXT: usize = 30 << 10;
const STORM: &str = "No playbook is run for these; each alert has this page as its receipt.\n";

impl Flow {
    /// More alerts than can be answered one by one: one page tells of all, at most one a minute.
    pub(super) async fn storm(&mut self, alerts: &[Arc<AlertMemory>], now: Timestamp) -> Result<(), LogError> {
        if alerts.is_empty() {
            return Ok(());
        }
        let next = self.storm.and_then(|at| at.checked_add(STORM_PAGE).ok()).filter(|next| *next > now);
        if let Some(next) = next {
            // They stay as received, and are in the next one.
            self.wake_at(next);
            return Ok(());
        }
        self.storm = Some(now);
        let ids: Vec<AlertId> = alerts.iter().map(|it| it.alert.id.clone()).collect();
        let policy = self.tools.rules.fallback.clone();
        let policy = policy.or_else(|| alerts.iter().find_map(|it| self.router.route(&it.alert.labels).policy));
        let Some(policy) = policy.filter(|policy| self.router.response().policies.contains_key(policy)) else {
            tracing::error!(alerts = alerts.len(), "a storm, and there is nobody to page");
            // No receipt may say that somebody was told.
            let why = "a storm, and there is nobody to page: name a policy in a route, or `fallback` in the settings"
                .to_owned();
            return self.tools.journal.record(vec![disposed(ids, Disposition::Left { why })]).await.map(|_| ());
        };
        // Where one page cannot hold them all, the receipts name the last: only then has every target been told of.
        let texts = told(alerts, STORM_TEXT);
        let mut ids = Some(ids);
        for (nth, text) in (1..).zip(&texts) {
            let part = if texts.len() > 1 { format!(" ({nth} of {})", texts.len()) } else { String::new() };
            let title = format!("alert storm: {} alerts at once{part}", alerts.len());
            let (policy, body) = (Some(policy.clone()), format!("{STORM}\n{text}"));
            let receipts = if nth == texts.len() { ids.take() } else { None };
            let left = |page| {
                let receipt = |ids: Vec<AlertId>| {
                    let others = ids.len().saturating_sub(1);
                    let why = format!("a storm: page {page} tells of it and of {others} others");
                    disposed(ids, Disposition::Left { why })
                };
                receipts.map(receipt).into_iter().collect()
            };
            self.tools.journal.open_page(PageEvent::Opened { run: None, policy, title, body }, left).await?;
        }
        Ok(())
    }
}

/// Every target, with how many alerts are on it, in about so many bytes.
pub(super) fn listed(alerts: &[Arc<AlertMemory>], most: usize) -> String {
    let mut lines: BTreeMap<String, (usize, BTreeSet<String>)> = BTreeMap::new();
    for alert in alerts {
        let labels: Vec<String> = ["app", "service", "instance", "job", "node", "host"]
            .iter()
            .filter_map(|name| Some(format!("{name}={}", alert.alert.labels.get(*name)?)))
            .collect();
        let entry = lines.entry(alert.alert.name().to_owned()).or_default();
        entry.0 += 1;
        entry.1.insert(if labels.is_empty() { alert.alert.id.fingerprint.to_string() } else { labels.join(" ") });
    }
    let mut text = String::new();
    for (name, (count, targets)) in lines {
        text.push_str(&format!("\n{name}: {count}\n"));
        for target in targets {
            if text.len() > most {
                text.push_str("… the rest is on the page, at /alerts\n");
                return text;
            }
            text.push_str(&format!("- {target}\n"));
        }
    }
    text
}
