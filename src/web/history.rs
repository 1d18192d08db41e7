//! What each revision changed, read from the journal: the commits it brought and the steps that followed from it.

use std::collections::BTreeMap;

use codeops_core::model::{CauseKind, ResourceId, Revision, RevisionState, TeamName};
use jiff::Timestamp;
use serde::Serialize;

use super::event::{outcome_text, short};
use super::{Web, team};
use crate::journal::{Category, Entry, LogError, Outcome, Query, Reader, Record, Seq};
use crate::port::Commit;

/// Journal pages read at most for one answer: bounds the work that one request can cause.
const SCAN: usize = 20;
const PAGE: usize = 1_000;
/// Steps from which on one answer takes no further revision.
const STEPS: usize = 10_000;

/// One revision and what it changed.
#[derive(Debug, Clone, Serialize)]
pub(super) struct RevisionItem {
    pub(super) id: Revision,
    /// `applying`, `applied`, `partial`, `failed`, or `superseded` when a newer one came before it was done.
    pub(super) state: &'static str,
    pub(super) why: Option<String>,
    pub(super) accepted_at: Timestamp,
    pub(super) settled_at: Option<Timestamp>,
    /// Oldest first.
    pub(super) commits: Vec<Commit>,
    /// By resource, in the order of their first step.
    pub(super) changes: Vec<Changed>,
    #[serde(skip)]
    pub(super) seq: Seq,
}

impl RevisionItem {
    pub(super) fn subject(&self) -> &str {
        self.commits.last().map_or("", |commit| commit.subject.as_str())
    }

    pub(super) fn author(&self) -> &str {
        self.commits.last().map_or("", |commit| commit.author.as_str())
    }

    fn clean(&mut self, web: &Web) {
        self.commits = std::mem::take(&mut self.commits).into_iter().map(|commit| team::shown(web, commit)).collect();
    }

    pub(super) fn mark(&self) -> super::words::Mark {
        super::words::Mark::of_revision(self.state)
    }

    /// What is to be said of one without a step: what it needs is not known before it is settled.
    pub(super) fn without_steps(&self) -> &'static str {
        match self.state {
            "applying" => "No step has been taken yet.",
            "applied" => "No step was needed.",
            "superseded" => "No step was taken before a newer revision came.",
            _ => "No step was taken.",
        }
    }
}

/// One resource that a revision changed.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Changed {
    pub(super) id: ResourceId,
    /// Whose it was.
    pub(super) team: TeamName,
    /// Oldest first.
    pub(super) steps: Vec<Taken>,
}

/// One step that was taken.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Taken {
    pub(super) at: Timestamp,
    pub(super) word: String,
    pub(super) subject: String,
    pub(super) cause: String,
    /// How it ended; `None`: not yet.
    pub(super) outcome: Option<String>,
}

/// One page of revisions, newest first, and the cursor of the next.
pub(super) async fn page(
    web: &Web,
    after: Option<Seq>,
    limit: usize,
) -> Result<(Vec<RevisionItem>, Option<Seq>), LogError> {
    let journal = &web.page.journal;
    let (mut items, more) = scan(journal, after, |items| items.len() > limit).await?;
    let next = (items.len() > limit || more).then(|| items.get(..limit).unwrap_or(&items).last().map(|item| item.seq));
    items.truncate(limit);
    let filled = fill(journal, &mut items, after).await?;
    let rest = items.split_off(filled);
    let next = if rest.is_empty() { next.flatten() } else { items.last().map(|item| item.seq) };
    items.iter_mut().for_each(|item| item.clean(web));
    Ok((items, next))
}

/// The revision whose id begins with `prefix`.
pub(super) async fn one(web: &Web, prefix: &str) -> Result<Option<RevisionItem>, LogError> {
    let journal = &web.page.journal;
    let (mut items, _) =
        scan(journal, None, |items| items.last().is_some_and(|item| item.id.as_str().starts_with(prefix))).await?;
    let Some(found) = items.iter().position(|item| item.id.as_str().starts_with(prefix)) else { return Ok(None) };
    let newer = found.checked_sub(1).and_then(|i| items.get(i)).map(|item| item.seq);
    let mut item = vec![items.swap_remove(found)];
    fill(journal, &mut item, newer).await?;
    item.iter_mut().for_each(|item| item.clean(web));
    Ok(item.pop())
}

