//! What answers may take of memory: a few are made at a time, and those that are not read yet hold so many bytes in all.
//!
//! A stream is none of them: it has a place of its own, and holds a few lines.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody as _};
use axum::http::header;
use axum::response::Response;
use http_body_util::BodyExt as _;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::places::{Place, Places};
use super::problem::Problem;
use crate::edge::Peer;

/// Answers that are made at a time: more would only share the processors.
const AT_ONCE: usize = 4;
/// How long one waits for its turn.
const TURN: Duration = Duration::from_secs(10);
/// An answer up to so many bytes is let through: of the most connections these are a few MiB.
const SMALL: usize = 16 << 10;

/// The answers under way.
pub(super) struct Answers {
    turns: Semaphore,
    held: Arc<Places>,
}

/// The bytes of an answer, which count until the last of them is sent.
struct Held {
    bytes: Bytes,
    _place: Place,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Answers {
    pub(super) fn new(all: usize, of_one_peer: usize) -> Self {
        Self { turns: Semaphore::new(AT_ONCE), held: Arc::new(Places::new("bytes of answers", all, of_one_peer)) }
    }

    /// A turn at making one, or 503.
    pub(super) async fn turn(&self) -> Result<SemaphorePermit<'_>, Problem> {
        match tokio::time::timeout(TURN, self.turns.acquire()).await {
            Ok(Ok(turn)) => Ok(turn),
            _ => {
                Err(Problem::unavailable("too much is asked for at once; ask again later")
                    .with(header::RETRY_AFTER, "10"))
            }
        }
    }

    /// The answer, once there is room for it until it is read; or 503.
    pub(super) async fn hold(&self, peer: Peer, answer: Response) -> Result<Response, Problem> {
        let bytes = answer.body().size_hint().exact().map_or(0, |bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
        if bytes <= SMALL {
            return Ok(answer);
        }
        let place = self.held.take(peer, bytes).map_err(|mut full| {
            full.detail = "too many answers are not read yet, or this one is too large; ask for less with `limit`, \
                           or again later"
                .to_owned();
            full
        })?;
        let (parts, body) = answer.into_parts();
        let bytes = body.collect().await.map(|whole| whole.to_bytes()).unwrap_or_default();
        Ok(Response::from_parts(parts, Body::from(Bytes::from_owner(Held { bytes, _place: place }))))
    }
}
