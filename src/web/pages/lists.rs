//! `/revisions`, `/holds` and `/events`: lists in pages.

use std::sync::Arc;

use askama::Template;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use codeops_core::model::Sync;

use super::{Shell, page};
use crate::journal::Category;
use crate::port::ResourceView;
use crate::web::Web;
use crate::web::api::{self, HoldItem, Paging};
use crate::web::event::Event;
use crate::web::history::{self, RevisionItem};
use crate::web::problem::Problem;

/// Revisions on one page.
const REVISIONS: usize = 25;

type Asked = Result<Query<Paging>, QueryRejection>;

pub(super) fn paging(asked: Asked) -> Result<Paging, Problem> {
    asked.map(|Query(paging)| paging).map_err(|error| Problem::bad_request(error.body_text()))
}

#[derive(Template)]
#[template(path = "revisions.html")]
struct RevisionsPage {
    shell: Shell,
    items: Vec<RevisionItem>,
    next: Option<u64>,
}

/// The revisions that were accepted, newest first.
pub(in crate::web) async fn revisions(
    State(web): State<Arc<Web>>,
    asked: Asked,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    if api::twin(&headers) {
        return Ok(api::revisions(State(web), asked).await?.into_response());
    }
    let paging = paging(asked)?;
    let (items, next) = history::page(&web, paging.cursor()?, paging.limit_or(REVISIONS)?).await?;
    page(&RevisionsPage { shell: Shell::new(&web, "/revisions", "Revisions"), items, next: next.map(|seq| seq.0) })
}

#[derive(Template)]
#[template(path = "revision.html")]
struct RevisionPage {
    shell: Shell,
    item: RevisionItem,
}

/// One revision: its commits and what it changed.
pub(in crate::web) async fn revision(
    State(web): State<Arc<Web>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    if api::twin(&headers) {
        return Ok(api::revision(State(web), Path(id)).await?.into_response());
    }
    let item = api::one_revision(&web, &id).await?;
    let shell = Shell::new(&web, "/revisions", format!("Revision {}", item.id.short()));
    page(&RevisionPage { shell, item })
}

#[derive(Template)]
#[template(path = "holds.html")]
struct HoldsPage {
    shell: Shell,
    items: Vec<HoldItem>,
    /// Held one by one, for reasons that no trailer releases or that say themselves what does.
    others: Vec<Arc<ResourceView>>,
}

/// What only a commit releases.
pub(in crate::web) async fn holds(
    State(web): State<Arc<Web>>,
    asked: Asked,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    if api::twin(&headers) {
        return Ok(api::holds(State(web), asked).await?.into_response());
    }
    let items = api::holds_page(&web, &paging(asked)?).await?.items;
    let shell = Shell::new(&web, "/holds", "Holds");
    let counted = |view: &ResourceView| items.iter().flat_map(|hold| &hold.changes).any(|change| change.id == view.id);
    let held = shell.board.resources.values().filter(|view| view.sync == Sync::Held && !counted(view));
    let others = held.cloned().collect();
    page(&HoldsPage { items, others, shell })
}

#[derive(Template)]
#[template(path = "events.html")]
struct EventsPage {
    shell: Shell,
    items: Vec<Event>,
    next: Option<String>,
    category: String,
    resource: String,
    run: String,
}

impl EventsPage {
    fn groups(&self) -> Vec<&'static str> {
        Category::ALL.into_iter().map(Category::word).collect()
    }
}

/// What happened, filtered and in pages.
pub(in crate::web) async fn events(
    State(web): State<Arc<Web>>,
    asked: Asked,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    if api::twin(&headers) {
        return Ok(api::events(State(web), asked).await?.into_response());
    }
    let paging = paging(asked)?;
    let listed = api::events_page(&web, &paging).await?;
    page(&EventsPage {
        shell: Shell::new(&web, "/events", "Events"),
        items: listed.items,
        next: listed.next,
        category: paging.category.unwrap_or_default(),
        resource: paging.resource.unwrap_or_default(),
        run: paging.run.unwrap_or_default(),
    })
}