/// Reads revisions newest first until `enough`; tells also whether more may follow.
async fn scan(
    journal: &Reader,
    after: Option<Seq>,
    enough: impl Fn(&[RevisionItem]) -> bool,
) -> Result<(Vec<RevisionItem>, bool), LogError> {
    let mut states = BTreeMap::new();
    let mut items = Vec::new();
    let mut before = after;
    for _ in 0..SCAN {
        let query = Query { categories: vec![Category::Commit], before, limit: PAGE, ..Query::default() };
        let page = journal.read(query).await?;
        for entry in page.items {
            take(entry, &mut states, &mut items, after.is_some());
            if enough(&items) {
                return Ok((items, true));
            }
        }
        before = page.next;
        if before.is_none() {
            return Ok((items, false));
        }
    }
    Ok((items, true))
}

type State = (RevisionState, Option<String>, Timestamp);

fn take(entry: Entry, states: &mut BTreeMap<Revision, State>, items: &mut Vec<RevisionItem>, newer_exists: bool) {
    match entry.record {
        // Newest first: the first state seen is the one that counts.
        Record::RevisionState { revision, state, why } => {
            states.entry(revision).or_insert((state, why, entry.at));
        }
        Record::RevisionAccepted { revision, commits, .. } => {
            let newest = items.is_empty() && !newer_exists;
            let known = states.remove(&revision);
            let (state, why, at) = match known {
                Some((state, why, at)) if newest || state != RevisionState::Applying => (Some(state), why, Some(at)),
                _ if newest => (Some(RevisionState::Applying), None, None),
                _ => (None, None, None),
            };
            let settled_at = at.filter(|_| state != Some(RevisionState::Applying));
            items.push(RevisionItem {
                id: revision,
                state: state.map_or("superseded", RevisionState::word),
                why,
                accepted_at: entry.at,
                settled_at,
                commits,
                changes: Vec::new(),
                seq: entry.seq,
            });
        }
        _ => {}
    }
}

/// Adds to each revision the steps between it and the next newer one; `until` is where the next newer one of the first is.
/// Tells how many have theirs: the rest would be more than one answer holds.
async fn fill(journal: &Reader, items: &mut [RevisionItem], mut until: Option<Seq>) -> Result<usize, LogError> {
    let mut steps = 0;
    for (filled, item) in items.iter_mut().enumerate() {
        if steps >= STEPS {
            return Ok(filled);
        }
        let query = Query {
            categories: vec![Category::Step],
            since: Some(item.seq),
            before: until,
            limit: PAGE,
            ..Query::default()
        };
        item.changes = changes(journal.read(query).await?.items);
        steps += item.changes.iter().map(|change| change.steps.len()).sum::<usize>();
        until = Some(item.seq);
    }
    Ok(items.len())
}

/// Groups steps by resource. Repairs of drift are not the revision's doing.
fn changes(newest_first: Vec<Entry>) -> Vec<Changed> {
    let mut outcomes: BTreeMap<Seq, Outcome> = BTreeMap::new();
    let mut changed: Vec<Changed> = Vec::new();
    for entry in &newest_first {
        if let Record::Result { intent, outcome, .. } = &entry.record {
            outcomes.insert(*intent, outcome.clone());
        }
    }
    for entry in newest_first.into_iter().rev() {
        let Record::Intent { resource, team, word, subject, cause, cause_kind, .. } = entry.record else { continue };
        if cause_kind == Some(CauseKind::Drift) {
            continue;
        }
        let outcome = outcomes.get(&entry.seq).map(outcome_text);
        let step = Taken { at: entry.at, word, subject: short(&subject), cause, outcome };
        match changed.iter_mut().find(|change| change.id == resource && change.team == team) {
            Some(change) => change.steps.push(step),
            None => changed.push(Changed { id: resource, team, steps: vec![step] }),
        }
    }
    changed
}
