//! Bodies of requests, read within bounds: each has a longest length and a time, and all of them together have a room, so that
//! many at once cost no more memory than that. Who finds no room, or is slow, is told to come again: some senders never do
//! after a 4xx.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody as _};
use axum::http::{HeaderMap, StatusCode, header};
use http_body_util::BodyExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use super::problem::Problem;
use crate::edge::Leaves;

/// Room is counted in pieces of so many bytes.
const PIECE: usize = 1 << 10;

/// What each body has for itself: deliveries as senders mostly make them find room whatever others hold.
const OWN: usize = 32 << 10;

/// The memory for bodies.
pub(super) struct Room {
    shared: Arc<Semaphore>,
    /// What each has beside the shared, in bytes.
    own: usize,
    /// Those that are being read and may have to make room, by when they first took of the shared.
    reading: Mutex<Reading>,
}

#[derive(Default)]
struct Reading {
    last: u64,
    all: BTreeMap<u64, Part>,
}

/// What a body that is being read has of the shared.
struct Part {
    /// By which receiver it comes; nobody's where that is not shown yet.
    whose: String,
    pieces: usize,
    end: CancellationToken,
}

/// A body, and its place in the room until it is dropped.
pub(super) struct Held {
    pub(super) bytes: Bytes,
    _place: Option<OwnedSemaphorePermit>,
}

/// A body that is being read: it goes from the list when it is read, or left.
struct Turn<'r> {
    room: &'r Room,
    whose: &'r str,
    number: Option<u64>,
    end: CancellationToken,
}

impl Turn<'_> {
    /// From its first piece of the shared on, a body may have to make room.
    fn has(&mut self, pieces: usize) {
        let mut reading = self.room.reading();
        let number = *self.number.get_or_insert_with(|| {
            reading.last += 1;
            reading.last
        });
        let (whose, end) = (self.whose.to_owned(), self.end.clone());
        reading.all.insert(number, Part { whose, pieces, end });
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            self.room.reading().all.remove(&number);
        }
    }
}

impl Room {
    /// For so many bytes, on so many connections at most. Each has a share of its own. Of the rest whoever has most of it makes
    /// room, and of its bodies the one that has been at it for longest: who means it is done in no time, who only wants to hold
    /// it is not.
    pub(super) fn new(bytes: usize, connections: usize) -> Self {
        let own = OWN.min(bytes / 2 / connections);
        let shared = Arc::new(Semaphore::new((bytes - own * connections) / PIECE));
        Self { shared, own, reading: Mutex::default() }
    }

    fn reading(&self) -> MutexGuard<'_, Reading> {
        self.reading.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads a body of at most `most` bytes, of a request whose connection may have to make room for another. Those of one
    /// receiver, `whose`, are counted together.
    pub(super) async fn read(
        &self,
        whose: &str,
        (headers, leaves): (&HeaderMap, Option<&Leaves>),
        body: Body,
        most: usize,
        time: Duration,
    ) -> Result<Held, Problem> {
        let told = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
        if told.is_some_and(|length| length > most) {
            return Err(too_big());
        }
        let slow = Problem::unavailable("the body did not come in time: send it again");
        let mut turn = Turn { room: self, whose, number: None, end: CancellationToken::new() };
        let end = turn.end.clone();
        tokio::select! {
            biased;
            // Who made room is told to come again, as whoever finds none.
            () = end.cancelled() => Err(Problem::overload()),
            () = has_to_leave(leaves) => Err(Problem::overload()),
            read = tokio::time::timeout(time, self.whole(body, most, &mut turn)) => read.unwrap_or(Err(slow)),
        }
    }

    /// A place is taken for what has come, not for what is announced: who sends nothing keeps nobody out.
    async fn whole(&self, mut body: Body, most: usize, turn: &mut Turn<'_>) -> Result<Held, Problem> {
        let (mut first, mut rest) = (Bytes::new(), Vec::new());
        let (mut place, mut length) = (None, 0);
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| Problem::new(StatusCode::BAD_REQUEST, "the body ended early"))?;
            let Ok(data) = frame.into_data() else { continue };
            length += data.len();
            if length > most {
                return Err(too_big());
            }
            self.grow(&mut place, length, turn).await?;
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

    async fn grow(
        &self,
        place: &mut Option<OwnedSemaphorePermit>,
        length: usize,
        turn: &mut Turn<'_>,
    ) -> Result<(), Problem> {
        let has = place.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let needs = length.saturating_sub(self.own).div_ceil(PIECE);
        let more = u32::try_from(needs.saturating_sub(has)).unwrap_or(u32::MAX);
        if more == 0 {
            return Ok(());
        }
        let shared = Arc::clone(&self.shared);
        let more = match shared.try_acquire_many_owned(more) {
            Ok(more) => more,
            Err(_) => {
                make_room(&mut self.reading(), turn, self.shared.available_permits(), (needs, more as usize))?;
                // What others held is free once they have gone: until then as much is in memory as may be.
                Arc::clone(&self.shared).acquire_many_owned(more).await.map_err(|_| Problem::overload())?
            }
        };
        turn.has(needs);
        match place {
            Some(place) => place.merge(more),
            None => *place = Some(more),
        }
        Ok(())
    }
}

