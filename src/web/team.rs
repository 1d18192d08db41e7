//! Whose what is shown is: its own team's secrets are taken out of it, and of what anybody may have written only what no team
//! has. It goes by the revision, the settings, a run's authority and a commit's files, never by what an alert's labels say:
//! their sender chose them.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use codeops_core::model::{Commit, Name, Page, PageId, RunEvent, RunId, TeamName};

use super::Web;
use super::event::Event;
use crate::journal::{Entry, Record};
use crate::port::{RevisionView, Whose};

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

/// Who sends by a receiver; anybody by one that the settings do not have any more.
pub(super) fn sender<'a>(web: &'a Web, receiver: &Name) -> Whose<'a> {
    Whose::sent_by(&web.page.receivers, receiver)
}

/// The one team that a receiver is for.
pub(super) fn of_receiver(web: &Web, receiver: &Name) -> Option<TeamName> {
    match sender(web, receiver) {
        Whose::Team(team) => Some(team.clone()),
        Whose::Nobody | Whose::Teams(_) | Whose::Everybody => None,
    }
}

/// A commit as it is shown: its words are those of the teams whose files it changes.
pub(super) fn shown(web: &Web, commit: Commit) -> Commit {
    let clean = |text: &str| (web.page.redact)(Whose::Teams(&commit.teams), text);
    Commit {
        author: clean(&commit.author),
        subject: clean(&commit.subject),
        trailers: commit.trailers.iter().map(|(key, value)| (key.clone(), clean(value))).collect(),
        signer: commit.signer.as_deref().map(clean),
        ..commit
    }
}

/// Whose what happened is: the run's where it is one's, else the resource's.
pub(super) async fn of_entry(web: &Web, entry: &Entry) -> Option<TeamName> {
    match &entry.record {
        Record::Intent { team, .. } => Some(team.clone()),
        Record::Run { event: RunEvent::Opened { authority, .. }, .. } => Some(authority.clone()),
        Record::Alerts { receiver, .. } => of_receiver(web, receiver),
        Record::Page { page, .. } => of_page_id(web, *page).await,
        record => match (record.run(), record.resource()) {
            (Some(run), _) => of_run(web, run).await,
            (None, Some(id)) => web.board().resources.get(id)?.team.clone(),
            (None, None) => None,
        },
    }
}

/// The same of the revision in force.
pub(super) fn revision(web: &Web, view: &RevisionView) -> RevisionView {
    let clean = |text: &str| (web.page.redact)(Whose::Teams(&view.teams), text);
    RevisionView { subject: clean(&view.subject), author: clean(&view.author), ..view.clone() }
}

/// Whose the words of an entry are that are of no one team, and yet not anybody's.
fn words_of<'a>(web: &'a Web, record: &'a Record) -> Option<Whose<'a>> {
    match record {
        Record::RevisionAccepted { commits, .. } => commits.last().map(|commit| Whose::Teams(&commit.teams)),
        Record::Alerts { receiver, .. } => Some(sender(web, receiver)),
        _ => None,
    }
}

/// Says of each event whose it is.
pub(super) async fn name(web: &Web, entries: &[Entry], events: &mut [Event]) {
    let mut known = BTreeMap::new();
    for entry in entries {
        known.insert(entry.seq.0, (of_entry(web, entry).await, words_of(web, &entry.record)));
    }
    for event in events {
        let Some((team, whose)) = known.remove(&event.id) else { continue };
        event.team = team;
        if let Some(whose) = whose {
            event.text = (web.page.redact)(whose, &event.text);
        }
    }
}
