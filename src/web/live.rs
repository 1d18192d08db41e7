//! `/api/v1/stream`: server-sent events that say that the board changed, and what was written into the journal.
//!
//! A stream holds a receiver and nothing else. A reader that falls behind loses its stream and asks again.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::response::sse::{Event as Sent, KeepAlive, Sse};
use futures_util::Stream;
use jiff::Timestamp;
use serde::Serialize;
use tokio::sync::broadcast;

use super::places::Place;
use super::problem::Problem;
use super::response::Standing;
use super::words::{Mark, headline};
use super::{Web, named};
use crate::edge::Peer;
use crate::journal::Entry;
use crate::port::{Board, Watcher};

const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// What a stream says of the board; whoever wants more asks for it.
#[derive(Serialize)]
struct Glance {
    mark: Mark,
    headline: String,
    revision: Option<String>,
    fresh_at: Option<Timestamp>,
}

struct Following {
    watcher: Watcher,
    tail: broadcast::Receiver<Arc<Entry>>,
    web: Arc<Web>,
    greeted: bool,
    _place: Place,
}

/// The board at once and at each change, and each event, until the reader goes, falls behind, or the daemon ends.
pub(super) async fn stream(
    State(web): State<Arc<Web>>,
    Extension(peer): Extension<Peer>,
) -> Result<Sse<impl Stream<Item = Result<Sent, Infallible>>>, Problem> {
    let following = Following {
        _place: web.streams.take(peer, 1)?,
        watcher: web.page.watcher.clone(),
        tail: web.page.journal.tail(),
        web: Arc::clone(&web),
        greeted: false,
    };
    let events = futures_util::stream::unfold(following, async |mut following| {
        let sent = following.next().await?;
        Some((Ok(sent), following))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}

impl Following {
    async fn next(&mut self) -> Option<Sent> {
        if !self.greeted {
            self.greeted = true;
            return glance(&self.watcher.board(), &self.web);
        }
        tokio::select! {
            () = self.web.cancel.cancelled() => None,
            board = self.watcher.changed() => glance(&*board.ok()?, &self.web),
            // Lagging and closing both end the stream: the reader asks again and sees the whole.
            entry = self.tail.recv() => {
                let entry = entry.ok()?;
                let event = named::event(&self.web, &entry).await;
                Sent::default().event("event").id(event.id.to_string()).json_data(event).ok()
            }
        }
    }
}

fn glance(board: &Board, web: &Web) -> Option<Sent> {
    let standing = Standing::of(&web.page.journal, web.now());
    let glance = Glance {
        mark: Mark::overall(board, &standing),
        headline: headline(board, &standing),
        revision: board.revision.as_ref().map(|revision| revision.id.to_string()),
        fresh_at: board.fresh_at,
    };
    Sent::default().event("board").json_data(glance).ok()
}
