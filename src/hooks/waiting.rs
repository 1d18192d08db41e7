//! The hooks' address while the daemon cannot begin: nothing is taken in, and senders come again.

use axum::Router;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::BOUNDS;
use super::problem::Problem;
use crate::edge;

/// Answers 503 until cancelled, and nobody outside why.
pub async fn wait(listener: TcpListener, cancel: &CancellationToken) {
    let not_yet = async || Problem::unavailable("nothing can be written down for now: send it again later");
    let router = Router::new().route("/healthz", get(async || "ok\n")).fallback(not_yet);
    edge::serve(listener, router, BOUNDS, cancel).await;
}
