//! Bodies of requests, read within bounds: each has a longest length and a time, and all of them together have a room, so that
//! many at once cost no more memory than that. Who finds no room, or is slow, is told to come again: some senders never do
//! after a 4xx.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody as _};
use axum::http::{HeaderMap, StatusCode, header};
use http_body_util::BodyExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::problem::Problem;

/// Room is counted in pieces of so many bytes.
const PIECE: usize = 1 << 10;

/// The memory for bodies.
pub(super) struct Room(Arc<Semaphore>);

/// A body, and its place in the room until it is dropped.
pub(super) struct Held {
    pub(super) bytes: Bytes,
    _place: Option<OwnedSemaphorePermit>,
}

impl Room {
    /// For so many bytes.
    pub(super) fn new(bytes: usize) -> Self {
        Self(Arc::new(Semaphore::new(bytes / PIECE)))
    }

    /// Reads a body of at most `most` bytes.
    pub(super) async fn read(
        &self,
        headers: &HeaderMap,
        body: Body,
        most: usize,
        time: Duration,
    ) -> Result<Held, Problem> {
        let told = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
        if told.is_some_and(|length| length > most) {
            return Err(too_big());
        }
        let slow = Problem::unavailable("the body did not come in time: send it again");
        tokio::time::timeout(time, self.whole(body, most)).await.unwrap_or(Err(slow))
    }

    /// A place is taken for what has come, not for what is announced: who sends nothing keeps nobody out.
    async fn whole(&self, mut body: Body, most: usize) -> Result<Held, Problem> {
        let (mut first, mut rest) = (Bytes::new(), Vec::new());
        let (mut place, mut length) = (None, 0);
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| Problem::new(StatusCode::BAD_REQUEST, "the body ended early"))?;
            let Ok(data) = frame.into_data() else { continue };
            length += data.len();
            if length > most {
                return Err(too_big());
            }
            self.grow(&mut place, length)?;
            if first.is_empty() && rest.is_empty() {
                first = data;
                continue;
            }
            if rest.is_empty() {
                let expected = usize::try_from(body.size_hint().lower()).unwrap_or(0).min(most);
                rest.reserve(length + expected);
                rest.extend_from_slice(&std::mem::take(&mut first));
            }
            rest.extend_from_slice(&data);
        }
        Ok(Held { bytes: if rest.is_empty() { first } else { rest.into() }, _place: place })
    }

    fn grow(&self, place: &mut Option<OwnedSemaphorePermit>, length: usize) -> Result<(), Problem> {
        let has = place.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let more = u32::try_from(length.div_ceil(PIECE).saturating_sub(has)).unwrap_or(u32::MAX);
        if more == 0 {
            return Ok(());
        }
        let more = Arc::clone(&self.0).try_acquire_many_owned(more).map_err(|_| Problem::overload())?;
        match place {
            Some(place) => place.merge(more),
            None => *place = Some(more),
        }
        Ok(())
    }
}

fn too_big() -> Problem {
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "the body is bigger than is read here")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn all_bodies_together_have_so_much_room_and_no_more() {
        let (room, time) = (Room::new(4 * PIECE), Duration::from_secs(5));
        let read = async |size: usize| room.read(&HeaderMap::new(), Body::from(vec![b'x'; size]), 1 << 20, time).await;
        let (one, two) = (read(PIECE + 1).await, read(2 * PIECE).await);
        assert!(one.is_ok() && two.is_ok(), "two pieces each");
        assert!(read(1).await.is_err(), "there is no room left");
        assert!(read(0).await.is_ok(), "what is empty needs none");
        drop(one);
        assert!(read(PIECE).await.is_ok(), "it is free again");
    }
}
