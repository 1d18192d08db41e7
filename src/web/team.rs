//! Whose what is shown is: its own team's secrets are taken out of it, and all there are out of what is of no one team. It
//! goes by the revision, the settings and a run's authority, never by what an alert's labels say: their sender chose them.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use codeops_core::model::{AlertMemory, Page, PageId, RunEvent, RunId, TeamName};

use super::Web;
use super::event::Event;
use crate::journal::{Entry, Record};

/// Runs and pages remembered at most: the oldest go first.
const MOST: usize = 10_000;

/// What was looked up; it never changes, so no page reads it twice.
#[derive(Debug, Default)]
pub(super) struct Teams(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    runs: BTreeMap<RunId, TeamName>,
    /// `None`: it comes from no run.
    pages: BTreeMap<PageId, Option<TeamName>>,
}

impl Teams {
    fn known<T>(&self, with: impl FnOnce(&mut Known) -> T) -> T {
        with(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn keep<K: Ord, V>(map: &mut BTreeMap<K, V>, key: K, value: V) {
    map.insert(key, value);
    while map.len() > MOST {
        map.pop_first();
    }
}

/// Whose authority a run has; `None` where that cannot be read.
pub(super) async fn of_run(web: &Web, id: RunId) -> Option<TeamName> {
    if let Some(team) = web.teams.known(|known| known.runs.get(&id).cloned()) {
        return Some(team);
    }
    let team = web.page.journal.run(id).await.ok().flatten()?.authority.clone();
    web.teams.known(|known| keep(&mut known.runs, id, team.clone()));
    Some(team)
}

/// Whose run a page comes from.
pub(super) async fn of_page(web: &Web, page: &Page) -> Option<TeamName> {
    of_run(web, page.run?).await
}

async fn of_page_id(web: &Web, id: PageId) -> Option<TeamName> {
    if let Some(team) = web.teams.known(|known| known.pages.get(&id).cloned()) {
        return team;
    }
    let page = web.page.journal.page(id).await.ok().flatten()?;
    let team = of_page(web, &page).await;
    if team.is_some() || page.run.is_none() {
        web.teams.known(|known| keep(&mut known.pages, id, team.clone()));
    }
    team
}

/// The one team that an alert's receiver is for.
pub(super) fn of_alert(web: &Web, memory: &AlertMemory) -> Option<TeamName> {
    web.page.receivers.get(&memory.alert.receiver).cloned()
}

/// Whose what happened is: the run's where it is one's, else the resource's.
pub(super) async fn of_entry(web: &Web, entry: &Entry) -> Option<TeamName> {
    match &entry.record {
        Record::Intent { team, .. } => Some(team.clone()),
        Record::Run { event: RunEvent::Opened { authority, .. }, .. } => Some(authority.clone()),
        Record::Alerts { receiver, .. } => web.page.receivers.get(receiver).cloned(),
        Record::Page { page, .. } => of_page_id(web, *page).await,
        record => match (record.run(), record.resource()) {
            (Some(run), _) => of_run(web, run).await,
            (None, Some(id)) => web.board().resources.get(id)?.team.clone(),
            (None, None) => None,
        },
    }
}

/// Says of each event whose it is.
pub(super) async fn name(web: &Web, entries: &[Entry], events: &mut [Event]) {
    let mut teams = BTreeMap::new();
    for entry in entries {
        teams.insert(entry.seq.0, of_entry(web, entry).await);
    }
    for event in events {
        event.team = teams.remove(&event.id).flatten();
    }
}
