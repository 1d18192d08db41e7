//! Alerts, runs and pages as JSON: lists with their filters, and one by itself.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use codeops_core::model::{AlertState, PageId, ResourceId, Run, RunId, RunState};
use serde::Serialize;

use super::list::{DEFAULT, given, parsed};
use super::{Answer, Asked, Listed, Paging};
use crate::journal::{AlertCursor, AlertQuery, PageQuery, RunQuery};
use crate::web::Web;
use crate::web::problem::Problem;
use crate::web::response::{self, AlertItem, Extent, PageItem, RunItem};

/// Alerts and runs shown with a resource.
const OF_RESOURCE: usize = 10;

/// How an alert can be.
pub(in crate::web) const ALERT_STATES: [AlertState; 5] =
    [AlertState::Firing, AlertState::Resolved, AlertState::Expired, AlertState::Silenced, AlertState::Unknown];
/// How a run can be.
pub(in crate::web) const RUN_STATES: [RunState; 8] = [
    RunState::Running,
    RunState::Waiting,
    RunState::Resolved,
    RunState::Replaced,
    RunState::Paged,
    RunState::Failed,
    RunState::Skipped,
    RunState::Cancelled,
];

/// One of some states by its word.
fn state<T: Copy>(text: &Option<String>, all: &[T], word: impl Fn(T) -> &'static str) -> Result<Option<T>, Problem> {
    let Some(text) = given(text) else { return Ok(None) };
    let found = all.iter().copied().find(|state| word(*state) == text);
    found.map(Some).ok_or_else(|| {
        let words: Vec<&str> = all.iter().copied().map(word).collect();
        Problem::bad_request(format!("`state` is one of {}", words.join(", ")))
    })
}

/// One page of alerts.
pub(in crate::web) async fn alerts_page(
    web: &Web,
    paging: &Paging,
    default: usize,
) -> Result<Listed<AlertItem>, Problem> {
    let query = AlertQuery {
        source: parsed(&paging.source)?,
        name: given(&paging.name).map(str::to_owned),
        target: parsed(&paging.target)?,
        state: state(&paging.state, &ALERT_STATES, AlertState::word)?,
        before: paging.cursor()?.map(|seq| AlertCursor(seq.0)),
        limit: paging.limit_or(default)?,
    };
    let (items, next) = response::alerts(web, query).await?;
    Ok(Listed { items, next: next.map(|cursor| cursor.0.to_string()) })
}

/// One page of runs.
pub(in crate::web) async fn runs_page(web: &Web, paging: &Paging, default: usize) -> Result<Listed<RunItem>, Problem> {
    let query = RunQuery {
        playbook: parsed(&paging.playbook)?,
        target: parsed(&paging.target)?,
        state: state(&paging.state, &RUN_STATES, RunState::word)?,
        before: paging.cursor()?.map(|seq| RunId(seq.0)),
        limit: paging.limit_or(default)?,
    };
    let (items, next) = response::runs(web, query).await?;
    Ok(Listed { items, next: next.map(|run| run.0.to_string()) })
}

/// The newest alerts and runs of one resource.
pub(in crate::web) async fn answers_of(web: &Web, id: &ResourceId) -> Result<(Vec<AlertItem>, Vec<RunItem>), Problem> {
    let of = AlertQuery { target: Some(id.clone()), limit: OF_RESOURCE, ..AlertQuery::default() };
    let (alerts, _) = response::alerts(web, of).await?;
    let of = RunQuery { target: Some(id.clone()), limit: OF_RESOURCE, ..RunQuery::default() };
    let (runs, _) = response::runs(web, of).await?;
    Ok((alerts, runs))
}

/// A run by its id, such as `r42`.
pub(in crate::web) async fn known_run(web: &Web, id: &str) -> Result<Arc<Run>, Problem> {
    let id: RunId =
        id.parse().map_err(|error: codeops_core::model::InvalidName| Problem::not_found(error.to_string()))?;
    let run = web.page.journal.run(id).await?;
    run.ok_or_else(|| Problem::not_found(format!("run {id} was never opened here, or long ago")))
}

pub(in crate::web) async fn alerts(State(web): State<Arc<Web>>, asked: Asked) -> Answer<AlertItem> {
    let Query(paging) = asked.map_err(|error| Problem::bad_request(error.body_text()))?;
    Ok(Json(alerts_page(&web, &paging, DEFAULT).await?))
}

pub(in crate::web) async fn runs(State(web): State<Arc<Web>>, asked: Asked) -> Answer<RunItem> {
    let Query(paging) = asked.map_err(|error| Problem::bad_request(error.body_text()))?;
    Ok(Json(runs_page(&web, &paging, DEFAULT).await?))
}

/// A run with whom it called, also where no step of it did.
#[derive(Serialize)]
pub(in crate::web) struct WithPages {
    #[serde(flatten)]
    run: RunItem,
    pages: Vec<Called>,
}

/// One page of a run.
#[derive(Serialize)]
struct Called {
    id: PageId,
    state: &'static str,
}

/// How many pages of a run are named.
const CALLED: usize = 20;

pub(in crate::web) async fn run(
    State(web): State<Arc<Web>>,
    Path(id): Path<String>,
) -> Result<Json<WithPages>, Problem> {
    let known = known_run(&web, &id).await?;
    let query = PageQuery { run: Some(known.id), before: None, limit: CALLED };
    let (pages, _) = response::pages(&web, query, Extent::Short).await?;
    let pages = pages.into_iter().map(|page| Called { id: page.id, state: page.state }).collect();
    Ok(Json(WithPages { run: response::of_run(&web, &known), pages }))
}

pub(in crate::web) async fn pages(State(web): State<Arc<Web>>, asked: Asked) -> Answer<PageItem> {
    let Query(paging) = asked.map_err(|error| Problem::bad_request(error.body_text()))?;
    let before = paging.cursor()?.map(|seq| PageId(seq.0));
    let query = PageQuery { run: parsed(&paging.run)?, before, limit: paging.limit()? };
    let (items, next) = response::pages(&web, query, Extent::Short).await?;
    Ok(Json(Listed { items, next: next.map(|page| page.0.to_string()) }))
}

pub(in crate::web) async fn page(
    State(web): State<Arc<Web>>,
    Path(id): Path<String>,
) -> Result<Json<PageItem>, Problem> {
    let id: PageId =
        id.parse().map_err(|error: codeops_core::model::InvalidName| Problem::not_found(error.to_string()))?;
    let found = response::one_page(&web, id).await?;
    Ok(Json(found.ok_or_else(|| Problem::not_found(format!("page {id} was never opened here, or long ago")))?))
}
