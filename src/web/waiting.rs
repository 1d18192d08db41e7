//! The page's address while the daemon cannot begin: it lives, it is not ready, and this is why.

use axum::Router;
use axum::http::header;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::problem::Problem;
use super::{Limits, bounds};
use crate::edge;

/// Answers 503 and the reason, until cancelled. `/healthz` is well: a restart would not help, and in a container end the apps.
pub async fn wait(listener: TcpListener, why: watch::Receiver<String>, cancel: &CancellationToken) {
    let not_ready = async move || Problem::unavailable(why.borrow().clone()).with(header::RETRY_AFTER, "10");
    let router = Router::new().route("/healthz", get(async || "ok\n")).fallback(not_ready);
    edge::serve(listener, router, bounds(&Limits::default()), cancel).await;
}
