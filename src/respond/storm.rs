//! Storms: more alerts than can be answered one by one are told of in one page.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use codeops_core::model::{AlertId, AlertMemory, Disposition, Name, PageEvent};
use jiff::{SignedDuration, Timestamp};

use super::Flow;
use super::alerts::disposed;
use crate::journal::LogError;

/// At most one storm page in this time.
const STORM_PAGE: SignedDuration = SignedDuration::from_secs(60);
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
        let next = self.storm.and_then(|at| at.checked_add(STORM_PAGE).ok()).filter(|next| *next > now);
        if let Some(next) = next {
            // They stay as received, and are in the next one.
            self.wake_at(next);
            return Ok(());
        }
        self.storm = Some(now);
        let known = |policy: &&Name| self.router.response().policies.contains_key(*policy);
        let mut told: Storm = Storm::new();
        for (policy, alerts) in alerts {
            let policy = policy.as_ref().filter(known).or(self.tools.rules.fallback.as_ref()).cloned();
            told.entry(policy).or_default().extend(alerts.iter().cloned());
        }
        let all: usize = told.values().map(Vec::len).sum();
        for (policy, alerts) in told {
            let title = format!("alert storm: {} alerts at once", alerts.len());
            let others = all - alerts.len();
            let beside = if others == 0 { String::new() } else { format!("{others} more are told of to others.\n") };
            let ids: Vec<AlertId> = alerts.iter().map(|it| it.alert.id.clone()).collect();
            let body = format!("{STORM}{beside}{}", listed(&alerts, STORM_TEXT));
            let event = PageEvent::Opened { run: None, policy, title, body };
            let left = |page| {
                let why = format!("a storm: page {page} tells of it and of {} others", ids.len().saturating_sub(1));
                vec![disposed(ids, Disposition::Left { why })]
            };
            self.tools.journal.open_page(event, left).await?;
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
