//! Where the demo's pages go: a webhook on this machine that keeps what it is sent.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;
use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

type Pages = Arc<Mutex<Vec<Value>>>;

/// The webhook; it ends with this.
pub(super) struct Sink {
    port: u16,
    pages: Pages,
    _server: JoinSet<()>,
}

impl Sink {
    /// Listens on a free port.
    pub(super) async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("a port for pages")?;
        let port = listener.local_addr()?.port();
        let pages = Pages::default();
        let router = Router::new().route("/page", post(keep)).with_state(Arc::clone(&pages));
        let mut server = JoinSet::new();
        server.spawn(async move {
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self { port, pages, _server: server })
    }

    /// What the example's receiver is given in place of its own address.
    pub(super) fn address(&self) -> String {
        format!("http://127.0.0.1:{}/page", self.port)
    }

    /// The pages that came so far.
    pub(super) fn pages(&self) -> Vec<Value> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn keep(State(pages): State<Pages>, Json(page): Json<Value>) {
    pages.lock().unwrap_or_else(PoisonError::into_inner).push(page);
}
