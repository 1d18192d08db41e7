//! Which path answers what.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::middleware;
use axum::response::IntoResponse;
use axum::routing::get;

use super::problem::Problem;
use super::{Web, api, guard, live, logs, metrics, pages};
use crate::port::Stuck;

/// Everything there is; all of it only reads.
pub(super) fn router(web: &Arc<Web>) -> Router {
    Router::new()
        .merge(human())
        .nest("/api/v1", machine())
        .route("/metrics", get(metrics::metrics))
        .route("/healthz", get(alive))
        .route("/readyz", get(ready))
        .fallback(async || Problem::not_found("there is nothing at this address"))
        .layer(middleware::from_fn_with_state(Arc::clone(web), guard::guard))
        .with_state(Arc::clone(web))
}

fn human() -> Router<Arc<Web>> {
    Router::new()
        .route("/", get(pages::overview))
        .route("/{plural}/{name}", get(pages::resource))
        .route("/revisions", get(pages::revisions))
        .route("/revisions/{id}", get(pages::revision))
        .route("/holds", get(pages::holds))
        .route("/alerts", get(pages::alerts))
        .route("/runs", get(pages::runs))
        .route("/runs/{id}", get(pages::run))
        .route("/events", get(pages::events))
        .route("/static/page.css", get(async || asset("text/css; charset=utf-8", include_str!("static/page.css"))))
        .route("/static/page.js", get(async || asset("text/javascript; charset=utf-8", include_str!("static/page.js"))))
        .route("/static/{mark}", get(pages::favicon))
}

fn machine() -> Router<Arc<Web>> {
    Router::new()
        .route("/status", get(api::status))
        .route("/resources", get(api::resources))
        .route("/resources/{kind}/{name}", get(api::resource))
        .route("/resources/{kind}/{name}/logs", get(logs::logs))
        .route("/resources/{kind}/{name}/stats", get(api::stats))
        .route("/events", get(api::events))
        .route("/revisions", get(api::revisions))
        .route("/revisions/{id}", get(api::revision))
        .route("/holds", get(api::holds))
        .route("/alerts", get(api::alerts))
        .route("/runs", get(api::runs))
        .route("/runs/{id}", get(api::run))
        .route("/pages", get(api::pages))
        .route("/pages/{id}", get(api::page))
        .route("/stream", get(live::stream))
        .fallback(async || {
            Problem::not_found("there is nothing at this address; docs/openapi.yaml lists what there is")
        })
}

fn asset(kind: &'static str, text: &'static str) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "max-age=60")], text)
}

/// Ready once a first pass has finished, and as long as what happens can be written down.
async fn ready(State(web): State<Arc<Web>>) -> Result<&'static str, Problem> {
    let board = web.board();
    if let Some(why) = board.broken.clone().or_else(|| web.page.journal.poisoned()) {
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, why));
    }
    if let Some(stuck) = web.page.vitals.stuck() {
        return Err(standing_still(stuck));
    }
    if !board.ready {
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "the first pass has not finished yet"));
    }
    Ok("ready\n")
}

/// Alive unless a worker stands still for so long that only a restart helps.
async fn alive(State(web): State<Arc<Web>>) -> Result<&'static str, Problem> {
    match web.page.vitals.stuck().filter(|stuck| stuck.is_dead()) {
        Some(stuck) => Err(standing_still(stuck)),
        None => Ok("ok\n"),
    }
}

fn standing_still(stuck: Stuck) -> Problem {
    let why = format!("{} has made no progress for {} s: restart the daemon", stuck.worker, stuck.time().as_secs());
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, why)
}
