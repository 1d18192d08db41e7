//! One page, a call to people, as JSON and pages show it.

use codeops_core::model::{Name, Page, PageId, RunId, TeamName};
use jiff::Timestamp;
use serde::Serialize;

use super::{Extent, gather};
use crate::journal::{Listed, LogError, PageQuery};
use crate::web::words::{Mark, plural};
use crate::web::{Web, team};

/// One page.
#[derive(Debug, Clone, Serialize)]
pub(in crate::web) struct PageItem {
    pub(in crate::web) id: PageId,
    pub(in crate::web) run: Option<RunId>,
    /// Whose run it comes from.
    pub(in crate::web) team: Option<TeamName>,
    pub(in crate::web) policy: Option<Name>,
    pub(in crate::web) title: String,
    /// The evidence; in lists its beginning.
    pub(in crate::web) body: String,
    /// Whether something of the body was left out.
    pub(in crate::web) cut: bool,
    /// `open`, `accepted` or `withdrawn`.
    pub(in crate::web) state: &'static str,
    pub(in crate::web) opened_at: Timestamp,
    pub(in crate::web) accepted_at: Option<Timestamp>,
    /// `receiver/NAME` or `oncall/NAME`.
    pub(in crate::web) accepted_by: Option<String>,
    /// Why it needs nobody any more.
    pub(in crate::web) withdrawn: Option<String>,
    pub(in crate::web) tries: Vec<Try>,
}

/// Sends to one of those told.
#[derive(Debug, Clone, Serialize)]
pub(in crate::web) struct Try {
    pub(in crate::web) to: String,
    pub(in crate::web) failures: u32,
    pub(in crate::web) at: Timestamp,
    pub(in crate::web) error: Option<String>,
}

impl Try {
    /// How often it failed, in words.
    pub(in crate::web) fn failed(&self) -> String {
        format!("{} failed {}", self.to, plural(self.failures as usize, "time"))
    }
}

impl PageItem {
    pub(in crate::web) fn of(web: &Web, page: &Page, team: Option<TeamName>, extent: Extent) -> Self {
        let (body, cut) = extent.text(&page.body, team.as_ref(), &web.page.redact);
        let state = match (&page.accepted, &page.withdrawn) {
            (Some(_), _) => "accepted",
            (None, Some(_)) => "withdrawn",
            (None, None) => "open",
        };
        let tries = page.tries.iter().map(|(to, tried)| Try {
            to: to.to_string(),
            failures: tried.failures,
            at: tried.at,
            error: tried.error.clone(),
        });
        Self {
            id: page.id,
            run: page.run,
            team,
            policy: page.policy.clone(),
            title: page.title.clone(),
            body,
            cut,
            state,
            opened_at: page.opened_at,
            accepted_at: page.accepted.as_ref().map(|(_, at)| *at),
            accepted_by: page.accepted.as_ref().map(|(by, _)| by.to_string()),
            withdrawn: page.withdrawn.clone(),
            tries: tries.collect(),
        }
    }

    pub(in crate::web) fn mark(&self) -> Mark {
        match self.state {
            "open" => Mark::Degraded,
            "accepted" => Mark::Held,
            _ => Mark::Suspended,
        }
    }
}

/// Pages, the last opened first, and the cursor of what follows.
pub(in crate::web) async fn pages(
    web: &Web,
    query: PageQuery,
    extent: Extent,
) -> Result<(Vec<PageItem>, Option<PageId>), LogError> {
    let (limit, before, journal) = (query.limit, query.before, web.page.journal.clone());
    let read = move |before, limit| {
        let (journal, query) = (journal.clone(), PageQuery { before, limit, ..query.clone() });
        async move {
            let listed = journal.pages(query).await?;
            let mut items = Vec::with_capacity(listed.items.len());
            for page in listed.items {
                items.push((team::of_page(web, &page).await, page));
            }
            Ok(Listed { items, next: listed.next })
        }
    };
    gather(limit, before, read, |(team, page)| {
        let item = PageItem::of(web, page, team.clone(), extent);
        let bytes = item.body.len();
        (item, bytes)
    })
    .await
}

/// One page, whole.
pub(in crate::web) async fn one_page(web: &Web, id: PageId) -> Result<Option<PageItem>, LogError> {
    let Some(page) = web.page.journal.page(id).await? else { return Ok(None) };
    Ok(Some(PageItem::of(web, &page, team::of_page(web, &page).await, Extent::Whole)))
}
