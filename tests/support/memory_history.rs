//! The history of alerts, runs and pages in memory: what a store keeps in tables, for the logs that tests use.

use std::collections::BTreeMap;
use std::sync::Arc;

use codeops::journal::{
    AlertCursor, AlertPage, AlertQuery, Change, Deliveries, Entry, Folded, Listed, Over, PageList, PageQuery, RunPage,
    RunQuery,
};
use codeops_core::model::{AlertId, AlertMemory, Disposition, Memory, Page, PageId, Run, RunId};

/// All that ever was, as it last was.
#[derive(Default)]
pub(crate) struct MemoryHistory {
    /// In the order in which they came in.
    alerts: Vec<Arc<AlertMemory>>,
    /// Where those stand that the memory has.
    rows: BTreeMap<AlertId, usize>,
    runs: BTreeMap<RunId, Arc<Run>>,
    pages: BTreeMap<PageId, Arc<Page>>,
    pub(crate) deliveries: Deliveries,
}

impl MemoryHistory {
    /// Takes in what folding an entry into the memory did.
    pub(crate) fn take(&mut self, memory: &Memory, entry: &Entry, folded: &Folded) {
        self.deliveries.fold(entry);
        for over in &folded.over {
            match over {
                Over::Alert(alert) => {
                    self.put(alert);
                    self.rows.remove(&alert.alert.id);
                }
                Over::Run(run) => drop(self.runs.insert(run.id, Arc::clone(run))),
                Over::Page(page) => drop(self.pages.insert(page.id, Arc::clone(page))),
            }
        }
        let response = &memory.response;
        for change in &folded.changes {
            match change {
                Change::Alert(id) => response.alerts.get(id).into_iter().for_each(|alert| self.put(alert)),
                Change::Run(id) => self.runs.extend(response.runs.get(id).map(|run| (*id, Arc::clone(run)))),
                Change::Page(id) => self.pages.extend(response.pages.get(id).map(|page| (*id, Arc::clone(page)))),
                _ => {}
            }
        }
    }

    fn put(&mut self, alert: &Arc<AlertMemory>) {
        let row = *self.rows.entry(alert.alert.id.clone()).or_insert(self.alerts.len());
        match self.alerts.get_mut(row) {
            Some(known) => *known = Arc::clone(alert),
            None => self.alerts.push(Arc::clone(alert)),
        }
    }

    pub(crate) fn run(&self, id: RunId) -> Option<Arc<Run>> {
        self.runs.get(&id).cloned()
    }

    pub(crate) fn page(&self, id: PageId) -> Option<Arc<Page>> {
        self.pages.get(&id).cloned()
    }

    pub(crate) fn runs(&self, query: &RunQuery) -> RunPage {
        let wanted = |run: &&Arc<Run>| {
            query.playbook.as_ref().is_none_or(|name| *name == run.playbook.name)
                && query.target.as_ref().is_none_or(|target| Some(target) == run.target.as_ref())
                && query.state.is_none_or(|state| state == run.state())
                && query.before.is_none_or(|before| run.id < before)
        };
        listed(self.runs.values().rev().filter(wanted), query.limit, |run| run.id)
    }

    pub(crate) fn pages(&self, query: &PageQuery) -> PageList {
        let wanted = |page: &&Arc<Page>| {
            query.run.is_none_or(|run| page.run == Some(run)) && query.before.is_none_or(|before| page.id < before)
        };
        listed(self.pages.values().rev().filter(wanted), query.limit, |page| page.id)
    }

    pub(crate) fn alerts(&self, query: &AlertQuery) -> AlertPage {
        let on = |alert: &AlertMemory| match &alert.disposition {
            Disposition::Run { run } => self.runs.get(run).and_then(|run| run.target.clone()),
            _ => None,
        };
        let mut listing = Listed::default();
        for (index, alert) in self.alerts.iter().enumerate().rev() {
            let row = index as u64 + 1;
            let wanted = query.source.as_ref().is_none_or(|source| *source == alert.alert.id.source)
                && query.name.as_ref().is_none_or(|name| name == alert.alert.name())
                && query.target.as_ref().is_none_or(|target| Some(target) == on(alert).as_ref())
                && query.state.is_none_or(|state| state == alert.state)
                && query.before.is_none_or(|before| AlertCursor(row) < before);
            if wanted && listing.items.len() == query.limit.clamp(1, 1000) {
                return listing;
            }
            if wanted {
                listing.items.push(Arc::clone(alert));
                listing.next = Some(AlertCursor(row));
            }
        }
        listing.next = None;
        listing
    }
}

fn listed<'a, T: 'a, C>(
    all: impl Iterator<Item = &'a Arc<T>>,
    limit: usize,
    cursor: impl Fn(&T) -> C,
) -> Listed<Arc<T>, C> {
    let limit = limit.clamp(1, 1000);
    let mut items: Vec<Arc<T>> = all.take(limit + 1).cloned().collect();
    let more = items.len() > limit;
    items.truncate(limit);
    let next = more.then(|| items.last().map(|last| cursor(last))).flatten();
    Listed { items, next }
}