/// Ends bodies of whoever has most of the shared, the oldest first, until `more` pieces are free for one that then `needs` so
/// many in all; nobody where that would not do. Whose own body it would be has had its time.
fn make_room(
    reading: &mut Reading,
    turn: &Turn<'_>,
    free: usize,
    (needs, more): (usize, usize),
) -> Result<(), Problem> {
    let mut of = BTreeMap::<&str, usize>::new();
    let others = reading.all.iter().filter(|(number, _)| turn.number != Some(**number));
    others.for_each(|(_, part)| *of.entry(&part.whose).or_default() += part.pieces);
    *of.entry(turn.whose).or_default() += needs;
    let (mut made, mut leave) = (free, BTreeSet::new());
    while made < more {
        let most = of.iter().max_by_key(|(whose, pieces)| (**pieces, **whose == turn.whose)).map(|(whose, _)| *whose);
        let oldest = reading.all.iter().find(|(number, part)| most == Some(&part.whose) && !leave.contains(*number));
        let Some((number, part)) = oldest.filter(|(number, _)| turn.number != Some(**number)) else {
            return Err(Problem::overload());
        };
        leave.insert(*number);
        made += part.pieces;
        if let Some(pieces) = of.get_mut(part.whose.as_str()) {
            *pieces -= part.pieces;
        }
    }
    for part in leave.iter().filter_map(|number| reading.all.remove(number)) {
        part.end.cancel();
    }
    Ok(())
}

async fn has_to_leave(leaves: Option<&Leaves>) {
    match leaves {
        Some(leaves) => leaves.has_to().await,
        None => std::future::pending().await,
    }
}

fn too_big() -> Problem {
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "the body is bigger than is read here")
}

#[cfg(test)]
mod tests {
    use std::io;

    use futures_util::{poll, stream};
    use tokio::sync::mpsc;

    use super::*;

    /// A body that comes as it is sent.
    fn sent() -> (mpsc::UnboundedSender<usize>, Body) {
        let (sender, inbox) = mpsc::unbounded_channel();
        let frames = stream::unfold(inbox, async |mut inbox: mpsc::UnboundedReceiver<usize>| {
            Some((io::Result::Ok(Bytes::from(vec![b'x'; inbox.recv().await?])), inbox))
        });
        (sender, Body::from_stream(frames))
    }

    #[tokio::test]
    async fn nobody_makes_room_for_who_is_refused_all_the_same() {
        // Each has one piece of its own; eight are shared.
        let (room, time) = (Room::new(16 * PIECE, 8), Duration::from_secs(5));
        let headers = HeaderMap::new();
        let (mut senders, mut reads) = (Vec::new(), Vec::new());
        for size in [4, 3, 3] {
            let (sender, body) = sent();
            sender.send(size * PIECE).expect("it is read");
            let mut read = Box::pin(room.read("", (&headers, None), body, 1 << 20, time));
            assert!(poll!(read.as_mut()).is_pending());
            senders.push(sender);
            reads.push(read);
        }
        // One piece is free, and the oldest has three: the second would have to make room for itself.
        senders[1].send(5 * PIECE).expect("it is read");
        assert!(reads[1].as_mut().await.is_err());
        assert!(poll!(reads[0].as_mut()).is_pending(), "the oldest goes on");
        // Now three are free; with those of the oldest the last has what it asks for.
        senders[2].send(6 * PIECE).expect("it is read");
        assert!(poll!(reads[2].as_mut()).is_pending());
        assert!(reads[0].as_mut().await.is_err(), "the oldest made room");
        drop(reads.remove(0));
        drop(senders.remove(2));
        assert!(reads.remove(1).await.is_ok());
    }

    #[tokio::test]
    async fn whoever_has_most_makes_room_for_others() {
        let (room, time) = (Room::new(16 * PIECE, 8), Duration::from_secs(5));
        let headers = HeaderMap::new();
        let (mut senders, mut reads) = (Vec::new(), Vec::new());
        for (whose, size) in [("a", 3), ("b", 4), ("b", 4)] {
            let (sender, body) = sent();
            sender.send(size * PIECE).expect("it is read");
            let mut read = Box::pin(room.read(whose, (&headers, None), body, 1 << 20, time));
            assert!(poll!(read.as_mut()).is_pending());
            senders.push(sender);
            reads.push(read);
        }
        // All eight are taken: two by a, three and three by b, whose first has been coming for longer than its second.
        senders[0].send(PIECE).expect("it is read");
        assert!(poll!(reads[0].as_mut()).is_pending());
        assert!(reads[1].as_mut().await.is_err(), "b has most");
        assert!(poll!(reads[0].as_mut()).is_pending(), "a goes on");
        let small = room.read("c", (&headers, None), Body::from(vec![b'x'; PIECE]), 1 << 20, time).await;
        assert!(small.is_ok(), "what is small needs no room");
    }

    #[tokio::test]
    async fn all_bodies_together_have_so_much_room_and_no_more() {
        let (room, time) = (Room::new(8 * PIECE, 4), Duration::from_secs(5));
        let read = async |size: usize| {
            room.read("a", (&HeaderMap::new(), None), Body::from(vec![b'x'; size]), 1 << 20, time).await
        };
        let (one, two) = (read(2 * PIECE + 1).await, read(3 * PIECE).await);
        assert!(one.is_ok() && two.is_ok(), "two pieces each beside their own");
        assert!(read(PIECE + 1).await.is_err(), "there is no room left, and nobody who could make it");
        assert!(read(PIECE).await.is_ok(), "but for what is small");
        drop(one);
        assert!(read(3 * PIECE).await.is_ok(), "it is free again");
    }
}
