//! The small web app that the examples and the demo deploy: a page in one colour, a health check, and faults on request.
//!
//! Hidden: it is a stand-in for your own program, and shows what one has to do, which is to listen on `$PORT` and to end
//! when asked to.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse};
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use super::args::{DemoAppArgs, Failing};
use super::block_on;
use super::exit::Exit;

/// What it tells of itself.
#[derive(Debug, Clone, Serialize)]
struct Face {
    message: String,
    version: String,
    colour: String,
    instance: String,
    #[serde(skip)]
    healthy: bool,
}

/// Serves until asked to end.
pub(super) fn serve(args: &DemoAppArgs) -> anyhow::Result<Exit> {
    if args.fail == Some(Failing::Crash) {
        anyhow::bail!("FAIL=crash: this version ends at once, as it was told to");
    }
    let face = Face {
        message: args.message.clone(),
        version: args.app_version.clone(),
        colour: args.colour.clone(),
        instance: args.instance.clone(),
        healthy: args.fail.is_none(),
    };
    let address = SocketAddr::new(args.host, args.port);
    block_on(async {
        let listener = TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))?;
        let mut out = std::io::stdout().lock();
        let _ = std::io::Write::write_fmt(&mut out, format_args!("listening on {address}, version {}\n", face.version));
        drop(out);
        let app = Router::new()
            .route("/", get(page))
            .route("/healthz", get(health))
            .route("/api", get(async |State(face): State<Arc<Face>>| Json(Face::clone(&face))))
            .with_state(Arc::new(face));
        axum::serve(listener, app).with_graceful_shutdown(asked_to_end()).await?;
        Ok(Exit::Fine)
    })
}

async fn asked_to_end() {
    let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

async fn health(State(face): State<Arc<Face>>) -> impl IntoResponse {
    match face.healthy {
        true => (StatusCode::OK, "ok\n"),
        false => {
            (StatusCode::SERVICE_UNAVAILABLE, "FAIL=health: this version says that it is ill, as it was told to\n")
        }
    }
}

async fn page(State(face): State<Arc<Face>>) -> impl IntoResponse {
    let [message, version, colour, instance] =
        [&face.message, &face.version, &face.colour, &face.instance].map(|text| escaped(text));
    let page = format!(
        "<!doctype html><meta charset=utf-8><meta name=viewport content=\"width=device-width\"><title>{message}</title>\
         <style>body{{background:{colour};color:white;font:1.2rem system-ui;display:grid;place-content:center;\
         min-height:90vh;text-align:center;text-shadow:0 1px 2px #0006}}h1{{font-size:3rem;margin:0}}</style>\
         <h1>{message}</h1><p>version {version}</p><p>{instance}</p>\n"
    );
    ([(header::HeaderName::from_static("x-version"), face.version.clone())], Html(page))
}

fn escaped(text: &str) -> String {
    let plain = |c: char| match c {
        '<' | '>' | '&' | '"' | '\'' | '{' | '}' | ';' => format!("&#{};", u32::from(c)),
        c => c.to_string(),
    };
    text.chars().map(plain).collect()
}
