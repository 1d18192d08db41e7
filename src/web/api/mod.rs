//! The JSON twins: the shapes that `docs/openapi.yaml` describes, made from the board and the journal when asked for.

mod list;
mod resource;
mod response;
mod status;

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use codeops_core::model::ResourceId;

pub(super) use list::{HoldItem, Listed, Paging, events_page, holds_page};
pub(super) use response::{
    ALERT_STATES, RUN_STATES, alerts, alerts_page, answers_of, known_run, page, pages, run, runs, runs_page,
};

use super::Web;
use super::history::{self, RevisionItem};
use super::problem::Problem;
use super::redact::{Deep, ITEM_OF_ITEM, Of};
use super::response::latch_on;
use crate::port::{Board, ResourceView};

/// A page of a list.
type Answer<T> = Result<Json<Listed<T>>, Problem>;
type Asked = Result<Query<Paging>, QueryRejection>;

/// `kind/name` of a path, as on the board.
pub(super) fn find(board: &Board, kind: &str, name: &str) -> Result<Arc<ResourceView>, Problem> {
    let id = format!("{kind}/{name}");
    let id: ResourceId =
        id.parse().map_err(|error: codeops_core::model::InvalidName| Problem::not_found(error.to_string()))?;
    let view = board.resources.get(&id).cloned();
    view.ok_or_else(|| Problem::not_found(format!("{id} is neither declared nor alive")))
}

pub(super) async fn status(State(web): State<Arc<Web>>) -> Response {
    Json(status::Status::of(&web, &web.board())).into_response()
}

pub(super) async fn resources(State(web): State<Arc<Web>>) -> Response {
    Json(resource::All::of(&web.board())).into_response()
}

pub(super) async fn resource(
    State(web): State<Arc<Web>>,
    Path((kind, name)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let view = find(&web.board(), &kind, &name)?;
    let (answers, latch) = (answers_of(&web, &view.id).await?, latch_on(&web, &view.id));
    let mut answer = Json(resource::Detail::of(&view, latch, answers)).into_response();
    answer.extensions_mut().insert(Of { team: view.team.clone(), lists: &["alerts", "runs"] });
    Ok(answer)
}

pub(super) async fn stats(
    State(web): State<Arc<Web>>,
    Path((kind, name)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let view = find(&web.board(), &kind, &name)?;
    let every = web.page.config.limits.sample.as_secs_f64();
    let instances = web.samples().of(&view.id);
    let instances: Vec<_> = instances
        .into_iter()
        .map(|(instance, points)| serde_json::json!({"instance": instance, "points": points}))
        .collect();
    Ok(Json(serde_json::json!({"id": view.id, "every_seconds": every, "instances": instances})).into_response())
}

pub(super) async fn events(State(web): State<Arc<Web>>, asked: Asked) -> Answer<super::event::Event> {
    let Query(paging) = asked.map_err(|error| Problem::bad_request(error.body_text()))?;
    Ok(Json(events_page(&web, &paging).await?))
}

pub(super) async fn revisions(State(web): State<Arc<Web>>, asked: Asked) -> Result<Response, Problem> {
    let Query(paging) = asked.map_err(|error| Problem::bad_request(error.body_text()))?;
    let (items, next) = history::page(&web, paging.cursor()?, paging.limit()?).await?;
    let mut answer = Json(Listed { items, next: next.map(|seq| seq.0.to_string()) }).into_response();
    // Below each revision every change is one team's.
    answer.extensions_mut().insert(Deep(ITEM_OF_ITEM));
    Ok(answer)
}

pub(super) async fn revision(
    State(web): State<Arc<Web>>,
    Path(id): Path<String>,
) -> Result<Json<RevisionItem>, Problem> {
    Ok(Json(one_revision(&web, &id).await?))
}

/// A revision by its id or the first 7 digits of it.
pub(super) async fn one_revision(web: &Web, id: &str) -> Result<RevisionItem, Problem> {
    if id.len() < 7 || id.len() > 64 || !id.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(Problem::not_found("a revision is asked for by its commit id, or the first 7 digits of it"));
    }
    let found = history::one(web, id).await?;
    found.ok_or_else(|| Problem::not_found(format!("revision {id} was not accepted here, or long ago")))
}

pub(super) async fn holds(State(web): State<Arc<Web>>, asked: Asked) -> Answer<HoldItem> {
    let Query(paging) = asked.map_err(|error| Problem::bad_request(error.body_text()))?;
    Ok(Json(holds_page(&web, &paging).await?))
}

/// Whether a page's path is asked for as JSON.
pub(super) fn twin(headers: &HeaderMap) -> bool {
    super::problem::wants_json(headers, false)
}
