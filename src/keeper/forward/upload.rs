//! A request's body on its way to the instance. A client that stops in the middle of it may have to make room for others, and is
//! given up in the end; one that goes on, however slowly, is not. While the instance does not read, nobody's time runs.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use tokio::time::{Instant, Sleep};

use super::clients::Stall;

/// A client that sends nothing for so long has stalled: it may have to make room.
const STALLED: Duration = Duration::from_secs(2);
/// And after this it is given up.
const GIVEN_UP: Duration = Duration::from_secs(60);

/// See the module.
pub(super) struct Upload<B = Incoming> {
    body: B,
    stall: Stall,
    wait: Wait,
    timer: Option<Pin<Box<Sleep>>>,
}

/// How long the client has been waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wait {
    Not,
    Since(Instant),
    Stalled(Instant),
}

impl<B> Upload<B> {
    pub(super) fn new(body: B, stall: Stall) -> Self {
        Self { body, stall, wait: Wait::Not, timer: None }
    }

    /// Waits until `at`; one timer serves all waits of a body.
    fn poll_until(&mut self, at: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(at)));
        if timer.deadline() != at {
            timer.as_mut().reset(at);
        }
        timer.as_mut().poll(cx)
    }

    fn went_on(&mut self) {
        if let Wait::Stalled(_) = std::mem::replace(&mut self.wait, Wait::Not) {
            self.stall.set(false);
        }
    }

    /// Pending until the client is given up.
    fn poll_given_up(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        if self.wait == Wait::Not {
            self.wait = Wait::Since(Instant::now());
        }
        if let Wait::Since(since) = self.wait {
            ready!(self.poll_until(since + STALLED, cx));
            self.wait = Wait::Stalled(since);
            self.stall.set(true);
        }
        if let Wait::Stalled(since) = self.wait {
            ready!(self.poll_until(since + GIVEN_UP, cx));
        }
        let why = format!("nothing more of the body came for {} s", GIVEN_UP.as_secs());
        Poll::Ready(io::Error::new(io::ErrorKind::TimedOut, why))
    }
}

impl<B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Unpin> Body for Upload<B> {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Ready(frame) => {
                self.went_on();
                Poll::Ready(frame.map(|frame| frame.map_err(io::Error::other)))
            }
            Poll::Pending => self.poll_given_up(cx).map(|error| Some(Err(error))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures_util::FutureExt as _;
    use http_body_util::{BodyExt as _, StreamBody};
    use tokio::sync::mpsc;

    use super::super::clients::Clients;
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_stalls_makes_room_and_who_goes_on_does_not_however_slow() {
        let clients = Clients::new(1);
        let client = clients.take_in();
        let _busy = client.busy();
        let (sender, mut frames) = mpsc::channel::<Result<Frame<Bytes>, Infallible>>(1);
        let frames = futures_util::stream::poll_fn(move |cx| frames.poll_recv(cx));
        let mut upload = Upload::new(StreamBody::new(frames), client.stall());
        for _ in 0..100 {
            let slow = tokio::time::timeout(STALLED * 9 / 10, upload.frame()).await;
            assert!(slow.is_err() && clients.room().now_or_never().is_none(), "it is only slow");
            sender.send(Ok(Frame::data(Bytes::from_static(b"x")))).await.expect("it is read");
            assert!(upload.frame().await.is_some_and(|frame| frame.is_ok()));
        }
        assert!(tokio::time::timeout(GIVEN_UP * 9 / 10, upload.frame()).await.is_err());
        sender.send(Ok(Frame::data(Bytes::from_static(b"x")))).await.expect("it is read");
        assert!(upload.frame().await.is_some_and(|frame| frame.is_ok()), "nobody needed its place");
        assert!(clients.room().now_or_never().is_none(), "and it is busy again");
        assert!(tokio::time::timeout(STALLED * 2, upload.frame()).await.is_err());
        assert!(clients.room().now_or_never().is_some(), "it has stalled");
        assert!(client.end.is_cancelled());
    }

    #[tokio::test(start_paused = true)]
    async fn who_stalls_for_good_is_given_up() {
        let client = Clients::new(1).take_in();
        let pending = futures_util::stream::pending::<Result<Frame<Bytes>, Infallible>>();
        let mut upload = Upload::new(StreamBody::new(pending), client.stall());
        let begun = Instant::now();
        let Some(Err(error)) = upload.frame().await else { panic!("nothing was sent") };
        assert_eq!((error.kind(), begun.elapsed().as_secs()), (io::ErrorKind::TimedOut, GIVEN_UP.as_secs()));
    }
}
