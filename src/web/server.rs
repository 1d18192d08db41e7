//! Accepts connections, bounded in number, head size and time, and drains them at the end.

use std::collections::HashMap;
use std::pin::pin;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{Id, JoinSet};
use tokio_util::sync::CancellationToken;

use super::Limits;
use super::stall::{Answered, Impatient};

/// How long open answers may go on once the daemon ends.
const DRAIN: Duration = Duration::from_secs(2);
const HEAD_BYTES: usize = 16 * 1024;
const HEADERS: usize = 64;

/// Serves `app` until cancelled. When all places are taken, whoever was not answered for longest makes room: idle
/// connections, however many, keep nobody out.
pub(super) async fn accept(listener: TcpListener, app: Router, limits: Limits, cancel: &CancellationToken) {
    let mut connections = JoinSet::new();
    let mut open: HashMap<Id, Open> = HashMap::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = cancel.cancelled() => break,
            Some(ended) = connections.join_next_with_id() => {
                open.remove(&ended.map_or_else(|error| error.id(), |(id, ())| id));
                continue;
            }
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                if open.len() >= limits.connections {
                    make_room(&mut open, limits.connections);
                }
                let (answered, end) = (Answered::new(), CancellationToken::new());
                let io = Impatient::new(stream, limits.stall, answered.clone());
                let task = connections.spawn(connection(io, app.clone(), limits, cancel.clone(), end.clone()));
                open.insert(task.id(), Open { answered, end });
            }
            Err(error) => {
                tracing::warn!(%error, "the page cannot accept a connection; trying again");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    while connections.join_next().await.is_some() {}
}

/// One connection as seen from outside.
struct Open {
    answered: Answered,
    /// Ends it at once.
    end: CancellationToken,
}

fn make_room(open: &mut HashMap<Id, Open>, limit: usize) {
    let oldest = open.iter().min_by_key(|(_, open)| open.answered.last()).map(|(id, _)| *id);
    if let Some(oldest) = oldest.and_then(|id| open.remove(&id)) {
        tracing::warn!(limit, "the page has too many connections; the one that was idle longest is closed");
        oldest.end.cancel();
    }
}

async fn connection(
    io: Impatient<TcpStream>,
    app: Router,
    limits: Limits,
    cancel: CancellationToken,
    end: CancellationToken,
) {
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .max_buf_size(HEAD_BYTES)
        .max_headers(HEADERS)
        .serve_connection(TokioIo::new(io), TowerToHyperService::new(app));
    let mut served = pin!(served);
    let ended = tokio::select! {
        ended = served.as_mut() => ended,
        () = cancel.cancelled() => {
            served.as_mut().graceful_shutdown();
            tokio::time::timeout(DRAIN, served).await.unwrap_or(Ok(()))
        }
        () = end.cancelled() => Ok(()),
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection to the page ended early");
    }
}
