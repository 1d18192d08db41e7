//! How alerts, runs and pages stand at this moment, from what is remembered: no history is read for it.

use std::collections::BTreeSet;
use std::sync::Arc;

use codeops_core::model::{AlertId, AlertMemory, AlertState, Disposition, Page, ResponseMemory, Run};

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
    /// Firing alerts that are kept quiet.
    pub(in crate::web) quiet: usize,
    /// Runs that are not over.
    pub(in crate::web) runs: usize,
    /// Pages that nobody has accepted yet.
    pub(in crate::web) pages: usize,
}

impl Standing {
    pub(in crate::web) fn of(journal: &Reader) -> Self {
        journal.response(|response| {
            let mut standing = Self { runs: response.runs.len(), pages: response.pages.len(), ..Self::default() };
            for alert in response.alerts.values().filter(|alert| alert.state == AlertState::Firing) {
                match &alert.disposition {
                    Disposition::Quiet { .. } => standing.quiet += 1,
                    Disposition::Run { run } if response.runs.contains_key(run) => standing.answered += 1,
                    _ => standing.alone += 1,
                }
            }
            standing
        })
    }
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
