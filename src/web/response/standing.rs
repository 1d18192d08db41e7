//! How alerts, runs and pages stand at this moment, from what is remembered: no history is read for it.

use std::collections::BTreeSet;
use std::sync::Arc;

use codeops_core::model::{AlertId, AlertMemory, AlertState, Disposition, Heard, Page, ResponseMemory, Run};
use jiff::Timestamp;

use super::{AlertItem, Extent, PageItem, RunItem};
use crate::journal::Reader;
use crate::web::{Web, team};

/// Counts of this moment.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::web) struct Standing {
    /// Firing alerts that a run is on.
    pub(in crate::web) answered: usize,
    /// Firing alerts that nothing is being done about, those kept quiet left out.
    pub(in crate::web) alone: usize,
    /// Those of them that nobody has been called for, or is about to be.
    pub(in crate::web) unheard: usize,
    /// What came back too often: nothing is tried on it.
    pub(in crate::web) latched: usize,
    /// Firing alerts that are kept quiet.
    pub(in crate::web) quiet: usize,
    /// Runs that are not over.
    pub(in crate::web) runs: usize,
    /// Pages that nobody has accepted yet.
    pub(in crate::web) pages: usize,
    /// Receivers that have not heard their Watchdog.
    pub(in crate::web) silent: usize,
    /// Receivers that may bring no more alerts for now.
    pub(in crate::web) full: usize,
    /// Scheduled playbooks whose last run failed.
    pub(in crate::web) failing: usize,
}

impl Standing {
    pub(in crate::web) fn of(journal: &Reader, now: Timestamp) -> Self {
        journal.response(|response| {
            let latched = response.ledger.values().filter(|it| it.latched_at.is_some()).count();
            let (runs, pages) = (response.runs.len(), response.pages.len());
            let (silent, full) = (response.silent().len(), response.full(now).len());
            let failing = response.schedules.values().filter(|taken| taken.failing.is_some()).count();
            let mut standing = Self { runs, pages, latched, silent, full, failing, ..Self::default() };
            let heard = Heard::of(response);
            for alert in response.alerts.values().filter(|alert| alert.state == AlertState::Firing) {
                match &alert.disposition {
                    Disposition::Quiet { .. } => standing.quiet += 1,
                    Disposition::Run { run } if response.runs.contains_key(run) => standing.answered += 1,
                    _ => standing.alone += 1,
                }
                standing.unheard += usize::from(heard.by_nobody(alert));
            }
            standing
        })
    }
}

/// The alerts that fire and that nobody was called for: the last that came in first, at most `most`.
pub(in crate::web) fn unheard(web: &Web, most: usize) -> Vec<AlertItem> {
    let mut found: Vec<Arc<AlertMemory>> = web.page.journal.response(|response| {
        let heard = Heard::of(response);
        response.alerts.values().filter(|alert| heard.by_nobody(alert)).cloned().collect()
    });
    found.sort_by_key(|alert| std::cmp::Reverse(alert.received_at));
    found.iter().take(most).map(|alert| AlertItem::of(web, alert)).collect()
}

/// The alerts that fire and that no run is on: the last that came in first, at most `most`.
pub(in crate::web) fn firing(web: &Web, most: usize) -> Vec<AlertItem> {
    let mut found: Vec<Arc<AlertMemory>> = web.page.journal.response(|response| {
        let answered: BTreeSet<&AlertId> = response.runs.values().flat_map(|run| &run.alerts).collect();
        let alone = |alert: &&Arc<AlertMemory>| {
            alert.state == AlertState::Firing
                && !matches!(alert.disposition, Disposition::Quiet { .. })
                && !is_on(response, alert)
                && !answered.contains(&alert.alert.id)
        };
        response.alerts.values().filter(alone).cloned().collect()
    });
    found.sort_by_key(|alert| std::cmp::Reverse(alert.received_at));
    found.iter().take(most).map(|alert| AlertItem::of(web, alert)).collect()
}

fn is_on(response: &ResponseMemory, alert: &AlertMemory) -> bool {
    matches!(&alert.disposition, Disposition::Run { run } if response.runs.contains_key(run))
}

/// The runs that are not over: the last opened first, at most `most`.
pub(in crate::web) fn active(web: &Web, most: usize) -> Vec<RunItem> {
    let found: Vec<Arc<Run>> =
        web.page.journal.response(|response| response.runs.values().rev().take(most).cloned().collect());
    found.iter().map(|run| RunItem::of(web, run, Extent::Short)).collect()
}

/// The pages that nobody has accepted: the last opened first, at most `most`.
pub(in crate::web) async fn open_pages(web: &Web, most: usize) -> Vec<PageItem> {
    let found: Vec<Arc<Page>> =
        web.page.journal.response(|response| response.pages.values().rev().take(most).cloned().collect());
    let mut shown = Vec::with_capacity(found.len());
    for page in found {
        shown.push(PageItem::of(web, &page, team::of_page(web, &page).await, Extent::Short));
    }
    shown
}
