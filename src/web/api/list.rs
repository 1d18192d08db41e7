//! Lists that are read in pages: events and holds, newest first.

use std::collections::BTreeMap;

use codeops_core::model::{HoldId, InvalidName, ResourceId, TeamName, Verb};
use codeops_core::policy::Hold;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::journal::{Category, LogError, Query, Record, Seq};
use crate::port::Board;
use crate::web::Web;
use crate::web::event::Event;
use crate::web::named;
use crate::web::problem::Problem;

/// Items of a page where nothing else is asked.
pub(super) const DEFAULT: usize = 100;
const MOST: usize = 1_000;

/// What may be asked of a list. What is misspelt would be an answer to something else.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::web) struct Paging {
    limit: Option<String>,
    after: Option<String>,
    /// Names, separated by commas.
    pub(in crate::web) category: Option<String>,
    /// `kind/name`.
    pub(in crate::web) resource: Option<String>,
    /// How an alert or a run is.
    pub(in crate::web) state: Option<String>,
    pub(in crate::web) playbook: Option<String>,
    /// `kind/name`.
    pub(in crate::web) target: Option<String>,
    /// A run's id.
    pub(in crate::web) run: Option<String>,
    /// A monitoring system.
    pub(in crate::web) source: Option<String>,
    /// An `alertname`.
    pub(in crate::web) name: Option<String>,
}

/// One page of a list.
#[derive(Debug, Serialize)]
pub(in crate::web) struct Listed<T> {
    pub(in crate::web) items: Vec<T>,
    /// Pass it as `after` for the next page.
    pub(in crate::web) next: Option<String>,
}

impl Paging {
    pub(in crate::web) fn limit(&self) -> Result<usize, Problem> {
        self.limit_or(DEFAULT)
    }

    pub(in crate::web) fn limit_or(&self, default: usize) -> Result<usize, Problem> {
        match given(&self.limit).map(str::parse) {
            None => Ok(default),
            Some(Ok(limit)) if (1..=MOST).contains(&limit) => Ok(limit),
            Some(_) => Err(Problem::bad_request(format!("`limit` is a whole number from 1 to {MOST}"))),
        }
    }

    pub(in crate::web) fn cursor(&self) -> Result<Option<Seq>, Problem> {
        let bad = |_| Problem::bad_request("`after` is a cursor: the `next` of the page before");
        given(&self.after).map(|text| text.parse().map(Seq).map_err(bad)).transpose()
    }

    fn categories(&self) -> Result<Vec<Category>, Problem> {
        given(&self.category).into_iter().flat_map(|text| text.split(',')).map(category).collect()
    }

    fn resource(&self) -> Result<Option<ResourceId>, Problem> {
        parsed(&self.resource)
    }
}

/// A field of a form that was left empty is not given.
pub(super) fn given(text: &Option<String>) -> Option<&str> {
    text.as_deref().map(str::trim).filter(|text| !text.is_empty())
}

/// A field that is read as what it names.
pub(super) fn parsed<T: std::str::FromStr<Err = InvalidName>>(text: &Option<String>) -> Result<Option<T>, Problem> {
    let bad = |error: InvalidName| Problem::bad_request(error.to_string());
    given(text).map(|text| text.parse().map_err(bad)).transpose()
}

fn category(text: &str) -> Result<Category, Problem> {
    let found = Category::ALL.into_iter().find(|category| category.word() == text);
    found.ok_or_else(|| {
        let names: Vec<&str> = Category::ALL.into_iter().map(Category::word).collect();
        Problem::bad_request(format!("`category` is one or more of {}", names.join(", ")))
    })
}

/// One page of events.
pub(in crate::web) async fn events_page(web: &Web, paging: &Paging) -> Result<Listed<Event>, Problem> {
    let query = Query {
        resource: paging.resource()?,
        categories: paging.categories()?,
        run: parsed(&paging.run)?,
        before: paging.cursor()?,
        limit: paging.limit()?,
        ..Query::default()
    };
    let page = web.page.journal.read(query).await?;
    let mut items = Event::list(&page.items);
    named::complete(web, &page.items, &mut items).await;
    Ok(Listed { items, next: page.next.map(|seq| seq.0.to_string()) })
}

/// A set of changes that one trailer releases.
#[derive(Debug, Serialize)]
pub(in crate::web) struct HoldItem {
    pub(in crate::web) id: HoldId,
    /// Whose all that is held is, if one team's.
    pub(in crate::web) team: Option<TeamName>,
    pub(in crate::web) why: String,
    /// The line for the commit message.
    pub(in crate::web) trailer: String,
    /// When it was first held, as far as the journal is read back.
    pub(in crate::web) since: Option<Timestamp>,
    pub(in crate::web) changes: Vec<HeldChange>,
}

/// One change of a hold.
#[derive(Debug, Serialize)]
pub(in crate::web) struct HeldChange {
    pub(in crate::web) verb: Verb,
    pub(in crate::web) id: ResourceId,
}

/// One page of the holds in force.
pub(in crate::web) async fn holds_page(web: &Web, paging: &Paging) -> Result<Listed<HoldItem>, Problem> {
    let limit = paging.limit()?;
    let from = paging.cursor()?.map_or(0, |seq| usize::try_from(seq.0).unwrap_or(usize::MAX));
    let board = web.board();
    let since = if board.holds.is_empty() { BTreeMap::new() } else { held_since(web).await? };
    let mut holds: Vec<_> = board.holds.iter().map(|hold| (since.get(&hold.id).copied(), hold)).collect();
    holds.sort_by(|(a, _), (b, _)| b.cmp(a));
    let total = holds.len();
    let items: Vec<HoldItem> = holds
        .into_iter()
        .skip(from)
        .take(limit)
        .map(|(since, hold)| HoldItem {
            id: hold.id.clone(),
            team: team_of(&board, hold),
            why: hold.why.clone(),
            trailer: hold.trailer.clone(),
            since,
            changes: hold.changes.iter().map(|(verb, id)| HeldChange { verb: *verb, id: id.clone() }).collect(),
        })
        .collect();
    let reached = from.saturating_add(items.len());
    Ok(Listed { next: (reached < total).then(|| reached.to_string()), items })
}

/// The one team whose everything is that is held.
fn team_of(board: &Board, hold: &Hold) -> Option<TeamName> {
    let mut teams = hold.changes.iter().map(|(_, id)| board.resources.get(id)?.team.as_ref());
    let first = teams.next().flatten()?;
    teams.all(|team| team == Some(first)).then(|| first.clone())
}

/// When each hold was written down, as far as one page of the journal goes back.
async fn held_since(web: &Web) -> Result<BTreeMap<HoldId, Timestamp>, LogError> {
    let query = Query { categories: vec![Category::Guard], limit: MOST, ..Query::default() };
    let entries = web.page.journal.read(query).await?.items;
    Ok(entries
        .into_iter()
        .filter_map(|entry| match entry.record {
            Record::Held { hold, .. } => Some((hold, entry.at)),
            _ => None,
        })
        .collect())
}
