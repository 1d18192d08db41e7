//! Log lines of one resource: as text, as JSON lines, or as server-sent events; followed on request.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::sse::{Event as Sent, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use codeops_core::model::{Health, InstanceId, ResourceId};
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use serde::Deserialize;
use tokio::time::Instant;

use super::Web;
use super::escape::visible;
use super::problem::Problem;
use super::redact::Of;
use crate::edge::Peer;
use crate::port::{LogLine, LogQuery, ResourceView};

const TAIL: usize = 200;
const MOST: usize = 10_000;
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// What may be asked for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    tail: Option<usize>,
    follow: Option<bool>,
    instance: Option<String>,
}

/// The lines, in the form that `Accept` names.
pub(super) async fn logs(
    State(web): State<Arc<Web>>,
    Extension(peer): Extension<Peer>,
    Path((kind, name)): Path<(String, String)>,
    asked: Result<Query<Asked>, axum::extract::rejection::QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let Query(asked) = asked.map_err(|error| Problem::bad_request(error.body_text()))?;
    let view = super::api::find(&web.board(), &kind, &name)?;
    let instance = asked.instance.map(InstanceId::try_from).transpose();
    let instance = instance.map_err(|error| Problem::bad_request(error.to_string()))?;
    let follow = asked.follow.unwrap_or(false);
    let place = if follow { web.streams.take(peer, 1)? } else { web.reads.take(peer, 1)? };
    if let Some(instance) = &instance {
        is_known(&web, &view, instance).await?;
    }
    let query = LogQuery { instance, tail: asked.tail.unwrap_or(TAIL).min(MOST), follow };
    let lines = open(&web, &view, query).await?;
    let cancel = web.cancel.clone();
    // What is not followed has an end: whoever takes it a little at a time keeps its place from others.
    let until = (!follow).then(|| Instant::now() + web.page.config.limits.read);
    let lines = lines.take_until(cancel.cancelled_owned()).map(move |line| {
        let _held = &place;
        match until {
            Some(until) if Instant::now() >= until => Err(io::Error::new(io::ErrorKind::TimedOut, "read too slowly")),
            _ => Ok(clean(line)),
        }
    });
    let mut answer = answer(lines.boxed(), &headers);
    answer.extensions_mut().insert(Of::team(view.team.clone()));
    Ok(answer)
}

/// Whether an instance lives, or wrote a line that is still kept: of any other there is nothing to wait for.
async fn is_known(web: &Web, view: &ResourceView, instance: &InstanceId) -> Result<(), Problem> {
    let live = view.live.iter().flat_map(|live| &live.instances);
    if live.map(|one| &one.id).any(|id| id == instance) {
        return Ok(());
    }
    let query = LogQuery { instance: Some(instance.clone()), tail: 1, follow: false };
    match open(web, view, query).await?.next().await {
        Some(_) => Ok(()),
        None => Err(Problem::not_found(format!("{} has no instance {instance}, and keeps no line of one", view.id))),
    }
}

/// Opens the lines of a resource at its provider.
pub(super) async fn open(
    web: &Web,
    view: &ResourceView,
    query: LogQuery,
) -> Result<BoxStream<'static, LogLine>, Problem> {
    if view.live.is_none() && view.health == Health::Missing {
        return Err(Problem::not_found(format!("no instance of {} has started yet, so it has no log", view.id)));
    }
    let observer = web.page.observers.get(&view.provider);
    let observer = observer.ok_or_else(|| {
        Problem::not_found(format!("provider {} is not in the settings, so nothing can be read from it", view.provider))
    })?;
    let id: &ResourceId = &view.id;
    Ok(observer.logs(id, query).await?)
}

fn clean(mut line: LogLine) -> LogLine {
    if let std::borrow::Cow::Owned(shown) = visible(&line.line) {
        line.line = shown;
    }
    line
}

fn answer(lines: BoxStream<'static, io::Result<LogLine>>, headers: &HeaderMap) -> Response {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or("");
    if accept.contains("text/event-stream") {
        let event = |line| Sent::default().event("line").json_data(line).map_err(io::Error::other);
        let events = lines.map(move |line| line.and_then(event));
        return Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response();
    }
    if accept.contains("application/x-ndjson") || accept.contains("application/json") {
        let text = |line| serde_json::to_string(&line).unwrap_or_default() + "\n";
        let text = lines.map(move |line| line.map(text));
        return streamed("application/x-ndjson", Body::from_stream(text));
    }
    let text =
        |line: LogLine| format!("{:.3} {} {} {}\n", line.at, line.instance, line.stream, line.line.replace('\n', "␊"));
    let text = lines.map(move |line| line.map(text));
    streamed("text/plain; charset=utf-8", Body::from_stream(text))
}

fn streamed(kind: &'static str, body: Body) -> Response {
    let mut response = body.into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
